//! The chaos: kills, stops and replaces runner processes.

use std::io;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde::Serialize;

use super::kind::Kind;
use super::random::Random;
use super::runners::Runners;
use super::site::Setting;

/// Ends of processes and poisonous tasks are looked for this often. Nothing hangs
/// on it but how soon they are noticed.
pub const LOOK: Duration = Duration::from_millis(10);

/// The counts of everything that was done to the runners, as the report has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// The processes that were started.
    pub runner_processes: u64,
    pub kills: u64,
    /// The kills at a moment that chance chose.
    pub kills_by_chance: u64,
    /// The kills because a poisonous task had started.
    pub kills_for_poison: u64,
    /// The stops for longer than a lease.
    pub long_stops: u64,
    /// The stops that ended within a lease.
    pub short_stops: u64,
    /// The runners that were told to finish, and replaced.
    pub drains: u64,
    /// The runners that were told to give back everything at once, and replaced.
    pub given_back: u64,
}

/// Kills, stops and replaces runners.
pub struct Chaos<'c, 'a> {
    runners: &'c mut Runners<'a>,
    random: Random,
    setting: &'c Setting,
    done: Done,
    interrupted: &'c Receiver<()>,
    /// The stopped runners, with the moment at which they go on.
    stopped: Vec<(usize, Instant)>,
}

/// The way in which an ordeal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Regularly,
    /// Because the user wanted it.
    Interrupted,
}

/// The treatment of the runners.
pub trait Ordeal {
    /// Treats the runners for so long.
    fn run(&mut self, duration: Duration) -> io::Result<Ended>;

    /// Lets everything that is left come to its end, with fresh runners. Returns whether it
    /// did, in time.
    fn settle(&mut self, patience: Duration) -> io::Result<(Ended, bool)>;

    /// Returns the counts so far.
    fn done(&self) -> Done;
}

impl<'c, 'a> Chaos<'c, 'a> {
    /// Begins; nothing has happened yet.
    pub fn new(
        runners: &'c mut Runners<'a>,
        random: Random,
        setting: &'c Setting,
        interrupted: &'c Receiver<()>,
    ) -> Self {
        Self { runners, random, setting, done: Done::default(), interrupted, stopped: Vec::new() }
    }

    fn start(&mut self, is_until_idle: bool) -> io::Result<()> {
        self.done.runner_processes += 1;
        self.runners.start(is_until_idle)
    }

    fn kill_poisoned(&mut self) -> io::Result<()> {
        for number in self.runners.poisoned(Kind::Poison.name())? {
            let was_killed = u64::from(self.runners.kill(number));
            self.done.kills_for_poison += was_killed;
            self.done.kills += was_killed;
        }
        Ok(())
    }

    /// Kills one that works, rarely one that is stopped: most of those are to go
    /// on as if nothing had happened, and to find that something has.
    fn kill_one(&mut self) -> bool {
        let candidates = match self.random.chance(5) {
            true => self.runners.stopped(),
            false => self.runners.working(),
        };
        let Some(number) = self.random.choose(&candidates) else { return false };
        let was_killed = self.runners.kill(number);
        self.done.kills_by_chance += u64::from(was_killed);
        self.done.kills += u64::from(was_killed);
        was_killed
    }

    fn stop_one(&mut self) -> bool {
        let working = self.runners.working();
        // One at least goes on, or nobody could take over.
        if self.stopped.len() + 1 >= self.setting.runners && self.setting.runners > 1 {
            return false;
        }
        let Some(number) = self.random.choose(&working) else { return false };
        let lease = self.setting.lease;
        let (count, percent) = match self.random.chance(70) {
            true => (&mut self.done.long_stops, self.random.within(120..=220)),
            false => (&mut self.done.short_stops, self.random.within(10..=80)),
        };
        *count += 1;
        self.runners.stop(number);
        self.stopped.push((number, Instant::now() + lease.mul_f64(percent as f64 / 100.0)));
        true
    }

    fn let_go_on(&mut self) {
        let now = Instant::now();
        let runners = &mut *self.runners;
        self.stopped.retain(|(number, until)| {
            if *until <= now {
                runners.go_on(*number);
            }
            *until > now
        });
    }

    fn drain_one(&mut self) -> bool {
        let working = self.runners.working();
        let Some(number) = self.random.choose(&working) else { return false };
        self.runners.drain(number);
        self.done.drains += 1;
        true
    }
}

impl Ordeal for Chaos<'_, '_> {
    fn run(&mut self, duration: Duration) -> io::Result<Ended> {
        let began = Instant::now();
        let kill_every = self.setting.kill_every;
        // A kill is what this is about; the others come in between.
        let (stop_every, drain_every) = (kill_every * 6, kill_every * 8);
        let mut next_kill = began + self.random.pause(kill_every);
        let mut next_stop = began + self.random.pause(stop_every);
        let mut next_drain = began + self.random.pause(drain_every);
        while began.elapsed() < duration {
            self.runners.reap()?;
            for _ in 0..self.runners.missing(self.setting.runners) {
                self.start(false)?;
            }
            self.kill_poisoned()?;
            self.let_go_on();
            let now = Instant::now();
            // What finds no victim is tried again with the next look.
            if next_kill <= now && self.kill_one() {
                next_kill = now + self.random.pause(kill_every);
            }
            if next_stop <= now && self.stop_one() {
                next_stop = now + self.random.pause(stop_every);
            }
            if next_drain <= now && self.drain_one() {
                next_drain = now + self.random.pause(drain_every);
            }
            if self.interrupted.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                return Ok(Ended::Interrupted);
            }
        }
        Ok(Ended::Regularly)
    }

    /// Poisonous tasks still need their runners killed.
    fn settle(&mut self, patience: Duration) -> io::Result<(Ended, bool)> {
        self.stopped.clear();
        self.runners.retire();
        let began = Instant::now();
        let mut have_ended = 0;
        while have_ended < self.setting.runners {
            // Those that ended because nothing is left are not replaced; those
            // that were killed are. The first to end sees that all is done.
            self.runners.reap()?;
            self.kill_poisoned()?;
            have_ended = self.runners.idle();
            for _ in 0..self.runners.missing(self.setting.runners.saturating_sub(have_ended)) {
                self.start(true)?;
            }
            if began.elapsed() > patience {
                return Ok((Ended::Regularly, false));
            }
            if self.interrupted.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                return Ok((Ended::Interrupted, false));
            }
        }
        Ok((Ended::Regularly, true))
    }

    fn done(&self) -> Done {
        self.done
    }
}
