//! What commands work with: the configuration, the store, the library, a runner.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::config::{
    Component, ComponentOrigin, Config, ConfigError, Origin, Problem, StoreUrl, Surroundings, in_backticks,
    nearest, read_secrets,
};
use crate::model::{Clock, ComponentDigest, Invocation, InvocationId, SystemClock};
use crate::runner::{LogObserver, Observers, Runner, RunnerOptions};
use crate::store::{
    MemoryStore, PostgresStore, PostgresUrl, PushedComponent, SqliteStore, Store, StoreError, TaskSet,
};
use crate::wasm::{ComponentSource, Interfaces, Library, LibraryOptions, LoadError, Task};

use super::args::Cli;
use super::compile;
use super::error::CliError;
use super::lock;
use super::output;
use super::progress::Progress;
use super::render::plural;
use crate::service::registry::Registry;
use crate::service::shelf::{Shelf, ShelfError};

/// The resolved configuration, and what is made from it.
pub struct Context {
    /// The configuration.
    pub config: Config,
    /// The clock of this process.
    pub clock: Arc<dyn Clock>,
    /// Whether to print JSON.
    pub json: bool,
}

/// Where a store that outlives its process is.
pub enum Durable<'c> {
    /// In a file.
    Sqlite(&'c Path),
    /// In a database.
    Postgres(&'c PostgresUrl),
}

/// A store as a command that only reads or changes what is there wants it.
pub struct ExistingStore {
    /// The store; an empty one in memory if it does not exist.
    pub store: Arc<dyn Store>,
    /// Why nothing will be found, if it does not exist.
    pub missing: Option<String>,
}

impl Context {
    /// Resolves the configuration, and says on standard error what is odd.
    ///
    /// # Errors
    ///
    /// [`CliError::Config`].
    pub fn new(cli: &Cli) -> Result<Self, CliError> {
        let config = Config::resolve(&cli.flags(), &Surroundings::of_process()?)?;
        for warning in &config.warnings {
            output::warn(&warning.to_string(), warning.hint.as_deref());
        }
        Ok(Self { config, clock: Arc::new(SystemClock::new()), json: cli.global.json })
    }

    /// Loads every component; those that the store keeps are fetched from it. If none
    /// is configured, all that were pushed into the store are.
    ///
    /// # Errors
    ///
    /// [`CliError::Load`] with everything that is wrong with the components, or
    /// [`CliError::Config`] with all that names no task.
    pub fn library(&self) -> Result<Arc<Library>, CliError> {
        self.load(self.store_of_components()?.as_ref())
    }

    /// Reads the secrets that components are granted: for whoever runs guests.
    ///
    /// # Errors
    ///
    /// [`CliError::Config`] with all that can't be had.
    pub fn read_secrets(&self) -> Result<(), CliError> {
        read_secrets(&self.config.components).map_err(|problems| ConfigError(problems).into())
    }

    /// The interfaces of every component that can be read, and what is wrong with
    /// those that can't.
    ///
    /// # Errors
    ///
    /// If the store that keeps some of them can't be used.
    pub fn interfaces(&self) -> Result<(Interfaces, Vec<LoadError>), CliError> {
        let sources = self.sources(self.store_of_components()?.as_ref())?;
        let compiler = compile::compiler(self.config.compile);
        let progress = Progress::start(|| Some("reading components".to_owned()));
        let interfaces = Interfaces::load(&sources, self.config.cache_directory.as_deref(), compiler);
        drop(progress);
        Ok(interfaces)
    }

    /// The store, if it is there and components come from it.
    fn store_of_components(&self) -> Result<Option<Arc<dyn Store>>, CliError> {
        if matches!(self.config.store.url, StoreUrl::Memory) || !self.config.needs_store_for_components() {
            return Ok(None);
        }
        let existing = self.existing_store()?;
        Ok(existing.missing.is_none().then_some(existing.store))
    }

    /// The same for a runner, which fetches other versions of pinned components from
    /// its store.
    ///
    /// # Errors
    ///
    /// As [`library`](Self::library).
    pub fn library_of(&self, store: &Arc<dyn Store>) -> Result<Arc<Library>, CliError> {
        self.load(Some(store))
    }

    fn load(&self, store: Option<&Arc<dyn Store>>) -> Result<Arc<Library>, CliError> {
        let options = LibraryOptions {
            cache_directory: self.config.cache_directory.clone(),
            compiler: compile::compiler(self.config.compile),
            max_live: self.config.max_live,
            loaded: Arc::default(),
        };
        let sources = self.sources(store)?;
        let (loaded, total) = (Arc::clone(&options.loaded), sources.len());
        let progress = Progress::start(move || {
            Some(format!("{} of {} loaded", loaded.load(Ordering::Relaxed), plural(total, "component")))
        });
        let library = Library::load(&sources, &options, Arc::clone(&self.clock)).map_err(CliError::Load);
        drop(progress);
        let mut library = library?;
        if let Some(store) = store {
            library.fetch_versions_from(Box::new(Shelf::new(Arc::clone(store), &self.config)));
        }
        let unresolved = self.config.task_sections.iter().filter_map(|(task, place)| {
            let error = library.resolve(task).err()?;
            Some(Problem::new(Origin::File, format!("`[task.\"{task}\"]`: {error}")).at(place))
        });
        let unknown = self.config.submits.iter().filter_map(|one| {
            let error = library.check_submits(&one.task).err()?;
            Some(Problem::new(Origin::File, format!("`{}`: {error}", one.key)).at(&one.place))
        });
        let unresolved: Vec<_> = unresolved.chain(unknown).collect();
        if unresolved.is_empty() { Ok(Arc::new(library)) } else { Err(ConfigError(unresolved).into()) }
    }

    /// A configured component with its file, which is fetched if need be; `None` if
    /// none has that name.
    ///
    /// # Errors
    ///
    /// As [`library`](Self::library).
    pub fn source(&self, name: &str) -> Result<Option<ComponentSource>, CliError> {
        let Some(component) = self.config.component(name) else { return Ok(None) };
        if let Some(path) = component.origin.file() {
            return Ok(Some(component.at(path.to_owned(), Vec::new())));
        }
        let store = self.store_of_components()?;
        let pushed = store.as_ref().map_or(Ok(Vec::new()), |store| store.components())?;
        self.prepare(component, &pushed, store.as_ref()).map(Some)
    }

    /// Registries, with what was fetched from them.
    pub fn registry(&self) -> Registry {
        Registry::new(&self.config)
    }

    /// The components to load, each with its file, and what the lock file says of it.
    fn sources(&self, store: Option<&Arc<dyn Store>>) -> Result<Vec<ComponentSource>, CliError> {
        let mut components = Cow::Borrowed(&self.config.components[..]);
        let pushed = match store.filter(|_| self.config.needs_store_for_components()) {
            Some(store) => store.components()?,
            None => Vec::new(),
        };
        if components.is_empty() {
            let mut names: Vec<_> = pushed.iter().map(|one| Arc::clone(&one.name)).collect();
            names.dedup();
            components.to_mut().extend(names.into_iter().map(|name| Component {
                tasks: self.config.task_options.clone(),
                ..Component::new(name, ComponentOrigin::Store)
            }));
        }
        let (mut sources, mut errors) = (Vec::with_capacity(components.len()), Vec::new());
        for component in components.iter() {
            match self.prepare(component, &pushed, store) {
                Ok(source) => sources.push(source),
                Err(CliError::Load(mut found)) => errors.append(&mut found),
                Err(error) => return Err(error),
            }
        }
        if errors.is_empty() { Ok(sources) } else { Err(CliError::Load(errors)) }
    }

    /// Finds out which digests a component may have, and gets its file from wherever it comes from.
    fn prepare(
        &self,
        component: &Component,
        pushed: &[PushedComponent],
        store: Option<&Arc<dyn Store>>,
    ) -> Result<ComponentSource, CliError> {
        let locked = self.locked(component)?;
        let path = match &component.origin {
            ComponentOrigin::File(path) => path.clone(),
            ComponentOrigin::Registry(reference) => {
                let found = self.registry().load(reference, locked.first().copied());
                found.map_err(|error| unloaded(component, reference.to_string(), error.to_string()))?.path
            }
            ComponentOrigin::Store => self.fetch_pushed(component, locked.first().copied(), pushed, store)?,
        };
        Ok(component.at(path, locked))
    }

    /// The digests that a component may have; any if there is none. One that only a flag
    /// names has no grants, and needs no lock.
    fn locked(&self, component: &Component) -> Result<Vec<ComponentDigest>, CliError> {
        let Some(lock) = &self.config.lock else { return Ok(Vec::new()) };
        let Some(entry) = lock.components.get(&*component.name) else {
            if component.origin.file().is_some() && !component.is_in_file {
                return Ok(Vec::new());
            }
            let message = "it is not in the lock file: `run-wasm-runner lock` adds it";
            return Err(unloaded(component, component.origin.to_string(), message));
        };
        if component.origin.registry().is_some()
            && let said = component.origin.to_string()
            && let Some(message) = lock::moved(&component.name, entry, &said)
        {
            return Err(unloaded(component, said, message));
        }
        Ok(entry.allowed())
    }

    /// Gets the file of a component from the store.
    fn fetch_pushed(
        &self,
        component: &Component,
        locked: Option<ComponentDigest>,
        pushed: &[PushedComponent],
        store: Option<&Arc<dyn Store>>,
    ) -> Result<PathBuf, CliError> {
        let url = self.config.store.url.to_string();
        // Of each name the newest comes first.
        let newest = pushed.iter().find(|one| one.name == component.name).map(|one| one.digest);
        let (Some(digest), Some(store)) = (locked.or(newest), store) else {
            let message = format!(
                "nothing was pushed under that name (`run-wasm-runner component push {}` where it is)",
                component.name
            );
            return Err(unloaded(component, url, message));
        };
        match Shelf::new(Arc::clone(store), &self.config).file(digest) {
            Ok(Some(path)) => Ok(path),
            Ok(None) => {
                let message = format!("the lock file has `{digest}`, which nobody has pushed");
                Err(unloaded(component, url, message))
            }
            Err(ShelfError::Store(error)) => Err(error.into()),
            Err(error) => Err(unloaded(component, url, error.to_string())),
        }
    }

    /// Finds a task.
    ///
    /// # Errors
    ///
    /// A usage error with the candidates.
    pub fn task<'l>(&self, library: &'l Library, name: &str) -> Result<&'l Task, CliError> {
        library.resolve(name).map_err(|error| {
            let error = CliError::usage(error.to_string());
            if self.config.components.is_empty() {
                error.with_hint(NO_COMPONENTS_HINT)
            } else {
                error.with_hint("`run-wasm-runner tasks` lists all tasks with their types")
            }
        })
    }

    /// The full id of a task that is to be found in the store. A name that looks
    /// like one is taken as it is: its component may be gone while its invocations
    /// are still there.
    ///
    /// # Errors
    ///
    /// As [`library`](Self::library) and [`task`](Self::task).
    pub fn task_id(&self, name: &str) -> Result<Arc<str>, CliError> {
        if name.contains('/') || self.config.components.is_empty() {
            return Ok(name.into());
        }
        let library = self.library()?;
        Ok(Arc::clone(&self.task(&library, name)?.id))
    }

    /// Opens the store to put something into it: it is created if need be.
    ///
    /// # Errors
    ///
    /// [`CliError::Store`], or a usage error for a store in memory.
    pub fn store(&self) -> Result<Arc<dyn Store>, CliError> {
        match self.durable_store()? {
            Durable::Sqlite(path) => {
                self.refuse_missing_directory(path)?;
                self.open_sqlite(path)
            }
            // By the server's clock: machines differ.
            Durable::Postgres(url) => Ok(Arc::new(PostgresStore::open(url, None)?)),
        }
    }

    /// Opens the store to look for something in it. Nothing is created.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store).
    pub fn existing_store(&self) -> Result<ExistingStore, CliError> {
        let existing: Option<Arc<dyn Store>> = match self.durable_store()? {
            Durable::Sqlite(path) => {
                self.refuse_missing_directory(path)?;
                match std::fs::symlink_metadata(path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    _ => Some(self.open_sqlite(path)?),
                }
            }
            Durable::Postgres(url) => {
                PostgresStore::open_existing(url)?.map(|store| Arc::new(store) as Arc<dyn Store>)
            }
        };
        Ok(match existing {
            Some(store) => ExistingStore { store, missing: None },
            None => ExistingStore {
                store: self.memory_store(),
                missing: Some(format!("the store `{}` does not exist yet", self.config.store.url)),
            },
        })
    }

    /// A new store in memory.
    pub fn memory_store(&self) -> Arc<dyn Store> {
        Arc::new(MemoryStore::new(Arc::clone(&self.clock)))
    }

    /// Starts a runner.
    ///
    /// # Errors
    ///
    /// [`CliError::Store`] or [`CliError::System`].
    pub fn start_runner(
        &self,
        store: &Arc<dyn Store>,
        library: &Arc<Library>,
        only_root: Option<InvocationId>,
        only_queues: &[String],
    ) -> Result<Runner, CliError> {
        let config = &self.config;
        let only_tasks = self.tasks_of(library, only_queues)?;
        let mut observers = Observers::default();
        if LogObserver::is_enabled() {
            observers.add(Arc::new(LogObserver));
        }
        let options = RunnerOptions {
            slots: config.slots,
            max_live: config.max_live,
            final_cache_entries: config.final_cache_entries,
            final_cache_bytes: config.final_cache_bytes,
            lease: config.lease,
            grace: config.grace,
            only_root,
            // What runs one tree leaves the rest of the store alone.
            retention: if only_root.is_none() { config.retention.clone() } else { Vec::new() },
            only_tasks,
            observers,
        };
        Ok(Runner::start(Arc::clone(store), library.clone(), Arc::clone(&self.clock), options)?)
    }

    /// The tasks of some queues; `None` if all queues are meant.
    fn tasks_of(&self, library: &Library, queues: &[String]) -> Result<Option<Arc<TaskSet>>, CliError> {
        if queues.is_empty() {
            return Ok(None);
        }
        let mut known = self.config.queues();
        known.extend(library.tasks().iter().map(|task| Arc::clone(&task.options.rules.queue)));
        let queues =
            queues.iter().map(|queue| choose_queue(queue, &known)).collect::<Result<BTreeSet<_>, _>>()?;
        let tasks = library.tasks().iter().filter(|task| queues.contains(&task.options.rules.queue));
        Ok(Some(Arc::new(tasks.map(|task| Arc::clone(&task.id)).collect())))
    }

    /// The store, if it outlives this process. It is not looked at.
    ///
    /// # Errors
    ///
    /// A usage error for a store in memory.
    pub fn durable_store(&self) -> Result<Durable<'_>, CliError> {
        match &self.config.store.url {
            StoreUrl::Sqlite(path) => Ok(Durable::Sqlite(path)),
            StoreUrl::Postgres(url) => Ok(Durable::Postgres(url)),
            StoreUrl::Memory => {
                let error = CliError::usage(
                    "the store `memory:` ends with each process: nothing would be found in it",
                );
                Err(error.with_hint("use `--store sqlite:PATH`, or `call` to run an invocation here and now"))
            }
        }
    }

    fn open_sqlite(&self, path: &Path) -> Result<Arc<dyn Store>, CliError> {
        Ok(Arc::new(SqliteStore::open(path, Arc::clone(&self.clock))?))
    }

    /// Refuses a store in a directory that is not there, unless it is the default
    /// one, which the store creates: a slip in the path that somebody chose
    /// must not silently make a second store.
    fn refuse_missing_directory(&self, path: &Path) -> Result<(), CliError> {
        let directory = path.parent().unwrap_or(path);
        let is_default = self.config.store.origin.is_none() || directory.ends_with(".wasm-runner");
        // An error other than "not found" is told better by whoever opens it.
        let is_missing = matches!(
            std::fs::metadata(directory),
            Err(error) if error.kind() == io::ErrorKind::NotFound
        );
        if is_default || !is_missing {
            return Ok(());
        }
        let message = format!("there is no directory `{}`", directory.display());
        Err(StoreError::Unavailable { url: self.config.store.url.to_string(), message }.into())
    }
}

