//! The totals of a runner: its threads add to them, and a caller reads them.

use std::time::Duration;

use crate::model::Outcome;
use crate::store::EndKind;

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
    /// Attempts of this runner that failed.
    pub failed: u64,
    /// Attempts of this runner that failed and are followed by another.
    pub retried: u64,
    /// Attempts that were given back.
    pub released: u64,
}

/// The totals of one runner.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) gauge: Gauge,
    /// The time for which a guest holds a slot, as a moving average: sizes the prefetch. `None` before any has.
    pub(super) slice: Option<Duration>,
}

impl Totals {
    /// Counts a guest that gets a slot.
    pub(super) fn enter_slot(&mut self) {
        self.gauge.running += 1;
        self.gauge.peak_running = self.gauge.peak_running.max(self.gauge.running);
    }

    /// Counts a guest that leaves its slot, after a slice this long.
    pub(super) fn leave_slot(&mut self, slice: Duration) {
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
            EndKind::Final(Outcome::Value(_)) => &mut self.gauge.succeeded,
            EndKind::Final(Outcome::Failure(_)) => &mut self.gauge.failed,
            EndKind::Retry(..) => &mut self.gauge.retried,
            EndKind::Release => &mut self.gauge.released,
        };
        *counter += 1;
    }
}
