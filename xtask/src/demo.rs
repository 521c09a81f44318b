//! `cargo xtask demo`: shows the runner at work, by the commands that anybody
//! can repeat.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};
use serde_json::Value;

use crate::guests;
use crate::process::{cargo, quote, root, run as run_command, target_dir};

const RUNNER: &str = "run-wasm-runner";
const NO_OPS: usize = 10_000;
const TREE_LINES: usize = 12;

const CONFIGURATION: &str = r#"# Written by `cargo xtask demo`.
store = "sqlite:.wasm-runner/state.db"
slots = 2

[component.wordcount]
path = "../guests/wordcount.wasm"

# A component is granted nothing by default. This one may read this repository.
[[component.wordcount.directory]]
host = "../.."
guest = "/text"
access = "read-only"

[component.fib]
path = "../guests/fib.wasm"

[component.mandelbrot]
path = "../guests/mandelbrot.wasm"

[component.workflow]
path = "../guests/workflow.wasm"
"#;

/// The way in which the runner is built.
pub enum Profile {
    Dev,
    Release,
}

impl FromStr for Profile {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "dev" => Ok(Self::Dev),
            "release" => Ok(Self::Release),
            _ => bail!("unknown profile `{name}` (known profiles: `dev`, `release`)"),
        }
    }
}

/// Builds everything, then shows it.
pub fn run(profile: Profile) -> Result<ExitCode> {
    guests::build()?;
    let (name, folder) = match profile {
        Profile::Dev => ("dev", "debug"),
        Profile::Release => ("release", "release"),
    };
    run_command(cargo().args(["build", "--package", RUNNER, "--profile", name]))?;

    let directory = root().join("target/demo");
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("failed to empty `{}`", directory.display()))?;
    }
    fs::create_dir_all(&directory).with_context(|| format!("failed to create `{}`", directory.display()))?;
    let demo = Demo { binary: target_dir().join(folder).join(RUNNER), directory };
    demo.write("wasm-runner.toml", CONFIGURATION)?;
    demo.show()?;
    Ok(ExitCode::SUCCESS)
}

/// The runner, in a directory.
pub(crate) struct Demo {
    pub(crate) binary: PathBuf,
    pub(crate) directory: PathBuf,
}

