//! `completions` and `man`: the command line, for shells and readers.

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::error::CliError;
use super::output::Output;

/// Runs `completions`.
///
/// # Errors
///
/// [`CliError`] if standard output can't be written to.
pub fn completions(args: &CompletionsArgs) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "run-wasm-runner", &mut script);
    let mut output = Output::stdout();
    output.bytes(&script)?;
    output.flush()
}

/// Runs `man`.
///
/// # Errors
///
/// A usage error for an unknown command.
pub fn man(args: &ManArgs) -> Result<(), CliError> {
    let mut root = Cli::command();
    root.build();
    let command = match &args.command {
        None => root,
        Some(name) => {
            let names: Vec<_> = root.get_subcommands().map(|command| command.get_name().to_owned()).collect();
            let Some(command) = root.find_subcommand(name) else {
                let known = crate::config::in_backticks(names.iter().map(String::as_str));
                return Err(CliError::usage(format!("unknown command `{name}` (known: {known})")));
            };
            command.clone().display_name(format!("run-wasm-runner-{name}"))
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(CliError::output)?;
    let mut output = Output::stdout();
    output.bytes(&page)?;
    output.flush()
}
