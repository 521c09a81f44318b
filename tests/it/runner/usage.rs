//! The usage by hour, through the real binary.

use std::time::Duration;

use run_wasm_runner::model::{ComponentDigest, Status};
use run_wasm_runner::store::{Batch, Cancel, NewInvocation, SqliteStore, Store};
use serde_json::{Value, json};

use super::site::Site;
use crate::support::clock::TestClock;
use crate::support::database;

/// The lines of `usage --json`.
#[track_caller]
fn usage(site: &Site, flags: &[&str]) -> Vec<Value> {
    site.run(["usage", "--json"].iter().chain(flags)).expect(0).json_lines()
}

/// The line of a component or of a key.
#[track_caller]
fn line_of<'l>(lines: &'l [Value], field: &str, name: &str) -> &'l Value {
    lines.iter().find(|line| line[field] == json!(name)).unwrap_or_else(|| panic!("{name} in {lines:#?}"))
}

#[track_caller]
fn the_sums_are_those_of_the_invocations(site: &Site) {
    let submit = |task: &str, arguments: Value, key: &str| {
        site.submit_with(task, arguments, &["--fairness-key", key]);
    };
    for _ in 0..4 {
        // So small that it submits no children.
        submit("fib", json!([1]), "anna");
    }
    submit("square", json!([3]), "anna");
    submit("square", json!([4]), "bob");
    submit("flaky", json!([9, "never"]), "bob");
    // A parent, whose four children have its key.
    submit("sum-of-children", json!([4]), "bob");
    let cancelled = site.submit_with("square", json!([5]), &["--fairness-key", "anna"]);
    site.run(["cancel", &cancelled.to_string()]).expect(0);
    site.run_all(&["--slots", "2"]);

    let by_component = usage(site, &["--by", "component", "--since", "24h"]);
    assert_eq!(by_component.len(), 2, "{by_component:#?}");
    let counts = |line: &Value| {
        ["calls", "failures", "cancelled", "skipped"].map(|name| line[name].as_u64().expect("a number"))
    };
    let fib = line_of(&by_component, "component", "fib");
    let workflow = line_of(&by_component, "component", "workflow");
    assert_eq!((counts(fib), &fib["attempts"]), ([4, 0, 0, 0], &json!(4)));
    assert_eq!(counts(workflow), [9, 1, 1, 0]);
    let number = |line: &Value, name: &str| line[name].as_f64().expect("a number");
    let listed = site.run(["list", "--json", "--limit", "0"]).expect(0).json_lines();
    for (line, component) in [(fib, "fib"), (workflow, "workflow")] {
        for name in ["cpu_ms", "memory_byte_seconds", "result_bytes", "log_bytes"] {
            let bills = listed.iter().filter(|one| one["component"] == json!(component));
            let bills: f64 = bills.filter_map(|one| one["usage"][name].as_f64()).sum();
            assert!((number(line, name) - bills).abs() < 0.001, "{component}: {name} {bills} in {line:#}");
        }
        let cpu = number(line, "cpu_ms");
        assert!(cpu > 0.0 && cpu < 60_000.0, "{line:#}");
        assert!(number(line, "memory_byte_seconds") > 0.0, "{line:#}");
    }
    let by_key = usage(site, &["--by", "key"]);
    assert_eq!(counts(line_of(&by_key, "fairness_key", "anna")), [6, 0, 1, 0]);
    assert_eq!(counts(line_of(&by_key, "fairness_key", "bob")), [7, 1, 0, 0]);
    let both = usage(site, &["--by", "component,key", "--component", "work*", "--key", "a*"]);
    assert_eq!(both.iter().map(counts).collect::<Vec<_>>(), [[2, 0, 1, 0]], "{both:#?}");

    // What is removed stays in the sums.
    site.run(["prune", "--older-than", "0s"]).expect(0);
    assert!(site.run(["list", "--json"]).expect(0).stdout.is_empty());
    assert_eq!(usage(site, &["--by", "component"]), by_component);
    assert_eq!(usage(site, &["--by", "key", "--until", "0s"]), by_key);
}

