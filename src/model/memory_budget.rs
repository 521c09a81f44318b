//! The memory that all guests of a runner may take together.

use std::sync::atomic::{AtomicU64, Ordering};

/// The memory that all guests of a runner may take together, and how much of it they have.
#[derive(Debug)]
pub struct MemoryBudget {
    total: u64,
    used: AtomicU64,
}

impl MemoryBudget {
    /// Makes a budget of so many bytes, of which none is used.
    pub fn new(total: u64) -> Self {
        Self { total, used: AtomicU64::new(0) }
    }

    /// The bytes of it.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The bytes that are used; they may be more than there are.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// Whether so many bytes are left.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.used().saturating_add(bytes) <= self.total
    }

    /// Takes bytes if so many are left. Returns whether it has taken them.
    pub fn take(&self, bytes: u64) -> bool {
        let take = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.total);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    /// Takes bytes, left or not: for what can't wait.
    pub fn overdraw(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Gives back bytes that were taken.
    pub fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// A budget without bounds.
impl Default for MemoryBudget {
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_wait_gets_no_more_than_is_left() {
        let budget = MemoryBudget::new(10);
        assert!(budget.take(7) && !budget.take(4) && budget.has_room(3));
        budget.overdraw(5);
        assert_eq!(budget.used(), 12);
        assert!(!budget.take(1) && !budget.has_room(0));
        budget.give_back(7);
        assert!(budget.take(5) && budget.has_room(0));
        assert!(MemoryBudget::default().take(u64::MAX));
    }
}
