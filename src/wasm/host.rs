//! The `wasm-runner:task` interfaces, which guests import.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::filesystem::WasiFilesystemView;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::control::GuestControl;
use super::denials::Denials;
use super::files::{self, Files, FilesView};
use super::handles::Handles;
use super::host_memory::{Held, HostMemoryExceeded};
use super::memory_limit::MemoryLimit;
use super::network::{Gate, Http, OpenSocket};
use super::output::{GuestOutput, harmless};
use super::submits::Submits;
use crate::model;
use crate::model::{
    AwaitMode, Caller, ChildRequest, Claim, FailureKind, InvocationId, LimitKind, MAX_AWAITED, Outcome,
    Progress, SlotControl, TaskClient, check_key, check_labels,
};

mod bindings {
    #![allow(missing_docs, reason = "generated; the WIT has the docs")]
    wasmtime::component::bindgen!({
        path: "wit",
        world: "task",
        imports: { default: async },
    });
}

use bindings::wasm_runner::task::invocations::{
    Error, Failure, InvocationStatus as Status, Refusal, SubmitOptions,
};
pub(super) use bindings::wasm_runner::task::{context, invocations, log, types};

/// The package that these imports belong to.
pub(super) const PACKAGE: &str = "wasm-runner:task/";

/// The longest text of a progress report that is kept.
const PROGRESS_BYTES: usize = 1_000;

/// Bytes of a child besides its arguments, until it is in the store.
const CHILD_BYTES: u64 = 512;

/// The bytes of an id in a set.
const CHILD_ID_BYTES: u64 = 48;

/// Bytes of an id, and of the same as a text.
const ID_BYTES: u64 = 96;

/// Bytes of an awaited invocation, until its outcome is there.
const WAIT_BYTES: u64 = 256;

/// The state of one guest, for its host calls.
pub(super) struct HostState {
    pub(super) wasi: WasiCtx,
    pub(super) table: ResourceTable,
    pub(super) handles: Handles,
    /// The result of the last call: until it lies in the guest's memory it lies here, and when the next call begins
    /// it does.
    pub(super) returned: Option<Held>,
    pub(super) memory: MemoryLimit,
    pub(super) caller: Caller,
    pub(super) client: Arc<dyn TaskClient>,
    pub(super) control: Arc<GuestControl>,
    pub(super) output: GuestOutput,
    pub(super) denials: Arc<Denials>,
    pub(super) gate: Arc<Gate>,
    /// The open sockets, by their index in `table`.
    pub(super) open_sockets: HashMap<u32, OpenSocket>,
    pub(super) http: Http,
    pub(super) submits: Submits,
    pub(super) claim: Claim,
    pub(super) files: Arc<Files>,
    /// The memory for the ids of submitted children, which the runner keeps as long as the guest lives.
    pub(super) child_ids: Held,
    /// Children that were submitted, and the most that may be.
    pub(super) children: u64,
    pub(super) max_children: u64,
    /// The highest priority that a child is given by its submit.
    pub(super) max_priority: i32,
}

impl HostState {
    /// Submits children within the limit.
    async fn submit_children(
        &mut self,
        children: Vec<ChildRequest>,
    ) -> Result<Vec<InvocationId>, model::Refusal> {
        let count = self.more_children(children.len())?;
        let ids = self.child_ids.bytes() + children.len() as u64 * CHILD_ID_BYTES;
        self.child_ids.resize(ids).map_err(|exceeded| self.exceeded(&exceeded))?;
        let submitted = self.client.submit(&self.caller, children).await;
        let ids = submitted.inspect_err(|refusal| self.note_limit(refusal))?;
        self.children = count;
        Ok(ids)
    }

    /// Submits a child within the limit, and awaits it.
    pub(super) async fn call_child(
        &mut self,
        task: Arc<str>,
        arguments: String,
    ) -> Result<(InvocationId, Outcome), model::Refusal> {
        self.returned = None;
        let _held = self.hold(arguments.len() as u64 + CHILD_BYTES)?;
        let arguments = arguments.into();
        let child = ChildRequest { task, arguments, options: model::SubmitOptions::default() };
        // It counts before it is submitted: after an error it may have been submitted all the same.
        self.children = self.more_children(1)?;
        self.output.hand_over();
        let called = self.client.call(&self.caller, child).await;
        called.inspect_err(|refusal| self.note_limit(refusal))
    }

