//! Heartbeats: the writes that extend the lease of a runner.

use std::time::{Duration, Instant};

use super::duties::Duty;
use super::view::View;
use crate::runner::stage::Stage;
use crate::store::{Batch, Heartbeat};

/// The heartbeats in the time of a lease: all but one of them may fail.
const HEARTBEATS_IN_LEASE: u32 = 3;

/// A heartbeat that is late by this part of a lease no longer waits for anything that guests have to write: it has
/// a commit of its own.
const LATE: u32 = 6;

/// When the lease must be extended.
#[derive(Default)]
pub(super) struct HeartbeatDuty {
    /// `None` while nothing is owned.
    next: Option<Instant>,
    /// Whether the last one failed.
    has_failed: bool,
}

impl HeartbeatDuty {
    /// Begins an interval: the lease was extended just now.
    pub(super) fn restart(&mut self, now: Instant, lease: Duration) {
        self.next = Some(now + lease / HEARTBEATS_IN_LEASE);
        self.has_failed = false;
    }

    /// Whether a heartbeat is so late that it must not wait for a commit of guests' data.
    pub(super) fn is_late(&self, now: Instant, lease: Duration) -> bool {
        let late = if self.has_failed { Duration::ZERO } else { lease / LATE };
        self.next.is_some_and(|due| due + late <= now)
    }

    /// Makes a batch of the heartbeat alone, if it must not wait for a commit of guests' data.
    pub(super) fn plan_alone(&mut self, view: &View<'_>) -> Option<Batch> {
        if !(view.owns_work && self.is_late(view.now, view.options.settings.lease)) {
            return None;
        }
        let mut batch = Batch::default();
        self.plan(view, &mut batch);
        Some(batch)
    }

    /// Ends the heartbeats: there is no lease.
    pub(super) fn stop(&mut self) {
        self.next = None;
    }
}

impl Duty for HeartbeatDuty {
    fn next_due(&self, _stage: Stage) -> Option<Instant> {
        self.next
    }

    fn plan(&mut self, view: &View<'_>, batch: &mut Batch) {
        if !view.owns_work {
            self.stop();
        }
        if self.next.is_some_and(|due| due <= view.now) {
            let lease = view.options.settings.lease;
            self.restart(view.now, lease);
            batch.heartbeat = Some(Heartbeat { runner: view.runner, lease });
        }
    }

    fn fail(&mut self, batch: &Batch, _began: Instant, now: Instant) {
        if batch.heartbeat.is_some() {
            self.next = Some(now);
            self.has_failed = true;
        }
    }
}
