//! Deadlines: an unfinished invocation ends at its own, with its whole tree.

use std::time::Duration;

use run_wasm_runner::model::{FailureKind, InvocationId, Outcome, Reason, Status};
use run_wasm_runner::store::Store;
use rustix::process::Signal;
use serde_json::json;

use super::histories::{count, legal_history};
use super::site::{Site, all, get};

const HOUR_MS: u64 = 3_600_000;

/// It failed because its deadline passed. Returns how long after that.
#[track_caller]
fn assert_expired(site: &Site, id: InvocationId) -> Duration {
    let store = site.store();
    let invocation = get(&store, id);
    let history = legal_history(&store, &invocation);
    assert_eq!(invocation.status, Status::Failed, "{history:#?}");
    assert_eq!(count(&history, Reason::Expired), 1, "{history:#?}");
    let deadline = invocation.deadline.expect("it had a deadline");
    let Some(Outcome::Failure(failure)) = &invocation.outcome else { panic!("{invocation:?}") };
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert!(failure.message.contains(&format!("`{deadline}`")), "{}", failure.message);
    let document = site.status(id);
    assert_eq!(document["deadline"], deadline.to_rfc3339(), "{document}");
    site.run(["result", &id.to_string()]).expect(4);
    let late = invocation.finished_at.expect("it is final").since(deadline);
    println!("{}: ended {late:?} after its deadline", invocation.task);
    assert!(late < Duration::from_secs(1), "{late:?}");
    late
}

/// A guest that holds the only slot is killed at its deadline, and the next one
/// gets the slot.
#[track_caller]
fn ends_a_running_guest(task: &str, arguments: serde_json::Value) {
    let site = Site::new();
    let running = site.start(&["--slots", "1"]);
    let id = site.submit_with(task, arguments, &["--deadline", "1s"]);
    let next = site.submit("square", json!([3]));
    assert_eq!(site.await_value(next), 9);
    assert_expired(&site, id);
    let store = site.store();
    assert!(get(&store, id).started_at.is_some(), "it ran");
    site.wait_until("it is billed", |store| get(store, id).usage.is_some_and(|usage| usage.cpu_micros > 0));
    let freed = get(&store, next).started_at.expect("it has run");
    let took = freed.since(get(&store, id).finished_at.expect("it is final"));
    println!("{task}: its slot was free {took:?} after that");
    assert!(took < Duration::from_secs(1), "{took:?}");
    running.signal(Signal::TERM);
    running.wait().expect(0);
}

#[test]
fn a_guest_that_computes_ends_at_its_deadline() {
    ends_a_running_guest("spin", json!([]));
}

#[test]
fn a_guest_that_sleeps_ends_at_its_deadline() {
    ends_a_running_guest("sleep-ms", json!([HOUR_MS]));
}

#[test]
fn a_deadline_passes_while_a_runner_of_another_process_has_no_room() {
    let site = Site::new();
    let running = site.start(&["--slots", "1"]);
    let blocker = site.submit("sleep-ms", json!([HOUR_MS]));
    site.wait_for(blocker, Status::Running);
    // The runner is told of these, and can't claim them.
    let queued = site.submit_with("square", json!([2]), &["--deadline", "1s"]);
    let patient = site.submit("square", json!([4]));
    site.run(["result", &queued.to_string(), "--wait", "--timeout", "60s"]).expect(4);
    assert_expired(&site, queued);
    assert_eq!(get(&site.store(), queued).attempt, 0, "it never ran");
    site.run(["cancel", &blocker.to_string()]).expect(0);
    assert_eq!(site.await_value(patient), 16);
    running.signal(Signal::TERM);
    running.wait().expect(0);
}

#[test]
fn a_runner_that_drains_keeps_deadlines_too() {
    let site = Site::new();
    let mut running = site.start(&["--slots", "1", "--grace", "60s"]);
    let id = site.submit_with("sleep-ms", json!([HOUR_MS]), &["--deadline", "2s"]);
    site.wait_for(id, Status::Running);
    running.signal(Signal::TERM);
    running.wait_for_stderr("draining");
    // Not after the grace time, but when its only guest has ended.
    running.wait().expect(0);
    assert_expired(&site, id);
}

#[test]
fn a_tree_ends_whole_at_the_deadline_of_its_root() {
    let site = Site::new();
    let arguments = json!([20, HOUR_MS]);
    let root = site.submit_with("hold-behind-gate", arguments, &["--deadline", "3s"]);
    // Ends by itself: nothing is left.
    let running = site.command(["start", "--until-idle", "--json", "--slots", "2"]).spawn();
    site.wait_for_count(Status::Waiting, 21);
    running.wait().expect(0);
    let deadline = get(&site.store(), root).deadline;
    let tree = all(&site.store());
    assert_eq!(tree.len(), 22);
    for one in tree {
        assert_eq!(one.deadline, deadline, "children have their parent's");
        if one.id == root {
            assert_expired(&site, one.id);
        } else {
            assert_eq!(one.status, Status::Cancelled);
            legal_history(&site.store(), &one);
        }
    }
}

