//! Tests of heartbeat, recovery, sweep, prefetch, back-off and stop.

use super::*;
use crate::model::Status;
use crate::runner::ledger::outage::Outage;
use crate::runner::ledger::prefetch::{Prefetch, STALE_PREFETCH, prefetch};
use crate::runner::ledger::relief::Waiting;
use crate::runner::ledger::stopping::{StopSteps, Stopping};
use crate::runner::stage::KILL_PATIENCE;
use crate::store::{Batch, Keep, Lease, PrunePosition, Pruned};

/// A ledger that has just claimed something.
fn claimed() -> Bench {
    let mut bench = Bench::settled();
    bench.ledger.claims.may_have_work = true;
    let plan = bench.plan(Messages::default());
    assert!(plan.batch.claim.is_some());
    let claimed = vec![claim(bench.ledger.runner)];
    let receipt = Receipt { lease: Some(Lease::Held), claimed, more: true, ..Receipt::default() };
    assert_eq!(bench.settle(plan, receipt), ["claim again", "start 1"]);
    bench
}

#[test]
fn a_heartbeat_goes_alone_when_half_of_the_lease_is_gone() {
    let half = LEASE.as_millis() as u64 / 2;
    for (owns_work, passed, is_alone) in [(true, half - 1, false), (true, half, true), (false, half, false)] {
        let mut bench = claimed();
        bench.pass(passed);
        bench.owns_work = owns_work;
        let alone = bench.plan_heartbeat();
        assert_eq!(alone.is_some(), is_alone, "{owns_work} {passed}");
        let Some(batch) = alone else { continue };
        assert!(batch.heartbeat.is_some() && batch.claim.is_none() && !batch.recover);
        assert!(bench.plan(Messages::default()).batch.heartbeat.is_none(), "once");
        // After one that failed the next does not wait.
        let (began, now) = (bench.now, bench.now);
        bench.ledger.take_back_heartbeat(&batch, began, now);
        assert!(bench.plan_heartbeat().is_some());
        let mut effects = Vec::new();
        let receipt = Receipt { lease: Some(Lease::Lost), ..Receipt::default() };
        bench.ledger.settle_heartbeat(receipt, &mut effects);
        assert_eq!(effects.iter().map(name).collect::<Vec<_>>(), ["change runner"]);
    }
}

#[test]
fn a_heartbeat_is_due_a_third_of_the_lease_after_the_last_extension() {
    let third = LEASE.as_millis() as u64 / 3;
    for (owns_work, passed, is_due) in
        [(true, 0, false), (true, third - 1, false), (true, third, true), (false, third, false)]
    {
        let mut bench = claimed();
        let alarm = bench.ledger.next_alarm(Stage::Killing, None);
        assert_eq!(alarm, Some(bench.now + LEASE / 3), "the ledger thread wakes for it in every stage");
        bench.pass(passed);
        bench.owns_work = owns_work;
        let plan = bench.plan(Messages::default());
        assert_eq!(plan.batch.heartbeat.is_some(), is_due, "{owns_work} {passed}");
        if is_due {
            assert_eq!(plan.batch.heartbeat.as_ref().map(|one| one.lease), Some(LEASE));
            bench.settle(plan, Receipt { lease: Some(Lease::Held), ..Receipt::default() });
            bench.pass(third - 1);
            assert!(bench.plan(Messages::default()).batch.heartbeat.is_none());
        }
    }
}

#[test]
fn a_heartbeat_whose_commit_failed_is_due_at_once() {
    let mut bench = claimed();
    bench.pass(3000);
    let plan = bench.plan(Messages::default());
    bench.pass(10);
    let (began, now) = (bench.now, bench.now);
    bench.ledger.take_back(plan, began, now);
    assert!(bench.plan(Messages::default()).batch.heartbeat.is_some());
}

#[test]
fn recovery_is_due_when_the_store_said_that_something_ends() {
    let mut bench = Bench::new();
    let plan = bench.plan(Messages::default());
    assert!(plan.batch.recover, "a new runner looks at once");
    let (now, next_due) = (UnixMicros(1_000_000), Some(UnixMicros(6_000_000)));
    bench.settle(plan, Receipt { now, next_due, ..Receipt::default() });
    assert_eq!(bench.ledger.next_alarm(Stage::Working, None), Some(bench.now + Duration::from_secs(5)));
    assert_eq!(bench.ledger.next_alarm(Stage::Killing, None), None, "a runner that is killing needs no work");
    bench.pass(4999);
    assert!(!bench.plan(Messages::default()).batch.recover);
    bench.pass(1);
    let plan = bench.plan(Messages::default());
    assert!(plan.batch.recover && plan.batch.claim.is_some(), "the lease of another may have ended");
    // If that fails it is due again.
    let (began, now) = (bench.now, bench.now);
    bench.ledger.take_back(plan, began, now);
    assert!(bench.plan(Messages::default()).batch.recover);
}

