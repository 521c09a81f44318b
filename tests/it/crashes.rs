//! A fault at every call of the store: the call is refused, or done and not answered, or
//! the process crashes there. Every acknowledged invocation is finished nevertheless,
//! once, with the right value.
//!
//! One pass without a fault counts the calls; then one pass for each call fails there.
//! Guests are closures, stores are real.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use run_wasm_runner::model::{
    Clock, InvocationId, LogEntry, LogStream, Outcome, Progress, Reason, RunnerSettings, Status,
};
use run_wasm_runner::runner::{Runner, RunnerHandle, RunnerOptions};
use run_wasm_runner::store::{
    Batch, Cancel, Cancelled, MemoryStore, NewInvocation, PostgresStore, PostgresUrl, SqliteStore, Store,
    StoreError,
};
use rusqlite::ffi;

use crate::store_contract::harness::assert_store_is_consistent;
use crate::support::closures::{Closures, Hands, child, number, root};
use crate::support::database;
use crate::support::disk::{Disk, Failure};
use crate::support::faulty_store::{Fault, FaultyStore, Fired, ShiftedClock};

/// A pass that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than any pass takes; whoever crashed is recovered by moving the clock.
const LEASE: Duration = Duration::from_secs(300);

/// The event that a pass waits for.
enum Event {
    /// The guest that is to be given back has parked.
    Parked,
    /// The store has died.
    Died,
    /// Everything is final.
    Done(Result<(), String>),
}

/// Counts the invocations of its tree, `[depth, width]`.
async fn tree(hands: Hands) -> Result<u64, String> {
    let (depth, width) = (hands.argument(0), hands.argument(1));
    if depth == 0 {
        return Ok(1);
    }
    let children = (0..width).map(|place| child("tree", &[depth - 1, width, place])).collect();
    let ids = hands.submit(children).await?;
    Ok(1 + hands.wait_all(ids).await?.iter().sum::<u64>())
}

/// Never ends by itself, and holds no slot.
async fn park(hands: &Hands) -> Result<u64, String> {
    let mut never = child("tree", &[0, 0]);
    never.options.delay = Duration::from_secs(100_000);
    let ids = hands.submit(vec![never]).await?;
    Ok(hands.wait_all(ids).await?[0])
}

/// The guests of the workload. `held` is told when it parks, which it does as
/// long as it has to.
fn guests(parked: Sender<Event>, is_held: Arc<AtomicBool>) -> Arc<Closures> {
    let guests = Closures::default()
        .with("tree", tree)
        .with("calls", |hands| async move {
            let mut total = 0;
            for width in 1..=2 {
                total += hands.call(child("tree", &[1, width])).await?;
            }
            Ok(total)
        })
        .with("flaky", |hands| async move {
            // A failed attempt has children; the next one finds them.
            let ids = hands.submit(vec![child("tree", &[0, 0])]).await?;
            let ones = hands.wait_all(ids).await?;
            match hands.claim.attempt {
                1 | 2 => Err("not yet".to_owned()),
                _ => Ok(ones[0] + 4),
            }
        })
        .with("hang", |hands| async move { park(&hands).await })
        .with("first", |hands| async move {
            let children = vec![child("hang", &[]), child("tree", &[0, 0]), child("hang", &[])];
            let ids = hands.submit(children).await?;
            let mut left = ids.clone();
            loop {
                // A repeated attempt finds those that the last one cancelled.
                let (place, outcome) = hands.wait_any(left.clone()).await?;
                let id = left.remove(place);
                if let Ok(value) = outcome {
                    for other in ids.into_iter().filter(|other| *other != id) {
                        hands.cancel(other).await?;
                    }
                    return Ok(10 * value);
                }
            }
        })
        .with("talker", |hands| async move {
            let entry = LogEntry {
                at: run_wasm_runner::model::UnixMicros(1),
                attempt: hands.claim.attempt,
                stream: LogStream::Log,
                level: None,
                text: "a line".to_owned(),
            };
            hands.client.log(&hands.caller(), vec![entry]);
            hands.client.progress(&hands.caller(), Progress { done: 1, total: 1, message: String::new() });
            let mut outliving = child("tree", &[0, 0]);
            outliving.options.detached = true;
            let ids = hands.submit(vec![outliving]).await?;
            hands.client.status(ids[0]).await.map_err(|refusal| refusal.to_string())?;
            Ok(6)
        })
        .with("held", move |hands| {
            let (parked, is_held) = (parked.clone(), Arc::clone(&is_held));
            async move {
                if is_held.load(Ordering::SeqCst) {
                    // Nobody listens any more if the store has died.
                    let _ = parked.send(Event::Parked);
                    return park(&hands).await;
                }
                Ok(7)
            }
        });
    Arc::new(guests)
}

