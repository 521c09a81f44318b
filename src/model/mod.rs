//! The vocabulary: what an invocation is and how it may change.
//!
//! Nothing here does I/O, reads a clock or knows of WebAssembly or SQL. Every
//! other layer speaks in these types.

mod client;
mod control;
mod facts;
mod glob;
mod ids;
mod invocation;
mod limits;
mod line_budget;
mod memory_budget;
mod outcome;
mod quota;
mod retry;
mod rules;
mod settings;
mod short_id;
mod shown;
mod status;
mod submitter;
mod task;
mod task_id;
mod text;
mod time;
mod usage;
mod version;
mod waiting;
mod words;

pub use client::{
    Answer, AwaitMode, Caller, ChildRequest, Labels, MAX_AWAITED, MAX_AWAITED_BYTES, PreparedCall, Progress,
    Refusal, SubmitOptions, TaskClient, check_fairness_key, check_key, check_labels,
};
pub use control::{Guest, GuestFuture, Interrupt, NoGuest, Shortage, SlotControl};
pub use facts::{ComponentFacts, PushAnswer};
pub use glob::Glob;
#[cfg(test)]
pub(crate) use ids::steps;
pub use ids::{ComponentDigest, IdError, IdMap, IdSet, InvocationId, RunnerId, draw_uuid};
pub use invocation::{Claim, Invocation, LogEntry, LogStream, Transition};
pub use limits::{LIMIT_KEYS, LIMITS, Limit, LimitKind, LimitUnit, SubmitLimits, TaskLimits};
pub use line_budget::LineBudget;
pub use memory_budget::MemoryBudget;
pub use outcome::{ExitClass, Failure, FailureKind, Outcome};
pub use quota::{Bucket, Held, HolderKind, MAX_SUBMITS, OverQuota, Quota, QuotaKind};
pub use retry::{DEFAULT_BUDGET_WINDOW, RetryBudget, RetryPolicy, spread};
pub use rules::{
    Blocked, Concurrency, DEFAULT_QUEUE, Differing, MAX_RULE_LIMIT, Per, Rate, RuleKey, TaskRules, Unique,
};
pub use settings::{RunnerSettings, SETTING_KEYS, SETTINGS, Setting};
pub use short_id::{IdPart, InvocationName};
pub use shown::{millis, size, span};
pub use status::{Event, IllegalTransition, Reason, Status};
pub use submitter::{Callers, Submitter, chosen_key};
pub use task::{DEFAULT_MAX_ATTEMPTS, MAX_DELAY, MAX_PRIORITY, TaskOptions, is_valid_priority};
pub use task_id::{FunctionName, TaskId};
pub use text::{
    GUEST_PANICKED, clip, clip_middle, failure_line, is_invisible, is_terminal_control, write_cut,
};
pub use time::{Clock, Moment, SystemClock, UnixMicros};
pub use usage::{Combined, USAGE, Usage, UsageEntry, UsageSums};
pub use version::{compare_versions, is_compatible, is_on_track, split_version, track};
pub use waiting::WaitingFor;
pub(crate) use words::words;
