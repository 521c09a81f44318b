//! Documents of invocations with what is true of them at present, and stands in other tables of the store: copies,
//! queues, pauses, leases.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::copies::last_copies;
use super::patience::Access;
use super::{InvocationDocument, ServiceError};
use crate::model::{DEFAULT_QUEUE, Invocation, RunnerId, UnixMicros, WaitingFor};
use crate::store::{Leases, PauseTarget};

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
        InvocationDocument {
            retried_as,
            queue,
            waiting_for,
            lease_ran_out_at,
            ..InvocationDocument::from(one)
        }
    });
    Ok(documents.collect())
}

/// The queues, pauses and leases of a store at one moment.
struct Present {
    now: UnixMicros,
    /// The queues of tasks.
    queues: HashMap<Arc<str>, Arc<str>>,
    paused: Vec<PauseTarget>,
    leases: BTreeMap<RunnerId, UnixMicros>,
}

impl Present {
    fn read(access: &Access) -> Result<Self, ServiceError> {
        let Leases { now, ends } = access.ask(|store| store.leases())?;
        let rules = access.ask(|store| store.rules())?;
        let paused = access.ask(|store| store.paused())?;
        let queues = rules.into_iter().map(|rule| (rule.task, rule.queue)).collect();
        Ok(Self { now, queues, paused, leases: ends.into_iter().collect() })
    }

    fn queue_of(&self, one: &Invocation) -> Option<Arc<str>> {
        Some(self.queues.get(&one.task).map_or_else(|| DEFAULT_QUEUE.into(), Arc::clone))
    }

    fn waiting_for(&self, one: &Invocation) -> Option<WaitingFor> {
        let is_paused = self.paused.iter().any(|target| match target {
            PauseTarget::Task(task) => *task == one.task,
            PauseTarget::Queue(queue) => self.queue_of(one).as_ref() == Some(queue),
        });
        WaitingFor::of(one, is_paused, self.now)
    }

    /// When the lease of its owner ran out, if nobody has taken it over since.
    fn lease_ran_out_at(&self, one: &Invocation) -> Option<UnixMicros> {
        let owner = one.runner.filter(|_| one.status.is_owned())?;
        self.leases.get(&owner).copied().filter(|end| *end <= self.now)
    }
}
