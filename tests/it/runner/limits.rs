//! Limits that a submit lowers, through the real binary.

use run_wasm_runner::model::InvocationId;
use serde_json::{Value, json};

use super::site::{Site, all};

const LIMITS: &str = "[component.faults.limits]\nmemory = \"64MiB\"\ntime = \"20s\"\nfuel = 1000000000000\n";

/// Submits with limits, runs it, and returns what became of it.
#[track_caller]
fn run(site: &Site, task: &str, arguments: Value, limits: &[&str]) -> Value {
    let flags: Vec<_> = limits.iter().flat_map(|limit| ["--limit", *limit]).collect();
    let id = site.submit_with(task, arguments, &flags);
    site.run_all(&[]);
    site.status(id)
}

#[track_caller]
fn assert_ended_by(limit: &str, invocation: &Value) {
    assert_eq!(invocation["failure"]["limit"], limit, "{invocation}");
}

#[test]
fn a_submit_lowers_limits_and_the_failure_names_them() {
    let site = Site::with_sections(LIMITS);
    let spun = run(&site, "faults.spin", json!([]), &["time=100ms"]);
    assert_eq!(
        (&spun["failure"]["kind"], &spun["limits"]),
        (&json!("timed-out"), &json!({"time_seconds": 0.1}))
    );
    assert_ended_by("time", &spun);
    assert_ended_by("cpu", &run(&site, "faults.spin", json!([]), &["cpu=50ms"]));
    assert_ended_by("fuel", &run(&site, "faults.spin", json!([]), &["fuel=1000000"]));
    assert_ended_by("memory", &run(&site, "faults.grow", json!([32]), &["memory=16MiB", "cpu=10s"]));
    assert_ended_by("result", &run(&site, "identity", json!(["a".repeat(100)]), &["result=20B"]));
    let call = json!(["demo:workflow/basics.sleep-ms", "[60000]"]);
    assert_ended_by("parked", &run(&site, "control.call", call, &["parked=200ms", "time=10s"]));
    let childless =
        run(&site, "leave-behind", json!(["demo:workflow/basics.nothing", "[]", true]), &["children=0"]);
    let error = childless["failure"]["error"].as_str().expect("an error");
    assert!(error.contains("more than its limit of 0"), "{childless}");
}

#[test]
fn a_submit_raises_no_limit() {
    let site = Site::with_sections(LIMITS);
    let fits = run(&site, "faults.grow", json!([32]), &["memory=1GiB"]);
    assert_eq!((&fits["result"], &fits["limits"]), (&json!(32), &json!({"memory_bytes": 1 << 30})));
    let large = run(&site, "faults.grow", json!([80]), &["memory=1GiB"]);
    assert_ended_by("memory", &large);
    let message = large["failure"]["message"].as_str().expect("a message");
    assert!(message.contains("limit of 67108864"), "{message}");
    assert_eq!(run(&site, "faults.grow", json!([8]), &[])["limits"], json!({}));
}

#[test]
fn what_a_limited_invocation_submits_has_its_limits() {
    let site = Site::with_sections("[component.workflow.limits]\nmemory = \"128MiB\"\n");
    for (task, arguments) in [
        ("control.call", json!(["demo:faults/faults.spin", "[]"])),
        ("leave-behind", json!(["demo:faults/faults.spin", "[]", true])),
    ] {
        let parent = run(&site, task, arguments, &["cpu=100ms"]);
        let store = site.store();
        let parent: InvocationId = parent["id"].as_str().expect("an id").parse().expect("an id");
        let child = all(&store).into_iter().find(|one| one.parent == Some(parent)).expect("a child");
        assert_ended_by("cpu", &site.status(child.id));
    }
}

#[test]
fn a_retry_has_the_limits_of_the_original() {
    let site = Site::with_sections(LIMITS);
    let failed = run(&site, "faults.grow", json!([32]), &["memory=16MiB"]);
    let id = failed["id"].as_str().expect("an id");
    let copy = site.run(["retry", id]).expect(0).stdout().trim().parse().expect("an id");
    site.run_all(&[]);
    assert_ended_by("memory", &site.status(copy));
    let shown = site.run(["status", id]).expect(0);
    assert!(shown.stdout().contains("\nlimits:      memory 16.0 MiB\n"), "{}", shown.stdout());
    // Of a key that is taken, whatever limits come with it.
    let keyed = |limit| site.submit_with("faults.grow", json!([8]), &["--key", "k", "--limit", limit]);
    assert_eq!(keyed("memory=32MiB"), keyed("memory=1MiB"));
}

#[test]
fn limits_that_nobody_could_keep_are_refused() {
    let site = Site::new();
    for (limit, told) in [
        ("memroy=1MiB", "unknown limit `memroy` (did you mean `memory`?)"),
        ("arguments=1KiB", "a submit can't set the limit `arguments`"),
        ("memory=lots", "`lots` is not a size"),
        ("fuel=1000", "a submit can limit `fuel` only of a task that has a limit of it"),
    ] {
        for command in ["submit", "call"] {
            let output = site.run([command, "faults.spin", "[]", "--limit", limit]).expect(2);
            assert!(output.stderr.contains(told), "{}", output.stderr);
        }
    }
    site.submit("square", json!([1]));
    assert_eq!(all(&site.store()).len(), 1, "nothing else was submitted");
}

#[test]
fn a_call_lowers_limits_and_says_whose_they_were() {
    let site = Site::new();
    let output = site.run(["call", "faults.spin", "[]", "--limit", "cpu=100ms"]).expect(4);
    assert!(output.stderr.contains("limit of 100ms of processor time"), "{}", output.stderr);
    assert!(output.stderr.contains("the submit has set `cpu`"), "{}", output.stderr);
}
