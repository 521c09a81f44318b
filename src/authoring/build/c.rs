//! C and C++: Zig's compiler, which has all of the C and C++ libraries with it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Host;
use super::project::Project;
use super::steps::Steps;
use super::tool::{self, Tool};
use crate::authoring::AuthoringError;

const ZIG: Tool = Tool {
    name: "zig",
    // As its package on PyPI calls it.
    alias: Some("python-zig"),
    within: Some(".venv/bin"),
    install: "python3 -m venv .venv && .venv/bin/pip install ziglang==0.17.1",
};

/// The differences between the two languages.
pub struct Dialect {
    bindings: &'static str,
    compiler: &'static str,
    extension: &'static str,
    flags: &'static [&'static str],
}

/// C.
pub const C: Dialect = Dialect { bindings: "c", compiler: "cc", extension: "c", flags: &["-std=gnu23"] };
/// C++.
pub const CPP: Dialect = Dialect {
    bindings: "cpp",
    compiler: "c++",
    extension: "cpp",
    flags: &["-std=c++23", "-fno-exceptions", "-fno-rtti"],
};

/// Builds all files of the language below `src`; the component gets the name of the world.
pub fn build(project: &Project, host: &dyn Host, dialect: &Dialect) -> Result<PathBuf, AuthoringError> {
    let mut zig = ZIG.command(project)?;
    let steps = Steps::new(project, host)?;
    steps.bind(&json!(dialect.bindings))?;
    let mut sources = Vec::new();
    for folder in ["src", "build/bindings"] {
        find(project, folder, &[dialect.extension, "o"], &mut sources)?;
    }
    project.produce(steps.world(), |draft| {
        let module = format!("{}.module.wasm", steps.world());
        zig.arg(dialect.compiler).args(["-target", "wasm32-wasi", "-mexec-model=reactor", "-Oz", "-s"]);
        zig.args(dialect.flags).args(["-Wall", "-Wextra", "-Isrc", "-Ibuild/bindings"]);
        zig.args(&sources).args(["-o", &format!("build/{module}")]);
        tool::run(host, &mut zig)?;
        steps.assemble(&module, draft)
    })
}

/// Finds the files below a folder that end in one of `extensions`, sorted, as seen from
/// the project's directory.
fn find(
    project: &Project,
    folder: &str,
    extensions: &[&str],
    found: &mut Vec<PathBuf>,
) -> Result<(), AuthoringError> {
    let entries = fs::read_dir(project.path(folder)).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(AuthoringError::cannot("read", Path::new(folder)))?;
    let mut names: Vec<_> = entries.into_iter().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        let path = Path::new(folder).join(name);
        if project.directory.join(&path).is_dir() {
            find(project, &path.to_string_lossy(), extensions, found)?;
        } else if path.extension().is_some_and(|end| extensions.iter().any(|extension| end == *extension)) {
            found.push(path);
        }
    }
    Ok(())
}
