//! The view of the rest of the runner that a plan reads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::RunnerId;
use crate::runner::executor::Executor;
use crate::runner::options::RunnerOptions;
use crate::runner::registry::Registry;
use crate::runner::scheduler::Load;
use crate::runner::stage::Stage;
use crate::store::{Leads, TaskSet};

/// The rest of the runner, as one turn sees it. A plan reads it and changes nothing of it.
pub(crate) struct View<'a> {
    /// The present moment.
    pub(crate) now: Instant,
    /// The id under which the runner claims.
    pub(crate) runner: RunnerId,
    /// The stage of the runner.
    pub(crate) stage: Stage,
    /// The load of the scheduler.
    pub(crate) load: Load,
    /// The time for which a guest holds a slot on average.
    pub(crate) slice: Option<Duration>,
    /// How far awaited invocations may run ahead of others.
    pub(crate) leads: Arc<Leads>,
    /// The users that have more than their share of what there is only so much of, or whose code is being made.
    pub(crate) held_back: Vec<Arc<str>>,
    /// Whether anything is claimed, live or not written: then there is a lease to keep.
    pub(crate) owns_work: bool,
    /// The tasks that this runner claims.
    pub(crate) tasks: Arc<TaskSet>,
    pub(crate) options: &'a RunnerOptions,
    /// Names the rules of its tasks.
    pub(crate) executor: &'a dyn Executor,
    /// Names the awaited invocations, and the owned ones.
    pub(crate) registry: &'a Registry,
}
