//! Cancels of queued, running and parked invocations, and of whole trees.

use std::time::{Duration, Instant};

use run_wasm_runner::model::{InvocationId, Reason, Status};
use run_wasm_runner::store::Store;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::histories::{count, legal_history};
use super::site::{Site, all, get};

#[track_caller]
fn cancel(site: &Site, id: InvocationId) {
    site.run(["cancel", &id.to_string()]).expect(0);
}

/// `status` says so, and `result` ends with the exit code of it.
#[track_caller]
fn assert_cancelled(site: &Site, id: InvocationId) {
    let status = site.status(id);
    assert_eq!(status["status"], "cancelled", "{status}");
    assert_eq!(status["failure"]["kind"], "cancelled", "{status}");
    site.run(["result", &id.to_string()]).expect(5);
    site.run(["result", &id.to_string(), "--wait"]).expect(5);
    let store = site.store();
    let history = legal_history(&store, &get(&store, id));
    assert_eq!(count(&history, Reason::Cancelled), 1, "{history:#?}");
}

#[test]
fn a_queued_invocation_that_is_cancelled_never_runs() {
    let site = Site::new();
    let id = site.submit("square", json!([2]));
    cancel(&site, id);
    assert_cancelled(&site, id);
    let summary = site.run_all(&[]);
    assert_eq!(summary["succeeded"], 0, "{summary}");
    assert_cancelled(&site, id);
    assert_eq!(site.status(id)["attempt"], 0);
}

#[test]
fn a_delayed_invocation_that_is_cancelled_never_runs() {
    let site = Site::new();
    let id = site.submit_with("square", json!([2]), &["--delay", "1h"]);
    cancel(&site, id);
    // Nothing is left to wait for.
    site.run_all(&[]);
    assert_cancelled(&site, id);
}

/// Cancels a guest that holds the only slot of a runner in another process, and
/// measures by the store's times when the slot is free for the next.
#[track_caller]
fn reaches_a_running_guest(task: &str, arguments: serde_json::Value) {
    let site = Site::new();
    let running = site.start(&["--slots", "1"]);
    let id = site.submit(task, arguments);
    site.wait_for(id, Status::Running);
    let next = site.submit("square", json!([3]));
    cancel(&site, id);
    assert_cancelled(&site, id);
    assert_eq!(site.await_value(next), 9);
    let store = site.store();
    let cancelled = get(&store, id).finished_at.expect("it is final");
    let started = get(&store, next).started_at.expect("it has run");
    let took = started.since(cancelled);
    println!("{task}: its slot was free {took:?} after the cancel");
    assert!(took < Duration::from_secs(1), "{took:?}");
    running.signal(Signal::TERM);
    let summary = running.wait().expect(0).json();
    // The runner did not produce that outcome, so it counts it as none.
    assert_eq!((&summary["succeeded"], &summary["failed"]), (&json!(1), &json!(0)), "{summary}");
    assert_cancelled(&site, id);
}

#[test]
fn a_cancel_reaches_a_guest_that_computes_in_another_process_within_a_second() {
    reaches_a_running_guest("spin", json!([]));
}

#[test]
fn a_cancel_reaches_a_guest_that_sleeps_in_another_process_within_a_second() {
    reaches_a_running_guest("sleep-ms", json!([3_600_000]));
}

#[test]
fn a_cancel_reaches_a_guest_of_the_same_process_within_a_second() {
    let site = Site::new();
    let running = site.start(&["--slots", "2"]);
    // Cancels its second child, on the second slot, when the first has ended.
    let parent = site.submit("await-any-of", json!([[500, 3_600_000]]));
    site.wait_for_count(Status::Running, 2);
    // The free slot takes these one after another; two at once have both slots.
    let short = site.submit_all("sleep-ms", (0..100).map(|_| json!([20])));
    assert_eq!(site.await_value(parent), 0);
    site.wait_for_count(Status::Succeeded, 102);
    let store = site.store();
    let cancelled = all(&store).into_iter().find(|one| one.status == Status::Cancelled).expect("a child");
    assert_eq!(cancelled.parent, Some(parent));
    assert!(cancelled.started_at.is_some(), "it ran");
    let ended = cancelled.finished_at.expect("it is final");
    let ran = short.iter().map(|id| get(&store, *id));
    let mut ran: Vec<_> = ran.map(|one| one.started_at.zip(one.finished_at).expect("it ran")).collect();
    ran.sort_unstable();
    let at_once = ran.windows(2).find(|pair| pair[1].0 < pair[0].1).expect("two ran at once");
    let took = at_once[1].0.since(ended);
    println!("its slot was free {took:?} after the cancel");
    assert!(took < Duration::from_secs(1), "{took:?}");
    running.signal(Signal::TERM);
    running.wait().expect(0);
}

#[test]
fn cancelling_a_tree_ends_all_that_is_parked_running_and_queued_in_it() {
    let site = Site::new();
    let root = site.submit("hold-behind-gate", json!([50, 3_600_000]));
    // Runs until nothing is left: not for an hour.
    let running = site.command(["start", "--until-idle", "--json", "--slots", "2"]).spawn();
    site.wait_for_count(Status::Waiting, 51);
    let bystander = site.submit("square", json!([6]));
    cancel(&site, root);
    let summary = running.wait().expect(0).json();
    assert!(summary["peak_live"].as_u64() >= Some(51), "{summary}");
    let store = site.store();
    let tree: Vec<_> = all(&store).into_iter().filter(|one| one.root == root).collect();
    assert_eq!(tree.len(), 52);
    for invocation in tree {
        assert_cancelled(&site, invocation.id);
    }
    assert_eq!(site.value(bystander), 36, "others are spared");
}

