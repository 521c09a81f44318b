//! Running guests: the trait by which a runner knows tasks.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Claim, Guest, Interrupt, MemoryBudget, NoGuest, PreparedCall, Refusal, TaskClient};
use crate::store::{TaskRule, TaskSet};

/// Runs guests. A runner knows tasks through this trait only, and nothing of WebAssembly.
pub trait Executor: Send + Sync + 'static {
    /// The full ids of the tasks that it can run.
    fn tasks(&self) -> Arc<TaskSet>;

    /// The rules that somebody has configured for those tasks.
    fn rules(&self) -> Vec<TaskRule> {
        Vec::new()
    }

    /// The rules of those tasks that nobody has configured: they take nothing over from a store that knows better.
    fn default_rules(&self) -> Vec<TaskRule> {
        Vec::new()
    }

    /// Makes a guest of a claim; nothing of it runs before the first poll. If it can't be cheap, `interrupt`, thrown
    /// when nobody wants the guest any more, ends it soon.
    ///
    /// # Errors
    ///
    /// The failure of the attempt, if it can't even start; what the host is short of; or [`NoGuest::Unready`] if its
    /// code is being made.
    fn start(
        &self,
        claim: &Claim,
        client: &Arc<dyn TaskClient>,
        interrupt: &Interrupt,
    ) -> Result<Guest, NoGuest>;

    /// The components of which nothing is to be claimed for now: the code of one of their versions is being made.
    fn held_back(&self) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// Returns the time after which invocations that were [unready](NoGuest::Unready) may be tried again; `None` if
    /// there are none.
    fn unready_for(&self) -> Option<Duration> {
        None
    }

    /// Has `tell` called whenever something that was unready can start, or fails.
    fn tell_ready(&self, _tell: Arc<dyn Fn() + Send + Sync>) {}

    /// Resolves the task of a child and checks its arguments.
    ///
    /// # Errors
    ///
    /// The refusal that the guest gets.
    fn prepare(&self, task: &str, arguments: &str) -> Result<PreparedCall, Refusal>;

    /// Does so for a guest of the task `caller`, whose child may be detached.
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    fn prepare_for(
        &self,
        _caller: &str,
        _detached: bool,
        task: &str,
        arguments: &str,
    ) -> Result<PreparedCall, Refusal> {
        self.prepare(task, arguments)
    }

    /// Whether guests of the component of the task `caller` may submit a task, so that they may await and cancel
    /// invocations of it in other trees, too.
    fn may_submit(&self, _caller: &str, _task: &str) -> bool {
        true
    }

    /// The memory that its guests may take together.
    fn memory_budget(&self) -> Arc<MemoryBudget> {
        Arc::default()
    }

    /// Gives up what it can do without and make again, because the host is short of something.
    fn ease_shortage(&self) {}

    /// Notes that a guest begins to run on this slot thread, or ends: in between it must be interruptible.
    fn guest_runs(&self, runs: bool);
}
