//! The calls that guests make to the runner, as a trait.
//!
//! It is declared here so that `wasm`, which calls it, and `runner`, which
//! implements it, need not know each other.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    ComponentDigest, Differing, InvocationId, LimitKind, LogEntry, Outcome, RuleKey, Status, SubmitLimits,
    Submitter,
};

/// The invocation whose guest makes a call.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The invocation.
    pub id: InvocationId,
    /// Its attempt.
    pub attempt: u32,
    /// Its root.
    pub root: InvocationId,
    /// Generations between it and its root.
    pub depth: u32,
}

/// A call of a task, resolved and with checked arguments: all that a submit must know of the task.
#[derive(Debug, Clone)]
pub struct PreparedCall {
    /// The full id of the task.
    pub task: Arc<str>,
    /// The component that provides it.
    pub digest: ComponentDigest,
    /// The arguments: a JSON array, by position.
    pub arguments: Arc<str>,
    /// The most attempts.
    pub max_attempts: u32,
    /// The priority, if the submit names none.
    pub priority: i32,
    /// How long after its submit it ends at the latest, if the submit does not say.
    pub deadline: Option<Duration>,
    /// The key by which the task's concurrency and rate rules count it.
    pub lane: Option<RuleKey>,
    /// The key by which the task's uniqueness rule recognises it.
    pub unique: Option<(RuleKey, Differing)>,
}

/// How an invocation is to be submitted.
#[derive(Debug, Clone, Default)]
pub struct SubmitOptions {
    /// How long it may not start.
    pub delay: Duration,
    /// How long after its submit it ends at the latest, if not the task's own.
    pub deadline: Option<Duration>,
    /// Its priority, if not the task's own.
    pub priority: Option<i32>,
    /// Its idempotency key, as the submitter has chosen it.
    pub key: Option<Arc<str>>,
    /// Whether it outlives its parent, if it has one.
    pub detached: bool,
    /// Free text about it.
    pub labels: Labels,
    /// Limits for it and for what it submits, where they are lower than those of the tasks. Guests don't set any.
    pub limits: SubmitLimits,
    /// Its fairness key, if not the default. Guests don't choose one.
    pub fairness_key: Option<Arc<str>>,
}

/// The most bytes of an idempotency key. It stands in an index of every store.
pub const MAX_KEY_BYTES: usize = 1024;

/// Names and values, shared by all invocations that one submit makes.
pub type Labels = Arc<[(String, String)]>;

/// The most labels of one invocation, and the most bytes of their names and values together.
pub const MAX_LABELS: usize = 64;
/// See [`MAX_LABELS`].
pub const MAX_LABEL_BYTES: usize = 8 << 10;

/// The most invocations that can be awaited at once.
pub const MAX_AWAITED: usize = 100_000;

/// The most bytes of results, as JSON, that one wait gets: they are in memory until all are there.
pub const MAX_AWAITED_BYTES: usize = 256 << 20;

/// Checks an idempotency key that somebody has chosen: every store can keep it.
///
/// # Errors
///
/// [`Refusal::Limit`] or [`Refusal::BadArguments`], with what is wrong.
pub fn check_key(key: &str) -> Result<(), Refusal> {
    if key.len() > MAX_KEY_BYTES {
        let length = key.len();
        return Err(Refusal::bound(format!("the key has {length} bytes, more than {MAX_KEY_BYTES}")));
    }
    if !Submitter::may_choose(key) {
        return Err(Refusal::BadArguments("a key can't have a NUL character in it".to_owned()));
    }
    Ok(())
}

/// The most bytes of a fairness key.
pub const MAX_FAIRNESS_KEY_BYTES: usize = 200;

/// Checks a fairness key that somebody has chosen.
///
/// # Errors
///
/// [`Refusal::Limit`] or [`Refusal::BadArguments`], with what is wrong.
pub fn check_fairness_key(key: &str) -> Result<(), Refusal> {
    if key.len() > MAX_FAIRNESS_KEY_BYTES {
        let length = key.len();
        let message = format!("the fairness key has {length} bytes, more than {MAX_FAIRNESS_KEY_BYTES}");
        return Err(Refusal::bound(message));
    }
    if key.is_empty() || key.contains(char::is_control) {
        let message = "a fairness key has one character at least, and no control characters";
        return Err(Refusal::BadArguments(message.to_owned()));
    }
    Ok(())
}

