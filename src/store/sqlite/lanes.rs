//! Rules, lanes and pauses: who of those that a rule counts together may be
//! claimed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::settle::{Head, head};
use super::sql::{Sql, column, optional};
use super::write::Work;
use crate::model::{
    Blocked, Concurrency, DEFAULT_QUEUE, Event, InvocationId, Rate, RuleKey, Status, UnixMicros,
};
use crate::store::rules::{self, LaneRule, Place, SKIPPED_AT_ONCE, window_micros};
use crate::store::{NewInvocation, Pause, PauseTarget, TaskRule};

/// At most so many lanes are looked at in one transaction because of the time.
const OPENED_AT_ONCE: usize = 1_000;

/// A task's number and what its rules count by.
pub(super) type LaneId = (i64, RuleKey);

/// A row of `lane`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lane {
    ready: i64,
    blocked: i64,
    owned: i64,
    started: i64,
    last_ready: i64,
    opens_at: Option<UnixMicros>,
    /// The best that came to the blocked in this transaction.
    arrived: Option<i64>,
    /// Claims of this transaction, to be written as starts.
    claimed: i64,
}

impl Lane {
    fn is_empty(&self) -> bool {
        (self.ready, self.blocked, self.owned, self.started) == (0, 0, 0, 0)
    }

    fn admit(&mut self, last: i64) {
        self.last_ready = if self.ready == 0 { last } else { self.last_ready.max(last) };
        self.ready += 1;
    }

    /// What a rate leaves room for, as far as its starts are counted.
    fn room(&self, rule: LaneRule) -> i64 {
        rule.room(self.owned, self.started)
    }
}

const RULE: &str = "name, queue, concurrency, blocked, rate, rate_window";

/// Reads a rule from the columns [`RULE`].
fn rule(row: &Row<'_>) -> rusqlite::Result<TaskRule> {
    let limit: Option<u32> = row.get(2)?;
    let blocked: Option<Blocked> = optional(row, 3)?;
    let rate: Option<u32> = row.get(4)?;
    let window: Option<u64> = optional(row, 5)?;
    Ok(TaskRule {
        task: row.get(0)?,
        queue: row.get::<_, Option<Arc<str>>>(1)?.unwrap_or_else(|| DEFAULT_QUEUE.into()),
        concurrency: limit.map(|limit| Concurrency { limit, blocked: blocked.unwrap_or(Blocked::Wait) }),
        rate: rate.zip(window).map(|(limit, window)| Rate { limit, window: Duration::from_micros(window) }),
    })
}

pub(super) fn rules(sql: &Connection) -> rusqlite::Result<Vec<TaskRule>> {
    sql.prepare_cached(&format!("SELECT {RULE} FROM task ORDER BY name"))?.query_map([], rule)?.collect()
}

pub(super) fn paused(sql: &Connection) -> rusqlite::Result<Vec<PauseTarget>> {
    // 'queue' is before 'task' in the alphabet too.
    sql.prepare_cached("SELECT kind, name FROM paused ORDER BY kind, name")?
        .query_map([], |row| {
            let name = row.get(1)?;
            Ok(match row.get_ref(0)?.as_str()? {
                "queue" => PauseTarget::Queue(name),
                _ => PauseTarget::Task(name),
            })
        })?
        .collect()
}

/// When the earliest rate lets a blocked invocation start.
pub(super) fn next_opening(sql: &Connection) -> rusqlite::Result<Option<UnixMicros>> {
    sql.prepare_cached(
        "SELECT opens_at FROM lane INDEXED BY lane_opens \
         WHERE opens_at IS NOT NULL AND blocked > 0 ORDER BY opens_at LIMIT 1",
    )?
    .query_row([], |row| column(row, 0))
    .optional()
}

fn pause_words(target: &PauseTarget) -> (&'static str, &Arc<str>) {
    match target {
        PauseTarget::Queue(name) => ("queue", name),
        PauseTarget::Task(name) => ("task", name),
    }
}

