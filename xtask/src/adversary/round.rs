//! One round: a runner on an empty store, cases, and a neighbour beside them.

use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::finding::{Finding, Kind};
use super::generate::{Case, RUN};
use super::kernel::{Resources, processor, resources};
use super::site::{GRACE, Grants, Runner, SCRATCH, Site};

/// The pause between two calls of the neighbour.
const PACE: Duration = Duration::from_millis(100);
/// The cases that are submitted at once, and the pause before the next ones: four slots are always in use.
const AT_ONCE: usize = 4;
const PACE_OF_CASES: Duration = Duration::from_millis(200);
/// A neighbour's call may take this long. Alone it takes 30 to 60 ms; it may have to wait for a slot
/// for as long as a case may run.
const SLOW: Duration = Duration::from_millis(2_500);
/// On a machine that is busy with something else, it may take so many times what it takes without cases.
const MOST_OF_CALM: u32 = 20;
/// A runner that used less of a processor than this, while a call was waiting, had nothing to do.
const IDLE_SHARE: f64 = 0.5;
const PACE_OF_WATCHER: Duration = Duration::from_millis(10);
const PACE_OF_SCRATCH: Duration = Duration::from_secs(1);
/// Guests, the reactor, the store, and threads that read files.
const MOST_THREADS: u64 = 1_000;
/// `max-live` guests, with what they may open.
const MOST_DESCRIPTORS: u64 = 20_000;
/// The bytes that a store may have whatever is in it, and beyond that for each invocation: arguments, a result and logs
/// of 64 KiB each, labels, and a thousand rows of history.
const ROOM_OF_STORE: u64 = 64 << 20;
const MOST_OF_INVOCATION: u64 = 512 << 10;
/// The time that a runner has to stop, beyond the grace of its guests.
const TIME_TO_STOP: Duration = Duration::from_secs(5);

/// The observations of a round.
#[derive(Default)]
pub struct Seen {
    pub finding: Option<Finding>,
    /// The cases that were submitted, until something was found.
    pub cases: Vec<Case>,
    /// The moment of the finding, from the first case on.
    pub after: Duration,
    /// The most of everything.
    pub most: Resources,
    /// The neighbour's calls.
    pub calls: usize,
    pub slowest_call: Duration,
    pub store_bytes: u64,
}

/// The state that the threads of a round share.
struct Shared<'s> {
    site: &'s Site,
    pid: u32,
    /// The time that a neighbour's call may take.
    slow: Duration,
    began: Instant,
    is_over: AtomicBool,
    finding: Mutex<Option<(Finding, Duration)>>,
}

impl Shared<'_> {
    /// Keeps the first finding, and ends the round.
    fn found(&self, finding: Finding) {
        self.finding.lock().expect("nobody panics with it").get_or_insert((finding, self.began.elapsed()));
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Waits, but not longer than the round.
    fn pause(&self, pace: Duration) {
        let began = Instant::now();
        while !self.is_over() && began.elapsed() < pace {
            thread::sleep(Duration::from_millis(5).min(pace));
        }
    }
}

/// Runs cases, a few at a time for as long as the round takes, in a runner that must stay below so much memory.
pub fn run(
    site: &Site,
    memory: u64,
    grants: Grants,
    time: Duration,
    cases: impl Iterator<Item = Case> + Send,
) -> Result<Seen> {
    let mut runner = site.start(grants)?;
    let slow = SLOW.max(calm_call(site)? * MOST_OF_CALM);
    let shared = Shared {
        site,
        pid: runner.pid(),
        slow,
        began: Instant::now(),
        is_over: AtomicBool::new(false),
        finding: Mutex::new(None),
    };
    let mut seen = Seen::default();
    thread::scope(|scope| {
        let neighbour = scope.spawn(|| call_in_a_loop(&shared));
        let scratch = scope.spawn(|| watch_scratch(&shared));
        let feeder = scope.spawn(|| feed(&shared, time, cases));
        seen.most = watch(&shared, &mut runner, memory, time)?;
        shared.is_over.store(true, Ordering::Relaxed);
        (seen.calls, seen.slowest_call) = neighbour.join().expect("the neighbour does not panic")?;
        scratch.join().expect("the watcher of scratch directories does not panic")?;
        seen.cases = feeder.join().expect("the feeder does not panic");
        anyhow::Ok(())
    })?;
    if let Some((finding, after)) = shared.finding.into_inner().expect("nobody panics with it") {
        (seen.finding, seen.after) = (Some(finding), after);
    } else {
        seen.after = shared.began.elapsed();
        seen.finding = stop(site, &mut runner)?;
    }
    seen.store_bytes = site.store_bytes();
    Ok(seen)
}

/// Measures the neighbour's call before there are cases: the quicker one of two.
fn calm_call(site: &Site) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..2 {
        let began = Instant::now();
        let output = site.command(&CALL).output()?;
        if let Some(wrong) = wrong(&output) {
            bail!("without any case, {wrong}");
        }
        best = best.min(began.elapsed());
    }
    Ok(best)
}

/// Submits cases until the round is over, and returns them.
fn feed(shared: &Shared, time: Duration, mut cases: impl Iterator<Item = Case>) -> Vec<Case> {
    let mut submitted = Vec::new();
    while !shared.is_over() && shared.began.elapsed() < time {
        let some: Vec<Case> = cases.by_ref().take(AT_ONCE).collect();
        if some.is_empty() {
            break;
        }
        let mut command = shared.site.command(&["submit", "--priority", "0", RUN]);
        command.args(some.iter().map(Case::arguments));
        submitted.extend(some);
        if let Err(error) = within(command, shared.slow * 2, shared) {
            shared.found(Finding::new(Kind::Slow, format!("a submit: {error:#}")));
        }
        shared.pause(PACE_OF_CASES);
    }
    submitted
}

