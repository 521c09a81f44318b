//! The stages of a runner, from working to stopped, and the threads outside that wait for one.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

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

/// The stage that a runner has got to, and the waits of threads outside for another, or for the runner to be idle.
pub(super) struct Stages {
    now: AtomicU8,
    grace: Duration,
    grace_ends: OnceLock<Instant>,
    /// Also held to announce another stage: a thread that has just looked at it waits already.
    idle: Mutex<Idle>,
    changed: Condvar,
}

/// Whether somebody waits for the runner to be idle.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Idle {
    Unwanted,
    Wanted,
    Reached,
}

impl Stages {
    /// Begins to work. The stage of draining will last for `grace` at most.
    pub(super) fn new(grace: Duration) -> Self {
        Self {
            now: AtomicU8::new(Stage::Working as u8),
            grace,
            grace_ends: OnceLock::new(),
            idle: Mutex::new(Idle::Unwanted),
            changed: Condvar::new(),
        }
    }

    /// Returns the stage.
    pub(super) fn now(&self) -> Stage {
        match self.now.load(Ordering::Acquire) {
            0 => Stage::Working,
            1 => Stage::Draining,
            2 => Stage::Killing,
            _ => Stage::Stopped,
        }
    }

    /// Whether the runner was asked to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.now() != Stage::Working
    }

    /// Returns the moment at which the grace time is over, once draining has begun.
    pub(super) fn grace_ends(&self) -> Option<Instant> {
        self.grace_ends.get().copied()
    }

    /// Moves on to `stage`, if the runner has not got there already.
    pub(super) fn advance(&self, stage: Stage) {
        self.now.fetch_max(stage as u8, Ordering::AcqRel);
        if stage != Stage::Working {
            self.grace_ends.get_or_init(|| Instant::now() + self.grace);
        }
        drop(self.idle.lock());
        self.changed.notify_all();
    }

    /// Whether a thread waits for the runner to be idle.
    pub(super) fn is_idle_wanted(&self) -> bool {
        *self.idle.lock() == Idle::Wanted
    }

    /// Tells the waiting threads that the runner is idle.
    pub(super) fn announce_idle(&self) {
        *self.idle.lock() = Idle::Reached;
        self.changed.notify_all();
    }

    /// Waits until the runner is idle, or stops; `ask` has the ledger look whether it is.
    pub(super) fn wait_idle(&self, ask: impl FnOnce()) {
        *self.idle.lock() = Idle::Wanted;
        ask();
        let mut idle = self.idle.lock();
        self.changed.wait_while(&mut idle, |idle| *idle == Idle::Wanted && !self.is_stopping());
    }

    /// Waits until the runner stops.
    pub(super) fn wait_stopping(&self) {
        self.changed.wait_while(&mut self.idle.lock(), |_| !self.is_stopping());
    }
}
