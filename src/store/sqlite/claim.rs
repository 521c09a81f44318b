//! Handing out work.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use const_format::formatcp;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, Rows, params};

use super::fault::Fault;
use super::keep;
use super::lanes;
use super::names::Names;
use super::sql::{bound, column};
use super::work::Work;
use crate::model::{InvocationId, RunnerId, UnixMicros};
use crate::store::columns::{HEAD_COLUMNS, read_head};
use crate::store::decide::{ClaimRest, PROMOTED_AT_ONCE, Rank, choose_awaited};
use crate::store::round::TASKS_AT_ONCE;
use crate::store::rules::{DELAYED, OWNED, READY};
use crate::store::value::Fields;
use crate::store::{ClaimRequest, Heartbeat, TaskSet};

/// A row of a queue: where it stands, and its task.
fn queued(row: &Row<'_>) -> rusqlite::Result<(Rank, i64)> {
    Ok(((row.get(0)?, row.get(1)?), row.get(2)?))
}

/// Makes the delayed that are due and have no lane claimable; whether some were left over.
pub(super) fn promote(sql: &Connection, now: UnixMicros) -> rusqlite::Result<bool> {
    let promoted = sql
        .prepare_cached(formatcp!(
            "UPDATE invocation SET place = {READY} WHERE seq IN ( \
             SELECT seq FROM invocation INDEXED BY invocation_delayed \
             WHERE place = {DELAYED} AND available_at <= ?1 AND lane IS NULL \
             ORDER BY available_at LIMIT ?2)"
        ))?
        .execute(params![bound(now), PROMOTED_AT_ONCE as i64])?;
    Ok(promoted == PROMOTED_AT_ONCE)
}

/// The cursors that a claim opens, each with a statement of its own that the cache can keep: a task beyond them
/// costs no more than a look for each row.
const CURSORS: usize = 64;

/// The tasks that a claim looks at.
#[derive(Default)]
struct Tasks {
    keys: Vec<i64>,
    /// The last that was looked at, if there may be more.
    last: Option<i64>,
}

/// A queue of claimable invocations, in its order.
enum Queue<'s> {
    /// Rows of a statement of its own.
    Rows(Rows<'s>),
    /// The rest of a task's queue, behind this rank, which one statement looks up for all of them.
    Behind(i64, Rank),
}

impl Queue<'_> {
    fn next(&mut self, sql: &Connection) -> rusqlite::Result<Option<(Rank, i64)>> {
        match self {
            Self::Rows(rows) => rows.next()?.map(queued).transpose(),
            Self::Behind(task, rank) => {
                let mut look = sql.prepare_cached(formatcp!(
                    "SELECT order_key, seq, task FROM invocation INDEXED BY invocation_ready \
                     WHERE place = {READY} AND task = ?1 AND (order_key, seq) > (?2, ?3) \
                     ORDER BY order_key, seq LIMIT 1"
                ))?;
                let found = look.query_row(params![*task, rank.0, rank.1], queued).optional()?;
                if let Some((next, _)) = found {
                    *rank = next;
                }
                Ok(found)
            }
        }
    }
}

/// Looks whether a claim may have the task with a number.
struct Wanted<'w> {
    request: &'w ClaimRequest,
    paused: TaskSet,
}

impl Wanted<'_> {
    fn has(&self, sql: &Connection, names: &mut Names, task: i64) -> rusqlite::Result<bool> {
        let name = names.task(sql, task)?;
        Ok(self.request.tasks.contains(name) && !self.paused.contains(name))
    }

    /// The number of an awaited invocation that can be claimed now.
    fn find(
        &self,
        sql: &Connection,
        names: &mut Names,
        id: InvocationId,
        now: UnixMicros,
    ) -> rusqlite::Result<Option<i64>> {
        let found = sql
            .prepare_cached(formatcp!(
                "SELECT seq, task, root FROM invocation \
                 WHERE id = ?1 AND \
                 (place = {READY} OR place = {DELAYED} AND available_at <= ?2 AND lane IS NULL)"
            ))?
            .query_row(params![bound(id), bound(now)], |row| {
                Ok((row.get(0)?, row.get(1)?, column::<Option<_>>(row, 2)?))
            })
            .optional()?;
        let Some((seq, task, root)) = found else {
            return Ok(None);
        };
        let is_of_tree = self.request.root.is_none_or(|wanted| wanted == root.unwrap_or(id));
        Ok((is_of_tree && self.has(sql, names, task)?).then_some(seq))
    }
}

