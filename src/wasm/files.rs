//! The files of one guest: `wasi:filesystem` as wasmtime-wasi has it, with every
//! descriptor and every byte counted on its way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsError, FsResult, InputStream, OutputStream, Pollable, StreamError,
    StreamResult,
};

use super::allowance::Allowance;
use super::control::GuestControl;
use super::scratch::{End, FileKey, Quota, ScratchGrant};
use crate::model::LimitKind;
use types::{Descriptor, ErrorCode, Filesize, HostDescriptor};

/// The most bytes that one read of a stream gives.
const MAX_READ: usize = 64 << 10;

/// Replaces the files that a linker has already by these.
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

/// The files of whatever state a linker is for.
struct Granted;

impl HasData for Granted {
    type Data<'a> = FilesView<'a>;
}

/// The files of one guest: those that are open, and what it may still use.
pub(super) struct Files {
    control: Arc<GuestControl>,
    /// The most files and directories that may be open at once.
    limit: u64,
    open: Arc<AtomicU64>,
    /// Bytes that may be read and written.
    bytes: Allowance,
    /// The files that the guest has opened, by the number of their descriptor. The
    /// granted directories are open anyway.
    opened: Mutex<HashMap<u32, Arc<Open>>>,
    scratch: Option<Scratch>,
}

/// The scratch directory of one guest, with its quota.
struct Scratch {
    /// Where the guest sees it.
    guest: String,
    quota: Arc<Quota>,
    /// Descriptors of it that the guest was given.
    roots: Mutex<HashSet<u32>>,
}

/// A file that is open, for its descriptor and for streams that outlive that.
struct Open {
    open: Arc<AtomicU64>,
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
        self.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Files {
    /// Nothing open, and so many that may be; and so many bytes.
    pub(super) fn new(
        limit: u64,
        bytes: u64,
        scratch: Option<&ScratchGrant>,
        control: Arc<GuestControl>,
    ) -> Self {
        let scratch = scratch.map(|grant| Scratch {
            guest: grant.guest.clone(),
            quota: Arc::new(Quota::new(grant)),
            roots: Mutex::default(),
        });
        let bytes = Allowance::new(bytes);
        Self { control, limit, bytes, open: Arc::default(), opened: Mutex::default(), scratch }
    }

    /// A place for one more open file.
    fn take_place(&self) -> FsResult<Open> {
        // Nobody else opens files of this guest at the same time.
        if self.open.load(Ordering::Acquire) >= self.limit {
            let message = format!("the guest wanted more than its limit of {} open files", self.limit);
            self.control.refuse(LimitKind::Files, message);
            // WASI has no word for too many open files.
            return Err(ErrorCode::Quota.into());
        }
        self.open.fetch_add(1, Ordering::AcqRel);
        Ok(Open { open: Arc::clone(&self.open), is_scratch: false, counted: None })
    }

    fn opened(&self, descriptor: &Resource<Descriptor>) -> Option<Arc<Open>> {
        self.opened.lock().get(&descriptor.rep()).cloned()
    }

    /// The count of the scratch directory, if a descriptor is in it.
    fn quota(&self, descriptor: &Resource<Descriptor>) -> Option<Arc<Quota>> {
        let scratch = self.scratch.as_ref()?;
        let is_in_it = scratch.roots.lock().contains(&descriptor.rep())
            || self.opened(descriptor).is_some_and(|open| open.is_scratch);
        is_in_it.then(|| Arc::clone(&scratch.quota))
    }

    /// Counts the bytes that were read, and gives back the rest of the room.
    fn count_read(&self, bytes: u64, room: u64) {
        self.bytes.give_back(room.saturating_sub(bytes));
        self.control.meter().read.add(bytes);
    }

    /// Counts the bytes that were written, and gives back the rest of the room.
    fn count_written(&self, bytes: u64, room: u64) {
        self.bytes.give_back(room.saturating_sub(bytes));
        self.control.meter().written.add(bytes);
    }

    /// Notes that the limit of bytes refused something, and gives the error for it.
    fn refuse_bytes(&self) -> ErrorCode {
        let limit = self.bytes.limit();
        let message =
            format!("the guest wanted to read and write more than its limit of {limit} bytes of files");
        self.control.refuse(LimitKind::FileBytes, message);
        ErrorCode::Quota
    }

    /// Does so for a stream, whose errors are the system's.
    fn refuse_bytes_of_stream(&self) -> StreamError {
        self.refuse_bytes();
        StreamError::LastOperationFailed(std::io::Error::from(rustix::io::Errno::DQUOT).into())
    }

    /// Notes that the scratch directory is full, and gives the error for it.
    fn refuse_room(&self) -> ErrorCode {
        let limits = self.scratch.as_ref().map(|scratch| scratch.quota.limits()).unwrap_or_default();
        let message = format!("the guest wanted more than its scratch directory's limit of {limits}");
        self.control.refuse(LimitKind::Scratch, message);
        ErrorCode::InsufficientSpace
    }

    /// Does so for a stream, whose errors are the system's.
    fn refuse_room_of_stream(&self) -> StreamError {
        self.refuse_room();
        StreamError::LastOperationFailed(std::io::Error::from(rustix::io::Errno::NOSPC).into())
    }

    /// Makes room for what is about to be written.
    fn make_room(&self, file: Option<&Arc<Open>>, end: End) -> FsResult<()> {
        match file.is_none_or(|open| open.grow(end)) {
            true => Ok(()),
            false => Err(self.refuse_room().into()),
        }
    }
}

/// The files of one guest, beside what wasmtime-wasi keeps of them.
pub(super) struct FilesView<'a> {
    pub(super) wasi: WasiFilesystemCtxView<'a>,
    pub(super) files: Arc<Files>,
}

