//! The promises, one function each.

use std::sync::Arc;
use std::time::Duration;

use run_wasm_runner::model::{
    Clock, ComponentDigest, Event, FailureKind, InvocationId, Progress, Reason, RunnerId, Status,
};
use run_wasm_runner::store::{
    Applied, Batch, Cancel, Cancelled, ClaimRequest, EndKind, Filter, Heartbeat, Inventory, Lease, LookUp,
    NewInvocation, Report, Submitted,
};

use super::harness::*;

const SECOND: Duration = Duration::from_secs(1);

pub fn a_submitted_invocation_is_queued_as_it_was_submitted(bench: &Bench) {
    let new = NewInvocation {
        priority: 7,
        delay: SECOND,
        key: Some("key".into()),
        labels: vec![("customer".to_owned(), "acme".to_owned())],
        ..new("work")
    };
    let id = bench.create(new.clone());
    let now = bench.clock.now();
    let invocation = bench.get(id);
    assert_eq!(&*invocation.task, "work");
    assert_eq!(invocation.component_digest, new.component_digest);
    assert_eq!(invocation.status, Status::Queued);
    assert_eq!((invocation.attempt, invocation.max_attempts), (0, 3));
    assert_eq!((invocation.parent, invocation.root, invocation.depth), (None, id, 0));
    assert!(!invocation.detached);
    assert_eq!(invocation.priority, 7);
    assert_eq!(invocation.key.as_deref(), Some("key"));
    assert_eq!(invocation.labels, new.labels);
    assert_eq!(invocation.runner, None);
    assert_eq!(invocation.submitted_at, now);
    assert_eq!(invocation.available_at, now.plus(SECOND));
    assert_eq!((invocation.started_at, invocation.finished_at), (None, None));
    assert_eq!(bench.store.arguments(id).unwrap().as_deref(), Some("[1]"));
}

pub fn claim_hands_each_invocation_to_one_runner(bench: &Bench) {
    let submitted: Vec<_> = (0..10).map(|_| bench.create(new("work"))).collect();
    let mut claimed = Vec::new();
    for _ in 0..4 {
        claimed.extend(ids(&bench.claim(request(RunnerId::generate(), 3))));
    }
    assert_eq!(claimed, submitted);
    assert!(bench.drain().is_empty());
}

pub fn a_claim_carries_what_its_runner_needs(bench: &Bench) {
    let root = bench.create(NewInvocation { labels: vec![("a".to_owned(), "b".to_owned())], ..new("work") });
    let runner = RunnerId::generate();
    let parent = bench.claim_one(runner);
    assert_eq!(parent.id, root);
    assert_eq!(parent.runner, runner);
    assert_eq!((parent.attempt, parent.max_attempts), (1, 3));
    assert_eq!((&*parent.task, &*parent.arguments), ("work", "[1]"));
    assert_eq!(parent.component_digest, ComponentDigest::from_bytes([1; 32]));
    assert_eq!((parent.parent, parent.root, parent.depth), (None, root, 0));
    assert_eq!(parent.labels, [("a".to_owned(), "b".to_owned())]);

    bench.create(child_of(&parent, 0));
    let child = bench.claim_one(runner);
    assert_eq!((child.parent, child.root, child.depth), (Some(root), root, 1));
    let invocation = bench.get(child.id);
    assert_eq!(invocation.runner, Some(runner));
    assert_eq!((invocation.parent, invocation.root, invocation.depth), (Some(root), root, 1));
}

pub fn stale_report_changes_nothing(bench: &Bench) {
    let id = bench.create(new("work"));
    let first = bench.claim_one(RunnerId::generate());
    bench.let_leases_run_out();
    bench.recover();
    let second = bench.claim_one(RunnerId::generate());
    let before = bench.history(id);
    let stale =
        Report { logs: vec![bench.line("too late")], ..bench.ended(&first, EndKind::Final(value("1"))) };
    assert_eq!(bench.report(stale).0, Applied::Stale);
    let mut wrong_attempt = bench.ended(&second, EndKind::Final(value("1")));
    wrong_attempt.attempt += 1;
    assert_eq!(bench.report(wrong_attempt).0, Applied::Stale);
    let mut wrong_runner = bench.ended(&second, EndKind::Final(value("1")));
    wrong_runner.runner = RunnerId::generate();
    assert_eq!(bench.report(wrong_runner).0, Applied::Stale);
    assert_eq!(bench.history(id), before);
    assert!(bench.store.logs(id).unwrap().is_empty());
    assert_eq!(bench.status(id), Status::Claimed);
    bench.succeed(&second);
}

pub fn a_report_of_the_impossible_changes_nothing(bench: &Bench) {
    let id = bench.create(new("work"));
    let claim = bench.claim_one(RunnerId::generate());
    let before = bench.history(id);
    for events in [
        &[Event::Resume][..],
        &[Event::Await],
        &[Event::Start, Event::Start],
        &[Event::Start, Event::Succeed],
        &[Event::Cancel],
    ] {
        let report = bench.observed(&claim, events);
        assert_eq!(bench.report(report).0, Applied::Stale, "{events:?}");
    }
    // A value without a start.
    let report = Report { observed: Vec::new(), ..bench.ended(&claim, EndKind::Final(value("1"))) };
    assert_eq!(bench.report(report).0, Applied::Stale);
    assert_eq!(bench.history(id), before);
    assert_eq!(bench.status(id), Status::Claimed);
}

pub fn a_report_is_applied_as_a_whole(bench: &Bench) {
    let id = bench.create(new("work"));
    let claim = bench.claim_one(RunnerId::generate());
    let events = [Event::Start, Event::Await, Event::Resume];
    let report = Report {
        observed: bench.observed(&claim, &events).observed,
        ..bench.ended(&claim, EndKind::Final(value("[]")))
    };
    assert_eq!(bench.report(report).0, Applied::Done);
    assert_eq!(
        bench.reasons(id),
        [
            Reason::Submitted,
            Reason::Claimed,
            Reason::Started,
            Reason::Awaiting,
            Reason::Resumed,
            Reason::Succeeded
        ]
    );
    let invocation = bench.get(id);
    assert_eq!(invocation.status, Status::Succeeded);
    assert_eq!(invocation.started_at, Some(bench.clock.now()));
    assert_eq!(invocation.finished_at, Some(bench.clock.now()));
    assert_eq!(text(&invocation.outcome.unwrap()), "value []");
}

