//! The components of a configuration, loaded and linked, and the tasks that they
//! export.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::cache::Cache;
use super::compile::{CompileError, Compiler};
use super::control::GuestControl;
use super::discover::{Discovery, Export, Names, discover};
use super::engine::{EpochTicker, new_engine};
use super::execute::{self, MAX_MEMORIES, MAX_TABLES, Program, TABLES_PER_WEIGHT};
use super::files;
use super::glob::Glob;
use super::host;
use super::link::{self, Provider};
use super::network::{self, HttpGrant, NetworkGrant};
use super::parallel::in_parallel;
use super::rules;
use super::secrets::SecretGrant;
use super::submits::Submits;
use super::values::{Field, Shape, arguments_schema, normalise_arguments, value_schema};
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

/// What a component file holds.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The digest of its bytes.
    pub digest: ComponentDigest,
    /// Its size in bytes.
    pub bytes: u64,
    /// The tasks that it exports.
    pub tasks: Vec<Task>,
    /// The functions that it exports and that can't be tasks.
    pub not_tasks: Vec<NotTask>,
    /// What it imports, and who would provide it.
    pub imports: Vec<Capability>,
}

/// An imported interface and what stands behind it.
#[derive(Debug, Clone)]
pub struct Capability {
    /// The name of the import, with its version.
    pub import: String,
    /// The functions of it that the component uses.
    pub functions: Vec<String>,
    /// In words, what it asks for and who provides it.
    pub provided_by: String,
    /// Whether anything provides it.
    pub is_provided: bool,
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
    discovery: Discovery,
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

