//! Waits at the cap of live instances.

use super::*;
use crate::model::{RunnerSettings, SystemClock};

/// Awaits two children, twice, and counts the waits that were refused.
async fn insistent(hands: Hands) -> Result<u64, String> {
    let mut refused = 0;
    for _ in 0..2 {
        let ids = hands.submit(vec![child("nothing", &[]), child("nothing", &[])]).await?;
        refused += u64::from(hands.wait(ids, AwaitMode::All).await.is_err());
    }
    Ok(refused)
}

/// Awaits a child that is due in an hour.
async fn parked(hands: Hands) -> Result<u64, String> {
    let late = SubmitOptions { delay: Duration::from_secs(3600), ..SubmitOptions::default() };
    let ids = hands.submit(vec![ChildRequest { options: late, ..child("nothing", &[]) }]).await?;
    hands.wait(ids, AwaitMode::All).await.map(|_| 0)
}

#[test]
fn a_claim_that_nobody_awaits_any_more_hides_no_other_at_the_cap() {
    let store = Slow::new(true);
    store.submit("parked", &[]);
    let (begin, has_begun) = channel();
    let guests = Closures::default()
        .with("parked", move |hands| {
            begin.send(()).expect("the test waits for it");
            parked(hands)
        })
        .with("insistent", insistent)
        .with("nothing", |_| async { Ok(0) });
    let options = RunnerOptions {
        slots: 2,
        settings: RunnerSettings { max_live: 2, ..RunnerSettings::default() },
        grace: Duration::ZERO,
        ..RunnerOptions::default()
    };
    let durable: Arc<dyn Store> = Arc::clone(&store) as _;
    let runner =
        Runner::start(durable, Arc::new(guests), Arc::new(SystemClock::new()), options).expect("it starts");
    has_begun.recv_timeout(PATIENCE).expect("it starts");
    let id = store.submit("insistent", &[]);
    let outcome = runner.wait_final(id, Some(PATIENCE)).expect("the runner works").expect("it ends");
    assert_eq!(number(&outcome), Ok(2), "both waits were refused");
}
