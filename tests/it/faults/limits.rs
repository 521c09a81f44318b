//! Limits end an attempt, and say which one it was.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::guests::setup::Setup;

/// A guest with a time limit ends within this after it.
const OVERTIME: Duration = Duration::from_secs(1);

#[track_caller]
fn times_out(components: &[&str], limits: &str, task: &str, arguments: &str) {
    let setup = Setup::with(components, limits);
    // What is compiled already does not count against the guest.
    setup.run(["check"]).expect(0);
    let began = Instant::now();
    let failed = setup.failure(task, arguments, 4, "timed-out");
    let took = began.elapsed();
    failed.says(&["time limit of 300ms"]);
    assert_eq!(failed.failure["limit"], "time");
    let limit = Duration::from_millis(300);
    assert!(took >= limit && took < limit + OVERTIME, "{took:?}");
}

#[test]
fn a_loop_ends_when_its_time_is_over() {
    times_out(&["faults"], "[component.faults.limits]\ntime = \"300ms\"\n", "faults.spin", "[]");
}

#[test]
fn a_loop_that_asks_the_clock_ends_when_its_time_is_over() {
    times_out(&["faults"], "[component.faults.limits]\ntime = \"300ms\"\n", "faults.spin-ms", "[60000]");
}

#[test]
fn a_sleep_ends_when_its_time_is_over() {
    times_out(&["faults"], "[component.faults.limits]\ntime = \"300ms\"\n", "faults.sleep", "[60000]");
}

#[test]
fn a_loop_at_start_ends_when_its_time_is_over() {
    let limits = "[component.spin-at-start.limits]\ntime = \"300ms\"\n";
    times_out(&["spin-at-start"], limits, "spin-at-start.nothing", "[]");
}

