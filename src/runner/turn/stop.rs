//! The steps of a stop, carried out.

use std::time::Instant;

use crate::model::Claim;
use crate::runner::core::Core;
use crate::runner::fiber::{Kill, Phase};
use crate::runner::inbox::Messages;
use crate::runner::ledger::Ledger;
use crate::runner::stage::Stage;
use crate::store::{AttemptEnd, EndKind, StoreError};

/// Takes the steps of a stop that are due.
pub(super) fn advance(core: &Core, ledger: &mut Ledger, messages: &mut Messages) {
    let grace_ends = core.stages.grace_ends();
    let steps = ledger.stopping.advance(core.stages.now(), grace_ends, Instant::now());
    if steps.gives_back {
        give_back_claimed(core, messages);
        core.starts.kill(Kill::Release, |_| true);
        for fiber in core.live_fibers() {
            if fiber.is(Phase::Parked) || fiber.is(Phase::Queued) {
                fiber.kill(Kill::Release);
            }
        }
    }
    if steps.ends_grace {
        core.advance(Stage::Killing);
    }
    if steps.kills {
        for fiber in core.live_fibers() {
            fiber.kill(Kill::Release);
        }
    }
    if steps.abandons_stuck {
        for fiber in core.live_fibers() {
            let end = AttemptEnd::unstarted(core.clock.now(), EndKind::Release);
            messages.ends.push((fiber, end));
        }
    }
}

/// Gives back what is claimed and has not started.
pub(super) fn give_back_claimed(core: &Core, messages: &mut Messages) {
    give_back(core, core.scheduler.take_claimed(), messages);
}

/// Gives back claims of which no guest was made.
pub(super) fn give_back(core: &Core, claims: Vec<Claim>, messages: &mut Messages) {
    let at = core.clock.now();
    let ends = claims.into_iter().map(|claim| (claim, AttemptEnd::unstarted(at, EndKind::Release)));
    messages.unstarted.extend(ends);
}

/// Whether a runner that stops has nothing left to write.
pub(super) fn is_done(core: &Core, ledger: &Ledger) -> bool {
    let is_given_up = ledger.stopping.is_out_of_patience(Instant::now());
    if is_given_up && !ledger.held.is_empty() {
        tracing::error!(
            reports = ledger.held.reports.len(),
            "the store could not be written to until the end: these attempts will be run again"
        );
    }
    let is_settled = core.live.lock().is_empty()
        && core.scheduler.load().busy == 0
        && ledger.held.is_empty()
        && ledger.bills.is_empty()
        && !core.inbox.is_urgent();
    ledger.stopping.has_drained() && (is_settled || is_given_up)
}

/// Ends a runner that can never write again. Guests are killed without a report: their lease runs out.
pub(super) fn abandon(core: &Core, ledger: &mut Ledger, fault: &StoreError) {
    ledger.abandon();
    core.disown_everything();
    if core.fault.set(fault.clone()).is_ok() {
        tracing::error!(error = %fault, "the runner stops");
        core.advance(Stage::Killing);
    }
}
