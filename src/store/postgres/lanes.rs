//! Lanes: how many are where of those that a task's rules count together.
//!
//! A lane is changed by whoever holds its row. A transaction locks the rows of all
//! lanes that it knows it will change with one statement, in the order of their keys;
//! its claims lock further ones without waiting for them. So two that change several
//! lanes never wait for each other. Rows of invocations are locked before, or passed
//! over if somebody has them: whoever has them comes to settle the lane next.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tokio_postgres::Row;
use uuid::Uuid;

use super::claim::Candidate;
use super::fault::Fault;
use super::link::Ask;
use super::rules::Rules;
use super::settle::Head;
use super::sql::{column, optional, uuid, uuids};
use super::write::Work;
use crate::model::{Blocked, InvocationId, RuleKey, UnixMicros};
use crate::store::rules::{LaneRule, Place, window_micros};
use crate::store::{Batch, NewInvocation};

/// A task's number and what its rules count by.
pub(super) type LaneId = (i64, RuleKey);

/// How many of a lane are where; or by how many that changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) ready: i64,
    pub(super) blocked: i64,
    pub(super) owned: i64,
    pub(super) started: i64,
}

/// A lane whose row is locked.
pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) count: Count,
    pub(super) rule: LaneRule,
    pub(super) opens_at: Option<UnixMicros>,
    /// Whether the row is not as this is.
    pub(super) is_changed: bool,
}

impl Lane {
    /// How many may be ready.
    pub(super) fn room(&self) -> i64 {
        self.rule.room(self.count.owned, self.count.started)
    }

    fn add(&mut self, change: Count) {
        self.count.ready += change.ready;
        self.count.blocked += change.blocked;
        self.count.owned += change.owned;
        self.count.started += change.started;
        self.is_changed = true;
    }
}

/// The lanes of a transaction, and the rules that they follow.
#[derive(Default)]
pub(super) struct Lanes {
    pub(super) rules: Rules,
    /// Those to be settled, with what has changed in each since it was.
    dirty: BTreeMap<LaneId, Count>,
    /// Those whose rows are locked, as they are now.
    held: BTreeMap<LaneId, Lane>,
    /// Starts to be noted: the lane and the invocation's number. And to be taken back.
    starts: Vec<(LaneId, i64)>,
    refunds: BTreeMap<LaneId, i64>,
    /// What was blocked in this transaction.
    pub(super) newly_blocked: HashSet<InvocationId>,
    /// Those of them that are not written as blocked.
    pub(super) arrivals: Vec<InvocationId>,
    /// Where the blocked may be more urgent than the ready, because some came.
    pub(super) unordered: HashSet<LaneId>,
    /// What was admitted since the queue was looked at.
    pub(super) admitted: Vec<Candidate>,
    /// By the parent: the invocations above and including it, nearest first.
    ancestors: HashMap<InvocationId, Vec<Ancestor>>,
}

struct Ancestor {
    id: InvocationId,
    task: i64,
    lane: Option<RuleKey>,
    is_owned: bool,
}

pub(super) fn key(key: RuleKey) -> Uuid {
    uuid(key.as_bytes())
}

fn tasks<'i>(ids: impl IntoIterator<Item = &'i LaneId>) -> Vec<i64> {
    ids.into_iter().map(|id| id.0).collect()
}

fn keys<'i>(ids: impl IntoIterator<Item = &'i LaneId>) -> Vec<Uuid> {
    ids.into_iter().map(|id| key(id.1)).collect()
}

impl Lanes {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Counts what comes to a place of a lane (`1`) or leaves it (`-1`).
    fn count(&mut self, id: LaneId, place: Place, change: i64) {
        if place == Place::Delayed {
            return;
        }
        let count = self.dirty.entry(id).or_default();
        *match place {
            Place::Ready => &mut count.ready,
            Place::Blocked => &mut count.blocked,
            Place::Owned | Place::Delayed => &mut count.owned,
        } += change;
    }

