//! Quotas: the submit beyond is refused, and whatever is answered with an invocation that exists needs no room.

use std::time::Duration;

use run_wasm_runner::model::{
    Claim, FailureKind, Glob, Held, HolderKind, InvocationId, Outcome, OverQuota, Quota, QuotaKind, Rate,
    RunnerId, Status,
};
use run_wasm_runner::store::{
    Batch, ClaimRequest, EndKind, Keep, NewInvocation, Prune, QuotaSection, RuleOrigin, Submitted,
};

use super::super::harness::{Bench, child_of, detached, failure, new, request, tasks, text, value};
use super::SECOND;

const TASK: &str = "acme::a:b/c.d";
const OTHER_TASK: &str = "acme::a:b/c.e";

fn unfinished(most: u64) -> Quota {
    Quota { unfinished: Some(most), ..Quota::default() }
}

fn stored(most: u64) -> Quota {
    Quota { stored_bytes: Some(most), ..Quota::default() }
}

fn section(holder: HolderKind, quotas: &[(&str, Quota)]) -> QuotaSection {
    let quotas = quotas.iter().map(|(names, quota)| (Glob::new(names), *quota)).collect();
    QuotaSection { holder, quotas }
}

fn set(bench: &Bench, holder: HolderKind, quotas: &[(&str, Quota)]) {
    bench.commit(Batch { quotas: vec![section(holder, quotas)], ..Batch::default() });
}

fn of_key(key: &str) -> NewInvocation {
    NewInvocation { fairness_key: Some(key.into()), ..new(TASK) }
}

/// Submits what must be new.
#[track_caller]
fn create(bench: &Bench, new: NewInvocation) {
    bench.create(new);
}

/// Submits what is refused: by which quota of whom.
#[track_caller]
fn refused(bench: &Bench, new: NewInvocation) -> (HolderKind, String, QuotaKind) {
    let id = new.id;
    match bench.submit_one(new) {
        Submitted::OverQuota(over) => {
            assert_eq!(bench.store.standings(&[id]).unwrap(), [None], "nothing was created");
            (over.holder, over.name.to_string(), over.kind)
        }
        other => panic!("not refused but {other:?}"),
    }
}

fn claim(bench: &Bench) -> Claim {
    let request = ClaimRequest { tasks: tasks(&[TASK, OTHER_TASK]), ..request(RunnerId::generate(), 1) };
    bench.claim(request).claimed.remove(0)
}

fn prune_all(bench: &Bench) {
    let keep = |status| Keep { status, age: Some(Duration::ZERO), count: None, at_least: 0 };
    let finals = run_wasm_runner::model::Status::ALL.into_iter().filter(|status| status.is_final());
    let prune =
        Prune { keep: finals.map(keep).collect(), max: 100, after: None, tasks: None, only_counts: false };
    bench.commit(Batch { prune: Some(prune), ..Batch::default() });
}

fn held(bench: &Bench, holder: HolderKind, name: &str) -> Held {
    let all = bench.store.holdings(holder).expect("the store reads");
    all.iter().find(|one| &*one.name == name).map(|one| one.held).unwrap_or_default()
}

pub fn a_component_has_as_many_unfinished_invocations_as_its_quota_says(bench: &Bench) {
    use HolderKind::Component;
    set(bench, Component, &[("acme", unfinished(2))]);
    let first = bench.create(new(TASK));
    bench.create(NewInvocation { delay: SECOND, ..new(OTHER_TASK) });
    let over = (Component, "acme".to_owned(), QuotaKind::Unfinished);
    assert_eq!(refused(bench, new(TASK)), over);
    assert_eq!(refused(bench, of_key("mine")), over, "whoever's key it has");
    bench.create(new("other::a:b/c.d"));
    bench.create(new("work"));
    // What runs is unfinished, and so is what is tried again; an attempt is no submit.
    let running = claim(bench);
    assert_eq!(running.id, first);
    assert_eq!(refused(bench, new(TASK)), over);
    bench.end(&running, EndKind::Retry(failure("once more"), Duration::ZERO));
    assert_eq!(refused(bench, new(TASK)), over);
    bench.succeed(&claim(bench));
    let third = bench.create(new(TASK));
    assert_eq!(refused(bench, new(TASK)), over);
    bench.cancel(third);
    bench.create(new(TASK));
    assert_eq!(held(bench, Component, "acme").unfinished, 2);
}