/// The end that a root must have.
#[derive(Debug, Clone, Copy)]
enum Expected {
    Value(u64),
    /// The client cancels it.
    Cancelled,
}

/// A root, what becomes of it, and how many invocations its tree has at the end:
/// what is cancelled may not have come to its children.
type Wanted = (NewInvocation, Expected, RangeInclusive<usize>);

fn workload() -> Vec<Wanted> {
    let delayed = NewInvocation { delay: Duration::from_millis(5), ..root("tree", &[1, 1]) };
    vec![
        (root("tree", &[2, 2]), Expected::Value(7), 7..=7),
        (root("calls", &[]), Expected::Value(5), 6..=6),
        (root("flaky", &[]), Expected::Value(5), 2..=2),
        (root("first", &[]), Expected::Value(10), 4..=6),
        (root("talker", &[]), Expected::Value(6), 2..=2),
        (root("held", &[]), Expected::Value(7), 1..=2),
        (root("hang", &[]), Expected::Cancelled, 1..=2),
        (delayed, Expected::Value(2), 2..=2),
    ]
}

/// The things that every pass needs anew.
struct Ground {
    store: Arc<dyn Store>,
    clock: Arc<ShiftedClock>,
    is_instant: bool,
    _directory: Option<tempfile::TempDir>,
}

impl Ground {
    fn memory(is_instant: bool) -> Self {
        let clock = Arc::new(ShiftedClock::default());
        let store = Arc::new(MemoryStore::new(Arc::clone(&clock) as Arc<dyn Clock>));
        Self { store, clock, is_instant, _directory: None }
    }

    fn sqlite() -> Self {
        let clock = Arc::new(ShiftedClock::default());
        // A crash of the process asks nothing of the disk: in memory if possible.
        let directory = match Path::new("/dev/shm").is_dir() {
            true => tempfile::tempdir_in("/dev/shm"),
            false => tempfile::tempdir(),
        };
        let directory = directory.expect("a directory");
        let path = directory.path().join("state.db");
        let store = SqliteStore::open(&path, Arc::clone(&clock) as Arc<dyn Clock>).expect("a new store");
        Self { store: Arc::new(store), clock, is_instant: false, _directory: Some(directory) }
    }

    fn postgres() -> Self {
        let clock = Arc::new(ShiftedClock::default());
        let url = PostgresUrl::parse(&database::shared().url()).expect("a URL");
        let store = PostgresStore::open(&url, Some(Arc::clone(&clock) as Arc<dyn Clock>));
        let store = Arc::new(store.expect("a new store"));
        Self { store, clock, is_instant: false, _directory: None }
    }

    /// On a disk of which operations fail, from the one numbered `at` after the
    /// opening on.
    fn failing_disk(at: usize, code: std::ffi::c_int) -> (Self, Arc<Disk>) {
        let clock = Arc::new(ShiftedClock::default());
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state.db");
        let disk = Arc::new(Disk::new());
        let store = SqliteStore::open_with(&path, Arc::clone(&clock) as Arc<dyn Clock>, Some(disk.vfs()));
        let store = Arc::new(store.expect("a new store"));
        disk.fail(Failure { at: disk.operations() + at, count: 5, code, of_reads: false });
        (Self { store, clock, is_instant: false, _directory: Some(directory) }, disk)
    }

    fn start(&self, store: &Arc<FaultyStore>, guests: &Arc<Closures>) -> Option<Runner> {
        let options = RunnerOptions {
            slots: 2,
            settings: RunnerSettings { final_cache_entries: 3, lease: LEASE, ..RunnerSettings::default() },
            grace: Duration::ZERO,
            ..RunnerOptions::default()
        };
        loop {
            let (store, guests) = (Arc::clone(store) as Arc<dyn Store>, Arc::clone(guests) as _);
            let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
            match Runner::start(store.clone(), guests, clock, options.clone()) {
                Ok(runner) => return Some(runner),
                // A fault at its first call, which whoever starts it sees.
                Err(error) => assert!(error.to_string().contains("as asked"), "{error}"),
            }
            if store.counts(None).is_err() {
                return None;
            }
        }
    }
}

