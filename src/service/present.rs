//! Documents of invocations with what is true of them at present, and stands in other tables of the store: copies,
//! queues, pauses, leases.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::copies::last_copies;
use super::patience::Access;
use super::{BlockedBy, InvocationDocument, PausedBy, ServiceError};
use crate::model::{DEFAULT_QUEUE, Invocation, RunnerId, UnixMicros, WaitingFor};
use crate::store::{Leases, PauseTarget, TaskRule};

/// Makes the documents of invocations.
pub(super) fn documents(
    access: &Access,
    invocations: Vec<Invocation>,
) -> Result<Vec<InvocationDocument>, ServiceError> {
    let copies = last_copies(access, &invocations)?;
    if invocations.is_empty() {
        return Ok(Vec::new());
    }
    let present = Present::read(access)?;
    let documents = invocations.into_iter().zip(copies).map(|(one, retried_as)| {
        let (queue, waiting_for) = (present.queue_of(&one), present.waiting_for(&one));
        let lease_ran_out_at = present.lease_ran_out_at(&one);
        let paused_by = waiting_for.filter(|reason| *reason == WaitingFor::Pause);
        let paused_by = paused_by.map(|_| present.paused_by(&one));
        let blocked_by = waiting_for.filter(|reason| *reason == WaitingFor::Rule);
        let blocked_by = blocked_by.and_then(|_| present.blocked_by(&one));
        InvocationDocument {
            retried_as,
            queue,
            waiting_for,
            paused_by,
            blocked_by,
            lease_ran_out_at,
            ..InvocationDocument::from(one)
        }
    });
    Ok(documents.collect())
}

/// The queues, pauses and leases of a store at one moment.
struct Present {
    now: UnixMicros,
    /// The rules of tasks.
    rules: HashMap<Arc<str>, TaskRule>,
    paused: Vec<PauseTarget>,
    leases: BTreeMap<RunnerId, UnixMicros>,
}

impl Present {
    fn read(access: &Access) -> Result<Self, ServiceError> {
        let Leases { now, ends } = access.ask(|store| store.leases())?;
        let rules = access.ask(|store| store.rules())?;
        let paused = access.ask(|store| store.paused())?;
        let rules = rules.into_iter().map(|rule| (Arc::clone(&rule.task), rule)).collect();
        Ok(Self { now, rules, paused, leases: ends.into_iter().collect() })
    }

    fn queue_of(&self, one: &Invocation) -> Option<Arc<str>> {
        Some(self.rules.get(&one.task).map_or_else(|| DEFAULT_QUEUE.into(), |rule| Arc::clone(&rule.queue)))
    }

    fn paused_by(&self, one: &Invocation) -> PausedBy {
        let is_paused = |target: PauseTarget| self.paused.contains(&target);
        let task = Arc::clone(&one.task);
        PausedBy {
            queue: self.queue_of(one).filter(|queue| is_paused(PauseTarget::Queue(Arc::clone(queue)))),
            task: Some(task).filter(|task| is_paused(PauseTarget::Task(Arc::clone(task)))),
        }
    }

    fn blocked_by(&self, one: &Invocation) -> Option<BlockedBy> {
        let rule = self.rules.get(&one.task)?;
        Some(BlockedBy {
            concurrency: rule.concurrency.map(|concurrency| concurrency.limit),
            rate: rule.rate.map(|rate| rate.limit),
            rate_window: rule.rate.map(|rate| rate.window),
        })
    }

    fn waiting_for(&self, one: &Invocation) -> Option<WaitingFor> {
        let PausedBy { queue, task } = self.paused_by(one);
        WaitingFor::of(one, queue.is_some() || task.is_some(), self.now)
    }

    /// When the lease of its owner ran out, if nobody has taken it over since.
    fn lease_ran_out_at(&self, one: &Invocation) -> Option<UnixMicros> {
        let owner = one.runner.filter(|_| one.status.is_owned())?;
        self.leases.get(&owner).copied().filter(|end| *end <= self.now)
    }
}
