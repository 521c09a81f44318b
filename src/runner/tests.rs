//! The runner with guests that are closures: what would be slow or impossible to
//! provoke with components.

mod callers;
mod cap;
mod observers;
mod outcomes;
mod relief;
mod shortages;
mod starts;
mod steps;
pub(super) mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::support::*;
use super::ledger::View;
use super::ledger::duties::Duty;
use super::stage::Stage;
use super::*;
use crate::model::{
    AwaitMode, ChildRequest, ComponentDigest, Invocation, InvocationId, LogEntry, LogStream, RunnerId,
    SlotControl, Status, SubmitOptions,
};
use crate::store::{Batch, Cancel, ClaimRequest, NewInvocation, Receipt, Store, Submitted};

/// Whatever takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn no_wake_up_is_lost_however_trees_wait() {
    for round in 0..24_u64 {
        for is_instant in [true, false] {
            let slots = 1 + (round % 4) as usize;
            let store = Slow::new(is_instant);
            let guests = Arc::new(Closures::default().with("tree", tree));
            let runner = start(&store, &guests, options(slots));
            let ids: Vec<_> = (0..4).map(|n| store.submit("tree", &[4, 3, round * 100 + n])).collect();
            for id in ids {
                assert_eq!(value(&runner, id), Ok(size(4, 3)), "round {round}, instant {is_instant}");
            }
            let gauge = runner.stop();
            assert!((1..=slots).contains(&guests.peak.load(Ordering::SeqCst)));
            assert_eq!(guests.running.load(Ordering::SeqCst), 0);
            assert_eq!((gauge.running, gauge.live, gauge.failed), (0, 0, 0), "{gauge:?}");
            assert_eq!(gauge.succeeded, 4 * size(4, 3));
        }
    }
}

#[test]
fn many_waiters_of_one_result_are_all_woken() {
    for is_instant in [true, false] {
        let store = Slow::new(is_instant);
        let (open, is_open) = channel::<()>();
        let is_open = Arc::new(Mutex::new(is_open));
        let guests = Closures::default()
            .with("gate", move |_| {
                let is_open = Arc::clone(&is_open);
                async move {
                    is_open.lock().recv().expect("it is opened");
                    Ok(7)
                }
            })
            .with("waiter", |hands| async move {
                // An id is two of the numbers that arguments are made of here.
                let id = u128::from(hands.argument(0)) << 64 | u128::from(hands.argument(1));
                let id = InvocationId::from_bytes(id.to_be_bytes());
                Ok(hands.wait(vec![id], AwaitMode::All).await?[0].1)
            });
        let guests = Arc::new(guests);
        let gate = store.submit("gate", &[]);
        let number = u128::from_be_bytes(*gate.as_bytes());
        let halves = [(number >> 64) as u64, number as u64];
        let ids: Vec<_> = (0..500).map(|_| store.submit("waiter", &halves)).collect();
        let runner = start(&store, &guests, options(2));
        // One slot is behind the gate; the other parks all waiters.
        let deadline = Instant::now() + PATIENCE;
        while runner.handle().gauge().live < 501 {
            assert!(Instant::now() < deadline, "{:?}", runner.handle().gauge());
            std::thread::yield_now();
        }
        open.send(()).expect("the gate listens");
        for id in ids {
            assert_eq!(value(&runner, id), Ok(7));
        }
    }
}

/// Each of them computes for a moment and sleeps for less than the others need together: there is always one to resume.
#[test]
fn guests_that_sleep_in_a_loop_do_not_keep_others_from_starting() {
    const SLEEPERS: usize = 200;
    for is_instant in [true, false] {
        let store = Slow::new(is_instant);
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let guests = Closures::default()
            .with("sleeper", move |hands| {
                let ends = Arc::clone(&ends);
                async move {
                    while !ends.load(Ordering::SeqCst) {
                        let began = Instant::now();
                        while began.elapsed() < Duration::from_micros(100) {
                            std::hint::spin_loop();
                        }
                        hands.wait(Vec::new(), AwaitMode::AnyWithin(Duration::from_millis(1))).await?;
                    }
                    Ok(0)
                }
            })
            .with("hello", |_| async { Ok(7) });
        let guests = Arc::new(guests);
        let sleepers: Vec<_> = (0..SLEEPERS).map(|_| store.submit("sleeper", &[])).collect();
        let runner = start(&store, &guests, options(1));
        let deadline = Instant::now() + PATIENCE;
        while runner.handle().gauge().live < SLEEPERS {
            assert!(Instant::now() < deadline, "{:?}", runner.handle().gauge());
            std::thread::yield_now();
        }
        let hello = store.submit("hello", &[]);
        assert_eq!(value(&runner, hello), Ok(7));
        is_over.store(true, Ordering::SeqCst);
        for id in sleepers {
            assert_eq!(value(&runner, id), Ok(0));
        }
    }
}

