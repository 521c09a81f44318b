//! Tests of waiting for an outcome by a future.

use super::*;
use crate::model::{Outcome, Refusal};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("it hangs") })
}

#[test]
fn an_outcome_is_awaited_by_a_future() {
    for is_instant in [true, false] {
        let store = Slow::new(is_instant);
        let guests = Closures::default().with("number", |hands| async move { Ok(hands.argument(0)) });
        let runner = start(&store, &Arc::new(guests), options(2));
        let ids: Vec<_> = (0..20).map(|n| store.submit("number", &[n])).collect();
        runner.handle().look_again();
        let outcomes: Vec<_> = ids.iter().map(|id| runner.handle().outcome(*id)).collect();
        for (n, outcome) in outcomes.into_iter().enumerate() {
            let Outcome::Value(json) = block_on(outcome).expect("no refusal") else { panic!("a failure") };
            assert_eq!(*json, n.to_string());
        }
        let unknown = block_on(runner.handle().outcome(InvocationId::generate()));
        assert!(matches!(unknown, Err(Refusal::UnknownInvocation(_))), "{unknown:?}");
    }
}

#[test]
fn a_future_that_waits_when_the_runner_stops_is_refused() {
    for is_registered_before in [true, false] {
        let store = Slow::new(false);
        let guests = Closures::default().with("endless", |_| std::future::pending());
        let runner = start(&store, &Arc::new(guests), options(1));
        let id = store.submit("endless", &[]);
        let handle = runner.handle();
        let before = is_registered_before.then(|| handle.outcome(id));
        handle.kill();
        runner.stop();
        let answer = block_on(before.unwrap_or_else(|| handle.outcome(id)));
        assert!(matches!(answer, Err(Refusal::Unavailable(_))), "{answer:?}");
    }
}
