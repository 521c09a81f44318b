//! Attempts that meet a shortage of the host.

use std::collections::VecDeque;

use super::*;
use crate::model::{
    Claim, Guest, Interrupt, NoGuest, PreparedCall, Refusal, Shortage, SystemClock, TaskClient,
};
use crate::store::TaskSet;

/// Things that a guest must have one of while it lives.
struct Stock {
    left: Mutex<usize>,
    /// When there was none left for somebody.
    missed: Mutex<VecDeque<Instant>>,
}

struct Taken(Arc<Stock>);

impl Stock {
    fn take(self: &Arc<Self>) -> Result<Taken, Shortage> {
        let mut left = self.left.lock();
        match left.checked_sub(1) {
            Some(less) => {
                *left = less;
                Ok(Taken(Arc::clone(self)))
            }
            None => {
                self.missed.lock().push_back(Instant::now());
                Err(Shortage("things".to_owned()))
            }
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        *self.0.left.lock() += 1;
    }
}

/// Closures that need a thing each: before there is a guest, or with its first poll.
struct Needy {
    closures: Closures,
    stock: Arc<Stock>,
    is_before: bool,
}

impl Executor for Needy {
    fn tasks(&self) -> Arc<TaskSet> {
        self.closures.tasks()
    }

    fn start(
        &self,
        claim: &Claim,
        client: &Arc<dyn TaskClient>,
        interrupt: &Interrupt,
    ) -> Result<Guest, NoGuest> {
        let before = self.is_before.then(|| self.stock.take()).transpose().map_err(NoGuest::Short)?;
        let guest = self.closures.start(claim, client, interrupt)?;
        let stock = Arc::clone(&self.stock);
        let future = Box::pin(async move {
            let _taken = match before {
                Some(taken) => taken,
                None => stock.take()?,
            };
            guest.future.await
        });
        Ok(Guest { future, ..guest })
    }

    fn prepare(&self, task: &str, arguments: &str) -> Result<PreparedCall, Refusal> {
        self.closures.prepare(task, arguments)
    }

    fn guest_runs(&self, runs: bool) {
        self.closures.guest_runs(runs);
    }
}

/// Starts a runner whose task `park` parks for some milliseconds.
fn start_needy(store: &Arc<Slow>, slots: usize, things: usize, is_before: bool) -> (Runner, Arc<Stock>) {
    let stock = Arc::new(Stock { left: Mutex::new(things), missed: Mutex::default() });
    let park = |hands: Hands| async move {
        let ms = hands.argument(0);
        hands.wait(Vec::new(), AwaitMode::AnyWithin(Duration::from_millis(ms))).await.map(|_| ms)
    };
    let closures = Closures::default().with("park", park);
    let needy = Arc::new(Needy { closures, stock: Arc::clone(&stock), is_before });
    let durable: Arc<dyn Store> = Arc::clone(store) as _;
    let runner =
        Runner::start(durable, needy, Arc::new(SystemClock::new()), options(slots)).expect("it starts");
    (runner, stock)
}

#[test]
fn more_guests_than_a_host_has_things_for_all_succeed_in_their_first_attempt() {
    for (is_instant, is_before) in [(true, true), (true, false), (false, true), (false, false)] {
        let store = Slow::new(is_instant);
        let ids: Vec<_> = (0..30).map(|_| store.submit("park", &[20])).collect();
        let (runner, stock) = start_needy(&store, 4, 3, is_before);
        for id in ids {
            assert_eq!(value(&runner, id), Ok(20), "instant {is_instant}, before {is_before}");
            assert_eq!(store.one(id).attempt, 1);
        }
        let gauge = runner.stop();
        assert_eq!((gauge.succeeded, gauge.failed, gauge.live), (30, 0, 0), "{gauge:?}");
        assert!(gauge.peak_live >= 3 && gauge.released > 0, "{gauge:?}");
        assert_eq!(*stock.left.lock(), 3);
    }
}

#[test]
fn a_runner_that_is_short_of_something_pauses_between_attempts() {
    for is_before in [true, false] {
        let store = Slow::new(true);
        let ids: Vec<_> = (0..8).map(|_| store.submit("park", &[1])).collect();
        let (runner, stock) = start_needy(&store, 1, 0, is_before);
        let deadline = Instant::now() + PATIENCE;
        while stock.missed.lock().len() < 5 {
            assert!(Instant::now() < deadline, "it tries no more");
            std::thread::yield_now();
        }
        let missed = stock.missed.lock().clone();
        let took = missed[4] - missed[0];
        assert!(took >= Duration::from_millis(50 + 100 + 200 + 400), "{took:?}");
        *stock.left.lock() = 8;
        for id in ids {
            assert_eq!(value(&runner, id), Ok(1));
            assert_eq!(store.one(id).attempt, 1);
        }
        runner.stop();
    }
}

#[test]
fn the_end_of_a_guest_ends_the_pause() {
    let store = Slow::new(true);
    let ids: Vec<_> = (0..200).map(|_| store.submit("park", &[1])).collect();
    let began = Instant::now();
    let (runner, _stock) = start_needy(&store, 4, 1, true);
    for id in ids {
        assert_eq!(value(&runner, id), Ok(1));
    }
    // With a pause before each it would take ten seconds at least.
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    runner.stop();
}

#[test]
fn a_runner_that_is_short_of_something_stops_like_any_other() {
    for is_instant in [true, false] {
        let store = Slow::new(is_instant);
        let id = store.submit("park", &[1]);
        let (runner, stock) = start_needy(&store, 4, 0, true);
        let deadline = Instant::now() + PATIENCE;
        while stock.missed.lock().is_empty() {
            assert!(Instant::now() < deadline, "it never begins");
            std::thread::yield_now();
        }
        let began = Instant::now();
        runner.stop();
        assert!(began.elapsed() < PATIENCE);
        let given_back = store.one(id);
        assert_eq!((given_back.status, given_back.attempt), (Status::Queued, 0));
    }
}
