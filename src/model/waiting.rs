//! The reason for which a queued invocation does not run.

use super::words::words;
use super::{Invocation, Status, UnixMicros};

words! {
    /// The thing that a queued invocation waits for, besides a free slot of a runner that has its component.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum WaitingFor {
        /// The time from which it may start: it was submitted with a delay, or is tried again after a pause.
        Time = "time",
        /// The end of the pause of its queue or its task.
        Pause = "pause",
        /// Room in the concurrency or rate rule of its task.
        Rule = "rule",
    }
}

impl WaitingFor {
    /// Decides what an invocation waits for now; `None` if it can start, has started, or is final. Of several
    /// reasons the first one is told that must pass.
    pub fn of(invocation: &Invocation, is_paused: bool, now: UnixMicros) -> Option<Self> {
        match invocation.status {
            Status::Queued if invocation.available_at > now => Some(Self::Time),
            Status::Queued if is_paused => Some(Self::Pause),
            Status::Queued if invocation.blocked => Some(Self::Rule),
            _ => None,
        }
    }

    /// Says for people how a queued invocation is that waits so.
    pub const fn adjective(self) -> &'static str {
        match self {
            Self::Time => "delayed",
            Self::Pause => "paused",
            Self::Rule => "blocked by a rule",
        }
    }
}
