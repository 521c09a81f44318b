//! Keys share the claims, whatever the length of anybody's queue.

use std::collections::HashMap;
use std::sync::Arc;

use run_wasm_runner::model::{ComponentDigest, RunnerId, Status};
use run_wasm_runner::store::{
    Batch, Cancel, ClaimRequest, FairnessWeight, Keep, Leads, NewInvocation, Pause, PauseTarget, Prune,
};

use super::super::harness::{Bench, child_of, detached, new, request, tasks};
use super::SECOND;

/// An invocation of a key.
fn of_key(key: &str, task: &str) -> NewInvocation {
    NewInvocation { fairness_key: Some(key.into()), ..new(task) }
}

fn flood(bench: &Bench, key: &str, task: &str, count: usize) {
    let submits = (0..count).map(|_| of_key(key, task)).collect();
    bench.commit(Batch { submits, ..Batch::default() });
}

fn set_weights(bench: &Bench, weights: &[(&str, f64)]) {
    let weights = weights.iter().map(|(keys, weight)| FairnessWeight::new(keys, *weight).unwrap());
    bench.commit(Batch { weights: Some(weights.collect()), ..Batch::default() });
}

/// Claims one by one, as busy slots do: whose they were.
fn serve(bench: &Bench, runner: RunnerId, count: usize) -> Vec<String> {
    (0..count)
        .map(|_| {
            let claim = bench.claim_one(runner);
            bench.succeed(&claim);
            bench.get(claim.id).fairness_key.to_string()
        })
        .collect()
}

fn shares(served: &[String]) -> HashMap<&str, usize> {
    let mut shares = HashMap::new();
    served.iter().for_each(|key| *shares.entry(&**key).or_default() += 1);
    shares
}

pub fn a_turn_is_given_back_by_what_ends_before_it_is_claimed(bench: &Bench) {
    flood(bench, "others", "work", 40);
    let mut last = bench.create(of_key("fickle", "work"));
    for _ in 0..30 {
        bench.cancel(last);
        let next = of_key("fickle", "work");
        // In one transaction with its submit.
        let cancel = Cancel { id: next.id, by: None, message: "not needed any more".to_owned() };
        bench.commit(Batch { submits: vec![next], cancels: vec![cancel], ..Batch::default() });
        last = bench.create(of_key("fickle", "work"));
    }
    let runner = RunnerId::generate();
    let served = serve(bench, runner, 4);
    assert_eq!(shares(&served)["fickle"], 1, "{served:?}");
    // An invocation that was claimed has used its turn: the others have theirs first.
    let all = |count| (0..count).map(|_| of_key("fickle", "work")).collect();
    bench.commit(Batch { submits: all(20), ..Batch::default() });
    let served = serve(bench, runner, 20);
    assert!(shares(&served)["fickle"].abs_diff(10) <= 2, "{served:?}");
}

pub fn turns_that_are_given_back_can_not_be_saved_up(bench: &Bench) {
    let waiting: Vec<_> = (0..20).map(|_| bench.create(of_key("saver", "work"))).collect();
    flood(bench, "others", "work", 60);
    for id in waiting {
        bench.create(of_key("saver", "work"));
        bench.cancel(id);
    }
    // Those that are left come after the turns of those that were cancelled, and one by one.
    let served = serve(bench, RunnerId::generate(), 40);
    assert!(shares(&served)["saver"].abs_diff(10) <= 2, "{served:?}");
}

pub fn a_fairness_key_is_the_component_unless_chosen_and_children_inherit_it(bench: &Bench) {
    let key = |id| bench.get(id).fairness_key.to_string();
    let digest = ComponentDigest::from_bytes([1; 32]);
    let by_component = bench.create(NewInvocation::new("acme::a:b/c.d", digest, "[]"));
    assert_eq!(key(by_component), "acme");
    let chosen = NewInvocation {
        fairness_key: Some("customer 7".into()),
        ..NewInvocation::new("acme::a:b/c.d", digest, "[]")
    };
    let chosen = bench.create(chosen);
    assert_eq!(key(chosen), "customer 7");
    let acme = ClaimRequest { tasks: tasks(&["acme::a:b/c.d"]), ..request(RunnerId::generate(), 2) };
    let claimed = bench.claim(acme).claimed;
    let parent = claimed.iter().find(|claim| claim.id == chosen).expect("it is claimed");
    let child = bench.create(child_of(parent, 0));
    let free =
        bench.create(detached(NewInvocation { fairness_key: Some("mine".into()), ..child_of(parent, 1) }));
    assert_eq!([key(child), key(free)], ["customer 7", "customer 7"]);
    let list = bench.store.list(&super::super::harness::everything()).expect("the store reads");
    assert_eq!(list.iter().filter(|one| &*one.fairness_key == "customer 7").count(), 3);
}

