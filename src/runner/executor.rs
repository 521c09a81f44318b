//! The trait of what runs guests.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Claim, ComponentDigest, Differing, Failure, FailureKind, Interrupt, LimitKind, Outcome, Refusal,
    RetryPolicy, RuleKey, SlotControl, TaskClient,
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

/// A request for a child, with its task resolved and its arguments checked.
pub struct PreparedChild {
    /// The full id of the task.
    pub task: Arc<str>,
    /// The component that provides it.
    pub digest: ComponentDigest,
    /// The arguments: a JSON array, by position.
    pub arguments: Arc<str>,
    /// The most attempts.
    pub max_attempts: u32,
    /// The priority, if the request named none.
    pub priority: i32,
    /// The time after its submit at which it ends at the latest.
    pub deadline: Option<Duration>,
    /// The key by which the task's concurrency and rate rules count it.
    pub lane: Option<RuleKey>,
    /// The key by which the task's uniqueness rule knows it.
    pub unique: Option<(RuleKey, Differing)>,
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
    fn prepare(&self, task: &str, arguments: &str) -> Result<PreparedChild, Refusal>;

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

    fn prepare(&self, task: &str, arguments: &str) -> Result<PreparedChild, Refusal> {
        let task = self.resolve(task).map_err(|error| Refusal::UnknownTask(error.to_string()))?;
        let arguments = self.check_arguments(task, arguments).map_err(|error| match error.is_over_limit {
            true => Refusal::Limit { limit: Some(LimitKind::Arguments), message: error.to_string() },
            false => Refusal::BadArguments(error.to_string()),
        })?;
        Ok(PreparedChild {
            task: Arc::clone(&task.id),
            digest: task.digest,
            lane: task.lane(&arguments),
            unique: task.unique(&arguments),
            arguments,
            max_attempts: task.options.max_attempts,
            priority: task.options.priority,
            deadline: task.options.deadline,
        })
    }

    fn guest_runs(&self, runs: bool) {
        Library::guest_runs(self, runs);
    }
}
