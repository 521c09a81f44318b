//! `inspect`: what a component file holds.

use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError, Surroundings, check_component_name};
use crate::service::InspectionDocument;
use crate::wasm::{CompileLimits, Grants, Inspection, Library, Right, rights};

use super::args::{Cli, InspectArgs};
use super::compile;
use super::context::Context;
use super::error::CliError;
use super::output::{self, Output, harmless_line};
use super::render::{plural, size};

/// Runs the command.
///
/// # Errors
///
/// [`CliError`].
pub fn run(args: &InspectArgs, cli: &Cli) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let found = find(&args.file, cli)?;
    let inspection = found.inspect()?;
    let configured = found.configured();
    if cli.global.json {
        output.json(&InspectionDocument::new(&inspection, configured))?;
        return output.flush();
    }
    show(&mut output, &found.path, &inspection, configured)?;
    output.flush()
}

/// A component that a command line names.
pub struct Found {
    name: String,
    /// Its file.
    pub path: PathBuf,
    /// If it is configured.
    grants: Option<Grants>,
    compile: CompileLimits,
}

impl Found {
    fn unconfigured(file: &Path, compile: CompileLimits) -> Self {
        Self { name: component_name(file), path: file.to_owned(), grants: None, compile }
    }

    /// The name under which it is configured, and what it is granted.
    pub fn configured(&self) -> Option<(&str, &Grants)> {
        self.grants.as_ref().map(|grants| (self.name.as_str(), grants))
    }

    /// What it holds.
    ///
    /// # Errors
    ///
    /// [`CliError::Load`].
    pub fn inspect(&self) -> Result<Inspection, CliError> {
        let compiler = compile::compiler(self.compile);
        Library::inspect(&self.name, &self.path, None, compiler).map_err(|error| CliError::Load(vec![error]))
    }
}

/// Finds a component by its file, or by the name under which it is configured.
///
/// # Errors
///
/// A configuration that is wrong, unless it is a file anyway.
pub fn find(file: &Path, cli: &Cli) -> Result<Found, CliError> {
    let is_file = file.is_file();
    let config = match resolve(cli) {
        Ok(config) => config,
        Err(error) if is_file => {
            let instead = "nothing is known of grants, and the default limits of compiling hold";
            output::warn(&error.ignored(instead), None);
            return Ok(Found::unconfigured(file, CompileLimits::default()));
        }
        Err(error) => return Err(error.into()),
    };
    let context = Context::of(config, cli);
    let compile = context.config().compile;
    let source = match (is_file, file.to_str()) {
        (false, Some(name)) => context.service.source(name)?,
        (false, None) => None,
        (true, _) => {
            let real = std::fs::canonicalize(file).ok();
            let is_it = |path: &Path| real.is_some() && std::fs::canonicalize(path).ok() == real;
            let mut components = context.config().components.iter();
            let found = components.find(|component| component.origin.file().is_some_and(is_it));
            found.map(|component| component.at(file.to_owned(), Vec::new()))
        }
    };
    Ok(match source {
        Some(source) => {
            Found { name: source.name.to_string(), path: source.path, grants: Some(source.grants), compile }
        }
        None => Found::unconfigured(file, compile),
    })
}

fn resolve(cli: &Cli) -> Result<Config, ConfigError> {
    Config::resolve(&cli.flags(), &Surroundings::of_process()?)
}

/// Writes for people what a component file holds, and how much of what it asks for
/// it is granted.
///
/// # Errors
///
/// If it can't be written.
pub fn show(
    output: &mut Output,
    file: &Path,
    inspection: &Inspection,
    configured: Option<(&str, &Grants)>,
) -> Result<(), CliError> {
    output.line(&harmless_line(&file.display().to_string()))?;
    output.line(&format!("{}, {}", inspection.digest, size(inspection.bytes)))?;
    output.line(&format!("\nexports {}", plural(inspection.tasks.len(), "task")))?;
    for task in &inspection.tasks {
        output.line(&format!("  {}", harmless_line(&task.signature())))?;
        if let Some(line) = task.summary() {
            output.line(&format!("    {}", harmless_line(line)))?;
        }
    }
    if !inspection.not_tasks.is_empty() {
        output.line("\nexports, but not as tasks")?;
        for not in &inspection.not_tasks {
            output.line(&harmless_line(&format!("  {}: {}", not.id, not.reason)))?;
        }
    }
    let rights = rights(&inspection.imports);
    match configured {
        Some((name, _)) => {
            output.line(&format!("\nasks for {}, granted to `{name}`", plural(rights.len(), "right")))?
        }
        None => output.line(&format!("\nasks for {}", plural(rights.len(), "right")))?,
    }
    for right in &rights {
        let Some((_, grants)) = configured else {
            output.line(&format!("  {}", right_line(right)))?;
            continue;
        };
        let (extent, granted) = right.extent(grants);
        output.line(&format!("  {}: {}", right_line(right), extent.as_str()))?;
        for granted in granted {
            output.line(&harmless_line(&format!("    {granted}")))?;
        }
    }
    output.line(&format!("\nimports {}", plural(inspection.imports.len(), "interface")))?;
    for import in &inspection.imports {
        let mark = if import.is_provided { " " } else { "!" };
        output.line(&harmless_line(&format!("{mark} {}: {}", import.import, import.provided_by)))?;
    }
    Ok(())
}

/// A right with its details: `network (names, tcp)`.
pub fn right_line(right: &Right) -> String {
    let uses = if right.uses.is_empty() { String::new() } else { format!(" ({})", right.uses.join(", ")) };
    harmless_line(&format!("{}{uses}", right.kind))
}

/// What the file would be called in a configuration.
pub fn component_name(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().replace(['_', '.', ' '], "-"));
    let is_name = |stem: &String| check_component_name(stem, crate::config::Origin::Flag).is_ok();
    stem.filter(is_name).unwrap_or_else(|| "component".to_owned())
}
