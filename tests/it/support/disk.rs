//! A disk between SQLite and the files, which can fail and whose power can fail.
//!
//! It is a VFS of SQLite that hands everything on to the usual one, and keeps a
//! record of each write, truncation, sync and deletion of a database, its journal
//! and its log. From the record it reconstructs the files that a loss of power would leave
//! at any moment: all synced writes, and any part of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rusqlite::ffi;

/// Disks write whole sectors or nothing.
const SECTOR: usize = 512;

/// Something that changes a file.
#[derive(Debug, Clone)]
enum Change {
    /// A connection has it open; what it holds now, if it was there.
    Opened(Option<Arc<[u8]>>),
    Write(usize, Arc<[u8]>),
    Truncate(usize),
    Sync,
    /// The sync failed: what was to be synced may never come to the disk, though
    /// later syncs succeed.
    FailedSync,
    /// With whether the directory was synced after it.
    Delete(bool),
}

/// Which operations fail, and how.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    /// The first, counted from 1 as [`Disk::operations`] does.
    pub at: usize,
    /// The number of operations from there.
    pub count: usize,
    /// The error that SQLite is told.
    pub code: c_int,
    /// True if reads fail, and not the operations that change a file.
    pub of_reads: bool,
}

#[derive(Default)]
struct State {
    record: Vec<(PathBuf, Change)>,
    /// Writes, truncations and syncs so far.
    operations: usize,
    /// Reads so far.
    reads: usize,
    failure: Option<Failure>,
    failed: usize,
}

/// A disk. Its VFS stays registered as long as the process lives.
pub struct Disk {
    name: String,
    state: &'static Mutex<State>,
}

/// The state that the VFS and its files share.
struct Shared {
    usual: *mut ffi::sqlite3_vfs,
    state: &'static Mutex<State>,
}

/// An open file: SQLite knows the first field. The file of the usual VFS lies
/// behind it in the same allocation.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    state: &'static Mutex<State>,
    /// `None` if nothing of it is to survive: a temporary file.
    path: Option<Box<PathBuf>>,
}

/// Where the file of the usual VFS lies behind ours: aligned for anything.
const INNER_OFFSET: usize = size_of::<File>().next_multiple_of(16);

impl Disk {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("disk-{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let state: &'static Mutex<State> = Box::leak(Box::default());
        // SAFETY: asks for the default VFS, which SQLite never unregisters.
        let usual = unsafe {
            ffi::sqlite3_initialize();
            ffi::sqlite3_vfs_find(std::ptr::null())
        };
        let shared: &'static Shared = Box::leak(Box::new(Shared { usual, state }));
        // SAFETY: a plain struct of numbers, pointers and function pointers.
        let usual = unsafe { *usual };
        let vfs = ffi::sqlite3_vfs {
            szOsFile: usual.szOsFile + INNER_OFFSET as c_int,
            pNext: std::ptr::null_mut(),
            zName: CString::new(name.as_str()).expect("no zero in it").into_raw(),
            pAppData: std::ptr::from_ref(shared).cast_mut().cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            // The others know nothing of the VFS that they are called for.
            ..usual
        };
        // SAFETY: the VFS and everything that it points to live for ever.
        let registered = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 0) };
        assert_eq!(registered, ffi::SQLITE_OK);
        Self { name, state }
    }

    /// The name of the VFS.
    pub fn vfs(&self) -> &str {
        &self.name
    }

    /// Counts the operations that can fail.
    pub fn operations(&self) -> usize {
        self.state.lock().operations
    }

    /// Counts the reads.
    pub fn reads(&self) -> usize {
        self.state.lock().reads
    }

    /// Lets operations fail.
    pub fn fail(&self, failure: Failure) {
        self.state.lock().failure = Some(failure);
    }

    /// Counts the failed operations.
    pub fn failed(&self) -> usize {
        self.state.lock().failed
    }

    /// Returns the length of the record: a moment.
    pub fn moment(&self) -> usize {
        self.state.lock().record.len()
    }

    /// Writes into `directory` what a loss of power at `moment` leaves. `random`
    /// decides about what was not synced.
    pub fn lose_power(&self, moment: usize, random: &mut Random, directory: &Path) {
        let mut files: BTreeMap<PathBuf, Platter> = BTreeMap::new();
        let mut created = BTreeSet::new();
        for (path, change) in &self.state.lock().record[..moment] {
            files.entry(path.clone()).or_default().apply(change);
            match change {
                Change::Opened(None) => drop(created.insert(path.clone())),
                // The first sync of a new journal or log is that of its directory too.
                Change::Sync if created.remove(path) => files.values_mut().for_each(Platter::settle_names),
                _ => {}
            }
        }
        for (path, file) in files {
            if let Some(bytes) = file.after_power_loss(random) {
                let name = path.file_name().expect("it is a file");
                std::fs::write(directory.join(name), bytes).expect("a copy is written");
            }
        }
    }
}

