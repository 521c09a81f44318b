//! Tests of plans.

use super::*;
use crate::runner::ledger::relief::{Step, Waiting};
use crate::runner::ledger::standstill::Standstill;

/// What is claimed: how many at most, and whether only of the awaited.
fn claims(bench: &mut Bench) -> Option<(usize, bool)> {
    bench.ledger.claims.may_have_work = true;
    bench.plan(Messages::default()).batch.claim.map(|request| (request.max, request.only_awaited))
}

#[test]
fn claims_fill_the_free_slots_and_the_prefetch() {
    let millis = |count| Some(Duration::from_millis(count));
    // Idle slots, claimed, those of them that are awaited, the average slice; the claim.
    for (idle, ready, awaited, slice, expected) in [
        (SLOTS, 0, 0, None, Some((2 * SLOTS, false))),
        (SLOTS, 8, 8, None, None),
        (1, 8, 8, None, None),
        (SLOTS, 0, 0, millis(1), Some((SLOTS + 20 * SLOTS, false))),
        (0, 0, 0, millis(1), Some((20 * SLOTS, false))),
        (0, 70, 0, millis(1), Some((10, false))),
        (0, 80, 8, millis(1), None),
        (0, 0, 0, millis(1000), None),
        (2, 0, 8, millis(1000), Some((2, false))),
    ] {
        let mut bench = Bench::settled();
        (bench.load.idle, bench.load.ready, bench.load.awaited) = (idle, ready, awaited);
        bench.slice = slice;
        assert_eq!(claims(&mut bench), expected, "{idle} {ready} {awaited} {slice:?}");
    }
}

#[test]
fn one_is_claimed_ahead_when_many_were_resumed_in_a_row() {
    let mut bench = Bench::settled();
    (bench.load.idle, bench.slice) = (0, Some(Duration::from_secs(1)));
    assert_eq!(claims(&mut bench), None);
    bench.load.owes_start = true;
    assert_eq!(claims(&mut bench), Some((1, false)));
    bench.load.ready = 1;
    assert_eq!(claims(&mut bench), None);
}

#[test]
fn awaited_work_is_claimed_though_no_slot_is_free() {
    let mut bench = Bench::settled();
    bench.load.idle = 0;
    let id = bench.want(1);
    let request = bench.plan(Messages::default()).batch.claim.expect("a claim");
    assert_eq!((request.awaited, request.only_awaited, request.max), (vec![id], true, 2 * SLOTS));
}

#[test]
fn a_nearly_full_runner_claims_only_what_is_deeper() {
    let mut bench = Bench::settled();
    (bench.load.may_start_unawaited, bench.load.deepest) = (false, Some(3));
    bench.want(3);
    assert_eq!(claims(&mut bench), None);
    let deep = bench.want(4);
    let request = bench.plan(Messages::default()).batch.claim.expect("a claim");
    assert_eq!((request.awaited, request.only_awaited), (vec![deep], true));
}

#[test]
fn nothing_is_claimed_without_need() {
    type Change = fn(&mut Bench);
    let rows: [(&str, Change); 5] = [
        ("while draining", |bench| bench.stage = Stage::Draining),
        ("while killing", |bench| bench.stage = Stage::Killing),
        ("while outcomes wait for the store", |bench| bench.load.is_congested = true),
        ("while the host is short of something", |bench| bench.load.is_short = true),
        ("while the store has nothing", |_| {}),
    ];
    for (when, change) in rows {
        let mut bench = Bench::settled();
        change(&mut bench);
        let is_empty = when == "while the store has nothing";
        if !is_empty {
            bench.ledger.claims.may_have_work = true;
            bench.want(1);
        }
        assert!(bench.plan(Messages::default()).batch.is_empty(), "{when}");
    }
}

#[test]
fn a_new_runner_tells_its_rules_until_the_store_knows_them() {
    let mut bench = Bench::new();
    let plan = bench.plan(Messages::default());
    assert_eq!(plan.batch.rules.len(), 1);
    let (began, now) = (bench.now, bench.now);
    bench.ledger.take_back(plan, began, now);
    let plan = bench.plan(Messages::default());
    assert_eq!(plan.batch.rules.len(), 1);
    bench.settle(plan, Receipt::default());
    bench.ledger.claims.may_have_work = true;
    assert!(bench.plan(Messages::default()).batch.rules.is_empty());
}

