//! The switch and the clock of one guest: how whoever owns a slot limits and
//! ends what runs on it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::model::Failure;

/// Shared by the slot thread that runs a guest and the epoch callback inside the
/// guest.
///
/// Only time on a slot counts against the time limit: the slot thread brackets
/// each stretch with [`begin_slice`](Self::begin_slice) and
/// [`end_slice`](Self::end_slice).
#[derive(Debug)]
pub struct GuestControl {
    killed: AtomicBool,
    created: Instant,
    /// Time on slots in finished slices, in nanoseconds.
    used: AtomicU64,
    /// When the present slice began, in nanoseconds after `created`, plus 1; 0
    /// while the guest holds no slot.
    slice_began: AtomicU64,
    time_limit: Duration,
}

impl GuestControl {
    /// A guest that may hold a slot for `time_limit` in all.
    pub fn new(time_limit: Duration) -> Self {
        Self {
            killed: AtomicBool::new(false),
            created: Instant::now(),
            used: AtomicU64::new(0),
            slice_began: AtomicU64::new(0),
            time_limit,
        }
    }

    /// Asks the guest to end. It does at its next epoch tick if it computes; its
    /// fiber is dropped by whoever holds it if it doesn't.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
    }

    /// Whether [`kill`](Self::kill) was called.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// The guest gets a slot.
    pub fn begin_slice(&self) {
        self.slice_began.store(self.since_created() + 1, Ordering::Release);
    }

    /// The guest gives its slot back. Returns how long it held it.
    pub fn end_slice(&self) -> Duration {
        let began = self.slice_began.swap(0, Ordering::AcqRel);
        if began == 0 {
            return Duration::ZERO;
        }
        let slice = self.since_created().saturating_sub(began - 1);
        self.used.fetch_add(slice, Ordering::AcqRel);
        Duration::from_nanos(slice)
    }

    /// Time on slots so far.
    pub fn used(&self) -> Duration {
        let began = self.slice_began.load(Ordering::Acquire);
        let present = if began == 0 { 0 } else { self.since_created().saturating_sub(began - 1) };
        Duration::from_nanos(self.used.load(Ordering::Acquire) + present)
    }

    /// Time on slots that is left.
    pub fn remaining(&self) -> Duration {
        self.time_limit.saturating_sub(self.used())
    }

    /// The limit.
    pub fn time_limit(&self) -> Duration {
        self.time_limit
    }

    /// The failure of a guest whose time is over.
    pub fn time_out(&self) -> Failure {
        Failure::timed_out(format!(
            "the guest held its slot for longer than its time limit of {:?}",
            self.time_limit
        ))
    }

    fn since_created(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_nanos()).unwrap_or(u64::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_without_a_slot_does_not_count() {
        let control = GuestControl::new(Duration::from_secs(1));
        assert_eq!(control.used(), Duration::ZERO);
        control.begin_slice();
        let slice = control.end_slice();
        let used = control.used();
        assert!(used >= slice);
        assert_eq!(control.used(), used, "stands still between slices");
        assert_eq!(control.end_slice(), Duration::ZERO, "ending twice counts once");
    }
}
