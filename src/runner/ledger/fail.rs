//! Failed commits: their plans are taken back.

use std::time::{Duration, Instant};

use super::plan::Plan;
use super::state::Ledger;
use crate::runner::inbox::Messages;

impl Ledger {
    /// Takes a plan back whose commit, begun at `began`, has failed: the next turn plans it
    /// again. Returns the questions of guests.
    pub(in crate::runner) fn take_back(&mut self, plan: Plan, began: Instant, now: Instant) -> Messages {
        let Plan { mut batch, asked, fibers, .. } = plan;
        for duty in self.joined() {
            duty.fail(&batch, began, now);
        }
        self.claims.must_take_inventory |= batch.claim.is_some();
        self.held.reports = std::mem::take(&mut batch.reports);
        self.held.fibers = fibers;
        self.bills = std::mem::take(&mut batch.bills);
        asked.into_messages(batch)
    }

    /// Leaves the store alone for a while, which is returned. The effect of the failed commit
    /// is found out before the next.
    pub(in crate::runner) fn doubt(&mut self, now: Instant) -> Duration {
        self.claims.may_have_work = true;
        self.is_in_doubt = true;
        self.held.doubtful = self.held.reports.len();
        self.back_off.lengthen(now)
    }

    /// Forgets everything that was to be written: the runner can never write again.
    pub(in crate::runner) fn abandon(&mut self) {
        (self.held, self.later) = Default::default();
        self.look_ups.clear();
        self.bills.clear();
        self.is_in_doubt = false;
    }
}
