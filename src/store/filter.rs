//! Filters of invocations. A filter is a field here, with its condition in Rust and in SQL: all stores, and
//! whoever lists, follow.

use std::borrow::Cow;
use std::sync::Arc;

use super::value::json_text;
use crate::model::{Invocation, InvocationId, Status, UnixMicros};

/// Which invocations to list.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Only those with one of these statuses; empty means all.
    pub statuses: Vec<Status>,
    /// Only those of these tasks (full ids); `None` means of all.
    pub tasks: Option<Vec<Arc<str>>>,
    /// Only those that were submitted at this moment or later.
    pub since: Option<UnixMicros>,
    /// Only those that have all of these labels.
    pub labels: Vec<(String, String)>,
    /// Only those of the tree with this root, found by their parents.
    pub root: Option<InvocationId>,
    /// At most this many, the newest.
    pub limit: usize,
    /// Looks at no more than this many, the newest of the store; at fewer where some were removed. It does not
    /// apply to a tree. `None` means at all.
    pub look: Option<u64>,
}

impl Default for Filter {
    /// Everything.
    fn default() -> Self {
        Self {
            statuses: Vec::new(),
            tasks: None,
            since: None,
            labels: Vec::new(),
            root: None,
            limit: usize::MAX,
            look: None,
        }
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
pub(super) const CONDITIONS: [Condition; 4] = [
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
    Condition {
        sqlite: "submitted_at >= (SELECT CAST(value AS INTEGER) FROM json_each(#))",
        postgres: "submitted_at >= (#)[1]::bigint",
        is_tallied: false,
    },
    // A label is written as `["key","value"]`, with each quote in it escaped: this text stands nowhere else.
    Condition {
        sqlite: "NOT EXISTS (SELECT 1 FROM json_each(#) WHERE instr(coalesce(labels, ''), value) = 0)",
        postgres: "NOT EXISTS (SELECT FROM unnest(#) AS wanted(label) \
                   WHERE strpos(coalesce(labels, ''), wanted.label) = 0)",
        is_tallied: false,
    },
];

impl Filter {
    /// The parameters of the conditions; `None` for one that does not apply.
    pub(super) fn parameters(&self) -> [Option<Vec<Cow<'_, str>>>; CONDITIONS.len()] {
        let Self { statuses, tasks, since, labels, root: _, limit: _, look: _ } = self;
        let labels_text = || labels.iter().map(|label| json_text(label).into()).collect();
        [
            (!statuses.is_empty()).then(|| statuses.iter().map(|status| status.as_str().into()).collect()),
            tasks.as_ref().map(|tasks| tasks.iter().map(|task| (**task).into()).collect()),
            since.map(|since| vec![since.0.to_string().into()]),
            (!labels.is_empty()).then(labels_text),
        ]
    }

    /// Whether it lets an invocation through, but for the tree and the limits.
    pub(super) fn lets_through(&self, one: &Invocation) -> bool {
        let Self { statuses, tasks, since, labels, root: _, limit: _, look: _ } = self;
        (statuses.is_empty() || statuses.contains(&one.status))
            && tasks.as_ref().is_none_or(|tasks| tasks.contains(&one.task))
            && since.is_none_or(|since| one.submitted_at >= since)
            && labels.iter().all(|label| one.labels.contains(label))
    }

    /// Whether it lets only final invocations through.
    pub(super) fn is_of_final(&self) -> bool {
        !self.statuses.is_empty() && self.statuses.iter().all(|status| status.is_final())
    }
}
