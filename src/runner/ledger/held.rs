//! Reports on their way into the store, and those that one turn takes.
//!
//! Everybody's commit waits for the one before it: a guest that submits a hundred thousand
//! children, awaits as many, or returns megabytes, must not make its neighbours wait for
//! all of that. So each turn takes a [`Share`] of it, and small reports go before the rest. Guests that
//! produce more than the store can take have to wait for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::share::{LARGE, Share};
use crate::model::InvocationId;
use crate::runner::fiber::Fiber;
use crate::store::{NewInvocation, Report};

/// The bytes of children that one turn takes of one submit, or one child that is larger.
const CHILDREN_BYTES: usize = 1 << 20;

/// Ids that one turn looks up.
pub(crate) const LOOK_UPS: usize = 1_000;

/// The attempt that a report is about.
pub(crate) enum Attempt {
    /// It has had a guest.
    Started(Arc<Fiber>),
    /// It never had one; its task.
    Unstarted(Arc<str>),
}

/// Reports that are not written yet, each with its attempt.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) reports: Vec<Report>,
    pub(super) attempts: Vec<Attempt>,
    /// The first so many were in a commit that failed, and may be written.
    pub(crate) doubtful: usize,
}

impl Held {
    /// Adds one to the end.
    pub(super) fn push(&mut self, report: Report, attempt: Attempt) {
        self.reports.push(report);
        self.attempts.push(attempt);
    }

    /// Takes one from the end.
    pub(crate) fn pop(&mut self) -> Option<(Report, Attempt)> {
        Some((self.reports.pop()?, self.attempts.pop()?))
    }

    /// Puts one to the other end, so that the next attempt to write begins with another.
    pub(crate) fn put_first(&mut self, report: Report, attempt: Attempt) {
        self.reports.insert(0, report);
        self.attempts.insert(0, attempt);
    }

    /// Appends `later`, which is empty then.
    pub(super) fn append(&mut self, later: &mut Self) {
        self.reports.append(&mut later.reports);
        self.attempts.append(&mut later.attempts);
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.reports.is_empty()
    }

    /// Whether one of them ends an attempt that a rule may have counted: that lets another start.
    pub(super) fn may_free_lane(&self) -> bool {
        let has_lane = |one: &Attempt| matches!(one, Attempt::Started(fiber) if fiber.claim.has_lane);
        self.reports.iter().any(|report| report.end.is_some()) && self.attempts.iter().any(has_lane)
    }

    /// The size of the outcomes, in bytes.
    pub(crate) fn outcome_bytes(&self) -> usize {
        let ends = self.reports.iter().filter_map(|report| report.end.as_ref());
        ends.map(|end| end.how.outcome_bytes()).sum()
    }

    /// Merges consecutive reports about one attempt, so that none depends on another.
    pub(super) fn merge(&mut self) {
        let mut places: HashMap<(InvocationId, u32), usize> = HashMap::new();
        let mut merged = Self::default();
        let held = std::mem::take(self);
        for (report, attempt) in held.reports.into_iter().zip(held.attempts) {
            // A release gives the attempt's number back: what follows is another's.
            match places.get(&(report.id, report.attempt)).map(|place| &mut merged.reports[*place]) {
                Some(earlier) if earlier.end.is_none() && earlier.runner == report.runner => {
                    earlier.follow_with(report);
                }
                _ => {
                    places.insert((report.id, report.attempt), merged.reports.len());
                    merged.push(report, attempt);
                }
            }
        }
        *self = merged;
    }

    /// Takes out the reports beyond one turn's share. Those of one invocation stay in their order.
    pub(super) fn split_share(&mut self, share: &mut Share) -> Self {
        let mut later = Self::default();
        // As a rule there is little, and nothing to sort.
        let all: usize = self.reports.iter().map(bytes).sum();
        if all <= LARGE && share.take(all) {
            return later;
        }
        let mut is_later = HashSet::new();
        let all = std::mem::take(self);
        for (report, attempt) in all.reports.into_iter().zip(all.attempts) {
            if is_later.contains(&report.id) || !share.take(bytes(&report)) {
                is_later.insert(report.id);
                later.push(report, attempt);
            } else {
                self.push(report, attempt);
            }
        }
        later
    }
}

