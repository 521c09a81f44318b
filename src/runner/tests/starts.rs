//! Guests in the making: what ends a guest ends that too.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::{Receiver, Sender};

use parking_lot::Mutex;

use super::*;
use crate::model::{Claim, Guest, Interrupt, NoGuest, PreparedCall, Refusal, SystemClock, TaskClient};
use crate::runner::fiber::Kill;
use crate::store::TaskSet;

/// Closures, but for `slow`: a guest of it is made for as long as somebody wants it.
struct Makers {
    closures: Closures,
    /// Told when the making of a guest begins, and of its end.
    told: Sender<Making>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Making {
    Begun(InvocationId, u32),
    Interrupted(InvocationId, u32),
}

impl Makers {
    fn new() -> (Arc<Self>, Receiver<Making>) {
        let (told, tells) = channel();
        let slow = |_| async { unreachable!("nobody makes it to its end") };
        let closures = Closures::default().with("tree", tree).with("slow", slow);
        (Arc::new(Self { closures, told }), tells)
    }
}

impl Executor for Makers {
    fn tasks(&self) -> Arc<TaskSet> {
        self.closures.tasks()
    }

    fn start(
        &self,
        claim: &Claim,
        client: &Arc<dyn TaskClient>,
        interrupt: &Interrupt,
    ) -> Result<Guest, NoGuest> {
        if &*claim.task == "slow" {
            // The test may be over.
            let _ = self.told.send(Making::Begun(claim.id, claim.attempt));
            while !interrupt.is_thrown() {
                std::thread::yield_now();
            }
            let _ = self.told.send(Making::Interrupted(claim.id, claim.attempt));
            return Err(NoGuest::trapped("this is for nobody"));
        }
        self.closures.start(claim, client, interrupt)
    }

    fn prepare(&self, task: &str, arguments: &str) -> Result<PreparedCall, Refusal> {
        self.closures.prepare(task, arguments)
    }

    fn guest_runs(&self, runs: bool) {
        self.closures.guest_runs(runs);
    }
}

/// A runner with one slot, on which a guest is in the making.
fn making(store: &Arc<Slow>, options: RunnerOptions) -> (Runner, Receiver<Making>, InvocationId) {
    let (makers, tells) = Makers::new();
    let id = store.submit("slow", &[]);
    let durable: Arc<dyn Store> = Arc::clone(store) as _;
    let runner = Runner::start(durable, makers, Arc::new(SystemClock::new()), options).expect("it starts");
    assert_eq!(tells.recv_timeout(PATIENCE), Ok(Making::Begun(id, 1)));
    (runner, tells, id)
}

/// What another runner can claim now.
fn claim(store: &Slow, runner: RunnerId) -> Option<Claim> {
    let request = ClaimRequest {
        runner,
        lease: PATIENCE,
        max: 1,
        max_bytes: usize::MAX,
        awaited: Vec::new(),
        only_awaited: false,
        leads: Arc::default(),
        tasks: Arc::new(std::iter::once("slow".into()).collect()),
        root: None,
    };
    let batch = Batch { recover: true, claim: Some(request), ..Batch::default() };
    store.store.commit(&batch).expect("a commit").claimed.pop()
}

#[test]
fn a_cancel_ends_the_making_of_a_guest_and_frees_its_slot() {
    for is_instant in [true, false] {
        let store = Slow::new(is_instant);
        let (runner, tells, id) = making(&store, options(1));
        let next = store.submit("tree", &[2, 2, 1]);
        runner.handle().cancel(id, "as asked");
        assert_eq!(tells.recv_timeout(PATIENCE), Ok(Making::Interrupted(id, 1)));
        runner.handle().look_again();
        assert_eq!(value(&runner, next), Ok(7), "instant {is_instant}");
        assert_eq!(store.one(id).status, Status::Cancelled);
        let gauge = runner.stop();
        assert_eq!((gauge.live, gauge.failed), (0, 0), "nothing was reported: {gauge:?}");
    }
}

#[test]
fn a_stop_does_not_wait_for_a_guest_in_the_making() {
    for is_instant in [true, false] {
        let store = Slow::new(is_instant);
        // So long it would have if it ran.
        let (runner, tells, id) = making(&store, RunnerOptions { grace: 2 * PATIENCE, ..options(1) });
        let began = Instant::now();
        runner.stop();
        assert!(began.elapsed() < PATIENCE, "instant {is_instant}");
        assert_eq!(tells.recv_timeout(PATIENCE), Ok(Making::Interrupted(id, 1)));
        let given_back = store.one(id);
        assert_eq!((given_back.status, given_back.attempt), (Status::Queued, 0), "instant {is_instant}");
    }
}

#[test]
fn a_lost_lease_ends_the_making_of_a_guest() {
    let store = Slow::new(false);
    let lease = Duration::from_millis(100);
    let (runner, tells, id) = making(&store, with_lease(lease, options(1)));
    let other = RunnerId::generate();
    let deadline = Instant::now() + PATIENCE;
    {
        // No heartbeat gets through, until another has taken the work.
        let _closed = store.gate.lock();
        while claim(&store, other).is_none() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        assert_eq!(tells.recv_timeout(PATIENCE), Ok(Making::Interrupted(id, 1)), "while the commit hangs");
    }
    let next = store.submit("tree", &[2, 2, 1]);
    assert_eq!(value(&runner, next), Ok(7), "it goes on");
    let taken = store.one(id);
    assert_eq!((taken.runner, taken.status), (Some(other), Status::Claimed), "and leaves it to the other");
}

/// Who ends an invocation looks for it in the queue, among those in the making, and
/// among the live. A claim that is on its way from one to the other asks itself.
#[test]
fn a_claim_that_somebody_ended_on_its_way_is_not_begun() {
    let store = Slow::new(true);
    let (makers, tells) = Makers::new();
    store.submit("slow", &[]);
    let claim = claim(&store, RunnerId::generate()).expect("it is there");
    let durable: Arc<dyn Store> = Arc::clone(&store) as _;
    let runner = Runner::start(durable, makers, Arc::new(SystemClock::new()), options(1)).expect("it starts");
    let interrupt = runner.core.begin_start(0, &claim);
    assert!(interrupt.is_thrown(), "this runner knows nothing of it");
    assert_eq!(runner.core.starts.end(0), Some(Kill::NotOurs));
    assert_eq!(runner.core.starts.end(0), None);
    runner.stop();
    assert!(tells.try_recv().is_err(), "nobody began");
}

/// Closures, of which those of the component `slow` can't start until their code is made.
struct Makeable {
    closures: Closures,
    is_made: AtomicBool,
    /// The starts before that.
    in_vain: AtomicUsize,
    tell: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

impl Executor for Makeable {
    fn tasks(&self) -> Arc<TaskSet> {
        self.closures.tasks()
    }