/// Tells whether a change is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certainty {
    /// It was synced.
    Sure,
    /// The next sync makes sure.
    Pending,
    /// Its sync has failed, and no other will make sure.
    Doomed,
}

/// The knowledge about a file on the disk.
#[derive(Default)]
struct Platter {
    is_known: bool,
    /// True if there is a file, or may be.
    exists: bool,
    /// The bytes that are surely there; `None` if perhaps not even the file is.
    synced: Option<Vec<u8>>,
    /// The changes since, in order.
    changes: Vec<(Change, Certainty)>,
}

fn write(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

fn change(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, data) => write(bytes, *at, data),
        Change::Truncate(size) => bytes.resize(*size, 0),
        Change::Delete(_) => bytes.clear(),
        Change::Opened(_) | Change::Sync | Change::FailedSync => {}
    }
}

impl Platter {
    fn apply(&mut self, next: &Change) {
        match next {
            Change::Opened(contents) => {
                if !std::mem::replace(&mut self.is_known, true) {
                    self.synced = contents.as_ref().map(|bytes| bytes.to_vec());
                }
                self.exists = true;
            }
            Change::Write(..) | Change::Truncate(_) | Change::Delete(false) => {
                self.changes.push((next.clone(), Certainty::Pending));
            }
            Change::Delete(true) => *self = Self { is_known: true, ..Self::default() },
            Change::Sync => self.settle(Certainty::Sure),
            Change::FailedSync => self.settle(Certainty::Doomed),
        }
    }

    fn settle(&mut self, certainty: Certainty) {
        for (_, pending) in self.changes.iter_mut().filter(|(_, now)| *now == Certainty::Pending) {
            *pending = certainty;
        }
        if certainty == Certainty::Sure {
            let bytes = self.synced.get_or_insert_default();
            let sure = self.changes.iter().take_while(|(_, certainty)| *certainty == Certainty::Sure).count();
            for (sure, _) in self.changes.drain(..sure) {
                change(bytes, &sure);
            }
        }
    }

    /// Its directory was synced: whether there is such a file is sure.
    fn settle_names(&mut self) {
        let deleted = self.changes.iter().rposition(|(change, _)| matches!(change, Change::Delete(_)));
        if let Some(deleted) = deleted {
            self.changes.drain(..=deleted);
            self.synced = None;
            self.exists = !self.changes.is_empty();
        }
        if self.exists {
            self.synced.get_or_insert_default();
        }
    }

