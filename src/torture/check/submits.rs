//! Submits: nothing that was acknowledged is lost.

use std::collections::HashSet;

use super::Finding;
use crate::model::Status;
use crate::store::Cancelled;
use crate::torture::evidence::Evidence;

/// Every acknowledged submit, and every child, is final exactly once.
pub fn every_one_is_final_once(evidence: &Evidence) -> Finding {
    let mut finding =
        Finding::new("submits", "each acknowledged submit, and each child, is final exactly once");
    for submit in evidence.submits.iter().filter(|submit| submit.is_acknowledged) {
        finding.expect(evidence.lives.contains_key(&submit.id), || {
            format!("{} {} was acknowledged and does not exist", submit.kind.name(), submit.id)
        });
    }
    for (id, life) in &evidence.lives {
        let status = life.invocation.status;
        let ends = life.history.iter().filter(|step| step.to.is_final()).count();
        let is_last = life.history.last().is_some_and(|step| step.to == status);
        finding.expect(status.is_final() && ends == 1 && is_last, || match status.is_final() {
            false => format!("{} {id} is still {status}: it hangs", life.kind.name()),
            true => format!("{} {id} is {status}, and its history has {ends} ends", life.kind.name()),
        });
    }
    let ours: HashSet<_> = evidence.submits.iter().map(|submit| submit.id).collect();
    for (id, life) in &evidence.lives {
        finding.expect(life.invocation.parent.is_some() || ours.contains(id), || {
            format!("{} {id} was submitted by nobody", life.kind.name())
        });
    }
    for contradiction in &evidence.contradictions {
        finding.expect(false, || contradiction.clone());
    }
    finding
}

/// A cancelled invocation stays cancelled, and one that was final before stays as it was.
pub fn no_cancel_is_forgotten(evidence: &Evidence) -> Finding {
    let mut finding =
        Finding::new("cancels", "each acknowledged cancel is what the invocation is in the end");
    for cancel in &evidence.cancels {
        let expected = match cancel.answer {
            Some(Cancelled::Done) => Status::Cancelled,
            Some(Cancelled::AlreadyFinal(status)) => status,
            Some(Cancelled::Unknown | Cancelled::Denied) => {
                finding
                    .expect(false, || format!("{} was {:?} when it was cancelled", cancel.id, cancel.answer));
                continue;
            }
            None => continue,
        };
        let status = evidence.lives.get(&cancel.id).map(|life| life.invocation.status);
        finding.expect(status == Some(expected), || {
            format!("{} was {expected} for whoever cancelled it, and is {status:?} in the end", cancel.id)
        });
    }
    finding
}
