//! How the vocabulary is written in SQL: what is bound, and what is read.
//!
//! A row that cannot be read is a damaged database: it comes out as a
//! [`Fault::Damaged`], never as a panic.

use std::fmt::Display;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql, Type};
use uuid::Uuid;

use super::fault::Fault;
use crate::model::{
    Blocked, ComponentDigest, Failure, Invocation, InvocationId, LogStream, Outcome, Reason, RuleKey,
    RunnerId, Status, UnixMicros,
};
use crate::store::rules::Place;

/// The server's time in microseconds, as an expression.
macro_rules! server_time {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    };
}
pub(super) use server_time;

/// The time in `$1`, or the server's if that is NULL, as a value that an index can be
/// searched for.
macro_rules! present {
    () => {
        concat!("(SELECT coalesce($1, ", server_time!(), "))")
    };
}
pub(super) use present;

/// A value that can be bound, and the type that the server is told: nothing is
/// left to its guesses, so every statement works with and without a name.
pub(super) trait Arg: ToSql {
    /// Its type.
    const TYPE: Type;
    /// The type of an array of them.
    const ARRAY: Type;
}

macro_rules! args {
    ($($rust:ty: $type:ident, $array:ident;)+) => {
        $(impl Arg for $rust {
            const TYPE: Type = Type::$type;
            const ARRAY: Type = Type::$array;
        })+
    };
}

args! {
    i64: INT8, INT8_ARRAY;
    i32: INT4, INT4_ARRAY;
    bool: BOOL, BOOL_ARRAY;
    Uuid: UUID, UUID_ARRAY;
    &str: TEXT, TEXT_ARRAY;
    String: TEXT, TEXT_ARRAY;
    &[u8]: BYTEA, BYTEA_ARRAY;
    Vec<u8>: BYTEA, BYTEA_ARRAY;
}

impl<T: Arg> Arg for Option<T> {
    const TYPE: Type = T::TYPE;
    const ARRAY: Type = T::ARRAY;
}

impl<T: Arg> Arg for Vec<T> {
    const TYPE: Type = T::ARRAY;
    // There are no arrays of arrays here.
    const ARRAY: Type = T::ARRAY;
}

/// An id as its column holds it.
pub(super) fn uuid(bytes: &[u8; 16]) -> Uuid {
    Uuid::from_bytes(*bytes)
}

/// Ids as their column holds them.
pub(super) fn uuids<'i>(ids: impl IntoIterator<Item = &'i InvocationId>) -> Vec<Uuid> {
    ids.into_iter().map(|id| uuid(id.as_bytes())).collect()
}

/// A value as JSON text.
pub(super) fn to_json(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::Damaged(error.to_string()))
}

/// What a column is read as.
pub(super) trait Column: Sized {
    /// What the driver makes of it.
    type Raw<'r>: FromSql<'r>;
    /// What that means.
    fn read(raw: Self::Raw<'_>) -> Result<Self, String>;
}

macro_rules! columns {
    ($($type:ty: $raw:ty, $value:ident => $read:expr;)+) => {
        $(impl Column for $type {
            type Raw<'r> = $raw;
            fn read($value: Self::Raw<'_>) -> Result<Self, String> {
                $read
            }
        })+
    };
}

fn word<T: Copy>(
    text: &str,
    all: impl IntoIterator<Item = T>,
    name: impl Fn(T) -> &'static str,
) -> Result<T, String> {
    let found = all.into_iter().find(|one| name(*one) == text);
    found.ok_or_else(|| format!("unknown word `{text}`"))
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| error.to_string())
}

fn count<T: TryFrom<i64, Error: Display>>(value: i64) -> Result<T, String> {
    T::try_from(value).map_err(|error| error.to_string())
}

const STREAMS: [LogStream; 4] = [LogStream::Stdout, LogStream::Stderr, LogStream::Log, LogStream::Runner];

columns! {
    i64: i64, value => Ok(value);
    i32: i32, value => Ok(value);
    u32: i64, value => count(value);
    u64: i64, value => count(value);
    bool: bool, value => Ok(value);
    Vec<u8>: &'r [u8], value => Ok(value.to_vec());
    String: &'r str, value => Ok(value.to_owned());
    Arc<str>: &'r str, value => Ok(value.into());
    InvocationId: Uuid, value => Ok(Self::from_bytes(value.into_bytes()));
    RunnerId: Uuid, value => Ok(Self::from_bytes(value.into_bytes()));
    ComponentDigest: &'r [u8], value =>
        value.try_into().map(Self::from_bytes).map_err(|_| format!("{} bytes are no digest", value.len()));
    UnixMicros: i64, value => Ok(Self(value));
    Status: &'r str, value => word(value, Self::ALL, Self::as_str);
    RuleKey: Uuid, value => Ok(Self::from_bytes(value.into_bytes()));
    Blocked: &'r str, value => word(value, Self::ALL, Self::as_str);
    Place: &'r str, value => word(value, Self::ALL, Self::as_str);
    Reason: &'r str, value => word(value, Self::ALL, Self::as_str);
    LogStream: &'r str, value => word(value, STREAMS, Self::as_str);
}

