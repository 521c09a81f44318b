//! The trait of what runs guests.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::model::{
    Claim, ComponentDigest, Failure, FailureKind, Interrupt, LimitKind, Outcome, PreparedCall, Refusal,
    RetryPolicy, SlotControl, TaskClient,
};
use crate::store::{TaskRule, TaskSet};
use crate::wasm::Library;

/// A started guest. Polling it runs the guest on the polling thread; dropping it
/// kills the guest wherever it is. Answers with what the attempt produced.
pub type GuestFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;

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

/// Runs guests. The runner knows tasks through this trait only, so its tests can
/// do without WebAssembly.
pub trait Executor: Send + Sync + 'static {
    /// The full ids of the tasks that it can run.
    fn tasks(&self) -> Arc<TaskSet>;

    /// The rules of those tasks.
    fn rules(&self) -> Vec<TaskRule> {
        Vec::new()
    }

    /// Makes a guest of a claim. Nothing of the guest runs before the
    /// first poll. Cheap, unless another version has to be compiled: `interrupt` is
    /// thrown when nobody wants the guest any more, and then it returns soon.
    ///
    /// # Errors
    ///
    /// The failure of the attempt, if it can't even start.
    fn start(
        &self,
        claim: &Claim,
        client: &Arc<dyn TaskClient>,
        interrupt: &Interrupt,
    ) -> Result<Guest, Failure>;

    /// Resolves the task of a child and checks its arguments.
    ///
    /// # Errors
    ///
    /// The refusal that the guest gets.
    fn prepare(&self, task: &str, arguments: &str) -> Result<PreparedCall, Refusal>;

    /// Called by a slot thread before a guest runs on it, and after: guests that
    /// compute must be interruptible only in between.
    fn guest_runs(&self, runs: bool);
}

impl Executor for Library {
    fn tasks(&self) -> Arc<TaskSet> {
        self.task_set()
    }

    fn rules(&self) -> Vec<TaskRule> {
        Library::tasks(self).iter().map(|task| TaskRule::new(&task.id, &task.options.rules)).collect()
    }

    fn start(
        &self,
        claim: &Claim,
        client: &Arc<dyn TaskClient>,
        interrupt: &Interrupt,
    ) -> Result<Guest, Failure> {
        let started = Library::start(self, claim, client, interrupt)
            .map_err(|message| Failure::new(FailureKind::Trapped, message))?;
        Ok(Guest {
            future: started.future,
            control: started.control,
            digest: started.digest,
            weight: started.weight,
            retry: started.retry,
        })
    }

    fn prepare(&self, task: &str, arguments: &str) -> Result<PreparedCall, Refusal> {
        let task = self.resolve(task).map_err(|error| Refusal::UnknownTask(error.to_string()))?;
        let arguments = self.check_arguments(task, arguments).map_err(|error| match error.is_over_limit {
            true => Refusal::Limit { limit: Some(LimitKind::Arguments), message: error.to_string() },
            false => Refusal::BadArguments(error.to_string()),
        })?;
        Ok(task.prepared(arguments))
    }

    fn guest_runs(&self, runs: bool) {
        Library::guest_runs(self, runs);
    }
}
