//! Runner processes on one PostgreSQL, and the work of runners that die, are cut off, or
//! lose their server.

use std::collections::HashSet;
use std::time::Duration;

use run_wasm_runner::model::{InvocationId, Reason, Status, UnixMicros};
use rustix::process::Signal;
use serde_json::json;

use crate::runner::histories::{count, legal_history};
use crate::runner::site::{Site, all, get};
use crate::support::database::{Cluster, shared};
use crate::support::proxy::Proxy;

const LEASE: Duration = Duration::from_secs(2);

fn site(url: &str) -> Site {
    Site::on(url, &format!("[runner]\nlease = \"{}s\"\n", LEASE.as_secs()))
}

#[test]
fn submit_start_and_result_over_a_url() {
    let site = site(&shared().url());
    let id = site.submit("fib", json!([8]));
    let summary = site.run_all(&[]);
    assert_eq!(summary["succeeded"], 67, "{summary}");
    assert_eq!(site.value(id), 21);
    let tree = site.run(["tree", &id.to_string(), "--json"]).expect(0);
    assert!(tree.stdout().contains(&id.to_string()));
    let listed = site.run(["list", "--status", "succeeded", "--limit", "5", "--json"]).expect(0);
    assert_eq!(listed.json_lines().len(), 5);
}

#[test]
fn reading_commands_create_nothing() {
    let url = shared().url();
    let (_, schema) = url.rsplit_once("schema=").expect("it names a schema");
    let site = site(&url);
    assert!(site.run(["list"]).expect(0).stdout().is_empty());
    let unknown = InvocationId::generate().to_string();
    let output = site.run(["result", &unknown]).expect(2);
    assert!(output.stderr.contains("does not exist yet"), "{output:?}");
    let schemas = format!("SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'");
    assert_eq!(shared().psql("tests", &schemas), "0");
}

#[test]
fn of_three_runners_one_is_killed_and_its_work_goes_on_elsewhere_within_the_lease_and_a_second() {
    let site = site(&shared().url());
    let doomed = site.start(&["--slots", "2"]);
    let long: Vec<_> = site.submit_all("sleep-ms", (0..2).map(|_| json!([3000])));
    site.wait_for_count(Status::Running, 2);
    let living = [site.start(&["--slots", "2"]), site.start(&["--slots", "2"])];
    site.submit_all("spin-ms", (0..100).map(|_| json!([2])));
    doomed.signal(Signal::KILL);
    let killed_at = site.now();
    doomed.wait();
    for id in &long {
        site.await_value(*id);
    }
    let store = site.open();
    for id in &long {
        let history = legal_history(&*store, &get(&*store, *id));
        assert_eq!(count(&history, Reason::LeaseExpired), 1, "{history:#?}");
        let again = history.iter().rfind(|step| step.reason == Reason::Started).expect("it ran again");
        let after = again.at.since(killed_at);
        println!("ran again {after:?} after the kill");
        assert!(after < LEASE + Duration::from_secs(1), "{after:?} {history:#?}");
    }
    site.wait_for_count(Status::Succeeded, 102);
    for runner in living {
        runner.signal(Signal::TERM);
        runner.wait().expect(0);
    }
}

#[test]
fn a_server_that_crashes_under_load_comes_back_to_runners_that_go_on_by_themselves() {
    let cluster = Cluster::start();
    // The usual lease: on a busy machine a restart may take some seconds.
    let site = Site::on(&cluster.url(), "");
    let runners = [site.start(&["--slots", "2"]), site.start(&["--slots", "2"])];
    let ids = site.submit_all("spin-ms", (0..1500).map(|_| json!([2])));
    let tree = site.submit("parents", json!([6, 6]));
    // Its guests submit and await all the time.
    let fib = site.submit_with("fib", json!([13]), &["--priority", "100"]);
    for round in 1..=2 {
        site.wait_for_count(Status::Succeeded, 300 * round);
        cluster.crash();
        cluster.run();
    }
    // Who waits for a result does not mind either.
    let mut waiting = site.command(["submit", "sleep-ms", "[1500]", "--wait"]).spawn();
    waiting.wait_for_stderr("-");
    cluster.crash();
    cluster.run();
    waiting.wait().expect(0);
    site.wait_until("everything is final", |store| {
        store.counts(None).is_ok_and(|counts| counts.unfinished() == 0)
    });
    let store = site.open();
    let mut everything = all(&*store);
    // Those first that took others along.
    everything.sort_by_key(|one| (one.status != Status::Failed, one.finished_at));
    for invocation in everything {
        let history = legal_history(&*store, &invocation);
        assert_eq!(invocation.status, Status::Succeeded, "{:?} {history:#?}", invocation.outcome);
    }
    assert_eq!(
        store.list(&crate::store_contract::harness::everything()).unwrap().len(),
        ids.len() + 43 + 753 + 1
    );
    assert_eq!(site.value(fib), 233);
    assert_eq!(site.value(tree), 6 * (1 + 4 + 9 + 16 + 25 + 36));
    for runner in runners {
        runner.signal(Signal::TERM);
        runner.wait().expect(0);
    }
}

#[test]
fn a_runner_that_is_cut_off_kills_its_guest_before_another_starts_it() {
    let url = shared().url();
    let proxy = Proxy::to(shared().port());
    let through = url.replace(&format!(":{}/", shared().port()), &format!(":{}/", proxy.port()));
    let far = site(&through);
    let near = site(&url);
    let mut cut_off = far.start(&["--slots", "1"]);
    let id = near.submit("sleep-ms", json!([6000]));
    near.wait_for(id, Status::Running);
    let living = near.start(&["--slots", "1"]);
    proxy.silence();
    let line = cut_off.wait_for_stderr("guests are killed");
    let stamp = line.split_whitespace().next().expect("a time");
    let killed: jiff::Timestamp = stamp.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
    near.await_value(id);
    let store = near.open();
    let history = legal_history(&*store, &get(&*store, id));
    let runners: HashSet<_> = history.iter().filter_map(|step| step.runner).collect();
    // More if the machine is so busy that a lease was lost before.
    assert!(runners.len() >= 2, "{history:#?}");
    let again = history.iter().rfind(|step| step.reason == Reason::Claimed).expect("it was claimed again");
    let killed = UnixMicros(killed.as_microsecond());
    println!("killed {:?} before another claimed it", again.at.since(killed));
    assert!(killed < again.at, "killed at {killed}: {history:#?}");
    // Back on the net, it works again, under another name.
    proxy.mend();
    living.signal(Signal::TERM);
    living.wait().expect(0);
    let next = near.submit("square", json!([3]));
    assert_eq!(near.await_value(next), 9);
    cut_off.signal(Signal::TERM);
    cut_off.wait().expect(0);
}