pub fn keys_share_claims_by_weight(bench: &Bench) {
    set_weights(bench, &[("two", 2.0), ("fo*", 4.0)]);
    for key in ["one", "two", "four"] {
        flood(bench, key, "work", 200);
    }
    let served = serve(bench, RunnerId::generate(), 140);
    let shares = shares(&served);
    for (key, fair) in [("one", 20), ("two", 40), ("four", 80)] {
        assert!(shares[key].abs_diff(fair) <= fair / 10, "{key}: {shares:?}");
    }
}

pub fn weights_stay_until_a_configuration_says_others(bench: &Bench) {
    let race = || {
        flood(bench, "heavy", "work", 40);
        flood(bench, "light", "work", 40);
        let runner = RunnerId::generate();
        let served = serve(bench, runner, 40);
        // The rest, so that nothing is left for the next race.
        serve(bench, runner, 40);
        shares(&served)["heavy"]
    };
    assert!(race().abs_diff(20) <= 1);
    set_weights(bench, &[("heavy", 3.0)]);
    assert!(race().abs_diff(30) <= 1);
    // A configuration that says nothing of them.
    bench.commit(Batch::default());
    assert!(race().abs_diff(30) <= 1);
    set_weights(bench, &[]);
    assert!(race().abs_diff(20) <= 1);
}

pub fn a_newcomer_waits_for_one_turn_of_each_key(bench: &Bench) {
    let runner = RunnerId::generate();
    const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
    for key in KEYS {
        flood(bench, key, if key < "c" { "work" } else { "other" }, 60);
    }
    for round in 0..3 {
        serve(bench, runner, 17);
        flood(bench, &format!("newcomer {round}"), "work", 1);
        let served = serve(bench, runner, KEYS.len() + 1);
        assert!(served.iter().any(|key| key.starts_with("newcomer")), "{served:?}");
    }
}

pub fn a_key_that_was_alone_is_not_punished(bench: &Bench) {
    let runner = RunnerId::generate();
    flood(bench, "alone", "work", 50);
    serve(bench, runner, 50);
    flood(bench, "new", "work", 20);
    flood(bench, "alone", "work", 20);
    let served = serve(bench, runner, 20);
    assert!(shares(&served)["alone"].abs_diff(10) <= 1, "{served:?}");
}

fn pause(bench: &Bench, paused: bool) {
    let pause = Pause { target: PauseTarget::Task("other".into()), paused };
    bench.commit(Batch { pauses: vec![pause], ..Batch::default() });
}

pub fn a_paused_backlog_shares_with_others_when_it_goes_on(bench: &Bench) {
    let runner = RunnerId::generate();
    pause(bench, true);
    flood(bench, "paused", "other", 100);
    flood(bench, "busy", "work", 130);
    flood(bench, "old", "work", 130);
    serve(bench, runner, 100);
    pause(bench, false);
    let served = serve(bench, runner, 60);
    let shares = shares(&served);
    // The late ones of the paused task are one flow, and the others of it another one.
    for key in ["busy", "old"] {
        assert!(shares[key] >= 12, "{shares:?}");
    }
}

pub fn a_backlog_that_nobody_served_does_not_keep_a_newcomer_of_its_task_waiting(bench: &Bench) {
    let runner = RunnerId::generate();
    flood(bench, "old", "other", 100);
    flood(bench, "busy", "work", 200);
    // A runner that does not know the task.
    for _ in 0..60 {
        let claim = ClaimRequest { tasks: tasks(&["work"]), ..request(runner, 1) };
        assert_eq!(bench.claim(claim).claimed.len(), 1);
    }
    flood(bench, "newcomer", "other", 30);
    let served = serve(bench, runner, 60);
    let shares = shares(&served);
    for key in ["newcomer", "old", "busy"] {
        assert!(shares[key] >= 12, "{shares:?}");
    }
}

pub fn delayed_invocations_take_their_turn_when_they_are_due(bench: &Bench) {
    let runner = RunnerId::generate();
    let delayed = (0..30).map(|_| NewInvocation { delay: SECOND, ..of_key("delayed", "work") });
    bench.commit(Batch { submits: delayed.collect(), ..Batch::default() });
    flood(bench, "busy", "work", 100);
    assert_eq!(shares(&serve(bench, runner, 40)), HashMap::from([("busy", 40)]));
    bench.clock.advance(SECOND);
    let served = serve(bench, runner, 40);
    assert!(shares(&served)["delayed"].abs_diff(20) <= 1, "{served:?}");
}

pub fn a_claim_of_one_tree_is_out_of_turn(bench: &Bench) {
    flood(bench, "a", "work", 2);
    let root = bench.create(of_key("a", "work"));
    let runner = RunnerId::generate();
    let of_tree = ClaimRequest { root: Some(root), ..request(runner, 1) };
    assert_eq!(bench.claim(of_tree).claimed.len(), 1);
    // It was not the turn of the third, so a newcomer does not come after the second.
    bench.create(of_key("b", "work"));
    assert_eq!(serve(bench, runner, 3), ["a", "b", "a"]);
}