pub fn final_invocation_never_changes(bench: &Bench) {
    let runner = RunnerId::generate();
    for how in [EndKind::Final(value("1")), EndKind::Final(failure("it broke"))] {
        let id = bench.create(new("work"));
        let claim = bench.claim_one(runner);
        bench.end(&claim, how.clone());
        let before = (bench.history(id), text(&bench.get(id).outcome.unwrap()));
        let (applied, _) = bench.report(bench.ended(&claim, EndKind::Final(value("2"))));
        assert_eq!(applied, Applied::Stale);
        let (applied, _) = bench.report(bench.ended(&claim, EndKind::Release));
        assert_eq!(applied, Applied::Stale);
        let (cancelled, receipt) = bench.cancel(id);
        assert_eq!(cancelled, Cancelled::AlreadyFinal(bench.status(id)));
        assert!(receipt.ended.is_empty());
        bench.let_leases_run_out();
        assert_eq!(bench.recover().recovered, 0);
        assert!(bench.drain().is_empty());
        let after = (bench.history(id), text(&bench.get(id).outcome.unwrap()));
        assert_eq!(before, after);
    }
}

pub fn expired_lease_is_requeued(bench: &Bench) {
    let (claimed, running, waiting) =
        (bench.create(new("work")), bench.create(new("work")), bench.create(new("work")));
    let runner = RunnerId::generate();
    let claims = bench.claim(request(runner, 3)).claimed;
    bench.start(&claims[1]);
    bench.report(bench.observed(&claims[2], &[Event::Start, Event::Await]));

    bench.clock.advance(LEASE - Duration::from_micros(1));
    assert_eq!(bench.recover().recovered, 0);
    bench.clock.advance(Duration::from_micros(1));
    let receipt = bench.recover();
    assert_eq!(receipt.recovered, 3);
    assert!(receipt.ended.is_empty());
    for id in [claimed, running, waiting] {
        assert_eq!(bench.status(id), Status::Queued);
        let history = bench.history(id);
        let last = history.last().unwrap();
        assert_eq!(last.reason, Reason::LeaseExpired);
        assert_eq!((last.runner, last.attempt), (Some(runner), 1));
    }
    let again = bench.claim(request(RunnerId::generate(), 10)).claimed;
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|claim| claim.attempt == 2));
}

pub fn a_heartbeat_keeps_the_lease(bench: &Bench) {
    let id = bench.create(new("work"));
    let runner = RunnerId::generate();
    bench.claim_one(runner);
    for _ in 0..5 {
        bench.clock.advance(LEASE / 2);
        assert_eq!(bench.heartbeat(runner).lease, Some(Lease::Held));
        assert_eq!(bench.recover().recovered, 0);
    }
    // One that comes late, but before anybody took notice.
    bench.clock.advance(LEASE * 2);
    let receipt = bench.commit(Batch {
        heartbeat: Some(Heartbeat { runner, lease: LEASE }),
        recover: true,
        ..Batch::default()
    });
    assert_eq!((receipt.lease, receipt.recovered), (Some(Lease::Held), 0));
    assert_eq!(bench.status(id), Status::Claimed);
    // A heartbeat never shortens a lease.
    bench.commit(Batch { heartbeat: Some(Heartbeat { runner, lease: Duration::ZERO }), ..Batch::default() });
    assert_eq!(bench.recover().recovered, 0);
}

pub fn a_runner_that_lost_its_lease_is_told_and_gets_nothing(bench: &Bench) {
    bench.create(new("work"));
    let (lost, other) = (RunnerId::generate(), RunnerId::generate());
    assert_eq!(bench.heartbeat(lost).lease, Some(Lease::Held));
    bench.claim_one(lost);
    bench.let_leases_run_out();
    bench.recover();
    for _ in 0..2 {
        assert_eq!(bench.heartbeat(lost).lease, Some(Lease::Lost));
        let receipt = bench.claim(request(lost, 10));
        assert_eq!(receipt.lease, Some(Lease::Lost));
        assert!(receipt.claimed.is_empty());
        bench.recover();
    }
    assert_eq!(bench.claim_one(other).attempt, 2);
    assert_eq!(bench.heartbeat(other).lease, Some(Lease::Held));
    // It is told for a day, however many others come and go.
    bench.clock.advance(Duration::from_secs(23 * 60 * 60));
    bench.recover();
    assert_eq!(bench.heartbeat(lost).lease, Some(Lease::Lost));
}

pub fn attempts_used_up_by_dead_runners_end_lost(bench: &Bench) {
    let id = bench.create(NewInvocation { max_attempts: 2, ..new("work") });
    let runners = [RunnerId::generate(), RunnerId::generate()];
    bench.claim_one(runners[0]);
    bench.let_leases_run_out();
    assert!(bench.recover().ended.is_empty());
    bench.claim_one(runners[1]);
    bench.let_leases_run_out();
    let receipt = bench.recover();
    assert_eq!(receipt.recovered, 1);
    assert_eq!(receipt.ended.len(), 1);
    assert_eq!(receipt.ended[0].id, id);
    assert_eq!(receipt.ended[0].runner, Some(runners[1]));
    assert_eq!(kind(&receipt.ended[0].outcome), Some(FailureKind::Lost));

    let invocation = bench.get(id);
    assert_eq!(invocation.status, Status::Failed);
    assert_eq!(invocation.finished_at, Some(bench.clock.now()));
    let message = text(&invocation.outcome.unwrap());
    assert!(message.contains(&runners[1].to_string()), "{message}");
    assert!(message.contains("attempt 2 of 2"), "{message}");
    assert_eq!(bench.reasons(id).last(), Some(&Reason::Failed));
}

