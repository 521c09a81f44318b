//! Which work is handed out, to whom, and in which order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use run_wasm_runner::model::{
    Callers, Clock, ComponentDigest, InvocationId, LimitKind, RunnerId, SubmitLimits,
};
use run_wasm_runner::store::{Batch, ClaimRequest, EndKind, NewInvocation, TaskSet};

use super::super::harness::{self, *};
use super::SECOND;

pub fn claim_hands_each_invocation_to_one_runner(bench: &Bench) {
    let submitted: Vec<_> = (0..10).map(|_| bench.create(new("work"))).collect();
    let mut claimed = Vec::new();
    for _ in 0..4 {
        claimed.extend(ids(&bench.claim(request(RunnerId::generate(), 3))));
    }
    assert_eq!(claimed, submitted);
    assert!(bench.drain().is_empty());
}

pub fn a_claim_carries_what_its_runner_needs(bench: &Bench) {
    let limits = SubmitLimits::of([(LimitKind::Memory, 1 << 20), (LimitKind::Cpu, 50_000_000)]);
    let callers = Callers::default().of_child("a::run", "work");
    let root = bench.create(NewInvocation {
        labels: [("a".to_owned(), "b".to_owned())].into(),
        limits: limits.clone(),
        callers: callers.clone(),
        ..new("work")
    });
    let runner = RunnerId::generate();
    let parent = bench.claim_one(runner);
    assert_eq!(parent.id, root);
    assert_eq!(parent.runner, runner);
    assert_eq!((parent.attempt, parent.max_attempts), (1, 3));
    assert_eq!((&*parent.task, &*parent.arguments), ("work", "[1]"));
    assert_eq!(parent.component_digest, ComponentDigest::from_bytes([1; 32]));
    assert_eq!((parent.parent, parent.root, parent.depth), (None, root, 0));
    assert_eq!(*parent.labels, [("a".to_owned(), "b".to_owned())]);
    assert_eq!(parent.limits, limits);
    assert_eq!((&parent.callers, &bench.get(root).callers), (&callers, &callers));

    bench.create(child_of(&parent, 0));
    let child = bench.claim_one(runner);
    assert_eq!((child.parent, child.root, child.depth), (Some(root), root, 1));
    let invocation = bench.get(child.id);
    assert_eq!(invocation.runner, Some(runner));
    assert_eq!((invocation.parent, invocation.root, invocation.depth), (Some(root), root, 1));
    // Whoever submits children gives them limits; a store gives none.
    assert!(child.limits.is_empty() && invocation.limits.is_empty());
    // Also in the next attempt.
    bench.end(&parent, EndKind::Retry(failure("once more"), Duration::ZERO));
    assert_eq!(bench.claim_one(runner).limits, limits);
}

/// More tasks than one claim looks at.
const VERY_MANY: usize = 2_500;

pub fn claims_go_round_among_more_tasks_than_one_looks_at(bench: &Bench) {
    let names: Vec<String> = (0..VERY_MANY).map(|n| format!("task {n}")).collect();
    let submits: Vec<_> = names.iter().chain(&names).map(|name| new(name)).collect();
    let mut left: BTreeSet<_> = submits.iter().map(|submit| submit.id).collect();
    bench.commit(Batch { submits, ..Batch::default() });
    // A runner with few tasks finds its own among them at once.
    let runner = RunnerId::generate();
    let own = bench.create(new("work"));
    let receipt = bench.claim(request(runner, 10));
    assert_eq!((ids(&receipt), receipt.more), (vec![own], false));

    let tasks: Arc<TaskSet> = Arc::new(names.iter().map(|name| Arc::from(&**name)).collect());
    let claim = || bench.claim(ClaimRequest { tasks: Arc::clone(&tasks), ..request(runner, 100) });
    let (mut claims, mut empty) = (0, 0);
    while !left.is_empty() {
        let receipt = claim();
        assert!(receipt.more || receipt.claimed.len() == left.len(), "nobody would look for the rest");
        empty += usize::from(receipt.claimed.is_empty());
        claims += 1;
        assert!(ids(&receipt).iter().all(|id| left.remove(id)), "each is claimed once");
    }
    assert!(claims <= 2 * VERY_MANY / 100 + 10 && empty <= 3, "{claims} claims, {empty} of nothing");
    // A round of looks ends by itself.
    let looks = (0..4).take_while(|_| claim().more).count();
    assert!(looks < 4, "there is nothing more to claim");
    let late = bench.create(new("task 7"));
    assert_eq!(ids(&claim()), [late]);
}

