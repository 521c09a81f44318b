//! How values go into statements, and how they come out.

use std::borrow::Cow;

use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::model::Status;
use crate::store::value::{Stored, StoredRow, Value};

/// Makes a parameter of a word of the vocabulary.
pub(super) fn bound<'v>(word: impl Into<Value<'v>>) -> Value<'v> {
    word.into()
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Id(bytes) => ValueRef::Blob(bytes),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadValue(String);

/// A value that was read.
struct Read<T>(T);

impl<T: Stored> FromSql for Read<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let value = match value {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Int(number),
            ValueRef::Text(_) => Value::Text(Cow::Borrowed(value.as_str()?)),
            ValueRef::Blob(bytes) => Value::Bytes(bytes),
            ValueRef::Real(_) => return Err(FromSqlError::InvalidType),
        };
        T::read(value).map(Self).map_err(|problem| FromSqlError::Other(Box::new(BadValue(problem))))
    }
}

/// The value of a column.
pub(super) fn column<T: Stored>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    row.get::<_, Read<T>>(index).map(|Read(value)| value)
}

impl StoredRow for Row<'_> {
    type Error = rusqlite::Error;

    fn column<T: Stored>(&self, index: usize) -> Result<T, rusqlite::Error> {
        column(self, index)
    }
}

/// The statuses that are not final, as SQL has a list of them.
pub(super) fn unfinished_words() -> String {
    Status::unfinished().map(|status| format!("'{status}'")).collect::<Vec<_>>().join(", ")
}

/// Where the columns that are shown come from. CROSS JOIN fixes the order of the loops.
pub(super) const FROM_INVOCATION: &str = "invocation i CROSS JOIN task t ON t.key = i.task CROSS JOIN component c ON c.key = i.component \
         CROSS JOIN fairness_key k ON k.key = i.fairness_key \
         LEFT JOIN outcome o ON o.seq = i.seq";
