//! Lanes: who of those that a rule counts together may be claimed.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::{Seq, State, Task};
use crate::model::{Blocked, Event, InvocationId, Rate, RuleKey, UnixMicros};
use crate::store::decide::takes_over;
use crate::store::rules::{self, LaneRule, Place, SKIPPED_AT_ONCE};
use crate::store::{
    NewInvocation, Pause, PauseTarget, Receipt, ReplacedRule, RuleMark, RuleOrigin, TaskRule,
};

/// A task and what its rules count by.
pub(super) type LaneId = (usize, RuleKey);

/// Invocations that a rule counts together.
#[derive(Default)]
pub(super) struct Lane {
    /// Admitted: in the queue of its task.
    ready: BTreeSet<(i64, Seq)>,
    /// Due, and kept back.
    blocked: BTreeSet<(i64, Seq)>,
    /// Owned by runners.
    owned: u32,
    /// Claims within the window of the rate, oldest first.
    starts: VecDeque<UnixMicros>,
    /// Its entry in `State::opening`, or with nothing blocked in `State::fading`.
    opens_at: Option<i64>,
}

impl Lane {
    /// Drops the starts that have left the window.
    fn forget_starts(&mut self, rate: Option<Rate>, now: UnixMicros) {
        match rate {
            None => self.starts.clear(),
            Some(rate) => self.starts.retain(|at| at.plus(rate.window) > now),
        }
    }
}

impl State {
    /// Takes over what a configuration says.
    /// Returns the rule that was in force, if another takes its place.
    pub(super) fn set_rule(
        &mut self,
        rule: &TaskRule,
        only_if_new: bool,
        by: Option<&RuleOrigin>,
        now: UnixMicros,
    ) -> Option<ReplacedRule> {
        let task = self.task(&rule.task);
        let new_mark = by.map(|by| RuleMark { task: Arc::clone(&rule.task), by: by.clone(), at: now });
        let Task { rule: stored, mark, name, .. } = &mut self.tasks[task];
        if stored.as_ref() == Some(rule) {
            if mark.is_none() {
                *mark = new_mark;
            }
            return None;
        }
        if !takes_over(stored.as_ref(), mark.as_ref(), rule, only_if_new, by) {
            return None;
        }
        let old_mark =
            std::mem::replace(mark, new_mark).map(|mark| RuleMark { task: Arc::clone(name), ..mark });
        let replaced = stored.replace(rule.clone()).map(|old| ReplacedRule { old, mark: old_mark });
        self.look_at_lanes(task, now);
        replaced
    }

    /// Forgets a rule, if it is in force.
    pub(super) fn drop_rule(&mut self, rule: &TaskRule, now: UnixMicros) {
        let Some(&task) = self.task_by_name.get(&rule.task) else { return };
        let known = &mut self.tasks[task];
        if known.rule.as_ref() == Some(rule) {
            (known.rule, known.mark) = (None, None);
            self.look_at_lanes(task, now);
        }
    }

    /// Has every lane of a task looked at by the next claim.
    fn look_at_lanes(&mut self, task: usize, now: UnixMicros) {
        for ((_, key), lane) in self.lanes.iter_mut().filter(|((of, _), _)| *of == task) {
            if let Some(opens_at) = lane.opens_at.replace(now.0) {
                self.opening.remove(&(opens_at, task, *key));
                self.fading.remove(&(opens_at, task, *key));
            }
            let moments = if lane.blocked.is_empty() { &mut self.fading } else { &mut self.opening };
            moments.insert((now.0, task, *key));
        }
    }

    pub(super) fn set_pause(&mut self, pause: &Pause) {
        if pause.paused {
            self.paused.insert(pause.target.clone());
        } else {
            self.paused.remove(&pause.target);
        }
    }

