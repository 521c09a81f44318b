//! `cargo xtask fuzz`: builds the fuzz targets with the compiler's coverage counters,
//! and has libFuzzer run each for a while.
//!
//! `cargo fuzz` would give the counters to every dependency, and so compile all of them
//! once more. Here only what is fuzzed gets them, by a wrapper around the compiler,
//! which is this program: dependencies are those of any other build. All of it is
//! stable Rust.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::process::{cargo, ensure_cpp_compiler, quote, root, run as run_command, target_dir};

/// Set for the compiler's wrapper.
const WRAPPER: &str = "RUN_WASM_RUNNER_COVERAGE";
/// The crate that gets counters.
const INSTRUMENTED: &str = "run_wasm_runner";
/// The flags that `cargo fuzz` gives the compiler.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-sanitizer-coverage-stack-depth",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// The most bytes of an input.
const MAX_BYTES: usize = 16 << 10;
/// An input that takes longer hangs, in seconds. It takes a while to compile a component in
/// a debug build on a busy machine.
const HANGS: u64 = 30;
/// Beyond it an input takes too much memory, in MiB.
const MEMORY: u64 = 2 << 10;
/// Beyond it an allocation fails, and the target with it, in MiB. libFuzzer's own limit
/// of a single allocation needs a sanitizer; its other one counts only memory that is
/// used.
const ALLOCATED: u64 = 3 << 10;

/// Runs the compiler, if this process is the compiler's wrapper.
pub fn wrapped() -> Option<Result<ExitCode>> {
    std::env::var_os(WRAPPER)?;
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    Some(compile(&arguments))
}

fn compile(arguments: &[OsString]) -> Result<ExitCode> {
    let [compiler, rest @ ..] = arguments else { bail!("the wrapper was given no compiler") };
    let mut command = Command::new(compiler);
    command.args(rest);
    if rest.windows(2).any(|pair| pair[0] == "--crate-name" && pair[1] == INSTRUMENTED) {
        command.args(FLAGS);
    }
    let status = command.status().context("failed to start the compiler")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The numbers of targets that held and that did not.
pub struct Fuzzed {
    pub held: u64,
    pub failed: u64,
}

/// Runs every target, for so many seconds in all.
pub fn run_all(seconds: u64) -> Result<Fuzzed> {
    run(&targets()?, seconds, None)
}

/// Runs targets, for so many seconds in all.
fn run(targets: &[String], seconds: u64, seed: Option<u32>) -> Result<Fuzzed> {
    build()?;
    let mut fuzzed = Fuzzed { held: 0, failed: 0 };
    for target in targets {
        let each = (seconds / targets.len() as u64).max(1);
        match fuzz(target, each, seed)? {
            Ok(report) => {
                eprintln!("{target}: {report}");
                fuzzed.held += 1;
            }
            Err(finding) => {
                eprintln!("{target}: {finding}");
                fuzzed.failed += 1;
            }
        }
    }
    Ok(fuzzed)
}

fn build() -> Result<()> {
    ensure_cpp_compiler()?;
    let wrapper = std::env::current_exe().context("failed to find this program")?;
    run_command(
        cargo()
            .args(["build", "--package", "run-wasm-runner-fuzz", "--bins", "--locked"])
            .env("RUSTC_WORKSPACE_WRAPPER", wrapper)
            .env(WRAPPER, "1"),
    )
}

fn directory() -> PathBuf {
    root().join("tests/fuzz")
}

/// The names of all targets.
fn targets() -> Result<Vec<String>> {
    let directory = directory().join("fuzz_targets");
    let failed = || format!("failed to read `{}`", directory.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// The program of a target, with limits.
fn program(target: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -d {}; exec \"$0\" \"$@\"", ALLOCATED << 10)])
        .arg(target_dir().join("debug").join(target))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-timeout={HANGS}"));
    command
}

