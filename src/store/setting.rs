//! Rules and pauses of tasks, and the components that travel with a store.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::order::TURN;
use crate::model::{
    ComponentDigest, ComponentFacts, Concurrency, Glob, Labels, PushAnswer, Rate, RunnerId, TaskRules,
    UnixMicros, span, words,
};

/// The rules of a task, as far as they concern stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRule {
    /// The full id of the task.
    pub task: Arc<str>,
    /// Its queue.
    pub queue: Arc<str>,
    /// How many invocations of a lane may be owned at once.
    pub concurrency: Option<Concurrency>,
    /// How many invocations of a lane may be claimed within a time.
    pub rate: Option<Rate>,
}

impl TaskRule {
    /// Picks the rules of a task that concern a store.
    pub fn new(task: &Arc<str>, rules: &TaskRules) -> Self {
        Self {
            task: Arc::clone(task),
            queue: Arc::clone(&rules.queue),
            concurrency: rules.concurrency,
            rate: rules.rate,
        }
    }

    /// Whether it is another rule than the one of a task of which nothing is configured.
    pub fn says_something(&self) -> bool {
        *self != Self::new(&self.task, &TaskRules::default())
    }

    /// Pairs each of one's `own` rules that says something with the rule in force of its task, where that is another.
    pub fn contradictions<'o, 'r>(own: &'o [Self], in_force: &'r [Self]) -> Vec<(&'o Self, &'r Self)> {
        let own: HashMap<_, _> =
            own.iter().filter(|own| own.says_something()).map(|own| (&own.task, own)).collect();
        let pairs = in_force.iter().filter_map(|rule| Some((*own.get(&rule.task)?, rule)));
        pairs.filter(|(own, rule)| own != rule).collect()
    }
}

/// A task whose new rule takes its invocations out of a queue that is paused, into one that is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftPause {
    /// The full id of the task.
    pub task: Arc<str>,
    /// The paused queue.
    pub paused: Arc<str>,
    /// The new queue.
    pub queue: Arc<str>,
}

impl LeftPause {
    /// Compares the rule of a task before with the one after.
    pub fn between(before: &TaskRule, after: &TaskRule, paused: &[PauseTarget]) -> Option<Self> {
        let is_paused = |rule: &TaskRule| paused.contains(&PauseTarget::Queue(Arc::clone(&rule.queue)));
        let is_left = is_paused(before) && !is_paused(after);
        is_left.then(|| Self {
            task: Arc::clone(&before.task),
            paused: Arc::clone(&before.queue),
            queue: Arc::clone(&after.queue),
        })
    }
}

/// The runner that has set rules, and its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleOrigin {
    /// The runner.
    pub runner: RunnerId,
    /// The name of its machine.
    pub host: Arc<str>,
    /// The path of its configuration file, if it has one.
    pub config: Option<Arc<str>>,
}

impl fmt::Display for RuleOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "runner {} on {}", self.runner, self.host)?;
        self.config.as_ref().map_or(Ok(()), |config| write!(f, " by {config}"))
    }
}

/// Says what the rule is, for people.
impl fmt::Display for TaskRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "queue {}", self.queue)?;
        if let Some(Concurrency { limit, blocked }) = self.concurrency {
            write!(f, ", concurrency {limit} ({})", blocked.as_str())?;
        }
        self.rate.map_or(Ok(()), |Rate { limit, window }| write!(f, ", rate {limit} in {}", span(window)))
    }
}

/// The origin of a task's rule, and the time at which it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleMark {
    /// The full id of the task.
    pub task: Arc<str>,
    /// The runner that has set it.
    pub by: RuleOrigin,
    /// When it did.
    pub at: UnixMicros,
}

/// A rule that another one has replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedRule {
    /// The rule before.
    pub old: TaskRule,
    /// Its origin, if that is known.
    pub mark: Option<RuleMark>,
}

/// The least weight of a fairness key, and the greatest.
pub const FAIRNESS_WEIGHTS: [f64; 2] = [0.01, 1000.0];