pub fn a_tree_that_submits_without_end_leaves_turns_to_others(bench: &Bench) {
    let runner = RunnerId::generate();
    set_weights(bench, &[("tree", 0.01)]);
    bench.create(of_key("tree", "work"));
    let root = bench.claim_one(runner);
    flood(bench, "other", "work", 100);
    // Each costs a hundred turns.
    let children: Vec<_> = (0..40).map(|index| child_of(&root, index)).collect();
    let awaited: Vec<_> = children.iter().map(|child| child.id).collect();
    bench.commit(Batch { submits: children, ..Batch::default() });
    let claim =
        |awaited: &[_], max| bench.claim(ClaimRequest { awaited: awaited.to_vec(), ..request(runner, max) });
    let receipt = claim(&awaited[..8], 8);
    let first: Vec<_> = receipt.claimed.iter().map(|claim| claim.id).collect();
    assert_eq!(first, awaited[..8], "they are preferred while they are not far ahead");
    let receipt = claim(&awaited[20..30], 10);
    let claimed = |receipt: &run_wasm_runner::store::Receipt, key: &str| {
        let of_key = |claim: &&run_wasm_runner::model::Claim| &*bench.get(claim.id).fairness_key == key;
        receipt.claimed.iter().filter(of_key).count()
    };
    assert_eq!((claimed(&receipt, "other"), claimed(&receipt, "tree")), (10, 0));
    assert!(receipt.more && receipt.unclaimable.is_empty());
    // A runner that can start nothing else gets them all the same.
    let only = ClaimRequest { awaited: awaited[20..30].to_vec(), only_awaited: true, ..request(runner, 10) };
    assert_eq!(claimed(&bench.claim(only), "tree"), 10);
}

pub fn awaited_work_that_is_slow_takes_the_turns_of_its_key_before_the_rest_of_it(bench: &Bench) {
    let runner = RunnerId::generate();
    bench.create(of_key("tree", "work"));
    let root = bench.claim_one(runner);
    flood(bench, "tree", "work", 6);
    flood(bench, "other", "other", 20);
    let children: Vec<_> = (0..8).map(|index| child_of(&root, index)).collect();
    let mut awaited: Vec<_> = children.iter().map(|child| child.id).collect();
    bench.commit(Batch { submits: children, ..Batch::default() });
    let mut leads = Leads::default();
    leads.set("", 1);
    let leads = Arc::new(leads);
    let mut served = Vec::new();
    while !awaited.is_empty() {
        let (awaited_now, leads) = (awaited.clone(), Arc::clone(&leads));
        let receipt = bench.claim(ClaimRequest { awaited: awaited_now, leads, ..request(runner, 1) });
        assert!(receipt.more && receipt.unclaimable.is_empty());
        let [claim] = &receipt.claimed[..] else { panic!("{receipt:?}") };
        awaited.retain(|id| *id != claim.id);
        served.push((bench.get(claim.id).fairness_key.to_string(), claim.task.to_string()));
    }
    let of = |key: &str| served.iter().filter(|(other, _)| other == key).count();
    assert!(served.iter().all(|(key, task)| (key == "tree") == (task == "child")), "{served:?}");
    assert!((6..=9).contains(&of("other")), "{served:?}");
    // Nothing is lost, and the keys go on in turns.
    let rest = serve(bench, runner, 12);
    assert!(shares(&rest)["tree"].abs_diff(6) <= 1, "{rest:?}");
}

pub fn a_pruned_fairness_key_can_be_used_again(bench: &Bench) {
    let runner = RunnerId::generate();
    flood(bench, "fleeting", "work", 3);
    serve(bench, runner, 3);
    let keep = Keep { status: Status::Succeeded, age: None, count: Some(0), at_least: 0 };
    for _ in 0..2 {
        let prune = Some(Prune { keep: vec![keep], max: 10, after: None, tasks: None, only_counts: false });
        // Submitted and removed in one batch: the key must not be lost.
        let submits = vec![of_key("fleeting", "work")];
        let receipt = bench.commit(Batch { submits, prune, ..Batch::default() });
        assert!(receipt.pruned.is_some_and(|pruned| pruned.removed > 0));
        assert_eq!(serve(bench, runner, 1), ["fleeting"]);
    }
    let prune = Some(Prune { keep: vec![keep], max: 10, after: None, tasks: None, only_counts: false });
    bench.commit(Batch { prune, ..Batch::default() });
    flood(bench, "fleeting", "work", 1);
    assert_eq!(serve(bench, runner, 1), ["fleeting"]);
}