#[test]
fn a_runner_that_can_claim_nothing_asks_when_something_happens() {
    for (has_foreign_change, is_congested, asks) in
        [(true, true, true), (true, false, false), (false, true, false)]
    {
        let mut bench = Bench::settled();
        bench.load.is_congested = is_congested;
        bench.ledger.claims.may_have_work = true;
        let messages = Messages { has_foreign_change, ..Messages::default() };
        assert_eq!(bench.plan(messages).asks_next_due, asks, "{has_foreign_change} {is_congested}");
    }
    // Without an answer it asks again at once.
    let mut bench = Bench::settled();
    let began = bench.now;
    bench.ledger.recovery.look_by(began);
    assert!(bench.ledger.recovery.is_due(bench.now));
}

#[test]
fn relief_waits_for_a_store_that_is_away() {
    let mut bench = Bench::settled();
    let load = Load { may_start_unawaited: false, has_large: true, ..bench.load };
    let waiting = Waiting { may_be_stored: true, ..Waiting::default() };
    assert_eq!(bench.ledger.relief.step(&load, waiting, bench.now), None);
    assert_eq!(bench.ledger.next_alarm(Stage::Working, None), Some(bench.now + Duration::from_secs(5)));
    // Since then nothing could be written: it is due, and can't be done.
    bench.pass(6_000);
    let pause = bench.ledger.doubt(bench.now);
    assert_eq!(bench.ledger.next_alarm(Stage::Working, None), Some(bench.now + pause), "no alarm is past");
}

#[test]
fn deadlines_and_retries_bring_a_look_at_the_store() {
    let mut bench = Bench::settled();
    let (mut messages, _receiver) = submit(2);
    messages.submits[0].children[1].deadline = Some(Duration::from_secs(7));
    bench.plan(messages);
    assert_eq!(bench.ledger.next_alarm(Stage::Working, None), Some(bench.now + Duration::from_secs(7)));
    let mut messages = ends(vec![EndKind::Retry(value(1), Duration::from_secs(2))]);
    bench.ledger.collect(&mut messages, Instant::now());
    let plan = bench.plan(messages);
    let receipt = Receipt { reports: vec![crate::store::Applied::Done], ..Receipt::default() };
    assert_eq!(bench.settle(plan, receipt), ["end: retry"]);
    assert_eq!(bench.ledger.next_alarm(Stage::Working, None), Some(bench.now + Duration::from_secs(2)));
}

#[test]
fn a_sweep_goes_on_soon_and_begins_again_later() {
    let keep = Keep { status: Status::Succeeded, age: None, count: Some(1), at_least: 0 };
    let options = RunnerOptions { retention: vec![keep], ..RunnerOptions::default() };
    let millis = Duration::from_millis;
    let position = PrunePosition { keep: 0, last: None, passed: 0 };
    // What a transaction of 10 ms did, and how long after it the next one is due.
    for (is_done, has_more, pause) in [
        (true, true, millis(30)),
        (true, false, Duration::from_secs(60)),
        (false, false, Duration::from_secs(60)),
    ] {
        let mut bench = Bench::with(options.clone());
        let mut count = 0;
        let mut sweep = |bench: &mut Bench| {
            let (began, now) = (bench.now, bench.now + millis(10));
            let (view, mut batch) = (view!(bench), Batch::default());
            bench.ledger.duties[0].1.plan(&view, &mut batch);
            count += usize::from(batch.prune.is_some());
            let next = has_more.then_some(position);
            let receipt = Receipt { pruned: Some(Pruned { removed: 3, next }), ..Receipt::default() };
            match is_done {
                true => bench.ledger.duties[0].1.settle(&batch, &receipt, began, now),
                false => bench.ledger.duties[0].1.fail(&batch, began, now),
            }
            bench.now = now;
            count
        };
        assert_eq!(sweep(&mut bench), 1);
        bench.now += pause - millis(1);
        assert_eq!(sweep(&mut bench), 1, "{is_done} {has_more}");
        // That look took 10 ms.
        assert_eq!(sweep(&mut bench), 2, "{is_done} {has_more}");
        bench.stage = Stage::Draining;
        bench.now += Duration::from_secs(3600);
        assert_eq!(sweep(&mut bench), 2, "a runner that stops has better things to do");
    }
    let mut bench = Bench::settled();
    bench.now += Duration::from_secs(3600);
    assert_eq!(bench.ledger.next_alarm(Stage::Working, None), None, "everything is kept");
}

