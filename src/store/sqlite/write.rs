//! One batch in one transaction: submits and reports.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::claim;
use super::fault::Fault;
use super::lanes::{Lane, LaneId};
use super::names::Names;
use super::schema;
use super::settle::{Head, Move, head};
use super::sql::{Json, Sql, column, labels, optional};
use crate::model::{Clock, Differing, Event, InvocationId, RuleKey, RunnerId, Status, UnixMicros};
use crate::store::rules::{self, LaneRule, Place, Step};
use crate::store::{Applied, Batch, ChildOf, EndKind, Lease, NewInvocation, Receipt, Report, Submitted};

/// A transaction under way.
pub(super) struct Work<'a> {
    pub(super) sql: &'a Connection,
    pub(super) names: &'a mut Names,
    pub(super) now: UnixMicros,
    pub(super) receipt: Receipt,
    /// Whether another process may want to know of it.
    pub(super) is_news: bool,
    /// What the transaction adds to the counts of task and status.
    pub(super) tally: HashMap<(i64, Status), i64>,
    /// The history that the transaction writes, at its end.
    pub(super) moves: Vec<Move>,
    /// Parents of the batch's submits. Submits come first, and change nothing
    /// that is kept here without changing it here too.
    parents: HashMap<InvocationId, Option<Parent>>,
    /// Lanes that changed, to be settled before the transaction ends.
    pub(super) dirty: BTreeSet<LaneId>,
    /// The lanes that the transaction has met, as they stand now.
    pub(super) lanes: HashMap<LaneId, Lane>,
    /// Those that were settled, to be written at the end.
    pub(super) changed: BTreeSet<LaneId>,
    /// What has been given room in its lane and is not written yet: the task, by
    /// order key and number.
    pub(super) admitted: BTreeMap<(i64, i64), i64>,
    /// What was blocked in this transaction.
    pub(super) newly_blocked: HashSet<i64>,
    /// And the rules of their tasks.
    pub(super) lane_rules: HashMap<i64, LaneRule>,
    /// Room for [`rules::plan`].
    steps: Vec<Step>,
}

/// What a submit must know of its parent.
struct Parent {
    seq: i64,
    /// With the attempt.
    owner: Option<(RunnerId, u32)>,
    has_children: bool,
    /// One more than the last place that is taken.
    next_index: u32,
    deadline: Option<UnixMicros>,
}

/// Applies a batch. `true` with the receipt if other processes may want to know.
pub(super) fn commit(
    sql: &mut Connection,
    names: &mut Names,
    clock: &dyn Clock,
    batch: &Batch,
) -> Result<(Receipt, bool), Fault> {
    let mut attempt = || {
        // Dropped on an error, it rolls back.
        let transaction = sql.transaction_with_behavior(TransactionBehavior::Immediate)?;
        schema::check(&transaction)?;
        // Read when nobody else can write any more: time does not go back from one
        // transaction to the next.
        let now = clock.now();
        let mut work = Work {
            sql: &transaction,
            names,
            now,
            receipt: Receipt { now, ..Receipt::default() },
            is_news: false,
            tally: HashMap::new(),
            moves: Vec::new(),
            parents: HashMap::new(),
            dirty: BTreeSet::new(),
            lanes: HashMap::new(),
            changed: BTreeSet::new(),
            admitted: BTreeMap::new(),
            newly_blocked: HashSet::new(),
            lane_rules: HashMap::new(),
            steps: Vec::new(),
        };
        work.apply(batch)?;
        let Work { receipt, is_news, .. } = work;
        transaction.commit()?;
        Ok((receipt, is_news))
    };
    let committed = attempt();
    if committed.is_err() {
        // Numbers that were drawn in it do not exist.
        names.forget();
    }
    committed
}

