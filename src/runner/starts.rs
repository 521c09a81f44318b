//! Claims whose guest is being made: on a slot, and not live yet. That is short, unless
//! another version of a component has to be compiled first.

use std::sync::Arc;

use parking_lot::Mutex;

use super::fiber::Kill;
use super::{Core, Stage};
use crate::model::{Claim, InvocationId};
use crate::wasm::Interrupt;

/// What each slot makes a guest of. A claim moves from the scheduler to here, and from
/// here to the live fibers: whoever wants to end it looks for it in that order.
pub(super) struct Starts {
    /// One for each slot. Its own thread comes here twice for each guest, others only
    /// to end something.
    slots: Box<[Mutex<Option<Starting>>]>,
}

struct Starting {
    id: InvocationId,
    interrupt: Arc<Interrupt>,
    /// Why there is to be no guest.
    kill: Option<Kill>,
}

impl Starts {
    /// Places for so many slots.
    pub(super) fn new(slots: usize) -> Self {
        Self { slots: (0..slots).map(|_| Mutex::default()).collect() }
    }

    /// A slot is done with making its guest: why there is to be none, if somebody has
    /// said so. Who says so later finds the live fiber.
    pub(super) fn end(&self, slot: usize) -> Option<Kill> {
        self.slots[slot].lock().take()?.kill
    }

    /// Ends the making of one guest, if that is going on.
    pub(super) fn kill(&self, id: InvocationId, why: Kill) {
        self.kill_those(why, |one| one == id);
    }

    /// Ends the making of all guests.
    pub(super) fn kill_all(&self, why: Kill) -> Vec<InvocationId> {
        self.kill_those(why, |_| true)
    }

    /// The first reason counts.
    fn kill_those(&self, why: Kill, is_meant: impl Fn(InvocationId) -> bool) -> Vec<InvocationId> {
        let mut killed = Vec::new();
        for slot in &self.slots {
            if let Some(starting) = &mut *slot.lock()
                && is_meant(starting.id)
            {
                starting.kill.get_or_insert(why);
                starting.interrupt.throw();
                killed.push(starting.id);
            }
        }
        killed
    }
}

impl Core {
    /// Ends what is here of an invocation that is somebody else's now, or final: in the
    /// order in which a claim gets on.
    pub(super) fn end_here(&self, id: InvocationId) {
        self.scheduler.take_one(id);
        self.starts.kill(id, Kill::NotOurs);
        if let Some(fiber) = self.live_fiber(id) {
            fiber.kill(Kill::NotOurs);
        }
    }

    /// A slot begins to make a guest of a claim. What ends that is thrown already if
    /// somebody had wanted to end it just before: then it was in neither place.
    pub(super) fn begin_start(&self, slot: usize, claim: &Claim) -> Arc<Interrupt> {
        let interrupt = Arc::new(Interrupt::default());
        let starting = Starting { id: claim.id, interrupt: Arc::clone(&interrupt), kill: None };
        *self.starts.slots[slot].lock() = Some(starting);
        if !self.trust.is_good(claim.runner) || !self.registry.owns(claim.id, claim.attempt) {
            self.starts.kill(claim.id, Kill::NotOurs);
        } else if self.stage() >= Stage::Draining {
            self.starts.kill(claim.id, Kill::Release);
        }
        interrupt
    }
}
