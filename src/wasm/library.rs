//! The components of a configuration, loaded, and the tasks that they export.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::{ComponentDigest, TaskOptions};

/// A component as the configuration names it.
#[derive(Debug, Clone)]
pub struct ComponentSource {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its file: a component in binary or text form.
    pub path: PathBuf,
    /// What its guests may touch.
    pub grants: Grants,
    /// Options of its tasks, where nothing more exact is said.
    pub defaults: TaskOptions,
    /// Options by task, under any unambiguous form of the task's id.
    pub tasks: BTreeMap<String, TaskOptions>,
}

/// What the guests of a component may touch. Nothing by default.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// Directories.
    pub directories: Vec<DirectoryGrant>,
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
    /// The most instances, running and parked together, that will ever live at
    /// once: the engine's pools are sized by it.
    pub max_live: usize,
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
}

/// The loaded components and their tasks.
#[derive(Debug, Default)]
pub struct Library {
    tasks: Vec<Task>,
    not_tasks: Vec<NotTask>,
}

impl Library {
    /// Loads every component, compiling what the cache does not hold.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with every component, not just the first.
    pub fn load(
        _sources: &[ComponentSource],
        _options: &LibraryOptions,
    ) -> Result<Self, Vec<LoadError>> {
        Ok(Self::default())
    }

    /// What one component file holds, without linking it to anything.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if it can't be read or is not a component.
    pub fn inspect(_name: &str, path: &Path) -> Result<Inspection, LoadError> {
        Err(LoadError {
            component: String::new(),
            path: path.display().to_string(),
            message: String::new(),
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

    /// Finds a task by its id or by any shorter form that names only one.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] with the candidates.
    pub fn resolve(&self, name: &str) -> Result<&Task, ResolveError> {
        Err(ResolveError {
            message: format!("unknown task `{name}`"),
        })
    }

    /// Checks `arguments` (a JSON array or object) against the parameters of a
    /// task and returns them as the JSON array that is stored.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] with the path and both types.
    pub fn check_arguments(
        &self,
        _task: &Task,
        arguments: &str,
    ) -> Result<Arc<str>, ArgumentError> {
        Ok(arguments.into())
    }
}
