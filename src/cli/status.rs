//! `status`, `history` and `logs`: what the store knows of one invocation.

use crate::model::{InvocationId, Outcome, UnixMicros};
use crate::service::InvocationDocument;

use super::context::Context;
use super::error::CliError;
use super::output::{Output, harmless, harmless_line};
use super::render::{cell, duration, log_lines, run_time, status_cell, status_word, usage_line};

/// Values and arguments longer than this are cut for people.
const SHOWN_CHARS: usize = 400;

/// Runs `history`.
pub fn history(id: InvocationId, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let history = context.service.history(id)?;
    if context.json {
        return output.documents(&history);
    }
    let rows = history.iter().map(|transition| {
        vec![
            cell(&transition.at.to_rfc3339()),
            status_cell(transition.to),
            cell(transition.reason.as_str()),
            cell(&transition.attempt.to_string()),
            cell(&transition.runner.map(|runner| runner.to_string()).unwrap_or_default()),
            cell(transition.detail.as_deref().unwrap_or_default()),
        ]
    });
    output.table(&["AT", "STATUS", "REASON", "ATTEMPT", "RUNNER", "DETAIL"], rows)
}

/// Runs `logs`.
pub fn logs(id: InvocationId, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let logs = context.service.logs(id)?;
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

/// Runs `status`.
pub fn run(id: InvocationId, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
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
        ("status", status_word(invocation.status, has_colours)),
        ("attempt", format!("{} of {}", invocation.attempt, invocation.max_attempts)),
    ];
    if let Some(parent) = invocation.parent {
        let detached = if invocation.detached { " (detached)" } else { "" };
        facts.push(("parent", format!("{parent}{detached}")));
        facts.push(("root", invocation.root.to_string()));
    }
    facts.extend(invocation.runner.map(|runner| ("runner", runner.to_string())));
    if invocation.priority != 0 {
        facts.push(("priority", invocation.priority.to_string()));
    }
    facts.extend(invocation.key.as_ref().map(|key| ("key", harmless_line(key))));
    let labels = invocation.labels.iter();
    facts.extend(labels.map(|(key, value)| ("label", harmless_line(&format!("{key}={value}")))));
    facts.push(("submitted", invocation.submitted_at.to_rfc3339()));
    if invocation.available_at > invocation.submitted_at && !invocation.status.is_final() {
        facts.push(("available", invocation.available_at.to_rfc3339()));
    }
    facts.extend(invocation.deadline.map(|at| ("deadline", at.to_rfc3339())));
    if invocation.blocked {
        facts.push(("blocked", "by its task's concurrency or rate rule".to_owned()));
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

fn cut(json: &str) -> String {
    match json.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}… ({} bytes)", harmless_line(&json[..end]), json.len()),
        None => harmless_line(json),
    }
}