/// One pass: the workload with a fault at one call.
struct Pass {
    ground: Ground,
    store: Arc<FaultyStore>,
    guests: Arc<Closures>,
    is_held: Arc<AtomicBool>,
    sender: Sender<Event>,
    events: Receiver<Event>,
    fault: Fault,
    /// For messages.
    what: String,
}

/// The observations of a pass.
struct Seen {
    /// Returns the call that failed, if one did.
    fired: Option<Fired>,
    /// The number of cancelled guests that were billed.
    billed: usize,
}

/// Crashed runners that find out about it in their own time.
type Dying = Arc<Mutex<Vec<JoinHandle<()>>>>;

impl Pass {
    fn new(ground: Ground, fault: (Fault, usize)) -> Self {
        let (sender, events) = channel();
        let died = sender.clone();
        let store = FaultyStore::new(Arc::clone(&ground.store), ground.is_instant, fault, move || {
            let _ = died.send(Event::Died);
        });
        let is_held = Arc::new(AtomicBool::new(true));
        let guests = guests(sender.clone(), Arc::clone(&is_held));
        let what = format!("{}, {:?} at call {}", ground.store.url(), fault.0, fault.1);
        Self { ground, store, guests, is_held, sender, events, fault: fault.0, what }
    }

    /// Does something to the store as a client that tries again, with the same
    /// ids. `false` if the store has died.
    fn insist(&self, batch: &Batch) -> bool {
        while !self.store.is_dead() {
            match self.store.commit(batch) {
                Ok(receipt) => {
                    let is_known = |one: &Cancelled| {
                        matches!(one, Cancelled::Done | Cancelled::AlreadyFinal(Status::Cancelled))
                    };
                    assert!(receipt.cancels.iter().all(is_known), "{}: {receipt:?}", self.what);
                    return true;
                }
                Err(error) => {
                    assert!(matches!(error, StoreError::Unavailable { .. }), "{}: {error}", self.what)
                }
            }
        }
        false
    }

    fn next_event(&self) -> Event {
        match self.events.recv_timeout(PATIENCE) {
            Ok(event) => event,
            Err(_) => {
                let left: Vec<_> = all(&*self.ground.store)
                    .into_iter()
                    .filter(|one| !one.status.is_final())
                    .map(|one| {
                        let history = self.ground.store.history(one.id).expect("a read");
                        let reasons: Vec<_> = history.iter().map(|step| step.reason.as_str()).collect();
                        format!("{} {} {}: {}", one.task, one.id, one.status, reasons.join(", "))
                    })
                    .collect();
                panic!("{}: it hangs ({:?}): {left:#?}", self.what, self.store.fired());
            }
        }
    }

    /// Waits on a thread of its own until everything is final, or the runner is
    /// killed.
    fn finish(&self, runner: Runner, roots: Vec<InvocationId>, dying: &Dying) -> RunnerHandle {
        let (sender, handle) = (self.sender.clone(), runner.handle());
        dying.lock().push(std::thread::spawn(move || {
            let wait = |id| match runner.wait_final(id, None) {
                Ok(Some(_)) => Ok(()),
                other => Err(format!("{id}: {other:?}")),
            };
            let done = roots.into_iter().try_for_each(wait);
            if done.is_ok() {
                runner.wait_idle();
            }
            // Nobody listens any more if the store has died.
            let _ = sender.send(Event::Done(done));
        }));
        handle
    }

    /// A runner whose process has crashed.
    fn bury(runner: Runner, dying: &Dying) {
        runner.handle().kill();
        dying.lock().push(std::thread::spawn(move || drop(runner)));
    }

