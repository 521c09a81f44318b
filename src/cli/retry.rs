//! `retry`: final invocations, submitted anew.

use std::sync::Arc;
use std::time::Instant;

use crate::model::{Differing, Invocation, InvocationId, PreparedCall, Status, SubmitOptions};
use crate::store::{Batch, Filter, NewInvocation, SubmitError, Submitted};

use super::args::RetryArgs;
use super::context::{Context, ExistingStore};
use super::error::CliError;
use super::output::{self, Output};
use super::render::plural;
use crate::service::patience::{CHUNK, give_way};

/// One transaction has about this many bytes of arguments at most.
const CHUNK_BYTES: usize = 16 << 20;

/// The label that says which invocation one is a copy of.
const RETRY_OF: &str = "retry-of";

/// Runs the command.
///
/// # Errors
///
/// [`CliError`]; a usage error if an id is unknown or not to be retried: nothing
/// is submitted then.
pub fn run(args: &RetryArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let existing = context.existing_store()?;
    let filtered = filter(args, context)?.map(|filter| existing.store.ids(&filter)).transpose()?;
    let is_filtered = filtered.is_some();
    let ids = match filtered {
        // In the order in which they were submitted the first time.
        Some(ids) => ids.into_iter().rev().collect(),
        None => {
            check(&args.ids, args.even_succeeded, &existing)?;
            args.ids.clone()
        }
    };
    let mut copies: Vec<(InvocationId, NewInvocation)> = Vec::new();
    let (mut bytes, mut count) = (0, 0);
    for id in ids {
        // One by one: their values may be large.
        let found = existing.store.get(&[id])?.pop().flatten();
        let arguments = existing.store.arguments(id)?;
        let (Some(invocation), Some(arguments)) = (found, arguments) else {
            // Retention was faster.
            output::note(&format!("`{id}` is gone from the store"));
            continue;
        };
        bytes += arguments.len();
        copies.push((id, copy(&invocation, arguments)?));
        if copies.len() == CHUNK || bytes >= CHUNK_BYTES {
            let began = Instant::now();
            count += submit(std::mem::take(&mut copies), &existing, context, &mut output)?;
            bytes = 0;
            give_way(began);
        }
    }
    count += submit(copies, &existing, context, &mut output)?;
    if is_filtered {
        output::note(&format!("submitted {} again", plural(count, "invocation")));
    }
    Ok(())
}

/// What is to be retried, if no ids are given.
fn filter(args: &RetryArgs, context: &Context) -> Result<Option<Filter>, CliError> {
    if !args.ids.is_empty() {
        return Ok(None);
    }
    Ok(Some(Filter {
        statuses: if args.statuses.is_empty() { vec![Status::Failed] } else { args.statuses.clone() },
        task: args.task.as_deref().map(|name| context.task_id(name)).transpose()?,
        limit: args.limit.unwrap_or(usize::MAX),
    }))
}

/// Refuses ids that are not to be retried, before anything is submitted.
fn check(ids: &[InvocationId], even_succeeded: bool, existing: &ExistingStore) -> Result<(), CliError> {
    for id in ids {
        let status = existing.invocation(*id)?.status;
        if !status.is_final() {
            let message = format!("invocation `{id}` is {status}: only what is final can be retried");
            let hint = format!("wait for it, or cancel it first: `run-wasm-runner cancel {id}`");
            return Err(CliError::usage(message).with_hint(hint));
        }
        if status == Status::Succeeded && !even_succeeded {
            let message = format!("invocation `{id}` has {status}");
            return Err(CliError::usage(message).with_hint("`--even-succeeded` runs it again all the same"));
        }
    }
    Ok(())
}

/// The same, as the root of a tree of its own.
fn copy(invocation: &Invocation, arguments: Arc<str>) -> Result<NewInvocation, SubmitError> {
    let id = invocation.id;
    let others = invocation.labels.iter().filter(|(key, _)| key != RETRY_OF);
    let call = PreparedCall {
        task: Arc::clone(&invocation.task),
        digest: invocation.component_digest,
        arguments,
        max_attempts: invocation.max_attempts,
        priority: invocation.priority,
        // A child's deadline belonged to its tree.
        deadline: invocation
            .deadline
            .filter(|_| invocation.parent.is_none())
            .map(|deadline| deadline.since(invocation.submitted_at)),
        lane: invocation.lane,
        // What is like it and unfinished will do as well.
        unique: invocation.unique.map(|key| (key, Differing::Existing)),
    };
    let options = SubmitOptions {
        // Pressed twice, it is the same retry.
        key: Some(retry_key(id).into()),
        ..SubmitOptions::default()
    };
    // One that has as many labels as a submit may give gets one more.
    let labels = others.cloned().chain([(RETRY_OF.to_owned(), id.to_string())]).collect();
    Ok(NewInvocation { labels, ..NewInvocation::of(call, options)? })
}

fn retry_key(original: InvocationId) -> String {
    format!("{RETRY_OF}:{original}")
}

/// Submits copies and tells their ids; how many of them are new.
fn submit(
    copies: Vec<(InvocationId, NewInvocation)>,
    existing: &ExistingStore,
    context: &Context,
    output: &mut Output,
) -> Result<usize, CliError> {
    let (originals, submits): (Vec<_>, _) = copies.into_iter().unzip();
    if originals.is_empty() {
        return Ok(0);
    }
    let receipt = existing.store.commit(&Batch { submits, ..Batch::default() })?;
    let mut created = 0;
    let mut taken = None;
    for (original, submitted) in originals.iter().zip(receipt.submits) {
        let id = match submitted {
            Submitted::Created(id) => {
                created += 1;
                id
            }
            Submitted::Existing(id) => {
                let key = existing.store.get(&[id])?.pop().flatten().and_then(|found| found.key);
                let is_copy = key.as_deref() == Some(&retry_key(*original));
                output::note(&match is_copy {
                    true => format!("`{original}` was retried before, as `{id}`"),
                    false => format!("`{original}` need not run again: `{id}` is unfinished and the same"),
                });
                id
            }
            Submitted::KeyConflict(id) => {
                taken.get_or_insert((original, id));
                continue;
            }
            Submitted::UniqueConflict(_) => unreachable!("it was to take what is there"),
            Submitted::Orphan | Submitted::BehindAncestor(_) => unreachable!("a root has no parent"),
        };
        if context.json {
            output.json(&serde_json::json!({ "id": id, "retry_of": original }))?;
        } else {
            output.line(&id.to_string())?;
        }
    }
    output.flush()?;
    match taken {
        Some((original, id)) => Err(CliError::usage(format!(
            "`{original}` can't be retried: the key `{}` is taken by `{id}`, which has other arguments",
            retry_key(*original)
        ))),
        None => Ok(created),
    }
}
