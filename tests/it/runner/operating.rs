//! Messages to the operator: log lines, summaries, the origin of rules.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::site::Site;
use run_wasm_runner::model::Status;

const FLAKY: &str = "[task.\"basics.flaky\"]\nmax-attempts = 2\n[task.\"basics.flaky\".retry]\non = [\"returned\"]\ndelay = \"1ms\"\n";

/// The lines of standard error, each a JSON object with the fields that all have.
#[track_caller]
fn lines(stderr: &str) -> Vec<Value> {
    let parse = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for field in ["at", "level", "message"] {
            assert!(line[field].is_string(), "{field}: {line}");
        }
        line
    };
    stderr.lines().map(parse).collect()
}

#[test]
fn each_failed_attempt_and_each_failure_is_a_line_and_is_counted() {
    let site = Site::with_sections(FLAKY);
    let flaky = site.submit("flaky", json!([9, "not yet"])).to_string();
    let late = site.submit_with("spin", json!([]), &["--deadline", "1s"]).to_string();
    let output = site.run(["start", "--until-idle", "--json", "--log", "json", "--slots", "2"]).expect(0);
    let lines = lines(&output.stderr);
    let of = |event: &str| -> Vec<&Value> { lines.iter().filter(|line| line["event"] == event).collect() };
    let attempts = of("attempt-failed");
    assert_eq!(attempts.len(), 1, "{lines:#?}");
    assert_eq!((&attempts[0]["id"], &attempts[0]["attempt"]), (&json!(flaky), &json!(1)), "{lines:#?}");
    assert_eq!((&attempts[0]["level"], &attempts[0]["kind"]), (&json!("info"), &json!("returned")));
    assert!(
        attempts[0]["task"].as_str().is_some_and(|task| task.ends_with("basics@0.1.flaky")),
        "{lines:#?}"
    );
    let failed = of("failed");
    let ids: Vec<_> = failed.iter().map(|line| line["id"].clone()).collect();
    assert!(ids.len() == 2 && ids.contains(&json!(flaky)) && ids.contains(&json!(late)), "{lines:#?}");
    assert!(failed.iter().all(|line| line["level"] == "warn" && line["said"].is_string()), "{lines:#?}");
    let told = of("summary");
    assert_eq!(
        (told.len(), &told[0]["failed"], &told[0]["retried"]),
        (1, &json!(2), &json!(1)),
        "{lines:#?}"
    );
    let summary = output.json();
    assert_eq!((&summary["failed"], &summary["retried"]), (&json!(2), &json!(1)), "{summary}");
    assert_eq!((&summary["succeeded"], &summary["taken"]), (&json!(0), &json!(0)), "{summary}");
}

#[test]
fn a_component_that_fails_fast_writes_a_bounded_log() {
    let site = Site::new();
    site.submit_all("faults.unreachable", vec![json!([]); 100]);
    let flaky = site.submit("flaky", json!([9, "not yet"]));
    let output = site.run(["start", "--until-idle", "--json", "--log", "json"]).expect(0);
    let lines = lines(&output.stderr);
    let of = |event: &str| -> Vec<&Value> { lines.iter().filter(|line| line["event"] == event).collect() };
    let of_others: Vec<_> = of("failed").into_iter().filter(|line| line["id"] == json!(flaky)).collect();
    assert_eq!(of_others.len(), 1, "a neighbour's failure is told: {lines:#?}");
    assert_eq!(of("failed").len(), 61, "{lines:#?}");
    let left_out = of("failures-left-out");
    assert_eq!(left_out.len(), 1, "{lines:#?}");
    assert_eq!(
        (&left_out[0]["component"], &left_out[0]["lines"]),
        (&json!("faults"), &json!(40)),
        "{lines:#?}"
    );
    assert_eq!(output.json()["failed"], json!(101));
}

