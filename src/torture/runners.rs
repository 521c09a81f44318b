//! The runner processes: started, stopped, continued and killed here, and never
//! left behind.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use serde_json::Value;

use super::site::{Place, Site};
use super::witness::{Line, Tail, Told};
use crate::model::{Clock, UnixMicros};

/// The line that a runner logs when it begins to claim.
const STARTED: &str = "the runner has started";

/// A runner that is told to stop takes at most its grace time and a second; and
/// as long again as a stopped neighbour may hold the lock of an embedded store.
const DRAIN_PATIENCE: Duration = Duration::from_secs(20);

/// The pause after a runner that found no store, before the next is started.
const NO_STORE_PAUSE: Duration = Duration::from_millis(300);

/// The end of a runner process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was killed.
    Killed,
    /// It was told to stop and ended with this code.
    Drained(i32),
    /// It was to end when nothing was left, and ended with this code.
    Idle(i32),
    /// It found no store that it could use when it started, and said so.
    NoStore,
    /// It ended although nobody had told it to: how.
    ByItself(String),
    /// It was told to stop, and did not.
    Hung,
}

/// The record of a runner process that has ended.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its number, from 0, in the order of starts.
    pub process: usize,
    /// The times for which it was stopped.
    pub stops: Vec<(UnixMicros, UnixMicros)>,
    pub fate: Fate,
    /// The most guests that it ran at once, if it lived to say so.
    pub peak_running: Option<u64>,
}

/// Parts the lines that can be read from those that can't.
pub fn sort_lines(all: Vec<Result<Line, String>>) -> (Vec<Line>, Vec<String>) {
    let (lines, unreadable): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    (lines.into_iter().flatten().collect(), unreadable.into_iter().filter_map(Result::err).collect())
}

/// Names the working directory of a process.
fn name(number: usize) -> String {
    format!("runner-{number}")
}

/// The state of a process.
#[derive(Debug)]
enum State {
    Working,
    Stopped { since: UnixMicros },
    Draining { since: Instant },
}

#[derive(Debug)]
struct Process {
    number: usize,
    child: Child,
    place: Place,
    state: State,
    is_until_idle: bool,
    has_started: bool,
    stops: Vec<(UnixMicros, UnixMicros)>,
    tail: Tail,
    /// The exit code of a runner that finds no store.
    no_store: i32,
}

/// The runner processes. They are killed when this is dropped.
pub struct Runners<'a> {
    site: &'a Site,
    clock: &'a dyn Clock,
    /// The store's URL.
    url: String,
    /// The exit code of a runner that finds no store.
    no_store: i32,
    program: PathBuf,
    processes: Vec<Process>,
    records: Vec<Record>,
    next: usize,
    /// When one last found no store.
    no_store_at: Option<Instant>,
}

impl<'a> Runners<'a> {
    /// Begins with no process.
    pub fn new(site: &'a Site, clock: &'a dyn Clock, url: String, no_store: i32) -> io::Result<Self> {
        Ok(Self {
            site,
            clock,
            url,
            no_store,
            program: std::env::current_exe()?,
            processes: Vec::new(),
            records: Vec::new(),
            next: 0,
            no_store_at: None,
        })
    }

