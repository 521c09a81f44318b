//! The components of a configuration: found where they are, checked against the lock
//! file, fetched if need be, loaded.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::{Component, ComponentOrigin, Config, ConfigError, Origin, Problem};
use crate::model::{ComponentDigest, Glob, LimitKind, TaskId, is_compatible};
use crate::store::PushedComponent;
use crate::wasm::{ComponentSource, Interfaces, Library, LibraryOptions, LoadError, Names, Task};

use super::error::{Remedy, ServiceError};
use super::in_use::newest;
use super::kept::Shelf;
use super::patience::Access;
use super::registry::Registry;
use super::versions::{FallBack, bind_imports};
use super::{Opened, Service};

/// The most reasons that are told why one component is left out.
const TOLD_OF_ONE: usize = 5;

/// How far the loading of components has come.
#[derive(Debug, Default)]
pub struct Loading {
    loaded: Arc<AtomicUsize>,
    /// 0 while nothing is loaded.
    total: AtomicUsize,
}

impl Loading {
    /// How many components are loaded or refused, and of how many; `None` while none are
    /// being loaded.
    pub fn progress(&self) -> Option<(usize, usize)> {
        let total = self.total.load(Ordering::Relaxed);
        (total > 0).then(|| (self.loaded.load(Ordering::Relaxed), total))
    }
}

impl Service {
    /// Loads every component, once; those that the store keeps are fetched from it. If
    /// none is configured, all that were pushed into the store are. If the store is open
    /// by then, other versions of pinned components come from it.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Load`] with everything that is wrong with the components, or
    /// [`ServiceError::Config`] with all that names no task.
    pub fn library(&self) -> Result<Arc<Library>, ServiceError> {
        self.library_and(warn_of_left_out)
    }

    /// Loads every component, once, and has the components that were left out told.
    pub(super) fn library_and(&self, tell: impl FnOnce(&Library)) -> Result<Arc<Library>, ServiceError> {
        let mut library = self.shared.library.lock();
        if let Some(library) = &*library {
            return Ok(Arc::clone(library));
        }
        let loaded = self.load(None)?;
        tell(&loaded);
        *library = Some(Arc::clone(&loaded));
        Ok(loaded)
    }

    /// Finds the task of a submit. If nothing is loaded yet, and it is a full id of a component that is only known
    /// because it was pushed, then no other pushed components are loaded than the one and those that it is linked
    /// to: a store may have thousands. This service knows only those from then on.
    ///
    /// # Errors
    ///
    /// As [`task`](Self::task).
    pub fn task_to_submit(&self, name: &str) -> Result<Task, ServiceError> {
        if let (Some(component), _) = TaskId::split(name) {
            self.library_of(component)?;
        }
        self.task(name)
    }

    /// Loads what a submit for a component needs, if nothing is loaded yet: every component if it is configured by its
    /// name, or else that one and those that it is linked to.
    pub(super) fn library_of(&self, component: &str) -> Result<Arc<Library>, ServiceError> {
        if self.config().component(component).is_some() {
            return self.library_and(|library| warn_of(library, component));
        }
        let mut library = self.shared.library.lock();
        if let Some(library) = &*library {
            return Ok(Arc::clone(library));
        }
        let loaded = self.load(Some(component))?;
        warn_of(&loaded, component);
        *library = Some(Arc::clone(&loaded));
        Ok(loaded)
    }

