//! Tasks that are `async def`: what they wait for at the same time, they wait for by the
//! runner.

use std::fs;

use super::Project;
use crate::support::toolchains;

#[test]
fn an_async_task_awaits_children_and_time_at_once_and_holds_no_slot() {
    let project = Project::without_wit("python").with_tools(&toolchains::python());
    fs::write(project.path("src/app.py"), include_str!("later.py")).expect("written");
    fs::write(project.path("tests/test_app.py"), include_str!("test_later.py")).expect("written");
    fs::write(project.path("wasm-runner.toml"), "[component.later]\npath = \"build/later.wasm\"\n")
        .expect("written");
    project.run(["build"]).expect(0);
    // Nothing could go on if anything held the only slot.
    let call = |task: &str, arguments: &str| project.run(["call", task, arguments, "--slots", "1"]);
    let gives = |task: &str, arguments: &str, value: &str| {
        assert_eq!(call(task, arguments).expect(0).stdout(), format!("{value}\n"), "{task} {arguments}");
    };
    gives("halves", "[100]", &serde_json::json!((0..100).collect::<Vec<_>>()).to_string());
    gives("chains", "[6]", "[0,1,2,3,4,5]");
    gives("grouped", "[2, 4]", "3");
    gives("in-order", "[[400, 1, 200]]", "[1,200,400]");
    gives("impatient", "[1]", "\"1\"");
    // The child waited too: for time.
    gives("impatient", "[3600000]", "\"gave up, waiting, True\"");
    gives("twice", "[8]", "[4,4,4,4]");
    gives("both-kinds", "[8]", "[4,4,4,4]");
    gives("refused", "[]", "\"unknown-invocation\"");
    let failed = call("grouped", "[2, 3]").expect(1);
    assert!(failed.stderr.contains("returned an error: \"3 is odd\""), "{failed:?}");
    let stuck = call("stuck", "[]").expect(3);
    assert!(stuck.stderr.contains("the task awaits what can't come"), "{stuck:?}");

    let tested = project.test("python", &["-B", "-m", "unittest", "discover", "tests"]);
    assert!(tested.contains("Ran 5 tests") && tested.contains("OK"), "{tested}");
}
