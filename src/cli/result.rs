//! `result`: the value of a final invocation.

use crate::model::{Outcome, Status};

use super::args::ResultArgs;
use super::context::{Context, show_counts};
use super::error::CliError;
use super::output::Output;
use super::raw;
use super::render::{complain_of_failure, duration};

/// Runs the command.
/// A failed task is [`CliError::Task`].
pub fn run(args: &ResultArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let mut invocation = context.service.status(args.id)?;
    if invocation.outcome.is_none() && (args.wait || args.timeout.is_some()) {
        let progress = show_counts(&context.service, Some(invocation.root));
        let waited = context.service.wait(args.id, args.timeout);
        drop(progress);
        invocation = waited?;
    }
    if context.json && invocation.outcome.is_some() {
        output.json(&invocation)?;
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
        None => Err(not_final(args, invocation.status)),
    }
}

fn not_final(args: &ResultArgs, status: Status) -> CliError {
    let when = args.timeout.map(|timeout| format!(" after {}", duration(timeout))).unwrap_or_default();
    let message = format!("invocation `{}` is not final{when}: it is {status}", args.id);
    let hint = match status {
        Status::Queued => "a runner must be there to run it: `run-wasm-runner start`",
        _ => "`--wait` waits for it",
    };
    CliError::NotFinal { message, hint: Some(hint.to_owned()) }
}
