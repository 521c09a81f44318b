//! Waits hold no slot and no thread, and end when their results are there.

use std::time::{Duration, Instant};

use run_wasm_runner::model::Status;
use serde_json::json;

use super::site::{Site, get};
use crate::support::process::{Usage, resident_peak};

const SMALL_CACHE: &str = "[runner]\nfinal-cache-entries = 100\n";

#[test]
fn a_parent_of_ten_thousand_children_finishes_with_a_cache_of_a_hundred() {
    let site = Site::with(SMALL_CACHE);
    let id = site.submit("sum-of-children", json!([10_000]));
    let summary = site.run_all(&["--slots", "2"]);
    // 1² + … + n² = n (n + 1) (2n + 1) / 6
    assert_eq!(site.value(id), 10_000_u64 * 10_001 * 20_001 / 6);
    assert_eq!(summary["succeeded"], 10_001, "{summary}");
    let store = site.store();
    let parent = store_history(&store, id);
    assert!(parent.contains(&"awaiting".to_owned()), "the parent waited: {parent:?}");
}

#[test]
fn a_parent_of_ten_thousand_children_in_sequence_finishes_with_a_cache_of_a_hundred() {
    let site = Site::with(SMALL_CACHE);
    let arguments = json!(["demo:workflow/basics.square", "[3]", 10_000]).to_string();
    let output = site.run(["call", "fan-out-sequence", &arguments, "--slots", "2"]).expect(0);
    assert_eq!(output.json(), 10_000);
}

#[test]
fn three_thousand_parents_park_at_once_within_a_gibibyte() {
    let site = Site::new();
    let id = site.submit("hold-behind-gate", json!([3000, 20_000]));
    let running = site.start(&["--slots", "2"]);
    // The parent and its children all wait; the gate is delayed.
    site.wait_for_count(Status::Waiting, 3001);
    let peak = resident_peak(running.pid());
    println!("3,001 parked guests: {} MiB resident at most", peak >> 20);
    assert!(peak < 1 << 30, "{} MiB", peak >> 20);
    assert_eq!(site.await_value(id), 3000);
    running.signal(rustix::process::Signal::TERM);
    let summary = running.wait().expect(0).json();
    assert!(summary["peak_live"].as_u64() >= Some(3001), "{summary}");
    assert!(summary["peak_running"].as_u64() <= Some(2), "{summary}");
}

#[test]
fn a_thousand_waiting_invocations_use_no_processor() {
    let site = Site::new();
    let id = site.submit("hold-behind-gate", json!([1000, 3_600_000]));
    let running = site.start(&["--slots", "2"]);
    site.wait_for_count(Status::Waiting, 1001);
    // A heartbeat every 3.3 s and nothing else. The sleep is the measurement.
    let usage = Usage::over(running.pid(), Duration::from_secs(6));
    println!("1,001 waiting: {usage}");
    assert!(usage.share_of_a_core() < 0.01, "{usage}");
    assert!(usage.switches_per_second() < 20.0, "{usage}");
    site.run(["cancel", &id.to_string()]).expect(0);
}

#[test]
fn an_idle_runner_sleeps() {
    let site = Site::new();
    let running = site.start(&["--slots", "2"]);
    let id = site.submit("square", json!([7]));
    assert_eq!(site.await_value(id), 49);
    let usage = Usage::over(running.pid(), Duration::from_secs(12));
    println!("idle: {usage}");
    // A few wake-ups on a busy machine cost some milliseconds of the twelve seconds; whoever polls wakes up.
    assert!(usage.share_of_a_core() < 0.005, "{usage}");
    assert!(usage.switches_per_second() < 5.0, "{usage}");
}

#[test]
fn a_runner_of_one_slot_sleeps_while_its_only_guest_does() {
    let site = Site::new();
    let id = site.submit("sleep-ms", json!([3_600_000]));
    let running = site.start(&["--slots", "1"]);
    site.wait_for(id, Status::Running);
    let usage = Usage::over(running.pid(), Duration::from_secs(6));
    println!("one sleeping guest: {usage}");
    assert!(usage.share_of_a_core() < 0.05, "{usage}");
    site.run(["cancel", &id.to_string()]).expect(0);
}

#[test]
fn two_invocations_that_await_each_other_fail_at_once_with_the_cycle() {
    for slots in ["1", "2"] {
        let site = Site::new();
        // Compiled before the clock starts.
        site.run(["check"]).expect(0);
        let began = Instant::now();
        let output = site.run(["call", "ping", "--slots", slots]).expect(1);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        let message = &output.stderr;
        assert!(message.contains("cycle of waits"), "{message}");
        // The way round: one awaits the other awaits the one.
        let (ping, pong) =
            ("workflow::demo:workflow/control@0.1.ping (", "workflow::demo:workflow/control@0.1.pong (");
        assert!(message.contains(ping) && message.contains(pong), "{message}");
        assert_eq!(message.matches(") awaits workflow::").count(), 2, "{message}");
    }
}