    /// Its bytes, if it is there.
    fn after_power_loss(self, random: &mut Random) -> Option<Vec<u8>> {
        if !self.exists || self.synced.is_none() && random.below(2) == 0 {
            return None;
        }
        let mut bytes = self.synced.unwrap_or_default();
        // Three in ten times nothing of what is not sure, three in ten all of it.
        let mood = random.below(10);
        for (next, certainty) in self.changes {
            let luck = match mood {
                _ if certainty == Certainty::Sure => 3,
                0..3 => 0,
                3..6 => 3,
                _ => random.below(4),
            };
            match (&next, luck) {
                (_, 0) => {}
                (Change::Write(at, data), 1) => {
                    for (index, sector) in data.chunks(SECTOR).enumerate() {
                        if random.below(2) == 0 {
                            write(&mut bytes, at + index * SECTOR, sector);
                        }
                    }
                }
                (Change::Delete(_), _) => return None,
                _ => change(&mut bytes, &next),
            }
        }
        Some(bytes)
    }
}

/// Small, and good enough to choose with. (SplitMix64)
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % end
    }
}

impl State {
    /// Counts an operation; what it fails with, if it does.
    fn operate(&mut self, is_read: bool) -> Option<c_int> {
        let count = if is_read { &mut self.reads } else { &mut self.operations };
        *count += 1;
        let failure = self.failure.filter(|failure| failure.of_reads == is_read)?;
        let fails = (failure.at..failure.at.saturating_add(failure.count)).contains(count);
        self.failed += usize::from(fails);
        fails.then_some(failure.code)
    }
}

const METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write_file),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: Some(fetch),
    xUnfetch: Some(unfetch),
};
static IO: ffi::sqlite3_io_methods = METHODS;

/// # Safety
///
/// `file` must have been opened by [`open`].
unsafe fn inner(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: `szOsFile` has room for both, one behind the other.
    unsafe { file.byte_add(INNER_OFFSET) }
}

/// Hands a call on to the file of the usual VFS.
macro_rules! hand_on {
    ($($name:ident: $method:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $type)*) -> $result {
            // SAFETY: SQLite calls it with a file that `open` has opened, whose
            // usual file has all methods of version 3.
            unsafe {
                let inner = inner(file);
                (*(*inner).pMethods).$method.expect("a unix file has it")(inner $(, $argument)*)
            }
        })*
    };
}

hand_on! {
    file_size: xFileSize(size: *mut i64) -> c_int;
    lock: xLock(level: c_int) -> c_int;
    unlock: xUnlock(level: c_int) -> c_int;
    check_reserved_lock: xCheckReservedLock(is_held: *mut c_int) -> c_int;
    file_control: xFileControl(operation: c_int, argument: *mut c_void) -> c_int;
    sector_size: xSectorSize() -> c_int;
    device_characteristics: xDeviceCharacteristics() -> c_int;
    shm_map: xShmMap(page: c_int, size: c_int, extend: c_int, to: *mut *mut c_void) -> c_int;
    shm_lock: xShmLock(offset: c_int, count: c_int, flags: c_int) -> c_int;
    shm_barrier: xShmBarrier() -> ();
    shm_unmap: xShmUnmap(delete: c_int) -> c_int;
    fetch: xFetch(at: i64, amount: c_int, to: *mut *mut c_void) -> c_int;
    unfetch: xUnfetch(at: i64, page: *mut c_void) -> c_int;
}

/// Does an operation that can fail, and records it if it succeeds.
///
/// # Safety
///
/// `file` must have been opened by [`open`].
unsafe fn operate(
    file: *mut ffi::sqlite3_file,
    change: impl FnOnce() -> Change,
    call: impl FnOnce(*mut ffi::sqlite3_file, &ffi::sqlite3_io_methods) -> c_int,
) -> c_int {
    // SAFETY: by the caller.
    let (inner, file) = unsafe { (inner(file), &*file.cast::<File>()) };
    let Some(path) = &file.path else {
        // SAFETY: as above.
        return call(inner, unsafe { &*(*inner).pMethods });
    };
    // Held over the call: the order of the record is the order of the disk.
    let mut state = file.state.lock();
    if let Some(code) = state.operate(false) {
        if matches!(change(), Change::Sync) {
            state.record.push((path.to_path_buf(), Change::FailedSync));
        }
        return code;
    }
    // SAFETY: as above.
    let result = call(inner, unsafe { &*(*inner).pMethods });
    if result == ffi::SQLITE_OK {
        state.record.push((path.to_path_buf(), change()));
    }
    result
}

