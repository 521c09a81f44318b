//! Components that travel with the store: fetched once, kept as files by digest.

use std::path::PathBuf;

use crate::config::Config;
use crate::model::ComponentDigest;
use crate::store::StoreError;
use crate::wasm;

use super::kept::{KeepError, Kept};
use super::patience::Access;

/// The components in a store, and the files in which this user keeps them.
pub struct Shelf {
    store: Access,
    kept: Kept,
}

/// Why a component can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it answered is something else.
    #[error("what the store keeps as `{wanted}` is `{found}`: push it again")]
    Mismatch {
        /// The digest that was asked for.
        wanted: ComponentDigest,
        /// The digest of the bytes.
        found: ComponentDigest,
    },
    /// It can't be kept.
    #[error(transparent)]
    File(#[from] KeepError),
}

impl Shelf {
    /// The shelf of a store.
    pub fn new(store: Access, config: &Config) -> Self {
        Self { store, kept: Kept::components(config) }
    }

    /// The file with the bytes of that digest, fetched if need be; `None` if the
    /// store does not have them.
    ///
    /// # Errors
    ///
    /// [`ShelfError`].
    pub fn file(&self, wanted: ComponentDigest) -> Result<Option<PathBuf>, ShelfError> {
        Ok(self.find(wanted)?.map(|(path, _)| path))
    }

    /// The file, and the bytes that were in it when they were compared with the
    /// digest.
    fn find(&self, wanted: ComponentDigest) -> Result<Option<(PathBuf, Vec<u8>)>, ShelfError> {
        if let Some(found) = self.kept.find(wanted) {
            return Ok(Some(found));
        }
        let Some(bytes) = self.store.ask(|store| store.component(wanted))? else {
            return Ok(None);
        };
        let found = ComponentDigest::of(&bytes);
        if found != wanted {
            return Err(ShelfError::Mismatch { wanted, found });
        }
        let path = self.kept.keep(wanted, &bytes)?;
        Ok(Some((path, bytes)))
    }
}

impl wasm::Shelf for Shelf {
    fn fetch(&self, wanted: ComponentDigest) -> Result<Option<Vec<u8>>, String> {
        let found = self.find(wanted).map_err(|error| error.to_string())?;
        Ok(found.map(|(_, bytes)| bytes))
    }
}
