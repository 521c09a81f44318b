//! Reports, bills and ends: what becomes of an invocation, and what its end does to
//! others.

use std::collections::BTreeMap;

use super::Contradiction;
use super::state::{State, loaded};
use crate::model::{ComponentDigest, Event, Held, InvocationId, Outcome, Status};
use crate::store::{Applied, Batch, Bill, Cancel, Cancelled, EndKind, Ended, Report};
use crate::store::{quota, rules};

impl<'b> State<'b> {
    /// Applies the bills, reports and cancels of a batch. Everything that they speak of is
    /// loaded, with the descendants of what they may end. `component` knows the numbers of
    /// components.
    pub fn apply_attempts<E: From<Contradiction>>(
        &mut self,
        batch: &'b Batch,
        mut component: impl FnMut(ComponentDigest) -> Result<i64, E>,
    ) -> Result<(), E> {
        for bill in &batch.bills {
            let applied = self.add(bill);
            self.receipt.bills.push(applied);
        }
        for (index, report) in batch.reports.iter().enumerate() {
            let component = report.component_digest.map(&mut component).transpose()?;
            let applied = self.report(index, report, component)?;
            self.receipt.reports.push(applied);
        }
        for (index, cancel) in batch.cancels.iter().enumerate() {
            let cancelled = self.cancel(index, cancel)?;
            self.receipt.cancels.push(cancelled);
        }
        Ok(())
    }

    /// Applies a report, or nothing of it. `component` is the number of the component
    /// that it names.
    fn report(
        &mut self,
        index: usize,
        report: &'b Report,
        component: Option<i64>,
    ) -> Result<Applied, Contradiction> {
        // Each field by its name: a new one must decide what becomes of it. The digest is `component`.
        let Report { id, runner, attempt, observed: _, logs, progress, component_digest: _, end } = report;
        let Some(head) = self.heads.get_mut(id) else {
            return Ok(Applied::Stale);
        };
        let mut steps = std::mem::take(&mut self.steps);
        if !head.is_owned_by(*runner, *attempt) || !rules::plan(head.status, report, &mut steps) {
            self.steps = steps;
            return Ok(Applied::Stale);
        }
        let large = quota::large_outcome(report);
        let no_room = large.and_then(|outcome| self.quotas.no_room(&head.account(), outcome));
        let no_room = no_room.filter(|_| rules::fail_instead(&mut steps));
        self.is_news = true;
        head.is_changed = true;
        let has_started = rules::has_started(head.status, &steps);
        for (at, event, _, to) in steps.drain(..) {
            if event == Event::Start {
                head.started_at = Some(at);
            }
            let detail = end.as_ref().and_then(|end| match &end.how {
                EndKind::Final(outcome) | EndKind::Retry(outcome, _) if !to.is_owned() => {
                    rules::detail(no_room.as_ref().unwrap_or(outcome))
                }
                _ => None,
            });
            self.moves.step(head, at, event, to, detail);
        }
        self.steps = steps;
        if let Some(progress) = progress {
            head.progress = Some(progress.clone());
        }
        head.component = component.unwrap_or(head.component);
        if !logs.is_empty() {
            self.logs.push((head.seq, report));
        }
        let Some(end) = end else { return Ok(Applied::Done) };
        head.usage = rules::usage(head.usage, end);
        self.moves.bill(head, end.usage);
        match &end.how {
            EndKind::Final(outcome) => {
                let outcome = no_room.as_ref().unwrap_or(outcome);
                self.lanes.relocate(head, None);
                head.finished_at = Some(end.at);
                self.outcomes.push((head.seq, outcome.clone()));
                let status = head.status;
                self.count_end(*id, outcome)?;
                self.end_children(*id, status)?;
                self.receipt.no_room.extend(no_room.map(|outcome| (index, outcome)));
            }
            EndKind::Retry(_, delay) => {
                head.available_at = self.now.plus(*delay);
                if rules::is_at_once(*delay) {
                    self.fairness.place(head)?;
                }
                self.lanes.enqueue(head, self.now);
            }
            EndKind::Release => {
                if !has_started {
                    self.lanes.refund_start(head);
                }
                self.lanes.enqueue(head, self.now);
                head.attempt -= 1;
            }
        }
        Ok(Applied::Done)
    }