pub fn a_refusal_says_whose_quota_it_is(bench: &Bench) {
    let quota = Quota { submits: Some(Rate { limit: 1, window: SECOND }), ..unfinished(1) };
    set(bench, HolderKind::Key, &[("cust*", quota)]);
    bench.create(of_key("customer 7"));
    let Submitted::OverQuota(over) = bench.submit_one(of_key("customer 7")) else { panic!("it is created") };
    let expected = OverQuota {
        holder: HolderKind::Key,
        name: "customer 7".into(),
        kind: QuotaKind::Unfinished,
        quota,
        held: Held { unfinished: 1, bytes: 3 },
    };
    assert_eq!(*over, expected);
}

pub fn a_quota_of_bytes_counts_arguments_and_outcomes_until_they_are_removed(bench: &Bench) {
    use HolderKind::Component;
    set(bench, Component, &[("acme", stored(20))]);
    let of = |length: usize| NewInvocation {
        arguments: format!("[{}]", "1".repeat(length - 2)).into(),
        ..new(TASK)
    };
    bench.create(of(10));
    let over = (Component, "acme".to_owned(), QuotaKind::StoredBytes);
    assert_eq!(refused(bench, of(11)), over);
    bench.create(of(7));
    assert_eq!(held(bench, Component, "acme"), Held { unfinished: 2, bytes: 17 });
    // An outcome is never refused, and counts.
    bench.end(&claim(bench), EndKind::Final(value("\"0123456789\"")));
    assert_eq!(held(bench, Component, "acme"), Held { unfinished: 1, bytes: 29 });
    assert_eq!(refused(bench, of(3)), over);
    bench.end(&claim(bench), EndKind::Final(failure("it broke")));
    assert_eq!(refused(bench, of(3)), over);
    prune_all(bench);
    assert_eq!(held(bench, Component, "acme"), Held::default());
    bench.create(of(20));
    assert_eq!(refused(bench, of(3)), over);
}

pub fn a_quota_of_submits_fills_again_with_time(bench: &Bench) {
    use HolderKind::Component;
    let submits = Some(Rate { limit: 4, window: 2 * SECOND });
    set(bench, Component, &[("acme", Quota { submits, ..Quota::default() })]);
    let over = (Component, "acme".to_owned(), QuotaKind::Submits);
    for _ in 0..4 {
        let id = bench.create(new(TASK));
        bench.cancel(id);
    }
    for _ in 0..3 {
        assert_eq!(refused(bench, new(TASK)), over, "what is refused does not count");
    }
    bench.clock.advance(SECOND / 2);
    bench.create(new(TASK));
    assert_eq!(refused(bench, new(TASK)), over);
    bench.clock.advance(100 * SECOND);
    let submits = (0..6).map(|_| new(TASK)).collect();
    let receipt = bench.commit(Batch { submits, ..Batch::default() });
    let created = receipt.submits.iter().filter(|one| matches!(one, Submitted::Created(_))).count();
    assert_eq!(created, 4, "time saves no more than the quota");
}

pub fn a_quota_of_keys_is_for_each_key_with_its_children(bench: &Bench) {
    use HolderKind::Key;
    set(bench, Key, &[("cust*", unfinished(2))]);
    let parent = bench.create(of_key("customer 1"));
    let parent_claim = claim(bench);
    assert_eq!(parent_claim.id, parent);
    let child = |index| NewInvocation { task: OTHER_TASK.into(), ..child_of(&parent_claim, index) };
    bench.create(child(0));
    let over = (Key, "customer 1".to_owned(), QuotaKind::Unfinished);
    assert_eq!(refused(bench, child(1)), over);
    assert_eq!(refused(bench, of_key("customer 1")), over);
    // A child that says another key has that of its parent.
    assert_eq!(refused(bench, NewInvocation { fairness_key: Some("free".into()), ..child(1) }), over);
    bench.create(of_key("customer 2"));
    bench.create(of_key("customer 2"));
    (0..3).map(|_| of_key("free")).for_each(|new| create(bench, new));
    assert_eq!(held(bench, Key, "customer 1").unfinished, 2);
    bench.succeed(&parent_claim);
    bench.create(of_key("customer 1"));
}

