//! The documents of operations: typed values whose JSON form is what `--json` prints, and
//! what an HTTP server answers with. Names and order of their fields are a contract.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::{
    ComponentDigest, Failure, Invocation, InvocationId, LogEntry, LogStream, Outcome, Progress, Reason,
    RunnerId, Status, TaskId, TaskLimits, Transition, UnixMicros, Usage,
};
use crate::wasm::{Grants, Inspection, NotTask, Right, Task, TaskSchema, rights};

/// An invocation.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "as in `Invocation`")]
pub struct InvocationDocument {
    pub id: InvocationId,
    pub task: Arc<str>,
    /// `None` for an id of an earlier program that nobody has adopted.
    pub component: Option<Arc<str>>,
    pub function: Arc<str>,
    pub component_digest: ComponentDigest,
    pub status: Status,
    pub attempt: u32,
    pub max_attempts: u32,
    pub parent: Option<InvocationId>,
    pub root: InvocationId,
    pub depth: u32,
    pub detached: bool,
    pub runner: Option<RunnerId>,
    #[serde(serialize_with = "time")]
    pub submitted_at: UnixMicros,
    #[serde(serialize_with = "time")]
    pub available_at: UnixMicros,
    #[serde(serialize_with = "maybe_time")]
    pub deadline: Option<UnixMicros>,
    pub blocked: bool,
    #[serde(serialize_with = "maybe_time")]
    pub started_at: Option<UnixMicros>,
    #[serde(serialize_with = "maybe_time")]
    pub finished_at: Option<UnixMicros>,
    pub priority: i32,
    pub key: Option<Arc<str>>,
    #[serde(serialize_with = "as_map")]
    pub labels: Vec<(String, String)>,
    pub progress: Option<Progress>,
    #[serde(serialize_with = "usage")]
    pub usage: Option<Usage>,
    /// `result` or `failure`; neither, if it is not final or the outcome was left out.
    #[serde(flatten, serialize_with = "outcome")]
    pub outcome: Option<Outcome>,
}

impl From<Invocation> for InvocationDocument {
    fn from(invocation: Invocation) -> Self {
        let (component, function) = TaskId::split(&invocation.task);
        Self {
            id: invocation.id,
            component: component.map(Arc::from),
            function: function.into(),
            task: invocation.task,
            component_digest: invocation.component_digest,
            status: invocation.status,
            attempt: invocation.attempt,
            max_attempts: invocation.max_attempts,
            parent: invocation.parent,
            root: invocation.root,
            depth: invocation.depth,
            detached: invocation.detached,
            runner: invocation.runner,
            submitted_at: invocation.submitted_at,
            available_at: invocation.available_at,
            deadline: invocation.deadline,
            blocked: invocation.blocked,
            started_at: invocation.started_at,
            finished_at: invocation.finished_at,
            priority: invocation.priority,
            key: invocation.key,
            labels: invocation.labels,
            progress: invocation.progress,
            usage: invocation.usage,
            outcome: invocation.outcome,
        }
    }
}

/// A line of a history.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "as in `Transition`")]
pub struct TransitionDocument {
    #[serde(serialize_with = "time")]
    pub at: UnixMicros,
    pub from: Option<Status>,
    pub to: Status,
    #[serde(serialize_with = "reason")]
    pub reason: Reason,
    pub runner: Option<RunnerId>,
    pub attempt: u32,
    pub detail: Option<String>,
}

impl From<Transition> for TransitionDocument {
    fn from(transition: Transition) -> Self {
        let Transition { at, from, to, reason, runner, attempt, detail } = transition;
        Self { at, from, to, reason, runner, attempt, detail }
    }
}

/// A piece of what a guest wrote.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "as in `LogEntry`")]
pub struct LogDocument {
    #[serde(serialize_with = "time")]
    pub at: UnixMicros,
    pub attempt: u32,
    pub stream: LogStream,
    pub level: Option<Arc<str>>,
    pub text: String,
}

