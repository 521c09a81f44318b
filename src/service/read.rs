//! Reading: what the store has of invocations.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::components::stored_task;
use super::error::known;
use super::patience::Access;
use super::{InvocationDocument, Remedy, Service, ServiceError};
use crate::model::{Invocation, InvocationId, LogEntry, Status, TaskId, Transition};
use crate::store::Filter;
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
    /// At most this many, the newest; `None` means all.
    pub limit: Option<usize>,
}

/// A choice of invocations to change.
#[derive(Debug, Clone)]
pub enum Selection {
    /// These.
    Ids(Vec<InvocationId>),
    /// All that are listed.
    Listed(ListRequest),
}

/// A tree of invocations.
#[derive(Debug)]
pub struct Tree {
    /// Its root.
    pub root: InvocationId,
    /// Its members, parents before children, siblings in the order of their submit. If the
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

impl Service {
    /// Reads one invocation.
    pub fn status(&self, id: InvocationId) -> Result<InvocationDocument, ServiceError> {
        self.invocation(id).map(InvocationDocument::from)
    }

    /// Reads the arguments of an invocation as JSON text; `None` if nobody has that id.
    pub fn arguments(&self, id: InvocationId) -> Result<Option<Arc<str>>, ServiceError> {
        Ok(self.existing()?.ask(|store| store.arguments(id))?)
    }

    /// Lists invocations, newest first, without values.
    pub fn list(&self, request: &ListRequest) -> Result<Vec<InvocationDocument>, ServiceError> {
        let access = self.existing()?;
        let filter = self.filter(request, Vec::new())?;
        let found = access.ask(|store| store.list(&filter))?;
        Ok(found.into_iter().map(InvocationDocument::from).collect())
    }

    /// Reads the tree that an invocation belongs to, without values.
    pub fn tree(&self, id: InvocationId) -> Result<Tree, ServiceError> {
        let found = self.invocation(id)?;
        let root = found.root;
        let mut members = self.existing()?.ask(|store| store.tree(root))?;
        let is_uprooted = members.is_empty();
        if is_uprooted {
            members.push(found);
        }
        Ok(Tree { root, members: members.into_iter().map(InvocationDocument::from).collect(), is_uprooted })
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

    /// Makes the error for an id that nobody has.
    pub fn unknown(&self, id: InvocationId) -> ServiceError {
        let url = || match self.existing() {
            Ok(access) => access.store().url().to_owned(),
            Err(_) => self.config().store.url.to_string(),
        };
        let remedy = self.missing().map_or_else(|| Remedy::ListInvocations(url()), Remedy::NameStore);
        ServiceError::Unknown { message: format!("unknown invocation `{id}`"), remedy: Some(remedy) }
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

    /// Finds the ids of the tasks that a request names, by themselves or by their components;
    /// `None` if it names none.
    fn requested_tasks(&self, request: &ListRequest) -> Result<Option<Vec<Arc<str>>>, ServiceError> {
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
            let found = stored_task(name, tasks)?;
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
        Ok(Filter {
            statuses: if request.statuses.is_empty() { statuses } else { request.statuses.clone() },
            tasks: self.requested_tasks(request)?,
            limit: request.limit.unwrap_or(usize::MAX),
        })
    }
}