pub fn the_most_exact_quota_holds_alone(bench: &Bench) {
    use HolderKind::Component;
    let quotas =
        [("*", unfinished(0)), ("ac*", unfinished(1)), ("acm*", Quota::default()), ("acme", stored(0))];
    set(bench, Component, &quotas);
    assert_eq!(refused(bench, new(TASK)).2, QuotaKind::StoredBytes);
    (0..3).map(|_| new("acm::d")).for_each(|new| create(bench, new));
    bench.create(new("ace::d"));
    assert_eq!(refused(bench, new("ace::d")).1, "ace");
    assert_eq!(refused(bench, new("b::d")).1, "b");
    // Of both holders, each must have room.
    set(bench, Component, &[]);
    set(bench, HolderKind::Key, &[("acme", unfinished(0))]);
    assert_eq!(refused(bench, new(TASK)).0, HolderKind::Key);
}

pub fn quotas_stay_until_a_configuration_says_others(bench: &Bench) {
    let origin =
        |host: &str| RuleOrigin { runner: RunnerId::from_bytes([1; 16]), host: host.into(), config: None };
    let quotas = vec![
        section(HolderKind::Key, &[("b", unfinished(1)), ("a", stored(5))]),
        section(HolderKind::Component, &[("c", unfinished(3)), ("c", unfinished(4))]),
    ];
    let by = |host| Batch { quotas: quotas.clone(), rules_by: Some(origin(host)), ..Batch::default() };
    bench.commit(by("one"));
    let in_force = bench.store.quotas().expect("the store reads");
    let names: Vec<_> = in_force.iter().map(|rule| (rule.holder, rule.names.as_str(), rule.quota)).collect();
    let expected = [
        (HolderKind::Component, "c", unfinished(3)),
        (HolderKind::Key, "a", stored(5)),
        (HolderKind::Key, "b", unfinished(1)),
    ];
    assert_eq!(names, expected);
    assert!(in_force.iter().all(|rule| rule.by == Some(origin("one"))));
    // Whoever says the same, or nothing, changes nothing.
    bench.clock.advance(SECOND);
    bench.commit(by("two"));
    bench.commit(Batch::default());
    assert_eq!(bench.store.quotas().expect("the store reads"), in_force);
    set(bench, HolderKind::Key, &[]);
    assert_eq!(bench.store.quotas().expect("the store reads"), in_force[..1]);
}

pub fn a_quota_holds_for_what_was_there_before_it(bench: &Bench) {
    (0..3).map(|_| of_key("a")).for_each(|new| create(bench, new));
    bench.succeed(&claim(bench));
    let quotas = vec![
        section(HolderKind::Component, &[("acme", unfinished(2))]),
        section(HolderKind::Key, &[("a", stored(11))]),
    ];
    // Set and met in one batch.
    let submits = vec![new(TASK), of_key("b")];
    let receipt = bench.commit(Batch { quotas, submits, ..Batch::default() });
    assert!(receipt.submits.iter().all(|one| matches!(one, Submitted::OverQuota(_))), "{receipt:?}");
    set(bench, HolderKind::Component, &[]);
    assert_eq!(
        refused(bench, of_key("a")).2,
        QuotaKind::StoredBytes,
        "three times three, and an outcome of two"
    );
}