#[test]
fn an_invocation_that_is_queued_past_its_deadline_never_runs() {
    let site = Site::new();
    let id = site.submit_with("square", json!([2]), &["--deadline", "0.001"]);
    let summary = site.run_all(&[]);
    assert_eq!((&summary["succeeded"], &summary["failed"]), (&json!(0), &json!(1)), "{summary}");
    let store = site.store();
    let invocation = get(&store, id);
    assert_eq!((invocation.status, invocation.attempt), (Status::Failed, 0));
    assert_eq!(count(&legal_history(&store, &invocation), Reason::Expired), 1);
}

#[test]
fn a_task_has_the_deadline_that_is_configured_for_it() {
    let site = Site::with_sections("[task.sleep-ms]\ndeadline = \"2s\"\n");
    let own = site.submit_with("sleep-ms", json!([1]), &["--deadline", "1h"]);
    // Its child is submitted without one.
    let parent = site.submit("call", json!(["demo:workflow/basics.sleep-ms", "[3600000]"]));
    site.run_all(&[]);
    let store = site.store();
    let span = |id| {
        let invocation = get(&store, id);
        invocation.deadline.map(|deadline| deadline.since(invocation.submitted_at).as_secs())
    };
    assert_eq!((span(own), span(parent)), (Some(3600), None));
    let child = all(&store).into_iter().find(|one| one.parent == Some(parent)).expect("a child");
    assert_eq!(span(child.id), Some(2));
    assert_expired(&site, child.id);
    let failure = site.status(parent)["failure"].to_string();
    assert!(failure.contains("deadline"), "its parent is told why: {failure}");

    // What could never run is refused.
    let output = site.run(["submit", "sleep-ms", "[1]", "--delay", "3s"]).expect(2);
    assert!(output.stderr.contains("the configured deadline of `2s` is over before"), "{output:?}");
    let output = site.run(["submit", "square", "[1]", "--delay", "3s", "--deadline", "3"]).expect(2);
    assert!(output.stderr.contains("the deadline of `3s` is over before the delay of `3s`"), "{output:?}");
    site.run(["submit", "square", "[1]", "--deadline", "0"]).expect(2);
    let arguments = json!(["demo:workflow/basics.sleep-ms", "[1]", 3000, 0, ["a", "b"]]);
    let refused = site.submit("call-with", arguments);
    site.run_all(&[]);
    let failure = site.status(refused)["failure"].to_string();
    assert!(failure.contains("is over before the delay of `3s`"), "{failure}");
}

#[test]
fn a_call_has_the_deadline_that_is_configured_for_its_task() {
    let site = Site::with_sections("[task.spin]\ndeadline = \"1s\"\n");
    let output = site.run(["call", "spin", "[]"]).expect(4);
    assert!(output.stderr.contains("(timed-out): its deadline"), "{output:?}");
}

#[test]
fn a_guest_knows_the_earlier_of_its_time_limit_and_its_deadline() {
    let site = Site::new();
    let deadline_of = |flags: &[&str]| {
        let id = site.submit_with("context-dump", json!([]), flags);
        site.run_all(&[]);
        let invocation = get(&site.store(), id);
        let started = invocation.started_at.expect("it has run").0 / 1000;
        let told = site.value(id)["deadline"].as_i64().expect("it is told");
        (told - started, invocation.deadline.map(|deadline| deadline.0 / 1000 - started))
    };
    let (limit, none) = deadline_of(&[]);
    assert!((55_000..=61_000).contains(&limit) && none.is_none(), "{limit}");
    let (told, deadline) = deadline_of(&["--deadline", "30s"]);
    assert_eq!(Some(told), deadline);
    let (limit, _) = deadline_of(&["--deadline", "1h"]);
    assert!((55_000..=61_000).contains(&limit), "{limit}");
}

#[test]
fn a_retried_root_has_as_much_time_as_the_first_had() {
    let site = Site::new();
    let first = site.submit_with("square", json!([2]), &["--deadline", "1h"]);
    site.run(["cancel", &first.to_string()]).expect(0);
    let output = site.run(["retry", &first.to_string()]).expect(0);
    let copy: InvocationId = output.stdout().trim().parse().expect("an id");
    site.run_all(&[]);
    assert_eq!(site.value(copy), 4);
    let store = site.store();
    let span = |id| {
        let invocation = get(&store, id);
        invocation.deadline.expect("a deadline").since(invocation.submitted_at)
    };
    assert_eq!((span(first), span(copy)), (Duration::from_secs(3600), Duration::from_secs(3600)));
    assert_eq!(store.counts(None).expect("a read").get(Status::Succeeded), 1);
}
