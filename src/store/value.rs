//! How the vocabulary stands in columns, for both SQL databases.
//!
//! A row that can't be read is a damaged database: it comes out as an error, never as a
//! panic.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::RuleOrigin;
use super::rules::Place;
use super::setting::PauseKind;
use crate::model::{
    Blocked, Callers, ComponentDigest, ComponentFacts, Failure, HolderKind, InvocationId, Labels, LogStream,
    Progress, Reason, RuleKey, RunnerId, Status, SubmitLimits, UnixMicros, Usage, UsageSums,
};

/// The value of a column, on its way in or out.
#[derive(Debug, Clone)]
pub(super) enum Value<'v> {
    Null,
    Int(i64),
    Id([u8; 16]),
    Text(Cow<'v, str>),
    Bytes(&'v [u8]),
}

/// How a database keeps a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Flag,
    Id,
    /// Words of the vocabulary, and JSON.
    Text,
    /// Text that may hold a NUL, which PostgreSQL's text may not.
    FreeText,
}

/// A type that a column can be read as.
pub(super) trait Stored: Sized {
    /// Reads it; the message says what is wrong.
    fn read(value: Value<'_>) -> Result<Self, String>;
}

/// A row of a database, by the numbers of its columns.
pub(super) trait StoredRow {
    type Error;

    fn column<T: Stored>(&self, index: usize) -> Result<T, Self::Error>;
}

/// The columns of a row, from the first on.
pub(super) struct Fields<'r, R> {
    row: &'r R,
    next: usize,
}

impl<'r, R: StoredRow> Fields<'r, R> {
    pub(super) fn new(row: &'r R) -> Self {
        Self { row, next: 0 }
    }

    /// Reads the next column.
    pub(super) fn take<T: Stored>(&mut self) -> Result<T, R::Error> {
        self.next += 1;
        self.row.column(self.next - 1)
    }
}

impl<T: Stored> Stored for Option<T> {
    fn read(value: Value<'_>) -> Result<Self, String> {
        match value {
            Value::Null => Ok(None),
            value => T::read(value).map(Some),
        }
    }
}

impl<'v, T> From<Option<T>> for Value<'v>
where
    Value<'v>: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Value::from)
    }
}

fn integer(value: &Value<'_>) -> Result<i64, String> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::Null => Err("it is NULL".to_owned()),
        _ => Err("it is no number".to_owned()),
    }
}

fn bytes<'v, const N: usize>(value: &'v Value<'_>) -> Result<&'v [u8; N], String> {
    let bytes = match value {
        Value::Bytes(bytes) => *bytes,
        Value::Id(bytes) => bytes,
        Value::Null => return Err("it is NULL".to_owned()),
        _ => return Err("it is no id".to_owned()),
    };
    bytes.try_into().map_err(|_| format!("{} bytes are no id", bytes.len()))
}

pub(super) fn text<'v>(value: &'v Value<'_>) -> Result<&'v str, String> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Bytes(bytes) => std::str::from_utf8(bytes).map_err(|error| error.to_string()),
        Value::Null => Err("it is NULL".to_owned()),
        _ => Err("it is no text".to_owned()),
    }
}

macro_rules! integers {
    ($($type:ty),+) => {
        $(impl Stored for $type {
            fn read(value: Value<'_>) -> Result<Self, String> {
                Self::try_from(integer(&value)?).map_err(|error| error.to_string())
            }
        })+
    };
}
integers!(i64, i32, u32, u64);

macro_rules! into_integer {
    ($($type:ty),+) => {
        $(impl From<$type> for Value<'_> {
            fn from(value: $type) -> Self {
                Self::Int(i64::from(value))
            }
        })+
    };
}
into_integer!(i64, i32, u32, bool);

impl Stored for bool {
    fn read(value: Value<'_>) -> Result<Self, String> {
        integer(&value).map(|number| number != 0)
    }
}

impl Stored for UnixMicros {
    fn read(value: Value<'_>) -> Result<Self, String> {
        integer(&value).map(Self)
    }
}

