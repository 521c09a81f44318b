//! Rules, lanes and pauses: who of those that a rule counts together may be
//! claimed.
//!
//! A lane is changed by whoever holds its row. Everything else is locked before that,
//! and what a lane's holder finds locked it passes over: whoever has it locked
//! changes it, and comes to settle the lane next.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;
use uuid::Uuid;

use super::fault::Fault;
use super::link::{Ask, Link};
use super::settle::{Head, head};
use super::sql::{column, optional, uuid, uuids};
use super::write::Work;
use crate::model::{Blocked, Concurrency, DEFAULT_QUEUE, Event, InvocationId, Rate, RuleKey, UnixMicros};
use crate::store::rules::{self, Place, SKIPPED_AT_ONCE, window_micros};
use crate::store::{Batch, NewInvocation, PauseTarget, TaskRule};

/// At most so many lanes are looked at in one transaction because of the time.
const OPENED_AT_ONCE: usize = 1_000;

/// A task's number and what its rules count by.
pub(super) type LaneId = (i64, RuleKey);

/// What the rules of a task say about its lanes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LaneRule {
    pub(super) concurrency: Option<Concurrency>,
    pub(super) rate: Option<Rate>,
}

/// How many of a lane are where; or by how many that changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    ready: i64,
    blocked: i64,
    owned: i64,
    started: i64,
}

/// The lanes that a transaction has to settle.
#[derive(Default)]
pub(super) struct Lanes {
    /// What has changed in each.
    dirty: BTreeMap<LaneId, Count>,
    /// Starts to be noted, and to be taken back.
    starts: Vec<(LaneId, i64)>,
    refunds: BTreeMap<LaneId, i64>,
    /// What was blocked in this transaction.
    newly_blocked: HashSet<InvocationId>,
    /// Of every task that has one.
    pub(super) rules: HashMap<i64, LaneRule>,
    /// Whether an operator holds anything back.
    has_pauses: bool,
    /// The tasks that are held back, once a claim has asked.
    pub(super) paused: HashSet<Arc<str>>,
    /// By the parent: the invocations above and including it, nearest first.
    ancestors: HashMap<InvocationId, Vec<Ancestor>>,
}

struct Ancestor {
    id: InvocationId,
    task: i64,
    lane: Option<RuleKey>,
    is_owned: bool,
}

/// A lane whose row is locked.
struct Lane {
    id: LaneId,
    count: Count,
    rule: LaneRule,
    opens_at: Option<UnixMicros>,
}

impl Lane {
    fn by_concurrency(&self) -> i64 {
        self.rule.concurrency.map_or(i64::MAX, |rule| i64::from(rule.limit) - self.count.owned)
    }

    /// How many may be ready.
    fn room(&self) -> i64 {
        let by_rate = self.rule.rate.map_or(i64::MAX, |rate| i64::from(rate.limit) - self.count.started);
        self.by_concurrency().min(by_rate).max(0)
    }
}

/// The columns of a rule.
macro_rules! rule {
    () => {
        "t.name, t.queue, t.concurrency, t.blocked, t.rate, t.rate_window"
    };
}

/// Reads a rule from the columns [`rule`].
fn read_rule(row: &Row) -> Result<TaskRule, Fault> {
    let limit: Option<u32> = optional(row, 2)?;
    let blocked: Option<Blocked> = optional(row, 3)?;
    let rate: Option<u32> = optional(row, 4)?;
    let window: Option<u64> = optional(row, 5)?;
    Ok(TaskRule {
        task: column(row, 0)?,
        queue: optional(row, 1)?.unwrap_or_else(|| DEFAULT_QUEUE.into()),
        concurrency: limit.map(|limit| Concurrency { limit, blocked: blocked.unwrap_or(Blocked::Wait) }),
        rate: rate.zip(window).map(|(limit, window)| Rate { limit, window: Duration::from_micros(window) }),
    })
}

/// The same; `None` if nobody has said anything of the task.
fn read_known_rule(row: &Row) -> Result<Option<TaskRule>, Fault> {
    optional::<String>(row, 1)?.map(|_| read_rule(row)).transpose()
}

