//! The documents of operations: typed values whose JSON form is what `--json` prints, and
//! what an HTTP server answers with. Names and order of their fields are a contract.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::PassedOver;
use super::copies::retry_of;
use crate::model::{
    ComponentDigest, ComponentFacts, Failure, HolderKind, Invocation, InvocationId, LogEntry, Outcome,
    Progress, RunnerId, Status, SubmitLimits, TaskId, TaskLimits, UnixMicros, Usage, UsageSums, WaitingFor,
    chosen_key, millis,
};
use crate::runner::Gauge;
use crate::store::{RuleOrigin, UsageRow};
use crate::wasm::{
    Capability, Grants, Inspection, NotTask, Parameter, Right, RightKind, Task, TaskSchema, rights,
};

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
    pub submitted_at: UnixMicros,
    pub available_at: UnixMicros,
    pub deadline: Option<UnixMicros>,
    pub blocked: bool,
    pub started_at: Option<UnixMicros>,
    pub finished_at: Option<UnixMicros>,
    pub priority: i32,
    pub key: Option<Arc<str>>,
    pub fairness_key: Arc<str>,
    #[serde(serialize_with = "as_map")]
    pub labels: Vec<(String, String)>,
    /// The limits that its submit has set, or that of the invocation above it.
    #[serde(serialize_with = "limits")]
    pub limits: SubmitLimits,
    /// The invocation that it was submitted for anew.
    pub retry_of: Option<InvocationId>,
    /// The last invocation that was submitted for it anew; where that was not asked for, none.
    pub retried_as: Option<InvocationId>,
    /// The queue of its task now; where that was not asked for, none.
    pub queue: Option<Arc<str>>,
    /// The thing that it waits for, if it is queued and can't start yet.
    pub waiting_for: Option<WaitingFor>,
    /// The pauses that hold it back, if it waits for the end of a pause.
    pub paused_by: Option<PausedBy>,
    /// The rule that has no room for it, if it waits for a rule.
    pub blocked_by: Option<BlockedBy>,
    /// When the lease of the runner ran out that still owns it: another runner is to take it over.
    pub lease_ran_out_at: Option<UnixMicros>,
    pub progress: Option<Progress>,
    #[serde(serialize_with = "usage")]
    pub usage: Option<Usage>,
    /// `result` or `failure`; neither, if it is not final or the outcome was left out.
    #[serde(flatten, serialize_with = "outcome")]
    pub outcome: Option<Outcome>,
}

impl From<Invocation> for InvocationDocument {
    fn from(invocation: Invocation) -> Self {
        // Each field by its name: a new one must decide whether it is shown.
        let Invocation {
            id,
            task,
            component_digest,
            status,
            attempt,
            max_attempts,
            parent,
            root,
            depth,
            detached,
            priority,
            key,
            fairness_key,
            payer: _,
            unkeyed: _,
            labels,
            limits,
            callers: _,
            runner,
            submitted_at,
            available_at,
            blocked,
            lane: _,
            unique: _,
            deadline,
            started_at,
            finished_at,
            progress,
            usage,
            outcome,
        } = invocation;
        let (component, function) = TaskId::split(&task);
        Self {
            id,
            component: component.map(Arc::from),
            function: function.into(),
            task,
            component_digest,
            status,
            attempt,
            max_attempts,
            parent,
            root,
            depth,
            detached,
            runner,
            submitted_at,
            available_at,
            deadline,
            blocked,
            started_at,
            finished_at,
            priority,
            key: key.map(|key| chosen_key(&key).into()),
            fairness_key,
            retry_of: retry_of(&labels),
            retried_as: None,
            queue: None,
            waiting_for: None,
            paused_by: None,
            blocked_by: None,
            lease_ran_out_at: None,
            labels: labels.to_vec(),
            limits,
            progress,
            usage,
            outcome,
        }
    }
}

/// The pauses that hold an invocation back: one of them, or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PausedBy {
    /// Its queue, if that is paused.
    pub queue: Option<Arc<str>>,
    /// Its task, if that is paused.
    pub task: Option<Arc<str>>,
}

