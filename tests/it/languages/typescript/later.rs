//! Tasks that are `async`: what they wait for at the same time, they wait for by the
//! runner.

use std::fs;

use serde_json::json;

use super::project_without_wit;

#[test]
fn an_async_task_awaits_children_and_time_at_once_and_holds_no_slot() {
    let project = project_without_wit();
    fs::write(project.path("src/app.ts"), include_str!("later.ts")).expect("written");
    fs::write(project.path("test/app.test.ts"), include_str!("later.test.ts")).expect("written");
    project.run(["build"]).expect(0);
    // Nothing could go on if anything held the only slot.
    let call = |task: &str, arguments: &str| project.run(["call", task, arguments, "--slots", "1"]);
    let gives = |task: &str, arguments: &str, value: serde_json::Value| {
        assert_eq!(call(task, arguments).expect(0).json(), value, "{task} {arguments}");
    };
    gives("halves", "[100]", json!((0..100).collect::<Vec<_>>()));
    gives("chains", "[6]", json!([0, 1, 2, 3, 4, 5]));
    gives("both", "[2, 4]", json!(3));
    gives("in-order", "[[400, 1, 200]]", json!([1, 200, 400]));
    gives("impatient", "[1]", json!("1"));
    gives("impatient", "[3600000]", json!("gave up, true"));
    gives("twice", "[8]", json!([4, 4, 4, 4]));
    gives("both-kinds", "[8]", json!([4, 4, 1, 4, 4, 4, 4]));
    gives("refused", "[]", json!("unknown-invocation"));
    gives("plain", "[4]", json!(2));
    let said =
        ["0", "1", "1 is odd", "1", "3", "Error: no", "2", "1 is odd", "finally", "3 is odd", "microtask"];
    gives("language", "[2]", json!(said));
    let failed = call("both", "[2, 3]").expect(1);
    assert!(failed.stderr.contains("returned an error: \"3 is odd\""), "{failed:?}");
    let stuck = call("stuck", "[]").expect(3);
    assert!(stuck.stderr.contains("the task awaits what can't come"), "{stuck:?}");

    let tested = project.test("npm", &["test"]);
    assert!(tested.contains("pass 4") && tested.contains("fail 0"), "{tested}");
}
