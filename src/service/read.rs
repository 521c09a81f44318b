//! Reading: what the store has of invocations.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::copies::last_copies;
use super::error::known;
use super::patience::Access;
use super::present::documents;
use super::{InvocationDocument, Remedy, Service, ServiceError, TreeLogDocument};
use crate::config::in_backticks;
use crate::model::{
    FailureKind, Invocation, InvocationId, InvocationName, LogEntry, Moment, Outcome, RunnerId, Status,
    TaskId, Transition, WaitingFor,
};
use crate::store::{CANDIDATES, Filter, LOOK, StoreError};
use crate::wasm::Names;

/// A choice of invocations by their properties.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    /// Only those with one of these statuses; empty means all, or what an operation that
    /// changes them says.
    pub statuses: Vec<Status>,
    /// Only those of this task, in any form that names only one: of these components, if some are named.
    pub task: Option<String>,
    /// Only those of the tasks of these components; empty means of all.
    pub components: Vec<String>,
    /// Only those of the tasks of these queues; empty means of all.
    pub queues: Vec<String>,
    /// Only those that were submitted then or later.
    pub since: Option<Moment>,
    /// Only those that were submitted before.
    pub until: Option<Moment>,
    /// Only those that became final then or later.
    pub ended_since: Option<Moment>,
    /// Only those that became final before.
    pub ended_until: Option<Moment>,
    /// Only those that ended with a failure of one of these kinds; empty means all.
    pub kinds: Vec<FailureKind>,
    /// Only those that this runner owns, or was the last to own.
    pub runner: Option<RunnerId>,
    /// Only queued ones that wait for this.
    pub waiting_for: Option<WaitingFor>,
    /// Only those that have all of these labels.
    pub labels: Vec<(String, String)>,
    /// Only those of the tree with this root.
    pub root: Option<InvocationName>,
    /// Only those that were not retried; for lists alone.
    pub not_retried: bool,
    /// At most this many, the newest; `None` means all.
    pub limit: Option<usize>,
}

/// The invocations that a request chooses.
#[derive(Debug)]
pub struct Listing {
    /// The invocations, newest first, without values, and with the kind and the message of a large failure alone
    /// ([`Service::whole_failure`] has the rest).
    pub invocations: Vec<InvocationDocument>,
    /// The number of invocations that were looked at, the newest, if there are more that were not.
    pub looked_at: Option<u64>,
}

/// A choice of invocations to change.
#[derive(Debug, Clone)]
pub enum Selection {
    /// These.
    Ids(Vec<InvocationId>),
    /// All that are listed.
    Listed(Box<ListRequest>),
}

/// A tree of invocations.
#[derive(Debug)]
pub struct Tree {
    /// Its root.
    pub root: InvocationId,
    /// Its members, parents before children, siblings in the order of their submit, as in a [`Listing`]. If the
    /// root was removed, the one that was asked for, alone.
    pub members: Vec<InvocationDocument>,
    /// Whether the root was removed.
    pub is_uprooted: bool,
}

/// The output and the logs of an invocation's guests.
#[derive(Debug)]
pub struct Logs {
    /// The latest attempt.
    pub attempt: u32,
    /// In order.
    pub entries: Vec<LogEntry>,
}

/// The output and the logs of the guests of an invocation and of its descendants.
#[derive(Debug)]
pub struct TreeLogs {
    /// By the time at which they were written.
    pub entries: Vec<TreeLogDocument>,
    /// How many descendants were left out, because there are too many, or their logs take too much memory.
    pub left_out: usize,
}

/// The most invocations whose logs are put together.
const TOLD_TOGETHER: usize = 10_000;

/// With logs of so many bytes, no further ones are put together: they are sorted in memory.
const TOLD_BYTES: usize = 64 << 20;

/// About how many bytes a line takes besides its text.
const LINE_BYTES: usize = 128;

impl Service {
    /// Reads one invocation.
    pub fn status(&self, id: InvocationId) -> Result<InvocationDocument, ServiceError> {
        let found = vec![self.invocation(id)?];
        Ok(documents(&self.existing()?, found)?.remove(0))
    }

