//! The files of one guest: the `wasi:filesystem` of wasmtime-wasi, with every descriptor and every byte
//! counted.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::filesystem::{OpenMode, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsError, FsResult, InputStream, OutputStream, Pollable, StreamError,
    StreamResult,
};
use wasmtime_wasi::runtime::spawn_blocking;

use super::control::GuestControl;
use super::denials::Denials;
use super::file_refusals::{OPENING_TO_WRITE, Refusals};
use super::host_memory::{Held, HostMemory, HostMemoryExceeded};
use super::meter::{Allowance, Counter, Meter, Place};
use super::scratch::{End, FileKey, Quota, ScratchGrant};
use crate::model::LimitKind;
use types::{
    Descriptor, DescriptorType, ErrorCode, Filesize, HostDescriptor, MetadataHashValue, NewTimestamp,
    OpenFlags, PathFlags,
};

/// A handle of an open file or directory.
type Fd = Resource<Descriptor>;

/// Replaces the `wasi:filesystem` that a linker has already.
pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> FilesView<'_>,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    types::add_to_linker::<T, Granted>(linker, view)?;
    preopens::add_to_linker::<T, Granted>(linker, view)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The type by which a linker finds the files in the state of a guest.
struct Granted;

impl HasData for Granted {
    type Data<'a> = FilesView<'a>;
}

/// The open files of one guest, and the rest of its limits.
pub(super) struct Files {
    control: Arc<GuestControl>,
    /// Files and directories that may be open at once.
    places: Arc<Allowance>,
    /// Bytes that may be read and written.
    bytes: Allowance,
    /// The account on which streams and listings are.
    host_memory: Arc<HostMemory>,
    /// The names of directories that are being listed, by the handles of the listings.
    listings: Mutex<HashMap<u32, Held>>,
    /// The files that the guest has opened, by their descriptors, without the granted directories.
    opened: Mutex<HashMap<u32, Arc<Open>>>,
    scratch: Option<Scratch>,
    refusals: Refusals,
}

/// The scratch directory of one guest, with its quota.
struct Scratch {
    /// Its path in the guest.
    guest: String,
    quota: Arc<Quota>,
    /// Descriptors of it that the guest was given.
    roots: Mutex<HashSet<u32>>,
}

/// A file that is open, for its descriptor and for streams that outlive that.
struct Open {
    _place: Place,
    /// Whether it is in the scratch directory.
    is_scratch: bool,
    /// Its identity there, if it is a file.
    counted: Option<(Arc<Quota>, FileKey)>,
}

impl Open {
    /// Makes room in the scratch directory, if it is there.
    fn grow(&self, end: End) -> bool {
        self.counted.as_ref().is_none_or(|(quota, key)| quota.grow(*key, end))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some((quota, key)) = &self.counted {
            quota.close(*key);
        }
    }
}

impl Files {
    /// Allows at most `places` open files, and to read and write at most `bytes`.
    pub(super) fn new(
        places: u64,
        bytes: u64,
        scratch: Option<&ScratchGrant>,
        control: Arc<GuestControl>,
        host_memory: Arc<HostMemory>,
        denials: Arc<Denials>,
    ) -> Self {
        let scratch = scratch.map(|grant| Scratch {
            guest: grant.guest.clone(),
            quota: Arc::new(Quota::new(grant)),
            roots: Mutex::default(),
        });
        let (places, bytes) = (Arc::new(Allowance::new(places)), Allowance::new(bytes));
        let (opened, listings) = (Mutex::default(), Mutex::default());
        Self {
            control,
            places,
            bytes,
            host_memory,
            listings,
            opened,
            scratch,
            refusals: Refusals::new(denials),
        }
    }

    /// Tells what is denied of files.
    pub(super) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Takes a place for one more open file.
    fn take_place(&self) -> FsResult<Open> {
        let Some(place) = self.places.place() else {
            let limit = self.places.limit;
            let message = format!("the guest wanted more than its limit of {limit} open files");
            self.control.refuse(LimitKind::Files, message);
            // WASI has no error for too many open files.
            return Err(ErrorCode::Quota.into());
        };
        Ok(Open { _place: place, is_scratch: false, counted: None })
    }

    fn opened(&self, descriptor: &Fd) -> Option<Arc<Open>> {
        self.opened.lock().get(&descriptor.rep()).cloned()
    }

