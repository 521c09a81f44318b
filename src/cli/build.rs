//! `build`: from a project to a component, with the language's own tools.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::authoring::build::{self, Project};
use crate::config::{Config, Surroundings};
use crate::wasm::Library;

use super::args::{BuildArgs, Cli};
use super::build_steps::Steps;
use super::compile;
use super::error::CliError;
use super::inspect;
use super::output::{self, Output};
use super::progress::Progress;
use crate::service::InspectionDocument;

/// `build --json`.
#[derive(Debug, Serialize)]
struct BuildDocument<'a> {
    language: &'a str,
    path: String,
    seconds: f64,
    #[serde(flatten)]
    inspection: InspectionDocument<'a>,
}

/// Runs the command.
///
/// # Errors
///
/// [`CliError`]: a tool is missing or failed, or what it made can't be used.
pub fn run(args: &BuildArgs, cli: &Cli) -> Result<(), CliError> {
    let project = Project::find(&args.directory, args.language)?;
    project.provide_task_wit()?;
    let config = config_of(&project, cli)?;
    let (cache, limits) = match &config {
        Some(config) => (config.cache_directory.as_deref(), config.compile),
        None => Default::default(),
    };
    let started = Instant::now();
    let path = build::build(&project, &Steps::new(cache.map(Path::to_owned)))?;
    // As one would type it: nobody writes `./`.
    let path = path.strip_prefix(".").unwrap_or(&path);
    let seconds = started.elapsed().as_secs_f64();

    let name = inspect::component_name(path);
    let compiling = format!("compiling {name}");
    let progress = Progress::start(move || Some(compiling.clone()));
    let compiler = compile::compiler(limits);
    let inspection =
        Library::inspect(&name, path, cache, compiler).map_err(|error| CliError::Load(vec![error]));
    drop(progress);
    let inspection = inspection?;

    let mut output = Output::stdout();
    if cli.global.json {
        output.json(&BuildDocument {
            language: project.language.name(),
            path: path.display().to_string(),
            seconds,
            inspection: InspectionDocument::new(&inspection, None),
        })?;
    } else {
        inspect::show(&mut output, path, &inspection, None)?;
    }
    output.flush()
}

/// The configuration of the commands that run the project: what the component may
/// take to be compiled there it may take here, and the first of them finds the
/// compiled code. One that is wrong is for them to refuse; the project is built all the
/// same.
fn config_of(project: &Project, cli: &Cli) -> Result<Option<Config>, CliError> {
    let mut around = Surroundings::of_process()?;
    around.directory = std::path::absolute(Path::new(&project.directory)).map_err(|error| {
        CliError::System(format!("the path of `{}` is not known: {error}", project.directory.display()))
    })?;
    match Config::resolve(&cli.flags(), &around) {
        Ok(config) => Ok(Some(config)),
        Err(error) => {
            output::warn(&error.ignored("the component is compiled within the default limits"), None);
            Ok(None)
        }
    }
}
