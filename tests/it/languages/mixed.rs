//! Projects in several languages that call each other by typed imports: a Python
//! parent, a Go child, and its C child.

use std::fs;

use serde_json::json;

use super::projects::{CONFIGURATION, PYTHON, Projects};
use crate::support::cli::Sandbox;

const GO: &str = r#"func Centroid(points []types.Point) wit.Result[types.Point, string] {
	theirs := make([]child.Point, len(points))
	for i, point := range points {
		theirs[i] = child.Point(point)
	}
	centroid := child.Centroid(theirs)
	if centroid.IsErr() {
		return wit.Err[types.Point, string]("the child says: " + centroid.Err())
	}
	return wit.Ok[types.Point, string](types.Point(centroid.Ok()))
}

func Square("#;

/// Lets a project import the interface of another one.
fn import(projects: &Projects, project: &str, other: &str) {
    let wit = fs::read_to_string(projects.path(&format!("{other}/wit/world.wit"))).expect("it is there");
    projects.0.write(&format!("{project}/wit/deps/{other}/world.wit"), wit);
    let import = format!("    import local:{other}/tasks;\n    export tasks;");
    projects.edit(&format!("{project}/wit/world.wit"), "    export", " tasks;", &import);
}

#[test]
fn a_python_parent_calls_a_go_child_that_calls_a_c_child() {
    let projects = Projects(Sandbox::new());
    for (language, name) in [("python", "parent"), ("go", "middle"), ("c", "child")] {
        projects.run(["new", language, name]).expect(0);
    }
    // The child's own WIT first, before it has an import.
    import(&projects, "parent", "middle");
    import(&projects, "middle", "child");
    projects.edit("parent/src/app.py", "import invoc", "ations\n", "import invocations, tasks as middle\n");
    projects.edit("parent/src/app.py", "\n        try:", "def square(", PYTHON);
    projects.edit(
        "middle/tasks/tasks.go",
        "\ttypes ",
        "\"",
        "\tchild \"middle/build/bindings/local_child_tasks\"\n\ttypes \"",
    );
    projects.edit("middle/tasks/tasks.go", "func Centroid(", "func Square(", GO);
    for name in ["parent", "middle", "child"] {
        projects.run(["build", name]).expect(0);
    }
    projects.0.write("wasm-runner.toml", CONFIGURATION);
    projects.run(["check"]).expect(0);

    let task = "local:parent/tasks.centroid";
    let value = projects.run(["call", task, r#"[[{"x": 1, "y": 2}, {"x": 3, "y": 2}]]"#]).expect(0).json();
    assert_eq!(value, json!({"x": 2.0, "y": 2.0}));
    // An err goes up through all three, each of which says its part.
    let failed = projects.run(["call", task, "[[]]", "--json"]).expect(1).json();
    let error = "the middle says: the child says: no points have no centroid";
    assert_eq!(failed["failure"]["error"], error);

    // Each call was an invocation of its own.
    let id = projects.run(["submit", task, "[[{\"x\": 1, \"y\": 2}]]"]).expect(0).stdout().trim().to_owned();
    projects.run(["start", "--until-idle"]).expect(0);
    let all = projects.run(["list", "--json", "--limit", "0"]).expect(0).json_lines();
    let tasks: Vec<_> = all.iter().map(|one| (&one["function"], &one["depth"], &one["root"])).collect();
    let expected =
        |name: &str, depth: u32| (json!(format!("local:{name}/tasks.centroid")), json!(depth), json!(id));
    let expected = [expected("child", 2), expected("middle", 1), expected("parent", 0)];
    assert_eq!(tasks, expected.each_ref().map(|(task, depth, root)| (task, depth, root)));
}