/// Fuzzes one target: what was done, or what was found.
///
/// Without a seed it goes on with the inputs that earlier runs kept; with one it begins
/// as if there had been none, so that it can be repeated.
fn fuzz(target: &str, seconds: u64, seed: Option<u32>) -> Result<Result<Report, String>> {
    let findings = target_dir().join("fuzz");
    let corpus = match seed {
        None => findings.join("corpus").join(target),
        Some(_) => findings.join("repeated").join(target),
    };
    if seed.is_some() && corpus.exists() {
        fs::remove_dir_all(&corpus).with_context(|| format!("failed to empty `{}`", corpus.display()))?;
    }
    fs::create_dir_all(&corpus).with_context(|| format!("failed to create `{}`", corpus.display()))?;

    let mut command = program(target);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_BYTES}"))
        // Names need a symbolizer, which needs a sanitizer.
        .arg("-print_funcs=0")
        // 0: libFuzzer's choice.
        .arg(format!("-seed={}", seed.unwrap_or(0)))
        .arg(prefixed("-artifact_prefix=", &findings.join(format!("{target}-"))));
    if let Some(dictionary) = dictionary(target, &findings)? {
        command.arg(prefixed("-dict=", &dictionary));
    }
    // New inputs are kept in the first of them.
    command.arg(corpus).arg(directory().join("seeds").join(target)).stderr(Stdio::piped());

    let failed = || format!("failed to run the target `{target}`");
    let mut child = command.spawn().with_context(failed)?;
    let said = child.stderr.take().with_context(failed)?;
    let mut report = Report::default();
    for line in BufReader::new(said).split(b'\n') {
        let line = line.with_context(failed)?;
        let line = String::from_utf8_lossy(&line);
        if !report.read(&line) {
            eprintln!("{line}");
        }
    }
    let status = child.wait().with_context(failed)?;
    if status.success() {
        ensure!(report.is_complete(), "libFuzzer did not say what it did with `{target}`");
        return Ok(Ok(report));
    }
    let Some(input) = report.found else {
        return Ok(Err(format!("ended without an input to blame: {status}")));
    };
    let current = std::env::current_dir().unwrap_or_default();
    let input = Path::new(&input).strip_prefix(current).unwrap_or(Path::new(&input));
    let shown = quote(&input.to_string_lossy());
    Ok(Err(format!(
        "found something; its input is `{}`\n  \
         to run it alone:  cargo xtask fuzz {target} {shown}\n  \
         to keep it found: cp {shown} tests/fuzz/seeds/{target}/NAME",
        input.display()
    )))
}

/// Finds the dictionary of a target, if it has one. To that of the configuration it adds the keys that the
/// target knows, in a copy in `folder`.
fn dictionary(target: &str, folder: &Path) -> Result<Option<PathBuf>> {
    let kept = directory().join("dictionaries").join(format!("{target}.dict"));
    if target != "configuration" {
        return Ok(kept.exists().then_some(kept));
    }
    let told = program(target).env("RUN_WASM_RUNNER_FUZZ_KEYS", "1").output();
    let told = told.context("failed to ask the target for the keys of the configuration")?;
    ensure!(told.status.success() && !told.stdout.is_empty(), "the target did not tell its keys");
    let mut words = fs::read(&kept).with_context(|| format!("failed to read `{}`", kept.display()))?;
    words.extend(told.stdout);
    let dictionary = folder.join("configuration.dict");
    fs::write(&dictionary, words).with_context(|| format!("failed to write `{}`", dictionary.display()))?;
    Ok(Some(dictionary))
}

fn prefixed(flag: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(flag);
    argument.push(path);
    argument
}