    /// Runs the workload.
    fn run(self, dying: &Dying) -> Seen {
        let workload = workload();
        let mut acknowledged = HashMap::new();
        for (submit, expected, _) in &workload {
            if self.insist(&Batch { submits: vec![submit.clone()], ..Batch::default() }) {
                acknowledged.insert(submit.id, *expected);
            }
        }
        // One that stops, and gives back what it has parked.
        if let Some(runner) = self.ground.start(&self.store, &self.guests) {
            match self.next_event() {
                Event::Parked => drop(runner),
                Event::Died => Self::bury(runner, dying),
                Event::Done(_) => panic!("{}: nobody waits yet", self.what),
            }
        }
        let cancels: Vec<_> = workload
            .iter()
            .filter(|(_, expected, _)| matches!(expected, Expected::Cancelled))
            .map(|(submit, ..)| Cancel { id: submit.id, by: None, message: "not wanted".to_owned() })
            .collect();
        self.insist(&Batch { cancels: cancels.clone(), ..Batch::default() });

        self.is_held.store(false, Ordering::SeqCst);
        // One that finishes everything, unless it crashes. What an answer that got
        // lost has left with the first one is recovered as after a crash.
        self.recover();
        let roots: Vec<_> = acknowledged.keys().copied().collect();
        let mut is_done = false;
        if let Some(runner) = self.ground.start(&self.store, &self.guests) {
            let handle = self.finish(runner, roots.clone(), dying);
            is_done = loop {
                match self.next_event() {
                    Event::Parked => {}
                    Event::Died => break false,
                    // Refused by a runner that is dying is no answer.
                    Event::Done(Err(_)) if self.store.is_dead() => break false,
                    Event::Done(done) => {
                        assert_eq!(done, Ok(()), "{}", self.what);
                        break true;
                    }
                }
            };
            handle.kill();
        }
        // And one after the crash.
        if !is_done {
            let store = FaultyStore::new(
                Arc::clone(&self.ground.store),
                self.ground.is_instant,
                (Fault::Refused, usize::MAX),
                || {},
            );
            let cancelled = store.commit(&Batch { cancels, ..Batch::default() });
            assert!(cancelled.is_ok(), "{}: {cancelled:?}", self.what);
            self.recover();
            let runner = self.ground.start(&store, &self.guests).expect("a store without faults");
            let handle = self.finish(runner, roots, dying);
            loop {
                match self.next_event() {
                    Event::Parked | Event::Died => {}
                    // Of the runner before.
                    Event::Done(Err(_)) => {}
                    Event::Done(Ok(())) => break,
                }
            }
            handle.kill();
        }
        self.check(&workload, &acknowledged);
        Seen { fired: self.store.fired(), billed: self.check_bills() }
    }

    /// Lets every lease run out.
    fn recover(&self) {
        self.ground.clock.advance(LEASE + Duration::from_secs(1));
    }

    fn check(&self, workload: &[Wanted], acknowledged: &HashMap<InvocationId, Expected>) {
        let (store, what) = (&*self.ground.store, &self.what);
        assert_store_is_consistent(store);
        for one in all(store) {
            let is_waited_for = acknowledged.contains_key(&one.root);
            assert!(one.status.is_final() || !is_waited_for, "{what}: {one:?}");
        }
        for (submit, expected, size) in workload {
            let found = store.get(&[submit.id]).expect("a read").remove(0);
            let Some(found) = found else {
                assert!(!acknowledged.contains_key(&submit.id), "{what}: {} is lost", submit.task);
                continue;
            };
            if !acknowledged.contains_key(&submit.id) && !found.status.is_final() {
                continue;
            }
            match (expected, &found.outcome) {
                (Expected::Value(value), Some(outcome)) => {
                    assert_eq!(number(outcome), Ok(*value), "{what}: {}", submit.task);
                }
                (Expected::Cancelled, Some(Outcome::Failure(_))) => {
                    assert_eq!(found.status, Status::Cancelled, "{what}: {}", submit.task);
                }
                other => panic!("{what}: {}: {other:?}", submit.task),
            }
            let tree = store.tree(submit.id).expect("a read");
            assert!(
                size.contains(&tree.len()),
                "{what}: a child of {} exists twice or never: {:#?}",
                submit.task,
                tree.iter().map(|one| (&one.task, one.id, one.parent, one.status)).collect::<Vec<_>>()
            );
        }
    }
}

impl Pass {
    /// Checks that guests which were cancelled while they waited are billed, and counts
    /// them. What becomes of those of a runner that has crashed, or whose store stays
    /// away for longer than it stops, is nobody's bill.
    fn check_bills(&self) -> usize {
        if !matches!(self.fault, Fault::Refused | Fault::Ambiguous) {
            return 0;
        }
        let store = &*self.ground.store;
        let was_waiting = |one: &run_wasm_runner::model::Invocation| {
            let history = store.history(one.id).expect("a read");
            let reasons: Vec<_> = history.iter().map(|step| step.reason).collect();
            reasons.ends_with(&[Reason::Awaiting, Reason::Cancelled])
        };
        let cancelled = all(store).into_iter().filter(was_waiting);
        cancelled
            .inspect(|one| assert!(one.usage.is_some_and(|usage| usage.has_late), "{}: {one:?}", self.what))
            .count()
    }
}

