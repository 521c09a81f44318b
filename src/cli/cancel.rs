//! `cancel`: invocations that nobody wants any more.

use crate::model::{InvocationId, Status};
use crate::store::{Batch, Cancel, Cancelled};

use super::args::CancelArgs;
use super::context::Context;
use super::error::CliError;
use super::output::Output;

/// Runs the command.
///
/// # Errors
///
/// [`CliError`]; a usage error if an id is unknown, after the others are
/// cancelled.
pub fn run(args: &CancelArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let existing = context.existing_store()?;
    let cancel =
        |id: &InvocationId| Cancel { id: *id, message: "cancelled from the command line".to_owned() };
    let cancels: Vec<_> = args.ids.iter().map(cancel).collect();
    let receipt = existing.store.commit(&Batch { cancels, ..Batch::default() })?;
    let mut first_unknown = None;
    for (id, cancelled) in args.ids.iter().zip(receipt.cancels) {
        let (word, status) = match cancelled {
            Cancelled::Done => ("cancelled", Some(Status::Cancelled)),
            Cancelled::AlreadyFinal(status) => ("already-final", Some(status)),
            Cancelled::Unknown => {
                first_unknown.get_or_insert(*id);
                ("unknown", None)
            }
        };
        match (context.json, status) {
            (true, status) => {
                output.json(&serde_json::json!({ "id": id, "outcome": word, "status": status }))?;
            }
            (false, Some(status)) => {
                let already = if word == "already-final" { "already " } else { "" };
                output.line(&format!("{id} {already}{status}"))?;
            }
            (false, None) => {}
        }
    }
    output.flush()?;
    first_unknown.map_or(Ok(()), |id| Err(existing.unknown(id)))
}
