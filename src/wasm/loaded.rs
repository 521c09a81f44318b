//! Components that were read, checked against the lock and compiled, before they are linked.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::ThreadPoolBuilder;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use wasmtime::Engine;
use wasmtime::ResourcesRequired;

use super::cache::Cache;
use super::code::Code;
use super::compile::CompileError;
use super::contents::Contents;
use super::discover::{Discovery, Export, discover};
use super::docs;
use super::names::Names;
use super::source::{LoadError, load_error};
use crate::model::{ComponentDigest, FunctionName, Interrupt, TaskId};
use crate::regular_file;

/// A component that was read and compiled.
pub(super) struct Loaded {
    pub(super) name: Arc<str>,
    pub(super) path: PathBuf,
    pub(super) digest: ComponentDigest,
    pub(super) code: Arc<Code>,
    /// The resources that an instance takes; `None` if it imports core modules.
    pub(super) needs: Option<ResourcesRequired>,
    pub(super) discovery: Discovery,
    pub(super) contents: Contents,
    /// Whether somebody has asked for it by name.
    pub(super) is_named: bool,
}

impl Loaded {
    /// The interfaces that it exports tasks from, as it exports them.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.exports().iter().filter_map(|export| export.interface.as_deref())
    }

    /// The tasks that it exports.
    pub(super) fn exports(&self) -> &[Export] {
        &self.discovery.exports
    }

    /// The task of a function of an exported interface.
    pub(super) fn export(&self, interface: &str, function: &str) -> Option<&Export> {
        let name = FunctionName::exported(Some(interface), function);
        let id = TaskId { component: &self.name, function: name }.to_string();
        // They are sorted by id.
        let place = self.exports().binary_search_by(|export| (*export.id).cmp(&*id)).ok()?;
        Some(&self.exports()[place]).filter(|export| export.interface.as_deref() == Some(interface))
    }

    pub(super) fn error(&self, message: impl Into<String>) -> LoadError {
        load_error(&self.name, &self.path, message)
    }
}

/// Reads a component from its file, compares it with the digest of the lock, and compiles it. `interrupt` ends the
/// wait for the compiler.
pub(super) fn load_one(
    engine: &Engine,
    fuel: bool,
    name: &str,
    path: &Path,
    locked: Option<&ComponentDigest>,
    cache: &Cache,
    interrupt: &Interrupt,
) -> Result<Loaded, LoadError> {
    let bytes = read_component(path, cache.compiler.max_component_bytes())
        .map_err(|error| load_error(name, path, format!("the file can't be read: {error}")))?;
    let digest = ComponentDigest::of(&bytes);
    // Before anything else is done with the bytes.
    if let Some(locked) = locked {
        check_lock(name, digest, *locked).map_err(|message| load_error(name, path, message))?;
    }
    load_bytes(engine, fuel, name, path, (digest, &bytes), cache, interrupt)
        .map_err(|error| load_error(name, path, error.to_string()))
}

/// Reads a file of at most so many bytes, or the beginning of one that has more.
pub(super) fn read_component(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more than it may have: a file says what it likes about its size.
    regular_file::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Checks that a component has the digest of the lock file.
///
/// # Errors
///
/// Both digests, and a hint.
pub fn check_lock(name: &str, found: ComponentDigest, locked: ComponentDigest) -> Result<(), String> {
    if found == locked {
        return Ok(());
    }
    Err(format!(
        "its digest is `{found}`, and the lock file has `{locked}`: \
         `run-wasm-runner lock --update {name}` accepts the new one"
    ))
}

/// Compiles a component, of which the digest is known; `path` is for messages.
pub(super) fn load_bytes(
    engine: &Engine,
    fuel: bool,
    name: &str,
    path: &Path,
    (digest, bytes): (ComponentDigest, &[u8]),
    cache: &Cache,
    interrupt: &Interrupt,
) -> Result<Loaded, CompileError> {
    let most = cache.compiler.max_component_bytes();
    if bytes.len() as u64 > most {
        let message = format!("it has more than the {most} bytes that `compile.component` allows");
        return Err(CompileError::Refused(message));
    }
    // Before anything else looks at the bytes, or at what the compiler makes of them.
    let contents = Contents::of(bytes).map_err(CompileError::Refused)?;
    let component = cache.load(engine, fuel, &digest, bytes, interrupt)?;
    let name = Arc::from(name);
    let mut discovery = discover(&component, &name).map_err(CompileError::Refused)?;
    docs::attach(bytes, &mut discovery.exports);
    let path = path.to_owned();
    let needs = component.resources_required();
    let code = Arc::new(Code::new(component, digest, fuel));
    Ok(Loaded { name, path, digest, code, needs, discovery, contents, is_named: true })
}

/// Does something with every item, on as many threads as there are processors, and returns the results in the
/// order of the items. Compiling one component uses several threads only some of the time.
pub(super) fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|_| "load".to_owned());
    match (threads > 1).then(|| pool.build()) {
        Some(Ok(pool)) => pool.install(|| items.par_iter().with_max_len(1).map(&work).collect()),
        // Without other threads this one does it all.
        None | Some(Err(_)) => items.iter().map(work).collect(),
    }
}

/// Makes the names of the tasks of some components.
pub(super) fn names_of<'l>(loaded: impl IntoIterator<Item = &'l Loaded>) -> Names {
    let loaded: Vec<_> = loaded.into_iter().collect();
    let exports = loaded.iter().flat_map(|one| one.exports());
    let named = loaded.iter().filter(|one| one.is_named).map(|one| Arc::clone(&one.name));
    Names::new(exports.map(|export| (Arc::clone(&export.id), export.version()))).with_named(named)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn parallel_work_is_done_once_and_comes_back_in_order() {
        let items: Vec<usize> = (0..100).collect();
        let calls = AtomicUsize::new(0);
        let doubled = in_parallel(&items, |item| {
            calls.fetch_add(1, Ordering::Relaxed);
            item * 2
        });
        assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(calls.into_inner(), items.len());
        assert_eq!(in_parallel(&[], |item: &u8| *item), Vec::<u8>::new());
    }
}
