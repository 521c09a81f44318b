//! Opening a store by its URL.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::config::{Config, StoreUrl};
use crate::model::Clock;
use crate::store::{PostgresStore, PostgresUrl, SqliteStore, Store, StoreError};

use super::{Remedy, ServiceError};

/// A store that outlives its process.
enum Durable<'c> {
    Sqlite(&'c Path),
    Postgres(&'c PostgresUrl),
}

/// Opens the configured store to put something into it: it is created if need be. A
/// server that is away is told at once: its address may be wrong.
pub(super) fn open(config: &Config, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Store>, ServiceError> {
    match durable(config)? {
        Durable::Sqlite(path) => {
            refuse_missing_directory(config, path)?;
            open_sqlite(path, clock)
        }
        // By the server's clock: machines differ.
        Durable::Postgres(url) => Ok(Arc::new(PostgresStore::open(url, None)?)),
    }
}

/// Opens the configured store to look for something in it; `None` if it does not exist.
/// Nothing is created.
pub(super) fn open_existing(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<dyn Store>>, ServiceError> {
    match durable(config)? {
        Durable::Sqlite(path) => {
            refuse_missing_directory(config, path)?;
            match std::fs::symlink_metadata(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                _ => open_sqlite(path, clock).map(Some),
            }
        }
        Durable::Postgres(url) => {
            Ok(PostgresStore::open_existing(url)?.map(|store| Arc::new(store) as Arc<dyn Store>))
        }
    }
}

fn durable(config: &Config) -> Result<Durable<'_>, ServiceError> {
    match &config.store.url {
        StoreUrl::Sqlite(path) => Ok(Durable::Sqlite(path)),
        StoreUrl::Postgres(url) => Ok(Durable::Postgres(url)),
        StoreUrl::Memory => {
            let message = "the store `memory:` ends with each process: nothing would be found in it";
            Err(ServiceError::invalid(message).with_remedy(Remedy::NameLastingStore))
        }
    }
}

fn open_sqlite(path: &Path, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Store>, ServiceError> {
    Ok(Arc::new(SqliteStore::open(path, Arc::clone(clock))?))
}

/// Refuses a store in a directory that is not there, unless it is the default one, which
/// the store creates: a slip in the path that somebody chose must not silently make a
/// second store.
fn refuse_missing_directory(config: &Config, path: &Path) -> Result<(), ServiceError> {
    let directory = path.parent().unwrap_or(path);
    let is_default = config.store.origin.is_none() || directory.ends_with(".wasm-runner");
    // An error other than "not found" is told better by whoever opens it.
    let is_missing = matches!(
        std::fs::metadata(directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound
    );
    if is_default || !is_missing {
        return Ok(());
    }
    let message = format!("there is no directory `{}`", directory.display());
    Err(StoreError::Unavailable { url: config.store.url.to_string(), message }.into())
}
