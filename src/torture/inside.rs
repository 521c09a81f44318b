//! Runners in this process, for a store in memory, which ends with its process. They
//! can't be killed; they are told to stop, kindly or not, in the middle of
//! everything, and the next one goes on. There is one at a time: a store in memory
//! has nobody to tell of commits but who makes them.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;

use super::StartRunner;
use super::chaos::{Done, Ended, LOOK, Ordeal};
use super::random::Random;
use super::runners::{Fate, Record};
use super::site::GRACE;
use crate::runner::{Runner, RunnerHandle};
use crate::store::{Store, StoreError};

/// A stop takes the grace time and a second; a busy machine may take longer.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The runner that is told of each submit.
pub type Told = Arc<Mutex<Option<RunnerHandle>>>;

/// Stops and replaces a runner of this process.
pub struct Inside<'a> {
    pub start: &'a StartRunner<'a>,
    pub store: Arc<dyn Store>,
    pub random: Random,
    /// The mean pause between two stops.
    pub stop_every: Duration,
    pub interrupted: &'a Receiver<()>,
    /// The runner that works now.
    pub told: Told,
    pub done: Done,
    /// The ends of those that were stopped.
    pub records: Vec<Record>,
}

impl Inside<'_> {
    fn start(&mut self) -> io::Result<Runner> {
        let runner = (self.start)()?;
        *self.told.lock() = Some(runner.handle());
        self.done.runner_processes += 1;
        Ok(runner)
    }

    fn stop(&mut self, runner: Runner, is_kind: bool) {
        let began = Instant::now();
        if !is_kind {
            runner.handle().kill();
        }
        let gauge = runner.stop();
        let is_in_time = began.elapsed() < GRACE + STOP_PATIENCE && gauge.live == 0;
        self.records.push(Record {
            process: 0,
            stops: Vec::new(),
            fate: if is_in_time { Fate::Drained(0) } else { Fate::Hung },
            peak_running: u64::try_from(gauge.peak_running).ok(),
        });
    }

    /// Waits; returns whether the user has interrupted that.
    fn is_interrupted(&self, pause: Duration) -> bool {
        self.interrupted.recv_timeout(pause) != Err(RecvTimeoutError::Timeout)
    }
}

impl Ordeal for Inside<'_> {
    fn run(&mut self, duration: Duration) -> io::Result<Ended> {
        let began = Instant::now();
        while began.elapsed() < duration {
            let runner = self.start()?;
            let left = duration.saturating_sub(began.elapsed());
            let pause = self.random.pause(self.stop_every).min(left);
            let is_interrupted = self.is_interrupted(pause);
            let is_kind = self.random.chance(50);
            self.stop(runner, is_kind);
            match is_kind {
                true => self.done.drains += 1,
                false => self.done.given_back += 1,
            }
            if is_interrupted {
                return Ok(Ended::Interrupted);
            }
        }
        Ok(Ended::Regularly)
    }

    fn settle(&mut self, patience: Duration) -> io::Result<(Ended, bool)> {
        let runner = self.start()?;
        let began = Instant::now();
        let unfinished = |store: &dyn Store| -> Result<u64, StoreError> {
            Ok(store.unfinished_by_task()?.iter().map(|(_, count)| count).sum())
        };
        let ended = loop {
            if unfinished(&*self.store).map_err(io::Error::other)? == 0 {
                break (Ended::Regularly, true);
            }
            if began.elapsed() > patience {
                break (Ended::Regularly, false);
            }
            if self.is_interrupted(LOOK) {
                break (Ended::Interrupted, false);
            }
        };
        self.stop(runner, true);
        Ok(ended)
    }

    fn done(&self) -> Done {
        self.done
    }
}
