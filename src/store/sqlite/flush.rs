//! How a transaction writes what was decided.

use rusqlite::{Connection, Statement, params};

use super::fault::Fault;
use super::sql::{Json, Sql, labels};
use super::work::Work;
use crate::model::Outcome;
use crate::store::Report;
use crate::store::decide::{Fresh, Head, Move};
use crate::store::rules::Place;

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
        insert.raw_bind_parameter(first + 5, Sql(one.reason))?;
        insert.raw_bind_parameter(first + 6, one.runner.map(Sql))?;
        insert.raw_bind_parameter(first + 7, one.attempt)?;
        insert.raw_bind_parameter(first + 8, one.detail.as_deref())?;
    }
    insert.raw_execute().map(|_| ())
}

/// Writes what can change of an invocation that stays with its runner: no index has it.
const OBSERVE: &str = "\
    UPDATE invocation SET status = ?2, moves = ?3, started_at = ?4, component = ?5, has_children = ?6, \
    progress = coalesce(?7, progress), usage = ?8 WHERE seq = ?1";

/// Writes everything that can change of an invocation.
const RELOCATE: &str = "\
    UPDATE invocation SET status = ?2, moves = ?3, started_at = ?4, component = ?5, has_children = ?6, \
    progress = coalesce(?7, progress), usage = ?8, place = ?9, attempt = ?10, runner = ?11, \
    order_key = ?12, available_at = ?13, finished_at = ?14 WHERE seq = ?1";

