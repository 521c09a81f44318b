//! The facts that are kept of a pushed component, so that nobody has to read its bytes for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::RunnerId;

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
    /// The answers of runners to its last push: those of the latest runners, if there are very many. A store fills them
    /// in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<RunnerId, PushAnswer>,
}

/// The answer of a runner to a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PushAnswer {
    /// It has seen the push, and prepares the version: it is compiled, say.
    Preparing,
    /// It has taken the version over.
    Taken,
    /// It serves no pushed component of that name.
    NotServed,
    /// It can't use the version, for this reason.
    Refused(String),
}