/// Checks labels: every store can keep them, once for each invocation that has them.
///
/// # Errors
///
/// [`Refusal::Limit`], with what is wrong.
pub fn check_labels(labels: &[(String, String)]) -> Result<(), Refusal> {
    if labels.len() > MAX_LABELS {
        let count = labels.len();
        return Err(Refusal::bound(format!("there are {count} labels, more than {MAX_LABELS}")));
    }
    let bytes: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_LABEL_BYTES {
        return Err(Refusal::bound(format!("the labels have {bytes} bytes, more than {MAX_LABEL_BYTES}")));
    }
    Ok(())
}

/// One child that a guest wants.
#[derive(Debug, Clone)]
pub struct ChildRequest {
    /// The task, in any form that is unambiguous.
    pub task: Arc<str>,
    /// Its arguments as JSON: an array or an object.
    pub arguments: Arc<str>,
    /// How to submit it.
    pub options: SubmitOptions,
}

/// The condition that ends a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwaitMode {
    /// Every one of them.
    All,
    /// The first one that is final.
    Any,
    /// Like `Any`, but ends with none after this time.
    AnyWithin(Duration),
}

/// How far a guest says it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub done: u64,
    /// Steps in all.
    pub total: u64,
    /// A text that says what it is doing.
    pub message: String,
}

/// Why the runner did not do what a guest asked for. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No task has that name, or several do.
    #[error("{0}")]
    UnknownTask(String),
    /// The arguments do not fit the task's parameters.
    #[error("{0}")]
    BadArguments(String),
    /// No invocation has that id.
    #[error("{0}")]
    UnknownInvocation(String),
    /// The component was not granted this.
    #[error("{0}")]
    Denied(String),
    /// Waiting would never end.
    #[error("{0}")]
    Cycle(String),
    /// A limit stands in the way.
    #[error("{message}")]
    Limit {
        /// The task's limit, if it is one of those and not the runner's.
        limit: Option<LimitKind>,
        /// Which one, in words.
        message: String,
    },
    /// The runner is stopping, or its store can't be reached.
    #[error("{0}")]
    Unavailable(String),
}

impl Refusal {
    /// A bound of the runner stands in the way, which is no limit of a task.
    pub fn bound(message: impl Into<String>) -> Self {
        Self::Limit { limit: None, message: message.into() }
    }
}

/// A pending answer. Dropping it abandons the wait, never the work.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send>>;

/// The runner, as its guests see it.
///
/// All answers are futures, because the caller is a fiber on a slot thread, which none may block. A future
/// that waits for results parks the fiber and frees its slot; the others keep it.
pub trait TaskClient: Send + Sync + 'static {
    /// Checks all children, submits them, and answers with their ids in order once they are durable; many
    /// take several transactions. A repeated attempt that submits the same in the same order gets the same
    /// ids.
    fn submit(&self, caller: &Caller, children: Vec<ChildRequest>) -> Answer<Vec<InvocationId>>;

    /// Submits one child and waits for it. The slot is free meanwhile.
    fn call(&self, caller: &Caller, child: ChildRequest) -> Answer<(InvocationId, Outcome)>;

    /// Waits for results. Answers with pairs of index and outcome: all in the order of `ids`, in
    /// [`AwaitMode::Any`] exactly one, and in [`AwaitMode::AnyWithin`] one or none.
    ///
    /// Refused at once if it would close a cycle of waits.
    fn await_outcomes(
        &self,
        caller: &Caller,
        ids: Vec<InvocationId>,
        mode: AwaitMode,
    ) -> Answer<Vec<(usize, Outcome)>>;

    /// Where an invocation stands now.
    fn status(&self, id: InvocationId) -> Answer<Status>;

    /// Cancels an invocation and its attached descendants; `false` if it was final already.
    /// Denied if it is the caller, or above it.
    fn cancel(&self, caller: &Caller, id: InvocationId) -> Answer<bool>;

    /// Notes how far the caller has come. Never waits.
    fn progress(&self, caller: &Caller, progress: Progress);

    /// Hands over what the caller wrote, in order. Never waits.
    fn log(&self, caller: &Caller, entries: Vec<LogEntry>);
}
