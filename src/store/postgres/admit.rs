//! Settling lanes: who of the blocked may be claimed, and when more will.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Row;

use super::claim::{Candidate, PRESENT, joins, rest};
use super::fault::Fault;
use super::lanes::{Lane, LaneId, key, lane_of};
use super::link::Ask;
use super::settle::{Head, Rank, head};
use super::sql::{column, present, server_time, uuid};
use super::write::Work;
use crate::model::{Event, InvocationId, RunnerId};
use crate::store::ClaimRequest;
use crate::store::rules::{self, Place, SKIPPED_AT_ONCE, window_micros};

/// At most so many delayed invocations become claimable in one transaction; if
/// more are due, the claim's answer says that there is more.
const PROMOTED_AT_ONCE: usize = 10_000;

/// At most so many lanes are looked at in one transaction because of the time.
const OPENED_AT_ONCE: usize = 1_000;

/// The moment at which a rate lets a blocked invocation start, as an expression.
macro_rules! next_opening {
    () => {
        "(SELECT opens_at FROM @lane WHERE opens_at IS NOT NULL AND blocked > 0 ORDER BY opens_at LIMIT 1)"
    };
}
pub(super) use next_opening;

const OPENED: &str = concat!(
    "(SELECT task, key FROM @lane WHERE opens_at IS NOT NULL AND blocked > 0 AND opens_at <= ",
    present!(),
    " ORDER BY opens_at LIMIT $2) UNION ALL \
     (SELECT task, key FROM @lane WHERE opens_at IS NOT NULL AND blocked = 0 AND opens_at <= ",
    present!(),
    " ORDER BY opens_at LIMIT $2)"
);

/// What a claim finds due.
#[derive(Default)]
pub(super) struct Due {
    opened: Vec<LaneId>,
    /// Whether more is due.
    is_full: bool,
}

/// Makes the delayed that are due claimable, or blocked, and finds the lanes whose
/// moment has come: three statements. Nothing happens for a runner that was lost.
pub(super) fn ask_what_is_due(runner: RunnerId, now: Option<i64>, asks: &mut Vec<Ask<'_>>) {
    let promote = Ask::new(concat!(
        "WITH promoted AS (UPDATE @invocation SET place = 'ready' WHERE seq = ANY(ARRAY( \
             SELECT seq FROM @invocation WHERE place = 'delayed' AND available_at <= ",
        present!(),
        " AND lane IS NULL AND NOT EXISTS (SELECT 1 FROM @runner WHERE id = $3 AND is_lost) \
             ORDER BY available_at LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING id) \
         SELECT id FROM promoted"
    ));
    // Those of a lane have to wait for room in it. What is due and without a lane
    // was moved away just now, so that these are found at once.
    let block = Ask::new(concat!(
        "WITH blocked AS (UPDATE @invocation SET place = 'blocked' WHERE seq = ANY(ARRAY( \
             SELECT seq FROM @invocation WHERE place = 'delayed' AND available_at <= ",
        present!(),
        " AND lane IS NOT NULL AND NOT EXISTS (SELECT 1 FROM @runner WHERE id = $3 AND is_lost) \
             ORDER BY available_at LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING id, task, lane) \
         SELECT id, task, lane FROM blocked"
    ));
    let (limit, runner) = (PROMOTED_AT_ONCE as i64, uuid(runner.as_bytes()));
    asks.push(promote.with(now).with(limit).with(runner));
    asks.push(block.with(now).with(limit).with(runner));
    asks.push(Ask::new(OPENED).with(now).with(OPENED_AT_ONCE as i64));
}

