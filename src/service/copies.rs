//! Copies: how an invocation and what was submitted for it anew are found from each other.

use std::sync::Arc;

use super::ServiceError;
use super::patience::Access;
use crate::model::{Invocation, InvocationId};

/// The label that says which invocation one is a copy of.
pub const RETRY_OF: &str = "retry-of";

/// The most copies of copies that are followed: so often somebody would have to retry, and to cancel that.
pub(super) const FOLLOWED: usize = 1_000;

/// Makes the idempotency key of the copy of an invocation.
pub(super) fn retry_key(original: InvocationId) -> String {
    format!("{RETRY_OF}:{original}")
}

/// Returns the invocation that one is a copy of, by its label.
pub(super) fn retry_of(labels: &[(String, String)]) -> Option<InvocationId> {
    labels.iter().find(|(key, _)| key == RETRY_OF).and_then(|(_, id)| id.parse().ok())
}

/// Finds the copy of each invocation that was retried: the last one, if copies were retried as well.
pub(super) fn last_copies(
    access: &Access,
    invocations: &[Invocation],
) -> Result<Vec<Option<InvocationId>>, ServiceError> {
    let mut copies = vec![None; invocations.len()];
    let finals = invocations.iter().enumerate().filter(|(_, one)| one.status.is_final());
    let mut open: Vec<_> = finals.map(|(place, one)| (place, Arc::clone(&one.task), one.id)).collect();
    for _ in 0..FOLLOWED {
        let keys: Vec<_> =
            open.iter().map(|(_, task, id)| (Arc::clone(task), Arc::from(retry_key(*id)))).collect();
        if keys.is_empty() {
            break;
        }
        let found = access.ask(|store| store.keyed(&keys))?;
        let followed = open.into_iter().zip(found);
        open = followed.filter_map(|((place, task, _), copy)| Some((place, task, copy?))).collect();
        open.iter().for_each(|(place, _, copy)| copies[*place] = Some(*copy));
    }
    Ok(copies)
}
