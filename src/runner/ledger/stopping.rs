//! The steps by which a runner stops, in bounded time.

use std::time::{Duration, Instant};

use crate::runner::stage::{KILL_PATIENCE, Stage};

/// The progress of a stop.
#[derive(Default)]
pub(crate) struct Stopping {
    /// Whether what was claimed and parked has been given back.
    has_drained: bool,
    /// When guests were first told to die.
    killing_since: Option<Instant>,
}

/// The steps that a turn takes to stop the runner.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StopSteps {
    /// Give back what is claimed, parked or in the making.
    pub(crate) gives_back: bool,
    /// The grace time is over: move on to [`Stage::Killing`].
    pub(crate) ends_grace: bool,
    /// Kill what still runs.
    pub(crate) kills: bool,
    /// Give back what is stuck in the operating system without waiting for it.
    pub(crate) abandons_stuck: bool,
}

impl Stopping {
    /// Decides what this turn does. Each step but the last is done once.
    pub(crate) fn advance(&mut self, stage: Stage, grace_ends: Option<Instant>, now: Instant) -> StopSteps {
        let mut steps = StopSteps::default();
        if stage == Stage::Working {
            return steps;
        }
        steps.gives_back = !std::mem::replace(&mut self.has_drained, true);
        steps.ends_grace = stage == Stage::Draining && grace_ends.is_some_and(|end| end <= now);
        if steps.ends_grace || stage >= Stage::Killing {
            steps.kills = self.killing_since.is_none();
            steps.abandons_stuck = self.is_out_of_patience(now);
            self.killing_since.get_or_insert(now);
        }
        steps
    }

    /// Whether what was claimed and parked has been given back.
    pub(crate) fn has_drained(&self) -> bool {
        self.has_drained
    }

    /// Whether guests had their time to die.
    pub(crate) fn is_out_of_patience(&self, now: Instant) -> bool {
        self.killing_since.is_some_and(|since| now.duration_since(since) > KILL_PATIENCE)
    }

    /// When guests will have had their time to die.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        self.killing_since.map(|since| since + KILL_PATIENCE + Duration::from_millis(1))
    }
}
