//! `inspect`, `component diff` and `check`: the content of component files, and of the configuration.

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use crate::config::{Config, Flags, Surroundings, in_backticks};
use crate::model::size;
use crate::service::{CheckDocument, DiffDocument, Inspected, PassedOver, ProblemDocument, RightDocument};
use crate::wasm::RightKind;

use super::context::Context;
use super::error::{CliError, NEW_RIGHTS_HINT, REMOVED_TASKS_HINT};
use super::flags::right;
use super::harmless::harmless_line;
use super::output::{self, Output};
use super::render::plural;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner inspect math.wasm
  run-wasm-runner inspect plugin.wasm --require-interface acme:plugins/filter
  run-wasm-runner inspect wordcount
  run-wasm-runner inspect wordcount --json | jq '.rights[] | select(.extent == \"denied\")'
  run-wasm-runner inspect math.wasm --json | jq .imports

Exit codes: 1 with --require-interface if it does not export that interface.")]
pub struct InspectArgs {
    /// Component file, or the name of a component that is configured or was pushed
    ///
    /// Of a pushed one that is the version in use. `NAME@DIGEST` is another version that the store has; the first digits of
    /// the digest are enough.
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Fail unless it exports tasks from this interface, such as `acme:plugins/filter` or
    /// `acme:plugins/filter@1.2.0`; repeatable
    #[arg(long, value_name = "INTERFACE")]
    pub require_interface: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner component diff wordcount build/wordcount.wasm
  run-wasm-runner component diff --deny-new-rights --deny-removed-tasks old.wasm new.wasm
  run-wasm-runner component diff wordcount@sha256:5f2a91 wordcount

Exit codes: 1 with --deny-new-rights if NEW asks for more than OLD, with --deny-removed-tasks if it lacks a task.")]
pub struct ComponentDiffArgs {
    /// Component file, or the name of a component that is configured or was pushed, or NAME@DIGEST
    #[arg(value_hint = ValueHint::FilePath)]
    pub old: PathBuf,

    /// Component file, or the name of a component that is configured or was pushed, or NAME@DIGEST
    #[arg(value_hint = ValueHint::FilePath)]
    pub new: PathBuf,

    /// Fail if NEW asks for a right that OLD does not ask for, other than clocks and random numbers, which all have
    #[arg(long)]
    pub deny_new_rights: bool,

    /// A right that is no reason to fail; repeatable: `files`, `environment`, `network`, `http`, `submits`,
    /// `tasks` or `unknown`
    #[arg(long = "allow-right", value_name = "RIGHT", value_delimiter = ',', value_parser = right, requires = "deny_new_rights")]
    pub allowed_rights: Vec<RightKind>,

    /// Fail if NEW lacks a task of OLD, or has it with other types
    #[arg(long)]
    pub deny_removed_tasks: bool,
}

/// Runs `inspect`.
pub fn run(args: &InspectArgs, flags: &Flags, json: bool) -> Result<(), CliError> {
    let mut output = Output::stdout(json);
    let inspected = context(&[&args.file], flags)?.service.inspect(&args.file)?;
    match json {
        true => output.json(&inspected.document())?,
        false => show(&mut output, &inspected)?,
    }
    output.flush()?;
    tell_passed_over(&inspected.passed_over);
    let Some(missing) = args.require_interface.iter().find(|name| !inspected.has_interface(name)) else {
        return Ok(());
    };
    let exports = &inspected.inspection.exports;
    let hint = match exports.is_empty() {
        true => "it exports tasks from no interface".to_owned(),
        false => format!("it exports tasks from {}", in_backticks(exports.iter().map(String::as_str))),
    };
    let message = format!("`{}` exports no tasks from `{missing}`", args.file.display());
    Err(CliError::Violated { message, hint })
}

/// Makes a context in which a configuration that is wrong does not keep files from being
/// looked into. A name needs the configuration.
fn context(files: &[&Path], flags: &Flags) -> Result<Context, CliError> {
    let config = Config::resolve(flags, &Surroundings::of_process()?);
    if !files.iter().all(|file| file.is_file()) {
        return Ok(Context::of(config?, false));
    }
    let instead = "nothing is known of grants, and the default limits of compiling hold";
    Context::or_defaults(config, instead, false)
}

/// Runs `component diff`. [`CliError::Violated`] if there are new rights, or tasks are missing, that must not be.
pub fn diff(args: &ComponentDiffArgs, flags: &Flags, json: bool) -> Result<(), CliError> {
    let mut output = Output::stdout(json);
    let document = context(&[&args.old, &args.new], flags)?.service.diff(&args.old, &args.new)?;
    match json {
        true => output.json(&document)?,
        false => show_diff(&mut output, &document)?,
    }
    output.flush()?;
    tell_passed_over(&document.passed_over);
    let lost: Vec<_> = document.tasks.lost().map(|task| format!("`{}`", harmless_line(task))).collect();
    if args.deny_removed_tasks && !lost.is_empty() {
        let message = format!(
            "`{}` lacks {} of `{}`, or has other types: {}",
            args.new.display(),
            plural(lost.len(), "task"),
            args.old.display(),
            lost.join("; ")
        );
        return Err(CliError::Violated { message, hint: REMOVED_TASKS_HINT.to_owned() });
    }
    let added = document.rights.added.iter().filter(|right| right.is_denied(&args.allowed_rights));
    let added: Vec<_> = added.collect();
    if !args.deny_new_rights || added.is_empty() {
        return Ok(());
    }
    let message = format!(
        "`{}` asks for {} that `{}` does not: {}",
        args.new.display(),
        plural(added.len(), "right"),
        args.old.display(),
        added.iter().map(|right| right_line(right)).collect::<Vec<_>>().join("; ")
    );
    Err(CliError::Violated { message, hint: NEW_RIGHTS_HINT.to_owned() })
}

/// Says of names that stand for a version in use which newer one is passed over.
pub fn tell_passed_over<'p>(passed_over: impl IntoIterator<Item = &'p PassedOver>) {
    passed_over.into_iter().for_each(|one| output::note(&harmless_line(&one.to_string())));
}