#[test]
fn a_stop_at_any_moment_is_bounded_and_loses_nothing() {
    for round in 0..40_u64 {
        let is_instant = round % 2 == 0;
        let store = Slow::new(is_instant);
        let guests = Arc::new(Closures::default().with("tree", tree));
        let ids: Vec<_> = (0..3).map(|n| store.submit("tree", &[5, 2, round * 10 + n])).collect();
        let runner = start(&store, &guests, options(2));
        // The moment is the point.
        std::thread::sleep(Duration::from_micros(mix(round) % 4000));
        let began = Instant::now();
        if round % 3 == 0 {
            runner.handle().kill();
        }
        runner.stop();
        let took = began.elapsed();
        assert!(took < Duration::from_millis(1200), "round {round}: {took:?}");
        for invocation in store.all() {
            let Invocation { status, attempt, .. } = invocation;
            let is_settled = status.is_final() || (status, attempt) == (Status::Queued, 0);
            assert!(is_settled, "round {round}: {invocation:?}");
        }
        let runner = start(&store, &guests, options(2));
        for id in ids {
            assert_eq!(value(&runner, id), Ok(size(5, 2)), "round {round}");
        }
        drop(runner);
        assert_eq!(store.all().len() as u64, 3 * size(5, 2), "round {round}: no child exists twice");
    }
}

#[test]
fn a_host_that_panics_costs_one_attempt_and_no_slot() {
    struct PanicOnDrop;
    impl Drop for PanicOnDrop {
        fn drop(&mut self) {
            panic!("while dropped");
        }
    }
    for is_instant in [true, false] {
        let store = Slow::new(is_instant);
        let guests = Closures::default()
            .with("tree", tree)
            .with("panic-at-start", |_| async { Ok(0) })
            .with("panic", |_| async { panic!("while polled") })
            .with("panic-later", |_| async {
                yield_to_a_thread().await;
                panic!("after a pause")
            })
            .with("panic-on-drop", |_| async {
                let kept = PanicOnDrop;
                std::future::pending::<()>().await;
                drop(kept);
                Ok(0)
            });
        let guests = Arc::new(guests);
        let runner = start(&store, &guests, options(1));
        for task in ["panic-at-start", "panic", "panic-later"] {
            let id = store.submit(task, &[]);
            let message = value(&runner, id).expect_err(task);
            assert!(message.contains("a bug in the runner"), "{task}: {message}");
        }
        let stuck = store.submit("panic-on-drop", &[]);
        let deadline = Instant::now() + PATIENCE;
        while runner.handle().gauge().running == 0 {
            // What is submitted behind the runner's back is not told by a memory
            // store: a wait asks for it.
            let _ = runner.wait_final(stuck, Some(Duration::from_millis(1)));
            assert!(Instant::now() < deadline);
        }
        runner.handle().cancel(stuck, "enough");
        assert!(value(&runner, stuck).is_err());
        let id = store.submit("tree", &[2, 2, 1]);
        assert_eq!(value(&runner, id), Ok(7), "the only slot still works");
        assert_eq!(runner.stop().live, 0);
    }
}