    fn error(&self, message: impl Into<String>) -> LoadError {
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

pub(super) struct LinkedTask {
    /// Place in `tasks`.
    index: usize,
    program: Arc<Program>,
    weight: usize,
    retry: Arc<RetryPolicy>,
    /// The names that its interface has for types.
    types: Arc<[Field]>,
}

/// A component with everything that it imports.
#[derive(Default)]
pub(super) struct Linked {
    pub(super) programs: HashMap<Arc<str>, LinkedTask>,
    tasks: Vec<Task>,
    not_tasks: Vec<NotTask>,
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

    /// What one component file holds, without linking it to anything.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if it can't be read or is not a component.
    pub fn inspect(
        name: &str,
        path: &Path,
        cache_directory: Option<&Path>,
        compiler: Compiler,
    ) -> Result<Inspection, LoadError> {
        let engine = new_engine(1, false).map_err(|error| {
            load_error(name, path, format!("the WebAssembly engine can't be made: {error:#}"))
        })?;
        let cache = Cache::new(cache_directory, compiler);
        let loaded = load_one(&engine, false, name, path, None, &cache)?;
        let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let alone = [&loaded];
        let imports = loaded
            .discovery
            .imports
            .iter()
            .map(|import| {
                let (provided_by, is_provided) = match link::provider(import, &alone) {
                    Ok(Provider::Wasi) => (wasi_capability(&import.name), true),
                    Ok(Provider::Runner) => ("the runner".to_owned(), true),
                    Ok(Provider::Types) => ("nobody needs to: it only names types".to_owned(), true),
                    Ok(Provider::Component(..)) => {
                        ("itself: each call is a child invocation".to_owned(), true)
                    }
                    Err(_) => ("another component must export it".to_owned(), false),
                };
                let functions = import.functions().map(str::to_owned).collect();
                Capability { import: import.name.to_string(), functions, provided_by, is_provided }
            })
            .collect();
        Ok(Inspection {
            digest: loaded.digest,
            bytes,
            tasks: loaded
                .discovery
                .exports
                .iter()
                .map(|export| task(&loaded, export, TaskOptions::default()))
                .collect(),
            not_tasks: loaded
                .discovery
                .rejected
                .iter()
                .map(|rejected| NotTask {
                    id: rejected.id.clone(),
                    component: Arc::clone(&loaded.name),
                    reason: rejected.reason.clone(),
                })
                .collect(),
            imports,
        })
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
            .map_err(|error| ArgumentError::new(error.to_string()))
    }

    /// What values go into a task and come out of it; `None` if it is not of this
    /// library.
    pub fn schema(&self, task: &Task) -> Option<TaskSchema> {
        let linked = self.programs.get(&task.id)?;
        let signature = &linked.program.signature;
        let value = |shape: Option<&Shape>| value_schema(shape, &linked.types);
        let (result, returned) = match &signature.result {
            Some(Shape::Result { ok, err }) => (value(ok.as_deref()), Some(value(err.as_deref()))),
            result => (value(result.as_ref()), None),
        };
        let arguments = arguments_schema(&signature.parameters, &linked.types);
        Some(TaskSchema { arguments, result, returned })
    }

    /// Makes a guest of a claim. Nothing of it runs before the first poll. May
    /// fetch and compile another version of the component, if it is pinned.
    ///
    /// # Errors
    ///
    /// Why there can't be one: for whoever wants the result.
    pub fn start(&self, claim: &Claim, client: &Arc<dyn TaskClient>) -> Result<StartedGuest, String> {
        let current = self
            .programs
            .get(&claim.task)
            .ok_or_else(|| format!("no component exports the task `{}` any more", claim.task))?;
        let task = &self.tasks[current.index];
        let version = match task.digest == claim.component_digest {
            true => None,
            false => self.versions.pinned(&task.component, claim.component_digest)?,
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

    /// Gives up what [`start`](Self::start) compiles, now and later.
    pub fn interrupt(&self) {
        self.versions.interrupt();
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
    // Before anything else is done with them.
    if let Some(locked) = locked {
        let found = ComponentDigest::from_bytes(Sha256::digest(&bytes).into());
        check_lock(name, found, *locked).map_err(|message| load_error(name, path, message))?;
    }
    load_bytes(engine, fuel, name, path, &bytes, cache).map_err(|unloaded| unloaded.error)
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

/// Compiles a component; `path` is for messages.
pub(super) fn load_bytes(
    engine: &Engine,
    fuel: bool,
    name: &str,
    path: &Path,
    bytes: &[u8],
    cache: &Cache,
) -> Result<Loaded, Unloaded> {
    let refused = |message: String, is_final| Unloaded { error: load_error(name, path, message), is_final };
    let most = cache.max_component_bytes();
    if bytes.len() as u64 > most {
        let message = format!("it has more than the {most} bytes that `compile.component` allows");
        return Err(refused(message, true));
    }
    let digest = ComponentDigest::from_bytes(Sha256::digest(bytes).into());
    let component = cache
        .load(engine, fuel, &digest, bytes)
        .map_err(|error| refused(error.to_string(), matches!(error, CompileError::Refused(_))))?;
    let discovery = discover(&component, name);
    Ok(Loaded { name: name.into(), path: path.to_owned(), digest, component, discovery })
}

/// Links a component with all of them, itself included.
pub(super) fn link_one(
    one: &Loaded,
    source: &ComponentSource,
    all: &[&Loaded],
    names: &Arc<Names>,
) -> Result<Linked, Vec<LoadError>> {
    let submits = Submits { allowed: source.grants.may_submit.clone(), names: Arc::clone(names) };
    let mut linked = Linked::default();
    let mut errors = Vec::new();
    let mut linker = Linker::new(one.component.engine());
    let prepared = wasmtime_wasi::p2::add_to_linker_async(&mut linker)
        .and_then(|()| files::add_to_linker(&mut linker))
        .and_then(|()| network::add_sockets_to_linker(&mut linker))
        .and_then(|()| host::add_to_linker(&mut linker));
    let wants_http = one.discovery.imports.iter().any(|import| import.name.starts_with("wasi:http/"));
    let prepared = match wants_http {
        true => prepared.and_then(|()| network::add_http_to_linker(&mut linker)),
        false => prepared,
    };
    if let Err(error) = prepared {
        return Err(vec![one.error(format!("the imports can't be prepared: {error:#}"))]);
    }
    for import in &one.discovery.imports {
        match link::provider(import, all) {
            Err(message) => errors.push(one.error(message)),
            Ok(Provider::Wasi | Provider::Runner | Provider::Types) => {}
            Ok(Provider::Component(index, interface)) => {
                for export in all[index].discovery.exports.iter() {
                    if export.interface.as_deref() != Some(&interface) {
                        continue;
                    }
                    if import.uses(&export.function) && !submits.allows(&export.id) {
                        errors.push(
                            one.error(format!("imports `{}`, and `may-submit` does not name it", export.id)),
                        );
                    }
                    let defined = link::define(
                        &mut linker,
                        &import.name,
                        &export.function,
                        Arc::clone(&export.id),
                        export.signature.clone(),
                    );
                    if let Err(error) = defined {
                        errors.push(one.error(format!("import `{}`: {error:#}", import.name)));
                    }
                }
            }
        }
    }
    let weight = match weight(&one.component) {
        Ok(weight) => weight,
        Err(message) => {
            errors.push(one.error(message));
            1
        }
    };
    let mut options = task_options(one, source);
    for export in &one.discovery.exports {
        if let Some(options) = options.get(&export.id)
            && let Err(message) = check_cases(export, &options.retry, &source.defaults.retry)
        {
            errors.push(one.error(message));
        }
        let rules = options.get(&export.id).map_or(&source.defaults.rules, |options| &options.rules);
        if let Err(message) = rules::check(export, rules) {
            errors.push(one.error(message));
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let pre =
        linker.instantiate_pre(&one.component).map_err(|error| vec![one.error(format!("{error:#}"))])?;
    for rejected in &one.discovery.rejected {
        linked.not_tasks.push(NotTask {
            id: rejected.id.clone(),
            component: Arc::clone(&one.name),
            reason: rejected.reason.clone(),
        });
    }
    for export in &one.discovery.exports {
        let mut options = options.remove(&export.id).unwrap_or_else(|| source.defaults.clone());
        if options.retry.returned_cases.is_some() && error_cases(export).is_none() {
            // The JSON of a string can look like a case.
            Arc::make_mut(&mut options.retry).returned_cases = Some(Arc::from([]));
        }
        let program = Arc::new(Program {
            component: Arc::clone(&one.name),
            engine: one.component.engine().clone(),
            is_metered: source.wants_fuel(),
            pre: pre.clone(),
            index: export.index,
            entry: export.entry,
            signature: export.signature.clone(),
            grants: source.grants.clone(),
            submits: submits.clone(),
            limits: options.limits.clone(),
        });
        linked.programs.insert(
            Arc::clone(&export.id),
            LinkedTask {
                index: 0,
                program,
                weight,
                retry: Arc::clone(&options.retry),
                types: Arc::clone(&export.types),
            },
        );
        linked.tasks.push(task(one, export, options));
    }
    Ok(linked)
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

/// The options of each task of this component that the configuration names.
/// Names of other components' tasks are none of its business; those that name no
/// task at all are found by whoever can say where they stand in the
/// configuration.
fn task_options(one: &Loaded, source: &ComponentSource) -> HashMap<Arc<str>, TaskOptions> {
    let names =
        Names::new(one.discovery.exports.iter().map(|export| (Arc::clone(&export.id), export.version())));
    let known = source.tasks.iter().filter_map(|(name, task)| Some((names.resolve(name).ok()?, task)));
    known.map(|(id, task)| (Arc::clone(id), task.clone())).collect()
}

/// The cases of the error that a task returns; `None` if its type has none.
fn error_cases(export: &Export) -> Option<Vec<&str>> {
    let Some(Shape::Result { err: Some(error), .. }) = &export.signature.result else { return None };
    match &**error {
        Shape::Enum(cases) => Some(cases.iter().map(|case| &**case).collect()),
        Shape::Variant(cases) => Some(cases.iter().map(|case| &*case.name).collect()),
        _ => None,
    }
}

/// Whether a task can return the cases that its own section lists. What the
/// component lists is for all of its tasks, and may not be for this one.
fn check_cases(export: &Export, retry: &RetryPolicy, of_component: &RetryPolicy) -> Result<(), String> {
    let Some(cases) = retry.returned_cases.as_deref().filter(|cases| !cases.is_empty()) else {
        return Ok(());
    };
    if retry.returned_cases == of_component.returned_cases {
        return Ok(());
    }
    let Some(known) = error_cases(export) else {
        return Err(format!(
            "`cases` for the retries of `{}`: its error is no enum or variant, so it has no cases",
            export.id
        ));
    };
    match cases.iter().find(|case| !known.contains(&&***case)) {
        None => Ok(()),
        Some(unknown) => {
            let known: Vec<_> = known.iter().map(|case| format!("`{case}`")).collect();
            Err(format!(
                "`cases` for the retries of `{}`: its error has no case `{unknown}` (known: {})",
                export.id,
                known.join(", ")
            ))
        }
    }
}

/// How many live instances one instance counts for: pools are sized for guests
/// with one memory.
fn weight(component: &Component) -> Result<usize, String> {
    let Some(needs) = component.resources_required() else {
        return Err("it imports core modules, which nothing can provide".to_owned());
    };
    if needs.num_memories > MAX_MEMORIES || needs.num_tables > MAX_TABLES {
        return Err(format!(
            "it needs {} memories and {} tables, more than the {MAX_MEMORIES} and {MAX_TABLES} that an instance may have",
            needs.num_memories, needs.num_tables
        ));
    }
    Ok(needs.num_memories.max(needs.num_tables.div_ceil(TABLES_PER_WEIGHT)).max(1) as usize)
}

fn task(one: &Loaded, export: &Export, options: TaskOptions) -> Task {
    Task {
        id: Arc::clone(&export.id),
        component: Arc::clone(&one.name),
        digest: one.digest,
        parameters: export
            .signature
            .parameters
            .iter()
            .map(|parameter| Parameter {
                name: parameter.name.to_string(),
                type_name: parameter.shape.to_string(),
            })
            .collect(),
        result: export.signature.result.as_ref().map(ToString::to_string),
        options,
    }
}

/// What a WASI import asks for, and what it gets if nothing is granted.
fn wasi_capability(import: &str) -> String {
    let interface = import.trim_start_matches("wasi:");
    let what = match interface.split(['/', '@']).next().unwrap_or_default() {
        "filesystem" => "files: only in granted directories",
        "sockets" => "network: only to granted hosts",
        "clocks" => "clocks: given",
        "random" => "random numbers: given",
        "http" => "requests: only those granted",
        "io" => "streams: given",
        "cli" => match interface.split(['/', '@']).nth(1).unwrap_or_default() {
            "environment" => "environment and arguments: empty unless granted",
            "stdin" => "standard input: empty",
            "stdout" | "stderr" => "standard output and error: kept with the invocation",
            "exit" => "exit: ends the attempt",
            _ => "terminals: none",
        },
        _ => "not provided by this runner",
    };
    what.to_owned()
}
