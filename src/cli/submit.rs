//! `submit`: invocations into the store.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{InvocationId, Outcome, SubmitOptions};
use crate::service::{Found, ServiceError, SubmitDocument, Waited, Waiter};
use crate::wasm::Task;

use super::args::SubmitArgs;
use super::arguments;
use super::context::{Context, show_counts};
use super::error::CliError;
use super::output::{self, Output};
use super::render::complain_of_failure;

/// Runs the command.
/// The error is, with `--wait`, that of the first failed task.
pub fn run(args: &SubmitArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let service = &context.service;
    let task = context.loading(|service| service.task(&args.task))?;
    // Everything is checked before anything is submitted.
    let all_arguments = read_all(args, context, &task)?;
    let total = all_arguments.len();
    let options = SubmitOptions {
        delay: args.delay.unwrap_or(Duration::ZERO),
        deadline: args.deadline,
        priority: args.priority,
        key: args.key.as_deref().map(Arc::from),
        detached: false,
        labels: args.labels.as_slice().into(),
    };
    let submission = service.submit(task.clone(), all_arguments, options)?;
    // Watching begins before the submit, so that no end is missed.
    let mut waiter = if args.wait { Some(service.waiter()?) } else { None };

    let mut ids = Vec::with_capacity(total);
    let mut is_refused = false;
    for chunk in submission {
        for submitted in chunk.inspect_err(tell_uncertain)? {
            let id = match submitted {
                Ok(submitted) => {
                    tell_found(&submitted);
                    submitted.id
                }
                Err(error) if total == 1 => return Err(error.into()),
                Err(error) => {
                    output::complain(&CliError::from(error).lines());
                    is_refused = true;
                    continue;
                }
            };
            match (args.wait, context.json) {
                (true, _) => output::note(&id.to_string()),
                (false, true) => output.json(&SubmitDocument { id, found: None })?,
                (false, false) => output.line(&id.to_string())?,
            }
            ids.push(id);
        }
        // Acknowledged is acknowledged: tell it before anything else can fail.
        output.flush()?;
    }
    if let Some(waiter) = &mut waiter {
        wait(&ids, &task, waiter, context, &mut output)?;
    }
    if is_refused {
        let count = total - ids.len();
        return Err(CliError::usage(format!("{count} of {total} were refused, see above")));
    }
    Ok(())
}

fn tell_found(submitted: &SubmitDocument) {
    let id = submitted.id;
    match &submitted.found {
        None => {}
        Some(Found::SameKey) => output::note(&format!("submitted before: `{id}` has the same key")),
        Some(Found::SameByRule { differences }) => {
            let but = if differences.is_empty() { "" } else { ", with other arguments: " };
            output::note(&format!(
                "not submitted: the unfinished `{id}` is the same by the task's uniqueness rule{but}{differences}"
            ));
        }
    }
}

fn tell_uncertain(error: &ServiceError) {
    let ServiceError::Uncertain { first, count, .. } = error else { return };
    let what = match count {
        1 => format!("whether `{first}` was submitted is not known"),
        count => format!("whether these {count}, beginning with `{first}`, were submitted is not known"),
    };
    output::note(&format!("{what}: `run-wasm-runner status {first}` will tell"));
}

fn read_all(args: &SubmitArgs, context: &Context, task: &Task) -> Result<Vec<Arc<str>>, CliError> {
    let service = &context.service;
    if let Some(path) = &args.batch {
        let text = arguments::read_file(path)?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        return lines
            .map(|(index, line)| {
                service.check_arguments(task, line).map_err(|error| {
                    CliError::from(error.at(&format!("line {} of `{}`", index + 1, path.display())))
                })
            })
            .collect();
    }
    if args.arguments.is_empty() {
        return Ok(vec![service.check_arguments(task, "[]")?]);
    }
    if args.arguments.iter().filter(|text| *text == "-").count() > 1 {
        return Err(CliError::usage("standard input can be read only once, and `-` is given twice")
            .with_hint("`--batch -` reads one arguments document a line"));
    }
    let is_one = args.arguments.len() == 1;
    let numbered = args.arguments.iter().enumerate();
    numbered
        .map(|(index, text)| {
            service.check_arguments(task, &arguments::read(text)?).map_err(|error| match is_one {
                true => error.into(),
                false => error.at(&format!("arguments {}", index + 1)).into(),
            })
        })
        .collect()
}

/// Waits for all, in the order of the submit, which is the order of the output.
fn wait(
    ids: &[InvocationId],
    task: &Task,
    waiter: &mut Waiter,
    context: &Context,
    output: &mut Output,
) -> Result<(), CliError> {
    let _progress = show_counts(&context.service, None);
    let mut first_failure = None;
    for id in ids {
        let outcome = match waiter.wait(*id, None)? {
            Waited::Final(outcome) => outcome,
            Waited::Unfinished(_) | Waited::Unknown => {
                return Err(CliError::usage(format!("invocation `{id}` is gone from the store")));
            }
        };
        if context.json {
            match context.service.status(*id) {
                Ok(invocation) => output.json(&invocation)?,
                // Retention was faster.
                Err(ServiceError::Unknown { .. }) => {}
                Err(error) => return Err(error.into()),
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