/// Runs a target on these inputs and no others.
fn run_inputs(target: &str, inputs: &[String]) -> Result<ExitCode> {
    build()?;
    let status = program(target).args(inputs).status().context("failed to run the target")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The report of libFuzzer on a run.
#[derive(Debug, Default, PartialEq)]
struct Report {
    first: Option<Progress>,
    last: Option<Progress>,
    /// The input that it wrote down because something does not hold.
    found: Option<String>,
}

/// A line of libFuzzer's that begins with a number of inputs.
#[derive(Debug, Default, PartialEq)]
struct Progress {
    inputs: u64,
    edges: u64,
    features: u64,
    kept: u64,
    per_second: u64,
}

impl Report {
    /// Tells whether this line is about progress; others are for people.
    fn read(&mut self, line: &str) -> bool {
        // `slow-unit-…` is written down too, and is no finding.
        if let Some((_, path)) = line.split_once("Test unit written to ")
            && !path.contains("slow-unit-")
        {
            self.found = Some(path.to_owned());
        }
        if let Some((inputs, rest)) = line.strip_prefix('#').and_then(|rest| rest.split_once('\t'))
            && let Ok(inputs) = inputs.parse()
        {
            let progress = Progress {
                inputs,
                edges: number_after(rest, "cov: "),
                features: number_after(rest, "ft: "),
                kept: number_after(rest, "corp: "),
                per_second: number_after(rest, "exec/s: "),
            };
            match rest.split_whitespace().next() {
                Some("INITED") => self.first = Some(progress),
                Some("DONE") => self.last = Some(progress),
                _ => {}
            }
            return true;
        }
        let is_chatter =
            ["INFO: ", "Dictionary: ", "WARNING: Failed to find function", "######", "\"", "Done "];
        line.is_empty() || is_chatter.iter().any(|beginning| line.starts_with(beginning))
    }

    fn is_complete(&self) -> bool {
        self.first.is_some() && self.last.is_some()
    }
}

fn number_after(text: &str, name: &str) -> u64 {
    let rest = text.split_once(name).map_or("", |(_, rest)| rest);
    rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Some(first), Some(last)) = (&self.first, &self.last) else { return f.write_str("unfinished") };
        write!(
            f,
            "{} inputs ({} a second); {} edges seen, {} of them new; {} features, {} new; {} inputs kept",
            last.inputs,
            last.per_second,
            last.edges,
            last.edges.saturating_sub(first.edges),
            last.features,
            last.features.saturating_sub(first.features),
            last.kept
        )
    }
}

/// The command: an error if a target did not hold.
pub fn command(arguments: &[String]) -> Result<ExitCode> {
    let known = targets()?;
    let (mut seconds, mut seed) = (60, None);
    let mut rest = arguments;
    while let [flag, number, others @ ..] = rest {
        match flag.as_str() {
            "--seconds" => seconds = number.parse().context("`--seconds` is a number")?,
            "--seed" => seed = Some(number.parse().context("`--seed` is a number below 2^32")?),
            _ => break,
        }
        rest = others;
    }
    match rest {
        [] => {}
        [target, ..] if !known.contains(target) => bail!(
            "`fuzz` does not take `{target}` (known: `--seconds N`, `--seed N`, and the targets {})",
            known.join(", ")
        ),
        [_] => {}
        [target, inputs @ ..] => return run_inputs(target, inputs),
    }
    let chosen = if rest.is_empty() { &known } else { rest };
    Ok(if run(chosen, seconds, seed)?.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_from_what_libfuzzer_says() {
        let mut report = Report::default();
        for line in [
            "INFO: Running with entropic power schedule (0xFF, 100).",
            "#5\tINITED cov: 71 ft: 72 corp: 4/91b exec/s: 0 rss: 45Mb",
            "#17\tNEW    cov: 80 ft: 90 corp: 5/99b lim: 91 exec/s: 0 rss: 45Mb L: 8/91 MS: 1 ChangeBit-",
            "#262144\tpulse  cov: 99 ft: 120 corp: 9/130b lim: 4096 exec/s: 87381 rss: 60Mb",
            "#300000\tDONE   cov: 99 ft: 121 corp: 10/140b lim: 4096 exec/s: 75000 rss: 60Mb",
            "Done 300000 runs in 4 second(s)",
            "",
        ] {
            assert!(report.read(line), "{line}");
        }
        assert!(report.is_complete());
        assert_eq!(report.found, None);
        assert_eq!(
            report.to_string(),
            "300000 inputs (75000 a second); 99 edges seen, 28 of them new; 121 features, 49 new; 10 inputs kept"
        );
    }

    #[test]
    fn a_finding_is_shown_and_named() {
        let mut report = Report::default();
        for line in [
            "thread '<unnamed>' panicked at src/wasm/fuzzing.rs:38:9:",
            "artifact_prefix='/t/slow-unit-'; Test unit written to /t/fuzz/values-slow-unit-12",
            "artifact_prefix='/t/fuzz/values-'; Test unit written to /t/fuzz/values-crash-0a",
        ] {
            assert!(!report.read(line), "{line}");
        }
        assert_eq!(report.found.as_deref(), Some("/t/fuzz/values-crash-0a"));
        assert!(!report.is_complete());
    }
}