/// The weight of the fairness keys that a pattern stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FairnessWeight {
    /// The keys.
    pub keys: Glob,
    /// The cost of one invocation, in the units of virtual time.
    pub(super) cost: i64,
}

impl FairnessWeight {
    /// `None` if the weight is not one of [`FAIRNESS_WEIGHTS`], or between them.
    pub fn new(keys: &str, weight: f64) -> Option<Self> {
        let [least, most] = FAIRNESS_WEIGHTS;
        let is_valid = (least..=most).contains(&weight);
        // At least a thousandth of a turn.
        is_valid.then(|| Self { keys: Glob::new(keys), cost: (TURN as f64 / weight).round() as i64 })
    }
}

impl FairnessWeight {
    /// A weight as a store keeps it.
    pub(super) fn stored(keys: &str, cost: i64) -> Self {
        Self { keys: Glob::new(keys), cost }
    }
}

/// Asks to hold something back, or to let it go on.
#[derive(Debug, Clone)]
pub struct Pause {
    /// The queue or task.
    pub target: PauseTarget,
    /// `false` to let it go on.
    pub paused: bool,
}

/// A queue or a task that can be paused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PauseTarget {
    /// Every task of a queue.
    Queue(Arc<str>),
    /// One task, by its full id.
    Task(Arc<str>),
}

words! {
    /// The kind of a [`PauseTarget`]; words and variants have the same order.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum PauseKind {
        Queue = "queue",
        Task = "task",
    }
}

impl PauseKind {
    pub(super) fn target(self, name: Arc<str>) -> PauseTarget {
        match self {
            Self::Queue => PauseTarget::Queue(name),
            Self::Task => PauseTarget::Task(name),
        }
    }
}

impl PauseTarget {
    /// The kind, and the name of the queue or task.
    pub(super) fn parts(&self) -> (PauseKind, &Arc<str>) {
        match self {
            Self::Queue(name) => (PauseKind::Queue, name),
            Self::Task(name) => (PauseKind::Task, name),
        }
    }
}

/// Has a task take the place of an id of an earlier program, which named no component: its
/// invocations, rules, pause and keys go on under the full id.
///
/// Nothing changes if the old id is unknown, or the full one is known already. If another
/// component may be meant, because whoever asks or the store knows one with the same function,
/// nothing changes unless every unfinished invocation was submitted for this component: for
/// its bytes, or for some that were pushed under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// The id as the store has it.
    pub from: Arc<str>,
    /// The full id of the task.
    pub to: Arc<str>,
    /// The component that exports the task.
    pub component_digest: ComponentDigest,
    /// Whether whoever asks has other components that export the function.
    pub has_rivals: bool,
}

/// A component that is to travel with the store.
#[derive(Debug, Clone)]
pub struct NewComponent {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The digest of its bytes, which must be theirs.
    pub digest: ComponentDigest,
    /// The component in binary form.
    pub bytes: Arc<[u8]>,
    /// Free text about it.
    pub labels: Labels,
    /// The facts of it. Imports that name a provider are bound to that one.
    pub facts: ComponentFacts,
}

/// A component that travels with the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedComponent {
    /// Its name.
    pub name: Arc<str>,
    /// The digest of its bytes.
    pub digest: ComponentDigest,
    /// How many bytes it has.
    pub size: u64,
    /// When it was pushed under this name, last.
    pub pushed_at: UnixMicros,
    /// The labels of that push.
    pub labels: Labels,
    /// The facts of it; `None` if an earlier program pushed it.
    pub facts: Option<ComponentFacts>,
    /// When its name was removed. It is kept as long as invocations of its tasks are unfinished.
    pub removed_at: Option<UnixMicros>,
}

/// The answer of a runner to the last push of some bytes under a name.
#[derive(Debug, Clone)]
pub struct RunnerAnswer {
    /// The runner.
    pub runner: RunnerId,
    /// The name of the component.
    pub name: Arc<str>,
    /// The digest of its bytes.
    pub digest: ComponentDigest,
    /// The answer.
    pub answer: PushAnswer,
}
