//! `tasks`: what can be invoked.

use super::args::TasksArgs;
use super::arguments::signature;
use super::context::{Context, NO_COMPONENTS_HINT};
use super::error::CliError;
use super::output::{self, Output, harmless_line};
use super::render::{Columns, TaskDocument, cell};

/// Runs the command.
///
/// # Errors
///
/// [`CliError`].
pub fn run(_args: &TasksArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let library = context.library()?;
    if context.json {
        for task in library.tasks() {
            output.json(&TaskDocument::new(task))?;
        }
        return output.flush();
    }
    if library.tasks().is_empty() {
        output::note("no tasks");
        if context.config.components.is_empty() {
            output::hint(NO_COMPONENTS_HINT);
        }
    } else {
        let mut columns = Columns::new(&["COMPONENT", "TASK"], output.has_colours());
        for task in library.tasks() {
            // Signatures can be very long, so they come last.
            columns.row(vec![cell(&task.component), cell(&signature(task))]);
        }
        output.line(&columns.lines())?;
        output.flush()?;
    }
    for not in library.not_tasks() {
        let text = format!("not a task: {} of `{}`: {}", not.id, not.component, not.reason);
        output::note(&harmless_line(&text));
    }
    Ok(())
}
