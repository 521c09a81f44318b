//! The handles of one guest on its account: their places in the table, and what hangs on some of them.

use std::collections::HashMap;
use std::sync::Arc;

use wasmtime::component::{Resource, ResourceTable};

use super::host_memory::{Held, HostMemory, HostMemoryExceeded};

/// Bytes of a handle: its place in the tables of the guest and the host, and what is behind a plain one, such
/// as a stream, a timer or a descriptor.
const HANDLE_BYTES: u64 = 1024;

/// The handles for which places are paid at once.
const STEP: usize = 64;

/// The most handles that one call makes, but for the granted directories, which one call opens all together.
const MOST_IN_A_CALL: usize = 4;

/// Keeps the handles of one guest on its account.
pub(super) struct Handles {
    pub(super) account: Arc<HostMemory>,
    /// The places of the table. It keeps them when handles are dropped, so they are paid until the end.
    places: Held,
    /// The places that a call may take.
    spare: usize,
    /// Places that are taken for a moment.
    taken: Vec<Resource<()>>,
    /// Charged bytes that hang on handles, by their index in the table.
    hung: HashMap<u32, Held>,
}

impl Handles {
    /// Keeps handles of a guest with so many granted directories.
    pub(super) fn new(account: &Arc<HostMemory>, directories: usize) -> Self {
        Self {
            account: Arc::clone(account),
            places: Held::nothing(account),
            spare: MOST_IN_A_CALL + directories,
            taken: Vec::new(),
            hung: HashMap::new(),
        }
    }

    /// Makes an empty table. It has no room until [`Self::make_room`] has paid for it.
    pub(super) fn table() -> ResourceTable {
        let mut table = ResourceTable::new();
        table.set_max_capacity(0);
        table
    }

    /// Pays for room for all handles that the next call may make. Without the means for it the table stays as
    /// it is, and a call that finds no room in it ends the guest.
    pub(super) fn make_room(&mut self, table: &mut ResourceTable) {
        // The table does not tell its free places: they are taken and given back.
        while self.taken.len() < self.spare {
            match table.push(()) {
                Ok(place) => self.taken.push(place),
                Err(_) => {
                    if self.places.grow(STEP as u64 * HANDLE_BYTES).is_err() {
                        break;
                    }
                    table.set_max_capacity(table.max_capacity() + STEP);
                }
            }
        }
        for place in self.taken.drain(..).rev() {
            // It was taken above.
            let _ = table.delete(place);
        }
    }

    /// Says that the table has no room for more handles.
    pub(super) fn full(&self) -> String {
        let (places, limit) = (self.places.bytes() / HANDLE_BYTES, self.account.limit());
        format!(
            "the guest wanted more than the {places} handles of the host's that its limit of {limit} bytes bears"
        )
    }

    /// Hangs charged bytes on a new handle.
    pub(super) fn hang(&mut self, handle: u32, held: Held) {
        self.hung.insert(handle, held);
    }

    /// Charges more bytes that will hang on a handle.
    pub(super) fn grow(&mut self, handle: u32, more: u64) -> Result<(), HostMemoryExceeded> {
        match self.hung.get_mut(&handle) {
            Some(held) => held.grow(more),
            None => {
                self.hung.insert(handle, self.account.hold(more)?);
                Ok(())
            }
        }
    }

    /// Makes what hangs on a handle the bytes that were found there after a change.
    pub(super) fn settle(&mut self, handle: u32, found: u64) -> Result<(), HostMemoryExceeded> {
        self.hung.get_mut(&handle).map_or(Ok(()), |held| held.resize(found))
    }

    /// Takes what hangs on a handle that is gone.
    pub(super) fn take(&mut self, handle: u32) -> Option<Held> {
        self.hung.remove(&handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::control::GuestControl;

    #[test]
    fn a_table_has_room_as_long_as_the_account_bears_it() {
        let control = Arc::new(GuestControl::new(std::time::Duration::from_secs(1)));
        let account = HostMemory::new(3 * STEP as u64 * HANDLE_BYTES + 1, control);
        let (mut handles, mut table) = (Handles::new(&account, 20), Handles::table());
        assert!(table.push(0_u8).is_err(), "nothing was paid for");
        handles.make_room(&mut table);
        let mut kept: Vec<_> = (0..MOST_IN_A_CALL + 20).map(|_| table.push(0_u8).unwrap()).collect();
        let mut make = |table: &mut ResourceTable| {
            handles.make_room(table);
            table.push(0_u8)
        };
        kept.extend(std::iter::from_fn(|| make(&mut table).ok()));
        assert_eq!(kept.len(), 3 * STEP);
        assert_eq!(account.left(), 1);
        // A dropped handle makes room again.
        for handle in kept.drain(..STEP) {
            table.delete(handle).unwrap();
        }
        kept.extend(std::iter::from_fn(|| make(&mut table).ok()));
        assert_eq!(kept.len(), 3 * STEP);
    }
}
