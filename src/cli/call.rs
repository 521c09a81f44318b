//! `call`: one invocation, here and now.

use std::sync::Arc;

use crate::config::{Origin, StoreUrl};
use crate::model::{InvocationId, Outcome, SubmitOptions};
use crate::store::{Batch, NewInvocation, Store};

use super::args::CallArgs;
use super::context::Context;
use super::error::CliError;
use super::output::{self, Output};
use super::progress::{self, Progress};
use super::render::{StatusDocument, complain_of_failure, log_lines};
use super::signals::Registered;
use super::submitted::Submit;
use super::{arguments, raw};
use crate::service::wait::patiently;

/// Runs the command.
///
/// # Errors
///
/// [`CliError`]; a failed task is [`CliError::Task`].
pub fn run(args: &CallArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    context.read_secrets()?;
    let library = context.library()?;
    let task = context.task(&library, &args.task)?;
    if args.raw {
        raw::check_type(task.result.as_deref())?;
    }
    let arguments = arguments::read(args.arguments.as_deref().unwrap_or("[]"))?;
    let arguments = arguments::check(&library, task, &arguments, None)?;
    // The configured store is for work that lasts; only a flag asks for it here.
    let choice = &context.config.store;
    let store = match choice.origin {
        Some(Origin::Flag) if choice.url != StoreUrl::Memory => context.store()?,
        _ => context.memory_store(),
    };

    let submit = NewInvocation::of(task.prepared(Arc::clone(&arguments)), SubmitOptions::default())?;
    let id = submit.id;
    let signals = Registered::new()?;
    let batch = Batch { submits: vec![submit], ..Batch::default() };
    let receipt = patiently(&*store, || store.commit(&batch))?;
    let submit = Submit { task, arguments: &arguments, key: None };
    for submitted in receipt.submits {
        let existing = submit.id(&*store, submitted)?;
        if existing != id {
            let hint = format!("wait for it with `run-wasm-runner result {existing} --wait`");
            return Err(CliError::usage("nothing to run: there is one already").with_hint(hint));
        }
    }

    let runner = context.start_runner(&store, &library, Some(id), &[])?;
    let (first, second, handle) = (runner.handle(), runner.handle(), runner.handle());
    let signals = signals.act(
        move || {
            output::note("cancelling: press Ctrl-C again to kill it");
            first.cancel(id, "interrupted by a signal");
        },
        move || second.kill(),
    )?;
    let progress = {
        let store = Arc::clone(&store);
        Progress::start(move || Some(progress::facts(&store.counts(Some(id)).ok()?)))
    };
    let outcome = runner.wait_final(id, None).map_err(|refusal| CliError::refused(refusal, &*store));
    drop(progress);
    runner.stop();
    drop(signals);
    let outcome = outcome?;
    if let Some(fault) = handle.fault() {
        return Err(fault.into());
    }

    show_logs(&*store, id)?;
    // A kill ends the runner before the cancelled invocation's outcome has come
    // round to it; the store has it.
    let invocation = store.get(&[id])?.pop().flatten();
    let outcome = outcome.or_else(|| invocation.as_ref().and_then(|invocation| invocation.outcome.clone()));
    if let Some(invocation) = invocation.filter(|_| context.json) {
        output.json(&StatusDocument::new(&invocation))?;
        output.flush()?;
    }
    match outcome {
        Some(Outcome::Value(json)) => {
            if args.raw {
                output.bytes(&raw::bytes(&json)?)?;
            } else if !context.json {
                output.json_text(&json)?;
            }
            output.flush()
        }
        Some(Outcome::Failure(failure)) => {
            complain_of_failure(&format!("`{}`", task.id), &task.id, &failure);
            Err(CliError::Task(failure.kind.exit_class()))
        }
        None => {
            let message = format!("the runner stopped before invocation `{id}` was final");
            Err(CliError::NotFinal { message, hint: None })
        }
    }
}

/// Shows what the guest wrote and logged, on standard error: its streams as they
/// are, its log with levels.
fn show_logs(store: &dyn Store, id: InvocationId) -> Result<(), CliError> {
    use crate::model::LogStream;
    for entry in store.logs(id)? {
        match entry.stream {
            LogStream::Stdout | LogStream::Stderr => {
                let text = output::harmless(&entry.text);
                output::note(text.strip_suffix('\n').unwrap_or(&text));
            }
            LogStream::Log | LogStream::Runner => {
                log_lines(&entry).iter().for_each(|line| output::note(line))
            }
        }
    }
    Ok(())
}
