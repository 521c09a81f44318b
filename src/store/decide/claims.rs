//! Claims: which of those that can be had a runner gets.

use std::collections::HashSet;
use std::sync::Arc;

use super::Contradiction;
use super::state::{State, loaded};
use crate::model::{Claim, ComponentDigest, Event, InvocationId, Labels, RunnerId};
use crate::store::{ClaimRequest, Lease};

/// The fields of a claim besides the head.
pub struct ClaimRest {
    pub task: Arc<str>,
    pub component_digest: ComponentDigest,
    pub arguments: Arc<str>,
    pub root: InvocationId,
    pub depth: u32,
    pub labels: Labels,
}

/// Chooses among the awaited, in the order asked: `find` answers those that can be had.
pub fn choose_awaited<T, E>(
    request: &ClaimRequest,
    state: &mut State<'_>,
    mut find: impl FnMut(InvocationId) -> Result<Option<T>, E>,
) -> Result<Vec<T>, E> {
    let mut chosen = Vec::new();
    let mut taken = HashSet::new();
    for id in &request.awaited {
        if taken.contains(id) {
            continue;
        }
        if chosen.len() == request.max {
            state.receipt.more = true;
            break;
        }
        match find(*id)? {
            Some(one) => {
                taken.insert(*id);
                chosen.push(one);
            }
            None => state.receipt.unclaimable.push(*id),
        }
    }
    Ok(chosen)
}

impl State<'_> {
    /// Whether a runner may claim at all.
    pub fn may_claim(&mut self, runner: RunnerId) -> bool {
        let is_lost = self.lost.contains(&runner);
        self.receipt.lease = Some(if is_lost { Lease::Lost } else { Lease::Held });
        !is_lost
    }

    /// Whether a claim may go on after what it has taken.
    pub fn bears_another(&mut self, request: &ClaimRequest) -> bool {
        let bears = self.claimed_bytes < request.max_bytes;
        self.receipt.more |= !bears;
        bears
    }

    /// Claims a queued invocation, which is loaded, unless it is overdue.
    pub fn take(&mut self, id: InvocationId, runner: RunnerId, rest: ClaimRest) -> Result<(), Contradiction> {
        let head = loaded(&mut self.heads, id)?;
        // More may be overdue than one transaction ends.
        if head.deadline.is_some_and(|deadline| deadline <= self.now) {
            return Ok(());
        }
        let to = head.after(Event::Claim)?;
        head.attempt += 1;
        head.runner = Some(runner);
        self.moves.step(head, self.now, Event::Claim, to, None);
        self.lanes.own(head);
        self.is_news = true;
        self.claimed_bytes += rest.arguments.len();
        self.receipt.claimed.push(Claim {
            id,
            runner,
            attempt: head.attempt,
            max_attempts: head.max_attempts,
            task: rest.task,
            arguments: rest.arguments,
            component_digest: rest.component_digest,
            parent: head.parent,
            root: rest.root,
            depth: rest.depth,
            deadline: head.deadline,
            labels: rest.labels,
            has_lane: head.lane.is_some(),
        });
        Ok(())
    }
}
