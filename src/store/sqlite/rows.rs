//! The columns that decisions need of an invocation, and how they are read.

use rusqlite::Row;

use super::sql::{column, json, optional};
use crate::store::decide::Head;

/// The columns of a [`Head`], as text that `concat!` takes.
macro_rules! head {
    () => {
        "seq, id, task, component, status, attempt, max_attempts, moves, priority, available_at, \
         started_at, finished_at, runner, has_children, parent, detached, deadline, place, lane, usage"
    };
}
pub(super) use head;

/// How many those are.
pub(super) const HEAD_COLUMNS: usize = 20;

/// Reads the columns [`head`].
pub(super) fn read_head(row: &Row<'_>) -> rusqlite::Result<Head> {
    let place = optional(row, 17)?;
    Ok(Head {
        seq: row.get(0)?,
        id: column(row, 1)?,
        task: row.get(2)?,
        component: row.get(3)?,
        status: column(row, 4)?,
        attempt: row.get(5)?,
        max_attempts: row.get(6)?,
        moves: row.get(7)?,
        priority: row.get(8)?,
        available_at: column(row, 9)?,
        started_at: optional(row, 10)?,
        finished_at: optional(row, 11)?,
        runner: optional(row, 12)?,
        has_children: row.get(13)?,
        parent: optional(row, 14)?,
        detached: row.get(15)?,
        deadline: optional(row, 16)?,
        place,
        lane: optional(row, 18)?,
        usage: json(row, 19)?,
        progress: None,
        stored_place: place,
        is_changed: false,
    })
}
