//! The share of guests' data that one turn commits.
//!
//! Everybody's commit waits for the one before it, and so does the lease: what guests
//! submit, return and log is bounded for the whole turn, however many they are. So the
//! time of a commit does not grow with the number of guests.

/// Something with more bytes is large.
pub(super) const LARGE: usize = 64 << 10;

/// The bytes that a turn takes of what is small; of what is large, or one that is larger; and of the arguments
/// that it claims.
pub(super) const TURN_BYTES: usize = 4 << 20;

/// The children that a turn takes of all submits together, and of one.
pub(super) const TURN_CHILDREN: usize = 4_000;
pub(super) const CHILDREN: usize = 1_000;

/// The rest of one turn's share. Small things have a part of their own, and need not wait for large ones.
pub(super) struct Share {
    small: usize,
    large: usize,
    has_large: bool,
}

impl Share {
    /// Begins a turn.
    pub(super) fn new() -> Self {
        Self { small: TURN_BYTES, large: TURN_BYTES, has_large: false }
    }

    /// Takes so many bytes, if they fit or are the first large ones. Returns whether it did.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let is_large = bytes > LARGE;
        let left = if is_large { &mut self.large } else { &mut self.small };
        let is_first = is_large && !std::mem::replace(&mut self.has_large, true);
        if bytes > *left && !is_first {
            return false;
        }
        *left = left.saturating_sub(bytes);
        true
    }
}

/// Counts the children of each submit that one turn takes at most, if there are so many submits.
pub(super) fn children_of_each(submits: usize) -> usize {
    (TURN_CHILDREN / submits.max(1)).clamp(1, CHILDREN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_takes_one_large_thing_whoever_else_has_one() {
        let mut share = Share::new();
        assert!(share.take(60 << 20), "it is the first");
        assert!(!share.take(60 << 20) && !share.take(LARGE + 1));
        assert!(share.take(LARGE), "what is small does not wait for what is large");
        let small = std::iter::repeat_n((), 1_000).take_while(|()| share.take(LARGE)).count();
        assert_eq!(small, TURN_BYTES / LARGE - 1, "nor is it without a bound");

        let mut share = Share::new();
        let large = std::iter::repeat_n((), 1_000).take_while(|()| share.take(1 << 20)).count();
        assert_eq!(large, TURN_BYTES >> 20);
    }

    #[test]
    fn the_children_of_a_turn_are_shared_by_all_submits() {
        assert_eq!(children_of_each(0), CHILDREN);
        assert_eq!(children_of_each(1), CHILDREN);
        assert_eq!(children_of_each(100), TURN_CHILDREN / 100);
        assert_eq!(children_of_each(1_000_000), 1, "each goes on");
    }
}
