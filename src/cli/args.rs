//! The flags as they are typed: nothing here opens, reads or decides anything.

mod authoring;
mod components;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::config::{self, Flags, parse_age, parse_flag_duration};
use crate::model::{InvocationId, MAX_PRIORITY, Status};
use crate::service::{ListRequest, Selection};

pub use authoring::{BuildArgs, NewArgs, TasksArgs, WitArgs, WitCommand, WitDepsArgs};
pub use components::{ComponentCommand, ComponentDiffArgs, InspectArgs, LockArgs};

/// Runs tasks that are WebAssembly components: every exported function is a
/// task, every invocation a fresh instance in a sandbox.
#[derive(Debug, Parser)]
#[command(
    name = "run-wasm-runner",
    bin_name = "run-wasm-runner",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "\
Examples:
  run-wasm-runner --component math=math.wasm tasks
  run-wasm-runner --component math=math.wasm call fib '[18]'
  run-wasm-runner submit acme:text/count.words '[\"/text/a.txt\"]'
  run-wasm-runner start --until-idle

Exit codes: 0 success; 1 the task returned an error; 2 usage; 3 the task trapped or exited;
4 a limit ended it; 5 cancelled or skipped; 69 the store can't be reached; 75 not final yet;
78 bad configuration or component."
)]
pub struct Cli {
    /// The flags that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file [default: `wasm-runner.toml`, searched upward from here]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// Store: `sqlite:PATH`, `postgres://USER@HOST/DATABASE` or `memory:` [default:
    /// `sqlite:.wasm-runner/state.db`]
    #[arg(long, global = true, value_name = "URL")]
    pub store: Option<String>,

    /// Add a component, or replace the file of a configured one; repeatable
    #[arg(long = "component", global = true, value_name = "NAME=PATH", value_parser = named_file)]
    pub components: Vec<ComponentFlag>,

    /// Print JSON: one document, or one a line for lists
    #[arg(long, global = true)]
    pub json: bool,

