//! Lanes: who of those that a rule counts together may be claimed.

use const_format::formatcp;
use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use super::sql::{bound, column};
use super::work::Work;
use crate::model::UnixMicros;
use crate::store::columns::HEAD_COLUMNS;
use crate::store::decide::{Count, Head, Lane, LaneId, OPENED_AT_ONCE, lane_of};
use crate::store::rules::{BLOCKED, READY};

/// When the earliest rate lets a blocked invocation start.
pub(super) fn next_opening(sql: &Connection) -> rusqlite::Result<Option<UnixMicros>> {
    sql.prepare_cached(
        "SELECT opens_at FROM lane INDEXED BY lane_opens \
         WHERE opens_at IS NOT NULL AND blocked > 0 ORDER BY opens_at LIMIT 1",
    )?
    .query_row([], |row| column(row, 0))
    .optional()
}

/// The statement that finds so many of a lane that are at a place, in an order.
macro_rules! of_lane {
    ($which:expr, $order:literal) => {
        formatcp!(
            "SELECT {HEAD_COLUMNS} FROM invocation i INDEXED BY invocation_{which} ORDER BY {order} LIMIT ?3",
            which = $which,
            order = $order
        )
    };
}
const BEST_BLOCKED: &str =
    of_lane!(formatcp!("blocked WHERE task = ?1 AND lane = ?2 AND place = {BLOCKED}"), "order_key, seq");
const NEVER_RUN: &str = of_lane!(
    formatcp!("blocked WHERE task = ?1 AND lane = ?2 AND place = {BLOCKED} AND attempt = 0"),
    "order_key, seq"
);
const WORST_READY: &str =
    of_lane!(formatcp!("lane WHERE task = ?1 AND lane = ?2 AND place = {READY}"), "order_key DESC, seq DESC");

