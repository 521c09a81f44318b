//! The comments of a project's WIT, put into its component for those who use it.

use std::fs;
use std::path::Path;

use crate::authoring::AuthoringError;
use crate::authoring::project::Project;
use crate::authoring::wit::docs::PackageDocs;
use crate::authoring::wit::names;
use crate::wasm::{DOCS_SECTION, append_custom_section, core_modules, custom_sections};

/// Where the attribute of `sdk/rust` leaves the WIT that it made: in a section
/// of the core module.
const WIT_SECTION: &str = "wasm-runner:wit";

/// Adds them to a component that was built.
pub fn attach(project: &Project, component: &Path) -> Result<(), AuthoringError> {
    let mut bytes = fs::read(component).map_err(AuthoringError::cannot("read", component))?;
    let made = project.path("build/wit");
    let docs = if project.has_wit()? {
        PackageDocs::read(names::full_texts(&project.path("wit"))?.iter().map(String::as_str))
    } else if made.is_dir() {
        PackageDocs::read(names::full_texts(&made)?.iter().map(String::as_str))
    } else {
        let sections = core_modules(&bytes).flat_map(|module| custom_sections(module, WIT_SECTION));
        PackageDocs::read(sections.filter_map(|section| str::from_utf8(section).ok()))
    };
    let Some(section) = docs.section() else { return Ok(()) };
    append_custom_section(&mut bytes, DOCS_SECTION, &section);
    let name = component.file_stem().unwrap_or_default().to_string_lossy();
    let written = project
        .produce(&name, |draft| fs::write(draft, &bytes).map_err(AuthoringError::cannot("written", draft)));
    written.map(drop)
}
