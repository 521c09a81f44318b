//! The configured options of a task.

use std::sync::Arc;
use std::time::Duration;

use super::{RetryPolicy, TaskLimits, TaskRules};

/// Attempts that a task gets if nobody says otherwise. Guest failures are not
/// retried unless the task asks for it; the others are for runners that die.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 3;

/// Priorities go from minus this to this.
pub const MAX_PRIORITY: i32 = 1000;

/// Whether `priority` lies within the bounds.
pub fn is_valid_priority(priority: i32) -> bool {
    (-MAX_PRIORITY..=MAX_PRIORITY).contains(&priority)
}

/// The longest delay and deadline of a submit: ten years.
pub const MAX_DELAY: Duration = Duration::from_secs(3_650 * 24 * 60 * 60);

/// Options of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskOptions {
    /// The most attempts that one invocation gets, at least 1.
    pub max_attempts: u32,
    /// The priority of an invocation that is submitted without one.
    pub priority: i32,
    /// The default deadline: how long after its submit an invocation ends as failed, unless it is final.
    pub deadline: Option<Duration>,
    /// The policy for failed attempts.
    pub retry: Arc<RetryPolicy>,
    /// How much one attempt may use.
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