    /// Moves an invocation to another place.
    pub(super) fn relocate(&mut self, head: &mut Head, place: Option<Place>) {
        if let Some(lane) = head.lane() {
            if let Some(place) = head.place {
                self.count(lane, place, -1);
            }
            if let Some(place) = place {
                self.count(lane, place, 1);
            }
        }
        head.place = place;
        head.is_changed = true;
    }

    /// Moves an invocation into the queue, or to where it waits for that.
    pub(super) fn enqueue(&mut self, head: &mut Head, now: UnixMicros) {
        let place = match head.lane() {
            _ if head.available_at > now => Place::Delayed,
            None => Place::Ready,
            Some(lane) => {
                self.newly_blocked.insert(head.id);
                self.arrivals.push(head.id);
                self.unordered.insert(lane);
                Place::Blocked
            }
        };
        self.relocate(head, Some(place));
    }

    /// Takes note of one that a statement has moved to the blocked.
    pub(super) fn note_blocked(&mut self, id: InvocationId, lane: LaneId) {
        self.newly_blocked.insert(id);
        self.unordered.insert(lane);
        self.count(lane, Place::Blocked, 1);
    }

    /// Has a lane settled although nothing has changed in it.
    pub(super) fn look_at(&mut self, id: LaneId) {
        self.dirty.entry(id).or_default();
    }

    /// Counts an invocation that is claimed.
    pub(super) fn own(&mut self, head: &mut Head) {
        self.relocate(head, Some(Place::Owned));
        if let Some(lane) = head.lane()
            && self.rules.of(lane.0).rate.is_some()
        {
            self.starts.push((lane, head.seq));
            self.dirty.entry(lane).or_default().started += 1;
        }
    }

    /// A claim whose guest never started is not counted as a start. The oldest
    /// start is forgotten instead of its own, which keeps the others in the window
    /// for longer, never for shorter.
    pub(super) fn refund_start(&mut self, head: &Head) {
        if let Some(lane) = head.lane() {
            *self.refunds.entry(lane).or_default() += 1;
            self.dirty.entry(lane).or_default();
        }
    }

    /// Whether there is something to settle.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Takes lanes back that are settled.
    pub(super) fn hold(&mut self, lanes: Vec<Lane>) {
        self.held.extend(lanes.into_iter().map(|lane| (lane.id, lane)));
    }

    /// Whether an invocation's lane, if it has one, is locked.
    pub(super) fn holds(&self, head: &Head) -> bool {
        head.lane().is_none_or(|lane| self.held.contains_key(&lane))
    }

    /// How many starts of a lane are not written.
    fn unwritten_starts(&self, id: LaneId) -> i64 {
        self.starts.iter().filter(|(of, _)| *of == id).count() as i64
    }

    /// The nearest ancestor in the lane of a child, if ancestors fill it.
    pub(super) fn blocking_ancestor(&self, new: &NewInvocation, task: i64) -> Option<InvocationId> {
        let place = new.child_of.as_ref().filter(|place| !place.detached)?;
        let lane = new.lane?;
        let concurrency = self.rules.of(task).concurrency.filter(|rule| rule.blocked == Blocked::Wait)?;
        let above = self.ancestors.get(&place.parent)?;
        let mut filling =
            above.iter().filter(|one| one.task == task && one.lane == Some(lane) && one.is_owned);
        let nearest = filling.next()?.id;
        (1 + filling.count() >= concurrency.limit as usize).then_some(nearest)
    }
}

