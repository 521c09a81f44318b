//! `new`: a project of tasks in some language.

use serde::Serialize;

use super::args::NewArgs;
use super::error::CliError;
use super::output::{self, Output};
use crate::authoring::{self, Style};

/// The document of `new --json`.
#[derive(Debug, Serialize)]
struct NewDocument<'a> {
    name: &'a str,
    language: &'a str,
    files: Vec<String>,
}

/// Runs the command.
pub fn run(args: &NewArgs, json: bool) -> Result<(), CliError> {
    let (name, language) = (&*args.name, args.language);
    let style = if args.no_wit { Style::NoWit } else { Style::Wit };
    let files = authoring::new::create(name, language, style)?;
    let mut output = Output::stdout();
    if json {
        output.json(&NewDocument { name, language: language.name, files })?;
    } else {
        files.iter().try_for_each(|file| output.line(file))?;
    }
    output.flush()?;
    let prepare = language.prepare.map(|command| format!("{command} && ")).unwrap_or_default();
    output::hint(&format!(
        "`cd {name} && {prepare}run-wasm-runner build`, then `run-wasm-runner call greet '[\"world\"]'`"
    ));
    Ok(())
}