pub fn a_runner_without_claims_loses_nothing(bench: &Bench) {
    let runner = RunnerId::generate();
    bench.heartbeat(runner);
    bench.create(new("work"));
    bench.succeed(&bench.claim_one(runner));
    bench.clock.advance(LEASE * 100);
    assert_eq!(bench.recover().recovered, 0);
    assert_eq!(bench.heartbeat(runner).lease, Some(Lease::Held));
    bench.create(new("work"));
    bench.claim_one(runner);
}

pub fn released_invocation_keeps_its_place_and_attempt(bench: &Bench) {
    let first = bench.create(new("work"));
    bench.clock.advance(SECOND);
    let second = bench.create(new("work"));
    let available_at = bench.get(first).available_at;
    let claim = bench.claim_one(RunnerId::generate());
    bench.start(&claim);
    bench.clock.advance(SECOND);
    let mut report = bench.ended(&claim, EndKind::Release);
    report.observed.clear();
    assert_eq!(bench.report(report).0, Applied::Done);

    let invocation = bench.get(first);
    assert_eq!(invocation.status, Status::Queued);
    assert_eq!(invocation.attempt, 0);
    assert_eq!(invocation.available_at, available_at);
    assert_eq!(bench.history(first).last().unwrap().attempt, 1);
    let again = bench.claim(request(RunnerId::generate(), 10)).claimed;
    assert_eq!(again.iter().map(|claim| claim.id).collect::<Vec<_>>(), [first, second]);
    assert_eq!(again[0].attempt, 1);
}

pub fn retried_invocation_waits_for_its_delay(bench: &Bench) {
    let id = bench.create(new("work"));
    let claim = bench.claim_one(RunnerId::generate());
    let receipt = bench.end(&claim, EndKind::Retry(failure("not today"), SECOND));
    assert!(receipt.ended.is_empty());
    let invocation = bench.get(id);
    assert_eq!(invocation.status, Status::Queued);
    assert_eq!(invocation.attempt, 1);
    assert_eq!(invocation.available_at, bench.clock.now().plus(SECOND));
    assert!(invocation.outcome.is_none());
    let history = bench.history(id);
    let last = history.last().unwrap();
    assert_eq!(last.reason, Reason::Retry);
    assert_eq!(last.detail.as_deref(), Some("not today"));

    assert!(bench.drain().is_empty());
    bench.clock.advance(SECOND);
    assert_eq!(bench.claim_one(RunnerId::generate()).attempt, 2);
}

pub fn claims_come_by_priority_then_age(bench: &Bench) {
    let submit = |priority| {
        let id = bench.create(NewInvocation { priority, ..new("work") });
        bench.clock.advance(SECOND);
        id
    };
    let low = submit(-1);
    let normal = submit(0);
    let high = submit(5);
    let normal_later = submit(0);
    let high_later = submit(5);
    assert_eq!(bench.drain(), [high, high_later, normal, normal_later, low]);
}

pub fn low_priority_does_not_starve(bench: &Bench) {
    let low = bench.create(new("work"));
    // A step of priority is worth a minute of age, no more.
    bench.clock.advance(Duration::from_secs(59));
    let sooner = bench.create(NewInvocation { priority: 1, ..new("work") });
    bench.clock.advance(Duration::from_secs(2));
    let later = bench.create(NewInvocation { priority: 1, ..new("work") });
    assert_eq!(bench.drain(), [sooner, low, later]);
}

pub fn tasks_share_one_order(bench: &Bench) {
    let submitted: Vec<_> = ["work", "child", "other", "work", "other", "child", "child"]
        .into_iter()
        .map(|task| {
            bench.clock.advance(SECOND);
            bench.create(new(task))
        })
        .collect();
    let first = bench.claim(request(RunnerId::generate(), 4));
    assert_eq!(ids(&first), submitted[..4]);
    assert!(first.more);
    assert_eq!(bench.drain(), submitted[4..]);
}

pub fn awaited_come_first_in_the_order_asked(bench: &Bench) {
    let submitted: Vec<_> = (0..6).map(|_| bench.create(new("work"))).collect();
    let receipt = bench.claim(ClaimRequest {
        // Twice the same changes nothing.
        awaited: vec![submitted[4], submitted[2], submitted[4]],
        ..request(RunnerId::generate(), 4)
    });
    assert_eq!(ids(&receipt), [submitted[4], submitted[2], submitted[0], submitted[1]]);
    assert!(receipt.unclaimable.is_empty());
    assert!(receipt.more);
}

pub fn unclaimable_awaited_are_named(bench: &Bench) {
    let runner = RunnerId::generate();
    let owned = bench.create(new("work"));
    bench.claim_one(runner);
    let done = bench.create(new("work"));
    bench.succeed(&bench.claim_one(runner));
    let foreign = bench.create(new("foreign"));
    let delayed = bench.create(NewInvocation { delay: SECOND, ..new("work") });
    let unknown = InvocationId::generate();
    let good = bench.create(new("work"));
    let receipt = bench.claim(ClaimRequest {
        awaited: vec![owned, done, foreign, delayed, unknown, good],
        ..request(runner, 10)
    });
    assert_eq!(receipt.unclaimable, [owned, done, foreign, delayed, unknown]);
    assert_eq!(ids(&receipt), [good]);
    bench.clock.advance(SECOND);
    let receipt = bench.claim(ClaimRequest { awaited: vec![delayed], ..request(runner, 10) });
    assert_eq!(ids(&receipt), [delayed]);
}

pub fn only_awaited_claims_nothing_else(bench: &Bench) {
    let submitted: Vec<_> = (0..4).map(|_| bench.create(new("work"))).collect();
    let only = |awaited: &[InvocationId], max| {
        bench.claim(ClaimRequest {
            awaited: awaited.to_vec(),
            only_awaited: true,
            ..request(RunnerId::generate(), max)
        })
    };
    let none = only(&[], 10);
    assert!(none.claimed.is_empty() && !none.more);
    let one = only(&[submitted[3], submitted[2]], 1);
    assert_eq!(ids(&one), [submitted[3]]);
    assert!(one.more && one.unclaimable.is_empty());
    let rest = only(&[submitted[2]], 10);
    assert_eq!(ids(&rest), [submitted[2]]);
    assert!(!rest.more);
}