/// Text that may hold a NUL.
pub(super) struct Bytes<T>(pub(super) T);

columns! {
    Bytes<String>: &'r [u8], value => text(value).map(|text| Self(text.to_owned()));
    Bytes<Arc<str>>: &'r [u8], value => text(value).map(|text| Self(text.into()));
}

/// A value kept as JSON text.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> Column for Json<T> {
    type Raw<'r> = &'r str;

    fn read(raw: &str) -> Result<Self, String> {
        serde_json::from_str(raw).map(Self).map_err(|error| error.to_string())
    }
}

/// The value of a column.
pub(super) fn column<T: Column>(row: &Row, index: usize) -> Result<T, Fault> {
    optional(row, index)?.ok_or_else(|| Fault::Damaged(format!("column {index} is NULL")))
}

/// The value of a column that may be NULL.
pub(super) fn optional<T: Column>(row: &Row, index: usize) -> Result<Option<T>, Fault> {
    let raw: Option<T::Raw<'_>> = row.try_get(index)?;
    raw.map(T::read).transpose().map_err(Fault::Damaged)
}

/// An outcome from its two columns. A failure may also be read from a list, which
/// leaves values out: `None` then.
pub(super) fn outcome(row: &Row, failure: usize, value: Option<usize>) -> Result<Option<Outcome>, Fault> {
    if let Some(Json(failure)) = optional::<Json<Failure>>(row, failure)? {
        return Ok(Some(Outcome::Failure(Arc::new(failure))));
    }
    match value {
        Some(value) => Ok(optional(row, value)?.map(Outcome::Value)),
        None => Ok(None),
    }
}

/// The columns that [`invocation`] reads; a statement may append others.
macro_rules! invocation_columns {
    () => {
        "i.id, t.name, c.digest, i.status, i.attempt, i.max_attempts, i.parent, i.root, i.depth, \
         i.detached, i.priority, i.idempotency_key, i.labels, i.runner, i.submitted_at, \
         i.available_at, i.deadline, i.started_at, i.finished_at, i.progress, i.place = 'blocked', \
         i.lane, i.unique_key, i.usage, o.failure"
    };
}
pub(super) use invocation_columns;

/// The column behind [`invocation_columns`], for a statement that reads values
/// too.
pub(super) const VALUE: usize = 25;

/// What those columns need besides the invocation `i`.
macro_rules! invocation_joins {
    () => {
        "JOIN @task t ON t.key = ANY(ARRAY[i.task]) JOIN @component c ON c.key = ANY(ARRAY[i.component]) \
         LEFT JOIN @outcome o ON o.seq = ANY(ARRAY[i.seq])"
    };
}
pub(super) use invocation_joins;

/// Reads an invocation, with its value if `value` says where that is.
pub(super) fn invocation(row: &Row, value: Option<usize>) -> Result<Invocation, Fault> {
    let id = column(row, 0)?;
    Ok(Invocation {
        id,
        task: column(row, 1)?,
        component_digest: column(row, 2)?,
        status: column(row, 3)?,
        attempt: column(row, 4)?,
        max_attempts: column(row, 5)?,
        parent: optional(row, 6)?,
        root: optional(row, 7)?.unwrap_or(id),
        depth: column(row, 8)?,
        detached: column(row, 9)?,
        priority: column(row, 10)?,
        key: optional(row, 11)?.map(|Bytes(key)| key),
        labels: optional(row, 12)?.map(|Json(labels)| labels).unwrap_or_default(),
        runner: optional(row, 13)?,
        submitted_at: column(row, 14)?,
        available_at: column(row, 15)?,
        deadline: optional(row, 16)?,
        started_at: optional(row, 17)?,
        finished_at: optional(row, 18)?,
        progress: optional(row, 19)?.map(|Json(progress)| progress),
        blocked: optional(row, 20)?.unwrap_or(false),
        lane: optional(row, 21)?,
        unique: optional(row, 22)?,
        usage: optional(row, 23)?.map(|Json(usage)| usage),
        outcome: outcome(row, 24, value)?,
    })
}