    /// Finds a task by its id, or by a shorter form that names only one.
    ///
    /// # Errors
    ///
    /// As [`library`](Self::library); [`ServiceError::Unknown`] with the candidates.
    pub fn task(&self, name: &str) -> Result<Task, ServiceError> {
        // A request for one task need not be told which others are left out.
        let library = self.library_and(|_| {})?;
        let found = library.resolve(name).cloned();
        if let Ok(task) = &found
            && library.is_retired(&task.id)
        {
            return Err(removed(&task.id));
        }
        found.map_err(|error| {
            // Its component may be there, and can't be used.
            let is_meant = |one: &&LoadError| {
                let rest = name.strip_prefix(&*one.component);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ':']))
            };
            let mut message = error.to_string();
            if let Some(error) = library.left_out().iter().find(is_meant) {
                message = format!("{message}: {}", error.message);
            }
            let remedy = match self.config().components.is_empty() {
                true => Remedy::AddComponents,
                false => Remedy::ListTasks,
            };
            ServiceError::Unknown { message, remedy: Some(remedy) }
        })
    }

    /// Names the section of this configuration that sets a limit of a task, such as `[component.math.limits]`; `None` if
    /// the limit has its default.
    pub fn section_of_limit(&self, task: &str, kind: LimitKind) -> Option<Arc<str>> {
        if let Some(library) = &*self.shared.library.lock()
            && let Ok(task) = library.resolve(task)
        {
            return task.options.limits.section(kind).cloned();
        }
        let (Some(component), function) = TaskId::split(task) else { return None };
        let config = self.config();
        let component = match config.component(component) {
            Some(component) => component.clone(),
            None => config.pushed_component(component.into()),
        };
        // Nothing is loaded only to tell which tasks a shorter name stands for.
        let is_for_it = |name: &str| name == function || Glob::new(name).matches(task);
        let sections = config.task_sections.iter().filter(|section| is_for_it(&section.name));
        let options = sections.fold(component.defaults, |base, section| section.options.over(&base));
        options.limits.section(kind).cloned()
    }

    /// The id of a task whose invocations are to be found in the store: one that the store
    /// knows, else a configured one.
    pub fn task_id(&self, name: &str) -> Result<Arc<str>, ServiceError> {
        match self.known_task(name, &self.existing()?)? {
            Some(id) => Ok(id),
            None => self.unstored_task(name),
        }
    }

    /// Finds the task that the store knows by a name. If the store does not know the tasks of every configured
    /// component yet, one of these comes first: it may be called so.
    pub(super) fn known_task(&self, name: &str, access: &Access) -> Result<Option<Arc<str>>, ServiceError> {
        let stored = self.stored_tasks(access)?;
        let config = self.config();
        let is_stored = |component: &str| stored.iter().any(|id| TaskId::component_of(id) == component);
        let are_stored = config.components.iter().all(|component| is_stored(&component.name));
        let found = self.stored_task(name, stored);
        let is_meant = match &found {
            Ok(None) => true,
            Ok(Some(id)) => **id == *name || config.component(TaskId::component_of(id)).is_some(),
            Err(_) => false,
        };
        if are_stored || is_meant {
            return found;
        }
        match self.task(name) {
            Ok(task) if config.component(&task.component).is_some() => Ok(Some(task.id)),
            Ok(_) | Err(ServiceError::Unknown { .. }) => found,
            Err(error) => Err(error),
        }
    }

    /// Finds the one task that a name means among some that the store knows; `None` if nothing is called so.
    pub(super) fn stored_task(
        &self,
        name: &str,
        ids: impl IntoIterator<Item = Arc<str>>,
    ) -> Result<Option<Arc<str>>, ServiceError> {
        let configured = self.config().components.iter().map(|component| Arc::clone(&component.name));
        let stored = Names::new(ids.into_iter().map(|id| (id, None))).with_named(configured);
        match stored.resolve(name, None) {
            Ok(id) => Ok(Some(Arc::clone(id))),
            Err(message) if stored.knows(name) => Err(ServiceError::Unknown { message, remedy: None }),
            Err(_) => Ok(None),
        }
    }

    /// The id of a task that the store does not know.
    pub(super) fn unstored_task(&self, name: &str) -> Result<Arc<str>, ServiceError> {
        let looks_like_an_id = name.contains('/') || name.contains("::");
        if self.config().components.is_empty() {
            let stored = self.stored_tasks(&self.existing()?)?;
            // Nothing was ever submitted: then nothing is to be found, whatever it is called.
            if stored.is_empty() {
                return Ok(name.into());
            }
            let names = || stored.iter().map(|id| &**id);
            return Err(ServiceError::unknown(
                "task",
                name,
                names(),
                "no invocation and no rule is of it".to_owned(),
            ));
        }
        match self.task(name) {
            Ok(task) => Ok(task.id),
            Err(error @ ServiceError::Unknown { .. }) => Err(error),
            // Components that can't be loaded keep nobody from looking for invocations.
            Err(_) if looks_like_an_id => Ok(name.into()),
            Err(error) => Err(error),
        }
    }

    /// The ids of the tasks that the store knows; the component of one may be gone while its
    /// invocations are still there.
    pub(super) fn stored_tasks(&self, access: &Access) -> Result<Vec<Arc<str>>, ServiceError> {
        Ok(access.ask(|store| store.rules())?.into_iter().map(|rule| rule.task).collect())
    }

    /// The interfaces of every component that can be read, and what is wrong with
    /// those that can't.
    pub fn interfaces(&self) -> Result<(Interfaces, Vec<LoadError>), ServiceError> {
        let store = self.store_of_components()?;
        let pushed = self.pushed(store.as_ref())?;
        let (sources, left_out) = self.sources(&pushed, store.as_ref(), false)?;
        self.tidy_components(sources.iter().map(|source| &*source.path));
        let cache = self.config().cache_directory.as_deref();
        let (interfaces, errors) = Interfaces::load(&sources, cache, self.shared.compiler.clone());
        Ok((interfaces, left_out.into_iter().chain(errors).collect()))
    }

    /// Refuses a task that nothing runs any more because its component was removed from the store, as far as that can
    /// be known here: the store forgets what was removed once nothing of it is unfinished.
    pub(super) fn refuse_removed(&self, task: &str, pushed: &[PushedComponent]) -> Result<(), ServiceError> {
        let Some(name) = TaskId::split(task).0 else { return Ok(()) };
        let config = self.config();
        let is_removed = match config.component(name) {
            _ if is_live(pushed, name) => false,
            Some(component) => component.origin == ComponentOrigin::Store,
            // Without a section for pushed components, it may be in a file of the runner's.
            None => !config.patterns.is_empty() || pushed.iter().any(|one| *one.name == *name),
        };
        if is_removed { Err(removed(task)) } else { Ok(()) }
    }

    /// Registries, with what was fetched from them.
    pub(super) fn registry(&self) -> Registry {
        Registry::new(self.config())
    }

    /// Loads the components that are used; if there is a component that `only` is asked for, of the others that were
    /// pushed those that it needs.
    fn load(&self, only: Option<&str>) -> Result<Arc<Library>, ServiceError> {
        let shared = &*self.shared;
        let opened = match &*shared.opened.lock() {
            Opened::There(store) => Some(self.access_to(Arc::clone(store))),
            Opened::Not | Opened::Missing(_) => None,
        };
        let store = match opened {
            Some(opened) => Some(opened),
            None => self.store_of_components()?,
        };
        let mut pushed = self.pushed(store.as_ref())?;
        let only = only.filter(|only| is_live(&pushed, only));
        if let Some(only) = only {
            let needed = needed_by(&pushed, only);
            let is_configured = |one: &PushedComponent| self.config().component(&one.name).is_some();
            pushed.retain(|one| needed.contains(&one.name) || is_configured(one));
        }
        let (mut sources, left_out) = self.sources(&pushed, store.as_ref(), false)?;
        self.tidy_components(sources.iter().map(|source| &*source.path));
        let loading = &shared.loading;
        let options = LibraryOptions {
            cache_directory: shared.config.cache_directory.clone(),
            compiler: shared.compiler.clone(),
            max_live: shared.config.runner.max_live,
            memory_budget: shared.config.runner.memory_budget,
            may_count_fuel: shared.config.may_count_fuel(),
            loaded: Arc::clone(&loading.loaded),
        };
        loading.loaded.store(0, Ordering::Relaxed);
        loading.total.store(sources.len(), Ordering::Relaxed);
        let (mut fall_back, mut stays) = (FallBack::new(&shared.config, &pushed, store.as_ref()), Vec::new());
        let library = loop {
            let library = Library::load(&sources, &options, Arc::clone(&shared.clock));
            let errors = library.as_ref().map_or_else(|errors| &errors[..], Library::left_out);
            let told = fall_back.go_back(&mut sources, errors);
            if told.is_empty() {
                break library;
            }
            stays.extend(told);
        };
        loading.total.store(0, Ordering::Relaxed);
        let library = library.map_err(ServiceError::Load)?.with_left_out(left_out);
        stays.iter().for_each(|sentence| tracing::warn!("{sentence}"));
        if let Some(store) = store {
            library.fetch_versions_from(Box::new(Shelf::new(store, &shared.config)));
        }
        // The sections of others name none of these.
        if only.is_none() {
            self.check_names(&library)?;
        }
        Ok(Arc::new(library))
    }

    /// Checks that the names in the configuration stand for tasks.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Config`] with all that stand for none. If components come from the store, those are warnings:
    /// whoever pushes or removes a component must not be able to keep runners from starting.
    fn check_names(&self, library: &Library) -> Result<(), ServiceError> {
        let config = self.config();
        let unresolved = config.task_sections.iter().filter_map(|section| {
            let name = &section.name;
            match library.check_section(name) {
                Ok(None) => None,
                Ok(Some(warning)) => {
                    let place = &section.place;
                    tracing::warn!("{place}: `[task.\"{name}\"]` holds for all of these: {warning}");
                    None
                }
                Err(error) => Some((format!("`[task.\"{name}\"]`: {error}"), &section.place)),
            }
        });
        let unknown = config.submits.iter().filter_map(|one| {
            let error = library.check_submits(&one.task).err()?;
            Some((format!("`{}`: {error}", one.key), &one.place))
        });
        let wrong: Vec<_> = unresolved.chain(unknown).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        if config.needs_store_for_components() {
            wrong.iter().for_each(|(message, place)| tracing::warn!("{place}: {message}"));
            return Ok(());
        }
        let problem = |(message, place): (String, &String)| Problem::new(Origin::File, message).at(place);
        Err(ConfigError(wrong.into_iter().map(problem).collect()).into())
    }

    /// The store, if it is there and components come from it.
    pub(super) fn store_of_components(&self) -> Result<Option<Access>, ServiceError> {
        let config = self.config();
        if !config.store.url.is_durable() || !config.needs_store_for_components() {
            return Ok(None);
        }
        let existing = self.existing()?;
        Ok(self.missing().is_none().then_some(existing))
    }

    /// Reads the components that were pushed, if the configuration takes any of them.
    fn pushed(&self, store: Option<&Access>) -> Result<Vec<PushedComponent>, ServiceError> {
        match store.filter(|_| self.config().needs_store_for_components()) {
            Some(store) => Ok(store.ask(|store| store.components())?),
            None => Ok(Vec::new()),
        }
    }

    /// The components to load, each with its file, and what the lock file says of it; and what keeps some from
    /// being loaded that nobody has asked for by name, or, if `leaves_out_any`, others too.
    fn sources(
        &self,
        pushed: &[PushedComponent],
        store: Option<&Access>,
        leaves_out_any: bool,
    ) -> Result<(Vec<ComponentSource>, Vec<LoadError>), ServiceError> {
        let mut sources = Vec::new();
        let (mut errors, mut left_out, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for component in self.served(pushed).iter() {
            match self.prepare(component, pushed, store) {
                Ok(source) => sources.push(source),
                Err(ServiceError::Load(_)) if self.waits_for_push(component, pushed) => {
                    waiting.push(not_pushed_yet(self.config(), &component.name));
                }
                Err(ServiceError::Load(found)) if component.may_be_left_out || leaves_out_any => {
                    left_out.extend(found)
                }
                Err(ServiceError::Load(found)) => errors.extend(found),
                Err(error) => return Err(error),
            }
        }
        if sources.is_empty() && !leaves_out_any {
            errors.append(&mut left_out);
        }
        left_out.append(&mut waiting);
        if errors.is_empty() { Ok((sources, left_out)) } else { Err(ServiceError::Load(errors)) }
    }

    /// Whether a configured component comes from the store and is not there: it was removed, or not pushed yet. Whoever
    /// removes one must not be able to stop the others, and a push takes it in.
    fn waits_for_push(&self, component: &Component, pushed: &[PushedComponent]) -> bool {
        let is_of_store = component.origin == ComponentOrigin::Store && self.config().store.url.is_durable();
        is_of_store && !is_live(pushed, &component.name) && self.locked(component).is_ok()
    }

    /// The components that are used: those of the configuration, and if it takes all that were pushed, those.
    fn served<'c>(&'c self, pushed: &[PushedComponent]) -> Cow<'c, [Component]> {
        let config = self.config();
        let mut components = Cow::Borrowed(&config.components[..]);
        if config.takes_all_pushed() {
            let live = pushed.iter().filter(|one| one.removed_at.is_none());
            let mut names: Vec<_> = live.map(|one| Arc::clone(&one.name)).collect();
            names.dedup();
            names.retain(|name| config.component(name).is_none());
            if !names.is_empty() {
                components.to_mut().extend(names.into_iter().map(|name| config.pushed_component(name)));
            }
        }
        components
    }

    /// The names of the components that are used as they were pushed.
    pub(super) fn served_from_store(&self, pushed: &[PushedComponent]) -> BTreeSet<Arc<str>> {
        let served = self.served(pushed);
        let from_store = served.iter().filter(|one| one.origin == ComponentOrigin::Store);
        from_store.map(|one| Arc::clone(&one.name)).collect()
    }

    /// The components for a runner: those that are used, and those that are there only to finish what was submitted
    /// for them, because they were removed or replaced by others without these tasks. While a runner runs, any
    /// component may be left out: a removal or a bad push of one must not keep the runner from taking over others.
    pub(super) fn sources_of_runner(
        &self,
        store: &Access,
        leaves_out_any: bool,
    ) -> Result<(Vec<ComponentSource>, Vec<LoadError>), ServiceError> {
        let pushed = self.pushed(Some(store))?;
        let (mut sources, left_out) = self.sources(&pushed, Some(store), leaves_out_any)?;
        let unfinished = store.ask(|store| store.unfinished_by_task())?;
        for (task, _) in unfinished.iter().filter(|(_, count)| *count > 0) {
            let (Some(name), function) = TaskId::split(task) else { continue };
            let of_name = || pushed.iter().filter(|one| *one.name == *name);
            let is_served = sources.iter().any(|source| *source.name == *name && !source.is_retired);
            // One that a configuration does not take is not this runner's.
            let Some(newest) = of_name().next() else { continue };
            if newest.removed_at.is_none() && (!is_served || exports(newest, function)) {
                continue;
            }
            let component = match self.config().component(name) {
                Some(component) if component.origin == ComponentOrigin::Store => component.clone(),
                None if self.config().takes_all_pushed() => self.config().pushed_component(name.into()),
                Some(_) | None => continue,
            };
            let Some(old) = of_name().find(|one| exports(one, function)) else { continue };
            let path = match Shelf::new(store.clone(), self.config()).find(old.digest)? {
                Some((path, _)) => path,
                None => continue,
            };
            if sources.iter().any(|source| *source.name == *name && source.path == path) {
                continue;
            }
            let mut retired = Component { may_be_left_out: true, ..component }.at(path, Vec::new());
            bind_imports(&mut retired, old);
            retired.is_retired = true;
            sources.push(retired);
        }
        self.tidy_components(sources.iter().map(|source| &*source.path));
        Ok((sources, left_out))
    }

    /// Finds out which digests a component may have, and gets its file from wherever it comes from.
    pub(super) fn prepare(
        &self,
        component: &Component,
        pushed: &[PushedComponent],
        store: Option<&Access>,
    ) -> Result<ComponentSource, ServiceError> {
        let locked = self.locked(component)?;
        let path = self.fetch(component, locked.first().copied(), pushed, store)?;
        let mut source = component.at(path, locked);
        if component.origin == ComponentOrigin::Store
            && let Some(newest) = pushed.iter().find(|one| one.name == component.name)
        {
            bind_imports(&mut source, newest);
        }
        Ok(source)
    }

    /// The digests that a component may have; any if there is none. One that only a flag
    /// names has no grants, and needs no lock.
    pub(super) fn locked(&self, component: &Component) -> Result<Vec<ComponentDigest>, ServiceError> {
        let Some(lock) = &self.config().lock else { return Ok(Vec::new()) };
        let Some(entry) = lock.components.get(&*component.name) else {
            if component.origin.file().is_some() && !component.is_in_file {
                return Ok(Vec::new());
            }
            let message = "it is not in the lock file: `run-wasm-runner lock` adds it";
            return Err(ServiceError::unloaded(component, component.origin.to_string(), message));
        };
        if component.origin.is_reference()
            && let said = component.origin.to_string()
            && let Some(message) = entry.moved(&component.name, &said)
        {
            return Err(ServiceError::unloaded(component, said, message));
        }
        Ok(entry.allowed())
    }
}

