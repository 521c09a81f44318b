//! Go.

use std::path::Path;
use std::process::Command;

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
fn everything_that_was_written_before_a_task_returned_is_kept() {
    let project = project();
    project.edit(
        "tasks/tasks.go",
        "return fmt.Sprintf(\"Hello",
        "fmt.Print(\"first\\nsecond\")\n\treturn fmt.Sprintf(\"Hello",
    );
    project.run(["build"]).expect(0);
    project.writes("greet", "first\nsecond");
}

#[test]
fn the_packages_that_bindings_import_hold_their_own_tests() {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/componentize/go");
    let mut go = Command::new(toolchains::native().join("go"));
    go.args(["test", "./..."]).current_dir(packages);
    go.env("GOCACHE", toolchains::cache("go")).env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
    let output = go.output().expect("go is started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn streams_and_asynchronous_functions_are_refused() {
    let project = project();
    let greet = "greet: func(name: string) -> string;";
    project.edit("wit/world.wit", greet, "greet: async func(name: string) -> string;");
    let output = project.run(["build"]).expect(78);
    let text = "the WIT has streams, futures or asynchronous functions, which components in Go can't have";
    assert!(output.stderr.contains(text), "{}", output.stderr);
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
