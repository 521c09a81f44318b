//! Typed imports across languages with the WIT that `wit deps` fetches: a Python
//! parent, a Rust child, and its JavaScript child, from an empty folder.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::projects::{CONFIGURATION, PYTHON, Projects};
use crate::support::cli::Sandbox;
use crate::support::guests::guest;
use crate::support::toolchains;

const RUST: &str = r#"fn centroid(points: Vec<Point>) -> Result<Point, String> {
        let points: Vec<child::Point> = points.iter().map(|point| child::Point { x: point.x, y: point.y }).collect();
        let centroid = child::centroid(&points).map_err(|error| format!("the child says: {error}"))?;
        Ok(Point { x: centroid.x, y: centroid.y })
    }

    fn square("#;

/// Lets a project import the interface of another one, and fetches it.
fn import(projects: &Projects, project: &str, other: &str) {
    let import = format!("    import local:{other}/tasks;\n    export tasks;");
    projects.edit(&format!("{project}/wit/world.wit"), "    export", " tasks;", &import);
    let fetched = projects.run(["wit", "deps", project]).expect(0);
    let file = format!("{project}/wit/deps/local-{other}/tasks.wit");
    assert_eq!(fetched.stdout(), format!("{file}\n"));
    assert!(projects.path(&file).is_file());
}

#[test]
fn a_python_parent_calls_a_rust_child_that_calls_a_javascript_child() {
    let projects = Projects(Sandbox::new());
    for (language, name) in [("python", "parent"), ("rust", "middle"), ("javascript", "child")] {
        projects.run(["new", language, name]).expect(0);
    }
    projects.install_npm("child");
    projects.0.write("wasm-runner.toml", CONFIGURATION);
    projects.run(["build", "child"]).expect(0);

    import(&projects, "middle", "child");
    projects.edit(
        "middle/src/lib.rs",
        "use exports",
        "::",
        "use local::child::tasks as child;\nuse exports::",
    );
    projects.edit("middle/src/lib.rs", "fn centroid(", "fn square(", RUST);
    projects.run(["build", "middle"]).expect(0);

    import(&projects, "parent", "middle");
    projects.edit("parent/src/app.py", "import invoc", "ations\n", "import invocations, tasks as middle\n");
    projects.edit("parent/src/app.py", "\n        try:", "def square(", PYTHON);
    projects.run(["build", "parent"]).expect(0);
    projects.run(["check"]).expect(0);

    let task = "local:parent/tasks.centroid";
    let points = r#"[[{"x": 1, "y": 2}, {"x": 3, "y": 2}]]"#;
    let value = projects.run(["call", task, points]).expect(0).json();
    assert_eq!(value, json!({"x": 2.0, "y": 2.0}));
    let failed = projects.run(["call", task, "[[]]", "--json"]).expect(1).json();
    let error = "the middle says: the child says: no points have no centroid";
    assert_eq!(failed["failure"]["error"], error);

    // Who changes a type breaks those that import it, and they learn it before anything runs.
    projects.edit("child/wit/world.wit", "x: f64", ",", "x: f32,");
    projects.run(["build", "child"]).expect(0);
    let refused = projects.run(["check"]).expect(78);
    assert!(refused.stderr.contains("imported as f64, exported as f32"), "{refused:?}");
    projects.run(["wit", "deps", "middle"]).expect(0);
    let fetched = fs::read_to_string(projects.path("middle/wit/deps/local-child/tasks.wit")).expect("read");
    assert!(fetched.contains("x: f32,"), "{fetched}");
}

#[test]
fn the_wit_of_every_type_is_read_by_other_tools() {
    let sandbox = Sandbox::new();
    sandbox.write("wasm-runner.toml", format!("[component.echo]\npath = {:?}\n", guest("echo")));
    sandbox.write("wit/world.wit", "package a:b;\nworld w { import demo:types/echo@0.1.0; }\n");
    sandbox.run(["wit", "deps"]).expect(0);
    let mut tool = Command::new(toolchains::python().join("componentize-py"));
    let output =
        tool.current_dir(sandbox.path()).args(["-d", "wit", "-w", "w", "bindings", "bindings"]).output();
    let output = output.expect("componentize-py is started");
    assert!(output.status.success(), "{output:?}");
    let bindings = sandbox.path().join("bindings/wit_world/imports/echo.py");
    let bindings = fs::read_to_string(bindings).expect("bindings were written");
    assert!(bindings.contains("class LineSegment") && bindings.contains("def join_words("), "{bindings}");
}
