//! The effect of an invocation's end on other invocations.

use std::time::Duration;

use run_wasm_runner::model::{Clock, FailureKind, InvocationId, RunnerId, Status};
use run_wasm_runner::store::{Applied, Batch, Cancelled, ClaimRequest, EndKind, NewInvocation, Receipt};

use super::super::harness::*;
use super::SECOND;

pub fn cancel_is_final_at_once(bench: &Bench) {
    let runner = RunnerId::generate();
    let running = bench.create(new("work"));
    let claim = bench.claim_one(runner);
    bench.start(&claim);
    let delayed = bench.create(NewInvocation { delay: SECOND, ..new("work") });
    let queued = bench.create(new("work"));
    for (id, owner) in [(running, Some(runner)), (delayed, None), (queued, None)] {
        let (cancelled, receipt) = bench.cancel(id);
        assert_eq!(cancelled, Cancelled::Done);
        assert_eq!(receipt.ended.len(), 1);
        assert_eq!((receipt.ended[0].id, receipt.ended[0].runner), (id, owner));
        let invocation = bench.get(id);
        assert_eq!(invocation.status, Status::Cancelled);
        assert_eq!(invocation.finished_at, Some(bench.clock.now()));
        let outcome = invocation.outcome.unwrap();
        assert_eq!(kind(&outcome), Some(FailureKind::Cancelled));
        assert!(text(&outcome).contains("not needed any more"));
        assert_eq!(bench.cancel(id).0, Cancelled::AlreadyFinal(Status::Cancelled));
    }
    let (applied, _) = bench.report(bench.ended(&claim, EndKind::Final(value("1"))));
    assert_eq!(applied, Applied::Stale);
    bench.clock.advance(SECOND);
    assert!(bench.drain().is_empty());
}

pub fn a_runner_learns_which_of_its_invocations_others_ended(bench: &Bench) {
    let runner = RunnerId::generate();
    let taken = bench.create(new("work"));
    bench.claim_one(runner);
    let finished = bench.create(new("work"));
    let claim = bench.claim_one(runner);
    let nobodys = bench.create(new("work"));
    assert!(bench.store.revoked(runner).unwrap().is_empty());
    bench.cancel(taken);
    bench.cancel(nobodys);
    bench.report(bench.ended(&claim, EndKind::Final(value("1"))));
    assert_eq!(bench.get(finished).status, Status::Succeeded);
    assert_eq!(bench.store.revoked(runner).unwrap(), [taken], "not what it reported itself");
    assert!(bench.store.revoked(RunnerId::generate()).unwrap().is_empty());
    assert_eq!(bench.heartbeat(runner).revoked, [taken]);
    assert!(bench.heartbeat(runner).revoked.is_empty(), "once");
    assert!(bench.store.revoked(runner).unwrap().is_empty());
}

/// A claimed parent with an attached child that has a child, a detached one that
/// has one, and a finished one.
struct Family {
    parent: run_wasm_runner::model::Claim,
    attached: run_wasm_runner::model::Claim,
    grandchild: InvocationId,
    detached: InvocationId,
    below_detached: InvocationId,
    finished: InvocationId,
}

fn family(bench: &Bench) -> Family {
    let runner = RunnerId::generate();
    bench.create(new("work"));
    let parent = bench.claim_one(runner);
    let finished = bench.create(child_of(&parent, 0));
    bench.succeed(&bench.claim_one(runner));
    bench.create(child_of(&parent, 1));
    let attached = bench.claim_one(RunnerId::generate());
    let detached = bench.create(detached(child_of(&parent, 2)));
    let detached_claim = bench.claim_one(runner);
    let grandchild = bench.create(child_of(&attached, 0));
    let below_detached = bench.create(child_of(&detached_claim, 0));
    Family { parent, attached, grandchild, detached, below_detached, finished }
}

fn assert_family_ended(bench: &Bench, family: &Family) {
    for (id, parent) in [(family.attached.id, family.parent.id), (family.grandchild, family.attached.id)] {
        assert_eq!(bench.status(id), Status::Cancelled);
        let outcome = bench.get(id).outcome.unwrap();
        assert_eq!(kind(&outcome), Some(FailureKind::Cancelled));
        let message = text(&outcome);
        assert!(message.contains(&parent.to_string()), "{message}");
    }
    assert_eq!(bench.status(family.finished), Status::Succeeded);
    assert_eq!(bench.status(family.detached), Status::Claimed);
    assert_eq!(bench.status(family.below_detached), Status::Queued);
    let (applied, _) = bench.report(bench.ended(&family.attached, EndKind::Release));
    assert_eq!(applied, Applied::Stale);
}

/// The most descendants of what ended that one transaction cancels.
const CASCADED_AT_ONCE: usize = 1_000;

