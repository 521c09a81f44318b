//! Tests of settling.

use super::*;
use crate::store::{Applied, Cancelled, Ended, Lease, Submitted};

/// A ledger with a plan that claims.
fn claiming() -> (Bench, Plan) {
    let mut bench = Bench::settled();
    bench.ledger.claims.may_have_work = true;
    let plan = bench.plan(Messages::default());
    assert!(plan.batch.claim.is_some());
    (bench, plan)
}

#[test]
fn claims_are_started_only_under_a_lease_that_is_good() {
    let rows = [
        (Lease::Held, true, vec!["start 2"]),
        (Lease::Held, false, vec!["give back 2"]),
        (Lease::Lost, true, vec!["change runner", "give back 2"]),
    ];
    for (lease, is_trusted, expected) in rows {
        let (mut bench, plan) = claiming();
        let claimed = vec![claim(bench.ledger.runner), claim(bench.ledger.runner)];
        let receipt = Receipt { lease: Some(lease), claimed, ..Receipt::default() };
        assert_eq!(bench.settle_if(plan, receipt, is_trusted), expected);
        let is_given_back = expected != ["start 2"];
        let plan = bench.plan(Messages::default());
        assert_eq!(plan.batch.claim.is_some(), is_given_back, "what was given back may be claimed");
    }
}

#[test]
fn an_empty_store_is_not_asked_again() {
    for more in [true, false] {
        let (mut bench, plan) = claiming();
        let receipt = Receipt { more, ..Receipt::default() };
        bench.settle(plan, receipt);
        assert_eq!(bench.plan(Messages::default()).batch.claim.is_some(), more);
    }
}

#[test]
fn stale_reports_kill_guests() {
    let mut bench = Bench::settled();
    let runner = bench.ledger.runner;
    let (noted, ended) = (fiber(claim(runner)), fiber(claim(runner)));
    noted.note(|notes| notes.observed.push((UnixMicros(1), crate::model::Event::Start)));
    let mut messages = Messages::default();
    messages.ends.push((Arc::clone(&ended), end(EndKind::Final(value(1)))));
    messages.noted.push(noted);
    bench.ledger.collect(&mut messages, Instant::now());
    let plan = bench.plan(messages);
    let receipt = Receipt { reports: vec![Applied::Stale; 2], ..Receipt::default() };
    // The ended one has no guest any more; its bill and its outcome elsewhere remain.
    assert_eq!(bench.settle(plan, receipt), ["disown", "bill", "disown", "kill"]);
    assert_eq!(bench.ledger.look_ups.take(10), [ended.id()]);
}

#[test]
fn a_guest_whose_status_changes_all_the_time_is_written_once_a_second() {
    let mut bench = Bench::settled();
    let (restless, calm) = (fiber(claim(bench.ledger.runner)), fiber(claim(bench.ledger.runner)));
    let mut written = |fibers: &[&Arc<Fiber>], now| {
        let mut messages = Messages::default();
        for fiber in fibers {
            fiber.note(|notes| notes.observed.push((UnixMicros(1), crate::model::Event::Await)));
            if !fiber.is_noted.swap(true, std::sync::atomic::Ordering::AcqRel) {
                messages.noted.push(Arc::clone(fiber));
            }
        }
        bench.ledger.collect(&mut messages, now);
        let alarm = bench.ledger.next_alarm(Stage::Working, None);
        let reports = std::mem::take(&mut bench.ledger.held).reports;
        (reports.into_iter().map(|report| (report.id, report.observed.len())).collect::<Vec<_>>(), alarm)
    };
    let now = Instant::now();
    for _ in 0..100 {
        assert_eq!(written(&[&restless], now).0, [(restless.id(), 1)]);
    }
    let (reports, alarm) = written(&[&restless], now);
    assert!(
        reports.is_empty() && alarm.is_some_and(|alarm| alarm <= Instant::now() + Duration::from_secs(1))
    );
    // Others are written as before, and what it notes meanwhile is kept.
    assert_eq!(written(&[&restless, &calm], now).0, [(calm.id(), 1)]);
    // It is not told again that there is something.
    let later = Instant::now() + Duration::from_secs(1);
    assert_eq!(written(&[], later).0, [(restless.id(), 2)]);
    // An end takes along what was not written.
    assert!(written(&[&restless], now).0.is_empty());
    let report = restless.report(Some(end(EndKind::Final(value(1))))).expect("it has ended");
    assert_eq!(report.observed.len(), 1);
    assert!(written(&[], later + Duration::from_secs(2)).0.is_empty(), "nothing is left");
}

#[test]
fn the_end_of_one_that_a_rule_counts_lets_another_start() {
    for has_lane in [true, false] {
        let mut bench = Bench::settled();
        let fiber = fiber(Claim { has_lane, ..claim(bench.ledger.runner) });
        let mut messages = Messages::default();
        messages.ends.push((fiber, end(EndKind::Final(value(1)))));
        bench.ledger.collect(&mut messages, Instant::now());
        assert_eq!(bench.plan(messages).batch.claim.is_some(), has_lane);
    }
}

