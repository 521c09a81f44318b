//! Running components: a runner runs its claims with a library, which is replaced when components come and go.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use crate::model::{
    Claim, Guest, Interrupt, LimitKind, MemoryBudget, NoGuest, PreparedCall, Refusal, TaskClient, TaskId,
    TaskRules,
};
use crate::runner::{Executor, NewRules};
use crate::store::{TaskRule, TaskSet};
use crate::wasm::{Library, Task};

use super::compiling::Compiling;
use super::components::removed_message;

/// The library of a runner, as it is now, and the code that is being made for it.
pub struct Live {
    library: RwLock<Arc<Library>>,
    compiling: Arc<Compiling>,
    /// Thrown: slots wait for no compiler.
    at_once: Interrupt,
}

impl Live {
    /// Begins with a library.
    pub fn new(library: Arc<Library>) -> Self {
        let at_once = Interrupt::default();
        at_once.throw();
        Self { library: RwLock::new(library), compiling: Compiling::new(), at_once }
    }

    /// The library as it is now. One that is replaced lives on as long as somebody uses it.
    pub fn library(&self) -> Arc<Library> {
        Arc::clone(&self.library.read())
    }

    /// The code that is being made.
    pub(super) fn compiling(&self) -> &Arc<Compiling> {
        &self.compiling
    }

    /// Puts another library in its place. Returns the rules of the tasks that are new, or have other rules, and those of
    /// tasks that are gone: of components that come and go nothing is left behind.
    pub(super) fn replace(&self, library: Arc<Library>) -> NewRules {
        let old = std::mem::replace(&mut *self.library.write(), Arc::clone(&library));
        let known = |task: &Task| {
            let known = old.tasks().binary_search_by(|one| one.id.cmp(&task.id));
            known.is_ok_and(|place| old.tasks()[place].options.rules == task.options.rules)
        };
        let is_gone = |task: &Task| library.tasks().binary_search_by(|one| one.id.cmp(&task.id)).is_err();
        let dropped = rules_of(&old, |task| is_gone(task) && !is_named(&old, task)).configured;
        NewRules { dropped, ..rules_of(&library, |task| !known(task)) }
    }
}

/// The rules of some tasks. Nobody has configured those of a component that is not configured, as long as they
/// are what every task has.
fn rules_of(library: &Library, mut is_meant: impl FnMut(&Task) -> bool) -> NewRules {
    let is_default = |task: &&Task| *task.options.rules == TaskRules::default() && !is_named(library, task);
    let tasks = library.tasks().iter().filter(|task| is_meant(task));
    let (default, configured): (Vec<_>, Vec<_>) = tasks.partition(is_default);
    let rules = |tasks: Vec<&Task>| -> Vec<_> {
        tasks.into_iter().map(|task| TaskRule::new(&task.id, &task.options.rules)).collect()
    };
    NewRules { configured: rules(configured), default: rules(default), dropped: Vec::new() }
}

/// Whether the configuration names the component of a task.
fn is_named(library: &Library, task: &Task) -> bool {
    library.is_named(TaskId::split(&task.id).0.unwrap_or_default())
}

/// Checks a call of a task of a library.
fn prepare(library: &Library, task: &str, arguments: &str) -> Result<PreparedCall, Refusal> {
    let task = library.resolve(task).map_err(|error| Refusal::UnknownTask(error.to_string()))?;
    let arguments = library.check_arguments(task, arguments).map_err(|error| match error.is_over_limit {
        true => Refusal::Limit { limit: Some(LimitKind::Arguments), message: error.to_string() },
        false => Refusal::BadArguments(error.to_string()),
    })?;
    Ok(task.prepared(arguments))
}

impl Executor for Live {
    fn tasks(&self) -> Arc<TaskSet> {
        self.library().task_set()
    }

    fn rules(&self) -> Vec<TaskRule> {
        rules_of(&self.library(), |_| true).configured
    }

    fn default_rules(&self) -> Vec<TaskRule> {
        rules_of(&self.library(), |_| true).default
    }

    fn start(
        &self,
        claim: &Claim,
        client: &Arc<dyn TaskClient>,
        interrupt: &Interrupt,
    ) -> Result<Guest, NoGuest> {
        let library = self.library();
        if !library.keeps_code() {
            // Code that another thread compiles would be gone again.
            return library.start(claim, client, interrupt);
        }
        // Only called for starts that need it: it searches the id.
        let version = || (Arc::from(TaskId::component_of(&claim.task)), claim.component_digest.to_string());
        if let Some(failure) = self.compiling.take_failure(version) {
            return Err(failure);
        }
        let started = library.start(claim, client, &self.at_once);
        if let Err(NoGuest::Unready) = started {
            let ((component, digest), needed_by) = (version(), claim.clone());
            let make = move |interrupt: &Interrupt| library.make_ready(&needed_by, interrupt);
            self.compiling.begin(&component, digest, true, make).map_err(NoGuest::Short)?;
        }
        started
    }

    fn held_back(&self) -> Vec<Arc<str>> {
        self.compiling.held_back()
    }

    fn unready_for(&self) -> Option<Duration> {
        self.compiling.again()
    }

    fn tell_ready(&self, tell: Arc<dyn Fn() + Send + Sync>) {
        self.compiling.tell(tell);
    }

    fn prepare(&self, task: &str, arguments: &str) -> Result<PreparedCall, Refusal> {
        prepare(&self.library(), task, arguments)
    }

    fn prepare_for(
        &self,
        caller: &str,
        detached: bool,
        task: &str,
        arguments: &str,
    ) -> Result<PreparedCall, Refusal> {
        let library = self.library();
        let call = prepare(&library, task, arguments)?;
        // A removed component finishes its invocations, also by calls of itself; a detached child would outlive them,
        // and submit the next.
        let finishes = TaskId::split(&call.task).0 == TaskId::split(caller).0 && !detached;
        if library.is_retired(&call.task) && !finishes {
            return Err(Refusal::UnknownTask(removed_message(&call.task)));
        }
        Ok(call)
    }

    fn may_submit(&self, caller: &str, task: &str) -> bool {
        self.library().may_submit(caller, task)
    }

    fn memory_budget(&self) -> Arc<MemoryBudget> {
        Arc::clone(self.library().memory_budget())
    }

    fn ease_shortage(&self) {
        self.library().let_go_of_all_code();
    }

    fn guest_runs(&self, runs: bool) {
        self.library().guest_runs(runs);
    }
}