impl FilesView<'_> {
    /// The identity of the file that a name in a directory stands for, links not followed; `None`
    /// if there is no such name.
    async fn key_at(&mut self, directory: u32, flags: types::PathFlags, path: &str) -> Option<FileKey> {
        let directory = Resource::new_borrow(directory);
        let hash = self.wasi.metadata_hash_at(directory, flags, path.to_owned()).await.ok()?;
        Some((hash.lower, hash.upper))
    }

    /// Whether there is room for one more name in the scratch directory.
    fn make_room_for_entry(&self, quota: Option<&Arc<Quota>>) -> FsResult<()> {
        match quota.is_none_or(|quota| quota.has_room_for_entry()) {
            true => Ok(()),
            false => Err(self.files.refuse_room().into()),
        }
    }

    /// The output stream that wasmtime-wasi made of `descriptor`, counted.
    fn counted(
        &mut self,
        descriptor: Option<Arc<Open>>,
        position: Option<u64>,
        stream: Resource<DynOutputStream>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let inner = self.wasi.table.delete(stream)?;
        let writer = Writer { inner, files: Arc::clone(&self.files), open: descriptor, position };
        Ok(self.wasi.table.push(Box::new(writer) as DynOutputStream)?)
    }
}

impl preopens::Host for FilesView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let directories = preopens::Host::get_directories(&mut self.wasi)?;
        if let Some(scratch) = &self.files.scratch {
            let roots = directories.iter().filter(|(_, guest)| *guest == scratch.guest);
            scratch.roots.lock().extend(roots.map(|(directory, _)| directory.rep()));
        }
        Ok(directories)
    }
}

impl types::Host for FilesView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        self.wasi.convert_error_code(error)
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
        types::HostDirectoryEntryStream::drop(&mut self.wasi, stream)
    }
}