    /// The quota of the scratch directory, if a descriptor is in it.
    fn quota(&self, descriptor: &Fd) -> Option<Arc<Quota>> {
        let scratch = self.scratch.as_ref()?;
        let is_in_it = scratch.roots.lock().contains(&descriptor.rep())
            || self.opened(descriptor).is_some_and(|open| open.is_scratch);
        is_in_it.then(|| Arc::clone(&scratch.quota))
    }

    /// Counts the bytes that were read or written, and gives back the rest of the room.
    fn count(&self, counter: fn(&Meter) -> &Counter, bytes: u64, room: u64) {
        self.bytes.give_back(room.saturating_sub(bytes));
        counter(&self.control.meter).add(bytes);
    }

    /// Notes that the limit of bytes refused something, and returns the error for it.
    fn refuse_bytes(&self) -> ErrorCode {
        let limit = self.bytes.limit;
        let message =
            format!("the guest wanted to read and write more than its limit of {limit} bytes of files");
        self.control.refuse(LimitKind::FileBytes, message);
        ErrorCode::Quota
    }

    /// Charges bytes that the host will hold.
    fn hold(&self, bytes: u64) -> FsResult<Held> {
        self.host_memory.hold(bytes).map_err(|exceeded| self.refuse_memory(&exceeded).into())
    }

    /// Notes that the account of the host's memory refused something, and returns the error for it.
    fn refuse_memory(&self, exceeded: &HostMemoryExceeded) -> ErrorCode {
        self.control.refuse(LimitKind::HostMemory, exceeded.to_string());
        ErrorCode::InsufficientMemory
    }

    /// Notes that the scratch directory is full, and returns the error for it.
    fn refuse_room(&self) -> ErrorCode {
        let limits = self.scratch.as_ref().map(|scratch| scratch.quota.limits()).unwrap_or_default();
        let message = format!("the guest wanted more than its scratch directory's limit of {limits}");
        self.control.refuse(LimitKind::Scratch, message);
        ErrorCode::InsufficientSpace
    }

    /// The quota of two directories that a call is about, if both are in the scratch directory. If one is,
    /// they count as two disks: what is counted in one can't be had in the other.
    fn common_quota(&self, one: &Fd, other: &Fd) -> FsResult<Option<Arc<Quota>>> {
        let (one, other) = (self.quota(one), self.quota(other));
        if one.is_some() == other.is_some() { Ok(one) } else { Err(ErrorCode::CrossDevice.into()) }
    }

    /// Makes room for a write.
    fn make_room(&self, file: Option<&Arc<Open>>, end: End) -> FsResult<()> {
        if file.is_none_or(|open| open.grow(end)) { Ok(()) } else { Err(self.refuse_room().into()) }
    }
}

/// The files of one guest together with wasmtime-wasi's state of them.
pub(super) struct FilesView<'a> {
    pub(super) wasi: WasiFilesystemCtxView<'a>,
    pub(super) files: Arc<Files>,
}

impl FilesView<'_> {
    /// The identity of the file that a name in a directory stands for; `None` if there is no such name.
    async fn key_at(&mut self, directory: u32, flags: PathFlags, path: &str) -> Option<FileKey> {
        let directory = Resource::new_borrow(directory);
        let hash = self.wasi.metadata_hash_at(directory, flags, path.to_owned()).await.ok()?;
        Some((hash.lower, hash.upper))
    }

    /// Refuses to open a pipe, a socket or a device: opening it may keep a thread until somebody else opens it,
    /// whatever becomes of the guest. Files and directories that are not there are left to the call itself.
    async fn refuse_devices(&mut self, directory: &Fd, flags: PathFlags, path: &str) -> FsResult<()> {
        let directory = Resource::new_borrow(directory.rep());
        let Ok(found) = self.wasi.stat_at(directory, flags, path.to_owned()).await else { return Ok(()) };
        match found.type_ {
            DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink => Ok(()),
            _ => Err(ErrorCode::NotPermitted.into()),
        }
    }

    /// Checks that there is room for one more name in the scratch directory.
    fn make_room_for_entry(&self, quota: Option<&Arc<Quota>>) -> FsResult<()> {
        let has_room = quota.is_none_or(|quota| quota.has_room_for_entry());
        if has_room { Ok(()) } else { Err(self.files.refuse_room().into()) }
    }

    /// Makes an output stream of a file in the scratch directory. Each write is over when it returns, unlike those
    /// of wasmtime-wasi: a change of size that comes after it finds it in the file, and in the quota.
    fn write_to_scratch(
        &mut self,
        file: &Fd,
        open: Option<&Arc<Open>>,
        position: Option<u64>,
    ) -> FsResult<Option<Resource<DynOutputStream>>> {
        let Some(open) = open.filter(|open| open.counted.is_some()) else { return Ok(None) };
        let Descriptor::File(opened) = self.wasi.table.get(file)? else { return Ok(None) };
        if !opened.open_mode.contains(OpenMode::WRITE) {
            return Ok(None);
        }
        let inner = Box::new(ScratchWriter { file: Arc::clone(&opened.file), position });
        let writer = self.writer(inner, Some(Arc::clone(open)), position)?;
        Ok(Some(self.wasi.table.push(writer)?))
    }

    /// Replaces an output stream of wasmtime-wasi by a counted one.
    fn counted(
        &mut self,
        descriptor: Option<Arc<Open>>,
        position: Option<u64>,
        stream: Resource<DynOutputStream>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let inner = self.wasi.table.delete(stream)?;
        let writer = self.writer(inner, descriptor, position)?;
        Ok(self.wasi.table.push(writer)?)
    }

    /// Counts what an output stream writes.
    fn writer(
        &self,
        inner: DynOutputStream,
        open: Option<Arc<Open>>,
        position: Option<u64>,
    ) -> FsResult<DynOutputStream> {
        let held = self.files.hold(STREAM_BYTES as u64)?;
        Ok(Box::new(Writer { inner, files: Arc::clone(&self.files), open, position, _held: held }))
    }
}

