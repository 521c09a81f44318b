//! New invocations, and what becomes of a submit.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Callers, ComponentDigest, Differing, InvocationId, Labels, MAX_DELAY, MAX_PRIORITY, OverQuota,
    PreparedCall, Refusal, RuleKey, RunnerId, SubmitLimits, SubmitOptions, Submitter, TaskId,
    check_fairness_key, check_key, check_labels, is_valid_priority,
};

/// An invocation to be created. Its arguments were checked already.
#[derive(Debug, Clone)]
pub struct NewInvocation {
    /// Its id, drawn by whoever submits, so that a repeated commit can't create
    /// it twice: an id that exists already is answered with
    /// [`Submitted::Existing`] and changes nothing.
    pub id: InvocationId,
    /// The full id of its task.
    pub task: Arc<str>,
    /// The component that it is submitted for.
    pub component_digest: ComponentDigest,
    /// The arguments: a JSON array, by position.
    pub arguments: Arc<str>,
    /// At least 1.
    pub max_attempts: u32,
    /// From -1000 to 1000.
    pub priority: i32,
    /// How long after now it becomes claimable.
    pub delay: Duration,
    /// How long after now it ends as failed, unless it is final before. An
    /// attached child never gets a later deadline than its parent has.
    pub deadline: Option<Duration>,
    /// Idempotency key: unique among the invocations of one task. It says whose it is ([`Submitter`]).
    pub key: Option<Arc<str>>,
    /// The key by which the task's concurrency and rate rules count it; `None` if it has
    /// none.
    pub lane: Option<RuleKey>,
    /// The key by which the task's uniqueness rule knows it among those of its submitter.
    pub unique: Option<(RuleKey, Differing)>,
    /// The key by which it shares the slots with others, if not the component of its task. A child has that of its
    /// parent.
    pub fairness_key: Option<Arc<str>>,
    /// Free text.
    pub labels: Labels,
    /// Limits that hold at each attempt where they are lower than those of the task. A child has those of its parent.
    pub limits: SubmitLimits,
    /// The other components above it: they tell its guests' keys apart.
    pub callers: Callers,
    /// Where it hangs in its tree; `None` for a root.
    pub child_of: Option<ChildOf>,
}

/// Why no invocation can be made of a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The priority is out of bounds.
    #[error("priority `{0}` is not between -{MAX_PRIORITY} and {MAX_PRIORITY}")]
    Priority(i32),
    /// The delay or the deadline is too long.
    #[error("the {0} of `{1:?}` is longer than 3650 days")]
    TooLong(&'static str, Duration),
    /// The key or the labels are too large.
    #[error(transparent)]
    Bound(Refusal),
    /// One key is given to so many.
    #[error("a key names one invocation, and {0} are to be submitted")]
    SharedKey(usize),
    /// It could never start before its deadline.
    #[error("{}", told(.deadline, .delay, .is_configured))]
    Deadline {
        /// How long after the submit it would end.
        deadline: Duration,
        /// How long after the submit it may start.
        delay: Duration,
        /// Whether it is the task's own deadline: the submit named none.
        is_configured: bool,
    },
}

fn told(deadline: &Duration, delay: &Duration, is_configured: &bool) -> String {
    let which = if *is_configured { "the configured deadline" } else { "the deadline" };
    match delay.is_zero() {
        true => format!("{which} of `{deadline:?}` is over at once"),
        false => format!("{which} of `{deadline:?}` is over before the delay of `{delay:?}`"),
    }
}

impl SubmitError {
    /// Checks that of several submits none has a key.
    ///
    /// # Errors
    ///
    /// [`SubmitError::SharedKey`].
    pub fn check_keys(count: usize, have_key: bool) -> Result<(), Self> {
        if have_key && count != 1 { Err(Self::SharedKey(count)) } else { Ok(()) }
    }
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Bound(refusal) => refusal,
            other => Self::BadArguments(other.to_string()),
        }
    }
}

