//! `tasks`: what can be invoked.

use crate::service::{SchemaDocument, Service, TaskDocument};
use crate::wasm::Task;

use super::args::TasksArgs;
use super::context::Context;
use super::error::{CliError, NO_COMPONENTS_HINT};
use super::output::{self, Output, harmless_line};
use super::render::cell;

/// Runs the command.
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
        return output.documents(&tasks.iter().map(TaskDocument::new).collect::<Vec<_>>());
    }
    if tasks.is_empty() {
        output::note("no tasks");
        if context.config().components.is_empty() {
            output::hint(NO_COMPONENTS_HINT);
        }
    } else {
        let lines = tasks.iter().flat_map(|task| {
            let summary = task.summary().map(|line| format!("  {line}"));
            [task.signature()].into_iter().chain(summary)
        });
        output.table(&["TASK"], lines.map(|line| vec![cell(&line)]))?;
    }
    // Whoever asks for some tasks does not ask for these.
    for not in library.not_tasks().iter().filter(|_| args.tasks.is_empty()) {
        output::note(&harmless_line(&format!("not a task: `{}`: {}", not.id, not.reason)));
    }
    Ok(())
}