    /// Log more to standard error; repeat for more still
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one invocation here and now, and print its value
    ///
    /// The invocation runs on an embedded runner, in memory unless --store is
    /// given. The value goes to standard output as JSON; what the guest wrote and
    /// logged goes to standard error. Ctrl-C cancels it; a second Ctrl-C kills it.
    Call(CallArgs),
    /// Put invocations into the store, and print their ids
    ///
    /// Prints one id a line, each once it is durable. With --wait the ids go to
    /// standard error, and standard output gets one line per invocation in the
    /// order of the submit: the value as JSON, or an empty line for a failure,
    /// which is reported on standard error. With --wait --json it is one status
    /// document a line.
    Submit(SubmitArgs),
    /// Run invocations from the store until a signal
    ///
    /// The first SIGINT (Ctrl-C), SIGTERM or SIGHUP drains: nothing more is claimed, what
    /// runs is finished within the grace time, the rest is given back to the store
    /// without using up an attempt. The second one kills guests and gives them
    /// back. The third one exits at once.
    Start(StartArgs),
    /// Print the value of a final invocation
    ///
    /// A failure is reported on standard error, with the exit code of its kind.
    Result(ResultArgs),
    /// Show one invocation
    #[command(after_help = "\
Examples:
  run-wasm-runner status 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  run-wasm-runner status 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f --json | jq .status")]
    Status {
        /// Invocation
        id: InvocationId,
    },
    /// List invocations, newest first
    List(ListArgs),
    /// Draw the tree that an invocation belongs to
    ///
    /// Shows the whole tree from its root, whichever member is named. Of many
    /// children of one parent only the first are drawn, and the rest is counted.
    Tree(TreeArgs),
    /// Show how an invocation moved from status to status, and why
    #[command(after_help = "\
Examples:
  run-wasm-runner history 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  run-wasm-runner history 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f --json | jq -r .reason")]
    History {
        /// Invocation
        id: InvocationId,
    },
    /// Show what the guests of an invocation wrote and logged
    #[command(after_help = "\
Examples:
  run-wasm-runner logs 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f")]
    Logs {
        /// Invocation
        id: InvocationId,
    },
    /// Cancel invocations with their attached descendants
    ///
    /// Says of each what became of it. One that is final already stays what it is:
    /// that is no error, since nothing is left to cancel.
    Cancel(CancelArgs),
    /// Run final invocations again
    ///
    /// A final status never changes: each is submitted anew, as the root of a new
    /// tree, with the same task, arguments and options, and the label
    /// `retry-of=ID`. Prints the new ids, one a line. One that was retried before
    /// is not submitted again: the id of that time is printed.
    Retry(RetryArgs),
    /// Remove final invocations that are old
    ///
    /// Runners do this by themselves if `[retention]` is configured. Nothing is
    /// removed that an unfinished invocation may still look for.
    Prune(PruneArgs),
    /// Hold queues or tasks back
    ///
    /// Nothing of them is claimed any more, by any runner of the store, until
    /// `resume`; what runs is finished. Submits are accepted.
    Pause(PauseArgs),
    /// Let paused queues or tasks go on
    Resume(PauseArgs),
    /// List queues with their tasks, rules and pauses
    #[command(after_help = "\
Examples:
  run-wasm-runner queues
  run-wasm-runner queues --json | jq -r 'select(.paused) | .task'")]
    Queues,
    /// Put components into the store, or list them
    ///
    /// What is in the store travels with it: a runner, or a submit, whose
    /// configuration says `source = "store"`, or that has no components at all,
    /// fetches what was pushed.
    #[command(subcommand)]
    Component(ComponentCommand),
    /// Write down which bytes each component has, so that others are refused
    ///
    /// Writes `wasm-runner.lock` beside `wasm-runner.toml`: name, source and digest of
    /// each component. While that file is there, every command refuses a component
    /// whose digest is another (78). For a tag in a registry, and for the store, it
    /// says which version is taken. What is in the file already is only changed by
    /// `--update`.
    Lock(LockArgs),
    /// List the tasks of all components, with their types
    Tasks(TasksArgs),
    /// Print the WIT of tasks, so that other projects can import them
    ///
    /// Each interface stands alone: types that it has from elsewhere are written out.
    /// With --output it goes to `DIR/NAMESPACE-PACKAGE/INTERFACE.wit`, one file a line.
    Wit(WitArgs),
    /// Make a project of tasks in some language
    ///
    /// The directory NAME gets a small project with a plain task, one that fails, and
    /// one that submits children and awaits them, a test and a `wasm-runner.toml`.
    /// Prints the files, one a line. Nothing that exists is ever written over.
    New(NewArgs),
    /// Build a project's component with its language's own tools
    ///
    /// What the tools say goes to standard error. The component goes to
    /// `build/NAME.wasm` in the project's directory, and what `inspect` shows of it
    /// to standard output. NAME is the world in `wit/`, or cargo's name of the
    /// target. The language is known by its files: `Cargo.toml`; `pyproject.toml` or
    /// `requirements.txt`; `tsconfig.json`; `package.json`; `go.mod`; `src/tasks.c`;
    /// `src/tasks.cpp`.
    Build(BuildArgs),
    /// Show what a component exports, imports and asks for
    ///
    /// Of a component that is configured, by its name or by its file, it also shows how
    /// much of what it asks for it is granted. A configuration that is wrong does not keep
    /// a file from being inspected.
    Inspect(InspectArgs),
    /// Validate the configuration and every component in it
    #[command(after_help = "\
Examples:
  run-wasm-runner check
  run-wasm-runner --config other/wasm-runner.toml check

Exit codes: 78 if anything is wrong.")]
    Check,
    /// Kill runners at random and check that nothing is lost
    ///
    /// Starts runner processes on a store, submits invocations of every kind, and
    /// kills, stops and replaces the runners meanwhile. When the time is over it
    /// lets everything come to its end, and compares what the store says with what
    /// the guests wrote down and with what was acknowledged.
    ///
    /// Without --store it is a new store in a temporary folder. Invocations of
    /// others in the store are left alone. The configuration file is not read. The
    /// runners of `memory:` are in this process, one at a time: they are stopped,
    /// not killed.
    Torture(TortureArgs),
    /// Compile a component: what this program starts itself with
    #[command(hide = true)]
    Compile {
        /// In the words of the version that asks for it
        job: String,
    },
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  run-wasm-runner completions bash > ~/.local/share/bash-completion/completions/run-wasm-runner
  run-wasm-runner completions fish > ~/.config/fish/completions/run-wasm-runner.fish")]
    Completions {
        /// Shell
        shell: Shell,
    },
    /// Print the manual page, of the program or of one command
    #[command(after_help = "\
Examples:
  run-wasm-runner man | man -l -
  run-wasm-runner man submit > run-wasm-runner-submit.1")]
    Man {
        /// Command
        command: Option<String>,
    },
}

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

    /// Free text to keep with the invocation; repeatable
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    pub labels: Vec<(String, String)>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner start
  run-wasm-runner start --slots 4 --grace 1m
  run-wasm-runner start --queue default --queue bulk
  run-wasm-runner start --until-idle --json

