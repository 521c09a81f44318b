//! `completions` and `man`: the command line, for shells and readers.

use clap::CommandFactory;

use clap_complete::Shell;

use super::Cli;
use super::error::CliError;
use super::output::Output;

/// Runs `completions`.
pub fn completions(shell: Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "run-wasm-runner", &mut script);
    let mut output = Output::stdout(false);
    output.bytes(&script)?;
    output.flush()
}

/// Runs `man`. A usage error for an unknown command.
pub fn man(name: Option<&str>) -> Result<(), CliError> {
    let mut root = Cli::command();
    root.build();
    let command = match name {
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
    let mut output = Output::stdout(false);
    output.bytes(&page)?;
    output.flush()
}
