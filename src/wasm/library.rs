//! The components of a configuration, loaded and linked, and the tasks that they
//! export.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::Cache;
use super::compile::{CompileError, Compiler};
use super::control::GuestControl;
use super::discover::{Discovery, Export, discover};
use super::docs::{self, describe};
use super::engine::{EpochTicker, new_engine};
use super::execute;
use super::glob::Glob;
use super::interrupt::Interrupt;
use super::linked::{LinkedTask, link_one};
use super::names::Names;
use super::network::{HttpGrant, NetworkGrant};
use super::parallel::in_parallel;
use super::scratch::{ScratchGrant, ScratchPlace};
use super::secrets::SecretGrant;
use super::values::{Shape, arguments_schema, normalise_arguments, value_schema};
use super::versions::{Shelf, Versions};
use crate::model::{Claim, Clock, ComponentDigest, Outcome, RetryPolicy, TaskClient, TaskOptions};

/// A component as the configuration names it.
#[derive(Debug, Clone)]
pub struct ComponentSource {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its file: a component in binary form.
    pub path: PathBuf,
    /// Which bytes an invocation runs that was submitted for others.
    pub version: Version,
    /// The digests that its bytes may have, the one to load first; any if there is
    /// none.
    pub locked: Vec<ComponentDigest>,
    /// What its guests may touch.
    pub grants: Grants,
    /// Options of its tasks, where nothing more exact is said.
    pub defaults: TaskOptions,
    /// Options by task, under any unambiguous form of the task's id.
    pub tasks: BTreeMap<String, TaskOptions>,
}

impl ComponentSource {
    /// Whether the fuel of any of its tasks is limited. Counting it slows code down,
    /// so only components that need it pay.
    pub(super) fn wants_fuel(&self) -> bool {
        self.defaults.limits.fuel.is_some() || self.tasks.values().any(|task| task.limits.fuel.is_some())
    }
}

/// Which bytes of a component an invocation runs on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Version {
    /// The runner's, whatever it was submitted for.
    #[default]
    Newest,
    /// Those that it was submitted for. If the runner has others, it fetches them.
    Pinned,
}

/// What the guests of a component may touch. Nothing by default.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// Directories.
    pub directories: Vec<DirectoryGrant>,
    /// Environment variables: names and values.
    pub environment: Vec<(String, String)>,
    /// The same whose values are secret.
    pub secrets: Vec<SecretGrant>,
    /// A directory of each attempt's own.
    pub scratch: Option<ScratchGrant>,
    /// What they may connect to.
    pub network: Arc<[NetworkGrant]>,
    /// The requests that they may make.
    pub http: Arc<[HttpGrant]>,
    /// The tasks that they may submit, by their full ids; `None`: every one.
    pub may_submit: Option<Arc<[Glob]>>,
}

/// A directory of the host that guests see.
#[derive(Debug, Clone)]
pub struct DirectoryGrant {
    /// Where it is on the host, absolute.
    pub host: PathBuf,
    /// Where guests see it.
    pub guest: String,
    /// What they may do with it.
    pub access: DirectoryAccess,
}

/// What guests may do with a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryAccess {
    /// List and read.
    ReadOnly,
    /// List, read, write, create and remove.
    ReadWrite,
}

/// How to load components.
#[derive(Debug, Clone)]
pub struct LibraryOptions {
    /// Where compiled code is kept; `None` compiles anew each time.
    pub cache_directory: Option<PathBuf>,
    /// Who compiles what is not kept there.
    pub compiler: Compiler,
    /// The most instances, running and parked together, that may live at once:
    /// the engine's pools are sized by it. At most what the system can carry, by
    /// [`live_for_maps`](super::live_for_maps).
    pub max_live: usize,
    /// Counts the components that are loaded or refused, for whoever shows it.
    pub loaded: Arc<AtomicUsize>,
}

/// One task.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its full id: `namespace:package/interface.function`, or
    /// `COMPONENT.function` for a function at a component's root.
    pub id: Arc<str>,
    /// The configured name of its component.
    pub component: Arc<str>,
    /// The digest of its component.
    pub digest: ComponentDigest,
    /// Its parameters, in order.
    pub parameters: Vec<Parameter>,
    /// The WIT type of its result; `None` if it has none.
    pub result: Option<String>,
    /// What its component says of it, in as many lines as somebody wrote.
    pub docs: Option<String>,
    /// Its options.
    pub options: TaskOptions,
}

/// A parameter of a task.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name, in kebab-case as in WIT.
    pub name: String,
    /// Its WIT type.
    pub type_name: String,
}

