//! The client by which guests ask the runner for something.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::core::Core;
use super::fiber::Fiber;
use super::inbox::{CancelMessage, Messages, Reply, SubmitMessage, SubmitReply};
use super::outcomes::AwaitOutcomes;
use super::reach;
use super::scheduler::soon_free;
use super::stage::stopped;
use super::wait::WaitFor;
use crate::model::{
    Answer, AwaitMode, Caller, Callers, ChildRequest, Claim, InvocationId, LimitKind, LogEntry, Outcome,
    Progress, Refusal, Status, Submitter, TaskClient,
};
use crate::store::{Cancel, ChildOf, NewInvocation, SubmitError};

/// The client of one runner's guests. It holds the runner weakly: a guest that outlives it is refused.
pub(super) struct RunnerClient(pub(super) Weak<Core>);

impl RunnerClient {
    fn core(&self) -> Result<Arc<Core>, Refusal> {
        self.0.upgrade().ok_or_else(stopped)
    }

    fn core_and_fiber(&self, caller: &Caller) -> Result<(Arc<Core>, Arc<Fiber>), Refusal> {
        let core = self.core()?;
        let fiber = core
            .live_fiber(caller.id)
            .ok_or_else(|| Refusal::Unavailable("this attempt has ended".to_owned()))?;
        Ok((core, fiber))
    }
}

/// Answers with a refusal if asking comes to one.
fn answer<T: Send + 'static>(ask: impl FnOnce() -> Result<Answer<T>, Refusal>) -> Answer<T> {
    ask().unwrap_or_else(|refusal| Box::pin(std::future::ready(Err(refusal))))
}

/// Asks the ledger, which sends the answer.
fn ask<T: Send + 'static>(core: &Arc<Core>, put: impl FnOnce(&mut Messages, Reply<T>)) -> Answer<T> {
    let (reply, receiver) = oneshot::channel();
    core.tell(|messages| put(messages, reply));
    Box::pin(async move { receiver.await.unwrap_or_else(|_| Err(stopped())) })
}

/// Makes the rows of `requests`, or none at all.
fn new_children(
    core: &Core,
    fiber: &Fiber,
    requests: Vec<ChildRequest>,
) -> Result<Vec<NewInvocation>, Refusal> {
    SubmitError::check_keys(requests.len(), requests.iter().any(|request| request.options.key.is_some()))?;
    let submitter = Submitter::guest_of(&fiber.claim.task, &fiber.claim.callers);
    let mut children = Vec::with_capacity(requests.len());
    for request in requests {
        let detached = request.options.detached;
        let ChildRequest { task, arguments, .. } = &request;
        let call = core.executor.prepare_for(&fiber.claim.task, detached, task, arguments)?;
        children.push((NewInvocation::of(call, request.options, submitter)?, detached));
    }
    let count = u32::try_from(children.len()).map_err(|_| Refusal::Limit {
        limit: Some(LimitKind::Children),
        message: "too many children in one submit".to_owned(),
    })?;
    // Places are given only now, so that a refused submit takes none.
    let first = fiber.children.fetch_add(count, Ordering::AcqRel);
    let claim = &fiber.claim;
    // One submit is of one task, as a rule.
    let mut last: Option<(Arc<str>, Callers)> = None;
    let mut callers_of = |task: &Arc<str>| match &last {
        Some((known, callers)) if known == task => callers.clone(),
        _ => {
            let callers = claim.callers.of_child(&claim.task, task);
            last.insert((Arc::clone(task), callers)).1.clone()
        }
    };
    let child_of = |index, detached| ChildOf {
        parent: claim.id,
        task: Arc::clone(&claim.task),
        root: claim.root,
        depth: claim.depth.saturating_add(1),
        index,
        detached,
        parent_runner: claim.runner,
        parent_attempt: claim.attempt,
    };
    Ok(children
        .into_iter()
        .zip(first..)
        .map(|((child, detached), index)| NewInvocation {
            child_of: Some(child_of(index, detached)),
            limits: claim.limits.clone(),
            callers: callers_of(&child.task),
            ..child
        })
        .collect())
}

/// Registers the wait of a guest, which may have it.
fn begin_wait(
    core: Arc<Core>,
    claim: &Claim,
    ids: Vec<InvocationId>,
    mode: AwaitMode,
) -> Result<Answer<Vec<(usize, Outcome)>>, Refusal> {
    let waiting = Some((claim.id, Arc::clone(&claim.task)));
    let wait_for = WaitFor { caller: waiting, depth: claim.depth, ids: ids.clone(), mode };
    let (outcomes, unknown) = AwaitOutcomes::register(&core, wait_for)?;
    // After the look for a cycle, which is the better answer. Dropping the wait abandons it.
    reach::refuse_caller_of(claim, &ids)?;
    core.scheduler.promote(&ids, |id| core.registry.urgency_of(id));
    core.look_up(&outcomes.wait, unknown);
    Ok(match mode {
        AwaitMode::All | AwaitMode::Any => Box::pin(outcomes),
        // Dropping the wait abandons it. Results go before time: late ones are taken, too.
        AwaitMode::AnyWithin(time) => {
            Box::pin(async move { timeout(time, outcomes).await.unwrap_or_else(|_| Ok(Vec::new())) })
        }
    })
}

