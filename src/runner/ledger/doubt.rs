//! What a runner does after a commit that failed. Perhaps it was done all the
//! same, and only the answer was lost: then a report that is repeated comes back
//! stale, though nothing is wrong with it, and what the receipt would have told
//! nobody tells. So before the runner writes again it reads how things stand.

use std::collections::HashMap;

use super::{Held, Ledger, give_up};
use crate::model::InvocationId;
use crate::runner::core::Core;
use crate::runner::inbox::Messages;
use crate::store::{Applied, Report, Store, StoreError};

/// Whether the store has applied a report. It does so as a whole or not at all.
fn is_applied(store: &dyn Store, report: &Report) -> Result<bool, StoreError> {
    let moves: Vec<_> = report.moves().map(|(at, event)| (at, event.reason())).collect();
    if !moves.is_empty() {
        let history = store.history(report.id)?;
        let is_ours = |steps: &[crate::model::Transition]| {
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

impl Held {
    /// Makes one report of those that follow each other about one attempt, so
    /// that none depends on another in the same batch or the next.
    fn merge(&mut self) {
        let mut places: HashMap<(InvocationId, u32), usize> = HashMap::new();
        let mut merged = Self::default();
        let fibers = std::mem::take(&mut self.fibers);
        for (mut report, fiber) in std::mem::take(&mut self.reports).into_iter().zip(fibers) {
            // A release gives the attempt's number back: what follows is another's.
            match places.get(&(report.id, report.attempt)).map(|place| &mut merged.reports[*place]) {
                Some(earlier) if earlier.end.is_none() && earlier.runner == report.runner => {
                    earlier.observed.append(&mut report.observed);
                    earlier.logs.append(&mut report.logs);
                    earlier.progress = report.progress.or(earlier.progress.take());
                    earlier.end = report.end;
                }
                _ => {
                    places.insert((report.id, report.attempt), merged.reports.len());
                    merged.push(report, fiber);
                }
            }
        }
        *self = merged;
    }
}

impl Ledger {
    /// Finds out what the failed commits have done, and acts on it.
    ///
    /// # Errors
    ///
    /// If the store can't be read: then everything is as doubtful as before.
    pub(super) fn settle_doubt(&mut self, core: &Core, messages: &mut Messages) -> Result<(), StoreError> {
        self.settle_reports(core, messages)?;

        // Claims that ended without us.
        let owned = core.registry.owned();
        let ids: Vec<_> = owned.iter().map(|(id, _)| *id).collect();
        let ours = core.store.get(&ids)?;
        let is_ours = |attempt: u32, found: &Option<crate::model::Invocation>| {
            found.as_ref().is_some_and(|found| {
                found.status.is_owned() && (found.runner, found.attempt) == (Some(self.runner), attempt)
            })
        };
        let lost: Vec<_> = owned
            .into_iter()
            .zip(&ours)
            .filter(|((_, attempt), found)| !is_ours(*attempt, found))
            .map(|((id, _), _)| id)
            .collect();
        give_up(core, &lost, messages);

        // What became final, or claimable, or was submitted, in a commit of ours.
        messages.look_ups.extend(core.registry.awaited_elsewhere());
        core.registry.want_again();
        self.may_have_work = true;
        Ok(())
    }

    /// Takes the reports that were applied after all out of those that are held.
    pub(super) fn settle_reports(&mut self, core: &Core, messages: &mut Messages) -> Result<(), StoreError> {
        let doubtful = std::mem::take(&mut self.held.doubtful);
        let applied: Result<Vec<_>, _> =
            self.held.reports.iter().take(doubtful).map(|report| is_applied(&*core.store, report)).collect();
        let applied = match applied {
            Ok(applied) => applied,
            Err(error) => {
                self.held.doubtful = doubtful;
                return Err(error);
            }
        };
        let mut held = std::mem::take(&mut self.held);
        let reports = std::mem::take(&mut held.reports).into_iter().zip(std::mem::take(&mut held.fibers));
        for (place, (report, fiber)) in reports.enumerate() {
            if applied.get(place) == Some(&true) {
                self.act_on_report(core, report, fiber, Applied::Done, messages);
            } else {
                held.push(report, fiber);
            }
        }
        held.merge();
        self.held = held;
        Ok(())
    }
}
