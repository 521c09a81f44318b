//! The project in a directory, and the program that a build of it is part of.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::AuthoringError;
use super::language::{File, Language};
use super::wit::names;

/// A project that can be built.
#[derive(Debug)]
pub struct Project {
    /// Its directory.
    pub directory: PathBuf,
    /// Its language.
    pub language: &'static Language,
}

/// The program that a build is part of.
pub trait Host {
    /// Tells the user what is done next.
    fn note(&self, text: &str);

    /// Calls a function of the component that makes components (see
    /// [`componentize`](super::build::componentize)). It may read the project's directory `wit`, and read and
    /// write `build`.
    ///
    /// # Errors
    ///
    /// [`AuthoringError::Build`] with the error that it returns.
    fn call(&self, project: &Project, function: &str, arguments: &Value) -> Result<(), AuthoringError>;
}

impl Project {
    /// Joins a path to its directory.
    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    /// Cuts a path in it down to what tools see that are run there.
    pub fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.directory).unwrap_or(path)
    }

    /// Puts the package `wasm-runner:task` where the language's tools look for it,
    /// if the project imports it and does not have it.
    pub fn provide_task_wit(&self) -> Result<(), AuthoringError> {
        names::provide_task_package(&self.path("wit"))
    }

    /// Tells whether the project says in `wit` which tasks it has; `wit/deps` is of others.
    pub fn has_wit(&self) -> Result<bool, AuthoringError> {
        let wit = self.path("wit");
        Ok(wit.is_dir() && names::has_files(&wit)?)
    }

    /// Reads the world that the project's component is made for: the only one that its
    /// WIT declares.
    /// [`AuthoringError::Build`] if there is none, or there are several.
    pub fn world(&self) -> Result<String, AuthoringError> {
        names::only_world(&self.path("wit"))
    }

    /// Makes the file of the component `name`, and returns its path. `make` writes a draft
    /// first: a build that fails leaves the previous component as it was.
    pub fn produce(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<(), AuthoringError>,
    ) -> Result<PathBuf, AuthoringError> {
        let folder = self.path("build");
        let path = folder.join(format!("{name}.wasm"));
        let draft = folder.join(format!("{name}.draft.wasm"));
        let failed = AuthoringError::cannot("written", &path);
        fs::create_dir_all(&folder).map_err(&failed)?;
        let made = make(&draft).and_then(|()| fs::rename(&draft, &path).map_err(&failed));
        if made.is_err() {
            // What is left of it is of no use; if it can't be removed, so be it.
            let _ = fs::remove_file(&draft);
        }
        made.map(|()| path.clone())
    }

    /// Removes a directory that an earlier build made, so that nothing is left of what is gone.
    pub fn clear(&self, folder: &str) -> Result<(), AuthoringError> {
        let folder = self.path(folder);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(AuthoringError::cannot("removed", &folder)(error))
            }
            _ => Ok(()),
        }
    }

    /// Writes files of `sdk` below a directory.
    pub fn install(&self, folder: &str, files: &[File]) -> Result<(), AuthoringError> {
        files.iter().try_for_each(|file| self.write(&format!("{folder}/{}", file.path), file.template))
    }

    /// Writes a file, and the directories that it is in.
    pub fn write(&self, path: &str, text: &str) -> Result<(), AuthoringError> {
        let path = self.path(path);
        let parent = path.parent().unwrap_or(&self.directory);
        let written = fs::create_dir_all(parent).and_then(|()| fs::write(&path, text));
        written.map_err(AuthoringError::cannot("written", &path))
    }

    /// Copies all files below a directory, and nothing else is left in the copy. Returns its path.
    pub fn copy(&self, from: &str, to: &str) -> Result<PathBuf, AuthoringError> {
        self.clear(to)?;
        let to = self.path(to);
        copy(&self.path(from), &to).map_err(AuthoringError::cannot("written", &to))?;
        Ok(to)
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (path, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        match path.is_dir() {
            true => copy(&path, &to)?,
            false => drop(fs::copy(&path, &to)?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authoring::languages::LANGUAGES;

    #[test]
    fn a_build_that_fails_leaves_the_previous_component() {
        let place = tempfile::tempdir().expect("a directory");
        let project = Project { directory: place.path().to_owned(), language: LANGUAGES[0] };
        let write = |text: &'static str| {
            move |path: &Path| fs::write(path, text).map_err(|error| AuthoringError::build(error.to_string()))
        };
        let path = project.produce("hello", write("first")).expect("produced");
        assert_eq!(path, place.path().join("build/hello.wasm"));
        let failing = |path: &Path| write("half")(path).and_then(|()| Err(AuthoringError::build("no")));
        project.produce("hello", failing).expect_err("it failed");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "first");
        assert_eq!(fs::read_dir(place.path().join("build")).expect("a folder").count(), 1);
    }
}
