//! Promises about rules: lanes, rates, uniqueness, pauses.

use std::collections::HashSet;
use std::time::Duration;

use run_wasm_runner::model::{
    Blocked, Claim, Clock, Concurrency, Differing, FailureKind, InvocationId, Rate, RuleKey, RunnerId, Status,
};
use run_wasm_runner::store::{
    Applied, Batch, EndKind, NewInvocation, Pause, PauseTarget, Receipt, ReplacedRule, RuleMark, RuleOrigin,
    Submitted, TaskRule,
};

use super::SECOND;
use crate::store_contract::harness::{Bench, child_of, detached, failure, ids, kind, new, request, value};

fn key(n: u8) -> RuleKey {
    RuleKey::from_bytes([n; 16])
}

fn plain(task: &str) -> TaskRule {
    TaskRule { task: task.into(), queue: "default".into(), concurrency: None, rate: None }
}

fn at_once(limit: u32, blocked: Blocked) -> TaskRule {
    TaskRule { concurrency: Some(Concurrency { limit, blocked }), ..plain("work") }
}

fn per_time(limit: u32, window: Duration) -> TaskRule {
    TaskRule { rate: Some(Rate { limit, window }), ..plain("work") }
}

#[track_caller]
fn set(bench: &Bench, rule: TaskRule) -> Receipt {
    bench.commit(Batch { rules: vec![rule], ..Batch::default() })
}

pub fn rules_have_an_origin(bench: &Bench) {
    let origin = |host: &str| RuleOrigin {
        runner: RunnerId::generate(),
        host: host.into(),
        config: Some("/etc/wasm-runner.toml".into()),
    };
    let set_by = |rule: TaskRule, by: &RuleOrigin| {
        bench.commit(Batch { rules: vec![rule], rules_by: Some(by.clone()), ..Batch::default() }).replaced
    };
    let marks = || bench.store.rule_marks().unwrap();
    let (one, other) = (origin("one"), origin("other"));
    // A submit says nothing about who rules; whoever says the same as it is the first.
    bench.commit(Batch { default_rules: vec![plain("work")], ..Batch::default() });
    assert!(marks().is_empty());
    assert!(set_by(plain("work"), &one).is_empty());
    let first = RuleMark { task: "work".into(), by: one.clone(), at: bench.clock.now() };
    assert_eq!(marks(), std::slice::from_ref(&first));
    bench.clock.advance(SECOND);
    assert!(set_by(plain("work"), &other).is_empty(), "they agree");
    assert_eq!(marks(), std::slice::from_ref(&first));
    let replaced = set_by(at_once(1, Blocked::Wait), &other);
    assert_eq!(replaced, [ReplacedRule { old: plain("work"), mark: Some(first) }]);
    let second = RuleMark { task: "work".into(), by: other, at: bench.clock.now() };
    assert_eq!(marks(), std::slice::from_ref(&second));
    bench.commit(Batch { default_rules: vec![plain("work")], ..Batch::default() });
    assert_eq!(marks(), std::slice::from_ref(&second));
    // Nobody knows who.
    let replaced = bench.commit(Batch { rules: vec![plain("work")], ..Batch::default() }).replaced;
    assert_eq!(replaced, [ReplacedRule { old: at_once(1, Blocked::Wait), mark: Some(second) }]);
    assert!(marks().is_empty());
}

fn in_lane(lane: u8) -> NewInvocation {
    NewInvocation { lane: Some(key(lane)), ..new("work") }
}

#[track_caller]
fn create_in(bench: &Bench, lane: u8) -> InvocationId {
    bench.create(in_lane(lane))
}

#[track_caller]
fn create_many(bench: &Bench, lane: u8, count: usize) -> Vec<InvocationId> {
    let submits: Vec<_> = (0..count).map(|_| in_lane(lane)).collect();
    let ids = submits.iter().map(|submit| submit.id).collect();
    bench.commit(Batch { submits, ..Batch::default() });
    ids
}

/// Claims as much as there is.
#[track_caller]
fn claim(bench: &Bench) -> Vec<Claim> {
    bench.claim(request(RunnerId::generate(), 1000)).claimed
}

fn ids_of(claims: &[Claim]) -> Vec<InvocationId> {
    claims.iter().map(|claim| claim.id).collect()
}

