//! `call`: one invocation, here and now.

use crate::config::Origin;
use crate::model::{LogStream, Outcome};
use crate::store::StoreUrl;

use super::args::CallArgs;
use super::context::{Context, show_counts};
use super::error::CliError;
use super::output::{self, Output};
use super::render::{complain_of_failure, log_lines};
use super::signals::Registered;
use super::{arguments, raw};

/// Runs the command.
/// A failed task is [`CliError::Task`].
pub fn run(args: &CallArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    context.service.read_secrets()?;
    let task = context.loading(|service| service.task(&args.task))?;
    if args.raw {
        raw::check_type(task.result.as_deref())?;
    }
    let arguments = arguments::read(args.arguments.as_deref().unwrap_or("[]"))?;
    let arguments = context.service.check_arguments(&task, &arguments)?;
    // The configured store is for work that lasts; only a flag asks for it here.
    let choice = &context.config().store;
    let service = match choice.origin {
        Some(Origin::Flag) if choice.url != StoreUrl::Memory => context.service.clone(),
        _ => context.service.in_memory(),
    };
    let signals = Registered::new()?;
    let call = service.call(&task, arguments)?;
    let (id, first, second) = (call.id(), call.handle(), call.handle());
    let signals = signals.act(
        move || {
            output::note("cancelling: press Ctrl-C again to kill it");
            first.cancel(id, "interrupted by a signal");
        },
        move || second.kill(),
    )?;
    let progress = show_counts(&service, Some(id));
    let called = call.wait();
    drop(progress);
    drop(signals);
    let invocation = called?;
    // The guest's streams as they are, its log with levels.
    for entry in service.logs(id)?.entries {
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
    if context.json {
        output.json(&invocation)?;
        output.flush()?;
    }
    match invocation.outcome {
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
