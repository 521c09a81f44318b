//! Retrying: final invocations, submitted anew.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::components::removed;
use super::copies::{FOLLOWED, RETRY_OF, last_copies, retry_key};
use super::patience::{Access, CHUNK, CHUNK_BYTES, Transactions, give_way};
use super::{Copied, Remedy, RetryDocument, Selection, Service, ServiceError};
use crate::model::{
    ComponentDigest, Differing, Invocation, InvocationId, PreparedCall, Status, SubmitOptions, Submitter,
    TaskId,
};
use crate::store::{Batch, NewInvocation, PushedComponent, SubmitError, Submitted};
use crate::wasm::Library;

/// A retry of invocations.
#[derive(Debug, Clone)]
pub struct RetryRequest {
    /// The invocations; those that failed, if no status is named.
    pub selection: Selection,
    /// Whether those that are named may have succeeded.
    pub even_succeeded: bool,
    /// Whether those are left out that were retried before.
    pub only_new: bool,
}

/// The end of the retry of one invocation.
#[derive(Debug)]
pub enum Retried {
    /// There is a copy of it.
    Copied(RetryDocument),
    /// It was removed meanwhile.
    Gone(InvocationId),
}

/// The effect that a retry would have.
#[derive(Debug, Default)]
pub struct RetryPlan {
    /// The invocations that it would submit again, in the order of the selection.
    pub ids: Vec<InvocationId>,
    /// The number of those that were retried before: it would answer with their copies.
    pub before: usize,
    /// The number of those that it would refuse, because their components were removed.
    pub refused: usize,
}

/// An invocation that is to be retried.
#[derive(Clone, Copy)]
struct Wanted {
    original: InvocationId,
    /// The invocation that is copied: the original, or the last of its copies that was cancelled.
    last: InvocationId,
    /// How many copies were followed to that one.
    followed: usize,
}

/// A retry under way.
struct Retrying {
    service: Service,
    access: Access,
    /// The pushed components, as they were at first.
    pushed: Vec<PushedComponent>,
    /// The only component that is retried, if that is known.
    only: Option<Arc<str>>,
    /// The components as a submit finds them, once they were asked for; `None` if they can't be loaded here.
    library: Option<Option<Arc<Library>>>,
    wanted: VecDeque<Wanted>,
    /// The beginning of the last transaction.
    began: Option<Instant>,
    /// Told after the rest of its transaction.
    conflict: Option<ServiceError>,
}

impl Service {
    /// Finds out what a retry of this selection would do: of those without a copy, if `only_new`.
    pub fn would_retry(&self, selection: Selection, only_new: bool) -> Result<RetryPlan, ServiceError> {
        let access = self.existing()?;
        let pushed = access.ask(|store| store.components())?;
        let mut plan = RetryPlan::default();
        for id in self.select(&access, selection, vec![Status::Failed])? {
            // One by one: their values may be large. What is gone is no longer there to be retried.
            let Some(found) = access.ask(|store| store.get(&[id]))?.pop().flatten() else { continue };
            let is_refused = self.refuse_removed(&found.task, &pushed).is_err();
            let copy = last_copies(&access, &[found])?.pop().flatten();
            match copy {
                Some(_) if only_new => {}
                _ if is_refused => plan.refused += 1,
                // One that was cancelled is copied in its place.
                Some(copy) if !is_cancelled(&access, copy)? => plan.before += 1,
                _ => plan.ids.push(id),
            }
        }
        Ok(plan)
    }