pub fn delayed_are_not_claimed_before_their_time(bench: &Bench) {
    let late = bench.create(NewInvocation { delay: SECOND * 2, priority: 1000, ..new("work") });
    let soon = bench.create(NewInvocation { delay: SECOND, ..new("work") });
    assert!(bench.drain().is_empty());
    bench.clock.advance(SECOND - Duration::from_micros(1));
    assert!(bench.drain().is_empty());
    bench.clock.advance(Duration::from_micros(1));
    assert_eq!(bench.drain(), [soon]);
    bench.clock.advance(SECOND);
    assert_eq!(bench.drain(), [late]);
}

pub fn next_due_is_the_earliest_change_by_itself(bench: &Bench) {
    let (mine, other) = (RunnerId::generate(), RunnerId::generate());
    assert_eq!(bench.claim(request(mine, 1)).next_due, None);
    bench.create(new("work"));
    let claim = bench.claim_one(other);
    let lease_end = bench.clock.now().plus(LEASE);
    assert_eq!(bench.claim(request(mine, 1)).next_due, Some(lease_end));
    // Nobody waits for the end of their own lease.
    assert_eq!(bench.claim(request(other, 1)).next_due, None);
    bench.create(NewInvocation { delay: SECOND, ..new("foreign") });
    let due = bench.clock.now().plus(SECOND);
    assert_eq!(bench.claim(request(mine, 1)).next_due, Some(due));
    bench.clock.advance(SECOND);
    assert_eq!(bench.claim(request(mine, 1)).next_due, Some(lease_end));
    bench.succeed(&claim);
    assert_eq!(bench.claim(request(mine, 1)).next_due, None);
    // Only a claim is answered.
    assert_eq!(bench.heartbeat(mine).next_due, None);
}

pub fn only_the_tree_asked_for_is_claimed(bench: &Bench) {
    let other_tree = bench.create(new("work"));
    let root = bench.create(new("work"));
    let in_tree = |max| ClaimRequest { root: Some(root), ..request(RunnerId::generate(), max) };
    let first = bench.claim(in_tree(10));
    assert_eq!(ids(&first), [root]);
    let children: Vec<_> = (0..4).map(|index| bench.create(child_of(&first.claimed[0], index))).collect();
    let awaited = bench.claim(ClaimRequest { awaited: vec![other_tree, children[2]], ..in_tree(1) });
    assert_eq!(awaited.unclaimable, [other_tree]);
    assert_eq!(ids(&awaited), [children[2]]);
    assert!(awaited.more);
    // The root goes back to its old place, ahead of its children.
    bench.end(&first.claimed[0], EndKind::Release);
    let two = bench.claim(in_tree(2));
    assert_eq!(ids(&two), [root, children[0]]);
    assert!(two.more);
    let rest = bench.claim(in_tree(10));
    assert_eq!(ids(&rest), [children[1], children[3]]);
    assert!(!rest.more);
    assert_eq!(bench.drain(), [other_tree]);
}

pub fn only_tasks_asked_for_are_claimed(bench: &Bench) {
    let work = bench.create(new("work"));
    let foreign: Vec<_> = (0..3).map(|_| bench.create(new("foreign"))).collect();
    let later = bench.create(new("work"));
    let receipt = bench.claim(request(RunnerId::generate(), 10));
    assert_eq!(ids(&receipt), [work, later]);
    assert!(!receipt.more);
    let receipt =
        bench.claim(ClaimRequest { tasks: tasks(&["foreign"]), ..request(RunnerId::generate(), 2) });
    assert_eq!(ids(&receipt), foreign[..2]);
    assert!(receipt.more);
    let receipt = bench.claim(ClaimRequest { tasks: tasks(&[]), ..request(RunnerId::generate(), 2) });
    assert!(receipt.claimed.is_empty() && !receipt.more);
}

pub fn more_tells_of_work_left_over(bench: &Bench) {
    for _ in 0..3 {
        bench.create(new("work"));
    }
    bench.create(NewInvocation { delay: SECOND, ..new("work") });
    assert!(bench.claim(request(RunnerId::generate(), 2)).more);
    assert!(bench.claim(request(RunnerId::generate(), 0)).more);
    assert!(!bench.claim(request(RunnerId::generate(), 1)).more);
    assert!(!bench.claim(request(RunnerId::generate(), 1)).more);
}

pub fn the_same_id_is_submitted_once(bench: &Bench) {
    let once = new("work");
    let id = bench.create(once.clone());
    assert_eq!(bench.submit_one(once.clone()), Submitted::Existing(id));
    let claim = bench.claim_one(RunnerId::generate());
    bench.succeed(&claim);
    assert_eq!(bench.submit_one(once), Submitted::Existing(id));
    assert_eq!(bench.status(id), Status::Succeeded);
    assert_eq!(bench.reasons(id).len(), 4);
    let twice = new("work");
    let receipt = bench.commit(Batch { submits: vec![twice.clone(), twice.clone()], ..Batch::default() });
    assert_eq!(receipt.submits, [Submitted::Created(twice.id), Submitted::Existing(twice.id)]);
}

fn keyed(task: &str, arguments: &str) -> NewInvocation {
    NewInvocation { key: Some("order-17".into()), arguments: arguments.into(), ..new(task) }
}

pub fn the_same_key_returns_the_first_id(bench: &Bench) {
    let first = bench.create(keyed("work", "[1]"));
    assert_eq!(bench.submit_one(keyed("work", "[1]")), Submitted::Existing(first));
    bench.succeed(&bench.claim_one(RunnerId::generate()));
    assert_eq!(bench.submit_one(keyed("work", "[1]")), Submitted::Existing(first));
    // A key is unique among the invocations of one task.
    bench.create(keyed("other", "[1]"));
}

pub fn the_same_key_with_other_arguments_is_a_conflict(bench: &Bench) {
    let new = keyed("work", "[1]");
    let first = bench.create(new.clone());
    assert_eq!(bench.submit_one(keyed("work", "[2]")), Submitted::KeyConflict(first));
    assert_eq!(bench.store.list(&everything()).unwrap().len(), 1);
    assert_eq!(bench.submit_one(new), Submitted::Existing(first));
}

