//! The rights of an attempt's owner, and their end.

use std::time::Duration;

use run_wasm_runner::model::{Clock, Event, FailureKind, Reason, RunnerId, Status};
use run_wasm_runner::store::{
    Applied, Batch, Cancelled, EndKind, Heartbeat, Inventory, Lease, NewInvocation, Report,
};

use super::super::harness::*;
use super::SECOND;

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

pub fn claims_missing_from_an_inventory_are_released(bench: &Bench) {
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
