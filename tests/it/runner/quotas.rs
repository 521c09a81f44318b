//! Quotas, through the real binary.

use serde_json::{Value, json};

use super::site::Site;
use crate::support::cli::{Output, Sandbox};
use crate::support::database::shared;

/// Has the quotas of the configuration in the store.
fn start_once(site: &Site) {
    site.run_all(&[]);
}

fn quotas(site: &Site) -> Vec<Value> {
    let output = site.run(["quotas", "--json"]).expect(0);
    output.stdout().lines().map(|line| serde_json::from_str(line).expect("a document")).collect()
}

/// The document of a component or key.
#[track_caller]
fn quota_of(site: &Site, name: &str) -> Value {
    let all = quotas(site);
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name}: {all:?}")).clone()
}

#[track_caller]
fn assert_refused(output: &Output, by: &str) {
    assert!(output.stderr.contains(by), "{by} is not in {}", output.stderr);
}

fn a_submit_beyond_a_quota_is_refused(site: &Site) {
    start_once(site);
    site.submit_all("square", (0..3).map(|n| json!([n])));
    let batch = "[1]\n".repeat(4);
    let output = site.command(["submit", "square", "--batch", "-"]).stdin(batch).run().expect(4);
    assert_eq!(output.stdout().lines().count(), 2, "{output:?}");
    assert_refused(&output, "the component `workflow` has 5 unfinished invocations (quota `unfinished`: 5)");
    assert_refused(&output, "2 of 4 were refused");
    let output = site.run(["submit", "square", "[1]", "--wait"]).expect(4);
    assert_refused(&output, "quota `unfinished`: 5");
    assert_refused(&output, "`run-wasm-runner quotas` shows");
    // Others are as free as before.
    site.submit("fib", json!([3]));
    let of = quota_of(site, "workflow");
    assert_eq!((&of["unfinished"], &of["unfinished_limit"]), (&json!(5), &json!(5)));
    assert_eq!((&of["holder"], &of["pattern"]), (&json!("component"), &json!("workflow")));
    assert_eq!(of["stored_bytes"], json!(15));
    assert!(of["set_by"]["host"].is_string(), "{of}");
    let table = site.run(["quotas"]).expect(0);
    assert!(table.stdout().contains("5 of 5"), "{table:?}");
    // What ends makes room.
    site.run_all(&[]);
    assert_eq!(quota_of(site, "workflow")["unfinished"], json!(0));
    site.submit("square", json!([1]));
}

const FIVE: &str = "[component.workflow.quota]\nunfinished = 5\n";

#[test]
fn a_submit_beyond_a_quota_is_refused_on_sqlite() {
    a_submit_beyond_a_quota_is_refused(&Site::with_sections(FIVE));
}

#[test]
fn a_submit_beyond_a_quota_is_refused_on_postgres() {
    a_submit_beyond_a_quota_is_refused(&Site::on_with_sections(&shared().url(), FIVE));
}

#[test]
fn a_guest_is_refused_with_the_limit_and_the_name_of_the_quota() {
    let site = Site::with_sections(FIVE);
    start_once(&site);
    let id = site.submit("fan-out", json!(["workflow::square", "[2]", 4]));
    site.run_all(&[]);
    assert_eq!(site.value(id), json!(4), "five with the parent");
    let id = site.submit("fan-out", json!(["workflow::square", "[2]", 7]));
    site.run_all(&[]);
    let output = site.run(["result", &id.to_string()]).expect(1);
    assert_refused(
        &output,
        "limit: the component `workflow` has 5 unfinished invocations (quota `unfinished`: 5)",
    );
    // Nothing of it is left.
    assert_eq!(quota_of(&site, "workflow")["unfinished"], json!(0));
}

fn a_guest_fills_the_quota_of_its_own_component(url: Option<&str>) {
    let sections = "[component.workflow.quota]\nunfinished = 5\n[component.fib.quota]\nunfinished = 2\n";
    let site = url.map_or_else(|| Site::with_sections(sections), |url| Site::on_with_sections(url, sections));
    start_once(&site);
    // Four of another's task beside the parent: its own quota, and not the other's, which is 2.
    let id = site.submit("fan-out", json!(["fib", "[1]", 4]));
    site.run_all(&[]);
    assert_eq!(site.value(id), json!(4));
    let id = site.submit("fan-out", json!(["fib", "[1]", 7]));
    site.run_all(&[]);
    let output = site.run(["result", &id.to_string()]).expect(1);
    assert_refused(
        &output,
        "limit: the component `workflow` has 5 unfinished invocations (quota `unfinished`: 5)",
    );
    assert_eq!(quota_of(&site, "workflow")["unfinished"], json!(0));
}

#[test]
fn a_guest_fills_the_quota_of_its_own_component_on_sqlite() {
    a_guest_fills_the_quota_of_its_own_component(None);
}

#[test]
fn a_guest_fills_the_quota_of_its_own_component_on_postgres() {
    a_guest_fills_the_quota_of_its_own_component(Some(&shared().url()));
}

