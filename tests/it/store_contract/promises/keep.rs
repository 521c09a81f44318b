//! Deadlines, and what is removed at last.

use std::time::Duration;

use run_wasm_runner::model::{Claim, Clock, FailureKind, InvocationId, Outcome, Reason, RunnerId, Status};
use run_wasm_runner::store::{
    Applied, Batch, Cancel, ClaimRequest, EndKind, Keep, LookUp, NewInvocation, Prune, PrunePosition, Pruned,
    Submitted,
};

use super::super::harness::*;
use super::SECOND;

/// The most invocations that one transaction ends.
const EXPIRED_AT_ONCE: usize = 1_000;

fn due_in(deadline: Duration, new: NewInvocation) -> NewInvocation {
    NewInvocation { deadline: Some(deadline), ..new }
}

#[track_caller]
fn assert_expired(bench: &Bench, id: InvocationId) {
    let invocation = bench.get(id);
    assert_eq!(invocation.status, Status::Failed);
    let outcome = invocation.outcome.expect("it has ended");
    assert_eq!(kind(&outcome), Some(FailureKind::TimedOut));
    let deadline = invocation.deadline.expect("it had a deadline");
    let message = text(&outcome);
    assert!(message.contains(&deadline.to_rfc3339()), "{message}");
    let history = bench.history(id);
    let last = history.last().unwrap();
    assert_eq!((last.reason, last.to), (Reason::Expired, Status::Failed));
    assert_eq!(last.detail.as_deref(), outcome_message(&outcome));
    assert!(last.at >= deadline);
}

fn outcome_message(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Value(_) => None,
        Outcome::Failure(failure) => Some(&failure.message),
    }
}

pub fn a_deadline_is_a_moment_after_the_submit(bench: &Bench) {
    let id = bench.create(due_in(SECOND * 60, new("work")));
    let deadline = bench.clock.now().plus(SECOND * 60);
    assert_eq!(bench.get(id).deadline, Some(deadline));
    bench.clock.advance(SECOND);
    let claim = bench.claim_one(RunnerId::generate());
    assert_eq!(claim.deadline, Some(deadline));
    // Nothing moves it.
    bench.end(&claim, EndKind::Retry(failure("again"), SECOND * 5));
    assert_eq!(bench.get(id).deadline, Some(deadline));
    let without = bench.create(new("work"));
    assert_eq!(bench.get(without).deadline, None);
}

pub fn attached_children_get_the_earlier_deadline(bench: &Bench) {
    bench.create(due_in(SECOND * 60, new("work")));
    let now = bench.clock.now();
    let parent = bench.claim_one(RunnerId::generate());
    let deadline_of = |child: NewInvocation| bench.get(bench.create(child)).deadline;
    assert_eq!(deadline_of(child_of(&parent, 0)), parent.deadline);
    assert_eq!(deadline_of(due_in(SECOND * 61, child_of(&parent, 1))), parent.deadline);
    assert_eq!(deadline_of(due_in(SECOND * 59, child_of(&parent, 2))), Some(now.plus(SECOND * 59)));
    // One that outlives its parent outlives its deadline.
    assert_eq!(deadline_of(detached(child_of(&parent, 3))), None);
    let own = detached(due_in(SECOND * 61, child_of(&parent, 4)));
    assert_eq!(deadline_of(own), Some(now.plus(SECOND * 61)));
    let child = bench.claim_one(RunnerId::generate());
    assert_eq!(deadline_of(child_of(&child, 0)), parent.deadline, "in every generation");
    // Two in one batch, the second below what the first is below.
    let children = vec![child_of(&child, 1), child_of(&child, 2)];
    let receipt = bench.commit(Batch { submits: children.clone(), ..Batch::default() });
    assert!(receipt.submits.iter().all(|one| matches!(one, Submitted::Created(_))));
    assert_eq!(bench.get(children[1].id).deadline, parent.deadline);
}