    fn start(
        &self,
        claim: &Claim,
        client: &Arc<dyn TaskClient>,
        interrupt: &Interrupt,
    ) -> Result<Guest, NoGuest> {
        if claim.task.starts_with("slow::") && !self.is_made.load(Ordering::SeqCst) {
            self.in_vain.fetch_add(1, Ordering::SeqCst);
            return Err(NoGuest::Unready);
        }
        self.closures.start(claim, client, interrupt)
    }

    fn held_back(&self) -> Vec<Arc<str>> {
        let waits = self.in_vain.load(Ordering::SeqCst) > 0 && !self.is_made.load(Ordering::SeqCst);
        waits.then(|| "slow".into()).into_iter().collect()
    }

    fn tell_ready(&self, tell: Arc<dyn Fn() + Send + Sync>) {
        *self.tell.lock() = Some(tell);
    }

    fn prepare(&self, task: &str, arguments: &str) -> Result<PreparedCall, Refusal> {
        self.closures.prepare(task, arguments)
    }

    fn guest_runs(&self, runs: bool) {
        self.closures.guest_runs(runs);
    }
}

#[test]
fn guests_without_code_hold_no_slot_and_start_when_it_is_made() {
    for is_instant in [true, false] {
        let store = Slow::new(is_instant);
        let parent = |hands: Hands| async move {
            let child = hands.submit(vec![child("slow::work", &[])]).await?;
            Ok(1 + hands.wait(child, AwaitMode::All).await?[0].1)
        };
        let closures = Closures::default()
            .with("quick::work", |_| async { Ok(7) })
            .with("quick::parent", parent)
            .with("slow::work", |_| async { Ok(8) });
        let makeable = Arc::new(Makeable {
            closures,
            is_made: AtomicBool::new(false),
            in_vain: AtomicUsize::new(0),
            tell: Mutex::new(None),
        });
        let slow: Vec<_> = (0..20).map(|_| store.submit("slow::work", &[])).collect();
        let awaits = store.submit("quick::parent", &[]);
        let executor: Arc<dyn Executor> = Arc::clone(&makeable) as _;
        let durable: Arc<dyn Store> = Arc::clone(&store) as _;
        let runner =
            Runner::start(durable, executor, Arc::new(SystemClock::new()), options(1)).expect("it starts");
        for _ in 0..20 {
            let quick = store.submit("quick::work", &[]);
            runner.handle().look_again();
            assert_eq!(value(&runner, quick), Ok(7), "instant {is_instant}");
        }
        let in_vain = makeable.in_vain.load(Ordering::SeqCst);
        // Twenty at first, and the child once for each change of the store that the runner was told.
        assert!((1..=100).contains(&in_vain), "{in_vain}");
        makeable.is_made.store(true, Ordering::SeqCst);
        let tell = makeable.tell.lock().clone().expect("the runner listens");
        tell();
        for id in slow {
            assert_eq!(value(&runner, id), Ok(8), "instant {is_instant}");
            let one = store.one(id);
            assert_eq!((one.attempt, one.status), (1, Status::Succeeded), "what did not start is no attempt");
        }
        assert_eq!(value(&runner, awaits), Ok(9), "instant {is_instant}");
        assert_eq!(runner.stop().live, 0);
    }
}
