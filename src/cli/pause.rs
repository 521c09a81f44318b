//! `pause`, `resume` and `queues`: holding work back.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::DEFAULT_QUEUE;
use crate::store::{Batch, Pause, PauseTarget, Store};

use super::args::{PauseArgs, QueuesArgs};
use super::context::Context;
use super::error::CliError;
use super::output::{self, Output};
use super::render::{Columns, cell};

/// Runs `pause` and `resume`.
///
/// # Errors
///
/// [`CliError`]; a usage error if nobody knows the queue or the task.
pub fn run(args: &PauseArgs, paused: bool, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let store = context.store()?;
    let mut targets = Vec::new();
    for queue in &args.queues {
        targets.push(PauseTarget::Queue(known_queue(queue, context, &*store)?));
    }
    for task in &args.tasks {
        targets.push(PauseTarget::Task(known_task(task, context, &*store)?));
    }
    let pauses = targets.iter().map(|target| Pause { target: target.clone(), paused }).collect();
    store.commit(&Batch { pauses, ..Batch::default() })?;
    for target in targets {
        let (kind, name) = match &target {
            PauseTarget::Queue(name) => ("queue", name),
            PauseTarget::Task(name) => ("task", name),
        };
        if context.json {
            output.json(&serde_json::json!({ kind: name, "paused": paused }))?;
        } else {
            let word = if paused { "paused" } else { "resumed" };
            output.line(&format!("{kind} {name} {word}"))?;
        }
    }
    output.flush()
}

/// Runs `queues`.
///
/// # Errors
///
/// [`CliError`].
pub fn queues(_: &QueuesArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let existing = context.existing_store()?;
    let paused = existing.store.paused()?;
    let unfinished: BTreeMap<_, _> = existing.store.unfinished_by_task()?.into_iter().collect();
    let mut rows: Vec<_> = existing
        .store
        .rules()?
        .into_iter()
        .map(|rule| {
            let is_paused = paused.contains(&PauseTarget::Queue(Arc::clone(&rule.queue)))
                || paused.contains(&PauseTarget::Task(Arc::clone(&rule.task)));
            let left = unfinished.get(&rule.task).copied().unwrap_or(0);
            (rule, is_paused, left)
        })
        .collect();
    rows.sort_by(|(a, ..), (b, ..)| (&a.queue, &a.task).cmp(&(&b.queue, &b.task)));
    if context.json {
        for (rule, is_paused, left) in &rows {
            output.json(&serde_json::json!({
                "queue": rule.queue,
                "task": rule.task,
                "paused": is_paused,
                "unfinished": left,
                "concurrency": rule.concurrency.map(|concurrency| concurrency.limit),
                "blocked": rule.concurrency.map(|concurrency| concurrency.blocked.as_str()),
                "rate": rule.rate.map(|rate| rate.limit),
                "rate_window_ms": rule.rate.map(|rate| u64::try_from(rate.window.as_millis()).unwrap_or(u64::MAX)),
            }))?;
        }
        return output.flush();
    }
    if rows.is_empty() {
        output::note(existing.missing.as_deref().unwrap_or("no tasks are known to the store"));
        return Ok(());
    }
    let mut columns =
        Columns::new(&["QUEUE", "TASK", "STATE", "UNFINISHED", "CONCURRENCY", "RATE"], output.has_colours());
    for (rule, is_paused, left) in &rows {
        let concurrency = rule
            .concurrency
            .map(|one| format!("{} ({})", one.limit, one.blocked.as_str()))
            .unwrap_or_default();
        let rate = rule.rate.map(|rate| format!("{} in {:?}", rate.limit, rate.window)).unwrap_or_default();
        columns.row(vec![
            cell(&rule.queue),
            cell(&rule.task),
            cell(if *is_paused { "paused" } else { "open" }),
            cell(&left.to_string()),
            cell(&concurrency),
            cell(&rate),
        ]);
    }
    output.line(&columns.lines())?;
    output.flush()
}

/// The queue of that name, if the configuration or the store knows one.
fn known_queue(name: &str, context: &Context, store: &dyn Store) -> Result<Arc<str>, CliError> {
    let mut known = context.config.queues();
    known.extend(store.rules()?.into_iter().map(|rule| rule.queue));
    known.extend(store.paused()?.into_iter().filter_map(|target| match target {
        PauseTarget::Queue(name) => Some(name),
        PauseTarget::Task(_) => None,
    }));
    known.insert(DEFAULT_QUEUE.into());
    super::context::choose_queue(name, &known)
}

/// The full id of a task that the configuration or the store knows.
fn known_task(name: &str, context: &Context, store: &dyn Store) -> Result<Arc<str>, CliError> {
    // Its component may be gone while its invocations are still there.
    if let Some(rule) = store.rules()?.into_iter().find(|rule| &*rule.task == name) {
        return Ok(rule.task);
    }
    let library = context.library()?;
    Ok(Arc::clone(&context.task(&library, name)?.id))
}