impl From<LogEntry> for LogDocument {
    fn from(entry: LogEntry) -> Self {
        let LogEntry { at, attempt, stream, level, text } = entry;
        Self { at, attempt, stream, level, text }
    }
}

/// The answer to a submit.
#[derive(Debug, Clone, Serialize)]
pub struct SubmitDocument {
    /// The invocation.
    pub id: InvocationId,
    /// Why it is one that existed already, if it is.
    #[serde(skip)]
    pub found: Option<Found>,
}

/// Why a submit was answered with an invocation that exists already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It has the same key.
    SameKey,
    /// It is unfinished, and the same by the task's uniqueness rule.
    SameByRule {
        /// Where its arguments differ: empty if they don't.
        differences: String,
    },
}

/// The answer to a retry.
#[derive(Debug, Clone, Serialize)]
pub struct RetryDocument {
    /// The copy.
    pub id: InvocationId,
    /// The invocation that is retried.
    pub retry_of: InvocationId,
    /// Where the copy comes from.
    #[serde(skip)]
    pub copied: Copied,
}

/// How a retry came by its copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// It was submitted.
    Now,
    /// It was submitted by an earlier retry.
    Before,
    /// It is unfinished and the same by the task's uniqueness rule.
    Same,
}

/// The answer to a cancel.
#[derive(Debug, Clone, Serialize)]
pub struct CancelDocument {
    /// The invocation.
    pub id: InvocationId,
    /// What became of the cancel.
    pub outcome: CancelOutcome,
    /// The status of the invocation now.
    pub status: Option<Status>,
}

/// What became of a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CancelOutcome {
    /// It is cancelled, with its attached descendants.
    Cancelled,
    /// It was final before.
    AlreadyFinal,
    /// No invocation has that id.
    Unknown,
}

/// The answer to a prune.
#[derive(Debug, Clone, Serialize)]
pub struct PruneDocument {
    /// How many invocations were removed.
    pub removed: usize,
}

/// The answer to a pause, or to its end.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum PauseDocument {
    /// Of a queue.
    Queue {
        /// Its name.
        queue: Arc<str>,
        /// Whether it is paused now.
        paused: bool,
    },
    /// Of a task.
    Task {
        /// Its full id.
        task: Arc<str>,
        /// Whether it is paused now.
        paused: bool,
    },
}

/// A task with its queue and its rules.
#[derive(Debug, Clone, Serialize)]
pub struct QueueDocument {
    /// The queue.
    pub queue: Arc<str>,
    /// The full id of the task.
    pub task: Arc<str>,
    /// Its component; `None` for an id of an earlier program that nobody has adopted.
    pub component: Option<Arc<str>>,
    /// Its function.
    pub function: Arc<str>,
    /// Whether the task or its queue is paused.
    pub paused: bool,
    /// How many of its invocations are not final.
    pub unfinished: u64,
    /// How many may run at once.
    pub concurrency: Option<u32>,
    /// What becomes of more than that.
    pub blocked: Option<&'static str>,
    /// How many may start within the window.
    pub rate: Option<u32>,
    /// The window.
    #[serde(rename = "rate_window_ms", serialize_with = "millis")]
    pub rate_window: Option<Duration>,
}

/// A component that travels with the store, or comes from a registry.
#[derive(Debug, Clone, Serialize)]
pub struct ComponentDocument {
    /// Its name.
    pub name: Arc<str>,
    /// The digest of its bytes.
    pub digest: ComponentDigest,
    /// How many bytes it has.
    pub size: u64,
    /// When it was pushed, as far as it is in the store.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_time")]
    pub pushed_at: Option<UnixMicros>,
    /// Whether it is what runners get under that name.
    pub newest: bool,
}

/// An entry of the lock file.
#[derive(Debug, Clone, Serialize)]
pub struct LockDocument {
    /// The name of the component.
    pub name: String,
    /// The digest that its bytes must have.
    pub digest: ComponentDigest,
    /// Where the bytes come from.
    pub source: String,
    /// What became of the entry.
    pub change: LockChange,
}

