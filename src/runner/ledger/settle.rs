//! Settling: turns a receipt into effects.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::effect::Effect;
use super::held::Attempt;
use super::plan::{PendingSubmit, Plan};
use super::state::Ledger;
use crate::model::{FailureKind, InvocationId, Outcome, Refusal};
use crate::runner::inbox::{SubmitMessage, SubmitReply};
use crate::store::{
    Applied, Batch, Cancelled, EndKind, Ended, Lease, Receipt, Report, Submitted, large_outcome,
};

/// The circumstances of a commit.
pub(crate) struct Committed {
    pub(crate) began: Instant,
    pub(crate) now: Instant,
    pub(crate) lease: Duration,
    /// Whether the lease may still be trusted. If not, others may be about to take what was claimed.
    pub(crate) is_trusted: bool,
}

/// Whether a receipt says that the runner's lease was extended.
pub(crate) fn extends_lease(batch: &Batch, receipt: &Receipt) -> bool {
    receipt.lease == Some(Lease::Held) && (batch.heartbeat.is_some() || !receipt.claimed.is_empty())
}

impl Ledger {
    /// Turns the receipt of a plan into effects, and updates the ledger for the next plans.
    pub(crate) fn settle(
        &mut self,
        plan: Plan,
        receipt: Receipt,
        committed: &Committed,
        effects: &mut Vec<Effect>,
    ) {
        let Plan { mut batch, submits, deferred, cancels, attempts, .. } = plan;
        self.has_told_rules = true;
        self.outage.end();
        self.prefetch.note_commit(committed.now.saturating_duration_since(committed.began));
        self.claims.must_take_inventory = false;
        for duty in self.joined() {
            duty.settle(&batch, &receipt, committed.began, committed.now);
        }
        let mut answers = &receipt.submits[..];
        for submit in submits {
            let (mine, others) = answers.split_at(submit.children.min(answers.len()));
            settle_submit(submit, mine, effects);
            answers = others;
        }
        if !deferred.is_empty() {
            effects.push(Effect::SubmitDeferred(deferred));
        }
        // A waiter gets the outcome that is stored.
        for (place, outcome) in receipt.no_room {
            if let Some(end) = batch.reports.get_mut(place).and_then(|report| report.end.as_mut()) {
                end.how = EndKind::Final(outcome);
            }
        }
        for ((report, attempt), applied) in batch.reports.into_iter().zip(attempts).zip(receipt.reports) {
            self.settle_report(report, attempt, applied, committed.now, effects);
        }
        for (reply, cancelled) in cancels.into_iter().zip(receipt.cancels) {
            let answer = match cancelled {
                Cancelled::Done => Ok(true),
                Cancelled::AlreadyFinal(_) => Ok(false),
                Cancelled::Unknown => Err(Refusal::UnknownInvocation("no invocation has that id".to_owned())),
                Cancelled::Denied => Err(Refusal::Denied(
                    "a guest can't cancel its own invocation, nor what called it".to_owned(),
                )),
            };
            effects.push(Effect::AnswerCancel(reply, answer));
        }
        effects.extend(receipt.ended.into_iter().map(|Ended { id, runner, outcome }| {
            // A dead runner counts nothing any more.
            let is_lost = matches!(&outcome, Outcome::Failure(failure) if failure.kind == FailureKind::Lost);
            let is_counted = is_lost || runner.is_none_or(|runner| runner == self.runner);
            Effect::Finish { id, outcome, is_counted }
        }));
        let is_lost = self.settle_lease(receipt.lease, receipt.revoked, effects);
        if !receipt.unblocked.is_empty() {
            let is_claimed = |id: &InvocationId| receipt.claimed.iter().any(|one| one.id == *id);
            let are_claimed = receipt.unblocked.iter().all(is_claimed);
            effects.push(Effect::MarkUnblocked(receipt.unblocked));
            if !are_claimed {
                self.claims.may_have_work = true;
                effects.push(Effect::ClaimAgain);
            }
        }
        if let Some(request) = batch.claim {
            if !receipt.unclaimable.is_empty() {
                effects.push(Effect::MarkUnclaimable(receipt.unclaimable));
            }
            if !request.only_awaited {
                self.claims.may_have_work = receipt.more;
            }
            // Or their arguments were too large to be claimed together.
            let is_cut = receipt.more && (1..request.max).contains(&receipt.claimed.len());
            if self.claims.owed.is_some() || is_cut {
                effects.push(Effect::ClaimAgain);
            }
            // The claims are handed on if they are still ours, or else given back.
            if receipt.claimed.is_empty() {
                return;
            }
            if !is_lost && committed.is_trusted {
                // The claim extended the lease.
                self.heartbeat.restart(committed.began, committed.lease);
                effects.push(Effect::Start(receipt.claimed));
            } else {
                self.claims.may_have_work = true;
                effects.push(Effect::GiveBack(receipt.claimed));
            }
        }
    }

    /// Settles what the store says of the lease. Returns whether it was lost.
    fn settle_lease(
        &mut self,
        lease: Option<Lease>,
        revoked: Vec<InvocationId>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        self.give_up(revoked, effects);
        let is_lost = lease == Some(Lease::Lost);
        if is_lost {
            effects.push(Effect::ChangeRunner);
        }
        is_lost
    }

