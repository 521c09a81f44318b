//! The tasks of the guest, and what may become of each.

use crate::model::FailureKind;

/// A task of `guest-tasks/task-torture`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Computes, sleeps, returns a number of its own.
    Leaf,
    /// A leaf of which only one with the same key may run at a time.
    Lane,
    /// Fails in its first attempts.
    Flaky,
    /// Traps in every attempt.
    Trap,
    /// Sleeps until its runner is killed.
    Poison,
    /// The sum of the values of its leaves.
    Fan,
    /// The sum of the values of a tree.
    Tree,
    /// The value of the first of its leaves; its end cancels the others.
    Race,
    /// Leaves detached children behind.
    Leave,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Leaf,
        Self::Lane,
        Self::Flaky,
        Self::Trap,
        Self::Poison,
        Self::Fan,
        Self::Tree,
        Self::Race,
        Self::Leave,
    ];

    /// Returns the name of the function that the guest exports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leaf => "leaf",
            Self::Lane => "lane",
            Self::Flaky => "flaky",
            Self::Trap => "trap",
            Self::Poison => "poison",
            Self::Fan => "fan",
            Self::Tree => "tree",
            Self::Race => "race",
            Self::Leave => "leave",
        }
    }

    /// The attempts that one invocation gets. A parent lives as long as its
    /// children and is killed with many runners; whether it is lost must hang on
    /// the runner and not on bad luck.
    pub fn max_attempts(self) -> u32 {
        match self {
            Self::Trap | Self::Poison => 3,
            Self::Leaf | Self::Lane => 4,
            Self::Flaky => 6,
            Self::Fan | Self::Tree | Self::Race | Self::Leave => 40,
        }
    }

    /// The failures that are followed by another attempt.
    pub fn retried(self) -> Option<FailureKind> {
        match self {
            Self::Leaf | Self::Lane | Self::Poison => None,
            Self::Trap => Some(FailureKind::Trapped),
            // A parent returns an error when the runner refuses it something,
            // because it stops or because its store can't be used.
            Self::Flaky | Self::Fan | Self::Tree | Self::Race | Self::Leave => Some(FailureKind::Returned),
        }
    }

    /// Tells whether it can have a value.
    pub fn can_succeed(self) -> bool {
        !matches!(self, Self::Trap | Self::Poison)
    }

    /// Counts the children that one with these arguments has, if it comes to its end.
    pub fn children(self, arguments: &[u64]) -> u64 {
        let first = arguments.first().copied().unwrap_or(0);
        match self {
            Self::Leaf | Self::Lane | Self::Flaky | Self::Trap | Self::Poison => 0,
            Self::Fan | Self::Race | Self::Leave => first,
            Self::Tree if first == 0 => 1,
            Self::Tree => arguments.get(1).copied().unwrap_or(0),
        }
    }
}
