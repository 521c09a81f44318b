//! The components of a configuration, loaded and linked, and their tasks.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wasmtime::Engine;

use super::cache::Cache;
use super::code::{Ready, Reload, Shelf};
use super::compile::{CompileError, Compiler};
use super::control::GuestControl;
use super::discover::{Entry, Export};
use super::docs::describe;
use super::engine::{EpochTicker, Room, new_engine};
use super::execute;
use super::link::Exporters;
use super::linked::{Linked, LinkedTask, link_one};
use super::loaded::{Loaded, in_parallel, load_one, names_of, read_component};
use super::names::Names;
use super::scratch::ScratchPlace;
use super::source::{ComponentSource, LoadError, load_error};
use super::submits::KnownNames;
use super::task::{ArgumentError, NotTask, ResolveError, Task, TaskSchema};
use super::values::{Shape, arguments_schema, canonical_arguments, output_schema, value_schema};
use super::versions::Versions;
use crate::model::{
    Claim, Clock, ComponentDigest, Glob, Guest, Interrupt, LimitKind, MemoryBudget, NoGuest, TaskClient,
    TaskId,
};

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
    /// Whether components may come later whose fuel is limited.
    pub may_count_fuel: bool,
    /// Counts the components that are loaded or refused, for a progress display.
    pub loaded: Arc<AtomicUsize>,
}

/// The things that a library shares with the ones that come after it in the same runner: engines with their pools, the
/// clock that interrupts guests, names, other versions.
struct Base {
    plain: Engine,
    /// For components whose fuel is limited, if any may come.
    metered: Option<Engine>,
    place: Arc<ScratchPlace>,
    ticker: EpochTicker,
    room: Room,
    clock: Arc<dyn Clock>,
    memory_budget: Arc<MemoryBudget>,
    names: Arc<KnownNames>,
    versions: Versions,
    options: LibraryOptions,
}

impl Base {
    /// The engine of a component.
    fn engine(&self, source: &ComponentSource) -> &Engine {
        self.metered.as_ref().filter(|_| source.wants_fuel()).unwrap_or(&self.plain)
    }
}

/// A component of a library.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) loaded: Arc<Loaded>,
    pub(super) source: Arc<ComponentSource>,
    pub(super) linked: Option<Arc<Linked>>,
}

