//! `list`: the newest invocations.

use crate::model::{Outcome, Status, UnixMicros};
use crate::service::InvocationDocument;

use super::args::ListArgs;
use super::context::Context;
use super::error::CliError;
use super::output::{self, Output};
use super::render::{cell, duration, run_time, status_cell};

/// So much of a failure's message is shown.
const SHOWN_CHARS: usize = 60;

/// Runs the command.
pub fn run(args: &ListArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let invocations = context.loading(|service| service.list(&args.request()))?;
    if context.json {
        return output.documents(&invocations);
    }
    if invocations.is_empty() {
        output::note(context.service.missing().as_deref().unwrap_or("no invocations"));
        return Ok(());
    }
    let now = context.service.clock().now();
    let is_of_the_failed = !args.statuses.is_empty()
        && args.statuses.iter().all(|status| status.is_final() && *status != Status::Succeeded);
    let (headings, row): (_, fn(&InvocationDocument, UnixMicros) -> [String; 2]) = match is_of_the_failed {
        false => (["SUBMITTED", "TIME"], when_and_how_long),
        true => (["ENDED", "FAILURE"], when_and_why),
    };
    let headings = [&["ID", "TASK", "STATUS", "ATTEMPT"][..], &headings].concat();
    let rows = invocations.iter().map(|invocation| {
        let mut cells = vec![
            cell(&invocation.id.to_string()),
            cell(&invocation.task),
            status_cell(invocation.status),
            cell(&format!("{}/{}", invocation.attempt, invocation.max_attempts)),
        ];
        cells.extend(row(invocation, now).iter().map(|text| cell(text)));
        cells
    });
    output.table(&headings, rows)?;
    if invocations.len() == args.limit {
        output::note(&format!("there may be more than {}: `--limit 0` lists them all", args.limit));
    }
    Ok(())
}

fn when_and_how_long(invocation: &InvocationDocument, now: UnixMicros) -> [String; 2] {
    let time = run_time(invocation, now).map(duration).unwrap_or_default();
    [format!("{} ago", duration(now.since(invocation.submitted_at))), time]
}

fn when_and_why(invocation: &InvocationDocument, now: UnixMicros) -> [String; 2] {
    let ended = invocation.finished_at.map(|at| format!("{} ago", duration(now.since(at))));
    let why = match &invocation.outcome {
        Some(Outcome::Failure(failure)) => {
            let message = &failure.message;
            let cut = message.char_indices().nth(SHOWN_CHARS);
            let shown = cut.map_or(message.clone(), |(end, _)| format!("{}…", message[..end].trim_end()));
            format!("{}: {shown}", failure.kind.as_str())
        }
        Some(Outcome::Value(_)) | None => String::new(),
    };
    [ended.unwrap_or_default(), why]
}
