//! Short runs of the whole thing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::cli::{Output, Sandbox};
use crate::support::database::shared;

/// The number of a thing that was done.
#[track_caller]
fn did(report: &Value, what: &str) -> u64 {
    report["did"][what].as_u64().unwrap_or_else(|| panic!("no `{what}` in {report}"))
}

/// The working directories that runs have left behind.
fn left_behind(sandbox: &Sandbox) -> Vec<String> {
    let entries = std::fs::read_dir(sandbox.path().join("tmp")).expect("a directory");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("tmp")).expect("a directory is created");
    sandbox
}

#[track_caller]
fn torture(sandbox: &Sandbox, flags: &[&str]) -> Output {
    let command = sandbox.command(["torture"].iter().chain(flags));
    command.env("TMPDIR", sandbox.path().join("tmp")).run()
}

/// Reads the lines that guests have written down so far.
#[derive(Debug, Default)]
struct Seen {
    /// Runner processes, and the one that torture is itself.
    runners: usize,
    /// Invocations that have started.
    invocations: usize,
    /// Attempts that have started again: they were given back before.
    given_back: usize,
}

fn seen(sandbox: &Sandbox) -> Seen {
    let mut seen = Seen::default();
    let mut starts: HashMap<String, HashMap<String, usize>> = HashMap::new();
    let tmp = std::fs::read_dir(sandbox.path().join("tmp")).expect("a directory");
    for site in tmp.map(|entry| entry.expect("an entry").path()) {
        // It may be gone by now: then the run ended early, which is told later.
        let places = std::fs::read_dir(site).into_iter().flatten().flatten();
        for log in places.filter_map(|place| std::fs::read_to_string(place.path().join("witness/log")).ok()) {
            seen.runners += 1;
            for line in log.lines() {
                let words: Vec<_> = line.split(' ').collect();
                if let ["start", id, attempt, ..] = *words {
                    *starts.entry(id.to_owned()).or_default().entry(attempt.to_owned()).or_default() += 1;
                }
            }
        }
    }
    seen.invocations = starts.len();
    seen.given_back = starts.values().flat_map(HashMap::values).map(|count| count - 1).sum();
    seen
}

