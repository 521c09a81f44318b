//! The command line. This file has the commands, with the flags that all of them take; a file for each, or for a
//! few that are alike, has its flags and its work. [`exit_code`] has the exit codes.
//!
//! Data goes to standard output, everything else to standard error.

mod build;
mod build_steps;
mod change;
mod choice;
mod completions;
mod component;
mod context;
mod error;
pub mod exit_code;
mod flags;
mod harmless;
mod inspect;
mod json_log;
mod list;
mod logging;
mod output;
mod progress;
mod quotas;
mod render;
mod signals;
mod start;
mod status;
mod stderr;
mod submit;
mod torture;
mod tree;
mod usage;
mod value;
mod wit;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use const_format::formatcp;

pub use error::CliError;

use crate::config::Flags;
use crate::model::InvocationName;
use crate::store::KNOWN_STORE_URLS;
use context::Context;
use flags::ComponentFlag;

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

const STORE_HELP: &str =
    formatcp!("Store, one of {KNOWN_STORE_URLS} [default: `sqlite:.wasm-runner/state.db`]");

/// Flags that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file [default: `wasm-runner.toml`, searched upward from here]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// The URL of the store.
    #[arg(long, global = true, value_name = "URL", help = STORE_HELP)]
    pub store: Option<String>,

    /// Add a component, or replace the file of a configured one; repeatable
    #[arg(long = "component", global = true, value_name = "NAME=PATH", value_parser = flags::named_file)]
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
    Call(submit::CallArgs),
    /// Put invocations into the store, and print their ids
    ///
    /// Prints one id a line, each once it is durable. With --wait the ids go to
    /// standard error, and standard output gets one line per invocation in the
    /// order of the submit: the value as JSON, or an empty line for a failure,
    /// which is reported on standard error. With --wait --json it is one status
    /// document a line.
    Submit(submit::SubmitArgs),
    /// Run invocations from the store until a signal
    ///
    /// The first SIGINT (Ctrl-C), SIGTERM or SIGHUP drains: nothing more is claimed, what
    /// runs is finished within the grace time, the rest is given back to the store
    /// without using up an attempt. The second one kills guests and gives them
    /// back. The third one exits at once.
    Start(start::StartArgs),
    /// Print the value of a final invocation
    ///
    /// A failure is reported on standard error, with the exit code of its kind.
    Result(status::ResultArgs),
    /// Show one invocation
    #[command(after_help = "\
Examples:
  run-wasm-runner status 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  run-wasm-runner status 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f --json | jq .status")]
    Status {
        /// Invocation: its id, or at least 6 of its first or last digits
        id: InvocationName,
    },
    /// List invocations, newest first
    List(list::ListArgs),
    /// Draw the tree that an invocation belongs to
    ///
    /// Shows the whole tree from its root, whichever member is named. Of many
    /// children of one parent only the first are drawn, and the rest is counted.
    Tree(tree::TreeArgs),
    /// Show how an invocation moved from status to status, and why
    #[command(after_help = "\
Examples:
  run-wasm-runner history 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  run-wasm-runner history 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f --json | jq -r .reason")]
    History {
        /// Invocation: its id, or at least 6 of its first or last digits
        id: InvocationName,
    },
    /// Show what the guests of an invocation wrote and logged
    #[command(after_help = "\
Examples:
  run-wasm-runner logs 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  run-wasm-runner logs 7c8d9e0f --tree")]
    Logs {
        /// Invocation: its id, or at least 6 of its first or last digits
        id: InvocationName,

        /// With those of all its descendants, in the order of time, each line with the last digits of its id
        #[arg(long)]
        tree: bool,
    },
    /// Cancel invocations with their attached descendants
    ///
    /// Says of each what became of it. One that is final already stays what it is:
    /// that is no error, since nothing is left to cancel.
    Cancel(change::CancelArgs),
    /// Run final invocations again
    ///
    /// A final status never changes: each is submitted anew, as the root of a new
    /// tree, with the same task, arguments and options, and the label
    /// `retry-of=ID`. It runs the bytes that a submit would get now, so a fixed push
    /// counts; attempts of one invocation stay on its bytes. Prints the new ids, one
    /// a line. One that was retried before is not submitted again, unless that copy
    /// was cancelled: the id of that time is printed.
    Retry(change::RetryArgs),
    /// Remove final invocations that are old
    ///
    /// Runners do this by themselves if `[retention]` is configured. An invocation that
    /// an unfinished one may still look for stays. Without --status, --older-than, --keep
    /// and --component old usage is removed, too.
    Prune(change::PruneArgs),
    /// Hold queues or tasks back
    ///
    /// Nothing of them is claimed any more, by any runner of the store, until
    /// `resume`; what runs is finished. Submits are accepted.
    Pause(change::PauseArgs),
    /// Let paused queues or tasks go on
    Resume(change::PauseArgs),
    /// List queues with their tasks, rules and pauses
    ///
    /// Tasks with unfinished invocations, a rule or a pause. UNFINISHED says how many of
    /// them are delayed (their time has not come), paused, or blocked by a concurrency or rate
    /// rule. A paused queue that no task belongs to any more has the task `(none)`: `resume`
    /// ends its pause.
    #[command(after_help = "\
