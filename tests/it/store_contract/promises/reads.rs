//! Reads of invocations, and facts about whole batches.

use std::sync::Arc;
use std::time::Duration;

use run_wasm_runner::model::{
    Blocked, Claim, Clock, ComponentDigest, Concurrency, Event, Failure, FailureKind, InvocationId, Outcome,
    Progress, Reason, RuleKey, RunnerId, Status, Usage,
};
use run_wasm_runner::store::{
    Applied, AttemptEnd, Batch, Bill, Cancel, Cancelled, ClaimRequest, EndKind, Filter, Heartbeat, Inventory,
    Invocation, Lease, Leases, LookUp, NewInvocation, QueuedCounts, Report, TaskRule,
};

use super::super::harness::*;
use super::SECOND;

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

pub fn lists_have_the_kind_and_the_message_of_a_large_failure(bench: &Bench) {
    let fail = |error: String| {
        bench.create(new("work"));
        let claim = bench.claim_one(RunnerId::generate());
        let error = serde_json::value::to_raw_value(&error).unwrap();
        bench.end(&claim, EndKind::Final(Outcome::Failure(Failure::returned(error).into())));
        claim.id
    };
    let (small, large) = (fail("é".to_owned()), fail("é\"".repeat(500_000)));
    let failure = |one: &Invocation| match &one.outcome {
        Some(Outcome::Failure(failure)) => Arc::clone(failure),
        other => panic!("{other:?}"),
    };
    let listed = bench.store.list(&everything()).unwrap();
    let trees = [small, large].map(|id| bench.store.tree(id).unwrap().remove(0));
    for (id, found) in [(small, &listed[1]), (large, &listed[0]), (small, &trees[0]), (large, &trees[1])] {
        let (whole, found_one) = (failure(&bench.get(id)), failure(found));
        assert_eq!(found.id, id);
        assert_eq!((found_one.kind, &found_one.message), (whole.kind, &whole.message));
        assert!(!whole.is_cut && whole.error.is_some());
        assert_eq!((found_one.is_cut, found_one.error.is_none()), (id == large, id == large));
    }
    let returned = Filter { kinds: vec![FailureKind::Returned], ..everything() };
    assert_eq!(bench.store.ids(&returned).unwrap(), [large, small]);
}