fn all(store: &dyn Store) -> Vec<run_wasm_runner::model::Invocation> {
    store.list(&crate::store_contract::harness::everything()).expect("a read")
}

/// Fails at each call in turn, until a pass ends before it comes to the call.
#[track_caller]
fn fail_at_each_call(fault: Fault, ground: impl Fn() -> Ground + Sync) {
    let dying = Dying::default();
    let faultless = Pass::new(ground(), (fault, usize::MAX));
    let store = Arc::clone(&faultless.store);
    let seen = faultless.run(&dying);
    assert!(seen.fired.is_none());
    let counted = store.calls();
    let (next, fired, missed) = (AtomicUsize::new(1), Mutex::new(HashMap::new()), AtomicUsize::new(0));
    let billed = AtomicUsize::new(seen.billed);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // How threads take turns differs from pass to pass, and with it
                // how many calls there are.
                while missed.load(Ordering::SeqCst) < 8 {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    let seen = Pass::new(ground(), (fault, at)).run(&dying);
                    billed.fetch_add(seen.billed, Ordering::SeqCst);
                    match seen.fired {
                        Some(Fired { method, .. }) => *fired.lock().entry(method).or_insert(0) += 1,
                        None => drop(missed.fetch_add(1, Ordering::SeqCst)),
                    }
                }
            });
        }
    });
    for thread in std::mem::take(&mut *dying.lock()) {
        thread.join().expect("a runner ends");
    }
    let fired = fired.into_inner();
    println!("{counted} calls without a fault; {fault:?} at {fired:?}");
    assert!(fired.values().sum::<usize>() >= counted / 2, "{fired:?} of about {counted}");
    assert!(fired["commit"] >= 10, "{fired:?}");
    let billed = billed.into_inner();
    println!("{billed} cancelled guests were billed");
    assert!(billed > 0 || !matches!(fault, Fault::Refused | Fault::Ambiguous));
}

/// Passes over SQLite with a disk that fails, at places so far apart.
fn let_the_disk_fail(code: std::ffi::c_int, step: usize) {
    let (dying, mut failed) = (Dying::default(), 0);
    for at in (1..).step_by(step) {
        let (ground, disk) = Ground::failing_disk(at, code);
        Pass::new(ground, (Fault::Refused, usize::MAX)).run(&dying);
        if disk.failed() == 0 {
            break;
        }
        failed += 1;
    }
    for thread in std::mem::take(&mut *dying.lock()) {
        thread.join().expect("a runner ends");
    }
    assert!(failed > 5, "{failed}");
}

#[test]
fn a_disk_that_is_full_for_a_while_delays_a_runner_and_nothing_else() {
    let_the_disk_fail(ffi::SQLITE_FULL, 17);
}

#[test]
fn a_disk_with_errors_for_a_while_delays_a_runner_and_nothing_else() {
    let_the_disk_fail(ffi::SQLITE_IOERR_FSYNC, 23);
}

/// Makes a test of each fault, for each store.
macro_rules! faults {
    ($($test:ident: $fault:ident)*) => {
        mod in_memory {
            $(#[test] fn $test() {
                super::fail_at_each_call(super::Fault::$fault, || super::Ground::memory(true));
            })*
        }
        mod in_memory_with_a_ledger_thread {
            $(#[test] fn $test() {
                super::fail_at_each_call(super::Fault::$fault, || super::Ground::memory(false));
            })*
        }
        mod in_postgres {
            $(#[test] fn $test() {
                super::fail_at_each_call(super::Fault::$fault, super::Ground::postgres);
            })*
        }
        mod in_sqlite {
            $(#[test] fn $test() {
                super::fail_at_each_call(super::Fault::$fault, super::Ground::sqlite);
            })*
        }
    };
}

faults! {
    a_refused_call_is_made_again: Refused
    an_outage_of_any_moment_is_survived: Outage
    a_lost_answer_is_asked_for_again: Ambiguous
    a_lost_answer_before_an_outage_is_asked_for_after_it: AmbiguousOutage
    a_crash_before_any_call_loses_nothing: DiesBefore
    a_crash_after_any_call_loses_nothing: DiesAfter
}
