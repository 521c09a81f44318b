//! Holding queues and tasks back, and letting them go on.

use std::collections::HashMap;
use std::sync::Arc;

use super::components::exports;
use super::patience::Access;
use super::run::choose_queue;
use super::{PauseDocument, QueueDocument, Service, ServiceError};
use crate::config::ComponentOrigin;
use crate::model::{DEFAULT_QUEUE, TaskId};
use crate::store::{Batch, Pause, PauseTarget, PushedComponent, TaskRule, held_back};

/// A pause of queues and tasks, or its end.
#[derive(Debug, Clone)]
pub struct PauseRequest {
    /// Queues by name.
    pub queues: Vec<String>,
    /// Tasks, in any form that names only one.
    pub tasks: Vec<String>,
    /// `false` to let them go on.
    pub paused: bool,
}

/// Tasks with their queues, and queues without a task that are paused.
#[derive(Debug)]
pub struct Queues {
    /// By queue and task.
    pub documents: Vec<QueueDocument>,
    /// The number of tasks that were left out, because there is nothing to say of them.
    pub left_out: usize,
}

/// Pauses that no rule belongs to.
struct Orphans {
    queues: Vec<Arc<str>>,
    tasks: Vec<Arc<str>>,
}

/// Finds the pauses of queues without a task, and of tasks that the store does not know.
fn orphans(paused: &[PauseTarget], rules: &[TaskRule]) -> Orphans {
    let mut orphans = Orphans { queues: Vec::new(), tasks: Vec::new() };
    for target in paused {
        match target {
            PauseTarget::Queue(queue) if rules.iter().all(|rule| rule.queue != *queue) => {
                orphans.queues.push(Arc::clone(queue));
            }
            PauseTarget::Task(task) if rules.iter().all(|rule| rule.task != *task) => {
                orphans.tasks.push(Arc::clone(task));
            }
            PauseTarget::Queue(_) | PauseTarget::Task(_) => {}
        }
    }
    orphans
}

/// Lists the paused tasks of some components. A pause stays when the component is removed, and when it is pushed again.
pub(super) fn paused_tasks(
    access: &Access,
    is_meant: impl Fn(&str) -> bool,
) -> Result<Vec<Arc<str>>, ServiceError> {
    let tasks = access.ask(|store| store.paused())?.into_iter().filter_map(|target| match target {
        PauseTarget::Task(task) => Some(task).filter(|task| is_meant(TaskId::component_of(task))),
        PauseTarget::Queue(_) => None,
    });
    let mut tasks: Vec<_> = tasks.collect();
    tasks.sort();
    Ok(tasks)
}

impl QueueDocument {
    /// Makes the document of a paused queue that has no task.
    fn without_task(queue: Arc<str>) -> Self {
        Self {
            queue,
            task: None,
            component: None,
            function: None,
            paused: true,
            unfinished: 0,
            queued: 0,
            delayed: 0,
            blocked_by_rule: 0,
            concurrency: None,
            blocked: None,
            rate: None,
            rate_window: None,
            rule_by: None,
            rule_at: None,
        }
    }
}

impl Service {
    /// Pauses or resumes queues and tasks.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Unknown`] if nothing knows one of them: nothing is changed then.
    pub fn pause(&self, request: &PauseRequest) -> Result<Vec<PauseDocument>, ServiceError> {
        let access = self.access()?;
        let paused = request.paused;
        let before = access.ask(|store| store.paused())?;
        let mut documents = Vec::new();
        for name in &request.queues {
            let queue = self.known_queue(name, &access)?;
            let was_paused = before.contains(&PauseTarget::Queue(Arc::clone(&queue)));
            documents.push(PauseDocument::Queue { queue, paused, was_paused });
        }
        for name in &request.tasks {
            let task = self.task_to_pause(name, &access)?;
            let was_paused = before.contains(&PauseTarget::Task(Arc::clone(&task)));
            documents.push(PauseDocument::Task { task, paused, was_paused });
        }
        let pauses = documents.iter().map(|document| Pause {
            target: match document {
                PauseDocument::Queue { queue, .. } => PauseTarget::Queue(Arc::clone(queue)),
                PauseDocument::Task { task, .. } => PauseTarget::Task(Arc::clone(task)),
            },
            paused,
        });
        access.commit(&Batch { pauses: pauses.collect(), ..Batch::default() })?;
        Ok(documents)
    }