impl<'a> Work<'a> {
    pub(super) fn claim(&mut self, request: &ClaimRequest, promotes_more: bool) -> Result<(), Fault> {
        if !self.state.may_claim(request.runner) {
            return Ok(());
        }
        self.state.receipt.more |= promotes_more | self.promote_in_lanes()? | self.open_lanes()?;
        self.settle_lanes()?;
        if request.awaited.is_empty() && request.root.is_none() {
            self.write_but_admitted()?;
        } else {
            // They are looked for in the database.
            self.write_all()?;
        }
        let wanted = Wanted { request, paused: self.paused_tasks()? };
        let (sql, names, now) = (self.sql, &mut *self.names, self.state.now);
        let mut chosen = choose_awaited(request, &mut self.state, |id| wanted.find(sql, names, id, now))?;
        if !request.only_awaited {
            let tasks = match request.root {
                None => self.tasks_to_look_at(&wanted)?,
                Some(_) => Tasks::default(),
            };
            let has_left = self.choose(&wanted, &tasks, &mut chosen)?;
            self.state.receipt.more |= match request.root {
                None => self.round.note(tasks.last, has_left),
                Some(_) => has_left,
            };
        }
        if !chosen.is_empty() {
            self.extend_lease(&Heartbeat { runner: request.runner, lease: request.lease })?;
        }
        self.state.receipt.claimed.reserve(chosen.len());
        self.take(chosen, request)
    }

    /// Moves delayed invocations that are due and have lanes to the blocked ones of their lanes. Returns whether
    /// some were left over. Those without lanes were moved before, so the index begins with these.
    fn promote_in_lanes(&mut self) -> rusqlite::Result<bool> {
        let due = self.load_all(
            formatcp!(
                "SELECT {HEAD_COLUMNS} FROM invocation i INDEXED BY invocation_delayed \
                 WHERE place = {DELAYED} AND available_at <= ?1 AND lane IS NOT NULL \
                 ORDER BY available_at LIMIT ?2"
            ),
            params![bound(self.state.now), PROMOTED_AT_ONCE as i64],
        )?;
        self.state.promote(&due);
        Ok(due.len() == PROMOTED_AT_ONCE)
    }

    /// Fills `chosen` up in the order of the queue; whether there is more.
    fn choose(
        &mut self,
        wanted: &Wanted<'_>,
        tasks: &Tasks,
        chosen: &mut Vec<i64>,
    ) -> rusqlite::Result<bool> {
        let awaited: HashSet<i64> = chosen.iter().copied().collect();
        // What was admitted to its lane a moment ago.
        let mut admitted = Vec::new();
        for (rank, task) in &self.admitted {
            if wanted.has(self.sql, self.names, *task)? {
                admitted.push((*rank, *task));
            }
        }
        let mut admitted = admitted.into_iter();
        // The queues of the tasks, or of the tree, merged: a cursor each, so that nothing is
        // read that is not wanted.
        let (first, others) = tasks.keys.split_at(tasks.keys.len().min(CURSORS));
        let mut cursors = match wanted.request.root {
            None => self.task_cursors(first)?,
            Some(root) => self.tree_cursors(root)?,
        };
        let mut queues: Vec<_> = cursors.iter_mut().map(|cursor| Queue::Rows(cursor.raw_query())).collect();
        queues.extend(others.iter().map(|task| Queue::Behind(*task, (i64::MIN, i64::MIN))));
        let mut heads = BinaryHeap::with_capacity(queues.len());
        for (index, queue) in queues.iter_mut().enumerate() {
            heads.extend(queue.next(self.sql)?.map(|one| Reverse((one, index))));
        }
        heads.extend(admitted.next().map(|one| Reverse((one, queues.len()))));
        while let Some(Reverse((((_, seq), task), index))) = heads.pop() {
            let is_wanted = wanted.request.root.is_none() || wanted.has(self.sql, self.names, task)?;
            if is_wanted && !awaited.contains(&seq) {
                if chosen.len() == wanted.request.max {
                    return Ok(true);
                }
                chosen.push(seq);
            }
            let next = match queues.get_mut(index) {
                Some(queue) => queue.next(self.sql)?,
                None => admitted.next(),
            };
            heads.extend(next.map(|one| Reverse((one, index))));
        }
        Ok(false)
    }

    /// Finds the tasks that have claimable invocations and that a claim may have: all of them, or so many behind
    /// those of the last look.
    fn tasks_to_look_at(&mut self, wanted: &Wanted<'_>) -> rusqlite::Result<Tasks> {
        // From task to task, not from row to row.
        let mut next = self.sql.prepare_cached(formatcp!(
            "SELECT task FROM invocation INDEXED BY invocation_ready \
             WHERE place = {READY} AND task > ?1 ORDER BY task LIMIT 1"
        ))?;
        let has_many = wanted.request.tasks.len() > TASKS_AT_ONCE;
        let mut tasks = Tasks::default();
        let mut last = if has_many { self.round.begin() } else { i64::MIN };
        for _ in 0..TASKS_AT_ONCE {
            let Some(task) = next.query_row([last], |row| row.get(0)).optional()? else { return Ok(tasks) };
            if wanted.has(self.sql, self.names, task)? {
                tasks.keys.push(task);
            }
            last = task;
        }
        if has_many {
            return Ok(Tasks { last: Some(last), ..tasks });
        }
        // Most are those of others: a runner with few looks for its own.
        let mut own = Tasks::default();
        for name in wanted.request.tasks.iter().filter(|name| !wanted.paused.contains(*name)) {
            own.keys.extend(self.names.known_task(self.sql, name)?);
        }
        Ok(own)
    }

