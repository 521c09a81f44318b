//! `list`, `queues` and `tasks`: the newest invocations, and what can be invoked.

use std::collections::BTreeSet;

use clap::Args;

use crate::model::{Outcome, Status, UnixMicros, WaitingFor, clip_middle, failure_line, span};
use crate::service::{
    InvocationDocument, ListRequest, Listing, QueueDocument, Queues, RETRY_OF, SchemaDocument, Service,
    TaskDocument,
};
use crate::wasm::Task;

use super::change::NOTHING;
use super::choice::{EndArgs, FilterArgs, is_everything};
use super::context::Context;
use super::error::{CliError, NO_COMPONENTS_HINT};
use super::flags::{count, status, waiting_for};
use super::harmless::harmless_line;
use super::output;
use super::render::{Ids, cell, duration, plural, run_time, standing_cell, thousands};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner list
  run-wasm-runner list --status queued,running --limit 100
  run-wasm-runner list --task fib --status failed --json
  run-wasm-runner list --component math
  run-wasm-runner list --status failed --since 1h --label customer=acme
  run-wasm-runner list --status failed --ended-since 8h
  run-wasm-runner list --runner 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f --status running
  run-wasm-runner list --kind trapped,timed-out --ended-since 2026-11-01T22:00:00Z --ended-until 2026-11-02")]
pub struct ListArgs {
    /// Only those with one of these statuses; repeatable
    #[arg(long = "status", value_name = "STATUS", value_delimiter = ',', value_parser = status)]
    pub statuses: Vec<Status>,

    #[command(flatten)]
    pub filter: FilterArgs,

    #[command(flatten)]
    pub ends: EndArgs,

    /// Only queued ones that wait for this: `time` (delayed), `pause` or `rule` (blocked by a rule)
    #[arg(long, value_name = "REASON", value_parser = waiting_for)]
    pub waiting_for: Option<WaitingFor>,

    /// Only those that were not retried
    #[arg(long)]
    pub not_retried: bool,

    /// At most this many; 0 lists them all
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = count)]
    pub limit: usize,
}

