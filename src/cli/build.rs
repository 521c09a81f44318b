//! `new` and `build`: a project of tasks in some language, and the component that its tools make of it.

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueHint};
use serde::Serialize;

use crate::authoring::build::{self, Project};
use crate::authoring::{LANGUAGES, Language, Style, new};
use crate::config::{Config, Flags, Surroundings, in_backticks};
use crate::service::{InspectionDocument, Service, component_name};

use super::build_steps::Steps;
use super::context::Context;
use super::error::CliError;
use super::inspect;
use super::output::{self, Output};
use super::progress::Progress;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner new rust hello
  run-wasm-runner new python word-count --no-wit

Exit codes: 2 if NAME can't be a name or exists.")]
pub struct NewArgs {
    /// Language
    pub language: &'static Language,

    /// Name of the project, its directory and its component: words joined by `-`
    pub name: String,

    /// Take the types of the tasks from the code: no WIT is to be written
    #[arg(long, long_help = about_no_wit())]
    pub no_wit: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner build
  run-wasm-runner build hello --json | jq -r .path

Exit codes: 78 if a tool is missing or fails, or the component can't be used.")]
pub struct BuildArgs {
    /// The project's directory
    #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,

    /// Language, where its files do not say it
    #[arg(long)]
    pub language: Option<&'static Language>,
}

/// Returns the long help of `--no-wit`.
fn about_no_wit() -> String {
    let languages = LANGUAGES.iter().filter(|language| language.files_without_wit.is_some());
    let languages = in_backticks(languages.map(|language| language.name));
    format!(
        "Take the types of the tasks from the code: no WIT is to be written\n\nFor {languages}. \
         The build makes the WIT; the tasks are the same as with it."
    )
}

/// Returns the long description of `build`.
pub fn about() -> String {
    let marks = LANGUAGES.iter().map(|language| in_backticks(language.marks.iter().copied()));
    let marks = marks.collect::<Vec<_>>().join(", ");
    format!(
        "Build a project's component with its language's own tools\n\n\
         What the tools say goes to standard error. The component goes to `build/NAME.wasm` in the \
         project's directory, and what `inspect` shows of it to standard output. NAME is the world in \
         `wit/`, or cargo's name of the target. The language is known by its files: {marks}."
    )
}

/// The document of `new --json`.
#[derive(Debug, Serialize)]
struct NewDocument<'a> {
    name: &'a str,
    language: &'a str,
    files: Vec<String>,
}

/// The document of `build --json`.
#[derive(Debug, Serialize)]
struct BuildDocument<'a> {
    language: &'a str,
    path: String,
    seconds: f64,
    #[serde(flatten)]
    inspection: InspectionDocument<'a>,
}

/// Runs `new`.
pub fn new(args: &NewArgs, json: bool) -> Result<(), CliError> {
    let (name, language) = (&*args.name, args.language);
    let style = if args.no_wit { Style::NoWit } else { Style::Wit };
    let files = new::create(name, language, style)?;
    let mut output = Output::stdout(json);
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

/// Runs `build`.
pub fn run(args: &BuildArgs, flags: &Flags, json: bool) -> Result<(), CliError> {
    let project = build::find(&args.directory, args.language)?;
    project.provide_task_wit()?;
    let service = service(&project, flags)?;
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

    let mut output = Output::stdout(json);
    if json {
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
fn service(project: &Project, flags: &Flags) -> Result<Service, CliError> {
    let mut around = Surroundings::of_process()?;
    around.directory = std::path::absolute(&project.directory).map_err(|error| {
        CliError::system(format!("the path of `{}` is not known: {error}", project.directory.display()))
    })?;
    let instead = "the component is compiled within the default limits";
    Ok(Context::or_defaults(Config::resolve(flags, &around), instead, false)?.service)
}
