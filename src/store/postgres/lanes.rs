//! Lanes: how many are where of those that a task's rules count together.
//!
//! A lane is changed by whoever holds its row. A transaction locks the rows of all
//! lanes that it knows it will change with one statement, in the order of their keys;
//! its claims lock further ones without waiting for them. So two that change several
//! lanes never wait for each other. Rows of invocations are locked before, or passed
//! over if somebody has them: whoever has them comes to settle the lane next.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;
use uuid::Uuid;

use super::fault::Fault;
use super::link::Ask;
use super::sql::{column, uuid};
use super::work::Work;
use crate::model::RuleKey;
use crate::store::decide::{Count, Lane, LaneId, lane_of};

pub(super) fn key(key: RuleKey) -> Uuid {
    uuid(key.as_bytes())
}

fn tasks<'i>(ids: impl IntoIterator<Item = &'i LaneId>) -> Vec<i64> {
    ids.into_iter().map(|id| id.0).collect()
}

fn keys<'i>(ids: impl IntoIterator<Item = &'i LaneId>) -> Vec<Uuid> {
    ids.into_iter().map(|id| key(id.1)).collect()
}

impl Work<'_> {
    /// Locks the lanes that are to be settled, and counts what has changed in them.
    pub(super) async fn lock_lanes(&mut self) -> Result<Vec<Lane>, Fault> {
        let (mut lanes, dirty) = self.state.lanes.take_dirty();
        let mut asks = Vec::new();
        if !dirty.is_empty() {
            asks.push(ask_to_lock(&dirty));
        }
        let refunds = self.state.lanes.take_refunds();
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

    /// Locks further lanes, but for those that somebody else has: rows of the queue are in hand, and who has the
    /// lane may wait for one of them.
    pub(super) async fn lock_more_lanes(&mut self, ids: &BTreeSet<LaneId>) -> Result<(), Fault> {
        let sql = "SELECT l.task, l.key, l.ready, l.blocked, l.owned, l.started, l.opens_at \
             FROM unnest($1, $2) AS w(task, key) \
             JOIN @lane l ON l.task = ANY(ARRAY[w.task]) AND l.key = w.key \
             ORDER BY w.task, w.key FOR UPDATE OF l SKIP LOCKED";
        let rows = self.link.ask_one(Ask::new(sql).with(tasks(ids)).with(keys(ids))).await?;
        let lanes = rows.iter().map(|row| self.read_lane(row, false)).collect::<Result<_, _>>()?;
        self.state.lanes.hold(lanes);
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
        let rule = self.state.lanes.rule(id.0);
        Ok(Lane { id, count, rule, opens_at: column(row, 6)?, last_ready: i64::MAX, is_changed })
    }

    fn ask_to_refund(&self, refunds: &BTreeMap<LaneId, i64>) -> Ask<'static> {
        let window_began = |task: i64| self.state.lanes.rule(task).window_began(self.state.now);
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

    /// Finds out when the changed lanes open by themselves.
    pub(super) async fn find_openings(&mut self) -> Result<(), Fault> {
        let unknown = self.state.lanes.find_openings(self.state.now);
        if unknown.is_empty() {
            return Ok(());
        }
        let ids = || unknown.iter().map(|(id, _)| id);
        let numbers: Vec<_> = unknown.iter().map(|(_, before)| *before).collect();
        let ask = Ask::new(STARTED_AT).with(tasks(ids())).with(keys(ids())).with(numbers);
        for row in self.link.ask_one(ask).await? {
            let id = (column(&row, 0)?, column(&row, 1)?);
            self.state.lanes.note_start(id, column(&row, 2)?);
        }
        Ok(())
    }

    /// The statements that write the lanes, and what has started in them.
    pub(super) fn write_lanes(&mut self, asks: &mut Vec<Ask<'_>>) {
        let starts = std::mem::take(&mut self.state.lanes.starts);
        if !starts.is_empty() {
            let all = || starts.iter().flat_map(|(id, seqs)| seqs.iter().map(move |seq| (id, *seq)));
            let ask = Ask::new(
                "INSERT INTO @start (task, key, at, seq) \
                 SELECT w.task, w.key, $4, w.seq FROM unnest($1, $2, $3) AS w(task, key, seq)",
            );
            asks.push(
                ask.with(tasks(all().map(|(id, _)| id)))
                    .with(keys(all().map(|(id, _)| id)))
                    .with(all().map(|(_, seq)| seq).collect::<Vec<_>>())
                    .with(self.state.now.0),
            );
        }
        let (empty, kept) = self.state.lanes.take_changed();
        if !empty.is_empty() {
            let ask = Ask::new(
                "DELETE FROM @lane l USING unnest($1, $2) AS w(task, key) \
                 WHERE l.task = ANY(ARRAY[w.task]) AND l.key = w.key",
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
                 WHERE l.task = ANY(ARRAY[w.task]) AND l.key = w.key",
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