#[test]
fn a_pipe_in_a_granted_directory_is_not_opened() {
    let setup = Setup::with(
        &["workflow"],
        "[component.workflow.limits]\ntime = \"300ms\"\n\
         [[component.workflow.directory]]\nhost = \"data\"\nguest = \"/data\"\n",
    );
    let pipe = setup.sandbox.write("data/file", "text").with_file_name("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .expect("a named pipe");
    let piped = setup.submit("read-text", r#"["/data/pipe"]"#);
    let good = setup.submit("read-text", r#"["/data/file"]"#);
    setup.run(["start", "--until-idle", "--slots", "1"]).expect(0);
    let piped = setup.status(&piped);
    // Opening it would keep a thread until somebody writes to it, however long ago the guest has ended.
    assert_eq!(piped["failure"]["kind"], "returned", "{piped}");
    assert!(
        piped["failure"]["error"].as_str().is_some_and(|error| error.contains("not permitted")),
        "{piped}"
    );
    assert_eq!(setup.status(&good)["result"], "text");
}

#[test]
fn a_guest_that_stays_within_its_time_is_not_ended() {
    let setup = Setup::with(&["faults"], "[component.faults.limits]\ntime = \"20s\"\n");
    assert_eq!(setup.value("faults.sleep", "[50]"), serde_json::Value::Null);
    assert_eq!(setup.value("faults.spin-ms", "[50]"), serde_json::Value::Null);
}

#[test]
fn a_limit_of_one_task_does_not_hold_for_others() {
    let setup = Setup::with(
        &["faults"],
        "[component.faults.limits]\ntime = \"20s\"\n[task.\"faults.spin\"]\nlimits = { time = \"100ms\" }\n",
    );
    setup.failure("faults.spin", "[]", 4, "timed-out").says(&["100ms"]);
    setup.call("faults.spin-ms", "[300]").expect(0);
}

#[test]
fn awaiting_does_not_count_against_the_time_limit() {
    let setup = Setup::with(
        &["workflow"],
        "[task.\"control.call\"]\nlimits = { time = \"500ms\" }\n\
         [task.\"sleep-ms\"]\nlimits = { time = \"20s\" }\n",
    );
    let began = Instant::now();
    let value = setup.value("control.call", r#"["demo:workflow/basics.sleep-ms", "[1500]"]"#);
    assert_eq!(value, "null");
    assert!(began.elapsed() >= Duration::from_millis(1500), "the child did sleep");
}

#[test]
fn a_refused_allocation_that_ends_the_guest_names_the_memory_limit() {
    let setup = Setup::with(&["faults"], "[component.faults.limits]\nmemory = \"32MiB\"\n");
    let failed = setup.failure("faults.grow", "[64]", 4, "limit-exceeded");
    failed.says(&["memory", "limit of 33554432", "bytes"]);
    assert_eq!(failed.failure["limit"], "memory");
    assert_eq!(setup.value("faults.grow", "[16]"), 16);
}

#[test]
fn growing_a_memory_beyond_the_limit_fails_and_the_guest_goes_on() {
    let setup = Setup::with(&["faults"], "[component.faults.limits]\nmemory = \"32MiB\"\n");
    let failed = setup.failure("faults.grow-politely", "[64]", 1, "returned");
    let error = failed.failure["error"].as_str().expect("an error");
    let granted: u32 = error
        .strip_prefix("after ")
        .and_then(|rest| rest.split_once(" MiB: "))
        .and_then(|(granted, _)| granted.parse().ok())
        .unwrap_or_else(|| panic!("{error}"));
    assert!((16..32).contains(&granted), "{error}");
}

#[test]
fn the_memory_limit_holds_for_all_memories_together() {
    let setup = Setup::with(&["many-memories"], "[component.many-memories.limits]\nmemory = \"64MiB\"\n");
    assert_eq!(setup.value("many-memories.grow-all", "[4]"), 8);
    // Eight times 20 MiB: three fit into 64 MiB.
    assert_eq!(setup.value("many-memories.grow-all", "[20]"), 3);
}

#[test]
fn tables_count_against_the_memory_limit() {
    let setup = Setup::with(&["table-growth"], "[component.table-growth.limits]\nmemory = \"100KB\"\n");
    // Eight bytes each.
    assert_eq!(setup.value("table-growth.grow", "[]"), 12_000);
    // Beyond that a table has an end of its own, far below the default limit.
    setup.configure(&["table-growth"], "");
    assert_eq!(setup.value("table-growth.grow", "[]"), 50_000);
}

#[test]
fn memory_that_a_guest_starts_with_counts() {
    let failed = Setup::new(&["huge-minimum"]).failure("huge-minimum.nothing", "[]", 4, "limit-exceeded");
    failed.says(&["4294967296 bytes of memory", "limit of 268435456"]);
    assert_eq!(failed.failure["limit"], "memory");
}

#[test]
fn fuel_ends_a_loop() {
    let setup = Setup::with(&["faults"], "[component.faults.limits]\nfuel = 1000000\n");
    let failed = setup.failure("faults.spin", "[]", 4, "limit-exceeded");
    failed.says(&["limit of 1000000 units of fuel"]);
    assert_eq!(failed.failure["limit"], "fuel");
    assert_eq!(setup.value("faults.divide", "[7, 2]"), 3);
}

#[test]
fn a_value_beyond_its_limit_fails_and_names_the_limit() {
    let setup = Setup::with(&["faults"], "[component.faults.limits]\nresult = \"1MiB\"\n");
    let failed = setup.failure("faults.huge-result", "[2]", 4, "limit-exceeded");
    failed.says(&["limit of 1048576 bytes"]);
    assert_eq!(failed.failure["limit"], "result");
    // Two bytes are the quotes.
    setup.configure(&["faults"], "[component.faults.limits]\nresult = \"1048578\"\n");
    assert_eq!(setup.value("faults.huge-result", "[1]").as_str().map(str::len), Some(1 << 20));
    setup.configure(&["faults"], "[component.faults.limits]\nresult = \"1048577\"\n");
    setup.failure("faults.huge-result", "[1]", 4, "limit-exceeded");
}

#[test]
fn a_large_value_is_returned_whole() {
    let setup = Setup::new(&["faults"]);
    let output = setup.run(["call", "--raw", "faults.huge-result", "[20]"]).expect(0);
    assert!(output.stdout.len() == 20 << 20 && output.stdout.iter().all(|byte| *byte == b'x'));
}

#[test]
fn the_output_of_a_command_is_a_value_and_has_its_limit() {
    let setup = Setup::new(&["greet-cli"]);
    let failed = setup.failure("greet-cli.run", r#"[["--big", "100"]]"#, 4, "limit-exceeded");
    failed.says(&["standard output", "limit of 67108864 bytes"]);
    assert_eq!(failed.failure["limit"], "result");
}

#[test]
fn a_guest_that_is_parked_for_longer_than_its_limit_ends() {
    let setup = Setup::with(&["large", "echo"], "[component.large.limits]\nparked = \"300ms\"\n");
    let long = setup.submit("park", "[0, 3600000]");
    let short = setup.submit("park", "[0, 1]");
    setup.run_all();
    assert_eq!(setup.status(&short)["status"], "succeeded");
    let failure = &setup.status(&long)["failure"];
    assert_eq!(
        (&failure["kind"], &failure["limit"]),
        (&json!("limit-exceeded"), &json!("parked")),
        "{failure}"
    );
    let message = failure["message"].as_str().expect("a message");
    assert!(message.contains("parked for longer than its limit of 300ms"), "{message}");
}