impl Demo {
    fn show(&self) -> Result<()> {
        self.introduce();

        heading("The configuration: its components and tasks, checked");
        self.print(&["check"])?;
        self.print(&["tasks"])?;

        heading("Map-reduce over this repository's text, kept in SQLite");
        say("A parent lists the files, submits a child per file, awaits them all and merges.");
        say("`submit` answers when the invocation is durable; `start` runs what is queued.");
        let id = self.print(&["submit", "word-count", r#"["/text", 12]"#])?;
        let id = id.trim();
        self.print(&["start", "--until-idle"])?;
        self.print_words(id)?;
        self.print_head(&["tree", id])?;

        heading("Recursion: every call of `fib` is an invocation, in a fresh sandbox");
        say("2 slots, and hundreds of waiting parents, which hold no slot.");
        let start = Instant::now();
        self.print(&["call", "fibonacci.fib", "[12]"])?;
        say(&format!("465 invocations in {}", seconds(start.elapsed())));

        heading("An image: tiles by children, assembled to a PNG");
        self.mandelbrot()?;

        heading("A right that was not granted: the guest gets an error that it can handle");
        let denied = self.print_expecting(1, &["call", "read-text", r#"["/etc/passwd"]"#]);
        denied.context("reading an ungranted file should fail, as an error of the task")?;

        heading("Throughput: a fresh instance per invocation, every outcome durable");
        self.throughput()?;

        crate::platform::show(&self.binary, &self.directory.join("platform"))?;

        self.say_what_to_try();
        Ok(())
    }

    fn introduce(&self) {
        let folder = self.binary.parent().unwrap_or(Path::new(""));
        heading("To repeat any of this");
        say(&format!("$ cd {}", quote(&self.directory.to_string_lossy())));
        say(&format!("$ export PATH={}:\"$PATH\"", quote(&folder.to_string_lossy())));
        say("The configuration is in wasm-runner.toml there.");
    }

    /// The word count's value, as a table.
    fn print_words(&self, id: &str) -> Result<()> {
        let arguments = ["result", id];
        println!("{}", prompt(&arguments));
        let json = self.capture(&arguments)?;
        println!("{}\n", beginning(json.trim_end(), 100));
        let summary: Value = serde_json::from_str(&json)
            .with_context(|| format!("the word count returned no JSON: {json}"))?;
        let number = |name: &str| summary[name].as_u64().with_context(|| format!("no `{name}` in {summary}"));
        say(&format!(
            "{} words, {} of them distinct, in {} files",
            number("total-words")?,
            number("distinct-words")?,
            number("files")?
        ));
        let top = summary["top"].as_array().context("no `top` in the word count")?;
        let counts = top.iter().filter_map(|tally| tally["count"].as_u64());
        let most = counts.max().unwrap_or(1).max(1);
        for tally in top {
            let word = tally["word"].as_str().context("no `word` in a tally")?;
            let count = tally["count"].as_u64().context("no `count` in a tally")?;
            let bar = "█".repeat((count * 40 / most) as usize);
            println!("  {word:<12} {count:>7}  {bar}");
        }
        println!();
        Ok(())
    }

    fn mandelbrot(&self) -> Result<()> {
        let arguments = ["call", "--raw", "mandelbrot.render", "[1200, 900, 1000]"];
        let path = self.directory.join("mandelbrot.png");
        println!("{} > mandelbrot.png", prompt(&arguments));
        let start = Instant::now();
        let png = self.output(0, &arguments)?;
        ensure!(png.starts_with(b"\x89PNG\r\n\x1a\n"), "`mandelbrot.render` returned no PNG");
        fs::write(&path, &png).with_context(|| format!("failed to write `{}`", path.display()))?;
        say(&format!("{} bytes in {}: {}", png.len(), seconds(start.elapsed()), path.display()));
        Ok(())
    }

    fn throughput(&self) -> Result<()> {
        self.write("no-ops.jsonl", &"[]\n".repeat(NO_OPS))?;
        let submit = ["submit", "basics.nothing", "--batch", "no-ops.jsonl"];
        println!("{} > ids.txt", prompt(&submit));
        let start = Instant::now();
        let ids = self.capture(&submit)?;
        let submitting = start.elapsed();
        let submitted = ids.lines().count();
        ensure!(submitted == NO_OPS, "submitted {submitted} invocations instead of {NO_OPS}");
        self.write("ids.txt", &ids)?;

        let start = Instant::now();
        self.print(&["start", "--until-idle"])?;
        let running = start.elapsed();
        let status = ids.lines().last().unwrap_or_default();
        let status: Value = serde_json::from_str(&self.capture(&["status", "--json", status])?)?;
        ensure!(status["status"] == "succeeded", "the last of them did not succeed: {status}");
        let per_second = |time: Duration| (NO_OPS as f64 / time.as_secs_f64()).round();
        say(&format!(
            "submitted {NO_OPS} in {}: {} invocations/s",
            seconds(submitting),
            per_second(submitting)
        ));
        say(&format!(
            "ran {NO_OPS} in {}, the start of the process included: {} invocations/s",
            seconds(running),
            per_second(running)
        ));
        Ok(())
    }

    fn say_what_to_try(&self) {
        heading("What to try next, in the same directory");
        for line in [
            "run-wasm-runner list --limit 5             what is in the store",
            "run-wasm-runner history ID                 every step of an invocation, and when",
            "run-wasm-runner inspect ../guests/echo.wasm    what a component exports and imports",
            "run-wasm-runner call parents '[100, 10]'   100 parents with 10 children each",
            "run-wasm-runner call ping                  two tasks that wait for each other: refused",
            "run-wasm-runner start                      runs until Ctrl-C; submit from elsewhere",
        ] {
            println!("  {line}");
        }
        println!();
        println!("The tasks' sources are in guest-tasks/, their results above: {}", self.directory.display());
    }

    /// Shows the command and what it prints, and returns that.
    pub(crate) fn print(&self, arguments: &[&str]) -> Result<String> {
        self.print_expecting(0, arguments)
    }

    pub(crate) fn print_expecting(&self, code: i32, arguments: &[&str]) -> Result<String> {
        println!("{}", prompt(arguments));
        let text = text(self.output(code, arguments)?)?;
        print!("{text}");
        println!();
        Ok(text)
    }

    /// Prints a command and the first lines of its output.
    fn print_head(&self, arguments: &[&str]) -> Result<()> {
        println!("{}", prompt(arguments));
        let text = self.capture(arguments)?;
        for line in text.lines().take(TREE_LINES) {
            println!("{line}");
        }
        match text.lines().count().saturating_sub(TREE_LINES) {
            0 => {}
            more => println!("… and {more} lines more"),
        }
        println!();
        Ok(())
    }

    /// Returns the output of a command.
    fn capture(&self, arguments: &[&str]) -> Result<String> {
        text(self.output(0, arguments)?)
    }

    /// Runs the runner's binary in the demo's directory. What it says on standard
    /// error goes to ours.
    fn output(&self, expected: i32, arguments: &[&str]) -> Result<Vec<u8>> {
        io::stdout().flush()?;
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(&self.directory).stdin(Stdio::null());
        command.stderr(Stdio::inherit());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WASM_RUNNER_") {
                command.env_remove(name);
            }
        }
        let output =
            command.output().with_context(|| format!("failed to start `{}`", self.binary.display()))?;
        if output.status.code() != Some(expected) {
            bail!(
                "`{}` in `{}` ended with {}; expected was exit status {expected}",
                prompt(arguments).trim_start_matches("$ "),
                self.directory.display(),
                output.status
            );
        }
        Ok(output.stdout)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join(name);
        fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))
    }
}

fn prompt(arguments: &[&str]) -> String {
    let words: Vec<String> = arguments.iter().map(|word| quote(word)).collect();
    format!("$ {RUNNER} {}", words.join(" "))
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).context("the runner printed something that is not UTF-8")
}

fn beginning(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

pub(crate) fn heading(text: &str) {
    println!("\n── {text}\n");
}

pub(crate) fn say(text: &str) {
    println!("{text}");
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