#[test]
fn a_fairness_key_has_a_quota_of_its_own() {
    let site =
        Site::with_both("", "[fairness.quotas.\"trial-*\"]\nunfinished = 2\nstored-bytes = \"1KiB\"\n");
    start_once(&site);
    let submit =
        |key: &str, arguments: &str| site.run(["submit", "identity", arguments, "--fairness-key", key]);
    for key in ["trial-1", "trial-2"] {
        submit(key, "[\"a\"]").expect(0);
        submit(key, "[\"a\"]").expect(0);
        assert_refused(
            &submit(key, "[\"a\"]").expect(4),
            &format!("the fairness key `{key}` has 2 unfinished"),
        );
    }
    (0..3).for_each(|_| drop(submit("paying", "[\"a\"]").expect(0)));
    site.run_all(&[]);
    // What is stored counts until it is removed.
    let long = json!(["x".repeat(600)]).to_string();
    submit("trial-1", &long).expect(0);
    site.run_all(&[]);
    assert_refused(&submit("trial-1", "[\"a\"]").expect(4), "(quota `stored-bytes`: 1.0 KiB)");
    site.run(["prune", "--older-than", "0s"]).expect(0);
    submit("trial-1", "[\"a\"]").expect(0);
}

#[test]
fn a_value_that_has_no_room_is_a_failure_for_whoever_awaits_it() {
    let site = Site::with_sections("[component.workflow.quota]\nstored-bytes = \"50KiB\"\n");
    start_once(&site);
    let long = json!(["x".repeat(15 << 10)]);
    let first = site.submit("identity", long.clone());
    site.run_all(&[]);
    assert_eq!(site.status(first)["status"], "succeeded");
    let mut second = site.command(["submit", "identity", &long.to_string(), "--wait"]);
    second = second.patience(std::time::Duration::from_secs(60));
    let running = site.start(&[]);
    let output = second.run().expect(4);
    assert_refused(&output, "there is no room for its outcome of 15.0 KiB");
    assert_refused(&output, "(quota `stored-bytes`: 50.0 KiB)");
    running.signal(rustix::process::Signal::TERM);
    running.wait().expect(0);
}

#[test]
fn a_retry_is_a_submit_and_needs_room() {
    let site = Site::with_sections("[component.faults.quota]\nunfinished = 1\n");
    start_once(&site);
    let id = site.submit("faults::unreachable", json!([]));
    site.run_all(&[]);
    let waiting = site.submit("faults::unreachable", json!([]));
    let refused = site.run(["retry", &id.to_string()]).expect(4);
    assert_refused(
        &refused,
        &format!("`{id}` can't be retried now: the component `faults` has 1 unfinished"),
    );
    site.run(["cancel", &waiting.to_string()]).expect(0);
    site.run(["retry", &id.to_string()]).expect(0);
    // It is printed again, and needs no room.
    site.run(["retry", &id.to_string()]).expect(0);
}

#[test]
fn submits_per_time_are_bounded() {
    let site = Site::with_sections("[component.workflow.quota]\nsubmits = \"3/1h\"\n");
    start_once(&site);
    let output =
        site.command(["submit", "workflow::nothing", "--batch", "-"]).stdin("[]\n".repeat(5)).run().expect(4);
    assert_eq!(output.stdout().lines().count(), 3, "{output:?}");
    assert_refused(&output, "has had as many submits as it may have for now (quota `submits`: 3 in 1h)");
    site.run_all(&[]);
    site.run(["submit", "workflow::nothing"]).expect(4);
    let of = quota_of(&site, "workflow");
    assert_eq!((&of["submits"], &of["submits_limit"]), (&json!(3), &json!(3)));
}

#[test]
fn wrong_quotas_are_told() {
    let place = Sandbox::new();
    place.write(
        "wasm-runner.toml",
        "[fairness.quotas.a]\nsubmits = \"600\"\n[component.\"a-*\".quota]\nunfinished = -1\nstored-bytes = 5\nsubmit = 1\n\
         [fairness.quotas]\nb = 1\n",
    );
    let output = place.run(["check"]).expect(78);
    for problem in [
        "`fairness.quotas.a.submits`: `600` is not a number of submits per time such as `600/1m`",
        "`component.\"a-*\".quota.unfinished` must be an integer, 0 or more",
        "`component.\"a-*\".quota.stored-bytes` must be a size",
        "unknown key `submit` in `[component.\"a-*\".quota]`",
        "`fairness.quotas.b` must be a table",
    ] {
        assert!(output.stderr.contains(problem), "{problem} is not in {}", output.stderr);
    }
}

#[test]
fn sections_without_a_quota_are_left_out() {
    let site = Site::with_sections(
        "[component.\"cust-*\".quota]\nunfinished = 5\n[component.\"cust-free-*\"]\nmax-attempts = 2\n",
    );
    start_once(&site);
    let patterns = |args: &[&str]| -> Vec<String> {
        let lines = site.run([&["quotas", "--json"][..], args].concat()).expect(0).json_lines();
        lines.iter().map(|one| one["pattern"].as_str().expect("a pattern").to_owned()).collect()
    };
    assert_eq!(patterns(&[]), ["cust-*"]);
    assert!(patterns(&["--all"]).contains(&"cust-free-*".to_owned()), "{:?}", patterns(&["--all"]));
    let table = site.run(["quotas"]).expect(0);
    assert!(table.stderr.contains("without a quota: `--all` lists them"), "{table:?}");
}
