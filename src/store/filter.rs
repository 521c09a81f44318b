//! Filters of invocations. A filter is a field here, with its condition in Rust and in SQL: all stores, and
//! whoever lists, follow.

use std::borrow::Cow;
use std::sync::Arc;

use super::rules::Place;
use super::value::json_text;
use crate::model::{FailureKind, Invocation, InvocationId, Outcome, RunnerId, Status, UnixMicros};

/// Which invocations to list.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Only those with one of these statuses; empty means all.
    pub statuses: Vec<Status>,
    /// Only those of these tasks (full ids); `None` means of all.
    pub tasks: Option<Vec<Arc<str>>>,
    /// Only those that were submitted at this moment or later.
    pub since: Option<UnixMicros>,
    /// Only those that were submitted before this moment.
    pub until: Option<UnixMicros>,
    /// Only those that became final at this moment or later.
    pub ended_since: Option<UnixMicros>,
    /// Only those that became final before this moment.
    pub ended_until: Option<UnixMicros>,
    /// Only those that ended with a failure of one of these kinds; empty means all.
    pub kinds: Vec<FailureKind>,
    /// Only those that this runner owns, or that no other runner has owned after it.
    pub runner: Option<RunnerId>,
    /// Only queued ones whose time comes after this moment.
    pub available_after: Option<UnixMicros>,
    /// Only queued ones whose time has come at this moment.
    pub available_by: Option<UnixMicros>,
    /// Only queued ones that a concurrency or rate rule has no room for.
    pub only_blocked: bool,
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
            until: None,
            ended_since: None,
            ended_until: None,
            kinds: Vec::new(),
            runner: None,
            available_after: None,
            available_by: None,
            only_blocked: false,
            labels: Vec::new(),
            root: None,
            limit: usize::MAX,
            look: None,
        }
    }
}

/// A condition in SQL on a row `i` of the table of invocations. `#` stands for its parameter, a list of texts: in
/// SQLite as a JSON array.
pub(super) struct Condition {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
    /// Whether it fits the rows of the tally, too, which has a number for each task and status.
    pub(super) is_tallied: bool,
}

/// The place of the condition on the status in [`CONDITIONS`].
pub(super) const BY_STATUS: usize = 0;

/// The places of the conditions on the time of the end: no earlier than, and before.
pub(super) const BY_END: [usize; 2] = [4, 5];