pub fn an_overdue_invocation_fails_in_every_status(bench: &Bench) {
    let [queued, delayed, claimed, running, waiting] = std::array::from_fn(|index| {
        let delay = if index == 1 { SECOND * 60 } else { Duration::ZERO };
        NewInvocation { delay, priority: index as i32, ..due_in(SECOND, new("work")) }
    });
    let first: Vec<_> = [claimed, running, waiting].map(|new| bench.create(new)).into();
    let runner = RunnerId::generate();
    let claims = bench.claim(request(runner, 3)).claimed;
    let by_id = |id| claims.iter().find(|claim| claim.id == id).unwrap();
    bench.start(by_id(first[1]));
    bench.report(bench.observed(
        by_id(first[2]),
        &[run_wasm_runner::model::Event::Start, run_wasm_runner::model::Event::Await],
    ));
    let (queued, delayed) = (bench.create(queued), bench.create(delayed));
    let timeless = bench.create(new("work"));

    bench.clock.advance(SECOND - Duration::from_micros(1));
    assert!(bench.recover().ended.is_empty());
    bench.clock.advance(Duration::from_micros(1));
    let receipt = bench.recover();
    let ended: Vec<_> = receipt.ended.iter().map(|ended| (ended.id, ended.runner)).collect();
    let owned = Some(runner);
    assert_eq!(
        ended,
        [(first[0], owned), (first[1], owned), (first[2], owned), (queued, None), (delayed, None)]
    );
    assert!(!receipt.more);
    for id in [queued, delayed].into_iter().chain(first.iter().copied()) {
        assert_expired(bench, id);
    }
    // As after a cancel: the owner is told, and its reports are stale.
    let mut told = bench.store.revoked(runner).unwrap();
    told.sort_unstable();
    let mut expected = first.clone();
    expected.sort_unstable();
    assert_eq!(told, expected);
    let (applied, _) = bench.report(bench.ended(by_id(first[0]), EndKind::Final(value("1"))));
    assert_eq!(applied, Applied::Stale);
    assert!(bench.recover().ended.is_empty(), "once");
    assert_eq!(bench.drain(), [timeless]);
}

pub fn a_claim_fails_overdue_invocations_and_never_takes_them(bench: &Bench) {
    let overdue = bench.create(due_in(SECOND, new("work")));
    let foreign = bench.create(due_in(SECOND, new("foreign")));
    let good = bench.create(due_in(SECOND * 9, new("work")));
    bench.clock.advance(SECOND);
    let receipt = bench.claim(ClaimRequest { awaited: vec![overdue], ..request(RunnerId::generate(), 9) });
    assert_eq!(receipt.ended.iter().map(|ended| ended.id).collect::<Vec<_>>(), [overdue, foreign]);
    assert_eq!(ids(&receipt), [good]);
    assert_eq!(receipt.unclaimable, [overdue]);
    assert_expired(bench, overdue);
    assert_expired(bench, foreign);
}

pub fn only_recoveries_and_claims_fail_overdue_invocations(bench: &Bench) {
    let id = bench.create(due_in(SECOND, new("work")));
    bench.clock.advance(SECOND * 2);
    assert!(bench.heartbeat(RunnerId::generate()).ended.is_empty());
    assert_eq!(bench.status(id), Status::Queued);
    bench.recover();
    assert_expired(bench, id);
}

pub fn an_overdue_invocation_cancels_its_attached_children(bench: &Bench) {
    let runner = RunnerId::generate();
    let root = bench.create(due_in(SECOND * 2, new("work")));
    let parent = bench.claim_one(runner);
    let earlier = bench.create(due_in(SECOND, child_of(&parent, 0)));
    let attached = bench.create(child_of(&parent, 1));
    let lives_on = bench.create(detached(child_of(&parent, 2)));
    bench.clock.advance(SECOND * 2);
    let receipt = bench.recover();
    let ended: Vec<_> = receipt.ended.iter().map(|ended| ended.id).collect();
    assert_eq!(ended, [earlier, root, attached], "the earliest deadline first");
    assert_expired(bench, earlier);
    assert_expired(bench, root);
    assert_eq!(bench.status(attached), Status::Cancelled);
    assert!(text(&bench.get(attached).outcome.unwrap()).contains(&root.to_string()));
    assert_eq!(bench.status(lives_on), Status::Queued);
}

