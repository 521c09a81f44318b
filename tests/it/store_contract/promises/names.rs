//! Names of tasks: drawn when something refers to them, and forgotten when nothing does.

use std::sync::Arc;
use std::time::Duration;

use run_wasm_runner::model::{Blocked, Concurrency, InvocationId, RuleKey, RunnerId, Status};
use run_wasm_runner::store::{Batch, Keep, NewInvocation, Prune, TaskRule};

use super::super::harness::{Bench, new, request, tasks};

fn rule(task: &str, limit: Option<u32>) -> TaskRule {
    let concurrency = limit.map(|limit| Concurrency { limit, blocked: Blocked::Wait });
    TaskRule { task: task.into(), queue: "default".into(), concurrency, rate: None }
}

/// The tasks that the store knows.
fn known(bench: &Bench) -> Vec<String> {
    bench.store.rules().unwrap().iter().map(|rule| rule.task.to_string()).collect()
}

/// Forgets what can be; the number of transactions that it took.
fn forget(bench: &Bench) -> usize {
    let mut after = Some(Arc::default());
    let mut commits = 0;
    while after.is_some() {
        after = bench.commit(Batch { forget_names: after, ..Batch::default() }).names_after;
        commits += 1;
    }
    commits
}

fn remove_finals(bench: &Bench) {
    let keep = |status| Keep { status, age: Some(Duration::ZERO), count: None, at_least: 0 };
    let finals = Status::ALL.into_iter().filter(|status| status.is_final());
    let prune =
        Prune { keep: finals.map(keep).collect(), max: 100, after: None, tasks: None, only_counts: false };
    bench.commit(Batch { prune: Some(prune), ..Batch::default() });
}

fn in_lane(id: InvocationId, task: &str) -> NewInvocation {
    NewInvocation { id, lane: Some(RuleKey::from_bytes([1; 16])), ..new(task) }
}

pub fn a_rule_that_says_nothing_makes_no_name(bench: &Bench) {
    let default_rules = vec![rule("eve::one", None), rule("eve::two", Some(1))];
    bench.commit(Batch { default_rules, ..Batch::default() });
    assert_eq!(known(bench), ["eve::two"]);
    // Whoever has a rule still finds none before it.
    bench.commit(Batch { default_rules: vec![rule("eve::one", Some(2))], ..Batch::default() });
    assert_eq!(bench.store.rules().unwrap(), [rule("eve::one", Some(2)), rule("eve::two", Some(1))]);
}

pub fn a_name_is_forgotten_when_nothing_refers_to_it(bench: &Bench) {
    let all = ["a::final", "b::queued", "c::ruled", "d::lane"];
    let [done, _, _, laned] = all.map(|task| match task {
        "d::lane" => bench.create(in_lane(InvocationId::generate(), task)),
        _ => bench.create(new(task)),
    });
    bench.commit(Batch { rules: vec![rule("c::ruled", Some(1))], ..Batch::default() });
    bench.cancel(done);
    forget(bench);
    assert_eq!(known(bench), all, "what is final is still there");
    remove_finals(bench);
    forget(bench);
    assert_eq!(known(bench), ["b::queued", "c::ruled", "d::lane"]);
    // What comes again is counted anew, and is found by claims.
    let again = bench.create(new("a::final"));
    let asked = request(RunnerId::generate(), 10);
    let claimed =
        bench.claim(run_wasm_runner::store::ClaimRequest { tasks: tasks(&["a::final", "d::lane"]), ..asked });
    let mut ids: Vec<_> = claimed.claimed.iter().map(|claim| claim.id).collect();
    ids.sort_unstable();
    let mut expected = [laned, again];
    expected.sort_unstable();
    assert_eq!(ids, expected);
    claimed.claimed.iter().for_each(|claim| drop(bench.succeed(claim)));
    remove_finals(bench);
    forget(bench);
    assert_eq!(known(bench), ["b::queued", "c::ruled"]);
}

pub fn names_are_looked_at_a_thousand_at_a_time(bench: &Bench) {
    let name = |number: usize| format!("eve::f{number:04}");
    let default_rules: Vec<_> = (0..2_001).map(|number| rule(&name(number), Some(1))).collect();
    bench.commit(Batch { default_rules: default_rules.clone(), ..Batch::default() });
    bench.create(new(&name(1_500)));
    assert_eq!(forget(bench), 3);
    assert_eq!(known(bench).len(), 2_001, "a rule keeps a name");
    bench.commit(Batch { dropped_rules: default_rules, ..Batch::default() });
    assert_eq!(forget(bench), 3);
    assert_eq!(known(bench), [name(1_500)]);
}

pub fn a_rule_is_dropped_only_if_it_is_in_force(bench: &Bench) {
    let (mine, others) = (rule("eve::one", Some(1)), rule("eve::one", Some(2)));
    bench.commit(Batch { rules: vec![others.clone()], ..Batch::default() });
    bench.commit(Batch { dropped_rules: vec![mine.clone(), rule("unknown", Some(1))], ..Batch::default() });
    assert_eq!(bench.store.rules().unwrap(), [others]);
    let lanes = [(); 2].map(|()| bench.create(in_lane(InvocationId::generate(), "eve::one")));
    bench.commit(Batch { rules: vec![mine.clone()], ..Batch::default() });
    let claim = || {
        let asked = request(RunnerId::generate(), 10);
        let asked = run_wasm_runner::store::ClaimRequest { tasks: tasks(&["eve::one"]), ..asked };
        bench.claim(asked).claimed.iter().map(|claim| claim.id).collect::<Vec<_>>()
    };
    assert_eq!(claim(), lanes[..1]);
    bench.commit(Batch { dropped_rules: vec![mine], ..Batch::default() });
    assert_eq!(claim(), lanes[1..], "no rule keeps it back any more");
    assert_eq!(bench.store.rules().unwrap(), [rule("eve::one", None)]);
}