#[test]
fn effects_come_in_the_order_of_the_receipt() {
    let mut bench = Bench::settled();
    let (mut messages, _receiver) = submit(1);
    messages.unstarted =
        ends(vec![EndKind::Final(value(1)), EndKind::Release, EndKind::Final(value(1))]).unstarted;
    let (reply, _told) = tokio::sync::oneshot::channel();
    let cancel = crate::store::Cancel { id: InvocationId::generate(), by: None, message: String::new() };
    messages.cancels.push(crate::runner::inbox::CancelMessage { cancel, reply });
    bench.ledger.collect(&mut messages, Instant::now());
    bench.ledger.claims.may_have_work = true;
    let plan = bench.plan(messages);
    let id = InvocationId::generate;
    let blocked = id();
    let receipt = Receipt {
        submits: vec![Submitted::Created(id())],
        reports: vec![Applied::Done, Applied::Done, Applied::Stale],
        cancels: vec![Cancelled::Done],
        ended: vec![Ended { id: id(), runner: None, outcome: value(1) }],
        revoked: vec![id()],
        unblocked: vec![blocked],
        lease: Some(Lease::Held),
        claimed: vec![claim(bench.ledger.runner)],
        unclaimable: vec![id(), id()],
        ..Receipt::default()
    };
    let expected = [
        "answer submit with 1",
        "end: final",
        "end: release",
        "disown",
        "bill",
        "answer cancel: true",
        "finish",
        "give up",
        "mark 1 unblocked",
        "claim again",
        "mark 2 unclaimable",
        "start 1",
    ];
    assert_eq!(bench.settle(plan, receipt), expected);
    assert_eq!(bench.ledger.look_ups.take(10).len(), 2, "of the stale and of the revoked");
}

#[test]
fn what_was_unblocked_and_claimed_at_once_needs_no_further_claim() {
    let (mut bench, plan) = claiming();
    let claim = claim(bench.ledger.runner);
    let (unblocked, lease) = (vec![claim.id], Some(Lease::Held));
    let receipt = Receipt { unblocked, claimed: vec![claim], lease, ..Receipt::default() };
    assert_eq!(bench.settle(plan, receipt), ["mark 1 unblocked", "start 1"]);
}

#[test]
fn a_submit_is_answered_by_what_became_of_it() {
    let other = InvocationId::generate();
    let taken = format!("refuse submit: the key is taken by `{other}`, which has other arguments");
    type Answer = fn(InvocationId, InvocationId) -> Submitted;
    let rows: [(Answer, &str); 4] = [
        (|mine, _| Submitted::Created(mine), "answer submit with 1"),
        (|_, other| Submitted::Existing(other), "answer submit with 1"),
        (|_, other| Submitted::KeyConflict(other), &taken),
        (|_, _| Submitted::Orphan, "refuse submit: this attempt is no longer the valid one"),
    ];
    for (answer, expected) in rows {
        let mut bench = Bench::settled();
        let (messages, _receiver) = submit(1);
        let plan = bench.plan(messages);
        let submits = vec![answer(plan.batch.submits[0].id, other)];
        assert_eq!(bench.settle(plan, Receipt { submits, ..Receipt::default() }), [expected]);
    }
    // A guest that was killed meanwhile no longer listens.
    let mut bench = Bench::settled();
    let plan = bench.plan(submit(1).0);
    let submits = vec![Submitted::Created(plan.batch.submits[0].id)];
    assert_eq!(bench.settle(plan, Receipt { submits, ..Receipt::default() }), [] as [&str; 0]);
}

#[test]
fn a_called_child_is_awaited_under_the_id_that_it_has() {
    type Answer = fn(InvocationId) -> Submitted;
    let rows: [(Answer, &str); 2] = [
        (Submitted::Created, "mark submitted"),
        (|_| Submitted::Existing(InvocationId::generate()), "redirect"),
    ];
    for (answer, expected) in rows {
        let mut bench = Bench::settled();
        let (mut messages, _receiver) = submit(1);
        let ids = vec![messages.submits[0].children[0].id];
        let wait_for = WaitFor { caller: None, depth: 0, ids, mode: AwaitMode::All };
        let (wait, _) = bench.registry.register(wait_for).expect("no cycle");
        messages.submits[0].reply = SubmitReply::Result(wait);
        let plan = bench.plan(messages);
        let submits = vec![answer(plan.batch.submits[0].id)];
        assert_eq!(bench.settle(plan, Receipt { submits, ..Receipt::default() }), [expected]);
    }
}

#[test]
fn reports_of_a_commit_whose_answer_was_lost_are_written_once() {
    let mut bench = Bench::settled();
    let mut messages = ends(vec![EndKind::Final(value(1)), EndKind::Release]);
    let ids: Vec<_> = messages.unstarted.iter().map(|(claim, _)| claim.id).collect();
    bench.ledger.collect(&mut messages, Instant::now());
    let plan = bench.plan(messages);
    let (began, now) = (bench.now, bench.now);
    bench.ledger.take_back(plan, began, now);
    bench.ledger.doubt(now);
    assert_eq!(bench.ledger.held.doubtful, 2);
    let mut effects = Vec::new();
    bench.ledger.settle_doubtful(&[true, false], now, &mut effects);
    assert_eq!(effects.iter().map(name).collect::<Vec<_>>(), ["end: final"]);
    let reports = bench.plan(Messages::default()).batch.reports;
    assert_eq!(reports.iter().map(|report| report.id).collect::<Vec<_>>(), ids[1..]);
}
