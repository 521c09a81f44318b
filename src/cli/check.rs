//! `check`: is everything in order?

use std::path::Path;

use serde::Serialize;

use crate::config::{ConfigError, Origin, Problem, read_secrets};
use crate::service::{NO_COMPONENTS_HINT, Service};

use super::args::{CheckArgs, Cli};
use super::context::Context;
use super::error::CliError;
use super::output::Output;
use super::render::plural;

/// `check --json`.
#[derive(Debug, Serialize)]
struct CheckDocument {
    ok: bool,
    file: Option<String>,
    components: usize,
    tasks: usize,
    not_tasks: usize,
    problems: Vec<ProblemDocument>,
}

#[derive(Debug, Serialize)]
struct ProblemDocument {
    message: String,
    hint: Option<String>,
}

/// Runs the command.
///
/// # Errors
///
/// [`CliError`]: everything that is wrong.
pub fn run(_args: &CheckArgs, cli: &Cli) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let mut document =
        CheckDocument { ok: false, file: None, components: 0, tasks: 0, not_tasks: 0, problems: Vec::new() };
    let checked = check(cli, &mut document);
    if cli.global.json {
        document.ok = checked.is_ok();
        if let Err(error) = &checked {
            let lines = error.lines().into_iter();
            document.problems = lines.map(|(message, hint)| ProblemDocument { message, hint }).collect();
        }
        output.json(&document)?;
        output.flush()?;
    }
    checked?;
    if !cli.global.json {
        let mut line =
            format!("{}, {}", plural(document.components, "component"), plural(document.tasks, "task"));
        if document.not_tasks > 0 {
            line.push_str(&format!(
                ", {} that can't be tasks",
                plural(document.not_tasks, "exported function")
            ));
        }
        output.line(&format!("{line}: everything is in order"))?;
        output.flush()?;
    }
    Ok(())
}

fn check(cli: &Cli, document: &mut CheckDocument) -> Result<(), CliError> {
    let context = Context::new(cli)?;
    let config = context.config();
    document.file = config.file.as_ref().map(|path| path.display().to_string());
    document.components = config.components.len();
    if config.file.is_none() && config.components.is_empty() {
        let problem =
            Problem::new(Origin::File, "there is nothing to check: no `wasm-runner.toml` here or above");
        return Err(CliError::Config(problem.hint(NO_COMPONENTS_HINT).into()));
    }
    let library = context.loading(Service::library)?;
    document.tasks = library.tasks().len();
    document.not_tasks = library.not_tasks().len();
    let missing = config.components.iter().flat_map(|component| {
        let missing = component.grants.directories.iter().filter(|grant| !Path::is_dir(&grant.host));
        missing.map(|grant| {
            let message = format!(
                "component `{}`: the directory `{}` that it is granted as `{}` does not exist",
                component.name,
                grant.host.display(),
                grant.guest
            );
            Problem::new(Origin::File, message).hint("create it, or remove the grant")
        })
    });
    let mut missing: Vec<_> = missing.collect();
    missing.extend(read_secrets(&config.components).err().unwrap_or_default());
    if missing.is_empty() { Ok(()) } else { Err(CliError::Config(ConfigError(missing))) }
}
