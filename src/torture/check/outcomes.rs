//! Outcomes: what guests returned was committed, and stays.

use std::collections::{HashMap, HashSet};

use super::Finding;
use crate::model::{FailureKind, InvocationId, Outcome, Reason, Status};
use crate::torture::book::{full, short};
use crate::torture::evidence::{Evidence, Life};
use crate::torture::kind::Kind;
use crate::torture::witness::Told;

/// An outcome that was once seen is the same in the end.
pub fn none_changes(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("outcomes", "a committed outcome never changes");
    for (id, first) in &evidence.seen {
        let last = evidence.lives.get(id).and_then(|life| life.invocation.outcome.as_ref()).map(full);
        finding.expect(last.as_ref() == Some(first), || {
            format!("{id} was seen to be `{first}`, and is `{}` in the end", last.unwrap_or_default())
        });
    }
    for (id, life) in evidence.lives.iter().filter(|(_, life)| life.invocation.status.is_final()) {
        let outcome = life.invocation.outcome.as_ref();
        finding.expect(outcome.map(Outcome::status) == Some(life.invocation.status), || {
            format!("{id} is {}, and its outcome is {outcome:?}", life.invocation.status)
        });
    }
    finding
}

/// The committed outcome is the one that the guest of the last attempt wrote down.
pub fn each_is_what_its_guest_returned(evidence: &Evidence) -> Finding {
    let mut finding =
        Finding::new("witness", "the committed outcome is what the guest of the last attempt returned");
    let mut ends: HashMap<(InvocationId, u32), Vec<&str>> = HashMap::new();
    for line in &evidence.lines {
        if let Told::End(outcome) = &line.told {
            ends.entry((line.id, line.attempt)).or_default().push(outcome);
        }
    }
    for (id, life) in &evidence.lives {
        let Some(outcome) = life.invocation.outcome.as_ref().filter(|outcome| is_by_a_guest(outcome)) else {
            continue;
        };
        let attempt = life.invocation.attempt;
        let said = ends.get(&(*id, attempt)).map_or(&[][..], Vec::as_slice);
        let committed = short(outcome);
        finding.expect(said.contains(&&*committed), || {
            format!("{} {id} is `{committed}`, and its attempt {attempt} said {said:?}", life.kind.name())
        });
    }
    for text in &evidence.unreadable {
        finding.expect(false, || format!("a line that no guest writes, by {text}"));
    }
    finding
}

/// Tells whether a guest came to its end, with a value or a failure of its own.
fn is_by_a_guest(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Value(_) => true,
        Outcome::Failure(failure) => matches!(failure.kind, FailureKind::Returned | FailureKind::Trapped),
    }
}

/// No task ends otherwise than it can.
pub fn each_is_one_that_its_task_can_have(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new(
        "endings",
        "each task ends only as it can: poison is lost, traps fail, lost and failed only after all attempts",
    );
    let cancelled: HashSet<_> = evidence.cancels.iter().map(|cancel| cancel.id).collect();
    for (id, life) in &evidence.lives {
        let Some(outcome) = &life.invocation.outcome else { continue };
        let holds = match outcome {
            Outcome::Value(_) => {
                life.kind.can_succeed()
                    && (life.kind != Kind::Flaky
                        || life.arguments.first().is_some_and(|n| u64::from(life.invocation.attempt) > *n))
            }
            Outcome::Failure(failure) => match failure.kind {
                FailureKind::Lost => is_spent(life) && ended_by_its_runner(life),
                FailureKind::TimedOut => is_overdue(evidence, life),
                FailureKind::Cancelled => cancelled.contains(id) || is_orphan(evidence, life),
                kind => life.kind.retried() == Some(kind) && is_spent(life),
            },
        };
        finding.expect(holds, || {
            format!(
                "{} {id} has, after {} of {} attempts, the outcome `{}`",
                life.kind.name(),
                life.invocation.attempt,
                life.invocation.max_attempts,
                full(outcome)
            )
        });
    }
    finding
}

/// Tells whether its end is that of a deadline that had passed.
fn is_overdue(evidence: &Evidence, life: &Life) -> bool {
    let ended_at = life.history.last().filter(|step| step.reason == Reason::Expired).map(|step| step.at);
    let deadline = life.invocation.deadline;
    ended_at.zip(deadline).is_some_and(|(ended_at, deadline)| deadline <= ended_at.plus(evidence.margin()))
}

fn is_spent(life: &Life) -> bool {
    life.invocation.attempt == life.invocation.max_attempts
}

/// Tells whether the end came while a runner owned it.
fn ended_by_its_runner(life: &Life) -> bool {
    life.history.last().is_some_and(|step| {
        step.reason == Reason::Failed && step.runner.is_some() && step.from.is_some_and(Status::is_owned)
    })
}

/// Tells whether its parent's end may have ended it.
fn is_orphan(evidence: &Evidence, life: &Life) -> bool {
    let parent = life.invocation.parent.and_then(|parent| evidence.lives.get(&parent));
    !life.invocation.detached && parent.is_some_and(|parent| parent.invocation.status.is_final())
}
