//! Python: componentize-py puts the interpreter and the modules into one
//! component, with everything imported already.

use std::path::PathBuf;

use crate::authoring::AuthoringError;
use crate::authoring::build::tool::{self, Tool};
use crate::authoring::language::{File, Language, files};
use crate::authoring::project::{Host, Project};
use crate::authoring::wit::names;

/// Python.
pub const PYTHON: Language = Language {
    name: "python",
    alias: None,
    about: "Python, with componentize-py",
    marks: &["pyproject.toml", "requirements.txt"],
    instead_of: None,
    prepare: Some(COMPONENTIZE.install),
    reserved: "and as assert async await break class continue def del else for from global if import in is lambda \
        not or pass return",
    files: files!(
        "templates/python": "README.md", "gitignore" => ".gitignore", "requirements.txt", "src/app.py",
        "src/geometry.py", "tests/test_geometry.py";
    ),
    files_without_wit: Some(files!(
        "templates/python-no-wit": "README.md", "gitignore" => ".gitignore", "src/app.py", "tests/test_app.py";
        "templates/python": "requirements.txt";
    )),
    build,
};

/// The module that tasks without WIT are written with, and the program that makes WIT of their types.
const SDK: &[File] = files!(
    "python": "wasm_runner/__init__.py", "wasm_runner/_build.py", "wasm_runner/_entry.py",
    "wasm_runner/_loop.py", "wasm_runner/_types.py";
);

const COMPONENTIZE: Tool = Tool {
    name: "componentize-py",
    alias: None,
    within: Some(".venv/bin"),
    install: "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
};
const INTERPRETER: Tool = Tool { name: "python3", alias: Some("python"), ..COMPONENTIZE };

/// Builds the module `src/app.py`; the component gets the name of the world.
fn build(project: &Project, host: &dyn Host) -> Result<PathBuf, AuthoringError> {
    if !project.has_wit()? && project.path("src/app.py").is_file() {
        return build_without_wit(project, host);
    }
    let world = project.world()?;
    componentize(project, host, &world, "wit", &["src"], "app")
}

/// Makes WIT of the type hints in `src/app.py` first.
fn build_without_wit(project: &Project, host: &dyn Host) -> Result<PathBuf, AuthoringError> {
    // First of all what is needed, so that nothing is done in vain.
    COMPONENTIZE.command(project)?;
    project.install("build/python", SDK)?;
    project.clear("build/wit")?;
    let wit = project.path("build/wit");
    let mut python = INTERPRETER.command(project)?;
    python.env("PYTHONPATH", "build/python:src");
    tool::run(host, python.args(["-B", "-m", "wasm_runner._build", "app", "build"]))?;
    names::provide_task_package(&wit)?;
    let world = names::only_world(&wit)?;
    componentize(project, host, &world, "build/wit", &["build/python", "src"], "wasm_runner_entry")
}

fn componentize(
    project: &Project,
    host: &dyn Host,
    world: &str,
    wit: &str,
    folders: &[&str],
    module: &str,
) -> Result<PathBuf, AuthoringError> {
    project.produce(world, |draft| {
        let mut componentize = COMPONENTIZE.command(project)?;
        // Modules that are installed beside it go into the component, if they are
        // imported.
        if let Ok(venv) = std::path::absolute(project.path(".venv"))
            && venv.is_dir()
        {
            componentize.env("VIRTUAL_ENV", venv);
        }
        componentize.args(["--wit-path", wit, "--world", world, "componentize"]);
        for folder in folders {
            componentize.args(["--python-path", folder]);
        }
        componentize.args([module, "--output"]).arg(project.relative(draft));
        tool::run(host, &mut componentize)
    })
}
