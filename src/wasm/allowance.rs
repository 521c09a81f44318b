//! Limits that are used up bit by bit.

use std::sync::atomic::{AtomicU64, Ordering};

/// A limit and the rest of it. Several threads may take from it at once, and together never get more than it.
#[derive(Debug)]
pub(super) struct Allowance {
    limit: u64,
    left: AtomicU64,
}

impl Allowance {
    /// Makes an allowance of which nothing is used.
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, left: AtomicU64::new(limit) }
    }

    /// The whole limit.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Takes as much of `wanted` as is left.
    pub(super) fn take_up_to(&self, wanted: u64) -> u64 {
        let take = |left: u64| Some(left.saturating_sub(wanted));
        let before = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        before.unwrap_or_else(|left| left).min(wanted)
    }

    /// Takes `wanted`, or nothing if less than that is left.
    pub(super) fn take(&self, wanted: u64) -> bool {
        let take = |left: u64| left.checked_sub(wanted);
        self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    /// Gives back a part that was taken and not used.
    pub(super) fn give_back(&self, unused: u64) {
        self.left.fetch_add(unused, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_more_than_there_is() {
        let allowance = Allowance::new(10);
        assert_eq!(allowance.take_up_to(7), 7);
        assert!(!allowance.take(4), "all or nothing");
        assert_eq!(allowance.take_up_to(100), 3);
        assert_eq!(allowance.take_up_to(1), 0);
        assert!(allowance.take(0));
        allowance.give_back(2);
        assert!(allowance.take(2));
        assert_eq!(allowance.limit(), 10);
    }
}
