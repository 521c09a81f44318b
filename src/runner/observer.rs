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
pub trait Observer: Send + Sync + 'static {
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

/// The observers of a runner; none by default.
#[derive(Clone, Default)]
pub struct Observers(Vec<Arc<dyn Observer>>);

/// They are told in their order.
impl FromIterator<Arc<dyn Observer>> for Observers {
    fn from_iter<I: IntoIterator<Item = Arc<dyn Observer>>>(observers: I) -> Self {
        Self(observers.into_iter().collect())
    }
}

impl Observers {
    /// Tells all of them of a commit that took so long.
    pub(super) fn tell_commit(&self, took: Duration, batch: &Batch, receipt: &Receipt) {
        self.tell(|| Observation::Committed {
            took,
            submits: batch.submits.len(),
            reports: batch.reports.len(),
            claims: receipt.claimed.len(),
        });
    }

    /// Tells all of them. Nothing is made to be told while nobody observes.
    pub(super) fn tell<'a>(&self, observation: impl FnOnce() -> Observation<'a>) {
        if !self.0.is_empty() {
            let observation = observation();
            self.0.iter().for_each(|observer| observer.observe(&observation));
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} observers", self.0.len())
    }
}
