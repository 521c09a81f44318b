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
use crate::store::decide::{Awaited, ClaimRest, PROMOTED_AT_ONCE, Rank, choose_awaited};
use crate::store::order::{self, Flow, Taken, Turns};
use crate::store::round::TASKS_AT_ONCE;
use crate::store::rules::{DELAYED, OWNED, READY};
use crate::store::value::Fields;
use crate::store::{ClaimRequest, Heartbeat, TaskSet};

/// A row of a queue: where it stands, and its task.
fn queued(row: &Row<'_>) -> rusqlite::Result<(Rank, i64)> {
    Ok(((row.get(0)?, row.get(1)?), row.get(2)?))
}

/// The cursors that a claim opens, each with a statement of its own that the cache can keep: a task beyond them
/// costs no more than a look for each row.
const CURSORS: usize = 64;

/// The fairness key of an invocation that may exchange its start with another one of it: one in no lane.
const KEY: &str = "CASE WHEN lane IS NULL THEN fairness_key END";

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

/// An invocation of a queue: the rank by which queues are merged, its number, its task, and how it would be taken.
type Next = ((i64, i64), i64, Taken);

/// A queue, and the flow of the late invocations at its head.
struct Walk<'s> {
    queue: Queue<'s>,
    flow: Flow,
    /// Order keys from here on are those of another walk along the queue of this task.
    end: i64,
    /// Whether it is the queue of a tree, in which nothing is late.
    is_of_tree: bool,
}

impl<'s> Walk<'s> {
    fn new(queue: Queue<'s>) -> Self {
        Self { queue, flow: Flow::default(), end: i64::MAX, is_of_tree: false }
    }
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
        clock: i64,
    ) -> rusqlite::Result<Option<Awaited<i64>>> {
        let found = sql
            .prepare_cached(formatcp!(
                "SELECT seq, task, root, order_key, priority, {KEY} FROM invocation WHERE id = ?1 AND place = {READY}"
            ))?
            .query_row([bound(id)], |row| {
                let place: (i64, i32) = (row.get(3)?, row.get(4)?);
                Ok((row.get(0)?, row.get(1)?, column::<Option<_>>(row, 2)?, place, row.get(5)?))
            })
            .optional()?;
        let Some((one, task, root, (order_key, priority), key)) = found else {
            return Ok(None);
        };
        let is_of_tree = self.request.root.is_none_or(|wanted| wanted == root.unwrap_or(id));
        if !is_of_tree || !self.has(sql, names, task)? {
            return Ok(None);
        }
        let lead = self.request.leads.of_task(names.task(sql, task)?);
        let takes_a_turn = order::takes_a_turn(order_key, priority, clock, lead);
        Ok(Some(Awaited { one, takes_a_turn, key }))
    }
}

