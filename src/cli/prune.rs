//! `prune`: final invocations that are old, removed.

use crate::service::PruneRequest;

use super::args::PruneArgs;
use super::context::Context;
use super::error::CliError;
use super::output::Output;
use super::render::plural;

/// Runs the command.
///
/// # Errors
///
/// [`CliError`]; a usage error if nothing says what is old.
pub fn run(args: &PruneArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let document = context.service.prune(&PruneRequest {
        statuses: args.statuses.clone(),
        older_than: args.older_than,
        keep: args.keep,
    })?;
    match context.json {
        true => output.json(&document)?,
        false => output.line(&format!("removed {}", plural(document.removed, "invocation")))?,
    }
    output.flush()
}
