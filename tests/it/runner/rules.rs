//! Concurrency, rates, uniqueness, queues and pauses, with real runners.

use std::time::Duration;

use run_wasm_runner::model::{Invocation, InvocationId, Reason, Status, Transition, UnixMicros};
use run_wasm_runner::store::Store;
use serde_json::{Value, json};

use super::histories::{count, legal_history};
use super::site::{Site, all, get};

/// When each attempt was owned by a runner: from its claim to whatever took it
/// away.
fn owned(history: &[Transition]) -> Vec<(UnixMicros, UnixMicros)> {
    let mut spans = Vec::new();
    let mut since = None;
    for step in history {
        if step.reason == Reason::Claimed {
            since = Some(step.at);
        }
        if !step.to.is_owned()
            && let Some(since) = since.take()
        {
            spans.push((since, step.at));
        }
    }
    spans
}

/// The most attempts of these invocations that were owned at once.
fn peak_owned(store: &dyn Store, invocations: &[Invocation]) -> i64 {
    let mut edges = Vec::new();
    for invocation in invocations {
        for (since, until) in owned(&legal_history(store, invocation)) {
            edges.extend([(since, 1), (until, -1)]);
        }
    }
    // At one moment, an end makes room for a beginning.
    edges.sort_unstable();
    let (mut now, mut peak) = (0, 0);
    for (_, change) in edges {
        now += change;
        peak = peak.max(now);
    }
    peak
}

fn of_task(store: &dyn Store, task: &str) -> Vec<Invocation> {
    // An id has a version between the two.
    let (interface, function) = task.split_once('.').unwrap_or(("", task));
    let is_it = |id: &str| id.contains(interface) && id.ends_with(&format!(".{function}"));
    all(store).into_iter().filter(|invocation| is_it(&invocation.task)).collect()
}

fn with_status(invocations: &[Invocation], status: Status) -> usize {
    invocations.iter().filter(|invocation| invocation.status == status).count()
}

const ONE_SLEEPS: &str = "[task.sleep-ms.concurrency]\nlimit = 1\n";

#[test]
fn a_concurrency_of_one_holds_across_two_runners() {
    let site = Site::with_sections(ONE_SLEEPS);
    let ids = site.submit_all("sleep-ms", (0..10).map(|_| json!([60])));
    let one = site.start(&["--slots", "4"]);
    let other = site.start(&["--slots", "4"]);
    for id in &ids {
        site.await_value(*id);
    }
    drop((one, other));
    let store = site.store();
    let invocations = of_task(&store, "sleep-ms");
    assert_eq!(with_status(&invocations, Status::Succeeded), 10);
    assert_eq!(peak_owned(&store, &invocations), 1);
    for invocation in &invocations {
        // It waited in its lane, not by being claimed and given back.
        assert_eq!(count(&legal_history(&store, invocation), Reason::Claimed), 1);
    }
}

#[test]
fn a_full_lane_blocks_no_other_arguments() {
    let site = Site::with_sections("[task.sleep-ms.concurrency]\nlimit = 1\nper = [\"ms\"]\n");
    let _runner = site.start(&["--slots", "3"]);
    let holder = site.submit("sleep-ms", json!([4000]));
    site.wait_for(holder, Status::Running);
    let behind = site.submit("sleep-ms", json!([4000]));
    let other = site.submit("sleep-ms", json!([1]));
    site.await_value(other);
    assert_eq!(site.status(holder)["status"], "running", "the other one did not wait for it");
    let status = site.status(behind);
    assert_eq!((&status["status"], &status["blocked"]), (&json!("queued"), &json!(true)));
    let text = site.run(["status", &behind.to_string()]).expect(0);
    assert!(text.stdout().contains("blocked:     by the rule of its task: concurrency 1\n"), "{text:?}");
    let rule = json!({ "concurrency": 1, "rate": null, "rate_window_ms": null });
    assert_eq!((&status["blocked_by"], &status["paused_by"]), (&rule, &Value::Null));
    assert!(text.stdout().contains("status:      queued, blocked by a rule\n"), "{text:?}");
    assert_eq!((&status["waiting_for"], &status["queue"]), (&json!("rule"), &json!("default")));
    assert_eq!(site.status(holder)["waiting_for"], Value::Null);
    let listed = site.run(["list", "--waiting-for", "rule", "--json"]).expect(0).json_lines();
    assert_eq!(listed.iter().map(|one| one["id"].clone()).collect::<Vec<_>>(), [json!(behind.to_string())]);
    let queues = site.run(["queues"]).expect(0);
    assert!(queues.stdout().contains("2 (1 blocked by a rule)"), "{queues:?}");
    // A cancel makes room at once.
    site.run(["cancel", &holder.to_string()]).expect(0);
    site.wait_for(behind, Status::Running);
}