#[test]
fn old_usage_is_removed_at_once_and_then_hourly() {
    let age = Duration::from_secs(5);
    let options = RunnerOptions { usage_retention: Some(age), ..RunnerOptions::default() };
    let mut bench = Bench::with(options);
    let hour = Duration::from_secs(3600);
    // What a transaction of 10 ms answered, and how long after it the next one is due.
    for (answer, pause) in
        [(Some(true), Duration::from_millis(30)), (Some(false), hour), (None, Duration::from_secs(60))]
    {
        let (began, now) = (bench.now, bench.now + Duration::from_millis(10));
        let (view, mut batch) = (view!(bench), Batch::default());
        let duty = &mut bench.ledger.duties[1].1;
        duty.plan(&view, &mut batch);
        assert_eq!(batch.prune_usage, Some(age), "{answer:?}");
        match answer {
            Some(has_old_usage) => {
                duty.settle(&batch, &Receipt { has_old_usage, ..Receipt::default() }, began, now);
            }
            None => duty.fail(&batch, began, now),
        }
        assert_eq!(duty.next_due(Stage::Working), Some(now + pause), "{answer:?}");
        assert_eq!(duty.next_due(Stage::Draining), None);
        bench.now = now + pause;
    }
}

#[test]
fn names_are_looked_at_in_parts_and_then_hourly() {
    let mut bench = Bench::with(RunnerOptions { forgets_names: true, ..RunnerOptions::default() });
    let hour = Duration::from_secs(3600);
    // The name at which a part begins; what a transaction of 10 ms answered, and how long after it the next is due.
    for (after, answer, pause) in [
        ("", Some(Some("b")), Duration::from_millis(30)),
        ("b", None, Duration::from_secs(60)),
        ("b", Some(None), hour),
        ("", Some(None), hour),
    ] {
        let (began, now) = (bench.now, bench.now + Duration::from_millis(10));
        let (view, mut batch) = (view!(bench), Batch::default());
        let duty = &mut bench.ledger.duties[2].1;
        duty.plan(&view, &mut batch);
        assert_eq!(batch.forget_names.as_deref(), Some(after), "{answer:?}");
        match answer {
            Some(names_after) => {
                let receipt = Receipt { names_after: names_after.map(Into::into), ..Receipt::default() };
                duty.settle(&batch, &receipt, began, now);
            }
            None => duty.fail(&batch, began, now),
        }
        assert_eq!(duty.next_due(Stage::Working), Some(now + pause), "{answer:?}");
        bench.now = now + pause;
    }
}

#[test]
fn a_runner_claims_ahead_what_its_slots_get_through_soon() {
    let micros = Duration::from_micros;
    let slices = [None, Some(Duration::from_secs(1)), Some(micros(5000)), Some(micros(1)), Some(micros(0))];
    let of = |commit| slices.map(|slice| prefetch(slice, commit));
    assert_eq!(of(Duration::ZERO), [0, 0, 4, 512, 512]);
    assert_eq!(of(micros(10_000)), [0, 0, 4, 512, 512]);
    assert_eq!(of(micros(30_000)), [0, 0, 12, 512, 512], "two commits");
    assert_eq!(of(Duration::from_secs(9)), [0, 0, 40, 512, 512]);
}

#[test]
fn a_prefetch_that_no_slot_takes_becomes_stale() {
    let mut load = Bench::new().load;
    let mut now = Instant::now();
    let mut prefetch = Prefetch::default();
    (load.ready, load.queued, load.taken) = (3, 10, 7);
    assert!(!prefetch.is_stale(&load, now));
    now += STALE_PREFETCH / 2;
    (load.queued, load.taken) = (13, 10);
    assert!(!prefetch.is_stale(&load, now), "slots have taken all that waited then");
    assert_eq!(prefetch.stale_at(), Some(now + STALE_PREFETCH));
    now += STALE_PREFETCH;
    assert!(prefetch.is_stale(&load, now));
    assert_eq!(prefetch.stale_at(), None);
    assert!(!prefetch.is_stale(&load, now));
    load.ready = 0;
    now += STALE_PREFETCH;
    assert!(!prefetch.is_stale(&load, now), "nothing lies there");
}

