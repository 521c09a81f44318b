//! The counters of one attempt.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::Usage;

/// The counters of one attempt. Only code that runs for its guest writes them, and they are read after its
/// end: their order does not matter.
#[derive(Debug, Default)]
pub(super) struct Meter {
    peak_memory: Counter,
    /// One more than the units used; 0 if nobody counts them.
    fuel: Counter,
    pub(super) log: Counter,
    pub(super) output: Counter,
    pub(super) result: Counter,
    pub(super) read: Counter,
    pub(super) written: Counter,
    pub(super) sent: Counter,
    pub(super) received: Counter,
}

/// A number that several threads may add to.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Adds `more`.
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Meter {
    /// Notes the present bytes of all memories and tables.
    pub(super) fn note_memory(&self, bytes: u64) {
        self.peak_memory.0.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Notes the units of fuel that the guest has used in all.
    pub(super) fn note_fuel(&self, units: u64) {
        self.fuel.0.store(units.saturating_add(1), Ordering::Relaxed);
    }

    /// The usage so far, without time and children, which are counted elsewhere.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            peak_memory_bytes: self.peak_memory.get(),
            fuel: self.fuel.get().checked_sub(1),
            log_bytes: self.log.get(),
            output_bytes: self.output.get(),
            result_bytes: self.result.get(),
            read_bytes: self.read.get(),
            written_bytes: self.written.get(),
            sent_bytes: self.sent.get(),
            received_bytes: self.received.get(),
            ..Usage::default()
        }
    }
}
