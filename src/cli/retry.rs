//! `retry`: final invocations, submitted anew.

use crate::service::{Copied, ListRequest, Retried, RetryRequest, Selection};

use super::args::RetryArgs;
use super::context::Context;
use super::error::CliError;
use super::output::{self, Output};
use super::render::plural;

/// Runs the command.
///
/// # Errors
///
/// [`CliError`]; a usage error if an id is unknown or not to be retried: nothing
/// is submitted then.
pub fn run(args: &RetryArgs, context: &Context) -> Result<(), CliError> {
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
    if args.ids.is_empty() {
        output::note(&format!("submitted {} again", plural(count, "invocation")));
    }
    Ok(())
}
