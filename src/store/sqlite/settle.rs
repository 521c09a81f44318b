//! Moving invocations: history, ends, what the end of one does to others, and
//! the leases of runners.

use std::collections::HashSet;
use std::time::Duration;

use rusqlite::{OptionalExtension, Row, Statement, params};

use super::lanes::LaneId;
use super::sql::{Json, Sql, column, json, optional};
use super::write::Work;
use crate::model::{
    Event, IllegalTransition, InvocationId, Outcome, RuleKey, RunnerId, Status, UnixMicros, Usage,
};
use crate::store::rules::Place;
use crate::store::{Applied, Bill, Cancel, Cancelled, Ended, Inventory, Lease, rules};

/// At most so many runners are forgotten in one transaction.
const FORGOTTEN_AT_ONCE: u32 = 100;

/// A row of the history to be written.
pub(super) struct Move {
    seq: i64,
    n: i64,
    at: UnixMicros,
    to: Status,
    event: Event,
    runner: Option<RunnerId>,
    attempt: u32,
    detail: Option<Box<str>>,
}

const MOVES_AT_ONCE: usize = 8;

macro_rules! insert_moves {
    ($($row:literal)+) => {
        concat!(
            "INSERT INTO history (seq, n, at, status, reason, runner, attempt, detail) VALUES ",
            $($row),+
        )
    };
}
const INSERT_MOVE: &str = insert_moves!("(?, ?, ?, ?, ?, ?, ?, ?)");
const INSERT_MOVES: &str = insert_moves!(
    "(?, ?, ?, ?, ?, ?, ?, ?), " "(?, ?, ?, ?, ?, ?, ?, ?), "
    "(?, ?, ?, ?, ?, ?, ?, ?), " "(?, ?, ?, ?, ?, ?, ?, ?), "
    "(?, ?, ?, ?, ?, ?, ?, ?), " "(?, ?, ?, ?, ?, ?, ?, ?), "
    "(?, ?, ?, ?, ?, ?, ?, ?), " "(?, ?, ?, ?, ?, ?, ?, ?)"
);

/// Writes as many moves as the statement has room for.
fn write_moves(insert: &mut Statement<'_>, moves: &[Move]) -> rusqlite::Result<()> {
    for (index, one) in moves.iter().enumerate() {
        let first = index * 8;
        insert.raw_bind_parameter(first + 1, one.seq)?;
        insert.raw_bind_parameter(first + 2, one.n)?;
        insert.raw_bind_parameter(first + 3, Sql(one.at))?;
        insert.raw_bind_parameter(first + 4, Sql(one.to))?;
        insert.raw_bind_parameter(first + 5, Sql(one.event.reason()))?;
        insert.raw_bind_parameter(first + 6, one.runner.map(Sql))?;
        insert.raw_bind_parameter(first + 7, one.attempt)?;
        insert.raw_bind_parameter(first + 8, one.detail.as_deref())?;
    }
    insert.raw_execute().map(|_| ())
}

/// What every move needs to know of an invocation.
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) id: InvocationId,
    pub(super) status: Status,
    pub(super) task: i64,
    pub(super) attempt: u32,
    pub(super) max_attempts: u32,
    pub(super) moves: i64,
    pub(super) priority: i32,
    pub(super) available_at: UnixMicros,
    pub(super) runner: Option<RunnerId>,
    pub(super) has_children: bool,
    /// `None` when it is final.
    pub(super) place: Option<Place>,
    pub(super) lane: Option<RuleKey>,
    pub(super) usage: Option<Usage>,
}

/// The columns of a [`Head`], as text that `concat!` takes.
macro_rules! head {
    () => {
        "seq, id, status, task, attempt, max_attempts, moves, priority, available_at, runner, \
         has_children, place, lane, usage"
    };
}
pub(super) use head;

/// How many those are.
pub(super) const HEAD_COLUMNS: usize = 14;

