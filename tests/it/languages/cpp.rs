//! C++.

use super::project::Project;
use crate::support::toolchains;

#[test]
fn a_cpp_project_works_from_new_to_call() {
    let project = Project::new("cpp")
        .with_tools(&toolchains::native())
        .with("ZIG_GLOBAL_CACHE_DIR", toolchains::cache("zig"));
    project.works();
    project.test("python-zig", &["c++", "-std=c++23", "test/geometry.cpp", "-o", "build/test"]);
    assert_eq!(project.test("build/test", &[]), "all checks passed\n");
}