/// A parent with more attached children than one transaction cancels, every fifth of them a parent itself. Returns
/// the parent, and every descendant with its own parent.
fn large_family(bench: &Bench) -> (run_wasm_runner::model::Claim, Vec<(InvocationId, InvocationId)>) {
    let runner = RunnerId::generate();
    bench.create(new("work"));
    let parent = bench.claim_one(runner);
    let count = 2 * CASCADED_AT_ONCE + 500;
    let children: Vec<_> = (0..).map(|index| child_of(&parent, index)).take(count).collect();
    let mut descendants: Vec<_> = children.iter().map(|child| (child.id, parent.id)).collect();
    bench.commit(Batch { submits: children, ..Batch::default() });
    let claimed = bench.claim(request(runner, count / 5)).claimed;
    assert_eq!(claimed.len(), count / 5);
    for child in claimed {
        descendants.push((bench.create(child_of(&child, 0)), child.id));
    }
    (parent, descendants)
}

/// Commits batches until no descendants are left. Returns what each of them has ended.
fn cascade(bench: &Bench, first: Receipt, mut next: impl FnMut() -> Batch) -> Vec<InvocationId> {
    let (mut ended, mut receipt) = (Vec::new(), first);
    loop {
        assert!(receipt.ended.len() <= CASCADED_AT_ONCE, "{} ended at once", receipt.ended.len());
        ended.extend(receipt.ended.iter().map(|one| one.id));
        if !receipt.has_cascade {
            return ended;
        }
        receipt = bench.commit(next());
    }
}

pub fn a_large_tree_ends_in_bounded_transactions(bench: &Bench) {
    let claims = |runner| Batch { claim: Some(request(runner, 1)), ..Batch::default() };
    let recovers = || Batch { recover: true, ..Batch::default() };
    for ends_by_cancel in [true, false] {
        let (parent, descendants) = large_family(bench);
        let other = bench.create(new("other"));
        let first = if ends_by_cancel {
            let mut receipt = bench.cancel(parent.id).1;
            assert_eq!(receipt.ended.remove(0).id, parent.id);
            receipt
        } else {
            let mut report = bench.ended(&parent, EndKind::Final(value("1")));
            report.end.as_mut().expect("an end").has_children = true;
            let (applied, receipt) = bench.report(report);
            assert_eq!(applied, Applied::Done);
            receipt
        };
        assert!(first.has_cascade && first.ended.len() == CASCADED_AT_ONCE);
        // Any batch that recovers or claims goes on.
        let runner = RunnerId::generate();
        let mut ended = cascade(bench, first, || if ends_by_cancel { recovers() } else { claims(runner) });
        for (id, parent) in &descendants {
            let outcome = bench.get(*id).outcome.expect("it is final");
            assert_eq!(kind(&outcome), Some(FailureKind::Cancelled));
            assert!(text(&outcome).contains(&parent.to_string()), "{}", text(&outcome));
        }
        ended.sort_unstable();
        ended.dedup();
        assert!(ended.len() <= descendants.len(), "each once");
        assert_eq!(ended.len(), descendants.len());
        assert!(!bench.commit(recovers()).has_cascade);
        assert!(!bench.status(other).is_final());
        bench.cancel(other);
    }
}

pub fn cancel_descends_through_attached_children(bench: &Bench) {
    let family = family(bench);
    let (_, receipt) = bench.cancel(family.parent.id);
    let ended: Vec<_> = receipt.ended.iter().map(|ended| (ended.id, ended.runner)).collect();
    assert_eq!(
        ended,
        [
            (family.parent.id, Some(family.parent.runner)),
            (family.attached.id, Some(family.attached.runner)),
            (family.grandchild, None)
        ]
    );
    assert_family_ended(bench, &family);
}

pub fn a_guest_cancels_nothing_that_called_it(bench: &Bench) {
    let runner = RunnerId::generate();
    bench.create(new("work"));
    let root = bench.claim_one(runner);
    bench.create(detached(child_of(&root, 0)));
    let parent = bench.claim_one(runner);
    let uncle = bench.create(child_of(&root, 1));
    bench.claim_one(runner);
    bench.create(child_of(&parent, 0));
    let guest = bench.claim_one(runner);
    let sibling = bench.create(child_of(&parent, 1));
    bench.claim_one(runner);
    let child = bench.create(child_of(&guest, 0));
    bench.claim_one(runner);
    let stranger = bench.create(new("work"));
    for above in [root.id, parent.id, guest.id] {
        assert_eq!(bench.cancel_by(guest.id, above), Cancelled::Denied);
        assert!(!bench.status(above).is_final());
    }
    for other in [uncle, sibling, child, stranger] {
        assert_eq!(bench.cancel_by(guest.id, other), Cancelled::Done);
        assert_eq!(bench.cancel_by(guest.id, other), Cancelled::AlreadyFinal(Status::Cancelled));
    }
    // Whoever called may end what it called, and whatever is over may be asked about.
    assert_eq!(bench.cancel_by(root.id, parent.id), Cancelled::Done);
    assert_eq!(bench.status(guest.id), Status::Cancelled);
    assert_eq!(bench.cancel_by(guest.id, parent.id), Cancelled::AlreadyFinal(Status::Cancelled));
    assert_eq!(bench.cancel_by(guest.id, InvocationId::generate()), Cancelled::Unknown);
}

