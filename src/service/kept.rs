//! Components that came from elsewhere, kept as files by their digest; and files that are
//! written as a whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::Config;
use crate::model::ComponentDigest;
use crate::wasm;

use super::ServiceError;
use super::patience::Access;

/// A directory of files that are named by their digest.
pub struct Kept {
    directory: PathBuf,
    extension: &'static str,
}

impl Kept {
    /// Keeps components in the cache directory; without one, in the temporary directory.
    pub fn components(config: &Config) -> Self {
        Self::below(config, "components", "wasm")
    }

    /// Keeps the manifests of registries.
    pub fn manifests(config: &Config) -> Self {
        Self::below(config, "manifests", "json")
    }

    fn below(config: &Config, name: &str, extension: &'static str) -> Self {
        let cache = config.cache_directory.clone().unwrap_or_else(|| {
            let user = rustix::process::geteuid().as_raw();
            std::env::temp_dir().join(format!("run-wasm-runner-{user}"))
        });
        Self { directory: cache.join(name), extension }
    }

    fn path(&self, digest: ComponentDigest) -> PathBuf {
        self.directory.join(format!("{}.{}", digest.to_string().replace(':', "-"), self.extension))
    }

    /// Reads the digest that a file of a directory of kept ones has by its name; `None` for any other file.
    pub fn digest_by_name(path: &Path) -> Option<ComponentDigest> {
        path.file_stem()?.to_str()?.replacen('-', ":", 1).parse().ok()
    }

    /// Finds the file with a digest, and the bytes that were in it when they were compared
    /// with it. Notes its use.
    pub fn find(&self, wanted: ComponentDigest) -> Option<(PathBuf, Vec<u8>)> {
        let path = self.path(wanted);
        // Checked each time: a file is only a file.
        let bytes = fs::read(&path).ok()?;
        if ComponentDigest::of(&bytes) != wanted {
            return None;
        }
        wasm::touch(&path);
        Some((path, bytes))
    }

    /// Removes the files that were used longest ago until the rest is within the bound: whoever pushes could fill the
    /// disk. A file that is removed is fetched again when it is wanted. Those in use stay.
    pub fn tidy(&self, is_in_use: impl Fn(&Path) -> bool) {
        wasm::tidy(&self.directory, self.extension, wasm::MAX_BYTES, is_in_use);
    }

    /// Writes a file as a whole or not at all. The bytes have that digest.
    pub fn keep(&self, digest: ComponentDigest, bytes: &[u8]) -> Result<PathBuf, String> {
        let path = self.path(digest);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        made.and_then(|()| write_whole(&path, bytes, 0o600))
            .map_err(|error| format!("`{}` can't be written: {error}", path.display()))?;
        Ok(path)
    }
}

/// The components in a store, and the files in which this user keeps them.
pub struct Shelf {
    store: Access,
    kept: Kept,
}

impl Shelf {
    /// Opens the shelf of a store.
    pub fn new(store: Access, config: &Config) -> Self {
        Self { store, kept: Kept::components(config) }
    }

    /// Finds the file with the bytes of that digest, and the bytes that were in it when they
    /// were compared. They are fetched if need be; `None` if the store does not have them.
    /// [`ServiceError::Store`] if the store can't be read, [`ServiceError::System`] if it
    /// answers with something else, or the file can't be kept.
    pub fn find(&self, wanted: ComponentDigest) -> Result<Option<(PathBuf, Vec<u8>)>, ServiceError> {
        if let Some(found) = self.kept.find(wanted) {
            return Ok(Some(found));
        }
        let Some(bytes) = self.read(wanted)? else { return Ok(None) };
        let path = self.kept.keep(wanted, &bytes).map_err(ServiceError::System)?;
        Ok(Some((path, bytes)))
    }

    /// Reads the bytes with that digest from the store.
    fn read(&self, wanted: ComponentDigest) -> Result<Option<Vec<u8>>, ServiceError> {
        let Some(bytes) = self.store.ask(|store| store.component(wanted))? else {
            return Ok(None);
        };
        let found = ComponentDigest::of(&bytes);
        if found != wanted {
            let message = format!("what the store keeps as `{wanted}` is `{found}`: push it again");
            return Err(ServiceError::System(message));
        }
        Ok(Some(bytes))
    }
}

impl wasm::Shelf for Shelf {
    fn fetch(&self, wanted: ComponentDigest) -> Result<Option<Vec<u8>>, String> {
        if let Some((_, bytes)) = self.kept.find(wanted) {
            return Ok(Some(bytes));
        }
        let read = self.read(wanted).map_err(|error| error.to_string())?;
        // The file only saves time.
        if let Some(Err(error)) = read.as_deref().map(|bytes| self.kept.keep(wanted, bytes)) {
            tracing::debug!("a component from the store is not kept: {error}");
        }
        Ok(read)
    }
}

/// Writes a file as a whole: a reader finds the old one or all of the new one, also after an
/// error. `mode` are its permissions, less the process's mask.
pub fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // Another thread of this process may be writing the same one.
    static UNFINISHED: AtomicU64 = AtomicU64::new(0);
    let number = UNFINISHED.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{number}.tmp", std::process::id()));
    let unfinished = path.with_file_name(name);
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(mode).open(&unfinished);
    let written = opened
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        // It may never have been made.
        let _ = fs::remove_file(&unfinished);
    }
    written
}
