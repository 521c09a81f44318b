//! The histories of invocations.

use std::collections::HashMap;

use super::Finding;
use crate::model::{Event, Reason, Status};
use crate::torture::evidence::{Evidence, Life};

/// Every history is a path of the state machine, with attempts counted as they
/// should be.
pub fn each_is_legal_and_within_its_attempts(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("attempts", "each history is legal, with 1 to max-attempts attempts");
    let submitted: HashMap<_, _> = evidence.submits.iter().map(|submit| (submit.id, submit.kind)).collect();
    for (id, life) in &evidence.lives {
        let path = follow(life);
        finding.expect(path.is_ok(), || {
            format!("{} {id}: {}: {}", life.kind.name(), path.unwrap_err(), told(life))
        });
        let invocation = &life.invocation;
        // What was cancelled, or overdue, before somebody claimed it has had none.
        let is_claimed = match life.history.last().map(|step| step.reason) {
            Some(Reason::Cancelled | Reason::Expired) => false,
            Some(_) | None => invocation.status.is_final(),
        };
        let least = u32::from(is_claimed);
        let most = submitted.get(id).copied().unwrap_or(life.kind).max_attempts();
        let holds = (least..=most).contains(&invocation.attempt) && invocation.max_attempts == most;
        finding.expect(holds, || {
            format!(
                "{} {id} has had {} of {} attempts, and may have {most}",
                life.kind.name(),
                invocation.attempt,
                invocation.max_attempts
            )
        });
    }
    finding
}

/// Writes a history in short.
fn told(life: &Life) -> String {
    let steps = life.history.iter().map(|step| format!("{} {}", step.reason.as_str(), step.attempt));
    steps.collect::<Vec<_>>().join(", ")
}

/// Follows a history from the submit to where the invocation stands.
fn follow(life: &Life) -> Result<(), String> {
    let Some((first, rest)) = life.history.split_first() else {
        return Err("it has no history".to_owned());
    };
    if (first.from, first.to, first.reason) != (None, Status::Queued, Reason::Submitted) {
        return Err("it does not begin with its submit".to_owned());
    }
    let (mut status, mut attempt, mut owner) = (Status::Queued, 0, None);
    for step in rest {
        let reason = step.reason.as_str();
        let event = Event::ALL.into_iter().find(|event| event.reason() == step.reason);
        let event = event.ok_or("it was submitted twice")?;
        if step.from != Some(status) || status.apply(event) != Ok(step.to) {
            return Err(format!("`{reason}` can't follow {status}"));
        }
        if event == Event::Claim {
            attempt += 1;
            owner = Some(step.runner.ok_or("nobody claimed it")?);
        }
        // Whoever takes claims away from a dead runner, or cancels, is not the
        // owner; whose the claim was is told all the same.
        if status.is_owned() && step.runner != owner {
            return Err(format!("`{reason}` is by a stranger"));
        }
        if (status.is_owned() || step.to.is_owned()) && step.attempt != attempt {
            return Err(format!("`{reason}` is of attempt {}, not {attempt}", step.attempt));
        }
        if event == Event::Release {
            attempt -= 1;
        }
        status = step.to;
    }
    if (status, attempt) != (life.invocation.status, life.invocation.attempt) {
        let invocation = &life.invocation;
        return Err(format!("it ends {status} {attempt}, not {} {}", invocation.status, invocation.attempt));
    }
    Ok(())
}

/// No delayed invocation is claimed before its time.
pub fn none_starts_before_its_time(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("delays", "nothing is claimed before its time");
    for submit in evidence.submits.iter().filter(|submit| !submit.delay.is_zero()) {
        let Some(life) = evidence.lives.get(&submit.id) else { continue };
        let first = life.history.iter().find(|step| step.reason == Reason::Claimed);
        let Some(first) = first else { continue };
        let due = life.invocation.submitted_at.plus(submit.delay);
        finding.expect(first.at.plus(evidence.margin()) >= due, || {
            format!("{} was claimed {:?} before its time", submit.id, due.since(first.at))
        });
    }
    finding
}
