//! The record of one invocation, and what hangs on it.

use super::Labels;
use std::sync::Arc;

use serde::Serialize;

use super::words::words;
use super::{
    Callers, ComponentDigest, InvocationId, Outcome, Progress, Reason, RuleKey, RunnerId, Status,
    SubmitLimits, UnixMicros, Usage,
};

/// One request to run a task, as the store knows it.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Its id.
    pub id: InvocationId,
    /// The full id of its task.
    pub task: Arc<str>,
    /// The component that it was submitted for, and once it has run, the one that ran it.
    pub component_digest: ComponentDigest,
    /// Where it stands.
    pub status: Status,
    /// The present or last attempt; 0 before the first. Counted when claimed, given back when released.
    pub attempt: u32,
    /// The most attempts that it gets.
    pub max_attempts: u32,
    /// The invocation whose guest submitted it.
    pub parent: Option<InvocationId>,
    /// The first ancestor; its own id if it has no parent.
    pub root: InvocationId,
    /// Generations between it and its root.
    pub depth: u32,
    /// Whether it outlives its parent.
    pub detached: bool,
    /// From -1000 to 1000, higher first.
    pub priority: i32,
    /// The idempotency key it was submitted with, which says whose it is;
    /// [`chosen_key`](super::chosen_key) is what somebody has written.
    pub key: Option<Arc<str>>,
    /// The key by which it shares the slots with others.
    pub fairness_key: Arc<str>,
    /// The component whose quota counts it, if not that of its task's.
    pub payer: Option<Arc<str>>,
    /// Whether the quota of its fairness key does not count it.
    pub unkeyed: bool,
    /// Free text given at submit.
    pub labels: Labels,
    /// The limits that its submit has set, or that of the invocation above it.
    pub limits: SubmitLimits,
    /// The other components above it.
    pub callers: Callers,
    /// The runner that owns it, or the last one that did.
    pub runner: Option<RunnerId>,
    /// When it was submitted.
    pub submitted_at: UnixMicros,
    /// When it may start, at the earliest.
    pub available_at: UnixMicros,
    /// Whether it is due and a concurrency or rate rule keeps it from running.
    pub blocked: bool,
    /// The key by which its task's concurrency and rate rules count it.
    pub lane: Option<RuleKey>,
    /// The key by which its task's uniqueness rule recognises it.
    pub unique: Option<RuleKey>,
    /// When it ends as failed unless it is final before.
    pub deadline: Option<UnixMicros>,
    /// When the guest of the present attempt, or of the last one, got its first slot.
    pub started_at: Option<UnixMicros>,
    /// When it became final.
    pub finished_at: Option<UnixMicros>,
    /// How far its guest said it has come.
    pub progress: Option<Progress>,
    /// The usage of its attempts, as far as they have ended; `None` before that.
    pub usage: Option<Usage>,
    /// Its outcome, once it is final. Lists leave values out, which may be megabytes, and keep failures.
    pub outcome: Option<Outcome>,
}

/// A runner's ownership of one attempt. Every write about the attempt carries
/// its `runner` and `attempt`, and changes nothing if they no longer own it.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The invocation.
    pub id: InvocationId,
    /// The runner that owns the attempt.
    pub runner: RunnerId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The most attempts that the invocation gets.
    pub max_attempts: u32,
    /// The full id of the task.
    pub task: Arc<str>,
    /// The arguments: a JSON array, by position.
    pub arguments: Arc<str>,
    /// The component that it was submitted for.
    pub component_digest: ComponentDigest,
    /// The invocation whose guest submitted it.
    pub parent: Option<InvocationId>,
    /// The first ancestor.
    pub root: InvocationId,
    /// Generations between it and its root.
    pub depth: u32,
    /// When it ends as failed unless it is final before.
    pub deadline: Option<UnixMicros>,
    /// Free text given at submit.
    pub labels: Labels,
    /// The limits that its submit has set, or that of the invocation above it.
    pub limits: SubmitLimits,
    /// The other components above it.
    pub callers: Callers,
    /// Whether a concurrency or rate rule counts it: others may wait for its end.
    pub has_lane: bool,
}

/// One line of an invocation's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// When it moved.
    pub at: UnixMicros,
    /// From where; `None` for the submit.
    pub from: Option<Status>,
    /// To where.
    pub to: Status,
    /// Why.
    pub reason: Reason,
    /// The runner that owned it before or after the move.
    pub runner: Option<RunnerId>,
    /// The attempt that the move belongs to; 0 before the first.
    pub attempt: u32,
    /// More about it: the failure's message of an attempt that failed.
    pub detail: Option<String>,
    /// The number of moves between this one and the next that left no row: `awaiting` and `resumed`, in turn,
    /// of an invocation that has moved very often.
    #[serde(skip_serializing_if = "super::usage::is_zero")]
    pub unrecorded: u64,
}

words! {
    /// Where a kept line came from.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum LogStream {
        /// The guest's standard output.
        Stdout = "stdout",
        /// The guest's standard error.
        Stderr = "stderr",
        /// The `wasm-runner:task/log` import.
        Log = "log",
        /// The runner, about the guest: what was dropped, and why.
        Runner = "runner",
    }
}

/// A piece of what a guest wrote: a log message, or a stretch of its standard output or error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// When it was written.
    pub at: UnixMicros,
    /// The attempt that wrote it.
    pub attempt: u32,
    /// Where it came from.
    pub stream: LogStream,
    /// The level of a log message: `trace`, `debug`, `info`, `warn` or `error`.
    pub level: Option<Arc<str>>,
    /// The text, with terminal escapes already made harmless.
    pub text: String,
}
