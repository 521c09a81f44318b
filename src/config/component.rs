//! Components, as the configuration describes them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::problem::{Origin, Problem};
use super::registry::{OCI_SCHEME, RegistryReference};
use crate::model::{ComponentDigest, Quota, TaskOptions, clip};
use crate::wasm::{ComponentSource, Glob, Grants, ImportChoices, TaskSection, VersionPolicy};

/// Where the bytes of a component come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentOrigin {
    /// A file, by its absolute path.
    File(PathBuf),
    /// The store, where they were pushed under the component's name.
    Store,
    /// A registry.
    Registry(RegistryReference),
}

impl ComponentOrigin {
    /// Reads what `source` says, without TLS for a registry if it `is_insecure`; `None` for a file, which has a
    /// `path` besides.
    pub(super) fn parse(text: &str, is_insecure: bool) -> Result<Option<Self>, String> {
        if text.starts_with(OCI_SCHEME) {
            let reference = RegistryReference::parse(text)?;
            return Ok(Some(Self::Registry(RegistryReference { is_insecure, ..reference })));
        }
        match text {
            "file" => Ok(None),
            "store" => Ok(Some(Self::Store)),
            other => Err(format!("it can't be `{other}` (known: `file`, `store`, `{OCI_SCHEME}…`)")),
        }
    }

    /// The word for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Store => "store",
            Self::Registry(_) => "registry",
        }
    }

    /// The path of the file that it is.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Store | Self::Registry(_) => None,
        }
    }

    /// The bytes that invocations run which were submitted for others, if nobody says: the store has those that
    /// were pushed.
    pub fn default_version(&self) -> VersionPolicy {
        match self {
            Self::Store => VersionPolicy::Kept,
            Self::File(_) | Self::Registry(_) => VersionPolicy::Newest,
        }
    }

    /// Whether it is a reference to another place: `component pull` fetches the bytes, and a lock is for exactly
    /// this reference.
    pub fn is_reference(&self) -> bool {
        match self {
            Self::Registry(_) => true,
            Self::File(_) | Self::Store => false,
        }
    }

    /// The text that stands for it in the lock file beside `file`: paths are relative where they can be.
    pub fn in_lock_of(&self, file: &Path) -> String {
        let beside = file.parent().and_then(|directory| self.file()?.strip_prefix(directory).ok());
        beside.map_or_else(|| self.to_string(), |path| path.display().to_string())
    }
}

impl fmt::Display for ComponentOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Store => f.write_str("store"),
            Self::Registry(reference) => reference.fmt(f),
        }
    }
}

/// A component of the configuration.
#[derive(Debug, Clone)]
pub struct Component {
    /// Its name.
    pub name: Arc<str>,
    /// Where its bytes come from.
    pub origin: ComponentOrigin,
    /// Whether the configuration file has it, so that a lock must have it too.
    pub is_in_file: bool,
    /// Which bytes an invocation runs that was submitted for others.
    pub version: VersionPolicy,
    /// The profile that its section names.
    pub profile: Option<Arc<str>>,
    /// Says which settings a section of its own has to repeat of the section that it replaces; for messages about missing
    /// grants.
    pub section_note: Option<Arc<str>>,
    /// Everything that its guests are granted.
    pub grants: Grants,
    /// The options of its tasks where nothing more exact is said.
    pub defaults: TaskOptions,
    /// Options for some tasks, of this component or of others.
    pub tasks: Arc<[TaskSection]>,
    /// The components that stand behind its imports.
    pub imports: ImportChoices,
    /// Whether the others are used without it if it can't be.
    pub may_be_left_out: bool,
    /// The fate of its unfinished invocations when it is removed from a store.
    pub on_remove: OnRemove,
    /// The bounds of all invocations of its tasks together; `None` if its section says nothing of them.
    pub quota: Option<Quota>,
}

/// The fate of the unfinished invocations of a component that is removed from a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnRemove {
    /// Runners finish them.
    #[default]
    Keep,
    /// They are cancelled.
    Cancel,
}

/// The section that holds for every pushed component whose name fits a pattern.
#[derive(Debug, Clone)]
pub struct ComponentPattern {
    glob: Glob,
    /// The settings, under the pattern as the name.
    pub component: Component,
}

impl ComponentPattern {
    /// Takes settings; their name is the pattern.
    pub(super) fn new(component: Component) -> Self {
        Self { glob: Glob::new(&component.name), component }
    }

