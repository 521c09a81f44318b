//! Signals: a stop finishes running guests, releases the rest, and takes bounded time.

use std::time::{Duration, Instant};

use run_wasm_runner::model::{InvocationId, Reason, Status};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::histories::{count, legal_history};
use super::site::{Site, all, get};
use crate::support::cli::Running;

/// The time that a stop may take beyond its grace time.
const MARGIN: Duration = Duration::from_secs(1);

/// Waits for the end; returns the summary, and how long it took since `since`.
#[track_caller]
fn end(running: Running, since: Instant) -> (Value, Duration) {
    let output = running.wait().expect(0);
    (output.json(), since.elapsed())
}

/// It is queued as if it had never been claimed, and its history says why.
#[track_caller]
fn assert_given_back(site: &Site, id: InvocationId) {
    let store = site.store();
    let invocation = get(&store, id);
    let history = legal_history(&store, &invocation);
    assert_eq!(invocation.status, Status::Queued, "{history:#?}");
    assert_eq!(invocation.attempt, 0, "the attempt is not counted: {history:#?}");
    assert_eq!(history.last().map(|step| step.reason), Some(Reason::Released), "{history:#?}");
}

#[test]
fn a_stop_finishes_what_runs_and_gives_back_the_parked_and_the_claimed() {
    let site = Site::new();
    let running = site.start(&["--slots", "1", "--grace", "20s"]);
    // Parked: a parent and its four children, until the gate opens in 8 s.
    let parent = site.submit("hold-behind-gate", json!([4, 8000]));
    site.wait_for_count(Status::Waiting, 5);
    // Finished: so many that the runner has learned to claim ahead.
    let finished = site.submit_all("square", (0..300).map(|n| json!([n])));
    site.wait_for_count(Status::Succeeded, 300);
    // Running, for longer than this test needs to come to the signal; and behind
    // it, claimed.
    let sleeper = site.submit("sleep-ms", json!([3000]));
    site.wait_for(sleeper, Status::Running);
    let behind = site.submit_all("square", (0..50).map(|n| json!([n])));
    site.wait_until("something is claimed", |store| {
        store_counts(store, Status::Claimed) > 0 && get(store, sleeper).status == Status::Running
    });
    let began = Instant::now();
    running.signal(Signal::TERM);
    let (summary, took) = end(running, began);
    assert!(took < Duration::from_secs(5), "the sleeper needed 3 s at most: {took:?}");

    let store = site.store();
    assert_eq!(get(&store, sleeper).status, Status::Succeeded, "what ran was finished");
    for id in finished {
        assert_eq!(get(&store, id).status, Status::Succeeded);
    }
    assert_given_back(&site, parent);
    let children: Vec<_> = all(&store).into_iter().filter(|child| child.parent == Some(parent)).collect();
    assert_eq!(children.len(), 5);
    for child in children.iter().filter(|child| child.task.ends_with("await-id")) {
        assert_given_back(&site, child.id);
    }
    let mut claimed = 0;
    for id in &behind {
        let invocation = get(&store, *id);
        let history = legal_history(&store, &invocation);
        assert_eq!((invocation.status, invocation.attempt), (Status::Queued, 0), "{history:#?}");
        assert_eq!(count(&history, Reason::Started), 0, "it never started: {history:#?}");
        claimed += usize::from(history.last().map(|step| step.reason) == Some(Reason::Released));
    }
    assert!(claimed > 0, "claimed work was given back");
    assert_eq!(summary["succeeded"], 301, "{summary}");
    assert_eq!(summary["released"], 5 + claimed, "{summary}");
    assert_eq!(summary["failed"], 0, "{summary}");

    // A second runner completes it all, each in its first attempt.
    site.run_all(&["--slots", "2"]);
    assert_eq!(site.value(parent), 4);
    for invocation in all(&store) {
        let history = legal_history(&store, &invocation);
        assert_eq!(invocation.status, Status::Succeeded, "{history:#?}");
        assert_eq!(invocation.attempt, 1, "{history:#?}");
        assert_eq!(count(&history, Reason::Succeeded), 1, "{history:#?}");
    }
    assert_eq!(all(&store).len(), 300 + 1 + 50 + 6, "the parent found its children again");
}

fn store_counts(store: &dyn run_wasm_runner::store::Store, status: Status) -> u64 {
    store.counts(None).expect("the store can be read").get(status)
}

#[track_caller]
fn is_killed_when_the_grace_time_is_over(task: &str, arguments: Value) {
    let site = Site::new();
    let grace = Duration::from_millis(300);
    let running = site.start(&["--slots", "1", "--grace", "300ms"]);
    let id = site.submit(task, arguments);
    site.wait_for(id, Status::Running);
    let began = Instant::now();
    running.signal(Signal::TERM);
    let (summary, took) = end(running, began);
    println!("{task}: {took:?} after the signal");
    assert!((grace..grace + MARGIN).contains(&took), "{took:?}");
    assert_eq!(summary["released"], 1, "{summary}");
    assert_given_back(&site, id);
}

