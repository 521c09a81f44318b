//! The imports of a project, and where its WIT has them from.

use std::fs;
use std::path::{Path, PathBuf};

use super::names::{self, TASK_PACKAGE};
use super::{Packages, Written, folder_of, is_ours};
use crate::authoring::AuthoringError;
use crate::wasm::Interface;

/// The imports of a project that come from components.
pub struct Imports {
    deps: PathBuf,
    /// The interfaces that components have to export.
    pub wanted: Vec<String>,
    /// The interfaces that somebody else put into `wit/deps`, and where.
    pub provided: Vec<(String, PathBuf)>,
}

impl Imports {
    /// Reads the imports of the project in `directory`. Puts the package `wasm-runner:task`
    /// there if the project imports it.
    /// A usage error if the project has no WIT, or [`AuthoringError::Build`] if files can't be
    /// read.
    pub fn read(directory: &Path) -> Result<Self, AuthoringError> {
        let wit = directory.join("wit");
        if !wit.is_dir() {
            return Err(AuthoringError::usage(
                format!("there is no directory `{}`", wit.display()),
                "give the directory of a project, whose `wit` says what it imports",
            ));
        }
        names::provide_task_package(&wit)?;
        let deps = wit.join("deps");
        let own = names::packages_in(&wit)?;
        let (mut wanted, mut provided) = (Vec::new(), Vec::new());
        for import in names::imports(&wit)? {
            let package = package_of(&import);
            // WASI is of hosts, and everybody has a copy of it; the rest is here.
            if package.starts_with("wasi:") || package == TASK_PACKAGE || own.iter().any(|own| own == package)
            {
                continue;
            }
            match provided_by_hand(&deps, package)? {
                Some(place) => provided.push((import, place)),
                None => wanted.push(import),
            }
        }
        Ok(Self { deps, wanted, provided })
    }

    /// Writes the interface of each wanted import into `wit/deps`, under the version that is
    /// asked for, so that the languages' tools find it.
    pub fn write<'i>(&self, found: &[(&'i str, &'i Interface)]) -> Result<Vec<Written<'i>>, AuthoringError> {
        let version = |import: &'i str| import.split_once('@').map(|(_, version)| version);
        let versions = found.iter().map(|(import, interface)| (*interface, version(import)));
        Packages::new(versions).write(&self.deps)
    }
}

/// Cuts an import down to its package: `local:other` of `local:other/tasks@1.0.0`.
fn package_of(import: &str) -> &str {
    import.split('/').next().unwrap_or_default()
}

/// Finds the file or directory in `deps` that has a package and was not written here.
fn provided_by_hand(deps: &Path, package: &str) -> Result<Option<PathBuf>, AuthoringError> {
    let Ok(entries) = fs::read_dir(deps) else { return Ok(None) };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let is_written_here = || {
            let files = fs::read_dir(&path).into_iter().flatten().flatten();
            let mut files = files.map(|entry| entry.path());
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&folder_of(package)))
                && files.all(|file| is_ours(&file))
        };
        if names::packages_in(&path)?.iter().any(|name| name == package) && !is_written_here() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
