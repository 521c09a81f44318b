//! Recovery: looks at the store when something happens there by itself. A delay ends, a
//! deadline passes, or the lease of another runner runs out.

use std::time::Instant;

use super::duty::Duty;
use super::view::View;
use crate::runner::stage::Stage;
use crate::store::{Batch, NextDue, Receipt};

/// When something happens by itself, as far as the store's clock tells.
pub(super) struct RecoveryDuty {
    next: Option<Instant>,
}

impl RecoveryDuty {
    /// Is due at once: nothing is known of the store.
    pub(super) fn new(now: Instant) -> Self {
        Self { next: Some(now) }
    }

    /// Whether it is time to look.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next.is_some_and(|due| due <= now)
    }

    /// Looks at `moment` at the latest.
    pub(super) fn look_by(&mut self, moment: Instant) {
        self.next = Some(self.next.map_or(moment, |next| next.min(moment)));
    }

    /// Learns the answer to a question that was asked at `began`. The store looked at its
    /// clock after that: the look is early rather than late, and one that comes early is
    /// told the rest of the way.
    pub(super) fn learn(&mut self, began: Instant, answer: NextDue) {
        if let Some(at) = answer.at {
            self.look_by(began + at.since(answer.now));
        }
    }
}

impl Duty for RecoveryDuty {
    fn next_due(&self, stage: Stage) -> Option<Instant> {
        self.next.filter(|_| stage <= Stage::Draining)
    }

    fn plan(&mut self, view: &View<'_>, batch: &mut Batch) {
        if self.is_due(view.now) {
            self.next = None;
            batch.recover = true;
        }
    }

    fn settle(&mut self, batch: &Batch, receipt: &Receipt, began: Instant, _now: Instant) {
        if batch.claim.is_some() {
            self.learn(began, NextDue { now: receipt.now, at: receipt.next_due });
        }
    }

    fn fail(&mut self, batch: &Batch, _began: Instant, now: Instant) {
        if batch.recover {
            self.next = Some(now);
        }
    }
}
