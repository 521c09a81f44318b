//! Python: componentize-py puts the interpreter and the modules into one
//! component, with everything imported already.

use std::path::PathBuf;

use super::project::Project;
use super::tool::{self, Tool};
use crate::cli::error::CliError;

const COMPONENTIZE: Tool = Tool {
    name: "componentize-py",
    alias: None,
    within: Some(".venv/bin"),
    install: "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
};

/// Builds the module `src/app.py`; the component gets the name of the world.
///
/// # Errors
///
/// [`CliError::Build`].
pub fn build(project: &Project) -> Result<PathBuf, CliError> {
    let world = project.world()?;
    project.produce(&world, |draft| {
        let mut componentize = COMPONENTIZE.command(project)?;
        // Modules that are installed beside it go into the component, if they are
        // imported.
        if let Ok(venv) = std::path::absolute(project.path(".venv"))
            && venv.is_dir()
        {
            componentize.env("VIRTUAL_ENV", venv);
        }
        componentize
            .args([
                "--wit-path",
                "wit",
                "--world",
                &world,
                "componentize",
                "--python-path",
                "src",
                "app",
                "--output",
            ])
            .arg(project.relative(draft));
        tool::run(&mut componentize)
    })
}
