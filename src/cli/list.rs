//! `list`: the newest invocations.

use std::sync::Arc;

use crate::store::Filter;

use super::args::ListArgs;
use super::context::Context;
use super::error::CliError;
use super::output::{self, Output};
use super::render::{Columns, StatusDocument, cell, duration, run_time, status_cell};

/// Runs the command.
///
/// # Errors
///
/// [`CliError`].
pub fn run(args: &ListArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let existing = context.existing_store()?;
    let filter = Filter {
        statuses: args.statuses.clone(),
        task: args.task.as_deref().map(|name| full_id(name, context)).transpose()?,
        limit: if args.limit == 0 { usize::MAX } else { args.limit },
    };
    let invocations = existing.store.list(&filter)?;
    if context.json {
        for invocation in &invocations {
            output.json(&StatusDocument::new(invocation))?;
        }
        return output.flush();
    }
    if invocations.is_empty() {
        output::note(existing.missing.as_deref().unwrap_or("no invocations"));
        return Ok(());
    }
    let now = context.clock.now();
    let mut columns =
        Columns::new(&["ID", "TASK", "STATUS", "ATTEMPT", "SUBMITTED", "TIME"], output.has_colours());
    for invocation in &invocations {
        columns.row(vec![
            cell(&invocation.id.to_string()),
            cell(&invocation.task),
            status_cell(invocation.status),
            cell(&format!("{}/{}", invocation.attempt, invocation.max_attempts)),
            cell(&format!("{} ago", duration(now.since(invocation.submitted_at)))),
            cell(&run_time(invocation, now).map(duration).unwrap_or_default()),
        ]);
    }
    output.line(&columns.lines())?;
    output.flush()?;
    if invocations.len() == args.limit {
        output::note(&format!("there may be more than {}: `--limit 0` lists them all", args.limit));
    }
    Ok(())
}

/// The full id of a task. A name that looks like one is taken as it is: its
/// component may be gone while its invocations are still there.
fn full_id(name: &str, context: &Context) -> Result<Arc<str>, CliError> {
    if name.contains('/') || context.config.components.is_empty() {
        return Ok(name.into());
    }
    let library = context.library()?;
    Ok(Arc::clone(&context.task(&library, name)?.id))
}
