//! SIGKILL at any moment: every acknowledged invocation becomes final, with one outcome.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use run_wasm_runner::model::{InvocationId, Outcome, Status};
use rustix::process::Signal;
use serde_json::json;

use super::histories::legal_history;
use super::site::{Site, all, get};

/// Small, and good enough to choose moments.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Every invocation is final with one outcome and a legal history.
#[track_caller]
fn assert_all_final(site: &Site, what: &str) {
    let store = site.store();
    for invocation in all(&store) {
        // Legal means, too, that nothing follows a final status.
        let history = legal_history(&store, &invocation);
        let outcome = get(&store, invocation.id).outcome;
        assert!(invocation.status.is_final(), "{what}: {history:#?}");
        assert_eq!(invocation.status, Status::Succeeded, "{what}: {outcome:?} {history:#?}");
        assert!(matches!(outcome, Some(Outcome::Value(_))), "{what}: {outcome:?} {history:#?}");
    }
}

#[test]
fn killed_at_any_moment_a_runner_leaves_nothing_that_the_next_does_not_finish() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    for round in 0..10 {
        let seed = now.as_micros() as u64 + round;
        println!("round {round}: seed {seed}");
        let mut random = Random(seed);
        let site = Site::with("[runner]\nlease = \"1s\"\n");
        let trees: Vec<_> = (0..4).map(|_| site.submit("parents", json!([8, 8]))).collect();
        let fib = site.submit("fib", json!([8]));
        // Two kills, since an attempt that dies is used up, and there are three.
        for _ in 0..2 {
            let running = site.start(&["--slots", "2"]);
            // Any moment is a good one: nothing hangs on how long this takes.
            std::thread::sleep(Duration::from_millis(random.below(250)));
            running.signal(Signal::KILL);
            assert_eq!(running.wait().code, None, "it was killed");
        }
        site.run_all(&["--slots", "2"]);
        let what = format!("round {round}, seed {seed}");
        assert_all_final(&site, &what);
        for tree in trees {
            // 8 × (1² + … + 8²)
            assert_eq!(site.value(tree), 8 * 204, "{what}");
        }
        assert_eq!(site.value(fib), 21, "{what}");
        let store = site.store();
        assert_eq!(all(&store).len(), 4 * (1 + 8 + 64) + 67, "{what}: no child exists twice");
    }
}

#[test]
fn a_submit_that_printed_an_id_before_it_was_killed_has_stored_it() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let mut random = Random(now.as_micros() as u64);
    let lines: String = (0..20_000).map(|n| format!("[{n}]\n")).collect();
    let mut acknowledged = 0;
    for round in 0..10 {
        let seed = random.0;
        let site = Site::new();
        let mut submit = site.command(["submit", "square", "--batch", "-"]).stdin(lines.clone()).spawn();
        // From the first id on: before it there is nothing to lose.
        let first = submit.wait_for_stdout("-");
        std::thread::sleep(Duration::from_micros(random.below(100_000)));
        submit.signal(Signal::KILL);
        let output = submit.wait();
        let store = site.store();
        // The last line may have been cut.
        let complete = output.stdout().rsplit_once('\n').map_or("", |(complete, _)| complete);
        let ids = [first.as_str()].into_iter().chain(complete.lines());
        let ids: Vec<InvocationId> =
            ids.filter(|id| id.len() == 36).map(|id| id.parse().expect("an id")).collect();
        for found in store.get_all(&ids) {
            assert!(found, "round {round}, seed {seed}: an id was printed and is not in the store");
        }
        acknowledged += ids.len();
    }
    assert!(acknowledged >= 10);
    println!("{acknowledged} were acknowledged");
}

trait GetAll {
    fn get_all(&self, ids: &[InvocationId]) -> Vec<bool>;
}

impl<S: run_wasm_runner::store::Store> GetAll for S {
    fn get_all(&self, ids: &[InvocationId]) -> Vec<bool> {
        self.get(ids).expect("the store can be read").iter().map(Option::is_some).collect()
    }
}

#[test]
fn an_attempt_that_dies_with_its_runner_every_time_is_lost() {
    let site = Site::with("[runner]\nlease = \"1s\"\n[task.\"demo:faults/faults.spin\"]\nmax-attempts = 2\n");
    let id = site.submit("spin", json!([]));
    for attempt in 1..=2 {
        let running = site.start(&["--slots", "1"]);
        site.wait_until("it runs", |store| {
            let invocation = get(store, id);
            invocation.status == Status::Running && invocation.attempt == attempt
        });
        running.signal(Signal::KILL);
        running.wait();
    }
    site.run_all(&[]);
    let status = site.status(id);
    assert_eq!(
        (&status["status"], &status["failure"]["kind"]),
        (&json!("failed"), &json!("lost")),
        "{status}"
    );
    site.run(["result", &id.to_string()]).expect(3);
}