/// The reason why a configured component is left out that comes from the store and is not there.
fn not_pushed_yet(config: &Config, name: &str) -> LoadError {
    let message = format!(
        "nothing is pushed under `{name}`; its section waits for a push (`run-wasm-runner component push {name} FILE`)"
    );
    LoadError { component: name.to_owned(), path: config.store.url.to_string(), message }
}

/// Lists the components that a library was made without, with the reasons.
pub(super) fn left_out_sentences(library: &Library) -> Vec<String> {
    sentences_about(library, |_| true)
}

fn sentences_about(library: &Library, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let mut sentences = Vec::new();
    // Of one component there may be a thousand: each import that nobody provides.
    let left_out = library.left_out().chunk_by(|one, other| one.component == other.component);
    for of_one in left_out.filter(|of_one| of_one.iter().any(|one| is_meant(&one.component))) {
        sentences.extend(of_one.iter().take(TOLD_OF_ONE).map(|error| format!("left out: {error}")));
        if let (Some(first), more @ 1..) = (of_one.first(), of_one.len().saturating_sub(TOLD_OF_ONE)) {
            sentences.push(format!("left out: component `{}`: {more} more reasons", first.component));
        }
    }
    sentences
}

fn warn_of_left_out(library: &Library) {
    left_out_sentences(library).iter().for_each(|sentence| tracing::warn!("{sentence}"));
}