impl Work<'_> {
    fn apply(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        for rule in &batch.rules {
            self.set_rule(rule, false)?;
        }
        for rule in &batch.default_rules {
            self.set_rule(rule, true)?;
        }
        for pause in &batch.pauses {
            self.set_pause(pause)?;
        }
        for push in &batch.pushes {
            self.push(push)?;
        }
        for submit in &batch.submits {
            let submitted = self.submit(submit)?;
            self.receipt.submits.push(submitted);
        }
        for bill in &batch.bills {
            let applied = self.add(bill)?;
            self.receipt.bills.push(applied);
        }
        for report in &batch.reports {
            let applied = self.report(report)?;
            self.receipt.reports.push(applied);
        }
        for cancel in &batch.cancels {
            let cancelled = self.cancel(cancel)?;
            self.receipt.cancels.push(cancelled);
        }
        if let Some(inventory) = &batch.inventory {
            self.take_stock(inventory)?;
        }
        if let Some(heartbeat) = &batch.heartbeat {
            let lease = self.heartbeat(heartbeat.runner, heartbeat.lease)?;
            self.receipt.lease = Some(lease);
            self.tell_revoked(heartbeat.runner)?;
        }
        if batch.recover || batch.claim.is_some() {
            self.receipt.more = self.expire()?;
        }
        if batch.recover {
            self.recover()?;
        }
        if let Some(request) = &batch.claim {
            self.claim(request)?;
        }
        self.settle_lanes()?;
        self.write_admitted()?;
        self.write_lanes()?;
        if let Some(request) = &batch.claim
            && self.receipt.lease == Some(Lease::Held)
        {
            self.receipt.next_due = claim::next_due(self.sql, request.runner, self.now)?;
        }
        self.receipt.unblocked.sort_unstable();
        self.receipt.unblocked.dedup();
        self.write_history()?;
        if let Some(prune) = &batch.prune {
            self.receipt.pruned = Some(self.prune(prune)?);
        }
        self.write_tally()
    }

    fn submit(&mut self, new: &NewInvocation) -> rusqlite::Result<Submitted> {
        if let Some(place) = &new.child_of
            && !self.is_owned_by_submitter(place)?
        {
            return Ok(Submitted::Orphan);
        }
        let task = self.names.task_key(self.sql, &new.task)?;
        if let Some(key) = &new.key {
            let first = self
                .sql
                .prepare_cached(
                    "SELECT id, json = ?3 FROM invocation CROSS JOIN arguments USING (seq) \
                     WHERE task = ?1 AND idempotency_key = ?2",
                )?
                .query_row(params![task, key, new.arguments], |row| Ok((column(row, 0)?, row.get(1)?)))
                .optional()?;
            if let Some((first, is_same)) = first {
                return Ok(match (self.exists(new.id)?, is_same) {
                    (true, _) => Submitted::Existing(new.id),
                    (false, true) => Submitted::Existing(first),
                    (false, false) => Submitted::KeyConflict(first),
                });
            }
        }
        if let Some(place) = &new.child_of
            && let Some(first) = self.child_at(place, task, new)?
        {
            let is_repeated = self.exists(new.id)?;
            return Ok(Submitted::Existing(if is_repeated { new.id } else { first }));
        }
        if let Some(ancestor) = self.blocking_ancestor(new, task)? {
            return Ok(match self.taken(task, new)? {
                Some(taken) => taken,
                None => Submitted::BehindAncestor(ancestor),
            });
        }

        let component = self.names.component_key(self.sql, new.component_digest)?;
        let available_at = self.now.plus(new.delay);
        let parent = new.child_of.as_ref().and_then(|place| self.parents.get(&place.parent)?.as_ref());
        let deadline = rules::deadline(new, parent.and_then(|parent| parent.deadline), self.now);
        let is_due = available_at <= self.now;
        let order_key = rules::order_key(available_at, new.priority);
        let lane = new.lane.map(|key| (task, key)).filter(|_| is_due);
        let before = lane.map(|lane| self.look_at_lane(lane)).transpose()?;
        let place = match lane {
            _ if !is_due => Place::Delayed,
            None => Place::Ready,
            Some(lane) => self.enter_lane(lane, None, order_key)?,
        };
        let child_of = new.child_of.as_ref();
        let inserted = self
            .sql
            .prepare_cached(
                "INSERT INTO invocation (id, status, place, task, component, attempt, \
                 max_attempts, moves, order_key, priority, available_at, submitted_at, parent, \
                 child_index, root, depth, detached, has_children, idempotency_key, labels, deadline, \
                 lane, unique_key) VALUES (?1, 'queued', ?2, ?3, ?4, 0, ?5, 0, ?6, ?7, ?8, ?9, ?10, \
                 ?11, ?12, ?13, ?14, 0, ?15, ?16, ?17, ?18, ?19) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                Sql(new.id),
                Sql(place),
                task,
                component,
                new.max_attempts.max(1),
                order_key,
                new.priority,
                Sql(available_at),
                Sql(self.now),
                child_of.map(|child_of| Sql(child_of.parent)),
                child_of.map(|child_of| child_of.index),
                child_of.map(|child_of| Sql(child_of.root)),
                child_of.map_or(0, |child_of| child_of.depth),
                child_of.is_some_and(|child_of| child_of.detached),
                new.key,
                labels(&new.labels),
                deadline.map(Sql),
                new.lane.map(Sql),
                new.unique.map(|(key, _)| Sql(key)),
            ])?;
        if inserted == 0 {
            // What is there already is looked for only now: most submits are new.
            if let Some((lane, before)) = lane.zip(before) {
                self.restore_lane(lane, before);
            }
            return self.taken(task, new)?.ok_or_else(|| {
                rusqlite::Error::ToSqlConversionFailure("neither its id nor its rule is taken".into())
            });
        }
        let seq = self.sql.last_insert_rowid();
        if place == Place::Blocked {
            self.newly_blocked.insert(seq);
        }
        self.sql
            .prepare_cached("INSERT INTO arguments (seq, json) VALUES (?1, ?2)")?
            .execute(params![seq, new.arguments])?;
        if let Some(child_of) = child_of {
            self.note_child(child_of)?;
        }
        self.count(task, Status::Queued, 1);
        self.is_news = true;
        Ok(Submitted::Created(new.id))
    }

    /// The answer to a submit whose id, or what its uniqueness rule knows it by, is
    /// taken.
    fn taken(&self, task: i64, new: &NewInvocation) -> rusqlite::Result<Option<Submitted>> {
        if self.exists(new.id)? {
            return Ok(Some(Submitted::Existing(new.id)));
        }
        let Some((key, differing)) = new.unique else {
            return Ok(None);
        };
        let found = self.unfinished_like(task, key, new)?;
        Ok(found.map(|(first, is_same)| match differing {
            Differing::Refuse if !is_same => Submitted::UniqueConflict(first),
            Differing::Refuse | Differing::Existing => Submitted::Existing(first),
        }))
    }

    /// The unfinished invocation that the uniqueness rule takes for the same, and
    /// whether its arguments are.
    fn unfinished_like(
        &self,
        task: i64,
        key: RuleKey,
        new: &NewInvocation,
    ) -> rusqlite::Result<Option<(InvocationId, bool)>> {
        self.sql
            .prepare_cached(
                "SELECT id, json = ?3 FROM invocation INDEXED BY invocation_unique \
                 CROSS JOIN arguments USING (seq) \
                 WHERE task = ?1 AND unique_key = ?2 AND place IS NOT NULL",
            )?
            .query_row(params![task, Sql(key), new.arguments], |row| Ok((column(row, 0)?, row.get(1)?)))
            .optional()
    }

    fn exists(&self, id: InvocationId) -> rusqlite::Result<bool> {
        self.sql.prepare_cached("SELECT 1 FROM invocation WHERE id = ?1")?.exists([Sql(id)])
    }

    /// Whether the attempt that submits a child still owns the parent.
    fn is_owned_by_submitter(&mut self, place: &ChildOf) -> rusqlite::Result<bool> {
        if !self.parents.contains_key(&place.parent) {
            let parent = self
                .sql
                .prepare_cached(
                    "SELECT seq, status, runner, attempt, has_children, (SELECT max(child_index) \
                     FROM invocation INDEXED BY invocation_child WHERE parent = ?1), deadline \
                     FROM invocation WHERE id = ?1",
                )?
                .query_row([Sql(place.parent)], |row| {
                    let runner: Option<RunnerId> = optional(row, 2)?;
                    let attempt = row.get(3)?;
                    Ok(Parent {
                        seq: row.get(0)?,
                        owner: runner
                            .filter(|_| column::<Status>(row, 1).is_ok_and(Status::is_owned))
                            .map(|runner| (runner, attempt)),
                        has_children: row.get(4)?,
                        next_index: row.get::<_, Option<u32>>(5)?.map_or(0, |last| last + 1),
                        deadline: optional(row, 6)?,
                    })
                })
                .optional()?;
            self.parents.insert(place.parent, parent);
        }
        let submitter = Some((place.parent_runner, place.parent_attempt));
        Ok(matches!(self.parents.get(&place.parent), Some(Some(parent)) if parent.owner == submitter))
    }

    /// The child that an earlier attempt submitted at the same place.
    fn child_at(
        &self,
        place: &ChildOf,
        task: i64,
        new: &NewInvocation,
    ) -> rusqlite::Result<Option<InvocationId>> {
        let is_free = matches!(
            self.parents.get(&place.parent),
            Some(Some(parent)) if parent.next_index <= place.index
        );
        if is_free {
            return Ok(None);
        }
        self.sql
            .prepare_cached(
                "SELECT id FROM invocation INDEXED BY invocation_child \
                 CROSS JOIN arguments USING (seq) \
                 WHERE parent = ?1 AND child_index = ?2 AND task = ?3 AND json = ?4 ORDER BY seq",
            )?
            .query_row(params![Sql(place.parent), place.index, task, new.arguments], |row| column(row, 0))
            .optional()
    }

    /// Notes that a child was created.
    fn note_child(&mut self, place: &ChildOf) -> rusqlite::Result<()> {
        let Some(Some(parent)) = self.parents.get_mut(&place.parent) else {
            return Ok(());
        };
        parent.next_index = parent.next_index.max(place.index.saturating_add(1));
        if !parent.has_children {
            parent.has_children = true;
            self.sql
                .prepare_cached("UPDATE invocation SET has_children = 1 WHERE seq = ?1")?
                .execute([parent.seq])?;
        }
        Ok(())
    }

    fn report(&mut self, report: &Report) -> rusqlite::Result<Applied> {
        let head = self
            .sql
            .prepare_cached(concat!("SELECT ", head!(), " FROM invocation WHERE id = ?1"))?
            .query_row([Sql(report.id)], Head::read)
            .optional()?;
        let Some(mut head) = head else {
            return Ok(Applied::Stale);
        };
        let mut steps = std::mem::take(&mut self.steps);
        let is_valid = head.owner() == Some(report.runner)
            && head.attempt == report.attempt
            && rules::plan(head.status, report, &mut steps);
        if !is_valid {
            self.steps = steps;
            return Ok(Applied::Stale);
        }
        self.write_logs(head.seq, report)?;
        // A claim that is given back before its guest got a slot.
        let has_started = head.status != Status::Claimed || !report.observed.is_empty();
        let mut started_at = None;
        for (at, event, _, to) in steps.drain(..) {
            if event == Event::Start {
                started_at = Some(at);
            }
            let outcome = report.end.as_ref().and_then(|end| match &end.how {
                EndKind::Final(outcome) | EndKind::Retry(outcome, _) if !to.is_owned() => {
                    rules::detail(outcome)
                }
                _ => None,
            });
            self.step(&mut head, at, event, to, outcome)?;
        }
        self.steps = steps;
        self.observe(&head, report, started_at)?;
        if let Some(end) = &report.end {
            head.usage = rules::usage(head.usage, end);
            match &end.how {
                EndKind::Final(outcome) => {
                    self.write_end(&head, started_at, end.at, outcome)?;
                    if head.has_children || end.has_children {
                        self.end_children(head.id, head.status)?;
                    }
                }
                EndKind::Retry(_, delay) => {
                    let available_at = self.now.plus(*delay);
                    self.requeue(&head, started_at, head.attempt, available_at)?;
                }
                EndKind::Release => {
                    if let Some(lane) = head.lane()
                        && !has_started
                    {
                        self.refund_start(lane)?;
                    }
                    self.requeue(&head, started_at, head.attempt - 1, head.available_at)?;
                }
            }
        }
        self.is_news = true;
        Ok(Applied::Done)
    }

    /// Writes what a report says of an invocation besides where it went.
    fn observe(
        &mut self,
        head: &Head,
        report: &Report,
        started_at: Option<UnixMicros>,
    ) -> rusqlite::Result<()> {
        if report.end.is_some() {
            // The end writes it all, once.
        } else if let Some(started_at) = started_at {
            self.sql
                .prepare_cached(
                    "UPDATE invocation SET status = ?2, moves = ?3, started_at = ?4 WHERE seq = ?1",
                )?
                .execute(params![head.seq, Sql(head.status), head.moves, Sql(started_at)])?;
        } else if !report.observed.is_empty() {
            self.sql
                .prepare_cached("UPDATE invocation SET status = ?2, moves = ?3 WHERE seq = ?1")?
                .execute(params![head.seq, Sql(head.status), head.moves])?;
        }
        if let Some(progress) = &report.progress {
            self.sql
                .prepare_cached("UPDATE invocation SET progress = ?2 WHERE seq = ?1")?
                .execute(params![head.seq, Json(progress)])?;
        }
        if let Some(digest) = report.component_digest {
            let component = self.names.component_key(self.sql, digest)?;
            self.sql
                .prepare_cached("UPDATE invocation SET component = ?2 WHERE seq = ?1")?
                .execute([head.seq, component])?;
        }
        Ok(())
    }

    fn write_logs(&self, seq: i64, report: &Report) -> rusqlite::Result<()> {
        if report.logs.is_empty() {
            return Ok(());
        }
        let before: i64 = self
            .sql
            .prepare_cached("SELECT coalesce(max(n), 0) FROM log WHERE seq = ?1")?
            .query_row([seq], |row| row.get(0))?;
        let mut insert = self.sql.prepare_cached(
            "INSERT INTO log (seq, n, at, attempt, stream, level, text) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        for (n, entry) in (before + 1..).zip(&report.logs) {
            insert.execute(params![
                seq,
                n,
                Sql(entry.at),
                entry.attempt,
                Sql(entry.stream),
                entry.level,
                entry.text
            ])?;
        }
        Ok(())
    }
}
