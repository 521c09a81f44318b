//! Children: how they are submitted and awaited, and their results.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

use crate::bindings::wasm_runner::task::invocations;
use crate::bindings::wasm_runner::task::types::{self, Failure, Refusal, SubmitOptions};
use crate::{Json, Value};

/// The options of a submit. By default a child starts at once, with the task's own priority, and is attached.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Milliseconds before the invocation may start.
    pub delay_ms: Option<u64>,
    /// From -1000 to 1000; higher runs earlier.
    pub priority: Option<i32>,
    /// An idempotency key: a second submit with the same key returns the first invocation.
    pub key: Option<String>,
    /// True if the child outlives this invocation.
    pub detached: bool,
    /// Names and values that are kept with the invocation.
    pub labels: Vec<(String, String)>,
}

/// A submitted invocation of a task that returns `T`, or `Result<T, E>`.
#[derive(Debug)]
pub struct Invocation<T, E = Infallible> {
    id: String,
    types: PhantomData<fn() -> (T, E)>,
}

/// The result of a submit. `E` is the error that the task returns.
pub type Submitted<T, E = Infallible> = Result<Invocation<T, E>, Refusal>;

/// The reason why an invocation has no value.
#[derive(Debug)]
pub enum Error<E = Infallible> {
    /// The task returned an error.
    Returned(E),
    /// The invocation ended in another way.
    Failed(Failure),
    /// The runner refused to wait.
    Refused(Refusal),
}

impl<T: Value, E: Value> Invocation<T, E> {
    /// Waits until the invocation is final, and returns its value.
    pub fn result(&self) -> Result<T, Error<E>> {
        invocations::await_result(&self.id)
            .map_err(|error| match error {
                types::Error::Failed(failure) => failed(failure),
                types::Error::Refused(refusal) => Error::Refused(refusal),
            })
            .and_then(|value| read(&value).map_err(Error::Failed))
    }

    /// The id of the invocation.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Cancels the invocation and its attached descendants. Returns false if it was final already.
    pub fn cancel(&self) -> Result<bool, Refusal> {
        invocations::cancel(&self.id)
    }
}

/// Waits until all are final, and returns their values in the order given, or the first
/// failure in that order.
pub fn gather<T: Value, E: Value>(
    invocations: impl IntoIterator<Item = Invocation<T, E>>,
) -> Result<Vec<T>, Error<E>> {
    let ids: Vec<String> = invocations.into_iter().map(|invocation| invocation.id).collect();
    let outcomes = invocations::await_all(&ids).map_err(Error::Refused)?;
    outcomes.into_iter().map(outcome).collect()
}

/// Yields the value of each invocation as soon as it is final.
pub fn as_completed<T: Value, E: Value>(
    invocations: impl IntoIterator<Item = Invocation<T, E>>,
) -> impl Iterator<Item = Result<T, Error<E>>> {
    let mut ids: Vec<String> = invocations.into_iter().map(|invocation| invocation.id).collect();
    std::iter::from_fn(move || {
        if ids.is_empty() {
            return None;
        }
        Some(match invocations::await_any(&ids) {
            Ok((index, value)) => {
                ids.remove(index as usize);
                outcome(value)
            }
            Err(refusal) => {
                ids.clear();
                Err(Error::Refused(refusal))
            }
        })
    })
}

/// Submits one invocation for each element of `arguments`, all or none.
#[doc(hidden)]
pub fn submit_all<T, E>(
    task: &str,
    arguments: &[String],
    options: Options,
) -> Result<Vec<Invocation<T, E>>, Refusal> {
    let Options { delay_ms, priority, key, detached, labels } = options;
    let options = SubmitOptions { delay_ms, priority, key, detached, labels };
    let ids = invocations::submit_all(task, arguments, &options)?;
    Ok(ids.into_iter().map(|id| Invocation { id, types: PhantomData }).collect())
}

/// Submits one invocation.
#[doc(hidden)]
pub fn submit<T, E>(task: &str, arguments: String, options: Options) -> Submitted<T, E> {
    let mut all = submit_all(task, &[arguments], options)?;
    all.pop().ok_or_else(|| Refusal::Unavailable("the runner gave no id".to_owned()))
}

fn outcome<T: Value, E: Value>(outcome: Result<String, Failure>) -> Result<T, Error<E>> {
    outcome.map_err(failed).and_then(|value| read(&value).map_err(Error::Failed))
}

fn failed<E: Value>(failure: Failure) -> Error<E> {
    // An error that is no `E` stays JSON.
    if let Failure::Returned(error) = &failure
        && let Ok(error) = read(error)
    {
        return Error::Returned(error);
    }
    Error::Failed(failure)
}

fn read<T: Value>(text: &str) -> Result<T, Failure> {
    let json: Json = serde_json::from_str(text).map_err(|error| unreadable(text, &error.to_string()))?;
    T::from_json(&json).map_err(|error| unreadable(text, &error))
}

fn unreadable(text: &str, error: &str) -> Failure {
    Failure::Trapped(format!("`{text}` is not what the task returns: {error}"))
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned(error) => error.fmt(f),
            Self::Failed(failure) => {
                let (kind, message) = match failure {
                    Failure::Returned(message) => ("returned", message),
                    Failure::Trapped(message) => ("trapped", message),
                    Failure::TimedOut(message) => ("timed-out", message),
                    Failure::LimitExceeded(message) => ("limit-exceeded", message),
                    Failure::Cancelled(message) => ("cancelled", message),
                    Failure::Skipped(message) => ("skipped", message),
                    Failure::Lost(message) => ("lost", message),
                };
                write!(f, "{kind}: {message}")
            }
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for Error<E> {}

/// Lets `?` work in a task whose error is a text.
impl<E: fmt::Display> From<Error<E>> for String {
    fn from(error: Error<E>) -> Self {
        error.to_string()
    }
}

impl From<Refusal> for String {
    fn from(refusal: Refusal) -> Self {
        refusal.to_string()
    }
}

impl<E> From<Refusal> for Error<E> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