    /// Adds what an attempt used that somebody else ended.
    fn add(&mut self, bill: &Bill) -> Applied {
        let found = self.heads.get_mut(&bill.id).zip(self.last_moves.get(&bill.id));
        let Some((head, usage)) = found.and_then(|(head, last)| {
            let usage = rules::late(head.usage, *last, bill)?;
            Some((head, usage))
        }) else {
            return Applied::Stale;
        };
        head.usage = Some(usage);
        head.is_changed = true;
        self.moves.bill(head, bill.usage);
        self.is_news = true;
        Applied::Done
    }

    /// Cancels an invocation and its attached descendants, as the batch asks at `index`.
    fn cancel(&mut self, index: usize, cancel: &Cancel) -> Result<Cancelled, Contradiction> {
        let Some(head) = self.heads.get(&cancel.id) else {
            return Ok(Cancelled::Unknown);
        };
        if head.status.is_final() {
            return Ok(Cancelled::AlreadyFinal(head.status));
        }
        if rules::calls(cancel.id, self.callers.get(&index).copied()) {
            return Ok(Cancelled::Denied);
        }
        self.end(cancel.id, Event::Cancel, rules::cancelled(&cancel.message))?;
        self.end_children(cancel.id, Status::Cancelled)?;
        Ok(Cancelled::Done)
    }

    /// Ends what is past its deadline, in this order, and counts down how many more may
    /// end. What a parent has taken along is final already. All of it is loaded, with
    /// descendants.
    pub fn expire(&mut self, overdue: &[InvocationId], left: &mut usize) -> Result<(), Contradiction> {
        for id in overdue {
            if *left == 0 {
                return Ok(());
            }
            let Some(head) = self.heads.get(id).filter(|head| !head.status.is_final()) else { continue };
            let deadline = head.deadline.unwrap_or(self.now);
            self.end(*id, Event::Expire, rules::expired(deadline))?;
            self.end_children(*id, Status::Failed)?;
            *left -= 1;
        }
        Ok(())
    }

    /// Ends an invocation that nobody reported on.
    pub(super) fn end(
        &mut self,
        id: InvocationId,
        event: Event,
        outcome: Outcome,
    ) -> Result<(), Contradiction> {
        let head = loaded(&mut self.heads, id)?;
        let runner = head.owner();
        let to = head.after(event)?;
        self.moves.step(head, self.now, event, to, rules::detail(&outcome));
        if rules::has_turn(head.place) {
            self.fairness.refund(head);
        }
        self.lanes.relocate(head, None);
        head.finished_at = Some(self.now);
        self.outcomes.push((head.seq, outcome.clone()));
        if let Some(runner) = runner {
            // Its owner may be another process, which hears of it from this.
            self.revoked.push((runner, id));
        }
        self.count_end(id, &outcome)?;
        self.receipt.ended.push(Ended { id, runner, outcome });
        self.is_news = true;
        Ok(())
    }

    /// Counts an invocation that became final, with its outcome.
    fn count_end(&mut self, id: InvocationId, outcome: &Outcome) -> Result<(), Contradiction> {
        let head = loaded(&mut self.heads, id)?;
        let change = Held { unfinished: -1, bytes: quota::stored_bytes(outcome) };
        head.account().hold(change, &mut self.moves, &mut self.quotas);
        Ok(())
    }

    /// Cancels the loaded descendants of `parents`, which became final in earlier transactions. If they are not
    /// all (`is_all`), or if there may be more such parents, some are left for later.
    pub fn cascade(&mut self, parents: &[(InvocationId, Status)], is_all: bool) -> Result<(), Contradiction> {
        self.receipt.has_cascade |= !is_all || parents.len() == rules::CASCADED_AT_ONCE;
        parents.iter().try_for_each(|(parent, status)| self.end_children(*parent, *status))
    }

    /// Cancels the loaded descendants of an invocation that became final, but for those that are
    /// detached.
    pub(super) fn end_children(&mut self, parent: InvocationId, status: Status) -> Result<(), Contradiction> {
        if !self.children.contains_key(&parent) {
            return Ok(());
        }
        // By number: the order of their submits.
        let mut doomed = BTreeMap::new();
        let mut parents = vec![(parent, status)];
        while let Some((parent, status)) = parents.pop() {
            for id in self.children.get(&parent).into_iter().flatten() {
                if let Some(child) = self.heads.get(id).filter(|child| !child.status.is_final()) {
                    doomed.insert(child.seq, (*id, rules::orphaned(parent, status)));
                    parents.push((*id, Status::Cancelled));
                }
            }
        }
        doomed.into_values().try_for_each(|(id, outcome)| self.end(id, Event::Cancel, outcome))
    }
}
