//! What went wrong, sorted by what the caller can do about it.

use rusqlite::ErrorCode;

use super::schema::VERSION;
use crate::store::StoreError;

/// What can go wrong in a transaction.
#[derive(Debug)]
pub(super) enum Fault {
    /// The driver said so.
    Sql(rusqlite::Error),
    /// The schema has this version now, which is not ours.
    OtherVersion(i32),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl Fault {
    /// Sorts it.
    pub(super) fn sort(&self, url: &str) -> StoreError {
        match self {
            Self::Sql(error) => sort(url, error),
            Self::OtherVersion(found) if *found > VERSION => {
                StoreError::Upgraded { url: url.to_owned(), found: *found, known: VERSION }
            }
            Self::OtherVersion(found) => {
                damaged(url, format!("its schema version has gone back from {VERSION} to {found}"))
            }
        }
    }
}

/// Sorts an error of the driver.
pub(super) fn sort(url: &str, error: &rusqlite::Error) -> StoreError {
    let is_damage = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => true,
        // Rows that can't be read: nobody but this module writes them.
        None => true,
        // Statements that the schema does not fit, broken uniqueness.
        Some(ErrorCode::Unknown | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => true,
        Some(_) => false,
    };
    if is_damage {
        damaged(url, error)
    } else {
        StoreError::Unavailable { url: url.to_owned(), message: explain(error) }
    }
}

/// A damaged database.
pub(super) fn damaged(url: &str, what: impl std::fmt::Display) -> StoreError {
    unusable(
        url,
        format!(
            "it is damaged ({what}): restore it from a backup, or move it and its `-wal` file \
             away and save what is left of it with `sqlite3 FILE .recover`"
        ),
    )
}

pub(super) fn unusable(url: &str, message: impl Into<String>) -> StoreError {
    StoreError::Unusable { url: url.to_owned(), message: message.into() }
}

pub(super) fn unavailable(url: &str, message: impl Into<String>) -> StoreError {
    StoreError::Unavailable { url: url.to_owned(), message: message.into() }
}

fn explain(error: &rusqlite::Error) -> String {
    let hint = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full: free some space",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process holds its lock for too long"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            "this user may not write to the file and its directory"
        }
        Some(ErrorCode::CannotOpen) => "check the directory and its permissions",
        Some(ErrorCode::TooBig) => "a value of more than a gigabyte cannot be kept",
        _ => return error.to_string(),
    };
    format!("{error} ({hint})")
}
