//! The configuration of components.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::grants::Grants;
use crate::model::{ComponentDigest, LimitKind, TaskOptions, is_on_track, split_version};

/// A component of the configuration.
#[derive(Debug, Clone)]
pub struct ComponentSource {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its file: a component in binary form.
    pub path: PathBuf,
    /// The choice of bytes for an invocation that was submitted for others.
    pub version: VersionPolicy,
    /// The digests that its bytes may have, the one to load first; any if the list is empty.
    pub locked: Vec<ComponentDigest>,
    /// The grants of its guests.
    pub grants: Grants,
    /// The words about its section that messages about missing grants end with.
    pub section_note: Option<Arc<str>>,
    /// The options of its tasks, where no section sets others.
    pub defaults: TaskOptions,
    /// The sections for tasks, of this component or of others.
    pub tasks: Arc<[TaskSection]>,
    /// The chosen providers of its imports.
    pub imports: ImportChoices,
    /// Whether the others are used without it if it can't be: nobody has asked for it by name.
    pub may_be_left_out: bool,
    /// Whether only what was submitted for it is run: its name was removed, or what is pushed now under it does
    /// not export these tasks any more.
    pub is_retired: bool,
    /// Whether its bytes can be fetched again by their digest: its code may be let go of.
    pub is_kept: bool,
}

/// Options for the tasks of a name: a full id, a shorter form, a function of all components that export it,
/// or a pattern.
#[derive(Debug, Clone)]
pub struct TaskSection {
    /// The name.
    pub name: String,
    /// File and line.
    pub place: String,
    /// The options that it sets.
    pub options: Layer,
}

/// Changes to options: makes options of those below them.
#[derive(Clone)]
pub struct Layer(Arc<dyn Fn(&TaskOptions) -> TaskOptions + Send + Sync>);

impl Layer {
    /// Makes a layer of a function.
    pub fn new(over: impl Fn(&TaskOptions) -> TaskOptions + Send + Sync + 'static) -> Self {
        Self(Arc::new(over))
    }

    /// Applies it to `base`.
    pub fn over(&self, base: &TaskOptions) -> TaskOptions {
        (self.0)(base)
    }
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Layer")
    }
}

/// The chosen providers of imports, by interface: with a version or a track, or without.
#[derive(Debug, Clone, Default)]
pub struct ImportChoices {
    /// By the configuration.
    chosen: BTreeMap<String, Arc<str>>,
    /// By the store, which bound them when a provider was pushed.
    bound: BTreeMap<String, Arc<str>>,
}

impl ImportChoices {
    /// Chooses a component for an interface.
    pub fn insert(&mut self, interface: String, component: Arc<str>) {
        self.chosen.insert(interface, component);
    }

    /// Binds an import to a component, unless the configuration has chosen one.
    pub fn bind(&mut self, import: String, component: Arc<str>) {
        self.bound.insert(import, component);
    }

    /// Finds the component that the store has bound an import to.
    pub(super) fn bound(&self, import: &str) -> Option<&str> {
        self.bound.get(import).map(|component| &**component)
    }

    /// The interfaces that a component was chosen for.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.chosen.keys().map(|key| &**key)
    }

    /// Finds the choice for an import: the interface as the configuration writes it, on the import's track or
    /// for all versions, and the component.
    pub fn find(&self, import: &str) -> Option<(&str, &str)> {
        let (name, version) = split_version(import);
        let fits = |key: &str| {
            let (of, wanted) = split_version(key);
            let is_on_track = |wanted| version.is_some_and(|version| is_on_track(wanted, version));
            of == name && wanted.is_none_or(is_on_track)
        };
        // Keys with a version are sorted behind the one without.
        let found = self.chosen.iter().rev().find(|(key, _)| fits(key));
        found.map(|(key, component)| (&**key, &**component))
    }
}

impl ComponentSource {
    /// Whether the fuel of any of its tasks is limited: counting it slows code down.
    pub(super) fn wants_fuel(&self) -> bool {
        let is_limited = |options: &TaskOptions| options.limits[LimitKind::Fuel].is_some();
        is_limited(&self.defaults)
            || self.tasks.iter().any(|section| is_limited(&section.options.over(&self.defaults)))
    }
}

/// The choice of the bytes that an invocation runs on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VersionPolicy {
    /// The runner's bytes, whatever it was submitted for.
    #[default]
    Newest,
    /// The bytes that it was submitted for. A runner that has others fetches them.
    Pinned,
    /// The bytes that it was submitted for if the store has them, or else the runner's.
    Kept,
}

/// A component that can't be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("component `{component}` ({path}): {message}")]
pub struct LoadError {
    /// Its configured name.
    pub component: String,
    /// Its file.
    pub path: String,
    /// The reason.
    pub message: String,
}

pub(super) fn load_error(name: &str, path: &Path, message: impl Into<String>) -> LoadError {
    LoadError { component: name.to_owned(), path: path.display().to_string(), message: message.into() }
}