pub fn many_overdue_invocations_fail_in_bounded_transactions(bench: &Bench) {
    let submits: Vec<_> = (0..EXPIRED_AT_ONCE + 5).map(|_| due_in(SECOND, new("work"))).collect();
    bench.commit(Batch { submits, ..Batch::default() });
    let good = bench.create(new("work"));
    bench.clock.advance(SECOND);
    let receipt = bench.claim(request(RunnerId::generate(), 10));
    assert_eq!(receipt.ended.len(), EXPIRED_AT_ONCE);
    assert!(receipt.more, "five are left");
    assert_eq!(ids(&receipt), [good], "what is overdue must not be claimed, and keeps nobody else waiting");
    assert_eq!(receipt.next_due, Some(bench.clock.now()), "at once");
    let receipt = bench.claim(request(RunnerId::generate(), 10));
    assert_eq!((receipt.ended.len(), receipt.more), (5, false));
    assert!(ids(&receipt).is_empty());
}

pub fn next_due_knows_the_earliest_deadline(bench: &Bench) {
    let runner = RunnerId::generate();
    let next_due = || {
        let claimed = bench.claim(request(runner, 0)).next_due;
        assert_eq!(bench.store.next_due(runner).unwrap().at, claimed, "both say the same");
        claimed
    };
    assert_eq!(next_due(), None);
    let start = bench.clock.now();
    let second = bench.create(due_in(SECOND * 2, new("foreign")));
    bench.create(due_in(SECOND * 3, new("work")));
    assert_eq!(next_due(), Some(start.plus(SECOND * 2)));
    bench.cancel(second);
    assert_eq!(next_due(), Some(start.plus(SECOND * 3)), "of what is not final");
    let claim = bench.claim_one(runner);
    assert_eq!(next_due(), Some(start.plus(SECOND * 3)), "owned or not");
    bench.create(NewInvocation { delay: SECOND, ..new("work") });
    assert_eq!(next_due(), Some(start.plus(SECOND)));
    bench.succeed(&claim);
    bench.clock.advance(SECOND);
    // What is due already makes nobody wait for it.
    assert_eq!(bench.store.next_due(runner).unwrap().at, None);
    // Another's lease, seen without a claim.
    let other = RunnerId::generate();
    bench.claim_one(other);
    let lease_end = bench.clock.now().plus(LEASE);
    assert_eq!(bench.store.next_due(runner).unwrap().at, Some(lease_end));
    assert_eq!(bench.store.next_due(other).unwrap().at, None);
}

/// Everything is to be removed, whenever it ended.
fn all_of(status: Status) -> Keep {
    Keep { status, age: Some(Duration::ZERO), count: None, at_least: 0 }
}

fn no_more_than(status: Status, count: u64) -> Keep {
    Keep { status, age: None, count: Some(count), at_least: 0 }
}

fn everything_final() -> Vec<Keep> {
    Status::ALL.into_iter().map(all_of).collect()
}

#[track_caller]
fn prune(bench: &Bench, keep: &[Keep], max: usize, after: Option<PrunePosition>) -> Pruned {
    let prune = Prune { keep: keep.to_vec(), max, after, tasks: None, only_counts: false };
    bench.commit(Batch { prune: Some(prune), ..Batch::default() }).pruned.expect("it was asked for")
}

/// Removes all that can be removed in one transaction.
#[track_caller]
fn prune_all(bench: &Bench, keep: &[Keep]) -> usize {
    let pruned = prune(bench, keep, 10_000, None);
    assert_eq!(pruned.next, None);
    pruned.removed
}