    /// Awaits invocations. Returns the outcomes of the mode, with their index in `ids`.
    async fn await_outcomes(
        &mut self,
        ids: &[String],
        mode: AwaitMode,
    ) -> Result<impl Iterator<Item = (u32, Result<String, Failure>)> + use<>, Refusal> {
        if ids.len() > MAX_AWAITED {
            let message = format!("{} results are awaited at once, more than {MAX_AWAITED}", ids.len());
            return Err(Refusal::Limit(message));
        }
        self.returned = None;
        let wait = self.hold(ids.len() as u64 * WAIT_BYTES).map_err(refusal)?;
        let ids = ids.iter().map(|id| parse_id(id)).collect::<Result<_, _>>()?;
        self.output.hand_over();
        let outcomes = self.client.await_outcomes(&self.caller, ids, mode).await;
        if let Err(model::Refusal::Denied(why)) = &outcomes {
            self.denials.say("awaiting results", why);
        }
        let outcomes = outcomes.map_err(refusal)?;
        let copies = self.hold(outcomes.iter().map(|(_, found)| outcome_bytes(found)).sum());
        self.returned = Some(copies.map_err(refusal)?);
        let index = |index| u32::try_from(index).unwrap_or(u32::MAX);
        Ok(outcomes.into_iter().map(move |(place, found)| {
            // As long as there are more.
            let _ = &wait;
            (index(place), outcome(&found))
        }))
    }

    /// Charges bytes that the host will hold.
    fn hold(&self, bytes: u64) -> Result<Held, model::Refusal> {
        self.handles.account.hold(bytes).map_err(|exceeded| self.exceeded(&exceeded))
    }

    fn exceeded(&self, exceeded: &HostMemoryExceeded) -> model::Refusal {
        let refusal =
            model::Refusal::Limit { limit: Some(LimitKind::HostMemory), message: exceeded.to_string() };
        self.note_limit(&refusal);
        refusal
    }

    /// Remembers a limit that refused something, for the failure.
    fn note_limit(&self, refusal: &model::Refusal) {
        if let model::Refusal::Limit { limit: Some(limit), message } = refusal {
            self.control.refuse(*limit, message.clone());
        }
    }

    /// Returns the number of children with `more` of them, if it is within the limit.
    fn more_children(&self, more: usize) -> Result<u64, model::Refusal> {
        let count = self.children.saturating_add(more as u64);
        if count <= self.max_children {
            return Ok(count);
        }
        let message =
            format!("the guest wanted {count} children, more than its limit of {}", self.max_children);
        let refusal = model::Refusal::Limit { limit: Some(LimitKind::Children), message };
        self.note_limit(&refusal);
        Err(refusal)
    }
}

impl WasiView for HostState {
    /// Every call of WASI begins here.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.returned = None;
        self.handles.make_room(&mut self.table);
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Adds the `wasm-runner:task` interfaces to a linker, and replaces its files by those of guests.
pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    files::add_to_linker(linker, |state| FilesView {
        files: Arc::clone(&state.files),
        wasi: state.filesystem(),
    })?;
    bindings::Task::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}

fn refusal(refusal: model::Refusal) -> Refusal {
    match refusal {
        model::Refusal::UnknownTask(message) => Refusal::UnknownTask(message),
        model::Refusal::BadArguments(message) => Refusal::BadArguments(message),
        model::Refusal::UnknownInvocation(message) => Refusal::UnknownInvocation(message),
        model::Refusal::Denied(message) => Refusal::Denied(message),
        model::Refusal::Cycle(message) => Refusal::Cycle(message),
        model::Refusal::Limit { message, .. } => Refusal::Limit(message),
        model::Refusal::Unavailable(message) => Refusal::Unavailable(message),
    }
}