/// The loaded components and their tasks. It never changes: when components come and go, another library takes its
/// place, and has everything in common with it that is the same.
pub struct Library {
    base: Arc<Base>,
    members: Vec<Member>,
    tasks: Vec<Task>,
    not_tasks: Vec<NotTask>,
    left_out: Vec<LoadError>,
    names: Arc<Names>,
    /// By full id, with the index among `tasks`.
    programs: HashMap<Arc<str>, (Arc<LinkedTask>, usize)>,
    task_set: Arc<HashSet<Arc<str>>>,
    /// The tasks of retired components.
    retired: HashSet<Arc<str>>,
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
        let wants_fuel = options.may_count_fuel || sources.iter().any(ComponentSource::wants_fuel);
        let metered = wants_fuel.then(|| new_engine(max_live, true)).transpose().map_err(error)?;
        let engines = std::iter::once(&plain).chain(&metered).cloned().collect();
        let ticker = EpochTicker::start(engines)
            .map_err(|reason| error(format!("the epoch thread can't be started: {reason}")))?;
        let room = Room::of_process(max_live);
        let names = Arc::new(KnownNames::default());
        let cache = Cache::new(options.cache_directory.as_deref(), options.compiler.clone());
        let base = Base {
            plain,
            metered,
            place: Arc::new(ScratchPlace::new(options.cache_directory.as_deref())),
            ticker,
            room,
            clock,
            memory_budget: Arc::new(MemoryBudget::new(options.memory_budget)),
            versions: Versions::new(
                Arc::new(Reload::new(cache.clone().beside_guests(), warm_bytes(options.memory_budget))),
                Arc::clone(&names),
                room,
            ),
            names,
            options: options.clone(),
        };
        // A signal ends the whole process, and the compiler with it.
        let never = Interrupt::default();
        Self::assemble(Arc::new(base), &cache, &[], sources, false, &never)
    }

    /// Makes the library that takes the place of this one: of these components, of which those that it has are not
    /// loaded again. Guests that run go on, and see the new names. Any component that can't be used is left out, also
    /// one whose compiler is interrupted.
    ///
    /// # Errors
    ///
    /// None is known.
    pub fn updated(
        &self,
        sources: &[ComponentSource],
        interrupt: &Interrupt,
    ) -> Result<Self, Vec<LoadError>> {
        let (base, cache) = (Arc::clone(&self.base), self.base.versions.reload.cache.clone());
        let updated = Self::assemble(base, &cache, &self.members, sources, true, interrupt)?;
        // An invocation of the bytes that were replaced goes on with the component that is linked already.
        for old in &self.members {
            let is_there =
                |new: &Member| new.loaded.digest == old.loaded.digest && new.loaded.name == old.loaded.name;
            if let Some(linked) = old.linked.as_ref().filter(|_| !updated.members.iter().any(is_there)) {
                self.base.versions.keep(&old.loaded.name, old.loaded.digest, linked);
            }
        }
        Ok(updated)
    }

    fn assemble(
        base: Arc<Base>,
        cache: &Cache,
        known: &[Member],
        sources: &[ComponentSource],
        leaves_out_any: bool,
        interrupt: &Interrupt,
    ) -> Result<Self, Vec<LoadError>> {
        let scratch = sources.iter().filter_map(|source| source.grants.scratch.as_ref());
        scratch.for_each(|grant| grant.make_in(&base.place));
        let (mut errors, mut left_out) = (Vec::new(), Vec::new());
        let find_known = |source: &ComponentSource| {
            let is_it = |one: &&Member| one.source.name == source.name && one.source.path == source.path;
            known.iter().find(is_it)
        };
        let results = in_parallel(sources, |source| {
            let member = |loaded, linked| Member { loaded, source: Arc::new(source.clone()), linked };
            if let Some(known) = find_known(source) {
                return Ok(member(Arc::clone(&known.loaded), known.linked.clone()));
            }
            let (engine, fuel) = (base.engine(source), source.wants_fuel());
            let result =
                load_one(engine, fuel, &source.name, &source.path, source.locked.first(), cache, interrupt);
            base.options.loaded.fetch_add(1, Ordering::Relaxed);
            let loaded = Loaded { is_named: !source.may_be_left_out, ..result? };
            if source.is_kept {
                loaded.code.may_go(&base.versions.reload);
            }
            Ok(member(Arc::new(loaded), None))
        });
        let mut members = Vec::new();
        for (source, result) in sources.iter().zip(results) {
            match result {
                Ok(member) => members.push(member),
                Err(error) if source.may_be_left_out || leaves_out_any => left_out.push(error),
                Err(error) => errors.push(error),
            }
        }
        let names = loop {
            // The tasks that a retired component exports alone are known, too: their invocations still run.
            let names = Arc::new(names_of(members.iter().map(|member| &*member.loaded)));
            base.names.replace(Arc::clone(&names));
            let wrong = link_all(&mut members, &base.names, base.room);
            let is_out = |(index, _): &(usize, _)| leaves_out_any || members[*index].source.may_be_left_out;
            let (out, wrong): (Vec<_>, Vec<_>) = wrong.into_iter().partition(is_out);
            errors.extend(wrong.into_iter().flat_map(|(_, errors)| errors));
            if out.is_empty() || !errors.is_empty() {
                break names;
            }
            // Others may have been linked to those that are left out: all are linked anew without them.
            for (index, errors) in out.into_iter().rev() {
                members.remove(index);
                left_out.extend(errors);
            }
        };
        let few_descriptors = few_descriptors(&members, base.room);
        if members.is_empty() && !leaves_out_any {
            errors.append(&mut left_out);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut library = Self {
            base,
            members: Vec::new(),
            tasks: Vec::new(),
            not_tasks: Vec::new(),
            left_out,
            names,
            programs: HashMap::new(),
            task_set: Arc::default(),
            retired: HashSet::new(),
            few_descriptors,
        };
        // Retired ones last: what others export is not theirs any more.
        members.sort_by_key(|member| member.source.is_retired);
        members.iter().for_each(|member| library.add(member));
        library.members = members;
        library.tasks.sort_by(|a, b| a.id.cmp(&b.id));
        for (index, task) in library.tasks.iter().enumerate() {
            if let Some((_, place)) = library.programs.get_mut(&task.id) {
                *place = index;
            }
        }
        library.task_set = Arc::new(library.programs.keys().cloned().collect());
        Ok(library)
    }

    /// Adds the tasks of a component.
    fn add(&mut self, member: &Member) {
        let Some(linked) = &member.linked else { return };
        for task in &linked.tasks {
            if self.programs.contains_key(&task.id) {
                continue;
            }
            let Some(program) = linked.programs.get(&task.id) else { continue };
            if member.source.is_retired {
                self.retired.insert(Arc::clone(&task.id));
            }
            self.programs.insert(Arc::clone(&task.id), (Arc::clone(program), 0));
            self.tasks.push(task.clone());
        }
        if !member.source.is_retired {
            self.not_tasks.extend(linked.not_tasks.iter().cloned());
        }
    }

    /// Whether guests of the component of the task `caller` may submit `task`. Those of a component that is not here
    /// may not.
    pub fn may_submit(&self, caller: &str, task: &str) -> bool {
        let component = TaskId::component_of(caller);
        let member = self.members.iter().find(|member| *member.loaded.name == *component);
        member.is_some_and(|member| {
            let patterns = member.source.grants.may_submit.as_ref();
            patterns.is_none_or(|patterns| patterns.iter().any(|pattern| self.names.fits(pattern, task)))
        })
    }

    /// Whether a task is there only to finish what was submitted for it.
    pub fn is_retired(&self, task: &str) -> bool {
        self.retired.contains(task)
    }

    /// The tasks that are there only to finish what was submitted for them.
    pub fn retired(&self) -> impl Iterator<Item = &Arc<str>> {
        self.retired.iter()
    }

    /// Whether somebody has asked for a component by name.
    pub fn is_named(&self, component: &str) -> bool {
        self.members.iter().any(|member| *member.loaded.name == *component && member.loaded.is_named)
    }

    /// The names of its components with their digests, without retired ones.
    pub fn components(&self) -> impl Iterator<Item = (&Arc<str>, ComponentDigest)> {
        let live = self.members.iter().filter(|member| !member.source.is_retired);
        live.map(|member| (&member.loaded.name, member.loaded.digest))
    }

    /// Lists the errors of the components that were left out.
    pub fn left_out(&self) -> &[LoadError] {
        &self.left_out
    }

    /// Adds the errors of components that were left out before it was made.
    #[must_use]
    pub fn with_left_out(mut self, errors: Vec<LoadError>) -> Self {
        self.left_out.splice(0..0, errors);
        self
    }

    /// Sets the source of other versions of pinned components.
    pub fn fetch_versions_from(&self, shelf: Box<dyn Shelf>) {
        // The first is as good as any: they are of the same store.
        let _ = self.base.versions.reload.shelf.set(shelf);
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
            .and_then(|(_, index)| self.tasks.get(*index))
            .ok_or_else(|| ResolveError { message: format!("task `{id}` is not linked") })
    }

    /// Checks that the name of a section stands for any task. Returns a warning if others have made it ambiguous.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] with the candidates.
    pub fn check_section(&self, name: &str) -> Result<Option<String>, ResolveError> {
        self.names.matching(name).map(|found| found.warning).map_err(|message| ResolveError { message })
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
        let (linked, _) = self
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
        let (linked, _) = self.programs.get(&task.id)?;
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

    /// Makes a guest of a claim. Nothing of it runs before the first poll. If its code is not in memory, this may fetch
    /// and compile it: `interrupt` ends the wait for the compiler.
    ///
    /// # Errors
    ///
    /// The reason why there is none: the failure of the attempt, a shortage, or [`NoGuest::Unready`] if the wait was
    /// ended.
    pub fn start(
        &self,
        claim: &Claim,
        client: &Arc<dyn TaskClient>,
        interrupt: &Interrupt,
    ) -> Result<Guest, NoGuest> {
        let (linked, ready, digest) = self.find_program(claim, interrupt)?;
        let most = |kind| linked.program.time(claim, kind).unwrap_or(Duration::MAX);
        let control = GuestControl::new(most(LimitKind::Time)).parked_at_most(most(LimitKind::Parked));
        let (budget, image) = (&self.base.memory_budget, &ready.image);
        let control = Arc::new(control.on_budget(Arc::clone(budget)).with_code(image.bytes));
        let code = image.use_on(budget);
        let future = execute::run(
            Arc::clone(&linked.program),
            (ready, code),
            claim.clone(),
            Arc::clone(client),
            Arc::clone(&self.base.clock),
            Arc::clone(&control),
        );
        Ok(Guest {
            future: Box::pin(future),
            control,
            digest,
            weight: linked.weight,
            retry: Arc::clone(&linked.retry),
        })
    }

    /// Makes the code ready that a claim needs.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn make_ready(&self, claim: &Claim, interrupt: &Interrupt) -> Result<(), NoGuest> {
        self.find_program(claim, interrupt).map(drop)
    }

    /// Whether this library has a component, or its compiled code is kept. A file that can't be read is nothing to
    /// compile: whoever loads it says so.
    pub fn has_code(&self, source: &ComponentSource) -> bool {
        let is_it = |one: &Member| one.source.name == source.name && one.source.path == source.path;
        let most = self.base.options.compiler.max_component_bytes();
        self.members.iter().any(is_it)
            || read_component(&source.path, most).map_or(true, |bytes| {
                let engine = self.base.engine(source);
                self.base.versions.reload.cache.has(engine, &ComponentDigest::of(&bytes))
            })
    }

    /// Finds the source of a component that was loaded.
    pub fn source(&self, component: &str) -> Option<&ComponentSource> {
        let is_it = |one: &&Member| *one.source.name == *component && !one.source.is_retired;
        self.members.iter().find(is_it).map(|one| &*one.source)
    }

    /// Compiles a component for a library that takes the place of this one, and keeps its code.
    ///
    /// # Errors
    ///
    /// The reason why it can't be loaded.
    pub fn compile(&self, source: &ComponentSource, interrupt: &Interrupt) -> Result<(), LoadError> {
        let (engine, cache) = (self.base.engine(source), &self.base.versions.reload.cache);
        let locked = source.locked.first();
        load_one(engine, source.wants_fuel(), &source.name, &source.path, locked, cache, interrupt).map(drop)
    }

    /// Whether code that was compiled once is found again.
    pub fn keeps_code(&self) -> bool {
        self.base.versions.reload.cache.keeps_code()
    }

    /// Finds the program of a claim, its code, and the digest of the version.
    fn find_program(
        &self,
        claim: &Claim,
        interrupt: &Interrupt,
    ) -> Result<(Arc<LinkedTask>, Arc<Ready>, ComponentDigest), NoGuest> {
        let (current, index) = self.programs.get(&claim.task).ok_or_else(|| {
            NoGuest::trapped(format!("no component exports the task `{}` any more", claim.task))
        })?;
        let task = &self.tasks[*index];
        let submitted_for = claim.component_digest;
        let version = match task.digest == submitted_for {
            true => None,
            false => self.base.versions.pinned(&self.members, &task.component, submitted_for, interrupt)?,
        };
        let (linked, digest) = match &version {
            None => (current, task.digest),
            Some(version) => {
                let linked = version.programs.get(&claim.task).ok_or_else(|| {
                    NoGuest::trapped(format!(
                        "the component `{submitted_for}` does not export the task `{}`",
                        claim.task
                    ))
                })?;
                (linked, submitted_for)
            }
        };
        let ready = linked.program.link.ready(interrupt).map_err(|error| match error {
            CompileError::Short(shortage) => NoGuest::Short(shortage),
            CompileError::Interrupted => NoGuest::Unready,
            error => NoGuest::trapped(format!("the code of `{}` can't be loaded: {error}", claim.task)),
        })?;
        Ok((Arc::clone(linked), ready, digest))
    }

    /// Lets go of code that nobody has used for a while. Returns the time after which there will be more of it.
    pub fn let_go_of_cold_code(&self) -> Option<Duration> {
        self.base.versions.reload.let_go()
    }

    /// Lets go of all code that can be loaded again, because the host is short of something.
    pub fn let_go_of_all_code(&self) {
        self.base.versions.reload.let_go_of_all();
    }

    /// The memory that its guests may take together.
    pub fn memory_budget(&self) -> &Arc<MemoryBudget> {
        &self.base.memory_budget
    }

    /// Notes that a guest gets a slot, or gives it back: it can be interrupted only in between.
    pub fn guest_runs(&self, runs: bool) {
        self.base.ticker.guest_runs(runs);
    }
}