/// However deep a tree is, a cancel looks only so far.
pub fn a_guest_far_below_cancels_nothing_that_is_far_above(bench: &Bench) {
    const GENERATIONS: usize = 100;
    let runner = RunnerId::generate();
    bench.create(new("work"));
    let mut chain = vec![bench.claim_one(runner)];
    let uncles: Vec<_> = (1..3).map(|place| bench.create(child_of(&chain[0], place))).collect();
    for _ in 0..=GENERATIONS {
        let child = child_of(&chain[chain.len() - 1], 0);
        let claim = ClaimRequest { awaited: vec![child.id], only_awaited: true, ..request(runner, 1) };
        let receipt = bench.commit(Batch { submits: vec![child], claim: Some(claim), ..Batch::default() });
        chain.extend(receipt.claimed);
    }
    // The guest at index `n` is `n` generations below the root, and `n - 1` below its uncles' generation.
    assert_eq!(bench.cancel_by(chain[GENERATIONS + 1].id, uncles[0]), Cancelled::Denied);
    assert_eq!(bench.cancel_by(chain[GENERATIONS].id, uncles[0]), Cancelled::Done);
    assert_eq!(bench.cancel_by(chain[GENERATIONS + 1].id, chain[0].id), Cancelled::Denied);
    // What is as deep, or deeper, called nobody here.
    assert_eq!(bench.cancel_by(uncles[1], chain[GENERATIONS + 1].id), Cancelled::Done);
}

pub fn a_final_parent_ends_its_attached_children(bench: &Bench) {
    for how in [EndKind::Final(value("1")), EndKind::Final(failure("broke"))] {
        let family = family(bench);
        let receipt = bench.end(&family.parent, how);
        let ended: Vec<_> = receipt.ended.iter().map(|ended| ended.id).collect();
        assert_eq!(ended, [family.attached.id, family.grandchild]);
        assert_family_ended(bench, &family);
        bench.cancel(family.detached);
    }
}

pub fn a_released_parent_keeps_its_children(bench: &Bench) {
    for how in [EndKind::Release, EndKind::Retry(failure("again"), Duration::ZERO)] {
        let family = family(bench);
        let receipt = bench.end(&family.parent, how);
        assert!(receipt.ended.is_empty());
        assert_eq!(bench.status(family.attached.id), Status::Claimed);
        assert_eq!(bench.status(family.grandchild), Status::Queued);
        // A later attempt ends them though it submitted none itself.
        let receipt =
            bench.claim(ClaimRequest { awaited: vec![family.parent.id], ..request(RunnerId::generate(), 1) });
        let receipt = bench.succeed(&receipt.claimed[0]);
        assert_eq!(receipt.ended.len(), 2);
        assert_family_ended(bench, &family);
        bench.cancel(family.detached);
    }
}

pub fn a_deep_tree_is_cancelled_whole(bench: &Bench) {
    const DEPTH: usize = 2000;
    let runner = RunnerId::generate();
    let root = bench.create(new("work"));
    let mut last = bench.claim_one(runner);
    for _ in 1..DEPTH {
        let receipt = bench.commit(Batch {
            submits: vec![child_of(&last, 0)],
            claim: Some(request(runner, 1)),
            ..Batch::default()
        });
        last = receipt.claimed.into_iter().next().unwrap();
    }
    let mut receipt = bench.cancel(root).1;
    assert_eq!(receipt.ended.remove(0).id, root);
    let ended = cascade(bench, receipt, || Batch { recover: true, ..Batch::default() });
    assert_eq!(ended.len(), DEPTH - 1);
    assert_eq!(bench.store.counts(Some(root)).unwrap().get(Status::Cancelled), DEPTH as u64);
}

pub fn a_lost_invocation_cancels_its_attached_children(bench: &Bench) {
    let parent_id = bench.create(NewInvocation { max_attempts: 1, ..new("work") });
    let runner = RunnerId::generate();
    let parent = bench.claim_one(runner);
    let child = bench.create(child_of(&parent, 0));
    bench.claim_one(runner);
    bench.let_leases_run_out();
    let receipt = bench.recover();
    let ended: Vec<_> = receipt.ended.iter().map(|ended| ended.id).collect();
    assert_eq!(ended, [parent_id, child]);
    assert_eq!(receipt.recovered, 1);
    assert_eq!(bench.status(child), Status::Cancelled);
}
