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
use crate::store::rules::{self, SKIPPED_AT_ONCE};
use crate::store::{NewInvocation, Pause, PauseTarget, TaskRule};

/// At most so many lanes are looked at in one transaction because of the time.
const OPENED_AT_ONCE: usize = 1_000;

/// A task's number and what its rules count by.
pub(super) type LaneId = (i64, RuleKey);

/// Where others look for an invocation; the words are those of `place`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Ready,
    Delayed,
    Blocked,
    Owned,
}

impl Place {
    pub(super) const ALL: [Self; 4] = [Self::Ready, Self::Delayed, Self::Blocked, Self::Owned];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Delayed => "delayed",
            Self::Blocked => "blocked",
            Self::Owned => "owned",
        }
    }
}

/// What the rules of a task say about its lanes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LaneRule {
    concurrency: Option<Concurrency>,
    rate: Option<Rate>,
}

/// A row of `lane`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lane {
    ready: i64,
    blocked: i64,
    owned: i64,
    started: i64,
    opens_at: Option<UnixMicros>,
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

fn window_micros(window: Duration) -> i64 {
    i64::try_from(window.as_micros()).unwrap_or(i64::MAX)
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
        let found = LaneRule { concurrency: found.concurrency, rate: found.rate };
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
                    "SELECT ready, blocked, owned, started, opens_at FROM lane WHERE task = ?1 AND key = ?2",
                )?
                .query_row(params![id.0, Sql(id.1)], |row| {
                    Ok(Lane {
                        ready: row.get(0)?,
                        blocked: row.get(1)?,
                        owned: row.get(2)?,
                        started: row.get(3)?,
                        opens_at: optional(row, 4)?,
                    })
                })
                .optional()?;
            self.lanes.insert(id, found.unwrap_or_default());
        }
        self.lanes.get_mut(&id).ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    /// Counts an invocation that comes to a place of its lane (`1`) or leaves it
    /// (`-1`).
    pub(super) fn count_in_lane(&mut self, id: LaneId, place: Place, change: i64) -> rusqlite::Result<()> {
        if place == Place::Delayed {
            return Ok(());
        }
        let lane = self.lane(id)?;
        *match place {
            Place::Ready => &mut lane.ready,
            Place::Blocked => &mut lane.blocked,
            Place::Owned | Place::Delayed => &mut lane.owned,
        } += change;
        Ok(())
    }

    /// Counts an invocation that is claimed.
    pub(super) fn own_in_lane(&mut self, seq: i64, id: LaneId) -> rusqlite::Result<()> {
        let is_rated = self.lane_rule(id.0)?.rate.is_some();
        let now = self.now;
        let lane = self.lane(id)?;
        lane.ready -= 1;
        lane.owned += 1;
        if is_rated {
            lane.started += 1;
            self.sql
                .prepare_cached("INSERT INTO start (task, key, at, seq) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![id.0, Sql(id.1), Sql(now), seq])?;
        }
        Ok(())
    }

    /// A claim whose guest never started is not counted as a start.
    pub(super) fn refund_start(&mut self, seq: i64, id: LaneId) -> rusqlite::Result<()> {
        let refunded = self
            .sql
            .prepare_cached(
                "DELETE FROM start WHERE n = (SELECT n FROM start INDEXED BY start_of_lane \
                 WHERE task = ?1 AND key = ?2 AND seq = ?3 ORDER BY at DESC LIMIT 1)",
            )?
            .execute(params![id.0, Sql(id.1), seq])?;
        self.lane(id)?.started -= i64::from(refunded > 0);
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

    /// Brings every lane that changed in accord with its rules, and writes it.
    pub(super) fn settle_lanes(&mut self) -> rusqlite::Result<()> {
        while let Some(id) = self.dirty.pop_first() {
            self.settle_lane(id)?;
        }
        Ok(())
    }

    fn settle_lane(&mut self, id: LaneId) -> rusqlite::Result<()> {
        let LaneRule { concurrency, rate } = self.lane_rule(id.0)?;
        let mut lane = *self.lane(id)?;
        self.dirty.remove(&id);
        self.forget_starts(id, &mut lane, rate)?;
        if let Some(concurrency) = concurrency
            && concurrency.blocked == Blocked::Skip
            && lane.owned >= i64::from(concurrency.limit)
            && lane.blocked > 0
        {
            lane.blocked -= self.skip_blocked(id, concurrency.limit)?;
        }
        let by_concurrency =
            concurrency.map_or(i64::MAX, |concurrency| i64::from(concurrency.limit) - lane.owned);
        let by_rate = rate.map_or(i64::MAX, |rate| i64::from(rate.limit) - lane.started);
        let room = by_concurrency.min(by_rate).max(0);
        if lane.ready < room && lane.blocked > 0 {
            let admitted = self.move_best(id, room - lane.ready)?;
            lane.ready += admitted;
            lane.blocked -= admitted;
        } else if lane.ready > room {
            // A limit that was lowered.
            let kept_back = self.keep_back(id, lane.ready - room)?;
            lane.ready -= kept_back;
            lane.blocked += kept_back;
        }
        if lane.ready > 0 && lane.blocked > 0 {
            self.swap(id)?;
        }
        lane.opens_at = self.opens_at(id, &lane, rate, by_concurrency)?;
        if let Some(known) = self.lanes.get_mut(&id) {
            *known = lane;
        }
        let is_empty = Lane { opens_at: None, ..lane } == Lane::default();
        if is_empty {
            self.sql
                .prepare_cached("DELETE FROM lane WHERE task = ?1 AND key = ?2")?
                .execute(params![id.0, Sql(id.1)])?;
        } else {
            self.sql
                .prepare_cached(
                    "INSERT INTO lane (task, key, ready, blocked, owned, started, opens_at) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET ready = excluded.ready, \
                     blocked = excluded.blocked, owned = excluded.owned, started = excluded.started, \
                     opens_at = excluded.opens_at",
                )?
                .execute(params![
                    id.0,
                    Sql(id.1),
                    lane.ready,
                    lane.blocked,
                    lane.owned,
                    lane.started,
                    lane.opens_at.map(Sql)
                ])?;
        }
        Ok(())
    }

    /// Drops the starts that have left the window.
    fn forget_starts(&self, id: LaneId, lane: &mut Lane, rate: Option<Rate>) -> rusqlite::Result<()> {
        if lane.started == 0 {
            return Ok(());
        }
        let before = rate.map_or(i64::MAX, |rate| self.now.0.saturating_sub(window_micros(rate.window)));
        let forgotten = self
            .sql
            .prepare_cached("DELETE FROM start WHERE task = ?1 AND key = ?2 AND at <= ?3")?
            .execute(params![id.0, Sql(id.1), before])?;
        lane.started -= forgotten as i64;
        Ok(())
    }

    /// Skips what is due, never ran, and finds its lane full; how many.
    fn skip_blocked(&mut self, id: LaneId, limit: u32) -> rusqlite::Result<i64> {
        let heads: Vec<Head> = self
            .sql
            .prepare_cached(concat!(
                "SELECT ",
                head!(),
                " FROM invocation INDEXED BY invocation_lane \
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

    /// Admits the best blocked; how many there were.
    fn move_best(&mut self, id: LaneId, room: i64) -> rusqlite::Result<i64> {
        let admitted: Vec<InvocationId> = self
            .sql
            .prepare_cached(
                "UPDATE invocation SET place = 'ready' WHERE seq IN ( \
                     SELECT seq FROM invocation INDEXED BY invocation_lane \
                     WHERE task = ?1 AND lane = ?2 AND place = 'blocked' ORDER BY order_key, seq LIMIT ?3) \
                 RETURNING id",
            )?
            .query_map(params![id.0, Sql(id.1), room], |row| column(row, 0))?
            .collect::<rusqlite::Result<_>>()?;
        let count = admitted.len() as i64;
        self.receipt.unblocked.extend(admitted);
        self.is_news = true;
        Ok(count)
    }

    fn keep_back(&self, id: LaneId, count: i64) -> rusqlite::Result<i64> {
        let kept_back = self
            .sql
            .prepare_cached(
                "UPDATE invocation SET place = 'blocked' WHERE seq IN ( \
                     SELECT seq FROM invocation INDEXED BY invocation_lane \
                     WHERE task = ?1 AND lane = ?2 AND place = 'ready' \
                     ORDER BY order_key DESC, seq DESC LIMIT ?3)",
            )?
            .execute(params![id.0, Sql(id.1), count])?;
        Ok(kept_back as i64)
    }

    /// While a blocked invocation is more urgent than one that is ready, they
    /// change places.
    fn swap(&mut self, id: LaneId) -> rusqlite::Result<()> {
        loop {
            let end = |place: &str, order: &str| {
                self.sql
                    .prepare_cached(&format!(
                        "SELECT order_key, seq FROM invocation INDEXED BY invocation_lane \
                         WHERE task = ?1 AND lane = ?2 AND place = '{place}' \
                         ORDER BY order_key {order}, seq {order} LIMIT 1"
                    ))?
                    .query_row(params![id.0, Sql(id.1)], |row| {
                        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
                    })
                    .optional()
            };
            let (Some(best), Some(worst)) = (end("blocked", "ASC")?, end("ready", "DESC")?) else {
                return Ok(());
            };
            if best > worst {
                return Ok(());
            }
            self.keep_back(id, 1)?;
            self.move_best(id, 1)?;
        }
    }

    fn opens_at(
        &self,
        id: LaneId,
        lane: &Lane,
        rate: Option<Rate>,
        by_concurrency: i64,
    ) -> rusqlite::Result<Option<UnixMicros>> {
        let Some(rate) = rate.filter(|_| lane.started > 0) else {
            return Ok(None);
        };
        // So many must leave the window before there is room for one more; and
        // when all have left it, nothing of an empty lane is left.
        let last = match lane.blocked > 0 {
            true if lane.ready >= by_concurrency => return Ok(None),
            true => lane.started + lane.ready - i64::from(rate.limit),
            false => lane.started - 1,
        };
        if last < 0 {
            return Ok(None);
        }
        let at: Option<UnixMicros> = self
            .sql
            .prepare_cached(
                "SELECT at FROM start WHERE task = ?1 AND key = ?2 ORDER BY at LIMIT 1 OFFSET ?3",
            )?
            .query_row(params![id.0, Sql(id.1), last], |row| column(row, 0))
            .optional()?;
        Ok(at.map(|at| at.plus(rate.window)))
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