/// What the rule of a task becomes when these are said of it, one after another, each
/// perhaps only if nothing was said before; `None` if it stays what it is.
fn changes<'r>(known: Option<&TaskRule>, said: &[(&'r TaskRule, bool)]) -> Option<&'r TaskRule> {
    let mut becomes: Option<&'r TaskRule> = None;
    for (rule, only_if_new) in said {
        let is_known = known.is_some() || becomes.is_some();
        if !(is_known && *only_if_new) {
            becomes = Some(*rule);
        }
    }
    becomes.filter(|rule| known != Some(*rule))
}

pub(super) async fn rules(link: &Link) -> Result<Vec<TaskRule>, Fault> {
    let ask = Ask::new(concat!("SELECT ", rule!(), " FROM @task t ORDER BY t.name COLLATE \"C\""));
    link.read(ask).await?.iter().map(read_rule).collect()
}

pub(super) async fn paused(link: &Link) -> Result<Vec<PauseTarget>, Fault> {
    // 'queue' is before 'task' in the alphabet too.
    let rows =
        link.read(Ask::new("SELECT kind, name FROM @paused ORDER BY kind, name COLLATE \"C\"")).await?;
    let read = |row: &Row| {
        let (kind, name): (String, Arc<str>) = (column(row, 0)?, column(row, 1)?);
        Ok(if kind == "queue" { PauseTarget::Queue(name) } else { PauseTarget::Task(name) })
    };
    rows.iter().map(read).collect()
}

/// The moment at which a rate lets a blocked invocation start, as an expression.
macro_rules! next_opening {
    () => {
        "(SELECT opens_at FROM @lane WHERE opens_at IS NOT NULL AND blocked > 0 ORDER BY opens_at LIMIT 1)"
    };
}
pub(super) use next_opening;

fn key(key: RuleKey) -> Uuid {
    uuid(key.as_bytes())
}

/// The statements with which a transaction learns what holds: the rules of lanes,
/// and whether anything is paused. Pauses of the batch come before that.
pub(super) fn ask_what_holds(batch: &Batch, asks: &mut Vec<Ask<'_>>) {
    asks.push(Ask::new(concat!(
        "SELECT ",
        rule!(),
        ", t.key FROM @task t WHERE t.concurrency IS NOT NULL OR t.rate IS NOT NULL"
    )));
    for pause in &batch.pauses {
        let (kind, name) = match &pause.target {
            PauseTarget::Queue(name) => ("queue", name),
            PauseTarget::Task(name) => ("task", name),
        };
        let ask = Ask::new(match pause.paused {
            true => "INSERT INTO @paused (kind, name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            false => "DELETE FROM @paused WHERE kind = $1 AND name = $2",
        });
        asks.push(ask.with(kind).with(name.to_string()));
    }
    asks.push(Ask::new("SELECT 1 FROM @paused LIMIT 1"));
}

impl Lanes {
    /// Reads the answers of [`ask_what_holds`].
    pub(super) fn read(batch: &Batch, next: &mut impl FnMut() -> Vec<Row>) -> Result<Self, Fault> {
        let mut lanes = Self::default();
        for row in next() {
            let rule = read_rule(&row)?;
            let rule = LaneRule { concurrency: rule.concurrency, rate: rule.rate };
            lanes.rules.insert(column(&row, 6)?, rule);
        }
        for _ in &batch.pauses {
            next();
        }
        lanes.has_pauses = !next().is_empty();
        Ok(lanes)
    }

    fn rule(&self, task: i64) -> LaneRule {
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
        let place = match head.lane {
            _ if head.available_at > now => Place::Delayed,
            None => Place::Ready,
            Some(_) => Place::Blocked,
        };
        if place == Place::Blocked {
            self.newly_blocked.insert(head.id);
        }
        self.relocate(head, Some(place));
    }

    /// Counts an invocation that is claimed.
    pub(super) fn own(&mut self, head: &mut Head) {
        self.relocate(head, Some(Place::Owned));
        if let Some(lane) = head.lane()
            && self.rule(lane.0).rate.is_some()
        {
            self.starts.push((lane, head.seq));
            self.dirty.entry(lane).or_default().started += 1;
        }
    }

    /// A claim whose guest never started is not counted as a start. The oldest
    /// start is forgotten instead of its own, which keeps the others in the window
    /// for longer, never for shorter.
    pub(super) fn refund_start(&mut self, head: &Head) {
        if let Some(lane) = head.lane() {
            *self.refunds.entry(lane).or_default() += 1;
            self.dirty.entry(lane).or_default();
        }
    }

