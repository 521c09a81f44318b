//! New invocations, and what becomes of a submit.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{ComponentDigest, Differing, InvocationId, RuleKey, RunnerId};

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
    /// Idempotency key: unique among the invocations of one task.
    pub key: Option<Arc<str>>,
    /// What the task's concurrency and rate rules count it with; `None` if it has
    /// none.
    pub lane: Option<RuleKey>,
    /// What the task's uniqueness rule knows it by.
    pub unique: Option<(RuleKey, Differing)>,
    /// Free text.
    pub labels: Vec<(String, String)>,
    /// Where it hangs in its tree; `None` for a root.
    pub child_of: Option<ChildOf>,
}

impl NewInvocation {
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
            labels: Vec::new(),
            child_of: None,
        }
    }
}

/// A child's place.
#[derive(Debug, Clone)]
pub struct ChildOf {
    /// The invocation whose guest submits it.
    pub parent: InvocationId,
    /// The parent's root.
    pub root: InvocationId,
    /// The parent's depth plus 1.
    pub depth: u32,
    /// The how-manieth child of the parent's attempt it is, from 0. A repeated
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

/// What became of a submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// It was created.
    Created(InvocationId),
    /// One exists already with the same id, the same key, or the same place
    /// under its parent and the same task and arguments: its id.
    Existing(InvocationId),
    /// The same key is taken by an invocation of the same task with other
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
}