/// The most bytes of code, of components that can be loaded again, that stay in memory: a quarter of what guests
/// may have.
fn warm_bytes(memory_budget: u64) -> u64 {
    (memory_budget / 4).max(256 << 20)
}

/// Links components with each other, but for those that are linked to the same already. Returns what is wrong
/// with those, by their place, that can't be linked.
fn link_all(members: &mut [Member], names: &Arc<KnownNames>, room: Room) -> Vec<(usize, Vec<LoadError>)> {
    let loaded: Vec<_> = members.iter().map(|member| Arc::clone(&member.loaded)).collect();
    // Nobody is linked to a retired one but itself.
    let live: Vec<_> =
        members.iter().filter(|one| !one.source.is_retired).map(|one| Arc::clone(&one.loaded)).collect();
    let live: Vec<&Loaded> = live.iter().map(|one| &**one).collect();
    let of_live = Exporters::new(live.clone());
    let mut wrong = Vec::new();
    for (index, (member, one)) in members.iter_mut().zip(&loaded).enumerate() {
        let of_retired = member.source.is_retired.then(|| {
            let others = live.iter().copied().filter(|other| other.name != one.name);
            Exporters::new(others.chain([&**one]).collect())
        });
        let all = of_retired.as_ref().unwrap_or(&of_live);
        if member.linked.as_ref().is_some_and(|linked| linked.is_as_now(one, &member.source, all)) {
            continue;
        }
        member.linked = None;
        match link_one(one, &member.source, all, names, room) {
            Ok(linked) => member.linked = Some(Arc::new(linked)),
            Err(errors) => wrong.push((index, errors)),
        }
    }
    wrong
}

/// Says for which of the components the limit of file descriptors leaves the least room, if it does for any.
fn few_descriptors(members: &[Member], room: Room) -> Option<String> {
    let sources = members.iter().map(|member| &member.source);
    let weights = sources.map(|source| (room.weight_of(source.grants.descriptors()), source));
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