/// Finds a queue by its name.
///
/// # Errors
///
/// A usage error with the known ones.
pub fn choose_queue(name: &str, known: &BTreeSet<Arc<str>>) -> Result<Arc<str>, CliError> {
    if let Some(found) = known.get(name) {
        return Ok(Arc::clone(found));
    }
    let names = || known.iter().map(|name| &**name);
    let error = CliError::usage(format!("unknown queue `{name}` (known: {})", in_backticks(names())));
    Err(match nearest(name, names()) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error.with_hint("a task is in the queue that its `queue` in `wasm-runner.toml` names"),
    })
}

fn unloaded(component: &Component, path: String, message: impl Into<String>) -> CliError {
    let (component, message) = (component.name.to_string(), message.into());
    CliError::Load(vec![LoadError { component, path, message }])
}

/// What to do if there are no components.
pub const NO_COMPONENTS_HINT: &str =
    "no components are configured: give one with `--component NAME=PATH`, or in `wasm-runner.toml`";

impl ExistingStore {
    /// Reads one invocation.
    ///
    /// # Errors
    ///
    /// A usage error if nobody has that id.
    pub fn invocation(&self, id: InvocationId) -> Result<Invocation, CliError> {
        let found = self.store.get(&[id])?.pop().flatten();
        found.ok_or_else(|| self.unknown(id))
    }

    /// The error for an id that nobody has.
    pub fn unknown(&self, id: InvocationId) -> CliError {
        let error = CliError::usage(format!("unknown invocation `{id}`"));
        match &self.missing {
            Some(missing) => {
                error.with_hint(format!("{missing}: give the one it was submitted to with `--store URL`"))
            }
            None => error.with_hint(format!(
                "the store is `{}`; `run-wasm-runner list` shows what is in it",
                self.store.url()
            )),
        }
    }
}