#[test]
fn a_guest_whose_reports_are_stale_is_killed() {
    for is_instant in [true, false] {
        let store = Slow::new(is_instant);
        let (dropped, drops) = channel();
        let guests = Closures::default().with("talker", move |hands| {
            let dropped = dropped.clone();
            async move {
                let _dropped = Dropped(dropped, hands.claim.id);
                loop {
                    let entry = LogEntry {
                        at: crate::model::UnixMicros(1),
                        attempt: hands.claim.attempt,
                        stream: LogStream::Log,
                        level: None,
                        text: "still here".to_owned(),
                    };
                    hands.client.log(&hands.caller(), vec![entry]);
                    yield_to_a_thread().await;
                }
            }
        });
        let guests = Arc::new(guests);
        let id = store.submit("talker", &[]);
        let runner = start(&store, &guests, options(1));
        let deadline = Instant::now() + PATIENCE;
        while store.one(id).status != Status::Running {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        // Somebody else cancels it, and the store tells nobody.
        let cancel = Cancel { id, by: None, message: "from elsewhere".to_owned() };
        store.store.commit(&Batch { cancels: vec![cancel], ..Batch::default() }).expect("a commit");
        assert_eq!(drops.recv_timeout(PATIENCE), Ok(id));
        assert_eq!(store.one(id).status, Status::Cancelled);
        drop(runner);
    }
}

#[test]
fn a_runner_that_loses_its_lease_kills_its_guests_and_goes_on_as_another() {
    let store = Slow::new(false);
    let (dropped, drops) = channel();
    let guests = Closures::default().with("tree", tree).with("sleeper", move |hands| {
        let dropped = dropped.clone();
        async move {
            let _dropped = Dropped(dropped, hands.claim.id);
            // A guest that does nothing learns of it all the same.
            std::future::pending().await
        }
    });
    let guests = Arc::new(guests);
    let id = store.submit("sleeper", &[]);
    let lease = Duration::from_millis(100);
    let runner = start(&store, &guests, with_lease(lease, options(1)));
    let deadline = Instant::now() + PATIENCE;
    while store.one(id).status != Status::Running {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    let other = RunnerId::generate();
    {
        // No heartbeat gets through, until another has taken the work.
        let _closed = store.gate.lock();
        let claim = ClaimRequest {
            runner: other,
            lease: PATIENCE,
            max: 1,
            max_bytes: usize::MAX,
            awaited: Vec::new(),
            only_awaited: false,
            leads: Arc::default(),
            tasks: guests.tasks(),
            root: None,
        };
        loop {
            let batch = Batch { recover: true, claim: Some(claim.clone()), ..Batch::default() };
            let receipt = store.store.commit(&batch).expect("a commit");
            if !receipt.claimed.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        assert_eq!(drops.recv_timeout(PATIENCE), Ok(id), "its guest is killed while the commit hangs");
    }
    let next = store.submit("tree", &[2, 2, 1]);
    assert_eq!(value(&runner, next), Ok(7), "it goes on");
    let sleeper = store.one(id);
    assert_eq!((sleeper.runner, sleeper.attempt), (Some(other), 2), "and leaves alone what is not its own");
    drop(runner);
    assert_eq!(store.one(id).status, Status::Claimed);
}

/// A process that is stopped in the middle of a commit learns of its claims when
/// their lease is over.
#[test]
fn a_claim_that_is_told_after_its_lease_is_not_started() {
    let store = Slow::new(false);
    let (started, starts) = channel();
    let guests = Closures::default().with("which-attempt", move |hands| {
        started.send(hands.claim.attempt).expect("the test listens");
        async move { Ok(u64::from(hands.claim.attempt)) }
    });
    let guests = Arc::new(guests);
    let id = store.submit("which-attempt", &[]);
    let runner = {
        let _closed = store.claim_gate.lock();
        let lease = Duration::from_millis(100);
        let runner = start(&store, &guests, with_lease(lease, options(1)));
        let deadline = Instant::now() + PATIENCE;
        while store.one(id).status != Status::Claimed {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        let recovery = Batch { recover: true, ..Batch::default() };
        while store.store.commit(&recovery).expect("a commit").recovered == 0 {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        runner
    };
    assert_eq!(value(&runner, id), Ok(2));
    drop(runner);
    assert_eq!(starts.try_iter().collect::<Vec<_>>(), [2], "the first attempt was somebody else's to take");
}

/// What it can't write it may no longer own: another runner may have it by now.
#[test]
fn a_runner_whose_store_is_away_for_a_lease_kills_its_guests_and_runs_them_again() {
    let store = Slow::new(false);
    let (dropped, drops) = channel();
    let guests = Closures::default().with("second-time-lucky", move |hands| {
        let dropped = dropped.clone();
        async move {
            if hands.claim.attempt == 2 {
                return Ok(2);
            }
            let _dropped = Dropped(dropped, hands.claim.id);
            std::future::pending().await
        }
    });
    let guests = Arc::new(guests);
    let id = store.submit("second-time-lucky", &[]);
    let lease = Duration::from_millis(200);
    let runner = start(&store, &guests, with_lease(lease, options(1)));
    let deadline = Instant::now() + PATIENCE;
    while store.one(id).status != Status::Running {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    store.is_away.store(true, Ordering::SeqCst);
    assert_eq!(drops.recv_timeout(PATIENCE), Ok(id), "its guest is killed although nobody says so");
    assert!(!store.one(id).status.is_final());
    store.is_away.store(false, Ordering::SeqCst);
    assert_eq!(value(&runner, id), Ok(2));
    let reasons: Vec<_> =
        store.history(id).expect("a read").iter().map(|transition| transition.reason).collect();
    assert!(reasons.contains(&crate::model::Reason::LeaseExpired), "{reasons:?}");
    drop(runner);
}

/// A store that takes small batches alone must get the start of an attempt before
/// its end: the end by itself would be stale.
#[test]
fn what_was_held_of_one_attempt_is_written_together() {
    let store = Slow::new(false);
    let (dropped, drops) = channel();
    let away = Arc::clone(&store);
    let guests = Closures::default().with("talker", move |hands| {
        let (dropped, away) = (dropped.clone(), Arc::clone(&away));
        async move {
            let _dropped = Dropped(dropped, hands.claim.id);
            away.is_away.store(true, Ordering::SeqCst);
            // Refused with the batch that says that it started.
            let refused = hands.submit(vec![child("talker", &[])]).await;
            refused.map_or(Ok(5), |_| Err("the store is away".to_owned()))
        }
    });
    let guests = Arc::new(guests);
    let ids = [store.submit("talker", &[]), store.submit("talker", &[])];
    let runner = start(&store, &guests, options(2));
    for _ in ids {
        drops.recv_timeout(PATIENCE).expect("it ends");
    }
    store.is_small.store(true, Ordering::SeqCst);
    store.is_away.store(false, Ordering::SeqCst);
    for id in ids {
        assert_eq!(value(&runner, id), Ok(5));
        assert_eq!(store.one(id).attempt, 1);
    }
}

#[test]
fn a_guest_that_computes_through_the_grace_time_is_given_back() {
    let store = Slow::new(false);
    let guests = Closures::default().with("spin", |hands| async move {
        while !hands.control.is_killed() {
            std::thread::yield_now();
        }
        Err("interrupted".to_owned())
    });
    let guests = Arc::new(guests);
    let id = store.submit("spin", &[]);
    let runner = start(&store, &guests, options(2));
    let deadline = Instant::now() + PATIENCE;
    while store.one(id).status != Status::Running {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    let began = Instant::now();
    let gauge = runner.stop();
    assert!(began.elapsed() < Duration::from_millis(1200), "{:?}", began.elapsed());
    assert_eq!((gauge.released, gauge.failed), (1, 0), "{gauge:?}");
    assert_eq!((store.one(id).status, store.one(id).attempt), (Status::Queued, 0));
}

#[test]
fn awaiting_nothing_is_answered_at_once_and_any_of_nothing_is_refused() {
    for is_instant in [true, false] {
        let store = Slow::new(is_instant);
        let guests = Closures::default()
            .with(
                "all",
                |hands| async move { Ok(hands.wait(Vec::new(), AwaitMode::All).await?.len() as u64) },
            )
            .with(
                "any",
                |hands| async move { Ok(hands.wait(Vec::new(), AwaitMode::Any).await?.len() as u64) },
            );
        let guests = Arc::new(guests);
        let (all, any) = (store.submit("all", &[]), store.submit("any", &[]));
        let runner = start(&store, &guests, options(1));
        assert_eq!(value(&runner, all), Ok(0));
        assert!(value(&runner, any).is_err_and(|message| message.contains("never end")));
    }
}

#[test]
fn a_wait_with_a_limit_of_time_ends_with_it_and_holds_no_slot() {
    const FOREVER: Duration = Duration::from_secs(1_000_000);
    for is_instant in [true, false] {
        let store = Slow::new(is_instant);
        let guests = Closures::default()
            .with("one", |_| async { Ok(1) })
            .with("sleeper", |hands| async move {
                Ok(hands.wait(Vec::new(), AwaitMode::AnyWithin(FOREVER)).await?.len() as u64)
            })
            .with("napper", |hands| async move {
                let moment = AwaitMode::AnyWithin(Duration::from_millis(1));
                Ok(hands.wait(Vec::new(), moment).await?.len() as u64)
            })
            .with("waiter", |hands| async move {
                let options = SubmitOptions { delay: FOREVER, ..SubmitOptions::default() };
                let late = hands.submit(vec![ChildRequest { options, ..child("one", &[]) }]).await?;
                let moment = AwaitMode::AnyWithin(Duration::from_millis(1));
                let none = hands.wait(late.clone(), moment).await?;
                let ids = [late, hands.submit(vec![child("one", &[])]).await?].concat();
                let found = hands.wait(ids.clone(), AwaitMode::AnyWithin(FOREVER)).await?;
                // What is there already is found in no time.
                let again = hands.wait(ids, AwaitMode::AnyWithin(Duration::ZERO)).await?;
                let is_right = none.is_empty() && found == [(1, 1)] && again == found;
                Ok(u64::from(is_right))
            });
        let guests = Arc::new(guests);
        // The only slot is held by none of them.
        let sleeper = store.submit("sleeper", &[]);
        let (napper, waiter) = (store.submit("napper", &[]), store.submit("waiter", &[]));
        let runner = start(&store, &guests, options(1));
        assert_eq!((value(&runner, napper), value(&runner, waiter)), (Ok(0), Ok(1)));
        assert_eq!(runner.stop().released, 1);
        assert!(!store.one(sleeper).status.is_final());
    }
}

/// Whatever a guest submits at once, nobody's commit waits for all of it; and it comes
/// back whole and in order, also if the store fails in the middle.
#[test]
fn many_children_are_submitted_a_share_at_a_time() {
    const COUNT: u64 = 2_700;
    for is_instant in [true, false] {
        let store = Slow::new(is_instant);
        let guests =
            Arc::new(Closures::default().with("leaf", |hands| async move { Ok(hands.argument(0)) }).with(
                "parent",
                |hands| async move {
                    let ids = hands.submit((0..COUNT).map(|n| child("leaf", &[n])).collect()).await?;
                    let values = hands.wait(ids, AwaitMode::All).await?;
                    let in_order =
                        values.iter().enumerate().all(|(place, found)| *found == (place, place as u64));
                    Ok(if in_order { values.len() as u64 } else { 0 })
                },
            ));
        let runner = start(&store, &guests, options(2));
        let id = store.submit("parent", &[]);
        assert_eq!(value(&runner, id), Ok(COUNT));
        runner.stop();
        let most = store.most_submits.load(Ordering::SeqCst);
        assert!((2..=1_000).contains(&most), "{most}");
        assert_eq!(store.all().len() as u64, COUNT + 1);
    }
}

/// Submits one invocation, at once and never again.
struct Once {
    due: Instant,
    is_done: bool,
    submitted: std::sync::mpsc::Sender<InvocationId>,
}

impl Duty for Once {
    fn next_due(&self, _stage: Stage) -> Option<Instant> {
        (!self.is_done).then_some(self.due)
    }

    fn plan(&mut self, view: &View<'_>, batch: &mut Batch) {
        if self.next_due(view.stage).is_some() {
            batch.submits.push(NewInvocation::new(
                "good",
                ComponentDigest::from_bytes([0; 32]),
                "[]".to_owned(),
            ));
        }
    }

    fn settle(&mut self, _batch: &Batch, receipt: &Receipt, _began: Instant, _now: Instant) {
        let [Submitted::Created(id)] = receipt.submits[..] else { panic!("{:?}", receipt.submits) };
        self.is_done = true;
        self.submitted.send(id).expect("the test listens");
    }

    fn fail(&mut self, _batch: &Batch, _began: Instant, _now: Instant) {}
}

#[test]
fn a_duty_gets_the_answers_to_what_it_submits_and_the_runner_runs_it() {
    for is_instant in [true, false] {
        let store = Slow::new(is_instant);
        let guests = Arc::new(Closures::default().with("good", |_| async { Ok(7) }));
        let runner = start(&store, &guests, options(1));
        let (submitted, ids) = channel();
        let duty = Once { due: Instant::now(), is_done: false, submitted };
        runner.core.ledger.lock().duties.push(("nothing was submitted", Box::new(duty)));
        runner.core.inbox.call();
        let id = ids.recv_timeout(PATIENCE).expect("it is submitted");
        assert_eq!(value(&runner, id), Ok(7));
        assert_eq!(runner.stop().succeeded, 1);
    }
}