pub fn a_resubmitted_child_gets_the_first_childs_id(bench: &Bench) {
    let parent_id = bench.create(new("work"));
    let first_attempt = bench.claim_one(RunnerId::generate());
    let children: Vec<_> = (0..3).map(|index| bench.create(child_of(&first_attempt, index))).collect();
    bench.succeed(&bench.claim_one(RunnerId::generate()));
    bench.let_leases_run_out();
    bench.recover();
    let receipt = bench.claim(ClaimRequest { awaited: vec![parent_id], ..request(RunnerId::generate(), 1) });
    let second_attempt = &receipt.claimed[0];
    assert_eq!(second_attempt.attempt, 2);

    for (index, first) in (0..).zip(&children) {
        assert_eq!(bench.submit_one(child_of(second_attempt, index)), Submitted::Existing(*first));
    }
    // The same place, but another task or other arguments: another child.
    let other_arguments =
        bench.create(NewInvocation { arguments: "[2]".into(), ..child_of(second_attempt, 1) });
    bench.create(NewInvocation { task: "other".into(), ..child_of(second_attempt, 1) });
    bench.create(child_of(second_attempt, 3));
    assert_eq!(
        bench.submit_one(NewInvocation { arguments: "[2]".into(), ..child_of(second_attempt, 1) }),
        Submitted::Existing(other_arguments)
    );
    assert_eq!(bench.status(children[0]), Status::Succeeded);
}

pub fn a_child_of_a_lost_attempt_is_an_orphan(bench: &Bench) {
    let before = bench.create(new("work"));
    let unclaimed = bench.claim_one(RunnerId::generate());
    bench.end(&unclaimed, EndKind::Release);
    assert_eq!(bench.submit_one(child_of(&unclaimed, 0)), Submitted::Orphan, "queued");
    let parent = bench.claim_one(RunnerId::generate());
    assert_eq!(parent.id, before);
    let child = child_of(&parent, 0);
    bench.create(child.clone());
    let keyed = NewInvocation { key: Some("k".into()), ..child_of(&parent, 1) };
    bench.create(keyed.clone());

    let mut other_runner = child_of(&parent, 2);
    other_runner.child_of.as_mut().unwrap().parent_runner = RunnerId::generate();
    assert_eq!(bench.submit_one(other_runner), Submitted::Orphan);
    let mut other_attempt = child_of(&parent, 2);
    other_attempt.child_of.as_mut().unwrap().parent_attempt = 2;
    assert_eq!(bench.submit_one(other_attempt), Submitted::Orphan);
    let mut no_parent = child_of(&parent, 2);
    no_parent.child_of.as_mut().unwrap().parent = InvocationId::generate();
    assert_eq!(bench.submit_one(no_parent), Submitted::Orphan);

    bench.succeed(&parent);
    assert_eq!(bench.submit_one(child), Submitted::Orphan, "existing");
    assert_eq!(bench.submit_one(keyed), Submitted::Orphan, "keyed");
    assert_eq!(bench.submit_one(detached(child_of(&parent, 2))), Submitted::Orphan, "detached");
    assert_eq!(bench.store.tree(before).unwrap().len(), 3);
}

pub fn what_the_inventory_does_not_have_is_given_back(bench: &Bench) {
    for _ in 0..4 {
        bench.create(new("work"));
    }
    let (runner, other) = (RunnerId::generate(), RunnerId::generate());
    let claims = bench.claim(request(runner, 3)).claimed;
    let [known, unknown, reported] = &claims[..] else { panic!("three were claimed") };
    let foreign = bench.claim_one(other);
    bench.start(unknown);
    let places: Vec<_> = claims.iter().map(|claim| bench.get(claim.id).available_at).collect();
    bench.clock.advance(SECOND);
    let receipt = bench.commit(Batch {
        reports: vec![bench.ended(reported, EndKind::Retry(failure("again"), Duration::ZERO))],
        inventory: Some(Inventory { runner, owned: vec![(known.id, 1)] }),
        ..Batch::default()
    });
    assert_eq!(receipt.given_back, 1);
    assert_eq!(bench.status(known.id), Status::Claimed);
    assert_eq!(bench.status(foreign.id), Status::Claimed);
    let given_back = bench.get(unknown.id);
    assert_eq!((given_back.status, given_back.attempt), (Status::Queued, 0));
    assert_eq!(given_back.available_at, places[1], "back to its old place");
    let history = bench.history(unknown.id);
    let last = history.last().unwrap();
    assert_eq!((last.reason, last.runner, last.attempt), (Reason::Released, Some(runner), 1));
    assert!(bench.store.revoked(runner).unwrap().is_empty(), "nobody has a guest of it");
    let (applied, _) = bench.report(bench.ended(unknown, EndKind::Release));
    assert_eq!(applied, Applied::Stale);

    // The attempt counts: a later one under the same name is another claim.
    let again = bench.claim(request(runner, 10)).claimed;
    assert_eq!(
        again.iter().map(|claim| (claim.id, claim.attempt)).collect::<Vec<_>>(),
        [(unknown.id, 1), (reported.id, 2)]
    );
    let owned = vec![(known.id, 1), (unknown.id, 1), (reported.id, 1)];
    let receipt = bench.commit(Batch { inventory: Some(Inventory { runner, owned }), ..Batch::default() });
    assert_eq!(receipt.given_back, 1);
    assert_eq!(bench.status(unknown.id), Status::Claimed);
    assert_eq!((bench.status(reported.id), bench.get(reported.id).attempt), (Status::Queued, 1));
    // What it gave back can be claimed in the same transaction.
    let receipt = bench.commit(Batch {
        inventory: Some(Inventory { runner, owned: Vec::new() }),
        claim: Some(request(runner, 10)),
        ..Batch::default()
    });
    assert_eq!((receipt.given_back, receipt.claimed.len()), (2, 3));
}

pub fn a_receipt_tells_the_stores_time(bench: &Bench) {
    assert_eq!(bench.commit(Batch::default()).now, bench.clock.now());
    bench.clock.advance(SECOND);
    assert_eq!(bench.claim(request(RunnerId::generate(), 1)).now, bench.clock.now());
}

