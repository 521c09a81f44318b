//! Handing out work.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, btree_set};
use std::convert::Infallible;

use super::{Runner, Seq, State};
use crate::model::{Claim, Event, InvocationId, RunnerId, UnixMicros};
use crate::store::decide::{Awaited, PROMOTED_AT_ONCE, choose_awaited};
use crate::store::order::{self, Flow, Progress, Taken, Turns};
use crate::store::rules::Place;
use crate::store::{ClaimRequest, Heartbeat, Lease, NewInvocation, Receipt};

/// A part of the queue of a task, on which a claim walks along.
struct Queue<'s> {
    task: usize,
    rest: btree_set::Range<'s, (i64, Seq)>,
    flow: Flow,
    /// Whether what is not late is another part.
    is_split: bool,
}

impl State {
    pub(super) fn claim(&mut self, request: &ClaimRequest, now: UnixMicros, receipt: &mut Receipt) {
        let is_lost = |runner: &Runner| runner.is_lost;
        if self.runners.get(&request.runner).is_some_and(is_lost) {
            receipt.lease = Some(Lease::Lost);
            return;
        }
        receipt.lease = Some(Lease::Held);
        receipt.more |= self.promote(now);
        self.open_lanes(now);
        self.settle(now, receipt);

        let Ok((awaited, turns)) = choose_awaited(request, receipt, |id| self.awaited(id, request));
        let mut chosen: Vec<_> = awaited.into_iter().map(|seq| (seq, Taken::OutOfTurn)).collect();
        if !request.only_awaited {
            let (exchanges, has_left) = self.choose(request, &mut chosen, turns);
            receipt.more |= has_left;
            exchanges.into_iter().for_each(|(next, awaited)| self.exchange_starts(next, awaited));
        }

        if !chosen.is_empty() {
            let heartbeat = Heartbeat { runner: request.runner, lease: request.lease };
            self.heartbeat(&heartbeat, now);
        }
        let (mut bytes, mut progress) = (0, Progress::default());
        for (seq, taken) in chosen {
            if bytes >= request.max_bytes {
                receipt.more = true;
                break;
            }
            let Some(claim) = self.take(seq, request.runner, now) else { continue };
            bytes += claim.arguments.len();
            receipt.claimed.push(claim);
            let record = &self.records[seq];
            progress.add(record.order_key, record.priority, record.turn, taken);
            if let Taken::Late(rank) = taken {
                let (task, clock) = (record.task as i64, self.fairness.clock);
                self.fairness.late.note(task, rank, record.turn, clock);
            }
        }
        self.fairness.progress = progress;
    }

    /// The number of the fairness key of a new invocation.
    pub(super) fn fairness_key(&mut self, new: &NewInvocation) -> usize {
        let parent = new.child_of.as_ref().and_then(|place| self.record(&place.parent));
        match parent.map(|parent| parent.fairness) {
            Some(parent) => self.fairness.follow(parent),
            None => self.fairness.enter(new),
        }
    }

    /// Gives an invocation that becomes claimable its place in the queue.
    pub(super) fn place(&mut self, seq: Seq) {
        let record = &mut self.records[seq];
        (record.order_key, record.turn) = self.fairness.place(record.fairness, record.shown.priority);
    }

    /// Moves the clock by what was claimed.
    pub(super) fn move_clock(&mut self) {
        self.fairness.take_off_all_unused();
        let progress = std::mem::take(&mut self.fairness.progress);
        if progress.latest.is_some() {
            let is_empty = self.tasks.iter().all(|task| task.ready.is_empty());
            self.fairness.clock = progress.clock(self.fairness.clock, is_empty);
        }
    }

    /// Makes delayed invocations that are due claimable; whether some may be left.
    fn promote(&mut self, now: UnixMicros) -> bool {
        for _ in 0..PROMOTED_AT_ONCE {
            let Some(&(available_at, seq)) = self.delayed.first() else { return false };
            if available_at > now.0 {
                return false;
            }
            self.delayed.pop_first();
            self.place(seq);
            self.enqueue(seq, now);
        }
        true
    }

    fn is_claimable(&self, seq: Seq, request: &ClaimRequest) -> bool {
        let record = &self.records[seq];
        record.place == Some(Place::Ready)
            && request.tasks.contains(&self.tasks[record.task].name)
            && !self.is_paused(record.task)
            && request.root.is_none_or(|root| root == record.root)
    }

    /// Finds an awaited invocation that can be claimed now.
    fn awaited(&self, id: InvocationId, request: &ClaimRequest) -> Result<Option<Awaited<Seq>>, Infallible> {
        let found = self.by_id.get(&id).copied().filter(|seq| self.is_claimable(*seq, request));
        Ok(found.map(|seq| {
            let record = &self.records[seq];
            let lead = request.leads.of_task(&self.tasks[record.task].name);
            let takes_a_turn =
                order::takes_a_turn(record.order_key, record.priority, self.fairness.clock, lead);
            Awaited { one: seq, takes_a_turn, key: self.key_of(seq) }
        }))
    }

