//! Components as the configuration names them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::grants::Grants;
use crate::model::{ComponentDigest, LimitKind, TaskOptions};

/// A component as the configuration names it.
#[derive(Debug, Clone)]
pub struct ComponentSource {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its file: a component in binary form.
    pub path: PathBuf,
    /// Which bytes an invocation runs that was submitted for others.
    pub version: VersionPolicy,
    /// The digests that its bytes may have, the one to load first; any if there is
    /// none.
    pub locked: Vec<ComponentDigest>,
    /// Everything that its guests are granted.
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
        let mut options = std::iter::once(&self.defaults).chain(self.tasks.values());
        options.any(|options| options.limits[LimitKind::Fuel].is_some())
    }
}

/// Which bytes of a component an invocation runs on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VersionPolicy {
    /// The runner's bytes, whatever it was submitted for.
    #[default]
    Newest,
    /// The bytes that it was submitted for. A runner that has others fetches them.
    Pinned,
}

/// A component that can't be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("component `{component}` ({path}): {message}")]
pub struct LoadError {
    /// Its configured name.
    pub component: String,
    /// Its file.
    pub path: String,
    /// The reason, for people.
    pub message: String,
}

pub(super) fn load_error(name: &str, path: &Path, message: impl Into<String>) -> LoadError {
    LoadError { component: name.to_owned(), path: path.display().to_string(), message: message.into() }
}
