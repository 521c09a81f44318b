//! What the configuration says about a task.

use std::sync::Arc;
use std::time::Duration;

use super::{RetryPolicy, TaskRules};

/// Attempts that a task gets if nobody says otherwise. Guest failures are not
/// retried unless the task asks for it; the others are for runners that die.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 3;

/// Priorities go from minus this to this.
pub const MAX_PRIORITY: i32 = 1000;

/// Whether `priority` lies within the bounds.
pub fn is_valid_priority(priority: i32) -> bool {
    (-MAX_PRIORITY..=MAX_PRIORITY).contains(&priority)
}

/// Options of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskOptions {
    /// The most attempts that one invocation gets, at least 1.
    pub max_attempts: u32,
    /// The priority of an invocation that is submitted without one.
    pub priority: i32,
    /// How long after its submit an invocation ends as failed, unless it is final
    /// before, if it is submitted without a deadline.
    pub deadline: Option<Duration>,
    /// What is done about failed attempts.
    pub retry: Arc<RetryPolicy>,
    /// What one attempt may use.
    pub limits: TaskLimits,
    /// When invocations may run.
    pub rules: Arc<TaskRules>,
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self {
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            priority: 0,
            deadline: None,
            retry: Arc::default(),
            limits: TaskLimits::default(),
            rules: Arc::default(),
        }
    }
}

/// What one attempt may use. Whatever ends an attempt is named in its failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskLimits {
    /// Time on a slot. Time spent awaiting results does not count.
    pub time: Duration,
    /// Time of a processor; `None` is unlimited, and within `time` anyway.
    pub cpu: Option<Duration>,
    /// Bytes in all linear memories and tables of the instance together.
    pub memory_bytes: u64,
    /// WebAssembly instructions, roughly; `None` is unlimited, and costs
    /// nothing.
    pub fuel: Option<u64>,
    /// Bytes of the arguments as JSON. More is refused at submit.
    pub arguments_bytes: u64,
    /// Bytes of the value as JSON.
    pub result_bytes: u64,
    /// Bytes kept of standard output, standard error and log lines together.
    /// More is dropped and counted; it does not end the attempt.
    pub log_bytes: u64,
    /// Children that it submits.
    pub children: u64,
    /// Files and directories that are open at once.
    pub files: u64,
    /// Bytes read and written of files. More is an error that the guest gets.
    pub file_bytes: u64,
    /// Sockets, requests and lookups of names that may be open at once. One more is
    /// an error that the guest gets; it does not end the attempt.
    pub sockets: u32,
    /// Bytes of the body of one request that is sent. More is an error that the guest
    /// gets.
    pub request_body_bytes: u64,
    /// Bytes of the body of one response that is received.
    pub response_body_bytes: u64,
    /// Bytes sent and received over the network. More is an error that the guest gets.
    pub traffic_bytes: u64,
}

impl Default for TaskLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            cpu: None,
            memory_bytes: 256 << 20,
            fuel: None,
            arguments_bytes: 64 << 20,
            result_bytes: 64 << 20,
            log_bytes: 1 << 20,
            children: 100_000,
            files: 256,
            file_bytes: 64 << 30,
            sockets: 64,
            request_body_bytes: 64 << 20,
            response_body_bytes: 64 << 20,
            traffic_bytes: 1 << 30,
        }
    }
}
