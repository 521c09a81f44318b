//! Why an operation was not done.

use crate::config::{Component, ConfigError, in_backticks, nearest};
use crate::model::{InvocationId, QuotaKind, Refusal};
use crate::runner::RunnerError;
use crate::store::{Store, StoreError, SubmitError};
use crate::wasm::LoadError;

/// A way out of an error, for the caller. Each has words of its own for it: the command line names its flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// Said in full.
    Text(String),
    /// No components are configured: to add some.
    AddComponents,
    /// To look at the tasks that there are.
    ListTasks,
    /// To look at the invocations that are in the store at this URL.
    ListInvocations(String),
    /// To name the store that has the invocation; this is why there is nothing in the present one.
    NameStore(String),
    /// To name a store that outlives its process, or to call the task here and now.
    NameLastingStore,
    /// To name the configuration file.
    NameConfiguration,
    /// To name more digits of an id.
    MoreDigits,
    /// To say how old, or how many.
    SayWhatIsOld,
    /// To submit with a later deadline.
    LaterDeadline,
    /// To ask for it all the same.
    RetrySucceeded,
    /// To wait for this invocation.
    Wait(InvocationId),
    /// To wait for this invocation, or to cancel it.
    WaitOrCancel(InvocationId),
    /// To wait for this invocation, or to cancel it before it is retried.
    CancelFirst(InvocationId),
    /// To say which file this component is.
    GiveFile(String),
}

impl<T: Into<String>> From<T> for Remedy {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

/// Why an operation was not done, or not to its end. What the caller can do about it
/// decides the variant.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each has a message, and perhaps a way out")]
pub enum ServiceError {
    /// Nothing has that name or id, or several have it.
    #[error("{message}")]
    Unknown { message: String, remedy: Option<Remedy> },
    /// The request contradicts itself, or does not fit what it is about.
    #[error("{message}")]
    Invalid { message: String, remedy: Option<Remedy> },
    /// Another invocation is in the way.
    #[error("{message}")]
    Conflict { id: InvocationId, message: String, remedy: Option<Remedy> },
    /// A component or a fairness key has no room for it.
    #[error("{message}")]
    OverQuota { message: String, kind: Option<QuotaKind> },
    /// A component asks for rights that it must not ask for.
    #[error("{0}")]
    NewRights(String),
    /// A component lacks tasks that it must not lack.
    #[error("{0}")]
    RemovedTasks(String),
    /// There are no components, and so nothing to do.
    #[error("{0}")]
    NoComponents(String),
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
        source: StoreError,
    },
    /// The operating system refused something.
    #[error("{0}")]
    System(String),
}

impl ServiceError {
    /// Says why a component, from `path`, can't be loaded.
    pub(super) fn unloaded(component: &Component, path: String, message: impl Into<String>) -> Self {
        let (component, message) = (component.name.to_string(), message.into());
        Self::Load(vec![LoadError { component, path, message }])
    }

    /// Refuses a request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), remedy: None }
    }

    /// Refuses a name that is not among `known`, with the nearest of them as the remedy, or
    /// else `otherwise`.
    pub(super) fn unknown<'k>(
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'k str>,
        otherwise: impl Into<Remedy>,
    ) -> Self {
        let near = nearest(name, known).map(|near| Remedy::Text(format!("did you mean `{near}`?")));
        let remedy = near.unwrap_or_else(|| otherwise.into());
        Self::Unknown { message: format!("unknown {what} `{name}`"), remedy: Some(remedy) }
    }

    /// Adds a remedy to an error that can have one.
    pub(super) fn with_remedy(mut self, way_out: impl Into<Remedy>) -> Self {
        if let Self::Unknown { remedy, .. } | Self::Invalid { remedy, .. } | Self::Conflict { remedy, .. } =
            &mut self
        {
            *remedy = Some(way_out.into());
        }
        self
    }

    /// Says of a request where in the input it is.
    pub fn at(mut self, place: &str) -> Self {
        if let Self::Invalid { message, .. } = &mut self {
            *message = format!("{place}: {message}");
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
            SubmitError::SharedKey(_) => invalid.with_remedy("submit them one by one, each with its own key"),
            SubmitError::Deadline { .. } => invalid.with_remedy(Remedy::LaterDeadline),
            SubmitError::Priority(_) | SubmitError::TooLong(..) | SubmitError::Bound(_) => invalid,
        }
    }
}