#[test]
fn a_claim_whose_receipt_is_lost_brings_an_inventory() {
    let mut bench = Bench::settled();
    let owned = InvocationId::generate();
    bench.registry.own(owned, 2);
    bench.ledger.claims.may_have_work = true;
    let plan = bench.plan(Messages::default());
    assert!(plan.batch.claim.is_some() && plan.batch.inventory.is_none());
    let (began, now) = (bench.now, bench.now);
    bench.ledger.take_back(plan, began, now);
    bench.ledger.doubt(now);
    let plan = bench.plan(Messages::default());
    let inventory = plan.batch.inventory.as_ref().expect("an inventory");
    assert_eq!((inventory.runner, &inventory.owned), (bench.ledger.runner, &vec![(owned, 2)]));
    bench.settle(plan, Receipt::default());
    bench.ledger.claims.may_have_work = true;
    assert!(bench.plan(Messages::default()).batch.inventory.is_none(), "it was told");
    // A commit without a claim has handed nothing out.
    let mut bench = Bench::settled();
    bench.load.is_congested = true;
    let plan = bench.plan(submit(1).0);
    bench.ledger.take_back(plan, began, now);
    assert!(bench.plan(Messages::default()).batch.inventory.is_none());
}

#[test]
fn a_plan_that_is_taken_back_is_planned_again() {
    let mut bench = Bench::settled();
    let (mut messages, _receiver) = submit(1001);
    messages.unstarted = ends(vec![EndKind::Release]).unstarted;
    let (reply, _told) = tokio::sync::oneshot::channel();
    let id = InvocationId::generate();
    let cancel = crate::store::Cancel { id, by: None, message: "no need".to_owned() };
    messages.cancels.push(crate::runner::inbox::CancelMessage { cancel, reply });
    bench.ledger.collect(&mut messages, Instant::now());
    let plan = bench.plan(messages);
    let sizes = |plan: &Plan| (plan.batch.submits.len(), plan.batch.reports.len(), plan.batch.cancels.len());
    assert_eq!(sizes(&plan), (1000, 1, 1));
    let (began, now) = (bench.now, bench.now);
    let messages = bench.ledger.take_back(plan, began, now);
    assert_eq!(messages.submits[0].children.len(), 1001);
    assert_eq!(messages.cancels[0].cancel.id, id);
    assert_eq!(sizes(&bench.plan(messages)), (1000, 1, 1));
}

#[test]
fn a_turn_takes_a_share_of_what_is_large() {
    let mut bench = Bench::settled();
    let (messages, _receiver) = submit(2500);
    let mut sizes = Vec::new();
    let mut messages = Some(messages);
    while let Some(some) = messages.take() {
        let plan = bench.plan(some);
        sizes.push(plan.batch.submits.len());
        let submits = plan.batch.submits.iter().map(|child| crate::store::Submitted::Created(child.id));
        let receipt = Receipt { submits: submits.collect(), ..Receipt::default() };
        let committed = Committed { began: bench.now, now: bench.now, lease: LEASE, is_trusted: true };
        let mut effects = Vec::new();
        bench.ledger.settle(plan, receipt, &committed, &mut effects);
        match effects.pop() {
            Some(Effect::SubmitRest(rest)) => {
                messages = Some(Messages { submits: vec![rest], ..Messages::default() });
            }
            Some(Effect::AnswerSubmit(_, Ok(ids))) => assert_eq!(ids.len(), 2500, "told when all are there"),
            _ => panic!("the rest, or an answer"),
        }
    }
    assert_eq!(sizes, [1000, 1000, 500]);

    // Of large outcomes one, and what is small.
    let large = || EndKind::Final(value(5 << 20));
    let mut messages = ends(vec![large(), large(), EndKind::Final(value(1))]);
    bench.ledger.collect(&mut messages, Instant::now());
    assert_eq!(bench.plan(messages).batch.reports.len(), 2);
    assert!(bench.ledger.end_turn(), "another turn takes the rest");
    assert_eq!(bench.plan(Messages::default()).batch.reports.len(), 1);
    assert!(!bench.ledger.end_turn());
}

/// Submits one child with so many bytes of arguments for a guest.
fn submit_bytes(bytes: usize) -> SubmitMessage {
    let mut message = submit(1).0.submits.remove(0);
    message.children[0].arguments = "x".repeat(bytes).into();
    message
}

