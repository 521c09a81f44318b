//! The hook for metrics and logs: observers are told what a runner does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Claim, InvocationId, RunnerId};
use crate::store::{AttemptEnd, Batch, Receipt, StoreError};

/// Is told what a runner does.
///
/// The thread that takes the runner's turn tells it, in the order of the events, after their commit, with no
/// lock but the ledger's. An observer must be quick, and must neither wait nor call the runner.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Takes note of one event.
    fn observe(&self, observation: &Observation<'_>);
}

/// One event in the life of a runner.
#[derive(Debug)]
#[non_exhaustive]
pub enum Observation<'a> {
    /// A batch was committed. The other observations of that commit follow.
    Committed {
        /// The time that the store took.
        took: Duration,
        /// The number of invocations that it submitted for guests.
        submits: usize,
        /// The number of reports of attempts that it wrote.
        reports: usize,
        /// The number of invocations that it claimed.
        claims: usize,
        /// The number of old invocations that it removed.
        removed: usize,
    },
    /// A commit failed; the batch is tried again after the pause.
    CommitFailed {
        /// The error of the store.
        error: &'a StoreError,
        /// The time for which the store is left alone.
        pause: Duration,
    },
    /// An invocation was claimed, and goes to the slots.
    Claimed {
        /// The claim.
        claim: &'a Claim,
    },
    /// An attempt of this runner ended, and the store has its end.
    Ended {
        /// The invocation.
        id: InvocationId,
        /// The attempt, from 1.
        attempt: u32,
        /// The full id of its task.
        task: &'a str,
        /// Its end, with its usage.
        end: &'a AttemptEnd,
    },
    /// The lease was lost, and everything owned with it.
    LeaseLost {
        /// The id under which the runner owned it.
        lost: RunnerId,
        /// The id under which the runner goes on.
        now: RunnerId,
    },
}

/// Tells all observers of a commit that took so long.
pub(super) fn tell_commit(observers: &[Arc<dyn Observer>], took: Duration, batch: &Batch, receipt: &Receipt) {
    tell(observers, || Observation::Committed {
        took,
        submits: batch.submits.len(),
        reports: batch.reports.len(),
        claims: receipt.claimed.len(),
        removed: receipt.pruned.map_or(0, |pruned| pruned.removed),
    });
}

/// Tells all observers. Nothing is made to be told while nobody observes.
pub(super) fn tell<'a>(observers: &[Arc<dyn Observer>], observation: impl FnOnce() -> Observation<'a>) {
    if !observers.is_empty() {
        let observation = observation();
        observers.iter().for_each(|observer| observer.observe(&observation));
    }
}
