//! Everything that can end a command other than success.

use std::io;

use crate::authoring::AuthoringError;
use crate::config::ConfigError;
use crate::model::{ExitClass, Refusal};
use crate::runner::RunnerError;
use crate::store::{Store, StoreError, SubmitError};
use crate::wasm::{JobError, LoadError};

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line asks for something that does not exist or makes no
    /// sense.
    #[error("{message}")]
    Usage {
        /// What.
        message: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Components can't be used.
    #[error("{}", .0.iter().map(LoadError::to_string).collect::<Vec<_>>().join("\n"))]
    Load(Vec<LoadError>),
    /// A project can't be built.
    #[error("{message}")]
    Build {
        /// Why.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system refused what a runner needs.
    #[error("{0}")]
    System(String),
    /// As a child process: a component can't be compiled.
    #[error(transparent)]
    Compile(JobError),
    /// A task failed. It was reported when it was known; nothing is left to say.
    #[error("the task failed")]
    Task(ExitClass),
    /// An invocation is not final.
    #[error("{message}")]
    NotFinal {
        /// Which one, and where it stands.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Something does not hold that was to be checked: by `torture`, or by `component
    /// diff`.
    #[error("{message}")]
    Violated {
        /// What.
        message: String,
        /// What to do.
        hint: String,
    },
    /// Standard output can't be written to.
    #[error("standard output can't be written to: {0}")]
    Output(io::Error),
    /// Whoever read standard output has seen enough: not an error to anybody.
    #[error("standard output was closed")]
    BrokenPipe,
}

impl CliError {
    /// A usage error.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// The same with a hint, if it can have one.
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Usage { hint, .. } | Self::NotFinal { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// What a failed write to standard output means.
    pub fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::BrokenPipe } else { Self::Output(error) }
    }

    /// What it means that a runner refused to wait.
    pub fn refused(refusal: Refusal, store: &dyn Store) -> Self {
        match refusal {
            Refusal::Unavailable(message) => {
                StoreError::Unavailable { url: store.url().to_owned(), message }.into()
            }
            other => Self::usage(other.to_string()),
        }
    }

    /// The lines to tell a person, each a message and perhaps a hint.
    pub fn lines(&self) -> Vec<(String, Option<String>)> {
        match self {
            Self::Task(_) | Self::BrokenPipe => Vec::new(),
            Self::Compile(error) => vec![(error.message.clone(), None)],
            Self::Config(error) => {
                error.0.iter().map(|problem| (problem.to_string(), problem.hint.clone())).collect()
            }
            Self::Load(errors) => errors.iter().map(|error| (error.to_string(), None)).collect(),
            Self::Usage { message, hint }
            | Self::Build { message, hint }
            | Self::NotFinal { message, hint } => {
                vec![(message.clone(), hint.clone())]
            }
            Self::Violated { message, hint } => vec![(message.clone(), Some(hint.clone()))],
            Self::Store(StoreError::Unavailable { url, .. }) if url.starts_with("sqlite:") => {
                let hint = "is the path right, and may it be written to? (`--store sqlite:PATH` names another store)";
                vec![(self.to_string(), Some(hint.to_owned()))]
            }
            Self::Store(_) | Self::System(_) | Self::Output(_) => vec![(self.to_string(), None)],
        }
    }
}

impl From<AuthoringError> for CliError {
    fn from(error: AuthoringError) -> Self {
        match error {
            AuthoringError::Usage { message, hint } => Self::Usage { message, hint },
            AuthoringError::Build { message, hint } => Self::Build { message, hint },
            AuthoringError::System(message) => Self::System(message),
            AuthoringError::Load(errors) => Self::Load(errors),
        }
    }
}

impl From<SubmitError> for CliError {
    fn from(error: SubmitError) -> Self {
        let usage = Self::usage(error.to_string());
        match error {
            SubmitError::SharedKey(_) => usage.with_hint("submit them one by one, each with its own key"),
            SubmitError::Deadline { .. } => {
                usage.with_hint("give a longer `--deadline`: both count from the submit")
            }
            SubmitError::Priority(_) | SubmitError::Bound(_) => usage,
        }
    }
}

impl From<RunnerError> for CliError {
    fn from(error: RunnerError) -> Self {
        match error {
            RunnerError::Store(error) => Self::Store(error),
            other => Self::System(other.to_string()),
        }
    }
}
