//! The invocations that a guest may await or cancel.
//!
//! An id alone gives no right: a guest is told the ids of those that called it, whoever they are.

use std::sync::Arc;

use super::core::Core;
use super::fiber::Fiber;
use super::inbox::StandingMessage;
use super::stage::stopped;
use crate::model::{Claim, InvocationId, Refusal, TaskId};
use crate::store::Standing;

/// The ids that a guest asks the store about at once.
const AT_ONCE: usize = 1_000;

/// Refuses a wait for an invocation that has called this one, if others' components are above it: every guest knows the
/// ids of its parent and of its root, and whoever is called does not read the results of whoever called. An attached
/// child that waits for them waits for its own end anyway.
pub(super) fn refuse_caller_of(claim: &Claim, ids: &[InvocationId]) -> Result<(), Refusal> {
    let above = [claim.parent, Some(claim.root)];
    let is_above = |id: &InvocationId| *id != claim.id && above.contains(&Some(*id));
    match ids.iter().find(|id| is_above(id)) {
        Some(_) if !claim.callers.is_empty() => Err(Refusal::Denied(
            "a guest can't await what called it, if that is of another component".to_owned(),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Lists those of `ids` that the guest has not submitted in this attempt, of which the store has to be asked.
pub(super) fn not_submitted(fiber: &Fiber, ids: &[InvocationId]) -> Vec<InvocationId> {
    let submitted = fiber.submitted.lock();
    ids.iter().filter(|id| **id != fiber.claim.id && !submitted.contains(id)).copied().collect()
}

/// Checks that a guest may await and cancel invocations that it has not submitted in this attempt: those of its component,
/// those of tasks that it may submit, and those of its tree, unless they are of a component that is above it: they may have
/// called it, or its parent.
///
/// # Errors
///
/// [`Refusal::Denied`]; [`Refusal::UnknownInvocation`] if the store has no invocation with one of the ids.
pub(super) async fn check(core: Arc<Core>, claim: &Claim, ids: Vec<InvocationId>) -> Result<(), Refusal> {
    for ids in ids.chunks(AT_ONCE) {
        let (questions, answers): (Vec<StandingMessage>, Vec<_>) = ids
            .iter()
            .map(|id| {
                let (reply, receiver) = tokio::sync::oneshot::channel();
                ((*id, reply), receiver)
            })
            .unzip();
        core.tell(|messages| messages.standings.extend(questions));
        for answer in answers {
            let standing = answer.await.unwrap_or_else(|_| Err(stopped()))?;
            if !is_in_reach(&core, claim, &standing) {
                return Err(Refusal::Denied(
                    "it is of another tree, or of a component that has called this one, and of a task that this component may not submit".to_owned(),
                ));
            }
        }
    }
    Ok(())
}

fn is_in_reach(core: &Core, claim: &Claim, standing: &Standing) -> bool {
    let component = TaskId::component_of(&standing.task);
    standing.root == claim.root && !claim.callers.may_have(component)
        || TaskId::split(&standing.task).0 == TaskId::split(&claim.task).0
        || core.executor.may_submit(&claim.task, &standing.task)
}
