//! Scratch directories of attempts: each with a quota, empty at the beginning and removed at the end.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, flock, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::trusted::make_trusted;
use crate::model::draw_uuid;

/// A scratch directory that guests are given.
#[derive(Debug, Clone)]
pub struct ScratchGrant {
    /// Its path in the guest.
    pub guest: String,
    /// The most bytes in all of its files together.
    pub bytes: u64,
    /// The most files, directories and links in it.
    pub files: u64,
    /// The place of the directories, once it was set; shared with all clones.
    place: Arc<OnceLock<Arc<ScratchPlace>>>,
}

impl ScratchGrant {
    /// Makes a grant that has no place yet.
    pub fn new(guest: String, bytes: u64, files: u64) -> Self {
        Self { guest, bytes, files, place: Arc::default() }
    }

    /// Sets the place of its directories: the first time counts.
    pub(super) fn make_in(&self, place: &Arc<ScratchPlace>) {
        let _ = self.place.set(Arc::clone(place));
    }

    /// Makes a new, empty directory.
    pub(super) fn create(&self) -> io::Result<ScratchDirectory> {
        self.place.get().ok_or_else(|| io::Error::other("nobody said where"))?.create()
    }
}

/// The place of a process's scratch directories: a directory of its own within one that all processes share,
/// with a lock file beside it that is locked for as long as the process lives. Made when it is first needed.
#[derive(Debug)]
pub(super) struct ScratchPlace {
    shared: PathBuf,
    own: Mutex<Option<Own>>,
}

#[derive(Debug)]
struct Own {
    directory: PathBuf,
    lock: PathBuf,
    _locked: File,
    /// Scratch directories made so far.
    made: u64,
    left: Left,
}

impl ScratchPlace {
    /// Chooses a place in the cache directory, or in the system's directory for temporary files.
    pub(super) fn new(cache: Option<&Path>) -> Self {
        let shared = match cache {
            Some(cache) => cache.join("scratch"),
            None => {
                let user = rustix::process::getuid().as_raw();
                std::env::temp_dir().join(format!("run-wasm-runner-scratch-{user}"))
            }
        };
        Self { shared, own: Mutex::new(None) }
    }

    fn create(&self) -> io::Result<ScratchDirectory> {
        let mut own = self.own.lock();
        let own = match &mut *own {
            Some(own) => own,
            none => none.insert(Own::new(&self.shared)?),
        };
        let left: Vec<_> = std::mem::take(&mut *own.left.lock());
        own.left.lock().extend(left.into_iter().filter(|directory| remove(directory).is_err()));
        let path = own.directory.join(own.made.to_string());
        own.made += 1;
        private().create(&path)?;
        Ok(ScratchDirectory { path, left: Arc::clone(&own.left) })
    }
}

fn private() -> fs::DirBuilder {
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// The directories whose removal failed: it is tried again before the next one is made.
type Left = Arc<Mutex<Vec<PathBuf>>>;

impl Own {
    fn new(shared: &Path) -> io::Result<Self> {
        let shared = &make_trusted(shared)?;
        remove_stale(shared);
        loop {
            let name = draw_uuid().to_string();
            let (directory, lock) = (shared.join(&name), shared.join(format!("{name}.lock")));
            let locked = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&lock)?;
            // Another process may have found it before it was locked, and taken it for a stale one.
            if flock(&locked, FlockOperation::NonBlockingLockExclusive).is_err()
                || locked.metadata()?.nlink() == 0
            {
                continue;
            }
            private().create(&directory)?;
            return Ok(Self { directory, lock, _locked: locked, made: 0, left: Left::default() });
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Last: a directory without a lock file is not found any more.
        if remove(&self.directory).is_ok() {
            let _ = fs::remove_file(&self.lock);
        }
    }
}

/// Removes the directories of processes that are gone: nobody holds their locks.
fn remove_stale(shared: &Path) {
    let Ok(entries) = fs::read_dir(shared) else { return };
    for lock in entries.flatten().map(|entry| entry.path()) {
        if lock.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let Ok(file) = OpenOptions::new().write(true).open(&lock) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && remove(&lock.with_extension("")).is_ok()
        {
            let _ = fs::remove_file(&lock);
        }
    }
}

/// Removes a directory with all that is in it, and says so in the log if it can't.
fn remove(directory: &Path) -> io::Result<()> {
    let removed = remove_flat(directory);
    removed.inspect_err(|error| {
        tracing::warn!(
            directory = %directory.display(), %error,
            "a scratch directory can't be removed now; it is tried again"
        );
    })
}

/// Removes a directory with a handful of descriptors and paths of two names, however deep it is: the
/// directories in a directory in it are moved up before it is removed.
fn remove_flat(directory: &Path) -> io::Result<()> {
    const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
    let top = match openat(CWD, directory, DIRECTORY, Mode::empty()) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut moved = 0_u64;
    loop {
        // What an operation of a guest that was dropped meanwhile puts into it is found in the next round.
        let mut is_empty = true;
        for (name, kind) in entries(&top)? {
            is_empty = false;
            if kind != FileType::Directory {
                unlinkat(&top, &name, AtFlags::empty())?;
                continue;
            }
            let inner = openat(&top, &name, DIRECTORY, Mode::empty())?;
            for (child, kind) in entries(&inner)? {
                if kind != FileType::Directory {
                    unlinkat(&inner, &child, AtFlags::empty())?;
                    continue;
                }
                // The guest may have given the same name.
                loop {
                    moved += 1;
                    match renameat(&inner, &child, &top, format!("moved-{moved}")) {
                        Ok(()) => break,
                        Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            match unlinkat(&top, &name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOTEMPTY) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if is_empty {
            match unlinkat(CWD, directory, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY) => {}
                removed => return Ok(removed?),
            }
        }
    }
}

/// Lists a directory: names and kinds.
fn entries(directory: &OwnedFd) -> io::Result<Vec<(std::ffi::CString, FileType)>> {
    let mut listed = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                FileType::from_raw_mode(statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode)
            }
            kind => kind,
        };
        listed.push((name.to_owned(), kind));
    }
    Ok(listed)
}

/// The scratch directory of one attempt. Removed by the thread that drops it: a slot gets its next guest only
/// after that, so directories do not pile up.
pub(super) struct ScratchDirectory {
    pub(super) path: PathBuf,
    left: Left,
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        if remove(&self.path).is_err() {
            self.left.lock().push(std::mem::take(&mut self.path));
        }
    }
}