Exit codes: 0 after a clean stop, whatever became of the invocations.")]
pub struct StartArgs {
    /// Guests that may run at once, each on a thread of its own [default: number of processors]
    #[arg(long, value_name = "N", value_parser = count)]
    pub slots: Option<usize>,

    /// Stop when nothing is left that this runner could run
    #[arg(long)]
    pub until_idle: bool,

    /// Run only tasks of this queue; repeatable [default: all queues]
    #[arg(long = "queue", value_name = "NAME")]
    pub queues: Vec<String>,

    /// How long guests may finish after the first signal; a bare number is seconds [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = parse_flag_duration)]
    pub grace: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner result 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  run-wasm-runner result 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f --wait --timeout 30s
  run-wasm-runner result 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f --raw > picture.png

Exit codes: 75 if it is not final; 1, 3, 4 or 5 if it failed.")]
pub struct ResultArgs {
    /// Invocation
    pub id: InvocationId,

    /// Wait until it is final
    #[arg(long)]
    pub wait: bool,

    /// Wait, but no longer than this; a bare number is seconds [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = parse_flag_duration)]
    pub timeout: Option<Duration>,

    /// Write a string or `list<u8>` value as its bytes, without a newline
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner list
  run-wasm-runner list --status queued,running --limit 100
  run-wasm-runner list --task fib --status failed --json
  run-wasm-runner list --component math")]
pub struct ListArgs {
    /// Only those with one of these statuses; repeatable
    #[arg(long = "status", value_name = "STATUS", value_delimiter = ',', value_parser = status)]
    pub statuses: Vec<Status>,

    /// Only those of this task
    #[arg(long)]
    pub task: Option<String>,

    /// Only those of this component; repeatable [`NAME=PATH` adds a component, as everywhere]
    // It stands in the place of the global one, which has the same id.
    #[arg(id = "components", long = "component", value_name = "NAME", value_parser = component_flag)]
    pub components: Vec<ComponentFlag>,

    /// At most this many; 0 lists them all
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = count)]
    pub limit: usize,
}

