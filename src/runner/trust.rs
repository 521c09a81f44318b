//! How long a runner may believe that what it owns is its own.
//!
//! The store decides about leases; a runner only knows when it last heard of its
//! own. A commit that hangs, in a lock or in a network, tells nothing, and the
//! ledger hangs with it. So a thread of its own watches the time, and when it is
//! over, kills the guests: another runner may be about to start them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::fiber::Kill;
use super::{Core, Stage};

/// A lease is trusted for all but this part of it: what clocks and the way to the
/// store may differ by.
const MARGIN: u32 = 10;

/// Until when the lease may be trusted.
#[derive(Default)]
pub(super) struct Trust {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// `None` while nothing is owned.
    until: Option<Instant>,
    /// The time was over, and the ledger has not yet drawn its conclusions.
    is_over: bool,
    is_stopped: bool,
}

impl Trust {
    /// The store has said, in a commit that began at `began`, that the lease of
    /// so long is held.
    pub(super) fn extend(&self, began: Instant, lease: Duration) {
        let mut state = self.state.lock();
        // The watching thread looks again when the old time is over.
        if state.until.replace(began + lease - lease / MARGIN).is_none() {
            self.changed.notify_one();
        }
    }

    /// Nothing is owned: there is nothing to lose.
    pub(super) fn end(&self) {
        self.state.lock().until = None;
    }

    /// Whether the time was over since this was last asked.
    pub(super) fn take_over(&self) -> bool {
        std::mem::take(&mut self.state.lock().is_over)
    }

    /// Ends the watching thread.
    pub(super) fn stop(&self) {
        self.state.lock().is_stopped = true;
        self.changed.notify_one();
    }
}

/// The life of the watching thread. It wakes at most once a lease.
pub(super) fn watch(core: &Arc<Core>) {
    let trust = &core.trust;
    let mut state = trust.state.lock();
    while !state.is_stopped {
        match state.until {
            None => trust.changed.wait(&mut state),
            Some(until) if until > Instant::now() => drop(trust.changed.wait_until(&mut state, until)),
            Some(_) => {
                state.until = None;
                state.is_over = true;
                drop(state);
                tracing::warn!("nothing was heard of the lease for too long: guests are killed");
                core.disown_everything();
                if core.stage() < Stage::Stopped {
                    core.inbox.call();
                }
                state = trust.state.lock();
            }
        }
    }
}

impl Core {
    /// Kills every guest and forgets every claim without a report: they may be
    /// another runner's by now.
    pub(super) fn disown_everything(&self) {
        for claim in self.scheduler.take_claimed() {
            self.registry.disown(claim.id);
        }
        for fiber in self.live_fibers() {
            self.registry.disown(fiber.id());
            fiber.kill(Kill::NotOurs);
        }
    }
}