impl preopens::Host for FilesView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Fd, String)>> {
        let directories = preopens::Host::get_directories(&mut self.wasi)?;
        self.files.refusals.note_directories(directories.len());
        if let Some(scratch) = &self.files.scratch {
            let roots = directories.iter().filter(|(_, guest)| *guest == scratch.guest);
            scratch.roots.lock().extend(roots.map(|(directory, _)| directory.rep()));
        }
        Ok(directories)
    }
}

impl types::Host for FilesView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        let code = self.wasi.convert_error_code(error)?;
        self.files.refusals.tell(code);
        Ok(code)
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        self.wasi.filesystem_error_code(error)
    }
}

impl types::HostDirectoryEntryStream for FilesView<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<types::DirectoryEntryStream>,
    ) -> FsResult<Option<types::DirectoryEntry>> {
        self.wasi.read_directory_entry(stream).await
    }

    fn drop(&mut self, stream: Resource<types::DirectoryEntryStream>) -> wasmtime::Result<()> {
        let listing = stream.rep();
        types::HostDirectoryEntryStream::drop(&mut self.wasi, stream)?;
        self.files.listings.lock().remove(&listing);
        Ok(())
    }
}

/// Passes calls on to wasmtime-wasi as they are.
macro_rules! pass_on {
    ($(async fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        async fn $name(&mut self, $($argument: $type),*) -> $result {
            self.wasi.$name($($argument),*).await
        }
    )*};
}