    /// Whether an operator holds the task back.
    pub(super) fn is_paused(&self, task: usize) -> bool {
        if self.paused.is_empty() {
            return false;
        }
        let task = &self.tasks[task];
        self.paused.contains(&PauseTarget::Task(Arc::clone(&task.name)))
            || self.paused.contains(&PauseTarget::Queue(task.queue()))
    }

    /// Puts an invocation that is due where its lane says.
    pub(super) fn block(&mut self, seq: Seq, lane: LaneId, order_key: i64) {
        self.lanes.entry(lane).or_default().blocked.insert((order_key, seq));
        self.records[seq].place = Some(Place::Blocked);
        self.newly_blocked.insert(seq);
        self.dirty.insert(lane);
    }

    /// Takes an invocation out of its lane.
    pub(super) fn leave_lane(&mut self, seq: Seq, lane: LaneId, place: Place, order_key: i64) {
        let Some(found) = self.lanes.get_mut(&lane) else {
            return;
        };
        match place {
            Place::Ready => drop(found.ready.remove(&(order_key, seq))),
            Place::Blocked => drop(found.blocked.remove(&(order_key, seq))),
            Place::Owned => found.owned -= 1,
            Place::Delayed => return,
        }
        self.dirty.insert(lane);
    }

    /// Counts an invocation that is claimed.
    pub(super) fn own_in_lane(&mut self, lane: LaneId, now: UnixMicros) {
        let is_rated = self.tasks[lane.0].rule.as_ref().is_some_and(|rule| rule.rate.is_some());
        let found = self.lanes.entry(lane).or_default();
        found.owned += 1;
        if is_rated {
            found.starts.push_back(now);
        }
        self.dirty.insert(lane);
    }

