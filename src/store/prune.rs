//! Removing what is final and old.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Status, UnixMicros};

/// Asks to remove final invocations, with everything that hangs on them, oldest
/// first by the time of their end.
///
/// One stays, however old, as long as an ancestor is not final, because an
/// attempt of that ancestor may be repeated and look for what it had submitted;
/// and as long as it has a child that is not final.
#[derive(Debug, Clone)]
pub struct Prune {
    /// How much to keep, status by status. Of statuses that are not here everything stays.
    pub keep: Vec<Keep>,
    /// Look at no more than this many.
    pub max: usize,
    /// Where to go on: what an earlier prune with the same `keep` answered.
    pub after: Option<PrunePosition>,
    /// Only those of these tasks (full ids), whose numbers count alone; `None` means of all. The others are looked at, too.
    pub tasks: Option<Vec<Arc<str>>>,
    /// Removes nothing, and answers how many would be removed.
    pub only_counts: bool,
}

/// How much to keep of one final status. What breaks either bound goes, as long as enough stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The status; nothing happens if it is not a final one.
    pub status: Status,
    /// The invocations that became final within this time.
    pub age: Option<Duration>,
    /// At most this many, the latest to become final.
    pub count: Option<u64>,
    /// At least this many, the latest to become final, whatever the bounds say.
    pub at_least: u64,
}

impl Keep {
    /// Whether it takes the number of invocations with the status to decide.
    pub(super) fn depends_on_number(&self) -> bool {
        self.count.is_some() || self.at_least > 0
    }
}

/// How far a sweep has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrunePosition {
    /// The index of the [`Keep`] that it is at.
    pub(crate) keep: usize,
    /// The end of the last one that was looked at, and its number in the store.
    pub(crate) last: Option<(UnixMicros, i64)>,
    /// How many of that status were passed by because they must stay, or are only counted.
    pub(crate) passed: u64,
}

/// The result of a step that gives space back to the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shrunk {
    /// The bytes that were given back. With none there is nothing left to do.
    pub given_back: u64,
    /// The bytes that are free for new rows and stay with the store: it can't give them back.
    pub stays: u64,
}

/// The result of a prune.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// How many invocations were removed, or would be.
    pub removed: usize,
    /// Where to go on, if there may be more.
    pub next: Option<PrunePosition>,
}
