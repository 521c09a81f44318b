//! Handing out work.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use super::{Runner, Seq, State};
use crate::model::{Claim, Event, RunnerId, UnixMicros};
use crate::store::rules::Place;
use crate::store::{ClaimRequest, Heartbeat, Lease, Receipt};

impl State {
    pub(super) fn claim(&mut self, request: &ClaimRequest, now: UnixMicros, receipt: &mut Receipt) {
        let is_lost = |runner: &Runner| runner.is_lost;
        if self.runners.get(&request.runner).is_some_and(is_lost) {
            receipt.lease = Some(Lease::Lost);
            return;
        }
        receipt.lease = Some(Lease::Held);
        while let Some(&(available_at, seq)) = self.delayed.first()
            && available_at <= now.0
        {
            self.delayed.pop_first();
            self.enqueue(seq, now);
        }
        self.open_lanes(now);
        self.settle(now, receipt);

        let mut chosen = Vec::new();
        let mut taken = HashSet::new();
        for id in &request.awaited {
            if taken.contains(id) {
                continue;
            }
            if chosen.len() == request.max {
                receipt.more = true;
                break;
            }
            match self.by_id.get(id) {
                Some(&seq) if self.is_claimable(seq, request) => {
                    taken.insert(*id);
                    chosen.push(seq);
                }
                _ => receipt.unclaimable.push(*id),
            }
        }
        if !request.only_awaited {
            receipt.more |= self.choose(request, &mut chosen);
        }

        if !chosen.is_empty() {
            let heartbeat = Heartbeat { runner: request.runner, lease: request.lease };
            self.heartbeat(&heartbeat, now);
        }
        let mut bytes = 0;
        for seq in chosen {
            if bytes >= request.max_bytes {
                receipt.more = true;
                break;
            }
            let claim = self.take(seq, request.runner, now);
            bytes += claim.as_ref().map_or(0, |claim| claim.arguments.len());
            receipt.claimed.extend(claim);
        }
    }

    fn is_claimable(&self, seq: Seq, request: &ClaimRequest) -> bool {
        let record = &self.records[seq];
        record.place == Some(Place::Ready)
            && request.tasks.contains(&self.tasks[record.task].name)
            && !self.is_paused(record.task)
            && request.root.is_none_or(|root| root == record.root)
    }

    /// Fills `chosen` up in the order of the queue; whether there is more.
    fn choose(&self, request: &ClaimRequest, chosen: &mut Vec<Seq>) -> bool {
        let awaited: HashSet<Seq> = chosen.iter().copied().collect();
        let mut queues: Vec<_> = self
            .tasks
            .iter()
            .enumerate()
            .filter(|(_, task)| !task.ready.is_empty() && request.tasks.contains(&task.name))
            .filter(|(task, _)| !self.is_paused(*task))
            .map(|(_, task)| task.ready.iter())
            .collect();
        let mut heads: BinaryHeap<_> = queues
            .iter_mut()
            .enumerate()
            .filter_map(|(queue, rest)| Some(Reverse((*rest.next()?, queue))))
            .collect();
        while let Some(Reverse(((_, seq), queue))) = heads.pop() {
            if let Some(&next) = queues[queue].next() {
                heads.push(Reverse((next, queue)));
            }
            let is_of_tree = request.root.is_none_or(|root| root == self.records[seq].root);
            if awaited.contains(&seq) || !is_of_tree {
                continue;
            }
            if chosen.len() == request.max {
                return true;
            }
            chosen.push(seq);
        }
        false
    }

    /// Claims one queued invocation.
    fn take(&mut self, seq: Seq, runner: RunnerId, now: UnixMicros) -> Option<Claim> {
        // More may be overdue than one transaction ends.
        if self.records[seq].deadline.is_some_and(|deadline| deadline <= now) {
            return None;
        }
        let to = self.records[seq].status.apply(Event::Claim).ok()?;
        self.unlist(seq);
        let record = &mut self.records[seq];
        record.runner = Some(runner);
        record.attempt += 1;
        record.place = Some(Place::Owned);
        if let Some(lane) = record.lane() {
            self.own_in_lane(lane, now);
        }
        self.step(seq, now, Event::Claim, to, None);
        if let Some(owner) = self.runners.get_mut(&runner) {
            owner.owned.insert(seq);
        }
        let record = &self.records[seq];
        Some(Claim {
            id: record.id,
            runner,
            attempt: record.attempt,
            max_attempts: record.max_attempts,
            task: self.tasks[record.task].name.clone(),
            arguments: record.arguments.clone(),
            component_digest: record.component_digest,
            parent: record.parent,
            root: record.root,
            depth: record.depth,
            deadline: record.deadline,
            labels: record.labels.clone(),
            has_lane: record.lane.is_some(),
        })
    }

    /// When something happens without a commit by `runner`.
    pub(super) fn next_due(&self, runner: RunnerId, now: UnixMicros) -> Option<UnixMicros> {
        let delayed = self.delayed.range((now.0 + 1, 0)..).next().map(|&(at, _)| UnixMicros(at));
        let expiring = self
            .runners
            .iter()
            .filter(|(id, other)| **id != runner && !other.is_lost && !other.owned.is_empty())
            .map(|(_, other)| other.lease_until)
            .min();
        let overdue = self.deadlines.first().map(|&(deadline, _)| deadline);
        delayed.into_iter().chain(expiring).chain(overdue).chain(self.next_opening()).min()
    }
}
