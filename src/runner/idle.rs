//! Waits of threads outside for an idle runner, or for one that stops.

use parking_lot::{Condvar, Mutex};

/// Tells threads outside that the runner is idle, or that its stage has changed.
#[derive(Default)]
pub(super) struct Idle {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Somebody waits for the runner to be idle.
    is_wanted: bool,
    is_idle: bool,
}

impl Idle {
    /// Announces that a thread will [`wait`](Self::wait) for the runner to be idle.
    pub(super) fn want(&self) {
        self.state.lock().is_wanted = true;
    }

    /// Whether a thread waits for the runner to be idle.
    pub(super) fn is_wanted(&self) -> bool {
        self.state.lock().is_wanted
    }

    /// Tells the waiting threads that the runner is idle.
    pub(super) fn announce(&self) {
        self.state.lock().is_idle = true;
        self.changed.notify_all();
    }

    /// Makes the waiting threads look at the runner's stage.
    pub(super) fn notify(&self) {
        // Under the lock: a thread that has just looked at the stage waits already.
        drop(self.state.lock());
        self.changed.notify_all();
    }

    /// Waits until the runner is idle, or until `is_stopping`.
    pub(super) fn wait(&self, is_stopping: impl Fn() -> bool) {
        let mut state = self.state.lock();
        self.changed.wait_while(&mut state, |state| !state.is_idle && !is_stopping());
        *state = State::default();
    }

    /// Waits until `is_stopping`.
    pub(super) fn wait_stopping(&self, is_stopping: impl Fn() -> bool) {
        self.changed.wait_while(&mut self.state.lock(), |_| !is_stopping());
    }
}