Examples:
  run-wasm-runner queues
  run-wasm-runner queues --all
  run-wasm-runner queues --json | jq -r 'select(.paused) | .task'")]
    Queues(list::QueuesArgs),
    /// List quotas, and how much of each is used
    ///
    /// Each quota of components or fairness keys that is in force, and those that it
    /// holds for and that have something in the store. Sections that set no quota are
    /// left out, with those that they hold for. A submit beyond a quota is refused, with
    /// exit code 4.
    #[command(after_help = "\
Examples:
  run-wasm-runner quotas
  run-wasm-runner quotas --json | jq -r 'select(.unfinished >= .unfinished_limit) | .name'")]
    Quotas(quotas::QuotasArgs),

    /// Show what was used, by hour, component and fairness key
    ///
    /// Sums of calls, failures, processor time, memory times the seconds for which it was held, and of
    /// bytes. They stay when invocations are removed; `[retention] usage` says how long.
    Usage(usage::UsageArgs),
    /// Put components into the store, or list them
    ///
    /// A component in the store travels with it: a runner, or a submit, whose
    /// configuration says `source = "store"`, or that has no components at all,
    /// fetches the components that were pushed.
    #[command(subcommand)]
    Component(component::ComponentCommand),
    /// Write down which bytes each component has, so that others are refused
    ///
    /// Writes `wasm-runner.lock` beside `wasm-runner.toml`: name, source and digest of
    /// each component. While that file is there, every command refuses a component
    /// whose digest is another (78). For a tag in a registry, and for the store, it
    /// says which version is taken. What is in the file already is only changed by
    /// `--update`.
    Lock(component::LockArgs),
    /// List the tasks of all components, with their types
    Tasks(list::TasksArgs),
    /// Print the WIT of tasks, so that other projects can import them
    ///
    /// Each interface stands alone: types that it has from elsewhere are written out.
    /// With --output it goes to `DIR/NAMESPACE-PACKAGE/INTERFACE.wit`, one file a line.
    Wit(wit::WitArgs),
    /// Make a project of tasks in some language
    ///
    /// The directory NAME gets a small project with a plain task, one that fails, and
    /// one that submits children and awaits them, a test and a `wasm-runner.toml`.
    /// Prints the files, one a line. Nothing that exists is ever written over.
    New(build::NewArgs),
    /// Build a project's component with its language's own tools
    #[command(long_about = build::about())]
    Build(build::BuildArgs),
    /// Show what a component exports, imports and asks for
    ///
    /// Of a component that is configured, by its name or by its file, it also shows how
    /// much of what it asks for it is granted. A configuration that is wrong does not keep
    /// a file from being inspected.
    Inspect(inspect::InspectArgs),
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
    Torture(torture::TortureArgs),
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

/// Reads the command line.
///
/// # Errors
///
/// Help, a version or a usage error, to be printed.
pub fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut cli = Cli::try_parse_from(arguments).map_err(|error| name_argument(error, arguments))?;
    // Values of `--component` behind the command take the place of those before it, which are read once more.
    let before = Global::augment_args(clap::Command::new("before")).allow_external_subcommands(true);
    let before = before.try_get_matches_from(arguments)?;
    let added = before.get_many::<ComponentFlag>("components").into_iter().flatten();
    let added: Vec<_> = added.filter(|flag| !cli.global.components.contains(flag)).cloned().collect();
    cli.global.components.splice(..0, added);
    Ok(cli)
}

