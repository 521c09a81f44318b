//! Tasks that drive the runner from the inside: parents that fan out, wait,
//! cancel and run in circles (`control`), and small tasks for them to run
//! (`basics`).

use serde_json::json;
use wasm_runner::task::invocations;
use wasm_runner::task::types::{Error, Failure, Refusal, SubmitOptions};

mod basics;
mod control;

wit_bindgen::generate!({
    path: ["../../wit", "wit"],
    world: "demo:workflow/guest",
    generate_all,
});

struct Workflow;
export!(Workflow);

/// Nothing special: no delay, no key, attached to this parent.
fn plain() -> SubmitOptions {
    SubmitOptions { delay_ms: None, priority: None, key: None, detached: false, labels: Vec::new() }
}

fn submit(task: &str, arguments: &serde_json::Value) -> Result<String, String> {
    invocations::submit(task, &arguments.to_string(), &plain()).map_err(refusal_text)
}

fn await_result(id: &str) -> Result<String, String> {
    invocations::await_result(id).map_err(|error| match error {
        Error::Failed(failure) => failure_text(failure),
        Error::Refused(refusal) => refusal_text(refusal),
    })
}

/// Submits one child per element of `arguments`, awaits them all and returns
/// their values, or the first failure in the order of the arguments.
fn map(task: &str, arguments: impl Iterator<Item = serde_json::Value>) -> Result<Vec<u64>, String> {
    let arguments: Vec<String> = arguments.map(|value| value.to_string()).collect();
    let ids = invocations::submit_all(task, &arguments, &plain()).map_err(refusal_text)?;
    let outcomes = invocations::await_all(&ids).map_err(refusal_text)?;
    outcomes
        .into_iter()
        .map(|outcome| {
            let value = outcome.map_err(failure_text)?;
            // The value of a `result<u64, …>` task is its `ok` payload.
            value.parse().map_err(|e| format!("`{value}`: {e}"))
        })
        .collect()
}

/// The kind of the failure and its message.
fn failure_text(failure: Failure) -> String {
    match failure {
        Failure::Returned(error) => format!("returned: {error}"),
        Failure::Trapped(message) => format!("trapped: {message}"),
        Failure::TimedOut(message) => format!("timed out: {message}"),
        Failure::LimitExceeded(message) => format!("limit exceeded: {message}"),
        Failure::Cancelled(message) => format!("cancelled: {message}"),
        Failure::Skipped(message) => format!("skipped: {message}"),
        Failure::Lost(message) => format!("lost: {message}"),
    }
}

/// The kind of the refusal and its message.
fn refusal_text(refusal: Refusal) -> String {
    match refusal {
        Refusal::UnknownTask(message) => format!("unknown task: {message}"),
        Refusal::BadArguments(message) => format!("bad arguments: {message}"),
        Refusal::UnknownInvocation(message) => format!("unknown invocation: {message}"),
        Refusal::Denied(message) => format!("denied: {message}"),
        Refusal::Cycle(message) => format!("cycle: {message}"),
        Refusal::Limit(message) => format!("limit: {message}"),
        Refusal::Unavailable(message) => format!("unavailable: {message}"),
    }
}

/// The arguments of a task with one parameter.
fn one(argument: impl Into<serde_json::Value>) -> serde_json::Value {
    json!([argument.into()])
}
