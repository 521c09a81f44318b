//! `submit`: invocations into the store.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{InvocationId, Outcome, SubmitOptions};
use crate::store::{Batch, NewInvocation, Store, StoreError, SubmitError, TaskRule};
use crate::wasm::{Library, Task};

use super::args::SubmitArgs;
use super::arguments;
use super::context::Context;
use super::error::CliError;
use super::output::{self, Output};
use super::progress::{self, Progress};
use super::render::{StatusDocument, complain_of_failure};
use super::submitted::Submit;
use crate::service::wait::{Waited, Waiter, patiently};

/// One transaction has at most this many submits, and about this many bytes of
/// arguments: ids come out while later ones are still being written.
const CHUNK: usize = 5_000;
const CHUNK_BYTES: usize = 16 << 20;

/// Runs the command.
///
/// # Errors
///
/// [`CliError`]; with `--wait`, that of the first failed task.
pub fn run(args: &SubmitArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let library = context.library()?;
    let task = context.task(&library, &args.task)?;
    // Everything is checked before anything is submitted.
    let all_arguments = read_all(args, &library, task)?;
    SubmitError::check_keys(all_arguments.len(), args.key.is_some())?;
    let options = SubmitOptions {
        delay: args.delay.unwrap_or(Duration::ZERO),
        deadline: args.deadline,
        priority: args.priority,
        key: args.key.as_deref().map(Arc::from),
        detached: false,
        labels: args.labels.clone(),
    };
    let new = |arguments: &Arc<str>| NewInvocation::of(task.prepared(Arc::clone(arguments)), options.clone());
    all_arguments.first().map_or(Ok(()), |first| new(first).map(|_| ()))?;
    let store = context.store()?;
    // Watching begins before the submit, so that no end is missed.
    let mut waiter = if args.wait { Some(Waiter::new(Arc::clone(&store))?) } else { None };

    let mut ids = Vec::with_capacity(all_arguments.len());
    let mut is_refused = false;
    let mut rest = &all_arguments[..];
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |arguments: &&Arc<str>| {
            bytes += arguments.len();
            bytes <= CHUNK_BYTES
        };
        let count = rest.iter().take(CHUNK).take_while(fits).count().max(1);
        let (chunk, later) = rest.split_at(count);
        rest = later;
        for id in commit(&new, args, task, &*store, chunk)? {
            let id = match id {
                Ok(id) => id,
                Err(error) if all_arguments.len() == 1 => return Err(error),
                Err(error) => {
                    output::complain(&error.lines());
                    is_refused = true;
                    continue;
                }
            };
            match (args.wait, context.json) {
                (true, _) => output::note(&id.to_string()),
                (false, true) => output.json(&serde_json::json!({ "id": id }))?,
                (false, false) => output.line(&id.to_string())?,
            }
            ids.push(id);
        }
        // Acknowledged is acknowledged: tell it before anything else can fail.
        output.flush()?;
    }
    if let Some(waiter) = &mut waiter {
        wait(&ids, task, &store, waiter, context, &mut output)?;
    }
    if is_refused {
        let count = all_arguments.len() - ids.len();
        return Err(CliError::usage(format!("{count} of {} were refused, see above", all_arguments.len())));
    }
    Ok(())
}

fn read_all(args: &SubmitArgs, library: &Library, task: &Task) -> Result<Vec<Arc<str>>, CliError> {
    if let Some(path) = &args.batch {
        let text = arguments::read_file(path)?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        return lines
            .map(|(index, line)| {
                let place = format!("line {} of `{}`", index + 1, path.display());
                arguments::check(library, task, line, Some(&place))
            })
            .collect();
    }
    if args.arguments.is_empty() {
        return Ok(vec![arguments::check(library, task, "[]", None)?]);
    }
    if args.arguments.iter().filter(|text| *text == "-").count() > 1 {
        return Err(CliError::usage("standard input can be read only once, and `-` is given twice")
            .with_hint("`--batch -` reads one arguments document a line"));
    }
    let is_one = args.arguments.len() == 1;
    let numbered = args.arguments.iter().enumerate();
    numbered
        .map(|(index, text)| {
            let place = format!("arguments {}", index + 1);
            arguments::check(library, task, &arguments::read(text)?, (!is_one).then_some(place.as_str()))
        })
        .collect()
}

/// Submits a chunk. What a rule refuses does not keep the others from being
/// submitted, and told.
fn commit(
    new: impl Fn(&Arc<str>) -> Result<NewInvocation, SubmitError>,
    args: &SubmitArgs,
    task: &Task,
    store: &dyn Store,
    chunk: &[Arc<str>],
) -> Result<Vec<Result<InvocationId, CliError>>, CliError> {
    let submits = chunk.iter().map(new).collect::<Result<_, _>>()?;
    let default_rules = vec![TaskRule::new(&task.id, &task.options.rules)];
    let batch = Batch { default_rules, submits, ..Batch::default() };
    // Repeated with the same ids: an answer that was lost costs nothing, and
    // nothing is submitted twice.
    let receipt = patiently(store, || store.commit(&batch)).inspect_err(|error| {
        if let (StoreError::Unavailable { .. }, true, Some(first)) =
            (error, store.is_remote(), batch.submits.first())
        {
            let what = match batch.submits.len() {
                1 => format!("whether `{}` was submitted is not known", first.id),
                count => format!(
                    "whether these {count}, beginning with `{}`, were submitted is not known",
                    first.id
                ),
            };
            output::note(&format!("{what}: `run-wasm-runner status {}` will tell", first.id));
        }
    })?;
    let ids = chunk.iter().zip(receipt.submits).map(|(arguments, submitted)| {
        Submit { task, arguments, key: args.key.as_deref() }.id(store, submitted)
    });
    Ok(ids.collect())
}

/// Waits for all, in the order of the submit, which is the order of the output.
fn wait(
    ids: &[InvocationId],
    task: &Task,
    store: &Arc<dyn Store>,
    waiter: &mut Waiter,
    context: &Context,
    output: &mut Output,
) -> Result<(), CliError> {
    let _progress = {
        let store = Arc::clone(store);
        Progress::start(move || Some(progress::facts(&store.counts(None).ok()?)))
    };
    let mut first_failure = None;
    for id in ids {
        let outcome = match waiter.wait(*id, None)? {
            Waited::Final(outcome) => outcome,
            Waited::Unfinished(_) | Waited::Unknown => {
                return Err(CliError::usage(format!("invocation `{id}` is gone from the store")));
            }
        };
        if context.json {
            if let Some(invocation) = store.get(&[*id])?.pop().flatten() {
                output.json(&StatusDocument::new(&invocation))?;
            }
        } else {
            match &outcome {
                Outcome::Value(json) => output.json_text(json)?,
                Outcome::Failure(_) => output.line("")?,
            }
        }
        output.flush()?;
        if let Outcome::Failure(failure) = outcome {
            complain_of_failure(&format!("invocation `{id}`"), &task.id, &failure);
            first_failure.get_or_insert(failure.kind.exit_class());
        }
    }
    first_failure.map_or(Ok(()), |class| Err(CliError::Task(class)))
}