impl Work<'_> {
    /// Reads the answers to [`ask_what_is_due`].
    pub(super) fn read_what_is_due(
        &mut self,
        [promoted, blocked, opened]: [Vec<Row>; 3],
    ) -> Result<(), Fault> {
        let is_full = promoted.len() >= PROMOTED_AT_ONCE || blocked.len() >= PROMOTED_AT_ONCE;
        self.due = Some(Due { is_full, opened: Vec::new() });
        for row in &promoted {
            self.is_now_at(column(row, 0)?, Place::Ready);
        }
        for row in &blocked {
            let id = column(row, 0)?;
            self.is_now_at(id, Place::Blocked);
            self.lanes.note_blocked(id, (column(row, 1)?, column(row, 2)?));
        }
        self.read_openings(&opened)
    }

    fn read_openings(&mut self, opened: &[Row]) -> Result<(), Fault> {
        let Some(due) = &mut self.due else { return Ok(()) };
        due.is_full |= opened.len() >= OPENED_AT_ONCE;
        for row in opened {
            due.opened.push((column(row, 0)?, column(row, 1)?));
        }
        Ok(())
    }

    /// Finds the lanes whose moment has come once more, after rules have changed.
    pub(super) async fn look_for_openings(&mut self) -> Result<(), Fault> {
        if self.due.is_none() {
            return Ok(());
        }
        let ask = Ask::new(OPENED).with(Some(self.now.0)).with(OPENED_AT_ONCE as i64);
        let opened = self.link.ask_one(ask).await?;
        self.read_openings(&opened)
    }

    /// Has the lanes whose moment has come settled.
    pub(super) async fn open_lanes(&mut self, request: &ClaimRequest) -> Result<(), Fault> {
        if self.due.is_none() {
            let mut asks = Vec::new();
            ask_what_is_due(request.runner, Some(self.now.0), &mut asks);
            let answers = self.write_and_ask(asks).await?;
            let answers = answers.try_into().map_err(|_| Fault::Damaged("answers are missing".to_owned()))?;
            self.read_what_is_due(answers)?;
        }
        let due = self.due.take().unwrap_or_default();
        due.opened.into_iter().for_each(|id| self.lanes.look_at(id));
        self.receipt.more = due.is_full;
        Ok(())
    }

    /// Notes what a statement has done to a row.
    fn is_now_at(&mut self, id: InvocationId, place: Place) {
        if let Some(head) = self.heads.get_mut(&id) {
            head.place = Some(place);
        }
    }

    /// Writes everything that is not written yet, and asks.
    pub(super) async fn write_and_ask(&mut self, more: Vec<Ask<'_>>) -> Result<Vec<Vec<Row>>, Fault> {
        let mut asks: Vec<Ask<'_>> = self.write_all()?;
        let written = asks.len();
        asks.extend(more);
        let mut answers = self.link.ask(asks).await?;
        answers.drain(..written);
        Ok(answers)
    }

    /// Brings every lane that changed in accord with its rules. For a claim, looks for
    /// what it can have with the same round trip, unless there was none or what was
    /// seen has changed since.
    pub(super) async fn settle_lanes(
        &mut self,
        request: Option<&ClaimRequest>,
    ) -> Result<Option<Vec<Row>>, Fault> {
        let mut looked = None;
        while self.lanes.is_dirty() {
            let mut lanes = self.lock_lanes().await?;
            self.forget_starts(&mut lanes).await?;
            self.skip_blocked(&mut lanes).await?;
            self.admit_arrivals(&mut lanes);
            looked = self.fill(&mut lanes, request).await?;
            if self.swap(&mut lanes).await? {
                looked = None;
            }
            self.lanes.hold(lanes);
        }
        Ok(looked)
    }

    /// Drops the starts that have left their window, where that makes a difference.
    async fn forget_starts(&mut self, lanes: &mut [Lane]) -> Result<(), Fault> {
        let before = |lane: &Lane| match lane.rule.rate {
            None => i64::MAX,
            Some(rate) => self.now.0.saturating_sub(window_micros(rate.window)),
        };
        let matters = |lane: &Lane| {
            let waits = lane.count.ready + lane.count.blocked;
            let is_faded = waits + lane.count.owned == 0 && lane.opens_at.is_some_and(|at| at <= self.now);
            let is_tight =
                lane.rule.rate.is_none_or(|rate| lane.count.started + waits > i64::from(rate.limit));
            (lane.count.started > 0 && (is_tight || is_faded)).then(|| before(lane))
        };
        let ask = ask_each(
            lanes,
            matters,
            "DELETE FROM @start s USING unnest($1, $2, $3) AS w(task, key, before) \
             WHERE s.task = w.task AND s.key = w.key AND s.at <= w.before RETURNING s.task, s.key",
        );
        let Some(ask) = ask else { return Ok(()) };
        for row in self.link.ask_one(ask).await? {
            lane_of(lanes, (column(&row, 0)?, column(&row, 1)?))?.count.started -= 1;
        }
        Ok(())
    }

    /// Skips what is due, never ran, and finds its lane full.
    async fn skip_blocked(&mut self, lanes: &mut [Lane]) -> Result<(), Fault> {
        let skips = |lane: &Lane| {
            lane.rule.skips(lane.count.owned)?;
            (lane.count.blocked > 0).then_some(SKIPPED_AT_ONCE as i64)
        };
        let ask = ask_each(lanes, skips, NEVER_RUN);
        let Some(ask) = ask else { return Ok(()) };
        let rows = self.write_and_ask(vec![ask]).await?.pop().unwrap_or_default();
        self.load(&rows)?;
        for row in &rows {
            let id = column(row, 1)?;
            let Some(head) = self.heads.get_mut(&id) else { continue };
            let Some(of) = head.lane() else { continue };
            let lane = lane_of(lanes, of)?;
            let Some(limit) = lane.rule.skips(lane.count.owned) else { continue };
            // It is counted out of the lane here.
            head.lane = None;
            lane.count.blocked -= 1;
            self.end(id, Event::Skip, rules::skipped(limit))?;
        }
        Ok(())
    }

    /// Admits what has just come to lanes where nobody else is blocked: nothing of it
    /// need be written as blocked.
    fn admit_arrivals(&mut self, lanes: &mut [Lane]) {
        let mut here: HashMap<LaneId, Vec<(Rank, InvocationId)>> = HashMap::new();
        for id in &self.lanes.arrivals {
            let Some(head) = self.heads.get(id).filter(|head| head.place == Some(Place::Blocked)) else {
                continue;
            };
            let Some(lane) = head.lane() else { continue };
            here.entry(lane).or_default().push((head.rank(), *id));
        }
        for (id, mut arrived) in here {
            let Ok(place) = lanes.binary_search_by_key(&id, |lane| lane.id) else { continue };
            let lane = &mut lanes[place];
            let room = lane.room() - lane.count.ready;
            if arrived.len() as i64 != lane.count.blocked || room <= 0 {
                continue;
            }
            arrived.sort_unstable();
            for (_, invocation) in arrived.into_iter().take(usize::try_from(room).unwrap_or(0)) {
                let Some(head) = self.heads.get_mut(&invocation) else { continue };
                head.place = Some(Place::Ready);
                lane.count.ready += 1;
                lane.count.blocked -= 1;
                self.is_news = true;
            }
        }
    }

    /// Admits the best blocked as far as there is room, and keeps back the last
    /// admitted if there is less than none. Looks for what a claim can have.
    async fn fill(
        &mut self,
        lanes: &mut [Lane],
        request: Option<&ClaimRequest>,
    ) -> Result<Option<Vec<Row>>, Fault> {
        let admits = |lane: &Lane| {
            let room = lane.room().saturating_sub(lane.count.ready);
            (room > 0 && lane.count.blocked > 0).then_some(room.min(lane.count.blocked))
        };
        let keeps_back = |lane: &Lane| {
            let surplus = lane.count.ready - lane.room();
            (surplus > 0).then_some(surplus)
        };
        let best = if request.is_some() { BEST_BLOCKED_TO_CLAIM } else { BEST_BLOCKED };
        let best = ask_each(lanes, admits, best);
        let worst = ask_each(lanes, keeps_back, WORST_READY);
        let look = request.map(|request| self.first_look(request));
        let (admits, keeps_back, looks) = (best.is_some(), worst.is_some(), look.is_some());
        if !(admits || keeps_back || looks) {
            return Ok(None);
        }
        if looks {
            // They are written before the look, which finds them.
            self.lanes.admitted.clear();
        }
        let present = looks.then(|| Ask::new(PRESENT));
        let asks = best.into_iter().chain(worst).chain(look).chain(present).collect();
        let mut answers = self.write_and_ask(asks).await?.into_iter();
        if admits {
            let rows = answers.next().unwrap_or_default();
            self.admit(lanes, &rows)?;
            if looks {
                for row in &rows {
                    let head = Head::read(row)?;
                    if head.deadline.is_none_or(|deadline| deadline > self.now) {
                        self.lanes.admitted.push(Candidate::read(row)?);
                    }
                }
            }
        }
        if keeps_back {
            let rows = answers.next().unwrap_or_default();
            self.keep_back(lanes, &rows)?;
        }
        let looked = answers.next();
        self.take_time(&answers.next().unwrap_or_default())?;
        Ok(looked.filter(|_| !keeps_back))
    }

    /// While a blocked invocation is more urgent than one that is ready, they change
    /// places; whether any did. That can be only where some came to the blocked: of
    /// those before, the best are ready.
    async fn swap(&mut self, lanes: &mut [Lane]) -> Result<bool, Fault> {
        let mut unordered = std::mem::take(&mut self.lanes.unordered);
        let mut any = false;
        loop {
            let may_swap = |lane: &Lane| {
                let has_both = lane.count.ready > 0 && lane.count.blocked > 0;
                (has_both && unordered.contains(&lane.id)).then_some(1)
            };
            let (Some(best), Some(worst)) =
                (ask_each(lanes, may_swap, BEST_BLOCKED), ask_each(lanes, may_swap, WORST_READY))
            else {
                return Ok(any);
            };
            let mut answers = self.write_and_ask(vec![best, worst]).await?;
            let (worst, best) = (answers.pop().unwrap_or_default(), answers.pop().unwrap_or_default());
            let rank = |row: &Row| -> Result<(LaneId, Rank), Fault> {
                let head = Head::read(row)?;
                let lane = head.lane().ok_or_else(|| Fault::Damaged("it has no lane".to_owned()))?;
                Ok((lane, head.rank()))
            };
            let last: HashMap<_, _> = worst.iter().map(rank).collect::<Result<_, _>>()?;
            let mut changing = HashSet::new();
            for row in &best {
                let (lane, first) = rank(row)?;
                if last.get(&lane).is_some_and(|last| first < *last) {
                    changing.insert(lane);
                }
            }
            any |= !changing.is_empty();
            let changes = |row: &&Row| rank(row).is_ok_and(|(lane, _)| changing.contains(&lane));
            self.keep_back(lanes, worst.iter().filter(changes))?;
            self.admit(lanes, best.iter().filter(changes))?;
            unordered = changing;
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
}

/// The statement that locks so many of each lane that are at a place, in an order.
macro_rules! of_lanes {
    ($which:literal, $order:literal) => {
        of_lanes!($which, $order, "", "")
    };
    ($which:literal, $order:literal, $columns:expr, $joins:expr) => {
        concat!(
            "SELECT ",
            head!(),
            $columns,
            " FROM unnest($1, $2, $3) AS l(task, key, n) CROSS JOIN LATERAL ( \
             SELECT * FROM @invocation b WHERE b.task = l.task AND b.lane = l.key AND b.place = ",
            $which,
            " ORDER BY ",
            $order,
            " LIMIT l.n FOR UPDATE SKIP LOCKED) i ",
            $joins,
            " ORDER BY i.task, i.lane, i.order_key, i.seq"
        )
    };
}

const BEST_BLOCKED: &str = of_lanes!("'blocked'", "b.order_key, b.seq");
/// With what a claim needs.
const BEST_BLOCKED_TO_CLAIM: &str =
    of_lanes!("'blocked'", "b.order_key, b.seq", concat!(", ", rest!()), joins!());
const WORST_READY: &str = of_lanes!("'ready'", "b.order_key DESC, b.seq DESC");
const NEVER_RUN: &str = of_lanes!("'blocked' AND b.attempt = 0", "b.order_key, b.seq");

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
