//! Python.

use super::project::Project;
use crate::support::toolchains;

#[test]
fn a_python_project_works_from_new_to_call() {
    let project = Project::new("python").with_tools(&toolchains::python());
    project.works();
    let tested = project.test("python", &["-B", "-m", "unittest", "discover", "tests"]);
    assert!(tested.contains("Ran 2 tests") && tested.contains("OK"), "{tested}");
    // What Python has to say of an exception that nobody handles.
    let trapped = project.run(["call", "square", "[65536]"]).expect(3);
    assert!(trapped.stderr.contains("OverflowError: 4294967296 needs more than 32 bits"), "{trapped:?}");
}

#[test]
fn a_module_that_fails_to_import_fails_the_build() {
    let project = Project::new("python").with_tools(&toolchains::python());
    project.edit("src/app.py", "import geometry", "import geometri");
    let output = project.run(["build"]).expect(78);
    for text in ["No module named 'geometri'", "error: `componentize-py "] {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
    assert!(!project.path("build/first-steps.wasm").exists());
}
