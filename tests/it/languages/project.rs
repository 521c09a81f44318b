//! A project as `new` makes it, and what is expected of it in every language.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cli::{Cli, Output, Sandbox};
use crate::support::toolchains;

/// Two words, so that all ways to join them are needed.
pub const NAME: &str = "first-steps";

/// Builds take longer than anything else, the more so beside other tests.
const BUILD_PATIENCE: Duration = Duration::from_secs(900);

/// Invocations by which the cost of one is measured.
const MEASURED: u32 = 2000;

/// Directories that tools fill, and that `.gitignore` names.
const IGNORED: [&str; 6] = ["build", "target", "node_modules", ".venv", ".wasm-runner", "__pycache__"];
/// The files that tools write beside them, to be kept.
const LOCKS: [&str; 2] = ["Cargo.lock", "package-lock.json"];

/// A new project in a directory of its own.
pub struct Project {
    sandbox: Sandbox,
    language: &'static str,
    /// Its row in the table of languages.
    row: String,
    files: BTreeSet<PathBuf>,
    variables: Vec<(&'static str, PathBuf)>,
}

impl Project {
    /// Makes one from nothing.
    #[track_caller]
    pub fn new(language: &'static str) -> Self {
        Self::made(language, &[])
    }

    /// Makes one without WIT.
    #[track_caller]
    pub fn without_wit(language: &'static str) -> Self {
        Self::made(language, &["--no-wit"])
    }

    #[track_caller]
    fn made(language: &'static str, flags: &'static [&'static str]) -> Self {
        let sandbox = Sandbox::new();
        let arguments = ["new", language, NAME, "--json"].into_iter().chain(flags.iter().copied());
        let made = sandbox.run(arguments).expect(0).json();
        assert_eq!((&made["name"], &made["language"]), (&json!(NAME), &json!(language)));
        let files = made["files"].as_array().expect("a list").iter();
        let files: BTreeSet<PathBuf> = files.map(|file| file.as_str().expect("a path").into()).collect();
        let row = format!("{language}{}", flags.concat().replacen("--", "-", 1));
        let project = Self { sandbox, language, row, files, variables: Vec::new() };
        assert_eq!(project.present(), project.files);
        project
    }

    /// Gives all commands of the project a variable.
    pub fn with(mut self, name: &'static str, value: impl Into<PathBuf>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Puts a directory of tools before everything else that is found.
    pub fn with_tools(self, folder: &Path) -> Self {
        self.with("PATH", toolchains::path_with(&[folder.to_owned()]))
    }

    /// A path in it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.sandbox.path().join(NAME).join(path)
    }

    /// A command in its directory.
    pub fn command<const N: usize>(&self, arguments: [&str; N]) -> Cli {
        let mut command = self.sandbox.command(arguments).directory(self.path(""));
        for (name, value) in &self.variables {
            command = command.env(name, value);
        }
        command
    }

    #[track_caller]
    pub fn run<const N: usize>(&self, arguments: [&str; N]) -> Output {
        self.command(arguments).patience(BUILD_PATIENCE).run()
    }

    /// Runs the tests that came with it, by a command in its directory.
    #[track_caller]
    pub fn test(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.path(""));
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
        let text =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
        text
    }

    /// Replaces something in a file.
    #[track_caller]
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.path(file);
        let text = fs::read_to_string(&path).expect("the file is there");
        assert!(text.contains(from), "{from:?} is not in {text}");
        fs::write(path, text.replace(from, to)).expect("written");
    }

    #[track_caller]
    fn value(&self, task: &str, arguments: &Value) -> Value {
        self.command(["call", task, "-"]).stdin(arguments.to_string()).run().expect(0).json()
    }