#[test]
fn a_parked_child_that_is_cancelled_fails_its_waiting_parent_with_the_reason() {
    let site = Site::new();
    let root = site.submit("call", json!(["demo:workflow/basics.sleep-ms", "[3600000]"]));
    let running = site.command(["start", "--until-idle", "--json", "--slots", "1"]).spawn();
    site.wait_for(root, Status::Waiting);
    site.wait_for_count(Status::Running, 1);
    let child = all(&site.store()).into_iter().find(|one| one.parent == Some(root)).expect("a child");
    cancel(&site, child.id);
    let began = Instant::now();
    running.wait().expect(0);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_cancelled(&site, child.id);
    let status = site.status(root);
    assert_eq!((&status["status"], &status["failure"]["kind"]), (&json!("failed"), &json!("returned")));
    let message = status["failure"].to_string();
    assert!(message.contains("cancelled: "), "{message}");
}

#[test]
fn a_guest_cancels_its_child() {
    let site = Site::new();
    let arguments = json!(["demo:faults/faults.spin", "[]"]).to_string();
    for slots in ["1", "2"] {
        let output = site.run(["call", "cancel-child", &arguments, "--slots", slots]).expect(0);
        let value = output.json();
        assert!(value.as_str().is_some_and(|text| text.starts_with("cancelled: ")), "{value}");
    }
}

#[test]
fn a_guest_cancels_nothing_that_called_it() {
    let site = Site::new();
    let of = |task: &str, arguments: &Value| {
        json!([format!("demo:workflow/control.{task}"), arguments.to_string()])
    };
    let root = site.submit("call", of("call", &of("cancel-callers", &json!([]))));
    site.run_all(&[]);
    // Each of them returns the value of the one below as text.
    let value = site.value(root).to_string();
    assert_eq!(
        value.matches("denied: a guest can't cancel its own invocation, nor what called it").count(),
        3,
        "{value}"
    );
    let store = site.store();
    let family = all(&store);
    assert_eq!(family.len(), 3);
    assert!(family.iter().all(|one| one.status == Status::Succeeded), "{family:#?}");
    let callee = family.iter().find(|one| one.depth == 2).expect("the callee");
    let lines: Vec<_> =
        store.logs(callee.id).expect("the store reads").into_iter().map(|line| line.text).collect();
    for one in &family {
        let denial = format!("denied: cancelling `{}`: ", one.id);
        assert_eq!(lines.iter().filter(|line| line.starts_with(&denial)).count(), 1, "{lines:#?}");
    }
}

/// The usage is in the store, though the invocation was final before its guest was gone.
#[track_caller]
fn assert_billed(site: &Site, id: InvocationId) {
    let usage = &site.status(id)["usage"];
    assert!(usage["cpu_ms"].as_f64().is_some_and(|cpu| cpu > 0.0), "{usage}");
    assert!(usage["peak_memory_bytes"].as_u64().is_some_and(|bytes| bytes >= 1 << 16), "{usage}");
}

#[test]
fn a_guest_that_is_cancelled_while_it_computes_waits_or_sleeps_is_billed() {
    let site = Site::new();
    let parent = site.submit("hold-behind-gate", json!([2, 3_600_000]));
    let computing = site.submit("spin", json!([]));
    let sleeping = site.submit("sleep-ms", json!([3_600_000]));
    let running = site.command(["start", "--until-idle", "--json", "--slots", "3"]).spawn();
    site.wait_for_count(Status::Running, 2);
    site.wait_for_count(Status::Waiting, 3);
    let tree = all(&site.store()).into_iter().filter(|one| one.root == parent);
    let (waiting, queued): (Vec<_>, Vec<_>) = tree.partition(|one| one.status == Status::Waiting);
    for id in [parent, computing, sleeping] {
        cancel(&site, id);
    }
    // A runner that finds nothing left to do has written all bills.
    running.wait().expect(0);
    for id in waiting.iter().map(|one| one.id).chain([computing, sleeping]) {
        assert_cancelled(&site, id);
        assert_billed(&site, id);
    }
    assert_eq!(site.status(parent)["usage"]["children"], 3);
    assert_eq!(queued.len(), 1, "the gate");
    assert_cancelled(&site, queued[0].id);
    assert_eq!(site.status(queued[0].id)["usage"], json!(null), "it never ran");
}

#[test]
fn a_child_that_is_cancelled_with_the_end_of_its_parent_is_billed() {
    let site = Site::new();
    // It awaits the first only.
    let parent = site.submit("await-any-of", json!([[300, 3_600_000]]));
    site.run_all(&["--slots", "2"]);
    let children = all(&site.store()).into_iter().filter(|one| one.parent == Some(parent));
    let cancelled: Vec<_> = children.filter(|one| one.status == Status::Cancelled).collect();
    assert_eq!(cancelled.len(), 1);
    assert_billed(&site, cancelled[0].id);
}

#[test]
fn a_stopping_runner_leaves_the_bill_of_what_was_cancelled() {
    let site = Site::new();
    let running = site.start(&["--slots", "1"]);
    let id = site.submit("spin", json!([]));
    site.wait_for(id, Status::Running);
    cancel(&site, id);
    running.signal(Signal::TERM);
    running.wait().expect(0);
    assert_billed(&site, id);
}

#[test]
fn a_cancel_changes_no_final_invocation() {
    let site = Site::new();
    let id = site.submit("square", json!([5]));
    site.run_all(&[]);
    cancel(&site, id);
    assert_eq!(site.value(id), 25);
    assert_eq!(site.status(id)["status"], "succeeded");
}
