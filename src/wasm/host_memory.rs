//! The account of the memory that the host holds for one guest, or because of it, outside of the guest's own.

use std::sync::Arc;

use super::control::GuestControl;
use super::meter::Allowance;
use crate::model::{Failure, LimitKind};

/// The bytes that the host holds for one guest. Each part of them is charged before it is allocated. They are on the
/// budget of the runner too, which can't refuse them: its next growth or start waits.
#[derive(Debug)]
pub(super) struct HostMemory {
    allowance: Allowance,
    /// Gets the peak, and has the part in the budget.
    control: Arc<GuestControl>,
}

/// Bytes that are charged at once for what grows bit by bit.
const STEP: u64 = 4 << 10;

/// The account has no room for something, and nothing was allocated for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the guest wanted the runner to hold {wanted} bytes for it, more than its limit of {limit}")]
pub(super) struct HostMemoryExceeded {
    /// The bytes that it would have held in all.
    wanted: u64,
    limit: u64,
}

impl HostMemory {
    /// Lets the host hold at most `limit` bytes for a guest.
    pub(super) fn new(limit: u64, control: Arc<GuestControl>) -> Arc<Self> {
        Arc::new(Self { allowance: Allowance::new(limit), control })
    }

    /// The most bytes that it allows.
    pub(super) fn limit(&self) -> u64 {
        self.allowance.limit
    }

    /// The bytes that may still be charged.
    pub(super) fn left(&self) -> u64 {
        self.limit() - self.allowance.taken()
    }

    /// Charges bytes until the returned value is dropped.
    ///
    /// # Errors
    ///
    /// The account has no room for them: it is unchanged.
    pub(super) fn hold(self: &Arc<Self>, bytes: u64) -> Result<Held, HostMemoryExceeded> {
        let mut held = Held::nothing(self);
        held.resize(bytes)?;
        Ok(held)
    }
}

impl From<&HostMemoryExceeded> for Failure {
    fn from(error: &HostMemoryExceeded) -> Self {
        Self::limit(LimitKind::HostMemory, error.to_string())
    }
}

/// Bytes on an account. They are off it when this is dropped: it belongs beside what they were charged for.
#[derive(Debug)]
pub(super) struct Held {
    account: Arc<HostMemory>,
    bytes: u64,
}

impl Held {
    /// Charges nothing yet.
    pub(super) fn nothing(account: &Arc<HostMemory>) -> Self {
        Self { account: Arc::clone(account), bytes: 0 }
    }

    /// The charged bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Charges bytes of something else to the same account.
    ///
    /// # Errors
    ///
    /// The account has no room for them: it is unchanged.
    pub(super) fn beside(&self, bytes: u64) -> Result<Self, HostMemoryExceeded> {
        self.account.hold(bytes)
    }

    /// Makes it so many bytes; fewer are always possible.
    ///
    /// # Errors
    ///
    /// The account has no room for them: it is unchanged.
    pub(super) fn resize(&mut self, bytes: u64) -> Result<(), HostMemoryExceeded> {
        let HostMemory { allowance, control } = &*self.account;
        let more = bytes.saturating_sub(self.bytes);
        if !allowance.take(more) {
            let wanted = allowance.taken().saturating_add(more);
            return Err(HostMemoryExceeded { wanted, limit: allowance.limit });
        }
        control.memory.add(more);
        let less = self.bytes.saturating_sub(bytes);
        allowance.give_back(less);
        control.memory.give_back(less);
        self.bytes = bytes;
        control.meter.note_host_memory(allowance.taken());
        Ok(())
    }

    /// Makes it so many bytes or more: for what grows bit by bit.
    ///
    /// # Errors
    ///
    /// The account has no room for them: it is unchanged.
    pub(super) fn cover(&mut self, bytes: u64) -> Result<(), HostMemoryExceeded> {
        if bytes <= self.bytes {
            return Ok(());
        }
        self.resize(bytes.next_multiple_of(STEP)).or_else(|_| self.resize(bytes))
    }

    /// Charges more bytes.
    ///
    /// # Errors
    ///
    /// The account has no room for them: it is unchanged.
    pub(super) fn grow(&mut self, more: u64) -> Result<(), HostMemoryExceeded> {
        self.resize(self.bytes.saturating_add(more))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let HostMemory { allowance, control } = &*self.account;
        allowance.give_back(self.bytes);
        control.memory.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SlotControl;

    #[test]
    fn what_grows_bit_by_bit_is_charged_in_steps_as_long_as_the_account_bears_them() {
        let control = Arc::new(GuestControl::new(std::time::Duration::from_secs(1)));
        let account = HostMemory::new(STEP + 10, control);
        let mut held = Held::nothing(&account);
        held.cover(1).unwrap();
        assert_eq!(held.bytes(), STEP);
        held.cover(STEP).unwrap();
        assert_eq!(held.bytes(), STEP);
        held.cover(STEP + 5).unwrap();
        assert_eq!(held.bytes(), STEP + 5, "another step is not left");
        assert!(held.cover(STEP + 11).is_err());
    }

    #[test]
    fn what_is_held_is_charged_until_it_is_dropped_and_the_peak_stays() {
        let control = Arc::new(GuestControl::new(std::time::Duration::from_secs(1)));
        let account = HostMemory::new(100, Arc::clone(&control));
        let mut one = account.hold(60).unwrap();
        let refused = account.hold(41).unwrap_err();
        assert_eq!((refused.wanted, refused.limit), (101, 100));
        let other = account.hold(40).unwrap();
        assert_eq!(control.memory(), 100);
        assert!(one.grow(1).is_err(), "nothing is left");
        one.resize(10).unwrap();
        drop(other);
        one.resize(100).unwrap();
        one.resize(0).unwrap();
        assert!(account.hold(100).is_ok(), "all of it was given back");
        assert_eq!(control.usage().peak_host_memory_bytes, 100);
        assert_eq!(control.memory(), 0);
    }
}
