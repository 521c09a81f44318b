//! Parents. Every way to submit and to wait has one function here.

use crate::exports::demo::workflow::control::Guest;
use crate::wasm_runner::task::types::{Status, SubmitOptions};
use crate::wasm_runner::task::{context, invocations};
use crate::{Workflow, await_result, failure_text, map, one, plain, refusal_text, submit};

const AWAIT_ID: &str = "demo:workflow/control.await-id";
const CHAIN: &str = "demo:workflow/control.chain";
const PONG: &str = "demo:workflow/control.pong";
const SUM_OF_CHILDREN: &str = "demo:workflow/control.sum-of-children";
const NOTHING: &str = "demo:workflow/basics.nothing";
const SLEEP_MS: &str = "demo:workflow/basics.sleep-ms";
const SQUARE: &str = "demo:workflow/basics.square";

impl Guest for Workflow {
    fn fan_out(task: String, arguments_json: String, count: u32) -> Result<u64, String> {
        let arguments = vec![arguments_json; count as usize];
        let ids = invocations::submit_all(&task, &arguments, &plain()).map_err(refusal_text)?;
        let outcomes = invocations::await_all(&ids).map_err(refusal_text)?;
        Ok(outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64)
    }

    fn fan_out_sequence(task: String, arguments_json: String, count: u32) -> Result<u64, String> {
        let mut succeeded = 0;
        for _ in 0..count {
            let id = invocations::submit(&task, &arguments_json, &plain()).map_err(refusal_text)?;
            succeeded += u64::from(invocations::await_result(&id).is_ok());
        }
        Ok(succeeded)
    }

    fn sum_of_children(count: u32) -> Result<u64, String> {
        Ok(map(SQUARE, (1..=count).map(one))?.iter().sum())
    }

    fn parents(count: u32, children: u32) -> Result<u64, String> {
        Ok(map(SUM_OF_CHILDREN, (0..count).map(|_| one(children)))?.iter().sum())
    }

    fn hold_behind_gate(count: u32, delay_ms: u64) -> Result<u64, String> {
        let delayed = SubmitOptions { delay_ms: Some(delay_ms), ..plain() };
        let gate = invocations::submit(NOTHING, "[]", &delayed).map_err(refusal_text)?;
        Self::fan_out(AWAIT_ID.to_owned(), one(gate).to_string(), count)
    }

    fn await_any_of(delays_ms: Vec<u64>) -> Result<u32, String> {
        let ids = delays_ms
            .into_iter()
            .map(|delay| submit(SLEEP_MS, &one(delay)))
            .collect::<Result<Vec<_>, _>>()?;
        let (index, outcome) = invocations::await_any(&ids).map_err(refusal_text)?;
        outcome.map(|_| index).map_err(failure_text)
    }

    fn chain(depth: u32) -> Result<u32, String> {
        if depth == 0 {
            return Ok(0);
        }
        let rest = await_result(&submit(CHAIN, &one(depth - 1))?)?;
        rest.parse::<u32>().map(|depth| depth + 1).map_err(|e| format!("`{rest}`: {e}"))
    }

    fn call(task: String, arguments_json: String) -> Result<String, String> {
        await_result(&invocations::submit(&task, &arguments_json, &plain()).map_err(refusal_text)?)
    }

    fn await_id(id: String) -> Result<String, String> {
        await_result(&id)
    }

    fn self_await() -> Result<String, String> {
        await_result(&context::id())
    }

    fn ping() -> Result<String, String> {
        await_result(&submit(PONG, &one(context::id()))?)
    }

    fn pong(ping_id: String) -> Result<String, String> {
        await_result(&ping_id)
    }

    fn leave_behind(task: String, arguments_json: String, detached: bool) -> Result<String, String> {
        let options = SubmitOptions { detached, ..plain() };
        invocations::submit(&task, &arguments_json, &options).map_err(refusal_text)
    }

    fn cancel_child(task: String, arguments_json: String) -> Result<String, String> {
        let id = invocations::submit(&task, &arguments_json, &plain()).map_err(refusal_text)?;
        invocations::cancel(&id).map_err(refusal_text)?;
        // A cancelled child is no failure here: the text says what became of it.
        Ok(await_result(&id).unwrap_or_else(|text| text))
    }

    fn cancel_callers() -> Vec<String> {
        let callers = [Some(context::root()), context::parent(), Some(context::id())];
        let cancel = |id: String| match invocations::cancel(&id) {
            Ok(is_cancelled) => is_cancelled.to_string(),
            Err(refusal) => refusal_text(refusal),
        };
        callers.into_iter().flatten().map(cancel).collect()
    }

    fn submit_twice(task: String, arguments_json: String, key: String) -> Result<(String, String), String> {
        let options = SubmitOptions { key: Some(key), ..plain() };
        let submit = || invocations::submit(&task, &arguments_json, &options).map_err(refusal_text);
        Ok((submit()?, submit()?))
    }

    fn call_with(
        task: String,
        arguments_json: String,
        delay_ms: u64,
        priority: i32,
        label: (String, String),
    ) -> Result<String, String> {
        let options = SubmitOptions {
            delay_ms: Some(delay_ms),
            priority: Some(priority),
            labels: vec![label],
            ..plain()
        };
        await_result(&invocations::submit(&task, &arguments_json, &options).map_err(refusal_text)?)
    }

    fn status_of(id: String) -> Result<String, String> {
        let status = invocations::status(&id).map_err(refusal_text)?;
        let name = match status {
            Status::Queued => "queued",
            Status::Claimed => "claimed",
            Status::Running => "running",
            Status::Waiting => "waiting",
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
            Status::Skipped => "skipped",
        };
        Ok(name.to_owned())
    }
}