pub fn claims_come_by_priority_then_age(bench: &Bench) {
    let submit = |priority| {
        let id = bench.create(NewInvocation { priority, ..new("work") });
        bench.clock.advance(SECOND);
        id
    };
    let low = submit(-1);
    let normal = submit(0);
    let high = submit(5);
    let normal_later = submit(0);
    let high_later = submit(5);
    assert_eq!(bench.drain(), [high, high_later, normal, normal_later, low]);
}

pub fn low_priority_does_not_starve(bench: &Bench) {
    let low = bench.create(new("work"));
    // A step of priority is worth sixty turns, no more.
    let mut order: Vec<_> =
        (0..60).map(|_| bench.create(NewInvocation { priority: 1, ..new("work") })).collect();
    order.insert(59, low);
    assert_eq!(bench.drain(), order);
}

pub fn tasks_share_one_order(bench: &Bench) {
    let submitted: Vec<_> = ["work", "child", "other", "work", "other", "child", "child"]
        .into_iter()
        .map(|task| {
            bench.clock.advance(SECOND);
            bench.create(new(task))
        })
        .collect();
    let first = bench.claim(request(RunnerId::generate(), 4));
    assert_eq!(ids(&first), submitted[..4]);
    assert!(first.more);
    assert_eq!(bench.drain(), submitted[4..]);
}

pub fn any_number_of_tasks_share_one_order(bench: &Bench) {
    const TASKS: usize = 150;
    let tasks: Vec<String> = (0..TASKS).map(|n| format!("task-{n}")).collect();
    // Each task has two of every priority, and the tasks are submitted in another order each time.
    let submit = |n: usize| {
        let (round, place) = (n / TASKS, n % TASKS);
        let priority = if round % 2 == 0 { 0 } else { 10 };
        NewInvocation { priority, ..new(&tasks[place * (2 * round + 1) % TASKS]) }
    };
    let submitted: Vec<_> = (0..4 * TASKS).map(|n| bench.create(submit(n))).collect();
    let names: Vec<&str> = tasks.iter().map(|task| &**task).collect();
    let wanted = harness::tasks(&names);
    let mut claimed = Vec::new();
    while claimed.len() < submitted.len() {
        let request = ClaimRequest { tasks: Arc::clone(&wanted), ..request(RunnerId::generate(), 70) };
        let receipt = bench.claim(request);
        assert!(!receipt.claimed.is_empty(), "after {}", claimed.len());
        claimed.extend(ids(&receipt));
    }
    let of_round = |round: usize| submitted[round * TASKS..(round + 1) * TASKS].iter().copied();
    let order: Vec<_> = [1, 3, 0, 2].into_iter().flat_map(of_round).collect();
    assert_eq!(claimed, order);
}

pub fn awaited_invocations_come_first_in_the_order_asked(bench: &Bench) {
    let submitted: Vec<_> = (0..6).map(|_| bench.create(new("work"))).collect();
    let receipt = bench.claim(ClaimRequest {
        // Twice the same changes nothing.
        awaited: vec![submitted[4], submitted[2], submitted[4]],
        ..request(RunnerId::generate(), 4)
    });
    assert_eq!(ids(&receipt), [submitted[4], submitted[2], submitted[0], submitted[1]]);
    assert!(receipt.unclaimable.is_empty());
    assert!(receipt.more);
}