#[test]
fn invocations_that_may_not_wait_are_skipped() {
    let site = Site::with_sections(&format!("{ONE_SLEEPS}blocked = \"skip\"\n"));
    let ids = site.submit_all("sleep-ms", (0..5).map(|_| json!([200])));
    let summary = site.run_all(&["--slots", "3"]);
    assert_eq!(summary["succeeded"], 1, "{summary}");
    let store = site.store();
    let invocations = of_task(&store, "sleep-ms");
    assert_eq!(with_status(&invocations, Status::Skipped), 4);
    let skipped = ids.iter().find(|id| get(&store, **id).status == Status::Skipped).expect("four were");
    let output = site.run(["result", &skipped.to_string()]).expect(5);
    assert!(output.stderr.contains("concurrency rule lets 1 run at a time, and 1 was running"), "{output:?}");
}

#[test]
fn a_retried_invocation_waits_for_its_lane_again() {
    let site = Site::with_sections(
        "[task.\"basics.flaky\"]\nmax-attempts = 3\n\
         [task.\"basics.flaky\".concurrency]\nlimit = 1\n\
         [task.\"basics.flaky\".retry]\non = [\"returned\"]\ndelay = \"30ms\"\n",
    );
    let ids = site.submit_all("basics.flaky", (0..4).map(|n| json!([3, format!("{n}")])));
    let summary = site.run_all(&["--slots", "3"]);
    assert_eq!((&summary["succeeded"], &summary["retried"]), (&json!(4), &json!(8)), "{summary}");
    let store = site.store();
    assert_eq!(peak_owned(&store, &of_task(&store, "basics.flaky")), 1);
    assert!(ids.iter().all(|id| site.value(*id) == 3));
}

#[test]
fn parents_get_the_results_of_children_that_wait_for_each_other() {
    let site = Site::with_sections(
        "[task.\"basics.square\".concurrency]\nlimit = 1\n[task.\"basics.sleep-ms\".concurrency]\nlimit = 2\nper = \"arguments\"\n",
    );
    let squares = site.submit("sum-of-children", json!([40]));
    let sleeps = site.submit("fan-out", json!(["basics.sleep-ms", "[3]", 12]));
    let summary = site.run_all(&["--slots", "4"]);
    assert_eq!(summary["failed"], 0, "{summary}");
    let expected: u64 = (0..40).map(|n: u64| n * n).sum();
    let found = site.value(squares);
    assert!(found == expected || found == (1..=40_u64).map(|n| n * n).sum::<u64>(), "{found}");
    site.value(sleeps);
    let store = site.store();
    assert_eq!(peak_owned(&store, &of_task(&store, "basics.square")), 1);
    assert!(peak_owned(&store, &of_task(&store, "basics.sleep-ms")) <= 2);
}

#[test]
fn a_runner_that_is_full_of_parents_still_starts_their_children() {
    let site =
        Site::with_both("[runner]\nmax-live = 6\n", "[task.\"basics.square\".concurrency]\nlimit = 1\n");
    let ids = site.submit_all("sum-of-children", (0..20).map(|_| json!([5])));
    let summary = site.run_all(&["--slots", "2"]);
    assert_eq!(summary["failed"], 0, "{summary}");
    for id in ids {
        site.value(id);
    }
    let store = site.store();
    assert_eq!(peak_owned(&store, &of_task(&store, "basics.square")), 1);
}

#[test]
fn a_child_that_would_wait_for_its_own_parent_is_refused() {
    let site = Site::with_sections("[task.\"control.call\".concurrency]\nlimit = 1\n");
    let inner = json!(["basics.identity", "[\"x\"]"]).to_string();
    let output = site.run(["call", "control.call", &json!(["control.call", inner]).to_string()]).expect(1);
    assert!(output.stderr.contains("keep it waiting for its ancestor"), "{output:?}");
}

