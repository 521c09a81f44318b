//! Room for small users in a runner that large ones have filled.

use super::*;
use crate::model::{RunnerSettings, SystemClock};

const HOUR: Duration = Duration::from_secs(3600);

/// Parks for an hour.
async fn park(hands: Hands) -> Result<u64, String> {
    hands.wait(Vec::new(), AwaitMode::AnyWithin(HOUR)).await.map(|_| 0)
}

/// Awaits children that park for an hour, which shares don't hold back.
async fn await_parked(hands: Hands, user: &str) -> Result<u64, String> {
    let ids = hands.submit((0..3).map(|_| child(&format!("{user}::park"), &[])).collect()).await?;
    hands.wait(ids, AwaitMode::All).await.map(|_| 0)
}

#[test]
fn large_users_give_parked_guests_back_when_a_small_one_waits() {
    for is_instant in [true, false] {
        let store = Slow::new(is_instant);
        let hogs: Vec<_> = (0..4).map(|n| store.submit(["eve::tree", "eva::tree"][n % 2], &[])).collect();
        let (told, ends) = channel();
        let guests = Closures::default()
            .with("eve::tree", |hands| await_parked(hands, "eve"))
            .with("eva::tree", |hands| await_parked(hands, "eva"))
            .with("eve::park", park)
            .with("eva::park", park)
            .with("small::work", |_| async { Ok(7) })
            .with("small::parent", move |hands: Hands| {
                let told = told.clone();
                async move {
                    let child = hands.submit(vec![child("small::work", &[])]).await?;
                    let value = hands.wait(child, AwaitMode::All).await?[0].1;
                    told.send(value).expect("the test waits for it");
                    Ok(value)
                }
            });
        let options = RunnerOptions {
            settings: RunnerSettings { max_live: 16, ..RunnerSettings::default() },
            grace: Duration::ZERO,
            ..options(2)
        };
        let durable: Arc<dyn Store> = Arc::clone(&store) as _;
        let runner = Runner::start(durable, Arc::new(guests), Arc::new(SystemClock::new()), options)
            .expect("it starts");
        let deadline = Instant::now() + PATIENCE;
        while runner.core.totals.lock().gauge.live < 16 {
            assert!(Instant::now() < deadline, "{:?}", runner.core.totals.lock().gauge);
            std::thread::yield_now();
        }
        let began = Instant::now();
        store.submit("small::parent", &[]);
        runner.handle().look_again();
        assert_eq!(ends.recv_timeout(Duration::from_secs(10)), Ok(7), "instant {is_instant}");
        assert!(
            began.elapsed() > Duration::from_secs(4),
            "a runner that is full for a moment gives nothing back"
        );
        let gauge = runner.stop();
        assert_eq!((gauge.failed, gauge.live), (0, 0), "instant {is_instant}: {gauge:?}");
        for id in hogs {
            assert_eq!(store.one(id).attempt, 0, "to be given back does not count");
        }
    }
}
