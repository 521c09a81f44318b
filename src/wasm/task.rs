//! Tasks: functions of components with their options.

use std::sync::Arc;

use serde::Serialize;

use crate::model::{ComponentDigest, TaskId, TaskOptions};

/// A task.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its full id, which [`TaskId`] takes apart.
    pub id: Arc<str>,
    /// The configured name of its component.
    pub component: Arc<str>,
    /// The digest of its component.
    pub digest: ComponentDigest,
    /// Its parameters, in order.
    pub parameters: Vec<Parameter>,
    /// The WIT type of its result; `None` if it has none.
    pub result: Option<String>,
    /// Its documentation in the component, of one or more lines.
    pub docs: Option<String>,
    /// Its options.
    pub options: TaskOptions,
}

impl Task {
    /// Its function, without the component.
    pub fn function(&self) -> &str {
        TaskId::split(&self.id).1
    }
}

/// A parameter of a task.
#[derive(Debug, Clone, Serialize)]
pub struct Parameter {
    /// Its name, in kebab-case as in WIT.
    pub name: String,
    /// Its WIT type.
    #[serde(rename = "type")]
    pub type_name: String,
}

/// The JSON Schemas (2020-12) of a task's arguments and results, each a document of its own.
#[derive(Debug, Clone, Serialize)]
pub struct TaskSchema {
    /// The schema of its arguments, as an array or as an object.
    pub arguments: serde_json::Value,
    /// The schema of its value.
    pub result: serde_json::Value,
    /// The schema of the error that it may return; `None` if its type has none.
    pub returned: Option<serde_json::Value>,
}

/// An exported function that is not a task, with the reason.
#[derive(Debug, Clone, Serialize)]
pub struct NotTask {
    /// The id that it would have.
    pub id: String,
    /// The configured name of its component.
    #[serde(skip)]
    pub component: Arc<str>,
    /// The reason why it can't be a task.
    pub reason: String,
}

/// A task name that names no task, or several.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ResolveError {
    /// The reason, with the candidates.
    pub message: String,
}

/// Arguments that do not fit a task.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ArgumentError {
    /// The place and both types: ``points[3].x: expected f64, found string``.
    pub message: String,
    /// Whether they fit their types, and are too large.
    pub is_over_limit: bool,
}