/// The concurrency and the rate rule of the task of an invocation: one of them has no room for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlockedBy {
    /// The number that may be owned at once, of those that the rule counts together.
    pub concurrency: Option<u32>,
    /// The number of those that may start within the window.
    pub rate: Option<u32>,
    /// The window.
    #[serde(rename = "rate_window_ms", serialize_with = "in_millis")]
    pub rate_window: Option<Duration>,
}

/// A line of a guest in the logs of a tree.
#[derive(Debug, Clone, Serialize)]
pub struct TreeLogDocument {
    /// The invocation whose guest wrote it.
    pub id: InvocationId,
    /// The line.
    #[serde(flatten)]
    pub entry: LogEntry,
}

/// The answer to a submit.
#[derive(Debug, Clone, Serialize)]
pub struct SubmitDocument {
    /// The invocation.
    pub id: InvocationId,
    /// The reason why it is one that existed already, if it is.
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

/// An invocation that a cancel or a retry would be about.
#[derive(Debug, Clone, Serialize)]
pub struct SelectedDocument {
    /// The invocation.
    pub id: InvocationId,
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
    /// The effect of the cancel.
    pub outcome: CancelOutcome,
    /// The status of the invocation now.
    pub status: Option<Status>,
}

/// The effect of a cancel.
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
#[derive(Debug, Clone, Default, Serialize)]
pub struct PruneDocument {
    /// The number of invocations that were removed.
    pub removed: usize,
    /// The number that would be removed, if they were only counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_remove: Option<usize>,
    /// The same by status, without statuses of which nothing would be removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_remove_by_status: Option<BTreeMap<Status, usize>>,
    /// The bytes that the store's file gave back to the disk.
    pub freed_bytes: u64,
    /// The bytes of the file that are free for new rows, and that it can't give back.
    pub free_bytes: u64,
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
        /// Whether it was paused before.
        was_paused: bool,
    },
    /// Of a task.
    Task {
        /// Its full id.
        task: Arc<str>,
        /// Whether it is paused now.
        paused: bool,
        /// Whether it was paused before.
        was_paused: bool,
    },
}

/// A task with its queue and its rules.
#[derive(Debug, Clone, Serialize)]
pub struct QueueDocument {
    /// The queue.
    pub queue: Arc<str>,
    /// The full id of the task; `None` for a queue that is paused and has no task.
    pub task: Option<Arc<str>>,
    /// Its component; `None` for an id of an earlier program that nobody has adopted.
    pub component: Option<Arc<str>>,
    /// Its function.
    pub function: Option<Arc<str>>,
    /// Whether the task or its queue is paused.
    pub paused: bool,
    /// The number of its invocations that are not final.
    pub unfinished: u64,
    /// The number of them that wait in the queue.
    pub queued: u64,
    /// The number of the queued that may start only later.
    pub delayed: u64,
    /// The number of the queued that a concurrency or rate rule keeps from running.
    pub blocked_by_rule: u64,
    /// The number that may run at once.
    pub concurrency: Option<u32>,
    /// The fate of more than that.
    pub blocked: Option<&'static str>,
    /// The number that may start within the window.
    pub rate: Option<u32>,
    /// The window.
    #[serde(rename = "rate_window_ms", serialize_with = "in_millis")]
    pub rate_window: Option<Duration>,
    /// The runner that has set this, if one is known.
    pub rule_by: Option<RuleOrigin>,
    /// When it did.
    pub rule_at: Option<UnixMicros>,
}

/// A quota, or a component or fairness key that it holds for.
#[derive(Debug, Clone, Serialize)]
pub struct QuotaDocument {
    /// Whether it is for components or for fairness keys.
    pub holder: HolderKind,
    /// The pattern of the names that the quota is for.
    pub pattern: Arc<str>,
    /// The component or fairness key; `None` is the quota itself.
    pub name: Option<Arc<str>>,
    /// Its invocations that are not final.
    pub unfinished: Option<u64>,
    /// The most of them.
    pub unfinished_limit: Option<u64>,
    /// The bytes of its arguments and outcomes.
    pub stored_bytes: Option<u64>,
    /// The most of them.
    pub stored_bytes_limit: Option<u64>,
    /// Its submits that still count.
    pub submits: Option<u64>,
    /// The most of them.
    pub submits_limit: Option<u32>,
    /// The time after which none of so many counts any more.
    #[serde(rename = "submits_window_ms", serialize_with = "in_millis")]
    pub submits_window: Option<Duration>,
    /// The runner that has set the quota, if one is known.
    pub set_by: Option<RuleOrigin>,
    /// When it did.
    pub set_at: UnixMicros,
}

