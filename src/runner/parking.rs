//! The sign by which a guest's host call tells the slot thread that polls it: this is a wait
//! for results.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::core::Core;
use super::wait::{Wait, WaitFor};
use crate::model::{InvocationId, Outcome, Refusal};

thread_local! {
    /// Whether the future that this thread polls has stopped in a wait for results, and may be set aside.
    static AWAITS: Cell<bool> = const { Cell::new(false) };
}

/// Polls a guest and says whether it stopped in a wait for results; otherwise it is in I/O or asleep.
pub(super) fn poll_guest<T>(poll: impl FnOnce() -> Poll<T>) -> (Poll<T>, bool) {
    AWAITS.set(false);
    let polled = poll();
    (polled, AWAITS.take())
}

/// A wait for results, as the future that the guest's host call polls. Unregisters when dropped.
pub(super) struct AwaitOutcomes {
    core: Arc<Core>,
    wait: Arc<Wait>,
}

impl AwaitOutcomes {
    /// Registers a wait. Returns it, and the ids that must be looked up: see `Registry::register`.
    pub(super) fn register(
        core: &Arc<Core>,
        wait_for: WaitFor,
    ) -> Result<(Self, Vec<InvocationId>), Refusal> {
        let (wait, unknown) = core.registry.register(wait_for)?;
        Ok((Self::new(Arc::clone(core), wait), unknown))
    }

    pub(super) fn new(core: Arc<Core>, wait: Arc<Wait>) -> Self {
        Self { core, wait }
    }
}

impl Future for AwaitOutcomes {
    type Output = Result<Vec<(usize, Outcome)>, Refusal>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.wait.poll(context.waker()) {
            Some(answer) => {
                // The guest goes on instead of giving up its slot.
                self.core.scheduler.hand_over_kept();
                Poll::Ready(answer)
            }
            None => {
                AWAITS.set(true);
                Poll::Pending
            }
        }
    }
}

impl Drop for AwaitOutcomes {
    fn drop(&mut self) {
        self.core.registry.unregister(&self.wait);
    }
}
