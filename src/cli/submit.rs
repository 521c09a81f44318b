//! `call` and `submit`: invocations made on the command line, with arguments from there, from files and from
//! standard input.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueHint};

use crate::config::{Origin, parse_flag_duration, parse_limit};
use crate::model::{InvocationId, LimitKind, LogStream, Outcome, Status, SubmitLimits, SubmitOptions};
use crate::service::{Found, ServiceError, SubmitDocument, Waited, Waiter};
use crate::store::StoreUrl;
use crate::wasm::Task;

use super::context::{Context, show_counts};
use super::error::CliError;
use super::flags::{count, label, priority};
use super::harmless::harmless;
use super::output::{self, Output};
use super::render::{Limited, complain_of_failure, log_lines};
use super::signals::Registered;
use super::status::status;
use super::value;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner call fib '[18]'
  run-wasm-runner call acme:text/count.words @arguments.json
  echo '{\"width\": 640}' | run-wasm-runner call render - --raw > picture.png

Exit codes: that of the task's outcome (1, 3, 4 or 5 if it failed).")]
pub struct CallArgs {
    /// Task: its id, or any shorter form that names only one
    pub task: String,

    /// Arguments: a JSON array or object, `@FILE`, or `-` for standard input [default: `[]`]
    #[arg(value_name = "ARGS")]
    pub arguments: Option<String>,

    /// Write a string or `list<u8>` value as its bytes, without a newline
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,

    /// Guests that may run at once [default: number of processors]
    #[arg(long, value_name = "N", value_parser = count)]
    pub slots: Option<usize>,

    /// Lower a limit of it and of what it submits: `cpu=50ms`, `memory=16MiB`; repeatable [default: the tasks' limits]
    #[arg(long = "limit", value_name = "KEY=VALUE", value_parser = parse_limit)]
    pub limits: Vec<(LimitKind, u64)>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner submit fib '[18]' '[19]' '[20]'
  run-wasm-runner submit fib --batch arguments.jsonl --wait
  run-wasm-runner submit report --key 2026-11-23 --delay 1h --label customer=acme

Exit codes: with --wait, that of the first invocation that failed.")]
pub struct SubmitArgs {
    /// Task: its id, or any shorter form that names only one
    pub task: String,

    /// Arguments of one invocation each: a JSON array or object, `@FILE`, or `-` [default: one `[]`]
    #[arg(value_name = "ARGS")]
    pub arguments: Vec<String>,

    /// Submit one invocation for each line of a file; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "arguments", value_hint = ValueHint::FilePath)]
    pub batch: Option<PathBuf>,

    /// Wait until all are final, and print their values
    #[arg(long)]
    pub wait: bool,

    /// Start no earlier than this from now: `30s`, `1m30s`; a bare number is seconds [default: 0]
    #[arg(long, value_name = "DURATION", value_parser = parse_flag_duration)]
    pub delay: Option<Duration>,

    /// Fail unless final within this from now, with the whole tree [default: the task's, or none]
    #[arg(long, value_name = "DURATION", value_parser = parse_flag_duration)]
    pub deadline: Option<Duration>,

    /// From -1000 to 1000, higher first [default: the task's, which is 0 unless configured]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = priority)]
    pub priority: Option<i32>,

    /// Idempotency key: a second submit of the same task and key prints the first one's id
    #[arg(long)]
    pub key: Option<String>,

    /// Key by which it shares the slots with others, by weight [default: the component of the task]
    #[arg(long, value_name = "KEY")]
    pub fairness_key: Option<String>,

    /// Lower a limit of it and of what it submits: `cpu=50ms`, `memory=16MiB`; repeatable [default: the tasks' limits]
    #[arg(long = "limit", value_name = "KEY=VALUE", value_parser = parse_limit)]
    pub limits: Vec<(LimitKind, u64)>,

