//! The view of the rest of the runner that a plan reads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::RunnerId;
use crate::runner::executor::Executor;
use crate::runner::options::RunnerOptions;
use crate::runner::registry::Registry;
use crate::runner::scheduler::Load;
use crate::runner::stage::Stage;
use crate::store::TaskSet;

/// The rest of the runner, as one turn sees it. A plan reads it and changes nothing of it.
pub(in crate::runner) struct View<'a> {
    /// The present moment.
    pub(in crate::runner) now: Instant,
    /// The id under which the runner claims.
    pub(in crate::runner) runner: RunnerId,
    /// The stage of the runner.
    pub(in crate::runner) stage: Stage,
    /// The load of the scheduler.
    pub(in crate::runner) load: Load,
    /// The time for which a guest holds a slot on average.
    pub(in crate::runner) slice: Option<Duration>,
    /// Whether anything is claimed, live or not written: then there is a lease to keep.
    pub(in crate::runner) owns_work: bool,
    pub(in crate::runner) options: &'a RunnerOptions,
    /// Names the tasks that it can run, and their rules.
    pub(in crate::runner) executor: &'a dyn Executor,
    /// Names the awaited invocations, and the owned ones.
    pub(in crate::runner) registry: &'a Registry,
}

impl View<'_> {
    /// The tasks that this runner claims.
    pub(super) fn tasks(&self) -> Arc<TaskSet> {
        self.options.tasks_of(self.executor)
    }
}
