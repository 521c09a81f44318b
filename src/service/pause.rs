//! Holding queues and tasks back, and letting them go on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::components::stored_task;
use super::patience::Access;
use super::run::choose_queue;
use super::{PauseDocument, QueueDocument, Service, ServiceError};
use crate::model::{DEFAULT_QUEUE, TaskId};
use crate::store::{Batch, Pause, PauseTarget};

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

impl Service {
    /// Pauses or resumes queues and tasks.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Unknown`] if nothing knows one of them: nothing is changed then.
    pub fn pause(&self, request: &PauseRequest) -> Result<Vec<PauseDocument>, ServiceError> {
        let access = self.access()?;
        let paused = request.paused;
        let mut documents = Vec::new();
        for name in &request.queues {
            documents.push(PauseDocument::Queue { queue: self.known_queue(name, &access)?, paused });
        }
        for name in &request.tasks {
            documents.push(PauseDocument::Task { task: self.known_task(name, &access)?, paused });
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

    /// Lists tasks with their queues, rules and pauses, by queue.
    pub fn queues(&self) -> Result<Vec<QueueDocument>, ServiceError> {
        let access = self.existing()?;
        let paused = access.ask(|store| store.paused())?;
        let unfinished: BTreeMap<_, _> =
            access.ask(|store| store.unfinished_by_task())?.into_iter().collect();
        let marks = access.ask(|store| store.rule_marks())?;
        let mut marks: BTreeMap<_, _> =
            marks.into_iter().map(|mark| (Arc::clone(&mark.task), mark)).collect();
        let rules = access.ask(|store| store.rules())?.into_iter().map(|rule| {
            let mark = marks.remove(&rule.task);
            (rule, mark)
        });
        let mut documents: Vec<_> = rules
            .map(|(rule, mark)| QueueDocument {
                component: TaskId::split(&rule.task).0.map(Arc::from),
                function: TaskId::split(&rule.task).1.into(),
                paused: paused.contains(&PauseTarget::Queue(Arc::clone(&rule.queue)))
                    || paused.contains(&PauseTarget::Task(Arc::clone(&rule.task))),
                unfinished: unfinished.get(&rule.task).copied().unwrap_or(0),
                concurrency: rule.concurrency.map(|concurrency| concurrency.limit),
                blocked: rule.concurrency.map(|concurrency| concurrency.blocked.as_str()),
                rate: rule.rate.map(|rate| rate.limit),
                rate_window: rule.rate.map(|rate| rate.window),
                rule_at: mark.as_ref().map(|mark| mark.at),
                rule_by: mark.map(|mark| mark.by),
                queue: rule.queue,
                task: rule.task,
            })
            .collect();
        documents.sort_by(|a, b| (&a.queue, &a.task).cmp(&(&b.queue, &b.task)));
        Ok(documents)
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
    fn known_task(&self, name: &str, access: &Access) -> Result<Arc<str>, ServiceError> {
        match stored_task(name, self.stored_tasks(access)?)? {
            Some(id) => Ok(id),
            None => Ok(self.task(name)?.id),
        }
    }
}
