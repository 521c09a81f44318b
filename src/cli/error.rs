//! Everything that can end a command other than success.

use std::io;

use crate::authoring::AuthoringError;
use crate::config::ConfigError;
use crate::model::ExitClass;
use crate::service::{ServiceError, store_hint};
use crate::store::StoreError;
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

    /// Says of a usage error where in the input it is.
    pub fn at(mut self, place: &str) -> Self {
        if let Self::Usage { message, .. } = &mut self {
            *message = format!("{place}: {message}");
        }
        self
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
            Self::Store(error) => vec![(self.to_string(), store_hint(error).map(str::to_owned))],
            Self::System(_) | Self::Output(_) => vec![(self.to_string(), None)],
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

impl From<ServiceError> for CliError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Unknown { message, hint }
            | ServiceError::Invalid { message, hint }
            | ServiceError::Conflict { message, hint, .. } => Self::Usage { message, hint },
            ServiceError::Config(error) => Self::Config(error),
            ServiceError::Load(errors) => Self::Load(errors),
            ServiceError::Store(error) | ServiceError::Uncertain { source: error, .. } => Self::Store(error),
            ServiceError::System(message) => Self::System(message),
        }
    }
}
