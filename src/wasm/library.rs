//! The components of a configuration, loaded and linked, and their tasks.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::cache::Cache;
use super::compile::Compiler;
use super::control::GuestControl;
use super::discover::{Entry, Export};
use super::docs::describe;
use super::engine::{EpochTicker, Room, new_engine};
use super::execute;
use super::glob::Glob;
use super::linked::{Linked, LinkedTask, link_one};
use super::loaded::{Loaded, in_parallel, load_one, names_of};
use super::names::Names;
use super::scratch::ScratchPlace;
use super::source::{ComponentSource, LoadError, load_error};
use super::task::{ArgumentError, NotTask, ResolveError, Task, TaskSchema};
use super::values::{Shape, arguments_schema, canonical_arguments, output_schema, value_schema};
use super::versions::{Shelf, Versions};
use crate::model::{Claim, Clock, Guest, Interrupt, LimitKind, MemoryBudget, NoGuest, TaskClient};

/// Options of loading components.
#[derive(Debug, Clone)]
pub struct LibraryOptions {
    /// The directory of compiled code; `None` compiles anew each time.
    pub cache_directory: Option<PathBuf>,
    /// The compiler for code that is not kept there.
    pub compiler: Compiler,
    /// The most instances, running and parked together, that may live at once: the size of the engine's
    /// pools. At most [`live_for_maps`](super::live_for_maps).
    pub max_live: usize,
    /// The bytes of memory that all guests may take together.
    pub memory_budget: u64,
    /// Counts the components that are loaded or refused, for a progress display.
    pub loaded: Arc<AtomicUsize>,
}

/// The loaded components and their tasks.
pub struct Library {
    tasks: Vec<Task>,
    not_tasks: Vec<NotTask>,
    left_out: Vec<LoadError>,
    names: Arc<Names>,
    programs: HashMap<Arc<str>, LinkedTask>,
    task_set: Arc<HashSet<Arc<str>>>,
    pub(super) versions: Versions,
    ticker: EpochTicker,
    clock: Arc<dyn Clock>,
    memory_budget: Arc<MemoryBudget>,
    /// Says for which component the limit of file descriptors leaves less room than `max-live`.
    few_descriptors: Option<String>,
}

