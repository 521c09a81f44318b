//! Faults of a store.

/// A fault of the store: what the caller can do about it decides the variant.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store can't be reached or can't write now (no such directory, no
    /// permission, disk full, locked for too long): try again later.
    #[error("the store `{url}` can't be used now: {message}")]
    Unavailable {
        /// The store.
        url: String,
        /// The message of the system.
        message: String,
    },
    /// The store holds something that this version must not touch (not ours, a
    /// newer schema, damaged): a person must look. Nothing was changed.
    #[error("the store `{url}` can't be opened: {message}")]
    Unusable {
        /// The store.
        url: String,
        /// The problem, and what to do.
        message: String,
    },
    /// A newer version of the program has changed the schema under this one,
    /// which must stop: what it would write might be wrong. Nothing was changed.
    #[error(
        "a newer run-wasm-runner has upgraded the store `{url}` (schema version {found}, this one knows \
         up to {known}): stop this one and go on with the newer"
    )]
    Upgraded {
        /// The store.
        url: String,
        /// The version of the schema now.
        found: i32,
        /// The newest version that this program knows.
        known: i32,
    },
    /// The URL is not one of a store.
    #[error("unknown store `{url}`: {message}")]
    BadUrl {
        /// The URL.
        url: String,
        /// The known forms.
        message: String,
    },
}

/// The words of a message about a SQLite file that another process keeps locked.
const LOCKED: &str = "another process holds its lock for too long";

impl StoreError {
    /// Explains that another process holds the lock of a database for too long.
    pub(super) fn locked() -> &'static str {
        LOCKED
    }

    /// Whether another process holds the lock of the store for too long.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Unavailable { message, .. } if message.contains(LOCKED))
    }

    pub(super) fn unavailable(url: &str, message: impl Into<String>) -> Self {
        Self::Unavailable { url: url.to_owned(), message: message.into() }
    }

    pub(super) fn unusable(url: &str, message: impl Into<String>) -> Self {
        Self::Unusable { url: url.to_owned(), message: message.into() }
    }
}
