//! Submits, and repeated submits.

use run_wasm_runner::model::{Clock, InvocationId, LimitKind, RunnerId, Status, SubmitLimits};
use run_wasm_runner::store::{Batch, ClaimRequest, EndKind, NewInvocation, Submitted};

use super::super::harness::*;
use super::SECOND;

pub fn a_submitted_invocation_is_queued_as_it_was_submitted(bench: &Bench) {
    let new = NewInvocation {
        priority: 7,
        delay: SECOND,
        key: Some("key".into()),
        labels: [("customer".to_owned(), "acme".to_owned())].into(),
        limits: SubmitLimits::of([(LimitKind::Children, 0), (LimitKind::Traffic, u64::MAX)]),
        ..new("work")
    };
    let id = bench.create(new.clone());
    let now = bench.clock.now();
    let invocation = bench.get(id);
    assert_eq!(&*invocation.task, "work");
    assert_eq!(invocation.component_digest, new.component_digest);
    assert_eq!(invocation.status, Status::Queued);
    assert_eq!((invocation.attempt, invocation.max_attempts), (0, 3));
    assert_eq!((invocation.parent, invocation.root, invocation.depth), (None, id, 0));
    assert!(!invocation.detached);
    assert_eq!(invocation.priority, 7);
    assert_eq!(invocation.key.as_deref(), Some("key"));
    assert_eq!((&invocation.labels, &invocation.limits), (&new.labels, &new.limits));
    assert_eq!(invocation.runner, None);
    assert_eq!(invocation.submitted_at, now);
    assert_eq!(invocation.available_at, now.plus(SECOND));
    assert_eq!((invocation.started_at, invocation.finished_at), (None, None));
    assert_eq!(bench.store.arguments(id).unwrap().as_deref(), Some("[1]"));
}

pub fn the_same_id_is_submitted_once(bench: &Bench) {
    let once = new("work");
    let id = bench.create(once.clone());
    assert_eq!(bench.submit_one(once.clone()), Submitted::Existing(id));
    let claim = bench.claim_one(RunnerId::generate());
    bench.succeed(&claim);
    assert_eq!(bench.submit_one(once), Submitted::Existing(id));
    assert_eq!(bench.status(id), Status::Succeeded);
    assert_eq!(bench.reasons(id).len(), 4);
    let twice = new("work");
    let receipt = bench.commit(Batch { submits: vec![twice.clone(), twice.clone()], ..Batch::default() });
    assert_eq!(receipt.submits, [Submitted::Created(twice.id), Submitted::Existing(twice.id)]);
}

fn keyed(task: &str, arguments: &str) -> NewInvocation {
    NewInvocation { key: Some("order-17".into()), arguments: arguments.into(), ..new(task) }
}

pub fn the_same_key_returns_the_first_id(bench: &Bench) {
    let first = bench.create(keyed("work", "[1]"));
    assert_eq!(bench.submit_one(keyed("work", "[1]")), Submitted::Existing(first));
    bench.succeed(&bench.claim_one(RunnerId::generate()));
    assert_eq!(bench.submit_one(keyed("work", "[1]")), Submitted::Existing(first));
    // A key is unique among the invocations of one task.
    bench.create(keyed("other", "[1]"));
}

pub fn the_same_key_with_other_arguments_is_a_conflict(bench: &Bench) {
    let new = keyed("work", "[1]");
    let first = bench.create(new.clone());
    assert_eq!(bench.submit_one(keyed("work", "[2]")), Submitted::KeyConflict(first));
    assert_eq!(bench.store.list(&everything()).unwrap().len(), 1);
    assert_eq!(bench.submit_one(new), Submitted::Existing(first));
}

pub fn a_resubmitted_child_gets_the_first_childs_id(bench: &Bench) {
    let parent_id = bench.create(new("work"));
    let first_attempt = bench.claim_one(RunnerId::generate());
    let children: Vec<_> = (0..3).map(|index| bench.create(child_of(&first_attempt, index))).collect();
    bench.succeed(&bench.claim_one(RunnerId::generate()));
    bench.let_leases_run_out();
    bench.recover();
    let receipt = bench.claim(ClaimRequest { awaited: vec![parent_id], ..request(RunnerId::generate(), 1) });
    let second_attempt = &receipt.claimed[0];
    assert_eq!(second_attempt.attempt, 2);

    for (index, first) in (0..).zip(&children) {
        assert_eq!(bench.submit_one(child_of(second_attempt, index)), Submitted::Existing(*first));
    }
    // The same place, but another task or other arguments: another child.
    let other_arguments =
        bench.create(NewInvocation { arguments: "[2]".into(), ..child_of(second_attempt, 1) });
    bench.create(NewInvocation { task: "other".into(), ..child_of(second_attempt, 1) });
    bench.create(child_of(second_attempt, 3));
    assert_eq!(
        bench.submit_one(NewInvocation { arguments: "[2]".into(), ..child_of(second_attempt, 1) }),
        Submitted::Existing(other_arguments)
    );
    assert_eq!(bench.status(children[0]), Status::Succeeded);
}

pub fn a_child_of_a_lost_attempt_is_an_orphan(bench: &Bench) {
    let before = bench.create(new("work"));
    let unclaimed = bench.claim_one(RunnerId::generate());
    bench.end(&unclaimed, EndKind::Release);
    assert_eq!(bench.submit_one(child_of(&unclaimed, 0)), Submitted::Orphan, "queued");
    let parent = bench.claim_one(RunnerId::generate());
    assert_eq!(parent.id, before);
    let child = child_of(&parent, 0);
    bench.create(child.clone());
    let keyed = NewInvocation { key: Some("k".into()), ..child_of(&parent, 1) };
    bench.create(keyed.clone());

    let mut other_runner = child_of(&parent, 2);
    other_runner.child_of.as_mut().unwrap().parent_runner = RunnerId::generate();
    assert_eq!(bench.submit_one(other_runner), Submitted::Orphan);
    let mut other_attempt = child_of(&parent, 2);
    other_attempt.child_of.as_mut().unwrap().parent_attempt = 2;
    assert_eq!(bench.submit_one(other_attempt), Submitted::Orphan);
    let mut no_parent = child_of(&parent, 2);
    no_parent.child_of.as_mut().unwrap().parent = InvocationId::generate();
    assert_eq!(bench.submit_one(no_parent), Submitted::Orphan);

    bench.succeed(&parent);
    assert_eq!(bench.submit_one(child), Submitted::Orphan, "existing");
    assert_eq!(bench.submit_one(keyed), Submitted::Orphan, "keyed");
    assert_eq!(bench.submit_one(detached(child_of(&parent, 2))), Submitted::Orphan, "detached");
    assert_eq!(bench.store.tree(before).unwrap().len(), 3);
}