    /// Takes back the start of a claim whose guest never started. The oldest start is removed in its place: the
    /// remaining ones are as new or newer, so the window never lets in too many.
    pub(super) fn refund_start(&mut self, id: LaneId, now: UnixMicros) {
        let rate = self.tasks[id.0].rule.as_ref().and_then(|rule| rule.rate);
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.forget_starts(rate, now);
            lane.starts.pop_front();
        }
    }

    /// Lets the lanes whose moment has come be looked at.
    pub(super) fn open_lanes(&mut self, now: UnixMicros) {
        for moments in [&self.opening, &self.fading] {
            let due = moments.iter().take_while(|(at, ..)| *at <= now.0);
            self.dirty.extend(due.map(|&(_, task, key)| (task, key)));
        }
    }

    /// When the earliest rate lets a blocked invocation start.
    pub(super) fn next_opening(&self) -> Option<UnixMicros> {
        self.opening.first().map(|&(opens_at, ..)| UnixMicros(opens_at))
    }

    /// Brings every lane that changed in accord with its rules.
    pub(super) fn settle(&mut self, now: UnixMicros, receipt: &mut Receipt) {
        while let Some(lane) = self.dirty.pop_first() {
            self.settle_lane(lane, now, receipt);
        }
    }

    fn settle_lane(&mut self, id: LaneId, now: UnixMicros, receipt: &mut Receipt) {
        let Some(mut lane) = self.lanes.remove(&id) else {
            return;
        };
        if let Some(opens_at) = lane.opens_at.take() {
            self.opening.remove(&(opens_at, id.0, id.1));
            self.fading.remove(&(opens_at, id.0, id.1));
        }
        let rule = self.tasks[id.0].rule.as_ref();
        let rule = rule.map(LaneRule::of).unwrap_or_default();
        let (rate, owned) = (rule.rate, i64::from(lane.owned));
        lane.forget_starts(rate, now);
        if let Some(limit) = rule.skips(owned) {
            let never_ran = |(_, seq): &&(i64, Seq)| self.records[*seq].attempt == 0;
            let skipped: Vec<_> = lane.blocked.iter().filter(never_ran).copied().collect();
            for entry in skipped.into_iter().take(SKIPPED_AT_ONCE) {
                lane.blocked.remove(&entry);
                self.skip(entry.1, limit, now, receipt);
            }
        }
        let room = rule.room(owned, lane.starts.len() as i64);
        while (lane.ready.len() as i64) < room
            && let Some(entry) = lane.blocked.pop_first()
        {
            self.admit(&mut lane, id.0, entry, receipt);
        }
        // A limit that was lowered.
        while lane.ready.len() as i64 > room
            && let Some(entry) = lane.ready.pop_last()
        {
            self.keep_back(&mut lane, id.0, entry);
        }
        while let (Some(&best), Some(&worst)) = (lane.blocked.first(), lane.ready.last())
            && best < worst
        {
            lane.ready.remove(&worst);
            lane.blocked.remove(&best);
            self.keep_back(&mut lane, id.0, worst);
            self.admit(&mut lane, id.0, best, receipt);
        }
        if let Some(rate) = rate {
            // So many must leave the window before there is room for one more; and
            // when all have left it, nothing of an empty lane is left.
            let last = match lane.blocked.is_empty() {
                true => lane.starts.len().checked_sub(1),
                false if lane.ready.len() as i64 >= rule.room_by_concurrency(owned) => None,
                false => (lane.starts.len() + lane.ready.len()).checked_sub(rate.limit as usize),
            };
            if let Some(at) = last.and_then(|last| lane.starts.get(last)) {
                let opens_at = at.plus(rate.window).0;
                let moments = if lane.blocked.is_empty() { &mut self.fading } else { &mut self.opening };
                moments.insert((opens_at, id.0, id.1));
                lane.opens_at = Some(opens_at);
            }
        }
        let is_empty =
            lane.ready.is_empty() && lane.blocked.is_empty() && lane.owned == 0 && lane.starts.is_empty();
        if !is_empty {
            self.lanes.insert(id, lane);
        }
    }

    fn admit(&mut self, lane: &mut Lane, task: usize, entry: (i64, Seq), receipt: &mut Receipt) {
        lane.ready.insert(entry);
        self.tasks[task].ready.insert(entry);
        let record = &mut self.records[entry.1];
        record.place = Some(Place::Ready);
        // Only who was blocked before is told of as unblocked.
        if !self.newly_blocked.contains(&entry.1) {
            receipt.unblocked.push(record.id);
        }
    }

    fn keep_back(&mut self, lane: &mut Lane, task: usize, entry: (i64, Seq)) {
        lane.blocked.insert(entry);
        self.tasks[task].ready.remove(&entry);
        self.records[entry.1].place = Some(Place::Blocked);
        self.newly_blocked.insert(entry.1);
    }

    /// Ends an invocation that is out of its lane already.
    fn skip(&mut self, seq: Seq, limit: u32, now: UnixMicros, receipt: &mut Receipt) {
        let record = &mut self.records[seq];
        let Ok(to) = record.status.apply(Event::Skip) else {
            return;
        };
        record.place = None;
        let ended = self.end(seq, now, Event::Skip, to, rules::skipped(limit));
        receipt.ended.push(ended);
    }

    /// The nearest ancestor in the lane of a child, if ancestors fill it.
    pub(super) fn blocking_ancestor(&self, new: &NewInvocation, task: usize) -> Option<InvocationId> {
        let place = new.child_of.as_ref().filter(|place| !place.detached)?;
        let concurrency = self.tasks[task].rule.as_ref()?.concurrency?;
        let lane = new.lane.filter(|_| concurrency.blocked == Blocked::Wait)?;
        let mut nearest = None;
        let mut count = 0;
        let mut next = Some(place.parent);
        for _ in 0..rules::GENERATIONS_IN_LANE {
            let Some(ancestor) = next.and_then(|id| self.record(&id)) else { break };
            if ancestor.task == task && ancestor.lane == Some(lane) && ancestor.status.is_owned() {
                nearest = nearest.or(Some(ancestor.id));
                count += 1;
            }
            next = ancestor.parent;
        }
        nearest.filter(|_| count >= concurrency.limit)
    }
}