#[test]
fn usage_is_summed_by_component_and_key() {
    the_sums_are_those_of_the_invocations(&Site::new());
}

#[test]
fn usage_is_summed_in_postgresql() {
    the_sums_are_those_of_the_invocations(&Site::on(&database::shared().url(), ""));
}

#[test]
fn usage_is_a_table_for_people() {
    let site = Site::new();
    let output = site.run(["usage"]).expect(0);
    assert!(output.stderr.contains("does not exist yet"), "{output:?}");
    site.submit_all("fib", [json!([1]), json!([1])]);
    site.submit("square", json!([3]));
    site.run_all(&[]);
    let output = site.run(["usage", "--sort", "hour"]).expect(0);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<_> = output.stdout().lines().map(words).collect();
    assert_eq!(lines[0][..5], ["COMPONENT", "CALLS", "FAILURES", "ATTEMPTS", "CPU"], "{output:?}");
    let first = |line: &[String]| line[..4].join(" ");
    let firsts: Vec<_> = lines[1..].iter().map(|line| first(line)).collect();
    assert_eq!(firsts, ["fib 2 0 2", "workflow 1 0 1", "TOTAL 3 0 3"], "{output:?}");
    assert!(output.stderr.contains("whole hours: from 20"), "{output:?}");
    // The greatest first, and the rest is counted.
    let output = site.run(["usage", "--sort", "calls", "--limit", "1"]).expect(0);
    assert!(output.stdout().lines().nth(1).is_some_and(|line| line.starts_with("fib")), "{output:?}");
    assert!(output.stdout().contains("TOTAL") && output.stderr.contains("1 line left out"), "{output:?}");
    for wrong in [["--since", "tomorrow"], ["--by", "task"], ["--until", "2000-01-01"]] {
        site.run(["usage"].iter().chain(&wrong)).expect(2);
    }
}

/// Puts a cancelled invocation into the store by a clock of two years ago.
fn use_something_long_ago(site: &Site) {
    let clock = TestClock::new();
    clock.set_back(Duration::from_secs(800 * 24 * 60 * 60));
    let path = site.path().join(".wasm-runner/state.db");
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    let store = SqliteStore::open(&path, clock).expect("the store opens");
    let new = NewInvocation::new("old::task", ComponentDigest::from_bytes([1; 32]), "[]");
    let cancel = Cancel { id: new.id, by: None, message: "not needed".to_owned() };
    let batch = |submits, cancels| Batch { submits, cancels, ..Batch::default() };
    store.commit(&batch(vec![new], Vec::new())).expect("a submit");
    store.commit(&batch(Vec::new(), vec![cancel])).expect("a cancel");
    assert_eq!(store.counts(None).expect("a read").get(Status::Cancelled), 1);
}

#[test]
fn old_usage_is_removed_by_runners_and_by_prune() {
    let old = |site: &Site| usage(site, &["--since", "2020-01-01", "--component", "old"]).len();
    // A runner removes it a year and a bit after its hour, unless it is to be kept for longer.
    let site = Site::with_sections("[retention]\nusage = \"36500d\"\n");
    use_something_long_ago(&site);
    // It sweeps as it starts.
    site.run_all(&[]);
    assert_eq!(old(&site), 1);
    site.run(["prune"]).expect(0);
    assert_eq!(old(&site), 1);
    let configuration = std::fs::read_to_string(site.path().join("wasm-runner.toml")).expect("a text");
    let by_default = configuration.replace("[retention]\nusage = \"36500d\"\n", "");
    site.write("wasm-runner.toml", &by_default);
    site.run_all(&[]);
    assert_eq!(old(&site), 0);

    let site = Site::with_sections("[retention]\nusage = \"700d\"\n");
    use_something_long_ago(&site);
    site.run(["prune", "--older-than", "36500d"]).expect(0);
    assert_eq!(old(&site), 1, "flags are about invocations");
    site.run(["prune"]).expect(0);
    assert_eq!(old(&site), 0);
}
