//! The heartbeat: extends the lease of a runner that owns something.

use std::time::{Duration, Instant};

use super::duty::Duty;
use super::view::View;
use crate::runner::stage::Stage;
use crate::store::{Batch, Heartbeat};

/// A lease outlives this many heartbeat intervals: so many may fail but one.
const INTERVALS_IN_LEASE: u32 = 3;

/// The heartbeat interval: the time from one extension of the lease to the next.
pub(super) fn heartbeat_interval(lease: Duration) -> Duration {
    lease / INTERVALS_IN_LEASE
}

/// When the lease must be extended.
#[derive(Default)]
pub(super) struct HeartbeatDuty {
    /// `None` while nothing is owned.
    next: Option<Instant>,
}

impl HeartbeatDuty {
    /// Begins an interval: the lease was extended just now.
    pub(super) fn restart(&mut self, now: Instant, lease: Duration) {
        self.next = Some(now + heartbeat_interval(lease));
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
            let lease = view.options.lease;
            self.restart(view.now, lease);
            batch.heartbeat = Some(Heartbeat { runner: view.runner, lease });
        }
    }

    fn fail(&mut self, batch: &Batch, _began: Instant, now: Instant) {
        if batch.heartbeat.is_some() {
            self.next = Some(now);
        }
    }
}
