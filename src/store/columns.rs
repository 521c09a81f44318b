//! The columns of an invocation, of its history and logs, and of a task's rule: each
//! column once, for both SQL databases, for what reads it and for what writes it.
//!
//! A new column is declared here, in `invocation!` with where its value comes from, and in the
//! records that show it; and a migration of each database makes it (`docs/design/storage.md`,
//! "One more column").

use std::time::Duration;

use const_format::{formatcp, str_replace};

use super::brief::{BRIEF_CHARS, BriefFailure};
use super::decide::{Fresh, Head, Move, Old};
use super::rules::{Place, window_micros};
use super::value::{Fields, Kind, StoredRow, Value};
use super::{PushedComponent, QuotaRule, RuleMark, RuleOrigin, TaskRule};
use crate::model::{
    Blocked, Concurrency, DEFAULT_QUEUE, Glob, Invocation, InvocationId, LogEntry, Outcome, Quota, Rate,
    Status, Transition, UnixMicros,
};

/// Columns that are written together: their names, and how they are kept.
pub(super) type Columns = &'static [(&'static str, Kind)];

/// Declares columns and the function that makes their values.
macro_rules! written {
    (
        $(#[$doc:meta])*
        $names:ident, fn $values:ident<$life:lifetime>($($argument:ident: $type:ty),+) {
            $($column:ident: $kind:ident = $value:expr;)+
        }
    ) => {
        $(#[$doc])*
        pub(super) const $names: Columns = &[$((stringify!($column), Kind::$kind)),+];

        /// The values of those columns.
        pub(super) fn $values<$life>($($argument: $type),+) -> [Value<$life>; $names.len()] {
            [$(Value::from($value)),+]
        }
    };
}

/// Declares the columns of an invocation in three groups: those that its submit writes once and
/// for all, those that change while it stays where it is, and those that change with its
/// place.
macro_rules! invocation {
    (
        ($head:ident, $fresh:ident)
        once { $($once:ident: $once_kind:ident = $once_value:expr;)+ }
        anywhere { $($any:ident: $any_kind:ident = $any_value:expr;)+ }
        with_place { $($with:ident: $with_kind:ident = $with_value:expr;)+ }
    ) => {
        written! {
            /// All columns of a new invocation.
            NEW, fn new_values<'v>($head: &Head, $fresh: &Fresh<'v>) {
                $($once: $once_kind = $once_value;)+
                $($any: $any_kind = $any_value;)+
                $($with: $with_kind = $with_value;)+
            }
        }
        written! {
            /// The columns that change while an invocation stays where it is; no index has
            /// them. NULL leaves what is there.
            ANYWHERE, fn anywhere_values<'v>($head: &Head) {
                $($any: $any_kind = $any_value;)+
            }
        }
        written! {
            /// The columns that change with the place of an invocation.
            WITH_PLACE, fn with_place_values<'v>($head: &Head) {
                $($with: $with_kind = $with_value;)+
            }
        }
    };
}

invocation! {
    (head, fresh)
    once {
        seq: Integer = head.seq;
        id: Id = head.id;
        task: Integer = head.task;
        max_attempts: Integer = head.max_attempts;
        priority: Integer = head.priority;
        submitted_at: Integer = fresh.submitted_at;
        deadline: Integer = head.deadline;
        parent: Id = head.parent;
        child_index: Integer = fresh.new.child_of.as_ref().map(|place| place.index);
        root: Id = fresh.new.child_of.as_ref().map(|place| place.root);
        depth: Integer = fresh.new.child_of.as_ref().map_or(0, |place| place.depth);
        detached: Flag = head.detached;
        idempotency_key: FreeText = fresh.new.key.as_ref();
        labels: Text = &fresh.new.labels;
        limits: Text = &fresh.new.limits;
        callers: Text = &fresh.new.callers;
        lane: Id = head.lane;
        fairness_key: Integer = head.fairness_key;
        payer: Text = head.payer.as_deref().map(str::to_owned);
        unkeyed: Flag = head.unkeyed;
        unique_key: Id = fresh.new.unique.map(|(key, _)| key);
    }
    anywhere {
        status: Text = head.status;
        component: Integer = head.component;
        moves: Integer = head.moves;
        started_at: Integer = head.started_at;
        has_children: Flag = head.has_children;
        progress: Text = head.progress.as_ref();
        usage: Text = head.usage.as_ref();
    }
    with_place {
        place: Text = head.place;
        attempt: Integer = head.attempt;
        order_key: Integer = head.order_key;
        turn: Integer = head.turn;
        available_at: Integer = head.available_at;
        finished_at: Integer = head.finished_at;
        runner: Id = head.runner;
    }
}

