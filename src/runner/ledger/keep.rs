//! Removing what is final and old, a little at a time.

use std::time::{Duration, Instant};

use super::Ledger;
use crate::runner::core::Core;
use crate::runner::stage::Stage;
use crate::store::{Batch, Prune, PrunePosition, StoreError};

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

/// Where the sweep through what is final stands.
pub(super) struct Sweep {
    /// When it goes on.
    next: Instant,
    after: Option<PrunePosition>,
    /// What it has removed so far.
    removed: usize,
    /// How long it has worked so far.
    worked: Duration,
}

impl Sweep {
    pub(super) fn new() -> Self {
        Self { next: Instant::now(), after: None, removed: 0, worked: Duration::ZERO }
    }
}

impl Ledger {
    /// When the sweep goes on, if anything is to be removed at all.
    pub(super) fn next_sweep(&self, core: &Core) -> Option<Instant> {
        (!core.options.retention.is_empty()).then_some(self.sweep.next)
    }

    /// Removes some of what is final and old, if it is time. In a transaction of
    /// its own, so that whatever is wrong with it holds nothing else up.
    pub(super) fn sweep(&mut self, core: &Core) {
        let began = Instant::now();
        if core.stage() != Stage::Working || self.next_sweep(core).is_none_or(|next| next > began) {
            return;
        }
        let prune = Prune {
            keep: core.options.retention.clone(),
            max: LOOKED_AT_ONCE,
            after: self.sweep.after.take(),
        };
        let pruned = match core.store.commit(&Batch { prune: Some(prune), ..Batch::default() }) {
            Ok(receipt) => receipt.pruned,
            Err(error @ StoreError::Upgraded { .. }) => return self.abandon(core, &error),
            Err(error) => {
                tracing::warn!(%error, "what is old could not be removed; trying again later");
                None
            }
        };
        let took = began.elapsed();
        self.sweep.worked += took;
        if let Some(pruned) = pruned {
            self.sweep.removed += pruned.removed;
            self.sweep.after = pruned.next;
        }
        if self.sweep.after.is_some() {
            self.sweep.next = Instant::now() + took * PAUSE_FACTOR;
            return;
        }
        if self.sweep.removed > 0 {
            tracing::debug!(removed = self.sweep.removed, "old invocations were removed");
        }
        let pause = SWEEP_PAUSE.max(self.sweep.worked * SWEEP_PAUSE_FACTOR);
        self.sweep = Sweep { next: Instant::now() + pause, ..Sweep::new() };
    }
}