    /// Reads the arguments of an invocation as JSON text; `None` if nobody has that id.
    pub fn arguments(&self, id: InvocationId) -> Result<Option<Arc<str>>, ServiceError> {
        Ok(self.existing()?.ask(|store| store.arguments(id))?)
    }

    /// Lists invocations, newest first, without values. For what no index finds it looks at the [`LOOK`] newest
    /// invocations of the store.
    pub fn list(&self, request: &ListRequest) -> Result<Listing, ServiceError> {
        let access = self.existing()?;
        let mut filter = self.filter(request, Vec::new())?;
        let is_walk = filter.is_walk();
        filter.look = is_walk.then_some(LOOK);
        let found = match request.not_retried {
            true => list_not_retried(&access, &filter)?,
            false => access.ask(|store| store.list(&filter))?,
        };
        let has_more = || {
            let counts = access.ask(|store| store.counts(None))?;
            Ok::<_, StoreError>(Status::ALL.into_iter().map(|status| counts.get(status)).sum::<u64>() > LOOK)
        };
        let is_cut = is_walk && found.len() < filter.limit && has_more()?;
        let invocations = documents(&access, found)?;
        Ok(Listing { invocations, looked_at: is_cut.then_some(LOOK) })
    }

    /// Finds the id that is named.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Unknown`] if no id begins or ends so, or several do.
    pub fn resolve(&self, name: &InvocationName) -> Result<InvocationId, ServiceError> {
        let part = match name {
            InvocationName::Whole(id) => return Ok(*id),
            InvocationName::Part(part) => part,
        };
        let found = self.existing()?.ask(|store| store.find(part))?;
        match &*found {
            [id] => Ok(*id),
            [] => Err(self.unknown(name.clone())),
            several => {
                let ids: Vec<_> = several.iter().take(CANDIDATES - 1).map(ToString::to_string).collect();
                let mut listed = in_backticks(ids.iter().map(String::as_str));
                if several.len() == CANDIDATES {
                    listed.push_str(" and more");
                }
                let message = format!("several invocations have ids with `{name}`: {listed}");
                let remedy = Some(Remedy::MoreDigits);
                Err(ServiceError::Unknown { message, remedy })
            }
        }
    }

    /// Reads the whole failure of an invocation of which a list has only the beginning; `None` for any other, and if
    /// it was removed meanwhile.
    pub fn whole_failure(&self, listed: &InvocationDocument) -> Result<Option<Outcome>, ServiceError> {
        let is_cut = matches!(&listed.outcome, Some(Outcome::Failure(failure)) if failure.is_cut);
        if !is_cut {
            return Ok(None);
        }
        let found = self.existing()?.ask(|store| store.get(&[listed.id]))?.pop().flatten();
        Ok(found.and_then(|one| one.outcome))
    }

    /// Reads the tree that an invocation belongs to, without values.
    pub fn tree(&self, id: InvocationId) -> Result<Tree, ServiceError> {
        let access = self.existing()?;
        let mut root = id;
        let mut members = access.ask(|store| store.tree(root))?;
        if members.is_empty() {
            let found = self.invocation(id)?;
            root = found.root;
            if root != id {
                members = access.ask(|store| store.tree(root))?;
            }
            if members.is_empty() {
                return Ok(Tree { root, members: documents(&access, vec![found])?, is_uprooted: true });
            }
        }
        Ok(Tree { root, members: documents(&access, members)?, is_uprooted: false })
    }

    /// Reads the transitions of an invocation, in the order in which they happened.
    pub fn history(&self, id: InvocationId) -> Result<Vec<Transition>, ServiceError> {
        let history = self.existing()?.ask(|store| store.history(id))?;
        // Every invocation was submitted, and that is in its history.
        if history.is_empty() {
            return Err(self.unknown(id));
        }
        Ok(history)
    }

    /// Reads what the guests of an invocation wrote.
    pub fn logs(&self, id: InvocationId) -> Result<Logs, ServiceError> {
        let attempt = self.invocation(id)?.attempt;
        let entries = self.existing()?.ask(|store| store.logs(id))?;
        Ok(Logs { attempt, entries })
    }