impl Library {
    /// Loads every component, compiling those that the cache does not hold, and links them with each other.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with every component, not just the first. What is wrong with one that may be
    /// left out is no error, as long as there are others.
    pub fn load(
        sources: &[ComponentSource],
        options: &LibraryOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Vec<LoadError>> {
        let max_live = options.max_live;
        let error = |message: String| vec![load_error("*", Path::new("*"), message)];
        let plain = new_engine(max_live, false).map_err(error)?;
        let wants_fuel = sources.iter().any(ComponentSource::wants_fuel);
        let metered = wants_fuel.then(|| new_engine(max_live, true)).transpose().map_err(error)?;
        let place = Arc::new(ScratchPlace::new(options.cache_directory.as_deref()));
        let scratch = sources.iter().filter_map(|source| source.grants.scratch.as_ref());
        scratch.for_each(|grant| grant.make_in(&place));
        let cache = Cache::new(options.cache_directory.as_deref(), options.compiler.clone());
        let (mut errors, mut left_out) = (Vec::new(), Vec::new());
        let mut loaded = Vec::new();
        let mut used_sources = Vec::new();
        let engine =
            |source: &ComponentSource| metered.as_ref().filter(|_| source.wants_fuel()).unwrap_or(&plain);
        let results = in_parallel(sources, |source| {
            let (engine, fuel) = (engine(source), source.wants_fuel());
            let result = load_one(engine, fuel, &source.name, &source.path, source.locked.first(), &cache);
            options.loaded.fetch_add(1, Ordering::Relaxed);
            result
        });
        for (source, result) in sources.iter().zip(results) {
            match result {
                Ok(component) => {
                    loaded.push(component);
                    used_sources.push(source);
                }
                Err(error) if source.may_be_left_out => left_out.push(error),
                Err(error) => errors.push(error),
            }
        }
        let engines = std::iter::once(plain).chain(metered).collect();
        let ticker = EpochTicker::start(engines)
            .map_err(|reason| error(format!("the epoch thread can't be started: {reason}")))?;
        let room = Room::of_process(max_live);
        let (Linked { mut programs, mut tasks, not_tasks }, names) = loop {
            let names = Arc::new(names_of(&loaded));
            let (linked, wrong) = link_all(&loaded, &used_sources, &names, room);
            let is_out = |(index, _): &(usize, _)| used_sources[*index].may_be_left_out;
            let (out, wrong): (Vec<_>, Vec<_>) = wrong.into_iter().partition(is_out);
            errors.extend(wrong.into_iter().flat_map(|(_, errors)| errors));
            if out.is_empty() || !errors.is_empty() {
                break (linked, names);
            }
            // Others may have been linked to those that are left out: all are linked anew without them.
            for (index, errors) in out.into_iter().rev() {
                loaded.remove(index);
                used_sources.remove(index);
                left_out.extend(errors);
            }
        };
        let few_descriptors = few_descriptors(&used_sources, room);
        if loaded.is_empty() {
            errors.append(&mut left_out);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        tasks.sort_by(|a, b| a.id.cmp(&b.id));
        for (index, task) in tasks.iter().enumerate() {
            if let Some(linked) = programs.get_mut(&task.id) {
                linked.index = index;
            }
        }
        let task_set = Arc::new(programs.keys().cloned().collect());
        let sources = used_sources.into_iter().cloned().collect();
        let versions = Versions::new(loaded, sources, cache.beside_guests(), Arc::clone(&names), room);
        Ok(Self {
            tasks,
            not_tasks,
            left_out,
            names,
            programs,
            task_set,
            versions,
            ticker,
            clock,
            memory_budget: Arc::new(MemoryBudget::new(options.memory_budget)),
            few_descriptors,
        })
    }

    /// Lists the errors of the components that were left out.
    pub fn left_out(&self) -> &[LoadError] {
        &self.left_out
    }

    /// Sets the source of other versions of pinned components.
    pub fn fetch_versions_from(&mut self, shelf: Box<dyn Shelf>) {
        self.versions.shelf = Some(shelf);
    }

    /// Says how many guests can live at once, if the limit of file descriptors bounds that.
    pub fn few_descriptors(&self) -> Option<&str> {
        self.few_descriptors.as_deref()
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
        let id = self.names.resolve(name, None).map_err(|message| ResolveError { message })?;
        self.programs
            .get(id)
            .and_then(|linked| self.tasks.get(linked.index))
            .ok_or_else(|| ResolveError { message: format!("task `{id}` is not linked") })
    }

    /// Checks that the name of a section stands for any task.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] with the candidates.
    pub fn check_section(&self, name: &str) -> Result<(), ResolveError> {
        self.names.matching(name).map(drop).map_err(|message| ResolveError { message })
    }

    /// Checks that a pattern of `may-submit` stands for any task. `*` always does.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] with the task that was probably meant.
    pub fn check_submits(&self, pattern: &Glob) -> Result<(), ResolveError> {
        let text = pattern.to_string();
        if text == "*" || self.names.ids().any(|id| self.names.fits(pattern, id)) {
            return Ok(());
        }
        let message = match self.names.resolve(&text, None) {
            // Guests may use short names; grants are written in full.
            Ok(id) => {
                format!("`{text}` is neither the full id of a task nor a function (did you mean `{id}`?)")
            }
            Err(message) => message,
        };
        Err(ResolveError { message })
    }

    /// Checks `arguments` (a JSON array or object) against the parameters of a task, and returns them as the
    /// JSON array that is stored.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] with the path and both types.
    pub fn check_arguments(&self, task: &Task, arguments: &str) -> Result<Arc<str>, ArgumentError> {
        let error = |message, is_over_limit| ArgumentError { message, is_over_limit };
        let linked = self
            .programs
            .get(&task.id)
            .ok_or_else(|| error(format!("task `{}` is not linked", task.id), false))?;
        let limit = linked.program.limits.most(LimitKind::Arguments);
        if arguments.len() as u64 > limit {
            let message = format!(
                "the arguments have {} bytes, more than the limit of {limit} (`arguments`) of the task `{}`",
                arguments.len(),
                task.id
            );
            return Err(error(message, true));
        }
        canonical_arguments(arguments, &linked.program.export.signature.parameters)
            .map_err(|misfit| error(misfit.to_string(), misfit.is_too_large))
    }

    /// The JSON Schemas of a task; `None` if it is not of this library.
    pub fn schema(&self, task: &Task) -> Option<TaskSchema> {
        let linked = self.programs.get(&task.id)?;
        let Export { signature, types, docs, entry, .. } = &linked.program.export;
        let value = |shape: Option<&Shape>| {
            let mut schema = value_schema(shape, types);
            docs.describe_types(&mut schema);
            schema
        };
        let (result, returned) = match &signature.result {
            _ if *entry == Entry::Command => (output_schema(), None),
            Some(Shape::Result { ok, err }) => (value(ok.as_deref()), Some(value(err.as_deref()))),
            result => (value(result.as_ref()), None),
        };
        let mut arguments = arguments_schema(&signature.parameters, types);
        docs.describe_types(&mut arguments);
        describe(&mut arguments, task.docs.as_deref());
        Some(TaskSchema { arguments, result, returned })
    }

    /// Makes a guest of a claim. Nothing of it runs before the first poll. If the component is pinned, this
    /// may fetch and compile another version of it: `interrupt` ends the wait for the compiler.
    ///
    /// # Errors
    ///
    /// The reason why there is none: the failure of the attempt, or a shortage.
    pub fn start(
        &self,
        claim: &Claim,
        client: &Arc<dyn TaskClient>,
        interrupt: &Interrupt,
    ) -> Result<Guest, NoGuest> {
        let current = self.programs.get(&claim.task).ok_or_else(|| {
            NoGuest::trapped(format!("no component exports the task `{}` any more", claim.task))
        })?;
        let task = &self.tasks[current.index];
        let submitted_for = claim.component_digest;
        let version = match task.digest == submitted_for {
            true => None,
            false => self.versions.pinned(&task.component, submitted_for, interrupt)?,
        };
        let linked = match &version {
            None => current,
            Some(version) => version.programs.get(&claim.task).ok_or_else(|| {
                NoGuest::trapped(format!(
                    "the component `{submitted_for}` does not export the task `{}`",
                    claim.task
                ))
            })?,
        };
        let most = |kind| linked.program.limits.time(kind).unwrap_or(Duration::MAX);
        let control = GuestControl::new(most(LimitKind::Time)).parked_at_most(most(LimitKind::Parked));
        let control = Arc::new(control.on_budget(Arc::clone(&self.memory_budget)));
        let future = execute::run(
            Arc::clone(&linked.program),
            claim.clone(),
            Arc::clone(client),
            Arc::clone(&self.clock),
            Arc::clone(&control),
        );
        Ok(Guest {
            future: Box::pin(future),
            control,
            digest: if version.is_some() { submitted_for } else { task.digest },
            weight: linked.weight,
            retry: Arc::clone(&linked.retry),
        })
    }

    /// The memory that its guests may take together.
    pub fn memory_budget(&self) -> &Arc<MemoryBudget> {
        &self.memory_budget
    }

    /// Notes that a guest gets a slot, or gives it back: it can be interrupted only in between.
    pub fn guest_runs(&self, runs: bool) {
        self.ticker.guest_runs(runs);
    }
}

/// Links components with each other. Returns what is wrong with those, by their place, that can't be linked.
fn link_all(
    loaded: &[Loaded],
    sources: &[&ComponentSource],
    names: &Arc<Names>,
    room: Room,
) -> (Linked, Vec<(usize, Vec<LoadError>)>) {
    let all: Vec<_> = loaded.iter().collect();
    let (mut linked, mut wrong) = (Linked::default(), Vec::new());
    for (index, (one, source)) in loaded.iter().zip(sources).enumerate() {
        match link_one(one, source, &all, names, room) {
            Ok(Linked { programs, tasks, not_tasks }) => {
                linked.programs.extend(programs);
                linked.tasks.extend(tasks);
                linked.not_tasks.extend(not_tasks);
            }
            Err(errors) => wrong.push((index, errors)),
        }
    }
    (linked, wrong)
}

/// Says for which of the components the limit of file descriptors leaves the least room, if it does for any.
fn few_descriptors(sources: &[&ComponentSource], room: Room) -> Option<String> {
    let weights = sources.iter().map(|source| (room.weight_of(source.grants.descriptors()), source));
    let (weight, source) = weights.filter(|(weight, _)| *weight > 1).max_by_key(|(weight, _)| *weight)?;
    Some(format!(
        "the limit of {} file descriptors bears {} guests of `{}` at once, and `max-live` is {}; raise it \
         (`ulimit -n`) if more are to live",
        room.descriptors.unwrap_or(u64::MAX),
        (room.max_live / weight).max(1),
        source.name,
        room.max_live
    ))
}
