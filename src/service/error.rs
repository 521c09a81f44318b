//! Why an operation was not done.

use crate::config::{ConfigError, in_backticks, nearest};
use crate::model::{InvocationId, Refusal};
use crate::runner::RunnerError;
use crate::store::{Store, StoreError, SubmitError};
use crate::wasm::LoadError;

/// Tells what to do if there are no components.
pub const NO_COMPONENTS_HINT: &str =
    "no components are configured: give one with `--component NAME=PATH`, or in `wasm-runner.toml`";

/// Why an operation was not done, or not to its end. What the caller can do about it
/// decides the variant.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Nothing has that name or id, or several have it.
    #[error("{message}")]
    Unknown {
        /// The name, and what has similar ones.
        message: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// The request contradicts itself, or does not fit what it is about.
    #[error("{message}")]
    Invalid {
        /// Why.
        message: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// Another invocation is in the way.
    #[error("{message}")]
    Conflict {
        /// The other one.
        id: InvocationId,
        /// Why.
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
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store went away while it submitted: whether it did is not known.
    #[error("{source}")]
    Uncertain {
        /// The first that may have been submitted. If it was, all were.
        first: InvocationId,
        /// How many may have been.
        count: usize,
        /// Why.
        source: StoreError,
    },
    /// The operating system refused something.
    #[error("{0}")]
    System(String),
}

impl ServiceError {
    /// Refuses a request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), hint: None }
    }

    /// Refuses a name that is not among `known`, with the nearest of them as the hint, or
    /// else `otherwise`.
    pub(super) fn unknown<'k>(
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'k str>,
        otherwise: impl Into<String>,
    ) -> Self {
        let hint = match nearest(name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => otherwise.into(),
        };
        Self::Unknown { message: format!("unknown {what} `{name}`"), hint: Some(hint) }
    }

    /// Adds a hint to an error that can have one.
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Unknown { hint, .. } | Self::Invalid { hint, .. } | Self::Conflict { hint, .. } =
            &mut self
        {
            *hint = Some(text.into());
        }
        self
    }

    /// Translates a runner's refusal to wait.
    pub(super) fn refused(refusal: Refusal, store: &dyn Store) -> Self {
        match refusal {
            Refusal::Unavailable(message) => {
                StoreError::Unavailable { url: store.url().to_owned(), message }.into()
            }
            other => Self::invalid(other.to_string()),
        }
    }
}

/// The names that are known, for a hint.
pub(super) fn known<'k>(names: impl Iterator<Item = &'k str>) -> String {
    format!("known: {}", in_backticks(names))
}

impl From<RunnerError> for ServiceError {
    fn from(error: RunnerError) -> Self {
        match error {
            RunnerError::Store(error) => Self::Store(error),
            other => Self::System(other.to_string()),
        }
    }
}

impl From<SubmitError> for ServiceError {
    fn from(error: SubmitError) -> Self {
        let invalid = Self::invalid(error.to_string());
        match error {
            SubmitError::SharedKey(_) => invalid.with_hint("submit them one by one, each with its own key"),
            SubmitError::Deadline { .. } => {
                invalid.with_hint("give a longer `--deadline`: both count from the submit")
            }
            SubmitError::Priority(_) | SubmitError::Bound(_) => invalid,
        }
    }
}
