//! Lanes: how many of the invocations that a task's rules count together may be
//! claimed, and which.

use std::collections::{BTreeMap, HashMap};

use super::Contradiction;
use super::head::{Head, LaneId, Rank};
use super::state::{State, loaded};
use crate::model::{Event, IdSet, InvocationId, UnixMicros};
use crate::store::rules::{self, LaneRule, Place, SKIPPED_AT_ONCE};

/// How many of a lane are where; or by how many that changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub ready: i64,
    pub blocked: i64,
    pub owned: i64,
    pub started: i64,
}

/// A lane whose row was loaded.
#[derive(Debug)]
pub struct Lane {
    pub id: LaneId,
    pub count: Count,
    pub rule: LaneRule,
    pub opens_at: Option<UnixMicros>,
    /// No order key of the ready is greater. The greatest of all for a store that does
    /// not keep it.
    pub last_ready: i64,
    /// Whether the row is not as this is.
    pub is_changed: bool,
}

impl Lane {
    pub fn add(&mut self, change: Count) {
        self.count.ready += change.ready;
        self.count.blocked += change.blocked;
        self.count.owned += change.owned;
        self.count.started += change.started;
        self.is_changed = true;
    }

    /// How many may be ready.
    fn room(&self) -> i64 {
        self.rule.room(self.count.owned, self.count.started)
    }

    /// Returns the moment up to which starts must be forgotten now. Starts that decide nothing stay: those of
    /// an idle lane until it can be forgotten as a whole.
    pub fn forgets(&self, now: UnixMicros) -> Option<i64> {
        let waits = self.count.ready + self.count.blocked;
        let is_faded = waits + self.count.owned == 0 && self.opens_at.is_some_and(|at| at <= now);
        let is_tight = self.rule.rate.is_none_or(|rate| self.count.started + waits > i64::from(rate.limit));
        (self.count.started > 0 && (is_tight || is_faded)).then(|| self.rule.window_began(now))
    }

    /// How many of the blocked that never ran are to be skipped at most.
    pub fn skips(&self) -> Option<i64> {
        self.rule.skips(self.count.owned)?;
        (self.count.blocked > 0).then_some(SKIPPED_AT_ONCE as i64)
    }

    /// How many of the blocked are to be admitted.
    pub fn admits(&self) -> Option<i64> {
        let room = self.room().saturating_sub(self.count.ready);
        (room > 0 && self.count.blocked > 0).then_some(room.min(self.count.blocked))
    }

    /// How many of the ready are to be kept back: a limit that was lowered.
    pub fn keeps_back(&self) -> Option<i64> {
        let surplus = self.count.ready - self.room();
        (surplus > 0).then_some(surplus)
    }

    fn admit(&mut self, rank: Rank) {
        self.last_ready = if self.count.ready == 0 { rank.0 } else { self.last_ready.max(rank.0) };
        self.count.ready += 1;
        self.count.blocked -= 1;
    }

    /// When the time alone lets one more start; or, with nothing in it, when it can be
    /// forgotten. So many starts of the lane are `unwritten`.
    fn opening(&self, unwritten: i64, now: UnixMicros) -> Opening {
        let count = self.count;
        let Some(rate) = self.rule.rate.filter(|_| count.started > 0) else {
            return Opening::At(None);
        };
        let at_last = Some(now.plus(rate.window));
        if count.blocked == 0 {
            let is_idle = count.ready + count.owned == 0;
            return Opening::At(at_last.filter(|_| is_idle));
        }
        // So many must leave the window before there is room for one more.
        let too_many = count.started + count.ready - i64::from(rate.limit);
        if count.ready >= self.rule.room_by_concurrency(count.owned) || too_many < 0 {
            return Opening::At(None);
        }
        if too_many >= count.started {
            // What is ready fills it all; its claims settle the lane again.
            return Opening::At(None);
        }
        if too_many >= count.started - unwritten {
            return Opening::At(at_last);
        }
        Opening::AfterStart(too_many)
    }
}

