//! The columns of an invocation that decisions need, and the moves that they make.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{
    Event, InvocationId, Progress, Reason, RuleKey, RunnerId, Status, UnixMicros, Usage, UsageSums,
};
use crate::store::NewInvocation;
use crate::store::rules::{self, Place};

use super::Contradiction;
use super::quotas::Account;

/// A task's number and what its rules count by.
pub type LaneId = (i64, RuleKey);

/// Where an invocation stands in the queue, smaller is sooner: order key and number.
pub type Rank = (i64, i64);

/// The columns of an invocation that can change, and those that decide about it.
pub struct Head {
    pub seq: i64,
    pub id: InvocationId,
    pub task: i64,
    pub component: i64,
    pub status: Status,
    pub attempt: u32,
    pub max_attempts: u32,
    /// Moves since its submit, with those that left no row.
    pub moves: i64,
    pub priority: i32,
    pub available_at: UnixMicros,
    /// Its place in the queue, once it has one.
    pub order_key: i64,
    /// The number of its fairness key, and the cost with which it got its place.
    pub fairness_key: i64,
    pub turn: i64,
    /// The component whose quota counts it, if not that of its task's.
    pub payer: Option<Arc<str>>,
    /// Whether the quota of its fairness key does not count it.
    pub unkeyed: bool,
    pub started_at: Option<UnixMicros>,
    pub finished_at: Option<UnixMicros>,
    pub runner: Option<RunnerId>,
    pub has_children: bool,
    pub parent: Option<InvocationId>,
    pub detached: bool,
    pub deadline: Option<UnixMicros>,
    /// Where others look for it; `None` when it is final.
    pub place: Option<Place>,
    pub lane: Option<RuleKey>,
    pub usage: Option<Usage>,
    /// Progress to be written; what is stored is not read.
    pub progress: Option<Progress>,
    /// The place that its row says.
    pub stored_place: Option<Place>,
    /// Whether the row is not as this is.
    pub is_changed: bool,
}

impl Head {
    /// A new invocation that has no place yet.
    pub fn new(
        new: &NewInvocation,
        [seq, task, component, fairness_key]: [i64; 4],
        deadline: Option<UnixMicros>,
        now: UnixMicros,
    ) -> Self {
        let child_of = new.child_of.as_ref();
        Self {
            seq,
            id: new.id,
            task,
            component,
            status: Status::Queued,
            attempt: 0,
            max_attempts: new.max_attempts.max(1),
            moves: 0,
            priority: new.priority,
            available_at: now.plus(new.delay),
            order_key: 0,
            fairness_key,
            turn: 0,
            payer: None,
            unkeyed: false,
            started_at: None,
            finished_at: None,
            runner: None,
            has_children: false,
            parent: child_of.map(|place| place.parent),
            detached: child_of.is_some_and(|place| place.detached),
            deadline,
            place: None,
            lane: new.lane,
            usage: None,
            progress: None,
            stored_place: None,
            is_changed: false,
        }
    }

    /// The runner that owns it now.
    pub fn owner(&self) -> Option<RunnerId> {
        self.runner.filter(|_| self.status.is_owned())
    }

    /// Whether a claim still holds.
    pub fn is_owned_by(&self, runner: RunnerId, attempt: u32) -> bool {
        self.owner() == Some(runner) && self.attempt == attempt
    }

    pub fn rank(&self) -> Rank {
        (self.order_key, self.seq)
    }

    /// Where `event` takes it. A row that can't go there contradicts the query that
    /// found it.
    pub fn after(&self, event: Event) -> Result<Status, Contradiction> {
        Ok(self.status.apply(event)?)
    }

    /// Returns the holders of quotas that count it.
    pub fn account(&self) -> Account<'_> {
        let Self { task, status, fairness_key, payer, unkeyed, .. } = self;
        Account {
            task: *task,
            status: *status,
            fairness_key: *fairness_key,
            payer: payer.as_ref(),
            unkeyed: *unkeyed,
        }
    }

    /// Returns the lane in which its task's rules count it.
    pub fn lane(&self) -> Option<LaneId> {
        self.lane.map(|key| (self.task, key))
    }
}

