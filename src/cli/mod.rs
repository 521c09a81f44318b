//! The command line: flags in [`args`], one file per command, exit codes in
//! [`exit_code`].
//!
//! Data goes to standard output, everything else to standard error.

pub mod args;
mod arguments;
mod build;
mod build_steps;
mod call;
mod cancel;
mod check;
mod compile;
mod completions;
mod component;
mod context;
mod diff;
mod error;
pub mod exit_code;
mod history;
mod inspect;
mod list;
mod lock;
mod logging;
mod logs;
mod new;
mod output;
mod pause;
mod progress;
mod prune;
mod raw;
mod render;
mod result;
mod retry;
mod signals;
mod start;
mod status;
mod submit;
mod tasks;
mod torture;
mod tree;
mod wit;
mod wit_deps;

pub use args::Cli;
pub use error::CliError;

use args::{Command, ComponentCommand};
use context::Context;

/// Runs a command.
///
/// # Errors
///
/// [`CliError`]; it is not yet told to anybody, see [`report`].
pub fn run(cli: &Cli) -> Result<(), CliError> {
    // Before anything is opened or read: it is started without an environment.
    if let Command::Compile(args) = &cli.command {
        return compile::run(args);
    }
    logging::start(cli.global.verbose, matches!(cli.command, Command::Start(_)))?;
    // What needs no configuration works with a broken one.
    match &cli.command {
        Command::Completions(args) => return completions::completions(args),
        Command::Man(args) => return completions::man(args),
        Command::New(args) => return new::run(args, cli.global.json),
        Command::Build(args) => return build::run(args, cli),
        Command::Inspect(args) => return inspect::run(args, cli),
        Command::Component(ComponentCommand::Diff(args)) => return diff::run(args, cli),
        Command::Check(args) => return check::run(args, cli),
        Command::Torture(args) => return torture::run(args, cli),
        _ => {}
    }
    let context = Context::new(cli)?;
    match &cli.command {
        Command::Call(args) => call::run(args, &context),
        Command::Submit(args) => submit::run(args, &context),
        Command::Start(args) => start::run(args, &context),
        Command::Result(args) => result::run(args, &context),
        Command::Status(args) => status::run(args, &context),
        Command::List(args) => list::run(args, &context),
        Command::Tree(args) => tree::run(args, &context),
        Command::History(args) => history::run(args, &context),
        Command::Logs(args) => logs::run(args, &context),
        Command::Cancel(args) => cancel::run(args, &context),
        Command::Retry(args) => retry::run(args, &context),
        Command::Prune(args) => prune::run(args, &context),
        Command::Pause(args) => pause::run(args, true, &context),
        Command::Resume(args) => pause::run(args, false, &context),
        Command::Wit(args) => wit::run(args, &context),
        Command::Queues(args) => pause::queues(args, &context),
        Command::Lock(args) => lock::run(args, &context),
        Command::Component(command) => component::run(command, &context),
        Command::Tasks(args) => tasks::run(args, &context),
        Command::Completions(_)
        | Command::Man(_)
        | Command::New(_)
        | Command::Build(_)
        | Command::Inspect(_)
        | Command::Check(_)
        | Command::Compile(_)
        | Command::Torture(_) => unreachable!("they returned above"),
    }
}

/// Tells an error on standard error.
pub fn report(error: &CliError) {
    output::complain(&error.lines());
}