fn failure(failure: &model::Failure) -> Failure {
    let message = failure.message.clone();
    match failure.kind {
        FailureKind::Returned => {
            Failure::Returned(failure.error.as_deref().map_or("null", RawValue::get).to_owned())
        }
        FailureKind::Trapped => Failure::Trapped(message),
        FailureKind::TimedOut => Failure::TimedOut(message),
        FailureKind::LimitExceeded => Failure::LimitExceeded(message),
        FailureKind::Cancelled => Failure::Cancelled(message),
        FailureKind::Skipped => Failure::Skipped(message),
        FailureKind::Lost => Failure::Lost(message),
    }
}

/// The bytes of an outcome's copy for the guest, about.
fn outcome_bytes(outcome: &Outcome) -> u64 {
    let text = match outcome {
        Outcome::Value(json) => json.len(),
        Outcome::Failure(failed) => {
            failed.message.len() + failed.error.as_deref().map_or(0, |error| error.get().len())
        }
    };
    text as u64
}

fn outcome(outcome: &Outcome) -> Result<String, Failure> {
    match outcome {
        Outcome::Value(json) => Ok(json.to_string()),
        Outcome::Failure(failed) => Err(failure(failed)),
    }
}

fn parse_id(id: &str) -> Result<InvocationId, Refusal> {
    id.parse().map_err(|error: model::IdError| Refusal::UnknownInvocation(error.to_string()))
}

/// Takes the first outcome, which should be there.
fn first<T>(mut outcomes: impl Iterator<Item = T>) -> Result<T, Refusal> {
    outcomes.next().ok_or_else(|| Refusal::Unavailable("the runner gave no outcome".to_owned()))
}

fn options(options: SubmitOptions) -> model::SubmitOptions {
    model::SubmitOptions {
        delay: Duration::from_millis(options.delay_ms.unwrap_or(0)),
        deadline: None,
        priority: options.priority,
        key: options.key.map(Arc::from),
        detached: options.detached,
        labels: options.labels.into(),
        fairness_key: None,
        limits: model::SubmitLimits::default(),
    }
}

impl types::Host for HostState {}

impl invocations::Host for HostState {
    async fn submit(
        &mut self,
        task: String,
        arguments: String,
        how: SubmitOptions,
    ) -> Result<String, Refusal> {
        let ids = self.submit_all(task, vec![arguments], how).await?;
        ids.into_iter().next().ok_or_else(|| Refusal::Unavailable("the runner gave no id".to_owned()))
    }

    async fn submit_all(
        &mut self,
        task: String,
        arguments: Vec<String>,
        how: SubmitOptions,
    ) -> Result<Vec<String>, Refusal> {
        let task = self.submits.resolve(&task, &self.denials).map_err(refusal)?;
        // Before anything is made for each child.
        self.more_children(arguments.len()).map_err(refusal)?;
        how.key.as_deref().map_or(Ok(()), check_key).map_err(refusal)?;
        check_labels(&how.labels).map_err(refusal)?;
        // Labels are shared by all of them.
        let labels = how.labels.iter().map(|(name, value)| (name.len() + value.len()) as u64);
        let texts = arguments.iter().map(|arguments| arguments.len() as u64 + CHILD_BYTES);
        self.returned = None;
        let mut held = self.hold(labels.chain(texts).sum()).map_err(refusal)?;
        let mut how = options(how);
        how.priority = how.priority.map(|priority| priority.min(self.max_priority));
        let children = arguments
            .into_iter()
            .map(|arguments| ChildRequest {
                task: Arc::clone(&task),
                arguments: arguments.into(),
                options: how.clone(),
            })
            .collect();
        let ids = self.submit_children(children).await.map_err(refusal)?;
        // Less than for the children.
        let _ = held.resize(ids.len() as u64 * ID_BYTES);
        self.returned = Some(held);
        Ok(ids.iter().map(InvocationId::to_string).collect())
    }

