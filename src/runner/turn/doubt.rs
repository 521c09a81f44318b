//! Settling a commit that failed. Perhaps it was done all the same, and only the answer was lost: then a report that is repeated comes back
//! stale, though nothing is wrong with it, and nobody tells what the receipt would have
//! told. So before the runner writes again it reads how things stand.

use std::sync::Arc;
use std::time::Instant;

use super::perform::{give_up, perform};
use crate::model::{Event, Invocation, Status, Transition};
use crate::runner::core::Core;
use crate::runner::ledger::Ledger;
use crate::runner::observer::tell_commit;
use crate::store::{Batch, Report, Store, StoreError};

/// Whether the store has applied a report. It does so as a whole or not at all.
fn is_applied(store: &dyn Store, report: &Report) -> Result<bool, StoreError> {
    let moves: Vec<_> = report.moves().collect();
    if let Some((_, last)) = moves.last() {
        let history = store.history(report.id)?;
        let is_ours = |step: &Transition| {
            (step.runner, step.attempt) == (Some(report.runner), report.attempt)
                && moves.iter().any(|(at, event)| (step.at, step.reason) == (*at, event.reason()))
        };
        if history.iter().any(is_ours) {
            return Ok(true);
        }
        if !leaves_no_row(&history, report) {
            return Ok(false);
        }
        // A guest awaits and resumes in turn: after an odd number of them it stands elsewhere than before.
        // An even number may be reported twice, and is told by what the guest has written.
        if moves.len() % 2 == 1 {
            let status = store.standings(&[report.id])?.pop().flatten().map(|standing| standing.status);
            let after = if *last == Event::Await { Status::Waiting } else { Status::Running };
            return Ok(status == Some(after));
        }
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

/// Whether the moves of a report are of those that leave no rows in such a history any more.
fn leaves_no_row(history: &[Transition], report: &Report) -> bool {
    report.end.is_none() && history.last().is_some_and(|last| last.unrecorded > 0)
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
        let (began, runner) = (Instant::now(), ledger.runner);
        let committed = core.store.commit(&batch).inspect(|receipt| {
            tell_commit(&core.options.observers, runner, began.elapsed(), &batch, receipt);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Claim, ComponentDigest, LogEntry, LogStream, RunnerId, SystemClock, UnixMicros};
    use crate::store::{ClaimRequest, MemoryStore, NewInvocation, TaskSet};

    /// A running invocation that has waited so often that its waits leave no rows any more, or one that has not
    /// waited yet.
    fn running(has_waited: bool) -> (MemoryStore, Claim) {
        let store = MemoryStore::new(Arc::new(SystemClock::default()));
        let new = NewInvocation::new("work", ComponentDigest::from_bytes([1; 32]), "[]");
        let request = ClaimRequest {
            runner: RunnerId::generate(),
            lease: std::time::Duration::from_secs(60),
            max: 1,
            max_bytes: usize::MAX,
            awaited: Vec::new(),
            only_awaited: false,
            leads: Arc::default(),
            tasks: Arc::new(TaskSet::from(["work".into()])),
            root: None,
        };
        let batch = Batch { submits: vec![new], claim: Some(request), ..Batch::default() };
        let claim = store.commit(&batch).expect("a claim").claimed.remove(0);
        let waits = [Event::Await, Event::Resume].repeat(if has_waited { 2_000 } else { 0 });
        let events: Vec<_> = [Event::Start].into_iter().chain(waits).collect();
        commit(&store, &report(&claim, 0, &events));
        (store, claim)
    }

    fn report(claim: &Claim, at: i64, events: &[Event]) -> Report {
        Report {
            id: claim.id,
            runner: claim.runner,
            attempt: claim.attempt,
            observed: (at..).map(UnixMicros).zip(events.iter().copied()).collect(),
            logs: Vec::new(),
            progress: None,
            component_digest: None,
            end: None,
        }
    }

    fn commit(store: &MemoryStore, report: &Report) {
        let receipt = store.commit(&Batch { reports: vec![report.clone()], ..Batch::default() });
        assert_eq!(receipt.expect("a commit").reports, [crate::store::Applied::Done]);
    }

    #[test]
    fn what_was_applied_is_known_whether_or_not_it_left_a_row() {
        for has_waited in [false, true] {
            let (store, claim) = running(has_waited);
            let line = LogEntry {
                at: UnixMicros(7),
                attempt: claim.attempt,
                stream: LogStream::Log,
                level: None,
                text: "a line".to_owned(),
            };
            let reports = [
                report(&claim, 10_000, &[Event::Await]),
                report(&claim, 20_000, &[Event::Resume]),
                report(&claim, 30_000, &[Event::Await, Event::Resume, Event::Await]),
                report(&claim, 40_000, &[Event::Resume]),
                Report { logs: vec![line], ..report(&claim, 50_000, &[Event::Await, Event::Resume]) },
            ];
            for report in &reports {
                assert!(!is_applied(&store, report).expect("a read"), "{has_waited}: {report:?}");
                commit(&store, report);
                assert!(is_applied(&store, report).expect("a read"), "{has_waited}: {report:?}");
            }
        }
    }

    #[test]
    fn waits_that_nobody_can_tell_may_be_reported_twice() {
        let (store, claim) = running(true);
        let both = report(&claim, 10_000, &[Event::Await, Event::Resume]);
        commit(&store, &both);
        assert!(!is_applied(&store, &both).expect("a read"));
        commit(&store, &both);
    }
}
