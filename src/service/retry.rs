//! Retrying: final invocations, submitted anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::patience::{Access, CHUNK, CHUNK_BYTES, Transactions, give_way};
use super::{Copied, Remedy, RetryDocument, Selection, Service, ServiceError};
use crate::model::{Differing, Invocation, InvocationId, PreparedCall, Status, SubmitOptions, Submitter};
use crate::store::{Batch, NewInvocation, SubmitError, Submitted};

/// The label that says which invocation one is a copy of.
const RETRY_OF: &str = "retry-of";

/// A retry of invocations.
#[derive(Debug, Clone)]
pub struct RetryRequest {
    /// The invocations; those that failed, if no status is named.
    pub selection: Selection,
    /// Whether those that are named may have succeeded.
    pub even_succeeded: bool,
}

/// The end of the retry of one invocation.
#[derive(Debug)]
pub enum Retried {
    /// There is a copy of it.
    Copied(RetryDocument),
    /// It was removed meanwhile.
    Gone(InvocationId),
}

/// A retry under way.
struct Retrying {
    access: Access,
    ids: VecDeque<InvocationId>,
    /// The beginning of the last transaction.
    began: Option<Instant>,
    /// Told after the rest of its transaction.
    conflict: Option<ServiceError>,
}

impl Service {
    /// Begins to retry invocations. Each is submitted anew, as the root of a tree of its own, unless it was
    /// before. Named ones are checked first: if one of them must not be retried, none is. Between two
    /// transactions it pauses, so that runners get at the store.
    pub fn retry(&self, request: RetryRequest) -> Result<Transactions<Vec<Retried>>, ServiceError> {
        let access = self.existing()?;
        if let Selection::Ids(ids) = &request.selection {
            for id in ids {
                check(*id, self.invocation(*id)?.status, request.even_succeeded)?;
            }
        }
        let ids = self.select(&access, request.selection, vec![Status::Failed])?;
        let mut retrying = Retrying { access, ids: ids.into(), began: None, conflict: None };
        Ok(Transactions::new(move || match retrying.conflict.take() {
            Some(conflict) => Err(conflict),
            None if retrying.ids.is_empty() => Ok(None),
            None => retrying.chunk().map(Some),
        }))
    }
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
fn copy(invocation: &Invocation, arguments: Arc<str>) -> Result<NewInvocation, SubmitError> {
    let id = invocation.id;
    let others = invocation.labels.iter().filter(|(key, _)| key != RETRY_OF);
    let call = PreparedCall {
        task: Arc::clone(&invocation.task),
        digest: invocation.component_digest,
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
    };
    // One that has as many labels as a submit may give gets one more.
    let labels = others.cloned().chain([(RETRY_OF.to_owned(), id.to_string())]).collect();
    Ok(NewInvocation { labels, ..NewInvocation::of(call, options, Submitter::Outside)? })
}

fn retry_key(original: InvocationId) -> String {
    format!("{RETRY_OF}:{original}")
}

impl Retrying {
    fn chunk(&mut self) -> Result<Vec<Retried>, ServiceError> {
        self.began.take().into_iter().for_each(give_way);
        let (mut told, mut originals, mut submits) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        while submits.len() < CHUNK && bytes < CHUNK_BYTES {
            let Some(id) = self.ids.pop_front() else { break };
            // One by one: their values may be large.
            let found = self.access.ask(|store| store.get(&[id]))?.pop().flatten();
            let arguments = self.access.ask(|store| store.arguments(id))?;
            let (Some(invocation), Some(arguments)) = (found, arguments) else {
                // Retention was faster.
                told.push(Retried::Gone(id));
                continue;
            };
            bytes += arguments.len();
            submits.push(copy(&invocation, arguments)?);
            originals.push(id);
        }
        if submits.is_empty() {
            return Ok(told);
        }
        let began = Instant::now();
        let batch = Batch { submits, ..Batch::default() };
        let receipt = self.access.commit(&batch)?;
        for ((original, new), submitted) in originals.into_iter().zip(&batch.submits).zip(receipt.submits) {
            let (id, copied) = match submitted {
                Submitted::Created(id) => (id, Copied::Now),
                // The answer to the first try was lost.
                Submitted::Existing(id) if id == new.id => (id, Copied::Now),
                Submitted::Existing(id) => {
                    let found = self.access.ask(|store| store.get(&[id]))?.pop().flatten();
                    let is_copy = found.and_then(|found| found.key) == new.key;
                    (id, if is_copy { Copied::Before } else { Copied::Same })
                }
                Submitted::KeyConflict(id) => {
                    let key = retry_key(original);
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
                Submitted::UniqueConflict(_) => unreachable!("it was to take what is there"),
                Submitted::Orphan | Submitted::BehindAncestor(_) => unreachable!("a root has no parent"),
            };
            told.push(Retried::Copied(RetryDocument { id, retry_of: original, copied }));
        }
        self.began = Some(began);
        Ok(told)
    }
}
