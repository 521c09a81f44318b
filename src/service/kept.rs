//! Components that came from elsewhere, kept as files by their digest.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::model::ComponentDigest;

use super::whole::write_whole;

/// A directory of files that are named by their digest.
#[derive(Debug, Clone)]
pub struct Kept {
    directory: PathBuf,
    extension: &'static str,
}

/// A file that can't be kept.
#[derive(Debug, thiserror::Error)]
#[error("`{path}` can't be written: {source}")]
pub struct KeepError {
    path: String,
    source: io::Error,
}

impl Kept {
    /// Components, in the cache directory; without one, in the temporary directory.
    pub fn components(config: &Config) -> Self {
        Self::below(config, "components", "wasm")
    }

    /// What registries say that components are.
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

    /// The file with a digest, and the bytes that were in it when they were compared
    /// with it.
    pub fn find(&self, wanted: ComponentDigest) -> Option<(PathBuf, Vec<u8>)> {
        let path = self.path(wanted);
        // Checked each time: a file is only a file.
        let bytes = fs::read(&path).ok()?;
        (ComponentDigest::of(&bytes) == wanted).then_some((path, bytes))
    }

    /// Writes a file as a whole or not at all. The bytes have that digest.
    ///
    /// # Errors
    ///
    /// [`KeepError`] if the system refuses.
    pub fn keep(&self, digest: ComponentDigest, bytes: &[u8]) -> Result<PathBuf, KeepError> {
        let path = self.path(digest);
        let written = self.write(&path, bytes);
        written.map_err(|source| KeepError { path: path.display().to_string(), source })?;
        Ok(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        write_whole(path, bytes, 0o600)
    }
}
