//! `build`: from a project to a component, with the language's own tools.

use std::time::Instant;

use serde::Serialize;

use crate::authoring::build::{self, Project};
use crate::config::{Config, Flags, Surroundings};
use crate::service::{InspectionDocument, Service, component_name};

use super::args::{BuildArgs, Cli};
use super::build_steps::Steps;
use super::context::Context;
use super::error::CliError;
use super::inspect;
use super::output::{self, Output};
use super::progress::Progress;

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
pub fn run(args: &BuildArgs, cli: &Cli) -> Result<(), CliError> {
    let project = build::find(&args.directory, args.language)?;
    project.provide_task_wit()?;
    let service = service(&project, cli)?;
    let started = Instant::now();
    let path = build::build(&project, &Steps::new(service.config().cache_directory.clone()))?;
    // As one would type it: nobody writes `./`.
    let path = path.strip_prefix(".").unwrap_or(&path);
    let seconds = started.elapsed().as_secs_f64();

    let compiling = format!("compiling {}", component_name(path));
    let progress = Progress::start(move || Some(compiling.clone()));
    let inspected = service.inspect_built(path);
    drop(progress);
    let inspected = inspected?;

    let mut output = Output::stdout();
    if cli.global.json {
        output.json(&BuildDocument {
            language: project.language.name,
            path: path.display().to_string(),
            seconds,
            inspection: inspected.document(),
        })?;
    } else {
        inspect::show(&mut output, &inspected)?;
    }
    output.flush()
}

/// Makes a service with the configuration of the commands that run the project: what the
/// component may take to be compiled there it may take here, and the first of them finds the
/// compiled code. One that is wrong is for them to refuse; the project is built all the
/// same.
fn service(project: &Project, cli: &Cli) -> Result<Service, CliError> {
    let mut around = Surroundings::of_process()?;
    around.directory = std::path::absolute(&project.directory).map_err(|error| {
        CliError::system(format!("the path of `{}` is not known: {error}", project.directory.display()))
    })?;
    let config = Config::resolve(&cli.flags(), &around).or_else(|error| {
        output::warn(&error.ignored("the component is compiled within the default limits"), None);
        Config::resolve(&Flags::default(), &Surroundings::default())
    });
    Ok(Context::of(config?, cli).service)
}
