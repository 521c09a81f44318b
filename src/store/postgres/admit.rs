//! Settling lanes: who of the blocked may be claimed, and when more will.

use const_format::formatcp;
use tokio_postgres::Row;

use super::claim::ASK_TIME;
use super::fairness::{ask_keys_of_due, read_keys};
use super::fault::Fault;
use super::lanes::key;
use super::link::Ask;
use super::sql::{JOINS, PRESENT, REST_COLUMNS, column, read_candidates, read_heads, uuid};
use super::work::{Due, Work};
use crate::model::RunnerId;
use crate::store::ClaimRequest;
use crate::store::columns::HEAD_COLUMNS;
use crate::store::decide::{Lane, OPENED_AT_ONCE, PROMOTED_AT_ONCE, lane_of};
use crate::store::order;
use crate::store::rules::{BLOCKED, DELAYED, READY};

/// The moment at which a rate lets a blocked invocation start, as an expression.
pub(super) const NEXT_OPENING: &str =
    "(SELECT opens_at FROM @lane WHERE opens_at IS NOT NULL AND blocked > 0 ORDER BY opens_at LIMIT 1)";

const OPENED: &str = formatcp!(
    "(SELECT task, key FROM @lane WHERE opens_at IS NOT NULL AND blocked > 0 AND opens_at <= {PRESENT} \
     ORDER BY opens_at LIMIT $2) UNION ALL \
     (SELECT task, key FROM @lane WHERE opens_at IS NOT NULL AND blocked = 0 AND opens_at <= {PRESENT} \
     ORDER BY opens_at LIMIT $2)"
);

/// Locks the delayed that are due, and finds their fairness keys and the lanes whose moment has come: three
/// statements. There are none for a runner that was lost.
pub(super) fn ask_what_is_due(runner: RunnerId, now: Option<i64>, asks: &mut Vec<Ask<'_>>) {
    let due = Ask::new(formatcp!(
        "SELECT {HEAD_COLUMNS} FROM @invocation i WHERE i.place = {DELAYED} AND i.available_at <= {PRESENT} \
         AND NOT EXISTS (SELECT 1 FROM @runner WHERE id = $3 AND is_lost) \
         ORDER BY i.available_at LIMIT $2 FOR UPDATE OF i SKIP LOCKED"
    ));
    asks.push(due.with(now).with(PROMOTED_AT_ONCE as i64).with(uuid(runner.as_bytes())));
    asks.push(ask_keys_of_due(now));
    asks.push(Ask::new(OPENED).with(now).with(OPENED_AT_ONCE as i64));
}