/// The conditions, in the order of [`Filter::parameters`].
pub(super) const CONDITIONS: [Condition; 12] = [
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
    Condition {
        sqlite: "submitted_at < (SELECT CAST(value AS INTEGER) FROM json_each(#))",
        postgres: "submitted_at < (#)[1]::bigint",
        is_tallied: false,
    },
    Condition {
        sqlite: "finished_at >= (SELECT CAST(value AS INTEGER) FROM json_each(#))",
        postgres: "finished_at >= (#)[1]::bigint",
        is_tallied: false,
    },
    Condition {
        sqlite: "finished_at < (SELECT CAST(value AS INTEGER) FROM json_each(#))",
        postgres: "finished_at < (#)[1]::bigint",
        is_tallied: false,
    },
    // The kind is at the beginning of a stored failure. The rest may have characters that PostgreSQL can't read as
    // JSON.
    Condition {
        sqlite: "EXISTS (SELECT 1 FROM outcome CROSS JOIN json_each(#) AS wanted \
                 WHERE outcome.seq = i.seq AND substr(failure, 1, length(wanted.value)) = wanted.value)",
        postgres: "EXISTS (SELECT FROM @outcome AS ended CROSS JOIN unnest(#) AS wanted(kind) \
                   WHERE ended.seq = i.seq AND starts_with(ended.failure, wanted.kind))",
        is_tallied: false,
    },
    Condition {
        sqlite: "i.runner = (SELECT unhex(value) FROM json_each(#))",
        postgres: "i.runner = (#)[1]::uuid",
        is_tallied: false,
    },
    Condition {
        sqlite: "available_at > (SELECT CAST(value AS INTEGER) FROM json_each(#))",
        postgres: "available_at > (#)[1]::bigint",
        is_tallied: false,
    },
    Condition {
        sqlite: "available_at <= (SELECT CAST(value AS INTEGER) FROM json_each(#))",
        postgres: "available_at <= (#)[1]::bigint",
        is_tallied: false,
    },
    Condition {
        sqlite: "place IN (SELECT value FROM json_each(#))",
        postgres: "place = ANY(#)",
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
        let Self {
            statuses: _,
            tasks,
            since,
            until,
            ended_since,
            ended_until,
            kinds,
            runner,
            available_after,
            available_by,
            only_blocked,
            labels,
            root: _,
            limit: _,
            look: _,
        } = self;
        let moment = |at: &Option<UnixMicros>| at.map(|at| vec![at.0.to_string().into()]);
        let texts = |texts: Vec<Cow<'static, str>>| Some(texts).filter(|texts| !texts.is_empty());
        [
            self.possible_statuses().map(|all| all.iter().map(|status| status.as_str().into()).collect()),
            tasks.as_ref().map(|tasks| tasks.iter().map(|task| (**task).into()).collect()),
            moment(since),
            moment(until),
            moment(ended_since),
            moment(ended_until),
            texts(kinds.iter().map(|kind| format!(r#"{{"kind":"{}""#, kind.as_str()).into()).collect()),
            runner.map(|runner| vec![runner.to_string().replace('-', "").into()]),
            moment(available_after),
            moment(available_by),
            only_blocked.then(|| vec![Place::Blocked.as_str().into()]),
            texts(labels.iter().map(|label| json_text(label).into()).collect()),
        ]
    }

    /// Whether it lets an invocation through, but for the tree and the limits.
    pub(super) fn lets_through(&self, one: &Invocation) -> bool {
        let Self {
            statuses,
            tasks,
            since,
            until,
            ended_since,
            ended_until,
            kinds,
            runner,
            available_after,
            available_by,
            only_blocked,
            labels,
            root: _,
            limit: _,
            look: _,
        } = self;
        let kind = match &one.outcome {
            Some(Outcome::Failure(failure)) => Some(failure.kind),
            Some(Outcome::Value(_)) | None => None,
        };
        (statuses.is_empty() || statuses.contains(&one.status))
            && tasks.as_ref().is_none_or(|tasks| tasks.contains(&one.task))
            && since.is_none_or(|since| one.submitted_at >= since)
            && until.is_none_or(|until| one.submitted_at < until)
            && ended_since.is_none_or(|since| one.finished_at.is_some_and(|at| at >= since))
            && ended_until.is_none_or(|until| one.finished_at.is_some_and(|at| at < until))
            && (kinds.is_empty() || kind.is_some_and(|kind| kinds.contains(&kind)))
            && runner.is_none_or(|runner| one.runner == Some(runner))
            && available_after.is_none_or(|after| one.available_at > after)
            && available_by.is_none_or(|by| one.available_at <= by)
            && (!self.needs_queued() || one.status == Status::Queued)
            && (!only_blocked || one.blocked)
            && labels.iter().all(|label| one.labels.contains(label))
    }

    /// The statuses that an invocation can have which it lets through; `None` means all.
    fn possible_statuses(&self) -> Option<Vec<Status>> {
        let needs_end = self.ended_since.is_some() || self.ended_until.is_some();
        if self.statuses.is_empty() && self.kinds.is_empty() && !needs_end && !self.needs_queued() {
            return None;
        }
        let is_possible = |status: &Status| {
            (self.statuses.is_empty() || self.statuses.contains(status))
                && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.status() == *status))
                && (!needs_end || status.is_final())
                && (!self.needs_queued() || *status == Status::Queued)
        };
        Some(Status::ALL.into_iter().filter(is_possible).collect())
    }

    /// Whether it is about what queued invocations wait for.
    fn needs_queued(&self) -> bool {
        self.available_after.is_some() || self.available_by.is_some() || self.only_blocked
    }

    /// Reduces it to its condition on the status.
    pub(super) fn of_statuses(&self) -> Self {
        let Self { statuses, kinds, ended_since, ended_until, .. } = self.clone();
        let Self { available_after, available_by, only_blocked, .. } = *self;
        Self {
            statuses,
            kinds,
            ended_since,
            ended_until,
            available_after,
            available_by,
            only_blocked,
            ..Self::default()
        }
    }

    /// Whether it lets only final invocations through.
    pub(super) fn is_of_final(&self) -> bool {
        self.possible_statuses().is_some_and(|all| all.iter().all(|status| status.is_final()))
    }

    /// Whether it may have to pass many invocations that it does not let through, since no index finds the others.
    pub(crate) fn is_walk(&self) -> bool {
        let has_time = self.since.is_some() || self.until.is_some() || self.ended_until.is_some();
        let has_other = !self.kinds.is_empty() || self.runner.is_some() || !self.labels.is_empty();
        self.root.is_none() && !self.is_by_end() && (has_time || has_other || self.needs_queued())
    }

    /// Whether what it lets through lies together in the index of the ends.
    pub(super) fn is_by_end(&self) -> bool {
        self.ended_since.is_some() && self.root.is_none()
    }
}