    /// The fairness key of an invocation that may exchange its start with another one of it: one in no lane.
    fn key_of(&self, seq: Seq) -> Option<i64> {
        let record = &self.records[seq];
        record.lane().is_none().then_some(record.fairness as i64)
    }

    /// Fills `chosen` up in the order of the queue. Returns the pairs that exchange their starts, and whether there is
    /// more.
    fn choose(
        &self,
        request: &ClaimRequest,
        chosen: &mut Vec<(Seq, Taken)>,
        mut turns: Turns<Seq>,
    ) -> (Vec<(Seq, Seq)>, bool) {
        let awaited: HashSet<Seq> = chosen.iter().map(|(seq, _)| *seq).collect();
        let mut queues: Vec<_> = self
            .tasks
            .iter()
            .enumerate()
            .filter(|(_, task)| !task.ready.is_empty() && request.tasks.contains(&task.name))
            .filter(|(task, _)| !self.is_paused(*task))
            .map(|(task, _)| self.queue(task, i64::MIN, i64::MAX))
            .collect();
        let mut heads = BinaryHeap::with_capacity(queues.len());
        let is_wanted = |seq: Seq| {
            let is_of_tree = request.root.is_none_or(|root| root == self.records[seq].root);
            is_of_tree && !awaited.contains(&seq)
        };
        let keeps_order = request.root.is_some();
        let mut begun = 0;
        loop {
            while begun < queues.len() {
                let (next, rest) = self.advance(&mut queues[begun], is_wanted, keeps_order);
                heads.extend(next.map(|next| Reverse((next, begun))));
                queues.extend(rest);
                begun += 1;
            }
            let Some(Reverse(((_, seq, taken), queue))) = heads.pop() else {
                let exchanges = turns.into_exchanges();
                let has_left = !exchanges.is_empty();
                return (exchanges, has_left);
            };
            if chosen.len() == request.max {
                return (turns.into_exchanges(), true);
            }
            let key = if turns.is_empty() { None } else { self.key_of(seq) };
            chosen.extend(turns.give(seq, key).map(|one| (one, taken)));
            let (next, rest) = self.advance(&mut queues[queue], is_wanted, keeps_order);
            heads.extend(next.map(|next| Reverse((next, queue))));
            queues.extend(rest);
        }
    }

    /// The part of the queue of a task between two order keys.
    fn queue(&self, task: usize, from: i64, to: i64) -> Queue<'_> {
        let rest = self.tasks[task].ready.range((from, 0)..(to, 0));
        Queue { task, rest, flow: Flow::default(), is_split: false }
    }

    /// Finds the next of a queue that a claim may have: its rank among the queues, its number, how it would be taken.
    /// With the first late one comes the rest of the queue that is not late: late ones are a flow of their own.
    fn advance<'s>(
        &'s self,
        queue: &mut Queue<'s>,
        is_wanted: impl Fn(Seq) -> bool,
        keeps_order: bool,
    ) -> (Option<(i64, Seq, Taken)>, Option<Queue<'s>>) {
        let clock = self.fairness.clock;
        let late_before = order::late_before(clock);
        let Some(&(order_key, seq)) = queue.rest.by_ref().find(|(_, seq)| is_wanted(*seq)) else {
            return (None, None);
        };
        if keeps_order {
            return (Some((order_key, seq, Taken::OutOfTurn)), None);
        }
        if order_key >= late_before {
            return (Some((order_key, seq, Taken::InTurn)), None);
        }
        let record = &self.records[seq];
        let first = || self.fairness.late.rank(queue.task as i64, clock);
        let (rank, taken) = queue.flow.rank([order_key, record.turn], record.priority, clock, first);
        if taken == Taken::InTurn || queue.is_split {
            return (Some((rank, seq, taken)), None);
        }
        let task = &self.tasks[queue.task];
        queue.rest = task.ready.range((order_key, seq + 1)..(late_before.max(order_key + 1), 0));
        queue.is_split = true;
        (Some((rank, seq, taken)), Some(self.queue(queue.task, late_before, i64::MAX)))
    }

    /// Lets two claimable invocations of one key, which are in no lane, exchange their starts.
    fn exchange_starts(&mut self, one: Seq, other: Seq) {
        let [first, second] =
            [one, other].map(|seq| (self.records[seq].order_key, self.records[seq].priority));
        let (first, second) = order::exchanged(first, second);
        for (seq, order_key) in [(one, first), (other, second)] {
            let record = &mut self.records[seq];
            let ready = &mut self.tasks[record.task].ready;
            ready.remove(&(record.order_key, seq));
            record.order_key = order_key;
            ready.insert((order_key, seq));
        }
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
            limits: record.limits.clone(),
            callers: record.callers.clone(),
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
