//! Stores that can't be reached: the questions of guests meanwhile, and the pauses between attempts. (The
//! back-off between the attempts of a task is in `model/retry.rs`.)
//!
//! A full disk is told to guests at once: it may stay full. But a server that
//! restarts, or a cable that is pulled for a moment, is no reason to fail a task:
//! questions wait, for as long as a lease, and are put to the store again
//! with the same ids.

use std::time::{Duration, Instant};

use crate::runner::inbox::Messages;

/// A store that can't be used is tried again after this long, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// Since when the store can't be reached, until when it is left alone, and the questions that wait for it.
#[derive(Default)]
pub(crate) struct Outage {
    since: Option<Instant>,
    waiting: Messages,
    /// The end of the pause, and how long it is.
    pause: Option<(Instant, Duration)>,
    /// The first of the failures without an answer in between, and how many there were.
    failures: Option<(Instant, u32)>,
    /// How long an outage was that has just ended.
    ended: Option<Duration>,
}

impl Outage {
    /// Puts the questions that wait for the store before the new ones.
    pub(crate) fn ask_again(&mut self, messages: &mut Messages) {
        if !self.waiting.is_urgent() {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        drop(messages.submits.splice(..0, waiting.submits));
        drop(messages.cancels.splice(..0, waiting.cancels));
        drop(messages.standings.splice(..0, waiting.standings));
    }

    /// Keeps questions for at most `patience` since the outage began; returns them if it is over.
    pub(crate) fn put_off(
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

    /// Leaves the store alone for twice as long as the last time. Returns how long that is.
    pub(crate) fn lengthen_pause(&mut self, now: Instant) -> Duration {
        let pause = self.pause.map_or(FIRST_PAUSE, |(_, last)| (last * 2).min(LAST_PAUSE));
        self.pause = Some((now + pause, pause));
        let (since, count) = self.failures.unwrap_or((now, 0));
        self.failures = Some((since, count.saturating_add(1)));
        pause
    }

    /// Whether the last failure was the first of an outage.
    pub(crate) fn has_just_begun(&self) -> bool {
        self.failures.is_some_and(|(_, count)| count == 1)
    }

    /// Returns how long an outage was that has ended since the last call.
    pub(crate) fn take_ended(&mut self) -> Option<Duration> {
        self.ended.take()
    }

    /// Whether the store is left alone.
    pub(crate) fn is_paused(&self, now: Instant) -> bool {
        self.pause.is_some_and(|(until, _)| now < until)
    }

    /// When the store is tried again.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.pause.map(|(until, _)| until)
    }

    /// Ends the outage and its pause: the store has answered.
    pub(super) fn end(&mut self) {
        (self.since, self.pause) = (None, None);
        if let Some((since, _)) = self.failures.take() {
            self.ended = Some(since.elapsed());
        }
    }

    /// Forgets a pause that is over, after a turn in which nothing failed.
    pub(crate) fn end_pause_if_over(&mut self, now: Instant) {
        self.pause = self.pause.filter(|(until, _)| *until > now);
    }
}
