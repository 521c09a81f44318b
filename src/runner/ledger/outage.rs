//! What guests ask for while the store can't be reached.
//!
//! A full disk is told to guests at once: it may stay full. But a server that
//! restarts, or a cable that is pulled for a moment, is no reason to fail a task: what
//! asks for something waits, for as long as a lease, and is put to the store again
//! with the same ids.

use std::time::Instant;

use super::{Ledger, PendingSubmit, refuse_all};
use crate::runner::core::Core;
use crate::runner::inbox::{Messages, SubmitMessage};
use crate::runner::stage::Stage;
use crate::store::NewInvocation;

/// Since when the store can't be reached, and who waits for it.
#[derive(Default)]
pub(super) struct Outage {
    since: Option<Instant>,
    waiting: Messages,
}

impl Ledger {
    /// Puts the questions that wait for the store before the new ones.
    pub(super) fn ask_again(&mut self, messages: &mut Messages) {
        let mut waiting = std::mem::take(&mut self.outage.waiting);
        std::mem::swap(&mut waiting.submits, &mut messages.submits);
        std::mem::swap(&mut waiting.cancels, &mut messages.cancels);
        std::mem::swap(&mut waiting.statuses, &mut messages.statuses);
        messages.submits.append(&mut waiting.submits);
        messages.cancels.append(&mut waiting.cancels);
        messages.statuses.append(&mut waiting.statuses);
    }

    /// Keeps questions until the store is back, or tells that there will be no
    /// answer.
    pub(super) fn put_off(&mut self, core: &Core, mut messages: Messages, why: &str) {
        let since = *self.outage.since.get_or_insert_with(Instant::now);
        let waits =
            core.store.is_remote() && core.stage() == Stage::Working && since.elapsed() < core.options.lease;
        self.ask_again(&mut messages);
        if waits {
            self.outage.waiting = messages;
        } else {
            refuse_all(messages, why);
        }
    }

    /// The store has answered.
    pub(super) fn end_outage(&mut self) {
        self.outage.since = None;
    }
}

/// The submits of a batch that failed, as they were asked for.
pub(super) fn unsubmitted(pending: Vec<PendingSubmit>, submits: Vec<NewInvocation>) -> Vec<SubmitMessage> {
    let mut submits = submits.into_iter();
    let pending = pending.into_iter();
    pending
        .map(|one| SubmitMessage {
            children: submits.by_ref().take(one.children).chain(one.later).collect(),
            reply: one.reply,
            submitted: one.submitted,
        })
        .collect()
}
