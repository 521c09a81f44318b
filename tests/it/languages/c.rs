//! C.

use super::project::Project;
use crate::support::toolchains;

fn project() -> Project {
    Project::new("c").with_tools(&toolchains::native()).with("ZIG_GLOBAL_CACHE_DIR", toolchains::cache("zig"))
}

#[test]
fn a_c_project_works_from_new_to_call() {
    let project = project();
    project.works();
    project.test("python-zig", &["cc", "test/geometry.c", "src/geometry.c", "-o", "build/test"]);
    assert_eq!(project.test("build/test", &[]), "all checks passed\n");
}

#[test]
fn everything_that_was_written_before_a_task_returned_is_kept() {
    let project = project();
    std::fs::create_dir(project.path("out")).expect("created");
    let grant =
        "[[component.first-steps.directory]]\nhost = \"out\"\nguest = \"/out\"\naccess = \"read-write\"\n";
    project.edit("wasm-runner.toml", "[component.", &format!("{grant}[component."));
    let greeting = r#"printf("first\nsecond\nthird");
    FILE *file = fopen("/out/file", "w");
    if (file == NULL || fprintf(file, "in a file") < 0) {
        abort();
    }
    char *greeting;"#;
    project.edit("src/tasks.c", "char *greeting;", greeting);
    project.run(["build"]).expect(0);
    project.writes("greet", "first\nsecond\nthird");
    assert_eq!(std::fs::read_to_string(project.path("out/file")).expect("it is there"), "in a file");
    // The value that a task returns is still there after that.
    assert_eq!(project.run(["call", "greet", "[\"x\"]"]).expect(0).json(), "Hello, x!");
    assert_eq!(project.run(["call", "square", "[3]"]).expect(0).json(), 9);
}

#[test]
fn errors_of_the_compiler_are_shown() {
    let project = project();
    project.edit("src/tasks.c", "uint32_t square;", "uint32_t squares;");
    let output = project.run(["build"]).expect(78);
    for text in ["src/tasks.c:", "undeclared identifier 'square'", "error: `python-zig cc "] {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
}

#[test]
fn errors_in_the_wit_are_shown() {
    let project = project();
    project.edit("wit/world.wit", "result<point, string>", "result<pint, string>");
    let output = project.run(["build"]).expect(78);
    assert!(
        output.stderr.contains("error: ") && output.stderr.contains("name `pint` does not exist"),
        "{output:?}"
    );
}
