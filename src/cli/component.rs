//! `component` and `lock`: components that travel with the store, and the bytes that each must
//! have.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use crate::config::{OnRemove, first_in_backticks, parse_flag_duration};
use crate::model::ComponentDigest;
use crate::service::{
    ComponentDocument, LockChange, LockRequest, PushRequest, PushWaited, Pushed, RightDocument, ServiceError,
};
use crate::wasm::RightKind;

use super::context::Context;
use super::error::CliError;
use super::flags::{label, right};
use super::harmless::harmless_line;
use super::inspect::{ComponentDiffArgs, tell_passed_over};
use super::output;
use super::render::{cell, duration, plural, thousands};

/// The most tasks that a note names.
const NAMED: usize = 3;

/// The commands of `component`.
#[derive(Debug, Subcommand)]
pub enum ComponentCommand {
    /// Put components into the store: a file under a name, or configured ones
    ///
    /// Prints name and digest of each. The last that is pushed under a name is what
    /// new invocations get, within a second on every runner; earlier ones finish what
    /// was submitted for them. An import that one other component in the store
    /// provides is bound to that one, and stays so, whatever is pushed later.
    /// A component that no runner could link is refused; if a runner can't use the
    /// pushed version, the version before stays.
    #[command(after_help = "\
Examples:
  run-wasm-runner component push customer-7 plugin.wasm --label customer=7 --wait
  run-wasm-runner component push customer-7 customer-7@sha256:5f2a91
  run-wasm-runner component push wordcount
  run-wasm-runner component push

Exit codes: 1 with --deny-new-rights if it asks for more, with --deny-removed-tasks if it lacks a task; with --wait, 75 if the time is over, 78 if a runner can't use what was pushed.")]
    Push(PushArgs),
    /// Remove a component from the store
    ///
    /// Nothing is submitted for it any more, and runners know within a second.
    /// Its bytes are kept until nothing that was submitted for it is unfinished.
    /// A pause of one of its tasks stays, also for what is pushed under that name later.
    Remove(RemoveArgs),
    /// List the components in the store, of each name the newest first
    ///
    /// What is in use is what a submit gets: the newest version that no runner has refused. A
    /// refused one says why. None is in use under a name that the configuration gives a `path`.
    List,
    /// Show which rights and tasks an upgrade adds, removes and changes
    ///
    /// Of tasks it compares the types. `+` is only in NEW, `-` only in OLD, `~` in both
    /// and different. The name of a pushed component is its version in use. What a component asks for is not what it gets: `inspect NAME`
    /// shows that.
    Diff(ComponentDiffArgs),
    /// Fetch configured components from their registries
    ///
    /// Prints name and digest of each. What was fetched is kept in the cache
    /// directory and never asked for again: other commands need no network then.
    #[command(after_help = "\
Examples:
  run-wasm-runner component pull
  WASM_RUNNER_REGISTRY_AUTH=ghcr.io=me:$TOKEN run-wasm-runner component pull math

Credentials: WASM_RUNNER_REGISTRY_AUTH (HOST=USER:PASSWORD), or docker's config.json.")]
    Pull {
        /// Their names in the configuration [default: all that come from a registry]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub struct PushArgs {
    /// A name, and a file or a version in the store (NAME@DIGEST); or names in the configuration
    /// [default: all that are configured with a file]
    #[arg(value_name = "NAME [FILE]")]
    pub names: Vec<String>,

    /// Free text about it, shown by `component list`; repeatable [default: that of the version before]
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    pub labels: Vec<(String, String)>,

    /// Drop the labels of the version before
    #[arg(long, conflicts_with = "labels")]
    pub no_label: bool,

    /// The component that provides one of its imports, if several do; repeatable
    #[arg(long = "import", value_name = "INTERFACE=COMPONENT", value_parser = label)]
    pub imports: Vec<(String, String)>,

    /// Refuse a component that asks for a right that the version in use does not, a first version that asks for any
    ///
    /// Clocks and random numbers do not count: all have them.
    #[arg(long)]
    pub deny_new_rights: bool,

    /// A right that is no reason to refuse it; repeatable: `files`, `environment`, `network`, `http`, `submits`,
    /// `tasks` or `unknown`
    #[arg(long = "allow-right", value_name = "RIGHT", value_delimiter = ',', value_parser = right, requires = "deny_new_rights")]
    pub allowed_rights: Vec<RightKind>,

    /// Refuse a component that lacks a task of the version in use, or has it with other types
    #[arg(long)]
    pub deny_removed_tasks: bool,

    /// Wait until every runner that serves components from the store has it [default time: 60s]
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "60s",
        value_parser = parse_flag_duration
    )]
    pub wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,

    /// The fate of its unfinished invocations: `keep` lets runners finish them, `cancel` cancels them
    /// [default: `on-remove` of the configuration, or else keep]
    #[arg(long, value_name = "WHAT")]
    pub unfinished: Option<Unfinished>,
}