/// What became of an entry of the lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "they are plain words")]
pub enum LockChange {
    Added,
    Updated,
    Unchanged,
    Removed,
}

fn time<S: Serializer>(time: &UnixMicros, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339())
}

fn maybe_time<S: Serializer>(time: &Option<UnixMicros>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(UnixMicros::to_rfc3339).serialize(serializer)
}

fn millis<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
}

fn reason<S: Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.as_str())
}

fn as_map<S: Serializer>(labels: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels.iter().map(|(key, value)| (key, value)))
}

/// `result`, with all the digits that it was written with, or `failure`.
fn outcome<S: Serializer>(outcome: &Option<Outcome>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    match outcome {
        // A value that is not JSON would be a bug of whoever stored it; the rest of the
        // document is still worth printing.
        Some(Outcome::Value(json)) => {
            if let Ok(value) = serde_json::from_str::<&RawValue>(json) {
                map.serialize_entry("result", value)?;
            }
        }
        Some(Outcome::Failure(failure)) => map.serialize_entry::<_, Failure>("failure", failure)?,
        None => {}
    }
    map.end()
}

fn usage<S: Serializer>(usage: &Option<Usage>, serializer: S) -> Result<S::Ok, S::Error> {
    usage.map(UsageDocument::new).serialize(serializer)
}

/// What an invocation used.
#[derive(Debug, Serialize)]
struct UsageDocument {
    cpu_ms: f64,
    peak_memory_bytes: u64,
    fuel: Option<u64>,
    children: u64,
    log_bytes: u64,
    output_bytes: u64,
    result_bytes: u64,
    read_bytes: u64,
    written_bytes: u64,
    sent_bytes: u64,
    received_bytes: u64,
}

impl UsageDocument {
    fn new(usage: Usage) -> Self {
        Self {
            cpu_ms: usage.cpu_micros as f64 / 1e3,
            peak_memory_bytes: usage.peak_memory_bytes,
            fuel: usage.fuel,
            children: usage.children,
            log_bytes: usage.log_bytes,
            output_bytes: usage.output_bytes,
            result_bytes: usage.result_bytes,
            read_bytes: usage.read_bytes,
            written_bytes: usage.written_bytes,
            sent_bytes: usage.sent_bytes,
            received_bytes: usage.received_bytes,
        }
    }
}

/// A line of `tasks --json`.
#[derive(Debug, Serialize)]
pub struct TaskDocument<'a> {
    task: &'a str,
    component: &'a str,
    function: &'a str,
    component_digest: ComponentDigest,
    params: Vec<ParameterDocument<'a>>,
    result: Option<&'a str>,
    docs: Option<&'a str>,
    max_attempts: u32,
    priority: i32,
    deadline_seconds: Option<f64>,
    limits: &'a TaskLimits,
}

#[derive(Debug, Serialize)]
struct ParameterDocument<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    type_name: &'a str,
}

impl<'a> TaskDocument<'a> {
    /// The document of a task.
    pub fn new(task: &'a Task) -> Self {
        let parameters = task.parameters.iter();
        Self {
            task: &task.id,
            component: &task.component,
            function: task.function(),
            component_digest: task.digest,
            params: parameters
                .map(|parameter| ParameterDocument { name: &parameter.name, type_name: &parameter.type_name })
                .collect(),
            result: task.result.as_deref(),
            docs: task.docs.as_deref(),
            max_attempts: task.options.max_attempts,
            priority: task.options.priority,
            deadline_seconds: task.options.deadline.map(|deadline| deadline.as_secs_f64()),
            limits: &task.options.limits,
        }
    }
}

/// `inspect --json`.
#[derive(Debug, Serialize)]
pub struct InspectionDocument<'a> {
    digest: ComponentDigest,
    bytes: u64,
    tasks: Vec<TaskDocument<'a>>,
    not_tasks: Vec<NotTaskDocument<'a>>,
    imports: Vec<ImportDocument<'a>>,
    /// The name under which it is configured.
    component: Option<&'a str>,
    rights: Vec<RightDocument>,
}