/// A row of the history to be written.
pub struct Move {
    pub seq: i64,
    pub n: i64,
    pub at: UnixMicros,
    pub to: Status,
    pub reason: Reason,
    pub runner: Option<RunnerId>,
    pub attempt: u32,
    pub detail: Option<Box<str>>,
}

/// The changes to the counts of a task and a status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// The number of invocations.
    pub n: i64,
    /// The bytes that a quota counts. They belong to the task: the status is the one of the moment of the change.
    pub bytes: i64,
    /// The number of unfinished invocations that count for other components. They belong to the task like the bytes.
    pub elsewhere: i64,
}

/// The history that a transaction writes, and what it adds to the counts and to the usage.
#[derive(Default)]
pub struct Moves {
    pub rows: Vec<Move>,
    /// By task and status.
    pub tally: HashMap<(i64, Status), Tally>,
    /// The usage that the transaction adds to its hour, by task and fairness key.
    pub usage: HashMap<(i64, i64), UsageSums>,
}

impl Moves {
    /// Counts an invocation in or out.
    pub fn count(&mut self, task: i64, status: Status, change: i64) {
        self.tally.entry((task, status)).or_default().n += change;
    }

    /// Counts bytes of an invocation that are stored or removed.
    pub fn store(&mut self, task: i64, status: Status, bytes: i64) {
        self.tally.entry((task, status)).or_default().bytes += bytes;
    }

    /// Counts an unfinished invocation that counts for another component in or out.
    pub fn count_elsewhere(&mut self, task: i64, status: Status, change: i64) {
        self.tally.entry((task, status)).or_default().elsewhere += change;
    }

    /// Whether the transaction has changed something of a task that is not written yet.
    pub fn is_about(&self, task: i64) -> bool {
        self.tally.keys().any(|(of, _)| *of == task) || self.usage.keys().any(|(of, _)| *of == task)
    }

    /// Takes out the changes to the counts.
    pub fn take_tally(&mut self) -> Vec<((i64, Status), Tally)> {
        self.tally.drain().filter(|(_, change)| *change != Tally::default()).collect()
    }

    /// The changes to the count of a status that are not written yet, of some tasks.
    pub fn counted(&self, status: Status, is_meant: impl Fn(i64) -> bool) -> i64 {
        let of_status = self.tally.iter().filter(|((task, of), _)| *of == status && is_meant(*task));
        of_status.map(|(_, change)| change.n).sum()
    }

    /// Moves an invocation, and records that unless it has waited very often.
    pub fn step(&mut self, head: &mut Head, at: UnixMicros, event: Event, to: Status, detail: Option<&str>) {
        self.count(head.task, head.status, -1);
        self.count(head.task, to, 1);
        head.moves += 1;
        if rules::is_recorded(event, head.moves.unsigned_abs()) {
            self.rows.push(Move {
                seq: head.seq,
                n: head.moves,
                at,
                to,
                reason: event.reason(),
                runner: head.runner.filter(|_| head.status.is_owned() || to.is_owned()),
                attempt: head.attempt,
                detail: detail.map(Box::from),
            });
        }
        if to.is_final() {
            self.usage.entry((head.task, head.fairness_key)).or_default().count_end(to);
        }
        head.status = to;
        head.is_changed = true;
    }

    /// Counts the bill of an attempt of an invocation.
    pub fn bill(&mut self, head: &Head, bill: Usage) {
        if bill != Usage::default() {
            self.usage.entry((head.task, head.fairness_key)).or_default().count_bill(bill);
        }
    }
}

/// The last move of an invocation, and whose it was until then.
pub type LastMove = (Reason, Option<RunnerId>, u32);