/// When a lane must be looked at although nothing happens to it.
enum Opening {
    At(Option<UnixMicros>),
    /// When the start with this index in the window, from 0 for the oldest, leaves it.
    AfterStart(i64),
}

/// The lanes of a transaction, and the rules that they follow.
#[derive(Default)]
pub struct Lanes {
    /// By the number of the task; those that are not here have none.
    pub rules: HashMap<i64, LaneRule>,
    /// The lanes to be settled, with what has changed in each since it was.
    dirty: BTreeMap<LaneId, Count>,
    /// The lanes that were settled, as they are now.
    held: BTreeMap<LaneId, Lane>,
    /// The numbers of invocations whose starts are to be noted. And how many starts are
    /// to be taken back.
    pub starts: BTreeMap<LaneId, Vec<i64>>,
    refunds: BTreeMap<LaneId, i64>,
    /// Invocations that were blocked in this transaction.
    newly_blocked: IdSet,
    /// The newly blocked invocations that are not written as blocked.
    pub arrivals: Vec<InvocationId>,
    /// The lanes in which newly blocked invocations may be more urgent than ready ones, with the best order key
    /// among the newly blocked.
    unordered: HashMap<LaneId, i64>,
}

impl Lanes {
    pub fn rule(&self, task: i64) -> LaneRule {
        self.rules.get(&task).copied().unwrap_or_default()
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
                self.arrivals.push(head.id);
                self.note_arrival(head.id, lane, head.rank().0);
                Place::Blocked
            }
        };
        self.relocate(head, Some(place));
    }

    fn note_arrival(&mut self, id: InvocationId, lane: LaneId, order_key: i64) {
        self.newly_blocked.insert(id);
        let best = self.unordered.entry(lane).or_insert(order_key);
        *best = order_key.min(*best);
    }

    /// Has a lane settled although nothing has changed in it.
    pub fn look_at(&mut self, id: LaneId) {
        self.dirty.entry(id).or_default();
    }

    /// Counts an invocation that is claimed.
    pub(super) fn own(&mut self, head: &mut Head) {
        self.relocate(head, Some(Place::Owned));
        if let Some(lane) = head.lane()
            && self.rule(lane.0).rate.is_some()
        {
            self.starts.entry(lane).or_default().push(head.seq);
            self.dirty.entry(lane).or_default().started += 1;
        }
    }

    /// Takes back the start of a claim whose guest never started. The oldest start is removed in its place: the
    /// remaining ones are as new or newer, so the window never lets in too many.
    pub(super) fn refund_start(&mut self, head: &Head) {
        if let Some(lane) = head.lane() {
            *self.refunds.entry(lane).or_default() += 1;
            self.dirty.entry(lane).or_default();
        }
    }

    /// Whether there is something to settle.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The lanes to be settled: those that are here, with what has changed in them; and
    /// the changes of those whose rows are to be loaded.
    pub fn take_dirty(&mut self) -> (Vec<Lane>, BTreeMap<LaneId, Count>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        let mut lanes = Vec::with_capacity(dirty.len());
        dirty.retain(|id, change| match self.held.remove(id) {
            Some(mut lane) => {
                lane.add(*change);
                lanes.push(lane);
                false
            }
            None => true,
        });
        (lanes, dirty)
    }

    /// How many starts of which lanes are to be taken back, oldest first, of those that
    /// are in the window.
    pub fn take_refunds(&mut self) -> BTreeMap<LaneId, i64> {
        std::mem::take(&mut self.refunds)
    }

    /// Takes lanes back that are settled.
    pub fn hold(&mut self, lanes: Vec<Lane>) {
        self.held.extend(lanes.into_iter().map(|lane| (lane.id, lane)));
    }

    /// Whether an invocation's lane, if it has one, is loaded.
    pub fn holds(&self, head: &Head) -> bool {
        head.lane().is_none_or(|lane| self.held.contains_key(&lane))
    }

    /// Whether something in a lane may be out of order: a blocked one that came is as
    /// urgent as one that is ready.
    pub fn may_swap(&self, lane: &Lane) -> bool {
        let has_both = lane.count.ready > 0 && lane.count.blocked > 0;
        has_both && self.unordered.get(&lane.id).is_some_and(|best| *best <= lane.last_ready)
    }

    /// Every lane is in order now.
    pub fn end_swapping(&mut self) {
        self.unordered.clear();
    }

    /// Finds out when the changed lanes open. Of these lanes a start must be looked up:
    /// the one that has so many before it.
    pub fn find_openings(&mut self, now: UnixMicros) -> Vec<(LaneId, i64)> {
        let mut unknown = Vec::new();
        for lane in self.held.values_mut().filter(|lane| lane.is_changed) {
            let unwritten = self.starts.get(&lane.id).map_or(0, |starts| starts.len() as i64);
            match lane.opening(unwritten, now) {
                Opening::At(at) => lane.opens_at = at,
                Opening::AfterStart(before) => unknown.push((lane.id, before)),
            }
        }
        unknown
    }

    /// Notes when a start was that [`find_openings`](Self::find_openings) asked for.
    pub fn note_start(&mut self, id: LaneId, at: Option<UnixMicros>) {
        if let Some(lane) = self.held.get_mut(&id) {
            lane.opens_at = at.zip(lane.rule.rate).map(|(at, rate)| at.plus(rate.window));
        }
    }

    /// The lanes to be written; an empty one is to be removed.
    pub fn take_changed(&mut self) -> (Vec<&Lane>, Vec<&Lane>) {
        let mut changed: Vec<&mut Lane> = self.held.values_mut().filter(|lane| lane.is_changed).collect();
        changed.iter_mut().for_each(|lane| lane.is_changed = false);
        changed.into_iter().map(|lane| &*lane).partition(|lane| lane.count == Count::default())
    }
}

