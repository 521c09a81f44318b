//! The stages of a runner, from working to stopped.

use std::time::Duration;

use crate::model::Refusal;

/// Guests get this long to be killed after the grace time. One that is stuck longer is abandoned.
pub(super) const KILL_PATIENCE: Duration = Duration::from_millis(800);

/// Refuses what a runner is asked for that has stopped.
pub(super) fn stopped() -> Refusal {
    Refusal::Unavailable("the runner has stopped".to_owned())
}

/// The stage of a runner, which only ever grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
    Working = 0,
    /// Claims nothing; finishes what runs, gives back the rest.
    Draining = 1,
    /// Kills what still runs and gives it back.
    Killing = 2,
    /// Nothing is live; everything is written, or given up.
    Stopped = 3,
}