#[test]
fn no_window_has_more_starts_than_its_rate() {
    const LIMIT: usize = 3;
    const WINDOW: Duration = Duration::from_millis(700);
    let site = Site::with_sections("[task.\"basics.nothing\".rate]\nlimit = 3\nwindow = \"700ms\"\n");
    let ids = site.submit_all("basics.nothing", (0..10).map(|_| json!([])));
    let one = site.start(&["--slots", "2"]);
    let other = site.start(&["--slots", "2"]);
    for id in &ids {
        site.await_value(*id);
    }
    drop((one, other));
    let store = site.store();
    let mut starts: Vec<_> = of_task(&store, "basics.nothing")
        .iter()
        .flat_map(|invocation| owned(&legal_history(&store, invocation)))
        .map(|(since, _)| since)
        .collect();
    starts.sort_unstable();
    for window in starts.windows(LIMIT + 1) {
        let span = window[LIMIT].since(window[0]);
        assert!(span >= WINDOW, "{} starts within {span:?}", LIMIT + 1);
    }
    // They come when the window opens, woken by the moment itself.
    let late: Vec<_> = starts
        .windows(LIMIT + 1)
        .map(|window| window[LIMIT].since(window[0]).saturating_sub(WINDOW))
        .collect();
    println!("later than the window opens: {late:?}");
}

#[track_caller]
fn submitted(output: &crate::support::cli::Output) -> InvocationId {
    output.stdout().trim().parse().expect("an id")
}