impl Work<'_> {
    /// Reads the answers to [`ask_what_is_due`].
    pub(super) fn read_what_is_due(&mut self, [due, keys, opened]: [Vec<Row>; 3]) -> Result<(), Fault> {
        let is_full = due.len() >= PROMOTED_AT_ONCE;
        let mut heads = read_heads(&due)?;
        heads.sort_by_key(|head| (head.available_at, head.seq));
        let delayed = heads.iter().map(|head| head.id).collect();
        self.load(heads);
        read_keys(&keys, &mut self.state.fairness.keys)?;
        self.due = Some(Due { is_full, delayed, opened: Vec::new() });
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
        let ask = Ask::new(OPENED).with(Some(self.state.now.0)).with(OPENED_AT_ONCE as i64);
        let opened = self.link.ask_one(ask).await?;
        self.read_openings(&opened)
    }

    /// Has the lanes whose moment has come settled.
    pub(super) async fn open_lanes(&mut self, request: &ClaimRequest) -> Result<(), Fault> {
        if self.due.is_none() {
            let mut asks = Vec::new();
            ask_what_is_due(request.runner, Some(self.state.now.0), &mut asks);
            let answers = self.write_and_ask(asks).await?;
            let answers = answers.try_into().map_err(|_| Fault::Damaged("answers are missing".to_owned()))?;
            self.read_what_is_due(answers)?;
        }
        let due = self.due.take().unwrap_or_default();
        // Keys are looked for before it is known whose rows others have: then one may be missing.
        self.state.receipt.more |= !self.state.promote(&due.delayed)?;
        due.opened.into_iter().for_each(|id| self.state.lanes.look_at(id));
        self.state.receipt.more |= due.is_full;
        Ok(())
    }

    /// Brings every lane that changed in accord with its rules. For a claim, looks for
    /// what it can have with the same round trip, unless there was none or what was
    /// seen has changed since.
    pub(super) async fn settle_lanes(
        &mut self,
        request: Option<&ClaimRequest>,
    ) -> Result<Option<Vec<Row>>, Fault> {
        let mut looked = None;
        while self.state.lanes.is_dirty() {
            let mut lanes = self.lock_lanes().await?;
            self.forget_starts(&mut lanes).await?;
            if let Some(ask) = ask_each(&lanes, Lane::skips, NEVER_RUN) {
                let rows = self.write_and_ask(vec![ask]).await?.pop().unwrap_or_default();
                self.state.skip(&mut lanes, read_heads(&rows)?)?;
            }
            self.state.admit_arrivals(&mut lanes);
            looked = self.fill(&mut lanes, request).await?;
            if self.swap(&mut lanes).await? {
                looked = None;
            }
            self.state.lanes.hold(lanes);
        }
        Ok(looked)
    }

    /// Drops the starts that have left their window, where that makes a difference.
    async fn forget_starts(&mut self, lanes: &mut [Lane]) -> Result<(), Fault> {
        let ask = ask_each(
            lanes,
            |lane| lane.forgets(self.state.now),
            "DELETE FROM @start s USING unnest($1, $2, $3) AS w(task, key, before) \
             WHERE s.task = ANY(ARRAY[w.task]) AND s.key = w.key AND s.at <= w.before RETURNING s.task, s.key",
        );
        let Some(ask) = ask else { return Ok(()) };
        for row in self.link.ask_one(ask).await? {
            lane_of(lanes, (column(&row, 0)?, column(&row, 1)?))?.count.started -= 1;
        }
        Ok(())
    }

    /// Admits the best blocked as far as there is room, and keeps back the last
    /// admitted if there is less than none. Looks for what a claim can have.
    async fn fill(
        &mut self,
        lanes: &mut [Lane],
        request: Option<&ClaimRequest>,
    ) -> Result<Option<Vec<Row>>, Fault> {
        let best = if request.is_some() { BEST_BLOCKED_TO_CLAIM } else { BEST_BLOCKED };
        let best = ask_each(lanes, Lane::admits, best);
        let worst = ask_each(lanes, Lane::keeps_back, WORST_READY);
        let look = request.map(|request| self.first_look(request));
        let (admits, keeps_back, looks) = (best.is_some(), worst.is_some(), look.is_some());
        if !(admits || keeps_back || looks) {
            return Ok(None);
        }
        if looks {
            // They are written before the look, which finds them.
            self.admitted.clear();
        }
        let present = looks.then(|| Ask::new(ASK_TIME));
        let asks = best.into_iter().chain(worst).chain(look).chain(present).collect();
        let mut answers = self.write_and_ask(asks).await?.into_iter();
        if admits {
            let rows = answers.next().unwrap_or_default();
            let mut heads = Vec::with_capacity(rows.len());
            if looks {
                for (head, candidate) in read_candidates(&rows)? {
                    if head.deadline.is_none_or(|deadline| deadline > self.state.now) {
                        self.admitted.push(candidate);
                    }
                    heads.push(head);
                }
            } else {
                heads = read_heads(&rows)?;
            }
            self.state.admit(lanes, heads)?;
        }
        if keeps_back {
            let rows = answers.next().unwrap_or_default();
            self.state.keep_back(lanes, read_heads(&rows)?)?;
        }
        let looked = answers.next();
        self.take_time(&answers.next().unwrap_or_default())?;
        // Late ones are not taken by their order keys, but as a part of the queue of their task.
        let late_before = order::late_before(self.state.fairness.clock);
        let has_late = self.admitted.iter().any(|one| one.rank.0 < late_before);
        Ok(looked.filter(|_| !(keeps_back || has_late)))
    }

    /// While a blocked invocation is more urgent than one that is ready, they change
    /// places; whether any did.
    async fn swap(&mut self, lanes: &mut [Lane]) -> Result<bool, Fault> {
        let mut any = false;
        loop {
            let may_swap = |lane: &Lane| self.state.lanes.may_swap(lane).then_some(1);
            let asks = ask_each(lanes, may_swap, BEST_BLOCKED).zip(ask_each(lanes, may_swap, WORST_READY));
            let Some((best, worst)) = asks else { break };
            let mut answers = self.write_and_ask(vec![best, worst]).await?;
            let (worst, best) = (answers.pop().unwrap_or_default(), answers.pop().unwrap_or_default());
            if !self.state.swap(lanes, read_heads(&best)?, read_heads(&worst)?)? {
                break;
            }
            any = true;
        }
        self.state.lanes.end_swapping();
        Ok(any)
    }
}

/// The statement that locks so many of each lane that are at a place, in an order.
macro_rules! of_lanes {
    ($which:expr, $order:literal) => {
        of_lanes!($which, $order, "", "")
    };
    ($which:expr, $order:literal, $columns:expr, $joins:expr) => {
        formatcp!(
            "SELECT {HEAD_COLUMNS}{columns} FROM unnest($1, $2, $3) AS l(task, key, n) CROSS JOIN LATERAL ( \
             SELECT * FROM @invocation b WHERE b.task = l.task AND b.lane = l.key AND b.place = {which} \
             ORDER BY {order} LIMIT l.n FOR UPDATE SKIP LOCKED) i {joins} \
             ORDER BY i.task, i.lane, i.order_key, i.seq",
            columns = $columns,
            which = $which,
            order = $order,
            joins = $joins
        )
    };
}

const BEST_BLOCKED: &str = of_lanes!(BLOCKED, "b.order_key, b.seq");
/// With what a claim needs.
const BEST_BLOCKED_TO_CLAIM: &str =
    of_lanes!(BLOCKED, "b.order_key, b.seq", formatcp!(", {REST_COLUMNS}"), JOINS);
// Found by their lane, and not by the queue of the task: so the planner is not told that all
// are in that queue.
const WORST_READY: &str = of_lanes!(
    formatcp!("(SELECT {READY}) AND (b.place = {READY} OR b.place = {BLOCKED})"),
    "b.order_key DESC, b.seq DESC"
);
const NEVER_RUN: &str = of_lanes!(formatcp!("{BLOCKED} AND b.attempt = 0"), "b.order_key, b.seq");

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