pub fn a_lane_hands_out_no_more_than_its_limit(bench: &Bench) {
    set(bench, at_once(2, Blocked::Wait));
    let all = create_many(bench, 1, 5);
    let mut done = Vec::new();
    let mut claims = claim(bench);
    assert_eq!(ids_of(&claims), all[..2], "a batch is no way around the rule");
    assert!(claim(bench).is_empty());
    assert!(bench.get(all[2]).blocked && !bench.get(all[0]).blocked);
    while let Some(one) = claims.pop() {
        let receipt = bench.succeed(&one);
        let freed = all.iter().find(|id| bench.status(**id) == Status::Queued && !bench.get(**id).blocked);
        assert_eq!(receipt.unblocked, freed.copied().into_iter().collect::<Vec<_>>());
        done.push(one.id);
        let next = claim(bench);
        assert!(next.len() <= 1, "one place became free");
        claims.extend(next);
        assert!(claims.len() <= 2);
    }
    assert_eq!(done.iter().collect::<HashSet<_>>(), all.iter().collect());
}

pub fn lanes_do_not_wait_for_each_other(bench: &Bench) {
    set(bench, at_once(1, Blocked::Wait));
    let first = create_in(bench, 1);
    let behind = create_in(bench, 1);
    let other = create_in(bench, 2);
    let free = bench.create(new("work"));
    let elsewhere = bench.create(NewInvocation { lane: Some(key(1)), ..new("other") });
    assert_eq!(ids_of(&claim(bench)), [first, other, free, elsewhere]);
    assert!(bench.get(behind).blocked);
}

pub fn a_claim_takes_the_room_of_an_end_in_the_same_batch(bench: &Bench) {
    set(bench, at_once(1, Blocked::Wait));
    let all = create_many(bench, 1, 3);
    let runner = RunnerId::generate();
    let first = bench.claim_one(runner);
    let receipt = bench.commit(Batch {
        reports: vec![bench.ended(&first, EndKind::Final(value("1")))],
        claim: Some(request(runner, 10)),
        ..Batch::default()
    });
    assert_eq!(ids(&receipt), [all[1]]);
    assert_eq!(receipt.unblocked, [all[1]]);
}

