//! A check that can't fail is worthless: each is fed evidence that is broken in
//! every way that it is there for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::all;
use crate::model::{
    Callers, ComponentDigest, Event, Failure, FailureKind, Invocation, InvocationId, Outcome, Reason,
    RunnerId, Status, SubmitLimits, Transition, UnixMicros,
};
use crate::store::Cancelled;
use crate::torture::book::{CancelAsked, Submit, full, short};
use crate::torture::evidence::{Evidence, Life};
use crate::torture::kind::Kind;
use crate::torture::runners::{Fate, Record};
use crate::torture::witness::{Line, Told};

const LEAF: u8 = 1;
const FAN: u8 = 2;
const CHILDREN: [u8; 2] = [3, 4];
const POISON: u8 = 5;
const CANCELLED: u8 = 6;
const DELAYED: u8 = 7;
const FLAKY: u8 = 8;
const LEAVE: u8 = 9;
const LEFT: u8 = 10;
const LANE: [u8; 2] = [11, 12];
const OVERDUE: u8 = 13;
/// No invocation has it.
const NOBODY: u8 = 99;

fn id(n: u8) -> InvocationId {
    InvocationId::from_bytes([n; 16])
}

/// A runner of the process with that number.
fn runner(process: u8) -> RunnerId {
    RunnerId::from_bytes([process; 16])
}

fn at(ms: i64) -> UnixMicros {
    UnixMicros(ms * 1_000)
}

fn value(number: u64) -> Outcome {
    Outcome::Value(number.to_string().into())
}

fn failure(kind: FailureKind) -> Outcome {
    Outcome::Failure(Arc::new(Failure::new(kind, "")))
}

/// A life whose steps are reasons, with the runner that owns it and the time in
/// milliseconds.
fn life(n: u8, kind: Kind, arguments: &[u64], steps: &[(Reason, u8, i64)], outcome: Outcome) -> Life {
    let mut history = vec![Transition {
        at: at(0),
        from: None,
        to: Status::Queued,
        reason: Reason::Submitted,
        runner: None,
        attempt: 0,
        detail: None,
        unrecorded: 0,
    }];
    let (mut status, mut attempt) = (Status::Queued, 0);
    for (reason, process, ms) in steps {
        let event = Event::ALL.into_iter().find(|event| event.reason() == *reason).unwrap();
        let to = status.apply(event).unwrap();
        attempt += u32::from(event == Event::Claim);
        history.push(Transition {
            at: at(*ms),
            from: Some(status),
            to,
            reason: *reason,
            runner: (status.is_owned() || to.is_owned()).then(|| runner(*process)),
            attempt,
            detail: None,
            unrecorded: 0,
        });
        attempt -= u32::from(event == Event::Release);
        status = to;
    }
    let invocation = Invocation {
        id: id(n),
        task: format!("torture-x.{}", kind.name()).into(),
        component_digest: ComponentDigest::from_bytes([0; 32]),
        status,
        attempt,
        max_attempts: kind.max_attempts(),
        parent: None,
        root: id(n),
        depth: 0,
        detached: false,
        priority: 0,
        key: None,
        fairness_key: "k".into(),
        payer: None,
        unkeyed: false,
        labels: Arc::default(),
        limits: SubmitLimits::default(),
        callers: Callers::default(),
        runner: None,
        submitted_at: at(0),
        available_at: at(0),
        started_at: None,
        finished_at: None,
        progress: None,
        usage: None,
        deadline: None,
        blocked: false,
        lane: None,
        unique: None,
        outcome: Some(outcome),
    };
    Life { kind, arguments: arguments.to_vec(), invocation, history }
}

fn below(parent: u8, mut life: Life) -> Life {
    life.invocation.parent = Some(id(parent));
    life.invocation.root = id(parent);
    life
}

fn line(process: usize, n: u8, attempt: u32, ms: i64, told: Told) -> Line {
    Line { process, id: id(n), attempt, at: at(ms), told }
}

fn start(kind: Kind) -> Told {
    Told::Start(kind.name().to_owned())
}

fn end(outcome: &str) -> Told {
    Told::End(outcome.to_owned())
}

