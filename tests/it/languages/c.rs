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
