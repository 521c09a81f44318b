//! Faults, sorted by what the caller can do about them.

use std::error::Error as _;

use tokio_postgres::error::{DbError, SqlState};

use super::schema::VERSION;
use crate::store::StoreError;
use crate::store::decide::Contradiction;

/// A fault on the way to a receipt.
#[derive(Debug)]
pub(in crate::store) enum Fault {
    /// No connection could be made.
    Connect(tokio_postgres::Error),
    /// The server refused, or the connection broke.
    Sql(tokio_postgres::Error),
    /// The answer did not come in time.
    TimedOut,
    /// A row that nobody but this module writes can't be read.
    Damaged(String),
    /// The database is not, or no longer, one that this program may touch.
    Unusable(String),
    /// A newer program has migrated the schema to this version since it was opened.
    Upgraded(i64),
    /// The server lacks what is needed, or the way to it can't be set up.
    Unavailable(String),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Contradiction> for Fault {
    fn from(Contradiction(message): Contradiction) -> Self {
        Self::Damaged(message)
    }
}

impl Fault {
    fn db(&self) -> Option<&DbError> {
        match self {
            Self::Sql(error) | Self::Connect(error) => error.as_db_error(),
            _ => None,
        }
    }

    /// Whether two transactions got into each other's way, so that the same once
    /// more will do.
    pub(super) fn is_conflict(&self) -> bool {
        let code = self.db().map(DbError::code);
        matches!(
            code,
            Some(
                &SqlState::T_R_DEADLOCK_DETECTED
                    | &SqlState::T_R_SERIALIZATION_FAILURE
                    // The same id or key, submitted by somebody else a moment ago: seen now.
                    | &SqlState::UNIQUE_VIOLATION
            )
        )
    }

    /// Whether a statement and the schema did not fit together: somebody may have
    /// changed it.
    pub(super) fn is_of_schema(&self) -> bool {
        let code = self.db().map(DbError::code);
        matches!(
            code,
            Some(
                &SqlState::UNDEFINED_TABLE
                    | &SqlState::UNDEFINED_COLUMN
                    | &SqlState::INVALID_SCHEMA_NAME
                    | &SqlState::FEATURE_NOT_SUPPORTED
            )
        )
    }

    /// Whether the connection is of no use any more.
    pub(super) fn breaks_connection(&self) -> bool {
        match self {
            Self::TimedOut | Self::Connect(_) => true,
            Self::Sql(error) => match error.as_db_error() {
                None => true,
                Some(db) => {
                    let class = &db.code().code()[..2];
                    // Connection exceptions, shutdowns, a server that has become a
                    // standby, a transaction that was idle for too long.
                    class == "08"
                        || class == "57"
                        || *db.code() == SqlState::READ_ONLY_SQL_TRANSACTION
                        || *db.code() == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
                }
            },
            Self::Damaged(_) | Self::Unusable(_) | Self::Upgraded(_) | Self::Unavailable(_) => false,
        }
    }

    /// Makes the error that the caller is told. `place` says where the server is.
    pub(super) fn sort(self, url: &str, place: &str) -> StoreError {
        let unavailable = |message: String| StoreError::unavailable(url, message);
        let unusable = |message: String| StoreError::unusable(url, message);
        match &self {
            Self::Damaged(what) => unusable(format!("it is damaged ({what}): restore it from a backup")),
            Self::Unusable(message) => unusable(message.clone()),
            Self::Upgraded(found) => StoreError::Upgraded {
                url: url.to_owned(),
                found: i32::try_from(*found).unwrap_or(i32::MAX),
                known: VERSION as i32,
            },
            Self::Unavailable(message) => unavailable(message.clone()),
            Self::TimedOut => unavailable(format!("{place} does not answer")),
            Self::Connect(error) => unavailable(explain_connect(error, place)),
            Self::Sql(error) => match error.as_db_error() {
                None => unavailable(format!("the connection to {place} was lost: {}", causes(error))),
                Some(db) if is_of_pooler(db.code()) => unusable(format!(
                    "the server says: {} (behind a pooler that gives each transaction another session, add \
                     `listen=off` to the URL)",
                    db.message()
                )),
                Some(db) if is_damage(db.code()) => {
                    unusable(format!("the server says: {} ({})", db.message(), db.code().code()))
                }
                Some(db) => unavailable(explain(db)),
            },
        }
    }
}

/// Codes for a prepared statement that is there already, or not at all: another client has used this session, or it
/// is another one.
fn is_of_pooler(code: &SqlState) -> bool {
    matches!(*code, SqlState::DUPLICATE_PSTATEMENT | SqlState::INVALID_SQL_STATEMENT_NAME)
}

/// Codes that no later try changes: a statement that the schema does not fit, a
/// damaged table, a broken rule.
fn is_damage(code: &SqlState) -> bool {
    let class = &code.code()[..2];
    // A value that is too large for an index is one of "54": no outage.
    matches!(class, "XX" | "22" | "23" | "54") || (class == "42" && *code != SqlState::INSUFFICIENT_PRIVILEGE)
}

/// The message of an error with those of its causes.
fn causes(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn explain(db: &DbError) -> String {
    let hint = match *db.code() {
        SqlState::DISK_FULL => "the server's disk is full: free some space there",
        SqlState::LOCK_NOT_AVAILABLE => "another session holds a lock for too long",
        SqlState::INSUFFICIENT_PRIVILEGE => {
            "this role may not do that: grant it the schema, or choose another with `schema=`"
        }
        SqlState::READ_ONLY_SQL_TRANSACTION => "this server only reads: name the primary one",
        _ => return format!("the server says: {}", db.message()),
    };
    format!("the server says: {} ({hint})", db.message())
}

fn explain_connect(error: &tokio_postgres::Error, place: &str) -> String {
    if let Some(db) = error.as_db_error() {
        let hint = match *db.code() {
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                "check user and password in the URL, and the server's `pg_hba.conf`"
            }
            SqlState::INVALID_CATALOG_NAME => "create the database, or check its name in the URL",
            SqlState::TOO_MANY_CONNECTIONS => {
                "raise `max_connections`, or connect through a pooler with `listen=off`"
            }
            _ => return format!("{place} says: {}", db.message()),
        };
        return format!("{place} says: {} ({hint})", db.message());
    }
    let causes = causes(error);
    let hint = if causes.contains("refused") || causes.contains("No such file") {
        "is PostgreSQL running there? check host and port in the URL"
    } else if causes.contains("does not support TLS") {
        "the server has no TLS: switch it on there, or choose `sslmode=prefer`"
    } else if causes.contains("certificate") {
        "give the authority that signed it with `sslrootcert=FILE`, or choose a lower `sslmode`"
    } else if causes.contains("password missing") {
        "put the password into the URL, or into the environment variable `PGPASSWORD`"
    } else {
        "check host, port and network"
    };
    format!("no connection to {place}: {causes} ({hint})")
}

/// The refusal of a database that a newer program has migrated.
pub(super) fn newer(version: i64) -> Fault {
    Fault::Unusable(format!(
        "a newer run-wasm-runner wrote it (schema version {version}, this one knows up to {VERSION}): \
         use that one, or a newer one"
    ))
}