pub fn cancel_is_final_at_once(bench: &Bench) {
    let runner = RunnerId::generate();
    let running = bench.create(new("work"));
    let claim = bench.claim_one(runner);
    bench.start(&claim);
    let delayed = bench.create(NewInvocation { delay: SECOND, ..new("work") });
    let queued = bench.create(new("work"));
    for (id, owner) in [(running, Some(runner)), (delayed, None), (queued, None)] {
        let (cancelled, receipt) = bench.cancel(id);
        assert_eq!(cancelled, Cancelled::Done);
        assert_eq!(receipt.ended.len(), 1);
        assert_eq!((receipt.ended[0].id, receipt.ended[0].runner), (id, owner));
        let invocation = bench.get(id);
        assert_eq!(invocation.status, Status::Cancelled);
        assert_eq!(invocation.finished_at, Some(bench.clock.now()));
        let outcome = invocation.outcome.unwrap();
        assert_eq!(kind(&outcome), Some(FailureKind::Cancelled));
        assert!(text(&outcome).contains("not needed any more"));
        assert_eq!(bench.cancel(id).0, Cancelled::AlreadyFinal(Status::Cancelled));
    }
    let (applied, _) = bench.report(bench.ended(&claim, EndKind::Final(value("1"))));
    assert_eq!(applied, Applied::Stale);
    bench.clock.advance(SECOND);
    assert!(bench.drain().is_empty());
}

pub fn an_owner_is_told_what_was_taken_from_it(bench: &Bench) {
    let runner = RunnerId::generate();
    let taken = bench.create(new("work"));
    bench.claim_one(runner);
    let finished = bench.create(new("work"));
    let claim = bench.claim_one(runner);
    let nobodys = bench.create(new("work"));
    assert!(bench.store.revoked(runner).unwrap().is_empty());
    bench.cancel(taken);
    bench.cancel(nobodys);
    bench.report(bench.ended(&claim, EndKind::Final(value("1"))));
    assert_eq!(bench.get(finished).status, Status::Succeeded);
    assert_eq!(bench.store.revoked(runner).unwrap(), [taken], "not what it reported itself");
    assert!(bench.store.revoked(RunnerId::generate()).unwrap().is_empty());
    assert_eq!(bench.heartbeat(runner).revoked, [taken]);
    assert!(bench.heartbeat(runner).revoked.is_empty(), "once");
    assert!(bench.store.revoked(runner).unwrap().is_empty());
}

/// A claimed parent with an attached child that has a child, a detached one that
/// has one, and a finished one.
struct Family {
    parent: run_wasm_runner::model::Claim,
    attached: run_wasm_runner::model::Claim,
    grandchild: InvocationId,
    detached: InvocationId,
    below_detached: InvocationId,
    finished: InvocationId,
}

fn family(bench: &Bench) -> Family {
    let runner = RunnerId::generate();
    bench.create(new("work"));
    let parent = bench.claim_one(runner);
    let finished = bench.create(child_of(&parent, 0));
    bench.succeed(&bench.claim_one(runner));
    bench.create(child_of(&parent, 1));
    let attached = bench.claim_one(RunnerId::generate());
    let detached = bench.create(detached(child_of(&parent, 2)));
    let detached_claim = bench.claim_one(runner);
    let grandchild = bench.create(child_of(&attached, 0));
    let below_detached = bench.create(child_of(&detached_claim, 0));
    Family { parent, attached, grandchild, detached, below_detached, finished }
}

fn assert_family_ended(bench: &Bench, family: &Family) {
    for (id, parent) in [(family.attached.id, family.parent.id), (family.grandchild, family.attached.id)] {
        assert_eq!(bench.status(id), Status::Cancelled);
        let outcome = bench.get(id).outcome.unwrap();
        assert_eq!(kind(&outcome), Some(FailureKind::Cancelled));
        let message = text(&outcome);
        assert!(message.contains(&parent.to_string()), "{message}");
    }
    assert_eq!(bench.status(family.finished), Status::Succeeded);
    assert_eq!(bench.status(family.detached), Status::Claimed);
    assert_eq!(bench.status(family.below_detached), Status::Queued);
    let (applied, _) = bench.report(bench.ended(&family.attached, EndKind::Release));
    assert_eq!(applied, Applied::Stale);
}

pub fn cancel_descends_through_attached_children(bench: &Bench) {
    let family = family(bench);
    let (_, receipt) = bench.cancel(family.parent.id);
    let ended: Vec<_> = receipt.ended.iter().map(|ended| (ended.id, ended.runner)).collect();
    assert_eq!(
        ended,
        [
            (family.parent.id, Some(family.parent.runner)),
            (family.attached.id, Some(family.attached.runner)),
            (family.grandchild, None)
        ]
    );
    assert_family_ended(bench, &family);
}

pub fn a_final_parent_ends_its_attached_children(bench: &Bench) {
    for how in [EndKind::Final(value("1")), EndKind::Final(failure("broke"))] {
        let family = family(bench);
        let receipt = bench.end(&family.parent, how);
        let ended: Vec<_> = receipt.ended.iter().map(|ended| ended.id).collect();
        assert_eq!(ended, [family.attached.id, family.grandchild]);
        assert_family_ended(bench, &family);
        bench.cancel(family.detached);
    }
}

pub fn a_released_parent_keeps_its_children(bench: &Bench) {
    for how in [EndKind::Release, EndKind::Retry(failure("again"), Duration::ZERO)] {
        let family = family(bench);
        let receipt = bench.end(&family.parent, how);
        assert!(receipt.ended.is_empty());
        assert_eq!(bench.status(family.attached.id), Status::Claimed);
        assert_eq!(bench.status(family.grandchild), Status::Queued);
        // A later attempt ends them though it submitted none itself.
        let receipt =
            bench.claim(ClaimRequest { awaited: vec![family.parent.id], ..request(RunnerId::generate(), 1) });
        let receipt = bench.succeed(&receipt.claimed[0]);
        assert_eq!(receipt.ended.len(), 2);
        assert_family_ended(bench, &family);
        bench.cancel(family.detached);
    }
}

