//! The usage of invocations, as `status` tells it.

use serde_json::{Value, json};

use super::setup::Setup;

/// Reads the usage of a task's final invocation.
#[track_caller]
fn usage(setup: &Setup, task: &str, arguments: &str) -> Value {
    let id = setup.submit(task, arguments);
    setup.run_all();
    let status = setup.status(&id);
    assert!(status["finished_at"].is_string(), "{status}");
    status["usage"].clone()
}

#[test]
fn an_unfinished_invocation_has_no_bill() {
    let setup = Setup::new(&["faults"]);
    let id = setup.submit("faults.nothing", "[]");
    assert_eq!(setup.status(&id)["usage"], Value::Null);
}

#[test]
fn computing_is_on_the_bill_and_sleeping_is_not() {
    // A loop that ends by the clock would get what others leave of the processor.
    let setup = Setup::with(&["faults"], "[component.faults.limits]\ncpu = \"100ms\"\n");
    let cpu = |usage: Value| usage["cpu_ms"].as_f64().expect("a number");
    let busy = cpu(usage(&setup, "faults.spin", "[]"));
    assert!((100.0..1_000.0).contains(&busy), "{busy}");
    let slept = usage(&setup, "faults.sleep", "[400]");
    // Its memory is there all the while.
    let number = |field: &str| slept[field].as_f64().expect("a number");
    let seconds = number("memory_byte_seconds") / number("peak_memory_bytes");
    assert!((0.3..60.0).contains(&seconds), "{slept}");
    let asleep = cpu(slept);
    assert!(asleep > 0.0 && asleep < 100.0, "{asleep}");
}

#[test]
fn memory_output_and_results_are_counted() {
    let setup = Setup::new(&["faults"]);
    let grown = usage(&setup, "faults.grow", "[24]");
    let peak = grown["peak_memory_bytes"].as_u64().expect("a number");
    assert!((24 << 20..28 << 20).contains(&peak), "{grown}");
    assert_eq!(grown["result_bytes"], 2, "the digits of 24");
    assert_eq!(grown["fuel"], Value::Null, "nobody counts");
    let small = usage(&setup, "faults.nothing", "[]");
    assert!(small["peak_memory_bytes"].as_u64().expect("a number") < 4 << 20, "{small}");
    assert!(small["peak_host_memory_bytes"].as_u64().expect("a number") < 1 << 20, "{small}");
    // Also what is not kept.
    let written = usage(&setup, "faults.huge-output", "[3]");
    assert_eq!((&written["output_bytes"], &written["log_bytes"]), (&json!(3 << 20), &json!(0)));
    let logged = usage(&setup, "faults.huge-log", "[2000]");
    assert!(logged["log_bytes"].as_u64().expect("a number") > 1_000_000, "{logged}");
}

#[test]
fn children_are_counted() {
    let setup = Setup::new(&["faults"]);
    assert_eq!(usage(&setup, "faults.flood", "[30]")["children"], 30);
}

#[test]
fn fuel_is_counted_in_components_with_a_limit_of_it() {
    // One task has a limit; the other is unlimited, and counted all the same.
    let setup = Setup::with(&["faults"], "[task.\"faults.divide\".limits]\nfuel = 10000000\n");
    let fuel = |usage: Value| usage["fuel"].as_u64().unwrap_or_else(|| panic!("{usage}"));
    let limited = fuel(usage(&setup, "faults.divide", "[7, 2]"));
    assert!((1..10_000_000).contains(&limited), "{limited}");
    let unlimited = fuel(usage(&setup, "faults.spin-ms", "[50]"));
    assert!(unlimited > limited, "{unlimited}");
}

#[test]
fn a_guest_that_was_ended_has_a_bill_too() {
    let limits = "[component.faults.limits]\ntime = \"300ms\"\nfuel = 1000000000000\n";
    let setup = Setup::with(&["faults"], limits);
    let spun = usage(&setup, "faults.spin", "[]");
    assert!(spun["cpu_ms"].as_f64().expect("a number") > 0.0, "{spun}");
    let slept = usage(&setup, "faults.sleep", "[60000]");
    assert!(slept["fuel"].as_u64().expect("a number") > 0, "dropped where it waits: {slept}");
    let trapped = usage(&setup, "faults.panic", r#"["enough"]"#);
    assert!(trapped["output_bytes"].as_u64().expect("a number") > 6, "{trapped}");
}

#[test]
fn every_attempt_is_on_the_bill() {
    let retry = "[component.faults.retry]\non = [\"trapped\"]\ndelay = \"1ms\"\n";
    let setup = Setup::with(&["faults"], retry);
    let once = usage(&setup, "faults.huge-output", "[1]")["output_bytes"].as_u64().expect("a number");
    assert_eq!(once, 1 << 20);
    let thrice = usage(&setup, "faults.panic", r#"["enough"]"#)["output_bytes"].as_u64().expect("a number");
    let setup = Setup::new(&["faults"]);
    let once = usage(&setup, "faults.panic", r#"["enough"]"#)["output_bytes"].as_u64().expect("a number");
    assert_eq!(thrice, 3 * once);
}

#[test]
fn status_shows_the_usage_to_people() {
    let setup = Setup::new(&["faults"]);
    let id = setup.submit("faults.flood", "[3]");
    setup.run_all();
    let output = setup.run(["status", &id]).expect(0);
    let line = output.stdout().lines().find(|line| line.starts_with("used:")).expect("a line");
    for word in ["cpu ", "memory ", "children 3", "result 1 bytes"] {
        assert!(line.contains(word), "`{word}` is not in: {line}");
    }
}
