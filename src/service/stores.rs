//! Opening the configured store.

use std::io;
use std::sync::Arc;

use crate::config::{Config, ConfigError, Origin, Problem};
use crate::model::Clock;
use crate::store::{Store, StoreError, StoreUrl};
use crate::wasm::check_trusted;

use super::{Remedy, ServiceError};

/// Opens the configured store to put something into it: it is created if need be. A
/// server that is away is told at once: its address may be wrong.
pub(super) fn open(config: &Config, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Store>, ServiceError> {
    Ok(durable(config)?.open(clock)?)
}

/// Opens the configured store to look for something in it; `None` if it does not exist.
/// Nothing is created.
pub(super) fn open_existing(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<dyn Store>>, ServiceError> {
    Ok(durable(config)?.open_existing(clock)?)
}

/// The configured store, if it outlives its process and is where somebody may have meant it to be.
fn durable(config: &Config) -> Result<&StoreUrl, ServiceError> {
    let url = &config.store.url;
    if !url.is_durable() {
        let message = format!("the store `{url}` ends with each process: nothing would be found in it");
        return Err(ServiceError::invalid(message).with_remedy(Remedy::NameLastingStore));
    }
    refuse_missing_directory(config)?;
    refuse_untrusted_default(config)?;
    Ok(url)
}

/// Refuses the default store if nobody named it or the file beside it, and another user can have changed it, or could
/// change where it would be made.
fn refuse_untrusted_default(config: &Config) -> Result<(), ServiceError> {
    let Some(path) = config.store.url.file().filter(|_| config.store.origin.is_none() && !config.is_named)
    else {
        return Ok(());
    };
    let Some(there) = path.ancestors().find(|path| path.symlink_metadata().is_ok()) else { return Ok(()) };
    check_trusted(there).map_err(|error| {
        let message = format!("the default store is not trusted here: {error}");
        let hint = format!("if you trust it, name it: `--store {}`", config.store.url);
        let problem = Problem::new(Origin::File, message).at(config.store.url.to_string()).hint(hint);
        ConfigError::from(problem).into()
    })
}

/// Refuses a store in a directory that is not there, unless it is the default one, which
/// the store creates: a slip in the path that somebody chose must not silently make a
/// second store.
fn refuse_missing_directory(config: &Config) -> Result<(), ServiceError> {
    let Some(path) = config.store.url.file() else { return Ok(()) };
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