/// The fate of the unfinished invocations of a component that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Unfinished {
    /// Runners finish them.
    Keep,
    /// They are cancelled.
    Cancel,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner lock
  run-wasm-runner lock --update wordcount

Exit codes: 78 if a component changed and is not updated; then nothing is written.")]
pub struct LockArgs {
    /// Take what this component is now; repeatable
    #[arg(long, value_name = "NAME")]
    pub update: Vec<String>,

    /// Take what every component is now
    #[arg(long, conflicts_with = "update")]
    pub update_all: bool,
}

/// Runs `component`.
pub fn run(command: &ComponentCommand, context: &Context) -> Result<(), CliError> {
    match command {
        ComponentCommand::Push(args) => push(args, context),
        ComponentCommand::Remove(args) => remove(args, context),
        ComponentCommand::List => list(context),
        ComponentCommand::Pull { names } => pull(names, context),
        ComponentCommand::Diff(_) => unreachable!("it needs no store and was done already"),
    }
}

fn push(args: &PushArgs, context: &Context) -> Result<(), CliError> {
    context.tell_of_creation();
    // A text with a dot or a slash in it is no name, and what follows a name that is not configured is a file.
    let is_configured = |text: &str| context.config().component(text).is_some();
    let is_file = |name: &str, text: &str| {
        let is_path = text.contains(['.', '/']) || Path::new(text).is_file() || !is_configured(name);
        is_path && !is_configured(text)
    };
    let is_version = |text: &str| text.contains('@') && !Path::new(text).exists();
    let components = match &args.names[..] {
        [path] if !is_configured(path) && (path.contains(['.', '/']) || Path::new(path).is_file()) => {
            let error = CliError::usage(format!("a name comes first: `component push NAME {path}`"));
            return Err(error.with_hint("new invocations get it by that name"));
        }
        [name, version] if is_version(version) => {
            let (of, digest) = version.split_once('@').unwrap_or_default();
            Pushed::Version { name: name.clone(), of: of.to_owned(), digest: digest.to_owned() }
        }
        [name, path] if is_file(name, path) => Pushed::File { name: name.clone(), path: PathBuf::from(path) },
        names => Pushed::Configured(names.to_vec()),
    };
    let request = PushRequest {
        components,
        labels: (args.no_label || !args.labels.is_empty()).then(|| args.labels.clone().into()),
        imports: args.imports.clone(),
        denies_new_rights: args.deny_new_rights,
        allowed_rights: args.allowed_rights.clone(),
        denies_removed_tasks: args.deny_removed_tasks,
    };
    let mut output = context.output();
    let mut pushed = Vec::new();
    for document in context.service.push(&request)? {
        let document = document?;
        pushed.push((Arc::clone(&document.name), document.digest));
        output.document(&document, || format!("{} {}", document.name, document.digest))?;
        output.flush()?;
        tell_changes(&document);
        tell_paused(&document.name, &document.paused_tasks, "a push does not change that");
        if let Some(source) = &document.configured_source {
            output::warn(
                &format!(
                    "runners with this configuration run `{}` from {source}, not what was pushed",
                    document.name
                ),
                Some("`source = \"store\"` in its section, in place of its `path`, changes that"),
            );
        }
        if context.config().fits_no_section(&document.name) {
            output::note(&format!(
                "no section of the configuration fits `{}`: it is granted nothing and may submit nothing; the default \
                 limits hold for it, and no quota",
                document.name
            ));
        }
        for (import, _) in document.imports.iter().filter(|(_, provider)| provider.is_none()) {
            output::note(&format!(
                "`{}` imports `{import}`, which no component in the store provides, or several do: it runs when \
                 one is pushed, or when `--import {import}=COMPONENT` says which; until then an earlier version of \
                 `{}` stays in use, if there is one",
                document.name, document.name
            ));
        }
    }
    args.wait.map_or(Ok(()), |time| wait(&pushed, time, context))
}

/// Says which tasks a push has removed and which rights it asks for newly, a line each.
fn tell_changes(document: &ComponentDocument) {
    tell_passed_over(&document.passed_over);
    let name = &document.name;
    if !document.removed_tasks.is_empty() {
        let tasks = &document.removed_tasks;
        output::note(&harmless_line(&format!(
            "`{name}` lacks {} of the version that was in use, or has other types: {}",
            plural(tasks.len(), "task"),
            first_in_backticks(tasks, NAMED)
        )));
    }
    if !document.new_rights.is_empty() {
        let rights = document.new_rights.iter().map(RightDocument::with_uses).collect::<Vec<_>>();
        output::note(&harmless_line(&format!(
            "`{name}` asks for {} that the version that was in use does not: {}; it gets what is granted",
            plural(rights.len(), "right"),
            rights.join("; ")
        )));
    }
}

/// Says which tasks of a component are paused.
fn tell_paused(component: &str, tasks: &[Arc<str>], and_what: &str) {
    if !tasks.is_empty() {
        output::note(&harmless_line(&format!(
            "of `{component}`, these tasks are paused, and {and_what}: {}; `run-wasm-runner resume --task TASK` lets one \
             go on",
            first_in_backticks(tasks, NAMED)
        )));
    }
}

