//! The steps of a build that no tool of the language itself does: bindings for C, C++
//! and Go, and the step from a core module to a component.

use std::io::{self, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::authoring::AuthoringError;
use crate::authoring::project::{Host, Project};

/// The component, compressed; `cargo xtask componentize` refreshes it.
const COMPONENT: &[u8] = include_bytes!("../../../sdk/componentize.wasm.gz");

/// Unpacks the component that makes components; its source is `sdk/componentize`.
pub fn componentize() -> io::Result<Vec<u8>> {
    let mut component = Vec::new();
    GzDecoder::new(COMPONENT).read_to_end(&mut component)?;
    Ok(component)
}

/// The steps for one project.
pub struct Steps<'a> {
    project: &'a Project,
    host: &'a dyn Host,
    world: String,
}

impl<'a> Steps<'a> {
    /// Reads the world that the project's component is made for.
    pub fn new(project: &'a Project, host: &'a dyn Host) -> Result<Self, AuthoringError> {
        Ok(Self { project, host, world: project.world()? })
    }

    /// Returns the world that the component is made for.
    pub fn world(&self) -> &str {
        &self.world
    }

    /// Writes the bindings for a language into `build/bindings`, and removes what was
    /// there before.
    pub fn bind(&self, language: &Value) -> Result<(), AuthoringError> {
        self.project.clear("build/bindings")?;
        self.host.call(self.project, "bind", &json!([language, self.world]))
    }

    /// Makes a component of a core module. Both are in `build`.
    pub fn assemble(&self, module: &str, component: &Path) -> Result<(), AuthoringError> {
        let component = component.file_name().unwrap_or_default().to_string_lossy();
        self.host.call(self.project, "assemble", &json!([module, self.world, component]))
    }
}