    /// Begins to retry invocations. Each is submitted anew, as the root of a tree of its own, unless it was
    /// before: then the copy counts, if it was not cancelled. One that was is copied in its place. It runs the bytes
    /// that a submit would get now, as far as their component is known here, or else those of the original. Named ones
    /// are checked first: if one of them must not be retried, none is. Between two transactions it pauses, so that
    /// runners get at the store.
    pub fn retry(&self, request: RetryRequest) -> Result<Transactions<Vec<Retried>>, ServiceError> {
        let access = self.existing()?;
        let pushed = access.ask(|store| store.components())?;
        let mut components = BTreeSet::new();
        if let Selection::Ids(ids) = &request.selection {
            for id in ids {
                let invocation = self.invocation(*id)?;
                check(*id, invocation.status, request.even_succeeded)?;
                self.refuse_removed(&invocation.task, &pushed)?;
                components.insert(Arc::<str>::from(TaskId::component_of(&invocation.task)));
            }
        }
        let only = components.pop_first().filter(|_| components.is_empty());
        let is_named = matches!(request.selection, Selection::Ids(_));
        let mut ids = self.select(&access, request.selection, vec![Status::Failed])?;
        if request.only_new {
            ids = without_copy(&access, ids)?;
        }
        let named = if is_named { ids.clone() } else { Vec::new() };
        let wanted = ids.into_iter().map(|id| Wanted { original: id, last: id, followed: 0 }).collect();
        let service = self.clone();
        let mut retrying =
            Retrying { service, access, pushed, only, library: None, wanted, began: None, conflict: None };
        for id in named {
            let invocation = self.invocation(id)?;
            if let Some(arguments) = retrying.access.ask(|store| store.arguments(id))? {
                retrying.digest_now(&invocation, &arguments)?;
            }
        }
        Ok(Transactions::new(move || match retrying.conflict.take() {
            Some(conflict) => Err(conflict),
            None if retrying.wanted.is_empty() => Ok(None),
            None => retrying.chunk().map(Some),
        }))
    }
}

fn is_cancelled(access: &Access, id: InvocationId) -> Result<bool, ServiceError> {
    let found = access.ask(|store| store.standings(&[id]))?.pop().flatten();
    Ok(found.is_some_and(|found| found.status == Status::Cancelled))
}

/// Leaves out what was retried before.
fn without_copy(access: &Access, ids: Vec<InvocationId>) -> Result<Vec<InvocationId>, ServiceError> {
    let mut new = Vec::new();
    for id in ids {
        // One by one: their values may be large.
        let found = access.ask(|store| store.get(&[id]))?.pop().flatten();
        let is_copied = last_copies(access, found.as_slice())?.iter().any(Option::is_some);
        if !is_copied {
            new.push(id);
        }
    }
    Ok(new)
}

/// Refuses what is not to be retried.
fn check(id: InvocationId, status: Status, even_succeeded: bool) -> Result<(), ServiceError> {
    if !status.is_final() {
        let message = format!("invocation `{id}` is {status}: only what is final can be retried");
        return Err(ServiceError::invalid(message).with_remedy(Remedy::CancelFirst(id)));
    }
    if status == Status::Succeeded && !even_succeeded {
        let message = format!("invocation `{id}` has {status}");
        return Err(ServiceError::invalid(message).with_remedy(Remedy::RetrySucceeded));
    }
    Ok(())
}

/// Copies an invocation, as the root of a tree of its own.
fn copy(
    invocation: &Invocation,
    digest: ComponentDigest,
    arguments: Arc<str>,
) -> Result<NewInvocation, SubmitError> {
    let id = invocation.id;
    let others = invocation.labels.iter().filter(|(key, _)| key != RETRY_OF);
    let call = PreparedCall {
        task: Arc::clone(&invocation.task),
        digest,
        arguments,
        max_attempts: invocation.max_attempts,
        priority: invocation.priority,
        // A child's deadline belonged to its tree.
        deadline: invocation
            .deadline
            .filter(|_| invocation.parent.is_none())
            .map(|deadline| deadline.since(invocation.submitted_at)),
        lane: invocation.lane,
        // An unfinished one like it, of the same submitter, will do as well.
        unique: invocation.unique.map(|key| (key, Differing::Existing)),
    };
    let options = SubmitOptions {
        // Pressed twice, it is the same retry.
        key: Some(retry_key(id).into()),
        // It may start at once, and has no parent to outlive.
        delay: Duration::ZERO,
        detached: false,
        // The call has these.
        deadline: None,
        priority: None,
        labels: Arc::default(),
        // Earlier programs kept none.
        limits: invocation.limits.clone(),
        fairness_key: Some(&invocation.fairness_key).filter(|key| !key.is_empty()).cloned(),
    };
    // One that has as many labels as a submit may give gets one more.
    let labels = others.cloned().chain([(RETRY_OF.to_owned(), id.to_string())]).collect();
    // Its guests go on with the keys of those that were called so.
    let callers = invocation.callers.clone();
    Ok(NewInvocation { labels, callers, ..NewInvocation::of(call, options, Submitter::Outside)? })
}

