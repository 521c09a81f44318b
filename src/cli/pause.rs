//! `pause`, `resume` and `queues`: holding work back.

use crate::service::{PauseDocument, PauseRequest};

use super::args::PauseArgs;
use super::context::Context;
use super::error::CliError;
use super::output::{self, Output};
use super::render::cell;

/// Runs `pause` and `resume`.
pub fn run(args: &PauseArgs, paused: bool, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let request = PauseRequest { queues: args.queues.clone(), tasks: args.tasks.clone(), paused };
    for document in context.loading(|service| service.pause(&request))? {
        if context.json {
            output.json(&document)?;
            continue;
        }
        let (kind, name) = match &document {
            PauseDocument::Queue { queue, .. } => ("queue", queue),
            PauseDocument::Task { task, .. } => ("task", task),
        };
        let word = if paused { "paused" } else { "resumed" };
        output.line(&format!("{kind} {name} {word}"))?;
    }
    output.flush()
}

/// Runs `queues`.
pub fn queues(context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let queues = context.service.queues()?;
    if context.json {
        return output.documents(&queues);
    }
    if queues.is_empty() {
        output::note(context.service.missing().as_deref().unwrap_or("no tasks are known to the store"));
        return Ok(());
    }
    let rows = queues.iter().map(|queue| {
        let concurrency = queue.concurrency.zip(queue.blocked);
        let rate = queue.rate.zip(queue.rate_window);
        vec![
            cell(&queue.queue),
            cell(&queue.task),
            cell(if queue.paused { "paused" } else { "open" }),
            cell(&queue.unfinished.to_string()),
            cell(&concurrency.map(|(limit, blocked)| format!("{limit} ({blocked})")).unwrap_or_default()),
            cell(&rate.map(|(limit, window)| format!("{limit} in {window:?}")).unwrap_or_default()),
        ]
    });
    output.table(&["QUEUE", "TASK", "STATE", "UNFINISHED", "CONCURRENCY", "RATE"], rows)
}