/// The lane of that id among lanes in the order of their ids.
pub fn lane_of(lanes: &mut [Lane], id: LaneId) -> Result<&mut Lane, Contradiction> {
    match lanes.binary_search_by_key(&id, |lane| lane.id) {
        Ok(place) => Ok(&mut lanes[place]),
        Err(_) => Err(Contradiction("a lane was not loaded".to_owned())),
    }
}

impl State<'_> {
    /// Skips what is blocked, never ran, and finds its lane full.
    pub fn skip(&mut self, lanes: &mut [Lane], blocked: Vec<Head>) -> Result<(), Contradiction> {
        for head in blocked {
            let id = head.id;
            self.load(head);
            let head = loaded(&mut self.heads, id)?;
            let Some(of) = head.lane() else { continue };
            let lane = lane_of(lanes, of)?;
            let Some(limit) = lane.rule.skips(lane.count.owned) else { continue };
            // It is counted out of the lane here.
            head.lane = None;
            lane.count.blocked -= 1;
            self.end(id, Event::Skip, rules::skipped(limit))?;
        }
        Ok(())
    }

    /// Admits what has just come to lanes where nobody else is blocked: nothing of it
    /// need be written as blocked.
    pub fn admit_arrivals(&mut self, lanes: &mut [Lane]) {
        let mut here: HashMap<LaneId, Vec<(Rank, InvocationId)>> = HashMap::new();
        for id in &self.lanes.arrivals {
            let Some(head) = self.heads.get(id).filter(|head| head.place == Some(Place::Blocked)) else {
                continue;
            };
            let Some(lane) = head.lane() else { continue };
            here.entry(lane).or_default().push((head.rank(), *id));
        }
        for (id, mut arrived) in here {
            let Ok(lane) = lane_of(lanes, id) else { continue };
            let Some(room) = lane.admits().filter(|_| arrived.len() as i64 == lane.count.blocked) else {
                continue;
            };
            arrived.sort_unstable();
            for (rank, invocation) in arrived.into_iter().take(usize::try_from(room).unwrap_or(0)) {
                let Some(head) = self.heads.get_mut(&invocation) else { continue };
                head.place = Some(Place::Ready);
                lane.admit(rank);
                self.is_news = true;
            }
        }
    }

    /// Makes what was delayed and is due now claimable, or lets it wait for room in its lane. Returns whether its
    /// fairness key was loaded for all of it: the rest stays delayed.
    pub fn promote(&mut self, due: &[InvocationId]) -> Result<bool, Contradiction> {
        let mut is_all = true;
        for id in due {
            let is_due =
                |head: &&mut Head| head.place == Some(Place::Delayed) && head.available_at <= self.now;
            let Some(head) = self.heads.get_mut(id).filter(is_due) else { continue };
            if !self.fairness.keys.contains_key(&head.fairness_key) {
                is_all = false;
                continue;
            }
            self.fairness.place(head)?;
            self.lanes.enqueue(head, self.now);
        }
        Ok(is_all)
    }

    /// Gives the best of the blocked room in their lanes.
    pub fn admit(&mut self, lanes: &mut [Lane], best: Vec<Head>) -> Result<(), Contradiction> {
        for head in best {
            let (id, of, rank) = self.move_in_lane(head, Place::Ready)?;
            lane_of(lanes, of)?.admit(rank);
            // Only who was blocked before is told of as unblocked.
            if !self.lanes.newly_blocked.contains(&id) {
                self.receipt.unblocked.push(id);
            }
            self.is_news = true;
        }
        Ok(())
    }

    /// Takes the room of the last of the ready back.
    pub fn keep_back(&mut self, lanes: &mut [Lane], worst: Vec<Head>) -> Result<(), Contradiction> {
        for head in worst {
            let (id, of, _) = self.move_in_lane(head, Place::Blocked)?;
            self.lanes.newly_blocked.insert(id);
            let count = &mut lane_of(lanes, of)?.count;
            count.ready -= 1;
            count.blocked += 1;
        }
        Ok(())
    }

    /// Lets the best of the blocked and the last of the ready of each lane change places
    /// where that is due; whether any did. Those lanes may have more of them.
    pub fn swap(
        &mut self,
        lanes: &mut [Lane],
        mut best: Vec<Head>,
        mut worst: Vec<Head>,
    ) -> Result<bool, Contradiction> {
        let mut last = HashMap::new();
        for head in &worst {
            let lane = lane_of(lanes, lane_id(head)?)?;
            lane.last_ready = head.rank().0;
            last.insert(lane.id, head.rank());
        }
        best.retain(|first| {
            first.lane().and_then(|lane| last.get(&lane)).is_some_and(|last| first.rank() < *last)
        });
        self.lanes.unordered = best.iter().filter_map(|head| Some((head.lane()?, i64::MIN))).collect();
        worst.retain(|head| head.lane().is_some_and(|lane| self.lanes.unordered.contains_key(&lane)));
        let any = !best.is_empty();
        self.keep_back(lanes, worst)?;
        self.admit(lanes, best)?;
        Ok(any)
    }

    /// Moves an invocation within its lane, which the caller counts.
    fn move_in_lane(
        &mut self,
        head: Head,
        place: Place,
    ) -> Result<(InvocationId, LaneId, Rank), Contradiction> {
        let id = head.id;
        self.load(head);
        let head = loaded(&mut self.heads, id)?;
        head.place = Some(place);
        head.is_changed = true;
        Ok((id, lane_id(head)?, head.rank()))
    }
}

fn lane_id(head: &Head) -> Result<LaneId, Contradiction> {
    head.lane().ok_or_else(|| Contradiction(format!("`{}` has no lane", head.id)))
}