impl Retrying {
    /// Finds the bytes that a submit would get now. If the component of the invocation is not known here, or can't be
    /// loaded, its own stay.
    ///
    /// # Errors
    ///
    /// If a submit would be refused: there is no such task any more, or it takes other arguments.
    fn digest_now(
        &mut self,
        invocation: &Invocation,
        arguments: &str,
    ) -> Result<ComponentDigest, ServiceError> {
        let (service, only) = (&self.service, self.only.as_deref());
        let library = self.library.get_or_insert_with(|| {
            let loaded = only.map_or_else(|| service.library(), |only| service.library_of(only));
            let warn = |error: &ServiceError| {
                tracing::warn!("retried invocations keep the bytes that they had: {error}");
            };
            loaded.inspect_err(warn).ok()
        });
        let task = &invocation.task;
        let component = TaskId::component_of(task);
        let is_known = |library: &&Arc<Library>| library.components().any(|(name, _)| **name == *component);
        let Some(library) = library.as_ref().filter(is_known) else { return Ok(invocation.component_digest) };
        let found = library.resolve(task).ok().filter(|found| found.id == *task);
        let Some(found) = found.filter(|found| !library.is_retired(&found.id)) else {
            return Err(removed(task));
        };
        library.check_arguments(found, arguments).map_err(|error| {
            let message = format!("`{}` can't be retried: {error}", invocation.id);
            ServiceError::invalid(message).with_remedy(format!("the task is `{}` now", found.signature()))
        })?;
        Ok(found.digest)
    }

    fn chunk(&mut self) -> Result<Vec<Retried>, ServiceError> {
        self.began.take().into_iter().for_each(give_way);
        let (mut told, mut originals, mut submits) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        while submits.len() < CHUNK && bytes < CHUNK_BYTES {
            let Some(wanted) = self.wanted.pop_front() else { break };
            let id = wanted.last;
            // One by one: their values may be large.
            let found = self.access.ask(|store| store.get(&[id]))?.pop().flatten();
            let arguments = self.access.ask(|store| store.arguments(id))?;
            let (Some(invocation), Some(arguments)) = (found, arguments) else {
                // Retention was faster.
                told.push(Retried::Gone(wanted.original));
                continue;
            };
            if let Err(error) = self.service.refuse_removed(&invocation.task, &self.pushed) {
                // The others are retried first.
                self.conflict.get_or_insert(error);
                continue;
            }
            let digest = match self.digest_now(&invocation, &arguments) {
                Ok(digest) => digest,
                Err(error) => {
                    self.conflict.get_or_insert(error);
                    continue;
                }
            };
            bytes += arguments.len();
            submits.push(copy(&invocation, digest, arguments)?);
            originals.push(wanted);
        }
        if submits.is_empty() {
            return Ok(told);
        }
        let began = Instant::now();
        let batch = Batch { submits, ..Batch::default() };
        let receipt = self.access.commit(&batch)?;
        let mut again = Vec::new();
        for ((wanted, new), submitted) in originals.into_iter().zip(&batch.submits).zip(receipt.submits) {
            let Wanted { original, last, followed } = wanted;
            let (id, copied) = match submitted {
                Submitted::Created(id) => (id, Copied::Now),
                // The answer to the first try was lost.
                Submitted::Existing(id) if id == new.id => (id, Copied::Now),
                Submitted::Existing(id) => {
                    let found = self.access.ask(|store| store.get(&[id]))?.pop().flatten();
                    let is_copy = found.as_ref().is_some_and(|found| found.key == new.key);
                    let is_cancelled = found.is_some_and(|found| found.status == Status::Cancelled);
                    if is_copy && is_cancelled && followed < FOLLOWED {
                        again.push(Wanted { original, last: id, followed: followed + 1 });
                        continue;
                    }
                    (id, if is_copy { Copied::Before } else { Copied::Same })
                }
                Submitted::KeyConflict(id) => {
                    let key = retry_key(last);
                    self.conflict.get_or_insert_with(|| ServiceError::Conflict {
                        id,
                        message: format!(
                            "`{original}` can't be retried: the key `{key}` is taken by `{id}`, which has other \
                             arguments"
                        ),
                        remedy: None,
                    });
                    continue;
                }
                Submitted::OverQuota(over) => {
                    let message = format!("`{original}` can't be retried now: {over}");
                    self.conflict.get_or_insert(ServiceError::OverQuota { message, kind: Some(over.kind) });
                    continue;
                }
                Submitted::UniqueConflict(_) => unreachable!("it was to take what is there"),
                Submitted::Orphan | Submitted::BehindAncestor(_) => unreachable!("a root has no parent"),
            };
            told.push(Retried::Copied(RetryDocument { id, retry_of: original, copied }));
        }
        self.wanted.extend(again);
        self.began = Some(began);
        Ok(told)
    }
}
