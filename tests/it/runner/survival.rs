//! One bad invocation never ends the runner.

use run_wasm_runner::model::Status;
use serde_json::{Value, json};

use super::histories::legal_history;
use super::site::{Site, all};

/// No second attempts, little memory, and 200 ms.
const LIMITS: &str = "
[task.\"demo:faults/faults.spin\"]
limits = { time = \"200ms\" }
[task.\"demo:faults/faults.sleep\"]
limits = { time = \"200ms\" }
[task.\"demo:faults/faults.grow\"]
limits = { memory = \"32MiB\" }
";

#[test]
fn among_bad_invocations_of_every_kind_the_good_ones_succeed() {
    let site = Site::with(LIMITS);
    // Task, arguments, kind of failure.
    let faults: [(&str, Value, &str); 9] = [
        ("unreachable", json!([]), "trapped"),
        ("panic", json!(["oh no"]), "trapped"),
        ("exit", json!([3]), "trapped"),
        ("exit", json!([0]), "trapped"),
        ("abort", json!([]), "trapped"),
        ("out-of-bounds", json!([]), "trapped"),
        ("spin", json!([]), "timed-out"),
        ("sleep", json!([60_000]), "timed-out"),
        ("grow", json!([64]), "limit-exceeded"),
    ];
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for _ in 0..10 {
        for (task, arguments, kind) in &faults {
            bad.extend(site.submit_all(task, [arguments.clone()]).into_iter().map(|id| (id, *task, *kind)));
        }
        good.extend(site.submit_all("square", (0..11).map(|n| json!([n]))));
    }
    assert_eq!(good.len() + bad.len(), 200);
    let summary = site.run_all(&["--slots", "2"]);
    assert_eq!(summary["succeeded"], 110, "{summary}");
    assert_eq!(summary["failed"], 90, "{summary}");
    let store = site.store();
    let invocations = all(&store);
    let find = |id| invocations.iter().find(|one| one.id == id).expect("it is there");
    for (place, id) in good.iter().enumerate() {
        assert_eq!(find(*id).status, Status::Succeeded, "{place}");
    }
    for (id, task, kind) in bad {
        let invocation = find(id);
        let history = legal_history(&store, invocation);
        assert_eq!(invocation.status, Status::Failed, "{task}: {history:#?}");
        match &invocation.outcome {
            Some(run_wasm_runner::model::Outcome::Failure(failure)) => {
                assert_eq!(failure.kind.as_str(), kind, "{task}: {failure:?}");
            }
            other => panic!("{task}: {other:?}"),
        }
    }
}

#[test]
fn a_flood_of_children_ends_with_its_parent() {
    let site = Site::new();
    let id = site.submit("flood", json!([5000]));
    site.run_all(&["--slots", "2"]);
    assert_eq!(site.value(id), 5000);
    let store = site.store();
    let children: Vec<_> = all(&store).into_iter().filter(|one| one.parent == Some(id)).collect();
    assert_eq!(children.len(), 5000);
    assert!(children.iter().all(|child| child.status.is_final()));
}