    /// Starts one more. The system kills it when the thread that calls this
    /// ends, however it ends.
    pub fn start(&mut self, is_until_idle: bool) -> io::Result<()> {
        let number = self.next;
        self.next += 1;
        let place = self.site.place(&name(number))?;
        let mut command = Command::new(&self.program);
        command.args(["start", "--json", "--config"]).arg(&place.config);
        if is_until_idle {
            command.arg("--until-idle");
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WASM_RUNNER_") {
                command.env_remove(&name);
            }
        }
        command
            .current_dir(&place.directory)
            // Not as an argument, which every user of the machine could read:
            // there may be a password in it.
            .env("WASM_RUNNER_STORE", &self.url)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(File::create(&place.stdout)?)
            .stderr(File::create(&place.stderr)?)
            // Ctrl-C is for us, and we decide what becomes of them.
            .process_group(0);
        let parent = rustix::process::getpid();
        // SAFETY: between fork and exec only system calls are made; nothing is
        // allocated, no lock is taken.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                // The parent may have died before that.
                if getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
            });
        }
        let child = command.spawn()?;
        let tail = Tail::new(number, &place.witness);
        self.processes.push(Process {
            number,
            child,
            place,
            state: State::Working,
            is_until_idle,
            has_started: false,
            stops: Vec::new(),
            tail,
            no_store: self.no_store,
        });
        Ok(())
    }

    /// Counts the processes that have to be started now, so that `wanted` work or will when
    /// they are continued.
    pub fn missing(&self, wanted: usize) -> usize {
        let working =
            self.processes.iter().filter(|process| !matches!(process.state, State::Draining { .. }));
        if self.has_rested() { wanted.saturating_sub(working.count()) } else { 0 }
    }

    /// Tells whether there may be a store again for those that found none.
    fn has_rested(&self) -> bool {
        self.no_store_at.is_none_or(|at| at.elapsed() > NO_STORE_PAUSE)
    }

    /// Counts the processes that have ended because nothing was left.
    pub fn idle(&self) -> usize {
        self.records.iter().filter(|record| matches!(record.fate, Fate::Idle(_))).count()
    }

    /// Tells all of them to finish what they run and to end. Those that own
    /// nothing yet are killed.
    pub fn retire(&mut self) {
        for number in self.stopped() {
            self.go_on(number);
        }
        for number in self.working() {
            self.drain(number);
        }
        // A process that works and does not drain now has never begun to drain.
        let idle = self.processes.iter().filter(|process| matches!(process.state, State::Working));
        for number in idle.map(|process| process.number).collect::<Vec<_>>() {
            self.kill(number);
        }
    }

    /// Lists the numbers of those that claim work now.
    pub fn working(&mut self) -> Vec<usize> {
        let at_work = self.processes.iter_mut().filter_map(|process| {
            (matches!(process.state, State::Working) && process.has_started()).then_some(process.number)
        });
        at_work.collect()
    }

    /// Lists the numbers of those that are stopped.
    pub fn stopped(&self) -> Vec<usize> {
        let stopped = self.processes.iter().filter(|process| matches!(process.state, State::Stopped { .. }));
        stopped.map(|process| process.number).collect()
    }

    /// Kills one and waits for its end; returns whether it was still there to be killed.
    pub fn kill(&mut self, number: usize) -> bool {
        let Some(index) = self.processes.iter().position(|process| process.number == number) else {
            return false;
        };
        let process = self.processes.swap_remove(index);
        let (record, was_killed) = process.kill(self.clock.now(), Fate::Killed);
        self.records.push(record);
        was_killed
    }

    /// Stops one as a debugger would, or a machine that is suspended.
    pub fn stop(&mut self, number: usize) {
        let now = self.clock.now();
        if let Some(process) = self.find(number)
            && matches!(process.state, State::Working)
            && process.signal(Signal::STOP)
        {
            process.state = State::Stopped { since: now };
        }
    }

    /// Lets a stopped one go on.
    pub fn go_on(&mut self, number: usize) {
        let now = self.clock.now();
        if let Some(process) = self.find(number)
            && let State::Stopped { since } = process.state
        {
            process.signal(Signal::CONT);
            process.stops.push((since, now));
            process.state = State::Working;
        }
    }

    /// Tells one to finish what it runs and to end.
    pub fn drain(&mut self, number: usize) {
        if let Some(process) = self.find(number)
            && matches!(process.state, State::Working)
            && process.signal(Signal::TERM)
        {
            process.state = State::Draining { since: Instant::now() };
        }
    }

    fn find(&mut self, number: usize) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.number == number)
    }

    /// Takes note of those that have ended, and kills those that hang.
    pub fn reap(&mut self) -> io::Result<()> {
        let mut index = 0;
        while let Some(process) = self.processes.get_mut(index) {
            let fate = match (process.child.try_wait()?, &process.state) {
                (Some(status), _) => process.fate(status),
                (None, State::Draining { since }) if since.elapsed() > DRAIN_PATIENCE => Fate::Hung,
                (None, _) => {
                    index += 1;
                    continue;
                }
            };
            if fate == Fate::NoStore {
                self.no_store_at = Some(Instant::now());
            }
            let process = self.processes.swap_remove(index);
            let (record, _) = process.kill(self.clock.now(), fate);
            self.records.push(record);
        }
        Ok(())
    }

    /// The numbers of those in which a task has started that wants its runner
    /// dead.
    pub fn poisoned(&mut self, task: &str) -> io::Result<Vec<usize>> {
        let mut poisoned = Vec::new();
        for process in &mut self.processes {
            let lines = process.tail.read()?;
            let starts = |line: &Line| matches!(&line.told, Told::Start(function) if function == task);
            if lines.iter().flatten().any(starts) {
                poisoned.push(process.number);
            }
        }
        Ok(poisoned)
    }

    /// Everything that the guests of all processes wrote, and what of it is no
    /// line.
    pub fn lines(&self) -> io::Result<(Vec<Line>, Vec<String>)> {
        let mut all = Vec::new();
        for number in 0..self.next {
            let witness = self.site.directory().join(name(number)).join("witness");
            all.extend(Tail::new(number, &witness).read()?);
        }
        Ok(sort_lines(all))
    }

    /// Kills those that are left; what is known of each that there ever was.
    pub fn end(&mut self) -> Vec<Record> {
        for process in std::mem::take(&mut self.processes) {
            let (record, _) = process.kill(self.clock.now(), Fate::Killed);
            self.records.push(record);
        }
        std::mem::take(&mut self.records)
    }
}