fn submit(n: u8, kind: Kind, delay: Duration) -> Submit {
    Submit { id: id(n), kind, delay, is_acknowledged: true }
}

/// The evidence of a run in which everything held.
fn good() -> Evidence {
    use Reason as R;
    let one = |n, kind, arguments: &[u64], ms, outcome| {
        let steps = [(R::Claimed, 6, ms), (R::Started, 6, ms + 1), (R::Succeeded, 6, ms + 9)];
        life(n, kind, arguments, &steps, outcome)
    };
    let mut left = below(LEAVE, one(LEFT, Kind::Leaf, &[0, 0], 220, value(9)));
    left.invocation.detached = true;
    let mut overdue =
        life(OVERDUE, Kind::Leaf, &[0, 0], &[(R::Expired, 0, 60)], failure(FailureKind::TimedOut));
    overdue.invocation.deadline = Some(at(60));
    let lives = [
        // Process 0 was stopped from 20 to 5000, process 1 took over.
        life(
            LEAF,
            Kind::Leaf,
            &[0, 500],
            &[
                (R::Claimed, 0, 10),
                (R::Started, 0, 11),
                (R::LeaseExpired, 0, 2_300),
                (R::Claimed, 1, 2_310),
                (R::Started, 1, 2_320),
                (R::Succeeded, 1, 2_400),
            ],
            value(5),
        ),
        life(
            FAN,
            Kind::Fan,
            &[2, 0],
            &[
                (R::Claimed, 1, 100),
                (R::Started, 1, 101),
                (R::Awaiting, 1, 105),
                (R::Resumed, 1, 150),
                (R::Succeeded, 1, 160),
            ],
            value(30),
        ),
        below(FAN, one(CHILDREN[0], Kind::Leaf, &[0, 0], 110, value(10))),
        below(FAN, one(CHILDREN[1], Kind::Leaf, &[0, 0], 130, value(20))),
        life(
            POISON,
            Kind::Poison,
            &[],
            &[
                (R::Claimed, 2, 10),
                (R::LeaseExpired, 2, 2_100),
                (R::Claimed, 3, 2_200),
                (R::LeaseExpired, 3, 4_300),
                (R::Claimed, 4, 4_400),
                (R::Failed, 4, 6_500),
            ],
            failure(FailureKind::Lost),
        ),
        life(CANCELLED, Kind::Leaf, &[0, 0], &[(R::Cancelled, 0, 50)], failure(FailureKind::Cancelled)),
        one(DELAYED, Kind::Leaf, &[0, 0], 1_000, value(7)),
        life(
            FLAKY,
            Kind::Flaky,
            &[1],
            &[
                (R::Claimed, 5, 10),
                (R::Started, 5, 11),
                (R::Retry, 5, 12),
                (R::Claimed, 5, 80),
                (R::Released, 5, 90),
                (R::Claimed, 5, 100),
                (R::Started, 5, 101),
                (R::Succeeded, 5, 102),
            ],
            value(8),
        ),
        one(LEAVE, Kind::Leave, &[1, 0], 200, value(1)),
        left,
        one(LANE[0], Kind::Lane, &[1, 0], 300, value(11)),
        one(LANE[1], Kind::Lane, &[1, 0], 320, value(12)),
        overdue,
    ];
    let lives: BTreeMap<_, _> = lives.into_iter().map(|life| (life.invocation.id, life)).collect();
    let saw = |child, outcome: &str| Told::Saw(id(child), outcome.to_owned());
    let lines = vec![
        line(0, LEAF, 1, 12, start(Kind::Leaf)),
        // Stopped at 20, gone on at 5000, killed a moment later.
        line(0, LEAF, 1, 5_001, Told::Beat),
        line(1, LEAF, 2, 2_321, start(Kind::Leaf)),
        line(1, LEAF, 2, 2_390, end("5")),
        line(1, FAN, 1, 102, start(Kind::Fan)),
        line(6, CHILDREN[0], 1, 112, start(Kind::Leaf)),
        line(6, CHILDREN[0], 1, 115, end("10")),
        line(6, CHILDREN[1], 1, 132, start(Kind::Leaf)),
        line(6, CHILDREN[1], 1, 135, end("20")),
        line(1, FAN, 1, 152, saw(CHILDREN[0], "10")),
        line(1, FAN, 1, 153, saw(CHILDREN[1], "20")),
        line(1, FAN, 1, 154, end("30")),
        line(2, POISON, 1, 20, start(Kind::Poison)),
        line(6, DELAYED, 1, 1_002, start(Kind::Leaf)),
        line(6, DELAYED, 1, 1_003, end("7")),
        line(5, FLAKY, 1, 11, start(Kind::Flaky)),
        line(5, FLAKY, 1, 12, end("!returned")),
        line(5, FLAKY, 2, 81, start(Kind::Flaky)),
        line(5, FLAKY, 2, 101, start(Kind::Flaky)),
        line(5, FLAKY, 2, 102, end("8")),
        line(6, LEAVE, 1, 202, start(Kind::Leave)),
        line(6, LEAVE, 1, 203, end("1")),
        line(6, LEFT, 1, 222, start(Kind::Leaf)),
        line(6, LEFT, 1, 223, end("9")),
        line(6, LANE[0], 1, 302, start(Kind::Lane)),
        line(6, LANE[0], 1, 308, end("11")),
        line(6, LANE[1], 1, 322, start(Kind::Lane)),
        line(6, LANE[1], 1, 328, end("12")),
    ];
    let record =
        |process, fate, stops: &[_]| Record { process, stops: stops.to_vec(), fate, peak_running: None };
    let seen: HashMap<_, _> =
        lives.iter().map(|(id, life)| (*id, life.invocation.outcome.as_ref().map(full).unwrap())).collect();
    Evidence {
        lease: Duration::from_secs(2),
        slots: 2,
        submits: vec![
            submit(LEAF, Kind::Leaf, Duration::ZERO),
            submit(FAN, Kind::Fan, Duration::ZERO),
            submit(POISON, Kind::Poison, Duration::ZERO),
            submit(CANCELLED, Kind::Leaf, Duration::ZERO),
            submit(DELAYED, Kind::Leaf, Duration::from_millis(900)),
            submit(FLAKY, Kind::Flaky, Duration::ZERO),
            submit(LEAVE, Kind::Leave, Duration::ZERO),
            submit(LANE[0], Kind::Lane, Duration::ZERO),
            submit(LANE[1], Kind::Lane, Duration::ZERO),
            submit(OVERDUE, Kind::Leaf, Duration::ZERO),
        ],
        cancels: vec![
            CancelAsked { id: id(CANCELLED), answer: Some(Cancelled::Done) },
            CancelAsked { id: id(DELAYED), answer: Some(Cancelled::AlreadyFinal(Status::Succeeded)) },
            CancelAsked { id: id(LEAF), answer: None },
        ],
        seen,
        contradictions: Vec::new(),
        lives,
        lines,
        unreadable: Vec::new(),
        runners: vec![
            record(0, Fate::Killed, &[(at(20), at(5_000))]),
            record(1, Fate::Drained(0), &[]),
            record(7, Fate::NoStore, &[]),
            Record { peak_running: Some(2), ..record(2, Fate::Idle(0), &[]) },
        ],
    }
}