#[track_caller]
fn assert_gone(bench: &Bench, id: InvocationId) {
    assert!(bench.store.get(&[id]).unwrap()[0].is_none());
    assert!(matches!(bench.store.look_up(&[id]).unwrap()[..], [LookUp::Unknown]));
    assert!(bench.store.arguments(id).unwrap().is_none());
    assert!(bench.store.history(id).unwrap().is_empty());
    assert!(bench.store.logs(id).unwrap().is_empty());
}

/// A root that ended a moment ago with a value.
fn finished(bench: &Bench) -> InvocationId {
    let id = bench.create(new("work"));
    let awaited = ClaimRequest { awaited: vec![id], ..request(RunnerId::generate(), 1) };
    bench.succeed(&bench.claim(awaited).claimed[0]);
    id
}

pub fn a_prune_removes_old_invocations_with_all_their_rows(bench: &Bench) {
    let old = bench.create(new("work"));
    let claim = bench.claim_one(RunnerId::generate());
    let report = run_wasm_runner::store::Report {
        logs: vec![bench.line("a"), bench.line("b")],
        ..bench.ended(&claim, EndKind::Final(value("1")))
    };
    bench.report(report);
    bench.clock.advance(SECOND * 10);
    let young = finished(bench);
    let keep = [Keep { status: Status::Succeeded, age: Some(SECOND * 10), count: None, at_least: 0 }];
    bench.clock.advance(SECOND * 10 - Duration::from_micros(1));
    assert_eq!(prune_all(bench, &keep), 1);
    assert_gone(bench, old);
    assert_eq!(bench.status(young), Status::Succeeded);
    assert_eq!(bench.store.list(&everything()).unwrap().len(), 1);
    assert_eq!(bench.store.ids(&everything()).unwrap(), [young]);
    bench.clock.advance(Duration::from_micros(1));
    assert_eq!(prune_all(bench, &keep), 1);
    assert_gone(bench, young);
    assert_eq!(bench.store.counts(None).unwrap().get(Status::Succeeded), 0);
    assert_eq!(prune_all(bench, &keep), 0);
    // The next in the place of the last that was removed has nothing of it.
    let next = bench.create(new("work"));
    assert_eq!(bench.reasons(next), [Reason::Submitted]);
    assert!(bench.store.logs(next).unwrap().is_empty());
    assert!(bench.get(next).outcome.is_none());
}

pub fn a_prune_keeps_the_latest_to_end(bench: &Bench) {
    let mut ended: Vec<_> = (0..5).map(|_| bench.create(new("work"))).collect();
    // Not in the order in which they were submitted.
    ended.swap(0, 4);
    for id in &ended {
        bench.clock.advance(SECOND);
        let awaited = ClaimRequest { awaited: vec![*id], ..request(RunnerId::generate(), 1) };
        bench.succeed(&bench.claim(awaited).claimed[0]);
    }
    let cancelled = bench.create(new("work"));
    bench.cancel(cancelled);
    assert_eq!(prune_all(bench, &[no_more_than(Status::Succeeded, 5)]), 0);
    assert_eq!(prune_all(bench, &[no_more_than(Status::Succeeded, 2)]), 3);
    ended[..3].iter().for_each(|id| assert_gone(bench, *id));
    ended[3..].iter().for_each(|id| assert_eq!(bench.status(*id), Status::Succeeded));
    // Either bound removes.
    let both = Keep { status: Status::Succeeded, age: Some(SECOND), count: Some(2), at_least: 0 };
    bench.clock.advance(Duration::from_millis(500));
    assert_eq!(prune_all(bench, &[both]), 1);
    assert_gone(bench, ended[3]);
    assert_eq!(bench.status(cancelled), Status::Cancelled, "of no other status");
}