impl NewInvocation {
    /// Makes the invocation that a submit of a call asks for, as the root of a tree.
    /// Every submit, of a command, a guest or a program, is made here; whoever submits does so with keys
    /// of its own.
    ///
    /// # Errors
    ///
    /// [`SubmitError`].
    pub fn of(
        call: PreparedCall,
        options: SubmitOptions,
        submitter: Submitter<'_>,
    ) -> Result<Self, SubmitError> {
        let priority = options.priority.unwrap_or(call.priority);
        if !is_valid_priority(priority) {
            return Err(SubmitError::Priority(priority));
        }
        options.key.as_deref().map_or(Ok(()), check_key).map_err(SubmitError::Bound)?;
        check_labels(&options.labels).map_err(SubmitError::Bound)?;
        options.fairness_key.as_deref().map_or(Ok(()), check_fairness_key).map_err(SubmitError::Bound)?;
        let deadline = options.deadline.or(call.deadline);
        for (what, time) in [("delay", options.delay), ("deadline", deadline.unwrap_or_default())] {
            if time > MAX_DELAY {
                return Err(SubmitError::TooLong(what, time));
            }
        }
        if let Some(deadline) = deadline.filter(|deadline| *deadline <= options.delay) {
            let is_configured = options.deadline.is_none();
            return Err(SubmitError::Deadline { deadline, delay: options.delay, is_configured });
        }
        Ok(Self {
            id: InvocationId::generate(),
            task: call.task,
            component_digest: call.digest,
            arguments: call.arguments,
            max_attempts: call.max_attempts,
            priority,
            delay: options.delay,
            deadline,
            key: options.key.map(|chosen| submitter.key(&chosen)),
            lane: call.lane,
            unique: call.unique.map(|(key, differing)| (submitter.unique(key), differing)),
            fairness_key: options.fairness_key,
            labels: options.labels,
            limits: options.limits,
            callers: Callers::default(),
            child_of: None,
        })
    }

    /// The fairness key of a root.
    pub(super) fn fairness_key(&self) -> &str {
        self.fairness_key.as_deref().unwrap_or_else(|| TaskId::component_of(&self.task))
    }

    /// A root that can be claimed at once, once, and that no rule knows of.
    pub fn new(task: impl Into<Arc<str>>, digest: ComponentDigest, arguments: impl Into<Arc<str>>) -> Self {
        Self {
            id: InvocationId::generate(),
            task: task.into(),
            component_digest: digest,
            arguments: arguments.into(),
            max_attempts: 1,
            priority: 0,
            delay: Duration::ZERO,
            deadline: None,
            key: None,
            lane: None,
            unique: None,
            fairness_key: None,
            labels: Arc::default(),
            limits: SubmitLimits::default(),
            callers: Callers::default(),
            child_of: None,
        }
    }
}

/// A child's place.
#[derive(Debug, Clone)]
pub struct ChildOf {
    /// The invocation whose guest submits it.
    pub parent: InvocationId,
    /// The full id of the parent's task.
    pub task: Arc<str>,
    /// The parent's root.
    pub root: InvocationId,
    /// The parent's depth plus 1.
    pub depth: u32,
    /// The number of submits that the parent's attempt made before it. A repeated
    /// attempt of the parent that submits the same task and arguments at the
    /// same place is answered with the child that exists.
    pub index: u32,
    /// Whether it outlives its parent.
    pub detached: bool,
    /// The parent's attempt that submits it. If that attempt no longer owns the
    /// parent, the child is not created: see [`Submitted::Orphan`].
    pub parent_runner: RunnerId,
    /// See `parent_runner`.
    pub parent_attempt: u32,
}

