//! `component` and `lock`: components that travel with the store, and the bytes that each must
//! have.

use crate::service::{LockChange, LockRequest, ServiceError};

use super::args::{ComponentCommand, LockArgs};
use super::context::Context;
use super::error::CliError;
use super::output::{self, Output};
use super::render::{cell, duration, thousands};

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
    let mut output = Output::stdout();
    for document in context.service.push(names)? {
        let document = document?;
        match context.json {
            true => output.json(&document)?,
            false => output.line(&format!("{} {}", document.name, document.digest))?,
        }
        output.flush()?;
    }
    Ok(())
}

fn pull(names: &[String], context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    if names.is_empty() && context.config().components.iter().all(|one| one.origin.registry().is_none()) {
        output::note("no component comes from a registry");
    }
    let mut errors = Vec::new();
    for document in context.service.pull(names)? {
        match document {
            Ok(document) if context.json => output.json(&document)?,
            Ok(document) => output.line(&format!("{} {}", document.name, document.digest))?,
            Err(error) => errors.push(error),
        }
        output.flush()?;
    }
    if errors.is_empty() { Ok(()) } else { Err(ServiceError::Load(errors).into()) }
}

fn list(context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let components = context.service.components()?;
    if context.json {
        return output.documents(&components);
    }
    if components.is_empty() {
        output::note(context.service.missing().as_deref().unwrap_or("no components"));
        return Ok(());
    }
    let now = context.service.clock().now();
    let rows = components.iter().map(|one| {
        let pushed = one.pushed_at.map(|at| format!("{} ago", duration(now.since(at))));
        vec![
            cell(&one.name),
            cell(&one.digest.to_string()),
            cell(&thousands(one.size)),
            cell(&pushed.unwrap_or_default()),
            cell(if one.newest { "newest" } else { "" }),
        ]
    });
    output.table(&["COMPONENT", "DIGEST", "BYTES", "PUSHED", ""], rows)
}

/// Runs `lock`. If something changed and was not to be updated, nothing is written.
pub fn lock(args: &LockArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let request = LockRequest { update: args.update.clone(), update_all: args.update_all };
    let entries = context.service.lock(&request)?;
    if entries.is_empty() {
        output::note("no components");
    }
    if context.json || entries.is_empty() {
        return output.documents(&entries);
    }
    let rows = entries.iter().map(|entry| {
        let change = match entry.change {
            LockChange::Added => "added",
            LockChange::Updated => "updated",
            LockChange::Unchanged => "unchanged",
            LockChange::Removed => "removed",
        };
        vec![cell(&entry.name), cell(&entry.digest.to_string()), cell(change)]
    });
    output.table(&["COMPONENT", "DIGEST", ""], rows)
}
