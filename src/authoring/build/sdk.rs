//! The SDKs of projects without WIT: the module that their tasks are written with, and the
//! program that makes WIT of their types. `build` puts them into place.

use std::fs;
use std::io;
use std::path::Path;

use crate::authoring::AuthoringError;

/// A file of an SDK: its path and its text.
pub type File = (&'static str, &'static str);

macro_rules! files {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../sdk/", $folder, "/", $path)))),*]
    };
}

/// The files for `build/python`.
pub const PYTHON: &[File] = files!(
    "python": "wasm_runner/__init__.py", "wasm_runner/_build.py", "wasm_runner/_entry.py",
    "wasm_runner/_loop.py", "wasm_runner/_types.py",
);

/// The files for `build/sdk`.
pub const TYPESCRIPT: &[File] = files!("typescript": "describe.mjs", "event-loop.ts", "wasm-runner.ts");

/// Removes a directory that an earlier build made, so that nothing is left of what is gone.
pub fn clear(folder: &Path) -> Result<(), AuthoringError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(AuthoringError::cannot("removed", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Writes files below a directory.
pub fn write(folder: &Path, files: &[File]) -> Result<(), AuthoringError> {
    for (path, text) in files {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        let written = fs::create_dir_all(parent).and_then(|()| fs::write(&path, text));
        written.map_err(AuthoringError::cannot("written", &path))?;
    }
    Ok(())
}