impl Work<'_> {
    /// Learns who is above the children that could find their own ancestors in
    /// their lane.
    pub(super) async fn learn_ancestors(&mut self, batch: &Batch) -> Result<(), Fault> {
        let mut parents = Vec::new();
        for new in &batch.submits {
            let Some(place) = new.child_of.as_ref().filter(|place| !place.detached) else { continue };
            if new.lane.is_none() || !self.is_owned_by_submitter(place) {
                continue;
            }
            let rule = self.lanes.rules.of(self.names.task(&new.task)?);
            if rule.concurrency.is_some_and(|rule| rule.blocked == Blocked::Wait) {
                parents.push(place.parent);
            }
        }
        if parents.is_empty() {
            return Ok(());
        }
        parents.sort_unstable();
        parents.dedup();
        let ask = Ask::new(
            "WITH RECURSIVE above(below, id, parent, task, lane, status, distance) AS ( \
                 SELECT i.id, i.id, i.parent, i.task, i.lane, i.status, 0 \
                 FROM unnest($1) AS w(id) JOIN @invocation i ON i.id = w.id \
                 UNION ALL \
                 SELECT a.below, i.id, i.parent, i.task, i.lane, i.status, a.distance + 1 \
                 FROM above a JOIN @invocation i ON i.id = a.parent) \
             SELECT below, id, task, lane, status IN ('claimed', 'running', 'waiting') FROM above \
             ORDER BY distance",
        );
        for row in self.link.ask_one(ask.with(uuids(&parents))).await? {
            let ancestor = Ancestor {
                id: column(&row, 1)?,
                task: column(&row, 2)?,
                lane: optional(&row, 3)?,
                is_owned: column(&row, 4)?,
            };
            self.lanes.ancestors.entry(column(&row, 0)?).or_default().push(ancestor);
        }
        Ok(())
    }

    /// Locks the lanes that are to be settled, and counts what has changed in them.
    pub(super) async fn lock_lanes(&mut self) -> Result<Vec<Lane>, Fault> {
        let mut dirty = std::mem::take(&mut self.lanes.dirty);
        let mut lanes = Vec::with_capacity(dirty.len());
        dirty.retain(|id, change| match self.lanes.held.remove(id) {
            Some(mut lane) => {
                lane.add(*change);
                lanes.push(lane);
                false
            }
            None => true,
        });
        let mut asks = Vec::new();
        if !dirty.is_empty() {
            asks.push(ask_to_lock(&dirty));
        }
        let refunds = std::mem::take(&mut self.lanes.refunds);
        if !refunds.is_empty() {
            // After the locks: somebody else may be taking back starts of the same lane.
            asks.push(self.ask_to_refund(&refunds));
        }
        let mut answers = match asks.is_empty() {
            true => Vec::new(),
            false => self.link.ask(asks).await?,
        };
        let refunded = if refunds.is_empty() { Vec::new() } else { answers.pop().unwrap_or_default() };
        for row in answers.pop().unwrap_or_default() {
            lanes.push(self.read_lane(&row, true)?);
        }
        lanes.sort_unstable_by_key(|lane| lane.id);
        for row in &refunded {
            lane_of(&mut lanes, (column(row, 0)?, column(row, 1)?))?.count.started -= 1;
        }
        Ok(lanes)
    }

    /// Locks further lanes, if need be without those that somebody else has: waiting
    /// for them with others in hand could be for ever.
    pub(super) async fn lock_more_lanes(&mut self, ids: &BTreeSet<LaneId>) -> Result<(), Fault> {
        macro_rules! lock {
            ($passing_over:literal) => {
                concat!(
                    "SELECT l.task, l.key, l.ready, l.blocked, l.owned, l.started, l.opens_at \
                     FROM unnest($1, $2) AS w(task, key) \
                     JOIN @lane l ON l.task = w.task AND l.key = w.key \
                     ORDER BY l.task, l.key FOR UPDATE OF l",
                    $passing_over
                )
            };
        }
        let sql = if self.lanes.held.is_empty() { lock!("") } else { lock!(" SKIP LOCKED") };
        let rows = self.link.ask_one(Ask::new(sql).with(tasks(ids)).with(keys(ids))).await?;
        let lanes = rows.iter().map(|row| self.read_lane(row, false)).collect::<Result<_, _>>()?;
        self.lanes.hold(lanes);
        Ok(())
    }

    fn read_lane(&self, row: &Row, is_changed: bool) -> Result<Lane, Fault> {
        let id: LaneId = (column(row, 0)?, column(row, 1)?);
        let count = Count {
            ready: column(row, 2)?,
            blocked: column(row, 3)?,
            owned: column(row, 4)?,
            started: column(row, 5)?,
        };
        Ok(Lane { id, count, rule: self.lanes.rules.of(id.0), opens_at: optional(row, 6)?, is_changed })
    }

    fn ask_to_refund(&self, refunds: &BTreeMap<LaneId, i64>) -> Ask<'static> {
        let window_began = |task: i64| {
            let rate = self.lanes.rules.of(task).rate;
            rate.map_or(i64::MAX, |rate| self.now.0.saturating_sub(window_micros(rate.window)))
        };
        Ask::new(
            "DELETE FROM @start WHERE n = ANY(ARRAY(SELECT s.n FROM unnest($1, $2, $3, $4) AS w(task, key, n, after) \
                 CROSS JOIN LATERAL (SELECT n FROM @start WHERE task = w.task AND key = w.key \
                     AND at > w.after ORDER BY at, n LIMIT w.n) s)) RETURNING task, key",
        )
        .with(tasks(refunds.keys()))
        .with(keys(refunds.keys()))
        .with(refunds.values().copied().collect::<Vec<_>>())
        .with(refunds.keys().map(|(task, _)| window_began(*task)).collect::<Vec<_>>())
    }

    /// Finds out when the time alone lets one more of a lane start; or, with nothing in
    /// it, when it can be forgotten.
    pub(super) async fn find_openings(&mut self) -> Result<(), Fault> {
        let (mut ids, mut numbers) = (Vec::new(), Vec::new());
        let mut openings = Vec::new();
        for lane in self.lanes.held.values().filter(|lane| lane.is_changed) {
            let count = lane.count;
            let Some(rate) = lane.rule.rate.filter(|_| count.started > 0) else {
                openings.push((lane.id, None));
                continue;
            };
            let at_last = Some(self.now.plus(rate.window));
            if count.blocked == 0 {
                let is_idle = count.ready + count.owned == 0;
                openings.push((lane.id, at_last.filter(|_| is_idle)));
                continue;
            }
            // So many must leave the window before there is room for one more.
            let too_many = count.started + count.ready - i64::from(rate.limit);
            if count.ready >= lane.rule.room_by_concurrency(count.owned) || too_many < 0 {
                openings.push((lane.id, None));
            } else if too_many >= count.started {
                // What is ready fills it all; its claims settle the lane again.
                openings.push((lane.id, None));
            } else if too_many >= count.started - self.lanes.unwritten_starts(lane.id) {
                openings.push((lane.id, at_last));
            } else {
                ids.push(lane.id);
                numbers.push(too_many);
            }
        }
        if !ids.is_empty() {
            let ask = Ask::new(STARTED_AT).with(tasks(&ids)).with(keys(&ids)).with(numbers);
            for row in self.link.ask_one(ask).await? {
                let id = (column(&row, 0)?, column(&row, 1)?);
                let at: Option<UnixMicros> = optional(&row, 2)?;
                let rate = self.lanes.rules.of(id.0).rate;
                openings.push((id, at.zip(rate).map(|(at, rate)| at.plus(rate.window))));
            }
        }
        for (id, opens_at) in openings {
            if let Some(lane) = self.lanes.held.get_mut(&id) {
                lane.opens_at = opens_at;
            }
        }
        Ok(())
    }

    /// The statements that write the lanes, and what has started in them.
    pub(super) fn write_lanes(&mut self, asks: &mut Vec<Ask<'_>>) {
        let starts = std::mem::take(&mut self.lanes.starts);
        if !starts.is_empty() {
            let ask = Ask::new(
                "INSERT INTO @start (task, key, at, seq) \
                 SELECT w.task, w.key, $4, w.seq FROM unnest($1, $2, $3) AS w(task, key, seq)",
            );
            asks.push(
                ask.with(tasks(starts.iter().map(|(id, _)| id)))
                    .with(keys(starts.iter().map(|(id, _)| id)))
                    .with(starts.iter().map(|(_, seq)| *seq).collect::<Vec<_>>())
                    .with(self.now.0),
            );
        }
        let mut changed: Vec<&mut Lane> =
            self.lanes.held.values_mut().filter(|lane| lane.is_changed).collect();
        changed.iter_mut().for_each(|lane| lane.is_changed = false);
        let (empty, kept): (Vec<_>, Vec<_>) = changed.iter().partition(|lane| lane.count == Count::default());
        if !empty.is_empty() {
            let ask = Ask::new(
                "DELETE FROM @lane l USING unnest($1, $2) AS w(task, key) \
                 WHERE l.task = w.task AND l.key = w.key",
            );
            asks.push(
                ask.with(tasks(empty.iter().map(|lane| &lane.id)))
                    .with(keys(empty.iter().map(|lane| &lane.id))),
            );
        }
        if !kept.is_empty() {
            let all = |of: fn(&Lane) -> i64| kept.iter().map(|lane| of(lane)).collect::<Vec<_>>();
            let ask = Ask::new(
                "UPDATE @lane l SET ready = w.ready, blocked = w.blocked, owned = w.owned, \
                 started = w.started, opens_at = w.opens_at \
                 FROM unnest($1, $2, $3, $4, $5, $6, $7) \
                 AS w(task, key, ready, blocked, owned, started, opens_at) \
                 WHERE l.task = w.task AND l.key = w.key",
            );
            asks.push(
                ask.with(all(|lane| lane.id.0))
                    .with(keys(kept.iter().map(|lane| &lane.id)))
                    .with(all(|lane| lane.count.ready))
                    .with(all(|lane| lane.count.blocked))
                    .with(all(|lane| lane.count.owned))
                    .with(all(|lane| lane.count.started))
                    .with(kept.iter().map(|lane| lane.opens_at.map(|at| at.0)).collect::<Vec<_>>()),
            );
        }
    }
}

