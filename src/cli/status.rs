//! `status`: one invocation.

use crate::model::{Outcome, UnixMicros};
use crate::service::InvocationDocument;

use super::args::StatusArgs;
use super::context::Context;
use super::error::CliError;
use super::output::{Output, harmless, harmless_line};
use super::render::{duration, run_time, status_word, usage_line};

/// Values and arguments longer than this are cut for people.
const SHOWN_CHARS: usize = 400;

/// Runs the command.
///
/// # Errors
///
/// [`CliError`].
pub fn run(args: &StatusArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let invocation = context.service.status(args.id)?;
    if context.json {
        output.json(&invocation)?;
        return output.flush();
    }
    let arguments = context.service.arguments(args.id)?;
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
    if let Some(runner) = invocation.runner {
        facts.push(("runner", runner.to_string()));
    }
    if invocation.priority != 0 {
        facts.push(("priority", invocation.priority.to_string()));
    }
    if let Some(key) = &invocation.key {
        facts.push(("key", harmless_line(key)));
    }
    for (key, value) in &invocation.labels {
        facts.push(("label", harmless_line(&format!("{key}={value}"))));
    }
    facts.push(("submitted", invocation.submitted_at.to_rfc3339()));
    if invocation.available_at > invocation.submitted_at && !invocation.status.is_final() {
        facts.push(("available", invocation.available_at.to_rfc3339()));
    }
    if let Some(at) = invocation.deadline {
        facts.push(("deadline", at.to_rfc3339()));
    }
    if invocation.blocked {
        facts.push(("blocked", "by its task's concurrency or rate rule".to_owned()));
    }
    if let Some(at) = invocation.started_at {
        facts.push(("started", at.to_rfc3339()));
    }
    if let Some(at) = invocation.finished_at {
        facts.push(("finished", at.to_rfc3339()));
    }
    if let Some(time) = run_time(invocation, now) {
        facts.push(("time", duration(time)));
    }
    facts.extend(invocation.usage.map(|usage| ("used", usage_line(&usage))));
    if let Some(progress) = &invocation.progress {
        let message = harmless_line(&progress.message);
        facts.push((
            "progress",
            format!("{} of {} {message}", progress.done, progress.total).trim_end().to_owned(),
        ));
    }
    if let Some(arguments) = arguments {
        facts.push(("arguments", cut(arguments)));
    }
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
