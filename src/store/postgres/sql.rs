//! How values go to the server, and how they come back.

use std::error::Error;
use std::sync::Arc;

use bytes::BytesMut;
use const_format::formatcp;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use super::fault::Fault;
use crate::model::InvocationId;
use crate::store::columns::read_head;
use crate::store::decide::{ClaimRest, Head, Rank};
use crate::store::order::Taken;
use crate::store::value::{Fields, Kind, Stored, StoredRow, Value};

/// The server's time in microseconds, as an expression.
pub(super) const SERVER_TIME: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// The server's time when the transaction began.
pub(super) const BEGAN: &str = "(extract(epoch FROM transaction_timestamp()) * 1000000)::bigint";

/// The time in `$1`, or the server's if that is NULL, as a value that an index can be
/// searched for.
pub(super) const PRESENT: &str = formatcp!("(SELECT coalesce($1, {SERVER_TIME}))");

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

/// The type of what a column holds, and of an array of that.
pub(super) fn types_of(kind: Kind) -> [Type; 2] {
    match kind {
        Kind::Integer => [Type::INT8, Type::INT8_ARRAY],
        Kind::Flag => [Type::BOOL, Type::BOOL_ARRAY],
        Kind::Id => [Type::UUID, Type::UUID_ARRAY],
        Kind::Text => [Type::TEXT, Type::TEXT_ARRAY],
        Kind::FreeText => [Type::BYTEA, Type::BYTEA_ARRAY],
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Int(number) if *kind == Type::BOOL => return (*number != 0).to_sql(kind, out),
            Self::Int(number) => return number.to_sql(kind, out),
            Self::Id(bytes) => out.extend_from_slice(bytes),
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'r> FromSql<'r> for Value<'r> {
    fn from_sql(kind: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(match *kind {
            Type::INT8 => Self::Int(i64::from_sql(kind, raw)?),
            Type::INT4 => Self::Int(i32::from_sql(kind, raw)?.into()),
            Type::BOOL => Self::Int(bool::from_sql(kind, raw)?.into()),
            Type::UUID | Type::BYTEA => Self::Bytes(raw),
            _ => Self::Text(<&str>::from_sql(kind, raw)?.into()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT8 | Type::INT4 | Type::BOOL | Type::UUID | Type::BYTEA)
            || <&str as FromSql>::accepts(kind)
    }
}

/// The value of a column.
pub(super) fn column<T: Stored>(row: &Row, index: usize) -> Result<T, Fault> {
    let value = row.try_get(index)?;
    T::read(value).map_err(|problem| Fault::Damaged(format!("column {index}: {problem}")))
}

impl StoredRow for Row {
    type Error = Fault;

    fn column<T: Stored>(&self, index: usize) -> Result<T, Fault> {
        column(self, index)
    }
}

/// The joins that the columns that are shown need besides the invocation `i`.
pub(super) const INVOCATION_JOINS: &str = "JOIN @task t ON t.key = ANY(ARRAY[i.task]) JOIN @component c ON c.key = ANY(ARRAY[i.component]) \
         JOIN @fairness_key k ON k.key = ANY(ARRAY[i.fairness_key]) \
         LEFT JOIN @outcome o ON o.seq = ANY(ARRAY[i.seq])";

/// The columns of a [`ClaimRest`], of the invocation `i`. Arguments with more than [`CARRIED_BYTES`] are NULL.
pub(super) const REST_COLUMNS: &str =
    "t.name, c.digest, a.json, i.root, i.depth, i.labels, i.limits, i.callers";

/// Arguments with more bytes, stored or written out, do not come with the row: a claim asks for those that it takes.
/// The stored size is compared first, so that nothing large is read for it.
const CARRIED_BYTES: usize = 64 << 10;

/// The joins that those columns need besides the invocation `i`. Every claimed row passes
/// them: a sub-select costs half a microsecond less than `ANY(ARRAY[…])`.
pub(super) const JOINS: &str = formatcp!(
    "CROSS JOIN LATERAL (SELECT CASE WHEN pg_column_size(json) > {CARRIED_BYTES} THEN NULL \
             WHEN octet_length(json) > {CARRIED_BYTES} THEN NULL ELSE json END AS json \
             FROM @arguments WHERE seq = i.seq OFFSET 0) a \
         CROSS JOIN LATERAL (SELECT name FROM @task WHERE key = i.task OFFSET 0) t \
         CROSS JOIN LATERAL (SELECT digest FROM @component WHERE key = i.component OFFSET 0) c"
);

pub(super) fn read_heads(rows: &[Row]) -> Result<Vec<Head>, Fault> {
    rows.iter().map(|row| read_head(&mut Fields::new(row))).collect()
}

/// Something that a claim may take.
pub(super) struct Candidate {
    pub(super) id: InvocationId,
    pub(super) rest: ClaimRest,
    /// The number of an invocation whose arguments are still to be read.
    pub(super) unread: Option<i64>,
    /// Its rank among those that the claim may take, and how it would be taken.
    pub(super) rank: Rank,
    pub(super) taken: Taken,
}

/// Reads the columns [`HEAD_COLUMNS`](crate::store::columns::HEAD_COLUMNS) and [`REST_COLUMNS`].
pub(super) fn read_candidate(fields: &mut Fields<'_, Row>) -> Result<(Head, Candidate), Fault> {
    let head = read_head(fields)?;
    let id = head.id;
    let rank = head.rank();
    let (task, component_digest) = (fields.take()?, fields.take()?);
    let arguments: Option<Arc<str>> = fields.take()?;
    let unread = arguments.is_none().then_some(head.seq);
    let rest = ClaimRest {
        task,
        component_digest,
        arguments: arguments.unwrap_or_default(),
        root: fields.take::<Option<_>>()?.unwrap_or(id),
        depth: fields.take()?,
        labels: fields.take()?,
        limits: fields.take()?,
        callers: fields.take()?,
    };
    Ok((head, Candidate { id, rest, unread, rank, taken: Taken::InTurn }))
}

/// Reads the candidate of each row.
pub(super) fn read_candidates(rows: &[Row]) -> Result<Vec<(Head, Candidate)>, Fault> {
    rows.iter().map(|row| read_candidate(&mut Fields::new(row))).collect()
}
