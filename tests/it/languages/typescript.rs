//! TypeScript.

use super::project::Project;
use crate::support::toolchains;

/// As after `npm install`.
fn project() -> Project {
    let project = Project::new("typescript");
    let installed = std::os::unix::fs::symlink(toolchains::node_modules(), project.path("node_modules"));
    installed.expect("a link is made");
    project
}

#[test]
fn a_typescript_project_works_from_new_to_call() {
    let project = project();
    project.works();
    let tested = project.test("npm", &["test"]);
    assert!(tested.contains("pass 2") && tested.contains("fail 0"), "{tested}");
}

#[test]
fn a_wrong_type_fails_the_build() {
    let project = project();
    project.edit("src/app.ts", "return `Hello, ${name}!`;", "return name.length;");
    let output = project.run(["build"]).expect(78);
    for text in ["src/app.ts", "error TS2322", "error: `tsc --project . --noEmit` failed"] {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
}
