//! The shape of work that comes back by itself.

use std::time::Instant;

use super::view::View;
use crate::runner::stage::Stage;
use crate::store::{Batch, Receipt};

/// Work that a runner does again and again: heartbeats, recovery, sweeps.
///
/// [`plan`](Self::plan) is called each turn; then [`settle`](Self::settle) or
/// [`fail`](Self::fail) with the same batch, if there was anything to commit. A duty sees
/// from the batch whether it had added something.
pub(super) trait Duty {
    /// When it is next due, if time alone makes it due in this stage.
    fn next_due(&self, stage: Stage) -> Option<Instant>;

    /// Adds what is due to a batch.
    fn plan(&mut self, view: &View<'_>, batch: &mut Batch);

    /// Learns from the receipt of a commit that lasted from `began` to `now`.
    fn settle(&mut self, _batch: &Batch, _receipt: &Receipt, _began: Instant, _now: Instant) {}

    /// Makes due again what it had added to a batch that failed.
    fn fail(&mut self, batch: &Batch, began: Instant, now: Instant);
}
