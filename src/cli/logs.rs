//! `logs`: what guests wrote.

use super::args::LogsArgs;
use super::context::Context;
use super::error::CliError;
use super::output::Output;
use super::render::log_lines;

/// Runs the command.
///
/// # Errors
///
/// [`CliError`].
pub fn run(args: &LogsArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let logs = context.service.logs(args.id)?;
    for entry in logs.entries {
        if context.json {
            output.json(&entry)?;
            continue;
        }
        for line in log_lines(&entry) {
            // Which attempt wrote it matters only if there were several.
            let attempt = if logs.attempt > 1 { format!(" [{}]", entry.attempt) } else { String::new() };
            output.line(&format!("{}{attempt} {line}", entry.at))?;
        }
    }
    output.flush()
}