impl Work<'_> {
    /// Has the lanes whose moment has come settled; whether some were left over.
    pub(super) fn open_lanes(&mut self) -> rusqlite::Result<bool> {
        let mut opened = 0;
        for condition in ["blocked > 0", "blocked = 0"] {
            let index = if condition == "blocked > 0" { "lane_opens" } else { "lane_fades" };
            let mut query = self.sql.prepare_cached(&format!(
                "SELECT task, key FROM lane INDEXED BY {index} \
                 WHERE opens_at IS NOT NULL AND {condition} AND opens_at <= ?1 ORDER BY opens_at LIMIT ?2"
            ))?;
            let mut rows = query.query(params![bound(self.state.now), OPENED_AT_ONCE as i64])?;
            while let Some(row) = rows.next()? {
                self.state.lanes.look_at((row.get(0)?, column(row, 1)?));
                opened += 1;
            }
        }
        Ok(opened >= OPENED_AT_ONCE)
    }

    /// Brings every lane that changed in accord with its rules.
    pub(super) fn settle_lanes(&mut self) -> Result<(), Fault> {
        while self.state.lanes.is_dirty() {
            let mut lanes = self.load_lanes()?;
            for lane in &mut lanes {
                if let Some(before) = lane.forgets(self.state.now) {
                    self.forget_starts(lane, before)?;
                }
            }
            let never_run = self.find(&lanes, Lane::skips, NEVER_RUN)?;
            self.state.skip(&mut lanes, never_run)?;
            self.state.admit_arrivals(&mut lanes);
            let best = self.find(&lanes, Lane::admits, BEST_BLOCKED)?;
            let worst = self.find(&lanes, Lane::keeps_back, WORST_READY)?;
            let admitted: Vec<_> = best.iter().map(|head| (head.rank(), head.task)).collect();
            self.state.admit(&mut lanes, best)?;
            self.admitted.extend(admitted);
            self.state.keep_back(&mut lanes, worst)?;
            self.swap(&mut lanes)?;
            self.state.lanes.hold(lanes);
        }
        Ok(())
    }

    /// While a blocked invocation is more urgent than one that is ready, they change
    /// places.
    fn swap(&mut self, lanes: &mut [Lane]) -> Result<(), Fault> {
        loop {
            let may_swap = lanes.iter().map(|lane| self.state.lanes.may_swap(lane)).collect::<Vec<_>>();
            if !may_swap.contains(&true) {
                break;
            }
            self.write_all()?;
            let (mut best, mut worst) = (Vec::new(), Vec::new());
            for (lane, _) in lanes.iter().zip(may_swap).filter(|(_, may_swap)| *may_swap) {
                best.extend(self.heads(BEST_BLOCKED, params![lane.id.0, bound(lane.id.1), 1])?);
                worst.extend(self.heads(WORST_READY, params![lane.id.0, bound(lane.id.1), 1])?);
            }
            if !self.state.swap(lanes, best, worst)? {
                break;
            }
        }
        self.state.lanes.end_swapping();
        Ok(())
    }

    /// Finds so many of each lane for which `number` is something.
    fn find(
        &mut self,
        lanes: &[Lane],
        number: fn(&Lane) -> Option<i64>,
        sql: &str,
    ) -> Result<Vec<Head>, Fault> {
        let mut found = Vec::new();
        let mut is_written = false;
        for lane in lanes {
            let Some(number) = number(lane) else { continue };
            if !std::mem::replace(&mut is_written, true) {
                self.write_all()?;
            }
            found.extend(self.heads(sql, params![lane.id.0, bound(lane.id.1), number])?);
        }
        Ok(found)
    }

    /// Loads the lanes that are to be settled, and counts in what has changed.
    fn load_lanes(&mut self) -> Result<Vec<Lane>, Fault> {
        let (mut lanes, dirty) = self.state.lanes.take_dirty();
        for (id, change) in dirty {
            let mut lane = self.load_lane(id)?;
            lane.add(change);
            lanes.push(lane);
        }
        lanes.sort_unstable_by_key(|lane| lane.id);
        for (id, count) in self.state.lanes.take_refunds() {
            let lane = lane_of(&mut lanes, id)?;
            self.forget_starts(lane, lane.rule.window_began(self.state.now))?;
            for _ in 0..count {
                let refunded = self
                    .sql
                    .prepare_cached(
                        "UPDATE start SET n = n - 1 WHERE task = ?1 AND key = ?2 AND at = \
                         (SELECT min(at) FROM start WHERE task = ?1 AND key = ?2 AND n > 0)",
                    )?
                    .execute(params![id.0, bound(id.1)])?;
                lane.count.started -= i64::from(refunded > 0);
            }
        }
        Ok(lanes)
    }

    fn load_lane(&mut self, id: LaneId) -> rusqlite::Result<Lane> {
        self.learn_rule(id.0)?;
        let rule = self.state.lanes.rule(id.0);
        let found = self
            .sql
            .prepare_cached(
                "SELECT ready, blocked, owned, started, last_ready, opens_at FROM lane \
                 WHERE task = ?1 AND key = ?2",
            )?
            .query_row(params![id.0, bound(id.1)], |row| {
                let count = Count {
                    ready: row.get(0)?,
                    blocked: row.get(1)?,
                    owned: row.get(2)?,
                    started: row.get(3)?,
                };
                let (last_ready, opens_at) = (row.get(4)?, column(row, 5)?);
                Ok(Lane { id, count, rule, opens_at, last_ready, is_changed: false })
            })
            .optional()?;
        let empty =
            Lane { id, count: Count::default(), rule, opens_at: None, last_ready: 0, is_changed: false };
        Ok(found.unwrap_or(empty))
    }

    /// Drops the starts up to a moment.
    fn forget_starts(&self, lane: &mut Lane, before: i64) -> rusqlite::Result<()> {
        let forgotten: Vec<i64> = self
            .sql
            .prepare_cached("DELETE FROM start WHERE task = ?1 AND key = ?2 AND at <= ?3 RETURNING n")?
            .query_map(params![lane.id.0, bound(lane.id.1), before], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        lane.count.started -= forgotten.iter().sum::<i64>();
        Ok(())
    }

    /// Finds out when the changed lanes open by themselves.
    pub(super) fn find_openings(&mut self) -> rusqlite::Result<()> {
        for (id, mut before) in self.state.lanes.find_openings(self.state.now) {
            let mut starts = self
                .sql
                .prepare_cached("SELECT at, n FROM start WHERE task = ?1 AND key = ?2 ORDER BY at")?;
            let mut rows = starts.query(params![id.0, bound(id.1)])?;
            let mut at: Option<UnixMicros> = None;
            while let Some(row) = rows.next()?
                && before >= 0
            {
                before -= row.get::<_, i64>(1)?;
                at = Some(column(row, 0)?);
            }
            self.state.lanes.note_start(id, at.filter(|_| before < 0));
        }
        Ok(())
    }

    /// Writes the lanes that changed, and what has started in them.
    pub(super) fn write_lanes(&mut self) -> rusqlite::Result<()> {
        for (id, starts) in std::mem::take(&mut self.state.lanes.starts) {
            self.sql
                .prepare_cached(
                    "INSERT INTO start (task, key, at, n) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT DO UPDATE SET n = n + excluded.n",
                )?
                .execute(params![id.0, bound(id.1), bound(self.state.now), starts.len() as i64])?;
        }
        let (empty, kept) = self.state.lanes.take_changed();
        for lane in empty {
            self.sql
                .prepare_cached("DELETE FROM lane WHERE task = ?1 AND key = ?2")?
                .execute(params![lane.id.0, bound(lane.id.1)])?;
        }
        for lane in kept {
            self.sql
                .prepare_cached(
                    "INSERT INTO lane (task, key, ready, blocked, owned, started, last_ready, opens_at) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE SET \
                     ready = excluded.ready, blocked = excluded.blocked, owned = excluded.owned, \
                     started = excluded.started, last_ready = excluded.last_ready, \
                     opens_at = excluded.opens_at",
                )?
                .execute(params![
                    lane.id.0,
                    bound(lane.id.1),
                    lane.count.ready,
                    lane.count.blocked,
                    lane.count.owned,
                    lane.count.started,
                    lane.last_ready,
                    lane.opens_at.map(bound)
                ])?;
        }
        Ok(())
    }
}
