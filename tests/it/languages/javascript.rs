//! JavaScript.

use super::project::Project;
use crate::support::toolchains;

/// As after `npm install`.
fn project() -> Project {
    let project = Project::new("javascript");
    let installed = std::os::unix::fs::symlink(toolchains::node_modules(), project.path("node_modules"));
    installed.expect("a link is made");
    project
}

#[test]
fn a_javascript_project_works_from_new_to_call() {
    let project = project();
    project.works();
    let tested = project.test("npm", &["test"]);
    assert!(tested.contains("pass 2") && tested.contains("fail 0"), "{tested}");
    // What JavaScript has to say of an exception that nobody handles.
    let trapped = project.run(["call", "square", "[65536]"]).expect(3);
    assert!(trapped.stderr.contains("4294967296 needs more than 32 bits"), "{trapped:?}");
}

#[test]
fn errors_of_quickjs_are_shown() {
    let project = project();
    project.edit("src/app.js", "greet(name) {", "greet(name {");
    let output = project.run(["build"]).expect(78);
    for text in ["app.js", "error: `componentize-qjs "] {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
}