/// A component that travels with the store, or comes from a registry.
#[derive(Debug, Clone, Serialize)]
pub struct ComponentDocument {
    /// Its name.
    pub name: Arc<str>,
    /// The digest of its bytes.
    pub digest: ComponentDigest,
    /// Its size in bytes.
    pub size: u64,
    /// When it was pushed, as far as it is in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pushed_at: Option<UnixMicros>,
    /// Whether it is what runners get under that name.
    pub newest: bool,
    /// Whether it is what a submit gets, in a list: the newest that runners have not refused. None is, if this configuration
    /// takes the component from elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_use: Option<bool>,
    /// Where this configuration takes the component of that name from instead, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configured_source: Option<String>,
    /// Why runners can't use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Free text about it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The functions that are tasks, if they are known without its bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub functions: Option<Vec<String>>,
    /// The interfaces that another component provides for it, each with the name of that component, if there
    /// is one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub imports: BTreeMap<String, Option<Arc<str>>>,
    /// When it was removed, if it is kept for unfinished invocations alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<UnixMicros>,
    /// Of one that was just pushed: the tasks of the version in use before that it lacks, or has with other types.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed_tasks: Vec<String>,
    /// Of one that was just pushed: the rights that it asks for and the version in use before does not, but for those
    /// that all guests have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub new_rights: Vec<RightDocument>,
    /// Of one that was just pushed: its tasks that are paused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paused_tasks: Vec<Arc<str>>,
    /// The newest version before, if the one just pushed was compared with an earlier one that is in use.
    #[serde(skip)]
    pub passed_over: Option<PassedOver>,
}

impl ComponentDocument {
    /// Makes the document of one that was just pushed or fetched.
    pub(super) fn of(name: Arc<str>, digest: ComponentDigest, size: u64) -> Self {
        Self {
            name,
            digest,
            size,
            pushed_at: None,
            newest: true,
            in_use: None,
            configured_source: None,
            refused: None,
            labels: BTreeMap::new(),
            functions: None,
            imports: BTreeMap::new(),
            removed_at: None,
            removed_tasks: Vec::new(),
            new_rights: Vec::new(),
            paused_tasks: Vec::new(),
            passed_over: None,
        }
    }

    /// Adds what is known of it.
    pub(super) fn with(self, labels: &[(String, String)], facts: Option<ComponentFacts>) -> Self {
        let (functions, imports) = facts.map(|facts| (facts.functions, facts.imports)).unzip();
        let labels = labels.iter().cloned().collect();
        Self { labels, functions, imports: imports.unwrap_or_default(), ..self }
    }
}

/// The removal of a component.
#[derive(Debug, Clone, Serialize)]
pub struct RemovalDocument {
    /// Its name.
    pub name: Arc<str>,
    /// How many invocations of its tasks were unfinished.
    pub unfinished: u64,
    /// How many of them were cancelled.
    pub cancelled: u64,
    /// Its tasks that are paused, and stay so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paused_tasks: Vec<Arc<str>>,
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
    /// The change of the entry.
    pub change: LockChange,
}

/// The change of an entry of the lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "they are plain words")]
pub enum LockChange {
    Added,
    Updated,
    Unchanged,
    Removed,
}

fn in_millis<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(millis).serialize(serializer)
}

