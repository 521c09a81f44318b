//! Claims: which of those that can be had a runner gets.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use super::Contradiction;
use super::head::Head;
use super::state::{State, loaded};
use crate::model::{Callers, Claim, ComponentDigest, Event, InvocationId, Labels, RunnerId, SubmitLimits};
use crate::store::order::{self, Taken, Turns};
use crate::store::{ClaimRequest, Lease, Receipt};

/// The fields of a claim besides the head.
pub struct ClaimRest {
    pub task: Arc<str>,
    pub component_digest: ComponentDigest,
    pub arguments: Arc<str>,
    pub root: InvocationId,
    pub depth: u32,
    pub labels: Labels,
    pub limits: SubmitLimits,
    pub callers: Callers,
}

/// An awaited invocation that can be had.
pub struct Awaited<T> {
    pub one: T,
    /// Whether it is farther ahead of the clock than its lead.
    pub takes_a_turn: bool,
    /// The number of its fairness key, of which it may take any turn; `None` if it is in a lane, and keeps its own.
    pub key: Option<i64>,
}

/// Chooses among the awaited, in the order asked: `find` answers those that can be had. Returns also those that take
/// a turn of their keys.
pub fn choose_awaited<T: Copy + Eq + Hash, E>(
    request: &ClaimRequest,
    receipt: &mut Receipt,
    mut find: impl FnMut(InvocationId) -> Result<Option<Awaited<T>>, E>,
) -> Result<(Vec<T>, Turns<T>), E> {
    let (mut chosen, mut turns) = (Vec::new(), Turns::default());
    let mut taken = HashSet::new();
    for id in &request.awaited {
        if taken.contains(id) {
            continue;
        }
        if chosen.len() == request.max {
            receipt.more = true;
            break;
        }
        match find(*id)? {
            Some(found) => {
                taken.insert(*id);
                if keeps_to_what_it_asks(request) || !found.takes_a_turn {
                    chosen.push(found.one);
                } else if let Some(key) = found.key {
                    turns.add(key, found.one);
                }
            }
            None => receipt.unclaimable.push(*id),
        }
    }
    Ok((chosen, turns))
}

/// Whether a claim takes nothing but what it asks for, whoever's turn it is.
fn keeps_to_what_it_asks(request: &ClaimRequest) -> bool {
    request.only_awaited || request.root.is_some()
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

    /// Lets two claimable invocations of one key, which are loaded and in no lane, exchange their starts: the second
    /// takes the turn of the first, which then comes later, but not after anything else of their key.
    pub fn exchange_starts(&mut self, one: InvocationId, other: InvocationId) -> Result<(), Contradiction> {
        let place = |head: &Head| (head.order_key, head.priority);
        let first = place(loaded(&mut self.heads, one)?);
        let second = place(loaded(&mut self.heads, other)?);
        let (first, second) = order::exchanged(first, second);
        for (id, order_key) in [(one, first), (other, second)] {
            let head = loaded(&mut self.heads, id)?;
            head.order_key = order_key;
            head.is_changed = true;
        }
        Ok(())
    }

    /// Claims a queued invocation, which is loaded, unless it is overdue.
    pub fn take(
        &mut self,
        id: InvocationId,
        request: &ClaimRequest,
        taken: Taken,
        rest: ClaimRest,
    ) -> Result<(), Contradiction> {
        let runner = request.runner;
        let taken = if keeps_to_what_it_asks(request) { Taken::OutOfTurn } else { taken };
        let head = loaded(&mut self.heads, id)?;
        // More may be overdue than one transaction ends.
        if head.deadline.is_some_and(|deadline| deadline <= self.now) {
            return Ok(());
        }
        let to = head.after(Event::Claim)?;
        self.fairness.progress.add(head.order_key, head.priority, head.turn, taken);
        if let Taken::Late(rank) = taken {
            self.fairness.late.note(head.task, rank, head.turn, self.fairness.clock);
        }
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
            limits: rest.limits,
            callers: rest.callers,
            has_lane: head.lane.is_some(),
        });
        Ok(())
    }
}