impl HostDescriptor for FilesView<'_> {
    pass_on! {
        async fn advise(file: Fd, offset: Filesize, length: Filesize, advice: types::Advice) -> FsResult<()>;
        async fn sync(file: Fd) -> FsResult<()>;
        async fn sync_data(file: Fd) -> FsResult<()>;
        async fn get_flags(file: Fd) -> FsResult<types::DescriptorFlags>;
        async fn get_type(file: Fd) -> FsResult<types::DescriptorType>;
        async fn set_times(file: Fd, accessed: NewTimestamp, modified: NewTimestamp) -> FsResult<()>;
        async fn stat(file: Fd) -> FsResult<types::DescriptorStat>;
        async fn is_same_object(a: Fd, b: Fd) -> wasmtime::Result<bool>;
        async fn metadata_hash(file: Fd) -> FsResult<MetadataHashValue>;
        async fn metadata_hash_at(
            directory: Fd, flags: PathFlags, path: String
        ) -> FsResult<MetadataHashValue>;
    }

    async fn set_times_at(
        &mut self,
        directory: Fd,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.files.refusals.begin("changing the times of", &path);
        self.wasi.set_times_at(directory, flags, path, accessed, modified).await
    }

    async fn readlink_at(&mut self, directory: Fd, path: String) -> FsResult<String> {
        self.files.refusals.begin("reading the link", &path);
        self.wasi.readlink_at(directory, path).await
    }

    async fn stat_at(
        &mut self,
        directory: Fd,
        flags: PathFlags,
        path: String,
    ) -> FsResult<types::DescriptorStat> {
        self.files.refusals.begin("looking at", &path);
        self.wasi.stat_at(directory, flags, path).await
    }

    async fn read_directory(&mut self, directory: Fd) -> FsResult<Resource<types::DirectoryEntryStream>> {
        let held = match self.wasi.table.get(&directory)? {
            Descriptor::Dir(opened) => {
                let (opened, held) = (Arc::clone(&opened.dir), Held::nothing(&self.files.host_memory));
                let charged = spawn_blocking(move || charge_names(&opened, held)).await?;
                Some(charged.map_err(|exceeded| self.files.refuse_memory(&exceeded))?)
            }
            // That is an error.
            Descriptor::File(_) => None,
        };
        // wasmtime-wasi reads all of them at once.
        let listing = self.wasi.read_directory(directory).await?;
        self.files.listings.lock().extend(held.map(|held| (listing.rep(), held)));
        Ok(listing)
    }

    async fn set_size(&mut self, file: Fd, size: Filesize) -> FsResult<()> {
        let open = self.files.opened(&file);
        self.files.make_room(open.as_ref(), End::At(size))?;
        self.wasi.set_size(file, size).await?;
        if let Some((quota, key)) = open.as_ref().and_then(|open| open.counted.as_ref()) {
            quota.shrink(*key, size);
        }
        Ok(())
    }

    async fn read(&mut self, file: Fd, length: Filesize, offset: Filesize) -> FsResult<(Vec<u8>, bool)> {
        let taken = self.files.bytes.take_up_to(length);
        if taken == 0 && length > 0 {
            // The end of the file is no error.
            let (more, is_end) = self.wasi.read(file, 1, offset).await?;
            return if more.is_empty() { Ok((more, is_end)) } else { Err(self.files.refuse_bytes().into()) };
        }
        let read = self.wasi.read(file, taken, offset).await;
        self.files.count(
            |meter| &meter.read,
            read.as_ref().map_or(0, |(bytes, _)| bytes.len() as u64),
            taken,
        );
        read
    }

    async fn write(&mut self, file: Fd, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        let count = bytes.len() as u64;
        let end = End::At(offset.saturating_add(count));
        if !self.files.bytes.take(count) {
            return Err(self.files.refuse_bytes().into());
        }
        let written = match self.files.make_room(self.files.opened(&file).as_ref(), end) {
            Ok(()) => self.wasi.write(file, bytes, offset).await,
            Err(error) => Err(error),
        };
        self.files.count(|meter| &meter.written, written.as_ref().map_or(0, |written| *written), count);
        written
    }

    async fn create_directory_at(&mut self, directory: Fd, path: String) -> FsResult<()> {
        self.files.refusals.begin("making the directory", &path);
        let quota = self.files.quota(&directory);
        self.make_room_for_entry(quota.as_ref())?;
        self.wasi.create_directory_at(directory, path).await?;
        quota.iter().for_each(|quota| quota.add_entry());
        Ok(())
    }

    async fn link_at(
        &mut self,
        directory: Fd,
        flags: PathFlags,
        path: String,
        new_directory: Fd,
        new_path: String,
    ) -> FsResult<()> {
        self.files.refusals.begin("linking", &path);
        let Some(quota) = self.files.common_quota(&directory, &new_directory)? else {
            return self.wasi.link_at(directory, flags, path, new_directory, new_path).await;
        };
        self.make_room_for_entry(Some(&quota))?;
        let key = self.key_at(directory.rep(), flags, &path).await;
        self.wasi.link_at(directory, flags, path, new_directory, new_path).await?;
        quota.add_entry();
        key.into_iter().for_each(|key| quota.link(key));
        Ok(())
    }

    async fn open_at(
        &mut self,
        directory: Fd,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: types::DescriptorFlags,
    ) -> FsResult<Fd> {
        let is_change = open_flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE)
            || flags.intersects(types::DescriptorFlags::WRITE | types::DescriptorFlags::MUTATE_DIRECTORY);
        self.files.refusals.begin(if is_change { OPENING_TO_WRITE } else { "opening" }, &path);
        let mut open = self.files.take_place()?;
        let Some(quota) = self.files.quota(&directory) else {
            self.refuse_devices(&directory, path_flags, &path).await?;
            let opened = self.wasi.open_at(directory, path_flags, path, open_flags, flags).await?;
            self.files.opened.lock().insert(opened.rep(), Arc::new(open));
            return Ok(opened);
        };
        let may_create = open_flags.contains(OpenFlags::CREATE);
        let is_new = may_create && self.key_at(directory.rep(), path_flags, &path).await.is_none();
        if is_new {
            self.make_room_for_entry(Some(&quota))?;
        }
        let opened = self.wasi.open_at(directory, path_flags, path, open_flags, flags).await?;
        let this = || Resource::new_borrow(opened.rep());
        let kind = self.wasi.get_type(this()).await?;
        let hash = self.wasi.metadata_hash(this()).await?;
        open.is_scratch = true;
        if is_new {
            quota.add_entry();
        }
        if kind == DescriptorType::RegularFile {
            let key = (hash.lower, hash.upper);
            quota.open(key, is_new, open_flags.contains(OpenFlags::TRUNCATE));
            open.counted = Some((quota, key));
        }
        self.files.opened.lock().insert(opened.rep(), Arc::new(open));
        Ok(opened)
    }

    fn drop(&mut self, file: Fd) -> wasmtime::Result<()> {
        let open = self.files.opened.lock().remove(&file.rep());
        if let Some(scratch) = &self.files.scratch {
            scratch.roots.lock().remove(&file.rep());
        }
        let dropped = HostDescriptor::drop(&mut self.wasi, file);
        // Its place is free once it is closed.
        drop(open);
        dropped
    }

    async fn remove_directory_at(&mut self, directory: Fd, path: String) -> FsResult<()> {
        self.files.refusals.begin("removing the directory", &path);
        let quota = self.files.quota(&directory);
        self.wasi.remove_directory_at(directory, path).await?;
        quota.iter().for_each(|quota| quota.remove_entry(None));
        Ok(())
    }

    async fn rename_at(
        &mut self,
        directory: Fd,
        path: String,
        new_directory: Fd,
        new_path: String,
    ) -> FsResult<()> {
        self.files.refusals.begin("renaming", &path);
        let Some(quota) = self.files.common_quota(&directory, &new_directory)? else {
            return self.wasi.rename_at(directory, path, new_directory, new_path).await;
        };
        let none = PathFlags::empty();
        let moved = self.key_at(directory.rep(), none, &path).await;
        let replaced = self.key_at(new_directory.rep(), none, &new_path).await;
        self.wasi.rename_at(directory, path, new_directory, new_path).await?;
        // Of two names of one file both stay.
        if replaced.is_some() && replaced != moved {
            quota.remove_entry(replaced);
        }
        Ok(())
    }

    async fn symlink_at(&mut self, directory: Fd, target: String, path: String) -> FsResult<()> {
        self.files.refusals.begin("making the link", &path);
        let quota = self.files.quota(&directory);
        self.make_room_for_entry(quota.as_ref())?;
        self.wasi.symlink_at(directory, target, path).await?;
        quota.iter().for_each(|quota| quota.add_entry());
        Ok(())
    }

    async fn unlink_file_at(&mut self, directory: Fd, path: String) -> FsResult<()> {
        self.files.refusals.begin("removing", &path);
        let Some(quota) = self.files.quota(&directory) else {
            return self.wasi.unlink_file_at(directory, path).await;
        };
        let key = self.key_at(directory.rep(), PathFlags::empty(), &path).await;
        self.wasi.unlink_file_at(directory, path).await?;
        quota.remove_entry(key);
        Ok(())
    }

    fn read_via_stream(&mut self, file: Fd, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        let (open, held) = (self.files.opened(&file), self.files.hold(STREAM_BYTES as u64)?);
        let stream = self.wasi.read_via_stream(file, offset)?;
        let inner = self.wasi.table.delete(stream)?;
        let reader = Reader { inner, files: Arc::clone(&self.files), _open: open, _held: held };
        Ok(self.wasi.table.push(Box::new(reader) as DynInputStream)?)
    }

    fn write_via_stream(&mut self, file: Fd, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        let open = self.files.opened(&file);
        if let Some(stream) = self.write_to_scratch(&file, open.as_ref(), Some(offset))? {
            return Ok(stream);
        }
        let stream = self.wasi.write_via_stream(file, offset)?;
        self.counted(open, Some(offset), stream)
    }

    fn append_via_stream(&mut self, file: Fd) -> FsResult<Resource<DynOutputStream>> {
        let open = self.files.opened(&file);
        if let Some(stream) = self.write_to_scratch(&file, open.as_ref(), None)? {
            return Ok(stream);
        }
        let stream = self.wasi.append_via_stream(file)?;
        self.counted(open, None, stream)
    }
}