/// Stops a runner that has borne everything.
fn stop(site: &Site, runner: &mut Runner) -> Result<Option<Finding>> {
    let patience = GRACE + TIME_TO_STOP;
    let Some(_) = runner.stop(patience)? else {
        return Ok(Some(Finding::new(Kind::Stuck, format!("it did not stop within {patience:?}"))));
    };
    let left = site.scratch();
    if !left.is_empty() {
        let message = format!("{} scratch directories are left after the stop", left.len());
        return Ok(Some(Finding::new(Kind::Scratch, message)));
    }
    let bytes = site.store_bytes();
    if bytes <= ROOM_OF_STORE {
        return Ok(None);
    }
    let output = site.command(&["list", "--json", "--limit", "10000000"]).output()?;
    let invocations = output.stdout.iter().filter(|&&byte| byte == b'\n').count() as u64;
    let most = ROOM_OF_STORE + invocations * MOST_OF_INVOCATION;
    Ok((bytes > most).then(|| {
        let message = format!("{} MiB of store for {invocations} invocations", bytes >> 20);
        Finding::new(Kind::Growth, message)
    }))
}

/// Watches a runner until the round is over, and returns the most that it had.
fn watch(shared: &Shared, runner: &mut Runner, memory: u64, time: Duration) -> Result<Resources> {
    let mut most = Resources::default();
    while !shared.is_over() && shared.began.elapsed() < time {
        if let Some(status) = runner.ended()? {
            shared.found(Finding::new(Kind::Died, format!("the runner ended by itself ({status})")));
            break;
        }
        if let Some(now) = resources(shared.pid) {
            most.memory = most.memory.max(now.memory);
            most.threads = most.threads.max(now.threads);
            most.descriptors = most.descriptors.max(now.descriptors);
        }
        if most.memory > memory {
            let message = format!("{} MiB, more than {} MiB", most.memory >> 20, memory >> 20);
            shared.found(Finding::new(Kind::Memory, message));
        }
        if most.threads > MOST_THREADS {
            shared.found(Finding::new(Kind::Threads, format!("{} threads", most.threads)));
        }
        if most.descriptors > MOST_DESCRIPTORS {
            shared.found(Finding::new(Kind::Descriptors, format!("{} descriptors", most.descriptors)));
        }
        for line in runner.said() {
            let kind = match () {
                () if line.contains("lease was lost") || line.contains("heard of the lease") => Kind::Lease,
                // The log's own lines begin with a time: one may say that a guest panicked.
                () if line.starts_with("thread '") && line.contains("panicked") => Kind::Panicked,
                () => continue,
            };
            shared.found(Finding::new(kind, line));
        }
        thread::sleep(PACE_OF_WATCHER);
    }
    Ok(most)
}

/// Looks into scratch directories until the round is over.
fn watch_scratch(shared: &Shared) -> Result<()> {
    while !shared.is_over() {
        if let Some((attempt, bytes)) = shared.site.fullest_scratch()?
            && bytes > SCRATCH
        {
            let message = format!("{bytes} bytes in `{}`, more than {SCRATCH}", attempt.display());
            shared.found(Finding::new(Kind::Scratch, message));
        }
        shared.pause(PACE_OF_SCRATCH);
    }
    Ok(())
}

/// The neighbour: a call of another component through the same store.
const CALL: [&str; 5] = ["submit", "--wait", "--json", "echo-u32", "[7]"];

/// Calls in a loop, and returns how many calls there were and how long the slowest one took.
fn call_in_a_loop(shared: &Shared) -> Result<(usize, Duration)> {
    let (mut calls, mut slowest) = (0, Duration::ZERO);
    while !shared.is_over() {
        let (began, used) = (Instant::now(), processor(shared.pid).unwrap_or_default());
        match within(shared.site.command(&CALL), shared.slow, shared) {
            Ok(Some(output)) => {
                slowest = slowest.max(began.elapsed());
                calls += 1;
                if let Some(wrong) = wrong(&output) {
                    shared.found(Finding::new(Kind::Innocent, wrong));
                }
            }
            // The round ended first.
            Ok(None) => {}
            Err(error) => {
                let used = processor(shared.pid).unwrap_or_default().saturating_sub(used);
                let share = used.as_secs_f64() / began.elapsed().as_secs_f64();
                let kind = if share < IDLE_SHARE { Kind::Starved } else { Kind::Slow };
                let message =
                    format!("a neighbour's call: {error:#}; the runner used {share:.2} of a processor");
                shared.found(Finding::new(kind, message));
            }
        }
        shared.pause(PACE);
    }
    Ok((calls, slowest))
}

/// Tells what is wrong with the answer to a neighbour's call.
fn wrong(output: &Output) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let status: Value =
        text.lines().next().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let is_right = output.status.success() && status["result"] == 7 && status["attempt"] == 1;
    (!is_right).then(|| {
        format!(
            "a neighbour's call ended with {}: {text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// Runs a command; `None` if the round ended first, an error if it takes longer than `patience`.
fn within(mut command: Command, patience: Duration, shared: &Shared) -> Result<Option<Output>> {
    let began = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    while child.try_wait()?.is_none() {
        let is_late = began.elapsed() > patience;
        if is_late || shared.is_over() {
            child.kill()?;
            child.wait()?;
            return match is_late {
                true => Err(anyhow::anyhow!("not done after {patience:?}")),
                false => Ok(None),
            };
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(Some(child.wait_with_output().context("failed to read what a command says")?))
}