/// Something that a component asks for.
#[derive(Debug, Serialize)]
pub struct RightDocument {
    right: &'static str,
    uses: Vec<String>,
    /// How much of it is granted; `None` if the component is not configured.
    extent: Option<&'static str>,
    granted: Vec<String>,
}

impl RightDocument {
    /// The document of a right, with what is granted of it.
    pub fn new(right: &Right, grants: Option<&Grants>) -> Self {
        let extent = grants.map(|grants| right.extent(grants));
        let (extent, granted) = match extent {
            Some((extent, granted)) => (Some(extent.as_str()), granted),
            None => (None, Vec::new()),
        };
        Self { right: right.kind.as_str(), uses: right.uses.clone(), extent, granted }
    }
}

#[derive(Debug, Serialize)]
struct NotTaskDocument<'a> {
    id: &'a str,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct ImportDocument<'a> {
    import: &'a str,
    provided_by: &'a str,
    is_provided: bool,
}

impl<'a> InspectionDocument<'a> {
    /// The document of a component file; with the name under which it is configured,
    /// and what it is granted.
    pub fn new(inspection: &'a Inspection, configured: Option<(&'a str, &Grants)>) -> Self {
        let grants = configured.map(|(_, grants)| grants);
        let rights = rights(&inspection.imports);
        let not_task = |not: &'a NotTask| NotTaskDocument { id: &not.id, reason: &not.reason };
        let imports = inspection.imports.iter().map(|import| ImportDocument {
            import: &import.import,
            provided_by: &import.provided_by,
            is_provided: import.is_provided,
        });
        Self {
            digest: inspection.digest,
            bytes: inspection.bytes,
            tasks: inspection.tasks.iter().map(TaskDocument::new).collect(),
            not_tasks: inspection.not_tasks.iter().map(not_task).collect(),
            imports: imports.collect(),
            component: configured.map(|(name, _)| name),
            rights: rights.iter().map(|right| RightDocument::new(right, grants)).collect(),
        }
    }
}

/// A line of `tasks --schema`.
#[derive(Debug, Serialize)]
pub struct SchemaDocument<'a> {
    task: &'a str,
    component: &'a str,
    function: &'a str,
    arguments: &'a Value,
    result: &'a Value,
    returned: Option<&'a Value>,
}

impl<'a> SchemaDocument<'a> {
    /// The document of a task.
    pub fn new(task: &'a Task, schema: &'a TaskSchema) -> Self {
        Self {
            task: &task.id,
            component: &task.component,
            function: task.function(),
            arguments: &schema.arguments,
            result: &schema.result,
            returned: schema.returned.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_keeps_its_digits() {
        let id = InvocationId::generate();
        let invocation = Invocation {
            id,
            task: "a:b/c.d".into(),
            component_digest: ComponentDigest::from_bytes([1; 32]),
            status: Status::Succeeded,
            attempt: 1,
            max_attempts: 3,
            parent: None,
            root: id,
            depth: 0,
            detached: false,
            priority: 0,
            key: None,
            labels: vec![("k".to_owned(), "v".to_owned())],
            runner: None,
            submitted_at: UnixMicros(0),
            available_at: UnixMicros(0),
            blocked: false,
            lane: None,
            unique: None,
            deadline: None,
            started_at: Some(UnixMicros(1)),
            finished_at: Some(UnixMicros(2)),
            progress: None,
            usage: None,
            outcome: Some(Outcome::Value("18446744073709551615.000000000000000000001".into())),
        };
        let json = serde_json::to_string(&InvocationDocument::from(invocation)).expect("a document");
        assert!(json.contains(r#""result":18446744073709551615.000000000000000000001"#), "{json}");
        assert!(json.contains(r#""started_at":"1970-01-01T00:00:00.000001Z""#), "{json}");
        assert!(json.contains(r#""labels":{"k":"v"}"#) && !json.contains("failure"), "{json}");
    }
}