    /// Whether there is something to settle.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The nearest ancestor in the lane of a child, if ancestors fill it.
    pub(super) fn blocking_ancestor(&self, new: &NewInvocation, task: i64) -> Option<InvocationId> {
        let place = new.child_of.as_ref().filter(|place| !place.detached)?;
        let lane = new.lane?;
        let concurrency = self.rule(task).concurrency.filter(|rule| rule.blocked == Blocked::Wait)?;
        let above = self.ancestors.get(&place.parent)?;
        let mut filling =
            above.iter().filter(|one| one.task == task && one.lane == Some(lane) && one.is_owned);
        let nearest = filling.next()?.id;
        (1 + filling.count() >= concurrency.limit as usize).then_some(nearest)
    }
}

impl Work<'_> {
    /// Takes over what configurations say.
    ///
    /// A task that changes is locked, so that two who say different things do not
    /// mix; in the order of the tasks' numbers, so that they do not wait for each other.
    /// Nearly always nothing changes: every submit and every start of a runner says
    /// what is known already, and must not wait for anybody to do so.
    pub(super) async fn set_rules(&mut self, batch: &Batch) -> Result<(), Fault> {
        self.is_news |= !batch.pauses.is_empty();
        let sure = batch.rules.iter().map(|rule| (rule, false));
        let mut said: BTreeMap<i64, Vec<(&TaskRule, bool)>> = BTreeMap::new();
        for (rule, only_if_new) in sure.chain(batch.default_rules.iter().map(|rule| (rule, true))) {
            said.entry(self.names.task(&rule.task)?).or_default().push((rule, only_if_new));
        }
        if said.is_empty() {
            return Ok(());
        }
        let ask = Ask::new(concat!("SELECT ", rule!(), ", t.key FROM @task t WHERE t.key = ANY($1)"));
        let rows = self.link.ask_one(ask.with(said.keys().copied().collect::<Vec<_>>())).await?;
        for row in &rows {
            let task: i64 = column(row, 6)?;
            let known = read_known_rule(row)?;
            said.retain(|key, rules| *key != task || changes(known.as_ref(), rules).is_some());
        }
        for (task, rules) in said {
            // It may have changed before the lock was there.
            let ask = Ask::new(concat!("SELECT ", rule!(), " FROM @task t WHERE t.key = $1 FOR UPDATE"));
            let rows = self.link.ask_one(ask.with(task)).await?;
            let row = rows.first().ok_or_else(|| Fault::Damaged(format!("task {task} is gone")))?;
            if let Some(rule) = changes(read_known_rule(row)?.as_ref(), &rules) {
                self.set_rule(task, rule).await?;
            }
        }
        Ok(())
    }

    async fn set_rule(&mut self, task: i64, new: &TaskRule) -> Result<(), Fault> {
        let write = Ask::new(
            "UPDATE @task SET queue = $2, concurrency = $3, blocked = $4, rate = $5, rate_window = $6 \
             WHERE key = $1",
        );
        let write = write
            .with(task)
            .with(new.queue.to_string())
            .with(new.concurrency.map(|rule| i64::from(rule.limit)))
            .with(new.concurrency.map(|rule| rule.blocked.as_str()))
            .with(new.rate.map(|rate| i64::from(rate.limit)))
            .with(new.rate.map(|rate| window_micros(rate.window)));
        // Every lane of it is looked at by the next claims.
        let open = Ask::new("UPDATE @lane SET opens_at = $2 WHERE task = $1");
        self.link.ask(vec![write, open.with(task).with(self.now.0)]).await?;
        self.lanes.rules.insert(task, LaneRule { concurrency: new.concurrency, rate: new.rate });
        self.is_news = true;
        Ok(())
    }

    /// Learns which tasks an operator holds back, themselves or with their queue.
    pub(super) async fn learn_paused(&mut self) -> Result<(), Fault> {
        if !self.lanes.has_pauses {
            return Ok(());
        }
        let ask = Ask::new(
            "SELECT t.name FROM @paused p JOIN @task t ON CASE p.kind WHEN 'task' THEN t.name = p.name \
             ELSE coalesce(t.queue, $1) = p.name END",
        );
        let rows = self.link.ask_one(ask.with(DEFAULT_QUEUE)).await?;
        self.lanes.paused = rows.iter().map(|row| column(row, 0)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Learns who is above the children that could find their own ancestors in
    /// their lane.
    pub(super) async fn learn_ancestors(&mut self, batch: &Batch) -> Result<(), Fault> {
        let mut parents = Vec::new();
        for new in &batch.submits {
            let Some(place) = new.child_of.as_ref().filter(|place| !place.detached) else { continue };
            if new.lane.is_none() || !self.is_owned_by_submitter(place) {
                continue;
            }
            let rule = self.lanes.rule(self.names.task(&new.task)?);
            if rule.concurrency.is_some_and(|rule| rule.blocked == Blocked::Wait) {
                parents.push(place.parent);
            }
        }
        if parents.is_empty() {
            return Ok(());
        }
        parents.sort_unstable();
        parents.dedup();
        let ask = Ask::new(
            "WITH RECURSIVE above(below, id, parent, task, lane, status, distance) AS ( \
                 SELECT i.id, i.id, i.parent, i.task, i.lane, i.status, 0 \
                 FROM unnest($1) AS w(id) JOIN @invocation i ON i.id = w.id \
                 UNION ALL \
                 SELECT a.below, i.id, i.parent, i.task, i.lane, i.status, a.distance + 1 \
                 FROM above a JOIN @invocation i ON i.id = a.parent) \
             SELECT below, id, task, lane, status IN ('claimed', 'running', 'waiting') FROM above \
             ORDER BY distance",
        );
        for row in self.link.ask_one(ask.with(uuids(&parents))).await? {
            let ancestor = Ancestor {
                id: column(&row, 1)?,
                task: column(&row, 2)?,
                lane: optional(&row, 3)?,
                is_owned: column(&row, 4)?,
            };
            self.lanes.ancestors.entry(column(&row, 0)?).or_default().push(ancestor);
        }
        Ok(())
    }

    /// Makes the delayed that are due claimable, or blocked, and finds the lanes
    /// whose moment has come: three statements.
    pub(super) fn ask_what_is_due(&self, limit: i64, asks: &mut Vec<Ask<'_>>) {
        let promote = Ask::new(
            "WITH promoted AS (UPDATE @invocation SET place = 'ready' WHERE seq = ANY(ARRAY( \
                 SELECT seq FROM @invocation WHERE place = 'delayed' AND available_at <= $1 AND lane IS NULL \
                 ORDER BY available_at LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING id) \
             SELECT id FROM promoted",
        );
        // Those of a lane have to wait for room in it. What is due and without a lane
        // was moved away just now, so that these are found at once.
        let block = Ask::new(
            "WITH blocked AS (UPDATE @invocation SET place = 'blocked' WHERE seq = ANY(ARRAY( \
                 SELECT seq FROM @invocation WHERE place = 'delayed' AND available_at <= $1 \
                 AND lane IS NOT NULL ORDER BY available_at LIMIT $2 FOR UPDATE SKIP LOCKED)) \
                 RETURNING id, task, lane) \
             SELECT id, task, lane FROM blocked",
        );
        let open = Ask::new(
            "(SELECT task, key FROM @lane WHERE opens_at IS NOT NULL AND blocked > 0 AND opens_at <= $1 \
              ORDER BY opens_at LIMIT $2) \
             UNION ALL \
             (SELECT task, key FROM @lane WHERE opens_at IS NOT NULL AND blocked = 0 AND opens_at <= $1 \
              ORDER BY opens_at LIMIT $2)",
        );
        let now = self.now.0;
        asks.push(promote.with(now).with(limit));
        asks.push(block.with(now).with(limit));
        asks.push(open.with(now).with(OPENED_AT_ONCE as i64));
    }

    /// Reads the answers to [`ask_what_is_due`](Self::ask_what_is_due); whether more
    /// is due.
    pub(super) fn read_what_is_due(
        &mut self,
        limit: i64,
        next: &mut impl FnMut() -> Vec<Row>,
    ) -> Result<bool, Fault> {
        let (promoted, blocked, opened) = (next(), next(), next());
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_full = promoted.len() >= limit || blocked.len() >= limit || opened.len() >= OPENED_AT_ONCE;
        for row in &promoted {
            self.is_now_at(column(row, 0)?, Place::Ready);
        }
        for row in &blocked {
            self.is_now_at(column(row, 0)?, Place::Blocked);
            self.lanes.newly_blocked.insert(column(row, 0)?);
            self.lanes.count((column(row, 1)?, column(row, 2)?), Place::Blocked, 1);
        }
        for row in &opened {
            self.lanes.dirty.entry((column(row, 0)?, column(row, 1)?)).or_default();
        }
        Ok(is_full)
    }

    /// Notes what a statement has done to a row.
    fn is_now_at(&mut self, id: InvocationId, place: Place) {
        if let Some(head) = self.heads.get_mut(&id) {
            head.place = Some(place);
        }
    }

    /// Brings every lane that changed in accord with its rules, and writes it.
    pub(super) async fn settle_lanes(&mut self) -> Result<(), Fault> {
        while self.lanes.is_dirty() {
            let mut lanes = self.lock_lanes().await?;
            self.forget_starts(&mut lanes).await?;
            self.skip_blocked(&mut lanes).await?;
            self.fill(&mut lanes).await?;
            self.swap(&mut lanes).await?;
            self.find_openings(&mut lanes).await?;
            self.write_lanes(&lanes).await?;
        }
        Ok(())
    }

    /// Writes what has changed in lanes, and locks their rows.
    async fn lock_lanes(&mut self) -> Result<Vec<Lane>, Fault> {
        let mut asks = self.write_all()?;
        let starts = std::mem::take(&mut self.lanes.starts);
        if !starts.is_empty() {
            let ask = Ask::new(
                "INSERT INTO @start (task, key, at, seq) \
                 SELECT w.task, w.key, $4, w.seq FROM unnest($1, $2, $3) AS w(task, key, seq)",
            );
            asks.push(
                ask.with(starts.iter().map(|((task, _), _)| *task).collect::<Vec<_>>())
                    .with(starts.iter().map(|((_, of), _)| key(*of)).collect::<Vec<_>>())
                    .with(starts.iter().map(|(_, seq)| *seq).collect::<Vec<_>>())
                    .with(self.now.0),
            );
        }
        let refunds = std::mem::take(&mut self.lanes.refunds);
        let ask = Ask::new(
            "DELETE FROM @start WHERE n = ANY(ARRAY(SELECT s.n FROM unnest($1, $2, $3, $4) AS w(task, key, n, after) \
                 CROSS JOIN LATERAL (SELECT n FROM @start WHERE task = w.task AND key = w.key \
                     AND at > w.after ORDER BY at, n LIMIT w.n) s)) RETURNING task, key",
        );
        let window_began = |task: i64| {
            let rate = self.lanes.rule(task).rate;
            rate.map_or(i64::MAX, |rate| self.now.0.saturating_sub(window_micros(rate.window)))
        };
        asks.push(
            ask.with(refunds.keys().map(|(task, _)| *task).collect::<Vec<_>>())
                .with(refunds.keys().map(|(_, of)| key(*of)).collect::<Vec<_>>())
                .with(refunds.values().copied().collect::<Vec<_>>())
                .with(refunds.keys().map(|(task, _)| window_began(*task)).collect::<Vec<_>>()),
        );
        let dirty = std::mem::take(&mut self.lanes.dirty);
        let all = |of: fn(&Count) -> i64| dirty.values().map(of).collect::<Vec<_>>();
        // In the order of their keys, so that two never wait for each other.
        let lock = Ask::new(
            "INSERT INTO @lane AS l (task, key, ready, blocked, owned, started) \
             SELECT * FROM unnest($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (task, key) DO UPDATE SET ready = l.ready + excluded.ready, \
             blocked = l.blocked + excluded.blocked, owned = l.owned + excluded.owned, \
             started = l.started + excluded.started \
             RETURNING l.task, l.key, l.ready, l.blocked, l.owned, l.started",
        );
        asks.push(
            lock.with(dirty.keys().map(|(task, _)| *task).collect::<Vec<_>>())
                .with(dirty.keys().map(|(_, of)| key(*of)).collect::<Vec<_>>())
                .with(all(|count| count.ready))
                .with(all(|count| count.blocked))
                .with(all(|count| count.owned))
                .with(all(|count| count.started)),
        );
        let mut answers = self.link.ask(asks).await?;
        let (locked, refunded) = (answers.pop().unwrap_or_default(), answers.pop().unwrap_or_default());
        let mut lanes = Vec::with_capacity(locked.len());
        for row in &locked {
            let id = (column(row, 0)?, column(row, 1)?);
            let count = Count {
                ready: column(row, 2)?,
                blocked: column(row, 3)?,
                owned: column(row, 4)?,
                started: column(row, 5)?,
            };
            lanes.push(Lane { id, count, rule: self.lanes.rule(id.0), opens_at: None });
        }
        lanes.sort_unstable_by_key(|lane| lane.id);
        for row in &refunded {
            lane_of(&mut lanes, (column(row, 0)?, column(row, 1)?))?.count.started -= 1;
        }
        Ok(lanes)
    }

    /// Drops the starts that have left their window.
    async fn forget_starts(&mut self, lanes: &mut [Lane]) -> Result<(), Fault> {
        let started: Vec<_> = lanes.iter().filter(|lane| lane.count.started > 0).collect();
        if started.is_empty() {
            return Ok(());
        }
        let before = |lane: &&Lane| match lane.rule.rate {
            None => i64::MAX,
            Some(rate) => self.now.0.saturating_sub(window_micros(rate.window)),
        };
        let ask = Ask::new(
            "DELETE FROM @start s USING unnest($1, $2, $3) AS w(task, key, before) \
             WHERE s.task = w.task AND s.key = w.key AND s.at <= w.before RETURNING s.task, s.key",
        );
        let ask = ask
            .with(started.iter().map(|lane| lane.id.0).collect::<Vec<_>>())
            .with(started.iter().map(|lane| key(lane.id.1)).collect::<Vec<_>>())
            .with(started.iter().map(before).collect::<Vec<_>>());
        for row in self.link.ask_one(ask).await? {
            lane_of(lanes, (column(&row, 0)?, column(&row, 1)?))?.count.started -= 1;
        }
        Ok(())
    }

    /// Skips what is due, never ran, and finds its lane full.
    async fn skip_blocked(&mut self, lanes: &mut [Lane]) -> Result<(), Fault> {
        let skips = |lane: &Lane| {
            let rule = lane.rule.concurrency.filter(|rule| rule.blocked == Blocked::Skip);
            let limit = rule.map(|rule| i64::from(rule.limit))?;
            (lane.count.owned >= limit && lane.count.blocked > 0).then_some(SKIPPED_AT_ONCE as i64)
        };
        let ask = ask_each(lanes, skips, NEVER_RUN);
        let Some(ask) = ask else { return Ok(()) };
        let rows = self.link.ask_one(ask).await?;
        self.load(&rows)?;
        for row in &rows {
            let id = column(row, 1)?;
            let Some(head) = self.heads.get_mut(&id) else { continue };
            let Some(of) = head.lane() else { continue };
            // It is counted out of the lane here.
            head.lane = None;
            let lane = lane_of(lanes, of)?;
            lane.count.blocked -= 1;
            let limit = lane.rule.concurrency.map_or(0, |rule| rule.limit);
            self.end(id, Event::Skip, rules::skipped(limit))?;
        }
        Ok(())
    }

    /// Admits the best blocked as far as there is room, and keeps back the last
    /// admitted if there is less than none.
    async fn fill(&mut self, lanes: &mut [Lane]) -> Result<(), Fault> {
        let admits = |lane: &Lane| {
            let room = lane.room().saturating_sub(lane.count.ready);
            (room > 0 && lane.count.blocked > 0).then_some(room.min(lane.count.blocked))
        };
        if let Some(ask) = ask_each(lanes, admits, BEST_BLOCKED) {
            let rows = self.link.ask_one(ask).await?;
            self.admit(lanes, &rows)?;
        }
        let keeps_back = |lane: &Lane| {
            let surplus = lane.count.ready - lane.room();
            (surplus > 0).then_some(surplus)
        };
        if let Some(ask) = ask_each(lanes, keeps_back, WORST_READY) {
            let rows = self.link.ask_one(ask).await?;
            self.keep_back(lanes, &rows)?;
        }
        Ok(())
    }

    /// While a blocked invocation is more urgent than one that is ready, they change
    /// places.
    async fn swap(&mut self, lanes: &mut [Lane]) -> Result<(), Fault> {
        let mut settled = HashSet::new();
        loop {
            let may_swap = |lane: &Lane| {
                let has_both = lane.count.ready > 0 && lane.count.blocked > 0;
                (has_both && !settled.contains(&lane.id)).then_some(1)
            };
            let (Some(best), Some(worst)) =
                (ask_each(lanes, may_swap, BEST_BLOCKED), ask_each(lanes, may_swap, WORST_READY))
            else {
                return Ok(());
            };
            let looked_at: Vec<_> =
                lanes.iter().filter(|lane| may_swap(lane).is_some()).map(|lane| lane.id).collect();
            let mut asks = self.write_all()?;
            asks.extend([best, worst]);
            let mut answers = self.link.ask(asks).await?;
            let (worst, best) = (answers.pop().unwrap_or_default(), answers.pop().unwrap_or_default());
            let rank = |row: &Row| -> Result<(LaneId, (i64, i64)), Fault> {
                let head = Head::read(row)?;
                let lane = head.lane().ok_or_else(|| Fault::Damaged("it has no lane".to_owned()))?;
                Ok((lane, (rules::order_key(head.available_at, head.priority), head.seq)))
            };
            let last: HashMap<_, _> = worst.iter().map(rank).collect::<Result<_, _>>()?;
            let mut changing = HashSet::new();
            for row in &best {
                let (lane, first) = rank(row)?;
                if last.get(&lane).is_some_and(|last| first < *last) {
                    changing.insert(lane);
                }
            }
            settled.extend(looked_at.into_iter().filter(|lane| !changing.contains(lane)));
            let changes = |row: &&Row| rank(row).is_ok_and(|(lane, _)| changing.contains(&lane));
            self.keep_back(lanes, worst.iter().filter(changes))?;
            self.admit(lanes, best.iter().filter(changes))?;
        }
    }

    fn admit<'r>(
        &mut self,
        lanes: &mut [Lane],
        rows: impl IntoIterator<Item = &'r Row>,
    ) -> Result<(), Fault> {
        for row in rows {
            let (id, of) = self.move_in_lane(row, Place::Ready)?;
            let count = &mut lane_of(lanes, of)?.count;
            count.ready += 1;
            count.blocked -= 1;
            // Only who was blocked before is told of as unblocked.
            if !self.lanes.newly_blocked.contains(&id) {
                self.receipt.unblocked.push(id);
            }
            self.is_news = true;
        }
        Ok(())
    }

    fn keep_back<'r>(
        &mut self,
        lanes: &mut [Lane],
        rows: impl IntoIterator<Item = &'r Row>,
    ) -> Result<(), Fault> {
        for row in rows {
            let (id, of) = self.move_in_lane(row, Place::Blocked)?;
            self.lanes.newly_blocked.insert(id);
            let count = &mut lane_of(lanes, of)?.count;
            count.ready -= 1;
            count.blocked += 1;
        }
        Ok(())
    }

    /// Moves an invocation within its lane, which the caller counts.
    fn move_in_lane(&mut self, row: &Row, place: Place) -> Result<(InvocationId, LaneId), Fault> {
        self.load(std::slice::from_ref(row))?;
        let id = column(row, 1)?;
        let head = self.heads.get_mut(&id).filter(|head| head.lane.is_some());
        let head = head.ok_or_else(|| Fault::Damaged(format!("`{id}` has no lane")))?;
        head.place = Some(place);
        head.is_changed = true;
        let lane = head.lane().ok_or_else(|| Fault::Damaged(format!("`{id}` has no lane")))?;
        Ok((id, lane))
    }

    /// Finds out when a rate lets one more of a lane start; or, with none blocked,
    /// when the lane can be forgotten.
    async fn find_openings(&mut self, lanes: &mut [Lane]) -> Result<(), Fault> {
        // So many must leave the window before there is room for one more; and when
        // all have left it, nothing of an empty lane is left.
        let last = |lane: &Lane| {
            let rate = lane.rule.rate.filter(|_| lane.count.started > 0)?;
            let last = match lane.count.blocked > 0 {
                true if lane.count.ready >= lane.by_concurrency() => return None,
                true => lane.count.started + lane.count.ready - i64::from(rate.limit),
                false => lane.count.started - 1,
            };
            (last >= 0).then_some(last)
        };
        let ask = ask_each(lanes, last, STARTED_AT);
        let Some(ask) = ask else { return Ok(()) };
        for row in self.link.ask_one(ask).await? {
            let lane = lane_of(lanes, (column(&row, 0)?, column(&row, 1)?))?;
            let at: Option<UnixMicros> = optional(&row, 2)?;
            lane.opens_at = at.zip(lane.rule.rate).map(|(at, rate)| at.plus(rate.window));
        }
        Ok(())
    }

    async fn write_lanes(&mut self, lanes: &[Lane]) -> Result<(), Fault> {
        let mut asks = self.write_all()?;
        let (empty, kept): (Vec<_>, Vec<_>) = lanes.iter().partition(|lane| lane.count == Count::default());
        if !empty.is_empty() {
            let ask = Ask::new(
                "DELETE FROM @lane l USING unnest($1, $2) AS w(task, key) \
                 WHERE l.task = w.task AND l.key = w.key",
            );
            asks.push(
                ask.with(empty.iter().map(|lane| lane.id.0).collect::<Vec<_>>())
                    .with(empty.iter().map(|lane| key(lane.id.1)).collect::<Vec<_>>()),
            );
        }
        if !kept.is_empty() {
            let all = |of: fn(&Lane) -> i64| kept.iter().map(|lane| of(lane)).collect::<Vec<_>>();
            let ask = Ask::new(
                "UPDATE @lane l SET ready = w.ready, blocked = w.blocked, owned = w.owned, \
                 started = w.started, opens_at = w.opens_at \
                 FROM unnest($1, $2, $3, $4, $5, $6, $7) \
                 AS w(task, key, ready, blocked, owned, started, opens_at) \
                 WHERE l.task = w.task AND l.key = w.key",
            );
            asks.push(
                ask.with(all(|lane| lane.id.0))
                    .with(kept.iter().map(|lane| key(lane.id.1)).collect::<Vec<_>>())
                    .with(all(|lane| lane.count.ready))
                    .with(all(|lane| lane.count.blocked))
                    .with(all(|lane| lane.count.owned))
                    .with(all(|lane| lane.count.started))
                    .with(kept.iter().map(|lane| lane.opens_at.map(|at| at.0)).collect::<Vec<_>>()),
            );
        }
        self.link.ask(asks).await.map(|_| ())
    }
}

