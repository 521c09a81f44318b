//! The cap on live instances: an error instead of a hang.

use std::time::{Duration, Instant};

use run_wasm_runner::model::{InvocationId, Outcome};
use run_wasm_runner::store::Store;
use serde_json::json;

use super::site::Site;

const CAP_OF_20: &str = "[runner]\nmax-live = 20\n";

/// The calls of `fib(n)` nest `n` deep.
#[track_caller]
fn assert_fails_at_the_cap(site: &Site, id: InvocationId) {
    let output = site.run(["result", &id.to_string(), "--wait", "--timeout", "30s"]);
    assert_eq!(output.code, Some(3), "{}", output.everything());
    let failures: Vec<_> = site.store().tree(id).expect("the store can be read");
    let message = failures.iter().find_map(|one| match &one.outcome {
        Some(Outcome::Failure(failure)) if failure.message.contains("all 20 live instances") => {
            Some(failure.message.clone())
        }
        _ => None,
    });
    let message = message.unwrap_or_else(|| panic!("{}", output.everything()));
    assert!(message.contains("max-live"), "it says what to do: {message}");
}

#[test]
fn calls_deeper_than_the_cap_fail_with_the_reason() {
    for slots in ["1", "2"] {
        let site = Site::with(CAP_OF_20);
        let id = site.submit("fib", json!([30]));
        let began = Instant::now();
        site.run_all(&["--slots", slots]);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert_fails_at_the_cap(&site, id);
    }
}

#[test]
fn a_runner_that_refused_at_its_cap_works_on() {
    let site = Site::with(CAP_OF_20);
    let running = site.start(&["--slots", "2"]);
    for _ in 0..3 {
        let deep = site.submit("fib", json!([40]));
        assert_fails_at_the_cap(&site, deep);
        let shallow = site.submit("chain", json!([15]));
        assert_eq!(site.await_value(shallow), 15);
    }
    running.signal(rustix::process::Signal::TERM);
    let summary = running.wait().expect(0).json();
    assert_eq!(summary["peak_live"], 20, "the cap was reached and kept: {summary}");
}

#[test]
fn a_delayed_invocation_starts_although_its_waiters_nearly_fill_the_runner() {
    let site = Site::with(CAP_OF_20);
    for waiters in [10, 14, 15, 16, 17, 18] {
        let id = site.submit("hold-behind-gate", json!([waiters, 300]));
        let command = site.command(["start", "--until-idle"]).patience(Duration::from_secs(10));
        command.run().expect(0);
        assert_eq!(site.value(id), waiters);
    }
}

#[test]
fn trees_much_larger_than_the_cap_fit_under_it() {
    let site = Site::with(CAP_OF_20);
    // 1 + 3 + 9 + 27 + 81 invocations, four generations of parents.
    let output = site.run(["call", "fork-bomb", "[4, 3]", "--slots", "2"]).expect(0);
    assert_eq!(output.json(), 121);
    let output = site.run(["call", "parents", "[200, 5]", "--slots", "2"]).expect(0);
    assert_eq!(output.json(), 200 * 55);
}

#[test]
fn more_waiters_of_one_invocation_than_the_cap_are_served_in_turns() {
    let site = Site::with(CAP_OF_20);
    let began = Instant::now();
    let output = site.run(["call", "hold-behind-gate", "[50, 500]", "--slots", "2"]).expect(0);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(output.json(), 50);
}

#[test]
fn chains_that_fill_the_runner_together_succeed_or_fail_at_the_cap() {
    let site = Site::with(CAP_OF_20);
    let ids = site.submit_all("fib", (0..12).map(|_| json!([12])));
    let deep = site.submit("fib", json!([25]));
    let command = site.command(["start", "--until-idle", "--json", "--slots", "2"]);
    let summary = command.patience(Duration::from_secs(90)).run().expect(0).json();
    assert!(summary["peak_live"].as_u64() <= Some(20), "{summary}");
    let mut values = 0;
    for id in ids.into_iter().chain([deep]) {
        match site.status(id)["status"].as_str() {
            Some("succeeded") => values += 1,
            // Chains that fill the runner together can't all go on.
            Some("failed") => assert_fails_at_the_cap(&site, id),
            other => panic!("{other:?}"),
        }
    }
    println!("{values} of 13 succeeded");
    assert!(values < 13, "one was too deep");
}