    /// Settles a heartbeat that had a commit of its own.
    pub(crate) fn settle_heartbeat(&mut self, receipt: Receipt, effects: &mut Vec<Effect>) {
        self.outage.end();
        self.settle_lease(receipt.lease, receipt.revoked, effects);
    }

    /// Settles one report, of a batch or of a commit whose answer was lost.
    pub(crate) fn settle_report(
        &mut self,
        report: Report,
        of: Attempt,
        applied: Applied,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Report { id, runner, attempt, end, .. } = report;
        match (applied, end) {
            (Applied::Done, None) => {}
            (Applied::Done, Some(end)) => {
                match &end.how {
                    EndKind::Final(_) => {}
                    EndKind::Release => self.claims.may_have_work = true,
                    EndKind::Retry(_, delay) => {
                        self.claims.may_have_work = true;
                        // The store counted the pause from the commit, a moment ago.
                        self.recovery.look_by(now + *delay);
                    }
                }
                let task = match of {
                    Attempt::Started(fiber) => Arc::clone(&fiber.claim.task),
                    Attempt::Unstarted(task) => task,
                };
                effects.push(Effect::End { id, attempt, task, end });
            }
            // Another process has made it final, or will: a waiter here must learn of it.
            (Applied::Stale, Some(end)) => {
                effects.push(Effect::Disown(id));
                self.look_ups.push(id);
                effects.push(Effect::Bill(id, runner, attempt, end.usage));
            }
            (Applied::Stale, None) => {
                effects.push(Effect::Disown(id));
                if let Attempt::Started(fiber) = of {
                    effects.push(Effect::Kill(fiber));
                }
            }
        }
    }

    /// Settles the first reports that are held, of a commit whose answer was lost: those that
    /// were applied are written, the others are merged and written again.
    pub(crate) fn settle_doubtful(&mut self, applied: &[bool], now: Instant, effects: &mut Vec<Effect>) {
        let held = std::mem::take(&mut self.held);
        for (place, (report, attempt)) in held.reports.into_iter().zip(held.attempts).enumerate() {
            if applied.get(place) == Some(&true) {
                // A quota may have had no room for a large outcome: what is stored is looked up.
                let is_sure = large_outcome(&report).is_none();
                let applied = if is_sure { Applied::Done } else { Applied::Stale };
                self.settle_report(report, attempt, applied, now, effects);
            } else {
                self.held.push(report, attempt);
            }
        }
        self.held.merge();
    }

    /// Gives up what another process has made final, and has it looked up for its waiters.
    pub(crate) fn give_up(&mut self, ids: impl IntoIterator<Item = InvocationId>, effects: &mut Vec<Effect>) {
        for id in ids {
            effects.push(Effect::GiveUp(id));
            self.look_ups.push(id);
        }
    }
}

fn settle_submit(submit: PendingSubmit, answers: &[Submitted], effects: &mut Vec<Effect>) {
    let SubmitMessage { children, reply, submitted } = submit.rest;
    effects.push(match reply {
        // A guest that was killed meanwhile no longer listens.
        SubmitReply::Ids(sender) if sender.is_closed() => return,
        SubmitReply::Ids(sender) => {
            let ids = submitted.into_iter().map(Ok).chain(answers.iter().map(submitted_id));
            match ids.collect() {
                Ok(submitted) if !children.is_empty() => {
                    let reply = SubmitReply::Ids(sender);
                    Effect::SubmitRest(SubmitMessage { children, reply, submitted })
                }
                all => Effect::AnswerSubmit(sender, all),
            }
        }
        SubmitReply::Result(wait) => match answers.first().map(submitted_id) {
            Some(Ok(id)) if Some(id) == submit.first => Effect::MarkSubmitted(id),
            Some(Ok(other)) => Effect::Redirect(wait, other),
            Some(Err(refusal)) => Effect::RefuseWait(wait, refusal),
            None => Effect::RefuseWait(wait, Refusal::Unavailable("the store lost the submit".to_owned())),
        },
    });
}

fn submitted_id(submitted: &Submitted) -> Result<InvocationId, Refusal> {
    match submitted {
        Submitted::Created(id) | Submitted::Existing(id) => Ok(*id),
        Submitted::KeyConflict(id) => {
            Err(Refusal::BadArguments(format!("the key is taken by `{id}`, which has other arguments")))
        }
        Submitted::UniqueConflict(id) => Err(Refusal::BadArguments(format!(
            "the unfinished `{id}` is the same by the task's uniqueness rule and has other arguments"
        ))),
        Submitted::BehindAncestor(id) => Err(Refusal::Cycle(format!(
            "the concurrency rule of its task would keep it waiting for its ancestor `{id}`, which would wait for it"
        ))),
        Submitted::OverQuota(over) => Err(Refusal::bound(over.to_string())),
        Submitted::Orphan => Err(Refusal::Unavailable("this attempt is no longer the valid one".to_owned())),
    }
}
