//! `status`, `history`, `logs` and `result`: what the store knows of one invocation.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;

use crate::config::parse_flag_duration;
use crate::model::{InvocationName, Outcome, Status, Transition, UnixMicros, WaitingFor, span};
use crate::service::{BlockedBy, InvocationDocument, PausedBy, TreeLogDocument, TreeLogs};

use super::context::{Context, show_counts};
use super::error::CliError;
use super::harmless::{harmless, harmless_line};
use super::output;
use super::render::{
    Ids, Limited, cell, duration, limits_line, log_lines, run_time, standing, status_cell, status_word,
    thousands, usage_line,
};
use super::value;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner result 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  run-wasm-runner result 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f --wait --timeout 30s
  run-wasm-runner result 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f --raw > picture.png

Exit codes: 75 if it is not final; 1, 3, 4 or 5 if it failed.")]
pub struct ResultArgs {
    /// Invocation: its id, or at least 6 of its first or last digits
    pub id: InvocationName,

    /// Wait until it is final
    #[arg(long)]
    pub wait: bool,

    /// Wait, but no longer than this; a bare number is seconds [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = parse_flag_duration)]
    pub timeout: Option<Duration>,

    /// Write a string or `list<u8>` value as its bytes, without a newline
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
}

/// Values and arguments longer than this are cut for people.
const SHOWN_CHARS: usize = 400;

/// Runs `history`.
pub fn history(name: &InvocationName, context: &Context) -> Result<(), CliError> {
    let id = context.service.resolve(name)?;
    let history = context.service.history(id)?;
    context.output().table(
        &["AT", "STATUS", "REASON", "ATTEMPT", "RUNNER", "DETAIL"],
        &history,
        |transition| {
            vec![
                cell(&transition.at.to_rfc3339()),
                status_cell(transition.to),
                cell(transition.reason.as_str()),
                cell(&transition.attempt.to_string()),
                cell(&transition.runner.map(|runner| runner.to_string()).unwrap_or_default()),
                cell(&detail(transition)),
            ]
        },
    )
}

/// Returns the text for a move, and for the moves after it that left no row.
fn detail(transition: &Transition) -> String {
    let mut parts = Vec::from_iter(transition.detail.clone());
    if transition.unrecorded > 0 {
        parts.push(format!("(then {} times awaiting or resumed)", thousands(transition.unrecorded)));
    }
    parts.join(" ")
}

/// Runs `logs`.
pub fn logs(name: &InvocationName, context: &Context) -> Result<(), CliError> {
    let id = context.service.resolve(name)?;
    let mut output = context.output();
    let logs = context.service.logs(id)?;
    if logs.entries.is_empty() {
        output::note("the guest has written nothing");
    }
    if context.json {
        return output.documents(&logs.entries);
    }
    for entry in logs.entries {
        // Which attempt wrote it matters only if there were several.
        let attempt = if logs.attempt > 1 { format!(" [{}]", entry.attempt) } else { String::new() };
        let lines = log_lines(&entry);
        lines.iter().try_for_each(|line| output.line(&format!("{}{attempt} {line}", entry.at)))?;
    }
    output.flush()
}

/// Runs `logs --tree`.
pub fn logs_of_tree(name: &InvocationName, context: &Context) -> Result<(), CliError> {
    let mut output = context.output();
    let TreeLogs { entries, left_out } = context.service.logs_of_tree(context.service.resolve(name)?)?;
    if entries.is_empty() && left_out == 0 {
        output::note("no guest of it and below it has written anything");
    }
    if left_out > 0 {
        output::note(&format!("the logs of {} descendants are left out", thousands(left_out as u64)));
    }
    if context.json {
        return output.documents(&entries);
    }
    let ids = Ids::of(entries.iter().map(|one| one.id).collect::<BTreeSet<_>>(), true);
    for TreeLogDocument { id, entry } in entries {
        let attempt = if entry.attempt > 1 { format!(" [{}]", entry.attempt) } else { String::new() };
        let prefix = format!("{} {}{attempt}", entry.at, ids.show(id));
        log_lines(&entry).iter().try_for_each(|line| output.line(&format!("{prefix} {line}")))?;
    }
    output.flush()
}

/// Runs `status`.
pub fn run(name: &InvocationName, context: &Context) -> Result<(), CliError> {
    let id = context.service.resolve(name)?;
    let mut output = context.output();
    let invocation = context.service.status(id)?;
    if context.json {
        output.json(&invocation)?;
        return output.flush();
    }
    let arguments = context.service.arguments(id)?;
    let has_colours = output.has_colours();
    for (name, text) in facts(&invocation, arguments.as_deref(), context.service.clock().now(), has_colours) {
        output.line(&format!("{:<12} {text}", format!("{name}:")))?;
    }
    output.flush()
}

/// Runs `result`. A failed task is [`CliError::Task`].
pub fn result(args: &ResultArgs, context: &Context) -> Result<(), CliError> {
    let mut output = context.output();
    let id = context.service.resolve(&args.id)?;
    let mut invocation = context.service.status(id)?;
    if invocation.outcome.is_none() && (args.wait || args.timeout.is_some()) {
        let progress = show_counts(&context.service, Some(invocation.root));
        let waited = context.service.wait(id, args.timeout);
        drop(progress);
        invocation = waited?;
    }
    if context.json && invocation.outcome.is_some() {
        output.json(&invocation)?;
        output.flush()?;
    }
    match &invocation.outcome {
        Some(outcome) => {
            let what = format!("invocation `{id}`");
            let service = &context.service;
            let of = Limited { service, task: &invocation.task, limits: &invocation.limits };
            value::show(outcome, &of, &what, args.raw, &mut output)
        }
        None => Err(not_final(args, &invocation)),
    }
}

