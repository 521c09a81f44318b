//! Tasks, as components export them and the configuration sets them up.

use std::sync::Arc;

use crate::model::{ComponentDigest, TaskOptions};

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
    /// What its component says of it, in as many lines as somebody wrote.
    pub docs: Option<String>,
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

/// What values go into a task and come out of it: JSON Schemas (2020-12), each a document
/// of its own.
#[derive(Debug, Clone)]
pub struct TaskSchema {
    /// Of its arguments, as an array or as an object.
    pub arguments: serde_json::Value,
    /// Of its value.
    pub result: serde_json::Value,
    /// Of the error that it may return; `None` if its type has none.
    pub returned: Option<serde_json::Value>,
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
    /// Whether it is their size that does not fit.
    pub is_over_limit: bool,
}

impl ArgumentError {
    pub(super) fn new(message: String) -> Self {
        Self { message, is_over_limit: false }
    }
}
