//! The shares of keys in random floods (`docs/design/fairness.md`).

use std::collections::HashMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use run_wasm_runner::model::{InvocationId, RunnerId};
use run_wasm_runner::store::{
    Batch, ClaimRequest, FairnessWeight, MemoryStore, NewInvocation, SqliteStore, Store,
};

use super::harness::{new, request, tasks};
use crate::support::clock::TestClock;

const WEIGHTS: [f64; 5] = [1.0, 2.0, 4.0, 0.5, 1.0];
const TASKS: [&str; 3] = ["work", "child", "other"];

/// A key as the test sees it.
#[derive(Debug, Default, Clone)]
struct Key {
    waiting: usize,
    served: usize,
    /// The service of every key when this one was last without work.
    since: Vec<usize>,
    /// Claims since its first invocation came to wait.
    waited: usize,
}

#[derive(Debug, Clone)]
enum Move {
    Flood { key: usize, task: usize, count: usize },
    Serve(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let flood = (0..WEIGHTS.len(), 0..TASKS.len(), prop_oneof![3 => 1..4_usize, 1 => 20..60_usize]);
    let flood = flood.prop_map(|(key, task, count)| Move::Flood { key, task, count });
    vec(prop_oneof![flood, (1..25_usize).prop_map(Move::Serve)], 4..40)
}

/// Serves one at a time, and checks each key against each other after every claim.
fn check(store: &dyn Store, moves: &[Move]) -> Result<(), TestCaseError> {
    let runner = RunnerId::generate();
    let weights = WEIGHTS.iter().enumerate();
    let weights = weights.map(|(key, weight)| FairnessWeight::new(&format!("key {key}"), *weight).unwrap());
    store.commit(&Batch { weights: Some(weights.collect()), ..Batch::default() }).unwrap();
    let mut keys = vec![Key::default(); WEIGHTS.len()];
    let mut whose: HashMap<InvocationId, usize> = HashMap::new();
    for one in moves {
        match one {
            Move::Flood { key, task, count } => {
                let fairness_key = Some(format!("key {key}").into());
                let new =
                    || NewInvocation { fairness_key: Option::clone(&fairness_key), ..new(TASKS[*task]) };
                let submits: Vec<_> = (0..*count).map(|_| new()).collect();
                whose.extend(submits.iter().map(|new| (new.id, *key)));
                store.commit(&Batch { submits, ..Batch::default() }).unwrap();
                if keys[*key].waiting == 0 {
                    keys[*key].since = keys.iter().map(|key| key.served).collect();
                    keys[*key].waited = 0;
                }
                keys[*key].waiting += count;
            }
            Move::Serve(count) => {
                for _ in 0..*count {
                    let claim = ClaimRequest { tasks: tasks(&TASKS), ..request(runner, 1) };
                    let receipt = store.commit(&Batch { claim: Some(claim), ..Batch::default() }).unwrap();
                    let Some(claim) = receipt.claimed.first() else { break };
                    let served = whose[&claim.id];
                    // The turns of everybody who waits: nobody's is passed over.
                    let active: f64 =
                        (0..WEIGHTS.len()).filter(|key| keys[*key].waiting > 0).map(|key| WEIGHTS[key]).sum();
                    keys[served].waiting -= 1;
                    keys[served].served += 1;
                    for (key, one) in keys.iter_mut().enumerate() {
                        one.waited = if key == served || one.waiting == 0 { 0 } else { one.waited + 1 };
                        let patience = active / WEIGHTS[key] + WEIGHTS.len() as f64 + 8.0;
                        let waited = one.waited as f64;
                        prop_assert!(waited <= patience, "key {} waited {} claims", key, waited);
                    }
                    compare(&keys)?;
                    if keys[served].waiting == 0 {
                        keys[served].since.clear();
                    }
                }
            }
        }
    }
    Ok(())
}

/// Checks that no two keys that have waited for work together since some moment differ by more than two turns each.
fn compare(keys: &[Key]) -> Result<(), TestCaseError> {
    for (a, one) in keys.iter().enumerate() {
        for (b, other) in keys.iter().enumerate().take(a) {
            if one.since.is_empty() || other.since.is_empty() || one.waiting == 0 || other.waiting == 0 {
                continue;
            }
            // Since the later of the two came.
            let later =
                [&one.since, &other.since].into_iter().max_by_key(|since| since.iter().sum::<usize>());
            let (from_a, from_b) = later.map_or((0, 0), |since| (since[a], since[b]));
            let turns_a = (one.served - from_a) as f64 / WEIGHTS[a];
            let turns_b = (other.served - from_b) as f64 / WEIGHTS[b];
            let bound = 1.0 / WEIGHTS[a] + 1.0 / WEIGHTS[b] + 0.001;
            prop_assert!(
                (turns_a - turns_b).abs() <= bound,
                "key {} had {} turns and key {} had {}: {:?}",
                a,
                turns_a,
                b,
                turns_b,
                keys
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_floods_nobody_waits_longer_than_its_share(moves in moves()) {
        check(&MemoryStore::new(TestClock::new()), &moves)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_floods_shares_are_fair_in_sqlite(moves in moves()) {
        let directory = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&directory.path().join("state.db"), TestClock::new()).unwrap());
        check(&*store, &moves)?;
    }
}
