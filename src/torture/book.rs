//! The requests of this process to the store, with the store's answers: the half of the
//! evidence that is written down while it happens.

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
    pub kind: Kind,
    /// The delay from the submit to the earliest start.
    pub delay: Duration,
    /// True if the commit returned. If it failed, the invocation may exist or not.
    pub is_acknowledged: bool,
}

/// A cancel.
#[derive(Debug, Clone)]
pub struct CancelAsked {
    pub id: InvocationId,
    /// The store's answer; `None` if the commit failed, and the cancel may have happened or
    /// not.
    pub answer: Option<Cancelled>,
}

/// Everything that was written down.
#[derive(Debug, Default)]
pub struct Pages {
    /// The submits, in order.
    pub submits: Vec<Submit>,
    /// The cancels, in order.
    pub cancels: Vec<CancelAsked>,
    /// The outcome of each when it was first seen to be final, as [`full`] text.
    pub seen: HashMap<InvocationId, String>,
    /// The invocations that were acknowledged and not yet seen to be final.
    pub pending: BTreeSet<InvocationId>,
    /// The answers of the store that contradict earlier ones.
    pub contradictions: Vec<String>,
    /// The number of times that the store could not be used, and its last error.
    pub store_errors: (u64, String),
}

/// The pages, shared by the threads that write.
#[derive(Debug, Default)]
pub struct Book(Mutex<Pages>);

impl Book {
    /// Reads or writes it.
    pub fn with<T>(&self, with: impl FnOnce(&mut Pages) -> T) -> T {
        with(&mut self.0.lock())
    }

    /// Takes all pages out.
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

/// Writes an outcome as text, with everything in it.
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

/// Writes an outcome as guests do: a value, or `!` and the kind of the failure.
pub fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Value(json) => json.to_string(),
        Outcome::Failure(failure) => format!("!{}", failure.kind.as_str()),
    }
}