#[test]
fn one_line_of_a_panic_has_its_place_and_its_reason() {
    let site = Site::new();
    let id = site.submit("faults.panic", json!(["out of bananas"])).to_string();
    let output = site.run(["start", "--until-idle", "--log", "json"]).expect(0);
    let lines = lines(&output.stderr);
    let failed = lines.iter().find(|line| line["event"] == "failed").expect("a failure");
    let said = failed["said"].as_str().expect("a text");
    assert!(said.starts_with("src/lib.rs:") && said.ends_with(": out of bananas"), "{said}");
    for command in [&["list", "--status", "failed"][..], &["tree", &id]] {
        let output = site.run(command).expect(0);
        let told = format!("trapped: {said}");
        assert!(output.stdout().lines().any(|line| line.ends_with(&told)), "{told}: {output:?}");
    }
    let whole = site.run(["status", &id]).expect(0);
    for part in ["the guest panicked or aborted: ", "panicked at ", "out of bananas"] {
        assert!(whole.stdout().contains(part), "{part}: {whole:?}");
    }
}

#[test]
fn a_wait_for_delayed_invocations_alone_is_a_line() {
    let site = Site::new();
    let [first, _] = ["1h", "2h"].map(|delay| site.submit_with("fib", json!([1]), &["--delay", delay]));
    let mut runner = site.command(["start", "--until-idle", "--log", "json"]).spawn();
    let line: Value =
        serde_json::from_str(&runner.wait_for_stderr("nothing to run now: waiting for delayed"))
            .expect("JSON");
    assert_eq!((&line["event"], &line["level"]), (&json!("waiting"), &json!("info")), "{line}");
    assert_eq!((&line["delayed"], &line["next"]), (&json!(2), &site.status(first)["available_at"]), "{line}");
    site.run(["cancel", "--task", "fib"]).expect(0);
    let output = runner.wait().expect(0);
    assert_eq!(output.stderr.matches("nothing to run now").count(), 1, "{output:?}");
}

#[test]
fn a_cancel_by_another_process_is_counted() {
    let site = Site::new();
    let runner = site.start(&["--slots", "1"]);
    let id = site.submit("spin", json!([]));
    site.wait_for(id, Status::Running);
    site.run(["cancel", &id.to_string()]).expect(0);
    // The next one runs when the slot is free.
    let next = site.submit("fib", json!([1]));
    assert_eq!(site.await_value(next), 1);
    runner.signal(rustix::process::Signal::TERM);
    let summary = runner.wait().expect(0).json();
    assert_eq!((&summary["cancelled"], &summary["succeeded"]), (&json!(1), &json!(1)), "{summary}");
    assert_eq!((&summary["failed"], &summary["taken"]), (&json!(0), &json!(0)), "{summary}");
}

#[test]
fn contradictions_between_runners_are_told_in_both_logs_and_by_check() {
    let rule = |limit: u32| format!("[task.\"fib\".concurrency]\nlimit = {limit}\n");
    let site = Site::with_sections(&rule(1));
    let mut first = site.command(["start", "--log", "json"]).spawn();
    first.wait_for_stderr("the runner has started");
    site.wait_until("the rules are there", |store| !store.rule_marks().expect("a read").is_empty());
    site.run(["check"]).expect(0);
    let config = std::fs::read_to_string(site.path().join("wasm-runner.toml")).expect("a configuration");
    site.write("other.toml", &config.replace(&rule(1), &rule(2)));
    let check = site.run(["--config", "other.toml", "check"]).expect(0);
    assert!(check.stderr.contains("the store has other rules (queue default, concurrency 1"), "{check:?}");
    assert!(check.stdout().trim_end().ends_with(": 1 warning"), "{check:?}");
    let mut second = site.command(["--config", "other.toml", "start", "--log", "json"]).spawn();
    let told = second.wait_for_stderr("this runner's rules replace others");
    let line: Value = serde_json::from_str(&told).expect("JSON");
    assert!(line["task"].as_str().is_some_and(|task| task.ends_with("fib")), "{line}");
    assert!(line["by"].as_str().is_some_and(|by| by.contains("/wasm-runner.toml")), "{line}");
    first.wait_for_stderr("this runner's rules are not in force");
    let queues = site.run(["queues", "--json"]).expect(0).json_lines();
    let fib = queues.iter().find(|queue| queue["concurrency"] == 2).expect("the rule in force");
    assert!(fib["rule_by"]["config"].as_str().is_some_and(|path| path.ends_with("other.toml")), "{fib}");
    assert!(fib["rule_at"].is_string() && fib["rule_by"]["host"].is_string(), "{fib}");
    for runner in [&mut first, &mut second] {
        runner.signal(rustix::process::Signal::TERM);
    }
    first.wait().expect(0);
    second.wait().expect(0);
}

