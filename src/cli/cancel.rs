//! `cancel`: invocations that nobody wants any more.

use crate::model::Status;
use crate::service::{CancelOutcome, CancelRequest, ListRequest, Selection};

use super::args::CancelArgs;
use super::context::Context;
use super::error::CliError;
use super::output::{self, Output};
use super::render::plural;

/// Runs the command.
///
/// # Errors
///
/// [`CliError`]; a usage error if an id is unknown, after the others are
/// cancelled.
pub fn run(args: &CancelArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let selection = match &*args.ids {
        [] => Selection::Listed(ListRequest {
            statuses: args.statuses.clone(),
            task: args.task.clone(),
            components: Vec::new(),
            limit: args.limit,
        }),
        ids => Selection::Ids(ids.to_vec()),
    };
    let request = CancelRequest { selection, message: "cancelled from the command line".to_owned() };
    let mut first_unknown = None;
    let mut count = 0;
    for chunk in context.loading(|service| service.cancel(request))? {
        for document in chunk? {
            // The children of those that were cancelled count as well.
            count += usize::from(document.status == Some(Status::Cancelled));
            if context.json {
                output.json(&document)?;
            }
            match (document.outcome, document.status) {
                (CancelOutcome::Unknown, _) => _ = first_unknown.get_or_insert(document.id),
                (outcome, Some(status)) if !context.json => {
                    let already = if outcome == CancelOutcome::AlreadyFinal { "already " } else { "" };
                    output.line(&format!("{} {already}{status}", document.id))?;
                }
                _ => {}
            }
        }
        // What is durable is told before anything else can fail.
        output.flush()?;
    }
    if args.ids.is_empty() {
        output::note(&format!("cancelled {}", plural(count, "invocation")));
        return Ok(());
    }
    first_unknown.map_or(Ok(()), |id| Err(context.service.unknown(id).into()))
}
