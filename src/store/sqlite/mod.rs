//! The embedded store.

/// SQLite.
pub struct SqliteStore;