fn limits<S: Serializer>(limits: &SubmitLimits, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(limits.fields())
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

/// Writes every entry of the bill, with the fuel after the memory.
fn usage<S: Serializer>(usage: &Option<Usage>, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(usage) = usage else { return serializer.serialize_none() };
    let mut map = serializer.serialize_map(None)?;
    for (field, value) in usage.entries() {
        match field {
            "cpu_micros" => map.serialize_entry("cpu_ms", &(value as f64 / 1e3))?,
            _ => map.serialize_entry(field, &value)?,
        }
        if field == "peak_memory_bytes" {
            map.serialize_entry("fuel", &usage.fuel)?;
        }
    }
    map.end()
}

/// A line of usage.
#[derive(Debug, Clone, Serialize)]
pub struct UsageDocument {
    /// The beginning of the hour, if lines are by hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hour: Option<UnixMicros>,
    /// The component, if lines are by component: `Some(None)` for ids of earlier programs that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<Option<Arc<str>>>,
    /// The fairness key, if lines are by key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fairness_key: Option<Arc<str>>,
    /// The sums.
    #[serde(flatten, serialize_with = "sums")]
    pub sums: UsageSums,
}

impl From<UsageRow> for UsageDocument {
    fn from(row: UsageRow) -> Self {
        let UsageRow { hour, component, fairness_key, sums } = row;
        let component = component.map(|name| Some(name).filter(|name| !name.is_empty()));
        Self { hour, component, fairness_key, sums }
    }
}

/// Writes every sum, named as in the bill of an invocation.
fn sums<S: Serializer>(sums: &UsageSums, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    for (name, count) in sums.counts() {
        map.serialize_entry(name, &count)?;
    }
    for (field, value) in sums.entries() {
        match field {
            "cpu_micros" => map.serialize_entry("cpu_ms", &(value as f64 / 1e3))?,
            _ => map.serialize_entry(field, &value)?,
        }
    }
    map.serialize_entry("fuel", &sums.bill.fuel)?;
    map.end()
}

/// A line of `tasks --json`.
#[derive(Debug, Serialize)]
pub struct TaskDocument<'a> {
    task: &'a str,
    component: &'a str,
    function: &'a str,
    component_digest: ComponentDigest,
    params: &'a [Parameter],
    result: Option<&'a str>,
    docs: Option<&'a str>,
    max_attempts: u32,
    priority: i32,
    deadline_seconds: Option<f64>,
    limits: &'a TaskLimits,
}

