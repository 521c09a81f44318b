//! The questions of guests while the store can't be reached.
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
        let mut waiting = std::mem::take(&mut self.waiting);
        std::mem::swap(&mut waiting.submits, &mut messages.submits);
        std::mem::swap(&mut waiting.cancels, &mut messages.cancels);
        std::mem::swap(&mut waiting.statuses, &mut messages.statuses);
        messages.submits.append(&mut waiting.submits);
        messages.cancels.append(&mut waiting.cancels);
        messages.statuses.append(&mut waiting.statuses);
    }

    /// Keeps questions until the store is back, for at most `patience` since the outage
    /// began. Returns them if there will be no answer.
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
