//! `result`: the value of a final invocation.

use std::sync::Arc;
use std::time::Instant;

use crate::model::{Outcome, Status};

use super::args::ResultArgs;
use super::context::Context;
use super::error::CliError;
use super::output::Output;
use super::progress::{self, Progress};
use super::raw;
use super::render::{StatusDocument, complain_of_failure, duration};
use crate::service::wait::{Waited, Waiter};

/// Runs the command.
///
/// # Errors
///
/// [`CliError`]; a failed task is [`CliError::Task`].
pub fn run(args: &ResultArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let existing = context.existing_store()?;
    let mut invocation = existing.invocation(args.id)?;
    let wants_wait = args.wait || args.timeout.is_some();
    if invocation.outcome.is_none() && wants_wait {
        let deadline = args.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut waiter = Waiter::new(Arc::clone(&existing.store))?;
        let _progress = {
            let (store, root) = (Arc::clone(&existing.store), invocation.root);
            Progress::start(move || Some(progress::facts(&store.counts(Some(root)).ok()?)))
        };
        match waiter.wait(args.id, deadline)? {
            Waited::Final(_) => invocation = existing.invocation(args.id)?,
            Waited::Unfinished(status) => {
                let waited = args.timeout.map(duration).unwrap_or_default();
                return Err(not_final(args, status, &format!(" after {waited}")));
            }
            Waited::Unknown => return Err(existing.unknown(args.id)),
        }
    }
    if context.json && invocation.outcome.is_some() {
        output.json(&StatusDocument::new(&invocation))?;
        output.flush()?;
    }
    match &invocation.outcome {
        Some(Outcome::Value(json)) => {
            if args.raw {
                output.bytes(&raw::bytes(json)?)?;
            } else if !context.json {
                output.json_text(json)?;
            }
            output.flush()
        }
        Some(Outcome::Failure(failure)) => {
            complain_of_failure(&format!("invocation `{}`", args.id), &invocation.task, failure);
            Err(CliError::Task(failure.kind.exit_class()))
        }
        None => Err(not_final(args, invocation.status, "")),
    }
}

fn not_final(args: &ResultArgs, status: Status, when: &str) -> CliError {
    let message = format!("invocation `{}` is not final{when}: it is {status}", args.id);
    let hint = match status {
        Status::Queued => "a runner must be there to run it: `run-wasm-runner start`",
        _ => "`--wait` waits for it",
    };
    CliError::NotFinal { message, hint: Some(hint.to_owned()) }
}
