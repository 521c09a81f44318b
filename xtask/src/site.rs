//! A directory in which programs run on one store, without a configuration file, and the times that they take.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::process::{cargo, run, target_dir};

const RUNNER: &str = "run-wasm-runner";

/// The place where the programs run.
pub struct Site {
    pub program: PathBuf,
    pub directory: PathBuf,
    pub store: String,
}

impl Site {
    /// Does something with a program in a directory of its own below `target`, which is removed in the end: the given
    /// program and store, or else a release build and a new SQLite file.
    pub fn with<T>(
        name: &str,
        program: Option<&Path>,
        store: Option<&str>,
        work: impl FnOnce(Self) -> Result<T>,
    ) -> Result<T> {
        let program = match program {
            Some(path) => path.canonicalize().with_context(|| format!("`{}` is missing", path.display()))?,
            None => {
                run(cargo().args(["build", "--release", "--package", RUNNER, "--locked"]))?;
                target_dir().join("release").join(RUNNER)
            }
        };
        let directory = target_dir().join(name).join(std::process::id().to_string());
        fs::create_dir_all(&directory)?;
        let file = || format!("sqlite:{}", directory.join("s.db").display());
        let store = store.map_or_else(file, str::to_owned);
        let done = work(Self { program, directory: directory.clone(), store });
        let removed = fs::remove_dir_all(&directory);
        let done = done?;
        removed?;
        Ok(done)
    }

    /// Prepares the program, with nothing but the store's URL.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WASM_RUNNER") {
                command.env_remove(name);
            }
        }
        command.current_dir(&self.directory).env("XDG_CACHE_HOME", self.directory.join("cache"));
        command.args(["--store", &self.store]).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs the program to its end, and returns its output and the time that it took.
    pub fn run(&self, arguments: &[&str]) -> Result<(String, Duration)> {
        let began = Instant::now();
        let output = self.command(arguments).output().context("failed to start the program")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{}` failed: {}\n{errors}", arguments.join(" "), output.status);
        Ok((String::from_utf8(output.stdout)?, began.elapsed()))
    }

    /// Starts a runner with two slots. Its log goes into a file.
    pub fn start(&self, number: usize, memory: &str) -> Result<Started> {
        let log = fs::File::create(self.directory.join(format!("runner-{number}.log")))?;
        let mut command = self.command(&["start", "--slots", "2"]);
        command.env("WASM_RUNNER_MEMORY_BUDGET", memory).stdout(Stdio::null()).stderr(log);
        Ok(Started(command.spawn().context("failed to start a runner")?))
    }
}

/// A runner, ended with this value.
pub struct Started(Child);

impl Started {
    /// The most bytes that were resident so far.
    pub fn peak(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmHWM")?;
        Ok(kibibytes.trim().parse::<u64>()? << 10)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended already; then there is nobody to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The times of a kind of step.
#[derive(Default)]
pub struct Times(Mutex<Vec<Duration>>);

impl Times {
    pub fn add(&self, time: Duration) {
        self.0.lock().expect("nobody panics").push(time);
    }

    /// Returns the time that so many in a hundred do not exceed.
    pub fn percentile(&self, part: usize) -> Duration {
        let mut times = self.0.lock().expect("nobody panics").clone();
        times.sort_unstable();
        times.get(times.len().saturating_sub(1) * part / 100).copied().unwrap_or_default()
    }

    /// Names the median, the 99th percentile and the longest.
    pub fn shown(&self) -> String {
        let count = self.0.lock().expect("nobody panics").len();
        let at = |part: usize| self.percentile(part);
        format!("{count} times, median {:.0?}, p99 {:.0?}, longest {:.0?}", at(50), at(99), at(100))
    }
}
