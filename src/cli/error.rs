//! Everything that can end a command other than success.

use std::io;
use std::path::Path;

use crate::authoring::AuthoringError;
use crate::config::ConfigError;
use crate::model::{ExitClass, QuotaKind};
use crate::service::{Remedy, ServiceError};
use crate::store::{StoreError, StoreUrl};
use crate::wasm::JobError;

/// Tells what to do if there are no components.
pub const NO_COMPONENTS_HINT: &str =
    "no components are configured: give one with `--component NAME=PATH`, or in `wasm-runner.toml`";

/// Tells that new rights are only asked for.
pub const NEW_RIGHTS_HINT: &str = "it gets none of them unless they are granted in `wasm-runner.toml`; `--allow-right RIGHT` lets one pass, and without `--deny-new-rights` none is an error";

/// Tells whom removed tasks concern.
pub const REMOVED_TASKS_HINT: &str =
    "whoever submits these would be refused; without `--deny-removed-tasks` this is no error";

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each has a message, and perhaps a way out")]
pub enum CliError {
    /// The command line asks for something that does not exist or makes no
    /// sense.
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    /// An operation was not done.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A project can't be made, read or built.
    #[error(transparent)]
    Authoring(#[from] AuthoringError),
    /// As a child process: a component can't be compiled.
    #[error(transparent)]
    Compile(JobError),
    /// A task failed. It was reported when it was known; nothing is left to say.
    #[error("the task failed")]
    Task(ExitClass),
    /// An invocation is not final.
    #[error("{message}")]
    NotFinal { message: String, hint: Option<String> },
    /// Something does not hold that was to be checked: by `torture`, or by `component
    /// diff`.
    #[error("{message}")]
    Violated { message: String, hint: String },
    /// Standard output can't be written to.
    #[error("standard output can't be written to: {0}")]
    Output(io::Error),
    /// The reader of standard output has seen enough: not an error to anybody.
    #[error("standard output was closed")]
    BrokenPipe,
}

impl CliError {
    /// Makes a usage error.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// Makes the error of something that the operating system refused.
    pub fn system(message: impl Into<String>) -> Self {
        ServiceError::System(message.into()).into()
    }

    /// Adds a hint to a usage error.
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Usage { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// Makes the error of a failed write to standard output.
    pub fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::BrokenPipe } else { Self::Output(error) }
    }

    /// The lines to tell a person, each a message and perhaps a hint.
    pub fn lines(&self) -> Vec<(String, Option<String>)> {
        let hint = match self {
            Self::Task(_) | Self::BrokenPipe => return Vec::new(),
            Self::Service(ServiceError::Config(error)) => {
                return error.0.iter().map(|problem| (problem.to_string(), problem.hint.clone())).collect();
            }
            Self::Service(ServiceError::Load(errors)) => {
                return errors.iter().map(|error| (error.to_string(), None)).collect();
            }
            Self::Service(error) => hint(error),
            Self::Compile(error) => return vec![(error.message.clone(), None)],
            Self::Usage { hint, .. } | Self::NotFinal { hint, .. } => hint.clone(),
            Self::Authoring(AuthoringError::Usage { hint, .. } | AuthoringError::Build { hint, .. }) => {
                hint.clone()
            }
            Self::Violated { hint, .. } => Some(hint.clone()),
            Self::Authoring(AuthoringError::System(_)) | Self::Output(_) => None,
        };
        vec![(self.to_string(), hint)]
    }
}

/// The hint for an error of an operation.
fn hint(error: &ServiceError) -> Option<String> {
    match error {
        ServiceError::Unknown { remedy, .. }
        | ServiceError::Invalid { remedy, .. }
        | ServiceError::Conflict { remedy, .. } => remedy.as_ref().map(in_words),
        ServiceError::OverQuota { kind, .. } => {
            let quotas = "`run-wasm-runner quotas` shows all quotas and how much of them is used";
            Some(match kind {
                Some(QuotaKind::StoredBytes) => format!(
                    "`run-wasm-runner prune` removes what is final, and `[retention]` in the configuration has runners \
                     do so; {quotas}"
                ),
                Some(QuotaKind::Unfinished | QuotaKind::Submits) | None => quotas.to_owned(),
            })
        }
        ServiceError::NewRights(_) => Some(NEW_RIGHTS_HINT.to_owned()),
        ServiceError::RemovedTasks(_) => Some(REMOVED_TASKS_HINT.to_owned()),
        ServiceError::NoComponents(_) => Some(NO_COMPONENTS_HINT.to_owned()),
        ServiceError::Store(error) | ServiceError::Uncertain { source: error, .. } => match error {
            locked if locked.is_locked() => Some(
                "a backup, a `sqlite3` with an open transaction, or a process that was stopped (Ctrl-Z) may hold it: let \
                 it finish, or end it; `fuser -v` with the path of the file lists the processes that have it open"
                    .to_owned(),
            ),
            StoreError::Unavailable { url, .. }
                if StoreUrl::parse(url, Path::new("/")).is_ok_and(|url| url.file().is_some()) =>
            {
                let hint = "is the path right, and may it be written to? (`--store sqlite:PATH` names another store)";
                Some(hint.to_owned())
            }
            _ => None,
        },
        ServiceError::Config(_) | ServiceError::Load(_) | ServiceError::System(_) => None,
    }
}

/// Says a way out in the words of the command line.
fn in_words(remedy: &Remedy) -> String {
    let text = match remedy {
        Remedy::Text(text) => text,
        Remedy::AddComponents => NO_COMPONENTS_HINT,
        Remedy::ListTasks => "`run-wasm-runner tasks` lists all tasks with their types",
        Remedy::ListInvocations(url) => {
            return format!("the store is `{url}`; `run-wasm-runner list` shows what is in it");
        }
        Remedy::NameStore(missing) => {
            return format!("{missing}: give the one it was submitted to with `--store URL`");
        }
        Remedy::NameLastingStore => "use `--store sqlite:PATH`, or `call` to run an invocation here and now",
        Remedy::NameConfiguration => "`--config FILE` names another file",
        Remedy::MoreDigits => "give more of its digits, from the beginning or the end",
        Remedy::SayWhatIsOld => "give `--older-than DURATION` or `--keep N`",
        Remedy::LaterDeadline => "give a longer `--deadline`: both count from the submit",
        Remedy::RetrySucceeded => "`--even-succeeded` runs it again all the same",
        Remedy::Wait(id) => return format!("wait for it with `run-wasm-runner result {id} --wait`"),
        Remedy::WaitOrCancel(id) => {
            return format!("wait for it with `run-wasm-runner result {id} --wait`, or cancel it");
        }
        Remedy::CancelFirst(id) => {
            return format!("wait for it, or cancel it first: `run-wasm-runner cancel {id}`");
        }
        Remedy::GiveFile(component) => return format!("give its file: `--component {component}=PATH`"),
    };
    text.to_owned()
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        ServiceError::from(error).into()
    }
}
