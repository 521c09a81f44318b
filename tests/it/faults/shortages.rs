//! A host that has too little of something: work waits for it, and nothing fails of it.

use std::time::Duration;

use run_wasm_runner::wasm::append_custom_section;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};

use crate::guests::setup::Setup;
use crate::support::cli::{Output, Running};
use crate::support::guests::guest;

const PATIENCE: Duration = Duration::from_secs(120);

/// The guests of this component need a descriptor each, for as long as they live.
const DIRECTORY: &str = "[[component.crowd.directory]]\nhost = \".\"\nguest = \"/here\"\n";

/// Submits so many invocations that park for some milliseconds.
#[track_caller]
fn submit_parking(setup: &Setup, count: usize, ms: u64) {
    let lines = format!("[{ms}]\n").repeat(count);
    setup.command(["submit", "park", "--batch", "-"]).stdin(lines).run().expect(0);
}

/// Runs everything under the limits of a shell script; returns the runner's summary, and what it logged.
#[track_caller]
fn run_all(setup: &Setup, limits: &str) -> (Value, String) {
    let script = format!(r#"{limits}; exec "$0" "$@""#);
    let args = ["start", "--until-idle", "--json", "--slots", "2"];
    let command = setup.command(args).through(&script).patience(PATIENCE);
    let output = command.run().expect(0);
    (output.json(), output.stderr)
}

/// Asserts that each of so many invocations succeeded in its first attempt.
#[track_caller]
fn assert_all_succeeded(setup: &Setup, count: usize) {
    let listed = setup.run(["list", "--json", "--limit", "0"]).expect(0).json_lines();
    assert_eq!(listed.len(), count);
    for one in listed {
        assert_eq!((&one["status"], &one["attempt"]), (&json!("succeeded"), &json!(1)), "{one}");
    }
}

#[test]
fn the_limit_of_descriptors_bounds_the_guests_that_live_at_once() {
    let setup = Setup::with(&["crowd"], DIRECTORY);
    submit_parking(&setup, 150, 300);
    let (summary, log) = run_all(&setup, "ulimit -n 80");
    assert_all_succeeded(&setup, 150);
    assert!(log.contains("the limit of 80 file descriptors bears 39 guests of `crowd` at once"), "{log}");
    let peak = summary["peak_live"].as_u64().expect("a number");
    // A quarter is for what somebody awaits.
    assert!((20..40).contains(&peak), "{summary}");
    assert!(!log.contains("short of"), "{log}");
}

/// Deeper than there are descriptors: the parents would wait for ever for what they hold.
#[test]
fn parents_that_hold_all_descriptors_are_told_so() {
    let setup = Setup::with(&["fib"], &DIRECTORY.replace("crowd", "fib"));
    let id = setup.submit("fib", "[70]");
    run_all(&setup, "ulimit -n 80");
    assert_eq!(setup.status(&id)["failure"]["kind"], "trapped");
    let failed = setup.run(["list", "--json", "--limit", "0", "--status", "failed"]).expect(0).json_lines();
    let messages: Vec<_> = failed
        .iter()
        .map(|one| setup.status(one["id"].as_str().expect("an id"))["failure"]["message"].to_string())
        .collect();
    let says_why = |message: &String| {
        message.contains("live instances") && message.contains("granted directories counts several times")
    };
    assert!(messages.iter().any(says_why), "{messages:?}");
}

#[test]
fn guests_that_find_no_descriptor_are_tried_again_and_all_succeed() {
    let setup = Setup::with(&["crowd"], DIRECTORY);
    let cramped = Cramped::new(setup);
    // Fewer than it began with: it did not know.
    cramped.allow(Some(80));
    let lines = "[300]\n".repeat(150);
    let submitted = cramped.setup.command(["submit", "park", "--batch", "-"]).stdin(lines).run().expect(0);
    for id in submitted.stdout().lines() {
        cramped.setup.run(["result", id, "--wait", "--timeout", "60s"]).expect(0);
    }
    assert_all_succeeded(&cramped.setup, 150);
    cramped.runner.signal(rustix::process::Signal::TERM);
    let log = cramped.runner.wait().expect(0).stderr;
    let told: Vec<_> = log.lines().filter(|line| line.contains("short of")).collect();
    let words = "short of file descriptors: 80 of 80 open; raise the limit (`ulimit -n`)";
    assert!(told.iter().all(|line| line.contains(words) && line.contains("WARN")), "{log}");
    // Once in five seconds, though it happens many times a second.
    assert!((1..=8).contains(&told.len()), "{log}");
}

#[test]
fn a_runner_raises_its_limit_of_descriptors_as_far_as_it_may() {
    let setup = Setup::with(&["crowd"], DIRECTORY);
    submit_parking(&setup, 150, 300);
    let (summary, log) = run_all(&setup, "ulimit -Sn 80; ulimit -Hn 1000");
    assert_all_succeeded(&setup, 150);
    assert!(!log.contains("short of") && summary["released"] == 0, "{log}");
}

/// Each of them takes as many core instances of the pool as seven others may.
#[test]
fn components_of_many_core_instances_wait_and_leave_their_neighbours_alone() {
    let setup = Setup::with(&["crowd", "echo"], "[runner]\nmax-live = 64\n");
    submit_parking(&setup, 80, 200);
    let lines: String = (0..80).map(|n| format!("[{n}]\n")).collect();
    setup.command(["submit", "echo-u32", "--batch", "-"]).stdin(lines).run().expect(0);
    let (summary, log) = run_all(&setup, ":");
    assert_all_succeeded(&setup, 160);
    // They wait before they start, or are given back for what is beyond their share: the pool is never used up.
    assert!(!log.contains("short of"), "{log}");
    let peak = summary["peak_live"].as_u64().expect("a number");
    assert!(peak <= 64 / 7 + 4, "{summary}");
}

/// A runner whose limit of descriptors is lowered and raised while it runs.
struct Cramped {
    setup: Setup,
    runner: Running,
}

impl Cramped {
    fn new(setup: Setup) -> Self {
        // With a cache of its own: what others push is not compiled there.
        let cache = setup.path().join("cache");
        let command = setup.command(["start"]).env("WASM_RUNNER_CACHE_DIR", cache).patience(PATIENCE);
        let mut runner = command.spawn();
        runner.wait_for_stderr("the runner has started");
        Self { setup, runner }
    }

    fn allow(&self, descriptors: Option<u64>) {
        let pid = i32::try_from(self.runner.pid()).ok().and_then(Pid::from_raw);
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current: descriptors.or(maximum), maximum };
        prlimit(pid, Resource::Nofile, limit).expect("a runner of ours can be limited");
    }

    /// Submits while the runner can open nothing, and lets it go on once it has said so.
    #[track_caller]
    fn run(&mut self, submit: impl FnOnce(&Setup) -> Output) -> Value {
        self.allow(Some(5));
        let id = submit(&self.setup).expect(0).stdout().trim().to_owned();
        self.runner.wait_for_stderr("short of file descriptors: 5 of 5 open");
        let status = self.setup.status(&id);
        assert!(status["finished_at"].is_null(), "it waits: {status}");
        self.allow(None);
        self.setup.run(["result", &id, "--wait", "--timeout", "60s"]).expect(0);
        let status = self.setup.status(&id);
        assert_eq!((&status["status"], &status["attempt"]), (&json!("succeeded"), &json!(1)), "{status}");
        status
    }
}