/// Locks the rows of lanes, in the order of their keys, and counts changes in; makes those
/// that are not there.
fn ask_to_lock(dirty: &BTreeMap<LaneId, Count>) -> Ask<'static> {
    let all = |of: fn(&Count) -> i64| dirty.values().map(of).collect::<Vec<_>>();
    Ask::new(
        "INSERT INTO @lane AS l (task, key, ready, blocked, owned, started) \
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (task, key) DO UPDATE SET ready = l.ready + excluded.ready, \
         blocked = l.blocked + excluded.blocked, owned = l.owned + excluded.owned, \
         started = l.started + excluded.started \
         RETURNING l.task, l.key, l.ready, l.blocked, l.owned, l.started, l.opens_at",
    )
    .with(tasks(dirty.keys()))
    .with(keys(dirty.keys()))
    .with(all(|count| count.ready))
    .with(all(|count| count.blocked))
    .with(all(|count| count.owned))
    .with(all(|count| count.started))
}

/// When the start was that has so many before it, of each lane.
const STARTED_AT: &str = "\
    SELECT l.task, l.key, (SELECT s.at FROM @start s WHERE s.task = l.task AND s.key = l.key \
        ORDER BY s.at LIMIT 1 OFFSET l.n) FROM unnest($1, $2, $3) AS l(task, key, n)";

pub(super) fn lane_of(lanes: &mut [Lane], id: LaneId) -> Result<&mut Lane, Fault> {
    let place = lanes.binary_search_by_key(&id, |lane| lane.id);
    match place {
        Ok(place) => Ok(&mut lanes[place]),
        Err(_) => Err(Fault::Damaged("a lane was not locked".to_owned())),
    }
}
