//! Builds: from a project to a component, with the language's own tools.

mod c;
mod docs;
mod go;
mod host;
mod javascript;
mod project;
mod python;
mod rust;
mod sdk;
mod steps;
mod tool;

use std::path::PathBuf;

use super::{AuthoringError, Language};
pub use host::Host;
pub use project::Project;
pub use steps::componentize;

/// Builds the component of a project, and returns its path.
/// An error says which tool is missing or failed.
pub fn build(project: &Project, host: &dyn Host) -> Result<PathBuf, AuthoringError> {
    let path = match project.language {
        Language::Rust => rust::build(project, host),
        Language::Python => python::build(project, host),
        Language::JavaScript => javascript::build(project, host),
        Language::TypeScript => javascript::build_typescript(project, host),
        Language::Go => go::build(project, host),
        Language::C => c::build(project, host, &c::C),
        Language::Cpp => c::build(project, host, &c::CPP),
    }?;
    docs::attach(project, &path)?;
    Ok(path)
}
