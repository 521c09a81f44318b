//! C++.

use super::project::Project;
use crate::support::toolchains;

fn project() -> Project {
    Project::new("cpp")
        .with_tools(&toolchains::native())
        .with("ZIG_GLOBAL_CACHE_DIR", toolchains::cache("zig"))
}

#[test]
fn a_cpp_project_works_from_new_to_call() {
    let project = project();
    project.works();
    project.test("python-zig", &["c++", "-std=c++23", "test/geometry.cpp", "-o", "build/test"]);
    assert_eq!(project.test("build/test", &[]), "all checks passed\n");
}

#[test]
fn everything_that_was_written_before_a_task_returned_is_kept() {
    let project = project();
    project.edit("src/tasks.cpp", "#include <charconv>", "#include <charconv>\n#include <iostream>");
    let written = "std::cout << \"first\\nsecond\\n\" << 3;\n    std::printf(\" and four\");\n";
    project.edit(
        "src/tasks.cpp",
        "    return wit::string::from_view(\"Hello",
        &format!("    {written}    return wit::string::from_view(\"Hello"),
    );
    project.run(["build"]).expect(0);
    project.writes("greet", "first\nsecond\n3 and four");
}
