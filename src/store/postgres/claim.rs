//! Handing out work.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use const_format::formatcp;
use tokio_postgres::Row;

use super::admit::NEXT_OPENING;
use super::fault::Fault;
use super::link::{Ask, Link};
use super::sql::{
    BEGAN, Candidate, JOINS, REST_COLUMNS, SERVER_TIME, column, read_candidate, read_candidates, uuid, uuids,
};
use super::work::{LookedAt, Work};
use crate::model::{InvocationId, RunnerId, UnixMicros};
use crate::store::columns::HEAD_COLUMNS;
use crate::store::decide::{Awaited, Head, choose_awaited};
use crate::store::order::{self, PRIORITY_STEP, Taken, Turns};
use crate::store::round::TASKS_AT_ONCE;
use crate::store::rules::{DELAYED, OWNED, READY};
use crate::store::value::Fields;
use crate::store::{ClaimRequest, Heartbeat, NextDue};

/// The queue is read so much further than what is wanted, because other runners
/// may be claiming its head right now.
const LOOK_AHEAD: i64 = 64;

/// If others held the whole head of the queue, look again after this long. They
/// tell when they commit; but one that dies in the middle tells nobody.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Whether the invocation `h` of a queue is late, as [`order::is_late`] says it.
const IS_LATE: &str =
    formatcp!("greatest(h.order_key + h.priority::bigint * {PRIORITY_STEP}, h.order_key) < $6");

/// The fairness key of an invocation that may exchange its start with another one of it: one in no lane.
fn key_of(head: &Head) -> Option<i64> {
    head.lane.is_none().then_some(head.fairness_key)
}

/// The awaited invocations that take a turn of their keys.
#[derive(Default)]
struct Waiting {
    turns: Turns<InvocationId>,
    found: HashMap<InvocationId, Candidate>,
}

/// The server's time.
pub(super) const ASK_TIME: &str = formatcp!("SELECT {SERVER_TIME}");