#[test]
fn an_invocation_that_awaits_itself_fails_at_once() {
    let site = Site::new();
    site.run(["check"]).expect(0);
    let began = Instant::now();
    let output = site.run(["call", "self-await"]).expect(1);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(output.stderr.contains("an invocation can't await itself"), "{}", output.stderr);
    assert!(output.stderr.contains("workflow::demo:workflow/control@0.1.self-await ("), "{}", output.stderr);
}

#[test]
fn awaiting_any_ends_with_the_first_and_cancels_the_rest() {
    let site = Site::new();
    let id = site.submit("await-any-of", json!([[60_000, 50, 60_000]]));
    let began = Instant::now();
    site.run_all(&["--slots", "3"]);
    assert_eq!(site.value(id), 1);
    assert!(began.elapsed() < Duration::from_secs(20), "it waited for all: {:?}", began.elapsed());
    let store = site.store();
    let children: Vec<_> = store_tree(&store, id).into_iter().skip(1).collect();
    let statuses: Vec<_> = children.iter().map(|child| child.status).collect();
    assert_eq!(statuses, [Status::Cancelled, Status::Succeeded, Status::Cancelled]);
}

#[test]
fn an_outcome_that_was_evicted_is_read_from_the_store() {
    let site = Site::with("[runner]\nfinal-cache-entries = 1\n");
    let old = site.submit("square", json!([5]));
    site.run_all(&[]);
    // Another process, and a cache that has never seen it.
    let id = site.submit("await-id", json!([old.to_string()]));
    site.run_all(&[]);
    assert_eq!(site.value(id), "25");
}

#[test]
fn awaiting_an_id_that_nobody_has_is_refused() {
    let site = Site::new();
    let unknown = "01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f";
    let output = site.run(["call", "await-id", &json!([unknown]).to_string()]).expect(1);
    assert!(output.stderr.contains("unknown invocation"), "{}", output.stderr);
    assert!(output.stderr.contains(unknown), "{}", output.stderr);
}

#[test]
fn an_id_of_another_tree_is_of_use_to_a_guest_only_if_it_may_submit_the_task() {
    let site = Site::new();
    let configure = |name: &str, may_submit: &str| {
        let [workflow, adder] = ["workflow", "adder"].map(crate::support::guests::guest);
        let text = format!(
            "store = \"sqlite:.wasm-runner/state.db\"\n[component.adder]\npath = {adder:?}\n\
             [component.workflow]\npath = {workflow:?}\nmay-submit = {may_submit}\n"
        );
        site.write(name, &text);
    };
    configure("confined.toml", "[]");
    configure("granted.toml", "[\"adder::*\"]");
    let added = site.submit("add", json!([40, 2]));
    let refused = site.submit("await-id", json!([added.to_string()]));
    site.run(["start", "--until-idle", "--config", "confined.toml"]).expect(0);
    assert_eq!(site.value(added), 42);
    let failed = site.run(["result", &refused.to_string()]).expect(1);
    assert!(failed.stderr.contains("and of a task that this component may not submit"), "{failed:?}");
    let logs = site.run(["logs", &refused.to_string()]).expect(0);
    assert!(logs.stdout().contains("denied: awaiting results"), "{logs:?}");
    let granted = site.submit("await-id", json!([added.to_string()]));
    site.run(["start", "--until-idle", "--config", "granted.toml"]).expect(0);
    assert_eq!(site.value(granted), "42");
}

#[test]
fn a_final_outcome_made_by_another_runner_wakes_a_waiter_here() {
    let site = Site::new();
    // One runner knows only `workflow`, the other only `adder`.
    site.write(
        "a.toml",
        &format!("[component.workflow]\npath = {:?}\n", crate::support::guests::guest("workflow")),
    );
    site.write(
        "b.toml",
        &format!("[component.adder]\npath = {:?}\n", crate::support::guests::guest("adder")),
    );
    let added = site.submit("add", json!([40, 2]));
    let waiter = site.submit("await-id", json!([added.to_string()]));
    let _here = site.start(&["--config", "a.toml", "--store", "sqlite:.wasm-runner/state.db"]);
    site.wait_for(waiter, Status::Waiting);
    assert_eq!(get(&site.store(), added).status, Status::Queued, "this runner can't run it");
    let _there = site.start(&["--config", "b.toml", "--store", "sqlite:.wasm-runner/state.db"]);
    assert_eq!(site.await_value(waiter), "42");
}

fn store_history(
    store: &dyn run_wasm_runner::store::Store,
    id: run_wasm_runner::model::InvocationId,
) -> Vec<String> {
    let history = store.history(id).expect("the store can be read");
    history.iter().map(|step| step.reason.to_string()).collect()
}

fn store_tree(
    store: &dyn run_wasm_runner::store::Store,
    root: run_wasm_runner::model::InvocationId,
) -> Vec<run_wasm_runner::model::Invocation> {
    store.tree(root).expect("the store can be read")
}
