//! `cancel`: invocations that nobody wants any more.

use std::time::Instant;

use crate::model::{InvocationId, Status};
use crate::store::{Batch, Cancel, Cancelled, Filter};

use super::args::CancelArgs;
use super::context::Context;
use super::error::CliError;
use super::output::{self, Output};
use super::render::plural;
use crate::service::patience::{CHUNK, give_way};

/// Runs the command.
///
/// # Errors
///
/// [`CliError`]; a usage error if an id is unknown, after the others are
/// cancelled.
pub fn run(args: &CancelArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let existing = context.existing_store()?;
    let filtered = filter(args, context)?.map(|filter| existing.store.ids(&filter)).transpose()?;
    let ids = match &filtered {
        // The oldest first: a parent takes its children along.
        Some(ids) => ids.iter().rev().copied().collect(),
        None => args.ids.clone(),
    };
    let cancel =
        |id: &InvocationId| Cancel { id: *id, message: "cancelled from the command line".to_owned() };
    let mut first_unknown = None;
    let mut count = 0;
    let mut chunks = ids.chunks(CHUNK).peekable();
    while let Some(chunk) = chunks.next() {
        let began = Instant::now();
        let batch = Batch { cancels: chunk.iter().map(cancel).collect(), ..Batch::default() };
        let receipt = existing.store.commit(&batch)?;
        for (id, cancelled) in chunk.iter().zip(receipt.cancels) {
            let (word, status) = match cancelled {
                Cancelled::Done => ("cancelled", Some(Status::Cancelled)),
                Cancelled::AlreadyFinal(status) => ("already-final", Some(status)),
                Cancelled::Unknown => {
                    first_unknown.get_or_insert(*id);
                    ("unknown", None)
                }
            };
            // The children of those that were cancelled count as well.
            count += usize::from(status == Some(Status::Cancelled));
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
        // What is durable is told before anything else can fail.
        output.flush()?;
        if chunks.peek().is_some() {
            give_way(began);
        }
    }
    if filtered.is_some() {
        output::note(&format!("cancelled {}", plural(count, "invocation")));
        return Ok(());
    }
    first_unknown.map_or(Ok(()), |id| Err(existing.unknown(id)))
}

/// What is to be cancelled, if no ids are given.
fn filter(args: &CancelArgs, context: &Context) -> Result<Option<Filter>, CliError> {
    if !args.ids.is_empty() {
        return Ok(None);
    }
    let unfinished = || Status::ALL.into_iter().filter(|status| !status.is_final()).collect();
    Ok(Some(Filter {
        statuses: if args.statuses.is_empty() { unfinished() } else { args.statuses.clone() },
        task: args.task.as_deref().map(|name| context.task_id(name)).transpose()?,
        limit: args.limit.unwrap_or(usize::MAX),
    }))
}