impl Work<'_> {
    pub(super) async fn claim(&mut self, request: &ClaimRequest) -> Result<(), Fault> {
        if !self.state.may_claim(request.runner) {
            return Ok(());
        }
        self.learn_paused().await?;
        self.open_lanes(request).await?;
        let looks_at_all = request.tasks.len() <= TASKS_AT_ONCE || request.root.is_some();
        let mut rows = match self.settle_lanes(looks_at_all.then_some(request)).await? {
            Some(rows) => rows,
            None => {
                if !(looks_at_all || request.only_awaited) {
                    self.choose_tasks(request).await?;
                }
                self.look(self.first_look(request)).await?
            }
        };

        let (mut chosen, mut waiting) = (Vec::new(), Waiting::default());
        if !request.awaited.is_empty() {
            (chosen, waiting) = self.choose_awaited(request, &rows)?;
            rows = Vec::new();
        }
        if !request.awaited.is_empty() && !request.only_awaited {
            let taken: Vec<_> = chosen.iter().map(|one| one.id).collect();
            rows = self.look(self.queue(request, request.max - chosen.len(), &taken)).await?;
        }
        if !request.only_awaited {
            self.choose(request, &rows, &mut chosen, waiting)?;
        }
        self.keep_to_lanes(&mut chosen).await?;

        if !chosen.is_empty() {
            self.extends = Some(Heartbeat { runner: request.runner, lease: request.lease });
        }
        for Candidate { id, mut rest, unread, rank: _, taken } in chosen {
            if !self.state.bears_another(request) {
                break;
            }
            if let Some(seq) = unread {
                let ask = Ask::new("SELECT json FROM @arguments WHERE seq = $1").with(seq);
                let rows = self.link.ask_one(ask).await?;
                let row = rows.first().ok_or_else(|| Fault::Damaged(format!("`{id}` has no arguments")))?;
                rest.arguments = column(row, 0)?;
            }
            self.state.take(id, request, taken, rest)?;
        }
        Ok(())
    }

    /// Finds the tasks that have claimable invocations, as many as a look takes behind those of the last look, and
    /// which of them the claim may have.
    async fn choose_tasks(&mut self, request: &ClaimRequest) -> Result<(), Fault> {
        self.admitted.clear();
        // From task to task, not from row to row.
        let ask = Ask::new(formatcp!(
            "WITH RECURSIVE step(task, n) AS ( \
                 (SELECT task, 1 FROM @invocation WHERE place = {READY} AND task > $1 \
                  ORDER BY task, order_key, seq LIMIT 1) UNION ALL \
                 SELECT r.task, s.n + 1 FROM step s CROSS JOIN LATERAL ( \
                     SELECT task FROM @invocation WHERE place = {READY} AND task > s.task \
                     ORDER BY task, order_key, seq LIMIT 1) r WHERE s.n < $2) \
             SELECT s.task, t.name FROM step s JOIN @task t ON t.key = ANY(ARRAY[s.task]) ORDER BY s.n"
        ));
        let ask = ask.with(self.round.begin()).with(TASKS_AT_ONCE as i32);
        let rows = self.write_and_ask(vec![ask]).await?.pop().unwrap_or_default();
        let mut looked_at = LookedAt { names: Vec::new(), last: None };
        for row in &rows {
            let name: String = column(row, 1)?;
            if request.tasks.contains(&*name) && !self.paused.contains(&*name) {
                looked_at.names.push(name);
            }
        }
        if let Some(last) = rows.last().filter(|_| rows.len() == TASKS_AT_ONCE) {
            looked_at.last = Some(column(last, 0)?);
        }
        self.looked_at = Some(looked_at);
        Ok(())
    }

    /// Writes everything that is not written yet, and looks for what can be claimed.
    async fn look(&mut self, ask: Ask<'_>) -> Result<Vec<Row>, Fault> {
        self.admitted.clear();
        let mut answers = self.write_and_ask(vec![ask, Ask::new(ASK_TIME)]).await?;
        self.take_time(&answers.pop().unwrap_or_default())?;
        Ok(answers.pop().unwrap_or_default())
    }

    /// Reads the answer to [`ASK_TIME`]. The transaction may have waited for a lane since
    /// it began, or its process may have stood still: what it sees now may have been
    /// submitted since, and is not claimed before that.
    pub(super) fn take_time(&mut self, rows: &[Row]) -> Result<(), Fault> {
        if let Some(row) = rows.first().filter(|_| self.has_server_time) {
            self.state.now = self.state.now.max(column(row, 0)?);
            self.state.receipt.now = self.state.now;
        }
        Ok(())
    }

    /// Gives up what is in lanes that somebody else is changing.
    async fn keep_to_lanes(&mut self, chosen: &mut Vec<Candidate>) -> Result<(), Fault> {
        let heads = chosen.iter().filter_map(|one| self.state.heads.get(&one.id));
        let free: BTreeSet<_> =
            heads.filter(|head| !self.state.lanes.holds(head)).filter_map(Head::lane).collect();
        if free.is_empty() {
            return Ok(());
        }
        self.lock_more_lanes(&free).await?;
        let before = chosen.len();
        chosen.retain(|one| self.state.heads.get(&one.id).is_some_and(|head| self.state.lanes.holds(head)));
        if chosen.len() < before {
            self.state.receipt.more = true;
            self.look_again();
        }
        Ok(())
    }

    /// Others held what could have been claimed.
    fn look_again(&mut self) {
        let again = self.state.now.plus(LOOK_AGAIN);
        self.state.receipt.next_due = Some(self.state.receipt.next_due.map_or(again, |due| due.min(again)));
    }

    /// Asks for the awaited; if nothing is, for the head of the queue.
    pub(super) fn first_look(&self, request: &ClaimRequest) -> Ask<'static> {
        match request.awaited.is_empty() {
            true => self.queue(request, if request.only_awaited { 0 } else { request.max }, &[]),
            false => self.awaited(request),
        }
    }

    /// The awaited invocations that can be claimed now, locked.
    fn awaited(&self, request: &ClaimRequest) -> Ask<'static> {
        Ask::new(formatcp!(
            "SELECT {HEAD_COLUMNS}, {REST_COLUMNS} FROM @invocation i {JOINS} WHERE i.id = ANY($1) \
             AND i.place = (SELECT {READY}) AND (i.deadline IS NULL OR i.deadline > $2) FOR UPDATE OF i SKIP LOCKED"
        ))
        .with(uuids(&request.awaited))
        .with(self.state.now.0)
    }

    /// Whether a claim may have it, as far as the queue would have looked.
    fn is_wanted(&self, request: &ClaimRequest, one: &Candidate) -> bool {
        request.tasks.contains(&one.rest.task)
            && !self.paused.contains(&one.rest.task)
            && request.root.is_none_or(|root| root == one.rest.root)
    }

    fn choose_awaited(
        &mut self,
        request: &ClaimRequest,
        rows: &[Row],
    ) -> Result<(Vec<Candidate>, Waiting), Fault> {
        let (heads, found): (Vec<_>, Vec<_>) = read_candidates(rows)?.into_iter().unzip();
        self.load(heads);
        let mut found: HashMap<_, _> = found.into_iter().map(|one| (one.id, one)).collect();
        // The rest of them stays admitted.
        let (awaited, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.admitted).into_iter().partition(|one| request.awaited.contains(&one.id));
        self.admitted = others;
        found.extend(awaited.into_iter().map(|one| (one.id, one)));
        found.retain(|_, one| self.is_wanted(request, one));
        let clock = self.state.fairness.clock;
        let find = |id| {
            let (one, head) = (found.get(&id)?, self.state.heads.get(&id)?);
            let lead = request.leads.of_task(&one.rest.task);
            let takes_a_turn = order::takes_a_turn(head.order_key, head.priority, clock, lead);
            Some(Awaited { one: id, takes_a_turn, key: key_of(head) })
        };
        let (chosen, turns) =
            choose_awaited(request, &mut self.state.receipt, |id| Ok::<_, Fault>(find(id)))?;
        let chosen = chosen.iter().filter_map(|id| found.remove(id));
        let chosen = chosen.map(|one| Candidate { taken: Taken::OutOfTurn, ..one }).collect();
        Ok((chosen, Waiting { turns, found }))
    }

    /// Takes the first of what the queue has handed out and what was admitted just now.
    /// The queue hands out as many locked rows as were wanted, and says how many there were
    /// to choose from.
    fn choose(
        &mut self,
        request: &ClaimRequest,
        rows: &[Row],
        chosen: &mut Vec<Candidate>,
        Waiting { mut turns, found: mut waiting }: Waiting,
    ) -> Result<(), Fault> {
        let mut seen = 0;
        let (mut heads, mut found) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for row in rows {
            let mut fields = Fields::new(row);
            seen = fields.take()?;
            // A row that only tells how many there were has no invocation in it: the rest is NULL.
            if fields.take()? {
                let (rank, is_late) = (fields.take()?, fields.take()?);
                let (head, mut candidate) = read_candidate(&mut fields)?;
                candidate.rank = (rank, head.seq);
                candidate.taken = if is_late { Taken::Late(rank) } else { Taken::InTurn };
                heads.push(head);
                found.push(candidate);
            }
        }
        let has_more_rows = i64::try_from(found.len()).unwrap_or(i64::MAX) < seen;
        self.load(heads);
        let mut admitted = std::mem::take(&mut self.admitted);
        admitted.retain(|one| self.is_wanted(request, one));
        if !admitted.is_empty() {
            found.extend(admitted);
            found.sort_unstable_by_key(|one| one.rank);
        }
        let wanted = request.max - chosen.len();
        let has_too_few = has_more_rows && found.len() < wanted;
        let has_others = has_more_rows || found.len() > wanted;
        for next in found.into_iter().take(wanted) {
            let key = self.state.heads.get(&next.id).filter(|_| !turns.is_empty()).and_then(key_of);
            let Some(id) = turns.give(next.id, key) else { continue };
            let (rank, taken) = (next.rank, next.taken);
            let one = if id == next.id { Some(next) } else { waiting.remove(&id) };
            chosen.extend(one.map(|one| Candidate { rank, taken, ..one }));
        }
        let exchanges = turns.into_exchanges();
        for (next, awaited) in &exchanges {
            self.state.exchange_starts(*next, *awaited)?;
        }
        let has_left = has_others || !exchanges.is_empty();
        self.has_left = has_left;
        self.state.receipt.more |= match request.root {
            None => self.round.note(self.looked_at.as_ref().and_then(|tasks| tasks.last), has_left),
            Some(_) => has_left,
        };
        if has_too_few {
            self.look_again();
        }
        Ok(())
    }

    /// Asks for `wanted` invocations in the order of the queue, without `taken`.
    ///
    /// The queues of the tasks are merged without a lock, a little further than
    /// wanted, and of no more tasks than that, those with the best heads; then rows are locked from the front, one by one, until there are enough:
    /// what others hold is passed over, and no more is held than is taken. With each row
    /// comes how many there were to choose from. The late ones of a task have the ranks of a flow.
    fn queue(&self, request: &ClaimRequest, wanted: usize, taken: &[InvocationId]) -> Ask<'static> {
        macro_rules! from_queue {
            ($queue:expr) => {
                formatcp!(
                    "WITH queue AS MATERIALIZED ({}), \
                     seen AS (SELECT count(*) AS n FROM queue), \
                     locked AS MATERIALIZED (SELECT {HEAD_COLUMNS}, i.root, i.depth, i.labels, i.limits, i.callers, q.rank, q.is_late \
                         FROM queue q JOIN @invocation i ON i.seq = ANY(ARRAY[q.seq]) \
                         WHERE i.place = (SELECT {READY}) AND (i.deadline IS NULL OR i.deadline > $5) \
                         ORDER BY q.rank, q.seq LIMIT $2 FOR UPDATE OF i SKIP LOCKED) \
                     SELECT seen.n, i.seq IS NOT NULL, i.rank, i.is_late, {HEAD_COLUMNS}, {REST_COLUMNS} \
                     FROM seen LEFT JOIN (locked i {JOINS}) ON true ORDER BY i.rank, i.seq",
                    $queue
                )
            };
        }
        let wanted = i64::try_from(wanted).unwrap_or(i64::MAX / 2);
        let tasks = match &self.looked_at {
            Some(looked_at) => looked_at.names.clone(),
            None => {
                let tasks = request.tasks.iter().filter(|task| !self.paused.contains(*task));
                tasks.map(|task| task.as_ref().to_owned()).collect()
            }
        };
        let ask = match request.root {
            None => Ask::new(from_queue!(formatcp!(
                "SELECT r.seq, r.rank, r.is_late FROM ( \
                     SELECT t.key FROM @task t CROSS JOIN LATERAL ( \
                         SELECT seq, order_key, priority FROM @invocation WHERE place = {READY} AND task = t.key \
                         AND id <> ALL($3) ORDER BY order_key, seq LIMIT 1) h \
                     WHERE t.name = ANY($1) \
                     ORDER BY CASE WHEN {IS_LATE} THEN $7 ELSE h.order_key END, h.seq LIMIT $4) best \
                 CROSS JOIN LATERAL (SELECT coalesce( \
                     (SELECT l.finish FROM unnest($8, $9) AS l(task, finish) WHERE l.task = best.key), $7) AS finish) f \
                 CROSS JOIN LATERAL ( \
                     (SELECT l.seq, CASE WHEN l.is_late THEN greatest(f.finish, $7) - l.turn \
                             + sum(CASE WHEN l.is_late THEN l.turn ELSE 0 END) OVER in_order \
                             ELSE l.order_key END::bigint AS rank, l.is_late FROM ( \
                         SELECT h.*, bool_or({IS_LATE}) OVER (ORDER BY h.order_key, h.seq) AS is_late FROM ( \
                             SELECT seq, order_key, priority, turn FROM @invocation WHERE place = {READY} \
                             AND task = best.key AND order_key < $6 AND id <> ALL($3) \
                             ORDER BY order_key, seq LIMIT $4) h) l WINDOW in_order AS (ORDER BY l.order_key, l.seq)) \
                     UNION ALL \
                     (SELECT seq, order_key, false FROM @invocation WHERE place = {READY} \
                         AND task = best.key AND order_key >= $6 AND id <> ALL($3) \
                         ORDER BY order_key, seq LIMIT $4)) r \
                 ORDER BY r.rank, r.seq LIMIT $4"
            ))),
            // The root itself is not in the index of its descendants.
            Some(_) => Ask::new(from_queue!(formatcp!(
                "SELECT r.seq, r.order_key AS rank, false AS is_late FROM ( \
                     (SELECT seq, order_key FROM @invocation \
                      WHERE NOT (place IS DISTINCT FROM {READY}) AND root = $6 \
                      AND task = ANY(ARRAY(SELECT key FROM @task WHERE name = ANY($1))) \
                      AND id <> ALL($3) ORDER BY order_key, seq LIMIT $4) UNION ALL \
                     (SELECT seq, order_key FROM @invocation WHERE id = $6 AND root IS NULL \
                      AND place = (SELECT {READY}) \
                      AND task = ANY(ARRAY(SELECT key FROM @task WHERE name = ANY($1))) \
                      AND id <> ALL($3))) r \
                 ORDER BY r.order_key, r.seq LIMIT $4"
            ))),
        };
        let ask = ask.with(tasks).with(wanted).with(uuids(taken));
        let ask = ask.with(wanted.saturating_add(LOOK_AHEAD)).with(self.state.now.0);
        match request.root {
            None => {
                let clock = self.state.fairness.clock;
                let (tasks, finishes) = self.state.fairness.late.ahead(clock);
                ask.with(order::late_before(clock)).with(clock).with(tasks).with(finishes)
            }
            Some(root) => ask.with(uuid(root.as_bytes())),
        }
    }
}

