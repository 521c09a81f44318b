//! The columns that decisions need of an invocation, and how they are read.

use tokio_postgres::Row;

use super::fault::Fault;
use super::sql::{Json, column, optional};
use crate::model::InvocationId;
use crate::store::decide::{ClaimRest, Head};

/// The columns of a [`Head`], of the invocation `i`.
macro_rules! head {
    () => {
        "i.seq, i.id, i.task, i.component, i.status, i.attempt, i.max_attempts, i.moves, i.priority, \
         i.available_at, i.started_at, i.finished_at, i.runner, i.has_children, i.parent, i.detached, \
         i.deadline, i.place, i.lane, i.usage"
    };
}

/// How many columns that is.
pub(super) const HEAD_COLUMNS: usize = 20;

/// The columns of a [`ClaimRest`], of the invocation `i`.
macro_rules! rest {
    () => {
        "a.json, i.root, i.depth, i.labels, t.name, c.digest"
    };
}

/// What those columns need besides the invocation `i`.
macro_rules! joins {
    () => {
        "JOIN @arguments a ON a.seq = ANY(ARRAY[i.seq]) JOIN @task t ON t.key = ANY(ARRAY[i.task]) \
         JOIN @component c ON c.key = ANY(ARRAY[i.component])"
    };
}
pub(super) use {head, joins, rest};

/// Reads the columns [`head`].
pub(super) fn read_head(row: &Row) -> Result<Head, Fault> {
    let place = optional(row, 17)?;
    Ok(Head {
        seq: column(row, 0)?,
        id: column(row, 1)?,
        task: column(row, 2)?,
        component: column(row, 3)?,
        status: column(row, 4)?,
        attempt: column(row, 5)?,
        max_attempts: column(row, 6)?,
        moves: column(row, 7)?,
        priority: column(row, 8)?,
        available_at: column(row, 9)?,
        started_at: optional(row, 10)?,
        finished_at: optional(row, 11)?,
        runner: optional(row, 12)?,
        has_children: column(row, 13)?,
        parent: optional(row, 14)?,
        detached: column(row, 15)?,
        deadline: optional(row, 16)?,
        place,
        lane: optional(row, 18)?,
        usage: optional(row, 19)?.map(|Json(usage)| usage),
        progress: None,
        stored_place: place,
        is_changed: false,
    })
}

pub(super) fn read_heads(rows: &[Row]) -> Result<Vec<Head>, Fault> {
    rows.iter().map(read_head).collect()
}

/// Something that a claim may take: a row of [`head`] and [`rest`].
pub(super) struct Candidate {
    pub(super) id: InvocationId,
    pub(super) rest: ClaimRest,
}

impl Candidate {
    pub(super) fn read(row: &Row) -> Result<Self, Fault> {
        const REST: usize = HEAD_COLUMNS;
        let id = column(row, 1)?;
        Ok(Self {
            id,
            rest: ClaimRest {
                arguments: column(row, REST)?,
                root: optional(row, REST + 1)?.unwrap_or(id),
                depth: column(row, REST + 2)?,
                labels: optional(row, REST + 3)?.map(|Json(labels)| labels).unwrap_or_default(),
                task: column(row, REST + 4)?,
                component_digest: column(row, REST + 5)?,
            },
        })
    }
}
