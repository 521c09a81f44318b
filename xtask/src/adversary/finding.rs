//! Findings: events that must not happen to a runner, whatever its guests do.

use std::fmt;

/// A bound that was violated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The runner ended by itself.
    Died,
    /// It took more memory than its budget.
    Memory,
    /// A neighbour's call took too long while the runner was busy.
    Slow,
    /// A neighbour's call did not start while the runner had nothing to do.
    Starved,
    /// A neighbour's call failed.
    Innocent,
    /// The runner lost its lease, or did not hear of it for too long.
    Lease,
    /// A thread of the runner panicked.
    Panicked,
    /// It had too many descriptors.
    Descriptors,
    /// It had too many threads.
    Threads,
    /// A scratch directory had more in it than it may, or was left behind.
    Scratch,
    /// The store grew by more than its invocations may write.
    Growth,
    /// The runner did not stop in time.
    Stuck,
}

#[derive(Debug, Clone)]
pub struct Finding {
    pub kind: Kind,
    pub message: String,
}

impl Finding {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}
