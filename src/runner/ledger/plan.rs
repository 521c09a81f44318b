//! Planning: makes one batch of everything that a turn has to write.

use std::sync::Arc;

use super::asked::{Asked, PendingSubmit};
use super::share;
use super::state::Ledger;
use super::view::View;
use crate::runner::fiber::Fiber;
use crate::runner::inbox::{Messages, SubmitMessage};
use crate::store::{Batch, Inventory};

/// One batch, and the means to settle it.
pub(in crate::runner) struct Plan {
    pub(in crate::runner) batch: Batch,
    /// The questions that the receipt answers, and those that a read does.
    pub(in crate::runner) asked: Asked,
    /// The fibers of the batch's reports.
    pub(super) fibers: Vec<Option<Arc<Fiber>>>,
    /// Whether to ask the store when something happens by itself: a stranger's deadline
    /// passes also while this runner has no room to claim.
    pub(in crate::runner) asks_next_due: bool,
}

impl Ledger {
    /// Makes one batch of the messages, of the reports that are held, and of the duties that
    /// are due. Large messages are split: their rest waits for the next turn.
    pub(in crate::runner) fn plan(&mut self, messages: Messages, view: &View<'_>) -> Plan {
        let mut batch = Batch::default();
        for duty in self.joined() {
            duty.plan(view, &mut batch);
        }
        self.claims.may_have_work |=
            batch.recover || !messages.submits.is_empty() || self.held.may_free_lane();
        self.later = self.held.split_share();
        if !self.has_told_rules {
            batch.rules = view.executor.rules();
        }
        let mut asked = Asked { statuses: messages.statuses, ..Asked::default() };
        asked.submits.reserve_exact(messages.submits.len());
        for SubmitMessage { mut children, reply, submitted } in messages.submits {
            let later = children.split_off(share::children(&children));
            let first = children.first().map(|child| child.id);
            asked.submits.push(PendingSubmit { children: children.len(), later, submitted, first, reply });
            for deadline in children.iter().filter_map(|child| child.deadline) {
                self.recovery.look_by(view.now + deadline);
            }
            match batch.submits.is_empty() {
                true => batch.submits = children,
                false => batch.submits.append(&mut children),
            }
        }
        for message in messages.cancels {
            batch.cancels.push(message.cancel);
            asked.cancels.push(message.reply);
        }
        batch.reports = std::mem::take(&mut self.held.reports);
        let fibers = std::mem::take(&mut self.held.fibers);
        batch.bills = std::mem::take(&mut self.bills);
        if self.claims.must_take_inventory {
            batch.inventory = Some(Inventory { runner: view.runner, owned: view.registry.owned() });
        }
        batch.claim = self.claims.request(view);
        let asks_next_due = batch.claim.is_none() && (batch.recover || messages.has_foreign_change);
        Plan { batch, asked, fibers, asks_next_due }
    }
}