written! {
    /// The columns of a move.
    HISTORY, fn history_values<'v>(one: Move) {
        seq: Integer = one.seq;
        n: Integer = one.n;
        at: Integer = one.at;
        status: Text = one.to;
        reason: Text = one.reason;
        runner: Id = one.runner;
        attempt: Integer = one.attempt;
        detail: FreeText = one.detail.map(String::from);
    }
}

written! {
    /// The columns of a line of a guest's, but for its number within the invocation.
    LOG, fn log_values<'v>(seq: i64, line: &'v LogEntry) {
        seq: Integer = seq;
        at: Integer = line.at;
        attempt: Integer = line.attempt;
        stream: Text = line.stream;
        level: Text = line.level.as_deref();
        text: FreeText = line.text.as_str();
    }
}

written! {
    /// The columns of a task that its rule sets.
    RULE, fn rule_values<'v>(rule: &'v TaskRule, mark: Option<(&'v RuleOrigin, UnixMicros)>) {
        queue: Text = &rule.queue;
        concurrency: Integer = rule.concurrency.map(|concurrency| concurrency.limit);
        blocked: Text = rule.concurrency.map(|concurrency| concurrency.blocked);
        rate: Integer = rule.rate.map(|rate| rate.limit);
        rate_window: Integer = rule.rate.map(|rate| window_micros(rate.window));
        rule_by: Text = mark.map(|(by, _)| by);
        rule_at: Integer = mark.map(|(_, at)| at);
    }
}

written! {
    /// The columns of a quota.
    QUOTA, fn quota_values<'v>(rule: &'v QuotaRule) {
        holder: Text = rule.holder;
        names: Text = rule.names.as_str();
        unfinished: Integer = rule.quota.unfinished.map(capped);
        stored_bytes: Integer = rule.quota.stored_bytes.map(capped);
        submits: Integer = rule.quota.submits.map(|rate| rate.limit);
        submit_window: Integer = rule.quota.submits.map(|rate| window_micros(rate.window));
        set_by: Text = rule.by.as_ref();
        set_at: Integer = rule.at;
    }
}

/// A bound as databases keep it.
fn capped(bound: u64) -> i64 {
    i64::try_from(bound).unwrap_or(i64::MAX)
}