/// The identity of a file, by whatever name.
pub(super) type FileKey = (u64, u64);

/// The contents of one scratch directory, counted against its limits.
pub(super) struct Quota {
    bytes: u64,
    files: u64,
    state: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    bytes: u64,
    entries: u64,
    files: HashMap<FileKey, Known>,
}

#[derive(Default)]
struct Known {
    size: u64,
    links: u64,
    open: u64,
}

impl Quota {
    pub(super) fn new(grant: &ScratchGrant) -> Self {
        Self { bytes: grant.bytes, files: grant.files, state: Mutex::default() }
    }

    /// The limits in words, for a message.
    pub(super) fn limits(&self) -> String {
        format!("{} bytes and {} files", self.bytes, self.files)
    }

    /// Whether there is room for one more name.
    pub(super) fn has_room_for_entry(&self) -> bool {
        self.state.lock().entries < self.files
    }

    /// Counts one more name.
    pub(super) fn add_entry(&self) {
        self.state.lock().entries += 1;
    }

    /// Counts one name less: that of `file`, if it was a file's.
    pub(super) fn remove_entry(&self, file: Option<FileKey>) {
        let mut state = self.state.lock();
        state.entries = state.entries.saturating_sub(1);
        if let Some(key) = file {
            state.change(key, |known| known.links = known.links.saturating_sub(1));
        }
    }

    /// Notes that a file has one more name.
    pub(super) fn link(&self, key: FileKey) {
        if let Some(known) = self.state.lock().files.get_mut(&key) {
            known.links += 1;
        }
    }

    /// Notes that a file was opened, and whether that created or emptied it.
    pub(super) fn open(&self, key: FileKey, is_new: bool, is_emptied: bool) {
        let mut state = self.state.lock();
        let known = state.files.entry(key).or_default();
        known.open += 1;
        known.links += u64::from(is_new);
        if is_emptied {
            let freed = std::mem::take(&mut known.size);
            state.bytes = state.bytes.saturating_sub(freed);
        }
    }

    /// Notes that a file was closed, once for each time that it was opened.
    pub(super) fn close(&self, key: FileKey) {
        self.state.lock().change(key, |known| known.open = known.open.saturating_sub(1));
    }

    /// Makes room in a file up to `end`; `false` if there is none.
    pub(super) fn grow(&self, key: FileKey, end: End) -> bool {
        let mut state = self.state.lock();
        let bytes = state.bytes;
        let Some(known) = state.files.get_mut(&key) else { return false };
        let end = match end {
            End::At(end) => end,
            End::Behind(more) => known.size.saturating_add(more),
        };
        let more = end.saturating_sub(known.size);
        match bytes.checked_add(more).filter(|bytes| *bytes <= self.bytes) {
            Some(bytes) => {
                known.size = known.size.max(end);
                state.bytes = bytes;
                true
            }
            None => more == 0,
        }
    }

    /// Notes that a file was cut to this size, if it was longer.
    pub(super) fn shrink(&self, key: FileKey, size: u64) {
        let mut state = self.state.lock();
        let Some(known) = state.files.get_mut(&key) else { return };
        let freed = known.size.saturating_sub(size);
        known.size -= freed;
        state.bytes = state.bytes.saturating_sub(freed);
    }
}

/// The end of a write.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// So many bytes from the beginning of the file.
    At(u64),
    /// So many bytes behind its present end.
    Behind(u64),
}