impl From<UnixMicros> for Value<'_> {
    fn from(value: UnixMicros) -> Self {
        Self::Int(value.0)
    }
}

macro_rules! ids {
    ($($type:ty),+) => {
        $(impl Stored for $type {
            fn read(value: Value<'_>) -> Result<Self, String> {
                bytes(&value).map(|bytes| Self::from_bytes(*bytes))
            }
        }

        impl From<$type> for Value<'_> {
            fn from(value: $type) -> Self {
                Self::Id(*value.as_bytes())
            }
        })+
    };
}
ids!(InvocationId, RunnerId, RuleKey);

impl<'v> From<&'v ComponentDigest> for Value<'v> {
    fn from(value: &'v ComponentDigest) -> Self {
        Self::Bytes(value.as_bytes())
    }
}

impl Stored for ComponentDigest {
    fn read(value: Value<'_>) -> Result<Self, String> {
        bytes(&value).map(|bytes| Self::from_bytes(*bytes))
    }
}

/// Stores enums as the words that their `as_str` gives.
macro_rules! stored_words {
    ($($type:ty),+) => {
        $(impl Stored for $type {
            fn read(value: Value<'_>) -> Result<Self, String> {
                let text = text(&value)?;
                let found = <$type>::ALL.into_iter().find(|word| word.as_str() == text);
                found.ok_or_else(|| format!("unknown word `{text}`"))
            }
        }

        impl From<$type> for Value<'_> {
            fn from(value: $type) -> Self {
                Self::Text(Cow::Borrowed(value.as_str()))
            }
        })+
    };
}
stored_words!(Status, Reason, Blocked, Place, LogStream, PauseKind, HolderKind);

impl<'v> From<&'v str> for Value<'v> {
    fn from(value: &'v str) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Self::Text(Cow::Owned(value))
    }
}

impl<'v> From<&'v Arc<str>> for Value<'v> {
    fn from(value: &'v Arc<str>) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl Stored for String {
    fn read(value: Value<'_>) -> Result<Self, String> {
        text(&value).map(str::to_owned)
    }
}

impl Stored for Arc<str> {
    fn read(value: Value<'_>) -> Result<Self, String> {
        text(&value).map(Arc::from)
    }
}

impl Stored for Vec<u8> {
    fn read(value: Value<'_>) -> Result<Self, String> {
        match value {
            Value::Bytes(bytes) => Ok(bytes.to_vec()),
            _ => Err("it is no blob".to_owned()),
        }
    }
}

/// Stores what may be empty as JSON, or NULL if it is.
macro_rules! sparse {
    ($($type:ty),+) => {
        $(impl Stored for $type {
            fn read(value: Value<'_>) -> Result<Self, String> {
                match value {
                    Value::Null => Ok(Self::default()),
                    value => from_json(&value),
                }
            }
        }

        impl From<&$type> for Value<'_> {
            fn from(value: &$type) -> Self {
                if value.is_empty() { Self::Null } else { json(value) }
            }
        })+
    };
}
sparse!(Labels, SubmitLimits, Callers);

fn from_json<T: DeserializeOwned>(value: &Value<'_>) -> Result<T, String> {
    serde_json::from_str(text(value)?).map_err(|error| error.to_string())
}

/// A value as JSON text.
pub(super) fn json(value: &impl Serialize) -> Value<'static> {
    Value::Text(Cow::Owned(json_text(value)))
}

/// The JSON text of something that is stored.
pub(super) fn json_text(value: &impl Serialize) -> String {
    // Nothing that is stored has maps with other keys than text, or writes anywhere.
    serde_json::to_string(value).expect("it has a form in JSON")
}

macro_rules! documents {
    ($($type:ty),+) => {
        $(impl Stored for $type {
            fn read(value: Value<'_>) -> Result<Self, String> {
                from_json(&value)
            }
        }

        impl From<&$type> for Value<'_> {
            fn from(value: &$type) -> Self {
                json(value)
            }
        })+
    };
}
documents!(Usage, UsageSums, Progress, Failure, RuleOrigin, ComponentFacts);
