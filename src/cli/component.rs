//! `component`: components that travel with the store.

use super::args::{ComponentCommand, ComponentPullArgs, ComponentPushArgs};
use super::context::Context;
use super::error::CliError;
use super::output::{self, Output};
use super::render::{Columns, cell, duration, thousands};

/// Runs the command.
///
/// # Errors
///
/// [`CliError`].
pub fn run(command: &ComponentCommand, context: &Context) -> Result<(), CliError> {
    match command {
        ComponentCommand::Push(args) => push(args, context),
        ComponentCommand::List => list(context),
        ComponentCommand::Pull(args) => pull(args, context),
        ComponentCommand::Diff(_) => unreachable!("it needs no store and was done already"),
    }
}

fn push(args: &ComponentPushArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    for document in context.service.push(&args.names)? {
        let document = document?;
        match context.json {
            true => output.json(&document)?,
            false => output.line(&format!("{} {}", document.name, document.digest))?,
        }
        output.flush()?;
    }
    Ok(())
}

fn pull(args: &ComponentPullArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    if args.names.is_empty() && context.config().components.iter().all(|one| one.origin.registry().is_none())
    {
        output::note("no component comes from a registry");
    }
    let mut errors = Vec::new();
    for document in context.service.pull(&args.names)? {
        match document {
            Ok(document) if context.json => output.json(&document)?,
            Ok(document) => output.line(&format!("{} {}", document.name, document.digest))?,
            Err(error) => errors.push(error),
        }
        output.flush()?;
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Load(errors)) }
}

fn list(context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let components = context.service.components()?;
    if context.json {
        components.iter().try_for_each(|one| output.json(one))?;
        return output.flush();
    }
    if components.is_empty() {
        output::note(context.service.missing().as_deref().unwrap_or("no components"));
        return Ok(());
    }
    let now = context.service.clock().now();
    let mut columns = Columns::new(&["COMPONENT", "DIGEST", "BYTES", "PUSHED", ""], output.has_colours());
    for one in &components {
        let pushed = one.pushed_at.map(|at| format!("{} ago", duration(now.since(at))));
        columns.row(vec![
            cell(&one.name),
            cell(&one.digest.to_string()),
            cell(&thousands(one.size)),
            cell(&pushed.unwrap_or_default()),
            cell(if one.newest { "newest" } else { "" }),
        ]);
    }
    output.line(&columns.lines())?;
    output.flush()
}