impl Work<'_> {
    /// Writes everything that is not written yet, but for the history and the counts.
    pub(super) fn write_all(&mut self) -> Result<(), Fault> {
        self.admitted.clear();
        self.write_but_admitted()
    }

    /// The same without what was admitted to its lane: most ends of one make room for the
    /// next, which the same batch claims.
    pub(super) fn write_but_admitted(&mut self) -> Result<(), Fault> {
        // They are blocked in the database from now on.
        self.state.lanes.arrivals.clear();
        self.write_fresh()?;
        self.write_changed()?;
        self.write_outcomes()?;
        for (seq, report) in std::mem::take(&mut self.state.logs) {
            write_logs(self.sql, seq, report)?;
        }
        for (runner, id) in std::mem::take(&mut self.state.revoked) {
            self.sql
                .prepare_cached("INSERT OR IGNORE INTO revoked (runner, id) VALUES (?1, ?2)")?
                .execute(params![Sql(runner), Sql(id)])?;
        }
        Ok(())
    }

    fn write_fresh(&mut self) -> rusqlite::Result<()> {
        let fresh = std::mem::take(&mut self.state.fresh);
        if fresh.is_empty() {
            return Ok(());
        }
        let mut insert = self.sql.prepare_cached(
            "INSERT INTO invocation (seq, id, status, place, task, component, attempt, max_attempts, moves, \
             order_key, priority, available_at, submitted_at, finished_at, parent, child_index, root, depth, \
             detached, has_children, idempotency_key, labels, deadline, lane, unique_key) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
             ?20, ?21, ?22, ?23, ?24, ?25)",
        )?;
        let mut arguments = self.sql.prepare_cached("INSERT INTO arguments (seq, json) VALUES (?1, ?2)")?;
        for Fresh { id, new, submitted_at } in fresh {
            let Some(head) = self.state.heads.get_mut(&id) else { continue };
            let child_of = new.child_of.as_ref();
            insert.execute(params![
                head.seq,
                Sql(id),
                Sql(head.status),
                head.place.map(Sql),
                head.task,
                head.component,
                head.attempt,
                head.max_attempts,
                head.moves,
                head.rank().0,
                head.priority,
                Sql(head.available_at),
                Sql(submitted_at),
                head.finished_at.map(Sql),
                head.parent.map(Sql),
                child_of.map(|child_of| child_of.index),
                child_of.map(|child_of| Sql(child_of.root)),
                child_of.map_or(0, |child_of| child_of.depth),
                head.detached,
                head.has_children,
                new.key,
                labels(&new.labels),
                head.deadline.map(Sql),
                new.lane.map(Sql),
                new.unique.map(|(key, _)| Sql(key)),
            ])?;
            arguments.execute(params![head.seq, new.arguments])?;
            (head.stored_place, head.is_changed) = (head.place, false);
        }
        Ok(())
    }

    fn write_changed(&mut self) -> rusqlite::Result<()> {
        let (sql, admitted) = (self.sql, &self.admitted);
        let is_held = |head: &Head| !admitted.is_empty() && admitted.contains_key(&head.rank());
        let changed = self.state.heads.values_mut().filter(|head| head.is_changed && !is_held(head));
        let mut changed: Vec<&mut Head> = changed.collect();
        if changed.is_empty() {
            return Ok(());
        }
        changed.sort_unstable_by_key(|head| head.seq);
        let mut observe = sql.prepare_cached(OBSERVE)?;
        let mut relocate = sql.prepare_cached(RELOCATE)?;
        for head in changed {
            let (progress, usage) = (head.progress.as_ref().map(Json), head.usage.map(Json));
            if head.place == head.stored_place && head.place == Some(Place::Owned) {
                observe.execute(params![
                    head.seq,
                    Sql(head.status),
                    head.moves,
                    head.started_at.map(Sql),
                    head.component,
                    head.has_children,
                    progress,
                    usage,
                ])?;
            } else {
                relocate.execute(params![
                    head.seq,
                    Sql(head.status),
                    head.moves,
                    head.started_at.map(Sql),
                    head.component,
                    head.has_children,
                    progress,
                    usage,
                    head.place.map(Sql),
                    head.attempt,
                    head.runner.map(Sql),
                    head.rank().0,
                    Sql(head.available_at),
                    head.finished_at.map(Sql),
                ])?;
            }
            (head.stored_place, head.progress, head.is_changed) = (head.place, None, false);
        }
        Ok(())
    }

    fn write_outcomes(&mut self) -> rusqlite::Result<()> {
        let outcomes = std::mem::take(&mut self.state.outcomes);
        if outcomes.is_empty() {
            return Ok(());
        }
        let mut insert =
            self.sql.prepare_cached("INSERT INTO outcome (seq, failure, value) VALUES (?1, ?2, ?3)")?;
        for (seq, outcome) in outcomes {
            let (failure, value) = match &outcome {
                Outcome::Failure(failure) => (Some(Json(failure)), None),
                Outcome::Value(value) => (None, Some(value)),
            };
            insert.execute(params![seq, failure, value])?;
        }
        Ok(())
    }

    pub(super) fn write_tally(&mut self) -> rusqlite::Result<()> {
        let mut write = self.sql.prepare_cached(
            "INSERT INTO tally (task, status, n) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO UPDATE SET n = n + excluded.n",
        )?;
        for ((task, status), change) in self.state.moves.tally.drain().filter(|(_, change)| *change != 0) {
            write.execute(params![task, Sql(status), change])?;
        }
        Ok(())
    }

    /// Writes the history of all that was moved: many rows with each statement,
    /// which costs half of what a statement for each would.
    pub(super) fn write_history(&mut self) -> rusqlite::Result<()> {
        let (full, rest) = self.state.moves.rows.as_chunks::<MOVES_AT_ONCE>();
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
        self.state.moves.rows.clear();
        Ok(())
    }
}

fn write_logs(sql: &Connection, seq: i64, report: &Report) -> rusqlite::Result<()> {
    if report.logs.is_empty() {
        return Ok(());
    }
    let before: i64 = sql
        .prepare_cached("SELECT coalesce(max(n), 0) FROM log WHERE seq = ?1")?
        .query_row([seq], |row| row.get(0))?;
    let mut insert = sql.prepare_cached(
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
