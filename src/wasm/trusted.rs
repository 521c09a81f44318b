//! Directories that the runner trusts with files of its own: nobody else may change what is in them.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Makes a directory and returns its path without links, which others could point elsewhere.
///
/// # Errors
///
/// The reason for which it can't be made, or trusted.
pub(super) fn make_trusted(directory: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let directory = directory.canonicalize()?;
    let metadata = fs::symlink_metadata(&directory)?;
    if !metadata.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    if !is_ours(&metadata) {
        return Err(io::Error::other("it belongs to another user"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other("other users can write to it; `chmod go-w` makes it usable"));
    }
    // The owner of a directory can rename what is in it, and so can everybody who may write to it. (That a
    // group may is common, where each user has one.)
    for parent in directory.ancestors().skip(1) {
        let metadata = fs::symlink_metadata(parent)?;
        if metadata.uid() != 0 && !is_ours(&metadata) {
            return Err(io::Error::other(format!("`{}` belongs to another user", parent.display())));
        }
        let is_sticky = metadata.mode() & 0o1000 != 0;
        if metadata.mode() & 0o002 != 0 && !is_sticky {
            return Err(io::Error::other(format!("other users can write to `{}`", parent.display())));
        }
    }
    Ok(directory)
}

/// Whether a file belongs to the user that we run as.
pub(super) fn is_ours(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}
