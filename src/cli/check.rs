//! `check`: the configuration and every component in it.

use crate::service::{CheckDocument, ProblemDocument};

use super::args::Cli;
use super::context::Context;
use super::error::CliError;
use super::output::Output;
use super::render::plural;

/// Runs the command; the error is everything that is wrong.
pub fn run(cli: &Cli) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let (mut document, checked) = match Context::new(cli) {
        Ok(context) => {
            let (document, checked) = context.loading(|service| Ok(service.check()))?;
            (document, checked.map_err(CliError::from))
        }
        Err(error) => (CheckDocument::default(), Err(error)),
    };
    if cli.global.json {
        let lines = checked.as_ref().err().map(CliError::lines).unwrap_or_default();
        let problem = |(message, hint)| ProblemDocument { message, hint };
        document.problems = lines.into_iter().map(problem).collect();
        output.json(&document)?;
        output.flush()?;
    }
    checked?;
    if !cli.global.json {
        let (components, tasks) = (plural(document.components, "component"), plural(document.tasks, "task"));
        let others = match document.not_tasks {
            0 => String::new(),
            count => format!(", {} that can't be tasks", plural(count, "exported function")),
        };
        output.line(&format!("{components}, {tasks}{others}: everything is in order"))?;
    }
    output.flush()
}