fn life_of(evidence: &mut Evidence, n: u8) -> &mut Life {
    evidence.lives.get_mut(&id(n)).unwrap()
}

/// Breaks good evidence, and returns the checks that see it.
fn seen_by(breaks: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
    let mut evidence = good();
    breaks(&mut evidence);
    let findings = all(&evidence);
    for finding in &findings {
        assert_eq!(finding.violated, finding.violations.len() as u64, "each is told");
    }
    findings.iter().filter(|finding| finding.violated > 0).map(|finding| finding.check).collect()
}

/// Gives an invocation another outcome everywhere, so that only what it means can
/// be wrong.
fn end_with(evidence: &mut Evidence, n: u8, outcome: Outcome) {
    evidence.seen.insert(id(n), full(&outcome));
    let attempt = life_of(evidence, n).invocation.attempt;
    for line in &mut evidence.lines {
        match &mut line.told {
            Told::End(said) if line.id == id(n) && line.attempt == attempt => *said = short(&outcome),
            Told::Saw(child, said) if *child == id(n) => *said = short(&outcome),
            _ => {}
        }
    }
    life_of(evidence, n).invocation.outcome = Some(outcome);
}

#[test]
fn good_evidence_passes_and_every_check_looks_at_something() {
    for finding in all(&good()) {
        assert_eq!(finding.violated, 0, "{}: {:?}", finding.check, finding.violations);
        assert!(finding.checked > 0, "{} looked at nothing", finding.check);
    }
}