impl<'a> Work<'a> {
    pub(super) fn claim(&mut self, request: &ClaimRequest) -> Result<(), Fault> {
        if !self.state.may_claim(request.runner) {
            return Ok(());
        }
        self.state.receipt.more |= self.promote()? | self.open_lanes()?;
        self.settle_lanes()?;
        let has_late = || self.admitted.keys().next().is_some_and(|rank| rank.0 < self.late_before());
        if request.awaited.is_empty() && request.root.is_none() && !has_late() {
            self.write_but_admitted()?;
        } else {
            // They are looked for in the database.
            self.write_all()?;
        }
        let wanted = Wanted { request, paused: self.paused_tasks()? };
        let (sql, names, clock) = (self.sql, &mut *self.names, self.state.fairness.clock);
        let (awaited, mut turns) =
            choose_awaited(request, &mut self.state.receipt, |id| wanted.find(sql, names, id, clock))?;
        let mut chosen: Vec<_> = awaited.into_iter().map(|seq| (seq, Taken::OutOfTurn)).collect();
        if !request.only_awaited {
            let tasks = match request.root {
                None => self.tasks_to_look_at(&wanted)?,
                Some(_) => Tasks::default(),
            };
            let fills = self.choose(&wanted, &tasks, &mut chosen, &mut turns)?;
            let exchanges = turns.into_exchanges();
            self.exchange_starts(&exchanges)?;
            let has_left = fills || !exchanges.is_empty();
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

    /// Makes delayed invocations that are due claimable, or lets them wait in their lanes. Returns whether some were
    /// left over.
    fn promote(&mut self) -> Result<bool, Fault> {
        let look = formatcp!(
            "SELECT 1 FROM invocation INDEXED BY invocation_delayed \
             WHERE place = {DELAYED} AND available_at <= ?1 LIMIT 1"
        );
        if !self.sql.prepare_cached(look)?.exists([bound(self.state.now)])? {
            return Ok(false);
        }
        let due = self.load_all(
            formatcp!(
                "SELECT {HEAD_COLUMNS} FROM invocation i INDEXED BY invocation_delayed \
                 WHERE place = {DELAYED} AND available_at <= ?1 ORDER BY available_at, seq LIMIT ?2"
            ),
            params![bound(self.state.now), PROMOTED_AT_ONCE as i64],
        )?;
        for id in &due {
            if let Some(key) = self.state.heads.get(id).map(|head| head.fairness_key) {
                self.load_key(key)?;
            }
        }
        self.state.promote(&due)?;
        Ok(due.len() == PROMOTED_AT_ONCE)
    }

    /// No order key from here on is late.
    fn late_before(&self) -> i64 {
        order::late_before(self.state.fairness.clock)
    }

    /// Finds the next invocation of a queue that is not awaited. When the first late one is met, the rest of the
    /// queue that is not late is another walk, which is returned, too.
    fn advance<'s>(
        &self,
        walk: &mut Walk<'s>,
        awaited: &HashSet<i64>,
    ) -> rusqlite::Result<(Option<Next>, Option<Walk<'s>>)> {
        let late_before = self.late_before();
        loop {
            let Some(((order_key, seq), task)) = walk.queue.next(self.sql)? else { return Ok((None, None)) };
            if order_key >= walk.end {
                return Ok((None, None));
            }
            if awaited.contains(&seq) {
                continue;
            }
            if order_key >= late_before || walk.is_of_tree {
                return Ok((Some(((order_key, seq), task, Taken::InTurn)), None));
            }
            let (priority, cost) = self
                .sql
                .prepare_cached("SELECT priority, turn FROM invocation WHERE seq = ?1")?
                .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let (clock, late) = (self.state.fairness.clock, &self.state.fairness.late);
            let (rank, taken) = walk.flow.rank([order_key, cost], priority, clock, || late.rank(task, clock));
            let is_first = taken != Taken::InTurn && walk.end == i64::MAX;
            if is_first {
                walk.end = late_before;
            }
            let rest = is_first.then(|| Walk::new(Queue::Behind(task, (late_before, i64::MIN))));
            return Ok((Some(((rank, seq), task, taken)), rest));
        }
    }

    /// Lets invocations, by number, exchange their starts.
    fn exchange_starts(&mut self, exchanges: &[(i64, i64)]) -> Result<(), Fault> {
        for (one, other) in exchanges {
            let select = formatcp!("SELECT {HEAD_COLUMNS} FROM invocation i WHERE i.seq = ?1");
            let (one, other) = (self.load_all(select, [one])?, self.load_all(select, [other])?);
            if let (Some(one), Some(other)) = (one.first(), other.first()) {
                self.state.exchange_starts(*one, *other)?;
            }
        }
        Ok(())
    }

    /// Fills `chosen` up in the order of the queue; whether there is more.
    fn choose(
        &mut self,
        wanted: &Wanted<'_>,
        tasks: &Tasks,
        chosen: &mut Vec<(i64, Taken)>,
        turns: &mut Turns<i64>,
    ) -> rusqlite::Result<bool> {
        let awaited: HashSet<i64> = chosen.iter().map(|(seq, _)| *seq).collect();
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
        let mut walks: Vec<_> =
            cursors.iter_mut().map(|cursor| Walk::new(Queue::Rows(cursor.raw_query()))).collect();
        walks.extend(others.iter().map(|task| Walk::new(Queue::Behind(*task, (i64::MIN, i64::MIN)))));
        if wanted.request.root.is_some() {
            // Within a tree the order is that of the queue.
            walks.iter_mut().for_each(|walk| walk.is_of_tree = true);
        }
        let mut heads = BinaryHeap::with_capacity(walks.len());
        let mut fresh = 0;
        let mut from = Some(admitted.next());
        loop {
            // New walks begin; their number may grow meanwhile.
            while fresh < walks.len() {
                let (next, rest) = self.advance(&mut walks[fresh], &awaited)?;
                heads.extend(next.map(|next| Reverse((next, Some(fresh)))));
                walks.extend(rest);
                fresh += 1;
            }
            heads.extend(
                from.take().flatten().map(|(rank, task)| Reverse(((rank, task, Taken::InTurn), None))),
            );
            let Some(Reverse((((_, seq), task, taken), index))) = heads.pop() else { return Ok(false) };
            let is_wanted = wanted.request.root.is_none() || wanted.has(self.sql, self.names, task)?;
            if is_wanted && !awaited.contains(&seq) {
                if chosen.len() == wanted.request.max {
                    return Ok(true);
                }
                let key = match turns.is_empty() {
                    true => None,
                    false => self
                        .sql
                        .prepare_cached(formatcp!("SELECT {KEY} FROM invocation WHERE seq = ?1"))?
                        .query_row([seq], |row| row.get(0))?,
                };
                chosen.extend(turns.give(seq, key).map(|one| (one, taken)));
            }
            match index {
                Some(index) => {
                    let (next, rest) = self.advance(&mut walks[index], &awaited)?;
                    heads.extend(next.map(|next| Reverse((next, Some(index)))));
                    walks.extend(rest);
                }
                None => from = Some(admitted.next()),
            }
        }
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
    fn take(&mut self, chosen: Vec<(i64, Taken)>, request: &ClaimRequest) -> Result<(), Fault> {
        let mut select = self.sql.prepare_cached(formatcp!(
            "SELECT i.id, i.task, i.component, a.json, i.root, i.depth, i.labels, i.limits, i.callers, {HEAD_COLUMNS} \
             FROM invocation i CROSS JOIN arguments a ON a.seq = i.seq WHERE i.seq = ?1"
        ))?;
        for (seq, taken) in chosen {
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
                limits: fields.take()?,
                callers: fields.take()?,
            };
            match self.state.heads.get(&id) {
                Some(head) => drop(self.admitted.remove(&head.rank())),
                None => self.load(read_head(&mut fields)?)?,
            }
            self.state.take(id, request, taken, rest)?;
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