pub fn a_prune_keeps_at_least_so_many(bench: &Bench) {
    let ended: Vec<_> = (0..5).map(|_| finished(bench)).collect();
    let cancelled = bench.create(new("work"));
    bench.cancel(cancelled);
    bench.clock.advance(SECOND);
    let floor = |at_least| Keep { at_least, ..all_of(Status::Succeeded) };
    assert_eq!(prune_all(bench, &[floor(5)]), 0);
    assert_eq!(prune_all(bench, &[floor(6)]), 0);
    // One at a time, as with many.
    let mut after = None;
    for left in [4, 3] {
        let pruned = prune(bench, &[floor(3)], 1, after);
        assert_eq!((pruned.removed, bench.store.counts(None).unwrap().get(Status::Succeeded)), (1, left));
        after = pruned.next;
    }
    assert_eq!(prune_all(bench, &[floor(3), floor(3)]), 0);
    ended[2..].iter().for_each(|id| assert_eq!(bench.status(*id), Status::Succeeded));
    let both = Keep { at_least: 2, ..no_more_than(Status::Succeeded, 1) };
    assert_eq!(prune_all(bench, &[both]), 1);
    assert_eq!(prune_all(bench, &[Keep { at_least: 1, ..all_of(Status::Cancelled) }]), 0);
}

pub fn a_prune_that_only_counts_removes_nothing(bench: &Bench) {
    let (root, child, grandchild) = three_generations(bench);
    for _ in 0..4 {
        finished(bench);
    }
    let count = |keep: Keep, max| {
        let (mut counted, mut after) = (0, None);
        loop {
            let prune = Prune { keep: vec![keep], max, after, tasks: None, only_counts: true };
            let pruned = bench.commit(Batch { prune: Some(prune), ..Batch::default() }).pruned.unwrap();
            counted += pruned.removed;
            after = pruned.next;
            if after.is_none() {
                return counted;
            }
        }
    };
    // Two must stay, because their parent is not final.
    for max in [1, 2, 100] {
        assert_eq!(count(all_of(Status::Succeeded), max), 4);
        assert_eq!(count(no_more_than(Status::Succeeded, 3), max), 1);
        assert_eq!(count(Keep { at_least: 2, ..all_of(Status::Succeeded) }, max), 2);
    }
    assert_eq!(bench.store.counts(None).unwrap().get(Status::Succeeded), 6);
    assert_eq!(prune_all(bench, &[no_more_than(Status::Succeeded, 3)]), 1);
    assert_eq!(prune_all(bench, &[all_of(Status::Succeeded)]), 3);
    for id in [root.id, child, grandchild] {
        assert!(bench.store.get(&[id]).unwrap()[0].is_some());
    }
}

pub fn a_prune_removes_only_final_invocations(bench: &Bench) {
    let runner = RunnerId::generate();
    for _ in 0..4 {
        bench.create(new("work"));
    }
    let claims = bench.claim(request(runner, 3)).claimed;
    bench.start(&claims[0]);
    bench.end(&claims[1], EndKind::Retry(failure("again"), SECOND));
    bench.clock.advance(SECOND * 1000);
    assert_eq!(prune_all(bench, &everything_final()), 0);
    assert_eq!(bench.store.counts(None).unwrap().unfinished(), 4);
}

/// A claimed parent whose child, and that one's child, are final.
fn three_generations(bench: &Bench) -> (Claim, InvocationId, InvocationId) {
    let runner = RunnerId::generate();
    bench.create(new("work"));
    let root = bench.claim_one(runner);
    let child = bench.create(child_of(&root, 0));
    let middle = bench.claim_one(runner);
    let grandchild = bench.create(child_of(&middle, 0));
    bench.succeed(&bench.claim_one(runner));
    bench.succeed(&middle);
    (root, child, grandchild)
}