impl HostDescriptor for FilesView<'_> {
    async fn advise(
        &mut self,
        file: Resource<Descriptor>,
        offset: Filesize,
        length: Filesize,
        advice: types::Advice,
    ) -> FsResult<()> {
        self.wasi.advise(file, offset, length, advice).await
    }

    async fn sync_data(&mut self, file: Resource<Descriptor>) -> FsResult<()> {
        self.wasi.sync_data(file).await
    }

    async fn get_flags(&mut self, file: Resource<Descriptor>) -> FsResult<types::DescriptorFlags> {
        self.wasi.get_flags(file).await
    }

    async fn get_type(&mut self, file: Resource<Descriptor>) -> FsResult<types::DescriptorType> {
        self.wasi.get_type(file).await
    }

    async fn set_size(&mut self, file: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        let open = self.files.opened(&file);
        self.files.make_room(open.as_ref(), End::At(size))?;
        self.wasi.set_size(file, size).await?;
        if let Some((quota, key)) = open.as_ref().and_then(|open| open.counted.as_ref()) {
            quota.shrink(*key, size);
        }
        Ok(())
    }

    async fn set_times(
        &mut self,
        file: Resource<Descriptor>,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FsResult<()> {
        self.wasi.set_times(file, accessed, modified).await
    }

    async fn read(
        &mut self,
        file: Resource<Descriptor>,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        let taken = self.files.bytes.take_up_to(length);
        if taken == 0 && length > 0 {
            // Whether there is more, or this was all.
            let (more, is_end) = self.wasi.read(file, 1, offset).await?;
            return if more.is_empty() { Ok((more, is_end)) } else { Err(self.files.refuse_bytes().into()) };
        }
        let read = self.wasi.read(file, taken, offset).await;
        self.files.count_read(read.as_ref().map_or(0, |(bytes, _)| bytes.len() as u64), taken);
        read
    }

    async fn write(
        &mut self,
        file: Resource<Descriptor>,
        bytes: Vec<u8>,
        offset: Filesize,
    ) -> FsResult<Filesize> {
        let count = bytes.len() as u64;
        let end = End::At(offset.saturating_add(count));
        if !self.files.bytes.take(count) {
            return Err(self.files.refuse_bytes().into());
        }
        let written = match self.files.make_room(self.files.opened(&file).as_ref(), end) {
            Ok(()) => self.wasi.write(file, bytes, offset).await,
            Err(error) => Err(error),
        };
        self.files.count_written(written.as_ref().map_or(0, |written| *written), count);
        written
    }

    async fn read_directory(
        &mut self,
        directory: Resource<Descriptor>,
    ) -> FsResult<Resource<types::DirectoryEntryStream>> {
        self.wasi.read_directory(directory).await
    }

    async fn sync(&mut self, file: Resource<Descriptor>) -> FsResult<()> {
        self.wasi.sync(file).await
    }

    async fn create_directory_at(&mut self, directory: Resource<Descriptor>, path: String) -> FsResult<()> {
        let quota = self.files.quota(&directory);
        self.make_room_for_entry(quota.as_ref())?;
        self.wasi.create_directory_at(directory, path).await?;
        quota.iter().for_each(|quota| quota.add_entry());
        Ok(())
    }

    async fn stat(&mut self, file: Resource<Descriptor>) -> FsResult<types::DescriptorStat> {
        self.wasi.stat(file).await
    }

    async fn stat_at(
        &mut self,
        directory: Resource<Descriptor>,
        flags: types::PathFlags,
        path: String,
    ) -> FsResult<types::DescriptorStat> {
        self.wasi.stat_at(directory, flags, path).await
    }

    async fn set_times_at(
        &mut self,
        directory: Resource<Descriptor>,
        flags: types::PathFlags,
        path: String,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FsResult<()> {
        self.wasi.set_times_at(directory, flags, path, accessed, modified).await
    }

    async fn link_at(
        &mut self,
        directory: Resource<Descriptor>,
        flags: types::PathFlags,
        path: String,
        new_directory: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let (quota, new) = (self.files.quota(&directory), self.files.quota(&new_directory));
        // Another directory is another disk: what is counted here can't be had there.
        if quota.is_some() != new.is_some() {
            return Err(ErrorCode::CrossDevice.into());
        }
        let Some(quota) = quota else {
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
        directory: Resource<Descriptor>,
        path_flags: types::PathFlags,
        path: String,
        open_flags: types::OpenFlags,
        flags: types::DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let mut open = self.files.take_place()?;
        let quota = self.files.quota(&directory);
        let Some(quota) = quota else {
            let opened = self.wasi.open_at(directory, path_flags, path, open_flags, flags).await?;
            self.files.opened.lock().insert(opened.rep(), Arc::new(open));
            return Ok(opened);
        };
        let may_create = open_flags.contains(types::OpenFlags::CREATE);
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
        if kind == types::DescriptorType::RegularFile {
            let key = (hash.lower, hash.upper);
            quota.open(key, is_new, open_flags.contains(types::OpenFlags::TRUNCATE));
            open.counted = Some((quota, key));
        }
        self.files.opened.lock().insert(opened.rep(), Arc::new(open));
        Ok(opened)
    }

    fn drop(&mut self, file: Resource<Descriptor>) -> wasmtime::Result<()> {
        let open = self.files.opened.lock().remove(&file.rep());
        if let Some(scratch) = &self.files.scratch {
            scratch.roots.lock().remove(&file.rep());
        }
        let dropped = HostDescriptor::drop(&mut self.wasi, file);
        // Its place is free once it is closed.
        drop(open);
        dropped
    }

    async fn readlink_at(&mut self, directory: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.wasi.readlink_at(directory, path).await
    }

    async fn remove_directory_at(&mut self, directory: Resource<Descriptor>, path: String) -> FsResult<()> {
        let quota = self.files.quota(&directory);
        self.wasi.remove_directory_at(directory, path).await?;
        quota.iter().for_each(|quota| quota.remove_entry(None));
        Ok(())
    }

    async fn rename_at(
        &mut self,
        directory: Resource<Descriptor>,
        path: String,
        new_directory: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let (quota, new) = (self.files.quota(&directory), self.files.quota(&new_directory));
        if quota.is_some() != new.is_some() {
            return Err(ErrorCode::CrossDevice.into());
        }
        let Some(quota) = quota else {
            return self.wasi.rename_at(directory, path, new_directory, new_path).await;
        };
        let none = types::PathFlags::empty();
        let moved = self.key_at(directory.rep(), none, &path).await;
        let replaced = self.key_at(new_directory.rep(), none, &new_path).await;
        self.wasi.rename_at(directory, path, new_directory, new_path).await?;
        // Of two names of one file both stay.
        if replaced.is_some() && replaced != moved {
            quota.remove_entry(replaced);
        }
        Ok(())
    }

    async fn symlink_at(
        &mut self,
        directory: Resource<Descriptor>,
        target: String,
        path: String,
    ) -> FsResult<()> {
        let quota = self.files.quota(&directory);
        self.make_room_for_entry(quota.as_ref())?;
        self.wasi.symlink_at(directory, target, path).await?;
        quota.iter().for_each(|quota| quota.add_entry());
        Ok(())
    }

    async fn unlink_file_at(&mut self, directory: Resource<Descriptor>, path: String) -> FsResult<()> {
        let Some(quota) = self.files.quota(&directory) else {
            return self.wasi.unlink_file_at(directory, path).await;
        };
        let key = self.key_at(directory.rep(), types::PathFlags::empty(), &path).await;
        self.wasi.unlink_file_at(directory, path).await?;
        quota.remove_entry(key);
        Ok(())
    }

    fn read_via_stream(
        &mut self,
        file: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        let open = self.files.opened(&file);
        let stream = self.wasi.read_via_stream(file, offset)?;
        let inner = self.wasi.table.delete(stream)?;
        let reader = Reader { inner, files: Arc::clone(&self.files), _open: open };
        Ok(self.wasi.table.push(Box::new(reader) as DynInputStream)?)
    }

    fn write_via_stream(
        &mut self,
        file: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        let open = self.files.opened(&file);
        let stream = self.wasi.write_via_stream(file, offset)?;
        self.counted(open, Some(offset), stream)
    }

    fn append_via_stream(&mut self, file: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        let open = self.files.opened(&file);
        let stream = self.wasi.append_via_stream(file)?;
        self.counted(open, None, stream)
    }

    async fn is_same_object(
        &mut self,
        a: Resource<Descriptor>,
        b: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        self.wasi.is_same_object(a, b).await
    }

    async fn metadata_hash(&mut self, file: Resource<Descriptor>) -> FsResult<types::MetadataHashValue> {
        self.wasi.metadata_hash(file).await
    }

    async fn metadata_hash_at(
        &mut self,
        directory: Resource<Descriptor>,
        flags: types::PathFlags,
        path: String,
    ) -> FsResult<types::MetadataHashValue> {
        self.wasi.metadata_hash_at(directory, flags, path).await
    }
}

/// A file that is read as a stream.
struct Reader {
    inner: DynInputStream,
    files: Arc<Files>,
    _open: Option<Arc<Open>>,
}

impl Reader {
    /// How much of so many bytes may be read; `None` if that is nothing: then nothing
    /// may come of a read.
    fn room(&self, size: usize) -> Option<usize> {
        // More than that comes of no read.
        let taken = self.files.bytes.take_up_to(size.min(MAX_READ) as u64);
        if taken == 0 && size > 0 { None } else { usize::try_from(taken).ok() }
    }

    /// Counts what a read gave for which there was room.
    fn count(&self, read: StreamResult<Bytes>, room: usize) -> StreamResult<Bytes> {
        self.files.count_read(read.as_ref().map_or(0, |bytes| bytes.len() as u64), room as u64);
        read
    }

    /// The error for bytes that have no room.
    fn refuse(&self, read: StreamResult<Bytes>) -> StreamResult<Bytes> {
        let bytes = read?;
        if bytes.is_empty() { Ok(bytes) } else { Err(self.files.refuse_bytes_of_stream()) }
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
        let Some(room) = self.room(size) else {
            let read = self.inner.read(1);
            return self.refuse(read);
        };
        let read = self.inner.read(room);
        self.count(read, room)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        let Some(room) = self.room(size) else {
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

/// A file that is written as a stream.
struct Writer {
    inner: DynOutputStream,
    files: Arc<Files>,
    open: Option<Arc<Open>>,
    /// Where the next byte goes; `None` behind all that is there.
    position: Option<u64>,
}

impl Writer {
    /// Makes room for what is about to be written.
    fn make_room(&self, count: u64) -> StreamResult<()> {
        let end = match self.position {
            Some(position) => End::At(position.saturating_add(count)),
            None => End::Behind(count),
        };
        if !self.files.bytes.take(count) {
            return Err(self.files.refuse_bytes_of_stream());
        }
        if self.open.as_ref().is_some_and(|open| !open.grow(end)) {
            self.files.bytes.give_back(count);
            return Err(self.files.refuse_room_of_stream());
        }
        Ok(())
    }

    /// Counts what was written, all of it or nothing.
    fn count(&mut self, written: StreamResult<()>, count: u64) -> StreamResult<()> {
        let so_many = if written.is_ok() { count } else { 0 };
        self.files.count_written(so_many, count);
        if let Some(position) = &mut self.position {
            *position = position.saturating_add(so_many);
        }
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
        self.inner.check_write()
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
