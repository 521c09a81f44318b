//! `logs`: what guests wrote.

use super::args::LogsArgs;
use super::context::Context;
use super::error::CliError;
use super::output::Output;
use super::render::{LogDocument, log_lines};

/// Runs the command.
///
/// # Errors
///
/// [`CliError`].
pub fn run(args: &LogsArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let existing = context.existing_store()?;
    let invocation = existing.invocation(args.id)?;
    for entry in existing.store.logs(args.id)? {
        if context.json {
            output.json(&LogDocument::new(&entry))?;
            continue;
        }
        for line in log_lines(&entry) {
            // Which attempt wrote it matters only if there were several.
            let attempt =
                if invocation.attempt > 1 { format!(" [{}]", entry.attempt) } else { String::new() };
            output.line(&format!("{}{attempt} {line}", entry.at))?;
        }
    }
    output.flush()
}
