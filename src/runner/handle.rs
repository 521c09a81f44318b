//! Steering a runner from any thread.

use std::sync::Arc;

use super::core::Core;
use super::final_outcome::FinalOutcome;
use super::inbox::CancelMessage;
use super::metrics::Gauge;
use super::stage::Stage;
use crate::model::InvocationId;
use crate::store::{Cancel, StoreError};

/// Steers a runner from any thread.
#[derive(Clone)]
pub struct RunnerHandle {
    pub(super) core: Arc<Core>,
}

impl RunnerHandle {
    /// Tells the runner that another process or thread has changed the store: for stores that
    /// can't tell of changes within their own process.
    pub fn look_again(&self) {
        self.core.tell_foreign_change();
    }

    /// Asks the runner to stop: claim nothing more, finish what runs within the
    /// grace time, give back what is claimed and parked. Returns at once; may be
    /// called any number of times.
    pub fn drain(&self) {
        self.core.advance(Stage::Draining);
    }

    /// Asks the runner to stop now: kill what runs and give it back. Returns at
    /// once.
    pub fn kill(&self) {
        self.core.advance(Stage::Draining);
        self.core.advance(Stage::Killing);
    }

    /// Asks to cancel an invocation with its attached descendants, and to kill
    /// their guests here. Returns at once.
    pub fn cancel(&self, id: InvocationId, message: &str) {
        let cancel = Cancel { id, message: message.to_owned() };
        // Nobody waits for the answer.
        let (reply, _) = tokio::sync::oneshot::channel();
        self.core.tell(|messages| messages.cancels.push(CancelMessage { cancel, reply }));
    }

    /// Waits for an invocation to be final, without holding a thread: dropping the
    /// future ends the wait. It answers
    /// [`Refusal::UnknownInvocation`](crate::model::Refusal::UnknownInvocation) if no invocation has that id, and
    /// [`Refusal::Unavailable`](crate::model::Refusal::Unavailable) if the runner stops first.
    pub fn outcome(&self, id: InvocationId) -> FinalOutcome {
        FinalOutcome::new(&self.core, id)
    }

    /// Returns the reason for which the runner stopped by itself, if it did: its store can't
    /// be used by this program any more.
    pub fn fault(&self) -> Option<StoreError> {
        self.core.fault.get().cloned()
    }

    /// Reads the runner's metrics.
    pub fn gauge(&self) -> Gauge {
        self.core.counters.read()
    }
}
