//! Reports on their way into the store.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::InvocationId;
use crate::runner::fiber::Fiber;
use crate::store::Report;

/// Reports that are not written yet, each with its fiber if it has one.
#[derive(Default)]
pub(in crate::runner) struct Held {
    pub(in crate::runner) reports: Vec<Report>,
    pub(super) fibers: Vec<Option<Arc<Fiber>>>,
    /// The first so many were in a commit that failed, and may be written.
    pub(in crate::runner) doubtful: usize,
}

impl Held {
    /// Adds one to the end.
    pub(super) fn push(&mut self, report: Report, fiber: Option<Arc<Fiber>>) {
        self.reports.push(report);
        self.fibers.push(fiber);
    }

    /// Takes one from the end.
    pub(in crate::runner) fn pop(&mut self) -> Option<(Report, Option<Arc<Fiber>>)> {
        Some((self.reports.pop()?, self.fibers.pop()?))
    }

    /// Puts one to the other end, so that the next attempt to write begins with another.
    pub(in crate::runner) fn put_first(&mut self, report: Report, fiber: Option<Arc<Fiber>>) {
        self.reports.insert(0, report);
        self.fibers.insert(0, fiber);
    }

    /// Appends `later`, which is empty then.
    pub(super) fn append(&mut self, later: &mut Self) {
        self.reports.append(&mut later.reports);
        self.fibers.append(&mut later.fibers);
    }

    /// Whether there are none.
    pub(in crate::runner) fn is_empty(&self) -> bool {
        self.reports.is_empty()
    }

    /// Whether one of them ends an attempt that a rule may have counted: that lets another
    /// start.
    pub(super) fn may_free_lane(&self) -> bool {
        self.reports.iter().any(|report| report.end.is_some())
            && self.fibers.iter().flatten().any(|fiber| fiber.claim.has_lane)
    }

    /// The size of the outcomes, in bytes.
    pub(super) fn outcome_bytes(&self) -> usize {
        let ends = self.reports.iter().filter_map(|report| report.end.as_ref());
        ends.map(|end| end.how.outcome_bytes()).sum()
    }

    /// Merges the reports that follow each other about one attempt, so that none depends on
    /// another in the same batch or the next.
    pub(super) fn merge(&mut self) {
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
