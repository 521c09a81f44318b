//! The cache of compiled code on disk.
//!
//! Compiling a component takes from a tenth of a second to a quarter of a minute, loading compiled code a
//! millisecond. Compiled code runs without further checks, so what is loaded must be what was stored: the
//! directory belongs to us alone, and every file carries a checksum.
//!
//! The cache only saves time: whatever is wrong with it is a warning.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tracing::warn;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::bounded::{MAX_BYTES, TEMPORARY, tidy, touch};
use super::compile::{self, CompileError, Compiler};
use super::sealed::{HEADER, seal, unseal};
use super::shortage::shortage_of;
use super::trusted::{is_ours, make_trusted};
use super::turns::Turns;
use crate::model::{ComponentDigest, Interrupt};

/// The extension of files of compiled code.
const EXTENSION: &str = "compiled";

/// The directory of compiled code, and the compiler for what is not there.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    /// `None` if there is none, or none that can be trusted.
    directory: Option<PathBuf>,
    max_bytes: u64,
    pub(super) compiler: Compiler,
    /// Whether guests run while something is compiled.
    beside_guests: bool,
    /// Shared by all clones.
    turns: Arc<Turns>,
}

impl Cache {
    /// Keeps compiled code in `directory`, which is created if need be, or nowhere. A directory that others
    /// can write to is not used: they could make us run any code.
    pub(super) fn new(directory: Option<&Path>, compiler: Compiler) -> Self {
        Self::with_bound(directory, compiler, MAX_BYTES)
    }

    fn with_bound(directory: Option<&Path>, compiler: Compiler, max_bytes: u64) -> Self {
        let directory = directory.and_then(|directory| match make_trusted(directory) {
            Ok(directory) => Some(directory),
            Err(error) => {
                warn!("not keeping compiled code in `{}`: {error}", directory.display());
                None
            }
        });
        Self { directory, max_bytes, compiler, beside_guests: false, turns: Arc::default() }
    }

    /// Whether code that was compiled is found again.
    pub(super) fn keeps_code(&self) -> bool {
        self.directory.is_some()
    }

    /// Turns it into a cache that compiles with low priority, because guests run.
    pub(super) fn beside_guests(self) -> Self {
        Self { beside_guests: true, ..self }
    }

    /// Loads the compiled code of a component, or compiles it now and keeps it. `fuel` says whether `engine`
    /// counts fuel; `interrupt` ends the wait for the compiler.
    ///
    /// # Errors
    ///
    /// Only if `bytes` can't be compiled, the host is short of something, or the wait was ended.
    pub(super) fn load(
        &self,
        engine: &Engine,
        fuel: bool,
        digest: &ComponentDigest,
        bytes: &[u8],
        interrupt: &Interrupt,
    ) -> Result<Component, CompileError> {
        if let Some(component) = self.find(engine, digest)? {
            return Ok(component);
        }
        if interrupt.is_thrown() {
            return Err(CompileError::Interrupted);
        }
        let path = self.path(engine, digest);
        let _turn = match &path {
            Some(path) => {
                let turn = self.turns.take(path, interrupt).ok_or(CompileError::Interrupted)?;
                // Another thread may have compiled it meanwhile.
                if let Some(component) = self.find(engine, digest)? {
                    return Ok(component);
                }
                Some(turn)
            }
            None => None,
        };
        let not_kept = |path: &Path, error: &dyn Display| {
            warn!("can't keep compiled code in `{}`: {error}", path.display());
        };
        let draft = self.directory.as_deref().and_then(|directory| {
            Draft::in_directory(directory).inspect_err(|error| not_kept(directory, error)).ok()
        });
        let mut draft = draft.map_or_else(Draft::in_memory, Ok)?;
        let mut made = self.compile(engine, fuel, bytes, &draft, interrupt);
        if let Err(CompileError::Unwritten(error)) = &made
            && let Some(path) = &draft.path
        {
            not_kept(path, error);
            draft = Draft::in_memory()?;
            made = self.compile(engine, fuel, bytes, &draft, interrupt);
        }
        made?;
        let component = draft.load(engine)?;
        if let (Some(path), Some(directory), Some(_)) = (&path, &self.directory, &draft.path) {
            match draft.keep(path) {
                Ok(()) => tidy(directory, EXTENSION, self.max_bytes, |file| file == path),
                Err(error) => not_kept(path, &error),
            }
        }
        Ok(component)
    }

    /// Loads the compiled code of a component, if it is kept.
    ///
    /// # Errors
    ///
    /// Only a shortage of the host.
    pub(super) fn find(
        &self,
        engine: &Engine,
        digest: &ComponentDigest,
    ) -> Result<Option<Component>, CompileError> {
        self.path(engine, digest).map_or(Ok(None), |path| kept(engine, &path))
    }