#[test]
fn a_guest_that_computes_is_given_back_when_the_grace_time_is_over() {
    is_killed_when_the_grace_time_is_over("spin", json!([]));
}

#[test]
fn a_guest_that_sleeps_is_given_back_when_the_grace_time_is_over() {
    is_killed_when_the_grace_time_is_over("sleep-ms", json!([3_600_000]));
}

#[test]
fn a_second_signal_kills_at_once() {
    for (task, arguments) in [("spin", json!([])), ("sleep-ms", json!([3_600_000]))] {
        let site = Site::new();
        let mut running = site.start(&["--slots", "1", "--grace", "1h"]);
        let id = site.submit(task, arguments);
        site.wait_for(id, Status::Running);
        running.signal(Signal::TERM);
        running.wait_for_stderr("draining");
        let began = Instant::now();
        running.signal(Signal::TERM);
        let (_, took) = end(running, began);
        assert!(took < MARGIN, "{task}: {took:?}");
        assert_given_back(&site, id);
    }
}

#[test]
fn an_idle_runner_stops_at_once() {
    let site = Site::new();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let running = site.start(&["--grace", "1h"]);
        let id = site.submit("square", json!([3]));
        assert_eq!(site.await_value(id), 9);
        let began = Instant::now();
        running.signal(signal);
        let (summary, took) = end(running, began);
        assert!(took < MARGIN, "{signal:?}: {took:?}");
        assert_eq!(summary["released"], 0, "{summary}");
    }
}

#[test]
fn a_runner_with_parked_work_alone_stops_at_once() {
    let site = Site::new();
    let running = site.start(&["--slots", "2", "--grace", "1h"]);
    let id = site.submit("hold-behind-gate", json!([200, 3_600_000]));
    site.wait_for_count(Status::Waiting, 201);
    let began = Instant::now();
    running.signal(Signal::TERM);
    let (summary, took) = end(running, began);
    assert!(took < 2 * MARGIN, "{took:?}");
    assert_eq!(summary["released"], 201, "{summary}");
    assert_given_back(&site, id);
}

#[test]
fn a_child_that_finishes_during_a_stop_is_not_run_again_for_its_parent() {
    let site = Site::new();
    let running = site.start(&["--slots", "1", "--grace", "20s"]);
    let parent = site.submit("call", json!(["demo:workflow/basics.sleep-ms", "[1500]"]));
    site.wait_for(parent, Status::Waiting);
    site.wait_for_count(Status::Running, 1);
    running.signal(Signal::TERM);
    let (summary, _) = end(running, Instant::now());
    assert_eq!((&summary["succeeded"], &summary["released"]), (&json!(1), &json!(1)), "{summary}");
    assert_given_back(&site, parent);
    let began = Instant::now();
    site.run_all(&[]);
    assert!(began.elapsed() < Duration::from_millis(1500), "the child was run again");
    let store = site.store();
    assert_eq!(get(&store, parent).status, Status::Succeeded);
    let tree = all(&store);
    assert_eq!(tree.len(), 2, "there is one child");
    for invocation in tree {
        let history = legal_history(&store, &invocation);
        let starts = if invocation.id == parent { 2 } else { 1 };
        assert_eq!(count(&history, Reason::Started), starts, "{history:#?}");
    }
}

#[test]
fn a_stop_says_that_it_drains_and_sums_up() {
    let site = Site::new();
    let mut running = site.command(["start"]).spawn();
    running.wait_for_stderr("the runner has started");
    running.signal(Signal::TERM);
    running.wait_for_stderr("stopping");
    running.wait_for_stderr("0 succeeded, 0 failed; peak 0 of");
    running.wait().expect(0);
}

/// A shell that starts the program with a pipe as its standard error that is full, and that nobody reads.
const WITH_FULL_PIPE: &str =
    "mkfifo full && exec 3<>full && head -c 65536 /dev/zero >&3 && exec \"$0\" \"$@\" 2>&3";

#[test]
fn a_runner_whose_standard_error_nobody_reads_goes_on_and_stops_in_time() {
    let site = Site::new();
    let start = site.command(["start", "--slots", "1", "-vvv", "--grace", "20s", "--json"]);
    let running = start.through(WITH_FULL_PIPE).spawn();
    for n in 0..20_u64 {
        let id = site.submit("square", json!([n]));
        assert_eq!(site.await_value(id), n * n);
    }
    let began = Instant::now();
    running.signal(Signal::TERM);
    let (summary, took) = end(running, began);
    assert_eq!(summary["succeeded"], 20, "{summary}");
    assert!(took < Duration::from_secs(10), "it waited for nobody: {took:?}");
}