/// The answer to a submit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It was created.
    Created(InvocationId),
    /// One exists already with the same id, the same key, or the same place
    /// under its parent and the same task and arguments: its id.
    Existing(InvocationId),
    /// Its key is taken by an invocation of the same task with other
    /// arguments: its id. Nothing was created.
    KeyConflict(InvocationId),
    /// The parent is final, or its attempt is no longer owned by the runner that
    /// submits: nothing was created, and the parent's guest must be killed.
    Orphan,
    /// By the task's uniqueness rule it is the same as this unfinished invocation,
    /// which has other arguments, and the rule refuses that. Nothing was created.
    UniqueConflict(InvocationId),
    /// An attached child in a lane that its own ancestors fill, this one the
    /// nearest: it could not start before they end, and they would wait for it.
    /// Nothing was created.
    BehindAncestor(InvocationId),
    /// Its component, or its fairness key, has no room for it. Nothing was created.
    OverQuota(Arc<OverQuota>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(deadline: Option<u64>) -> PreparedCall {
        PreparedCall {
            task: "a:b/c.d".into(),
            digest: ComponentDigest::from_bytes([1; 32]),
            arguments: "[]".into(),
            max_attempts: 2,
            priority: 5,
            deadline: deadline.map(Duration::from_secs),
            lane: None,
            unique: None,
        }
    }

    #[test]
    fn a_submit_overrides_its_task() {
        let new =
            NewInvocation::of(call(Some(9)), SubmitOptions::default(), Submitter::Outside).expect("it fits");
        assert_eq!((new.priority, new.deadline), (5, Some(Duration::from_secs(9))));
        let deadline = Some(Duration::from_secs(1));
        let options = SubmitOptions { priority: Some(-7), deadline, ..SubmitOptions::default() };
        let new = NewInvocation::of(call(Some(9)), options, Submitter::Outside).expect("it fits");
        assert_eq!((new.priority, new.deadline, new.max_attempts), (-7, deadline, 2));
    }

    #[test]
    fn what_could_never_run_is_refused() {
        let delay = Duration::from_secs(3);
        let of = |own, options| {
            let refused = NewInvocation::of(call(own), options, Submitter::Outside);
            refused.expect_err("refused").to_string()
        };
        let late = SubmitOptions { delay, ..SubmitOptions::default() };
        let configured = "the configured deadline of `3s` is over before the delay of `3s`";
        assert_eq!(of(Some(3), late.clone()), configured);
        let own = SubmitOptions { deadline: Some(delay), ..late };
        assert_eq!(of(None, own), "the deadline of `3s` is over before the delay of `3s`");
        let at_once = SubmitOptions { deadline: Some(Duration::ZERO), ..SubmitOptions::default() };
        assert_eq!(of(None, at_once), "the deadline of `0ns` is over at once");
    }

    #[test]
    fn what_no_store_could_keep_is_refused() {
        for options in [
            SubmitOptions { delay: MAX_DELAY + Duration::from_nanos(1), ..SubmitOptions::default() },
            SubmitOptions { deadline: Some(Duration::MAX), ..SubmitOptions::default() },
        ] {
            let error = NewInvocation::of(call(None), options, Submitter::Outside).unwrap_err();
            assert!(error.to_string().ends_with("is longer than 3650 days"), "{error}");
        }
        let options = SubmitOptions { priority: Some(1001), ..SubmitOptions::default() };
        let error = NewInvocation::of(call(None), options, Submitter::Outside).expect_err("refused");
        assert_eq!(error.to_string(), "priority `1001` is not between -1000 and 1000");
        let options = SubmitOptions { key: Some("k".repeat(1025).into()), ..SubmitOptions::default() };
        let error = NewInvocation::of(call(None), options, Submitter::Outside).expect_err("refused");
        assert!(matches!(Refusal::from(error), Refusal::Limit { limit: None, .. }));
        let options = SubmitOptions { key: Some("one\0key".into()), ..SubmitOptions::default() };
        let error = NewInvocation::of(call(None), options, Submitter::Outside).expect_err("refused");
        assert_eq!(error.to_string(), "a key can't have a NUL character in it");
        assert_eq!(SubmitError::check_keys(2, true), Err(SubmitError::SharedKey(2)));
        assert_eq!(SubmitError::check_keys(1, true).and(SubmitError::check_keys(2, false)), Ok(()));
    }
}