#[test]
fn a_submit_that_repeats_an_unfinished_invocation_is_answered_with_its_id() {
    let site = Site::with_sections(
        "[task.\"basics.identity\".unique]\nper = \"arguments\"\n\
         [task.\"basics.flaky\".unique]\nper = [\"succeed-on\"]\ndiffering = \"refuse\"\n\
         [task.\"basics.write-text\".unique]\nper = [\"path\"]\n",
    );
    // By all arguments: others are another invocation.
    let first = site.submit("basics.identity", json!(["a"]));
    let again = site.run(["submit", "basics.identity", r#"["a"]"#]).expect(0);
    assert_eq!(submitted(&again), first);
    assert!(
        again.stderr.contains(&format!("not submitted: the unfinished `{first}` is the same")),
        "{again:?}"
    );
    assert_ne!(site.submit("basics.identity", json!(["b"])), first);
    // By a key: other arguments are refused, and told.
    let flaky = site.submit("basics.flaky", json!([1, "x"]));
    assert_eq!(site.submit("basics.flaky", json!([1, "x"])), flaky);
    let refused = site.run(["submit", "basics.flaky", r#"[1, "y"]"#]).expect(2);
    assert!(refused.stdout.is_empty());
    assert!(refused.stderr.contains(r#"`message`: `"x"` there, `"y"` here"#), "{refused:?}");
    assert_ne!(site.submit("basics.flaky", json!([2, "y"])), flaky);
    // Or answered all the same, with a note of what differs.
    let text = site.submit("basics.write-text", json!(["/f", "one"]));
    let other = site.run(["submit", "basics.write-text", r#"["/f", "two"]"#]).expect(0);
    assert_eq!(submitted(&other), text);
    assert!(other.stderr.contains(r#"`text`: `"one"` there, `"two"` here"#), "{other:?}");
    // A batch: what is refused keeps nothing else from being submitted.
    let batch = "[7, \"a\"]\n[7, \"b\"]\n[8, \"a\"]\n";
    let output = site.command(["submit", "basics.flaky", "--batch", "-"]).stdin(batch).run().expect(2);
    assert_eq!(output.stdout().lines().count(), 2, "{output:?}");
    assert!(output.stderr.contains("1 of 3 were refused"), "{output:?}");
    // Free again when it is final.
    site.run_all(&[]);
    assert_ne!(site.submit("basics.identity", json!(["a"])), first);
}

#[test]
fn a_guest_takes_no_place_of_an_operators_unfinished_invocation() {
    let site = Site::with_sections("[task.\"basics.square\".unique]\nper = \"arguments\"\n");
    // Two guests: their child is one, and lies in wait for an hour.
    let arguments = json!(["demo:workflow/basics.square", "[4]", 3_600_000, 0, ["a", "b"]]);
    let parents = [(); 2].map(|()| site.submit("call-with", arguments.clone()));
    let runner = site.start(&["--slots", "2"]);
    site.wait_for_count(Status::Waiting, 2);
    let operators = site.submit("basics.square", json!([4]));
    assert_eq!(site.await_value(operators), 16);
    let store = site.store();
    let lying = of_task(&store, "square").into_iter().filter(|one| one.id != operators);
    let lying: Vec<_> =
        lying.map(|one| (one.parent.is_some_and(|id| parents.contains(&id)), one.status)).collect();
    assert_eq!(lying, [(true, Status::Queued)]);
    drop(runner);
}

#[test]
fn uniqueness_and_concurrency_of_one_task_have_keys_of_their_own() {
    let site = Site::with_sections(
        "[task.\"basics.append-line\".unique]\nper = \"arguments\"\n\
         [task.\"basics.append-line\".concurrency]\nlimit = 1\nper = [\"path\"]\n",
    );
    let one = site.submit("basics.append-line", json!(["/a", "1"]));
    let two = site.submit("basics.append-line", json!(["/a", "2"]));
    let three = site.submit("basics.append-line", json!(["/b", "1"]));
    assert_eq!(site.submit("basics.append-line", json!(["/a", "1"])), one);
    let blocked: Vec<_> = [one, two, three].map(|id| site.status(id)["blocked"].clone()).into();
    assert_eq!(blocked, [json!(false), json!(true), json!(false)]);
}

const QUEUES: &str =
    "[task.\"basics.identity\"]\nqueue = \"bulk\"\n[task.\"basics.square\"]\nqueue = \"quick\"\n";

#[test]
fn a_runner_may_be_bound_to_queues() {
    let site = Site::with_sections(QUEUES);
    let bulk = site.submit("basics.identity", json!(["x"]));
    let quick = site.submit("basics.square", json!([3]));
    let plain = site.submit("basics.nothing", json!([]));
    site.run_all(&["--queue", "quick", "--queue", "default"]);
    assert_eq!(site.value(quick), 9);
    assert_eq!(site.status(plain)["status"], "succeeded");
    assert_eq!(site.status(bulk)["status"], "queued");
    site.run_all(&["--queue", "bulk"]);
    assert_eq!(site.value(bulk), "x");
    let output = site.run(["start", "--until-idle", "--queue", "bluk"]).expect(2);
    assert!(
        output.stderr.contains("unknown queue `bluk` (known: `bulk`, `default`, `quick`)")
            && output.stderr.contains("did you mean `bulk`?"),
        "{output:?}"
    );
}

#[test]
fn paused_invocations_wait_until_they_are_resumed() {
    let site = Site::with_sections(QUEUES);
    let _runner = site.start(&["--slots", "2"]);
    let output = site.run(["pause", "--queue", "bulk", "--task", "basics.square"]).expect(0);
    assert_eq!(output.stdout(), "queue bulk paused\ntask workflow::demo:workflow/basics@0.1.square paused\n");
    let again = site.run(["pause", "--queue", "bulk"]).expect(0);
    assert_eq!(again.stdout(), "queue bulk was paused already\n");
    let not = site.run(["resume", "--queue", "quick"]).expect(0);
    assert_eq!(not.stdout(), "queue quick was not paused\n");
    let bulk = site.submit("basics.identity", json!(["x"]));
    let square = site.submit("basics.square", json!([3]));
    let parent = site.submit("call", json!(["basics.identity", "[\"y\"]"]));
    let free = site.submit("basics.nothing", json!([]));
    site.await_value(free);
    site.wait_for(parent, Status::Waiting);
    assert_eq!(
        (site.status(bulk)["status"].clone(), site.status(square)["status"].clone()),
        (json!("queued"), json!("queued"))
    );
    let queues: Vec<Value> = site.run(["queues", "--json"]).expect(0).json_lines();
    let paused: Vec<_> = queues
        .iter()
        .filter(|queue| queue["paused"] == true)
        .map(|queue| (queue["queue"].as_str(), queue["unfinished"].as_u64()))
        .collect();
    assert_eq!(paused, [(Some("bulk"), Some(2)), (Some("quick"), Some(1))]);
    let status = site.status(bulk);
    assert_eq!((&status["waiting_for"], &status["queue"]), (&json!("pause"), &json!("bulk")));
    assert_eq!(
        (&status["paused_by"], &status["blocked_by"]),
        (&json!({ "queue": "bulk", "task": null }), &Value::Null)
    );
    for (id, by) in [(bulk, "queue bulk"), (square, "task workflow::demo:workflow/basics@0.1.square")] {
        let text = site.run(["status", &id.to_string()]).expect(0);
        assert!(text.stdout().contains(&format!("paused:      {by}\n")), "{text:?}");
    }
    let delayed = site.submit_with("basics.square", json!([4]), &["--delay", "1h"]);
    assert_eq!(site.status(delayed)["waiting_for"], "time");
    let until = site.status(delayed)["available_at"].as_str().expect("a time")[..17].to_owned();
    let list = site.run(["list", "--status", "queued"]).expect(0);
    assert!(
        list.stdout().contains("queued, paused")
            && list.stdout().contains(&format!("queued, delayed until {until}")),
        "{list:?}"
    );
    let waiting = |args: &[&str]| -> Vec<String> {
        let listed = site.run([&["list", "--json", "--waiting-for"], args].concat()).expect(0).json_lines();
        listed.iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(waiting(&["time"]), [delayed.to_string()]);
    assert_eq!(waiting(&["pause", "--queue", "quick"]), [square.to_string()]);
    assert_eq!(waiting(&["pause"]).len(), 3);
    assert_eq!(waiting(&["rule"]), [""; 0]);
    assert_eq!(waiting(&["pause", "--status", "running"]), [""; 0]);
    for (word, reason) in [("paused", "pause"), ("delayed", "time"), ("blocked", "rule")] {
        let output = site.run(["list", "--status", word]).expect(2);
        assert!(output.stderr.contains(&format!("`list --waiting-for {reason}`")), "{output:?}");
    }
    let table = site.run(["queues"]).expect(0);
    assert!(table.stdout().contains("2 (1 delayed, 1 paused)"), "{table:?}");
    site.run(["cancel", &delayed.to_string()]).expect(0);
    site.run(["resume", "--queue", "bulk"]).expect(0);
    site.await_value(bulk);
    site.await_value(parent);
    assert_eq!(site.status(square)["status"], "queued");
    site.run(["resume", "--task", "basics.square"]).expect(0);
    assert_eq!(site.await_value(square), 9);
}

#[test]
fn a_pause_outlives_its_runner_and_keeps_no_runner_waiting() {
    let site = Site::with_sections(QUEUES);
    site.run(["pause", "--queue", "bulk"]).expect(0);
    let bulk = site.submit("basics.identity", json!(["x"]));
    let delayed = site.submit_with("basics.identity", json!(["y"]), &["--delay", "1h"]);
    let output = site.run(["start", "--until-idle"]).expect(0);
    assert!(output.stderr.contains("left in the store: 1 delayed, 1 paused ("), "{output:?}");
    site.run(["cancel", &delayed.to_string()]).expect(0);
    assert_eq!(site.status(bulk)["status"], "queued");
    let output = site.run(["pause", "--queue", "nobody"]).expect(2);
    assert!(output.stderr.contains("unknown queue `nobody`"), "{output:?}");
    let output = site.run(["pause", "--task", "nobody"]).expect(2);
    assert!(output.stderr.contains("unknown task `nobody`"), "{output:?}");
    site.run(["resume", "--queue", "bulk"]).expect(0);
    site.run_all(&[]);
    assert_eq!(site.value(bulk), "x");
}

#[test]
fn rules_that_name_no_parameter_are_found_by_check() {
    let site = Site::with_sections("[task.\"basics.square\".concurrency]\nlimit = 1\nper = [\"m\"]\n");
    let output = site.run(["check"]).expect(78);
    assert!(
        output.stderr.contains(
            "`per` in the rules of `workflow::demo:workflow/basics@0.1.square`: `m`: it has no parameter `m` (known: `n`)"
        ),
        "{output:?}"
    );
}

#[test]
fn a_dead_runner_occupies_a_lane_no_longer_than_its_lease() {
    let site = Site::with_both("[runner]\nlease = \"1s\"\n", ONE_SLEEPS);
    let doomed = site.start(&["--slots", "1"]);
    let first = site.submit("sleep-ms", json!([2_000]));
    site.wait_for(first, Status::Running);
    let second = site.submit("sleep-ms", json!([1]));
    doomed.signal(rustix::process::Signal::KILL);
    doomed.wait();
    let _living = site.start(&["--slots", "2"]);
    site.await_value(first);
    site.await_value(second);
    let store = site.store();
    let invocations = of_task(&store, "sleep-ms");
    assert_eq!(peak_owned(&store, &invocations), 1);
    assert_eq!(get(&store, first).attempt, 2);
}