/// Declares what a statement reads, in this order: the columns as text, and the function that reads them. `from` names columns that are no fields themselves, `plus` the
/// fields that follow from others.
macro_rules! record {
    (
        $(#[$doc:meta])*
        $columns:ident, fn $read:ident($($argument:ident: $atype:ty)?) -> $type:ident {
            $first:ident: $first_column:literal,
            $($field:ident: $column:literal,)*
        } from {
            $($source:ident: $stype:ty = $source_column:literal,)*
        } plus {
            $($extra:ident: $value:expr,)*
        }
    ) => {
        $(#[$doc])*
        pub(super) const $columns: &str =
            concat!($first_column $(, ", ", $column)* $(, ", ", $source_column)*);

        /// Reads those columns.
        pub(super) fn $read<R: StoredRow>(
            fields: &mut Fields<'_, R>
            $(, $argument: $atype)?
        ) -> Result<$type, R::Error> {
            let $first = fields.take()?;
            $(let $field = fields.take()?;)*
            $(let $source: $stype = fields.take()?;)*
            Ok($type { $first, $($field,)* $($extra: $value,)* })
        }
    };
}

record! {
    /// The columns that decisions need of the invocation `i`.
    HEAD_COLUMNS, fn read_head() -> Head {
        seq: "i.seq",
        id: "i.id",
        task: "i.task",
        component: "i.component",
        status: "i.status",
        attempt: "i.attempt",
        max_attempts: "i.max_attempts",
        moves: "i.moves",
        priority: "i.priority",
        available_at: "i.available_at",
        order_key: "i.order_key",
        fairness_key: "i.fairness_key",
        turn: "i.turn",
        payer: "i.payer",
        unkeyed: "i.unkeyed",
        started_at: "i.started_at",
        finished_at: "i.finished_at",
        runner: "i.runner",
        has_children: "i.has_children",
        parent: "i.parent",
        detached: "i.detached",
        deadline: "i.deadline",
        lane: "i.lane",
        usage: "i.usage",
    } from {
        place: Option<Place> = "i.place",
    } plus {
        place: place,
        stored_place: place,
        progress: None,
        is_changed: false,
    }
}

record! {
    /// The columns that are shown of the invocation `i`, with its task `t`, component `c`, fairness key `k` and
    /// outcome `o`. The value of an outcome, which may be megabytes, is not among them.
    INVOCATION_COLUMNS, fn read_invocation() -> Invocation {
        id: "i.id",
        task: "t.name",
        component_digest: "c.digest",
        status: "i.status",
        attempt: "i.attempt",
        max_attempts: "i.max_attempts",
        parent: "i.parent",
        depth: "i.depth",
        detached: "i.detached",
        priority: "i.priority",
        key: "i.idempotency_key",
        fairness_key: "k.name",
        payer: "i.payer",
        unkeyed: "i.unkeyed",
        labels: "i.labels",
        limits: "i.limits",
        callers: "i.callers",
        runner: "i.runner",
        submitted_at: "i.submitted_at",
        available_at: "i.available_at",
        deadline: "i.deadline",
        started_at: "i.started_at",
        finished_at: "i.finished_at",
        progress: "i.progress",
        lane: "i.lane",
        unique: "i.unique_key",
        usage: "i.usage",
    } from {
        root: Option<InvocationId> = "i.root",
        place: Option<Place> = "i.place",
        failure: Option<BriefFailure> = "o.failure",
    } plus {
        root: root.unwrap_or(id),
        blocked: place == Some(Place::Blocked),
        outcome: failure.map(|failure| Outcome::Failure(failure.0.into())),
    }
}

/// [`INVOCATION_COLUMNS`] for lists, which have the beginning of a failure.
pub(super) const BRIEF_COLUMNS: &str =
    str_replace!(INVOCATION_COLUMNS, "o.failure", formatcp!("substr(o.failure, 1, {BRIEF_CHARS})"));

record! {
    /// The columns that a prune needs.
    OLD_COLUMNS, fn read_old() -> Old {
        seq: "seq",
        finished_at: "finished_at",
        id: "id",
        task: "task",
        parent: "parent",
        has_children: "has_children",
        fairness_key: "fairness_key",
        payer: "payer",
        unkeyed: "unkeyed",
    } from {
    } plus {
    }
}

record! {
    /// The columns of the move `h`.
    TRANSITION_COLUMNS, fn read_transition(from: Option<Status>) -> Transition {
        at: "h.at",
        to: "h.status",
        reason: "h.reason",
        runner: "h.runner",
        attempt: "h.attempt",
        detail: "h.detail",
    } from {
    } plus {
        from: from,
        unrecorded: 0,
    }
}

record! {
    /// The columns of the line `l` of a guest's.
    LOG_COLUMNS, fn read_log_entry() -> LogEntry {
        at: "l.at",
        attempt: "l.attempt",
        stream: "l.stream",
        level: "l.level",
        text: "l.text",
    } from {
    } plus {
    }
}

record! {
    /// The columns of the mark of the rule of the task `t`, which has one.
    MARK_COLUMNS, fn read_mark() -> RuleMark {
        task: "t.name",
        by: "t.rule_by",
        at: "t.rule_at",
    } from {
    } plus {
    }
}

record! {
    /// The columns of the rule of the task `t`.
    RULE_COLUMNS, fn read_rule() -> TaskRule {
        task: "t.name",
    } from {
        queue: Option<std::sync::Arc<str>> = "t.queue",
        limit: Option<u32> = "t.concurrency",
        blocked: Option<Blocked> = "t.blocked",
        starts: Option<u32> = "t.rate",
        window: Option<u64> = "t.rate_window",
    } plus {
        queue: queue.unwrap_or_else(|| DEFAULT_QUEUE.into()),
        concurrency: limit.map(|limit| Concurrency { limit, blocked: blocked.unwrap_or(Blocked::Wait) }),
        rate: starts.zip(window).map(|(limit, window)| Rate { limit, window: Duration::from_micros(window) }),
    }
}

record! {
    /// The columns of the quota `q`.
    QUOTA_COLUMNS, fn read_quota() -> QuotaRule {
        holder: "q.holder",
        by: "q.set_by",
        at: "q.set_at",
    } from {
        names: String = "q.names",
        unfinished: Option<u64> = "q.unfinished",
        stored_bytes: Option<u64> = "q.stored_bytes",
        limit: Option<u32> = "q.submits",
        window: Option<u64> = "q.submit_window",
    } plus {
        names: Glob::new(&names),
        quota: Quota {
            unfinished,
            stored_bytes,
            submits: limit.zip(window).map(|(limit, window)| Rate { limit, window: Duration::from_micros(window) }),
        },
    }
}

record! {
    /// The columns of the pushed component `p`, with its bytes `b`.
    PUSHED_COLUMNS, fn read_pushed() -> PushedComponent {
        name: "p.name",
        digest: "p.digest",
        size: "CAST(octet_length(b.bytes) AS bigint)",
        pushed_at: "p.at",
        labels: "p.labels",
        facts: "p.facts",
        removed_at: "p.removed_at",
    } from {
    } plus {
    }
}