#[test]
fn a_lost_submit_is_seen() {
    let seen = seen_by(|evidence| {
        let kept = |line: &Line| line.id != id(LEAF);
        evidence.lines.retain(kept);
        evidence.seen.remove(&id(LEAF));
        evidence.lives.remove(&id(LEAF));
    });
    assert_eq!(seen, ["submits"]);
}

#[test]
fn a_submit_of_which_nobody_knows_the_commit_may_be_lost() {
    let seen = seen_by(|evidence| {
        evidence
            .submits
            .push(Submit { is_acknowledged: false, ..submit(NOBODY, Kind::Leaf, Duration::ZERO) });
    });
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn what_hangs_is_seen() {
    let seen = seen_by(|evidence| {
        let life = life_of(evidence, DELAYED);
        life.history.truncate(1);
        life.invocation.status = Status::Queued;
        life.invocation.attempt = 0;
        life.invocation.outcome = None;
        evidence.seen.remove(&id(DELAYED));
        evidence.cancels.retain(|cancel| cancel.id != id(DELAYED));
        evidence.lines.retain(|line| line.id != id(DELAYED));
    });
    assert_eq!(seen, ["submits"]);
}

#[test]
fn a_second_end_is_seen() {
    let seen = seen_by(|evidence| {
        let history = &mut life_of(evidence, LEAF).history;
        history.push(history.last().unwrap().clone());
    });
    assert!(seen.contains(&"submits") && seen.contains(&"attempts"), "{seen:?}");
}

#[test]
fn an_invocation_from_nowhere_is_seen() {
    assert_eq!(seen_by(|evidence| evidence.submits.truncate(6)), ["submits"]);
}

#[test]
fn a_contradiction_of_the_store_is_seen() {
    let seen = seen_by(|evidence| evidence.contradictions.push("submitted again, created again".to_owned()));
    assert_eq!(seen, ["submits"]);
}

#[test]
fn a_forgotten_cancel_is_seen() {
    let answer = |n, answer| {
        move |evidence: &mut Evidence| {
            evidence.cancels.push(CancelAsked { id: id(n), answer: Some(answer) });
        }
    };
    assert_eq!(seen_by(answer(LEAF, Cancelled::Done)), ["cancels"]);
    assert_eq!(seen_by(answer(LEAF, Cancelled::AlreadyFinal(Status::Failed))), ["cancels"]);
    assert_eq!(seen_by(answer(LEAF, Cancelled::Unknown)), ["cancels"]);
}

#[test]
fn an_outcome_that_changed_is_seen() {
    let seen = seen_by(|evidence| drop(evidence.seen.insert(id(LEAF), "6".to_owned())));
    assert_eq!(seen, ["outcomes"]);
    // By whoever saw it first, and by nobody else if all later evidence agrees.
    let seen = seen_by(|evidence| {
        let first = evidence.seen[&id(LEAF)].clone();
        end_with(evidence, LEAF, value(6));
        evidence.seen.insert(id(LEAF), first);
    });
    assert_eq!(seen, ["outcomes"]);
}

#[test]
fn a_status_without_its_outcome_is_seen() {
    let seen = seen_by(|evidence| life_of(evidence, DELAYED).invocation.outcome = None);
    assert!(seen.contains(&"outcomes"), "{seen:?}");
    let seen = seen_by(|evidence| end_with(evidence, DELAYED, failure(FailureKind::Lost)));
    assert!(seen.contains(&"outcomes"), "{seen:?}");
}

#[test]
fn the_outcome_of_a_stale_attempt_is_seen() {
    // The guest of the first attempt, a zombie, said 4; the second one said 5.
    let seen = seen_by(|evidence| {
        evidence.lines.insert(2, line(0, LEAF, 1, 5_002, end("4")));
        evidence.seen.insert(id(LEAF), "4".to_owned());
        life_of(evidence, LEAF).invocation.outcome = Some(value(4));
    });
    assert_eq!(seen, ["witness"]);
}

#[test]
fn a_value_that_no_guest_returned_is_seen() {
    let seen = seen_by(|evidence| {
        evidence.lines.retain(|line| (line.id, &line.told) != (id(DELAYED), &end("7")));
    });
    assert_eq!(seen, ["witness"]);
    let seen = seen_by(|evidence| evidence.unreadable.push("runner 0: `%`".to_owned()));
    assert_eq!(seen, ["witness"]);
}

#[test]
fn an_end_that_its_task_can_not_have_is_seen() {
    // A flaky task that succeeds before its time.
    assert_eq!(seen_by(|evidence| life_of(evidence, FLAKY).arguments = vec![2]), ["endings"]);
    // A leaf that was lost with attempts to spare.
    let seen = seen_by(|evidence| {
        let life = life_of(evidence, DELAYED);
        let last = life.history.last_mut().unwrap();
        (last.to, last.reason) = (Status::Failed, Reason::Failed);
        life.invocation.status = Status::Failed;
        end_with(evidence, DELAYED, failure(FailureKind::Lost));
        evidence.cancels.retain(|cancel| cancel.id != id(DELAYED));
    });
    assert!(seen.contains(&"endings"), "{seen:?}");
    // Poison that timed out: nobody killed its runner.
    let seen = seen_by(|evidence| end_with(evidence, POISON, failure(FailureKind::TimedOut)));
    assert_eq!(seen, ["endings"]);
    // What nobody cancelled.
    let seen = seen_by(|evidence| evidence.cancels.retain(|cancel| cancel.id != id(CANCELLED)));
    assert_eq!(seen, ["endings"]);
    // A detached child that its parent's end took along.
    let seen = seen_by(|evidence| {
        let life = life_of(evidence, LEFT);
        let last = life.history.last_mut().unwrap();
        (last.to, last.reason) = (Status::Cancelled, Reason::Cancelled);
        life.invocation.status = Status::Cancelled;
        end_with(evidence, LEFT, failure(FailureKind::Cancelled));
    });
    assert_eq!(seen, ["endings"]);
}

#[test]
fn an_illegal_history_is_seen() {
    let broken: [fn(&mut Life); 6] = [
        // It starts without a claim.
        |life| drop(life.history.remove(1)),
        // An attempt that a crash ended is not counted.
        |life| life.history[4].attempt = 1,
        // A stranger ends it.
        |life| life.history.last_mut().unwrap().runner = Some(runner(0)),
        |life| life.history[1].runner = None,
        |life| life.history.clear(),
        |life| life.history[0].reason = Reason::Released,
    ];
    for (index, breaks) in broken.into_iter().enumerate() {
        let seen = seen_by(|evidence| breaks(life_of(evidence, LEAF)));
        assert!(seen.contains(&"attempts"), "{index}: {seen:?}");
    }
}

#[test]
fn too_many_attempts_are_seen() {
    let seen = seen_by(|evidence| {
        let life = life_of(evidence, POISON);
        let more = [life.history[1].clone(), life.history[2].clone()];
        life.history.splice(1..1, more);
        let mut attempt = 0;
        for step in &mut life.history[1..] {
            attempt += u32::from(step.reason == Reason::Claimed);
            step.attempt = attempt;
        }
        life.invocation.attempt = attempt;
    });
    assert!(seen.contains(&"attempts"), "{seen:?}");
    let seen = seen_by(|evidence| life_of(evidence, LEAF).invocation.max_attempts = 9);
    assert_eq!(seen, ["attempts"]);
}

#[test]
fn a_claim_before_its_time_is_seen() {
    let seen = seen_by(|evidence| {
        for step in &mut life_of(evidence, DELAYED).history[1..] {
            step.at = UnixMicros(step.at.0 - 700_000);
        }
    });
    assert_eq!(seen, ["delays"]);
}

#[test]
fn a_claim_that_is_taken_away_under_a_valid_lease_is_seen() {
    let seen = seen_by(|evidence| life_of(evidence, POISON).history[2].at = at(1_500));
    assert_eq!(seen, ["leases"]);
    // Of the last attempt too, which ends as lost.
    let seen = seen_by(|evidence| life_of(evidence, POISON).history[6].at = at(5_000));
    assert_eq!(seen, ["leases"]);
    // Another claim of the same runner made the lease longer.
    let seen = seen_by(|evidence| {
        let history = &mut life_of(evidence, DELAYED).history;
        history[1].at = at(1_500);
        for step in &mut history[1..] {
            step.runner = Some(runner(2));
        }
    });
    assert_eq!(seen, ["leases"]);
}

#[test]
fn a_lost_runner_that_claims_again_is_seen() {
    let seen = seen_by(|evidence| {
        for step in &mut life_of(evidence, POISON).history[3..5] {
            step.runner = Some(runner(2));
        }
    });
    assert_eq!(seen, ["leases"]);
}

#[test]
fn a_guest_that_goes_on_beside_its_successor_is_seen() {
    let seen = seen_by(|evidence| evidence.lines.insert(2, line(0, LEAF, 1, 5_500, Told::Beat)));
    assert_eq!(seen, ["overlaps"], "long after its runner was continued");
    let seen = seen_by(|evidence| {
        evidence.lines.insert(2, line(0, LEAF, 1, 5_500, Told::Beat));
        let (_, until) = evidence.runners[0].stops[0];
        evidence.runners[0].stops.push((until.plus(Duration::from_millis(1)), at(5_500)));
    });
    assert!(seen.is_empty(), "its runner was stopped again at once: {seen:?}");
    let seen = seen_by(|evidence| evidence.runners[0].stops.clear());
    assert_eq!(seen, ["overlaps"], "its runner was never stopped");
    let seen = seen_by(|evidence| evidence.runners[0].stops = vec![(at(4_000), at(5_000))]);
    assert_eq!(seen, ["overlaps"], "its runner was stopped after the other had begun");
}

#[test]
fn two_guests_of_which_a_rule_lets_one_run_are_seen() {
    let goes_on = |evidence: &mut Evidence| {
        evidence.lines.retain(|line| line.told != end("11"));
        evidence.lines.push(line(6, LANE[0], 1, 700, end("11")));
    };
    assert_eq!(seen_by(goes_on), ["lanes"]);
    let other_keys = |evidence: &mut Evidence| {
        goes_on(evidence);
        life_of(evidence, LANE[1]).arguments = vec![2, 0];
    };
    assert!(seen_by(other_keys).is_empty(), "other keys are other lanes");
}

#[test]
fn a_deadline_that_ends_something_before_it_has_passed_is_seen() {
    let deadline =
        |deadline| move |evidence: &mut Evidence| life_of(evidence, OVERDUE).invocation.deadline = deadline;
    assert_eq!(seen_by(deadline(None)), ["endings"]);
    assert_eq!(seen_by(deadline(Some(at(5_000)))), ["endings"]);
}

#[test]
fn a_start_without_a_claim_is_seen() {
    // Twice on one claim.
    let seen = seen_by(|evidence| evidence.lines.push(line(1, LEAF, 2, 2_395, start(Kind::Leaf))));
    assert_eq!(seen, ["starts"]);
    // Twice is right for what was given back in between, three times is not.
    let seen = seen_by(|evidence| evidence.lines.push(line(5, FLAKY, 2, 103, start(Kind::Flaky))));
    assert_eq!(seen, ["starts"]);
    let seen = seen_by(|evidence| evidence.lines.push(line(1, CANCELLED, 1, 60, start(Kind::Leaf))));
    assert_eq!(seen, ["starts"]);
    let seen = seen_by(|evidence| evidence.lines.push(line(1, NOBODY, 1, 60, start(Kind::Leaf))));
    assert_eq!(seen, ["starts"]);
    let seen = seen_by(|evidence| evidence.lines[0].told = start(Kind::Trap));
    assert_eq!(seen, ["starts"]);
}

#[test]
fn a_parent_that_saw_something_else_is_seen() {
    let saw = |child, outcome: &str| line(1, FAN, 1, 155, Told::Saw(id(child), outcome.to_owned()));
    assert_eq!(seen_by(|evidence| evidence.lines.push(saw(CHILDREN[0], "11"))), ["parents"]);
    assert_eq!(seen_by(|evidence| evidence.lines.push(saw(CHILDREN[0], "!lost"))), ["parents"]);
    assert_eq!(seen_by(|evidence| evidence.lines.push(saw(DELAYED, "7"))), ["parents"], "no child of it");
    assert_eq!(seen_by(|evidence| evidence.lines.push(saw(NOBODY, "7"))), ["parents"]);
}

#[test]
fn a_wrong_sum_is_seen() {
    assert_eq!(seen_by(|evidence| end_with(evidence, FAN, value(31))), ["parents"]);
    assert_eq!(seen_by(|evidence| end_with(evidence, LEAVE, value(2))), ["parents"]);
    let race = |number| {
        move |evidence: &mut Evidence| {
            life_of(evidence, FAN).kind = Kind::Race;
            evidence.submits[1].kind = Kind::Race;
            for line in evidence.lines.iter_mut().filter(|line| line.id == id(FAN)) {
                if let Told::Start(function) = &mut line.told {
                    *function = "race".to_owned();
                }
            }
            end_with(evidence, FAN, value(number));
        }
    };
    assert!(seen_by(race(20)).is_empty());
    assert_eq!(seen_by(race(0)), ["parents"]);
    assert_eq!(seen_by(race(30)), ["parents"]);
}

#[test]
fn a_missing_child_and_a_child_too_many_are_seen() {
    assert_eq!(seen_by(|evidence| life_of(evidence, FAN).arguments = vec![3, 0]), ["children"]);
    assert_eq!(seen_by(|evidence| life_of(evidence, FAN).arguments = vec![1, 0]), ["children"]);
    let seen = seen_by(|evidence| life_of(evidence, LEFT).invocation.root = id(FAN));
    assert_eq!(seen, ["children"]);
    let seen = seen_by(|evidence| life_of(evidence, LEFT).invocation.parent = Some(id(NOBODY)));
    assert!(seen.contains(&"children"), "{seen:?}");
}

#[test]
fn more_guests_than_slots_are_seen() {
    assert_eq!(seen_by(|evidence| evidence.slots = 1), ["slots"], "by what the runner says");
    // By the histories: runner 6 runs one thing at a time.
    let seen = seen_by(|evidence| {
        evidence.slots = 1;
        evidence.runners[3].peak_running = None;
    });
    assert!(seen.is_empty(), "{seen:?}");
    let seen = seen_by(|evidence| {
        evidence.slots = 1;
        evidence.runners[3].peak_running = None;
        for step in &mut life_of(evidence, CHILDREN[1]).history[1..] {
            step.at = UnixMicros(step.at.0 - 15_000);
        }
    });
    assert_eq!(seen, ["slots"]);
}

/// The guest of one that is cancelled, or whose lease runs out, may have left its
/// slot long before.
#[test]
fn an_end_that_its_runner_did_not_tell_says_nothing_about_slots() {
    let seen = seen_by(|evidence| {
        evidence.slots = 1;
        evidence.runners[3].peak_running = None;
        let life = life_of(evidence, CHILDREN[0]);
        let last = life.history.last_mut().unwrap();
        (last.to, last.reason, last.at) = (Status::Cancelled, Reason::Cancelled, at(500));
        life.invocation.status = Status::Cancelled;
    });
    assert!(!seen.contains(&"slots"), "{seen:?}");
}

#[test]
fn what_is_still_owned_is_seen() {
    let seen = seen_by(|evidence| {
        let life = life_of(evidence, LEAF);
        life.history.pop();
        life.invocation.status = Status::Running;
    });
    assert!(seen.contains(&"slots") && seen.contains(&"submits"), "{seen:?}");
}

#[test]
fn a_runner_that_ends_by_itself_or_does_not_end_is_seen() {
    for fate in [Fate::ByItself("signal: 6".to_owned()), Fate::Drained(1), Fate::Idle(101), Fate::Hung] {
        assert_eq!(seen_by(|evidence| evidence.runners[1].fate = fate.clone()), ["processes"], "{fate:?}");
    }
}