impl ListArgs {
    /// Returns the request that the flags make.
    fn request(&self) -> ListRequest {
        let mut request = self.filter.request(&self.statuses, Some(self.limit).filter(|limit| *limit > 0));
        self.ends.add_to(&mut request);
        (request.not_retried, request.waiting_for) = (self.not_retried, self.waiting_for);
        request
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner tasks
  run-wasm-runner tasks fib --schema | jq .arguments
  run-wasm-runner --component math=math.wasm tasks --json | jq -r .task")]
pub struct TasksArgs {
    /// Only these tasks [default: all]
    #[arg(value_name = "TASK")]
    pub tasks: Vec<String>,

    /// Print JSON Schemas of the arguments, of the value and of the error that may be returned
    ///
    /// One document a line: `task`, `component`, `arguments`, `result` and `returned`, each of the
    /// last three a schema of its own (2020-12) or, for `returned`, null. They describe what this
    /// program writes; it reads names in snake_case too.
    #[arg(long)]
    pub schema: bool,
}

#[derive(Debug, Args)]
pub struct QueuesArgs {
    /// List also tasks without unfinished invocations, rule and pause
    #[arg(long)]
    pub all: bool,
}

/// So much of a failure's message is shown.
const SHOWN_CHARS: usize = 80;

/// Runs `list`.
pub fn run(args: &ListArgs, context: &Context) -> Result<(), CliError> {
    let request = args.request();
    let Listing { invocations, looked_at } = context.loading(|service| service.list(&request))?;
    if context.json {
        context.invocations(&invocations)?;
    } else {
        table(&invocations, args, &request, context)?;
    }
    if let Some(count) = looked_at {
        output::note(&format!("only the {} newest invocations were looked at", thousands(count)));
    }
    Ok(())
}

/// Prints invocations as a table.
fn table(
    invocations: &[InvocationDocument],
    args: &ListArgs,
    request: &ListRequest,
    context: &Context,
) -> Result<(), CliError> {
    let shown: BTreeSet<_> =
        invocations.iter().flat_map(|one| [Some(one.id), one.retried_as]).flatten().collect();
    let ids = Ids::of(shown, output::is_terminal());
    let now = context.service.clock().now();
    let is_of_the_failed = !args.statuses.is_empty()
        && args.statuses.iter().all(|status| status.is_final() && *status != Status::Succeeded);
    let has_ended =
        request.ended_since.is_some() || request.ended_until.is_some() || !request.kinds.is_empty();
    let shows_ends = is_of_the_failed || has_ended;
    let (headings, row): (_, fn(&InvocationDocument, UnixMicros) -> [String; 2]) = match shows_ends {
        false => (["SUBMITTED", "TIME"], when_and_how_long),
        true => (["ENDED", "FAILURE"], when_and_why),
    };
    let has_retried = invocations.iter().any(|one| one.retried_as.is_some());
    let retried: &[&str] = if has_retried { &["RETRIED AS"] } else { &[] };
    let has_labels = invocations.iter().any(|one| !labels(one).is_empty());
    let labelled: &[&str] = if has_labels { &["LABELS"] } else { &[] };
    let headings = [&["ID", "TASK", "STATUS", "ATTEMPT"][..], retried, labelled, &headings].concat();
    let none = if is_everything(request) { "no invocations" } else { NOTHING };
    context.list(invocations, none, &headings, |invocation| {
        let mut cells = vec![
            cell(&ids.show(invocation.id)),
            cell(&invocation.task),
            standing_cell(invocation, now),
            cell(&format!("{}/{}", invocation.attempt, invocation.max_attempts)),
        ];
        if has_retried {
            cells.push(cell(&invocation.retried_as.map(|id| ids.show(id)).unwrap_or_default()));
        }
        if has_labels {
            cells.push(cell(&labels(invocation)));
        }
        cells.extend(row(invocation, now).iter().map(|text| cell(text)));
        cells
    })?;
    if !invocations.is_empty() && invocations.len() == args.limit {
        output::note(&format!("there may be more than {}: `--limit 0` lists them all", args.limit));
    }
    Ok(())
}

/// The labels of an invocation, but for that of a copy, which `RETRIED AS` tells of from the other side.
fn labels(invocation: &InvocationDocument) -> String {
    let own = invocation.labels.iter().filter(|(key, _)| key != RETRY_OF);
    let texts: Vec<_> = own.map(|(key, value)| format!("{key}={value}")).collect();
    clip_middle(&texts.join(" "), SHOWN_CHARS).into_owned()
}

fn when_and_how_long(invocation: &InvocationDocument, now: UnixMicros) -> [String; 2] {
    let time = run_time(invocation, now).map(duration).unwrap_or_default();
    [format!("{} ago", duration(now.since(invocation.submitted_at))), time]
}

fn when_and_why(invocation: &InvocationDocument, now: UnixMicros) -> [String; 2] {
    let ended = invocation.finished_at.map(|at| format!("{} ago", duration(now.since(at))));
    let why = match &invocation.outcome {
        Some(Outcome::Failure(failure)) => {
            let shown = failure_line(&failure.message, SHOWN_CHARS);
            format!("{}: {shown}", failure.kind.as_str())
        }
        Some(Outcome::Value(_)) | None => String::new(),
    };
    [ended.unwrap_or_default(), why]
}

/// Runs `queues`.
pub fn queues(args: &QueuesArgs, context: &Context) -> Result<(), CliError> {
    let Queues { documents, left_out } = context.service.queues(args.all)?;
    let now = context.service.clock().now();
    let headings = ["QUEUE", "TASK", "STATE", "UNFINISHED", "CONCURRENCY", "RATE", "SET BY"];
    let none = match left_out {
        0 => "no tasks are known to the store",
        _ => "no task has unfinished invocations, a rule or a pause",
    };
    context.list(&documents, none, &headings, |queue| {
        let concurrency = queue.concurrency.zip(queue.blocked);
        let rate = queue.rate.zip(queue.rate_window);
        vec![
            cell(&queue.queue),
            cell(queue.task.as_deref().unwrap_or("(none)")),
            cell(if queue.paused { "paused" } else { "open" }),
            cell(&unfinished(queue)),
            cell(&concurrency.map(|(limit, blocked)| format!("{limit} ({blocked})")).unwrap_or_default()),
            cell(&rate.map(|(limit, window)| format!("{limit} in {}", span(window))).unwrap_or_default()),
            cell(&set_by(queue, now)),
        ]
    })?;
    if left_out > 0 && !context.json {
        let tasks = plural(left_out, "task");
        output::note(&format!("{tasks} without unfinished invocations, rule and pause: `--all` lists them"));
    }
    Ok(())
}

/// Writes the number of the unfinished invocations of a task, and how many of them wait for what.
fn unfinished(queue: &QueueDocument) -> String {
    let mut parts = Vec::new();
    let paused = if queue.paused { queue.queued.saturating_sub(queue.delayed) } else { 0 };
    let blocked = if queue.paused { 0 } else { queue.blocked_by_rule };
    for (count, reason) in
        [(queue.delayed, WaitingFor::Time), (paused, WaitingFor::Pause), (blocked, WaitingFor::Rule)]
    {
        if count > 0 {
            parts.push(format!("{count} {}", reason.adjective()));
        }
    }
    match parts.is_empty() {
        true => queue.unfinished.to_string(),
        false => format!("{} ({})", queue.unfinished, parts.join(", ")),
    }
}

/// Says on which machine, by which configuration and when the rule of a task was set.
fn set_by(queue: &QueueDocument, now: UnixMicros) -> String {
    let Some((by, at)) = queue.rule_by.as_ref().zip(queue.rule_at) else { return String::new() };
    let config = by.config.as_deref().unwrap_or("no configuration file");
    format!("{}, {config}, {} ago", by.host, duration(now.since(at)))
}

/// Runs `tasks`.
pub fn tasks(args: &TasksArgs, context: &Context) -> Result<(), CliError> {
    let mut output = context.output();
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
        output.rows(&["TASK"], lines.map(|line| vec![cell(&line)]))?;
    }
    // Whoever asks for some tasks does not ask for these.
    for not in library.not_tasks().iter().filter(|_| args.tasks.is_empty()) {
        output::note(&harmless_line(&format!("not a task: `{}`: {}", not.id, not.reason)));
    }
    Ok(())
}
