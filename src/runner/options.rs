//! The options of a runner, and the errors of starting one.

use std::sync::Arc;
use std::time::Duration;

use super::observer::Observer;
use crate::model::{InvocationId, RunnerSettings};
use crate::store::{FairnessWeight, Keep, QuotaSection, StoreError, TaskSet};

/// The options of a runner.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// Guests that may run at once, at least 1.
    pub slots: usize,
    /// The settings of the section `[runner]`.
    pub settings: RunnerSettings,
    /// The time that running guests have to end after a stop was asked for.
    pub grace: Duration,
    /// Run nothing but this tree.
    pub only_root: Option<InvocationId>,
    /// The retention of each final status; a status that is not here keeps everything.
    pub retention: Vec<Keep>,
    /// How long the usage by hour is kept; `None` keeps it for ever.
    pub usage_retention: Option<Duration>,
    /// Whether it has the store forget names of tasks that nothing refers to.
    pub forgets_names: bool,
    /// The weights of fairness keys; `None` leaves those of the store.
    pub weights: Option<Vec<FairnessWeight>>,
    /// The quotas of the configuration, by the kind of their holders; those of other kinds stay as the store has them.
    pub quotas: Vec<QuotaSection>,
    /// Run nothing but these of the executor's tasks.
    pub only_tasks: Option<Arc<TaskSet>>,
    /// The machine and the configuration that rules come from: for whoever asks who has set them.
    pub rules_from: Option<RulesFrom>,
    /// Told in this order what the runner does.
    pub observers: Vec<Arc<dyn Observer>>,
}

/// Where the rules of a runner come from.
#[derive(Debug, Clone)]
pub struct RulesFrom {
    /// The name of the machine.
    pub host: Arc<str>,
    /// The path of the configuration file, if there is one.
    pub config: Option<Arc<str>>,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self {
            slots: std::thread::available_parallelism().map_or(1, usize::from),
            settings: RunnerSettings::default(),
            grace: Duration::from_secs(30),
            only_root: None,
            retention: Vec::new(),
            usage_retention: None,
            forgets_names: false,
            weights: None,
            quotas: Vec::new(),
            only_tasks: None,
            rules_from: None,
            observers: Vec::new(),
        }
    }
}

/// A runner that could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// The operating system refused a thread or what it needs.
    #[error("the operating system refused {what}: {source}")]
    System {
        /// The thing that was asked for.
        what: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The store can't tell of changes.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The options contradict themselves.
    #[error("{0}")]
    Options(String),
}