/// Waits until runners have what was pushed.
fn wait(pushed: &[(Arc<str>, ComponentDigest)], time: Duration, context: &Context) -> Result<(), CliError> {
    let deadline = Instant::now().checked_add(time);
    match context.service.waiter()?.wait_for_runners(pushed, deadline)? {
        PushWaited::Answered(taken) => {
            for (component, runners) in taken {
                output::note(&match runners {
                    0 => format!("no running runner serves `{component}`"),
                    1 => format!("1 runner has taken `{component}` over"),
                    count => format!("{} have taken `{component}` over", plural(count, "runner")),
                });
            }
            Ok(())
        }
        PushWaited::Unanswered(missing) => {
            let missing = missing.iter().map(|one| {
                let runners: Vec<_> = one.runners.iter().map(ToString::to_string).collect();
                format!("`{}` is not taken over by {}", one.component, runners.join(", "))
            });
            let missing: Vec<_> = missing.collect();
            Err(CliError::NotFinal {
                message: format!("after {}, {}", duration(time), missing.join("; ")),
                hint: Some(
                    "the pushed version stays the newest; the log of a runner, which has its id in the first line, says \
                     why it has not taken it over"
                        .to_owned(),
                ),
            })
        }
    }
}

fn remove(args: &RemoveArgs, context: &Context) -> Result<(), CliError> {
    let on_remove = args.unfinished.map(|what| match what {
        Unfinished::Keep => OnRemove::Keep,
        Unfinished::Cancel => OnRemove::Cancel,
    });
    let document = context.service.remove(&args.name, on_remove)?;
    let mut output = context.output();
    output.document(&document, || match (document.unfinished, document.cancelled) {
        (0, _) => format!("removed {}", document.name),
        (left, 0) => {
            format!("removed {}; {} unfinished are kept until they are done", document.name, thousands(left))
        }
        (_, cancelled) => format!("removed {}; {} cancelled", document.name, thousands(cancelled)),
    })?;
    output.flush()?;
    tell_paused(&document.name, &document.paused_tasks, "stay so for what is pushed under that name later");
    Ok(())
}

fn pull(names: &[String], context: &Context) -> Result<(), CliError> {
    let mut output = context.output();
    if names.is_empty() && context.config().components.iter().all(|one| !one.origin.is_reference()) {
        output::note("no component comes from a registry");
    }
    let mut errors = Vec::new();
    for document in context.service.pull(names)? {
        match document {
            Ok(document) => {
                output.document(&document, || format!("{} {}", document.name, document.digest))?;
            }
            Err(error) => errors.push(error),
        }
        output.flush()?;
    }
    if errors.is_empty() { Ok(()) } else { Err(ServiceError::Load(errors).into()) }
}

fn list(context: &Context) -> Result<(), CliError> {
    let components = context.service.components()?;
    let now = context.service.clock().now();
    let headings = ["COMPONENT", "DIGEST", "BYTES", "PUSHED", "TASKS", "LABELS", ""];
    context.list(&components, "no components", &headings, |one| {
        let pushed = one.pushed_at.map(|at| format!("{} ago", duration(now.since(at))));
        let tasks = one.functions.as_ref().map(|functions| thousands(functions.len() as u64));
        let labels: Vec<_> = one.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        vec![
            cell(&one.name),
            cell(&one.digest.to_string()),
            cell(&thousands(one.size)),
            cell(&pushed.unwrap_or_default()),
            cell(&tasks.unwrap_or_default()),
            cell(&labels.join(" ")),
            cell(&standing(one)),
        ]
    })
}

/// Says where a version stands among those of its name.
fn standing(one: &ComponentDocument) -> String {
    let newest = one.newest.then(|| "newest".to_owned());
    let removed = one.removed_at.map(|_| "removed".to_owned());
    let in_use = (one.in_use == Some(true)).then(|| "in use".to_owned());
    let refused = one.refused.as_ref().map(|reason| format!("refused: {reason}"));
    let elsewhere = one.configured_source.as_ref().filter(|_| one.newest);
    let elsewhere = elsewhere.map(|source| format!("not used with this configuration: {source}"));
    [newest, removed, in_use, refused, elsewhere].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Runs `lock`. If something changed and was not to be updated, nothing is written.
pub fn lock(args: &LockArgs, context: &Context) -> Result<(), CliError> {
    let request = LockRequest { update: args.update.clone(), update_all: args.update_all };
    let entries = context.service.lock(&request)?;
    if entries.is_empty() {
        output::note("no components");
        return Ok(());
    }
    context.output().table(&["COMPONENT", "DIGEST", ""], &entries, |entry| {
        let change = match entry.change {
            LockChange::Added => "added",
            LockChange::Updated => "updated",
            LockChange::Unchanged => "unchanged",
            LockChange::Removed => "removed",
        };
        vec![cell(&entry.name), cell(&entry.digest.to_string()), cell(change)]
    })
}
