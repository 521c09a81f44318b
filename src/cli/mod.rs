//! The command line: flags in `args`, a file per command or for a few that are alike, exit codes
//! in [`exit_code`].
//!
//! Data goes to standard output, everything else to standard error.

mod args;
mod arguments;
mod build;
mod build_steps;
mod call;
mod change;
mod check;
mod completions;
mod component;
mod context;
mod error;
pub mod exit_code;
mod inspect;
mod list;
mod logging;
mod new;
mod output;
mod pause;
mod progress;
mod raw;
mod render;
mod result;
mod signals;
mod start;
mod status;
mod submit;
mod tasks;
mod torture;
mod tree;
mod wit;
mod wit_deps;

use std::ffi::OsString;

use clap::{Args, Parser};

pub use args::Cli;
pub use error::CliError;

use args::{Command, ComponentCommand, ComponentFlag, Global};
use context::Context;

/// Reads the command line.
///
/// # Errors
///
/// Help, a version or a usage error, to be printed.
pub fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut cli = Cli::try_parse_from(arguments)?;
    if let Command::List(_) = cli.command {
        // Its own `--component` takes the place of the global one. The values of that are read once more: they
        // stand before the command.
        let before = Global::augment_args(clap::Command::new("before")).allow_external_subcommands(true);
        let before = before.try_get_matches_from(arguments)?;
        let added = before.get_many::<ComponentFlag>("components").into_iter().flatten();
        let added: Vec<_> = added.filter(|flag| !cli.global.components.contains(flag)).cloned().collect();
        cli.global.components.splice(..0, added);
    }
    Ok(cli)
}

/// Runs a command.
///
/// # Errors
///
/// [`CliError`]; it is not yet told to anybody, see [`report`].
pub fn run(cli: &Cli) -> Result<(), CliError> {
    // Before anything is opened or read: it is started without an environment.
    if let Command::Compile { job } = &cli.command {
        return crate::wasm::compile(job).map_err(CliError::Compile);
    }
    signals::survive_file_size_limits()?;
    logging::start(cli.global.verbose, matches!(cli.command, Command::Start(_)))?;
    // What needs no configuration works with a broken one.
    let context = || Context::new(cli);
    match &cli.command {
        Command::Compile { .. } => unreachable!("it was done above"),
        Command::Completions { shell } => completions::completions(*shell),
        Command::Man { command } => completions::man(command.as_deref()),
        Command::New(args) => new::run(args, cli.global.json),
        Command::Build(args) => build::run(args, cli),
        Command::Inspect(args) => inspect::run(args, cli),
        Command::Component(ComponentCommand::Diff(args)) => inspect::diff(args, cli),
        Command::Check => check::run(cli),
        Command::Torture(args) => torture::run(args, cli),
        Command::Call(args) => call::run(args, &context()?),
        Command::Submit(args) => submit::run(args, &context()?),
        Command::Start(args) => start::run(args, &context()?),
        Command::Result(args) => result::run(args, &context()?),
        Command::Status { id } => status::run(*id, &context()?),
        Command::List(args) => list::run(args, &context()?),
        Command::Tree(args) => tree::run(args, &context()?),
        Command::History { id } => status::history(*id, &context()?),
        Command::Logs { id } => status::logs(*id, &context()?),
        Command::Cancel(args) => change::cancel(args, &context()?),
        Command::Retry(args) => change::retry(args, &context()?),
        Command::Prune(args) => change::prune(args, &context()?),
        Command::Pause(args) => pause::run(args, true, &context()?),
        Command::Resume(args) => pause::run(args, false, &context()?),
        Command::Wit(args) => wit::run(args, &context()?),
        Command::Queues => pause::queues(&context()?),
        Command::Lock(args) => component::lock(args, &context()?),
        Command::Component(command) => component::run(command, &context()?),
        Command::Tasks(args) => tasks::run(args, &context()?),
    }
}

/// Tells an error on standard error.
pub fn report(error: &CliError) {
    output::complain(&error.lines());
}
