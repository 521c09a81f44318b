//! Pushes and removals by hand: their notes, warnings and messages.

use serde_json::json;

use crate::support::cli::{Output, Sandbox};
use crate::support::guests::guest;

const CUSTOMERS: &str = "store = \"sqlite:state.db\"\n[component.\"cust-*\"]\n";

fn place(config: &str) -> Sandbox {
    let place = Sandbox::new();
    place.write("wasm-runner.toml", config);
    place
}

#[track_caller]
fn push(place: &Sandbox, name: &str, guest_name: &str) -> Output {
    place.run(["component", "push", name, &guest(guest_name).display().to_string(), "--json"]).expect(0)
}

#[test]
fn a_pause_that_outlives_a_removal_and_a_push_is_told() {
    let place = place(CUSTOMERS);
    let first = push(&place, "cust-anna", "upper");
    assert!(first.json()["paused_tasks"].is_null() && !first.stderr.contains("paused"), "{first:?}");
    let id = place.run(["submit", "cust-anna::transform", "[\"a\"]"]).expect(0).stdout().trim().to_owned();
    place.run(["pause", "--task", "cust-anna::transform"]).expect(0);
    let status = place.run(["status", &id, "--json"]).expect(0).json();
    let task = status["task"].as_str().expect("an id").to_owned();
    // A tree says so as `status` does.
    let tree = place.run(["tree", &id]).expect(0);
    assert!(tree.stdout().starts_with(&format!("{task} queued, paused  ")), "{tree:?}");
    let members = place.run(["tree", &id, "--json"]).expect(0).json_lines();
    assert_eq!(members[0]["paused_by"], status["paused_by"]);
    assert_eq!(members[0]["paused_by"]["task"], json!(task));
    let told = "of `cust-anna`, these tasks are paused, and ";
    let tells = |output: &Output| {
        assert_eq!(output.json()["paused_tasks"], json!([task]), "{output:?}");
        let lines = output.stderr.lines().filter(|line| line.contains(told) && line.contains(&task));
        assert_eq!(lines.count(), 1, "{output:?}");
    };
    tells(&place.run(["component", "remove", "cust-anna", "--json"]).expect(0));
    tells(&push(&place, "cust-anna", "upper"));
    let checked = place.run(["check"]).expect(0);
    assert!(checked.stderr.contains("task of components in the store is paused"), "{checked:?}");
    assert!(checked.stderr.contains(&task) && checked.stdout().contains("1 warning"), "{checked:?}");
    place.run(["resume", "--task", "cust-anna::transform"]).expect(0);
    let last = push(&place, "cust-anna", "upper");
    assert!(last.json()["paused_tasks"].is_null() && !last.stderr.contains("paused"), "{last:?}");
    assert!(!place.run(["check"]).expect(0).stderr.contains("paused"));
}

#[test]
fn a_note_names_three_paused_tasks_at_most() {
    let place = place(CUSTOMERS);
    push(&place, "cust-anna", "workflow");
    let list = place.run(["component", "list", "--json"]).expect(0).json_lines();
    let functions = list[0]["functions"].as_array().expect("its functions").iter().take(5);
    let tasks: Vec<_> =
        functions.map(|function| format!("cust-anna::{}", function.as_str().expect("a name"))).collect();
    assert_eq!(tasks.len(), 5);
    for task in &tasks {
        place.run(["pause", "--task", task]).expect(0);
    }
    let removed = place.run(["component", "remove", "cust-anna"]).expect(0);
    assert!(removed.stderr.contains(" and 2 more;"), "{removed:?}");
    assert_eq!(removed.stderr.matches("cust-anna::").count(), 3, "{removed:?}");
}