/// Turns a refusal into the error of a stream, which is the system's.
fn failed_with(refusal: ErrorCode) -> StreamError {
    let error = if refusal == ErrorCode::Quota { Errno::DQUOT } else { Errno::NOSPC };
    StreamError::LastOperationFailed(io::Error::from(error).into())
}

/// The most bytes that a stream of a file holds, read or to be written, on their way.
const STREAM_BYTES: usize = 64 << 10;

/// The bytes of a directory's entry besides its name.
const ENTRY_BYTES: u64 = 96;

/// Charges the names in a directory to an account.
fn charge_names(directory: &File, mut held: Held) -> io::Result<Result<Held, HostMemoryExceeded>> {
    // The guest's own is good for paths only.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for entry in Dir::new(openat(directory, c".", flags, Mode::empty())?)? {
        let bytes = entry?.file_name().count_bytes() as u64 + ENTRY_BYTES;
        if let Err(exceeded) = held.grow(bytes) {
            return Ok(Err(exceeded));
        }
    }
    Ok(Ok(held))
}

/// A file that is read as a stream.
struct Reader {
    inner: DynInputStream,
    files: Arc<Files>,
    _open: Option<Arc<Open>>,
    _held: Held,
}

impl Reader {
    /// Counts the bytes of a read for which there was room.
    fn count(&self, read: StreamResult<Bytes>, room: usize) -> StreamResult<Bytes> {
        let bytes = read.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.files.count(|meter| &meter.read, bytes, room as u64);
        read
    }

