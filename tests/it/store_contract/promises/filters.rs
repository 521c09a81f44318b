//! Filters of lists, parts of ids, and keys: how invocations are found.

use run_wasm_runner::model::{
    Blocked, Clock, Concurrency, Failure, FailureKind, IdPart, InvocationId, InvocationName, Outcome,
    RuleKey, RunnerId, Status, UnixMicros,
};
use run_wasm_runner::store::{Batch, CANDIDATES, EndKind, Filter, NewInvocation, TaskRule};

use super::super::harness::*;
use super::SECOND;

fn labelled(labels: &[(&str, &str)]) -> NewInvocation {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    NewInvocation { labels: labels.collect(), ..new("work") }
}

#[track_caller]
fn assert_found(bench: &Bench, filter: &Filter, expected: &[InvocationId]) {
    let listed: Vec<_> = bench.store.list(filter).unwrap().iter().map(|one| one.id).collect();
    assert_eq!(listed, expected, "{filter:?}");
    assert_eq!(bench.store.ids(filter).unwrap(), expected, "{filter:?}");
}

pub fn a_filter_takes_labels_as_a_whole(bench: &Bench) {
    let acme = bench.create(labelled(&[("customer", "acme"), ("tier", "gold")]));
    let tricky = bench.create(labelled(&[("note", r#"["customer","acme"]"#), ("a\"b", "c\\\u{1}ü")]));
    let other = bench.create(labelled(&[("customer", "acme2"), ("xcustomer", "acme")]));
    bench.create(new("work"));
    let find = |labels: &[(&str, &str)], expected: &[InvocationId]| {
        let filter = Filter { labels: labelled(labels).labels.to_vec(), ..everything() };
        assert_found(bench, &filter, expected);
    };
    find(&[("customer", "acme")], &[acme]);
    find(&[("tier", "gold"), ("customer", "acme")], &[acme]);
    find(&[("tier", "gold"), ("customer", "acme2")], &[]);
    find(&[("a\"b", "c\\\u{1}ü")], &[tricky]);
    find(&[("xcustomer", "acme")], &[other]);
    find(&[("customer", "acm")], &[]);
    let filter =
        Filter { labels: vec![("customer".to_owned(), "acme".to_owned())], limit: 1, ..everything() };
    let again = bench.create(labelled(&[("customer", "acme")]));
    assert_found(bench, &filter, &[again]);
    assert_found(bench, &Filter { statuses: vec![Status::Failed], ..filter }, &[]);
}

pub fn a_filter_takes_those_submitted_since_a_moment(bench: &Bench) {
    let old = bench.create(new("work"));
    bench.clock.advance(SECOND);
    let young = bench.create(new("work"));
    let at = |id| Some(bench.get(id).submitted_at);
    assert_found(bench, &Filter { since: at(old), ..everything() }, &[young, old]);
    assert_found(bench, &Filter { since: at(young), ..everything() }, &[young]);
    bench.clock.advance(SECOND);
    let other = bench.create(new("other"));
    let tasks = Some(vec!["work".into()]);
    assert_found(bench, &Filter { since: at(young), tasks, ..everything() }, &[young]);
    assert_found(bench, &Filter { since: at(other).map(|at| at.plus(SECOND)), ..everything() }, &[]);
}

pub fn a_filter_takes_those_submitted_before_a_moment(bench: &Bench) {
    let old = bench.create(new("work"));
    bench.clock.advance(SECOND);
    let young = bench.create(new("work"));
    let at = |id| Some(bench.get(id).submitted_at);
    assert_found(bench, &Filter { until: at(young), ..everything() }, &[old]);
    assert_found(bench, &Filter { until: at(old), ..everything() }, &[]);
    assert_found(bench, &Filter { since: at(old), until: at(young), ..everything() }, &[old]);
}

pub fn a_filter_takes_queued_ones_by_what_they_wait_for(bench: &Bench) {
    let concurrency = Some(Concurrency { limit: 1, blocked: Blocked::Wait });
    let rule = TaskRule { task: "other".into(), queue: "default".into(), concurrency, rate: None };
    bench.commit(Batch { rules: vec![rule], ..Batch::default() });
    let delayed = bench.create(NewInvocation { delay: SECOND, ..new("work") });
    let free = bench.create(new("work"));
    let [first, second] = [(); 2]
        .map(|()| bench.create(NewInvocation { lane: Some(RuleKey::from_bytes([7; 16])), ..new("other") }));
    let cancelled = bench.create(NewInvocation { delay: SECOND, ..new("work") });
    bench.cancel(cancelled);
    let now = bench.clock.now();
    assert_found(bench, &Filter { available_after: Some(now), ..everything() }, &[delayed]);
    assert_found(bench, &Filter { available_by: Some(now), ..everything() }, &[second, first, free]);
    assert_found(bench, &Filter { only_blocked: true, ..everything() }, &[second]);
    let tasks = Some(vec!["work".into()]);
    assert_found(bench, &Filter { available_by: Some(now), tasks, ..everything() }, &[free]);
    let statuses = vec![Status::Running];
    assert_found(bench, &Filter { only_blocked: true, statuses, ..everything() }, &[]);
    // A later moment, at which everything is due.
    let now = now.plus(SECOND);
    assert_found(bench, &Filter { available_after: Some(now), ..everything() }, &[]);
}

/// Two failures of different kinds, a second apart, and one value; submitted before all of them, one that goes on.
pub fn a_filter_takes_those_that_ended_within_a_time(bench: &Bench) {
    let runner = RunnerId::generate();
    let slow = bench.create(new("work"));
    bench.claim_one(runner);
    let [early, late, fine] = [(); 3].map(|()| bench.create(new("work")));
    let claims = [early, late, fine].map(|_| bench.claim_one(runner));
    bench.clock.advance(SECOND);
    bench.end(&claims[0], EndKind::Final(failure("it has \u{0} in it")));
    bench.clock.advance(SECOND);
    let middle = bench.clock.now();
    bench.end(&claims[1], EndKind::Final(Outcome::Failure(Failure::timed_out("too slow").into())));
    bench.end(&claims[2], EndKind::Final(value("1")));
    let after = bench.clock.now().plus(SECOND);
    let since = |at| Filter { ended_since: Some(at), ..everything() };
    let until = |at| Filter { ended_until: Some(at), ..everything() };
    let begin = UnixMicros(0);
    assert_found(bench, &since(begin), &[fine, late, early]);
    assert_found(bench, &since(middle), &[fine, late]);
    assert_found(bench, &since(after), &[]);
    assert_found(bench, &until(middle), &[early]);
    assert_found(bench, &Filter { ended_since: Some(begin), ..until(middle) }, &[early]);
    assert_found(bench, &Filter { limit: 2, ..since(begin) }, &[fine, late]);
    assert_found(bench, &Filter { statuses: vec![Status::Failed], ..since(middle) }, &[late]);
    // An invocation that goes on has not ended.
    assert_found(bench, &Filter { statuses: vec![Status::Claimed], ..since(begin) }, &[]);
    assert_found(bench, &Filter { root: Some(late), ..since(begin) }, &[late]);
    assert_found(bench, &Filter { root: Some(slow), ..since(begin) }, &[]);
    let of = |kinds: &[FailureKind]| Filter { kinds: kinds.to_vec(), ..everything() };
    assert_found(bench, &of(&[FailureKind::Trapped]), &[early]);
    assert_found(bench, &of(&[FailureKind::Trapped, FailureKind::TimedOut]), &[late, early]);
    assert_found(bench, &of(&[FailureKind::Lost]), &[]);
    assert_found(bench, &Filter { root: Some(early), ..of(&[FailureKind::Trapped]) }, &[early]);
    assert_found(bench, &Filter { ended_since: Some(middle), ..of(&FailureKind::ALL) }, &[late]);
    let succeeded = Filter { statuses: vec![Status::Succeeded], ..of(&[FailureKind::Trapped]) };
    assert_found(bench, &succeeded, &[]);
}

pub fn a_filter_takes_those_of_a_runner(bench: &Bench) {
    let (first, second) = (RunnerId::generate(), RunnerId::generate());
    let ids = [(); 3].map(|()| bench.create(new("work")));
    bench.succeed(&bench.claim_one(first));
    bench.claim_one(first);
    let of = |runner| Filter { runner: Some(runner), ..everything() };
    assert_found(bench, &of(first), &[ids[1], ids[0]]);
    assert_found(bench, &Filter { statuses: vec![Status::Claimed], ..of(first) }, &[ids[1]]);
    assert_found(bench, &of(second), &[]);
    // It dies, and another one takes its work over.
    bench.clock.advance(LEASE);
    bench.commit(Batch { recover: true, ..Batch::default() });
    bench.claim_one(second);
    assert_found(bench, &of(first), &[ids[0]]);
    assert_found(bench, &of(second), &[ids[1]]);
}

pub fn a_filter_takes_the_tree_of_a_root(bench: &Bench) {
    let before = bench.create(new("work"));
    let runner = RunnerId::generate();
    let root = bench.claim_one(runner);
    assert_eq!(root.id, before);
    let child = bench.create(child_of(&root, 0));
    let middle = bench.claim_one(runner);
    let grandchild = bench.create(child_of(&middle, 0));
    bench.create(new("work"));
    let in_tree = Filter { root: Some(root.id), ..everything() };
    assert_found(bench, &in_tree, &[grandchild, child, root.id]);
    assert_found(bench, &Filter { limit: 2, ..in_tree.clone() }, &[grandchild, child]);
    assert_found(bench, &Filter { statuses: vec![Status::Queued], ..in_tree.clone() }, &[grandchild]);
    // A tree is looked at to its end.
    assert_found(bench, &Filter { look: Some(1), ..in_tree }, &[grandchild, child, root.id]);
    assert_found(bench, &Filter { root: Some(child), ..everything() }, &[]);
}

pub fn a_look_at_the_newest_ends(bench: &Bench) {
    let all: Vec<_> = (0..5).map(|_| bench.create(new("work"))).collect();
    let since = Some(bench.get(all[0]).submitted_at);
    assert_found(bench, &Filter { since, look: Some(2), ..everything() }, &[all[4], all[3]]);
    assert_found(bench, &Filter { since, look: Some(0), ..everything() }, &[]);
    assert_found(bench, &Filter { since, look: Some(u64::MAX), limit: 1, ..everything() }, &[all[4]]);
}

fn part(text: &str) -> IdPart {
    match text.parse() {
        Ok(InvocationName::Part(part)) => part,
        other => panic!("{text}: {other:?}"),
    }
}

pub fn parts_of_ids_are_found(bench: &Bench) {
    let id = |n: u32| -> InvocationId {
        format!("01939f5e-7a2b-7c3d-8e4f-{:04x}7c8d9e0f", 0x1000 + n).parse().unwrap()
    };
    for n in [3, 1, 2] {
        bench.create(NewInvocation { id: id(n), ..new("work") });
    }
    let other = bench.create(new("work"));
    let find = |text: &str| bench.store.find(&part(text)).unwrap();
    assert_eq!(find("01939f5e"), [id(1), id(2), id(3)]);
    assert_eq!(find("7C8D9E0F"), [id(1), id(2), id(3)]);
    assert_eq!(find("0027c8d9e0f"), [id(2)]);
    assert_eq!(find("01939f5e-7a2b-7c3d-8e4f-1001"), [id(1)]);
    assert_eq!(find(&other.short()), [other]);
    assert!(find("939f5e").is_empty() && find("7c8d9e0").is_empty());
    for n in 4..20 {
        bench.create(NewInvocation { id: id(n), ..new("work") });
    }
    assert_eq!(find("01939f").len(), CANDIDATES);
    assert_eq!(find("8d9e0f")[..2], [id(1), id(2)]);
}

pub fn invocations_are_found_by_their_keys(bench: &Bench) {
    let keyed = |task: &str, key: &str| NewInvocation { key: Some(key.into()), ..new(task) };
    let (one, two) = (bench.create(keyed("work", "k")), bench.create(keyed("other", "k")));
    let find = |keys: &[(&str, &str)]| {
        let keys: Vec<_> = keys.iter().map(|(task, key)| ((*task).into(), (*key).into())).collect();
        bench.store.keyed(&keys).unwrap()
    };
    let keys = [("other", "k"), ("work", "x"), ("nothing", "k"), ("work", "k"), ("other", "k")];
    assert_eq!(find(&keys), [Some(two), None, None, Some(one), Some(two)]);
    assert!(find(&[]).is_empty());
}
