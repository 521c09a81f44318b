//! The tests and the checks around them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

use crate::guests;
use crate::process::{cargo, ensure_cpp_compiler, guest_cargo, root, run, show};
use crate::suite::{self, User};

/// Everything that has to hold before a change is merged. The tests come last,
/// so that their count is the last line.
pub fn ci() -> Result<ExitCode> {
    guests::ensure_target()?;
    ensure_cpp_compiler()?;
    run(cargo().args(["fmt", "--all", "--check"]))?;
    for workspace in ["guest-tasks", "sdk", "sdk/componentize"] {
        run(guest_cargo().current_dir(root().join(workspace)).args(["fmt", "--all", "--check"]))?;
    }
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked"]).args(["--", "-D", "warnings"]))?;
    for workspace in ["guest-tasks", "sdk"] {
        run(guest_cargo()
            .current_dir(root().join(workspace))
            .args(["clippy", "--release", "--workspace", "--locked", "--target", guests::TARGET])
            .args(["--", "-D", "warnings"]))?;
    }
    run(cargo()
        .args(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"])
        .env("RUSTDOCFLAGS", "-Dwarnings"))?;
    // What a newcomer sees first must not be what breaks first.
    crate::demo::run(crate::demo::Profile::Dev)?;
    let mut count = all_or(&[])?;
    // What root may do, others may not: both have to be able to work on the program.
    if let Some(user) = User::other()? {
        count.add_all(&suite::quick(Some(&user))?);
    }
    count.conclude()
}

/// The time for which everything is fuzzed with all tests.
const FUZZ_SECONDS: u64 = 60;

/// The part of the tests that `cargo xtask test` runs, and how.
#[derive(Debug, Default)]
struct Choice {
    is_quick: bool,
    is_timed: bool,
    filters: Vec<String>,
}

impl Choice {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut choice = Self::default();
        for argument in arguments {
            match argument.as_str() {
                "--quick" => choice.is_quick = true,
                "--profile" => choice.is_timed = true,
                filter => choice.filters.push(filter.to_owned()),
            }
        }
        ensure!(
            !choice.is_quick || choice.filters.is_empty(),
            "`--quick` chooses the tests: no filters beside it"
        );
        Ok(choice)
    }
}

/// Runs the tests whose names contain one of the filters, the quick part, or all; all of them with
/// a minute of fuzzing, of which each target counts as a test. The last line is
/// `N passed, N failed`.
pub fn test(arguments: &[String]) -> Result<ExitCode> {
    let choice = Choice::parse(arguments)?;
    guests::build()?;
    // The tests of all targets are built with libFuzzer, whether it runs or not.
    ensure_cpp_compiler()?;
    let count = match (choice.is_timed, choice.is_quick) {
        (true, is_quick) => suite::profile(&choice.filters, is_quick)?,
        (false, true) => suite::quick(None)?,
        (false, false) => all_or(&choice.filters)?,
    };
    count.conclude()
}

/// Runs the tests that the filters choose, or all with a minute of fuzzing.
fn all_or(filters: &[String]) -> Result<Count> {
    let mut count = Count::default();
    if filters.is_empty() {
        let fuzzed = crate::fuzz::run_all(FUZZ_SECONDS)?;
        count.add_all(&Count { passed: fuzzed.held, failed: fuzzed.failed });
    }
    let mut command = cargo();
    count.run(command.args(["test", "--workspace", "--no-fail-fast"]).arg("--").args(filters))?;
    Ok(count)
}

/// The tests of all binaries that passed and failed.
#[derive(Debug, Default, PartialEq)]
pub struct Count {
    /// The tests that passed.
    pub passed: u64,
    /// The tests that failed.
    pub failed: u64,
}

impl Count {
    /// Runs a command that runs tests, shows what it says, and counts.
    pub fn run(&mut self, command: &mut Command) -> Result<()> {
        let shown = show(command);
        eprintln!("$ {shown}");
        let child = command.stdout(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("failed to start `{shown}`"))?;
        let output = child.stdout.take().context("the output of the tests is not piped")?;
        let failed_before = self.failed;
        let mut out = std::io::stdout().lock();
        for line in BufReader::new(output).split(b'\n') {
            let line = line.context("failed to read the output of the tests")?;
            out.write_all(&line)?;
            out.write_all(b"\n")?;
            self.add(&String::from_utf8_lossy(&line));
        }
        let status = child.wait()?;
        if !status.success() && self.failed == failed_before {
            // A build that failed or a test binary that crashed prints no summary.
            eprintln!("error: `{shown}` failed ({status}) and named no failed test: counted as one");
            self.failed += 1;
        }
        Ok(())
    }

    /// Adds what was counted elsewhere.
    pub fn add_all(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// Prints the last line.
    fn conclude(&self) -> Result<ExitCode> {
        println!("{} passed, {} failed", self.passed, self.failed);
        Ok(if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Takes a line of a test binary's output, whatever it is.
    fn add(&mut self, line: &str) {
        let Some(summary) = line.strip_prefix("test result: ") else {
            return;
        };
        // "ok. 12 passed; 0 failed; 0 ignored; …": the first one follows "ok.".
        let words: Vec<&str> = summary.split_whitespace().collect();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u64>() else {
                continue;
            };
            match pair[1] {
                "passed;" => self.passed += number,
                "failed;" => self.failed += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Choice, Count};

    #[test]
    fn tests_are_chosen_by_flags_or_by_filters() {
        let parse = |arguments: &[&str]| {
            Choice::parse(&arguments.iter().map(|&one| one.to_owned()).collect::<Vec<_>>())
        };
        let choice = parse(&["runner::", "--profile"]).unwrap();
        assert!(choice.is_timed && !choice.is_quick && choice.filters == ["runner::"]);
        assert!(parse(&["--quick", "--profile"]).unwrap().is_quick);
        assert!(parse(&["--quick", "runner::"]).is_err());
    }

    #[test]
    fn summaries_of_all_binaries_are_added_up() {
        let mut count = Count::default();
        for line in [
            "running 13 tests",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test a ... FAILED",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.00s",
        ] {
            count.add(line);
        }
        assert_eq!(count, Count { passed: 15, failed: 2 });
    }
}
