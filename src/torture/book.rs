//! What this process did to the store and what the store said to it: the half of
//! the evidence that is written down while it happens.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use parking_lot::Mutex;

use super::kind::Kind;
use crate::model::{InvocationId, Outcome};
use crate::store::Cancelled;

/// A submit.
#[derive(Debug, Clone)]
pub struct Submit {
    /// The id that was drawn for it.
    pub id: InvocationId,
    /// Its task.
    pub kind: Kind,
    /// How long after the submit it may start.
    pub delay: Duration,
    /// Whether the commit returned. If it failed, the invocation may exist or
    /// not.
    pub is_acknowledged: bool,
}

/// A cancel.
#[derive(Debug, Clone)]
pub struct CancelAsked {
    /// Whose.
    pub id: InvocationId,
    /// What the store said; `None` if the commit failed, and the cancel may have
    /// happened or not.
    pub answer: Option<Cancelled>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Pages {
    /// What was submitted, in order.
    pub submits: Vec<Submit>,
    /// What was cancelled, in order.
    pub cancels: Vec<CancelAsked>,
    /// The outcome of each when it was first seen to be final, as [`full`] text.
    pub seen: HashMap<InvocationId, String>,
    /// Acknowledged, and not yet seen to be final.
    pub pending: BTreeSet<InvocationId>,
    /// Answers of the store that contradict what it said before.
    pub contradictions: Vec<String>,
    /// How often it could not be used, and what it said last.
    pub store_errors: (u64, String),
}

/// Shared by those who write.
#[derive(Debug, Default)]
pub struct Book(Mutex<Pages>);

impl Book {
    /// Reads or writes it.
    pub fn with<T>(&self, with: impl FnOnce(&mut Pages) -> T) -> T {
        with(&mut self.0.lock())
    }

    /// Takes everything out of it.
    pub fn close(&self) -> Pages {
        std::mem::take(&mut self.0.lock())
    }
}

impl Pages {
    /// Notes that the store could not be used.
    pub fn note_error(&mut self, error: &crate::store::StoreError) {
        self.store_errors.0 += 1;
        self.store_errors.1 = error.to_string();
    }
}

/// An outcome as text, with everything in it.
pub fn full(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Value(json) => json.to_string(),
        Outcome::Failure(failure) => format!(
            "!{} {} {}",
            failure.kind.as_str(),
            failure.message,
            failure.error.as_ref().map_or("", |error| error.get())
        ),
    }
}

/// An outcome as guests write it: a value, or `!` and the kind of the failure.
pub fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Value(json) => json.to_string(),
        Outcome::Failure(failure) => format!("!{}", failure.kind.as_str()),
    }
}