pub fn what_exists_is_answered_although_a_quota_is_full(bench: &Bench) {
    let keyed = |id| NewInvocation { id, key: Some("once".into()), ..new(TASK) };
    let first = keyed(InvocationId::generate());
    bench.create(first.clone());
    let parent = claim(bench);
    let child = bench.create(child_of(&parent, 0));
    let ends = vec![bench.ended(&parent, EndKind::Release)];
    set(bench, HolderKind::Key, &[("*", unfinished(0))]);
    let submits = vec![
        first.clone(),
        keyed(InvocationId::generate()),
        NewInvocation { arguments: "[2]".into(), ..keyed(InvocationId::generate()) },
        child_of(&parent, 0),
        child_of(&parent, 1),
        of_key("new"),
    ];
    let receipt = bench.commit(Batch { submits, reports: ends, ..Batch::default() });
    let [same, by_key, other, by_place, new_child, new] = &receipt.submits[..] else { panic!("{receipt:?}") };
    assert_eq!(*same, Submitted::Existing(first.id));
    assert_eq!(*by_key, Submitted::Existing(first.id));
    assert_eq!(*other, Submitted::KeyConflict(first.id));
    assert_eq!(*by_place, Submitted::Existing(child));
    assert!(matches!(new_child, Submitted::OverQuota(_)), "{new_child:?}");
    assert!(matches!(new, Submitted::OverQuota(_)), "{new:?}");
    // Its parent was given back: nobody asks whether it has room.
    assert_eq!(bench.submit_one(child_of(&parent, 2)), Submitted::Orphan);
    // An answer that was lost: the batch comes again when the quota is full.
    set(bench, HolderKind::Key, &[("again", unfinished(1))]);
    let again = of_key("again");
    bench.create(again.clone());
    assert_eq!(bench.submit_one(again.clone()), Submitted::Existing(again.id));
}

/// A child of a task, in the tree of a claimed invocation.
fn child_for(parent: &Claim, index: u32, task: &str) -> NewInvocation {
    NewInvocation { task: task.into(), ..child_of(parent, index) }
}

pub fn a_guest_fills_the_quota_of_its_own_component_and_not_another_one(bench: &Bench) {
    use HolderKind::Component;
    let quota = Quota { stored_bytes: Some(1_000), ..unfinished(3) };
    set(bench, Component, &[("customer-*", quota)]);
    let claim = |task: &str| {
        let asked = ClaimRequest { tasks: tasks(&[task]), ..request(RunnerId::generate(), 1) };
        bench.claim(asked).claimed.remove(0)
    };
    bench.create(new("customer-eve::a"));
    let eve = claim("customer-eve::a");
    let of_anna = |index| detached(child_for(&eve, index, "customer-anna::a"));
    let far = |index| NewInvocation { delay: 1_000_000 * SECOND, ..of_anna(index) };
    let children = [0, 1].map(|index| bench.create(far(index)));
    let over = (Component, "customer-eve".to_owned(), QuotaKind::Unfinished);
    assert_eq!(refused(bench, far(2)), over);
    assert_eq!(held(bench, Component, "customer-eve"), Held { unfinished: 3, bytes: 9 });
    assert_eq!(held(bench, Component, "customer-anna"), Held::default());
    assert_eq!(bench.get(children[0]).payer.as_deref(), Some("customer-eve"));
    // Anna has all of hers, and those whose component has no quota fill it.
    bench.create(new("boss::a"));
    let boss = claim("boss::a");
    (0..3).for_each(|index| create(bench, child_for(&boss, index, "customer-anna::a")));
    let of_boss = child_for(&boss, 3, "customer-anna::a");
    assert_eq!(refused(bench, of_boss), (Component, "customer-anna".to_owned(), QuotaKind::Unfinished));
    assert_eq!(held(bench, Component, "boss").unfinished, 1);
    // What ends goes off where it went on, with its bytes when it is removed.
    bench.cancel(children[0]);
    assert_eq!(held(bench, Component, "customer-eve").unfinished, 2);
    assert_eq!(held(bench, Component, "customer-anna"), Held { unfinished: 3, bytes: 9 });
    set(bench, Component, &[]);
    bench.cancel(children[1]);
    bench.succeed(&eve);
    bench.succeed(&boss);
    assert_eq!(held(bench, Component, "customer-anna").unfinished, 0);
    prune_all(bench);
    for name in ["customer-eve", "customer-anna", "boss"] {
        assert_eq!(held(bench, Component, name), Held::default(), "{name}");
    }
}

