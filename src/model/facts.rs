//! The facts that are kept of a pushed component, so that nobody has to read its bytes for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The facts of a pushed component, as the program that pushed it found them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ComponentFacts {
    /// The functions that are tasks, as task ids name them, sorted.
    pub functions: Vec<String>,
    /// The interfaces that it exports tasks from, with their versions.
    pub exports: Vec<String>,
    /// The interfaces that another component has to provide, each with the name of the component that does.
    /// A store fills in the first one that is pushed, and never replaces it.
    pub imports: BTreeMap<String, Option<Arc<str>>>,
}