impl ListArgs {
    /// What is to be listed.
    pub fn request(&self) -> ListRequest {
        let named = self.components.iter().filter(|flag| flag.path.is_none());
        ListRequest {
            statuses: self.statuses.clone(),
            task: self.task.clone(),
            components: named.map(|flag| flag.name.clone()).collect(),
            limit: Some(self.limit).filter(|limit| *limit > 0),
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner tree 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  run-wasm-runner tree 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f --all")]
pub struct TreeArgs {
    /// Any invocation of the tree
    pub id: InvocationId,

    /// Draw every child
    #[arg(long)]
    pub all: bool,
}

/// The choice of invocations, by id or by filter.
#[derive(Debug, Args)]
pub struct Chosen {
    /// Invocations
    #[arg(value_name = "ID", required_unless_present_any = ["statuses", "task"],
        conflicts_with_all = ["statuses", "task", "limit"])]
    pub ids: Vec<InvocationId>,

    /// All of this task instead
    #[arg(long)]
    pub task: Option<String>,

    /// No more than this many, the newest
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub limit: Option<usize>,
}

impl Chosen {
    /// Selects them: by their ids, or else those that are listed with these statuses.
    pub fn selection(&self, statuses: &[Status]) -> Selection {
        match &*self.ids {
            [] => Selection::Listed(ListRequest {
                statuses: statuses.to_vec(),
                task: self.task.clone(),
                limit: self.limit,
                ..ListRequest::default()
            }),
            ids => Selection::Ids(ids.to_vec()),
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner cancel 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  run-wasm-runner cancel --status queued --task fib
  run-wasm-runner cancel --task fib --limit 10

Exit codes: 0 if all are final now, cancelled or not; 2 if one is unknown (the others are cancelled).")]
pub struct CancelArgs {
    /// All with one of these statuses instead; repeatable [default with --task: all that are not final]
    #[arg(long = "status", value_name = "STATUS", value_delimiter = ',', value_parser = unfinished_status)]
    pub statuses: Vec<Status>,

    #[command(flatten)]
    pub chosen: Chosen,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner retry 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  run-wasm-runner retry --status failed
  run-wasm-runner retry --task fib --limit 100 --json

Exit codes: 2 if one is unknown or not final (then none is submitted).")]
pub struct RetryArgs {
    /// All with one of these final statuses instead; repeatable [default with --task: failed]
    #[arg(long = "status", value_name = "STATUS", value_delimiter = ',', value_parser = final_status)]
    pub statuses: Vec<Status>,

    #[command(flatten)]
    pub chosen: Chosen,

    /// Run also those IDs again that succeeded
    #[arg(long)]
    pub even_succeeded: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner prune
  run-wasm-runner prune --status succeeded --older-than 7d
  run-wasm-runner prune --status failed,cancelled --keep 1000")]
pub struct PruneArgs {
    /// Only those with one of these final statuses; repeatable [default: all of them]
    #[arg(long = "status", value_name = "STATUS", value_delimiter = ',', value_parser = final_status)]
    pub statuses: Vec<Status>,

    /// Remove what ended longer ago than this, whatever is configured: `12h`, `30d`
    #[arg(long, value_name = "DURATION", value_parser = parse_age)]
    pub older_than: Option<Duration>,

    /// Keep this many of each status, the latest to end, whatever is configured
    #[arg(long, value_name = "N", value_parser = count)]
    pub keep: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner pause --queue bulk
  run-wasm-runner resume --queue bulk --task acme:text/count.words")]
pub struct PauseArgs {
    /// Every task of this queue; repeatable
    #[arg(long = "queue", value_name = "NAME", required_unless_present = "tasks")]
    pub queues: Vec<String>,

    /// This task; repeatable
    #[arg(long = "task", value_name = "TASK")]
    pub tasks: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner torture
  run-wasm-runner torture --duration 10m --runners 5 --json
  run-wasm-runner torture --store sqlite:.wasm-runner/state.db --seed 42 --keep

Exit codes: 1 if something did not hold; 75 if interrupted twice, before anything was checked.")]
pub struct TortureArgs {
    /// How long runners are killed; a bare number is seconds [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = parse_flag_duration)]
    pub duration: Option<Duration>,

    /// Runner processes at a time [default: 3]
    #[arg(long, value_name = "N", value_parser = count)]
    pub runners: Option<usize>,

    /// Guests that each may run at once [default: 2]
    #[arg(long, value_name = "N", value_parser = count)]
    pub slots: Option<usize>,

    /// Make the choices of an earlier run: what is submitted, who is killed and when [default: any]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// How long a claim outlives its runner's last sign of life, at least 1s [default: 2s]
    #[arg(long, value_name = "DURATION", value_parser = parse_flag_duration)]
    pub lease: Option<Duration>,

    /// The mean pause between two kills [default: 400ms]
    #[arg(long, value_name = "DURATION", value_parser = parse_flag_duration)]
    pub kill_every: Option<Duration>,

    /// First cancel what interrupted runs of torture left in the store
    #[arg(long)]
    pub clean: bool,

    /// Keep the working directory: what runners said and guests wrote
    #[arg(long)]
    pub keep: bool,
}

impl Command {
    /// The command by which this program starts itself to compile a component.
    pub const COMPILE: &str = "compile";
}

impl Cli {
    /// Returns what the flags say about the configuration.
    pub fn flags(&self) -> Flags {
        let (slots, grace) = match &self.command {
            Command::Start(start) => (start.slots, start.grace),
            Command::Call(call) => (call.slots, None),
            _ => (None, None),
        };
        Flags {
            config: self.global.config.clone(),
            store: self.global.store.clone(),
            slots,
            grace,
            components: self.global.components.iter().filter_map(ComponentFlag::file).collect(),
        }
    }
}

/// A value of `--component`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentFlag {
    /// The name of the component.
    pub name: String,
    /// Its file; none where a component is only named.
    pub path: Option<PathBuf>,
}

impl ComponentFlag {
    fn file(&self) -> Option<(String, PathBuf)> {
        Some((self.name.clone(), self.path.clone()?))
    }
}

/// Reads `NAME` or `NAME=PATH`.
fn component_flag(text: &str) -> Result<ComponentFlag, String> {
    let (name, path) = text.split_once('=').map_or((text, None), |(name, path)| (name, Some(path)));
    if path == Some("") {
        return Err("there is no path after `=`".to_owned());
    }
    config::check_component_name(name, config::Origin::Flag)
        .map_err(|problem| format!("{problem} ({})", problem.hint.as_deref().unwrap_or_default()))?;
    Ok(ComponentFlag { name: name.to_owned(), path: path.map(PathBuf::from) })
}

/// Reads `NAME=PATH`.
fn named_file(text: &str) -> Result<ComponentFlag, String> {
    match text.contains('=') {
        true => component_flag(text),
        false => Err("expected `NAME=PATH`, for example `math=math.wasm`".to_owned()),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected `K=V`, for example `customer=acme`".to_owned()),
    }
}

fn priority(text: &str) -> Result<i32, String> {
    let priority = text.parse().ok().filter(|priority| crate::model::is_valid_priority(*priority));
    priority.ok_or_else(|| format!("expected an integer from -{MAX_PRIORITY} to {MAX_PRIORITY}"))
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "expected a whole number".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    count(text).and_then(|count| if count > 0 { Ok(count) } else { Err("expected 1 or more".to_owned()) })
}

fn status(text: &str) -> Result<Status, String> {
    text.trim().parse()
}

fn unfinished_status(text: &str) -> Result<Status, String> {
    one_of(text, |status| !status.is_final(), "final")
}

fn final_status(text: &str) -> Result<Status, String> {
    one_of(text, Status::is_final, "not final")
}

fn one_of(text: &str, fits: impl Fn(Status) -> bool, else_it_is: &str) -> Result<Status, String> {
    let status = status(text)?;
    if fits(status) {
        return Ok(status);
    }
    let fitting = Status::ALL.into_iter().filter(|status| fits(*status));
    let list = config::in_backticks(fitting.map(Status::as_str));
    Err(format!("what is `{status}` is {else_it_is} (possible: {list})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_contradict_nothing() {
        Cli::command().debug_assert();
    }

    #[test]
    fn components_have_a_name_and_a_path() {
        let flag = |name: &str, path: Option<&str>| {
            Ok(ComponentFlag { name: name.to_owned(), path: path.map(PathBuf::from) })
        };
        assert_eq!(named_file("a-1=b=c.wasm"), flag("a-1", Some("b=c.wasm")));
        for bad in ["a", "a=", "=b", "a.b=c", "a_b=c"] {
            assert!(named_file(bad).is_err(), "{bad}");
        }
        // Where one is only named, it need not have a path.
        assert_eq!((component_flag("a"), component_flag("a=b")), (flag("a", None), flag("a", Some("b"))));
        assert!(component_flag("a=").is_err() && component_flag("a.b").is_err());
    }

    #[test]
    fn labels_may_have_anything_after_the_first_equals_sign() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(label("a="), Ok(("a".to_owned(), String::new())));
        assert!(label("=b").is_err() && label("a").is_err());
    }
}
