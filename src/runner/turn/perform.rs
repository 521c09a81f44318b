//! Carrying out the effects of a receipt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::stop::give_back;
use crate::model::{Claim, InvocationId, Outcome, Refusal, RunnerId, millis};
use crate::runner::core::Core;
use crate::runner::fiber::Kill;
use crate::runner::inbox::{Messages, SubmitReply};
use crate::runner::ledger::{Effect, Ledger};
use crate::runner::observer::{Observation, tell};
use crate::store::{EndKind, StoreError};

/// Performs effects in their order; none is left.
pub(super) fn perform(core: &Arc<Core>, ledger: &mut Ledger, effects: &mut Vec<Effect>) {
    for effect in effects.drain(..) {
        perform_one(core, ledger, effect);
    }
}

fn perform_one(core: &Arc<Core>, ledger: &mut Ledger, effect: Effect) {
    match effect {
        // A guest that was killed meanwhile no longer listens.
        Effect::AnswerSubmit(reply, answer) => drop(reply.send(answer)),
        Effect::SubmitRest(rest) => core.inbox.put(|messages| messages.submits.push(rest)),
        Effect::SubmitDeferred(deferred) => {
            core.inbox.put(|messages| drop(messages.submits.splice(..0, deferred)));
        }
        Effect::MarkSubmitted(id) => {
            // A claim between its wait and its submit has asked for it in vain.
            if core.registry.mark_submitted(id) {
                claim_again(core);
            }
        }
        Effect::Redirect(wait, other) => {
            if core.registry.redirect(&wait, other) {
                ledger.look_ups.push(other);
            }
        }
        Effect::RefuseWait(wait, refusal) => wait.refuse(refusal),
        Effect::AnswerCancel(reply, answer) => drop(reply.send(answer)),
        Effect::End { id, attempt, task, end } => {
            core.totals.lock().count_end(&end.how);
            tell(&core.options.observers, || Observation::Ended { id, attempt, task: &task, end: &end });
            match end.how {
                EndKind::Final(outcome) => core.registry.finish(id, &outcome),
                EndKind::Retry(..) | EndKind::Release => core.registry.disown(id),
            };
        }
        // The registry first: a slot that has just taken it asks whose it is.
        Effect::Finish { id, outcome, is_counted } => {
            let owned = core.registry.finish(id, &outcome);
            core.end_here(id);
            tell_taken(core, id, owned, Some(&outcome));
            if is_counted {
                core.totals.lock().count_outcome(&outcome);
                tell(&core.options.observers, || Observation::Finished { id, outcome: &outcome });
            }
        }
        Effect::GiveUp(id) => {
            let owned = core.registry.disown(id);
            core.end_here(id);
            count_taken(core, id, owned);
        }
        Effect::Disown(id) => count_taken(core, id, core.registry.disown(id)),
        Effect::Kill(fiber) => fiber.kill(Kill::NotOurs),
        Effect::Bill(id, runner, attempt, usage) => core.leave_bill(id, runner, attempt, usage),
        Effect::MarkUnblocked(ids) => core.registry.mark_unblocked(&ids),
        Effect::MarkUnclaimable(ids) => core.registry.mark_unclaimable(&ids),
        Effect::ClaimAgain => claim_again(core),
        Effect::ChangeRunner => {
            let (lost, now) = (ledger.runner, RunnerId::generate());
            tracing::warn!(
                event = "lease-lost",
                %lost,
                %now,
                "the lease was lost: guests are killed, their work is run again"
            );
            tell(&core.options.observers, || Observation::LeaseLost { lost, now });
            ledger.change_runner(now);
            core.disown_everything();
            core.trust.begin_again(now);
        }
        Effect::GiveBack(claims) => {
            tell_claimed(core, &claims);
            core.inbox.put(|messages| give_back(core, claims, messages));
        }
        Effect::Start(claims) => {
            tell_claimed(core, &claims);
            let claims = claims.into_iter().map(|claim| {
                let urgency = core.registry.own(claim.id, claim.attempt);
                (claim, urgency)
            });
            core.scheduler.push_claimed(claims.collect());
        }
    }
}

fn tell_claimed(core: &Core, claims: &[Claim]) {
    for claim in claims {
        tell(&core.options.observers, || Observation::Claimed { claim });
    }
}

/// Counts and tells that somebody else has ended an attempt of this runner or taken it over, if it was one.
fn count_taken(core: &Core, id: InvocationId, owned: Option<u32>) {
    if owned.is_some() {
        core.totals.lock().count_taken(id);
    }
    tell_taken(core, id, owned, None);
}

/// Tells that an attempt is over which this runner owned, if it did.
pub(super) fn tell_taken(core: &Core, id: InvocationId, owned: Option<u32>, outcome: Option<&Outcome>) {
    if let Some(attempt) = owned {
        tell(&core.options.observers, || Observation::Taken { id, attempt, outcome });
    }
}

/// Gives up what another process has made final.
pub(super) fn give_up(core: &Arc<Core>, ledger: &mut Ledger, ids: Vec<InvocationId>) {
    let mut effects = Vec::new();
    ledger.give_up(ids, &mut effects);
    perform(core, ledger, &mut effects);
}

/// Leaves the store alone for a while, after a read that failed.
pub(super) fn leave_alone(ledger: &mut Ledger, error: &StoreError) {
    let pause = ledger.outage.lengthen_pause(Instant::now());
    tell_failure(ledger, error, pause, "the store can't be read; trying again");
}

/// Logs that the store can't be used: the first time in an outage as a warning.
pub(super) fn tell_failure(ledger: &Ledger, error: &StoreError, pause: Duration, what: &str) {
    let pause_ms = millis(pause);
    match ledger.outage.has_just_begun() {
        true => tracing::warn!(event = "store-away", %error, pause_ms, "{what}"),
        false => tracing::debug!(%error, pause_ms, "{what}"),
    }
}

/// Logs the end of an outage, if the store has just answered after one.
pub(super) fn tell_end_of_outage(ledger: &mut Ledger) {
    if let Some(away) = ledger.outage.take_ended() {
        tracing::warn!(event = "store-back", away_ms = millis(away), "the store is back");
    }
}

/// Makes the ledger take another turn, to claim.
fn claim_again(core: &Core) {
    core.inbox.put(|messages| messages.is_hungry = true);
}

/// Tells everybody who waits for an answer that there will be none.
pub(super) fn refuse_all(messages: Messages, why: &str) {
    let refusal = || Refusal::Unavailable(why.to_owned());
    for submit in messages.submits {
        match submit.reply {
            SubmitReply::Ids(sender) => drop(sender.send(Err(refusal()))),
            SubmitReply::Result(wait) => wait.refuse(refusal()),
        }
    }
    for message in messages.cancels {
        drop(message.reply.send(Err(refusal())));
    }
    for (_, sender) in messages.standings {
        drop(sender.send(Err(refusal())));
    }
}
