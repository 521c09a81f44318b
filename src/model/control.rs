//! A guest that is ready to run, and how a slot limits and ends it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{ComponentDigest, Failure, FailureKind, LimitKind, Outcome, RetryPolicy, Usage};

/// A started guest, which runs on the thread that polls it, ends with its outcome, and dies when dropped. If there
/// is a shortage before it is an instance, there is no outcome.
pub type GuestFuture = Pin<Box<dyn Future<Output = Result<Outcome, Shortage>> + Send>>;

/// A lack of something that the machine or the process has only so much of, in words: nobody's failure. The
/// attempt that met it is given back, and tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Shortage(pub String);

/// The reasons why there is no guest.
#[derive(Debug)]
pub enum NoGuest {
    /// The attempt has failed.
    Failed(Failure),
    /// It is to be tried again.
    Short(Shortage),
    /// Its code is not ready: it is given back until then.
    Unready,
}

impl NoGuest {
    /// Fails an attempt that can't even start.
    pub fn trapped(message: impl Into<String>) -> Self {
        Self::Failed(Failure::new(FailureKind::Trapped, message))
    }
}

impl From<Failure> for NoGuest {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A guest that is ready to be polled.
pub struct Guest {
    /// The guest.
    pub future: GuestFuture,
    /// Its switch and its clock.
    pub control: Arc<dyn SlotControl>,
    /// The component that it is an instance of.
    pub digest: ComponentDigest,
    /// The number of live instances that it counts for.
    pub weight: usize,
    /// The retries of the task, if the attempt fails.
    pub retry: Arc<RetryPolicy>,
}

/// The switch and the clock of one guest, as the slot that runs it needs them.
///
/// Only time on a slot counts against the guest's time limit: a slot brackets each stretch
/// with [`begin_slice`](Self::begin_slice) and [`end_slice`](Self::end_slice).
pub trait SlotControl: Send + Sync {
    /// Asks the guest to end. It does soon if it computes; otherwise its holder drops it.
    fn kill(&self);

    /// Whether [`kill`](Self::kill) was called.
    fn is_killed(&self) -> bool;

    /// The guest gets a slot.
    fn begin_slice(&self);

    /// The guest gives its slot back. Returns how long it held it.
    fn end_slice(&self) -> Duration;

    /// This thread is about to poll the guest.
    fn begin_poll(&self);

    /// This thread has polled the guest.
    fn end_poll(&self);

    /// Returns what was used so far but for children, asked between polls.
    fn usage(&self) -> Usage;

    /// Returns the bytes of the runner's memory budget that the guest has now.
    fn memory(&self) -> u64 {
        0
    }

    /// Returns the bytes of its compiled code, which are on that budget once for all live guests of its component's
    /// version, beside those.
    fn code(&self) -> u64 {
        0
    }

    /// Returns the bytes of that budget for which the guest waits, if it does: nobody wakes it for them.
    fn wanted_memory(&self) -> Option<u64> {
        None
    }

    /// Returns the time on slots that is left.
    fn remaining(&self) -> Duration;

    /// Makes the failure of a guest whose time is over.
    fn time_out(&self) -> Failure;

    /// Returns the time off its slot that is left.
    fn parked_remaining(&self) -> Duration {
        Duration::MAX
    }

    /// Makes the failure of a guest that was parked for too long.
    fn parked_out(&self) -> Failure {
        Failure::limit(LimitKind::Parked, "the guest was parked for longer than its limit")
    }
}

/// A switch that ends the making of a guest, thrown once, when nobody wants the guest any more.
#[derive(Default)]
pub struct Interrupt {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_thrown: bool,
    /// Called when it is thrown; there are none before anybody really waits.
    listeners: Vec<Box<dyn FnOnce() + Send>>,
}

impl Interrupt {
    /// Throws the switch, which calls the listeners.
    pub fn throw(&self) {
        let listeners = {
            let mut state = self.state.lock();
            state.is_thrown = true;
            std::mem::take(&mut state.listeners)
        };
        listeners.into_iter().for_each(|listener| listener());
    }

    /// Whether it was thrown.
    pub fn is_thrown(&self) -> bool {
        self.state.lock().is_thrown
    }

    /// Calls `listener` when the switch is thrown: at once if it was thrown already.
    pub fn on_throw(&self, listener: impl FnOnce() + Send + 'static) {
        let mut state = self.state.lock();
        if state.is_thrown {
            drop(state);
            listener();
        } else {
            state.listeners.push(Box::new(listener));
        }
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Interrupt").field("is_thrown", &self.is_thrown()).finish_non_exhaustive()
    }
}
