//! Components that travel with the store: fetched once, kept as files by digest.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::model::ComponentDigest;
use crate::store::{Store, StoreError};
use crate::wasm;

use super::wait::patiently;

/// The digest of the bytes of a component.
pub fn digest(bytes: &[u8]) -> ComponentDigest {
    ComponentDigest::from_bytes(Sha256::digest(bytes).into())
}

/// The components in a store, and the files in which this user keeps them.
pub struct Shelf {
    store: Arc<dyn Store>,
    directory: PathBuf,
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
    #[error("`{path}` can't be written: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Shelf {
    /// The shelf of a store. Files are kept in the cache directory; without one, in
    /// the temporary directory.
    pub fn new(store: Arc<dyn Store>, config: &Config) -> Self {
        let cache = config.cache_directory.clone().unwrap_or_else(|| {
            let user = rustix::process::geteuid().as_raw();
            std::env::temp_dir().join(format!("run-wasm-runner-{user}"))
        });
        Self { store, directory: cache.join("components") }
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
        let name = wanted.to_string().replace(':', "-");
        let path = self.directory.join(format!("{name}.wasm"));
        // Checked each time: a file is only a file.
        if let Ok(bytes) = fs::read(&path)
            && digest(&bytes) == wanted
        {
            return Ok(Some((path, bytes)));
        }
        let Some(bytes) = patiently(&*self.store, || self.store.component(wanted))? else {
            return Ok(None);
        };
        let found = digest(&bytes);
        if found != wanted {
            return Err(ShelfError::Mismatch { wanted, found });
        }
        let kept = self.keep(&path, &bytes);
        kept.map_err(|source| ShelfError::File { path: path.display().to_string(), source })?;
        Ok(Some((path, bytes)))
    }

    /// Writes a file as a whole or not at all.
    fn keep(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        // Another slot of this process may be writing the same one.
        static UNFINISHED: AtomicU64 = AtomicU64::new(0);
        let number = UNFINISHED.fetch_add(1, Ordering::Relaxed);
        let unfinished = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(bytes)?;
        fs::rename(&unfinished, path)
    }
}

impl wasm::Shelf for Shelf {
    fn fetch(&self, wanted: ComponentDigest) -> Result<Option<Vec<u8>>, String> {
        let found = self.find(wanted).map_err(|error| error.to_string())?;
        Ok(found.map(|(_, bytes)| bytes))
    }
}