    async fn await_result(&mut self, id: String) -> Result<String, Error> {
        let outcomes = self.await_outcomes(&[id], AwaitMode::All).await.map_err(Error::Refused)?;
        let (_, found) = first(outcomes).map_err(Error::Refused)?;
        found.map_err(Error::Failed)
    }

    async fn await_all(&mut self, ids: Vec<String>) -> Result<Vec<Result<String, Failure>>, Refusal> {
        let outcomes = self.await_outcomes(&ids, AwaitMode::All).await?;
        Ok(outcomes.map(|(_, found)| found).collect())
    }

    async fn await_any(&mut self, ids: Vec<String>) -> Result<(u32, Result<String, Failure>), Refusal> {
        first(self.await_outcomes(&ids, AwaitMode::Any).await?)
    }

    async fn await_any_within(
        &mut self,
        ids: Vec<String>,
        timeout_ms: u64,
    ) -> Result<Option<(u32, Result<String, Failure>)>, Refusal> {
        let mode = AwaitMode::AnyWithin(Duration::from_millis(timeout_ms));
        Ok(self.await_outcomes(&ids, mode).await?.next())
    }

    async fn call(&mut self, task: String, arguments: String) -> Result<String, Error> {
        let refused = |refused| Error::Refused(refusal(refused));
        let task = self.submits.resolve(&task, &self.denials).map_err(refused)?;
        let (_, found) = self.call_child(task, arguments).await.map_err(refused)?;
        self.returned = Some(self.hold(outcome_bytes(&found)).map_err(refused)?);
        outcome(&found).map_err(Error::Failed)
    }

    async fn status(&mut self, id: String) -> Result<Status, Refusal> {
        let status = self.client.status(parse_id(&id)?).await.map_err(refusal)?;
        Ok(match status {
            model::Status::Queued => Status::Queued,
            model::Status::Claimed => Status::Claimed,
            model::Status::Running => Status::Running,
            model::Status::Waiting => Status::Waiting,
            model::Status::Succeeded => Status::Succeeded,
            model::Status::Failed => Status::Failed,
            model::Status::Cancelled => Status::Cancelled,
            model::Status::Skipped => Status::Skipped,
        })
    }

    async fn cancel(&mut self, id: String) -> Result<bool, Refusal> {
        let id = parse_id(&id)?;
        let cancelled = self.client.cancel(&self.caller, id).await;
        if let Err(model::Refusal::Denied(why)) = &cancelled {
            self.denials.say(&format!("cancelling `{id}`"), why);
        }
        cancelled.map_err(refusal)
    }
}

impl context::Host for HostState {
    async fn id(&mut self) -> String {
        self.caller.id.to_string()
    }

    async fn task(&mut self) -> String {
        self.claim.task.to_string()
    }

    async fn attempt(&mut self) -> u32 {
        self.caller.attempt
    }

    async fn parent(&mut self) -> Option<String> {
        self.claim.parent.map(|parent| parent.to_string())
    }

    async fn root(&mut self) -> String {
        self.caller.root.to_string()
    }

    async fn deadline(&mut self) -> Option<u64> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
        let time_is_over = u64::try_from((now + self.control.remaining()).as_millis()).ok();
        let deadline = self.claim.deadline.and_then(|deadline| u64::try_from(deadline.0 / 1000).ok());
        time_is_over.into_iter().chain(deadline).min()
    }

    async fn labels(&mut self) -> Vec<(String, String)> {
        self.claim.labels.to_vec()
    }

    async fn progress(&mut self, done: u64, total: u64, message: String) {
        let message = self.output.scrub(&message);
        let kept = message.floor_char_boundary(message.len().min(PROGRESS_BYTES));
        let message = harmless(&message[..kept]).into_owned();
        self.client.progress(&self.caller, Progress { done, total, message });
    }
}

impl log::Host for HostState {
    async fn log(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Trace => "trace",
            log::Level::Debug => "debug",
            log::Level::Info => "info",
            log::Level::Warn => "warn",
            log::Level::Error => "error",
        };
        self.output.log(level, &message);
    }
}