    /// Whether the compiled code of a component is kept.
    pub(super) fn has(&self, engine: &Engine, digest: &ComponentDigest) -> bool {
        self.path(engine, digest).is_some_and(|path| path.exists())
    }

    fn path(&self, engine: &Engine, digest: &ComponentDigest) -> Option<PathBuf> {
        let directory = self.directory.as_deref()?;
        Some(directory.join(format!("{}.{EXTENSION}", key(engine, digest))))
    }

    fn compile(
        &self,
        engine: &Engine,
        fuel: bool,
        bytes: &[u8],
        draft: &Draft,
        interrupt: &Interrupt,
    ) -> Result<(), CompileError> {
        match &self.compiler {
            Compiler::Child(child) => child.compile(fuel, bytes, &draft.file, self.beside_guests, interrupt),
            Compiler::InProcess => {
                let code = compile::in_process(engine, bytes)?;
                seal(&mut &draft.file, &code).map_err(|error| CompileError::Unwritten(error.to_string()))
            }
        }
    }
}

/// The name of a file: a hash of everything that its content depends on.
fn key(engine: &Engine, digest: &ComponentDigest) -> blake3::Hash {
    // `Hash` promises nothing from one process to the next; with a hasher that is the same everywhere it does
    // well enough, and a difference would only mean compiling again.
    struct Stable(blake3::Hasher);
    impl Hasher for Stable {
        fn finish(&self) -> u64 {
            let hash = self.0.finalize();
            hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
        }

        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut stable = Stable(blake3::Hasher::new());
    digest.as_bytes().hash(&mut stable);
    // Covers the version of wasmtime, the target and every setting that compiled code depends on.
    engine.precompile_compatibility_hash().hash(&mut stable);
    stable.0.finalize()
}

/// Loads the component whose code is in a file, if it is there and can be used.
///
/// # Errors
///
/// Only a shortage of the host: compiling again would meet it too.
fn kept(engine: &Engine, path: &Path) -> Result<Option<Component>, CompileError> {
    match read(path) {
        Ok(code) => match deserialize(engine, &code) {
            Ok(component) => {
                touch(path);
                return Ok(Some(component));
            }
            Err(error) => match shortage_of(&*error) {
                Some(shortage) => return Err(CompileError::Short(shortage)),
                None => discard(path, &format!("{error:#}")),
            },
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => discard(path, &error.to_string()),
        Err(error) => match shortage_of(&error) {
            Some(shortage) => return Err(CompileError::Short(shortage)),
            None => warn!("can't read compiled code from `{}`: {error}", path.display()),
        },
    }
    Ok(None)
}

/// Loads code that [`read`] or [`whole`] found to be as it was written.
fn deserialize(engine: &Engine, sealed: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` trusts its bytes to be what `precompile_component` of the same version and
    // settings gave. They are: the checksum says that the file is whole and unchanged since we, or a child of
    // ours that nobody else can reach, wrote it; it lies in memory of ours, or in a directory that nobody
    // else can write to, under a name that is drawn from the version, the settings and the component.
    unsafe { Component::deserialize(engine, &sealed[HEADER..]) }
}

/// Reads a whole file, header included.
///
/// # Errors
///
/// `InvalidData` if it is not as it was written, or another user wrote it.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    // Left by someone while the directory was open to others.
    if !file.metadata().is_ok_and(|metadata| is_ours(&metadata)) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it belongs to another user"));
    }
    whole(&mut file)
}

/// Reads the whole of an open file, as [`read`] does.
fn whole(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    unseal(&bytes).map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
    Ok(bytes)
}

/// A file that is being written, under a temporary name or none. It gets its real name only after it was read
/// back: another process sees all of it or nothing. Without one it is gone with this value.
///
/// Not synced: what a crash of the machine leaves behind fails its checksum.
struct Draft {
    file: File,
    path: Option<PathBuf>,
}

impl Draft {
    fn in_memory() -> Result<Self, CompileError> {
        let file = compile::in_memory("compiled")
            .map_err(|error| CompileError::failed("there is no room for what is compiled", &error))?;
        Ok(Self { file, path: None })
    }

    fn in_directory(directory: &Path) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let unique = blake3::hash(format!("{}-{now:?}", std::process::id()).as_bytes()).to_hex();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("{unique}-{count}.{TEMPORARY}"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path: Some(path) })
    }

    /// Loads the component whose code was written.
    fn load(&mut self, engine: &Engine) -> Result<Component, CompileError> {
        let code = self
            .file
            .rewind()
            .and_then(|()| whole(&mut self.file))
            .map_err(|error| CompileError::failed("what the compiler wrote can't be used", &error))?;
        deserialize(engine, &code).map_err(|error| {
            let reason = format!("{error:#}");
            // wasmtime has no type for this one: the component is right, but there is no room for it.
            if reason.contains("pooling allocator") {
                return CompileError::Refused(format!(
                    "it needs more than an instance may have here: {reason}"
                ));
            }
            let what = "what the compiler made can't be loaded";
            shortage_of(&*error)
                .map_or_else(|| CompileError::Failed(format!("{what}: {reason}")), CompileError::Short)
        })
    }

    /// Gives it its real name.
    fn keep(mut self, path: &Path) -> io::Result<()> {
        let Some(own) = &self.path else { return Ok(()) };
        fs::rename(own, path)?;
        self.path = None;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Removes a file that can't be used.
fn discard(path: &Path, reason: &str) {
    warn!("compiling again, as the compiled code in `{}` can't be used: {reason}", path.display());
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!("can't remove `{}`: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::wasm::testing::{component, function};
    use crate::wasm::values::Shape;

    fn small(name: &'static str) -> (Vec<u8>, ComponentDigest) {
        let bytes = component(&[], &[function(name, [("a", Shape::U32)], None)], &[]);
        let digest = ComponentDigest::of(&bytes);
        (bytes, digest)
    }

    fn private() -> TempDir {
        let directory = TempDir::new().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        directory
    }

    fn files(directory: &Path) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    fn new(directory: Option<&Path>) -> Cache {
        Cache::new(directory, Compiler::InProcess)
    }

    /// Writes a file as a compiler does.
    fn write(directory: &Path, path: &Path, code: &[u8]) -> io::Result<()> {
        let mut draft = Draft::in_directory(directory)?;
        seal(&mut draft.file, code)?;
        draft.keep(path)
    }

    #[track_caller]
    fn load(cache: &Cache, engine: &Engine, (bytes, digest): &(Vec<u8>, ComponentDigest)) {
        let component = cache.load(engine, false, digest, bytes, &Interrupt::default()).unwrap();
        assert_eq!(component.component_type().exports(engine).len(), 1);
    }

    /// What was written is read: had the file been ignored it would be written
    /// anew, as another file.
    #[test]
    fn compiled_code_is_used_again() {
        let directory = private();
        let inner = directory.path().join("a/b");
        let engine = Engine::default();
        let component = small("f");
        load(&new(Some(&inner)), &engine, &component);
        assert_eq!(fs::metadata(&inner).unwrap().mode() & 0o777, 0o700);
        let [file] = &*files(&inner) else { panic!() };
        let before = fs::metadata(file).unwrap();
        assert_eq!(before.mode() & 0o777, 0o600);
        OpenOptions::new().append(true).open(file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        load(&new(Some(&inner)), &engine, &component);
        let after = fs::metadata(file).unwrap();
        assert_eq!(before.ino(), after.ino());
        assert!(after.modified().unwrap() > SystemTime::UNIX_EPOCH, "its use is noted");
    }

    #[test]
    fn other_settings_and_other_components_have_other_files() {
        let directory = private();
        let cache = new(Some(directory.path()));
        load(&cache, &Engine::default(), &small("f"));
        load(&cache, &Engine::default(), &small("g"));
        assert_eq!(files(directory.path()).len(), 2);
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        load(&cache, &Engine::new(&config).unwrap(), &small("f"));
        assert_eq!(files(directory.path()).len(), 3);
        assert_eq!(key(&Engine::default(), &small("f").1), key(&Engine::default(), &small("f").1));
    }

    #[test]
    fn a_damaged_file_is_compiled_again() {
        let directory = private();
        let cache = new(Some(directory.path()));
        let engine = Engine::default();
        let component = small("f");
        load(&cache, &engine, &component);
        let file = files(directory.path()).remove(0);
        let good = fs::read(&file).unwrap();
        assert!(read(&file).is_ok());

        let mut damaged: Vec<Vec<u8>> = Vec::new();
        // Every bit of the header, and a bit in every region of the body.
        let places = (0..HEADER * 8).chain((HEADER * 8..good.len() * 8).step_by(good.len() / 16 * 8 + 1));
        for bit in places.chain([good.len() * 8 - 1]) {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            damaged.push(bytes);
        }
        for length in [0, 1, 7, 8, HEADER - 1, HEADER, HEADER + 1, good.len() / 2, good.len() - 1] {
            damaged.push(good[..length].to_vec());
        }
        damaged.push([&*good, b"x"].concat());
        for bytes in &damaged {
            fs::write(&file, bytes).unwrap();
            assert!(read(&file).is_err_and(|error| error.kind() == io::ErrorKind::InvalidData));
        }
        // The rest of the way for some of them.
        for bytes in damaged.iter().step_by(29) {
            fs::write(&file, bytes).unwrap();
            load(&cache, &engine, &component);
            assert_eq!(fs::read(&file).unwrap().len(), good.len(), "written anew");
            assert!(read(&file).is_ok());
        }
    }

    #[test]
    fn a_file_of_someone_else_is_compiled_again() {
        let directory = private();
        let cache = new(Some(directory.path()));
        let engine = Engine::default();
        load(&cache, &engine, &small("f"));
        let file = files(directory.path()).remove(0);
        if std::os::unix::fs::chown(&file, Some(12_345), None).is_ok() {
            let error = read(&file).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert_eq!(error.to_string(), "it belongs to another user");
            load(&cache, &engine, &small("f"));
            assert!(is_ours(&fs::metadata(&file).unwrap()));
        }
    }

    #[test]
    fn a_whole_file_with_foreign_code_is_compiled_again() {
        let directory = private();
        let cache = new(Some(directory.path()));
        let engine = Engine::default();
        let component = small("f");
        load(&cache, &engine, &component);
        let file = files(directory.path()).remove(0);
        write(directory.path(), &file, b"not compiled code").unwrap();
        load(&cache, &engine, &component);
        assert!(fs::metadata(&file).unwrap().len() > 1000);
        // Something that can't even be read as a file.
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        load(&cache, &engine, &component);
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_not_used() {
        let directory = private();
        for mode in [0o770, 0o702, 0o777] {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
            let cache = new(Some(directory.path()));
            assert_eq!(cache.directory, None);
            load(&cache, &Engine::default(), &small("f"));
            assert_eq!(files(directory.path()), [] as [PathBuf; 0]);
        }
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(new(Some(&file)).directory, None);
        // Only root can give a directory away.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        if std::os::unix::fs::chown(directory.path(), Some(12_345), None).is_ok() {
            assert_eq!(new(Some(directory.path())).directory, None);
        }
        load(&new(None), &Engine::default(), &small("f"));
    }

    #[test]
    fn a_cache_that_can_not_be_written_only_costs_time() {
        let directory = private();
        let inner = directory.path().join("cache");
        let cache = new(Some(&inner));
        // Works for root too, unlike taking the permission away.
        fs::remove_dir(&inner).unwrap();
        load(&cache, &Engine::default(), &small("f"));
        // A file whose name can't be given.
        assert!(write(directory.path(), Path::new("/proc/no-such-place"), b"code").is_err());
        assert_eq!(files(directory.path()), [] as [PathBuf; 0], "no temporary file stays");
    }

    #[test]
    fn what_was_used_longest_ago_is_removed() {
        let directory = private();
        let engine = Engine::default();
        let components = [small("a"), small("b"), small("c")];
        let all = new(Some(directory.path()));
        load(&all, &engine, &components[0]);
        let size = fs::metadata(&files(directory.path())[0]).unwrap().len();
        load(&all, &engine, &components[1]);
        let path = |of: &ComponentDigest| directory.path().join(format!("{}.{EXTENSION}", key(&engine, of)));
        let age = |path: &Path, days: u64| {
            let time = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
            OpenOptions::new().append(true).open(path).unwrap().set_modified(time).unwrap();
        };
        age(&path(&components[0].1), 2);
        age(&path(&components[1].1), 3);
        let (old, new, foreign) = (
            directory.path().join("1.tmp"),
            directory.path().join("2.tmp"),
            directory.path().join("notes.txt"),
        );
        for file in [&old, &new, &foreign] {
            fs::write(file, "x").unwrap();
        }
        age(&old, 2);
        age(&foreign, 9);
        load(
            &Cache::with_bound(Some(directory.path()), Compiler::InProcess, size * 5 / 2),
            &engine,
            &components[2],
        );
        assert!(path(&components[0].1).exists());
        assert!(!path(&components[1].1).exists());
        assert!(path(&components[2].1).exists());
        assert!(!old.exists() && new.exists() && foreign.exists());
        // The newest stays even if it alone is too big.
        load(&Cache::with_bound(Some(directory.path()), Compiler::InProcess, 1), &engine, &components[1]);
        assert!(path(&components[1].1).exists() && !path(&components[2].1).exists());
    }

    #[test]
    fn many_may_write_at_once() {
        let directory = private();
        let component = small("f");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let engine = Engine::default();
                    for round in 0..4 {
                        load(&new(Some(directory.path())), &engine, &component);
                        if round == 1
                            && let Some(file) = files(directory.path()).first()
                        {
                            let _ = fs::remove_file(file);
                        }
                    }
                });
            }
        });
        load(&new(Some(directory.path())), &Engine::default(), &component);
        let [file] = &*files(directory.path()) else { panic!() };
        assert!(read(file).is_ok());
    }

    #[test]
    fn what_is_cut_short_is_not_loaded() {
        let (bytes, digest) = small("f");
        for length in 0..bytes.len() {
            // Cut between two sections it is a shorter component.
            assert!(
                new(None)
                    .load(&Engine::default(), false, &digest, &bytes[..length], &Interrupt::default())
                    .is_err()
                    || length >= 8
            );
        }
    }
}
