//! `lock`: writes down which bytes each configured component has.

use crate::service::{LockChange, LockRequest};

use super::args::LockArgs;
use super::context::Context;
use super::error::CliError;
use super::output::{self, Output};
use super::render::{Columns, cell};

/// Runs the command.
///
/// # Errors
///
/// [`CliError`]: also everything that changed and was not to be updated. Then
/// nothing is written.
pub fn run(args: &LockArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let request = LockRequest { update: args.update.clone(), update_all: args.update_all };
    let entries = context.service.lock(&request)?;
    if entries.is_empty() {
        output::note("no components");
    } else if context.json {
        entries.iter().try_for_each(|entry| output.json(entry))?;
    } else {
        let mut columns = Columns::new(&["COMPONENT", "DIGEST", ""], output.has_colours());
        for entry in &entries {
            let change = match entry.change {
                LockChange::Added => "added",
                LockChange::Updated => "updated",
                LockChange::Unchanged => "unchanged",
                LockChange::Removed => "removed",
            };
            columns.row(vec![cell(&entry.name), cell(&entry.digest.to_string()), cell(change)]);
        }
        output.line(&columns.lines())?;
    }
    output.flush()
}
