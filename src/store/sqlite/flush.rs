//! How a transaction writes what was decided.

use std::sync::LazyLock;

use rusqlite::{Connection, Statement, params};

use super::fault::Fault;
use super::sql::bound;
use super::work::Work;
use crate::model::Outcome;
use crate::store::Report;
use crate::store::columns::{
    ANYWHERE, Columns, HISTORY, LOG, NEW, WITH_PLACE, anywhere_values, history_values, log_values,
    new_values, with_place_values,
};
use crate::store::decide::Head;
use crate::store::rules::Place;
use crate::store::value::Value;

const MOVES_AT_ONCE: usize = 8;

fn insert(table: &str, columns: Columns, rows: usize) -> String {
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    format!("INSERT INTO {table} ({}) VALUES {}", names.join(", "), vec![row; rows].join(", "))
}

/// Makes the assignments of new values to columns, of which the first is the parameter `first`.
fn set(columns: Columns, first: usize, each: fn(&str, usize) -> String) -> String {
    let set = columns.iter().zip(first..).map(|((name, _), number)| each(name, number));
    set.collect::<Vec<_>>().join(", ")
}

fn set_anywhere() -> String {
    set(ANYWHERE, 2, |name, number| format!("{name} = coalesce(?{number}, {name})"))
}

static INSERT_INVOCATION: LazyLock<String> = LazyLock::new(|| insert("invocation", NEW, 1));
static INSERT_MOVE: LazyLock<String> = LazyLock::new(|| insert("history", HISTORY, 1));
static INSERT_MOVES: LazyLock<String> = LazyLock::new(|| insert("history", HISTORY, MOVES_AT_ONCE));
static INSERT_LINE: LazyLock<String> = LazyLock::new(|| {
    let text = insert("log", LOG, 1);
    text.replacen(") VALUES (", ", n) VALUES (?, ", 1)
});

/// Writes what can change of an invocation that stays where it is: no index has it.
static OBSERVE: LazyLock<String> =
    LazyLock::new(|| format!("UPDATE invocation SET {} WHERE seq = ?1", set_anywhere()));

/// Writes everything that can change of an invocation.
static RELOCATE: LazyLock<String> = LazyLock::new(|| {
    let with_place = set(WITH_PLACE, 2 + ANYWHERE.len(), |name, number| format!("{name} = ?{number}"));
    format!("UPDATE invocation SET {}, {with_place} WHERE seq = ?1", set_anywhere())
});

/// Binds values from the parameter `first` on.
fn bind<'v>(
    statement: &mut Statement<'_>,
    first: usize,
    values: impl IntoIterator<Item = Value<'v>>,
) -> rusqlite::Result<()> {
    values
        .into_iter()
        .zip(first..)
        .try_for_each(|(value, number)| statement.raw_bind_parameter(number, value))
}

impl Work<'_> {
    /// Writes everything that is not written yet, but for the history and the counts.
    pub(super) fn write_all(&mut self) -> Result<(), Fault> {
        self.admitted.clear();
        self.write_but_admitted()
    }

    /// Writes all but invocations that were admitted to their lanes: most ends of one make room for the
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
                .execute(params![bound(runner), bound(id)])?;
        }
        Ok(())
    }

    fn write_fresh(&mut self) -> rusqlite::Result<()> {
        let fresh = std::mem::take(&mut self.state.fresh);
        if fresh.is_empty() {
            return Ok(());
        }
        let mut insert = self.sql.prepare_cached(&INSERT_INVOCATION)?;
        let mut arguments = self.sql.prepare_cached("INSERT INTO arguments (seq, json) VALUES (?1, ?2)")?;
        for one in fresh {
            let Some(head) = self.state.heads.get_mut(&one.id) else { continue };
            bind(&mut insert, 1, new_values(head, &one))?;
            insert.raw_execute()?;
            arguments.execute(params![head.seq, one.new.arguments])?;
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
        let mut observe = sql.prepare_cached(&OBSERVE)?;
        let mut relocate = sql.prepare_cached(&RELOCATE)?;
        for head in changed {
            let stays = head.place == head.stored_place && head.place == Some(Place::Owned);
            let update = if stays { &mut observe } else { &mut relocate };
            update.raw_bind_parameter(1, head.seq)?;
            bind(update, 2, anywhere_values(head))?;
            if !stays {
                bind(update, 2 + ANYWHERE.len(), with_place_values(head))?;
            }
            update.raw_execute()?;
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
                Outcome::Failure(failure) => (Value::from(&**failure), None),
                Outcome::Value(value) => (Value::Null, Some(value)),
            };
            insert.execute(params![seq, failure, value])?;
        }
        Ok(())
    }

    pub(super) fn write_tally(&mut self) -> rusqlite::Result<()> {
        let mut write = self.sql.prepare_cached(
            "INSERT INTO tally (task, status, n, bytes, elsewhere) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT DO UPDATE SET n = n + excluded.n, bytes = bytes + excluded.bytes, \
                 elsewhere = elsewhere + excluded.elsewhere",
        )?;
        for ((task, status), change) in self.state.moves.take_tally() {
            write.execute(params![task, bound(status), change.n, change.bytes, change.elsewhere])?;
        }
        Ok(())
    }

    /// Writes the history of all that was moved: many rows with each statement,
    /// which costs half of what a statement for each would.
    pub(super) fn write_history(&mut self) -> rusqlite::Result<()> {
        let mut moves = std::mem::take(&mut self.state.moves.rows).into_iter();
        while moves.len() > 0 {
            let at_once = if moves.len() < MOVES_AT_ONCE { 1 } else { MOVES_AT_ONCE };
            let text = if at_once == 1 { &INSERT_MOVE } else { &INSERT_MOVES };
            let mut insert = self.sql.prepare_cached(text)?;
            bind(&mut insert, 1, moves.by_ref().take(at_once).flat_map(history_values))?;
            insert.raw_execute()?;
        }
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
    let mut insert = sql.prepare_cached(&INSERT_LINE)?;
    for (n, line) in (before + 1..).zip(&report.logs) {
        bind(&mut insert, 1, log_values(seq, line))?;
        insert.raw_bind_parameter(LOG.len() + 1, n)?;
        insert.raw_execute()?;
    }
    Ok(())
}
