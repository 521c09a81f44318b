//! Filters of invocations. A filter is a field here, with its condition in Rust and in SQL: all stores, and
//! whoever lists, follow.

use std::sync::Arc;

use crate::model::{Invocation, Status};

/// Which invocations to list.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Only those with one of these statuses; empty means all.
    pub statuses: Vec<Status>,
    /// Only those of these tasks (full ids); `None` means of all.
    pub tasks: Option<Vec<Arc<str>>>,
    /// At most this many, the newest.
    pub limit: usize,
}

impl Default for Filter {
    /// Everything.
    fn default() -> Self {
        Self { statuses: Vec::new(), tasks: None, limit: usize::MAX }
    }
}

/// A condition in SQL on a row of the table of invocations. `#` stands for its parameter, a list of texts: in
/// SQLite as a JSON array.
pub(super) struct Condition {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
    /// Whether it fits the rows of the tally, too, which has a number for each task and status.
    pub(super) is_tallied: bool,
}

/// The conditions, in the order of [`Filter::parameters`].
pub(super) const CONDITIONS: [Condition; 2] = [
    Condition {
        sqlite: "status IN (SELECT value FROM json_each(#))",
        postgres: "status = ANY(#)",
        is_tallied: true,
    },
    Condition {
        sqlite: "task IN (SELECT key FROM task WHERE name IN (SELECT value FROM json_each(#)))",
        postgres: "task = ANY(ARRAY(SELECT key FROM @task WHERE name = ANY(#)))",
        is_tallied: true,
    },
];

impl Filter {
    /// The parameters of the conditions; `None` for one that does not apply.
    pub(super) fn parameters(&self) -> [Option<Vec<&str>>; CONDITIONS.len()] {
        let Self { statuses, tasks, limit: _ } = self;
        [
            (!statuses.is_empty()).then(|| statuses.iter().map(|status| status.as_str()).collect()),
            tasks.as_ref().map(|tasks| tasks.iter().map(|task| &**task).collect()),
        ]
    }

    /// Whether it lets an invocation through, but for the limit.
    pub(super) fn lets_through(&self, one: &Invocation) -> bool {
        let Self { statuses, tasks, limit: _ } = self;
        (statuses.is_empty() || statuses.contains(&one.status))
            && tasks.as_ref().is_none_or(|tasks| tasks.contains(&one.task))
    }

    /// Whether it lets only final invocations through.
    pub(super) fn is_of_final(&self) -> bool {
        !self.statuses.is_empty() && self.statuses.iter().all(|status| status.is_final())
    }
}