    /// Opens cursors on the queues of some tasks: order key, number, task.
    fn task_cursors(&self, tasks: &[i64]) -> rusqlite::Result<Vec<CachedStatement<'a>>> {
        let cursor = |(index, task): (usize, &i64)| {
            // The comment makes a statement of its own of each, which the cache can keep.
            let mut cursor = self.sql.prepare_cached(&format!(
                "SELECT order_key, seq, task FROM invocation INDEXED BY invocation_ready \
                 WHERE place = {READY} AND task = ?1 ORDER BY order_key, seq /* {index} */"
            ))?;
            cursor.raw_bind_parameter(1, task)?;
            Ok(cursor)
        };
        tasks.iter().enumerate().map(cursor).collect()
    }

    /// Cursors on the queue of a tree, of all tasks. The root itself is not in the index of its
    /// descendants.
    fn tree_cursors(&self, root: InvocationId) -> rusqlite::Result<Vec<CachedStatement<'a>>> {
        let cursor = |sql| -> rusqlite::Result<_> {
            let mut cursor = self.sql.prepare_cached(sql)?;
            cursor.raw_bind_parameter(1, bound(root))?;
            Ok(cursor)
        };
        Ok(vec![
            cursor(formatcp!(
                "SELECT order_key, seq, task FROM invocation \
                 WHERE id = ?1 AND root IS NULL AND place = {READY}"
            ))?,
            cursor(formatcp!(
                "SELECT order_key, seq, task FROM invocation INDEXED BY invocation_ready_in_tree \
                 WHERE place = {READY} AND root = ?1 ORDER BY order_key, seq"
            ))?,
        ])
    }

    /// Claims queued invocations, by number.
    fn take(&mut self, chosen: Vec<i64>, request: &ClaimRequest) -> Result<(), Fault> {
        let mut select = self.sql.prepare_cached(formatcp!(
            "SELECT i.id, i.task, i.component, a.json, i.root, i.depth, i.labels, {HEAD_COLUMNS} \
             FROM invocation i CROSS JOIN arguments a ON a.seq = i.seq WHERE i.seq = ?1"
        ))?;
        for seq in chosen {
            if !self.state.bears_another(request) {
                break;
            }
            let mut rows = select.query([seq])?;
            let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            let mut fields = Fields::new(row);
            let id: InvocationId = fields.take()?;
            let rest = ClaimRest {
                task: self.names.task(self.sql, fields.take()?)?.clone(),
                component_digest: self.names.component(self.sql, fields.take()?)?,
                arguments: fields.take()?,
                root: fields.take::<Option<_>>()?.unwrap_or(id),
                depth: fields.take()?,
                labels: fields.take()?,
            };
            match self.state.heads.get(&id) {
                Some(head) => drop(self.admitted.remove(&head.rank())),
                None => self.load(read_head(&mut fields)?)?,
            }
            self.state.take(id, request.runner, rest)?;
        }
        Ok(())
    }
}

/// When something happens without a commit by `runner`.
pub(super) fn next_due(
    sql: &Connection,
    runner: RunnerId,
    now: UnixMicros,
) -> rusqlite::Result<Option<UnixMicros>> {
    let delayed: Option<UnixMicros> = sql
        .prepare_cached(formatcp!(
            "SELECT available_at FROM invocation INDEXED BY invocation_delayed \
             WHERE place = {DELAYED} AND available_at > ?1 ORDER BY available_at LIMIT 1"
        ))?
        .query_row([bound(now)], |row| column(row, 0))
        .optional()?;
    let expiring: Option<UnixMicros> = sql
        .prepare_cached(formatcp!(
            "SELECT lease_until FROM runner r INDEXED BY runner_lease \
             WHERE is_lost = 0 AND id <> ?1 AND EXISTS ( \
                 SELECT 1 FROM invocation i INDEXED BY invocation_owned \
                 WHERE i.runner = r.id AND i.place = {OWNED}) \
             ORDER BY lease_until LIMIT 1"
        ))?
        .query_row([bound(runner)], |row| column(row, 0))
        .optional()?;
    let overdue = keep::next_deadline(sql)?;
    let opening = lanes::next_opening(sql)?;
    Ok(delayed.into_iter().chain(expiring).chain(overdue).chain(opening).min())
}
