//! The duties: work that comes back by itself. Recovery and the sweeps are here, heartbeats in `heartbeat`.

use std::time::{Duration, Instant};

use super::view::View;
use crate::runner::stage::Stage;
use crate::store::{Batch, Keep, NextDue, Prune, PrunePosition, Receipt};

/// Work that a runner does again and again: heartbeats, recovery, sweeps.
///
/// Each turn calls [`plan`](Self::plan), of a duty in `Ledger::duties` only when it is due; then
/// [`settle`](Self::settle) or [`fail`](Self::fail) with the same batch, if there was anything to commit. The batch
/// tells whether the duty had added something. A duty in `Ledger::duties` has a batch of its own: it may submit, and the
/// receipt has its answers alone.
pub(crate) trait Duty: Send {
    /// When it is next due, if time alone makes it due in this stage.
    fn next_due(&self, stage: Stage) -> Option<Instant>;

    /// Adds what is due to a batch.
    fn plan(&mut self, view: &View<'_>, batch: &mut Batch);

    /// Learns from the receipt of a commit that lasted from `began` to `now`.
    fn settle(&mut self, _batch: &Batch, _receipt: &Receipt, _began: Instant, _now: Instant) {}

    /// Makes due again what it had added to a batch that failed.
    fn fail(&mut self, batch: &Batch, began: Instant, now: Instant);
}

/// When something happens by itself, as far as the store's clock tells.
pub(crate) struct RecoveryDuty {
    next: Option<Instant>,
}

impl RecoveryDuty {
    /// Is due at once: nothing is known of the store.
    pub(super) fn new(now: Instant) -> Self {
        Self { next: Some(now) }
    }

    /// Whether it is time to look.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.next.is_some_and(|due| due <= now)
    }

    /// Looks at `moment` at the latest.
    pub(crate) fn look_by(&mut self, moment: Instant) {
        self.next = Some(self.next.map_or(moment, |next| next.min(moment)));
    }

    /// Learns the answer to a question asked at `began`. The store looked at its clock after that, so the
    /// next look is early rather than late, and is told the rest of the way.
    pub(crate) fn learn(&mut self, began: Instant, answer: NextDue) {
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

    fn settle(&mut self, batch: &Batch, receipt: &Receipt, began: Instant, now: Instant) {
        if batch.claim.is_some() {
            self.learn(began, NextDue { now: receipt.now, at: receipt.next_due });
        }
        if receipt.has_cascade {
            self.look_by(now);
        }
    }

    fn fail(&mut self, batch: &Batch, _began: Instant, now: Instant) {
        if batch.recover {
            self.next = Some(now);
        }
    }
}

/// Removes the usage of hours that ended long ago.
pub(super) struct UsageDuty {
    /// How long usage is kept; `None` if for ever.
    age: Option<Duration>,
    next: Instant,
}

/// There is one more hour to remove once an hour.
const USAGE_PAUSE: Duration = Duration::from_secs(3600);

impl UsageDuty {
    pub(super) fn new(age: Option<Duration>, now: Instant) -> Self {
        Self { age, next: now }
    }
}

impl Duty for UsageDuty {
    fn next_due(&self, stage: Stage) -> Option<Instant> {
        (stage == Stage::Working && self.age.is_some()).then_some(self.next)
    }

    fn plan(&mut self, view: &View<'_>, batch: &mut Batch) {
        if self.next_due(view.stage).is_some_and(|next| next <= view.now) {
            batch.prune_usage = self.age;
        }
    }

    fn settle(&mut self, batch: &Batch, receipt: &Receipt, began: Instant, now: Instant) {
        if batch.prune_usage.is_some() {
            let took = now.duration_since(began);
            self.next = now + if receipt.has_old_usage { took * PAUSE_FACTOR } else { USAGE_PAUSE };
        }
    }

    fn fail(&mut self, batch: &Batch, _began: Instant, now: Instant) {
        if batch.prune_usage.is_some() {
            self.next = now + SWEEP_PAUSE;
        }
    }
}

/// A sweep begins this long after the one before it was over.
pub(super) const SWEEP_PAUSE: Duration = Duration::from_secs(60);

/// And never sooner than so many times as long as that one has worked: what has to stay is looked at again.
const SWEEP_PAUSE_FACTOR: u32 = 20;

/// One transaction looks at this many, in some milliseconds: no claim waits for more than that.
const LOOKED_AT_ONCE: usize = 200;

/// After each transaction the sweep pauses for so many times as long as that took.
pub(super) const PAUSE_FACTOR: u32 = 3;

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
            batch.prune = Some(Prune {
                keep,
                max: LOOKED_AT_ONCE,
                after: self.after.take(),
                tasks: None,
                only_counts: false,
            });
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
