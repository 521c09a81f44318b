//! `inspect`: what a component file holds.

use std::path::Path;

use crate::config::check_component_name;
use crate::wasm::{CompileLimits, Inspection, Library};

use super::args::InspectArgs;
use super::arguments::signature;
use super::compile;
use super::error::CliError;
use super::output::{Output, harmless_line};
use super::render::{InspectionDocument, plural, size};

/// Runs the command.
///
/// # Errors
///
/// [`CliError`].
pub fn run(args: &InspectArgs, json: bool) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let name = component_name(&args.file);
    let compiler = compile::compiler(CompileLimits::default())?;
    let inspection =
        Library::inspect(&name, &args.file, None, compiler).map_err(|error| CliError::Load(vec![error]))?;
    if json {
        output.json(&InspectionDocument::new(&inspection))?;
        return output.flush();
    }
    show(&mut output, &args.file, &inspection)?;
    output.flush()
}

/// Writes for people what a component file holds.
///
/// # Errors
///
/// If it can't be written.
pub fn show(output: &mut Output, file: &Path, inspection: &Inspection) -> Result<(), CliError> {
    output.line(&harmless_line(&file.display().to_string()))?;
    output.line(&format!("{}, {}", inspection.digest, size(inspection.bytes)))?;
    output.line(&format!("\nexports {}", plural(inspection.tasks.len(), "task")))?;
    for task in &inspection.tasks {
        output.line(&format!("  {}", harmless_line(&signature(task))))?;
    }
    if !inspection.not_tasks.is_empty() {
        output.line("\nexports, but not as tasks")?;
        for not in &inspection.not_tasks {
            output.line(&harmless_line(&format!("  {}: {}", not.id, not.reason)))?;
        }
    }
    output.line(&format!("\nimports {}", plural(inspection.imports.len(), "interface")))?;
    for import in &inspection.imports {
        let mark = if import.is_provided { " " } else { "!" };
        output.line(&harmless_line(&format!("{mark} {}: {}", import.import, import.provided_by)))?;
    }
    Ok(())
}

/// What the file would be called in a configuration.
pub fn component_name(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().replace(['_', '.', ' '], "-"));
    let is_name = |stem: &String| check_component_name(stem, crate::config::Origin::Flag).is_ok();
    stem.filter(is_name).unwrap_or_else(|| "component".to_owned())
}
