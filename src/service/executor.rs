//! Running components: a library is what a runner runs its claims with.

use std::sync::Arc;

use crate::model::{
    Claim, Guest, Interrupt, LimitKind, MemoryBudget, NoGuest, PreparedCall, Refusal, TaskClient,
};
use crate::runner::Executor;
use crate::store::{TaskRule, TaskSet};
use crate::wasm::Library;

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
    ) -> Result<Guest, NoGuest> {
        Library::start(self, claim, client, interrupt)
    }

    fn prepare(&self, task: &str, arguments: &str) -> Result<PreparedCall, Refusal> {
        let task = self.resolve(task).map_err(|error| Refusal::UnknownTask(error.to_string()))?;
        let arguments = self.check_arguments(task, arguments).map_err(|error| match error.is_over_limit {
            true => Refusal::Limit { limit: Some(LimitKind::Arguments), message: error.to_string() },
            false => Refusal::BadArguments(error.to_string()),
        })?;
        Ok(task.prepared(arguments))
    }

    fn memory_budget(&self) -> Arc<MemoryBudget> {
        Arc::clone(Library::memory_budget(self))
    }

    fn guest_runs(&self, runs: bool) {
        Library::guest_runs(self, runs);
    }
}
