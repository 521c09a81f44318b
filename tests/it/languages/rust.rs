//! Rust.

use super::project::Project;
use crate::support::toolchains;

fn project() -> Project {
    with_cargo(Project::new("rust"))
}

fn with_cargo(project: Project) -> Project {
    let project = project.with("CARGO_TARGET_DIR", toolchains::cargo_target());
    toolchains::rust_homes().into_iter().fold(project, |project, (name, value)| project.with(name, value))
}

#[test]
fn a_rust_project_works_from_new_to_call() {
    let project = project();
    project.works();
    // In the profile whose dependencies are built already.
    let tested = project.test("cargo", &["test", "--release"]);
    assert!(tested.contains("2 passed; 0 failed"), "{tested}");
}

#[test]
fn errors_of_cargo_are_shown_and_the_component_stays() {
    let project = project();
    project.run(["build"]).expect(0);
    project.edit("src/lib.rs", "\"Hello, {name}!\"", "\"Hello, {nobody}!\"");
    let output = project.run(["build"]).expect(78);
    for text in
        ["cannot find value `nobody`", "error: `cargo build --release", "failed with exit status: 101"]
    {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
    assert!(output.stdout.is_empty(), "{output:?}");
    assert_eq!(project.run(["call", "greet", "[\"x\"]"]).expect(0).json(), "Hello, x!");
}

/// The limits are those of the configuration with which the project is run.
#[test]
fn a_build_obeys_the_configured_limits_of_compiling() {
    let project = project();
    project.edit("wasm-runner.toml", "[component.", "[compile]\ncomponent = \"1KiB\"\n\n[component.");
    let output = project.run(["build"]).expect(78);
    assert!(output.stderr.contains("more than the 1024 bytes that `compile.component` allows"), "{output:?}");
    // A configuration that is wrong is for those to refuse who run the project.
    project.edit("wasm-runner.toml", "component = \"1KiB\"", "component = \"a little\"");
    let output = project.run(["build"]).expect(0);
    let warning = "the configuration is wrong, so the component is compiled within the default limits";
    assert!(output.stderr.contains(warning), "{output:?}");
}

#[test]
fn a_rust_project_without_wit_works_from_new_to_call() {
    let project = with_cargo(Project::without_wit("rust"));
    project.works();
    let tested = project.test("cargo", &["test", "--release"]);
    assert!(tested.contains("2 passed; 0 failed"), "{tested}");
    let wit = project.run(["wit"]).expect(0);
    assert!(
        wit.stdout().contains("centroid: func(points: list<point>) -> result<point, string>;"),
        "{wit:?}"
    );

    // Everything that was written before a task returned is kept, the last line too.
    project.edit("src/lib.rs", "format!(\"Hello,", "print!(\"first\\nsecond\"); format!(\"Hello,");
    project.run(["build"]).expect(0);
    project.writes("greet", "first\nsecond");

    // What has no type in WIT is told where it stands.
    project.edit("src/lib.rs", "greet(name: String)", "greet(name: &str)");
    let output = project.run(["build"]).expect(78);
    for text in ["error: this has no type in WIT: possible are bool,", "--> src/lib.rs:13:24"] {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
}
