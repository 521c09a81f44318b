//! Go.

use super::project::Project;
use crate::support::toolchains;

fn project() -> Project {
    Project::new("go")
        .with_tools(&toolchains::native())
        .with("GOCACHE", toolchains::cache("go"))
        // Nothing of a project comes from the network.
        .with("GOPROXY", "off")
        .with("GOTOOLCHAIN", "local")
}

#[test]
fn a_go_project_works_from_new_to_call() {
    let project = project();
    project.works();
    let tested = project.test("go", &["test", "./tasks"]);
    assert!(tested.contains("ok "), "{tested}");
    // What Go has to say of a panic.
    let trapped = project.run(["call", "square", "[65536]"]).expect(3);
    assert!(trapped.stderr.contains("panic: 4294967296 needs more than 32 bits"), "{trapped:?}");
}

#[test]
fn a_task_without_its_function_fails_the_build() {
    let project = project();
    project.edit("tasks/tasks.go", "func Greet(", "func Salute(");
    let output = project.run(["build"]).expect(78);
    for text in ["undefined: tasks.Greet", "error: `go build "] {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
}