#[test]
fn a_task_that_leaves_a_paused_queue_is_told_by_check_and_in_the_log() {
    let section = |queue: &str| format!("[task.\"fib\"]\nqueue = \"{queue}\"\n");
    let site = Site::with_sections(&section("bulk"));
    let id = site.submit("fib", json!([1]));
    site.run(["pause", "--queue", "bulk"]).expect(0);
    let config = std::fs::read_to_string(site.path().join("wasm-runner.toml")).expect("a configuration");
    site.write("other.toml", &config.replace(&section("bulk"), &section("quick")));
    let check = site.run(["--config", "other.toml", "check"]).expect(0);
    assert!(
        check.stderr.contains("its queue `bulk` is paused, and this configuration moves the task to `quick`")
    );
    assert!(check.stderr.contains("(unfinished now: 1)"), "{check:?}");
    assert!(!site.run(["check"]).expect(0).stderr.contains("is paused"));
    let output = site.run(["--config", "other.toml", "start", "--until-idle", "--log", "json"]).expect(0);
    let lines = lines(&output.stderr);
    let told: Vec<_> = lines.iter().filter(|line| line["event"] == "pause-left").collect();
    assert_eq!(told.len(), 1, "{lines:#?}");
    assert_eq!((&told[0]["paused"], &told[0]["now"]), (&json!("bulk"), &json!("quick")), "{lines:#?}");
    assert_eq!((&told[0]["unfinished"], &told[0]["level"]), (&json!(1), &json!("warn")), "{lines:#?}");
    assert_eq!(site.value(id), 1, "the rule is kept");
}

#[test]
fn a_takeover_is_a_line() {
    let site = Site::with("[runner]\nlease = \"1s\"\n");
    let mut first = site.command(["start", "--log", "json", "--slots", "1"]).spawn();
    let started: Value =
        serde_json::from_str(&first.wait_for_stderr("the runner has started")).expect("JSON");
    assert_eq!(started["event"], json!("started"), "{started}");
    let dead = started["runner"].as_str().expect("the id of the runner");
    let id = site.submit("spin", json!([]));
    let list = |runner: &str| site.run(["list", "--runner", runner, "--json"]).expect(0).json_lines();
    site.wait_for(id, Status::Running);
    assert_eq!(list(dead).iter().map(|one| one["id"].clone()).collect::<Vec<_>>(), [json!(id.to_string())]);
    first.signal(rustix::process::Signal::KILL);
    first.wait();
    // Time alone ends a lease: there is no event to wait for.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !site.status(id)["lease_ran_out_at"].is_string() {
        assert!(Instant::now() < deadline, "the lease has not run out: {}", site.status(id));
    }
    assert_eq!(site.status(id)["status"], "running");
    for command in [&["list"][..], &["status", &id.to_string()]] {
        let output = site.run(command).expect(0);
        assert!(output.stdout().contains("running, but its runner's lease ran out "), "{output:?}");
    }
    let mut second = site.command(["start", "--log", "json", "--slots", "1"]).spawn();
    let started: Value =
        serde_json::from_str(&second.wait_for_stderr("the runner has started")).expect("JSON");
    let line: Value = serde_json::from_str(&second.wait_for_stderr("took over the work")).expect("JSON");
    assert_eq!((&line["event"], &line["attempts"]), (&json!("takeover"), &json!(1)), "{line}");
    assert_eq!((&line["runner"], &line["from"]), (&started["runner"], &json!(dead)), "{line}");
    assert_eq!(line["ids"], json!(id.to_string()), "{line}");
    site.wait_until("the second runner has it", |_| list(dead).is_empty());
    assert_eq!(site.status(id)["lease_ran_out_at"], Value::Null);
    site.run(["cancel", &id.to_string()]).expect(0);
    second.signal(rustix::process::Signal::TERM);
    second.wait().expect(0);
}