    /// Reads what the guests of an invocation and of its descendants wrote: of the first 10,000 of them, and no more
    /// after 64 MiB.
    pub fn logs_of_tree(&self, id: InvocationId) -> Result<TreeLogs, ServiceError> {
        let found = self.invocation(id)?;
        let access = self.existing()?;
        let members = access.ask(|store| store.tree(found.root))?;
        // Parents come before their children.
        let (mut ids, mut known) = (vec![id], HashSet::from([id]));
        for one in members {
            if one.parent.is_some_and(|parent| known.contains(&parent)) && known.insert(one.id) {
                ids.push(one.id);
            }
        }
        let (mut entries, mut read, mut bytes) = (Vec::new(), 0, 0);
        for &id in ids.iter().take(TOLD_TOGETHER) {
            if bytes >= TOLD_BYTES {
                break;
            }
            let logs = access.ask(|store| store.logs(id))?;
            bytes += logs.iter().map(|entry| entry.text.len() + LINE_BYTES).sum::<usize>();
            entries.extend(logs.into_iter().map(|entry| TreeLogDocument { id, entry }));
            read += 1;
        }
        entries.sort_by_key(|one| one.entry.at);
        Ok(TreeLogs { entries, left_out: ids.len() - read })
    }

    /// Makes the error for an id that nobody has.
    pub fn unknown(&self, name: impl Into<InvocationName>) -> ServiceError {
        let url = || match self.existing() {
            Ok(access) => access.store().url().to_owned(),
            Err(_) => self.config().store.url.to_string(),
        };
        let remedy = self.missing().map_or_else(|| Remedy::ListInvocations(url()), Remedy::NameStore);
        ServiceError::Unknown {
            message: format!("unknown invocation `{}`", name.into()),
            remedy: Some(remedy),
        }
    }

    pub(super) fn invocation(&self, id: InvocationId) -> Result<Invocation, ServiceError> {
        let found = self.existing()?.ask(|store| store.get(&[id]))?.pop().flatten();
        found.ok_or_else(|| self.unknown(id))
    }

    /// Finds the ids that an operation is to work through: as they are named, or the oldest
    /// first, so that a parent comes before its children.
    pub(super) fn select(
        &self,
        access: &Access,
        selection: Selection,
        statuses: Vec<Status>,
    ) -> Result<Vec<InvocationId>, ServiceError> {
        match selection {
            Selection::Ids(ids) => Ok(ids),
            Selection::Listed(request) => {
                let filter = self.filter(&request, statuses)?;
                let mut ids = access.ask(|store| store.ids(&filter))?;
                ids.reverse();
                Ok(ids)
            }
        }
    }

    /// Finds the ids of the tasks that a request names, by themselves, their components or their queues; `None` if
    /// it names none.
    fn requested_tasks(&self, request: &ListRequest) -> Result<Option<Vec<Arc<str>>>, ServiceError> {
        let named = self.named_tasks(request)?;
        if request.queues.is_empty() {
            return Ok(named);
        }
        let access = self.existing()?;
        let queues = request.queues.iter().map(|name| self.known_queue(name, &access));
        let queues = queues.collect::<Result<BTreeSet<_>, _>>()?;
        let rules = access.ask(|store| store.rules())?;
        let queued = rules.into_iter().filter(|rule| queues.contains(&rule.queue)).map(|rule| rule.task);
        let is_named = |task: &Arc<str>| named.as_ref().is_none_or(|named| named.contains(task));
        Ok(Some(queued.filter(is_named).collect()))
    }