    /// Refuses bytes for which there was no room; nothing read is the end of the file.
    fn refuse(&self, read: StreamResult<Bytes>) -> StreamResult<Bytes> {
        let bytes = read?;
        if bytes.is_empty() { Ok(bytes) } else { Err(failed_with(self.files.refuse_bytes())) }
    }
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let Some(room) = self.files.bytes.room(size) else {
            let read = self.inner.read(1);
            return self.refuse(read);
        };
        let read = self.inner.read(room);
        self.count(read, room)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        let Some(room) = self.files.bytes.room(size) else {
            let read = self.inner.blocking_read(1).await;
            return self.refuse(read);
        };
        let read = self.inner.blocking_read(room).await;
        self.count(read, room)
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

/// A file in the scratch directory that is written as a stream.
struct ScratchWriter {
    file: Arc<File>,
    /// The position of the next byte; `None` at the end of the file.
    position: Option<u64>,
}

#[async_trait]
impl Pollable for ScratchWriter {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for ScratchWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let written = match self.position {
            Some(position) => self.file.write_all_at(&bytes, position),
            None => self.file.metadata().and_then(|metadata| self.file.write_all_at(&bytes, metadata.len())),
        };
        written.map_err(|error| StreamError::LastOperationFailed(error.into()))?;
        self.position = self.position.map(|position| position.saturating_add(bytes.len() as u64));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(STREAM_BYTES)
    }
}

/// A file that is written as a stream.
struct Writer {
    inner: DynOutputStream,
    files: Arc<Files>,
    open: Option<Arc<Open>>,
    /// The position of the next byte; `None` at the end of the file.
    position: Option<u64>,
    _held: Held,
}

impl Writer {
    /// Makes room for a write.
    fn make_room(&self, count: u64) -> StreamResult<()> {
        let end = match self.position {
            Some(position) => End::At(position.saturating_add(count)),
            None => End::Behind(count),
        };
        if !self.files.bytes.take(count) {
            return Err(failed_with(self.files.refuse_bytes()));
        }
        if self.open.as_ref().is_some_and(|open| !open.grow(end)) {
            self.files.bytes.give_back(count);
            return Err(failed_with(self.files.refuse_room()));
        }
        Ok(())
    }

    /// Counts a write, which writes everything or nothing.
    fn count(&mut self, written: StreamResult<()>, count: u64) -> StreamResult<()> {
        let bytes = if written.is_ok() { count } else { 0 };
        self.files.count(|meter| &meter.written, bytes, count);
        self.position = self.position.map(|position| position.saturating_add(bytes));
        written
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let count = bytes.len() as u64;
        self.make_room(count)?;
        let written = self.inner.write(bytes);
        self.count(written, count)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.inner.check_write()?.min(STREAM_BYTES))
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        let count = bytes.len() as u64;
        self.make_room(count)?;
        let written = self.inner.blocking_write_and_flush(bytes).await;
        self.count(written, count)
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
