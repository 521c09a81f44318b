//! `component diff`: what an upgrade of a component brings.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::ComponentDigest;
use crate::service::RightDocument;
use crate::wasm::{Inspection, Right, rights};

use super::args::{Cli, ComponentDiffArgs};
use super::error::CliError;
use super::inspect::{find, right_line};
use super::output::{Output, harmless_line};
use super::render::plural;

/// `component diff --json`.
#[derive(Debug, Serialize)]
struct DiffDocument<'a> {
    old: ComponentDigest,
    new: ComponentDigest,
    rights: Changes<RightDocument>,
    tasks: TaskChanges<'a>,
}

/// What is only in the new one, and what is only in the old one.
#[derive(Debug, Serialize)]
struct Changes<T> {
    added: Vec<T>,
    removed: Vec<T>,
}

/// Of tasks, by their signatures.
#[derive(Debug, Default, Serialize)]
struct TaskChanges<'a> {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<ChangedTask<'a>>,
}

#[derive(Debug, Serialize)]
struct ChangedTask<'a> {
    function: &'a str,
    old: String,
    new: String,
}

/// Runs the command.
///
/// # Errors
///
/// [`CliError::Violated`] if there are new rights that there must not be.
pub fn run(args: &ComponentDiffArgs, cli: &Cli) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let old = find(&args.old, cli)?.inspect()?;
    let new = find(&args.new, cli)?.inspect()?;
    let changes = changes(&rights(&old.imports), &rights(&new.imports));
    let tasks = task_changes(&old, &new);
    if cli.global.json {
        let documents =
            |rights: &[Right]| rights.iter().map(|right| RightDocument::new(right, None)).collect();
        output.json(&DiffDocument {
            old: old.digest,
            new: new.digest,
            rights: Changes { added: documents(&changes.added), removed: documents(&changes.removed) },
            tasks,
        })?;
    } else {
        show(&mut output, &changes, &tasks, old.digest == new.digest)?;
    }
    output.flush()?;
    if !args.deny_new_rights || changes.added.is_empty() {
        return Ok(());
    }
    let added: Vec<_> = changes.added.iter().map(right_line).collect();
    let message = format!(
        "`{}` asks for {} that `{}` does not: {}",
        args.new.display(),
        plural(changes.added.len(), "right"),
        args.old.display(),
        added.join("; ")
    );
    let hint = "it gets none of them unless they are granted in `wasm-runner.toml`; without `--deny-new-rights` this is no error";
    Err(CliError::Violated { message, hint: hint.to_owned() })
}

fn show(
    output: &mut Output,
    rights: &Changes<Right>,
    tasks: &TaskChanges<'_>,
    is_same: bool,
) -> Result<(), CliError> {
    let mut lines = Vec::new();
    lines.extend(rights.added.iter().map(|right| format!("+ right {}", right_line(right))));
    lines.extend(rights.removed.iter().map(|right| format!("- right {}", right_line(right))));
    lines.extend(tasks.added.iter().map(|task| format!("+ task {task}")));
    lines.extend(tasks.removed.iter().map(|task| format!("- task {task}")));
    for task in &tasks.changed {
        lines.push(format!("~ task {}", task.old));
        lines.push(format!("    now {}", task.new));
    }
    if lines.is_empty() {
        let what = if is_same { "the same component" } else { "other code, the same rights and tasks" };
        lines.push(what.to_owned());
    }
    lines.iter().try_for_each(|line| output.line(&harmless_line(line)))
}

/// The rights of which one has more than the other. What both use of a right is left
/// out.
fn changes(old: &[Right], new: &[Right]) -> Changes<Right> {
    let more = |these: &[Right], than: &[Right]| {
        let more = |right: &Right| {
            let Some(other) = than.iter().find(|other| other.kind == right.kind) else {
                return Some(right.clone());
            };
            let uses: Vec<_> = right.uses.iter().filter(|used| !other.uses.contains(used)).cloned().collect();
            (!uses.is_empty()).then_some(Right { kind: right.kind, uses })
        };
        these.iter().filter_map(more).collect::<Vec<_>>()
    };
    Changes { added: more(new, old), removed: more(old, new) }
}

/// Compares tasks by function: files are called as they like.
fn task_changes<'a>(old: &'a Inspection, new: &'a Inspection) -> TaskChanges<'a> {
    let by_function = |inspection: &'a Inspection| {
        let tasks = inspection.tasks.iter();
        let signatures = tasks.map(|task| (task.function(), task.signature_as(task.function())));
        signatures.collect::<BTreeMap<_, _>>()
    };
    let (before, mut after) = (by_function(old), by_function(new));
    let mut changes = TaskChanges::default();
    for (function, old) in before {
        match after.remove(function) {
            None => changes.removed.push(old),
            Some(new) if new != old => changes.changed.push(ChangedTask { function, old, new }),
            Some(_) => {}
        }
    }
    changes.added = after.into_values().collect();
    changes
}
