//! The files of one guest: `wasi:filesystem` as wasmtime-wasi has it, with every
//! descriptor and every byte counted on its way.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::filesystem::{WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsError, FsResult, InputStream, OutputStream, Pollable, StreamResult,
};

use super::control::GuestControl;
use super::host::HostState;
use crate::model::LimitKind;
use types::{Descriptor, ErrorCode, Filesize, HostDescriptor};

/// Puts these files in the place of those that a linker has already.
pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    types::add_to_linker::<HostState, Granted>(linker, FilesView::of)?;
    preopens::add_to_linker::<HostState, Granted>(linker, FilesView::of)?;
    linker.allow_shadowing(false);
    Ok(())
}

struct Granted;

impl HasData for Granted {
    type Data<'a> = FilesView<'a>;
}

/// What is known of one guest's files.
pub(super) struct Files {
    control: Arc<GuestControl>,
    /// The most files and directories that may be open at once.
    limit: u64,
    open: Arc<AtomicU64>,
    /// Those that the guest has opened, by the number of their descriptor. The
    /// granted directories are open anyway.
    opened: Mutex<HashMap<u32, Arc<Open>>>,
}

/// A file that is open, for its descriptor and for streams that outlive that.
struct Open(Arc<AtomicU64>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Files {
    /// Nothing open, and so many that may be.
    pub(super) fn new(limit: u64, control: Arc<GuestControl>) -> Self {
        Self { control, limit, open: Arc::default(), opened: Mutex::default() }
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
        Ok(Open(Arc::clone(&self.open)))
    }

    fn opened(&self, descriptor: &Resource<Descriptor>) -> Option<Arc<Open>> {
        self.opened.lock().get(&descriptor.rep()).cloned()
    }
}

struct FilesView<'a> {
    wasi: WasiFilesystemCtxView<'a>,
    files: Arc<Files>,
}

impl FilesView<'_> {
    fn of(state: &mut HostState) -> FilesView<'_> {
        FilesView { files: Arc::clone(&state.files), wasi: state.filesystem() }
    }

    /// The output stream that wasmtime-wasi made of `descriptor`, counted.
    fn counted(
        &mut self,
        descriptor: Option<Arc<Open>>,
        stream: Resource<DynOutputStream>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let inner = self.wasi.table.delete(stream)?;
        let writer = Writer { inner, files: Arc::clone(&self.files), _open: descriptor };
        Ok(self.wasi.table.push(Box::new(writer) as DynOutputStream)?)
    }
}

impl preopens::Host for FilesView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        preopens::Host::get_directories(&mut self.wasi)
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
        self.wasi.set_size(file, size).await
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
        let (bytes, is_end) = self.wasi.read(file, length, offset).await?;
        self.files.control.meter().read.add(bytes.len() as u64);
        Ok((bytes, is_end))
    }

    async fn write(
        &mut self,
        file: Resource<Descriptor>,
        bytes: Vec<u8>,
        offset: Filesize,
    ) -> FsResult<Filesize> {
        let written = self.wasi.write(file, bytes, offset).await?;
        self.files.control.meter().written.add(written);
        Ok(written)
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
        self.wasi.create_directory_at(directory, path).await
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
        self.wasi.link_at(directory, flags, path, new_directory, new_path).await
    }

    async fn open_at(
        &mut self,
        directory: Resource<Descriptor>,
        path_flags: types::PathFlags,
        path: String,
        open_flags: types::OpenFlags,
        flags: types::DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let open = self.files.take_place()?;
        let opened = self.wasi.open_at(directory, path_flags, path, open_flags, flags).await?;
        self.files.opened.lock().insert(opened.rep(), Arc::new(open));
        Ok(opened)
    }

    fn drop(&mut self, file: Resource<Descriptor>) -> wasmtime::Result<()> {
        let open = self.files.opened.lock().remove(&file.rep());
        let dropped = HostDescriptor::drop(&mut self.wasi, file);
        // Its place is free once it is closed.
        drop(open);
        dropped
    }

    async fn readlink_at(&mut self, directory: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.wasi.readlink_at(directory, path).await
    }

    async fn remove_directory_at(&mut self, directory: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.wasi.remove_directory_at(directory, path).await
    }

    async fn rename_at(
        &mut self,
        directory: Resource<Descriptor>,
        path: String,
        new_directory: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        self.wasi.rename_at(directory, path, new_directory, new_path).await
    }

    async fn symlink_at(
        &mut self,
        directory: Resource<Descriptor>,
        target: String,
        path: String,
    ) -> FsResult<()> {
        self.wasi.symlink_at(directory, target, path).await
    }

    async fn unlink_file_at(&mut self, directory: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.wasi.unlink_file_at(directory, path).await
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
        self.counted(open, stream)
    }

    fn append_via_stream(&mut self, file: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        let open = self.files.opened(&file);
        let stream = self.wasi.append_via_stream(file)?;
        self.counted(open, stream)
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
    fn count(&self, bytes: Bytes) -> Bytes {
        self.files.control.meter().read.add(bytes.len() as u64);
        bytes
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
        self.inner.read(size).map(|bytes| self.count(bytes))
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = self.inner.blocking_read(size).await?;
        Ok(self.count(bytes))
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

/// A file that is written as a stream.
struct Writer {
    inner: DynOutputStream,
    files: Arc<Files>,
    _open: Option<Arc<Open>>,
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
        self.inner.write(bytes)?;
        self.files.control.meter().written.add(count);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        let count = bytes.len() as u64;
        self.inner.blocking_write_and_flush(bytes).await?;
        self.files.control.meter().written.add(count);
        Ok(())
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
