//! The ends of parked time: guests that were parked for as long as they may are ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::core::Core;
use super::fiber::{Fiber, Kill, Phase};

/// When to look next for guests that were parked for too long.
pub(super) struct Parking {
    began: Instant,
    /// The earliest end of parked time that is known, in nanoseconds after `began`. Its guest may run again by then:
    /// the look costs little, and is for all.
    next: AtomicU64,
}

impl Parking {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), next: AtomicU64::new(u64::MAX) }
    }

    /// Takes note of a guest that may be parked for so long from now.
    fn note(&self, left: Duration) {
        let end = self.began.elapsed().saturating_add(left);
        self.next.fetch_min(u64::try_from(end.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    /// When to look, if anybody has a limit.
    pub(super) fn next(&self) -> Option<Instant> {
        let next = Some(self.next.load(Ordering::Acquire)).filter(|next| *next < u64::MAX)?;
        self.began.checked_add(Duration::from_nanos(next))
    }
}

impl Core {
    /// Sees to it that a guest which is about to park is ended when its parked time is over. The note of its wait, which
    /// follows, has the ledger set its alarm.
    pub(super) fn watch_parked(&self, fiber: &Fiber) {
        self.parking.note(fiber.control.parked_remaining());
    }

    /// Ends the guests whose parked time is over.
    pub(super) fn end_parked(&self, now: Instant) {
        if self.parking.next().is_none_or(|next| now < next) {
            return;
        }
        self.parking.next.store(u64::MAX, Ordering::Release);
        for fiber in self.live_fibers() {
            match fiber.control.parked_remaining() {
                Duration::ZERO if fiber.is(Phase::Parked) => fiber.kill(Kill::ParkedTooLong),
                // It says so itself when it parks again.
                Duration::ZERO => {}
                left => self.parking.note(left),
            }
        }
    }
}