fn not_final(args: &ResultArgs, invocation: &InvocationDocument) -> CliError {
    let (id, status) = (invocation.id, invocation.status);
    let when = args.timeout.map(|timeout| format!(" after {}", duration(timeout))).unwrap_or_default();
    let message = format!("invocation `{id}` is not final{when}: it is {status}");
    let hint = match status {
        Status::Queued => "a runner must be there to run it: `run-wasm-runner start`",
        _ => "`--wait` waits for it",
    };
    CliError::NotFinal { message, hint: Some(hint.to_owned()) }
}

fn facts(
    invocation: &InvocationDocument,
    arguments: Option<&str>,
    now: UnixMicros,
    has_colours: bool,
) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("id", invocation.id.to_string()),
        ("task", harmless_line(&invocation.task)),
        ("component", invocation.component_digest.to_string()),
        ("status", status(invocation, now, has_colours)),
        ("attempt", format!("{} of {}", invocation.attempt, invocation.max_attempts)),
    ];
    if let Some(parent) = invocation.parent {
        let detached = if invocation.detached { " (detached)" } else { "" };
        facts.push(("parent", format!("{parent}{detached}")));
        facts.push(("root", invocation.root.to_string()));
    }
    facts.extend(invocation.queue.as_ref().map(|queue| ("queue", harmless_line(queue))));
    facts.extend(invocation.runner.map(|runner| ("runner", runner.to_string())));
    if invocation.component.as_deref().unwrap_or_default() != &*invocation.fairness_key {
        facts.push(("fairness", invocation.fairness_key.to_string()));
    }
    if invocation.priority != 0 {
        facts.push(("priority", invocation.priority.to_string()));
    }
    facts.extend(invocation.key.as_ref().map(|key| ("key", harmless_line(key))));
    let labels = invocation.labels.iter();
    facts.extend(labels.map(|(key, value)| ("label", harmless_line(&format!("{key}={value}")))));
    if !invocation.limits.is_empty() {
        facts.push(("limits", limits_line(&invocation.limits)));
    }
    facts.extend(invocation.retry_of.map(|id| ("retry of", id.to_string())));
    facts.extend(invocation.retried_as.map(|id| ("retried as", id.to_string())));
    facts.push(("submitted", invocation.submitted_at.to_rfc3339()));
    if invocation.available_at > invocation.submitted_at && !invocation.status.is_final() {
        facts.push(("available", invocation.available_at.to_rfc3339()));
    }
    facts.extend(invocation.deadline.map(|at| ("deadline", at.to_rfc3339())));
    facts.extend(invocation.paused_by.as_ref().map(|paused| ("paused", pauses(paused))));
    match &invocation.blocked_by {
        Some(rule) => facts.push(("blocked", format!("by the rule of its task: {}", limits_of(rule)))),
        // Something else holds it back as well.
        None if invocation.blocked => {
            facts.push(("blocked", "by its task's concurrency or rate rule".to_owned()));
        }
        None => {}
    }
    facts.extend(invocation.started_at.map(|at| ("started", at.to_rfc3339())));
    facts.extend(invocation.finished_at.map(|at| ("finished", at.to_rfc3339())));
    facts.extend(run_time(invocation, now).map(|time| ("time", duration(time))));
    facts.extend(invocation.usage.map(|usage| ("used", usage_line(&usage))));
    if let Some(progress) = &invocation.progress {
        let message = harmless_line(&progress.message);
        let text = format!("{} of {} {message}", progress.done, progress.total);
        facts.push(("progress", text.trim_end().to_owned()));
    }
    facts.extend(arguments.map(|arguments| ("arguments", cut(arguments))));
    match &invocation.outcome {
        Some(Outcome::Value(json)) => facts.push(("result", cut(json))),
        Some(Outcome::Failure(failure)) => {
            facts.push(("failure", format!("{}: {}", failure.kind.as_str(), harmless(&failure.message))));
            facts.extend(failure.child.map(|child| ("child", child.to_string())));
        }
        None => {}
    }
    facts
}

/// Names the queue and the task that are paused.
fn pauses(paused: &PausedBy) -> String {
    let queue = paused.queue.iter().map(|queue| format!("queue {}", harmless_line(queue)));
    let task = paused.task.iter().map(|task| format!("task {}", harmless_line(task)));
    queue.chain(task).collect::<Vec<_>>().join(", ")
}

/// Writes the rule that has no room: `concurrency 1, rate 5 in 1m`.
fn limits_of(rule: &BlockedBy) -> String {
    let concurrency = rule.concurrency.iter().map(|limit| format!("concurrency {limit}"));
    let rate = rule.rate.zip(rule.rate_window);
    let rate = rate.iter().map(|(limit, window)| format!("rate {limit} in {}", span(*window)));
    concurrency.chain(rate).collect::<Vec<_>>().join(", ")
}

/// Writes the status, and what keeps the invocation from going on.
pub(super) fn status(invocation: &InvocationDocument, now: UnixMicros, has_colours: bool) -> String {
    let status = status_word(invocation.status, has_colours);
    let hint = match invocation.waiting_for {
        Some(WaitingFor::Pause) => "; `resume` lets its queue or task go on",
        Some(WaitingFor::Time | WaitingFor::Rule) | None => "",
    };
    match standing(invocation, now) {
        Some(standing) => format!("{status}, {standing}{hint}"),
        None => status,
    }
}

fn cut(json: &str) -> String {
    match json.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}… ({} bytes)", harmless_line(&json[..end]), json.len()),
        None => harmless_line(json),
    }
}
