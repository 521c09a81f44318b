//! The imports that guests reach the runner through.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::filesystem::WasiFilesystemView;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::control::GuestControl;
use super::denials::Denials;
use super::files::{self, Files, FilesView};
use super::limits::MemoryLimit;
use super::network::{Http, Sockets};
use super::output::{GuestOutput, harmless};
use super::submits::Submits;
use crate::model;
use crate::model::{
    AwaitMode, Caller, ChildRequest, FailureKind, InvocationId, LimitKind, MAX_AWAITED, Outcome, Progress,
    SlotControl, TaskClient, check_key, check_labels,
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
use bindings::wasm_runner::task::{context, invocations, log, types};

/// The package that these imports belong to.
pub(super) const PACKAGE: &str = "wasm-runner:task/";

/// The longest text of a progress report that is kept.
const PROGRESS_BYTES: usize = 1_000;

/// The state of one guest that its host calls work on.
pub(super) struct HostState {
    pub(super) wasi: WasiCtx,
    pub(super) table: ResourceTable,
    pub(super) memory: MemoryLimit,
    pub(super) caller: Caller,
    pub(super) client: Arc<dyn TaskClient>,
    pub(super) control: Arc<GuestControl>,
    pub(super) output: GuestOutput,
    pub(super) denials: Denials,
    pub(super) sockets: Sockets,
    pub(super) http: Http,
    pub(super) submits: Submits,
    pub(super) task: Arc<str>,
    pub(super) parent: Option<InvocationId>,
    pub(super) deadline: Option<model::UnixMicros>,
    pub(super) labels: Vec<(String, String)>,
    pub(super) files: Arc<Files>,
    /// Children that were submitted, and the most that may be.
    pub(super) children: u64,
    pub(super) max_children: u64,
}

impl HostState {
    /// Submits children within the limit.
    async fn submit_children(
        &mut self,
        children: Vec<ChildRequest>,
    ) -> Result<Vec<InvocationId>, model::Refusal> {
        let count = self.more_children(children.len())?;
        let submitted = self.client.submit(&self.caller, children).await;
        let ids = submitted.inspect_err(|refusal| self.note_limit(refusal))?;
        self.children = count;
        Ok(ids)
    }

    /// Submits a child within the limit, and awaits it.
    pub(super) async fn call_child(
        &mut self,
        child: ChildRequest,
    ) -> Result<(InvocationId, Outcome), model::Refusal> {
        // It counts before it is submitted: nobody knows for sure that it was not.
        self.children = self.more_children(1)?;
        self.output.hand_over();
        let called = self.client.call(&self.caller, child).await;
        called.inspect_err(|refusal| self.note_limit(refusal))
    }

    /// Remembers a limit that refused something, for the failure.
    fn note_limit(&self, refusal: &model::Refusal) {
        if let model::Refusal::Limit { limit: Some(limit), message } = refusal {
            self.control.refuse(*limit, message.clone());
        }
    }

    /// The number of children with `more` of them.
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
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Adds the `wasm-runner:task` interfaces to a linker, and the files of guests in the place of those
/// that it has.
pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    files::add_to_linker(linker, |state| FilesView {
        files: Arc::clone(&state.files),
        wasi: state.filesystem(),
    })?;
    bindings::Task::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}

/// A child that ended without a value, and its parent with it: the typed import
/// has no error case to put it in.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct ChildFailed {
    /// The child, if there is one.
    pub(super) id: Option<InvocationId>,
    message: String,
}

impl ChildFailed {
    /// The child `id` of `task` ended with a failure.
    pub(super) fn failed(task: &str, id: InvocationId, failure: &model::Failure) -> Self {
        let message =
            format!("the child `{task}` ({id}) ended as {}: {}", failure.kind.as_str(), failure.message);
        Self { id: Some(id), message }
    }

    /// The call of `task` was refused.
    pub(super) fn refused(task: &str, refusal: &model::Refusal) -> Self {
        Self { id: None, message: format!("the call of `{task}` was refused: {refusal}") }
    }

    /// Whether it tells of a refusal with this message.
    pub(super) fn is_refused_with(&self, message: &str) -> bool {
        self.id.is_none() && self.message.ends_with(message)
    }

