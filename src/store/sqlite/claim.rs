//! Handing out work.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::keep;
use super::lanes::{self, LaneId};
use super::settle::{HEAD_COLUMNS, Head, contradiction, head};
use super::sql::{Sql, column, json, optional};
use super::write::Work;
use crate::model::{Claim, Event, InvocationId, RunnerId, Status, UnixMicros};
use crate::store::{ClaimRequest, Lease, rules};

/// At most so many delayed invocations become claimable in one transaction; if
/// more are due, the claim's answer says that there is more.
const PROMOTED_AT_ONCE: usize = 10_000;

/// Where something stands in the queue: order key and number.
type Rank = (i64, i64);

fn rank(row: &Row<'_>) -> rusqlite::Result<Rank> {
    Ok((row.get(0)?, row.get(1)?))
}

impl Work<'_> {
    pub(super) fn claim(&mut self, request: &ClaimRequest) -> rusqlite::Result<()> {
        if self.is_lost(request.runner)? {
            self.receipt.lease = Some(Lease::Lost);
            return Ok(());
        }
        self.receipt.lease = Some(Lease::Held);
        if self.receipt.more {
            // Something overdue may be left, and must not be claimed.
            return Ok(());
        }
        self.receipt.more = self.promote()?;
        self.receipt.more |= self.open_lanes()?;
        self.settle_lanes()?;
        if !request.awaited.is_empty() || request.root.is_some() {
            // They are looked for in the database.
            self.write_admitted()?;
        }
        let paused = self.paused_tasks()?;
        let may_run = |task: &i64| paused.as_ref().is_none_or(|paused| !paused.contains(task));

        let mut chosen = Vec::new();
        let mut taken = HashSet::new();
        for id in &request.awaited {
            if taken.contains(id) {
                continue;
            }
            if chosen.len() == request.max {
                self.receipt.more = true;
                break;
            }
            match self.claimable(*id, request)?.filter(|(_, task)| may_run(task)) {
                Some((seq, _)) => {
                    taken.insert(*id);
                    chosen.push(seq);
                }
                None => self.receipt.unclaimable.push(*id),
            }
        }
        if !request.only_awaited {
            let there_is_more = match request.root {
                None => self.choose(request, may_run, &mut chosen)?,
                Some(root) => self.choose_in_tree(root, request, may_run, &mut chosen)?,
            };
            self.receipt.more |= there_is_more;
        }

        if !chosen.is_empty() {
            self.heartbeat(request.runner, request.lease)?;
            self.is_news = true;
        }
        self.receipt.claimed.reserve(chosen.len());
        for seq in chosen {
            let claim = self.take(seq, request.runner)?;
            self.receipt.claimed.push(claim);
        }
        self.write_admitted()?;
        Ok(())
    }

    /// Makes the delayed that are due claimable; whether some were left over.
    fn promote(&mut self) -> rusqlite::Result<bool> {
        let limit = PROMOTED_AT_ONCE as i64;
        let promoted = self
            .sql
            .prepare_cached(
                "UPDATE invocation SET place = 'ready' WHERE seq IN ( \
                     SELECT seq FROM invocation INDEXED BY invocation_delayed \
                     WHERE place = 'delayed' AND available_at <= ?1 AND lane IS NULL \
                     ORDER BY available_at LIMIT ?2)",
            )?
            .execute(params![Sql(self.now), limit])?;
        // Those of a lane have to wait for room in it. What is due and without a
        // lane was moved away just now, so that these are found at once.
        let due: Vec<(i64, LaneId, i64)> = self
            .sql
            .prepare_cached(
                "SELECT seq, task, lane, order_key FROM invocation INDEXED BY invocation_delayed \
                 WHERE place = 'delayed' AND available_at <= ?1 AND lane IS NOT NULL \
                 ORDER BY available_at LIMIT ?2",
            )?
            .query_map(params![Sql(self.now), limit], |row| {
                Ok((row.get(0)?, (row.get(1)?, column(row, 2)?), row.get(3)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        let is_full = promoted == PROMOTED_AT_ONCE || due.len() == PROMOTED_AT_ONCE;
        for (seq, lane, order_key) in due {
            let place = self.enter_lane(lane, Some(seq), order_key)?;
            self.sql
                .prepare_cached("UPDATE invocation SET place = ?2 WHERE seq = ?1")?
                .execute(params![seq, Sql(place)])?;
        }
        Ok(is_full)
    }

    /// The number, and that of its task, of an awaited invocation that can be
    /// claimed now.
    fn claimable(
        &mut self,
        id: InvocationId,
        request: &ClaimRequest,
    ) -> rusqlite::Result<Option<(i64, i64)>> {
        let found = self
            .sql
            .prepare_cached(
                "SELECT seq, task, root FROM invocation \
                 WHERE id = ?1 AND \
                 (place = 'ready' OR place = 'delayed' AND available_at <= ?2 AND lane IS NULL)",
            )?
            .query_row(params![Sql(id), Sql(self.now)], |row| {
                Ok((row.get(0)?, row.get(1)?, optional(row, 2)?))
            })
            .optional()?;
        let Some((seq, task, root)) = found else {
            return Ok(None);
        };
        let is_of_tree = request.root.is_none_or(|wanted| wanted == root.unwrap_or(id));
        let can_run = request.tasks.contains(self.names.task(self.sql, task)?);
        Ok((is_of_tree && can_run).then_some((seq, task)))
    }

    /// Fills `chosen` up in the order of the queue; whether there is more.
    fn choose(
        &mut self,
        request: &ClaimRequest,
        may_run: impl Fn(&i64) -> bool,
        chosen: &mut Vec<i64>,
    ) -> rusqlite::Result<bool> {
        let awaited: HashSet<i64> = chosen.iter().copied().collect();
        let tasks: Vec<i64> = self.ready_tasks(request)?.into_iter().filter(&may_run).collect();
        // And one more queue: what was admitted to its lane a moment ago.
        let mut admitted = Vec::new();
        for (rank, task) in &self.admitted {
            if may_run(task) && request.tasks.contains(self.names.task(self.sql, *task)?) {
                admitted.push(*rank);
            }
        }
        let mut admitted = admitted.into_iter();
        // The queues of the tasks, merged: a cursor each, so that nothing is read
        // that is not wanted. The comment makes a statement of its own of each,
        // which the cache can keep.
        let mut cursors = Vec::with_capacity(tasks.len());
        for index in 0..tasks.len() {
            cursors.push(self.sql.prepare_cached(&format!(
                "SELECT order_key, seq FROM invocation INDEXED BY invocation_ready \
                 WHERE place = 'ready' AND task = ?1 ORDER BY order_key, seq /* {index} */"
            ))?);
        }
        let mut queues = Vec::with_capacity(tasks.len());
        for (cursor, task) in cursors.iter_mut().zip(tasks) {
            queues.push(cursor.query([task])?);
        }
        let mut heads = BinaryHeap::with_capacity(queues.len());
        for (index, queue) in queues.iter_mut().enumerate() {
            if let Some(row) = queue.next()? {
                heads.push(Reverse((rank(row)?, index)));
            }
        }
        heads.extend(admitted.next().map(|rank| Reverse((rank, queues.len()))));
        while let Some(Reverse(((_, seq), index))) = heads.pop() {
            if !awaited.contains(&seq) {
                if chosen.len() == request.max {
                    return Ok(true);
                }
                chosen.push(seq);
            }
            let next = match queues.get_mut(index) {
                Some(queue) => queue.next()?.map(rank).transpose()?,
                None => admitted.next(),
            };
            heads.extend(next.map(|rank| Reverse((rank, index))));
        }
        Ok(false)
    }

    /// The tasks that have claimable invocations and that the runner can run.
    fn ready_tasks(&mut self, request: &ClaimRequest) -> rusqlite::Result<Vec<i64>> {
        // From task to task, not from row to row.
        let mut next = self.sql.prepare_cached(
            "SELECT task FROM invocation INDEXED BY invocation_ready \
             WHERE place = 'ready' AND task > ?1 ORDER BY task LIMIT 1",
        )?;
        let mut tasks = Vec::new();
        let mut last = i64::MIN;
        while let Some(task) = next.query_row([last], |row| row.get(0)).optional()? {
            if request.tasks.contains(self.names.task(self.sql, task)?) {
                tasks.push(task);
            }
            last = task;
        }
        Ok(tasks)
    }

    /// As [`Work::choose`], from one tree.
    fn choose_in_tree(
        &mut self,
        root: InvocationId,
        request: &ClaimRequest,
        may_run: impl Fn(&i64) -> bool,
        chosen: &mut Vec<i64>,
    ) -> rusqlite::Result<bool> {
        let awaited: HashSet<i64> = chosen.iter().copied().collect();
        // The root itself is not in the index of its descendants.
        let mut head: Option<(Rank, i64)> = self
            .sql
            .prepare_cached(
                "SELECT order_key, seq, task FROM invocation \
                 WHERE id = ?1 AND root IS NULL AND place = 'ready'",
            )?
            .query_row([Sql(root)], |row| Ok((rank(row)?, row.get(2)?)))
            .optional()?;
        let mut cursor = self.sql.prepare_cached(
            "SELECT order_key, seq, task FROM invocation INDEXED BY invocation_ready_in_tree \
             WHERE place = 'ready' AND root = ?1 ORDER BY order_key, seq",
        )?;
        let mut rows = cursor.query([Sql(root)])?;
        loop {
            let next = match rows.next()? {
                Some(row) => Some((rank(row)?, row.get::<_, i64>(2)?)),
                None => None,
            };
            let root_is_first = match (&head, &next) {
                (Some((first, _)), Some((second, _))) => first < second,
                (Some(_), None) => true,
                (None, _) => false,
            };
            let candidates = [head.take_if(|_| root_is_first), next];
            for ((_, seq), task) in candidates.into_iter().flatten() {
                let can_run = request.tasks.contains(self.names.task(self.sql, task)?) && may_run(&task);
                if awaited.contains(&seq) || !can_run {
                    continue;
                }
                if chosen.len() == request.max {
                    return Ok(true);
                }
                chosen.push(seq);
            }
            if next.is_none() {
                return Ok(false);
            }
        }
    }

    /// Claims one queued invocation.
    fn take(&mut self, seq: i64, runner: RunnerId) -> rusqlite::Result<Claim> {
        let mut statement = self.sql.prepare_cached(concat!(
            "SELECT ",
            head!(),
            ", component, parent, root, depth, labels, json, deadline \
             FROM invocation CROSS JOIN arguments USING (seq) WHERE seq = ?1"
        ))?;
        let mut rows = statement.query([seq])?;
        let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let mut head = Head::read(row)?;
        let to: Status = head.status.apply(Event::Claim).map_err(contradiction)?;
        head.attempt += 1;
        head.runner = Some(runner);
        let claim = Claim {
            id: head.id,
            runner,
            attempt: head.attempt,
            max_attempts: head.max_attempts,
            task: self.names.task(self.sql, head.task)?.clone(),
            arguments: row.get(HEAD_COLUMNS + 5)?,
            component_digest: self.names.component(self.sql, row.get(HEAD_COLUMNS)?)?,
            parent: optional(row, HEAD_COLUMNS + 1)?,
            root: optional(row, HEAD_COLUMNS + 2)?.unwrap_or(head.id),
            depth: row.get(HEAD_COLUMNS + 3)?,
            deadline: optional(row, HEAD_COLUMNS + 6)?,
            labels: json(row, HEAD_COLUMNS + 4)?.unwrap_or_default(),
            has_lane: head.lane.is_some(),
        };
        drop(rows);
        drop(statement);
        self.admitted.remove(&(rules::order_key(head.available_at, head.priority), seq));
        let now = self.now;
        self.step(&mut head, now, Event::Claim, to, None)?;
        self.sql
            .prepare_cached(
                "UPDATE invocation SET status = ?2, place = 'owned', moves = ?3, attempt = ?4, \
                 runner = ?5 WHERE seq = ?1",
            )?
            .execute(params![seq, Sql(to), head.moves, head.attempt, Sql(runner)])?;
        if let Some(lane) = head.lane() {
            self.own_in_lane(lane)?;
        }
        Ok(claim)
    }
}

/// When something happens without a commit by `runner`.
pub(super) fn next_due(
    sql: &Connection,
    runner: RunnerId,
    now: UnixMicros,
) -> rusqlite::Result<Option<UnixMicros>> {
    let delayed: Option<UnixMicros> = sql
        .prepare_cached(
            "SELECT available_at FROM invocation INDEXED BY invocation_delayed \
             WHERE place = 'delayed' AND available_at > ?1 ORDER BY available_at LIMIT 1",
        )?
        .query_row([Sql(now)], |row| column(row, 0))
        .optional()?;
    let expiring: Option<UnixMicros> = sql
        .prepare_cached(
            "SELECT lease_until FROM runner r INDEXED BY runner_lease \
             WHERE is_lost = 0 AND id <> ?1 AND EXISTS ( \
                 SELECT 1 FROM invocation i INDEXED BY invocation_owned \
                 WHERE i.runner = r.id AND i.place = 'owned') \
             ORDER BY lease_until LIMIT 1",
        )?
        .query_row([Sql(runner)], |row| column(row, 0))
        .optional()?;
    let overdue = keep::next_deadline(sql)?;
    let opening = lanes::next_opening(sql)?;
    Ok(delayed.into_iter().chain(expiring).chain(overdue).chain(opening).min())
}