/// The report of a run that goes on until enough was seen, however long that takes on a
/// machine that is busy.
#[track_caller]
fn torture_until(sandbox: &Sandbox, flags: &[&str], is_enough: impl Fn(&Seen) -> bool) -> Output {
    const PATIENCE: Duration = Duration::from_secs(300);
    let flags = ["torture", "--duration", "1h", "--json"].iter().chain(flags);
    let command = sandbox.command(flags).env("TMPDIR", sandbox.path().join("tmp"));
    let mut running = command.patience(PATIENCE).spawn();
    let seed = running.wait_for_stderr("seed ");
    let began = Instant::now();
    loop {
        let seen = seen(sandbox);
        if is_enough(&seen) {
            break;
        }
        assert!(began.elapsed() < PATIENCE / 2, "{seed}: only {seen:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    running.signal(Signal::INT);
    running.wait().expect(0)
}

/// Some thirty runners die, on a store of its own or on this one.
#[track_caller]
fn nothing_is_lost(store: Option<&str>) {
    let sandbox = sandbox();
    let mut flags = vec!["--lease", "1s", "--kill-every", "300ms"];
    flags.extend(store.iter().flat_map(|url| ["--store", url]));
    let output = torture_until(&sandbox, &flags, |seen| seen.runners > 35 && seen.invocations > 200);
    let report = output.json();
    println!("{}", report["did"]);
    assert!(output.stderr.starts_with(&format!("seed {} ", report["seed"])), "{}", output.stderr);
    assert_eq!(report["ok"], true, "{report}");
    assert!(did(&report, "kills_by_chance") >= 10, "{report}");
    assert!(did(&report, "long_stops") + did(&report, "drains") > 0, "{report}");
    assert!(did(&report, "submitted") > 0, "{report}");
    assert!(did(&report, "attempts_lost") > 0, "{report}");
    let findings = report["held"].as_array().expect("findings");
    assert_eq!(findings.len(), 15, "{report}");
    for finding in findings {
        assert_eq!(finding["violated"], 0, "{finding}");
    }
    for looked_at in ["submits", "witness", "attempts", "leases", "starts", "parents", "slots"] {
        let finding = findings.iter().find(|finding| finding["check"] == looked_at).expect("a check");
        assert_ne!(finding["checked"], 0, "{finding}");
    }
    assert_eq!(left_behind(&sandbox), [""; 0], "the working directory is removed");
}

#[test]
fn runners_that_are_killed_lose_nothing() {
    nothing_is_lost(None);
}

#[test]
fn runners_that_are_killed_lose_nothing_in_postgresql() {
    nothing_is_lost(Some(&shared().url()));
}

/// Its runners are in the same process: they are stopped, not killed.
#[test]
fn runners_of_a_store_in_memory_are_stopped_and_lose_nothing() {
    let sandbox = sandbox();
    let flags = ["--store", "memory:", "--kill-every", "50ms"];
    let is_enough = |seen: &Seen| seen.given_back >= 5 && seen.invocations >= 100;
    let report = torture_until(&sandbox, &flags, is_enough).json();
    println!("{}", report["did"]);
    assert_eq!((&report["ok"], &report["did"]["kills"]), (&true.into(), &0.into()), "{report}");
    assert!(did(&report, "drains") + did(&report, "given_back") > 0, "{report}");
    assert!(did(&report, "attempts_released") >= 5, "{report}");
    assert!(did(&report, "invocations") >= 100, "{report}");
    assert_eq!(left_behind(&sandbox), [""; 0], "the working directory is removed");
}

#[test]
fn a_store_that_is_in_use_is_left_as_it_was() {
    let sandbox = sandbox();
    let component = format!("torture={}", crate::support::guests::guest("torture").display());
    let store = ["--store", "sqlite:state.db", "--component", &component];
    let id = sandbox.run(["submit", "leaf", "[0,0]", "--delay", "1h"].iter().chain(&store)).expect(0);
    // What an earlier run left behind, and a stranger's task with a similar name.
    let earlier = format!("torture-1-2={}", crate::support::guests::guest("torture").display());
    let flags = ["--store", "sqlite:state.db", "--component", &earlier];
    let leftover = sandbox.run(["submit", "leaf", "[0,0]", "--delay", "1h"].iter().chain(&flags)).expect(0);
    let flags = ["--duration", "1s", "--lease", "1s", "--store", "sqlite:state.db", "--clean", "--seed", "5"];
    let output = torture(&sandbox, &flags).expect(0);
    assert!(output.stderr.contains("1 left over from earlier runs cancelled"), "{}", output.stderr);
    let status = |id: &Output| {
        let output = sandbox.run(["status", id.stdout().trim(), "--json", "--store", "sqlite:state.db"]);
        output.expect(0).json()["status"].clone()
    };
    assert_eq!(status(&id), "queued");
    assert_eq!(status(&leftover), "cancelled");
    // What the run itself submitted stays, to be looked at.
    let list = sandbox.run(["list", "--limit", "0", "--json", "--store", "sqlite:state.db"]).expect(0);
    let tasks = list.json_lines();
    assert!(tasks.iter().any(|task| task["task"].as_str().is_some_and(|id| id.starts_with("torture-5-"))));
}

#[test]
fn an_interrupt_ends_the_chaos_and_checks_and_a_second_one_ends_everything() {
    let sandbox = sandbox();
    let tmp = sandbox.path().join("tmp");
    let start = |flags: &[&str]| {
        let mut running =
            sandbox.command(["torture", "--lease", "1s"].iter().chain(flags)).env("TMPDIR", &tmp).spawn();
        running.wait_for_stderr("seed");
        // Until it has begun to do something.
        let running_since = Instant::now();
        while processes_below(running.pid()).is_empty() {
            assert!(running_since.elapsed() < Duration::from_secs(30), "no runner was started");
            std::thread::yield_now();
        }
        running
    };
    let running = start(&["--duration", "1h", "--json"]);
    running.signal(Signal::INT);
    let report = running.wait().expect(0).json();
    assert_eq!((&report["ok"], &report["did"]["settled"]), (&true.into(), &true.into()), "{report}");

    let mut running = start(&["--duration", "1h", "--keep"]);
    let runners = processes_below(running.pid());
    running.signal(Signal::INT);
    running.wait_for_stderr("the chaos ends early");
    running.signal(Signal::INT);
    let output = running.wait().expect(75);
    assert!(output.stderr.contains("interrupted before anything was checked"), "{}", output.stderr);
    assert_eq!(left_behind(&sandbox).len(), 1, "the working directory is kept");
    assert!(runners.iter().all(|pid| !exists(*pid)), "no runner is left: {runners:?}");
}

#[test]
fn runners_do_not_outlive_a_torture_that_is_killed() {
    let sandbox = sandbox();
    let command = sandbox.command(["torture", "--duration", "1h"]).env("TMPDIR", sandbox.path().join("tmp"));
    let running = command.spawn();
    let deadline = Instant::now() + Duration::from_secs(30);
    let runners = loop {
        let runners = processes_below(running.pid());
        if runners.len() == 3 {
            break runners;
        }
        assert!(Instant::now() < deadline, "no runners were started");
        std::thread::yield_now();
    };
    running.signal(Signal::KILL);
    running.wait();
    let deadline = Instant::now() + Duration::from_secs(30);
    while runners.iter().any(|pid| exists(*pid)) {
        assert!(Instant::now() < deadline, "runners are left: {runners:?}");
        std::thread::yield_now();
    }
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let sandbox = sandbox();
    for (flags, said) in [
        (["--lease", "900ms"], "too short"),
        (["--slots", "0"], "`--slots` can't be `0`"),
        (["--runners", "0"], "`--runners` can't be `0`"),
        (["--kill-every", "0"], "`--kill-every` can't be"),
        (["--store", "redis://x"], "unknown store"),
    ] {
        let output = torture(&sandbox, &flags).expect(2);
        assert!(output.stderr.contains(said), "{}", output.stderr);
    }
    assert_eq!(left_behind(&sandbox), [""; 0]);
}

/// The processes that this one has started and that have not ended. Its compilers
/// are none of them: they come and go before it does anything.
fn processes_below(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("Linux").filter_map(|entry| entry.ok());
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // Not who compiles, and not what was forked a moment ago and is still called as its
    // parent is.
    let is_runner = |pid: &u32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|argument| argument == b"start")
    };
    pids.filter(|pid| state_and_parent(*pid).is_some_and(|(state, of)| of == parent && state != 'Z'))
        .filter(is_runner)
        .collect()
}

/// Tells whether a process runs; one that has ended and waits to be reaped does not.
fn exists(pid: u32) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| state != 'Z')
}

fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may have anything in it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