    /// The call of `task` gave a value that does not fit.
    pub(super) fn misfit(task: &str, id: InvocationId, error: &dyn std::fmt::Display) -> Self {
        Self {
            id: Some(id),
            message: format!("the value of the child `{task}` ({id}) does not fit: {error}"),
        }
    }
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

fn outcome(outcome: &Outcome) -> Result<String, Failure> {
    match outcome {
        Outcome::Value(json) => Ok(json.to_string()),
        Outcome::Failure(failed) => Err(failure(failed)),
    }
}

fn parse_id(id: &str) -> Result<InvocationId, Refusal> {
    id.parse().map_err(|error: model::IdError| Refusal::UnknownInvocation(error.to_string()))
}

fn parse_ids(ids: &[String]) -> Result<Vec<InvocationId>, Refusal> {
    if ids.len() > MAX_AWAITED {
        let message = format!("{} results are awaited at once, more than {MAX_AWAITED}", ids.len());
        return Err(Refusal::Limit(message));
    }
    ids.iter().map(|id| parse_id(id)).collect()
}

fn options(options: SubmitOptions) -> model::SubmitOptions {
    model::SubmitOptions {
        delay: Duration::from_millis(options.delay_ms.unwrap_or(0)),
        deadline: None,
        priority: options.priority,
        key: options.key.map(Arc::from),
        detached: options.detached,
        labels: options.labels,
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
        // Before they are copied for each child.
        how.key.as_deref().map_or(Ok(()), check_key).map_err(refusal)?;
        check_labels(&how.labels).map_err(refusal)?;
        let how = options(how);
        let children = arguments
            .into_iter()
            .map(|arguments| ChildRequest {
                task: Arc::clone(&task),
                arguments: arguments.into(),
                options: how.clone(),
            })
            .collect();
        let ids = self.submit_children(children).await.map_err(refusal)?;
        Ok(ids.iter().map(InvocationId::to_string).collect())
    }

    async fn await_result(&mut self, id: String) -> Result<String, Error> {
        let id = parse_id(&id).map_err(Error::Refused)?;
        self.output.hand_over();
        let outcomes = self.client.await_outcomes(&self.caller, vec![id], AwaitMode::All).await;
        let outcomes = outcomes.map_err(|refused| Error::Refused(refusal(refused)))?;
        match outcomes.first() {
            Some((_, found)) => outcome(found).map_err(Error::Failed),
            None => Err(Error::Refused(Refusal::Unavailable("the runner gave no outcome".to_owned()))),
        }
    }

    async fn await_all(&mut self, ids: Vec<String>) -> Result<Vec<Result<String, Failure>>, Refusal> {
        let ids = parse_ids(&ids)?;
        self.output.hand_over();
        let outcomes =
            self.client.await_outcomes(&self.caller, ids, AwaitMode::All).await.map_err(refusal)?;
        Ok(outcomes.iter().map(|(_, found)| outcome(found)).collect())
    }

    async fn await_any(&mut self, ids: Vec<String>) -> Result<(u32, Result<String, Failure>), Refusal> {
        let ids = parse_ids(&ids)?;
        self.output.hand_over();
        let outcomes =
            self.client.await_outcomes(&self.caller, ids, AwaitMode::Any).await.map_err(refusal)?;
        match outcomes.first() {
            Some((index, found)) => Ok((u32::try_from(*index).unwrap_or(u32::MAX), outcome(found))),
            None => Err(Refusal::Unavailable("the runner gave no outcome".to_owned())),
        }
    }

    async fn await_any_within(
        &mut self,
        ids: Vec<String>,
        timeout_ms: u64,
    ) -> Result<Option<(u32, Result<String, Failure>)>, Refusal> {
        let ids = parse_ids(&ids)?;
        self.output.hand_over();
        let mode = AwaitMode::AnyWithin(Duration::from_millis(timeout_ms));
        let outcomes = self.client.await_outcomes(&self.caller, ids, mode).await.map_err(refusal)?;
        let first = outcomes.first();
        Ok(first.map(|(index, found)| (u32::try_from(*index).unwrap_or(u32::MAX), outcome(found))))
    }

    async fn call(&mut self, task: String, arguments: String) -> Result<String, Error> {
        let task = self.submits.resolve(&task, &self.denials);
        let child = ChildRequest {
            task: task.map_err(|refused| Error::Refused(refusal(refused)))?,
            arguments: arguments.into(),
            options: model::SubmitOptions::default(),
        };
        match self.call_child(child).await {
            Ok((_, found)) => outcome(&found).map_err(Error::Failed),
            Err(refused) => Err(Error::Refused(refusal(refused))),
        }
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
        self.client.cancel(parse_id(&id)?).await.map_err(refusal)
    }
}

impl context::Host for HostState {
    async fn id(&mut self) -> String {
        self.caller.id.to_string()
    }

    async fn task(&mut self) -> String {
        self.task.to_string()
    }

    async fn attempt(&mut self) -> u32 {
        self.caller.attempt
    }

    async fn parent(&mut self) -> Option<String> {
        self.parent.map(|parent| parent.to_string())
    }

    async fn root(&mut self) -> String {
        self.caller.root.to_string()
    }

    async fn deadline(&mut self) -> Option<u64> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
        let time_is_over = u64::try_from((now + self.control.remaining()).as_millis()).ok();
        let deadline = self.deadline.and_then(|deadline| u64::try_from(deadline.0 / 1000).ok());
        time_is_over.into_iter().chain(deadline).min()
    }

    async fn labels(&mut self) -> Vec<(String, String)> {
        self.labels.clone()
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
