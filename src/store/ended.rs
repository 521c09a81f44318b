//! Invocations that become final although nobody reports on them.

use crate::model::{InvocationId, Outcome, RunnerId, Status};

/// Asks to cancel an invocation and its attached descendants.
#[derive(Debug, Clone)]
pub struct Cancel {
    /// The invocation.
    pub id: InvocationId,
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