pub fn a_claim_names_the_awaited_that_cannot_be_claimed(bench: &Bench) {
    let runner = RunnerId::generate();
    let owned = bench.create(new("work"));
    bench.claim_one(runner);
    let done = bench.create(new("work"));
    bench.succeed(&bench.claim_one(runner));
    let foreign = bench.create(new("foreign"));
    let delayed = bench.create(NewInvocation { delay: SECOND, ..new("work") });
    let unknown = InvocationId::generate();
    let good = bench.create(new("work"));
    let receipt = bench.claim(ClaimRequest {
        awaited: vec![owned, done, foreign, delayed, unknown, good],
        ..request(runner, 10)
    });
    assert_eq!(receipt.unclaimable, [owned, done, foreign, delayed, unknown]);
    assert_eq!(ids(&receipt), [good]);
    bench.clock.advance(SECOND);
    let receipt = bench.claim(ClaimRequest { awaited: vec![delayed], ..request(runner, 10) });
    assert_eq!(ids(&receipt), [delayed]);
}

pub fn a_claim_of_awaited_work_takes_nothing_else(bench: &Bench) {
    let submitted: Vec<_> = (0..4).map(|_| bench.create(new("work"))).collect();
    let only = |awaited: &[InvocationId], max| {
        bench.claim(ClaimRequest {
            awaited: awaited.to_vec(),
            only_awaited: true,
            ..request(RunnerId::generate(), max)
        })
    };
    let none = only(&[], 10);
    assert!(none.claimed.is_empty() && !none.more);
    let one = only(&[submitted[3], submitted[2]], 1);
    assert_eq!(ids(&one), [submitted[3]]);
    assert!(one.more && one.unclaimable.is_empty());
    let rest = only(&[submitted[2]], 10);
    assert_eq!(ids(&rest), [submitted[2]]);
    assert!(!rest.more);
}

pub fn delayed_invocations_are_not_claimed_before_their_time(bench: &Bench) {
    let late = bench.create(NewInvocation { delay: SECOND * 2, priority: 1000, ..new("work") });
    let soon = bench.create(NewInvocation { delay: SECOND, ..new("work") });
    assert!(bench.drain().is_empty());
    bench.clock.advance(SECOND - Duration::from_micros(1));
    assert!(bench.drain().is_empty());
    bench.clock.advance(Duration::from_micros(1));
    assert_eq!(bench.drain(), [soon]);
    bench.clock.advance(SECOND);
    assert_eq!(bench.drain(), [late]);
}

pub fn next_due_is_the_next_moment_at_which_time_changes_something(bench: &Bench) {
    let (mine, other) = (RunnerId::generate(), RunnerId::generate());
    assert_eq!(bench.claim(request(mine, 1)).next_due, None);
    bench.create(new("work"));
    let claim = bench.claim_one(other);
    let lease_end = bench.clock.now().plus(LEASE);
    assert_eq!(bench.claim(request(mine, 1)).next_due, Some(lease_end));
    // Nobody waits for the end of their own lease.
    assert_eq!(bench.claim(request(other, 1)).next_due, None);
    bench.create(NewInvocation { delay: SECOND, ..new("foreign") });
    let due = bench.clock.now().plus(SECOND);
    assert_eq!(bench.claim(request(mine, 1)).next_due, Some(due));
    bench.clock.advance(SECOND);
    assert_eq!(bench.claim(request(mine, 1)).next_due, Some(lease_end));
    bench.succeed(&claim);
    assert_eq!(bench.claim(request(mine, 1)).next_due, None);
    // Only a claim is answered.
    assert_eq!(bench.heartbeat(mine).next_due, None);
}