impl Work<'_> {
    /// Takes over what a configuration says.
    pub(super) fn set_rule(&mut self, new: &TaskRule, only_if_new: bool) -> rusqlite::Result<()> {
        let task = self.names.task_key(self.sql, &new.task)?;
        let (is_known, stored) = self
            .sql
            .prepare_cached(&format!("SELECT {RULE}, queue IS NOT NULL FROM task WHERE key = ?1"))?
            .query_row([task], |row| Ok((row.get::<_, bool>(6)?, rule(row)?)))?;
        if is_known && (only_if_new || stored == *new) {
            return Ok(());
        }
        self.sql
            .prepare_cached(
                "UPDATE task SET queue = ?2, concurrency = ?3, blocked = ?4, rate = ?5, rate_window = ?6 \
                 WHERE key = ?1",
            )?
            .execute(params![
                task,
                new.queue,
                new.concurrency.map(|concurrency| concurrency.limit),
                new.concurrency.map(|concurrency| Sql(concurrency.blocked)),
                new.rate.map(|rate| rate.limit),
                new.rate.map(|rate| window_micros(rate.window)),
            ])?;
        // Every lane of it is looked at by the next claims.
        self.sql
            .prepare_cached("UPDATE lane SET opens_at = ?2 WHERE task = ?1")?
            .execute(params![task, Sql(self.now)])?;
        self.is_news = true;
        Ok(())
    }

    pub(super) fn set_pause(&mut self, pause: &Pause) -> rusqlite::Result<()> {
        let (kind, name) = pause_words(&pause.target);
        let statement = match pause.paused {
            true => "INSERT OR IGNORE INTO paused (kind, name) VALUES (?1, ?2)",
            false => "DELETE FROM paused WHERE kind = ?1 AND name = ?2",
        };
        self.sql.prepare_cached(statement)?.execute(params![kind, name])?;
        self.is_news = true;
        Ok(())
    }

    /// The tasks that an operator holds back; `None` stands for none, which is
    /// the rule.
    pub(super) fn paused_tasks(&self) -> rusqlite::Result<Option<HashSet<i64>>> {
        if !self.sql.prepare_cached("SELECT 1 FROM paused LIMIT 1")?.exists([])? {
            return Ok(None);
        }
        let tasks = self
            .sql
            .prepare_cached(
                "SELECT key FROM task WHERE \
                 EXISTS (SELECT 1 FROM paused WHERE kind = 'task' AND paused.name = task.name) OR \
                 EXISTS (SELECT 1 FROM paused WHERE kind = 'queue' AND paused.name = coalesce(queue, ?1))",
            )?
            .query_map([DEFAULT_QUEUE], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Some(tasks))
    }

    fn lane_rule(&mut self, task: i64) -> rusqlite::Result<LaneRule> {
        if let Some(rule) = self.lane_rules.get(&task) {
            return Ok(*rule);
        }
        let found = self
            .sql
            .prepare_cached(&format!("SELECT {RULE} FROM task WHERE key = ?1"))?
            .query_row([task], rule)?;
        let found = LaneRule::of(&found);
        self.lane_rules.insert(task, found);
        Ok(found)
    }

    /// A lane, to be changed. It is settled and written at the end.
    fn lane(&mut self, id: LaneId) -> rusqlite::Result<&mut Lane> {
        self.dirty.insert(id);
        if !self.lanes.contains_key(&id) {
            let found = self
                .sql
                .prepare_cached(
                    "SELECT ready, blocked, owned, started, last_ready, opens_at FROM lane \
                     WHERE task = ?1 AND key = ?2",
                )?
                .query_row(params![id.0, Sql(id.1)], |row| {
                    Ok(Lane {
                        ready: row.get(0)?,
                        blocked: row.get(1)?,
                        owned: row.get(2)?,
                        started: row.get(3)?,
                        last_ready: row.get(4)?,
                        opens_at: optional(row, 5)?,
                        arrived: None,
                        claimed: 0,
                    })
                })
                .optional()?;
            self.lanes.insert(id, found.unwrap_or_default());
        }
        self.lanes.get_mut(&id).ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    /// A lane as it is, and whether it was changed already.
    pub(super) fn look_at_lane(&mut self, id: LaneId) -> rusqlite::Result<(Lane, bool)> {
        let is_dirty = self.dirty.contains(&id);
        let lane = *self.lane(id)?;
        if !is_dirty {
            self.dirty.remove(&id);
        }
        Ok((lane, is_dirty))
    }

    /// Undoes what was done to a lane since it was looked at.
    pub(super) fn restore_lane(&mut self, id: LaneId, (lane, is_dirty): (Lane, bool)) {
        self.lanes.insert(id, lane);
        if !is_dirty {
            self.dirty.remove(&id);
        }
    }

    /// Finds a place for an invocation that is due: ready if its lane has room and
    /// nobody waits for it, else among the blocked until the lane is settled.
    pub(super) fn enter_lane(
        &mut self,
        id: LaneId,
        seq: Option<i64>,
        order_key: i64,
    ) -> rusqlite::Result<Place> {
        let rule = self.lane_rule(id.0)?;
        let lane = self.lane(id)?;
        if lane.blocked == 0 && lane.ready < lane.room(rule) {
            lane.admit(order_key);
            return Ok(Place::Ready);
        }
        lane.blocked += 1;
        lane.arrived = Some(lane.arrived.map_or(order_key, |best| best.min(order_key)));
        // Only who was blocked before is told of as unblocked.
        self.newly_blocked.extend(seq);
        Ok(Place::Blocked)
    }

    /// Counts an invocation out of its lane.
    pub(super) fn leave_lane(&mut self, id: LaneId, place: Place) -> rusqlite::Result<()> {
        match place {
            Place::Delayed => {}
            Place::Ready => self.lane(id)?.ready -= 1,
            Place::Blocked => self.lane(id)?.blocked -= 1,
            Place::Owned => self.lane(id)?.owned -= 1,
        }
        Ok(())
    }

    /// Counts an invocation that is claimed.
    pub(super) fn own_in_lane(&mut self, id: LaneId) -> rusqlite::Result<()> {
        let is_rated = self.lane_rule(id.0)?.rate.is_some();
        let lane = self.lane(id)?;
        lane.ready -= 1;
        lane.owned += 1;
        if is_rated {
            lane.started += 1;
            lane.claimed += 1;
        }
        Ok(())
    }

    /// A claim whose guest never started is not counted as a start. The oldest
    /// start is forgotten instead of its own, which keeps the others in the window
    /// for longer, never for shorter.
    pub(super) fn refund_start(&mut self, id: LaneId) -> rusqlite::Result<()> {
        let rate = self.lane_rule(id.0)?.rate;
        let mut lane = *self.lane(id)?;
        self.forget_starts(id, &mut lane, rate)?;
        let refunded = self
            .sql
            .prepare_cached(
                "UPDATE start SET n = n - 1 WHERE task = ?1 AND key = ?2 AND at = \
                 (SELECT min(at) FROM start WHERE task = ?1 AND key = ?2 AND n > 0)",
            )?
            .execute(params![id.0, Sql(id.1)])?;
        lane.started -= i64::from(refunded > 0);
        *self.lane(id)? = lane;
        Ok(())
    }

    /// Lets the lanes whose moment has come be looked at; whether some were left
    /// over.
    pub(super) fn open_lanes(&mut self) -> rusqlite::Result<bool> {
        let mut opened = Vec::new();
        for condition in ["blocked > 0", "blocked = 0"] {
            let index = if condition == "blocked > 0" { "lane_opens" } else { "lane_fades" };
            let mut query = self.sql.prepare_cached(&format!(
                "SELECT task, key FROM lane INDEXED BY {index} \
                 WHERE opens_at IS NOT NULL AND {condition} AND opens_at <= ?1 ORDER BY opens_at LIMIT ?2"
            ))?;
            let rows = query.query_map(params![Sql(self.now), OPENED_AT_ONCE as i64], |row| {
                Ok((row.get::<_, i64>(0)?, column::<RuleKey>(row, 1)?))
            })?;
            for row in rows {
                opened.push(row?);
            }
        }
        let is_full = opened.len() >= OPENED_AT_ONCE;
        for id in opened {
            self.lane(id)?;
        }
        Ok(is_full)
    }

    /// Brings every lane that changed in accord with its rules.
    pub(super) fn settle_lanes(&mut self) -> rusqlite::Result<()> {
        while let Some(id) = self.dirty.pop_first() {
            self.settle_lane(id)?;
        }
        Ok(())
    }

    fn settle_lane(&mut self, id: LaneId) -> rusqlite::Result<()> {
        let rule = self.lane_rule(id.0)?;
        let mut lane = *self.lane(id)?;
        self.dirty.remove(&id);
        self.changed.insert(id);
        let waits = lane.ready + lane.blocked;
        // Starts that make no difference are left for later: for an idle lane, until the
        // moment comes at which it can be forgotten.
        let is_faded = waits + lane.owned == 0 && lane.opens_at.is_some_and(|at| at <= self.now);
        let is_tight = rule.rate.is_none_or(|rate| lane.started + waits > i64::from(rate.limit));
        let starts_matter = is_tight || is_faded;
        if lane.started > 0 && starts_matter {
            self.forget_starts(id, &mut lane, rule.rate)?;
        }
        if let Some(limit) = rule.skips(lane.owned)
            && lane.blocked > 0
        {
            lane.blocked -= self.skip_blocked(id, limit)?;
        }
        let room = lane.room(rule);
        if lane.ready < room && lane.blocked > 0 {
            let wanted = room - lane.ready;
            self.move_best(id, &mut lane, wanted)?;
        } else if lane.ready > room {
            // A limit that was lowered.
            let surplus = lane.ready - room;
            self.keep_back(id, &mut lane, surplus)?;
        }
        if lane.ready > 0 && lane.blocked > 0 && lane.arrived.is_some_and(|best| best <= lane.last_ready) {
            self.swap(id, &mut lane)?;
        }
        lane.arrived = None;
        lane.opens_at = self.opens_at(id, &lane, rule)?;
        *self.lane(id)? = lane;
        self.dirty.remove(&id);
        Ok(())
    }

    /// Writes the lanes that changed.
    pub(super) fn write_lanes(&mut self) -> rusqlite::Result<()> {
        for id in std::mem::take(&mut self.changed) {
            let Some(lane) = self.lanes.get(&id) else {
                continue;
            };
            if lane.claimed > 0 {
                self.sql
                    .prepare_cached(
                        "INSERT INTO start (task, key, at, n) VALUES (?1, ?2, ?3, ?4) \
                         ON CONFLICT DO UPDATE SET n = n + excluded.n",
                    )?
                    .execute(params![id.0, Sql(id.1), Sql(self.now), lane.claimed])?;
            }
            if lane.is_empty() {
                self.sql
                    .prepare_cached("DELETE FROM lane WHERE task = ?1 AND key = ?2")?
                    .execute(params![id.0, Sql(id.1)])?;
                continue;
            }
            self.sql
                .prepare_cached(
                    "INSERT INTO lane (task, key, ready, blocked, owned, started, last_ready, opens_at) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE SET \
                     ready = excluded.ready, blocked = excluded.blocked, owned = excluded.owned, \
                     started = excluded.started, last_ready = excluded.last_ready, \
                     opens_at = excluded.opens_at",
                )?
                .execute(params![
                    id.0,
                    Sql(id.1),
                    lane.ready,
                    lane.blocked,
                    lane.owned,
                    lane.started,
                    lane.last_ready,
                    lane.opens_at.map(Sql)
                ])?;
        }
        Ok(())
    }

    /// Drops the starts that have left the window.
    fn forget_starts(&self, id: LaneId, lane: &mut Lane, rate: Option<Rate>) -> rusqlite::Result<()> {
        let before = rate.map_or(i64::MAX, |rate| self.now.0.saturating_sub(window_micros(rate.window)));
        let forgotten: Vec<i64> = self
            .sql
            .prepare_cached("DELETE FROM start WHERE task = ?1 AND key = ?2 AND at <= ?3 RETURNING n")?
            .query_map(params![id.0, Sql(id.1), before], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        lane.started -= forgotten.iter().sum::<i64>();
        if rate.is_none() {
            // Those of this transaction are not written yet.
            lane.started -= lane.claimed;
            lane.claimed = 0;
        }
        Ok(())
    }

    /// Skips what is due, never ran, and finds its lane full; how many.
    fn skip_blocked(&mut self, id: LaneId, limit: u32) -> rusqlite::Result<i64> {
        let heads: Vec<Head> = self
            .sql
            .prepare_cached(concat!(
                "SELECT ",
                head!(),
                " FROM invocation INDEXED BY invocation_blocked \
                 WHERE task = ?1 AND lane = ?2 AND place = 'blocked' AND attempt = 0 \
                 ORDER BY order_key, seq LIMIT ?3"
            ))?
            .query_map(params![id.0, Sql(id.1), SKIPPED_AT_ONCE as i64], Head::read)?
            .collect::<rusqlite::Result<_>>()?;
        let count = heads.len() as i64;
        for mut head in heads {
            // It is counted out of the lane by the caller.
            head.lane = None;
            self.end(head, Event::Skip, rules::skipped(limit))?;
        }
        Ok(count)
    }

    /// Admits the best blocked, at most so many. They are noted, and written by
    /// [`write_admitted`](Self::write_admitted) unless a claim takes them before:
    /// most ends of one make room for the next, which the same batch claims.
    fn move_best(&mut self, id: LaneId, lane: &mut Lane, room: i64) -> rusqlite::Result<()> {
        let best: Vec<(i64, i64, InvocationId)> = self
            .sql
            .prepare_cached(
                "SELECT seq, order_key, id FROM invocation INDEXED BY invocation_blocked \
                 WHERE task = ?1 AND lane = ?2 AND place = 'blocked' ORDER BY order_key, seq LIMIT ?3",
            )?
            .query_map(params![id.0, Sql(id.1), room], |row| Ok((row.get(0)?, row.get(1)?, column(row, 2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (seq, order_key, invocation) in best {
            lane.admit(order_key);
            lane.blocked -= 1;
            self.admitted.insert((order_key, seq), id.0);
            if !self.newly_blocked.contains(&seq) {
                self.receipt.unblocked.push(invocation);
            }
        }
        self.is_news = true;
        Ok(())
    }

    /// Writes who was admitted and not claimed.
    pub(super) fn write_admitted(&mut self) -> rusqlite::Result<()> {
        for (_, seq) in std::mem::take(&mut self.admitted).into_keys() {
            self.sql
                .prepare_cached("UPDATE invocation SET place = 'ready' WHERE seq = ?1")?
                .execute([seq])?;
        }
        Ok(())
    }

    /// Takes places back, from the least urgent.
    fn keep_back(&mut self, id: LaneId, lane: &mut Lane, count: i64) -> rusqlite::Result<()> {
        let kept_back: Vec<i64> = self
            .sql
            .prepare_cached(
                "UPDATE invocation SET place = 'blocked' WHERE seq IN ( \
                     SELECT seq FROM invocation INDEXED BY invocation_ready \
                     WHERE place = 'ready' AND task = ?1 AND lane = ?2 \
                     ORDER BY order_key DESC, seq DESC LIMIT ?3) RETURNING seq",
            )?
            .query_map(params![id.0, Sql(id.1), count], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        lane.ready -= kept_back.len() as i64;
        lane.blocked += kept_back.len() as i64;
        self.newly_blocked.extend(kept_back);
        Ok(())
    }

    /// While a blocked invocation is more urgent than one that is ready, they
    /// change places.
    fn swap(&mut self, id: LaneId, lane: &mut Lane) -> rusqlite::Result<()> {
        self.write_admitted()?;
        loop {
            let found = |query: &str| {
                self.sql
                    .prepare_cached(query)?
                    .query_row(params![id.0, Sql(id.1)], |row| {
                        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
                    })
                    .optional()
            };
            let best = found(
                "SELECT order_key, seq FROM invocation INDEXED BY invocation_blocked \
                 WHERE task = ?1 AND lane = ?2 AND place = 'blocked' ORDER BY order_key, seq LIMIT 1",
            )?;
            let worst = found(
                "SELECT order_key, seq FROM invocation INDEXED BY invocation_ready \
                 WHERE place = 'ready' AND task = ?1 AND lane = ?2 \
                 ORDER BY order_key DESC, seq DESC LIMIT 1",
            )?;
            let (Some(best), Some(worst)) = (best, worst) else {
                return Ok(());
            };
            lane.last_ready = worst.0;
            if best > worst {
                return Ok(());
            }
            self.keep_back(id, lane, 1)?;
            self.move_best(id, lane, 1)?;
            self.write_admitted()?;
        }
    }

    /// When the lane must be looked at although nothing happens to it.
    fn opens_at(&self, id: LaneId, lane: &Lane, rule: LaneRule) -> rusqlite::Result<Option<UnixMicros>> {
        let Some(rate) = rule.rate.filter(|_| lane.started > 0) else {
            return Ok(None);
        };
        if lane.blocked == 0 {
            // Nothing is left of it when all starts have left the window.
            let is_idle = lane.ready + lane.owned == 0;
            return Ok(is_idle.then(|| self.now.plus(rate.window)));
        }
        // So many must leave the window before there is room for one more.
        let mut too_many = lane.started + lane.ready - i64::from(rate.limit);
        if lane.ready >= rule.room_by_concurrency(lane.owned) || too_many < 0 {
            return Ok(None);
        }
        let mut starts =
            self.sql.prepare_cached("SELECT at, n FROM start WHERE task = ?1 AND key = ?2 ORDER BY at")?;
        let mut rows = starts.query(params![id.0, Sql(id.1)])?;
        while let Some(row) = rows.next()? {
            too_many -= row.get::<_, i64>(1)?;
            if too_many < 0 {
                return Ok(Some(column::<UnixMicros>(row, 0)?.plus(rate.window)));
            }
        }
        // The rest are claims of this transaction.
        Ok((too_many < lane.claimed).then(|| self.now.plus(rate.window)))
    }

    /// The nearest ancestor in the lane of a child, if ancestors fill it.
    pub(super) fn blocking_ancestor(
        &mut self,
        new: &NewInvocation,
        task: i64,
    ) -> rusqlite::Result<Option<InvocationId>> {
        let Some((place, lane)) = new.child_of.as_ref().filter(|place| !place.detached).zip(new.lane) else {
            return Ok(None);
        };
        let Some(concurrency) =
            self.lane_rule(task)?.concurrency.filter(|concurrency| concurrency.blocked == Blocked::Wait)
        else {
            return Ok(None);
        };
        let ancestors: Vec<InvocationId> = self
            .sql
            .prepare_cached(
                "WITH RECURSIVE ancestor(id, parent, task, lane, status, distance) AS ( \
                     SELECT id, parent, task, lane, status, 0 FROM invocation WHERE id = ?1 \
                     UNION ALL \
                     SELECT i.id, i.parent, i.task, i.lane, i.status, distance + 1 FROM ancestor \
                     CROSS JOIN invocation i ON i.id = ancestor.parent) \
                 SELECT id, status FROM ancestor WHERE task = ?2 AND lane = ?3 ORDER BY distance",
            )?
            .query_map(params![Sql(place.parent), task, Sql(lane)], |row| {
                Ok((column(row, 0)?, column::<Status>(row, 1)?))
            })?
            .filter_map(|row| match row {
                Ok((id, status)) => status.is_owned().then_some(Ok(id)),
                Err(error) => Some(Err(error)),
            })
            .collect::<rusqlite::Result<_>>()?;
        let is_full = ancestors.len() >= concurrency.limit as usize;
        Ok(ancestors.first().copied().filter(|_| is_full))
    }
}
