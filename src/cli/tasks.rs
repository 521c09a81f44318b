//! `tasks`: what can be invoked.

use crate::service::{NO_COMPONENTS_HINT, SchemaDocument, Service, TaskDocument};
use crate::wasm::Task;

use super::args::TasksArgs;
use super::context::Context;
use super::error::CliError;
use super::output::{self, Output, harmless_line};
use super::render::{Columns, cell};

/// Runs the command.
///
/// # Errors
///
/// [`CliError`].
pub fn run(args: &TasksArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let library = context.loading(Service::library)?;
    let tasks: Vec<Task> = match &*args.tasks {
        [] => library.tasks().to_vec(),
        names => names.iter().map(|name| context.service.task(name)).collect::<Result<_, _>>()?,
    };
    if args.schema {
        for task in &tasks {
            if let Some(schema) = library.schema(task) {
                output.json(&SchemaDocument::new(task, &schema))?;
            }
        }
        return output.flush();
    }
    if context.json {
        for task in &tasks {
            output.json(&TaskDocument::new(task))?;
        }
        return output.flush();
    }
    if tasks.is_empty() {
        output::note("no tasks");
        if context.config().components.is_empty() {
            output::hint(NO_COMPONENTS_HINT);
        }
    } else {
        let mut columns = Columns::new(&["TASK"], output.has_colours());
        for task in &tasks {
            // Signatures can be very long, so they come last.
            columns.row(vec![cell(&task.signature())]);
            if let Some(line) = task.summary() {
                columns.row(vec![cell(&format!("  {line}"))]);
            }
        }
        output.line(&columns.lines())?;
        output.flush()?;
    }
    // Whoever asks for some tasks does not ask for these.
    for not in library.not_tasks().iter().filter(|_| args.tasks.is_empty()) {
        let text = format!("not a task: `{}`: {}", not.id, not.reason);
        output::note(&harmless_line(&text));
    }
    Ok(())
}