#[test]
fn guests_that_submit_and_return_much_have_one_share_of_a_turn_and_take_turns() {
    const LARGE: usize = 5 << 20;
    let mut bench = Bench::settled();
    let mut messages = ends((0..3).map(|_| EndKind::Final(value(LARGE))).collect());
    messages.submits = [LARGE, LARGE, LARGE, 10].map(submit_bytes).into();
    bench.ledger.collect(&mut messages, Instant::now());
    let (mut submits, mut reports) = (messages.submits, 3);
    for turn in 0..6 {
        // The one that was here before.
        let first = submits.first().map(|submit| submit.children[0].id);
        let plan = bench.plan(Messages { submits, ..Messages::default() });
        let large = |new: &&NewInvocation| new.arguments.len() > 10;
        let submitted: Vec<_> = plan.batch.submits.iter().filter(large).map(|new| new.id).collect();
        assert_eq!(
            plan.batch.submits.len() - submitted.len(),
            usize::from(turn == 0),
            "what is small goes first"
        );
        assert_eq!(submitted.len() + plan.batch.reports.len(), 1, "one of all of them");
        assert!(submitted.is_empty() || Some(submitted[0]) == first);
        reports -= plan.batch.reports.len();
        let answers = plan.batch.submits.iter().map(|new| crate::store::Submitted::Created(new.id)).collect();
        let applied = plan.batch.reports.iter().map(|_| crate::store::Applied::Done).collect();
        let receipt = Receipt { submits: answers, reports: applied, ..Receipt::default() };
        let committed = Committed { began: bench.now, now: bench.now, lease: LEASE, is_trusted: true };
        let mut effects = Vec::new();
        bench.ledger.settle(plan, receipt, &committed, &mut effects);
        submits = effects
            .into_iter()
            .find_map(|effect| if let Effect::SubmitDeferred(later) = effect { Some(later) } else { None })
            .unwrap_or_default();
        bench.ledger.end_turn();
    }
    assert_eq!((submits.len(), reports), (0, 0), "nothing is left");
}

#[test]
fn a_submit_that_had_to_wait_is_kept_if_the_commit_fails() {
    let mut bench = Bench::settled();
    let submits = [5 << 20, 5 << 20].map(submit_bytes).into();
    let plan = bench.plan(Messages { submits, ..Messages::default() });
    assert_eq!(plan.batch.submits.len(), 1);
    let (began, now) = (bench.now, bench.now);
    assert_eq!(bench.ledger.take_back(plan, began, now).submits.len(), 2);
}

#[test]
fn what_was_too_large_to_be_claimed_together_is_claimed_next() {
    let mut bench = Bench::settled();
    bench.ledger.claims.may_have_work = true;
    let plan = bench.plan(Messages::default());
    let claimed = vec![claim(bench.ledger.runner)];
    let lease = Some(crate::store::Lease::Held);
    let receipt = Receipt { lease, claimed, more: true, ..Receipt::default() };
    assert_eq!(bench.settle(plan, receipt), ["claim again", "start 1"]);
}