pub fn only_the_tree_asked_for_is_claimed(bench: &Bench) {
    let other_tree = bench.create(new("work"));
    let root = bench.create(new("work"));
    let in_tree = |max| ClaimRequest { root: Some(root), ..request(RunnerId::generate(), max) };
    let first = bench.claim(in_tree(10));
    assert_eq!(ids(&first), [root]);
    let children: Vec<_> = (0..4).map(|index| bench.create(child_of(&first.claimed[0], index))).collect();
    let awaited = bench.claim(ClaimRequest { awaited: vec![other_tree, children[2]], ..in_tree(1) });
    assert_eq!(awaited.unclaimable, [other_tree]);
    assert_eq!(ids(&awaited), [children[2]]);
    assert!(awaited.more);
    // The root goes back to its old place, ahead of its children.
    bench.end(&first.claimed[0], EndKind::Release);
    let two = bench.claim(in_tree(2));
    assert_eq!(ids(&two), [root, children[0]]);
    assert!(two.more);
    let rest = bench.claim(in_tree(10));
    assert_eq!(ids(&rest), [children[1], children[3]]);
    assert!(!rest.more);
    assert_eq!(bench.drain(), [other_tree]);
}

pub fn only_tasks_asked_for_are_claimed(bench: &Bench) {
    let work = bench.create(new("work"));
    let foreign: Vec<_> = (0..3).map(|_| bench.create(new("foreign"))).collect();
    let later = bench.create(new("work"));
    let receipt = bench.claim(request(RunnerId::generate(), 10));
    assert_eq!(ids(&receipt), [work, later]);
    assert!(!receipt.more);
    let receipt =
        bench.claim(ClaimRequest { tasks: tasks(&["foreign"]), ..request(RunnerId::generate(), 2) });
    assert_eq!(ids(&receipt), foreign[..2]);
    assert!(receipt.more);
    let receipt = bench.claim(ClaimRequest { tasks: tasks(&[]), ..request(RunnerId::generate(), 2) });
    assert!(receipt.claimed.is_empty() && !receipt.more);
}

pub fn a_claim_reports_whether_work_is_left(bench: &Bench) {
    for _ in 0..3 {
        bench.create(new("work"));
    }
    bench.create(NewInvocation { delay: SECOND, ..new("work") });
    assert!(bench.claim(request(RunnerId::generate(), 2)).more);
    assert!(bench.claim(request(RunnerId::generate(), 0)).more);
    assert!(!bench.claim(request(RunnerId::generate(), 1)).more);
    assert!(!bench.claim(request(RunnerId::generate(), 1)).more);
}

pub fn a_claim_ends_where_the_arguments_are_too_large_together(bench: &Bench) {
    // Of a kind that is stored as it is, and of one that needs little room.
    let noise: String = (0..50_000).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string()).collect();
    let large = [format!("[\"{noise}\"]"), format!("[\"{}\"]", "x".repeat(noise.len()))];
    let create = |n: usize| bench.create(NewInvocation { arguments: (*large[n % 2]).into(), ..new("work") });
    let submitted: Vec<_> = (0..6).map(create).collect();
    let two = ClaimRequest { max_bytes: large[0].len() + 1, ..request(RunnerId::generate(), 10) };
    let receipt = bench.claim(two.clone());
    assert_eq!(ids(&receipt), submitted[..2], "the second goes beyond it");
    assert!(receipt.more);
    for (claim, arguments) in receipt.claimed.iter().zip(&large) {
        assert!(*claim.arguments == **arguments, "they are whole");
    }

    let awaited = vec![submitted[5], submitted[4], submitted[3]];
    let receipt = bench.claim(ClaimRequest { awaited, only_awaited: true, ..two.clone() });
    assert_eq!(ids(&receipt), [submitted[5], submitted[4]]);
    assert!(receipt.more && receipt.unclaimable.is_empty());

    let small = bench.create(new("work"));
    let receipt = bench.claim(ClaimRequest { max_bytes: usize::MAX, ..two });
    assert_eq!(ids(&receipt), [submitted[2], submitted[3], small]);
    assert!(!receipt.more);
}