impl Contents {
    /// Changes the record of a file, and forgets a file that has no name and is not open: its bytes are free.
    fn change(&mut self, key: FileKey, change: impl FnOnce(&mut Known)) {
        let Some(known) = self.files.get_mut(&key) else { return };
        change(known);
        if known.links == 0 && known.open == 0 {
            self.bytes = self.bytes.saturating_sub(known.size);
            self.files.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: FileKey = (1, 1);
    const B: FileKey = (2, 2);

    fn quota() -> Quota {
        Quota::new(&ScratchGrant::new("/tmp".to_owned(), 100, 3))
    }

    #[test]
    fn bytes_are_those_of_files_that_have_a_name_or_are_open() {
        let quota = quota();
        quota.open(A, true, false);
        quota.add_entry();
        assert!(quota.grow(A, End::At(60)) && quota.grow(A, End::At(10)) && quota.grow(A, End::Behind(40)));
        assert!(!quota.grow(A, End::Behind(1)), "full");
        quota.open(B, true, false);
        assert!(!quota.grow(B, End::At(1)) && quota.grow(B, End::At(0)));
        quota.remove_entry(Some(A));
        assert!(!quota.grow(B, End::At(1)), "it has no name, but is open");
        quota.close(A);
        assert!(quota.grow(B, End::At(100)));
        quota.shrink(B, 30);
        assert!(quota.grow(B, End::Behind(70)) && !quota.grow(B, End::Behind(1)));
        quota.open(B, false, true);
        assert!(quota.grow(B, End::At(100)), "it was emptied");
        assert!(!quota.grow(B, End::At(u64::MAX)) && !quota.grow(B, End::Behind(u64::MAX)));
    }

    #[test]
    fn a_file_with_two_names_lives_until_both_are_gone() {
        let quota = quota();
        quota.open(A, true, false);
        assert!(quota.grow(A, End::At(100)));
        quota.close(A);
        quota.link(A);
        quota.remove_entry(Some(A));
        quota.open(B, true, false);
        assert!(!quota.grow(B, End::At(1)));
        quota.remove_entry(Some(A));
        assert!(quota.grow(B, End::At(100)));
    }

    #[test]
    fn a_tree_of_any_depth_is_removed_with_few_descriptors() {
        let cache = tempfile::tempdir().unwrap();
        let place = ScratchPlace::new(Some(cache.path()));
        let directory = place.create().unwrap();
        let path = directory.path.clone();
        // Deeper than a path may be long, with names that the removal itself would give.
        let mut at = openat(CWD, &path, OFlags::DIRECTORY, Mode::empty()).unwrap();
        for depth in 0..3_000 {
            let name = format!("moved-{}", depth % 7 + 1);
            rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
            if depth % 100 == 0 {
                let flags = OFlags::CREATE | OFlags::WRONLY;
                openat(&at, "a-file", flags, Mode::RUSR).unwrap();
                rustix::fs::symlinkat("/", &at, "a-link").unwrap();
                rustix::fs::mkdirat(&at, "aside", Mode::RWXU).unwrap();
            }
            at = openat(&at, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        drop(at);
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_that_others_could_change_is_not_trusted() {
        let cache = tempfile::tempdir().unwrap();
        let shared = cache.path().join("scratch");
        fs::create_dir(&shared).unwrap();
        let with_mode = |path: &Path, mode: u32| {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            ScratchPlace::new(Some(cache.path())).create().map(drop).map_err(|error| error.to_string())
        };
        assert!(with_mode(&shared, 0o777).unwrap_err().contains("other users can write to it"));
        assert_eq!(with_mode(&shared, 0o700), Ok(()));
        assert!(with_mode(cache.path(), 0o777).unwrap_err().contains("other users can write to `"));
        assert_eq!(with_mode(cache.path(), 0o1777), Ok(()), "nobody can rename another's file there");
    }

    #[test]
    fn what_the_dead_left_is_removed_and_what_the_living_have_is_not() {
        let cache = tempfile::tempdir().unwrap();
        let living = ScratchPlace::new(Some(cache.path()));
        let directory = living.create().unwrap();
        fs::write(directory.path.join("file"), "x").unwrap();
        let shared = cache.path().join("scratch");
        // As after a kill: the lock file is there, and nobody holds it.
        fs::create_dir_all(shared.join("dead/0/deep")).unwrap();
        fs::write(shared.join("dead/0/deep/file"), "x").unwrap();
        fs::write(shared.join("dead.lock"), "").unwrap();
        let next = ScratchPlace::new(Some(cache.path()));
        let other = next.create().unwrap();
        assert!(!shared.join("dead").exists() && !shared.join("dead.lock").exists());
        assert!(directory.path.join("file").exists(), "it is in use");
        let (first, second) = (directory.path.clone(), other.path.clone());
        assert_ne!(first, second);
        drop(directory);
        assert!(!first.exists() && second.exists());
        drop((other, living, next));
        assert_eq!(fs::read_dir(&shared).unwrap().count(), 0, "nothing is left");
    }
}