    /// Finds the most exact of the patterns that a name fits: the one with the most characters that are not `*`,
    /// of equals the first in the alphabet.
    pub(super) fn find<'p>(patterns: &'p [Self], name: &str) -> Option<&'p Self> {
        Glob::most_exact(patterns, |pattern| &pattern.glob, name)
    }

    /// Says which settings a section for the component `name` alone has to repeat of this one, which it replaces.
    pub(super) fn note_for(&self, name: &str) -> String {
        let profile = self.component.profile.as_ref();
        let profile = profile.map_or_else(String::new, |profile| format!(" and `profile = \"{profile}\"`"));
        format!(
            "a section `[component.{name}]` replaces `[component.\"{}\"]`: it needs `source = \"store\"`{profile}",
            self.component.name
        )
    }
}

impl Component {
    /// A pushed component without a section. If there are sections for others, it may submit nothing.
    pub(super) fn without_section(name: Arc<str>, others_have_one: bool) -> Self {
        let mut component = Self::new(name, ComponentOrigin::Store);
        component.grants.may_submit = others_have_one.then(Arc::default);
        component
    }

    /// A component that nothing is said of but where its bytes are.
    pub fn new(name: Arc<str>, origin: ComponentOrigin) -> Self {
        Self {
            version: origin.default_version(),
            name,
            origin,
            is_in_file: false,
            profile: None,
            section_note: None,
            grants: Grants::default(),
            defaults: TaskOptions::default(),
            tasks: Arc::default(),
            imports: ImportChoices::default(),
            may_be_left_out: false,
            on_remove: OnRemove::default(),
            quota: None,
        }
    }

    /// Returns what a library loads: this component, from the file at `path`, with the digests of its lock.
    pub fn at(&self, path: PathBuf, locked: Vec<ComponentDigest>) -> ComponentSource {
        ComponentSource {
            name: Arc::clone(&self.name),
            path,
            version: self.version,
            locked,
            grants: self.grants.clone(),
            section_note: self.section_note.clone(),
            defaults: self.defaults.clone(),
            tasks: Arc::clone(&self.tasks),
            imports: self.imports.clone(),
            may_be_left_out: self.may_be_left_out,
            is_retired: false,
            is_kept: self.origin == ComponentOrigin::Store,
        }
    }
}

/// One of the tasks that a component may submit.
#[derive(Debug, Clone)]
pub struct SubmitPattern {
    /// The list that it is in.
    pub key: String,
    /// Its id or function, `*` standing for anything.
    pub task: Glob,
    /// File and line.
    pub place: String,
}

/// The most bytes of a component's name. It stands in the ids of tasks and in the keys that guests choose, which
/// are in indexes of every store.
pub const MAX_COMPONENT_NAME: usize = 128;

/// Checks that a component may be called `name`.
///
/// # Errors
///
/// A [`Problem`] that says what names look like.
pub fn check_component_name(name: &str, origin: Origin) -> Result<(), Problem> {
    if name.len() > MAX_COMPONENT_NAME {
        let (start, length) = (clip(name, 40), name.len());
        let message = format!("`{start}` can't be the name of a component: it has {length} bytes");
        return Err(
            Problem::new(origin, message).hint(format!("a name has at most {MAX_COMPONENT_NAME} bytes"))
        );
    }
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if name.split('-').all(is_word) {
        return Ok(());
    }
    let problem = Problem::new(origin, format!("`{name}` can't be the name of a component"));
    // Task ids have `.`, `:` and `/` in them; a name must not look like one.
    Err(problem.hint("a name is letters and digits in words joined by `-`, for example `word-count`"))
}

/// Checks that a text can be a pattern of names of components.
///
/// # Errors
///
/// A [`Problem`] that says what patterns look like.
pub(super) fn check_component_pattern(pattern: &str) -> Result<(), Problem> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'*');
    if pattern.len() <= MAX_COMPONENT_NAME && pattern.bytes().all(is_fine) {
        return Ok(());
    }
    let problem =
        Problem::new(Origin::File, format!("`{}` can't be a pattern of components", clip(pattern, 40)));
    Err(problem.hint(format!(
        "a pattern is letters, digits, `-` and `*`, which stands for anything, at most {MAX_COMPONENT_NAME} bytes: `customer-*`"
    )))
}
