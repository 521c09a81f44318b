//! Recovery of the claims of dead runners, also by several runners at once.

use std::collections::HashSet;
use std::sync::Barrier;

use run_wasm_runner::model::{Event, RunnerId, Status};
use run_wasm_runner::store::{Applied, Batch, NewInvocation, TakenOver};

use super::super::harness::*;
use super::SECOND;

pub fn recovery_takes_only_the_claims_of_dead_runners(bench: &Bench) {
    let (dead, alive) = (RunnerId::generate(), RunnerId::generate());
    for _ in 0..4 {
        bench.create(new("work"));
    }
    let (started, claimed) = (bench.claim_one(dead), bench.claim_one(dead));
    let (kept, ended) = (bench.claim_one(alive), bench.claim_one(alive));
    bench.start(&started);
    bench.start(&kept);
    bench.succeed(&ended);
    let queued = bench.create(new("work"));
    let delayed = bench.create(NewInvocation { delay: 3600 * SECOND, ..new("work") });
    bench.clock.advance(LEASE / 2);
    bench.heartbeat(alive);
    bench.clock.advance(LEASE / 2);
    let untouched = |id| (bench.status(id), bench.history(id).len());
    let before = [kept.id, ended.id, queued, delayed].map(untouched);
    let receipt = bench.recover();
    assert_eq!(receipt.recovered, 2);
    let first = vec![started.id, claimed.id];
    assert_eq!(receipt.taken_over, [TakenOver { runner: dead, count: 2, first }]);
    for claim in [started, claimed] {
        let now = bench.get(claim.id);
        assert_eq!((now.status, now.attempt), (Status::Queued, 1), "the attempt counts");
    }
    assert_eq!([kept.id, ended.id, queued, delayed].map(untouched), before);
    assert_eq!(bench.recover().recovered, 0, "once");
    bench.heartbeat(alive);
    assert_eq!(bench.report(bench.observed(&kept, &[Event::Await])).0, Applied::Done);
}

pub fn a_childs_lease_is_that_of_its_own_runner(bench: &Bench) {
    let (parents, childs) = (RunnerId::generate(), RunnerId::generate());
    bench.create(new("work"));
    let parent = bench.claim_one(parents);
    bench.start(&parent);
    bench.create(child_of(&parent, 0));
    let child = bench.claim_one(childs);
    // The runner of the parent says that it lives; nobody says so of the child's.
    bench.clock.advance(LEASE / 2);
    bench.heartbeat(parents);
    bench.clock.advance(LEASE / 2);
    assert_eq!(bench.recover().recovered, 1);
    assert_eq!((bench.status(parent.id), bench.status(child.id)), (Status::Running, Status::Queued));
    // And the other way round: the child stays, though its parent is run again.
    let child = bench.claim_one(RunnerId::generate());
    bench.clock.advance(LEASE / 2);
    bench.heartbeat(child.runner);
    bench.clock.advance(LEASE / 2);
    assert_eq!(bench.recover().recovered, 1);
    assert_eq!((bench.status(parent.id), bench.status(child.id)), (Status::Queued, Status::Claimed));
}

pub fn concurrent_recoveries_take_each_claim_once(bench: &Bench) {
    for _ in 0..40 {
        bench.create(new("work"));
    }
    for _ in 0..4 {
        bench.claim(request(RunnerId::generate(), 10));
    }
    bench.let_leases_run_out();
    let (store, start) = (&*bench.store, Barrier::new(4));
    let receipts: Vec<_> = std::thread::scope(|scope| {
        let recovering: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let claim = Some(request(RunnerId::generate(), 10));
                    start.wait();
                    store.commit(&Batch { recover: true, claim, ..Batch::default() }).expect("a commit")
                })
            })
            .collect();
        recovering.into_iter().map(|thread| thread.join().expect("it ends")).collect()
    });
    assert_eq!(receipts.iter().map(|receipt| receipt.recovered).sum::<usize>(), 40);
    let claimed: Vec<_> = receipts.iter().flat_map(ids).collect();
    assert_eq!(claimed.iter().collect::<HashSet<_>>().len(), claimed.len(), "each is handed out once");
    for id in &claimed {
        assert_eq!(bench.get(*id).attempt, 2);
    }
}
