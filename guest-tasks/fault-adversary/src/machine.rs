//! The state of a program while it runs.

use std::any::Any;

use crate::wasm_runner::task::context;

/// The most bytes that a step takes of the guest's own memory: more would only end the guest.
const ROOM: u64 = 4 << 20;
/// The same of a list's elements, together.
const ROOM_OF_LISTS: u64 = 24 << 20;

pub struct Machine {
    pub programs: Vec<Vec<String>>,
    pub depth: u32,
    /// Ids of invocations: first those that every guest knows, then those of children.
    pub ids: Vec<String>,
    /// Handles, newest last. A handle that is made of another one comes after it.
    pub handles: Vec<Box<dyn Any>>,
    /// The value that the program returns.
    pub result: String,
}

impl Machine {
    pub fn new(programs: Vec<Vec<String>>, depth: u32) -> Self {
        let ids = [Some(context::id()), context::parent(), Some(context::root())];
        let ids = ids.into_iter().flatten().collect();
        Self { programs, depth, ids, handles: Vec::new(), result: String::new() }
    }

    pub fn keep<T: Any>(&mut self, handle: T) {
        self.handles.push(Box::new(handle));
    }

    /// Finds the newest handle of a kind, or an older one of the newest hundred.
    pub fn find<T: Any>(&self, choice: u64) -> Option<&T> {
        let of_kind = || self.handles.iter().rev().take(100).filter_map(|handle| handle.downcast_ref::<T>());
        let count = of_kind().count() as u64;
        of_kind().nth(choice.checked_rem(count)? as usize)
    }

    /// Returns so many ids, in turn from the newest on. Ids repeat if there are fewer.
    pub fn some_ids(&self, count: u64, different: u64) -> Vec<String> {
        let different = (different.max(1) as usize).min(self.ids.len());
        let among = &self.ids[self.ids.len() - different..];
        let count = count.min(ROOM_OF_LISTS / 64) as usize;
        among.iter().rev().cycle().take(count).cloned().collect()
    }
}

/// Returns a text of this length, or as long as there is room.
pub fn text(size: u64) -> String {
    "x".repeat(size.min(ROOM) as usize)
}

/// Returns so many elements of this length that there is room for them.
pub fn room_for(count: u64, size: usize) -> usize {
    count.min(ROOM_OF_LISTS / (size as u64 + 32)) as usize
}
