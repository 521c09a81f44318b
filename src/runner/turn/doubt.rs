//! Settling a commit that failed. Perhaps it was done all the same, and only the answer was lost: then a report that is repeated comes back
//! stale, though nothing is wrong with it, and nobody tells what the receipt would have
//! told. So before the runner writes again it reads how things stand.

use std::sync::Arc;
use std::time::Instant;

use super::perform::{give_up, perform};
use crate::model::{Invocation, Transition};
use crate::runner::core::Core;
use crate::runner::ledger::Ledger;
use crate::runner::observer::tell_commit;
use crate::store::{Batch, Report, Store, StoreError};

/// Whether the store has applied a report. It does so as a whole or not at all.
fn is_applied(store: &dyn Store, report: &Report) -> Result<bool, StoreError> {
    let moves: Vec<_> = report.moves().map(|(at, event)| (at, event.reason())).collect();
    if !moves.is_empty() {
        let history = store.history(report.id)?;
        let is_ours = |steps: &[Transition]| {
            steps.iter().zip(&moves).all(|(step, (at, reason))| {
                (step.at, step.reason) == (*at, *reason)
                    && (step.runner, step.attempt) == (Some(report.runner), report.attempt)
            })
        };
        return Ok(history.windows(moves.len()).any(is_ours));
    }
    // Only what the guest wrote; what it says of its progress may be said twice.
    let Some(first) = report.logs.first() else {
        return Ok(false);
    };
    let written = store.logs(report.id)?;
    Ok(written.iter().any(|entry| {
        (entry.at, entry.attempt, entry.stream) == (first.at, first.attempt, first.stream)
            && entry.text == first.text
    }))
}

/// Finds out what the failed commits have done, and acts on it.
///
/// # Errors
///
/// If the store can't be read: then everything is as doubtful as before.
pub(super) fn settle(core: &Arc<Core>, ledger: &mut Ledger) -> Result<(), StoreError> {
    settle_reports(core, ledger)?;

    // Claims that ended without us.
    let owned = core.registry.owned();
    let ids: Vec<_> = owned.iter().map(|(id, _)| *id).collect();
    let found = core.store.get(&ids)?;
    let is_ours = |attempt: u32, found: &Option<Invocation>| {
        found.as_ref().is_some_and(|found| {
            found.status.is_owned() && (found.runner, found.attempt) == (Some(ledger.runner), attempt)
        })
    };
    let lost = owned.into_iter().zip(&found).filter(|((_, attempt), found)| !is_ours(*attempt, found));
    let lost = lost.map(|((id, _), _)| id).collect();
    give_up(core, ledger, lost);

    // Outcomes, claimable work and submits that a commit of ours may have brought.
    ledger.look_ups.ask_for_all();
    core.registry.want_again();
    ledger.claims.may_have_work = true;
    ledger.is_in_doubt = false;
    Ok(())
}

/// Takes the reports that were applied after all out of those that are held.
fn settle_reports(core: &Arc<Core>, ledger: &mut Ledger) -> Result<(), StoreError> {
    let doubtful = ledger.held.reports.iter().take(ledger.held.doubtful);
    let applied: Vec<_> =
        doubtful.map(|report| is_applied(&*core.store, report)).collect::<Result<_, _>>()?;
    let mut effects = Vec::new();
    ledger.settle_doubtful(&applied, Instant::now(), &mut effects);
    perform(core, ledger, &mut effects);
    Ok(())
}

/// Writes the reports of a batch that failed one by one, up to the first that fails again.
pub(super) fn write_one_by_one(core: &Arc<Core>, ledger: &mut Ledger) {
    if settle_reports(core, ledger).is_err() {
        return;
    }
    while let Some((report, attempt)) = ledger.held.pop() {
        let batch = Batch { reports: vec![report], ..Batch::default() };
        let began = Instant::now();
        let committed = core.store.commit(&batch).inspect(|receipt| {
            tell_commit(&core.options.observers, began.elapsed(), &batch, receipt);
        });
        let Some(report) = batch.reports.into_iter().next() else { break };
        match committed.map(|receipt| receipt.reports.first().copied()) {
            Ok(Some(applied)) => {
                let mut effects = Vec::new();
                ledger.settle_report(report, attempt, applied, Instant::now(), &mut effects);
                perform(core, ledger, &mut effects);
            }
            Ok(None) | Err(_) => {
                ledger.held.put_first(report, attempt);
                break;
            }
        }
    }
    ledger.held.doubtful = ledger.held.reports.len();
}