    /// Builds it and does with it all that its README says and more.
    #[track_caller]
    pub fn works(&self) {
        let before = processor_time();
        let built = self.run(["build", "--json"]).expect(0).json();
        let build = processor_time() - before;
        self.left_nothing_behind();
        assert_eq!(built["path"], json!(format!("build/{NAME}.wasm")));
        assert_eq!(built["language"], json!(self.language));
        let tasks: Vec<_> =
            built["tasks"].as_array().expect("tasks").iter().map(|task| &task["function"]).collect();
        let names = ["centroid", "greet", "square", "sum-of-squares"];
        assert_eq!(tasks, names.map(|name| json!(format!("local:{NAME}/tasks.{name}"))).each_ref());

        self.is_documented(&built);
        assert_eq!(self.value("greet", &json!(["wörld \u{1f30d}"])), "Hello, wörld \u{1f30d}!");
        self.large_arguments();

        let failed = self.run(["call", "centroid", "[[]]", "--json"]).expect(1).json();
        assert_eq!(failed["failure"]["kind"], "returned");
        assert_eq!(failed["failure"]["error"], "no points have no centroid");
        let trapped = self.run(["call", "square", "[65536]", "--json"]).expect(3).json();
        assert_eq!(trapped["failure"]["kind"], "trapped");
        self.run(["call", "square", "[65535]"]).expect(0);
        // The failure of a child is a value to its parent.
        self.fan_out();
        self.measure(&built, build);
    }

    /// Asserts that two instances of a task see other random numbers, of which it returns three, and that
    /// all else that it returns is `true`.
    #[track_caller]
    pub fn gives_each_instance_its_own(&self, task: &str) {
        let seen = || self.value(task, &json!([""])).as_str().expect("a text").to_owned();
        let (one, other) = (seen(), seen());
        let (one, other): (Vec<_>, Vec<_>) = (one.split(' ').collect(), other.split(' ').collect());
        assert!(one.len() > 3 && one.len() == other.len(), "{one:?} {other:?}");
        for place in 0..3 {
            assert_ne!(one[place], other[place], "{one:?} {other:?}");
        }
        assert!(one[3..].iter().chain(&other[3..]).all(|word| *word == "true"), "{one:?} {other:?}");
    }

    /// Asserts that a task's standard output is this text.
    #[track_caller]
    pub fn writes(&self, task: &str, text: &str) {
        let id = self.run(["submit", task, "[\"\"]"]).expect(0).stdout().trim().to_owned();
        self.run(["start", "--until-idle"]).expect(0);
        let entries = self.run(["logs", &id, "--json"]).expect(0).json_lines();
        let written = entries.iter().filter(|entry| entry["stream"] == "stdout");
        let written: String = written.map(|entry| entry["text"].as_str().expect("a text")).collect();
        assert_eq!(written, text, "{entries:?}");
    }

    /// Asserts that the comments of a task are there for its users.
    #[track_caller]
    fn is_documented(&self, built: &Value) {
        assert_eq!(built["tasks"][1]["docs"], "A greeting.");
        let tasks = self.run(["tasks"]).expect(0);
        assert!(tasks.stdout().lines().any(|line| line.trim() == "A greeting."), "{tasks:?}");
        let schema = self.run(["tasks", "--schema", "greet"]).expect(0).json();
        assert_eq!(schema["arguments"]["description"], "A greeting.");
        let wit = self.run(["wit"]).expect(0);
        assert!(wit.stdout().contains("\n    /// A greeting.\n    greet: func("), "{wit:?}");
        let inspected = self.run(["inspect", &format!("build/{NAME}.wasm")]).expect(0);
        assert!(inspected.stdout().contains("\n    A greeting.\n"), "{inspected:?}");
    }

    /// Ten thousand records, which some collectors do not take lightly.
    fn large_arguments(&self) {
        let points: Vec<_> = (0..10_000).map(|n| json!({"x": n, "y": -n})).collect();
        assert_eq!(self.value("centroid", &json!([points])), json!({"x": 4999.5, "y": -4999.5}));
    }