pub fn a_deep_tree_is_cancelled_whole(bench: &Bench) {
    const DEPTH: usize = 2000;
    let runner = RunnerId::generate();
    let root = bench.create(new("work"));
    let mut last = bench.claim_one(runner);
    for _ in 1..DEPTH {
        let receipt = bench.commit(Batch {
            submits: vec![child_of(&last, 0)],
            claim: Some(request(runner, 1)),
            ..Batch::default()
        });
        last = receipt.claimed.into_iter().next().unwrap();
    }
    assert_eq!(bench.cancel(root).1.ended.len(), DEPTH);
    assert_eq!(bench.store.counts(Some(root)).unwrap().get(Status::Cancelled), DEPTH as u64);
}

pub fn the_lost_take_their_children_along(bench: &Bench) {
    let parent_id = bench.create(NewInvocation { max_attempts: 1, ..new("work") });
    let runner = RunnerId::generate();
    let parent = bench.claim_one(runner);
    let child = bench.create(child_of(&parent, 0));
    bench.claim_one(runner);
    bench.let_leases_run_out();
    let receipt = bench.recover();
    let ended: Vec<_> = receipt.ended.iter().map(|ended| ended.id).collect();
    assert_eq!(ended, [parent_id, child]);
    assert_eq!(receipt.recovered, 1);
    assert_eq!(bench.status(child), Status::Cancelled);
}

pub fn unknown_ids_are_no_error(bench: &Bench) {
    let unknown = InvocationId::generate();
    let known = bench.create(new("work"));
    let found = bench.store.get(&[unknown, known, unknown]).unwrap();
    assert!(found[0].is_none() && found[1].is_some() && found[2].is_none());
    let found = bench.store.look_up(&[unknown]).unwrap();
    assert!(matches!(found[..], [LookUp::Unknown]));
    assert!(bench.store.arguments(unknown).unwrap().is_none());
    assert!(bench.store.history(unknown).unwrap().is_empty());
    assert!(bench.store.logs(unknown).unwrap().is_empty());
    assert!(bench.store.tree(unknown).unwrap().is_empty());
    assert_eq!(bench.store.counts(Some(unknown)).unwrap().unfinished(), 0);
    assert_eq!(bench.cancel(unknown).0, Cancelled::Unknown);
    let mut report = bench.observed(&bench.claim_one(RunnerId::generate()), &[]);
    report.id = unknown;
    assert_eq!(bench.report(report).0, Applied::Stale);
}

