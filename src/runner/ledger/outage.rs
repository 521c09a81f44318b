//! Stores that can't be reached: the questions of guests meanwhile, and the pauses between attempts. (The
//! back-off between the attempts of a task is in `model/retry.rs`.)
//!
//! A full disk is told to guests at once: it may stay full. But a server that
//! restarts, or a cable that is pulled for a moment, is no reason to fail a task:
//! questions wait, for as long as a lease, and are put to the store again
//! with the same ids.

use std::time::{Duration, Instant};

use crate::runner::inbox::Messages;

/// Since when the store can't be reached, and the questions that wait for it.
#[derive(Default)]
pub(in crate::runner) struct Outage {
    since: Option<Instant>,
    waiting: Messages,
}

impl Outage {
    /// Puts the questions that wait for the store before the new ones.
    pub(in crate::runner) fn ask_again(&mut self, messages: &mut Messages) {
        let waiting = std::mem::take(&mut self.waiting);
        drop(messages.submits.splice(..0, waiting.submits));
        drop(messages.cancels.splice(..0, waiting.cancels));
        drop(messages.statuses.splice(..0, waiting.statuses));
    }

    /// Keeps questions for at most `patience` since the outage began; returns them if it is over.
    pub(in crate::runner) fn put_off(
        &mut self,
        mut messages: Messages,
        patience: Option<Duration>,
        now: Instant,
    ) -> Option<Messages> {
        let since = *self.since.get_or_insert(now);
        self.ask_again(&mut messages);
        if patience.is_some_and(|patience| now.duration_since(since) < patience) {
            self.waiting = messages;
            return None;
        }
        Some(messages)
    }

    /// Ends the outage: the store has answered.
    pub(super) fn end(&mut self) {
        self.since = None;
    }
}

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