/// Warns if one component was left out.
fn warn_of(library: &Library, component: &str) {
    sentences_about(library, |name| name == component)
        .iter()
        .for_each(|sentence| tracing::warn!("{sentence}"));
}

/// Whether there is a pushed component of that name that was not removed.
pub(super) fn is_live(pushed: &[PushedComponent], name: &str) -> bool {
    newest(pushed, name).is_some()
}

/// Finds the pushed component of that name, and all that provide something for it, directly or not. A component
/// without facts may need any.
fn needed_by(pushed: &[PushedComponent], name: &str) -> BTreeSet<Arc<str>> {
    let mut needed = BTreeSet::new();
    let mut next = vec![Arc::from(name)];
    while let Some(name) = next.pop() {
        let Some(newest) = pushed.iter().find(|one| one.name == name) else { continue };
        if !needed.insert(name) {
            continue;
        }
        let Some(facts) = &newest.facts else {
            return pushed.iter().map(|one| Arc::clone(&one.name)).collect();
        };
        for (import, provider) in &facts.imports {
            match provider {
                Some(provider) => next.push(Arc::clone(provider)),
                // It may be linked to any that exports it, or be ambiguous.
                None => next.extend(
                    pushed.iter().filter(|one| provides(one, import)).map(|one| Arc::clone(&one.name)),
                ),
            }
        }
    }
    needed
}

/// Whether a pushed component exports an interface that an import fits; it may, if an earlier program pushed it.
fn provides(one: &PushedComponent, import: &str) -> bool {
    one.facts.as_ref().is_none_or(|facts| facts.exports.iter().any(|export| is_compatible(import, export)))
}

/// The error of a submit for what was removed.
pub(super) fn removed(task: &str) -> ServiceError {
    ServiceError::Unknown { message: removed_message(task), remedy: Some(Remedy::ListTasks) }
}

/// The message for whoever submits what was removed.
pub(super) fn removed_message(task: &str) -> String {
    format!("unknown task `{task}`: its component was removed, or does not export it any more")
}

/// Whether a pushed component exports a function; it may, if an earlier program pushed it.
pub(super) fn exports(one: &PushedComponent, function: &str) -> bool {
    one.facts.as_ref().is_none_or(|facts| facts.functions.iter().any(|known| known == function))
}
