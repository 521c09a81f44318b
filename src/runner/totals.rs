//! The totals of a runner: its threads add to them, and a caller reads them.

use std::time::Duration;

use super::slot_times::SlotTimes;
use crate::model::{IdSet, InvocationId, Outcome, Status};
use crate::store::{EndKind, LookUp};

/// A reading of a runner's totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Guests that hold a slot now.
    pub running: usize,
    /// The most that ever did at once.
    pub peak_running: usize,
    /// Live instances now, running and parked.
    pub live: usize,
    /// The most that ever lived at once.
    pub peak_live: usize,
    /// Attempts of this runner that succeeded.
    pub succeeded: u64,
    /// Invocations that failed: by an attempt of this runner, or by a commit of it that found them past their deadline or
    /// lost.
    pub failed: u64,
    /// Invocations that were cancelled: attempts of this runner, and what ended with them.
    pub cancelled: u64,
    /// Invocations that a rule skipped, by a commit of this runner.
    pub skipped: u64,
    /// Attempts of this runner that failed and are followed by another.
    pub retried: u64,
    /// Attempts that were given back.
    pub released: u64,
    /// Attempts of this runner that another one has taken over.
    pub taken: u64,
}

/// The totals of one runner.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) gauge: Gauge,
    /// The time for which a guest holds a slot, as a moving average: sizes the prefetch. `None` before any has.
    pub(super) slice: Option<Duration>,
    /// The same by component.
    pub(super) times: SlotTimes,
    /// Attempts that are no longer this runner's, until the store has said whether they are final. They are counted
    /// as taken over so far.
    taken: IdSet,
}

impl Totals {
    /// Counts a guest that gets a slot.
    pub(super) fn enter_slot(&mut self) {
        self.gauge.running += 1;
        self.gauge.peak_running = self.gauge.peak_running.max(self.gauge.running);
    }

    /// Counts a guest of a component that leaves its slot, after a slice this long, and so long on slots in all.
    pub(super) fn leave_slot(&mut self, component: &str, slice: Duration, in_all: Duration) {
        self.times.note(component, in_all);
        self.gauge.running -= 1;
        let average = self.slice.map_or(slice, |old| old - old / 8 + slice / 8);
        self.slice = Some(average).filter(|average| !average.is_zero());
    }

    /// Counts an instance that has begun to live.
    pub(super) fn add_live(&mut self) {
        self.gauge.live += 1;
        self.gauge.peak_live = self.gauge.peak_live.max(self.gauge.live);
    }

    /// Counts the end of an attempt.
    pub(super) fn count_end(&mut self, how: &EndKind) {
        let counter = match how {
            EndKind::Final(outcome) => return self.count_outcome(outcome),
            EndKind::Retry(..) => &mut self.gauge.retried,
            EndKind::Release => &mut self.gauge.released,
        };
        *counter += 1;
    }

    /// Counts an invocation that became final.
    pub(super) fn count_outcome(&mut self, outcome: &Outcome) {
        let counter = match outcome.status() {
            Status::Succeeded => &mut self.gauge.succeeded,
            Status::Cancelled => &mut self.gauge.cancelled,
            Status::Skipped => &mut self.gauge.skipped,
            _ => &mut self.gauge.failed,
        };
        *counter += 1;
    }

    /// Counts an attempt that somebody else ended or took over.
    pub(super) fn count_taken(&mut self, id: InvocationId) {
        if self.taken.insert(id) {
            self.gauge.taken += 1;
        }
    }

    /// Learns what the store says of invocations: of one that is final its outcome is counted.
    pub(super) fn learn<'a>(&mut self, answers: impl IntoIterator<Item = (InvocationId, &'a LookUp)>) {
        if self.taken.is_empty() {
            return;
        }
        for (id, answer) in answers {
            if self.taken.remove(&id)
                && let LookUp::Final(outcome) = answer
            {
                self.gauge.taken -= 1;
                self.count_outcome(outcome);
            }
        }
    }
}
