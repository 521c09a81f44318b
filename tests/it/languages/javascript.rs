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

/// Tells what a task sees of chance and time.
const SEEN: &str = r#"
        const before = performance.now();
        while (Date.now() === atBuild) {}
        const bytes = crypto.getRandomValues(new Uint16Array(4));
        const isOrderly = before >= 0 && performance.now() >= before && performance.now() < 60_000;
        const isNow = Math.abs(performance.timeOrigin - Date.now()) < 60_000 && Date.now() > atBuild;
        const halves = Array.from({ length: 999 }, Math.random).filter((number) => number < 0.5).length;
        const isFair = halves > 350 && halves < 650 && bytes.length === 4;
        return [Math.random(), crypto.randomUUID(), bytes.join(), isOrderly, isNow, isFair].join(" ");
"#;

#[test]
fn every_instance_has_random_numbers_and_a_clock_of_its_own() {
    let project = project();
    project.edit("src/app.js", "return `Hello, ${name}!`;", SEEN);
    // Tasks do not go on from the state in which the build leaves both.
    project.edit(
        "src/app.js",
        "export const tasks",
        "const atBuild = Date.now();\nfor (let n = 0; n < 9; n += 1) performance.now(Math.random());\n\nexport const tasks",
    );
    // A package of that name that the project has itself is in nobody's way.
    let place = project.path("wit/deps/random");
    std::fs::create_dir(&place).expect("created");
    let own = "package wasi:random@0.2.0;\ninterface other { use-it: func() -> u8; }\n";
    std::fs::write(place.join("random.wit"), own).expect("written");
    project.run(["build"]).expect(0);
    project.gives_each_instance_its_own("greet");
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
