//! What one attempt uses, counted while it does.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::Usage;

/// The counters of one attempt. Only ever written by what runs for its guest; read
/// when it has ended, so nothing hangs on their order.
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

/// A number that many may add to.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Counts so much more.
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Meter {
    /// All memories and tables have so many bytes now.
    pub(super) fn has_memory(&self, bytes: u64) {
        self.peak_memory.0.fetch_max(bytes, Ordering::Relaxed);
    }

    /// The guest has used so much fuel in all.
    pub(super) fn has_used_fuel(&self, units: u64) {
        self.fuel.0.store(units.saturating_add(1), Ordering::Relaxed);
    }

    /// What was counted, but for what others know: time and children.
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
