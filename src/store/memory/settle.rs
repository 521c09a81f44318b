//! Reports, what the end of one invocation does to others, and the leases of
//! runners.

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::{Record, Runner, State};
use crate::model::{Event, InvocationId, Outcome, RunnerId, Status, UnixMicros};
use crate::store::{
    Applied, Bill, Cancel, Cancelled, EndKind, Ended, Heartbeat, Inventory, Lease, Receipt, Report,
};
use crate::store::{quota, rules};

impl State {
    /// Applies a report. Returns also the failure that takes the place of an outcome for which there is no room.
    pub(super) fn report(
        &mut self,
        report: &Report,
        now: UnixMicros,
        ended: &mut Vec<Ended>,
    ) -> (Applied, Option<Outcome>) {
        // Each field by its name: a new one must decide what becomes of it.
        let Report { id, runner, attempt, observed: _, logs, progress, component_digest, end } = report;
        let Some(&seq) = self.by_id.get(id) else {
            return (Applied::Stale, None);
        };
        let record = &mut self.records[seq];
        let mut steps = std::mem::take(&mut self.steps);
        if !record.is_owned_by(*runner, *attempt) || !rules::plan(record.status, report, &mut steps) {
            self.steps = steps;
            return (Applied::Stale, None);
        }
        let large = quota::large_outcome(report);
        let no_room = large.and_then(|outcome| self.no_room(seq, outcome));
        let no_room = no_room.filter(|_| rules::fail_instead(&mut steps));
        let record = &mut self.records[seq];
        record.logs.extend_from_slice(logs);
        if let Some(progress) = progress {
            record.progress = Some(progress.clone());
        }
        if let Some(digest) = *component_digest {
            record.component_digest = digest;
        }
        if let Some(end) = end {
            record.usage = rules::usage(record.usage, end);
            self.count_bill(seq, end.usage);
        }
        let has_started = rules::has_started(self.records[seq].status, &steps);
        for (at, event, _, to) in steps.drain(..) {
            match end.as_ref().filter(|_| !to.is_owned()) {
                None => {
                    if event == Event::Start {
                        self.records[seq].started_at = Some(at);
                    }
                    self.step(seq, at, event, to, None);
                }
                Some(end) => match &end.how {
                    EndKind::Final(outcome) => {
                        let outcome = no_room.as_ref().unwrap_or(outcome);
                        self.finish(seq, at, event, to, outcome.clone());
                        self.end_children(*id, to, now, ended);
                    }
                    EndKind::Retry(outcome, delay) => {
                        self.unlist(seq);
                        let detail = rules::detail(outcome).map(str::to_owned);
                        self.step(seq, at, event, to, detail);
                        self.records[seq].available_at = now.plus(*delay);
                        if rules::is_at_once(*delay) {
                            self.place(seq);
                        }
                        self.enqueue(seq, now);
                    }
                    EndKind::Release => {
                        self.unlist(seq);
                        if let Some(lane) = self.records[seq].lane()
                            && !has_started
                        {
                            self.refund_start(lane, now);
                        }
                        self.step(seq, at, event, to, None);
                        self.records[seq].attempt -= 1;
                        self.enqueue(seq, now);
                    }
                },
            }
        }
        self.steps = steps;
        (Applied::Done, no_room)
    }

    /// Adds what an attempt used that somebody else ended.
    pub(super) fn add(&mut self, bill: &Bill) -> Applied {
        let Some(&seq) = self.by_id.get(&bill.id) else {
            return Applied::Stale;
        };
        let record = &mut self.records[seq];
        let last = record.history.last().map(|last| (last.reason, last.runner, last.attempt));
        match last.and_then(|last| rules::late(record.usage, last, bill)) {
            Some(usage) => {
                record.usage = Some(usage);
                self.count_bill(seq, bill.usage);
                Applied::Done
            }
            None => Applied::Stale,
        }
    }

    pub(super) fn cancel(&mut self, cancel: &Cancel, now: UnixMicros, ended: &mut Vec<Ended>) -> Cancelled {
        let Some(&seq) = self.by_id.get(&cancel.id) else {
            return Cancelled::Unknown;
        };
        let record = &self.records[seq];
        let Ok(to) = record.status.apply(Event::Cancel) else {
            return Cancelled::AlreadyFinal(record.status);
        };
        if cancel.by.is_some_and(|by| self.is_called_by(by, record)) {
            return Cancelled::Denied;
        }
        let outcome = rules::cancelled(&cancel.message);
        ended.push(self.end(seq, now, Event::Cancel, to, outcome));
        self.end_children(cancel.id, to, now, ended);
        Cancelled::Done
    }

    /// Whether an invocation was called by another, or is that itself.
    fn is_called_by(&self, id: InvocationId, other: &Record) -> bool {
        let mut generations = 0;
        let mut next = self.record(&id).filter(|one| one.root == other.root);
        while let Some(one) = next.filter(|one| one.depth >= other.depth) {
            if one.id == other.id || generations == rules::GENERATIONS_LOOKED_AT {
                return true;
            }
            generations += 1;
            next = one.parent.and_then(|parent| self.record(&parent));
        }
        false
    }