pub fn a_deep_chain_is_kept_for_its_root_and_goes_after_it(bench: &Bench) {
    const DEPTH: usize = 1_300;
    let runner = RunnerId::generate();
    bench.create(new("work"));
    let root = bench.claim_one(runner);
    let mut last = root.clone();
    let mut claims = Vec::new();
    for _ in 0..DEPTH {
        let submits = vec![detached(child_of(&last, 0))];
        let claim = Some(request(runner, 1));
        last = bench.commit(Batch { submits, claim, ..Batch::default() }).claimed.remove(0);
        claims.push(last.clone());
    }
    // The deepest ends first, and is looked at first.
    for claim in claims.iter().rev() {
        bench.clock.advance(Duration::from_micros(1));
        bench.succeed(claim);
    }
    assert_eq!(prune_all(bench, &everything_final()), 0, "the root is not final");
    bench.clock.advance(SECOND);
    bench.succeed(&root);
    let removed: Vec<_> = std::iter::repeat_with(|| prune_all(bench, &everything_final())).take(3).collect();
    assert_eq!(removed.iter().sum::<usize>(), DEPTH + 1, "{removed:?}");
    assert_eq!(removed[2], 0, "each removes a part of the chain, and the next one the rest");
}

pub fn descendants_of_an_unfinished_invocation_are_kept(bench: &Bench) {
    let (root, child, grandchild) = three_generations(bench);
    assert_eq!(prune_all(bench, &everything_final()), 0);
    // Its next attempt finds what the first one submitted, and can await what that
    // one submitted.
    bench.let_leases_run_out();
    bench.recover();
    let again = bench.claim_one(RunnerId::generate());
    assert_eq!(again.id, root.id);
    assert_eq!(bench.submit_one(child_of(&again, 0)), Submitted::Existing(child));
    bench.succeed(&again);
    assert_eq!(prune_all(bench, &everything_final()), 3);
    [root.id, child, grandchild].into_iter().for_each(|id| assert_gone(bench, id));
}

pub fn ancestors_and_descendants_of_an_unfinished_detached_child_are_kept(bench: &Bench) {
    let runner = RunnerId::generate();
    let top = bench.create(new("work"));
    let root = bench.claim_one(runner);
    bench.create(detached(child_of(&root, 0)));
    let lives_on = bench.claim_one(runner);
    bench.create(child_of(&lives_on, 0));
    let middle = bench.claim_one(runner);
    bench.create(child_of(&middle, 0));
    bench.succeed(&bench.claim_one(runner));
    bench.succeed(&middle);
    let sibling = bench.create(child_of(&root, 1));
    bench.succeed(&bench.claim_one(runner));
    bench.succeed(&root);
    // The root, because its detached child is not final; what that one submitted,
    // because it may look for it. Only the sibling is of no use to anybody.
    assert_eq!(prune_all(bench, &everything_final()), 1);
    assert_gone(bench, sibling);
    assert_eq!(bench.store.tree(top).unwrap().len(), 4);
    bench.succeed(&lives_on);
    assert_eq!(prune_all(bench, &everything_final()), 4);
}

pub fn a_pruned_parent_leaves_its_children(bench: &Bench) {
    let runner = RunnerId::generate();
    let top = bench.create(new("work"));
    let root = bench.claim_one(runner);
    let child = bench.create(child_of(&root, 0));
    bench.end(&bench.claim_one(runner), EndKind::Final(failure("it broke")));
    bench.succeed(&root);
    assert_eq!(prune_all(bench, &[all_of(Status::Succeeded)]), 1);
    assert_gone(bench, top);
    let left = bench.get(child);
    assert_eq!((left.parent, left.root), (Some(top), top));
    assert!(bench.store.tree(top).unwrap().is_empty());
    assert_eq!(bench.store.counts(Some(top)).unwrap().get(Status::Failed), 0);
    assert_eq!(prune_all(bench, &[all_of(Status::Failed)]), 1);
    assert_gone(bench, child);
}

pub fn a_pruned_key_can_be_used_again(bench: &Bench) {
    let keyed = || NewInvocation { key: Some("order-17".into()), ..new("work") };
    let first = bench.create(keyed());
    bench.cancel(first);
    assert_eq!(bench.submit_one(keyed()), Submitted::Existing(first));
    assert_eq!(prune_all(bench, &everything_final()), 1);
    let second = bench.create(keyed());
    assert_eq!(bench.status(second), Status::Queued);
}