impl<'a> TaskDocument<'a> {
    /// The document of a task.
    pub fn new(task: &'a Task) -> Self {
        Self {
            task: &task.id,
            component: &task.component,
            function: task.function(),
            component_digest: task.digest,
            params: &task.parameters,
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
    not_tasks: &'a [NotTask],
    imports: &'a [Capability],
    /// The name under which it is configured.
    component: Option<&'a str>,
    /// The rights that it asks for.
    pub rights: Vec<RightDocument>,
}

/// A right that a component asks for.
#[derive(Debug, Clone, Serialize)]
pub struct RightDocument {
    /// Its kind.
    pub right: &'static str,
    /// Its details, as far as they can be told.
    pub uses: Vec<String>,
    /// How much of it is granted; `None` if the component is not configured.
    pub extent: Option<&'static str>,
    /// The parts of it that are granted.
    pub granted: Vec<String>,
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

    /// Whether a component must not ask for it newly: of those that not every guest has, all but some kinds.
    pub fn is_denied(&self, allowed: &[RightKind]) -> bool {
        let given = [RightKind::Clocks, RightKind::Random];
        !given.iter().chain(allowed).any(|kind| kind.as_str() == self.right)
    }

    /// Writes it with its details: `network (names, tcp)`.
    pub fn with_uses(&self) -> String {
        match self.uses.is_empty() {
            true => self.right.to_string(),
            false => format!("{} ({})", self.right, self.uses.join(", ")),
        }
    }
}

impl<'a> InspectionDocument<'a> {
    /// The document of a component file; with the name under which it is configured,
    /// and what it is granted.
    pub fn new(inspection: &'a Inspection, configured: Option<(&'a str, &Grants)>) -> Self {
        let grants = configured.map(|(_, grants)| grants);
        let rights = rights(&inspection.imports);
        Self {
            digest: inspection.digest,
            bytes: inspection.bytes,
            tasks: inspection.tasks.iter().map(TaskDocument::new).collect(),
            not_tasks: &inspection.not_tasks,
            imports: &inspection.imports,
            component: configured.map(|(name, _)| name),
            rights: rights.iter().map(|right| RightDocument::new(right, grants)).collect(),
        }
    }
}

/// The differences between two components.
#[derive(Debug, Serialize)]
pub struct DiffDocument {
    /// The digest of the old one.
    pub old: ComponentDigest,
    /// The digest of the new one.
    pub new: ComponentDigest,
    /// The differences in what they ask for.
    pub rights: RightChanges,
    /// The differences in their tasks.
    pub tasks: TaskChanges,
    /// The newest versions of those that were named and stand for an earlier one.
    #[serde(skip)]
    pub passed_over: Vec<PassedOver>,
}

/// The rights that only one of two components asks for.
#[derive(Debug, Serialize)]
pub struct RightChanges {
    /// The rights of the new one.
    pub added: Vec<RightDocument>,
    /// The rights of the old one.
    pub removed: Vec<RightDocument>,
}

/// The tasks that two components don't have alike, by their signatures.
#[derive(Debug, Default, Serialize)]
pub struct TaskChanges {
    /// The tasks of the new one alone.
    pub added: Vec<String>,
    /// The tasks of the old one alone.
    pub removed: Vec<String>,
    /// The tasks of both.
    pub changed: Vec<ChangedTask>,
}

impl TaskChanges {
    /// The tasks of the old one that the new one lacks, or has with other types.
    pub fn lost(&self) -> impl Iterator<Item = &str> {
        self.removed.iter().chain(self.changed.iter().map(|task| &task.old)).map(String::as_str)
    }
}

/// A task whose signature has changed.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "its function, and the signature in both components")]
pub struct ChangedTask {
    pub function: String,
    pub old: String,
    pub new: String,
}

/// The answer to a check.
#[derive(Debug, Default, Serialize)]
pub struct CheckDocument {
    /// Whether everything is in order.
    pub ok: bool,
    /// The path of the configuration file, if there is one.
    pub file: Option<String>,
    /// The number of components.
    pub components: usize,
    /// The number of their tasks.
    pub tasks: usize,
    /// The number of exported functions that can't be tasks.
    pub not_tasks: usize,
    /// Everything that is wrong.
    pub problems: Vec<ProblemDocument>,
    /// Oddities that may be intended.
    pub warnings: Vec<ProblemDocument>,
}

/// One thing that is wrong, and what to do about it in the words of whoever tells it.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "they are plain words")]
pub struct ProblemDocument {
    pub message: String,
    pub hint: Option<String>,
}

/// The totals of a runner that has stopped.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "as in `Gauge`")]
pub struct RunnerDocument {
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub skipped: u64,
    pub retried: u64,
    pub released: u64,
    pub taken: u64,
    pub slots: usize,
    pub peak_running: usize,
    pub peak_live: usize,
}

impl RunnerDocument {
    /// The document of a runner with so many slots.
    pub fn new(gauge: &Gauge, slots: usize) -> Self {
        Self {
            succeeded: gauge.succeeded,
            failed: gauge.failed,
            cancelled: gauge.cancelled,
            skipped: gauge.skipped,
            retried: gauge.retried,
            released: gauge.released,
            taken: gauge.taken,
            slots,
            peak_running: gauge.peak_running,
            peak_live: gauge.peak_live,
        }
    }
}

/// A line of `tasks --schema`.
#[derive(Debug, Serialize)]
pub struct SchemaDocument<'a> {
    task: &'a str,
    component: &'a str,
    function: &'a str,
    #[serde(flatten)]
    schema: &'a TaskSchema,
}

impl<'a> SchemaDocument<'a> {
    /// The document of a task.
    pub fn new(task: &'a Task, schema: &'a TaskSchema) -> Self {
        Self { task: &task.id, component: &task.component, function: task.function(), schema }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Callers;

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
            fairness_key: "k".into(),
            payer: None,
            unkeyed: false,
            labels: [("k".to_owned(), "v".to_owned())].into(),
            limits: SubmitLimits::default(),
            callers: Callers::default(),
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
