//! `cancel`, `retry` and `prune`: commands that change many invocations.

use crate::model::Status;
use crate::service::{CancelOutcome, CancelRequest, Copied, PruneRequest, Retried, RetryRequest};

use super::args::{CancelArgs, PruneArgs, RetryArgs};
use super::context::Context;
use super::error::CliError;
use super::output::{self, Output};
use super::render::plural;

/// Runs `cancel`. A usage error if an id is unknown, after the others are cancelled.
pub fn cancel(args: &CancelArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let selection = args.chosen.selection(&args.statuses);
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
        // The durable part is printed before anything else can fail.
        output.flush()?;
    }
    if args.chosen.ids.is_empty() {
        output::note(&format!("cancelled {}", plural(count, "invocation")));
        return Ok(());
    }
    first_unknown.map_or(Ok(()), |id| Err(context.service.unknown(id).into()))
}

/// Runs `retry`. A usage error if an id is unknown or not to be retried: nothing is submitted
/// then.
pub fn retry(args: &RetryArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let selection = args.chosen.selection(&args.statuses);
    let request = RetryRequest { selection, even_succeeded: args.even_succeeded };
    let mut count = 0;
    for chunk in context.loading(|service| service.retry(request))? {
        for retried in chunk? {
            let document = match retried {
                Retried::Gone(id) => {
                    output::note(&format!("`{id}` is gone from the store"));
                    continue;
                }
                Retried::Copied(document) => document,
            };
            let (id, original) = (document.id, document.retry_of);
            match document.copied {
                Copied::Now => count += 1,
                Copied::Before => output::note(&format!("`{original}` was retried before, as `{id}`")),
                Copied::Same => output::note(&format!(
                    "`{original}` need not run again: `{id}` is unfinished and the same"
                )),
            }
            match context.json {
                true => output.json(&document)?,
                false => output.line(&id.to_string())?,
            }
        }
        output.flush()?;
    }
    if args.chosen.ids.is_empty() {
        output::note(&format!("submitted {} again", plural(count, "invocation")));
    }
    Ok(())
}

/// Runs `prune`. A usage error if nothing says what is old.
pub fn prune(args: &PruneArgs, context: &Context) -> Result<(), CliError> {
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