    /// Cancels the attached descendants of an invocation that became final, level by level, as far as the
    /// commit has room for them.
    pub(super) fn end_children(
        &mut self,
        parent: InvocationId,
        parent_status: Status,
        now: UnixMicros,
        ended: &mut Vec<Ended>,
    ) {
        // A list of work, not recursion: a tree may be as deep as it likes.
        let mut doomed = Vec::new();
        let mut parents = VecDeque::from([(parent, parent_status)]);
        while let Some((parent, parent_status)) = parents.pop_front() {
            let room = self.cascade_room - doomed.len();
            let attached = self.children_of(parent).filter(|seq| {
                let child = &self.records[*seq];
                !child.detached && !child.status.is_final()
            });
            let before = doomed.len();
            doomed.extend(attached.take(room).map(|seq| (seq, parent, parent_status)));
            parents
                .extend(doomed[before..].iter().map(|(seq, ..)| (self.records[*seq].id, Status::Cancelled)));
            if doomed.len() == self.cascade_room {
                self.cascade.push((parent, parent_status));
            }
        }
        self.cascade_room -= doomed.len();
        doomed.sort_unstable_by_key(|&(seq, ..)| seq);
        for (seq, parent, parent_status) in doomed {
            let record = &self.records[seq];
            let Ok(to) = record.status.apply(Event::Cancel) else {
                continue;
            };
            let outcome = rules::orphaned(parent, parent_status);
            ended.push(self.end(seq, now, Event::Cancel, to, outcome));
        }
    }

    /// Gives back what a runner owns without knowing of it; how much that was.
    pub(super) fn take_stock(&mut self, inventory: &Inventory, now: UnixMicros) -> usize {
        let known: HashSet<_> = inventory.owned.iter().copied().collect();
        let owned =
            self.runners.get(&inventory.runner).map(|runner| runner.owned.clone()).unwrap_or_default();
        let mut given_back = 0;
        for seq in owned {
            let record = &self.records[seq];
            let Ok(to) = record.status.apply(Event::Release) else { continue };
            if known.contains(&(record.id, record.attempt)) {
                continue;
            }
            let refunded = record.lane().filter(|_| !record.status.has_guest());
            self.unlist(seq);
            if let Some(lane) = refunded {
                self.refund_start(lane, now);
            }
            self.step(seq, now, Event::Release, to, None);
            self.records[seq].attempt -= 1;
            self.enqueue(seq, now);
            given_back += 1;
        }
        given_back
    }

    /// Extends the lease of a runner, never shortens it.
    pub(super) fn heartbeat(&mut self, heartbeat: &Heartbeat, now: UnixMicros) -> Lease {
        let until = now.plus(heartbeat.lease);
        let runner = self.runners.entry(heartbeat.runner).or_insert(Runner {
            lease_until: until,
            is_lost: false,
            owned: BTreeSet::new(),
            revoked: BTreeSet::new(),
        });
        if runner.is_lost {
            return Lease::Lost;
        }
        runner.lease_until = runner.lease_until.max(until);
        Lease::Held
    }

    pub(super) fn recover(&mut self, now: UnixMicros, receipt: &mut Receipt) {
        let mut dead: Vec<RunnerId> = self
            .runners
            .iter()
            .filter(|(_, runner)| !runner.is_lost && runner.lease_until <= now && !runner.owned.is_empty())
            .map(|(id, _)| *id)
            .collect();
        dead.sort_unstable();
        for runner_id in dead {
            let Some(runner) = self.runners.get_mut(&runner_id) else {
                continue;
            };
            runner.is_lost = true;
            for seq in runner.owned.clone() {
                let record = &self.records[seq];
                // The end of its parent may have ended it a moment ago.
                if record.owner() != Some(runner_id) {
                    continue;
                }
                receipt.add_taken_over(runner_id, record.id);
                let event =
                    if record.attempt < record.max_attempts { Event::ExpireLease } else { Event::Fail };
                let Ok(to) = record.status.apply(event) else {
                    continue;
                };
                if to == Status::Queued {
                    self.unlist(seq);
                    self.step(seq, now, event, to, None);
                    self.enqueue(seq, now);
                } else {
                    let id = record.id;
                    let outcome = rules::lost(runner_id, record.attempt, record.max_attempts);
                    receipt.ended.push(self.end(seq, now, event, to, outcome));
                    self.end_children(id, to, now, &mut receipt.ended);
                }
            }
        }
        self.runners.retain(|_, runner| {
            let remembered_until = if runner.is_lost {
                runner.lease_until.plus(rules::LOST_RUNNER_MEMORY)
            } else {
                runner.lease_until
            };
            remembered_until > now || !runner.owned.is_empty()
        });
    }
}