pub fn list_filters_newest_first(bench: &Bench) {
    let work: Vec<_> = (0..3).map(|_| bench.create(new("work"))).collect();
    let other: Vec<_> = (0..2).map(|_| bench.create(new("other"))).collect();
    bench.claim_one(RunnerId::generate());
    bench.succeed(&bench.claim_one(RunnerId::generate()));
    let list = |statuses: &[Status], task: Option<&str>, limit| {
        let filter = Filter { statuses: statuses.to_vec(), task: task.map(Arc::from), limit };
        let listed = bench.store.list(&filter).unwrap();
        listed.iter().map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!(list(&[], None, 10), [other[1], other[0], work[2], work[1], work[0]]);
    assert_eq!(list(&[], None, 2), [other[1], other[0]]);
    assert_eq!(list(&[], Some("work"), 2), [work[2], work[1]]);
    assert_eq!(list(&[Status::Claimed], None, 10), [work[0]]);
    assert_eq!(list(&[Status::Succeeded, Status::Queued], Some("work"), 10), [work[2], work[1]]);
    assert!(list(&[Status::Failed], None, 10).is_empty());
    assert!(list(&[], Some("no such task"), 10).is_empty());
    assert!(list(&[], None, 0).is_empty());
}

pub fn lists_leave_values_out(bench: &Bench) {
    let root = bench.create(new("work"));
    bench.succeed(&bench.claim_one(RunnerId::generate()));
    let failed = bench.create(new("work"));
    bench.end(&bench.claim_one(RunnerId::generate()), EndKind::Final(failure("no luck")));
    let listed = bench.store.list(&everything()).unwrap();
    assert!(listed[1].outcome.is_none());
    assert!(text(listed[0].outcome.as_ref().unwrap()).contains("no luck"));
    assert!(bench.store.tree(root).unwrap()[0].outcome.is_none());
    assert!(bench.store.tree(failed).unwrap()[0].outcome.is_some());
    assert!(bench.get(root).outcome.is_some());
}

pub fn counts_are_by_status_and_tree(bench: &Bench) {
    let runner = RunnerId::generate();
    let root = bench.create(new("work"));
    let parent = bench.claim_one(runner);
    bench.start(&parent);
    for index in 0..3 {
        bench.create(child_of(&parent, index));
    }
    bench.succeed(&bench.claim_one(runner));
    bench.create(new("work"));
    let of_tree = bench.store.counts(Some(root)).unwrap();
    assert_eq!(of_tree.get(Status::Running), 1);
    assert_eq!(of_tree.get(Status::Queued), 2);
    assert_eq!(of_tree.get(Status::Succeeded), 1);
    assert_eq!(of_tree.unfinished(), 3);
    let all = bench.store.counts(None).unwrap();
    assert_eq!(all.get(Status::Queued), 3);
    assert_eq!(all.unfinished(), 4);
}

pub fn unfinished_are_counted_by_task(bench: &Bench) {
    assert!(bench.store.unfinished_by_task().unwrap().is_empty());
    for task in ["work", "other", "work", "child"] {
        bench.create(new(task));
    }
    bench.claim_one(RunnerId::generate());
    let done = bench.claim(ClaimRequest { tasks: tasks(&["child"]), ..request(RunnerId::generate(), 1) });
    bench.succeed(&done.claimed[0]);
    assert_eq!(bench.store.unfinished_by_task().unwrap(), [(Arc::from("other"), 1), (Arc::from("work"), 2)]);
}

pub fn tree_has_parents_before_children(bench: &Bench) {
    let runner = RunnerId::generate();
    let root = bench.create(new("work"));
    let parent = bench.claim_one(runner);
    let first = bench.create(child_of(&parent, 0));
    let second = bench.create(detached(child_of(&parent, 1)));
    let child = bench.claim_one(runner);
    let grandchild = bench.create(child_of(&child, 0));
    let third = bench.create(child_of(&parent, 2));
    bench.create(new("work"));
    let tree = bench.store.tree(root).unwrap();
    let found: Vec<_> = tree.iter().map(|one| (one.id, one.depth)).collect();
    assert_eq!(found, [(root, 0), (first, 1), (second, 1), (grandchild, 2), (third, 1)]);
    // A tree is named by its root.
    assert!(bench.store.tree(first).unwrap().is_empty());
}

pub fn logs_come_in_order(bench: &Bench) {
    let id = bench.create(new("work"));
    let claim = bench.claim_one(RunnerId::generate());
    let lines: Vec<_> = (0..5).map(|n| bench.line(&format!("line {n}\u{0} \u{1F980}"))).collect();
    let report = Report { logs: lines[..2].to_vec(), ..bench.observed(&claim, &[Event::Start]) };
    assert_eq!(bench.report(report).0, Applied::Done);
    let report = Report {
        logs: lines[2..].to_vec(),
        observed: Vec::new(),
        ..bench.ended(&claim, EndKind::Final(value("1")))
    };
    assert_eq!(bench.report(report).0, Applied::Done);
    assert_eq!(bench.store.logs(id).unwrap(), lines);
}

pub fn history_tells_every_move(bench: &Bench) {
    let id = bench.create(new("work"));
    let submitted_at = bench.clock.now();
    bench.clock.advance(SECOND);
    let runner = RunnerId::generate();
    let claim = bench.claim_one(runner);
    let claimed_at = bench.clock.now();
    bench.clock.advance(SECOND);
    bench.end(&claim, EndKind::Final(failure("it broke")));
    let ended_at = bench.clock.now();
    let told: Vec<_> = bench
        .history(id)
        .into_iter()
        .map(|step| (step.at, step.from, step.to, step.reason, step.runner, step.attempt, step.detail))
        .collect();
    use Status::{Claimed, Failed, Queued, Running};
    assert_eq!(
        told,
        [
            (submitted_at, None, Queued, Reason::Submitted, None, 0, None),
            (claimed_at, Some(Queued), Claimed, Reason::Claimed, Some(runner), 1, None),
            (ended_at, Some(Claimed), Running, Reason::Started, Some(runner), 1, None),
            (ended_at, Some(Running), Failed, Reason::Failed, Some(runner), 1, Some("it broke".to_owned())),
        ]
    );
}

pub fn progress_and_component_are_kept(bench: &Bench) {
    let id = bench.create(new("work"));
    let claim = bench.claim_one(RunnerId::generate());
    let progress = Progress { done: 3, total: 10, message: "counting".to_owned() };
    let report = Report {
        progress: Some(progress.clone()),
        component_digest: Some(ComponentDigest::from_bytes([9; 32])),
        ..bench.observed(&claim, &[])
    };
    assert_eq!(bench.report(report).0, Applied::Done);
    assert_eq!(bench.get(id).progress, Some(progress.clone()));
    bench.succeed(&claim);
    let invocation = bench.get(id);
    assert_eq!(invocation.progress, Some(progress));
    assert_eq!(invocation.component_digest, ComponentDigest::from_bytes([9; 32]));
}

pub fn a_batch_is_applied_in_the_order_of_its_fields(bench: &Bench) {
    let runner = RunnerId::generate();
    let parent_id = bench.create(new("work"));
    let parent = bench.claim_one(runner);
    let child = child_of(&parent, 0);
    let fresh = new("work");
    let receipt = bench.commit(Batch {
        submits: vec![child.clone(), fresh.clone()],
        reports: vec![
            bench.ended(&parent, EndKind::Final(value("1"))),
            bench.ended(&parent, EndKind::Final(value("2"))),
        ],
        cancels: vec![Cancel { id: child.id, message: String::new() }],
        // Of what it owned it has just reported the end.
        inventory: Some(Inventory { runner, owned: Vec::new() }),
        heartbeat: Some(Heartbeat { runner, lease: LEASE }),
        recover: true,
        claim: Some(request(runner, 10)),
    });
    assert_eq!(receipt.submits.len(), 2);
    assert_eq!(receipt.reports, [Applied::Done, Applied::Stale]);
    assert_eq!(receipt.cancels, [Cancelled::AlreadyFinal(Status::Cancelled)]);
    assert_eq!((receipt.lease, receipt.given_back), (Some(Lease::Held), 0));
    assert_eq!(ids(&receipt), [fresh.id]);
    assert_eq!(text(&bench.get(parent_id).outcome.unwrap()), "value 1");
}

pub fn large_values_come_back_whole(bench: &Bench) {
    let large = format!("[\"{}\"]", "0123456789abcdef".repeat(1 << 18));
    let id = bench.create(NewInvocation { arguments: large.as_str().into(), ..new("work") });
    let claim = bench.claim_one(RunnerId::generate());
    assert_eq!(*claim.arguments, large);
    bench.end(&claim, EndKind::Final(value(&large)));
    assert_eq!(text(&bench.get(id).outcome.unwrap()), format!("value {large}"));
    assert_eq!(bench.store.arguments(id).unwrap().as_deref(), Some(&*large));
}

pub fn an_empty_batch_is_fine(bench: &Bench) {
    let receipt = bench.commit(Batch::default());
    assert!(receipt.submits.is_empty() && receipt.claimed.is_empty());
    assert_eq!(receipt.lease, None);
}

pub fn many_are_looked_up_at_once(bench: &Bench) {
    let submits: Vec<_> = (0..40_000).map(|_| new("work")).collect();
    let ids: Vec<_> = submits.iter().map(|submit| submit.id).collect();
    bench.commit(Batch { submits: submits.into_iter().step_by(40).collect(), ..Batch::default() });
    let found = bench.store.look_up(&ids).unwrap();
    assert_eq!(found.len(), ids.len());
    for (index, found) in found.iter().enumerate() {
        let is_known = matches!(found, LookUp::Unfinished(Status::Queued));
        assert_eq!(is_known, index % 40 == 0);
    }
}
