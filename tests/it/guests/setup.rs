//! A sandbox in which guests are configured.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::Value;

use crate::support::cli::{Cli, Output, Sandbox};
use crate::support::guests::{guest, shared_cache};

/// A directory with a configuration that names some of the guests.
pub struct Setup {
    pub sandbox: Sandbox,
}

impl Setup {
    /// With nothing but defaults.
    pub fn new(components: &[&str]) -> Self {
        Self::with(components, "")
    }

    /// With more configuration after that of the components.
    pub fn with(components: &[&str], more: &str) -> Self {
        let setup = Self { sandbox: Sandbox::new() };
        setup.configure(components, more);
        setup
    }

    /// Writes the configuration anew.
    pub fn configure(&self, components: &[&str], more: &str) {
        let mut text = String::new();
        for name in components {
            text.push_str(&format!("[component.{name}]\npath = {:?}\n", guest(name)));
        }
        self.sandbox.write("wasm-runner.toml", text + more);
    }

    pub fn path(&self) -> &Path {
        self.sandbox.path()
    }

    /// A command. What is compiled is shared by all tests, as a user's commands
    /// share it.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cli {
        self.sandbox.command(args).env("WASM_RUNNER_CACHE_DIR", shared_cache())
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command(args).run()
    }

    #[track_caller]
    pub fn call(&self, task: &str, arguments: &str) -> Output {
        self.run(["call", task, arguments])
    }

    /// Calls a task and returns its value.
    #[track_caller]
    pub fn value(&self, task: &str, arguments: &str) -> Value {
        self.call(task, arguments).expect(0).json()
    }

    /// Calls a task that fails, and returns the failure, after comparing the
    /// exit code and the kind.
    #[track_caller]
    pub fn failure(&self, task: &str, arguments: &str, code: i32, kind: &str) -> Failed {
        let output = self.run(["--json", "call", task, arguments]).expect(code);
        let document = output.json();
        let failure = document["failure"].clone();
        assert_eq!(failure["kind"], kind, "{document}");
        let message = failure["message"].as_str().expect("a failure has a message").to_owned();
        // Whoever reads no JSON learns the same.
        let shown = format!("failed ({kind}): {}", message.lines().next().unwrap_or_default());
        assert!(output.stderr.contains(&shown), "{shown:?} is not in {}", output.stderr);
        Failed { failure, message, stderr: output.stderr }
    }

    /// Submits one invocation and returns its id.
    #[track_caller]
    pub fn submit(&self, task: &str, arguments: &str) -> String {
        self.run(["submit", task, arguments]).expect(0).stdout().trim().to_owned()
    }

    /// Runs everything that is queued.
    #[track_caller]
    pub fn run_all(&self) -> Output {
        self.run(["start", "--until-idle"]).expect(0)
    }

    #[track_caller]
    pub fn status(&self, id: &str) -> Value {
        self.run(["status", id, "--json"]).expect(0).json()
    }
}

/// Reads the failure of a call.
pub struct Failed {
    pub failure: Value,
    pub message: String,
    pub stderr: String,
}

impl Failed {
    /// Asserts that the message has all of these in it.
    #[track_caller]
    pub fn says(&self, texts: &[&str]) {
        for text in texts {
            assert!(self.message.contains(text), "{text:?} is not in {:?}", self.message);
        }
    }
}