/// Names the arguments that an error about their encoding may mean: paths may be in any.
fn name_argument(error: clap::Error, arguments: &[OsString]) -> clap::Error {
    if error.kind() != ErrorKind::InvalidUtf8 {
        return error;
    }
    let wrong = arguments.iter().filter(|argument| argument.to_str().is_none());
    let wrong: Vec<_> =
        wrong.map(|argument| format!("`{}`", argument.as_encoded_bytes().escape_ascii())).collect();
    let message = format!("an argument is not UTF-8: {}\n", wrong.join(" or "));
    Cli::command().error(ErrorKind::InvalidUtf8, message)
}

/// Runs a command.
///
/// # Errors
///
/// [`CliError`]; it is not yet told to anybody, see [`report`].
pub fn run(cli: &Cli) -> Result<(), CliError> {
    let done = execute(cli);
    stderr::finish();
    done
}

fn execute(cli: &Cli) -> Result<(), CliError> {
    // Before anything is opened or read: it is started without an environment.
    if let Command::Compile { job } = &cli.command {
        return crate::wasm::compile(job).map_err(CliError::Compile);
    }
    signals::survive_file_size_limits()?;
    let format = if let Command::Start(start) = &cli.command { Some(start.log) } else { None };
    logging::start(cli.global.verbose, format)?;
    let (flags, json) = (&cli.flags(), cli.global.json);
    // What needs no configuration works with a broken one.
    let context = || Context::new(flags, json);
    match &cli.command {
        Command::Compile { .. } => unreachable!("it was done above"),
        Command::Completions { shell } => completions::completions(*shell),
        Command::Man { command } => completions::man(command.as_deref()),
        Command::New(args) => build::new(args, json),
        Command::Build(args) => build::run(args, flags, json),
        Command::Inspect(args) => inspect::run(args, flags, json),
        Command::Component(component::ComponentCommand::Diff(args)) => inspect::diff(args, flags, json),
        Command::Check => inspect::check(flags, json),
        Command::Torture(args) => torture::run(args, flags, json),
        Command::Call(args) => submit::call(args, &context()?),
        Command::Submit(args) => submit::run(args, &context()?),
        Command::Start(args) => start::run(args, &context()?),
        Command::Result(args) => status::result(args, &context()?),
        Command::Status { id } => status::run(id, &context()?),
        Command::List(args) => list::run(args, &context()?),
        Command::Tree(args) => tree::run(args, &context()?),
        Command::History { id } => status::history(id, &context()?),
        Command::Logs { id, tree: true } => status::logs_of_tree(id, &context()?),
        Command::Logs { id, tree: false } => status::logs(id, &context()?),
        Command::Cancel(args) => change::cancel(args, &context()?),
        Command::Retry(args) => change::retry(args, &context()?),
        Command::Prune(args) => change::prune(args, &context()?),
        Command::Pause(args) => change::pause(args, true, &context()?),
        Command::Resume(args) => change::pause(args, false, &context()?),
        Command::Wit(args) => wit::run(args, &context()?),
        Command::Queues(args) => list::queues(args, &context()?),
        Command::Quotas(args) => quotas::run(args, &context()?),
        Command::Usage(args) => usage::run(args, &context()?),
        Command::Lock(args) => component::lock(args, &context()?),
        Command::Component(command) => component::run(command, &context()?),
        Command::Tasks(args) => list::tasks(args, &context()?),
    }
}

/// Prints help, the version or a usage error, which repeats arguments: whatever is in them.
pub fn print(answer: &clap::Error) {
    if answer.use_stderr() {
        let plain = answer.render().to_string();
        let harmless = harmless::harmless(&plain);
        if matches!(harmless, std::borrow::Cow::Owned(_)) {
            return output::note(harmless.trim_end());
        }
    }
    // A pipe that was closed meanwhile is success: whoever read it has seen enough.
    let _ = answer.print();
}

/// Tells an error on standard error.
pub fn report(error: &CliError) {
    output::complain(&error.lines());
    stderr::finish();
}

impl Cli {
    /// Returns what the flags say about the configuration.
    fn flags(&self) -> Flags {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_contradict_nothing() {
        Cli::command().debug_assert();
    }
}