    fn fan_out(&self) {
        let id = self.run(["submit", "sum-of-squares", "[100]"]).expect(0).stdout().trim().to_owned();
        self.run(["start", "--until-idle"]).expect(0);
        assert_eq!(self.run(["result", &id]).expect(0).json(), 338_350);
        let children =
            self.run(["list", "--task", "square", "--json", "--limit", "0"]).expect(0).json_lines();
        assert_eq!(children.len(), 100);
        assert!(children.iter().all(|child| child["parent"] == json!(id) && child["status"] == "succeeded"));
    }

    /// Writes down what `cargo xtask languages` makes a table of, and keeps the component for `cargo xtask plugins`.
    fn measure(&self, built: &Value, build: Duration) {
        let timed = |command: Cli| {
            let before = processor_time();
            command.patience(BUILD_PATIENCE).run().expect(0);
            processor_time() - before
        };
        let cache = self.path("build/cache");
        let check = || timed(self.command(["check"]).env("WASM_RUNNER_CACHE_DIR", &cache));
        let (first, again) = (check(), check());

        let batch = format!("[\"{NAME}\"]\n").repeat(MEASURED as usize);
        fs::write(self.path("build/batch"), batch).expect("written");
        self.run(["submit", "greet", "--batch", "build/batch"]).expect(0);
        let start = || timed(self.command(["start", "--until-idle", "--slots", "1"]));
        let (with_work, without) = (start(), start());
        let cost = with_work.saturating_sub(without) / MEASURED;

        let measured = json!({
            "bytes": built["bytes"],
            "build_seconds": build.as_secs_f64(),
            "first_load_seconds": first.as_secs_f64(),
            "load_seconds": again.as_secs_f64(),
            "invocation_seconds": cost.as_secs_f64(),
        });
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/languages");
        fs::create_dir_all(&folder).expect("a directory is created");
        let path = folder.join(format!("{}.json", self.row));
        fs::write(path, format!("{measured}\n")).expect("written");
        let component = built["path"].as_str().expect("a path");
        fs::copy(self.path(component), folder.join(format!("{}.wasm", self.row))).expect("copied");
    }

    /// Asserts that a build adds nothing to what one commits, but for lock files.
    #[track_caller]
    fn left_nothing_behind(&self) {
        let ignored = fs::read_to_string(self.path(".gitignore")).expect("there is one");
        for folder in fs::read_dir(self.path("")).expect("a directory").flatten() {
            let name = folder.file_name().to_string_lossy().into_owned();
            if IGNORED.contains(&&*name) {
                assert!(ignored.lines().any(|line| line == format!("/{name}")), "{name} is not in {ignored}");
            }
        }
        let new: Vec<_> = self.present().difference(&self.files).cloned().collect();
        let new: Vec<_> = new.iter().filter(|path| !LOCKS.iter().any(|lock| path.ends_with(lock))).collect();
        assert!(new.is_empty(), "{new:?}");
    }

    /// All files that are not ignored, as `new` names them.
    fn present(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut folders = vec![PathBuf::from(NAME)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.sandbox.path().join(&folder)).expect("a directory").flatten() {
                let path = folder.join(entry.file_name());
                match entry.file_type().expect("it has a type").is_dir() {
                    true if IGNORED.iter().any(|ignored| path.ends_with(ignored)) => {}
                    true => folders.push(path),
                    false if path.ends_with("node_modules") => {}
                    false => drop(found.insert(path)),
                }
            }
        }
        found
    }
}

/// The processor time of all ended child processes of this one. It is meaningful only if
/// no other test runs.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("the system says it");
    let (_, after_name) = stat.rsplit_once(')').expect("the program's name is in parentheses");
    let ticks =
        after_name.split_whitespace().skip(13).take(2).map(|ticks| ticks.parse::<u64>().expect("a number"));
    Duration::from_millis(ticks.sum::<u64>() * 1000 / rustix::param::clock_ticks_per_second())
}
