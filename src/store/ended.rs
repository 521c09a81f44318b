//! Invocations that become final although nobody reports on them.

use crate::model::{InvocationId, Outcome, RunnerId, Status};

/// Asks to cancel an invocation and its attached descendants.
#[derive(Debug, Clone)]
pub struct Cancel {
    /// The invocation.
    pub id: InvocationId,
    /// The invocation whose guest asks; `None` if somebody outside does.
    pub by: Option<InvocationId>,
    /// For people: why.
    pub message: String,
}

/// The answer to a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It is cancelled now.
    Done,
    /// It was final before, with this status.
    AlreadyFinal(Status),
    /// No invocation has that id.
    Unknown,
    /// It is the one whose guest asks, or above it: nobody ends who called. So is whatever is
    /// so far above that nobody looks. Never the answer to somebody outside.
    Denied,
}

/// An invocation that became final without a report.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The invocation.
    pub id: InvocationId,
    /// The runner that owned it until then.
    pub runner: Option<RunnerId>,
    /// Its outcome.
    pub outcome: Outcome,
}
