//! The totals of a runner: its threads add to them, and a caller reads them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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

/// The totals of one runner. Its threads add to them without a lock.
#[derive(Default)]
pub(super) struct Counters {
    running: AtomicUsize,
    peak_running: AtomicUsize,
    live: AtomicUsize,
    peak_live: AtomicUsize,
    succeeded: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    released: AtomicU64,
    /// Moving average of how long a guest holds a slot, in nanoseconds: sizes the prefetch.
    slice_nanos: AtomicU64,
}

impl Counters {
    /// Counts a guest that gets a slot.
    pub(super) fn enter_slot(&self) {
        let running = self.running.fetch_add(1, Ordering::AcqRel) + 1;
        self.peak_running.fetch_max(running, Ordering::AcqRel);
    }

    /// Counts a guest that leaves its slot, after a slice this long.
    pub(super) fn leave_slot(&self, slice: Duration) {
        self.running.fetch_sub(1, Ordering::AcqRel);
        let slice = nanos(slice).min(u64::MAX >> 8);
        let old = self.slice_nanos.load(Ordering::Relaxed);
        // A lost update between two slots only makes an average a little older.
        let average = if old == 0 { slice } else { old - old / 8 + slice / 8 };
        self.slice_nanos.store(average, Ordering::Relaxed);
    }

    /// Counts an instance that has begun to live.
    pub(super) fn add_live(&self) {
        let live = self.live.fetch_add(1, Ordering::AcqRel) + 1;
        self.peak_live.fetch_max(live, Ordering::AcqRel);
    }

    /// Counts an instance that lives no longer.
    pub(super) fn remove_live(&self) {
        self.live.fetch_sub(1, Ordering::AcqRel);
    }

    /// Returns the number of instances that live now.
    pub(super) fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// Returns the time for which a guest holds a slot on average; `None` before any has held one.
    pub(super) fn slice(&self) -> Option<Duration> {
        match self.slice_nanos.load(Ordering::Relaxed) {
            0 => None,
            slice => Some(Duration::from_nanos(slice)),
        }
    }

    /// Overrides the average slice: it was a wrong guess.
    pub(super) fn set_slice(&self, slice: Duration) {
        self.slice_nanos.store(nanos(slice), Ordering::Relaxed);
    }

    /// Counts the end of an attempt.
    pub(super) fn count_end(&self, how: &EndKind) {
        let counter = match how {
            EndKind::Final(Outcome::Value(_)) => &self.succeeded,
            EndKind::Final(Outcome::Failure(_)) => &self.failed,
            EndKind::Retry(..) => &self.retried,
            EndKind::Release => &self.released,
        };
        counter.fetch_add(1, Ordering::AcqRel);
    }

    /// Reads all totals.
    pub(super) fn read(&self) -> Gauge {
        Gauge {
            running: self.running.load(Ordering::Acquire),
            peak_running: self.peak_running.load(Ordering::Acquire),
            live: self.live.load(Ordering::Acquire),
            peak_live: self.peak_live.load(Ordering::Acquire),
            succeeded: self.succeeded.load(Ordering::Acquire),
            failed: self.failed.load(Ordering::Acquire),
            retried: self.retried.load(Ordering::Acquire),
            released: self.released.load(Ordering::Acquire),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