#[test]
fn a_prefetch_of_which_slots_take_too_little_becomes_stale() {
    let mut load = Bench::new().load;
    let began = Instant::now();
    let mut prefetch = Prefetch::default();
    (load.ready, load.queued, load.taken) = (89, 89, 0);
    assert!(!prefetch.is_stale(&load, began));
    // A slot takes one now and then: nobody knows how long the last would wait.
    for step in 1..4 {
        (load.ready, load.taken) = (89 - step, step);
        assert!(!prefetch.is_stale(&load, began + STALE_PREFETCH * step as u32 / 4), "{step}");
    }
    assert_eq!(prefetch.stale_at(), Some(began + STALE_PREFETCH));
    assert!(prefetch.is_stale(&load, began + STALE_PREFETCH));
    // The awaited wait for as long as they have to.
    (load.ready, load.awaited) = (2, 2);
    for step in 0..9 {
        load.taken += 1;
        assert!(!prefetch.is_stale(&load, began + STALE_PREFETCH * step), "{step}");
    }
}

#[test]
fn a_store_that_fails_is_left_alone_for_longer_and_longer() {
    let (mut outage, mut now) = (Outage::default(), Instant::now());
    let pauses: Vec<_> = (0..9).map(|_| outage.lengthen_pause(now).as_millis()).collect();
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    assert!(outage.is_paused(now + Duration::from_millis(4999)));
    now += Duration::from_secs(5);
    assert!(!outage.is_paused(now));
    outage.end_pause_if_over(now);
    assert_eq!(outage.lengthen_pause(now).as_millis(), 50);
}

#[test]
fn an_outage_begins_once_and_ends_once() {
    let (mut outage, now) = (Outage::default(), Instant::now());
    outage.end();
    assert!(!outage.has_just_begun() && outage.take_ended().is_none(), "there was none");
    for _ in 0..2 {
        outage.lengthen_pause(now);
        assert!(outage.has_just_begun());
        outage.lengthen_pause(now);
        assert!(!outage.has_just_begun());
        outage.end();
        assert!(outage.take_ended().is_some());
        outage.end();
        assert!(outage.take_ended().is_none());
    }
}

#[test]
fn questions_wait_for_a_remote_store_as_long_as_a_lease() {
    let now = Instant::now();
    let mut outage = Outage::default();
    assert!(outage.put_off(submit(1).0, Some(LEASE), now).is_none(), "they wait");
    let mut new = submit(2).0;
    outage.ask_again(&mut new);
    let sizes: Vec<_> = new.submits.iter().map(|submit| submit.children.len()).collect();
    assert_eq!(sizes, [1, 2], "the older ones first");
    let refused = outage.put_off(new, Some(LEASE), now + LEASE).expect("the patience is over");
    assert_eq!(refused.submits.len(), 2);
    assert!(Outage::default().put_off(submit(1).0, None, now).is_some(), "a full disk may stay full");
}

#[test]
fn a_stop_takes_its_steps_once() {
    let began = Instant::now();
    let grace = began + Duration::from_secs(30);
    let none = StopSteps::default();
    let gives_back = StopSteps { gives_back: true, ..none };
    let kills = StopSteps { kills: true, ..none };
    let late = grace + KILL_PATIENCE + Duration::from_millis(1);
    let rows = [
        (Stage::Working, began, none),
        (Stage::Draining, began, gives_back),
        (Stage::Draining, began, none),
        (Stage::Draining, grace, StopSteps { ends_grace: true, ..kills }),
        (Stage::Killing, grace, none),
        (Stage::Killing, late, StopSteps { abandons_stuck: true, ..none }),
        (Stage::Killing, late, StopSteps { abandons_stuck: true, ..none }),
    ];
    let mut stopping = Stopping::default();
    for (stage, now, steps) in rows {
        assert_eq!(stopping.advance(stage, Some(grace), now), steps, "{stage:?}");
    }
    // A kill without a drain before it does both.
    let steps = Stopping::default().advance(Stage::Killing, Some(grace), began);
    assert_eq!(steps, StopSteps { gives_back: true, ..kills });
}