    /// Free text to keep with the invocation; repeatable
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    pub labels: Vec<(String, String)>,
}

/// Runs `call`. A failed task is [`CliError::Task`].
pub fn call(args: &CallArgs, context: &Context) -> Result<(), CliError> {
    let mut output = context.output();
    context.service.read_secrets()?;
    let task = context.loading(|service| service.task(&args.task))?;
    if args.raw {
        value::check_type(task.result.as_deref())?;
    }
    let arguments = read(args.arguments.as_deref().unwrap_or("[]"))?;
    let arguments = context.service.check_arguments(&task, &arguments)?;
    let limits = SubmitLimits::of(args.limits.iter().copied());
    // The configured store is for work that lasts; only a flag asks for it here.
    let choice = &context.config().store;
    let service = match choice.origin {
        Some(Origin::Flag) if choice.url != StoreUrl::Memory => context.service.clone(),
        _ => context.service.in_memory(),
    };
    let signals = Registered::new()?;
    let call = service.call(&task, arguments, limits)?;
    let (id, first, second) = (call.id(), call.handle(), call.handle());
    // In force to the very end: also what waits for a reader of the output can be ended.
    let _stages = signals.act(
        move || {
            output::note("cancelling: press Ctrl-C again to kill it");
            first.cancel(id, "interrupted by a signal");
        },
        move || second.kill(),
    )?;
    let progress = show_counts(&service, Some(id));
    let called = call.wait();
    drop(progress);
    let invocation = called?;
    // The guest's streams as they are, its log with levels.
    for entry in service.logs(id)?.entries {
        match entry.stream {
            LogStream::Stdout | LogStream::Stderr => {
                let text = harmless(&entry.text);
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
        Some(outcome) => {
            let what = format!("`{}`", task.id);
            let of = Limited { service: &service, task: &task.id, limits: &invocation.limits };
            value::show(&outcome, &of, &what, args.raw, &mut output)
        }
        None => {
            let message = format!("the runner stopped before invocation `{id}` was final");
            Err(CliError::NotFinal { message, hint: None })
        }
    }
}

/// Runs `submit`. The error is, with `--wait`, that of the first failed task.
pub fn run(args: &SubmitArgs, context: &Context) -> Result<(), CliError> {
    context.tell_of_creation();
    let mut output = context.output();
    let service = &context.service;
    let task = context.loading(|service| service.task_to_submit(&args.task))?;
    // Everything is checked before anything is submitted.
    let (places, all_arguments): (Vec<_>, Vec<_>) = read_all(args, context, &task)?.into_iter().unzip();
    let total = all_arguments.len();
    let limits = SubmitLimits::of(args.limits.iter().copied());
    let options = SubmitOptions {
        delay: args.delay.unwrap_or(Duration::ZERO),
        deadline: args.deadline,
        priority: args.priority,
        key: args.key.as_deref().map(Arc::from),
        detached: false,
        labels: args.labels.as_slice().into(),
        limits: limits.clone(),
        fairness_key: args.fairness_key.as_deref().map(Arc::from),
    };
    let submission = service.submit(task.clone(), all_arguments, options)?;
    // Watching begins before the submit, so that no end is missed.
    let mut waiter = if args.wait { Some(service.waiter()?) } else { None };

    let mut ids = Vec::with_capacity(total);
    let (mut places, mut refused) = (places.into_iter(), Refused::default());
    let mut refused_by_quota = 0;
    for chunk in submission {
        for submitted in chunk.inspect_err(tell_uncertain)? {
            let place = places.next().unwrap_or_default();
            let id = match submitted {
                Ok(submitted) => {
                    tell_found(&submitted);
                    submitted.id
                }
                Err(error) if total == 1 => return Err(error.into()),
                Err(error) => {
                    refused_by_quota += usize::from(matches!(error, ServiceError::OverQuota { .. }));
                    refused.add(place, error);
                    continue;
                }
            };
            match args.wait {
                true => output::note(&id.to_string()),
                false => output.document(&SubmitDocument { id, found: None }, || id.to_string())?,
            }
            ids.push(id);
        }
        // Acknowledged is acknowledged: tell it before anything else can fail.
        output.flush()?;
    }
    let source = args.batch.as_ref().map(|path| path.display().to_string());
    refused.tell(source.as_deref());
    if let Some(waiter) = &mut waiter {
        wait(&ids, (&task, &limits), waiter, context, &mut output)?;
    }
    let message = |count| format!("{count} of {total} were refused, see above");
    match total - ids.len() {
        0 => Ok(()),
        count if count == refused_by_quota => {
            Err(ServiceError::OverQuota { message: message(count), kind: None }.into())
        }
        count => Err(CliError::usage(message(count))),
    }
}

/// After this long a wait says why nothing has happened.
const PATIENCE: Duration = Duration::from_secs(3);

/// The lines of an error, each with its hint.
type ErrorLines = Vec<(String, Option<String>)>;

/// The submits that were refused: each error with their numbers.
#[derive(Default)]
struct Refused(Vec<(ErrorLines, Vec<usize>)>);

impl Refused {
    /// Adds one, with its number.
    fn add(&mut self, place: usize, error: ServiceError) {
        let lines = CliError::from(error).lines();
        match self.0.iter_mut().find(|(known, _)| *known == lines) {
            Some((_, places)) => places.push(place),
            None => self.0.push((lines, vec![place])),
        }
    }

    /// Tells each error once, with the numbers of the lines of a file, or of the arguments.
    fn tell(&self, file: Option<&str>) {
        for (lines, places) in &self.0 {
            let ranges = ranges(places);
            let place = match (file, places.len()) {
                (Some(file), 1) => format!("line {ranges} of `{file}`"),
                (Some(file), _) => format!("lines {ranges} of `{file}`"),
                (None, _) => format!("arguments {ranges}"),
            };
            let told = lines.iter().enumerate().map(|(index, (message, hint))| match index {
                0 => (format!("{place}: {message}"), hint.clone()),
                _ => (message.clone(), hint.clone()),
            });
            output::complain(&told.collect::<Vec<_>>());
        }
    }
}

/// Writes ascending numbers as ranges: `1-3, 7`.
fn ranges(numbers: &[usize]) -> String {
    /// The most ranges that are listed.
    const MOST: usize = 20;
    let ranges: Vec<_> = numbers
        .chunk_by(|one, next| one + 1 == *next)
        .filter_map(|range| match range {
            [one] => Some(one.to_string()),
            [first, .., last] => Some(format!("{first}-{last}")),
            [] => None,
        })
        .collect();
    match ranges.len().checked_sub(MOST).filter(|more| *more > 0) {
        Some(more) => format!("{} and {more} more ranges", ranges[..MOST].join(", ")),
        None => ranges.join(", "),
    }
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

/// Reads all arguments, each with the number of its line or its place on the command line.
fn read_all(args: &SubmitArgs, context: &Context, task: &Task) -> Result<Vec<(usize, Arc<str>)>, CliError> {
    let service = &context.service;
    if let Some(path) = &args.batch {
        let text = read_file(path)?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        return lines
            .map(|(index, line)| {
                let checked = service.check_arguments(task, line).map_err(|error| {
                    CliError::from(error.at(&format!("line {} of `{}`", index + 1, path.display())))
                });
                Ok((index + 1, checked?))
            })
            .collect();
    }
    if args.arguments.is_empty() {
        return Ok(vec![(1, service.check_arguments(task, "[]")?)]);
    }
    if args.arguments.iter().filter(|text| *text == "-").count() > 1 {
        return Err(CliError::usage("standard input can be read only once, and `-` is given twice")
            .with_hint("`--batch -` reads one arguments document a line"));
    }
    let is_one = args.arguments.len() == 1;
    let numbered = args.arguments.iter().enumerate();
    numbered
        .map(|(index, text)| {
            let checked = service.check_arguments(task, &read(text)?).map_err(|error| match is_one {
                true => CliError::from(error),
                false => error.at(&format!("arguments {}", index + 1)).into(),
            });
            Ok((index + 1, checked?))
        })
        .collect()
}

/// Waits for all, in the order of the submit, which is the order of the output.
fn wait(
    ids: &[InvocationId],
    (task, limits): (&Task, &SubmitLimits),
    waiter: &mut Waiter,
    context: &Context,
    output: &mut Output,
) -> Result<(), CliError> {
    let _progress = show_counts(&context.service, None);
    let of = Limited { service: &context.service, task: &task.id, limits };
    let mut first_failure = None;
    // Of the first that takes longer it is said once why.
    let mut patience = Instant::now().checked_add(PATIENCE);
    for id in ids {
        let mut waited = waiter.wait(*id, patience)?;
        if patience.is_some() && matches!(waited, Waited::Unfinished(_)) {
            patience = None;
            tell_if_queued(*id, context);
            waited = waiter.wait(*id, None)?;
        }
        let outcome = match waited {
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
            complain_of_failure(&format!("invocation `{id}`"), &of, &failure);
            first_failure.get_or_insert(failure.kind.exit_class());
        }
    }
    first_failure.map_or(Ok(()), |class| Err(CliError::Task(class)))
}

/// Says why an invocation is still queued, if it is.
fn tell_if_queued(id: InvocationId, context: &Context) {
    // An error is told by the wait that goes on.
    let Ok(invocation) = context.service.status(id) else { return };
    if invocation.status != Status::Queued {
        return;
    }
    let now = context.service.clock().now();
    output::note(&match invocation.waiting_for {
        Some(_) => format!("`{id}` still waits: {}", status(&invocation, now, false)),
        None => format!(
            "`{id}` is still queued: a runner must be there to run it (`run-wasm-runner start`), and have time for it"
        ),
    });
}

/// Reads one ARGS: JSON text, `@FILE`, or `-` for standard input.
/// A usage error if it can't be read.
fn read(text: &str) -> Result<String, CliError> {
    match text.strip_prefix('@') {
        Some(path) => read_file(Path::new(path)),
        None if text == "-" => read_stdin(),
        None => Ok(text.to_owned()),
    }
}

/// Reads a file, or standard input if it is called `-`. A pipe will do, unlike for other files: `@<(command)`.
/// A usage error if it can't be read, or is not UTF-8.
fn read_file(path: &Path) -> Result<String, CliError> {
    if path.as_os_str() == "-" {
        return read_stdin();
    }
    let bytes = std::fs::read(path).map_err(|error| {
        CliError::usage(format!("the arguments file `{}` can't be read: {error}", path.display()))
    })?;
    utf8(bytes, &format!("the arguments file `{}`", path.display()))
}

fn read_stdin() -> Result<String, CliError> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::usage(format!("standard input can't be read: {error}")))?;
    utf8(bytes, "standard input")
}

fn utf8(bytes: Vec<u8>, what: &str) -> Result<String, CliError> {
    String::from_utf8(bytes).map_err(|error| {
        CliError::usage(format!("{what} is not UTF-8 (at byte {})", error.utf8_error().valid_up_to()))
    })
}