impl Drop for Runners<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

impl Process {
    /// Tells whether it has begun to claim.
    fn has_started(&mut self) -> bool {
        if !self.has_started {
            self.has_started =
                fs::read_to_string(&self.place.stderr).is_ok_and(|text| text.contains(STARTED));
        }
        self.has_started
    }

    /// It was not waited for yet, so its id is still its own. `false` if it has
    /// ended meanwhile.
    fn signal(&self, signal: Signal) -> bool {
        kill_process(Pid::from_child(&self.child), signal).is_ok()
    }

    /// Tells how it ended, if nobody killed it.
    fn fate(&mut self, status: ExitStatus) -> Fate {
        let has_started = self.has_started();
        match (status.code(), &self.state) {
            // Whoever is in charge of a runner starts it again; one that works
            // has to bear it.
            (Some(code), _) if code == self.no_store && !has_started => Fate::NoStore,
            (Some(code), State::Draining { .. }) => Fate::Drained(code),
            (Some(code), _) if self.is_until_idle => Fate::Idle(code),
            _ => {
                let last = fs::read_to_string(&self.place.stderr).unwrap_or_default();
                let last = last.lines().last().unwrap_or_default();
                Fate::ByItself(format!("{status}, after saying `{last}`"))
            }
        }
    }

    /// Ends it, if it has not ended, and waits for that; returns whether it was killed.
    fn kill(mut self, now: UnixMicros, fate: Fate) -> (Record, bool) {
        // One that has ended and was waited for is not killed again.
        let _ = self.child.kill();
        let status = self.child.wait();
        let was_killed = matches!(&status, Ok(status) if status.code().is_none());
        if let State::Stopped { since } = self.state {
            self.stops.push((since, now));
        }
        let fate = match status {
            // It was faster than the one who wanted to kill it.
            Ok(status) if fate == Fate::Killed && !was_killed => self.fate(status),
            _ => fate,
        };
        let summary = fs::read_to_string(&self.place.stdout).unwrap_or_default();
        let summary: Option<Value> = serde_json::from_str(&summary).ok();
        let record = Record {
            process: self.number,
            stops: self.stops,
            fate,
            peak_running: summary.and_then(|summary| summary["peak_running"].as_u64()),
        };
        (record, was_killed)
    }
}
