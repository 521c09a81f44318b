//! Faults, sorted by what the caller can do about them.

use rusqlite::ErrorCode;

use crate::store::StoreError;
use crate::store::decide::Contradiction;

/// A fault in a transaction.
#[derive(Debug)]
pub(super) enum Fault {
    /// The driver said so.
    Sql(rusqlite::Error),
    /// Stored rows contradict each other.
    Damaged(String),
    /// The schema has a version now that is not the one this program knows.
    OtherVersion { found: i32, known: i32 },
}

impl From<Contradiction> for Fault {
    fn from(Contradiction(message): Contradiction) -> Self {
        Self::Damaged(message)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl Fault {
    /// Whether something unique was written a second time.
    pub(super) fn is_conflict(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        let code = error.sqlite_error().map(|error| error.extended_code);
        code.is_some_and(|code| {
            [rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE, rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY]
                .contains(&code)
        })
    }

    /// Sorts it.
    pub(super) fn sort(&self, url: &str) -> StoreError {
        match self {
            Self::Sql(error) => sort(url, error),
            Self::Damaged(message) => damaged(url, message),
            Self::OtherVersion { found, known } if found > known => {
                StoreError::Upgraded { url: url.to_owned(), found: *found, known: *known }
            }
            Self::OtherVersion { found, known } => {
                damaged(url, format!("its schema version has gone back from {known} to {found}"))
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
    if is_damage { damaged(url, error) } else { StoreError::unavailable(url, explain(error)) }
}

/// A damaged database.
pub(super) fn damaged(url: &str, what: impl std::fmt::Display) -> StoreError {
    StoreError::unusable(
        url,
        format!(
            "it is damaged ({what}): restore it from a backup, or move it and its `-wal` file \
             away and save what is left of it with `sqlite3 FILE .recover`"
        ),
    )
}

fn explain(error: &rusqlite::Error) -> String {
    let hint = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full: free some space",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::locked(),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            "this user may not write to the file and its directory"
        }
        Some(ErrorCode::CannotOpen) => "check the directory and its permissions",
        Some(ErrorCode::TooBig) => "a value of more than a gigabyte cannot be kept",
        _ => return error.to_string(),
    };
    format!("{error} ({hint})")
}