pub fn a_prune_continues_where_the_last_one_stopped(bench: &Bench) {
    // What must stay lies in between.
    let (root, _, _) = three_generations(bench);
    for _ in 0..7 {
        finished(bench);
    }
    let cancelled: Vec<_> = (0..3).map(|_| bench.create(new("work"))).collect();
    let cancels = cancelled.iter().map(|id| Cancel { id: *id, by: None, message: String::new() }).collect();
    bench.commit(Batch { cancels, ..Batch::default() });
    let keep = [all_of(Status::Succeeded), all_of(Status::Cancelled)];
    let (mut removed, mut after, mut batches) = (0, None, 0);
    loop {
        let pruned = prune(bench, &keep, 3, after);
        batches += 1;
        assert!(pruned.removed <= 3);
        removed += pruned.removed;
        after = pruned.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((removed, batches), (10, 4), "two of the twelve that it looked at stay");
    assert!(!bench.status(root.id).is_final());
    // Those that stay count, whether they are passed in this batch or before.
    for _ in 0..4 {
        finished(bench);
    }
    let keep = [no_more_than(Status::Succeeded, 3)];
    let first = prune(bench, &keep, 2, None);
    assert_eq!(first.removed, 0, "the two oldest are those that stay");
    let second = prune(bench, &keep, 2, first.next);
    assert_eq!((second.removed, second.next), (1, None));
    assert_eq!(bench.store.counts(None).unwrap().get(Status::Succeeded), 5);
}

pub fn a_prune_comes_last_in_its_batch(bench: &Bench) {
    let id = bench.create(new("work"));
    let claim = bench.claim_one(RunnerId::generate());
    let receipt = bench.commit(Batch {
        reports: vec![bench.ended(&claim, EndKind::Final(value("1")))],
        prune: Some(Prune {
            keep: everything_final(),
            max: 10,
            after: None,
            tasks: None,
            only_counts: false,
        }),
        ..Batch::default()
    });
    assert_eq!(receipt.reports, [Applied::Done]);
    assert_eq!(receipt.pruned, Some(Pruned { removed: 1, next: None }));
    assert_gone(bench, id);
}

pub fn a_prune_of_some_tasks_leaves_and_counts_no_others(bench: &Bench) {
    let finish = |task: &str| {
        let id = bench.create(new(task));
        let awaited = ClaimRequest { awaited: vec![id], ..request(RunnerId::generate(), 1) };
        bench.succeed(&bench.claim(awaited).claimed[0]);
        bench.clock.advance(SECOND);
        id
    };
    let ids: Vec<_> = ["work", "other", "work", "other", "work", "other"].map(finish).into();
    let work = Some(vec!["work".into(), "unknown".into()]);
    // One a transaction: those of other tasks are looked at, too.
    let prune = |keep: Keep, after| {
        let prune = Prune { keep: vec![keep], max: 1, after, tasks: work.clone(), only_counts: false };
        bench.commit(Batch { prune: Some(prune), ..Batch::default() }).pruned.expect("it was asked for")
    };
    let all = |keep: Keep| {
        let (mut removed, mut after) = (0, None);
        loop {
            let pruned = prune(keep, after);
            (removed, after) = (removed + pruned.removed, pruned.next);
            if after.is_none() {
                return removed;
            }
        }
    };
    assert_eq!(all(no_more_than(Status::Succeeded, 2)), 1, "of three of the task two stay");
    assert_gone(bench, ids[0]);
    assert_eq!(all(Keep { at_least: 1, ..all_of(Status::Succeeded) }), 1);
    assert_gone(bench, ids[2]);
    assert_eq!(all(all_of(Status::Succeeded)), 1);
    assert_gone(bench, ids[4]);
    let others = bench.store.get(&[ids[1], ids[3], ids[5]]).unwrap();
    assert!(others.iter().all(Option::is_some));
}