/// What values go into a task and come out of it: JSON Schemas (2020-12), each a document
/// of its own.
#[derive(Debug, Clone)]
pub struct TaskSchema {
    /// Of its arguments, as an array or as an object.
    pub arguments: serde_json::Value,
    /// Of its value.
    pub result: serde_json::Value,
    /// Of the error that it may return; `None` if its type has none.
    pub returned: Option<serde_json::Value>,
}

/// An exported function that is not a task, and why.
#[derive(Debug, Clone)]
pub struct NotTask {
    /// What would be its id.
    pub id: String,
    /// The configured name of its component.
    pub component: Arc<str>,
    /// Why it can't be a task.
    pub reason: String,
}

/// A component that can't be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("component `{component}` ({path}): {message}")]
pub struct LoadError {
    /// Its configured name.
    pub component: String,
    /// Its file.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// A task name that names no task, or several.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ResolveError {
    /// With the candidates.
    pub message: String,
}

/// Arguments that do not fit a task.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ArgumentError {
    /// Where, and both types: ``points[3].x: expected f64, found string``.
    pub message: String,
    /// Whether it is their size that does not fit.
    pub is_over_limit: bool,
}

impl ArgumentError {
    fn new(message: String) -> Self {
        Self { message, is_over_limit: false }
    }
}

/// A component that was read and compiled, before it is linked.
pub(super) struct Loaded {
    pub(super) name: Arc<str>,
    path: PathBuf,
    pub(super) digest: ComponentDigest,
    pub(super) component: Component,
    pub(super) discovery: Discovery,
}

impl Loaded {
    /// The interfaces that it exports tasks from, as it exports them.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.discovery.exports.iter().filter_map(|export| export.interface.as_deref())
    }

    /// The tasks that it exports.
    pub(super) fn exports(&self) -> &[Export] {
        &self.discovery.exports
    }

    /// The task that a function of an exported interface is.
    pub(super) fn export(&self, interface: &str, function: &str) -> Option<&Export> {
        self.discovery
            .exports
            .iter()
            .find(|export| export.interface.as_deref() == Some(interface) && &*export.function == function)
    }

    pub(super) fn error(&self, message: impl Into<String>) -> LoadError {
        load_error(&self.name, &self.path, message)
    }
}

pub(super) fn load_error(name: &str, path: &Path, message: impl Into<String>) -> LoadError {
    LoadError { component: name.to_owned(), path: path.display().to_string(), message: message.into() }
}

/// The loaded components and their tasks.
pub struct Library {
    tasks: Vec<Task>,
    not_tasks: Vec<NotTask>,
    names: Arc<Names>,
    programs: HashMap<Arc<str>, LinkedTask>,
    task_set: Arc<HashSet<Arc<str>>>,
    pub(super) versions: Versions,
    ticker: EpochTicker,
    clock: Arc<dyn Clock>,
}

/// A guest that was made from a claim.
pub struct StartedGuest {
    /// The guest: polling it runs it, dropping it kills it.
    pub future: std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>,
    /// Its switch and its clock.
    pub control: Arc<GuestControl>,
    /// The component that it is an instance of.
    pub digest: ComponentDigest,
    /// How many live instances it counts for.
    pub weight: usize,
    /// What is done if its attempt fails.
    pub retry: Arc<RetryPolicy>,
}

