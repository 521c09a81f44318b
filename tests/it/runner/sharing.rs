//! Several processes on one store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use run_wasm_runner::model::{InvocationId, Reason, Status};
use run_wasm_runner::store::{Batch, LookUp, NewInvocation, Store};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use serde_json::json;

use super::histories::{count, legal_history};
use super::site::{Site, all, get};

#[test]
fn two_runners_share_the_work_and_none_of_it_runs_twice() {
    let site = Site::new();
    let one = site.start(&["--slots", "1"]);
    let other = site.start(&["--slots", "1"]);
    site.submit_all("spin-ms", (0..300).map(|_| json!([4])));
    site.submit("parents", json!([10, 10]));
    site.wait_for_count(Status::Succeeded, 300 + 111);
    let store = site.store();
    let mut by_runner: HashMap<_, usize> = HashMap::new();
    for invocation in all(&store) {
        let history = legal_history(&store, &invocation);
        assert_eq!(invocation.status, Status::Succeeded, "{history:#?}");
        // Given back and claimed by the other is fine; started twice is not.
        assert_eq!(count(&history, Reason::Started), 1, "{history:#?}");
        assert_eq!(invocation.attempt, 1, "{history:#?}");
        *by_runner.entry(invocation.runner.expect("an owner")).or_default() += 1;
    }
    assert_eq!(by_runner.len(), 2, "both worked: {by_runner:?}");
    println!("shared as {:?}", by_runner.values().collect::<Vec<_>>());
    let mut done = 0;
    for running in [one, other] {
        running.signal(Signal::TERM);
        let summary = running.wait().expect(0).json();
        let succeeded = summary["succeeded"].as_u64().expect("a count");
        assert!(succeeded > 0, "{summary}");
        done += succeeded;
    }
    assert_eq!(done, 411);
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
fn a_submit_beside_a_runner_is_run_and_answered_at_once() {
    let site = Site::new();
    let running = site.start(&["--slots", "1"]);
    let first = site.submit("basics.nothing", json!([]));
    site.wait_for(first, Status::Succeeded);
    // This process submits and watches as `submit --wait` does.
    let store = site.store();
    let model = get(&store, first);
    let (changed, change) = channel();
    let watch = store.watch(Arc::new(move || {
        // Nobody listens any more at the end.
        let _ = changed.send(());
    }));
    let _watch = watch.expect("the store can be watched");
    let mut times = Vec::new();
    for _ in 0..21 {
        let id = InvocationId::generate();
        let submit =
            NewInvocation { id, ..NewInvocation::new(model.task.clone(), model.component_digest, "[]") };
        store.commit(&Batch { submits: vec![submit], ..Batch::default() }).expect("a commit");
        let began = Instant::now();
        while !matches!(store.look_up(&[id]).expect("a look")[..], [LookUp::Final(_)]) {
            change.recv_timeout(Duration::from_secs(20)).expect("the runner's commit is told");
        }
        times.push(began.elapsed());
    }
    let median = median(times);
    // There and back: two changes, each told within 50 ms.
    println!("submit, run, told: {median:?}");
    assert!(median < Duration::from_millis(250), "{median:?}");
    drop(running);
}

#[test]
fn a_command_that_waits_for_a_result_gets_it_at_once() {
    let site = Site::new();
    let _running = site.start(&["--slots", "1"]);
    let mut times = Vec::new();
    for _ in 0..7 {
        let id = site.submit_with("basics.nothing", json!([]), &["--delay", "400ms"]);
        site.run(["result", &id.to_string(), "--wait", "--timeout", "60s"]).expect(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        let finished = get(&site.store(), id).finished_at.expect("it is final");
        times.push(now.saturating_sub(Duration::from_micros(finished.0 as u64)));
    }
    let median = median(times);
    // From the outcome to the end of the waiting process.
    println!("result --wait: {median:?} after the outcome");
    assert!(median < Duration::from_millis(250), "{median:?}");
}

#[test]
fn work_of_a_dead_runner_is_taken_over_by_one_that_lives() {
    let site = Site::with("[runner]\nlease = \"1s\"\n");
    let doomed = site.start(&["--slots", "1"]);
    let id = site.submit("sleep-ms", json!([2000]));
    site.wait_for(id, Status::Running);
    let living = site.start(&["--slots", "1"]);
    doomed.signal(Signal::KILL);
    doomed.wait();
    site.await_value(id);
    let store = site.store();
    let invocation = get(&store, id);
    let history = legal_history(&store, &invocation);
    assert_eq!(invocation.attempt, 2, "{history:#?}");
    assert_eq!(count(&history, Reason::LeaseExpired), 1, "{history:#?}");
    let runners: HashSet<_> = history.iter().filter_map(|step| step.runner).collect();
    assert_eq!(runners.len(), 2, "{history:#?}");
    drop(living);
}

#[test]
fn a_runner_that_sends_heartbeats_keeps_its_work() {
    let site = Site::with("[runner]\nlease = \"1s\"\n");
    let one = site.start(&["--slots", "1"]);
    // Three leases long, on a slot; and as long parked.
    let id = site.submit("sleep-ms", json!([3000]));
    site.wait_for(id, Status::Running);
    let parked = site.submit("await-id", json!([id.to_string()]));
    let other = site.start(&["--slots", "1"]);
    site.await_value(id);
    site.await_value(parked);
    let store = site.store();
    for id in [id, parked] {
        let invocation = get(&store, id);
        let history = legal_history(&store, &invocation);
        assert_eq!(count(&history, Reason::LeaseExpired), 0, "{history:#?}");
        assert_eq!(invocation.attempt, 1, "{history:#?}");
    }
    drop((one, other));
}

#[test]
fn a_suspended_runner_that_lost_its_lease_kills_its_guest_and_goes_on() {
    let site = Site::with("[runner]\nlease = \"1s\"\n");
    let suspended = site.start(&["--slots", "1"]);
    let id = site.submit("sleep-ms", json!([4000]));
    site.wait_for(id, Status::Running);
    suspended.signal(Signal::STOP);
    let living = site.start(&["--slots", "1"]);
    site.wait_until("another runs it", |store| {
        let invocation = get(store, id);
        invocation.status == Status::Running && invocation.attempt == 2
    });
    suspended.signal(Signal::CONT);
    // Its own attempt ends first, and must change nothing.
    site.await_value(id);
    let store = site.store();
    let history = legal_history(&store, &get(&store, id));
    assert_eq!(count(&history, Reason::Succeeded), 1, "{history:#?}");
    assert_eq!(history.last().map(|step| step.attempt), Some(2), "{history:#?}");
    living.signal(Signal::TERM);
    assert_eq!(living.wait().expect(0).json()["succeeded"], 1);
    // The one that was suspended works on, under another name.
    let next = site.submit("square", json!([4]));
    assert_eq!(site.await_value(next), 16);
    suspended.signal(Signal::TERM);
    let summary = suspended.wait().expect(0).json();
    assert_eq!(summary["succeeded"], 1, "{summary}");
}

#[test]
fn a_process_that_is_stopped_from_its_terminal_keeps_no_lock() {
    let site = Site::new();
    let lines = "[1]\n".repeat(100_000);
    let mut submit = site.command(["submit", "square", "--batch", "-"]).stdin(lines).spawn();
    // So many that it is writing nearly all the time from now on.
    submit.wait_for_stdout("-");
    let sql = Connection::open(site.path().join(".wasm-runner/state.db")).expect("the database opens");
    sql.busy_timeout(Duration::ZERO).expect("it is told not to wait");
    let pid = i32::try_from(submit.pid()).ok().and_then(Pid::from_raw);
    for _ in 0..20 {
        submit.signal(Signal::TSTP);
        let (_, status) =
            waitpid(pid, WaitOptions::UNTRACED).expect("it is there").expect("it was waited for");
        assert!(status.stopped(), "{status:?}");
        sql.execute_batch("BEGIN IMMEDIATE; ROLLBACK").expect("nobody has the lock");
        submit.signal(Signal::CONT);
    }
}