    /// Finds the ids of the tasks that a request names, by themselves or by their components;
    /// `None` if it names none.
    fn named_tasks(&self, request: &ListRequest) -> Result<Option<Vec<Arc<str>>>, ServiceError> {
        let task = request.task.as_deref();
        if request.components.is_empty() {
            return Ok(task.map(|name| self.task_id(name)).transpose()?.map(|task| vec![task]));
        }
        let stored = self.stored_tasks(&self.existing()?)?;
        let configured = self.config().components.iter().map(|component| &*component.name);
        let of_stored = stored.iter().filter_map(|id| TaskId::split(id).0);
        let names: BTreeSet<&str> = configured.chain(of_stored).collect();
        let names = || names.iter().copied();
        if let Some(name) = request.components.iter().find(|name| !names().any(|known| known == **name)) {
            let otherwise = match names().next() {
                Some(_) => known(names()),
                None => "none is configured, and the store has no tasks".to_owned(),
            };
            return Err(ServiceError::unknown("component", name, names(), otherwise));
        }
        let is_of_them = |id: &&Arc<str>| {
            let component = TaskId::split(id).0;
            request.components.iter().any(|name| component == Some(name))
        };
        let mut tasks: Vec<_> = stored.iter().filter(is_of_them).cloned().collect();
        if let Some(name) = task {
            let found = self.stored_task(name, tasks)?;
            // One of another component has none here, and a name of nothing is refused.
            if found.is_none() && !Names::new(stored.into_iter().map(|id| (id, None))).knows(name) {
                self.unstored_task(name)?;
            }
            tasks = found.into_iter().collect();
        }
        Ok(Some(tasks))
    }

    /// Makes the filter of a request; with `statuses` if it names none.
    fn filter(&self, request: &ListRequest, statuses: Vec<Status>) -> Result<Filter, ServiceError> {
        let now = self.clock().now();
        let moment = |moment: Option<Moment>| moment.map(|moment| moment.before(now));
        let tasks = self.requested_tasks(request)?;
        let waits = match request.waiting_for {
            Some(reason) => {
                let access = self.existing()?;
                waiting(reason, tasks.map_or_else(|| self.stored_tasks(&access), Ok)?, &access)?
            }
            None => Filter { tasks, ..Filter::default() },
        };
        Ok(Filter {
            // Kinds of failures say which statuses are meant.
            statuses: match request.statuses.is_empty() && request.kinds.is_empty() {
                true => statuses,
                false => request.statuses.clone(),
            },
            since: moment(request.since),
            until: moment(request.until),
            ended_since: moment(request.ended_since),
            ended_until: moment(request.ended_until),
            kinds: request.kinds.clone(),
            runner: request.runner,
            labels: request.labels.clone(),
            root: request.root.as_ref().map(|name| self.root(name)).transpose()?,
            limit: request.limit.unwrap_or(usize::MAX),
            ..waits
        })
    }

    /// Finds the root that is named.
    fn root(&self, name: &InvocationName) -> Result<InvocationId, ServiceError> {
        let found = self.invocation(self.resolve(name)?)?;
        if found.root == found.id {
            return Ok(found.id);
        }
        let message = format!("invocation `{}` is not a root", found.id);
        Err(ServiceError::invalid(message).with_remedy(format!("its root is `{}`", found.root)))
    }
}

/// Makes the filter of these tasks with the conditions of [`WaitingFor::of`], in the order in which it decides.
fn waiting(reason: WaitingFor, mut tasks: Vec<Arc<str>>, access: &Access) -> Result<Filter, ServiceError> {
    // By the clock of the store, as the documents of the same list.
    let now = access.ask(|store| store.leases())?.now;
    if reason == WaitingFor::Time {
        return Ok(Filter { available_after: Some(now), tasks: Some(tasks), ..Filter::default() });
    }
    let paused = access.ask(|store| store.paused_tasks())?;
    tasks.retain(|task| paused.contains(task) == (reason == WaitingFor::Pause));
    let only_blocked = reason == WaitingFor::Rule;
    Ok(Filter { available_by: Some(now), only_blocked, tasks: Some(tasks), ..Filter::default() })
}

/// Lists those of a filter that have no copy, up to its limit.
fn list_not_retried(access: &Access, filter: &Filter) -> Result<Vec<Invocation>, ServiceError> {
    let mut limit = filter.limit;
    loop {
        let wider = Filter { limit, ..filter.clone() };
        let found = access.ask(|store| store.list(&wider))?;
        let is_all = found.len() < limit;
        let copies = last_copies(access, &found)?;
        let mut left: Vec<_> =
            found.into_iter().zip(copies).filter(|(_, copy)| copy.is_none()).map(|(one, _)| one).collect();
        if is_all || left.len() >= filter.limit {
            left.truncate(filter.limit);
            return Ok(left);
        }
        limit = limit.saturating_mul(4);
    }
}