unsafe extern "C" fn write_file(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    amount: c_int,
    at: i64,
) -> c_int {
    let length = usize::try_from(amount).expect("a length");
    // SAFETY: SQLite hands over that many bytes, and a file of ours.
    unsafe {
        let bytes = || Arc::from(std::slice::from_raw_parts(from.cast::<u8>(), length));
        operate(
            file,
            || Change::Write(usize::try_from(at).expect("a place"), bytes()),
            |inner, methods| methods.xWrite.expect("a unix file has it")(inner, from, amount, at),
        )
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, amount: c_int, at: i64) -> c_int {
    // SAFETY: a file of ours.
    unsafe {
        let (inner, file) = (inner(file), &*file.cast::<File>());
        if file.path.is_some()
            && let Some(code) = file.state.lock().operate(true)
        {
            return code;
        }
        (*(*inner).pMethods).xRead.expect("a unix file has it")(inner, to, amount, at)
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: a file of ours.
    unsafe {
        operate(
            file,
            || Change::Truncate(usize::try_from(size).expect("a size")),
            |inner, methods| methods.xTruncate.expect("a unix file has it")(inner, size),
        )
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: a file of ours.
    unsafe {
        operate(
            file,
            || Change::Sync,
            |inner, methods| methods.xSync.expect("a unix file has it")(inner, flags),
        )
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes each file that was opened once.
    unsafe {
        let inner = inner(file);
        let result = (*(*inner).pMethods).xClose.expect("a unix file has it")(inner);
        std::ptr::drop_in_place(&raw mut (*file.cast::<File>()).path);
        result
    }
}

/// # Safety
///
/// `vfs` must be one that [`Disk::new`] has registered.
unsafe fn shared(vfs: *mut ffi::sqlite3_vfs) -> &'static Shared {
    // SAFETY: by the caller; it lives for ever.
    unsafe { &*(*vfs).pAppData.cast::<Shared>() }
}

/// # Safety
///
/// `name` must be a name that SQLite hands over.
unsafe fn path_of(name: *const c_char) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    // SAFETY: by the caller it ends with a zero.
    let name = unsafe { CStr::from_ptr(name) };
    Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())).to_owned()
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    const LASTING: c_int = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_WAL;
    // SAFETY: SQLite hands over a VFS of ours, room for `szOsFile` bytes, and a
    // name or null.
    unsafe {
        let shared = shared(vfs);
        let is_lasting = flags & LASTING != 0 && !name.is_null();
        let path = is_lasting.then(|| path_of(name));
        let before = path.as_ref().and_then(|path| std::fs::read(path).ok()).map(Arc::from);
        let place = file.cast::<File>();
        (*place).base.pMethods = std::ptr::null();
        let inner = inner(file);
        let result =
            (*shared.usual).xOpen.expect("a VFS opens files")(shared.usual, name, inner, flags, out_flags);
        if result == ffi::SQLITE_OK {
            if let Some(path) = &path {
                shared.state.lock().record.push((path.clone(), Change::Opened(before)));
            }
            let base = ffi::sqlite3_file { pMethods: &raw const IO };
            place.write(File { base, state: shared.state, path: path.map(Box::new) });
        }
        result
    }
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: SQLite hands over a VFS of ours and a name.
    unsafe {
        let shared = shared(vfs);
        let mut state = shared.state.lock();
        let result =
            (*shared.usual).xDelete.expect("a VFS deletes files")(shared.usual, name, sync_directory);
        if result == ffi::SQLITE_OK {
            state.record.push((path_of(name), Change::Delete(sync_directory != 0)));
        }
        result
    }
}
