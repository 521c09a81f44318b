//! C and C++: Zig's compiler, which has all of the C and C++ libraries with it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::authoring::AuthoringError;
use crate::authoring::build::steps::Steps;
use crate::authoring::build::tool::{self, Tool};
use crate::authoring::language::{Language, files};
use crate::authoring::project::{Host, Project};

/// C.
pub const C: Language = Language {
    name: "c",
    alias: None,
    about: "C, with Zig's compiler",
    marks: &["src/tasks.c"],
    instead_of: None,
    prepare: Some(ZIG.install),
    reserved: "bool break case char const continue default do double else enum extern float for if int long return \
        static struct",
    files: files!(
        "templates/c": "README.md", "gitignore" => ".gitignore", "src/geometry.c", "src/geometry.h", "src/tasks.c",
        "test/geometry.c";
    ),
    files_without_wit: None,
    build: |project, host| build(project, host, "c", "cc", &["-std=gnu23"]),
};

/// C++.
pub const CPP: Language = Language {
    name: "cpp",
    alias: Some("c++"),
    about: "C++, with Zig's compiler",
    marks: &["src/tasks.cpp"],
    reserved: "class delete export false final namespace new true",
    files: files!(
        "templates/cpp": "README.md", "gitignore" => ".gitignore", "src/geometry.hpp", "src/tasks.cpp",
        "test/geometry.cpp";
    ),
    build: |project, host| {
        build(project, host, "cpp", "c++", &["-std=c++23", "-fno-exceptions", "-fno-rtti"])
    },
    ..C
};

const ZIG: Tool = Tool {
    name: "zig",
    // As its package on PyPI calls it.
    alias: Some("python-zig"),
    within: Some(".venv/bin"),
    install: "python3 -m venv .venv && .venv/bin/pip install ziglang==0.17.1",
};

/// Builds all files below `src` that end in `extension`; the component gets the name of the world.
fn build(
    project: &Project,
    host: &dyn Host,
    extension: &str,
    compiler: &str,
    flags: &[&str],
) -> Result<PathBuf, AuthoringError> {
    let mut zig = ZIG.command(project)?;
    let steps = Steps::new(project, host)?;
    steps.bind(&json!(extension))?;
    let mut sources = Vec::new();
    for folder in ["src", "build/bindings"] {
        find(project, folder, &[extension, "o"], &mut sources)?;
    }
    project.produce(steps.world(), |draft| {
        let module = format!("{}.module.wasm", steps.world());
        zig.arg(compiler).args(["-target", "wasm32-wasi", "-mexec-model=reactor", "-Oz", "-s"]);
        zig.args(flags).args(["-Wall", "-Wextra", "-Isrc", "-Ibuild/bindings"]);
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