#[test]
fn a_scratch_directory_that_can_not_be_opened_now_is_made_later() {
    let setup = Setup::with(&["grants"], "[component.grants.scratch]\nsize = \"1MiB\"\n");
    let mut cramped = Cramped::new(setup);
    let status = cramped.run(|setup| setup.run(["submit", "grants.fill", r#"["/tmp/file", 10]"#]));
    assert_eq!(status["result"], 10);
}

#[test]
fn a_version_that_can_not_be_compiled_now_is_compiled_later() {
    let setup = Setup::new(&[]);
    let other = setup.path().join("other.toml");
    let mut bytes = std::fs::read(guest("fib")).expect("it is there");
    append_custom_section(&mut bytes, "another", b"version");
    let changed = setup.sandbox.write("other.wasm", bytes);
    setup.sandbox.write("other.toml", format!("[component.fib]\npath = {changed:?}\n"));
    let current = guest("fib");
    setup
        .sandbox
        .write("wasm-runner.toml", format!("[component.fib]\npath = {current:?}\nversion = \"pinned\"\n"));
    let with_other =
        |setup: &Setup, args: &[&str]| setup.command(args).env("WASM_RUNNER_CONFIG", &other).run().expect(0);
    with_other(&setup, &["component", "push", "fib"]);
    let mut cramped = Cramped::new(setup);
    let status = cramped.run(|setup| with_other(setup, &["submit", "fib", "[1]"]));
    assert_eq!(status["result"], 1);
}
