//! The order of invocations, their number of runs, and children that outlive their parents.

use std::time::Duration;

use run_wasm_runner::model::{InvocationId, Status};
use serde_json::json;

use super::site::{Site, all, get};
use crate::support::guests::guest;

#[test]
fn a_delayed_invocation_starts_when_its_time_has_come() {
    let site = Site::new();
    let delay = Duration::from_millis(1200);
    let id = site.submit_with("square", json!([3]), &["--delay", "1200ms"]);
    let summary = site.run_all(&[]);
    assert_eq!(summary["succeeded"], 1, "until idle waits for what is delayed: {summary}");
    let store = site.store();
    let invocation = get(&store, id);
    let waited = invocation.started_at.expect("it has run").since(invocation.submitted_at);
    println!("delayed by {delay:?}, started after {waited:?}");
    assert!((delay..delay + Duration::from_millis(500)).contains(&waited), "{waited:?}");
}

#[test]
fn a_delay_given_by_a_guest_holds() {
    let site = Site::new();
    let arguments = json!(["demo:workflow/basics.square", "[4]", 700, 0, ["why", "test"]]);
    let id = site.submit("call-with", arguments);
    site.run_all(&[]);
    assert_eq!(site.value(id), "16");
    let child = all(&site.store()).into_iter().find(|one| one.parent == Some(id)).expect("a child");
    let waited = child.started_at.expect("it has run").since(child.submitted_at);
    assert!(waited >= Duration::from_millis(700), "{waited:?}");
    assert_eq!(*child.labels, [("why".to_owned(), "test".to_owned())]);
}

#[test]
fn a_guest_gives_its_children_no_higher_priority_than_its_task_has() {
    let site = Site::new();
    for (asked, given) in [(1000, 0), (-7, -7)] {
        let arguments = json!(["demo:workflow/basics.square", "[4]", 0, asked, ["asked", asked.to_string()]]);
        let id = site.submit_with("call-with", arguments, &["--priority", "500"]);
        site.run_all(&[]);
        assert_eq!(site.value(id), "16");
        let child = all(&site.store()).into_iter().find(|one| one.parent == Some(id)).expect("a child");
        assert_eq!(child.priority, given);
    }
    // A delay without end is refused: the invocation would never run, and keep its key.
    let arguments = json!(["demo:workflow/basics.square", "[4]", u64::MAX, 0, ["a", "b"]]);
    let id = site.submit("call-with", arguments);
    site.run_all(&[]);
    let failure = get(&site.store(), id).outcome.expect("an outcome");
    assert!(format!("{failure:?}").contains("is longer than 3650 days"), "{failure:?}");
}

#[test]
fn higher_priority_first_then_age() {
    let site = Site::new();
    let priorities = ["0", "10", "-10", "1000", "10", "-1000", "0"];
    let ids: Vec<_> = priorities
        .iter()
        .map(|priority| site.submit_with("square", json!([1]), &["--priority", priority]))
        .collect();
    site.run_all(&["--slots", "1"]);
    let store = site.store();
    let mut by_start: Vec<_> = (0..ids.len()).collect();
    by_start.sort_by_key(|place| get(&store, ids[*place]).started_at);
    assert_eq!(by_start, [3, 1, 4, 0, 6, 2, 5]);
}

#[test]
fn work_that_somebody_awaits_comes_before_work_of_any_priority() {
    let site = Site::new();
    let parent = site.submit_with("sum-of-children", json!([20]), &["--priority", "1000"]);
    let others: Vec<_> =
        (0..5).map(|_| site.submit_with("square", json!([1]), &["--priority", "900"])).collect();
    site.run_all(&["--slots", "1"]);
    let store = site.store();
    let finished = get(&store, parent).finished_at;
    // What was claimed ahead while the parent ran may start; children are
    // awaited, so none of them comes after the last of the others.
    let children: Vec<_> = all(&store).into_iter().filter(|one| one.parent == Some(parent)).collect();
    let last_other = others.iter().map(|id| get(&store, *id).started_at).max().flatten();
    let last_child = children.iter().map(|child| child.started_at).max().flatten();
    assert_eq!(children.len(), 20);
    assert!(last_child < last_other, "awaited work came first: {last_child:?} {last_other:?}");
    assert!(finished.is_some());
}

#[test]
fn submits_with_one_key_make_one_invocation() {
    let site = Site::new();
    let submit = |arguments| site.submit_with("square", arguments, &["--key", "monday"]);
    let first = submit(json!([3]));
    assert_eq!(submit(json!([3])), first);
    site.run_all(&[]);
    assert_eq!(submit(json!([3])), first, "also when it is final");
    assert_eq!(all(&site.store()).len(), 1);
    // Other arguments under the same key are a mistake that must not be silent.
    let output = site.run(["submit", "square", "[4]", "--key", "monday"]);
    assert_eq!(output.code, Some(2), "{}", output.everything());
    assert!(
        output.stderr.contains("monday") && output.stderr.contains(&first.to_string()),
        "{}",
        output.stderr
    );
}

#[test]
fn a_guest_that_submits_twice_with_one_key_gets_one_child() {
    let site = Site::new();
    let id = site.submit("submit-twice", json!(["demo:workflow/basics.square", "[3]", "key"]));
    site.run_all(&[]);
    let value = site.value(id);
    assert_eq!(value[0], value[1], "{value}");
    assert_eq!(all(&site.store()).len(), 2);
}

