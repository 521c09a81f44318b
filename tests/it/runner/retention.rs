//! Runners remove old final invocations, if the configuration says so.

use run_wasm_runner::model::{Reason, Status};
use run_wasm_runner::store::Store;
use rustix::process::Signal;
use serde_json::json;

use super::histories::{count, legal_history};
use super::site::{Site, all, get};

#[test]
fn without_retention_everything_is_kept() {
    let site = Site::new();
    site.submit_all("square", (0..5).map(|n| json!([n])));
    site.run_all(&[]);
    site.run_all(&[]);
    assert_eq!(all(&site.store()).len(), 5);
}

#[test]
fn a_runner_keeps_what_it_is_told_to_keep() {
    let site = Site::with_sections(
        "[retention.succeeded]\ncount = 3\n[retention.failed]\nage = \"0s\"\n[retention.cancelled]\nage = \"1d\"\n",
    );
    let ids = site.submit_all("square", (0..10).map(|n| json!([n])));
    let failed = site.submit("flaky", json!([9, "never"]));
    let cancelled = site.submit("square", json!([7]));
    site.run(["cancel", &cancelled.to_string()]).expect(0);
    site.run_all(&["--slots", "1"]);
    // The next runner sweeps as it starts.
    site.run_all(&[]);
    let left: Vec<_> = all(&site.store()).into_iter().map(|one| one.id).collect();
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(left.contains(&cancelled) && !left.contains(&failed));
    assert_eq!(site.value(ids[9]), 81, "the last to end are kept");
    site.run(["result", &ids[0].to_string()]).expect(2);
}

#[test]
fn runners_and_a_prune_that_remove_at_once_remove_everything_once() {
    let site = Site::new();
    let old = 3_000;
    site.submit_all("square", (0..old).map(|n| json!([n])));
    site.run_all(&["--slots", "2"]);
    let finished = site.store().counts(None).expect("a read").get(Status::Succeeded);
    assert_eq!(finished, old);
    let configuration = std::fs::read_to_string(site.path().join("wasm-runner.toml")).expect("a text");
    site.write("wasm-runner.toml", &format!("{configuration}[retention.succeeded]\nage = \"0s\"\n"));
    let parent = site.submit("sum-of-children", json!([200]));
    let start = || {
        let command = site.command(["start", "--json", "--slots", "1"]);
        let mut runner = command.env("WASM_RUNNER_LOG", "info,run_wasm_runner::runner=trace").spawn();
        runner.wait_for_stderr("the runner has started");
        runner
    };
    let runners: Vec<_> = (0..3).map(|_| start()).collect();
    assert_eq!(site.await_value(parent), 200 * 201 * 401 / 6);
    // Ends are told to whoever watches, removals are not: look when asked.
    let by_prune = site.run(["prune", "--json"]).expect(0).json()["removed"].as_u64().expect("a number");
    assert!(all(&site.store()).is_empty());
    let mut by_runners = 0;
    for runner in runners {
        runner.signal(Signal::TERM);
        let log = runner.wait().expect(0).stderr;
        let commits = log.lines().filter(|line| line.contains("a batch was committed"));
        let removed =
            commits.filter_map(|line| line.split_once("removed=")?.1.split(' ').next()?.parse::<u64>().ok());
        by_runners += removed.sum::<u64>();
    }
    assert_eq!(by_runners + by_prune, old + 201, "{by_runners} by runners");
    assert_eq!(site.store().counts(None).expect("a read"), Default::default());
}

#[test]
fn a_parent_that_is_run_again_finds_its_children_whatever_is_removed() {
    let kept = ["succeeded", "failed", "cancelled", "skipped"];
    let sections: String = kept.map(|status| format!("[retention.{status}]\nage = \"0s\"\n")).concat();
    let site = Site::with_both("[runner]\nlease = \"1s\"\n", &sections);
    let old = site.submit("square", json!([2]));
    site.run_all(&[]);
    let parent = site.submit("fan-out-sequence", json!(["sleep-ms", "[20]", 60]));
    let first = site.start(&["--slots", "1"]);
    site.wait_for_count(Status::Succeeded, 20);
    first.signal(Signal::KILL);
    first.wait();
    // Each of these sweeps through all that is final and old.
    let removed = |json: serde_json::Value| json["removed"].as_u64().expect("a number");
    assert_eq!(removed(site.run(["prune", "--json"]).expect(0).json()), 0);
    site.run(["result", &old.to_string()]).expect(2);
    let second = site.start(&["--slots", "1"]);
    assert_eq!(site.await_value(parent), 60);
    second.signal(Signal::TERM);
    second.wait().expect(0);
    let store = site.store();
    let history = legal_history(&store, &get(&store, parent));
    assert_eq!(count(&history, Reason::LeaseExpired), 1, "it was run twice: {history:#?}");
    assert_eq!(all(&store).len(), 61, "and submitted each child once");
    assert_eq!(removed(site.run(["prune", "--json"]).expect(0).json()), 61);
}
