//! `primes`, whose tasks are plain Rust functions under the attribute of `sdk/rust`.

use serde_json::json;

use super::setup::Setup;

#[test]
fn children_are_submitted_and_their_values_come_back() {
    let setup = Setup::new(&["primes"]);
    assert_eq!(
        setup.value("search", r#"[{"from": 10, "to": 30}, "trial-division"]"#),
        json!([11, 13, 17, 19, 23, 29])
    );
    let id = setup.submit("demo:primes/tasks.count", "[10000, 100]");
    setup.run_all();
    assert_eq!(setup.run(["result", &id]).expect(0).json(), 1229);
    let children = setup.run(["list", "--task", "search", "--json", "--limit", "0"]).expect(0).json_lines();
    assert_eq!(children.len(), 100);
    assert!(children.iter().all(|child| child["parent"] == json!(id)));
    assert_eq!(setup.value("agree", r#"[{"from": 5, "to": 500}]"#), true);
}

#[test]
fn values_of_every_kind_go_to_a_child_and_come_back() {
    let setup = Setup::new(&["primes"]);
    let report = |range: &str, rest: serde_json::Value| {
        let mut expected = json!({"range": serde_json::from_str::<serde_json::Value>(range).expect("JSON")});
        expected.as_object_mut().expect("an object").extend(rest.as_object().expect("one").clone());
        assert_eq!(setup.value("describe", &format!("[{range}]")), expected);
    };
    report(
        r#"{"from": 5, "to": 55}"#,
        json!({"way": "sieve", "count": 14, "largest": 53, "by-last-digit": [[1, 3], [3, 4], [5, 1], [7, 4], [9, 2]],
            "share": 0.28, "refused": null, "traits": ["any", "all-odd"], "type": "é"}),
    );
    report(
        r#"{"from": 5, "to": 2}"#,
        json!({"way": "sieve", "count": 0, "largest": null, "by-last-digit": [], "share": "NaN",
            "refused": {"backwards": {"from": 5, "to": 2}}, "traits": ["all-odd"], "type": "é"}),
    );
    report(
        r#"{"from": 5, "to": 5}"#,
        json!({"way": "sieve", "count": 0, "largest": null, "by-last-digit": [], "share": "NaN", "refused": "empty",
            "traits": ["all-odd"], "type": "é"}),
    );
}

#[test]
fn each_kind_of_failure_of_a_child_is_an_error_of_its_own() {
    let setup = Setup::new(&["primes"]);
    let returned = setup.failure("search", r#"[{"from": 0, "to": 200000}, "sieve"]"#, 1, "returned").failure;
    assert_eq!(returned["error"], json!({"too-many": 200_000}));
    let explained = setup.failure("count", "[200000, 1]", 1, "returned").failure;
    assert_eq!(explained["error"], "200000 numbers are too many");
    setup.failure("give-up", "[]", 3, "trapped").says(&["there are too many primes"]);
    let asked = setup.failure("ask", "[]", 1, "returned").failure;
    let error = asked["error"].as_str().expect("a text");
    assert!(error.starts_with("trapped: ") && error.contains("there are too many primes"), "{error}");
}

#[test]
fn a_stub_stands_for_a_task_of_another_component() {
    let setup = Setup::new(&["primes", "workflow"]);
    assert_eq!(setup.value("squares", "[2, 8]"), 4 + 9 + 25 + 49);
    let failed = setup.failure("squares", "[3, 3]", 1, "returned").failure;
    assert_eq!(failed["error"], "there is nothing to search");
    // What only others have is not in its own WIT.
    let wit = setup.run(["wit", "primes"]).expect(0);
    assert!(wit.stdout().contains("flags traits") && !wit.stdout().contains("stretch"), "{wit:?}");
}