#[test]
fn a_standstill_has_one_way_out() {
    let claimed = |bench: &mut Bench| (bench.load.ready, bench.load.awaited) = (1, 1);
    type Row = (&'static str, fn(&mut Bench), Option<Standstill>);
    let rows: [Row; 10] = [
        ("there is room", |bench| bench.load.may_start_unawaited = true, None),
        ("a guest runs", |bench| bench.load.busy = 1, None),
        ("a fiber was resumed", |bench| bench.load.resumed = 1, None),
        ("the runner stops", |bench| bench.stage = Stage::Draining, None),
        ("a look-up is left", |bench| bench.ledger.look_ups.push(InvocationId::generate()), None),
        ("a slot may take something", |bench| bench.load.startable = 1, None),
        ("something deep is awaited", |bench| _ = bench.want(9), Some(Standstill::Claim)),
        ("something shallow is awaited", |bench| _ = bench.want(1), Some(Standstill::Claim)),
        ("the cap is reached", |bench| bench.load.live = 100, None),
        ("nothing is awaited", |_| {}, None),
    ];
    for (when, change, expected) in rows {
        let mut bench = Bench::settled();
        (bench.load.may_start_unawaited, bench.load.live, bench.load.deepest) = (false, 90, Some(3));
        change(&mut bench);
        assert_eq!(decide(&mut bench, false), expected, "{when}");
        assert_eq!(decide(&mut bench, true), None, "{when}, and a message waits");
    }
    for (live, expected) in [(90, Standstill::MakeException), (100, Standstill::GiveUpAtCap)] {
        let mut bench = Bench::settled();
        (bench.load.may_start_unawaited, bench.load.live, bench.load.deepest) = (false, live, Some(3));
        claimed(&mut bench);
        assert_eq!(decide(&mut bench, false), Some(expected));
    }
}

#[test]
fn parked_guests_that_have_all_the_memory_make_room_for_what_is_awaited() {
    let mut bench = Bench::settled();
    (bench.load.may_start_unawaited, bench.load.live, bench.load.is_out_of_memory) = (false, 5, true);
    assert_eq!(decide(&mut bench, false), None, "they wait for time");
    bench.want(1);
    assert_eq!(decide(&mut bench, false), Some(Standstill::Claim));
    bench.load.awaited = 1;
    assert_eq!(decide(&mut bench, false), Some(Standstill::MakeRoom));
    bench.load.busy = 1;
    assert_eq!(decide(&mut bench, false), None, "somebody runs");
}

#[test]
fn what_has_more_than_its_share_is_left_out_of_claims_unless_it_is_awaited() {
    let mut bench = Bench::settled();
    let all: [Arc<str>; 2] = ["hog::run".into(), "other::run".into()];
    bench.tasks = Arc::new(all.iter().cloned().collect());
    let claim = |bench: &mut Bench| {
        let plan = bench.plan(Messages { is_hungry: true, ..Messages::default() });
        let request = plan.batch.claim.clone();
        let receipt = Receipt { more: false, ..Receipt::default() };
        let follows = bench.settle(plan, receipt);
        request.map(|request| (request.tasks.len(), request.awaited.len(), follows))
    };
    bench.ledger.claims.may_have_work = true;
    assert_eq!(claim(&mut bench), Some((2, 0, vec![])));
    assert_eq!(claim(&mut bench), None, "there is nothing");

    bench.held_back = vec!["hog".into()];
    assert_eq!(claim(&mut bench), Some((1, 0, vec![])));
    bench.want(1);
    bench.ledger.claims.may_have_work = true;
    assert_eq!(
        claim(&mut bench),
        Some((2, 1, vec!["claim again".to_owned()])),
        "the awaited may be one of them"
    );
    let again = || vec!["claim again".to_owned()];
    assert_eq!(claim(&mut bench), Some((1, 0, again())), "it is awaited still");
    assert_eq!(claim(&mut bench), Some((2, 1, vec![])), "the others have nothing");

    bench.held_back.clear();
    assert_eq!(claim(&mut bench), Some((2, 1, vec![])), "what was left out was not looked for");
}

#[test]
fn a_nearly_full_runner_claims_a_little_for_small_users_when_they_get_relief() {
    let mut bench = Bench::settled();
    let all: [Arc<str>; 2] = ["hog::run".into(), "small::run".into()];
    bench.tasks = Arc::new(all.iter().cloned().collect());
    bench.held_back = vec!["hog".into()];
    let awaited_by = |bench: &Bench, task: &str| {
        let id = InvocationId::generate();
        let caller = Some((InvocationId::generate(), Arc::from(task)));
        let wait_for = WaitFor { caller, depth: 0, ids: vec![id], mode: AwaitMode::All };
        bench.registry.register(wait_for).expect("no cycle");
        id
    };
    awaited_by(&bench, "hog::run");
    let small = awaited_by(&bench, "small::run");
    (bench.load.may_start_unawaited, bench.load.deepest, bench.load.has_large) = (false, Some(3), true);
    bench.ledger.claims.may_have_work = true;
    assert!(bench.plan(Messages::default()).batch.claim.is_none(), "nothing of it could start");

    let waiting = Waiting { may_be_stored: true, ..Waiting::default() };
    let (load, now) = (bench.load, bench.now);
    assert_eq!(bench.ledger.relief.step(&load, waiting, now), None);
    bench.pass(5_000);
    let now = bench.now;
    assert_eq!(bench.ledger.relief.step(&load, waiting, now), Some(Step::Claim));
    let plan = bench.plan(Messages::default());
    let request = plan.batch.claim.clone().expect("a claim");
    assert_eq!((request.awaited, request.only_awaited), (vec![small], true), "however deep it is");
    assert_eq!(bench.settle(plan, Receipt { more: true, ..Receipt::default() }), ["claim again"]);
    let request = bench.plan(Messages::default()).batch.claim.expect("a claim");
    assert_eq!((request.awaited.len(), request.only_awaited, request.max), (0, false, SLOTS));
    assert_eq!(request.tasks.iter().collect::<Vec<_>>(), [&all[1]]);
}

fn decide(bench: &mut Bench, is_called: bool) -> Option<Standstill> {
    let view = view!(bench);
    bench.ledger.break_standstill(&view, is_called)
}

#[test]
fn a_standstill_lets_the_next_claim_be_of_any_depth_once() {
    let mut bench = Bench::settled();
    (bench.load.may_start_unawaited, bench.load.live, bench.load.deepest) = (false, 90, Some(3));
    let shallow = bench.want(1);
    assert_eq!(decide(&mut bench, false), Some(Standstill::Claim));
    let request = bench.plan(Messages::default()).batch.claim.expect("a claim");
    assert_eq!(request.awaited, [shallow]);
    assert_eq!(claims(&mut bench), None);
}
