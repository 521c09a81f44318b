//! Starting a runner.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::Config;
use crate::model::InvocationId;
use crate::runner::{LogObserver, Observer, RulesFrom, Runner, RunnerOptions};
use crate::store::TaskSet;
use crate::wasm::Library;

use super::Service;
use super::adopt::adopt;
use super::compiling::EndsCompiling;
use super::deploy::Deployment;
use super::error::{ServiceError, known};
use super::executor::Live;

impl Service {
    /// Opens the store and loads the components for a runner.
    ///
    /// # Errors
    ///
    /// [`ServiceError`]: also if there is nothing to run.
    pub fn prepare_runner(&self) -> Result<Arc<Library>, ServiceError> {
        let (existing, config) = (self.existing()?, self.config());
        // With a pattern it waits for components that are pushed later.
        if config.components.is_empty()
            && config.patterns.is_empty()
            && existing.ask(|store| store.components())?.is_empty()
        {
            return Err(ServiceError::NoComponents("there is nothing to run".to_owned()));
        }
        for warning in &config.section_warnings {
            tracing::warn!("{warning}");
        }
        self.read_secrets()?;
        // The store first: a wrong one is told at once, not after a long compile.
        self.store()?;
        self.library()
    }

    /// Starts a runner as it is configured: for one tree, or else for everything of some
    /// queues, or of all if none are named. The observers are told what it does, after the program's own log.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Store`] or [`ServiceError::System`]; nothing is left running then.
    pub fn start_runner(
        &self,
        only_root: Option<InvocationId>,
        queues: &[String],
        observers: impl IntoIterator<Item = Arc<dyn Observer>>,
    ) -> Result<Runner, ServiceError> {
        let (store, library, config) = (self.store()?, self.library()?, self.config());
        // Before the runner tells the rules of its tasks.
        for id in self.access()?.ask(|store| adopt(store, &library))? {
            tracing::warn!(
                "nobody can tell whose `{id}` is, so its invocations stay as they are: start a runner that has the \
                 component for which they were submitted"
            );
        }
        if let Some(message) = library.few_descriptors() {
            tracing::info!("{message}");
        }
        let live = Arc::new(Live::new(Arc::clone(&library)));
        let deploys = only_root.is_none() && store.url() != "memory:";
        let store_of_components = if deploys { self.store_of_components()? } else { None };
        let mut deployment = store_of_components
            .map(|access| Deployment::new(self.clone(), access, Arc::clone(&live), queues));
        // Removed components with unfinished invocations belong to it from the start.
        if let Some(deployment) = &mut deployment {
            deployment.refresh()?;
        }
        let library = live.library();
        let (bell, ends) = deployment.as_ref().map(Deployment::observer).unzip();
        // A command that runs one tree tells its outcome itself.
        let log = LogObserver::new(only_root.is_none());
        let log = log.is_enabled().then(|| Arc::new(log) as _);
        let neighbours = &self.shared.neighbours;
        let options = RunnerOptions {
            slots: config.slots,
            settings: config.runner.clone(),
            grace: config.grace,
            only_root,
            // What runs one tree leaves the rest of the store alone.
            retention: if only_root.is_none() { config.retention.clone() } else { Vec::new() },
            forgets_names: only_root.is_none(),
            usage_retention: only_root.is_none().then(|| config.usage_retention()),
            weights: config.weights.clone().filter(|_| only_root.is_none()),
            quotas: if only_root.is_none() { config.quotas.clone() } else { Vec::new() },
            observers: log
                .into_iter()
                .chain(observers)
                .chain([Arc::clone(neighbours) as _])
                .chain(ends.map(|ends| ends as _))
                .collect(),
            only_tasks: self.tasks_of(&library, queues)?,
            rules_from: only_root.is_none().then(|| rules_from(config)),
        };
        let compiling = EndsCompiling(Arc::clone(live.compiling()));
        let mut runner = Runner::start(store, live, Arc::clone(self.clock()), options)?;
        runner.keep(compiling);
        neighbours.runners.add(runner.handle().teller());
        // Of a commit before that it was not told.
        runner.handle().look_again();
        if let (Some(deployment), Some(bell)) = (deployment, bell) {
            let deploying = deployment.start(&runner, bell)?;
            runner.keep(deploying);
        }
        Ok(runner)
    }

    /// The tasks of some queues; `None` if all queues are meant.
    pub(super) fn tasks_of(
        &self,
        library: &Library,
        queues: &[String],
    ) -> Result<Option<Arc<TaskSet>>, ServiceError> {
        if queues.is_empty() {
            return Ok(None);
        }
        let mut known = self.config().queues();
        known.extend(library.tasks().iter().map(|task| Arc::clone(&task.options.rules.queue)));
        let queues =
            queues.iter().map(|queue| choose_queue(queue, &known)).collect::<Result<BTreeSet<_>, _>>()?;
        let tasks = library.tasks().iter().filter(|task| queues.contains(&task.options.rules.queue));
        Ok(Some(Arc::new(tasks.map(|task| Arc::clone(&task.id)).collect())))
    }
}

/// Says where the rules of this configuration come from.
fn rules_from(config: &Config) -> RulesFrom {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let host = name.map_or_else(|_| "an unnamed machine".into(), |name| name.trim().into());
    let file = config.file.as_ref().map(|file| file.display().to_string().into());
    RulesFrom { host, config: file }
}

/// Finds a queue by its name.
/// [`ServiceError::Unknown`] with the known ones.
pub(super) fn choose_queue(name: &str, all: &BTreeSet<Arc<str>>) -> Result<Arc<str>, ServiceError> {
    if let Some(found) = all.get(name) {
        return Ok(Arc::clone(found));
    }
    let names = || all.iter().map(|name| &**name);
    let otherwise = "a task is in the queue that its `queue` in `wasm-runner.toml` names";
    let mut error = ServiceError::unknown("queue", name, names(), otherwise);
    if let ServiceError::Unknown { message, .. } = &mut error {
        message.push_str(&format!(" ({})", known(names())));
    }
    Err(error)
}
