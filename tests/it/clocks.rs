//! Clocks that jump. Within a process time never goes back and never leaps, see
//! `SystemClock`; but a process that starts after a change of the clock has another time
//! than older processes. They may misjudge each other's leases; nothing is lost
//! nevertheless, and late reports change nothing.

use std::sync::Arc;
use std::time::Duration;

use run_wasm_runner::model::{Claim, Reason, RunnerId, Status};
use run_wasm_runner::store::{Applied, EndKind, Lease, MemoryStore, NewInvocation, SqliteStore};

use crate::store_contract::harness::{Bench, LEASE, assert_store_is_consistent, new, text, value};
use crate::store_contract::open_postgres;
use crate::support::clock::TestClock;

const HOUR: Duration = Duration::from_secs(3600);

fn benches() -> Vec<Bench> {
    let clock = TestClock::new();
    let memory = Bench::new(Arc::new(MemoryStore::new(clock.clone())), clock, ());
    let clock = TestClock::new();
    let directory = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(&directory.path().join("state.db"), clock.clone()).expect("a new store");
    let sqlite = Bench::new(Arc::new(store), clock, directory);
    let clock = TestClock::new();
    let postgres = Bench::new(Arc::new(open_postgres(&clock)), clock, ());
    vec![memory, sqlite, postgres]
}

fn end(bench: &Bench, claim: &Claim, json: &str) -> Applied {
    bench.report(bench.ended(claim, EndKind::Final(value(json)))).0
}

#[test]
fn a_leap_over_a_lease_costs_an_attempt_and_late_reports_change_nothing() {
    for bench in benches() {
        let id = bench.create(new("work"));
        let first = bench.claim_one(RunnerId::generate());
        bench.clock.advance(HOUR);
        assert_eq!(bench.recover().recovered, 1);
        let second = bench.claim_one(RunnerId::generate());
        assert_eq!((second.id, second.attempt), (id, 2));
        assert_eq!(end(&bench, &first, "1"), Applied::Stale);
        assert_eq!(bench.heartbeat(first.runner).lease, Some(Lease::Lost));
        assert_eq!(end(&bench, &second, "2"), Applied::Done);
        assert_eq!(end(&bench, &first, "1"), Applied::Stale);
        assert_eq!(bench.get(id).outcome.as_ref().map(text).as_deref(), Some("value 2"));
        assert_store_is_consistent(&*bench.store);
    }
}

#[test]
fn after_a_step_back_work_goes_on() {
    for bench in benches() {
        let waiting = bench.create(new("work"));
        let owned = bench.create(NewInvocation { priority: 1, ..new("work") });
        let delayed = bench.create(NewInvocation { delay: Duration::from_secs(60), ..new("work") });
        let runner = RunnerId::generate();
        let claim = bench.claim_one(runner);
        assert_eq!(claim.id, owned);
        bench.clock.set_back(HOUR);

        // What was ready is ready, what is owned stays owned, what comes now runs.
        let later = bench.create(new("work"));
        assert_eq!(bench.recover().recovered, 0);
        assert_eq!(bench.heartbeat(runner).lease, Some(Lease::Held));
        assert_eq!(end(&bench, &claim, "1"), Applied::Done);
        let mut claimed = vec![bench.claim_one(runner), bench.claim_one(runner)];
        claimed.sort_by_key(|claim| claim.id != waiting);
        assert_eq!(claimed.iter().map(|claim| claim.id).collect::<Vec<_>>(), [waiting, later]);
        for claim in &claimed {
            assert_eq!(end(&bench, claim, "1"), Applied::Done);
        }
        // What is delayed waits until the clock has come there again.
        assert_eq!(bench.status(delayed), Status::Queued);
        bench.clock.advance(HOUR + Duration::from_secs(60));
        let last = bench.claim_one(runner);
        assert_eq!(last.id, delayed);
        assert_eq!(end(&bench, &last, "1"), Applied::Done);
        assert_store_is_consistent(&*bench.store);
    }
}

#[test]
fn after_a_step_back_a_dead_runner_is_recovered_when_its_lease_is_over() {
    for bench in benches() {
        let id = bench.create(new("work"));
        bench.claim_one(RunnerId::generate());
        bench.clock.set_back(HOUR);
        assert_eq!(bench.recover().recovered, 0);
        bench.clock.advance(HOUR + LEASE);
        assert_eq!(bench.recover().recovered, 1);
        assert_eq!(bench.reasons(id).last(), Some(&Reason::LeaseExpired));
        assert_store_is_consistent(&*bench.store);
    }
}

/// Two processes on one file, of which the second was started after the clock had
/// been set.
#[test]
fn processes_with_different_clocks_lose_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.db");
    let bench = |clock: Arc<TestClock>| {
        let store = SqliteStore::open(&path, clock.clone()).expect("a store");
        Bench::new(Arc::new(store), clock, ())
    };
    let (slow, fast) = (bench(TestClock::new()), bench(TestClock::new()));
    fast.clock.advance(HOUR);
    let id = slow.create(new("work"));
    let first = slow.claim_one(RunnerId::generate());
    // To the fast one the lease is long over.
    assert_eq!(fast.recover().recovered, 1);
    let second = fast.claim_one(RunnerId::generate());
    assert_eq!(slow.heartbeat(first.runner).lease, Some(Lease::Lost), "it is told with its next heartbeat");
    assert_eq!(end(&slow, &first, "1"), Applied::Stale);
    assert_eq!(end(&fast, &second, "2"), Applied::Done);
    assert_eq!(slow.get(id).outcome.as_ref().map(text).as_deref(), Some("value 2"));
    // And the other way round the lease lasts longer, and ends.
    let id = slow.create(new("work"));
    let claim = fast.claim_one(RunnerId::generate());
    assert_eq!(claim.id, id);
    slow.let_leases_run_out();
    assert_eq!(slow.recover().recovered, 0);
    slow.clock.advance(HOUR);
    assert_eq!(slow.recover().recovered, 1);
    let claim = slow.claim_one(RunnerId::generate());
    assert_eq!(end(&slow, &claim, "3"), Applied::Done);
    assert_store_is_consistent(&*slow.store);
}
