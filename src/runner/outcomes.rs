//! Futures that wait for outcomes: those of guests, which park meanwhile, and those of threads outside.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use super::core::Core;
use super::stage::{Stage, stopped};
use super::wait::{Wait, WaitFor};
use crate::model::{AwaitMode, InvocationId, Outcome, Refusal};

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
    pub(super) wait: Arc<Wait>,
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

/// A wait for an outcome: see [`RunnerHandle::outcome`](super::RunnerHandle::outcome). Dropping it ends it.
pub struct FinalOutcome {
    core: Arc<Core>,
    outcomes: Result<AwaitOutcomes, Refusal>,
}

impl FinalOutcome {
    /// Begins to wait.
    pub(super) fn new(core: &Arc<Core>, id: InvocationId) -> Self {
        let wait_for = WaitFor { caller: None, depth: 0, ids: vec![id], mode: AwaitMode::All };
        let outcomes = AwaitOutcomes::register(core, wait_for).map(|(outcomes, unknown)| {
            core.look_up(&outcomes.wait, unknown);
            outcomes
        });
        Self { core: Arc::clone(core), outcomes }
    }

    /// Blocks this thread until the outcome is there; `None` after `deadline`, or if the runner stops.
    pub(super) fn block(mut self, deadline: Option<Instant>) -> Result<Option<Outcome>, Refusal> {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            if let Poll::Ready(answer) = self.poll_outcome(&mut Context::from_waker(&waker)) {
                return answer;
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => return Ok(None),
                Some(left) => std::thread::park_timeout(left),
                None => std::thread::park(),
            }
        }
    }

    /// Polls the wait; answers `None` if the runner has stopped.
    fn poll_outcome(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Outcome>, Refusal>> {
        let outcomes = match &mut self.outcomes {
            Ok(outcomes) => outcomes,
            Err(refusal) => return Poll::Ready(Err(refusal.clone())),
        };
        match Pin::new(outcomes).poll(context) {
            Poll::Ready(answer) => {
                Poll::Ready(answer.map(|mut outcomes| outcomes.pop().map(|(_, outcome)| outcome)))
            }
            // A wait that was registered too late to be refused by the stopping runner sees the stage here.
            Poll::Pending if self.core.stages.now() == Stage::Stopped => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Future for FinalOutcome {
    type Output = Result<Outcome, Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_outcome(context).map(|answer| answer?.ok_or_else(stopped))
    }
}
