//! Pushes and removals by hand: their notes, warnings and messages.

use serde_json::{Value, json};

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

#[test]
fn a_push_under_a_name_that_the_configuration_gives_a_file_is_warned_of() {
    let fib = guest("fib").display().to_string();
    let place = place(&format!("store = \"sqlite:state.db\"\n[component.fib]\npath = {fib:?}\n"));
    let warning = format!("runners with this configuration run `fib` from {fib}, not what was pushed");
    let own = place.run(["component", "push", "fib"]).expect(0);
    assert!(!own.stderr.contains("runners with this configuration"), "{own:?}");
    let other = push(&place, "fib", "echo");
    assert_eq!(
        (other.stderr.matches(&warning).count(), &other.json()["configured_source"]),
        (1, &json!(fib))
    );
    let in_use = |place: &Sandbox| -> Vec<Value> {
        let list = place.run(["component", "list", "--json"]).expect(0).json_lines();
        list.iter().map(|one| json!([one["newest"], one["in_use"], one["configured_source"]])).collect()
    };
    assert_eq!(in_use(&place), [json!([true, false, fib]), json!([false, false, fib])]);
    let table = place.run(["component", "list"]).expect(0);
    assert!(table.stdout().contains("newest, not used with this configuration: "), "{table:?}");
    assert!(!table.stdout().contains("in use"), "{table:?}");
    place.write("wasm-runner.toml", "store = \"sqlite:state.db\"\n[component.fib]\nsource = \"store\"\n");
    assert_eq!(in_use(&place), [json!([true, true, null]), json!([false, false, null])]);
    assert!(!push(&place, "fib", "fib").stderr.contains("runners with this configuration"));
}

#[test]
fn messages_of_pushes_and_removals_say_what_to_give() {
    let fib = guest("fib").display().to_string();
    let place = place(&format!("{CUSTOMERS}[component.fib]\npath = {fib:?}\n"));
    let refused = |args: &[&str], told: &str| {
        let output = place.run(args).expect(2);
        assert!(output.stderr.contains(told), "{told}: {output:?}");
        output
    };
    push(&place, "cust-anna", "upper");
    let output = refused(&["component", "push", "cust-zoe"], "give a FILE: ");
    assert!(output.stderr.contains("component push cust-zoe FILE"), "{output:?}");
    refused(&["component", "push", &fib], &format!("a name comes first: `component push NAME {fib}`"));
    refused(&["component", "push", "plugin.wasm"], "a name comes first: `component push NAME plugin.wasm`");
    let output = refused(&["component", "remove", "cust-ann"], "nothing is pushed under that name");
    assert!(!output.stderr.contains("cust-anna"), "another customer's name is not suggested: {output:?}");
    refused(&["component", "remove", "fib"], &format!("it is configured, not in the store: {fib}"));
    let told = push(&place, "custmer-anna", "upper").stderr;
    assert!(told.contains("the default limits hold for it, and no quota"), "{told}");
    // What was never written is not shown as nothing at all.
    let id = place.run(["submit", "fib", "[1]"]).expect(0).stdout().trim().to_owned();
    for (args, told) in [
        (&["logs", &id][..], "the guest has written nothing"),
        (&["logs", &id, "--json"], "the guest has written nothing"),
        (&["logs", &id, "--tree"], "no guest of it and below it has written anything"),
    ] {
        let output = place.run(args).expect(0);
        assert!(output.stdout.is_empty() && output.stderr.contains(told), "{output:?}");
    }
}
