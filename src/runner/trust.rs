//! The time for which a runner may trust that its lease is held.
//!
//! The store decides about leases; a runner only knows when it last heard of its
//! own. A commit that hangs, in a lock or in a network, tells nothing, and the
//! ledger hangs with it. So a thread of its own watches the time, and when it is
//! over, kills the guests: another runner may be about to start them.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::model::RunnerId;

/// The part of a lease that is not trusted: clocks and the way to the store may differ by that much.
const MARGIN: u32 = 10;

/// The trust in the lease.
pub(super) struct Trust {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The id under which the runner claims; `None` once the lease has ended, until there is another id.
    runner: Option<RunnerId>,
    /// `None` while nothing is owned.
    until: Option<Instant>,
    /// The time was over, and the ledger has not yet drawn its conclusions.
    is_over: bool,
    is_stopped: bool,
}

impl Trust {
    /// Begins for a runner that owns nothing yet and claims as `runner`.
    pub(super) fn new(runner: RunnerId) -> Self {
        let state = State { runner: Some(runner), until: None, is_over: false, is_stopped: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Returns the id under which the runner claims; `None` while it has lost its lease and has no other id yet.
    pub(super) fn runner(&self) -> Option<RunnerId> {
        self.state.lock().runner
    }

    /// Whether claims of `runner` may run now: after a commit that took too long, their lease is over.
    pub(super) fn is_good(&self, runner: RunnerId) -> bool {
        let state = self.state.lock();
        state.runner == Some(runner) && state.until.is_none_or(|until| Instant::now() < until)
    }

    /// Extends the trust: a commit that began at `began` has said that a lease of this length is held.
    pub(super) fn extend(&self, began: Instant, lease: Duration) {
        let mut state = self.state.lock();
        // The watching thread looks again when the old time is over.
        if state.until.replace(began + lease - lease / MARGIN).is_none() {
            self.changed.notify_one();
        }
    }

    /// Ends the trust and the watch: nothing is owned.
    pub(super) fn end(&self) {
        self.state.lock().until = None;
    }

    /// Begins anew for a runner that owns nothing, under another id.
    pub(super) fn begin_again(&self, runner: RunnerId) {
        let mut state = self.state.lock();
        state.runner = Some(runner);
        state.until = None;
    }

    /// Takes the sign that the time was over, if it was since the last call.
    pub(super) fn take_over(&self) -> bool {
        std::mem::take(&mut self.state.lock().is_over)
    }

    /// Ends the watching thread.
    pub(super) fn stop(&self) {
        self.state.lock().is_stopped = true;
        self.changed.notify_one();
    }

    /// Runs the watching thread, and calls `on_over` each time the lease may be trusted no longer.
    pub(super) fn watch(&self, on_over: impl Fn()) {
        let mut state = self.state.lock();
        while !state.is_stopped {
            match state.until {
                None => self.changed.wait(&mut state),
                Some(until) if until > Instant::now() => drop(self.changed.wait_until(&mut state, until)),
                Some(_) => {
                    state.runner = None;
                    state.until = None;
                    state.is_over = true;
                    drop(state);
                    tracing::warn!(
                        event = "lease-unheard",
                        "nothing was heard of the lease for too long: guests are killed"
                    );
                    on_over();
                    state = self.state.lock();
                }
            }
        }
    }
}
