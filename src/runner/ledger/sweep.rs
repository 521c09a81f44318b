//! The sweep: removes old final invocations, a little at a time.

use std::time::{Duration, Instant};

use super::duty::Duty;
use super::view::View;
use crate::runner::stage::Stage;
use crate::store::{Batch, Keep, Prune, PrunePosition, Receipt};

/// A sweep begins this long after the one before it was over.
const SWEEP_PAUSE: Duration = Duration::from_secs(60);

/// And never sooner than so many times as long as that one has worked: most of
/// what is old may have to stay, and is looked at by each sweep.
const SWEEP_PAUSE_FACTOR: u32 = 20;

/// One transaction looks at this many, which takes some milliseconds: a claim
/// waits for no more than that.
const LOOKED_AT_ONCE: usize = 200;

/// After each transaction the sweep pauses for so many times as long as that
/// took.
const PAUSE_FACTOR: u32 = 3;

/// The progress of the sweep through the final invocations.
pub(super) struct SweepDuty {
    /// The retention. If it is empty, everything is kept, and there is no sweep.
    keep: Vec<Keep>,
    /// When it goes on.
    next: Instant,
    after: Option<PrunePosition>,
    /// The number of invocations that this sweep has removed so far.
    removed: usize,
    /// The time that this sweep has worked so far.
    worked: Duration,
}

impl SweepDuty {
    pub(super) fn new(keep: Vec<Keep>, now: Instant) -> Self {
        Self { keep, next: now, after: None, removed: 0, worked: Duration::ZERO }
    }

    /// Ends the sweep; another begins after a pause.
    fn end(&mut self, now: Instant) {
        if self.removed > 0 {
            tracing::debug!(removed = self.removed, "old invocations were removed");
        }
        self.next = now + SWEEP_PAUSE.max(self.worked * SWEEP_PAUSE_FACTOR);
        (self.after, self.removed, self.worked) = (None, 0, Duration::ZERO);
    }
}

impl Duty for SweepDuty {
    fn next_due(&self, stage: Stage) -> Option<Instant> {
        (stage == Stage::Working && !self.keep.is_empty()).then_some(self.next)
    }

    fn plan(&mut self, view: &View<'_>, batch: &mut Batch) {
        if self.next_due(view.stage).is_some_and(|next| next <= view.now) {
            let keep = self.keep.clone();
            batch.prune = Some(Prune { keep, max: LOOKED_AT_ONCE, after: self.after.take() });
        }
    }

    fn settle(&mut self, batch: &Batch, receipt: &Receipt, began: Instant, now: Instant) {
        if batch.prune.is_none() {
            return;
        }
        let took = now.duration_since(began);
        self.worked += took;
        if let Some(pruned) = &receipt.pruned {
            self.removed += pruned.removed;
            self.after = pruned.next;
        }
        if self.after.is_some() {
            self.next = now + took * PAUSE_FACTOR;
        } else {
            self.end(now);
        }
    }

    fn fail(&mut self, batch: &Batch, began: Instant, now: Instant) {
        if batch.prune.is_some() {
            self.worked += now.duration_since(began);
            self.end(now);
        }
    }
}
