//! `history`: how an invocation moved.

use super::args::HistoryArgs;
use super::context::Context;
use super::error::CliError;
use super::output::Output;
use super::render::{Columns, cell, status_cell};

/// Runs the command.
///
/// # Errors
///
/// [`CliError`].
pub fn run(args: &HistoryArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let history = context.service.history(args.id)?;
    if context.json {
        history.iter().try_for_each(|transition| output.json(transition))?;
        return output.flush();
    }
    let mut columns =
        Columns::new(&["AT", "STATUS", "REASON", "ATTEMPT", "RUNNER", "DETAIL"], output.has_colours());
    for transition in &history {
        columns.row(vec![
            cell(&transition.at.to_rfc3339()),
            status_cell(transition.to),
            cell(transition.reason.as_str()),
            cell(&transition.attempt.to_string()),
            cell(&transition.runner.map(|runner| runner.to_string()).unwrap_or_default()),
            cell(transition.detail.as_deref().unwrap_or_default()),
        ]);
    }
    output.line(&columns.lines())?;
    output.flush()
}
