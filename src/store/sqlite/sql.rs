//! How the vocabulary is written in SQL: wrappers that bind and read it.
//!
//! A row that cannot be read is a damaged database: it comes out as rusqlite's
//! conversion error, never as a panic.

use std::fmt::Display;
use std::sync::Arc;

use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{
    Blocked, ComponentDigest, Failure, Invocation, InvocationId, LogStream, Outcome, Reason, RuleKey,
    RunnerId, Status, UnixMicros,
};

use crate::store::rules::Place;

/// A word of the vocabulary as a column's value.
#[derive(Clone, Copy)]
pub(super) struct Sql<T>(pub(super) T);

/// A value as JSON text.
pub(super) struct Json<T>(pub(super) T);

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadValue(String);

fn bad(message: impl Display) -> FromSqlError {
    FromSqlError::Other(Box::new(BadValue(message.to_string())))
}

macro_rules! blob_column {
    ($type:ty, $from:path) => {
        impl ToSql for Sql<$type> {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.0.as_bytes())))
            }
        }

        impl FromSql for Sql<$type> {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let bytes = value.as_blob()?;
                let bytes =
                    bytes.try_into().map_err(|_| bad(format_args!("{} bytes are no id", bytes.len())))?;
                Ok(Self($from(bytes)))
            }
        }
    };
}

blob_column!(InvocationId, InvocationId::from_bytes);
blob_column!(RunnerId, RunnerId::from_bytes);
blob_column!(ComponentDigest, ComponentDigest::from_bytes);
blob_column!(RuleKey, RuleKey::from_bytes);

macro_rules! word_column {
    ($type:ty, $all:expr) => {
        impl ToSql for Sql<$type> {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.0.as_str()))
            }
        }

        impl FromSql for Sql<$type> {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let text = value.as_str()?;
                let word = $all.into_iter().find(|word| word.as_str() == text);
                word.map(Self).ok_or_else(|| bad(format_args!("unknown word `{text}`")))
            }
        }
    };
}

word_column!(Status, Status::ALL);
word_column!(Reason, Reason::ALL);
word_column!(Blocked, Blocked::ALL);
word_column!(Place, Place::ALL);
word_column!(LogStream, [LogStream::Stdout, LogStream::Stderr, LogStream::Log, LogStream::Runner]);

impl ToSql for Sql<UnixMicros> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.0))
    }
}

impl FromSql for Sql<UnixMicros> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(|micros| Self(UnixMicros(micros)))
    }
}

/// A count; SQLite's integers have a sign.
impl FromSql for Sql<u64> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        u64::try_from(value.as_i64()?).map(Self).map_err(bad)
    }
}

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let text = serde_json::to_string(&self.0)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        Ok(ToSqlOutput::from(text))
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(bad)
    }
}

/// The value of a column.
pub(super) fn column<T>(row: &Row<'_>, name: usize) -> rusqlite::Result<T>
where
    Sql<T>: FromSql,
{
    row.get::<_, Sql<T>>(name).map(|Sql(value)| value)
}

/// The value of a column that may be NULL.
pub(super) fn optional<T>(row: &Row<'_>, name: usize) -> rusqlite::Result<Option<T>>
where
    Sql<T>: FromSql,
{
    let value = row.get::<_, Option<Sql<T>>>(name)?;
    Ok(value.map(|Sql(value)| value))
}

/// A column that may be NULL as JSON.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, name: usize) -> rusqlite::Result<Option<T>> {
    let value = row.get::<_, Option<Json<T>>>(name)?;
    Ok(value.map(|Json(value)| value))
}

/// Free text about an invocation; NULL if there is none.
pub(super) fn labels(labels: &Vec<(String, String)>) -> Option<Json<&Vec<(String, String)>>> {
    (!labels.is_empty()).then_some(Json(labels))
}

/// An outcome from its two columns. A failure without a value may also be read
/// from a list, which leaves values out: `None` then.
pub(super) fn outcome(
    row: &Row<'_>,
    failure: usize,
    value: Option<usize>,
) -> rusqlite::Result<Option<Outcome>> {
    if let Some(failure) = json::<Failure>(row, failure)? {
        return Ok(Some(Outcome::Failure(Arc::new(failure))));
    }
    let Some(value) = value else {
        return Ok(None);
    };
    let value = row.get::<_, Option<Arc<str>>>(value)?;
    Ok(value.map(Outcome::Value))
}

/// The columns that [`invocation`] reads; a statement may append others.
pub(super) const INVOCATION: &str = "\
    i.id, t.name, c.digest, i.status, i.attempt, i.max_attempts, i.parent, i.root, i.depth, \
    i.detached, i.priority, i.idempotency_key, i.labels, i.runner, i.submitted_at, \
    i.available_at, i.started_at, i.finished_at, i.progress, i.deadline, i.place = 'blocked', i.lane, i.unique_key, i.usage, o.failure";

/// The column behind [`INVOCATION`], for a statement that reads values too.
pub(super) const VALUE: usize = 25;

/// Where those columns come from. CROSS JOIN fixes the order of the loops.
pub(super) const FROM_INVOCATION: &str = "\
    FROM invocation i CROSS JOIN task t ON t.key = i.task \
    CROSS JOIN component c ON c.key = i.component LEFT JOIN outcome o ON o.seq = i.seq";

/// Reads an invocation, with its value if `value` says where that is.
pub(super) fn invocation(row: &Row<'_>, value: Option<usize>) -> rusqlite::Result<Invocation> {
    let id = column(row, 0)?;
    Ok(Invocation {
        id,
        task: row.get(1)?,
        component_digest: column(row, 2)?,
        status: column(row, 3)?,
        attempt: row.get(4)?,
        max_attempts: row.get(5)?,
        parent: optional(row, 6)?,
        root: optional(row, 7)?.unwrap_or(id),
        depth: row.get(8)?,
        detached: row.get(9)?,
        priority: row.get(10)?,
        key: row.get(11)?,
        labels: json(row, 12)?.unwrap_or_default(),
        runner: optional(row, 13)?,
        submitted_at: column(row, 14)?,
        available_at: column(row, 15)?,
        deadline: optional(row, 19)?,
        started_at: optional(row, 16)?,
        finished_at: optional(row, 17)?,
        progress: json(row, 18)?,
        blocked: row.get::<_, Option<bool>>(20)?.unwrap_or(false),
        lane: optional(row, 21)?,
        unique: optional(row, 22)?,
        usage: json(row, 23)?,
        outcome: outcome(row, 24, value)?,
    })
}