pub fn every_way_out_of_a_lane_admits_the_next_invocation(bench: &Bench) {
    set(bench, at_once(1, Blocked::Wait));
    let runner = RunnerId::generate();
    let ways: [&dyn Fn(&Claim); 5] = [
        &|claim| drop(bench.succeed(claim)),
        &|claim| drop(bench.end(claim, EndKind::Final(failure("broke")))),
        &|claim| drop(bench.end(claim, EndKind::Retry(failure("later"), 1000 * SECOND))),
        &|claim| drop(bench.cancel(claim.id)),
        &|_| {
            bench.let_leases_run_out();
            assert_eq!(bench.recover().recovered, 1);
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let lane = 10 + number as u8;
        let first = create_in(bench, lane);
        let second = create_in(bench, lane);
        let claimed = bench.claim_one(runner);
        assert_eq!(claimed.id, first);
        way(&claimed);
        let next = claim(bench);
        // What was recovered comes before the younger one.
        let expected = if number == 4 { first } else { second };
        assert_eq!(ids_of(&next), [expected], "way {number}");
        for id in [first, second] {
            bench.cancel(id);
        }
    }
}

pub fn a_released_invocation_is_admitted_first(bench: &Bench) {
    set(bench, at_once(1, Blocked::Wait));
    let all = create_many(bench, 1, 3);
    let runner = RunnerId::generate();
    let first = bench.claim_one(runner);
    bench.end(&first, EndKind::Release);
    assert_eq!(ids_of(&claim(bench)), [all[0]]);
}

pub fn a_more_urgent_invocation_replaces_a_ready_one(bench: &Bench) {
    set(bench, at_once(1, Blocked::Wait));
    let first = create_in(bench, 1);
    let urgent = bench.create(NewInvocation { priority: 5, ..in_lane(1) });
    assert!(bench.get(first).blocked && !bench.get(urgent).blocked);
    let claimed = claim(bench);
    assert_eq!(ids_of(&claimed), [urgent]);
    bench.succeed(&claimed[0]);
    assert_eq!(ids_of(&claim(bench)), [first]);
}

pub fn a_cancelled_blocked_invocation_leaves_its_lane(bench: &Bench) {
    set(bench, at_once(1, Blocked::Wait));
    let all = create_many(bench, 1, 3);
    bench.cancel(all[1]);
    let first = bench.claim_one(RunnerId::generate());
    bench.succeed(&first);
    assert_eq!(ids_of(&claim(bench)), [all[2]]);
    // The one that was ready and not claimed gives its place away too.
    let more = create_many(bench, 2, 2);
    let (_, receipt) = bench.cancel(more[0]);
    assert_eq!(receipt.unblocked, [more[1]]);
}

pub fn delayed_invocations_enter_their_lane_when_they_are_due(bench: &Bench) {
    set(bench, at_once(1, Blocked::Wait));
    let later = bench.create(NewInvocation { delay: 10 * SECOND, ..in_lane(1) });
    let now = create_in(bench, 1);
    let claimed = claim(bench);
    assert_eq!(ids_of(&claimed), [now], "a delayed one takes no place");
    bench.clock.advance(10 * SECOND - Duration::from_micros(1));
    bench.heartbeat(claimed[0].runner);
    bench.clock.advance(Duration::from_micros(1));
    assert!(claim(bench).is_empty());
    assert!(bench.get(later).blocked);
    bench.succeed(&claimed[0]);
    assert_eq!(ids_of(&claim(bench)), [later]);
}

pub fn an_invocation_is_skipped_if_its_lane_is_full_and_the_rule_says_so(bench: &Bench) {
    set(bench, at_once(1, Blocked::Skip));
    let all = create_many(bench, 1, 4);
    let other = create_in(bench, 2);
    let receipt = bench.claim(request(RunnerId::generate(), 1));
    assert_eq!(ids(&receipt), [all[0]]);
    let skipped: Vec<_> = receipt.ended.iter().map(|ended| ended.id).collect();
    assert_eq!(skipped, all[1..], "as soon as one is owned, the others are not wanted");
    assert!(receipt.ended.iter().all(|ended| kind(&ended.outcome) == Some(FailureKind::Skipped)));
    assert_eq!(bench.status(all[3]), Status::Skipped);
    assert_eq!(bench.status(other), Status::Queued);
    // And whoever comes while it runs.
    let late = in_lane(1);
    let receipt = bench.commit(Batch { submits: vec![late.clone()], ..Batch::default() });
    assert_eq!(receipt.submits, [Submitted::Created(late.id)]);
    assert_eq!(receipt.ended.len(), 1);
    assert_eq!(bench.status(late.id), Status::Skipped);
    assert_eq!(ids_of(&claim(bench)), [other]);
}

pub fn an_invocation_that_has_run_before_is_not_skipped(bench: &Bench) {
    set(bench, at_once(1, Blocked::Skip));
    let retried = create_in(bench, 1);
    let runner = RunnerId::generate();
    let first = bench.claim_one(runner);
    bench.end(&first, EndKind::Retry(failure("later"), 5 * SECOND));
    let second = create_in(bench, 1);
    let other = bench.claim_one(runner);
    assert_eq!(other.id, second);
    bench.clock.advance(5 * SECOND);
    assert!(claim(bench).is_empty());
    assert!(bench.get(retried).blocked);
    bench.succeed(&other);
    assert_eq!(ids_of(&claim(bench)), [retried]);
}

pub fn a_rate_holds_in_every_window(bench: &Bench) {
    set(bench, per_time(2, 10 * SECOND));
    let all = create_many(bench, 1, 5);
    let receipt = bench.claim(request(RunnerId::generate(), 10));
    assert_eq!(ids(&receipt), all[..2]);
    let opens = bench.clock.now().plus(10 * SECOND);
    assert_eq!(receipt.next_due, Some(opens), "the runner knows when to come back");
    for claimed in &receipt.claimed {
        bench.succeed(claimed);
    }
    bench.clock.advance(10 * SECOND - Duration::from_micros(1));
    assert!(claim(bench).is_empty(), "an end gives nothing back");
    bench.clock.advance(Duration::from_micros(1));
    let next = bench.claim(request(RunnerId::generate(), 1));
    assert_eq!(ids(&next), [all[2]]);
    bench.clock.advance(4 * SECOND);
    let next = bench.claim(request(RunnerId::generate(), 10));
    assert_eq!(ids(&next), [all[3]]);
    // The window slides: the first of the two starts leaves it, not both.
    bench.clock.advance(6 * SECOND);
    let next = bench.claim(request(RunnerId::generate(), 10));
    assert_eq!(ids(&next), [all[4]]);
}

pub fn the_start_of_a_claim_that_never_ran_does_not_count(bench: &Bench) {
    set(bench, per_time(1, 10 * SECOND));
    let all = create_many(bench, 1, 2);
    let runner = RunnerId::generate();
    let first = bench.claim_one(runner);
    let mut report = bench.observed(&first, &[]);
    report.end = bench.ended(&first, EndKind::Release).end;
    assert_eq!(bench.report(report).0, Applied::Done);
    let again = bench.claim_one(runner);
    assert_eq!(again.id, all[0]);
    // One that did start has used it.
    let receipt = bench.end(&again, EndKind::Release);
    assert!(receipt.unblocked.is_empty());
    assert!(claim(bench).is_empty());
    bench.clock.advance(10 * SECOND);
    assert_eq!(ids_of(&claim(bench)), [all[0]]);
}

pub fn concurrency_and_rate_hold_together(bench: &Bench) {
    let rule = TaskRule { rate: per_time(2, 10 * SECOND).rate, ..at_once(1, Blocked::Wait) };
    set(bench, rule);
    let all = create_many(bench, 1, 3);
    let first = claim(bench);
    assert_eq!(ids_of(&first), [all[0]]);
    bench.succeed(&first[0]);
    let second = claim(bench);
    assert_eq!(ids_of(&second), [all[1]]);
    bench.succeed(&second[0]);
    assert!(claim(bench).is_empty(), "the rate is used up");
    bench.clock.advance(10 * SECOND);
    assert_eq!(ids_of(&claim(bench)), [all[2]]);
}

pub fn a_changed_limit_holds_from_the_next_claim_on(bench: &Bench) {
    set(bench, at_once(1, Blocked::Wait));
    let all = create_many(bench, 1, 6);
    assert_eq!(ids_of(&claim(bench)), all[..1]);
    set(bench, at_once(3, Blocked::Wait));
    let more = claim(bench);
    assert_eq!(ids_of(&more), all[1..3]);
    set(bench, at_once(1, Blocked::Wait));
    bench.succeed(&more[0]);
    assert!(claim(bench).is_empty(), "two are owned still, and one may be");
    set(bench, plain("work"));
    assert_eq!(ids_of(&claim(bench)), all[3..]);
}

pub fn a_lowered_limit_blocks_ready_invocations_again(bench: &Bench) {
    set(bench, at_once(3, Blocked::Wait));
    let all = create_many(bench, 1, 3);
    set(bench, at_once(1, Blocked::Wait));
    assert_eq!(ids_of(&claim(bench)), all[..1]);
    assert!(bench.get(all[1]).blocked && bench.get(all[2]).blocked);
}

pub fn rules_of_a_submit_hold_only_if_the_store_has_none(bench: &Bench) {
    let by_submit = |rule| bench.commit(Batch { default_rules: vec![rule], ..Batch::default() });
    by_submit(at_once(2, Blocked::Wait));
    assert_eq!(bench.store.rules().unwrap(), [at_once(2, Blocked::Wait)]);
    set(bench, at_once(1, Blocked::Skip));
    by_submit(plain("work"));
    assert_eq!(bench.store.rules().unwrap(), [at_once(1, Blocked::Skip)]);
}

pub fn awaited_invocations_obey_the_rules_of_their_lane(bench: &Bench) {
    set(bench, at_once(1, Blocked::Wait));
    let all = create_many(bench, 1, 2);
    let mut asked = request(RunnerId::generate(), 10);
    asked.awaited = vec![all[1], all[0]];
    asked.only_awaited = true;
    let receipt = bench.claim(asked);
    assert_eq!(ids(&receipt), [all[0]]);
    assert_eq!(receipt.unclaimable, [all[1]]);
    let receipt = bench.succeed(&receipt.claimed[0]);
    assert_eq!(receipt.unblocked, [all[1]], "whoever awaits it learns that it can be claimed");
}

pub fn a_child_behind_its_own_ancestor_is_refused(bench: &Bench) {
    set(bench, at_once(1, Blocked::Wait));
    let root = create_in(bench, 1);
    let parent = bench.claim_one(RunnerId::generate());
    assert_eq!(parent.id, root);
    let child = NewInvocation { task: "work".into(), lane: Some(key(1)), ..child_of(&parent, 0) };
    assert_eq!(bench.submit_one(child.clone()), Submitted::BehindAncestor(root));
    let elsewhere = NewInvocation { lane: Some(key(2)), ..child.clone() };
    assert_eq!(bench.submit_one(elsewhere.clone()), Submitted::Created(elsewhere.id));
    let alone = NewInvocation { task: "work".into(), lane: Some(key(1)), ..child_of(&parent, 1) };
    let alone = detached(alone);
    assert_eq!(bench.submit_one(alone.clone()), Submitted::Created(alone.id), "nobody waits for it");
}

fn alike(unique: u8, differing: Differing, arguments: &str) -> NewInvocation {
    NewInvocation { unique: Some((key(unique), differing)), arguments: arguments.into(), ..new("work") }
}

pub fn a_submit_that_repeats_an_unfinished_invocation_gets_its_id(bench: &Bench) {
    let first = bench.create(alike(1, Differing::Existing, "[1]"));
    let same = |arguments| bench.submit_one(alike(1, Differing::Existing, arguments));
    assert_eq!(same("[1]"), Submitted::Existing(first));
    assert_eq!(same("[2]"), Submitted::Existing(first));
    bench.create(alike(2, Differing::Existing, "[1]"));
    bench.create(NewInvocation { task: "other".into(), ..alike(1, Differing::Existing, "[1]") });
    let claimed = bench.claim_one(RunnerId::generate());
    assert_eq!(claimed.id, first);
    assert_eq!(same("[1]"), Submitted::Existing(first), "also while it runs");
    bench.end(&claimed, EndKind::Retry(failure("later"), SECOND));
    assert_eq!(same("[1]"), Submitted::Existing(first), "and until its last attempt");
    bench.cancel(first);
    let second = alike(1, Differing::Existing, "[1]");
    assert_eq!(bench.submit_one(second.clone()), Submitted::Created(second.id));
    // A batch meets its own submits.
    let (a, b) = (alike(7, Differing::Existing, "[1]"), alike(7, Differing::Existing, "[1]"));
    let receipt = bench.commit(Batch { submits: vec![a.clone(), b], ..Batch::default() });
    assert_eq!(receipt.submits, [Submitted::Created(a.id), Submitted::Existing(a.id)]);
}

pub fn other_arguments_are_refused_if_the_rule_says_so(bench: &Bench) {
    let first = bench.create(alike(1, Differing::Refuse, "[1]"));
    assert_eq!(bench.submit_one(alike(1, Differing::Refuse, "[1]")), Submitted::Existing(first));
    let other = alike(1, Differing::Refuse, "[2]");
    assert_eq!(bench.submit_one(other.clone()), Submitted::UniqueConflict(first));
    assert!(bench.store.get(&[other.id]).unwrap()[0].is_none());
    // The same submit again is the same, whatever the rule says.
    let again = NewInvocation { id: first, ..alike(1, Differing::Refuse, "[1]") };
    assert_eq!(bench.submit_one(again), Submitted::Existing(first));
}

fn pause(target: PauseTarget, paused: bool) -> Batch {
    Batch { pauses: vec![Pause { target, paused }], ..Batch::default() }
}

pub fn paused_queues_and_tasks_are_not_claimed(bench: &Bench) {
    set(bench, TaskRule { queue: "bulk".into(), ..plain("other") });
    let work = bench.create(new("work"));
    let other = bench.create(new("other"));
    let bulk = PauseTarget::Queue("bulk".into());
    bench.commit(pause(bulk.clone(), true));
    bench.commit(pause(bulk.clone(), true));
    assert_eq!(bench.store.paused().unwrap(), std::slice::from_ref(&bulk));
    let mut asked = request(RunnerId::generate(), 10);
    asked.awaited = vec![other];
    let receipt = bench.claim(asked);
    assert_eq!((ids(&receipt), receipt.unclaimable.clone()), (vec![work], vec![other]));
    bench.commit(pause(bulk, false));
    let task = PauseTarget::Task("other".into());
    bench.commit(pause(task.clone(), true));
    assert!(bench.drain().is_empty());
    assert!(bench.store.paused_tasks().unwrap().contains("other"));
    // What is owned goes on, and the root of a claim changes nothing.
    bench.succeed(&receipt.claimed[0]);
    let mut asked = request(RunnerId::generate(), 10);
    asked.root = Some(other);
    assert!(bench.claim(asked).claimed.is_empty());
    bench.commit(pause(task, false));
    assert_eq!(bench.drain(), [other]);
    assert!(bench.store.paused().unwrap().is_empty());
}

pub fn the_default_queue_can_be_paused_before_any_task_is_configured(bench: &Bench) {
    let work = bench.create(new("work"));
    bench.commit(pause(PauseTarget::Queue("default".into()), true));
    assert!(bench.drain().is_empty());
    bench.commit(pause(PauseTarget::Queue("default".into()), false));
    assert_eq!(bench.drain(), [work]);
}

pub fn a_new_rule_changes_nothing_before_the_next_claim(bench: &Bench) {
    let other = |lane| NewInvocation { lane: Some(key(lane)), ..new("other") };
    let first = bench.create(other(1));
    bench.clock.advance(6 * SECOND);
    let second = bench.create(other(1));
    bench.clock.advance(4 * SECOND);
    let rule = TaskRule { task: "other".into(), ..at_once(1, Blocked::Wait) };
    bench.commit(Batch { rules: vec![rule], recover: true, ..Batch::default() });
    assert!(!bench.get(first).blocked && !bench.get(second).blocked);
    assert_eq!(ids_of(&claim(bench)), [first]);
    assert!(bench.get(second).blocked);
}