/// Counts the children of a submit that one turn takes, `most` at most.
pub(super) fn take_children(children: &[NewInvocation], most: usize, share: &mut Share) -> usize {
    let mut before = 0;
    let fits = |child: &&NewInvocation| {
        let bytes = child.arguments.len();
        let is_in_turn = before == 0 || before + bytes <= CHILDREN_BYTES;
        before += bytes;
        is_in_turn && share.take(bytes)
    };
    children.iter().take(most).take_while(fits).count()
}

fn bytes(report: &Report) -> usize {
    let logs: usize = report.logs.iter().map(|entry| entry.text.len()).sum();
    logs + report.end.as_ref().map_or(0, |end| end.how.outcome_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ComponentDigest, InvocationId, Outcome, RunnerId, UnixMicros};
    use crate::runner::ledger::share::{CHILDREN, TURN_BYTES};
    use crate::store::{AttemptEnd, EndKind};

    fn child(bytes: usize) -> NewInvocation {
        NewInvocation::new("task", ComponentDigest::from_bytes([0; 32]), "x".repeat(bytes))
    }

    fn report(id: InvocationId, bytes: usize) -> Report {
        let how = EndKind::Final(Outcome::Value("x".repeat(bytes).into()));
        Report {
            id,
            runner: RunnerId::generate(),
            attempt: 1,
            observed: Vec::new(),
            logs: Vec::new(),
            progress: None,
            component_digest: None,
            end: Some(AttemptEnd::unstarted(UnixMicros(0), how)),
        }
    }

    #[test]
    fn a_share_of_children_has_a_number_and_a_size() {
        let taken = |children: &[NewInvocation]| take_children(children, CHILDREN, &mut Share::new());
        assert_eq!(taken(&[]), 0);
        assert_eq!(taken(&vec![child(2); CHILDREN]), CHILDREN);
        assert_eq!(taken(&vec![child(2); CHILDREN + 1]), CHILDREN);
        assert_eq!(taken(&[child(CHILDREN_BYTES), child(2)]), 1);
        assert_eq!(taken(&[child(CHILDREN_BYTES + 1), child(2)]), 1, "what is larger than a share is one");
        assert_eq!(taken(&[child(2), child(CHILDREN_BYTES)]), 1);
    }

    #[test]
    fn submits_and_reports_have_one_share_together() {
        let mut share = Share::new();
        let large = [child(60 << 20), child(2)];
        assert_eq!(take_children(&large, CHILDREN, &mut share), 1);
        assert_eq!(take_children(&large, CHILDREN, &mut share), 0, "another's waits");
        assert_eq!(take_children(&[child(2)], CHILDREN, &mut share), 1, "what is small does not");
        let mut held = Held::default();
        for bytes in [60 << 20, 10] {
            held.push(report(InvocationId::generate(), bytes), Attempt::Unstarted("task".into()));
        }
        let later = held.split_share(&mut share);
        assert_eq!((held.reports.len(), later.reports.len()), (1, 1));
        assert!(later.outcome_bytes() >= 60 << 20);
    }

    #[test]
    fn what_is_small_goes_before_what_is_large() {
        let ids: Vec<_> = (0..4).map(|_| InvocationId::generate()).collect();
        let mut held = Held::default();
        // The last is of the same invocation as the second, which has to wait.
        for (id, bytes) in [(0, TURN_BYTES), (1, LARGE + 1), (2, 10), (3, LARGE), (1, 10)] {
            held.push(report(ids[id], bytes), Attempt::Unstarted("task".into()));
        }
        let later = held.split_share(&mut Share::new());
        let of = |held: &Held| held.reports.iter().map(|report| report.id).collect::<Vec<_>>();
        assert_eq!(of(&held), [ids[0], ids[2], ids[3]]);
        assert_eq!(of(&later), [ids[1], ids[1]]);
        assert_eq!((held.attempts.len(), later.attempts.len()), (3, 2));
        assert_eq!(later.outcome_bytes(), LARGE + 11);

        let mut later = later;
        assert!(later.split_share(&mut Share::new()).is_empty(), "a large one goes if there is no other");
        held.append(&mut later);
        assert_eq!(of(&held).len(), 5);
    }
}
