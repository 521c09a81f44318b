//! `component` and `lock`: components that travel with the store, and the bytes that each must
//! have.

use clap::{Args, Subcommand};

use crate::service::{LockChange, LockRequest, ServiceError};

use super::context::Context;
use super::error::CliError;
use super::inspect::ComponentDiffArgs;
use super::output;
use super::render::{cell, duration, thousands};

/// The commands of `component`.
#[derive(Debug, Subcommand)]
pub enum ComponentCommand {
    /// Put configured components into the store
    ///
    /// Prints name and digest of each. The last that is pushed under a name is what
    /// runners get; earlier ones are kept for invocations that are pinned to them.
    #[command(after_help = "\
Examples:
  run-wasm-runner component push wordcount
  run-wasm-runner --component fib=fib.wasm component push fib")]
    Push {
        /// Their names in the configuration
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// List the components in the store, of each name the newest first
    List,
    /// Show which rights and tasks an upgrade adds, removes and changes
    ///
    /// Of tasks it compares the types. `+` is only in NEW, `-` only in OLD, `~` in both
    /// and different. What a component asks for is not what it gets: `inspect NAME`
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
        ComponentCommand::Push { names } => push(names, context),
        ComponentCommand::List => list(context),
        ComponentCommand::Pull { names } => pull(names, context),
        ComponentCommand::Diff(_) => unreachable!("it needs no store and was done already"),
    }
}

fn push(names: &[String], context: &Context) -> Result<(), CliError> {
    let mut output = context.output();
    for document in context.service.push(names)? {
        let document = document?;
        output.document(&document, || format!("{} {}", document.name, document.digest))?;
        output.flush()?;
    }
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
    context.list(&components, "no components", &["COMPONENT", "DIGEST", "BYTES", "PUSHED", ""], |one| {
        let pushed = one.pushed_at.map(|at| format!("{} ago", duration(now.since(at))));
        vec![
            cell(&one.name),
            cell(&one.digest.to_string()),
            cell(&thousands(one.size)),
            cell(&pushed.unwrap_or_default()),
            cell(if one.newest { "newest" } else { "" }),
        ]
    })
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
