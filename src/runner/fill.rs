//! How full a runner is of live instances and of their memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::{MemoryBudget, TaskId};
use crate::store::TaskSet;

/// The user of a runner that a task belongs to: its component.
pub(super) fn user_of(task: &str) -> &str {
    TaskId::component_of(task)
}

/// Whether tasks belong to more than one user.
fn is_shared(tasks: &TaskSet) -> bool {
    let mut users = tasks.iter().map(|task| user_of(task));
    let first = users.next();
    users.any(|user| Some(user) != first)
}

/// The room for live instances, in both of the things that bound them.
pub(super) struct Room {
    /// The most live instances by weight.
    pub(super) max_live: usize,
    pub(super) budget: Arc<MemoryBudget>,
    /// Whether there is more than one user.
    is_shared: AtomicBool,
}

/// How full a runner is: the fullest of the things that bound its live instances counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fill {
    /// Anything may start.
    Open,
    /// The last quarter is for awaited work that is deeper than every live instance: other work can't take what
    /// parked parents need to go on.
    Nearly,
    /// Nothing may start.
    Full,
}

/// The rest of both below the last quarter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) live: u64,
    pub(super) memory: u64,
}

impl Room {
    /// Makes the room of a runner of these tasks.
    pub(super) fn new(max_live: usize, budget: Arc<MemoryBudget>, tasks: &TaskSet) -> Self {
        Self { max_live, budget, is_shared: AtomicBool::new(is_shared(tasks)) }
    }

    /// Takes note of other tasks.
    pub(super) fn replace_tasks(&self, tasks: &TaskSet) {
        self.is_shared.store(is_shared(tasks), Ordering::Relaxed);
    }

    /// Whether several users share it.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Relaxed)
    }

    /// How full the runner is with so many live instances.
    pub(super) fn fill(&self, live: usize) -> Fill {
        // Memory that guests leave behind for a moment keeps nobody from starting alone.
        let counts = live > 0;
        self.live(live).max(if counts { self.memory() } else { Fill::Open })
    }

    /// How full it is of live instances.
    pub(super) fn live(&self, live: usize) -> Fill {
        Fill::of(live as u64, self.max_live as u64)
    }

    /// How full it is of memory.
    pub(super) fn memory(&self) -> Fill {
        Fill::of(self.budget.used(), self.budget.total())
    }

    /// Returns the rest below the last quarter with so many live instances.
    pub(super) fn left(&self, live: usize) -> Left {
        Left {
            live: below_last_quarter(self.max_live as u64).saturating_sub(live as u64),
            memory: below_last_quarter(self.budget.total()).saturating_sub(self.budget.used()),
        }
    }
}

/// The first three quarters.
pub(super) fn below_last_quarter(total: u64) -> u64 {
    total - total / 4
}

impl Fill {
    fn of(used: u64, total: u64) -> Self {
        match used {
            _ if used >= total => Self::Full,
            _ if used >= below_last_quarter(total) => Self::Nearly,
            _ => Self::Open,
        }
    }
}