#[test]
fn guests_have_keys_of_their_own() {
    const SQUARE: &str = "workflow::demo:workflow/basics.square";
    let site = Site::with_sections(&format!("[component.other]\npath = {:?}\n", guest("workflow")));
    let mondays = |arguments| site.submit_with(SQUARE, arguments, &["--key", "monday"]);
    let operators = mondays(json!([3]));
    // Of two components: with the same key for the same task, and other arguments each.
    let submit = |component: &str, arguments: &str| {
        let task = format!("{component}::demo:workflow/control.submit-twice");
        site.submit(&task, json!([SQUARE, arguments, "monday"]))
    };
    let parents = [submit("workflow", "[4]"), submit("other", "[5]")];
    site.run_all(&[]);
    let mut children = parents.map(|parent| {
        let ids = site.value(parent);
        assert_eq!(ids[0], ids[1], "its own key is kept");
        let child: InvocationId = ids[0].as_str().expect("an id").parse().expect("an id");
        let status = site.status(child);
        assert_eq!((&status["parent"], &status["key"]), (&json!(parent.to_string()), &json!("monday")));
        child
    });
    children.sort_unstable();
    assert!(children[0] != children[1] && !children.contains(&operators));
    assert_eq!(mondays(json!([3])), operators);
    // Guests of the same component share their keys.
    let again = submit("other", "[5]");
    site.run_all(&[]);
    assert_eq!(site.value(again), site.value(parents[1]));
}

#[test]
fn guests_of_one_component_have_keys_of_their_own_for_each_that_calls_it() {
    const SQUARE: &str = "workflow::demo:workflow/basics.square";
    let copies = ["one", "two", "plugin"]
        .map(|name| format!("[component.{name}]\npath = {:?}\n", guest("workflow")))
        .concat();
    let site = Site::with_sections(&copies);
    // Calls the plugin, which submits twice with one key, and returns the ids.
    let call = |component: &str| {
        let arguments = json!([SQUARE, "[3]", "monday"]).to_string();
        let arguments = json!(["plugin::demo:workflow/control.submit-twice", arguments]);
        site.submit(&format!("{component}::demo:workflow/control.call"), arguments)
    };
    let roots = [call("one"), call("two"), call("one")];
    let own = site.submit("plugin::demo:workflow/control.submit-twice", json!([SQUARE, "[3]", "monday"]));
    site.run_all(&[]);
    let ids =
        |root| serde_json::from_str::<[String; 2]>(site.value(root).as_str().expect("JSON")).expect("ids");
    let [one, two, again] = roots.map(|root| {
        let [first, second] = ids(root);
        assert_eq!(first, second);
        first
    });
    assert_eq!(one, again, "for the same caller it has the same keys, in whatever tree");
    assert!(one != two && site.value(own)[0] != json!(one) && site.value(own)[0] != json!(two));
    // The key is shown as the guest has chosen it, and a retry keeps whose it is.
    assert_eq!(site.status(one.parse().expect("an id"))["key"], json!("monday"));
    let of_one = all(&site.store()).into_iter().find(|one| one.parent == Some(roots[0])).expect("a child");
    let retried = site.run(["retry", &of_one.id.to_string(), "--even-succeeded"]).expect(0);
    site.run_all(&[]);
    let retried = retried.stdout().trim().parse().expect("an id");
    assert_eq!(site.value(retried)[0], json!(one));
}

#[test]
fn a_detached_child_outlives_its_parent() {
    let site = Site::new();
    let parent = site.submit("leave-behind", json!(["demo:workflow/basics.sleep-ms", "[300]", true]));
    site.run_all(&["--slots", "1"]);
    let child = site.value(parent).as_str().and_then(|id| id.parse().ok()).expect("an id");
    let store = site.store();
    let (parent, child) = (get(&store, parent), get(&store, child));
    assert_eq!((parent.status, child.status), (Status::Succeeded, Status::Succeeded));
    assert!(parent.finished_at < child.finished_at);
    assert_eq!((child.root, child.parent, child.detached), (parent.id, Some(parent.id), true));
}

#[test]
fn an_attached_child_ends_with_its_parent() {
    for slots in ["1", "2"] {
        let site = Site::new();
        let parent = site.submit("leave-behind", json!(["demo:faults/faults.spin", "[]", false]));
        // A spinning child that is not ended would never leave this idle.
        site.run_all(&["--slots", slots]);
        let child = site.value(parent).as_str().and_then(|id| id.parse().ok()).expect("an id");
        let status = site.status(child);
        assert_eq!(status["status"], "cancelled", "{status}");
        let message = status["failure"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(&parent.to_string()), "{message}");
    }
}

#[test]
fn children_know_their_parent_and_root() {
    let site = Site::new();
    let id = site.submit("call", json!(["demo:workflow/basics.context-dump", "[]"]));
    site.run_all(&[]);
    let about: serde_json::Value =
        site.value(id).as_str().and_then(|text| serde_json::from_str(text).ok()).expect("JSON");
    assert_eq!(about["parent"], json!(id.to_string()), "{about}");
    assert_eq!(about["root"], json!(id.to_string()), "{about}");
    assert_eq!(about["attempt"], 1, "{about}");
    assert_eq!(about["task"], "workflow::demo:workflow/basics@0.1.context-dump", "{about}");
}
