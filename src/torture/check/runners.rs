//! Slots come back, and runners end when they are told to and not before.

use std::collections::BTreeMap;

use super::Finding;
use crate::model::{Reason, RunnerId, Status, UnixMicros};
use crate::torture::evidence::Evidence;
use crate::torture::runners::Fate;

/// No runner ever runs more guests than it has slots, and none owns anything in
/// the end.
pub fn none_runs_more_than_its_slots(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new(
        "slots",
        "no runner runs more guests than it has slots, and nothing is owned in the end",
    );
    let slots = evidence.slots;
    for (runner, peak) in peaks(evidence) {
        finding
            .expect(peak <= slots as i64, || format!("{runner} ran {peak} guests at once on {slots} slots"));
    }
    for record in &evidence.runners {
        let Some(peak) = record.peak_running else { continue };
        finding.expect(peak <= slots as u64, || {
            format!("process {} says that it ran {peak} guests at once on {slots} slots", record.process)
        });
    }
    for (id, life) in &evidence.lives {
        let status = life.invocation.status;
        finding.expect(!status.is_owned(), || format!("{id} is {status}: a slot or a lease is still taken"));
    }
    finding
}

/// The most guests that each runner ran at once, by the histories.
///
/// Only what the runner itself says counts. When somebody else ends an attempt,
/// by a cancel or because a lease has run out, its guest may have left its slot
/// long before, and its runner may not have come to say so.
fn peaks(evidence: &Evidence) -> BTreeMap<RunnerId, i64> {
    let mut edges: BTreeMap<RunnerId, Vec<(UnixMicros, i64)>> = BTreeMap::new();
    for life in evidence.lives.values() {
        for steps in life.history.windows(2) {
            let [from, to] = steps else { continue };
            let is_lost = to.reason == Reason::Failed && life.is_lost();
            let is_told_by_its_runner = to.reason.is_told_by_owner() && !is_lost;
            // It has waited in between if waits have left no rows.
            if from.to == Status::Running
                && from.unrecorded == 0
                && is_told_by_its_runner
                && let Some(runner) = to.runner
            {
                edges.entry(runner).or_default().extend([(from.at, 1), (to.at, -1)]);
            }
        }
    }
    let peak = |mut edges: Vec<(UnixMicros, i64)>| {
        // Of one microsecond, ends come first: a slot that is given back and taken
        // within it was never held twice.
        edges.sort_unstable();
        let (mut running, mut peak) = (0, 0);
        for (_, change) in edges {
            running += change;
            peak = peak.max(running);
        }
        peak
    };
    edges.into_iter().map(|(runner, edges)| (runner, peak(edges))).collect()
}

/// Runners end because they were killed or told to, and well.
pub fn all_ended_as_they_were_told(evidence: &Evidence) -> Finding {
    let mut finding =
        Finding::new("processes", "runner processes end only when killed or told to, and in time");
    for record in &evidence.runners {
        let holds = matches!(record.fate, Fate::Killed | Fate::Drained(0) | Fate::Idle(0) | Fate::NoStore);
        finding.expect(holds, || format!("process {} ended {:?}", record.process, record.fate));
    }
    finding
}