/// The statement that locks so many of each lane that are at a place, in an order.
macro_rules! of_lanes {
    ($which:literal, $order:literal) => {
        concat!(
            "SELECT ",
            head!(),
            " FROM unnest($1, $2, $3) AS l(task, key, n) CROSS JOIN LATERAL ( \
             SELECT * FROM @invocation b WHERE b.task = l.task AND b.lane = l.key AND b.place = ",
            $which,
            " ORDER BY ",
            $order,
            " LIMIT l.n FOR UPDATE SKIP LOCKED) i ORDER BY i.task, i.lane, i.order_key, i.seq"
        )
    };
}

const BEST_BLOCKED: &str = of_lanes!("'blocked'", "b.order_key, b.seq");
const WORST_READY: &str = of_lanes!("'ready'", "b.order_key DESC, b.seq DESC");
const NEVER_RUN: &str = of_lanes!("'blocked' AND b.attempt = 0", "b.order_key, b.seq");

/// When the start was that has so many before it, of each lane.
const STARTED_AT: &str = "\
    SELECT l.task, l.key, (SELECT s.at FROM @start s WHERE s.task = l.task AND s.key = l.key \
        ORDER BY s.at LIMIT 1 OFFSET l.n) FROM unnest($1, $2, $3) AS l(task, key, n)";

/// Asks about those lanes for which `number` is something; the statement finds task,
/// key and number in `$1`, `$2` and `$3`.
fn ask_each(
    lanes: &[Lane],
    number: impl Fn(&Lane) -> Option<i64>,
    sql: &'static str,
) -> Option<Ask<'static>> {
    let (mut tasks, mut keys, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for lane in lanes {
        if let Some(number) = number(lane) {
            tasks.push(lane.id.0);
            keys.push(key(lane.id.1));
            numbers.push(number);
        }
    }
    (!tasks.is_empty()).then(|| Ask::new(sql).with(tasks).with(keys).with(numbers))
}

fn lane_of(lanes: &mut [Lane], id: LaneId) -> Result<&mut Lane, Fault> {
    let place = lanes.binary_search_by_key(&id, |lane| lane.id);
    match place {
        Ok(place) => Ok(&mut lanes[place]),
        Err(_) => Err(Fault::Damaged("a lane was not locked".to_owned())),
    }
}