impl TaskClient for RunnerClient {
    fn submit(&self, caller: &Caller, children: Vec<ChildRequest>) -> Answer<Vec<InvocationId>> {
        answer(|| {
            let (core, fiber) = self.core_and_fiber(caller)?;
            let children = new_children(&core, &fiber, children)?;
            if children.is_empty() {
                return Ok(Box::pin(std::future::ready(Ok(Vec::new()))));
            }
            let submitted = ask(&core, |messages, reply| {
                messages.submits.push(SubmitMessage {
                    children,
                    reply: SubmitReply::Ids(reply),
                    submitted: Vec::new(),
                });
            });
            Ok(Box::pin(async move {
                let ids: Vec<_> = submitted.await?;
                fiber.submitted.lock().extend(&ids);
                Ok(ids)
            }))
        })
    }

    fn call(&self, caller: &Caller, child: ChildRequest) -> Answer<(InvocationId, Outcome)> {
        answer(|| {
            let (core, fiber) = self.core_and_fiber(caller)?;
            let children = new_children(&core, &fiber, vec![child])?;
            let id = children[0].id;
            // Nobody else knows the id yet: it is not final, closes no cycle, and needs no look-up.
            core.registry.mark_unsubmitted(id);
            let parent = Some((caller.id, Arc::clone(&fiber.claim.task)));
            let wait_for =
                WaitFor { caller: parent, depth: caller.depth, ids: vec![id], mode: AwaitMode::All };
            let (wait, _) = core.registry.register(wait_for)?;
            let reply = SubmitReply::Result(Arc::clone(&wait));
            let submit = SubmitMessage { children, reply, submitted: Vec::new() };
            // The caller is about to wait: this thread can run the child.
            soon_free(|| core.tell(|messages| messages.submits.push(submit)));
            let outcomes = AwaitOutcomes::new(core, wait);
            Ok(Box::pin(async move {
                match outcomes.await?.pop() {
                    Some((_, outcome)) => Ok((id, outcome)),
                    None => Err(Refusal::Unavailable("the wait was abandoned".to_owned())),
                }
            }))
        })
    }

    fn await_outcomes(
        &self,
        caller: &Caller,
        ids: Vec<InvocationId>,
        mode: AwaitMode,
    ) -> Answer<Vec<(usize, Outcome)>> {
        answer(|| {
            let (core, fiber) = self.core_and_fiber(caller)?;
            if mode == AwaitMode::Any && ids.is_empty() {
                let message = "awaiting any of no invocations would never end";
                return Err(Refusal::BadArguments(message.to_owned()));
            }
            let foreign = reach::not_submitted(&fiber, &ids);
            if foreign.is_empty() {
                return begin_wait(core, &fiber.claim, ids, mode);
            }
            Ok(Box::pin(async move {
                reach::check(Arc::clone(&core), &fiber.claim, foreign).await?;
                begin_wait(core, &fiber.claim, ids, mode)?.await
            }))
        })
    }

    fn status(&self, id: InvocationId) -> Answer<Status> {
        answer(|| {
            let standing = ask(&self.core()?, |messages, reply| messages.standings.push((id, reply)));
            Ok(Box::pin(async move { Ok(standing.await?.status) }))
        })
    }

    fn cancel(&self, caller: &Caller, id: InvocationId) -> Answer<bool> {
        let cancel = Cancel { id, by: Some(caller.id), message: "cancelled by another task".to_owned() };
        let put = |messages: &mut Messages, reply| messages.cancels.push(CancelMessage { cancel, reply });
        answer(|| {
            let (core, fiber) = self.core_and_fiber(caller)?;
            let foreign = reach::not_submitted(&fiber, &[id]);
            Ok(Box::pin(async move {
                reach::check(Arc::clone(&core), &fiber.claim, foreign).await?;
                ask(&core, put).await
            }))
        })
    }

    fn progress(&self, caller: &Caller, progress: Progress) {
        if let Ok((core, fiber)) = self.core_and_fiber(caller) {
            core.note(&fiber, |notes| notes.progress = Some(progress));
        }
    }

    fn log(&self, caller: &Caller, entries: Vec<LogEntry>) {
        if let Ok((core, fiber)) = self.core_and_fiber(caller) {
            core.note(&fiber, |notes| notes.logs.extend(entries));
        }
    }
}