impl Head {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            id: column(row, 1)?,
            status: column(row, 2)?,
            task: row.get(3)?,
            attempt: row.get(4)?,
            max_attempts: row.get(5)?,
            moves: row.get(6)?,
            priority: row.get(7)?,
            available_at: column(row, 8)?,
            runner: optional(row, 9)?,
            has_children: row.get(10)?,
            place: optional(row, 11)?,
            lane: optional(row, 12)?,
            usage: json(row, 13)?,
        })
    }

    /// The runner that owns it now.
    pub(super) fn owner(&self) -> Option<RunnerId> {
        self.runner.filter(|_| self.status.is_owned())
    }

    /// What its task's rules count it with.
    pub(super) fn lane(&self) -> Option<LaneId> {
        self.lane.map(|key| (self.task, key))
    }

    /// Where `event` takes it. A row that can't go there contradicts the query
    /// that found it, so it is damaged.
    fn after(&self, event: Event) -> rusqlite::Result<Status> {
        self.status.apply(event).map_err(contradiction)
    }
}

pub(super) fn contradiction(error: IllegalTransition) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}

impl Work<'_> {
    /// Counts an invocation in or out.
    pub(super) fn count(&mut self, task: i64, status: Status, change: i64) {
        *self.tally.entry((task, status)).or_default() += change;
    }

    pub(super) fn write_tally(&mut self) -> rusqlite::Result<()> {
        let mut write = self.sql.prepare_cached(
            "INSERT INTO tally (task, status, n) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO UPDATE SET n = n + excluded.n",
        )?;
        for ((task, status), change) in self.tally.drain().filter(|(_, change)| *change != 0) {
            write.execute(params![task, Sql(status), change])?;
        }
        Ok(())
    }

    /// Moves an invocation in `head`, the history and the tally; its row is left
    /// to the caller, who writes it once.
    pub(super) fn step(
        &mut self,
        head: &mut Head,
        at: UnixMicros,
        event: Event,
        to: Status,
        detail: Option<&str>,
    ) -> rusqlite::Result<()> {
        let runner = head.runner.filter(|_| head.status.is_owned() || to.is_owned());
        self.moves.push(Move {
            seq: head.seq,
            n: head.moves + 1,
            at,
            to,
            event,
            runner,
            attempt: head.attempt,
            detail: detail.map(Box::from),
        });
        self.count(head.task, head.status, -1);
        self.count(head.task, to, 1);
        head.moves += 1;
        head.status = to;
        Ok(())
    }

    /// Writes the history of all that was moved: many rows with each statement,
    /// which costs half of what a statement for each would.
    pub(super) fn write_history(&mut self) -> rusqlite::Result<()> {
        let (full, rest) = self.moves.as_chunks::<MOVES_AT_ONCE>();
        if !full.is_empty() {
            let mut insert = self.sql.prepare_cached(INSERT_MOVES)?;
            for chunk in full {
                write_moves(&mut insert, chunk)?;
            }
        }
        let mut insert = self.sql.prepare_cached(INSERT_MOVE)?;
        for one in rest.chunks(1) {
            write_moves(&mut insert, one)?;
        }
        self.moves.clear();
        Ok(())
    }

    /// Writes the row and the outcome of an invocation that was moved to a final
    /// status.
    pub(super) fn write_end(
        &mut self,
        head: &Head,
        started_at: Option<UnixMicros>,
        at: UnixMicros,
        outcome: &Outcome,
    ) -> rusqlite::Result<()> {
        self.leave(head)?;
        self.sql
            .prepare_cached(
                "UPDATE invocation SET status = ?2, place = NULL, moves = ?3, \
                 started_at = coalesce(?4, started_at), finished_at = ?5, usage = ?6 WHERE seq = ?1",
            )?
            .execute(params![
                head.seq,
                Sql(head.status),
                head.moves,
                started_at.map(Sql),
                Sql(at),
                head.usage.map(Json)
            ])?;
        let (failure, value) = match outcome {
            Outcome::Failure(failure) => (Some(Json(failure)), None),
            Outcome::Value(value) => (None, Some(value)),
        };
        self.sql
            .prepare_cached("INSERT INTO outcome (seq, failure, value) VALUES (?1, ?2, ?3)")?
            .execute(params![head.seq, failure, value])?;
        Ok(())
    }

    /// Counts an invocation out of its lane, if it is in one.
    fn leave(&mut self, head: &Head) -> rusqlite::Result<()> {
        match (head.lane(), head.place) {
            (Some(lane), Some(place)) => self.leave_lane(lane, place),
            _ => Ok(()),
        }
    }

    /// Writes the row of an invocation that was moved back into the queue.
    pub(super) fn requeue(
        &mut self,
        head: &Head,
        started_at: Option<UnixMicros>,
        attempt: u32,
        available_at: UnixMicros,
    ) -> rusqlite::Result<()> {
        self.leave(head)?;
        let order_key = rules::order_key(available_at, head.priority);
        let place = match head.lane() {
            _ if available_at > self.now => Place::Delayed,
            None => Place::Ready,
            Some(lane) => self.enter_lane(lane, Some(head.seq), order_key)?,
        };
        self.sql
            .prepare_cached(
                "UPDATE invocation SET status = ?2, place = ?3, moves = ?4, attempt = ?5, \
                 available_at = ?6, order_key = ?7, started_at = coalesce(?8, started_at), \
                 usage = ?9 WHERE seq = ?1",
            )?
            .execute(params![
                head.seq,
                Sql(head.status),
                Sql(place),
                head.moves,
                attempt,
                Sql(available_at),
                order_key,
                started_at.map(Sql),
                head.usage.map(Json)
            ])?;
        Ok(())
    }

    /// Ends an invocation that nobody reported on.
    pub(super) fn end(&mut self, mut head: Head, event: Event, outcome: Outcome) -> rusqlite::Result<()> {
        let runner = head.owner();
        let to = head.after(event)?;
        let now = self.now;
        self.step(&mut head, now, event, to, rules::detail(&outcome))?;
        self.write_end(&head, None, now, &outcome)?;
        if let Some(runner) = runner {
            // Its owner may be another process, which hears of it from this.
            self.sql
                .prepare_cached("INSERT OR IGNORE INTO revoked (runner, id) VALUES (?1, ?2)")?
                .execute(params![Sql(runner), Sql(head.id)])?;
        }
        self.receipt.ended.push(Ended { id: head.id, runner, outcome });
        self.is_news = true;
        Ok(())
    }

    /// Adds what an attempt used that somebody else ended.
    pub(super) fn add(&mut self, bill: &Bill) -> rusqlite::Result<Applied> {
        let found = self
            .sql
            .prepare_cached(
                "SELECT i.seq, i.usage, h.reason, h.runner, h.attempt \
                 FROM invocation i CROSS JOIN history h ON h.seq = i.seq AND h.n = i.moves \
                 WHERE i.id = ?1",
            )?
            .query_row([Sql(bill.id)], |row| {
                let last = (column(row, 2)?, optional(row, 3)?, row.get(4)?);
                Ok((row.get::<_, i64>(0)?, rules::late(json(row, 1)?, last, bill)))
            })
            .optional()?;
        let Some((seq, Some(usage))) = found else {
            return Ok(Applied::Stale);
        };
        self.sql
            .prepare_cached("UPDATE invocation SET usage = ?2 WHERE seq = ?1")?
            .execute(params![seq, Json(usage)])?;
        self.is_news = true;
        Ok(Applied::Done)
    }

    pub(super) fn cancel(&mut self, cancel: &Cancel) -> rusqlite::Result<Cancelled> {
        let head = self
            .sql
            .prepare_cached(concat!("SELECT ", head!(), " FROM invocation WHERE id = ?1"))?
            .query_row([Sql(cancel.id)], Head::read)
            .optional()?;
        let Some(head) = head else {
            return Ok(Cancelled::Unknown);
        };
        if head.status.is_final() {
            return Ok(Cancelled::AlreadyFinal(head.status));
        }
        let has_children = head.has_children;
        self.end(head, Event::Cancel, rules::cancelled(&cancel.message))?;
        if has_children {
            self.end_children(cancel.id, Status::Cancelled)?;
        }
        Ok(Cancelled::Done)
    }

    /// Cancels the attached descendants of an invocation that became final.
    pub(super) fn end_children(
        &mut self,
        parent: InvocationId,
        parent_status: Status,
    ) -> rusqlite::Result<()> {
        // Below a final child there is nothing to end: its own end did that.
        let doomed: Vec<(Head, InvocationId)> = self
            .sql
            .prepare_cached(concat!(
                "WITH RECURSIVE doomed(found, child) AS ( \
                     SELECT seq, id FROM invocation INDEXED BY invocation_child \
                     WHERE parent = ?1 AND place IS NOT NULL AND NOT detached \
                     UNION ALL \
                     SELECT c.seq, c.id FROM doomed \
                     CROSS JOIN invocation c INDEXED BY invocation_child ON c.parent = child \
                     WHERE c.place IS NOT NULL AND NOT c.detached) \
                 SELECT ",
                head!(),
                ", parent FROM doomed CROSS JOIN invocation ON seq = found ORDER BY seq"
            ))?
            .query_map([Sql(parent)], |row| Ok((Head::read(row)?, column(row, HEAD_COLUMNS)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (head, child_of) in doomed {
            let status = if child_of == parent { parent_status } else { Status::Cancelled };
            self.end(head, Event::Cancel, rules::orphaned(child_of, status))?;
        }
        Ok(())
    }

    /// Gives back what a runner owns without knowing of it.
    pub(super) fn take_stock(&mut self, inventory: &Inventory) -> rusqlite::Result<()> {
        let known: HashSet<_> = inventory.owned.iter().copied().collect();
        let owned: Vec<Head> = self
            .sql
            .prepare_cached(concat!(
                "SELECT ",
                head!(),
                " FROM invocation INDEXED BY invocation_owned \
                 WHERE runner = ?1 AND place = 'owned' ORDER BY seq"
            ))?
            .query_map([Sql(inventory.runner)], Head::read)?
            .collect::<rusqlite::Result<_>>()?;
        for mut head in owned {
            if known.contains(&(head.id, head.attempt)) {
                continue;
            }
            let to = head.after(Event::Release)?;
            if let Some(lane) = head.lane().filter(|_| head.status == Status::Claimed) {
                self.refund_start(lane)?;
            }
            let now = self.now;
            self.step(&mut head, now, Event::Release, to, None)?;
            self.requeue(&head, None, head.attempt - 1, head.available_at)?;
            self.receipt.given_back += 1;
            self.is_news = true;
        }
        Ok(())
    }

    /// Whether claims were taken away from a runner.
    pub(super) fn is_lost(&self, runner: RunnerId) -> rusqlite::Result<bool> {
        self.sql.prepare_cached("SELECT 1 FROM runner WHERE id = ?1 AND is_lost")?.exists([Sql(runner)])
    }

    /// Tells a runner what was taken from it, once.
    pub(super) fn tell_revoked(&mut self, runner: RunnerId) -> rusqlite::Result<()> {
        let mut revoked: Vec<InvocationId> = self
            .sql
            .prepare_cached("DELETE FROM revoked WHERE runner = ?1 RETURNING id")?
            .query_map([Sql(runner)], |row| column(row, 0))?
            .collect::<rusqlite::Result<_>>()?;
        revoked.sort_unstable();
        self.receipt.revoked = revoked;
        Ok(())
    }

    /// Extends the lease of a runner, never shortens it.
    pub(super) fn heartbeat(&mut self, runner: RunnerId, lease: Duration) -> rusqlite::Result<Lease> {
        if self.is_lost(runner)? {
            return Ok(Lease::Lost);
        }
        self.sql
            .prepare_cached(
                "INSERT INTO runner (id, lease_until, is_lost) VALUES (?1, ?2, 0) \
                 ON CONFLICT DO UPDATE SET lease_until = max(lease_until, excluded.lease_until)",
            )?
            .execute(params![Sql(runner), Sql(self.now.plus(lease))])?;
        Ok(Lease::Held)
    }

    /// Takes the claims of dead runners away.
    pub(super) fn recover(&mut self) -> rusqlite::Result<()> {
        let dead: Vec<RunnerId> = self
            .sql
            .prepare_cached(
                "SELECT id FROM runner r INDEXED BY runner_lease \
                 WHERE is_lost = 0 AND lease_until <= ?1 AND EXISTS ( \
                     SELECT 1 FROM invocation i INDEXED BY invocation_owned \
                     WHERE i.runner = r.id AND i.place = 'owned') \
                 ORDER BY id",
            )?
            .query_map([Sql(self.now)], |row| column(row, 0))?
            .collect::<rusqlite::Result<_>>()?;
        for runner in dead {
            self.sql.prepare_cached("UPDATE runner SET is_lost = 1 WHERE id = ?1")?.execute([Sql(runner)])?;
            let owned: Vec<i64> = self
                .sql
                .prepare_cached(
                    "SELECT seq FROM invocation INDEXED BY invocation_owned \
                     WHERE runner = ?1 AND place = 'owned' ORDER BY seq",
                )?
                .query_map([Sql(runner)], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for seq in owned {
                self.take_away(runner, seq)?;
            }
        }
        // Who owns nothing and is not to be told anything can be forgotten.
        let memory = i64::try_from(rules::LOST_RUNNER_MEMORY.as_micros()).unwrap_or(i64::MAX);
        for (is_lost, before) in [(0, self.now.0), (1, self.now.0 - memory)] {
            self.sql
                .prepare_cached(
                    "DELETE FROM runner WHERE id IN ( \
                         SELECT id FROM runner r INDEXED BY runner_lease \
                         WHERE is_lost = ?1 AND lease_until <= ?2 AND NOT EXISTS ( \
                             SELECT 1 FROM invocation i INDEXED BY invocation_owned \
                             WHERE i.runner = r.id AND i.place = 'owned') \
                         LIMIT ?3)",
                )?
                .execute(params![is_lost, before, FORGOTTEN_AT_ONCE])?;
        }
        self.sql.execute("DELETE FROM revoked WHERE runner NOT IN (SELECT id FROM runner)", [])?;
        Ok(())
    }

    /// Takes one claim of a dead runner away.
    fn take_away(&mut self, runner: RunnerId, seq: i64) -> rusqlite::Result<()> {
        let mut head = self
            .sql
            .prepare_cached(concat!("SELECT ", head!(), " FROM invocation WHERE seq = ?1"))?
            .query_row([seq], Head::read)?;
        // The end of its parent may have ended it a moment ago.
        if head.owner() != Some(runner) {
            return Ok(());
        }
        self.receipt.recovered += 1;
        self.is_news = true;
        if head.attempt < head.max_attempts {
            let to = head.after(Event::ExpireLease)?;
            let now = self.now;
            self.step(&mut head, now, Event::ExpireLease, to, None)?;
            self.requeue(&head, None, head.attempt, head.available_at)
        } else {
            let outcome = rules::lost(runner, head.attempt, head.max_attempts);
            let (id, has_children) = (head.id, head.has_children);
            self.end(head, Event::Fail, outcome)?;
            if has_children {
                self.end_children(id, Status::Failed)?;
            }
            Ok(())
        }
    }
}