impl Library {
    /// Loads every component, compiling what the cache does not hold, and links
    /// them with each other.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with every component, not just the first.
    pub fn load(
        sources: &[ComponentSource],
        options: &LibraryOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Vec<LoadError>> {
        let max_live = options.max_live;
        let engine_error = |error: wasmtime::Error| {
            vec![load_error("*", Path::new("*"), format!("the WebAssembly engine can't be made: {error:#}"))]
        };
        let plain = new_engine(max_live, false).map_err(engine_error)?;
        let metered = match sources.iter().any(ComponentSource::wants_fuel) {
            true => Some(new_engine(max_live, true).map_err(engine_error)?),
            false => None,
        };
        let place = Arc::new(ScratchPlace::new(options.cache_directory.as_deref()));
        sources
            .iter()
            .filter_map(|source| source.grants.scratch.as_ref())
            .for_each(|one| one.make_in(&place));
        let cache = Cache::new(options.cache_directory.as_deref(), options.compiler.clone());
        let mut errors = Vec::new();
        let mut loaded = Vec::new();
        let mut used_sources = Vec::new();
        let engine =
            |source: &ComponentSource| metered.as_ref().filter(|_| source.wants_fuel()).unwrap_or(&plain);
        let results = in_parallel(sources, |source| {
            let result = load_one(
                engine(source),
                source.wants_fuel(),
                &source.name,
                &source.path,
                source.locked.first(),
                &cache,
            );
            options.loaded.fetch_add(1, Ordering::Relaxed);
            result
        });
        for (source, result) in sources.iter().zip(results) {
            match result {
                Ok(component) => {
                    loaded.push(component);
                    used_sources.push(source);
                }
                Err(error) => errors.push(error),
            }
        }
        refuse_duplicates(&loaded, &mut errors);
        let engines = std::iter::once(plain).chain(metered).collect();
        let ticker = EpochTicker::start(engines).map_err(|error| {
            vec![load_error("*", Path::new("*"), format!("the epoch thread can't be started: {error}"))]
        })?;
        let mut library = Self {
            tasks: Vec::new(),
            not_tasks: Vec::new(),
            names: Arc::new(Names::new(
                loaded
                    .iter()
                    .flat_map(|one| &one.discovery.exports)
                    .map(|export| (Arc::clone(&export.id), export.version())),
            )),
            programs: HashMap::new(),
            task_set: Arc::default(),
            versions: Versions::default(),
            ticker,
            clock,
        };
        let all: Vec<_> = loaded.iter().collect();
        for (one, source) in loaded.iter().zip(&used_sources) {
            match link_one(one, source, &all, &library.names) {
                Ok(linked) => {
                    library.programs.extend(linked.programs);
                    library.tasks.extend(linked.tasks);
                    library.not_tasks.extend(linked.not_tasks);
                }
                Err(mut wrong) => errors.append(&mut wrong),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        library.tasks.sort_by(|a, b| a.id.cmp(&b.id));
        for (index, task) in library.tasks.iter().enumerate() {
            if let Some(linked) = library.programs.get_mut(&task.id) {
                linked.index = index;
            }
        }
        library.task_set = Arc::new(library.programs.keys().cloned().collect());
        let sources = used_sources.into_iter().cloned().collect();
        library.versions = Versions::new(loaded, sources, cache.beside_guests(), Arc::clone(&library.names));
        Ok(library)
    }

    /// Says where other versions of pinned components come from.
    pub fn fetch_versions_from(&mut self, shelf: Box<dyn Shelf>) {
        self.versions.fetch_from(shelf);
    }

    /// All tasks, sorted by id.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// The exported functions that are not tasks.
    pub fn not_tasks(&self) -> &[NotTask] {
        &self.not_tasks
    }

    /// The full ids of all tasks.
    pub fn task_set(&self) -> Arc<HashSet<Arc<str>>> {
        Arc::clone(&self.task_set)
    }

    /// Finds a task by its id or by any shorter form that names only one.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] with the candidates.
    pub fn resolve(&self, name: &str) -> Result<&Task, ResolveError> {
        let id = self.names.resolve(name).map_err(|message| ResolveError { message })?;
        self.programs
            .get(id)
            .and_then(|linked| self.tasks.get(linked.index))
            .ok_or_else(|| ResolveError { message: format!("task `{id}` is not linked") })
    }

    /// Whether a pattern of `may-submit` stands for any task. `*` alone does, even if
    /// there is none.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] with what was probably meant.
    pub fn check_submits(&self, pattern: &Glob) -> Result<(), ResolveError> {
        let text = pattern.to_string();
        if text == "*" || self.tasks.iter().any(|task| pattern.matches(&task.id)) {
            return Ok(());
        }
        let message = match self.names.resolve(&text) {
            // Guests may use short names; what they may do is written in full.
            Ok(id) => format!("`{text}` is no full id of a task (did you mean `{id}`?)"),
            Err(message) => message,
        };
        Err(ResolveError { message })
    }

    /// Checks `arguments` (a JSON array or object) against the parameters of a
    /// task and returns them as the JSON array that is stored.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] with the path and both types.
    pub fn check_arguments(&self, task: &Task, arguments: &str) -> Result<Arc<str>, ArgumentError> {
        let linked = self
            .programs
            .get(&task.id)
            .ok_or_else(|| ArgumentError::new(format!("task `{}` is not linked", task.id)))?;
        let limit = linked.program.limits.arguments_bytes;
        if arguments.len() as u64 > limit {
            let message = format!(
                "the arguments have {} bytes, more than the limit of {limit} (`arguments`) of the task `{}`",
                arguments.len(),
                task.id
            );
            return Err(ArgumentError { message, is_over_limit: true });
        }
        normalise_arguments(arguments, &linked.program.signature.parameters)
            .map_err(|error| ArgumentError { message: error.to_string(), is_over_limit: error.is_too_large })
    }

    /// What values go into a task and come out of it; `None` if it is not of this
    /// library.
    pub fn schema(&self, task: &Task) -> Option<TaskSchema> {
        let linked = self.programs.get(&task.id)?;
        let signature = &linked.program.signature;
        let value = |shape: Option<&Shape>| {
            let mut schema = value_schema(shape, &linked.types);
            linked.docs.describe_types(&mut schema);
            schema
        };
        let (result, returned) = match &signature.result {
            Some(Shape::Result { ok, err }) => (value(ok.as_deref()), Some(value(err.as_deref()))),
            result => (value(result.as_ref()), None),
        };
        let mut arguments = arguments_schema(&signature.parameters, &linked.types);
        linked.docs.describe_types(&mut arguments);
        describe(&mut arguments, task.docs.as_deref());
        Some(TaskSchema { arguments, result, returned })
    }

    /// Makes a guest of a claim. Nothing of it runs before the first poll. May
    /// fetch and compile another version of the component, if it is pinned: `interrupt`
    /// ends the wait for its compiler.
    ///
    /// # Errors
    ///
    /// Why there can't be one: for whoever wants the result.
    pub fn start(
        &self,
        claim: &Claim,
        client: &Arc<dyn TaskClient>,
        interrupt: &Interrupt,
    ) -> Result<StartedGuest, String> {
        let current = self
            .programs
            .get(&claim.task)
            .ok_or_else(|| format!("no component exports the task `{}` any more", claim.task))?;
        let task = &self.tasks[current.index];
        let version = match task.digest == claim.component_digest {
            true => None,
            false => self.versions.pinned(&task.component, claim.component_digest, interrupt)?,
        };
        let linked = match &version {
            None => current,
            Some(version) => version.programs.get(&claim.task).ok_or_else(|| {
                format!(
                    "the component `{}` does not export the task `{}`",
                    claim.component_digest, claim.task
                )
            })?,
        };
        let control = Arc::new(GuestControl::new(linked.program.limits.time));
        let future = execute::run(
            Arc::clone(&linked.program),
            claim.clone(),
            Arc::clone(client),
            Arc::clone(&self.clock),
            Arc::clone(&control),
        );
        Ok(StartedGuest {
            future: Box::pin(future),
            control,
            digest: if version.is_some() { claim.component_digest } else { task.digest },
            weight: linked.weight,
            retry: Arc::clone(&linked.retry),
        })
    }

    /// A guest gets a slot, or gives it back: guests are interruptible only in
    /// between.
    pub fn guest_runs(&self, runs: bool) {
        self.ticker.guest_runs(runs);
    }
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Library").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

pub(super) fn load_one(
    engine: &Engine,
    fuel: bool,
    name: &str,
    path: &Path,
    locked: Option<&ComponentDigest>,
    cache: &Cache,
) -> Result<Loaded, LoadError> {
    let most = cache.max_component_bytes();
    let mut bytes = Vec::new();
    // One more than it may have: a file says what it likes about its size.
    File::open(path)
        .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|error| load_error(name, path, format!("the file can't be read: {error}")))?;
    let digest = ComponentDigest::of(&bytes);
    // Before anything else is done with them.
    if let Some(locked) = locked {
        check_lock(name, digest, *locked).map_err(|message| load_error(name, path, message))?;
    }
    // A signal ends the whole process, and the compiler with it.
    let never = Interrupt::default();
    load_bytes(engine, fuel, name, path, (digest, &bytes), cache, &never).map_err(|unloaded| unloaded.error)
}

/// Whether a component has the digest that the lock file has.
///
/// # Errors
///
/// Both digests, and what to do.
pub fn check_lock(name: &str, found: ComponentDigest, locked: ComponentDigest) -> Result<(), String> {
    if found == locked {
        return Ok(());
    }
    Err(format!(
        "its digest is `{found}`, and the lock file has `{locked}`: \
         `run-wasm-runner lock --update {name}` accepts the new one"
    ))
}

/// Why a component was not loaded.
pub(super) struct Unloaded {
    pub(super) error: LoadError,
    /// Whether the same bytes would be refused again.
    pub(super) is_final: bool,
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
) -> Result<Loaded, Unloaded> {
    let refused = |message: String, is_final| Unloaded { error: load_error(name, path, message), is_final };
    let most = cache.max_component_bytes();
    if bytes.len() as u64 > most {
        let message = format!("it has more than the {most} bytes that `compile.component` allows");
        return Err(refused(message, true));
    }
    let component = cache
        .load(engine, fuel, &digest, bytes, interrupt)
        .map_err(|error| refused(error.to_string(), matches!(error, CompileError::Refused(_))))?;
    let mut discovery = discover(&component, name);
    docs::attach(bytes, &mut discovery.exports);
    Ok(Loaded { name: name.into(), path: path.to_owned(), digest, component, discovery })
}

/// Two components that export the same task: nobody could say which is meant.
fn refuse_duplicates(loaded: &[Loaded], errors: &mut Vec<LoadError>) {
    let mut first: HashMap<&str, &Loaded> = HashMap::new();
    for one in loaded {
        for export in &one.discovery.exports {
            if let Some(other) = first.insert(&export.id, one) {
                errors.push(
                    one.error(format!("the task `{}` is exported by `{}` as well", export.id, other.name)),
                );
            }
        }
    }
}
