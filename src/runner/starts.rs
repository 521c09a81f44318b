//! Guests in the making: their claims are on a slot, and not live yet. Making one is short,
//! unless another version of a component has to be compiled first.

use std::sync::Arc;

use parking_lot::Mutex;

use super::fiber::Kill;
use crate::model::{Interrupt, InvocationId};

/// The claim of which each slot makes a guest. A claim moves from the scheduler to here,
/// and from here to the live fibers: a search for it goes in that order.
pub(super) struct Starts {
    /// One for each slot. Its own thread comes here twice for each guest, others only to end something.
    slots: Box<[Mutex<Option<Starting>>]>,
}

struct Starting {
    id: InvocationId,
    interrupt: Arc<Interrupt>,
    /// The reason why there is to be no guest.
    kill: Option<Kill>,
}

impl Starts {
    /// Makes room for so many slots.
    pub(super) fn new(slots: usize) -> Self {
        Self { slots: (0..slots).map(|_| Mutex::default()).collect() }
    }

    /// Registers that `slot` makes a guest for `id`. Returns the switch that ends it.
    pub(super) fn begin(&self, slot: usize, id: InvocationId) -> Arc<Interrupt> {
        let interrupt = Arc::new(Interrupt::default());
        *self.slots[slot].lock() = Some(Starting { id, interrupt: Arc::clone(&interrupt), kill: None });
        interrupt
    }

    /// Registers that `slot` has made its guest. Returns why there is to be none, if so; later kills find it.
    pub(super) fn end(&self, slot: usize) -> Option<Kill> {
        self.slots[slot].lock().take()?.kill
    }

    /// Ends the making of the guests that are meant, and returns their ids. The first reason counts.
    pub(super) fn kill(&self, why: Kill, is_meant: impl Fn(InvocationId) -> bool) -> Vec<InvocationId> {
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
