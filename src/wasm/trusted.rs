//! The files and directories that the runner trusts: nobody else can have changed them.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Makes a directory for files of the runner's own, and returns its path without links, which others could point
/// elsewhere.
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
    check_above(&directory)?;
    Ok(directory)
}

/// Checks that nobody but this user and root can have decided what is at a path: the link there, if it is one,
/// what that leads to, and the directories above both.
///
/// # Errors
///
/// The reason for which it is not trusted, with the path that is to blame; or that nothing is there.
pub fn check_trusted(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    check_owner(path, &found)?;
    let mut directory = path.parent().unwrap_or(path).canonicalize()?;
    if let Some(name) = path.file_name() {
        directory.push(name);
    }
    check_above(&directory)?;
    let real = path.canonicalize()?;
    let metadata = fs::symlink_metadata(&real)?;
    check_owner(&real, &metadata)?;
    // A group of one's own is common, and where each user has one, files are writable for it.
    let is_ours = |group: u32| group == 0 || group == rustix::process::getegid().as_raw();
    let others = if is_ours(metadata.gid()) { 0o002 } else { 0o022 };
    if metadata.mode() & others != 0 && !is_sticky(&metadata) {
        return Err(writable(&real));
    }
    check_above(&real)
}

/// Checks the directories above a path without links: the owner of one can rename what is in it, and so can everybody
/// who may write to it. (That a group may is common, where each user has one.)
fn check_above(path: &Path) -> io::Result<()> {
    for parent in path.ancestors().skip(1) {
        let metadata = fs::symlink_metadata(parent)?;
        check_owner(parent, &metadata)?;
        if metadata.mode() & 0o002 != 0 && !is_sticky(&metadata) {
            return Err(writable(parent));
        }
    }
    Ok(())
}

/// Whether nobody can rename or remove another's file in a directory.
fn is_sticky(metadata: &Metadata) -> bool {
    metadata.is_dir() && metadata.mode() & 0o1000 != 0
}

fn check_owner(path: &Path, metadata: &Metadata) -> io::Result<()> {
    if metadata.uid() == 0 || is_ours(metadata) {
        return Ok(());
    }
    let owner = metadata.uid();
    Err(io::Error::other(format!("`{}` belongs to another user (uid {owner})", path.display())))
}

fn writable(path: &Path) -> io::Error {
    io::Error::other(format!("other users can write to `{}`", path.display()))
}

/// Whether a file belongs to the user that we run as.
pub(super) fn is_ours(metadata: &Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}
