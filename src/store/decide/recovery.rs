//! Leases: heartbeats, stock-taking, and the claims of dead runners.

use std::collections::HashSet;

use super::Contradiction;
use super::state::{State, loaded};
use crate::model::{Event, InvocationId, RunnerId, Status};
use crate::store::{Heartbeat, Inventory, Lease, rules};

impl State<'_> {
    /// Answers a sign of life; whether the lease is to be extended.
    pub fn heartbeat(&mut self, heartbeat: &Heartbeat) -> bool {
        let is_lost = self.lost.contains(&heartbeat.runner);
        self.receipt.lease = Some(if is_lost { Lease::Lost } else { Lease::Held });
        !is_lost
    }

    /// Gives back what a runner owns without knowing of it. Everything that it owns is
    /// loaded: `owned`, in the order of their submits.
    pub fn take_stock(&mut self, inventory: &Inventory, owned: &[InvocationId]) -> Result<(), Contradiction> {
        let known: HashSet<_> = inventory.owned.iter().copied().collect();
        for id in owned {
            let head = loaded(&mut self.heads, *id)?;
            if known.contains(&(*id, head.attempt)) {
                continue;
            }
            let to = head.after(Event::Release)?;
            if !head.status.has_guest() {
                self.lanes.refund_start(head);
            }
            self.moves.step(head, self.now, Event::Release, to, None);
            self.lanes.enqueue(head, self.now);
            head.attempt -= 1;
            self.receipt.given_back += 1;
            self.is_news = true;
        }
        Ok(())
    }

    /// Returns the claims of dead runners that end and have children.
    pub fn doomed_by_recovery(&self, owned: &[(RunnerId, InvocationId)]) -> Vec<InvocationId> {
        let ends = |id: &InvocationId| {
            self.heads.get(id).is_some_and(|head| head.has_children && head.attempt >= head.max_attempts)
        };
        owned.iter().map(|(_, id)| *id).filter(ends).collect()
    }

    /// Takes the claims of dead runners away, in this order. They are loaded, with the
    /// descendants of those that end.
    pub fn recover(&mut self, owned: &[(RunnerId, InvocationId)]) -> Result<(), Contradiction> {
        for (runner, id) in owned {
            let head = loaded(&mut self.heads, *id)?;
            // The end of its parent may have ended it a moment ago.
            if head.owner() != Some(*runner) {
                continue;
            }
            self.receipt.add_taken_over(*runner, *id);
            self.is_news = true;
            if head.attempt < head.max_attempts {
                let to = head.after(Event::ExpireLease)?;
                self.moves.step(head, self.now, Event::ExpireLease, to, None);
                self.lanes.enqueue(head, self.now);
            } else {
                let outcome = rules::lost(*runner, head.attempt, head.max_attempts);
                self.end(*id, Event::Fail, outcome)?;
                self.end_children(*id, Status::Failed)?;
            }
        }
        Ok(())
    }
}
