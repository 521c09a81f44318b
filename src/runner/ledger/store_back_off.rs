//! The back-off from a store that can't be used. (The back-off between the attempts of a task
//! is in `model/retry.rs`.)

use std::time::{Duration, Instant};

/// A store that can't be used is tried again after this long, doubled each time.
const FIRST_BACK_OFF: Duration = Duration::from_millis(50);

/// The longest pause.
const LAST_BACK_OFF: Duration = Duration::from_secs(5);

/// Until when the store is left alone.
#[derive(Default)]
pub(in crate::runner) struct StoreBackOff {
    /// The end of the pause, and how long it is.
    pause: Option<(Instant, Duration)>,
}

impl StoreBackOff {
    /// Leaves the store alone for twice as long as the last time. Returns how long that is.
    pub(in crate::runner) fn lengthen(&mut self, now: Instant) -> Duration {
        let pause = self.pause.map_or(FIRST_BACK_OFF, |(_, last)| (last * 2).min(LAST_BACK_OFF));
        self.pause = Some((now + pause, pause));
        pause
    }

    /// Whether the store is left alone.
    pub(in crate::runner) fn is_on(&self, now: Instant) -> bool {
        self.pause.is_some_and(|(until, _)| now < until)
    }

    /// When the store is tried again.
    pub(super) fn until(&self) -> Option<Instant> {
        self.pause.map(|(until, _)| until)
    }

    /// Forgets the pause: the store has answered.
    pub(super) fn end(&mut self) {
        self.pause = None;
    }

    /// Forgets a pause that is over, after a turn in which nothing failed.
    pub(in crate::runner) fn end_if_over(&mut self, now: Instant) {
        self.pause = self.pause.filter(|(until, _)| *until > now);
    }
}