fn show_diff(
    output: &mut Output,
    DiffDocument { old, new, rights, tasks, .. }: &DiffDocument,
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
        let what = if old == new { "the same component" } else { "other code, the same rights and tasks" };
        lines.push(what.to_owned());
    }
    lines.iter().try_for_each(|line| output.line(&harmless_line(line)))
}

/// Writes for people what a component file holds, and how much of what it asks for
/// it is granted.
pub fn show(output: &mut Output, inspected: &Inspected) -> Result<(), CliError> {
    let Inspected { path, inspection, configured, .. } = inspected;
    output.line(&harmless_line(&path.display().to_string()))?;
    output.line(&format!("{}, {}", inspection.digest, size(inspection.bytes)))?;
    output.line(&format!("\nexports {}", plural(inspection.tasks.len(), "task")))?;
    for task in &inspection.tasks {
        output.line(&format!("  {}", harmless_line(&task.signature())))?;
        if let Some(line) = task.summary() {
            output.line(&format!("    {}", harmless_line(line)))?;
        }
    }
    if !inspection.not_tasks.is_empty() {
        output.line("\nexports, but not as tasks")?;
        for not in &inspection.not_tasks {
            output.line(&harmless_line(&format!("  {}: {}", not.id, not.reason)))?;
        }
    }
    let rights = inspected.document().rights;
    let granted_to =
        configured.as_ref().map(|(name, _)| format!(", granted to `{name}`")).unwrap_or_default();
    output.line(&format!("\nasks for {}{granted_to}", plural(rights.len(), "right")))?;
    for right in &rights {
        let extent = right.extent.map(|extent| format!(": {extent}")).unwrap_or_default();
        output.line(&format!("  {}{extent}", right_line(right)))?;
        for granted in &right.granted {
            output.line(&harmless_line(&format!("    {granted}")))?;
        }
    }
    output.line(&format!("\nimports {}", plural(inspection.imports.len(), "interface")))?;
    for import in &inspection.imports {
        let mark = if import.is_provided { " " } else { "!" };
        output.line(&harmless_line(&format!("{mark} {}: {}", import.import, import.provided_by)))?;
    }
    Ok(())
}

/// Writes a right with its details: `network (names, tcp)`.
fn right_line(right: &RightDocument) -> String {
    harmless_line(&right.with_uses())
}

/// Runs `check`; the error is everything that is wrong.
pub fn check(flags: &Flags, json: bool) -> Result<(), CliError> {
    let mut output = Output::stdout(json);
    let (mut document, checked) = match Context::new(flags, json) {
        Ok(context) => {
            let (document, checked) = context.loading(|service| Ok(service.check()))?;
            (document, checked.map_err(CliError::from))
        }
        Err(error) => (CheckDocument::default(), Err(error)),
    };
    if json {
        let lines = checked.as_ref().err().map(CliError::lines).unwrap_or_default();
        let problem = |(message, hint)| ProblemDocument { message, hint };
        document.problems = lines.into_iter().map(problem).collect();
        output.json(&document)?;
        output.flush()?;
    }
    if !json {
        for ProblemDocument { message, hint } in &document.warnings {
            output::warn(message, hint.as_deref());
        }
    }
    checked?;
    if !json {
        let (components, tasks) = (plural(document.components, "component"), plural(document.tasks, "task"));
        let others = match document.not_tasks {
            0 => String::new(),
            count => format!(", {} that can't be tasks", plural(count, "exported function")),
        };
        let verdict = match document.warnings.len() {
            0 => "everything is in order".to_owned(),
            count => plural(count, "warning"),
        };
        output.line(&format!("{components}, {tasks}{others}: {verdict}"))?;
    }
    output.flush()
}