pub fn detached_children_do_not_fill_the_quota_of_a_key(bench: &Bench) {
    use HolderKind::Key;
    set(bench, Key, &[("*", unfinished(3))]);
    bench.create(of_key("anna"));
    let request = claim(bench);
    let aside = bench.create(detached(child_for(&request, 0, OTHER_TASK)));
    bench.create(child_for(&request, 1, TASK));
    assert_eq!(held(bench, Key, "anna").unfinished, 2, "its child, and not the detached one");
    // Nor does what is below that.
    let below = claim_of(bench, aside);
    (0..5).for_each(|index| create(bench, child_for(&below, index, "c::d")));
    assert_eq!(held(bench, Key, "anna").unfinished, 2);
    assert_eq!(&*bench.get(aside).fairness_key, "anna", "its turns are the key's all the same");
    bench.create(child_for(&request, 2, TASK));
    let over = (Key, "anna".to_owned(), QuotaKind::Unfinished);
    assert_eq!(refused(bench, child_for(&request, 3, TASK)), over);
    bench.succeed(&below);
    bench.succeed(&request);
    assert_eq!(held(bench, Key, "anna").unfinished, 0);
    prune_all(bench);
    assert_eq!(held(bench, Key, "anna"), Held::default());
}

fn claim_of(bench: &Bench, id: InvocationId) -> Claim {
    let asked = ClaimRequest {
        awaited: vec![id],
        only_awaited: true,
        tasks: tasks(&[TASK, OTHER_TASK]),
        ..request(RunnerId::generate(), 1)
    };
    bench.claim(asked).claimed.remove(0)
}

pub fn an_outcome_that_has_no_room_is_a_failure(bench: &Bench) {
    use HolderKind::{Component, Key};
    let large = |bytes: usize| value(&format!("\"{}\"", "x".repeat(bytes - 2)));
    let end = |claim: &Claim, outcome| bench.end(claim, EndKind::Final(outcome)).no_room;
    set(bench, Component, &[("acme", stored(20_000))]);
    let all: Vec<_> = (0..4).map(|_| bench.create(new(TASK))).collect();
    let claims: Vec<_> = all.iter().map(|_| claim(bench)).collect();
    assert!(end(&claims[0], large(15_000)).is_empty(), "there is room");
    // In one batch with another that takes the last room.
    let reports = vec![
        bench.ended(&claims[1], EndKind::Final(large(4_900))),
        bench.ended(&claims[2], EndKind::Final(large(5_000))),
    ];
    let receipt = bench.commit(Batch { reports, ..Batch::default() });
    let [(1, Outcome::Failure(failure))] = &receipt.no_room[..] else { panic!("{:?}", receipt.no_room) };
    assert_eq!(failure.kind, FailureKind::LimitExceeded);
    let told = "there is no room for its outcome of 4.9 KiB: the component `acme` has 19.4 KiB of arguments and \
                outcomes stored (quota `stored-bytes`: 19.5 KiB)";
    assert_eq!(failure.message, told);
    let stored_one = bench.get(all[2]);
    assert_eq!(stored_one.status, Status::Failed);
    assert_eq!(stored_one.outcome.as_ref().map(text), Some(text(&receipt.no_room[0].1)));
    // What is small is always stored, and so is what nobody bounds.
    assert!(end(&claims[3], large(4_000)).is_empty());
    assert!(held(bench, Component, "acme").bytes > 20_000);
    let other = |key: &str| {
        bench.create(NewInvocation { fairness_key: Some("anna".into()), ..new("other::a:b/c.d") });
        set(bench, Key, &[(key, stored(5_000))]);
        let asked = ClaimRequest { tasks: tasks(&["other::a:b/c.d"]), ..request(RunnerId::generate(), 1) };
        bench.claim(asked).claimed.remove(0)
    };
    assert_eq!(end(&other("anna"), large(6_000)).len(), 1, "the quota of its key");
    assert!(end(&other("bob"), large(6_000)).is_empty());
}