/// Asks when something happens without a commit by `runner`, after `now`; `None`: the
/// server's present.
///
/// An invocation that was due before the transaction began is claimable by now, unless somebody else is moving it.
/// One that came due later may have come too late to be moved by this transaction: it is due at once.
pub(super) fn ask_next_due(runner: RunnerId, now: Option<UnixMicros>) -> Ask<'static> {
    Ask::new(formatcp!(
        "WITH present AS MATERIALIZED (SELECT coalesce($2, {SERVER_TIME}) AS at) \
         SELECT (SELECT at FROM present), least( \
             (SELECT available_at FROM @invocation WHERE place = {DELAYED} \
                 AND available_at > least((SELECT at FROM present), {BEGAN}) ORDER BY available_at LIMIT 1), \
             (SELECT deadline FROM @invocation WHERE deadline IS NOT NULL AND place IS NOT NULL \
                 ORDER BY deadline LIMIT 1), {NEXT_OPENING}, \
             (SELECT min(r.lease_until) FROM @runner r WHERE NOT r.is_lost AND r.id <> $1 AND EXISTS ( \
                 SELECT 1 FROM @invocation i WHERE i.runner = r.id AND i.place = {OWNED} OFFSET 0)))"
    ))
    .with(uuid(runner.as_bytes()))
    .with(now.map(|now| now.0))
}

pub(super) fn read_next_due(rows: &[Row]) -> Result<NextDue, Fault> {
    let row = rows.first().ok_or_else(|| Fault::Damaged("there is no present".to_owned()))?;
    Ok(NextDue { now: column(row, 0)?, at: column(row, 1)? })
}

/// When something happens without a commit by `runner`.
pub(super) async fn next_due(
    link: &Link,
    runner: RunnerId,
    now: Option<UnixMicros>,
) -> Result<NextDue, Fault> {
    read_next_due(&link.read(ask_next_due(runner, now)).await?)
}
