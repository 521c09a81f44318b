//! How rows of invocations are read.

use tokio_postgres::Row;

use super::fault::Fault;
use crate::model::InvocationId;
use crate::store::columns::read_head;
use crate::store::decide::{ClaimRest, Head};
use crate::store::value::Fields;

/// The columns of a [`ClaimRest`], of the invocation `i`.
pub(super) const REST_COLUMNS: &str = "t.name, c.digest, a.json, i.root, i.depth, i.labels";

/// The joins that those columns need besides the invocation `i`.
pub(super) const JOINS: &str = "JOIN @arguments a ON a.seq = ANY(ARRAY[i.seq]) JOIN @task t ON t.key = ANY(ARRAY[i.task]) \
         JOIN @component c ON c.key = ANY(ARRAY[i.component])";

pub(super) fn read_heads(rows: &[Row]) -> Result<Vec<Head>, Fault> {
    rows.iter().map(|row| read_head(&mut Fields::new(row))).collect()
}

/// Something that a claim may take.
pub(super) struct Candidate {
    pub(super) id: InvocationId,
    pub(super) rest: ClaimRest,
}

/// Reads the columns [`HEAD_COLUMNS`](crate::store::columns::HEAD_COLUMNS) and [`REST_COLUMNS`].
pub(super) fn read_candidate(fields: &mut Fields<'_, Row>) -> Result<(Head, Candidate), Fault> {
    let head = read_head(fields)?;
    let id = head.id;
    let rest = ClaimRest {
        task: fields.take()?,
        component_digest: fields.take()?,
        arguments: fields.take()?,
        root: fields.take::<Option<_>>()?.unwrap_or(id),
        depth: fields.take()?,
        labels: fields.take()?,
    };
    Ok((head, Candidate { id, rest }))
}

/// Reads the candidate of each row.
pub(super) fn read_candidates(rows: &[Row]) -> Result<Vec<(Head, Candidate)>, Fault> {
    rows.iter().map(|row| read_candidate(&mut Fields::new(row))).collect()
}