pub fn list_filters_newest_first(bench: &Bench) {
    let work: Vec<_> = (0..3).map(|_| bench.create(new("work"))).collect();
    let other: Vec<_> = (0..2).map(|_| bench.create(new("other"))).collect();
    bench.claim_one(RunnerId::generate());
    bench.succeed(&bench.claim_one(RunnerId::generate()));
    let list = |statuses: &[Status], tasks: Option<&[&str]>, limit| {
        let tasks = tasks.map(|names| names.iter().map(|name| Arc::from(*name)).collect());
        let filter = Filter { statuses: statuses.to_vec(), tasks, limit, ..Filter::default() };
        let listed = bench.store.list(&filter).unwrap();
        listed.iter().map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!(list(&[], None, 10), [other[1], other[0], work[2], work[1], work[0]]);
    assert_eq!(list(&[], None, 2), [other[1], other[0]]);
    assert_eq!(list(&[], Some(&["work"]), 2), [work[2], work[1]]);
    assert_eq!(list(&[Status::Claimed], None, 10), [work[0]]);
    assert_eq!(list(&[Status::Succeeded, Status::Queued], Some(&["work"]), 10), [work[2], work[1]]);
    assert!(list(&[Status::Failed], None, 10).is_empty());
    assert!(list(&[], Some(&["no such task"]), 10).is_empty());
    assert_eq!(
        list(&[], Some(&["work", "no such task", "other"]), 4),
        [other[1], other[0], work[2], work[1]]
    );
    assert!(list(&[], Some(&[]), 10).is_empty());
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

pub fn unfinished_invocations_are_counted_by_task(bench: &Bench) {
    assert!(bench.store.unfinished_by_task().unwrap().is_empty());
    for task in ["work", "other", "work", "child"] {
        bench.create(new(task));
    }
    bench.claim_one(RunnerId::generate());
    let done = bench.claim(ClaimRequest { tasks: tasks(&["child"]), ..request(RunnerId::generate(), 1) });
    bench.succeed(&done.claimed[0]);
    assert_eq!(bench.store.unfinished_by_task().unwrap(), [(Arc::from("other"), 1), (Arc::from("work"), 2)]);
}

pub fn queued_invocations_are_counted_by_what_they_wait_for(bench: &Bench) {
    let one_at_a_time = Concurrency { limit: 1, blocked: Blocked::Wait };
    let rule = TaskRule {
        task: "other".into(),
        queue: "default".into(),
        concurrency: Some(one_at_a_time),
        rate: None,
    };
    bench.commit(Batch { rules: vec![rule], ..Batch::default() });
    let now = || bench.clock.now();
    let due = now().plus(SECOND);
    let counts = |queued, delayed, blocked, task: &str| QueuedCounts {
        task: task.into(),
        queued,
        delayed,
        next: (delayed > 0).then_some(due),
        blocked,
    };
    assert_eq!(bench.store.queued_by_task(now()).unwrap(), []);
    bench.create(NewInvocation { delay: SECOND * 2, ..new("work") });
    bench.create(NewInvocation { delay: SECOND, ..new("work") });
    bench.create(new("work"));
    for _ in 0..3 {
        bench.create(NewInvocation { lane: Some(RuleKey::from_bytes([7; 16])), ..new("other") });
    }
    let expected = [counts(3, 0, 2, "other"), counts(3, 2, 0, "work")];
    assert_eq!(bench.store.queued_by_task(now()).unwrap(), expected);
    // Its time has come, though nobody has claimed since.
    bench.clock.advance(SECOND * 2);
    assert_eq!(bench.store.queued_by_task(now()).unwrap()[1], counts(3, 0, 0, "work"));
}

pub fn leases_are_told_with_their_end(bench: &Bench) {
    assert_eq!(bench.store.leases().unwrap(), Leases { now: bench.clock.now(), ends: Vec::new() });
    let runner = RunnerId::generate();
    bench.create(new("work"));
    bench.claim_one(runner);
    let end = bench.clock.now().plus(LEASE);
    assert_eq!(bench.store.leases().unwrap().ends, [(runner, end)]);
    bench.clock.advance(2 * LEASE);
    let leases = bench.store.leases().unwrap();
    assert_eq!((leases.now, leases.ends), (bench.clock.now(), vec![(runner, end)]));
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

pub fn an_invocation_that_waits_very_often_has_a_bounded_history(bench: &Bench) {
    // After so many moves, waits leave no rows.
    const RECORDED: usize = 1_000;
    let once = [Event::Await, Event::Resume];
    let observe = |claim: &Claim, events: &[Event]| bench.report(bench.observed(claim, events)).0;
    // With an even and with an odd number of moves before its waits.
    for is_retried in [false, true] {
        let id = bench.create(new("work"));
        if is_retried {
            bench.end(
                &bench.claim_one(RunnerId::generate()),
                EndKind::Retry(failure("again"), Duration::ZERO),
            );
        }
        let claim = bench.claim_one(RunnerId::generate());
        bench.start(&claim);
        let before = bench.history(id).len() - 1;
        for _ in 0..3 {
            assert_eq!(observe(&claim, &once.repeat(400)), Applied::Done);
        }
        // The two moves of a wait leave two rows, or none.
        let recorded = RECORDED - (RECORDED - before) % 2;
        let history = bench.history(id);
        assert_eq!(history.len() - 1, recorded);
        assert_eq!(history[recorded].reason, Reason::Resumed);
        assert_eq!(history[recorded].unrecorded as usize, before + 2_400 - recorded);
        // The status goes on all the same.
        assert_eq!(observe(&claim, &once[..1]), Applied::Done);
        assert_eq!(bench.status(id), Status::Waiting);
        assert_eq!(observe(&claim, &once[..1]), Applied::Stale, "it waits already");
        // Everything else leaves its row.
        let how = EndKind::Release;
        let end = AttemptEnd { at: bench.clock.now(), how, has_children: false, usage: Usage::default() };
        let report = Report { end: Some(end), ..bench.observed(&claim, &[]) };
        assert_eq!(bench.report(report).0, Applied::Done);
        let claim = bench.claim_one(RunnerId::generate());
        bench.start(&claim);
        assert_eq!(observe(&claim, &once), Applied::Done);
        assert_eq!(bench.cancel(id).0, Cancelled::Done);
        let usage = Usage { cpu_micros: 5, ..Usage::default() };
        let bill = Bill { id, runner: claim.runner, attempt: claim.attempt, usage };
        let receipt = bench.commit(Batch { bills: vec![bill], ..Batch::default() });
        assert_eq!(receipt.bills, [Applied::Done]);
        let history = bench.history(id);
        let ends: Vec<_> =
            history[recorded..].iter().map(|step| (step.reason.as_str(), step.unrecorded as usize)).collect();
        let unrecorded = before + 2_401 - recorded;
        assert_eq!(
            ends,
            [("resumed", unrecorded), ("released", 0), ("claimed", 0), ("started", 2), ("cancelled", 0)]
        );
    }
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

pub fn usage_is_summed_over_attempts(bench: &Bench) {
    let id = bench.create(new("work"));
    let attempt = |how: EndKind, usage: Usage| {
        let claim = bench.claim_one(RunnerId::generate());
        let mut report = bench.ended(&claim, how);
        report.end.as_mut().expect("it ends").usage = usage;
        assert_eq!(bench.report(report).0, Applied::Done);
    };
    let usage = Usage { cpu_micros: 30, peak_memory_bytes: 100, children: 4, ..Usage::default() };
    assert_eq!(bench.get(id).usage, None, "nothing has run");
    attempt(EndKind::Release, Usage::default());
    assert_eq!(bench.get(id).usage, None, "a guest that never ran has used nothing");
    attempt(EndKind::Release, usage);
    assert_eq!(bench.get(id).usage, Some(usage), "one that is given back has");
    let smaller = Usage { peak_memory_bytes: 60, children: 3, result_bytes: 7, ..usage };
    attempt(EndKind::Retry(failure("again"), Duration::ZERO), smaller);
    let both = Usage { cpu_micros: 60, result_bytes: 7, ..usage };
    assert_eq!(bench.get(id).usage, Some(both));
    // One that dies with its runner tells nothing, and takes nothing away.
    bench.claim_one(RunnerId::generate());
    bench.let_leases_run_out();
    bench.recover();
    assert_eq!(bench.get(id).usage, Some(both));
    attempt(EndKind::Final(value("42")), Usage { fuel: Some(5), ..smaller });
    let all = Usage { cpu_micros: 90, result_bytes: 14, fuel: Some(5), ..usage };
    assert_eq!(bench.get(id).usage, Some(all));
    let listed = bench.store.list(&everything()).unwrap();
    assert_eq!(listed[0].usage, Some(all));
    // A cancel leaves the bill as it is.
    let id = bench.create(new("work"));
    attempt(EndKind::Release, usage);
    bench.cancel(id);
    assert_eq!(bench.get(id).usage, Some(usage));
}

pub fn usage_of_an_attempt_that_others_ended_is_added_once(bench: &Bench) {
    let usage = Usage { cpu_micros: 30, peak_memory_bytes: 100, ..Usage::default() };
    let bill = |claim: &Claim| Bill { id: claim.id, runner: claim.runner, attempt: claim.attempt, usage };
    let add = |bill: Bill| {
        let unchanged = |id| {
            let Invocation { status, runner, attempt, finished_at, outcome, .. } = bench.get(id);
            (status, runner, attempt, finished_at, outcome.map(|outcome| text(&outcome)), bench.history(id))
        };
        let before = unchanged(bill.id);
        let receipt = bench.commit(Batch { bills: vec![bill.clone()], ..Batch::default() });
        assert_eq!(unchanged(bill.id), before, "nothing but the usage changes");
        receipt.bills[0]
    };
    let refused = |bill: Bill| {
        let before = bench.get(bill.id).usage;
        assert_eq!(add(bill.clone()), Applied::Stale);
        assert_eq!(bench.get(bill.id).usage, before);
    };
    let claim = |new: NewInvocation| {
        bench.create(new);
        bench.claim_one(RunnerId::generate())
    };

    // Cancelled, with a child, in its second attempt.
    bench.create(NewInvocation { max_attempts: 2, ..new("work") });
    let first = bench.claim_one(RunnerId::generate());
    let mut report = bench.ended(&first, EndKind::Retry(failure("again"), Duration::ZERO));
    report.end.as_mut().expect("it ends").usage = usage;
    bench.report(report);
    let second = bench.claim_one(RunnerId::generate());
    bench.start(&second);
    let child = claim(child_of(&second, 0));
    refused(bill(&second));
    // In a batch bills come before whatever ends something, and so too early.
    let receipt = bench.commit(Batch {
        bills: vec![bill(&second)],
        cancels: vec![Cancel { id: second.id, by: None, message: "enough".to_owned() }],
        ..Batch::default()
    });
    assert_eq!((receipt.bills[0], receipt.cancels[0]), (Applied::Stale, Cancelled::Done));
    refused(bill(&first));
    refused(Bill { runner: first.runner, ..bill(&second) });
    assert_eq!(add(bill(&second)), Applied::Done);
    let both = Usage { cpu_micros: 60, has_late: true, ..usage };
    assert_eq!(bench.get(second.id).usage, Some(both));
    refused(bill(&second));
    let late = Usage { has_late: true, ..usage };
    let receipt = bench.commit(Batch { bills: vec![bill(&child), bill(&child)], ..Batch::default() });
    assert_eq!(receipt.bills, [Applied::Done, Applied::Stale], "twice in one batch");
    assert_eq!(bench.get(child.id).usage, Some(late));

    // Overdue.
    let overdue = claim(NewInvocation { deadline: Some(Duration::from_secs(1)), ..new("work") });
    bench.clock.advance(Duration::from_secs(1));
    bench.recover();
    assert_eq!(add(bill(&overdue)), Applied::Done);
    assert_eq!(bench.get(overdue.id).usage, Some(late));

    // A child of a parent that ended by itself.
    let parent = claim(new("work"));
    let child = claim(child_of(&parent, 0));
    let mut report = bench.ended(&parent, EndKind::Final(value("42")));
    report.end.as_mut().expect("it ends").has_children = true;
    bench.report(report);
    assert_eq!(bench.status(child.id), Status::Cancelled);
    assert_eq!(add(bill(&child)), Applied::Done);
    refused(bill(&parent));

    // Cancelled when it was in nobody's hands any more.
    let retried = claim(NewInvocation { max_attempts: 2, ..new("work") });
    bench.end(&retried, EndKind::Retry(failure("again"), Duration::ZERO));
    bench.cancel(retried.id);
    refused(bill(&retried));

    // Lost with its runner.
    let lost = claim(NewInvocation { max_attempts: 1, ..new("work") });
    bench.let_leases_run_out();
    bench.recover();
    assert_eq!(bench.status(lost.id), Status::Failed);
    refused(bill(&lost));

    let unknown = Bill { id: InvocationId::generate(), ..bill(&lost) };
    let receipt = bench.commit(Batch { bills: vec![unknown], ..Batch::default() });
    assert_eq!(receipt.bills, [Applied::Stale]);
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
        cancels: vec![Cancel { id: child.id, by: None, message: String::new() }],
        // Of what it owned it has just reported the end.
        inventory: Some(Inventory { runner, owned: Vec::new() }),
        heartbeat: Some(Heartbeat { runner, lease: LEASE }),
        recover: true,
        claim: Some(request(runner, 10)),
        ..Batch::default()
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

pub fn many_invocations_are_looked_up_at_once(bench: &Bench) {
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