    /// Lists tasks with their queues, rules and pauses, by queue: those that have work, a rule of their own or a pause,
    /// or `all` that the store knows. A rule alone is nothing to say of a task that the pushed version of its component
    /// does not have any more. A pause that nothing belongs to is listed by itself.
    pub fn queues(&self, all: bool) -> Result<Queues, ServiceError> {
        let access = self.existing()?;
        let paused = access.ask(|store| store.paused())?;
        let mut unfinished: HashMap<_, _> =
            access.ask(|store| store.unfinished_by_task())?.into_iter().collect();
        let now = access.ask(|store| store.leases())?.now;
        let queued = access.ask(|store| store.queued_by_task(now))?;
        let mut queued: HashMap<_, _> =
            queued.into_iter().map(|counts| (Arc::clone(&counts.task), counts)).collect();
        let marks = access.ask(|store| store.rule_marks())?;
        let mut marks: HashMap<_, _> = marks.into_iter().map(|mark| (Arc::clone(&mark.task), mark)).collect();
        let mut rules = access.ask(|store| store.rules())?;
        let orphans = orphans(&paused, &rules);
        // A task may be paused before the store knows anything else of it.
        rules.extend(orphans.tasks.into_iter().map(|task| TaskRule {
            task,
            queue: DEFAULT_QUEUE.into(),
            concurrency: None,
            rate: None,
        }));
        let held_back = held_back(&paused, rules.iter().cloned());
        let known = rules.len();
        let pushed = access.ask(|store| store.components())?;
        let is_shown = |rule: &TaskRule| {
            let has_rule = rule.concurrency.is_some() || rule.rate.is_some() || *rule.queue != *DEFAULT_QUEUE;
            let has_rule = has_rule && !self.is_gone(&rule.task, &pushed);
            all || has_rule || unfinished.contains_key(&rule.task) || held_back.contains(&rule.task)
        };
        rules.retain(is_shown);
        let left_out = known - rules.len();
        let documents = rules.into_iter().map(|rule| {
            let mark = marks.remove(&rule.task);
            let counts = queued.remove(&rule.task);
            QueueDocument {
                component: TaskId::split(&rule.task).0.map(Arc::from),
                function: Some(TaskId::split(&rule.task).1.into()),
                paused: held_back.contains(&rule.task),
                unfinished: unfinished.remove(&rule.task).unwrap_or(0),
                queued: counts.as_ref().map_or(0, |counts| counts.queued),
                delayed: counts.as_ref().map_or(0, |counts| counts.delayed),
                blocked_by_rule: counts.map_or(0, |counts| counts.blocked),
                concurrency: rule.concurrency.map(|concurrency| concurrency.limit),
                blocked: rule.concurrency.map(|concurrency| concurrency.blocked.as_str()),
                rate: rule.rate.map(|rate| rate.limit),
                rate_window: rule.rate.map(|rate| rate.window),
                rule_at: mark.as_ref().map(|mark| mark.at),
                rule_by: mark.map(|mark| mark.by),
                queue: rule.queue,
                task: Some(rule.task),
            }
        });
        let mut documents: Vec<_> =
            documents.chain(orphans.queues.into_iter().map(QueueDocument::without_task)).collect();
        documents.sort_by(|a, b| (&a.queue, &a.task).cmp(&(&b.queue, &b.task)));
        Ok(Queues { documents, left_out })
    }

    /// Whether a task is of a pushed component whose newest version does not have it, or that was removed.
    fn is_gone(&self, task: &str, pushed: &[PushedComponent]) -> bool {
        let (Some(component), function) = TaskId::split(task) else { return false };
        // Nothing tells the tasks that the file of another runner has.
        let is_pushed =
            self.config().component(component).is_none_or(|one| one.origin == ComponentOrigin::Store);
        let newest = pushed.iter().find(|one| *one.name == *component).filter(|_| is_pushed);
        newest.is_some_and(|one| one.removed_at.is_some() || !exports(one, function))
    }

    /// Finds the queue of that name, if the configuration or the store knows one.
    pub(super) fn known_queue(&self, name: &str, access: &Access) -> Result<Arc<str>, ServiceError> {
        let mut known = self.config().queues();
        known.extend(access.ask(|store| store.rules())?.into_iter().map(|rule| rule.queue));
        known.extend(access.ask(|store| store.paused())?.into_iter().filter_map(|target| match target {
            PauseTarget::Queue(name) => Some(name),
            PauseTarget::Task(_) => None,
        }));
        known.insert(DEFAULT_QUEUE.into());
        choose_queue(name, &known)
    }

    /// Finds the full id of a task that the configuration or the store knows.
    fn task_to_pause(&self, name: &str, access: &Access) -> Result<Arc<str>, ServiceError> {
        match self.known_task(name, access)? {
            Some(id) => Ok(id),
            None => Ok(self.task(name)?.id),
        }
    }
}
