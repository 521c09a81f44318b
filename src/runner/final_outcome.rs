//! Waiting for one invocation from outside of the guests: by a future, or by a thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use super::core::Core;
use super::parking::AwaitOutcomes;
use super::stage::{Stage, stopped};
use super::wait::WaitFor;
use crate::model::{AwaitMode, InvocationId, Outcome, Refusal};

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
            core.look_up(unknown);
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
            Poll::Pending if self.core.stage() == Stage::Stopped => Poll::Ready(Ok(None)),
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
