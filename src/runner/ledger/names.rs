//! The duty that has the store forget names of tasks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::duties::{Duty, PAUSE_FACTOR, SWEEP_PAUSE};
use super::view::View;
use crate::runner::stage::Stage;
use crate::store::{Batch, Receipt};

/// All names are looked at once in so much time.
const PASS_PAUSE: Duration = Duration::from_secs(3600);

/// Forgets the names of tasks that nothing refers to any more: components come and go, each with names of its own.
pub(super) struct NamesDuty {
    is_on: bool,
    next: Instant,
    /// The last name that this pass has looked at.
    after: Option<Arc<str>>,
}

impl NamesDuty {
    pub(super) fn new(is_on: bool, now: Instant) -> Self {
        Self { is_on, next: now, after: None }
    }
}

impl Duty for NamesDuty {
    fn next_due(&self, stage: Stage) -> Option<Instant> {
        (stage == Stage::Working && self.is_on).then_some(self.next)
    }

    fn plan(&mut self, view: &View<'_>, batch: &mut Batch) {
        if self.next_due(view.stage).is_some_and(|next| next <= view.now) {
            batch.forget_names = Some(self.after.clone().unwrap_or_default());
        }
    }

    fn settle(&mut self, batch: &Batch, receipt: &Receipt, began: Instant, now: Instant) {
        if batch.forget_names.is_some() {
            self.after.clone_from(&receipt.names_after);
            let took = now.duration_since(began);
            self.next = now + if self.after.is_some() { took * PAUSE_FACTOR } else { PASS_PAUSE };
        }
    }

    fn fail(&mut self, batch: &Batch, _began: Instant, now: Instant) {
        if batch.forget_names.is_some() {
            self.next = now + SWEEP_PAUSE;
        }
    }
}
