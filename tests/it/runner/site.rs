//! A directory with a configuration, a store and runners in it.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use run_wasm_runner::model::{Clock, Invocation, InvocationId, Status, SystemClock, UnixMicros};
use run_wasm_runner::store::{Filter, PostgresStore, PostgresUrl, SqliteStore, Store};
use serde_json::Value;

use crate::support::cli::{Cli, Output, Running, Sandbox};
use crate::support::guests::{guest, shared_cache};

/// An operation that takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A sandbox with the guests configured and the default store.
pub struct Site {
    sandbox: Sandbox,
    /// The store, if it is not the default one.
    url: Option<String>,
}

#[allow(dead_code, reason = "each module of tests uses some of it")]
impl Site {
    pub fn new() -> Self {
        Self::with("")
    }

    /// With more configuration. The top-level keys and `[runner]` of a file come
    /// before its components.
    pub fn with(config: &str) -> Self {
        Self::with_both(config, "")
    }

    /// With more sections after those of the components: of tasks, or of what
    /// belongs to a component.
    pub fn with_sections(sections: &str) -> Self {
        Self::with_both("", sections)
    }

    /// With both.
    pub fn with_both(config: &str, sections: &str) -> Self {
        let mut text = format!("{config}\n");
        for name in ["fib", "workflow", "faults", "adder", "calculator"] {
            text.push_str(&format!("[component.{name}]\npath = {:?}\n", guest(name)));
        }
        text.push_str(sections);
        let sandbox = Sandbox::new();
        sandbox.write("wasm-runner.toml", text);
        Self { sandbox, url: None }
    }

    /// With the store in PostgreSQL, and more configuration.
    pub fn on(url: &str, config: &str) -> Self {
        let site = Self::with(&format!("store = {url:?}\n{config}"));
        Self { url: Some(url.to_owned()), ..site }
    }

    /// With the store in PostgreSQL, and more sections.
    pub fn on_with_sections(url: &str, sections: &str) -> Self {
        let site = Self::with_both(&format!("store = {url:?}\n"), sections);
        Self { url: Some(url.to_owned()), ..site }
    }

    /// The directory.
    pub fn path(&self) -> &std::path::Path {
        self.sandbox.path()
    }

    /// Writes a file.
    pub fn write(&self, name: &str, contents: &str) {
        self.sandbox.write(name, contents);
    }

    /// A command. Compiled guests are shared by all tests: it is the same cache
    /// that a user's commands share.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cli {
        self.sandbox.command(args).env("WASM_RUNNER_CACHE_DIR", shared_cache()).patience(PATIENCE)
    }

    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command(args).run()
    }

    /// Submits one invocation and returns its id.
    #[track_caller]
    pub fn submit(&self, task: &str, arguments: Value) -> InvocationId {
        self.submit_with(task, arguments, &[])
    }

    #[track_caller]
    pub fn submit_with(&self, task: &str, arguments: Value, flags: &[&str]) -> InvocationId {
        let arguments = arguments.to_string();
        let output = self.run(["submit", task, &arguments].iter().chain(flags)).expect(0);
        output.stdout().trim().parse().expect("submit prints an id")
    }

    /// Submits one invocation for each element.
    #[track_caller]
    pub fn submit_all(&self, task: &str, arguments: impl IntoIterator<Item = Value>) -> Vec<InvocationId> {
        let lines: String = arguments.into_iter().map(|arguments| format!("{arguments}\n")).collect();
        let output = self.command(["submit", task, "--batch", "-"]).stdin(lines).run().expect(0);
        output.stdout().lines().map(|id| id.parse().expect("submit prints ids")).collect()
    }

    /// Starts a runner and waits until it has started.
    #[track_caller]
    pub fn start(&self, flags: &[&str]) -> Running {
        let mut running = self.command(["start", "--json"].iter().chain(flags)).spawn();
        running.wait_for_stderr("the runner has started");
        running
    }

    /// Runs everything that is there; returns the summary.
    #[track_caller]
    pub fn run_all(&self, flags: &[&str]) -> Value {
        self.run(["start", "--until-idle", "--json"].iter().chain(flags)).expect(0).json()
    }

    /// The value of a final invocation.
    #[track_caller]
    pub fn value(&self, id: InvocationId) -> Value {
        self.run(["result", &id.to_string()]).expect(0).json()
    }

    /// Waits for the value, in another process.
    #[track_caller]
    pub fn await_value(&self, id: InvocationId) -> Value {
        self.run(["result", &id.to_string(), "--wait", "--timeout", "100s"]).expect(0).json()
    }

    #[track_caller]
    pub fn status(&self, id: InvocationId) -> Value {
        self.run(["status", &id.to_string(), "--json"]).expect(0).json()
    }

    /// The store, opened in this process beside those that use it.
    #[track_caller]
    pub fn store(&self) -> SqliteStore {
        let path = self.path().join(".wasm-runner/state.db");
        SqliteStore::open(&path, Arc::new(SystemClock::default())).expect("the store opens")
    }

    /// Opens the store of the site, in SQLite or PostgreSQL.
    #[track_caller]
    pub fn open(&self) -> Arc<dyn Store> {
        match &self.url {
            None => Arc::new(self.store()),
            Some(url) => {
                let url = PostgresUrl::parse(url).expect("a URL");
                Arc::new(PostgresStore::open(&url, None).expect("the store opens"))
            }
        }
    }

    /// The present, as this machine sees it.
    pub fn now(&self) -> UnixMicros {
        SystemClock::new().now()
    }

    /// Waits until the store says so. Each look follows a commit of another
    /// process, of which the store tells.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut is_so: impl FnMut(&dyn Store) -> bool) {
        let store = self.open();
        let (changed, change) = channel();
        let _watch = store
            .watch(Arc::new(move || {
                // Nobody listens any more once it is so.
                let _ = changed.send(());
            }))
            .expect("the store can be watched");
        let deadline = Instant::now() + PATIENCE;
        while !is_so(&*store) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(change.recv_timeout(left).is_ok(), "it never came that {what}");
        }
    }

    /// Waits until an invocation has this status.
    #[track_caller]
    pub fn wait_for(&self, id: InvocationId, status: Status) {
        self.wait_until(&format!("{id} is {status}"), |store| get(store, id).status == status);
    }

    /// Waits until so many invocations have this status.
    #[track_caller]
    pub fn wait_for_count(&self, status: Status, count: u64) {
        self.wait_until(&format!("{count} are {status}"), |store| {
            store.counts(None).is_ok_and(|counts| counts.get(status) >= count)
        });
    }
}

/// One invocation.
#[track_caller]
pub fn get(store: &dyn Store, id: InvocationId) -> Invocation {
    store.get(&[id]).expect("the store can be read").remove(0).expect("the invocation is there")
}

/// Every invocation.
#[track_caller]
pub fn all(store: &dyn Store) -> Vec<Invocation> {
    let filter = Filter::default();
    store.list(&filter).expect("the store can be read")
}
