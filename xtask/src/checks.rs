//! The tests and the checks around them.

use std::io::{BufRead, BufReader, Write};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::guests;
use crate::process::{cargo, ensure_cpp_compiler, guest_cargo, root, run, show};

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
    test(&[])
}

/// How long everything is fuzzed with all tests.
const FUZZ_SECONDS: u64 = 60;

/// Runs the tests whose names contain one of the filters, or all; all of them with a
/// minute of fuzzing, of which each target counts as a test. The last line is
/// `N passed, N failed`.
pub fn test(filters: &[String]) -> Result<ExitCode> {
    guests::build()?;
    // The tests of all targets are built with libFuzzer, whether it runs or not.
    ensure_cpp_compiler()?;
    let fuzzed = match filters {
        [] => crate::fuzz::run_all(FUZZ_SECONDS)?,
        _ => crate::fuzz::Fuzzed { held: 0, failed: 0 },
    };
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]).arg("--").args(filters).stdout(Stdio::piped());
    let shown = show(&command);
    eprintln!("$ {shown}");
    let mut child = command.spawn().with_context(|| format!("failed to start `{shown}`"))?;
    let output = child.stdout.take().context("the output of the tests is not piped")?;

    let mut count = Count { passed: fuzzed.held, failed: fuzzed.failed };
    let mut out = std::io::stdout().lock();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("failed to read the output of the tests")?;
        out.write_all(&line)?;
        out.write_all(b"\n")?;
        count.add(&String::from_utf8_lossy(&line));
    }
    let status = child.wait()?;
    if !status.success() && count.failed == 0 {
        // A build that failed or a test binary that crashed prints no summary.
        eprintln!("error: `{shown}` failed ({status}) and named no failed test: counted as one");
        count.failed = 1;
    }
    writeln!(out, "{} passed, {} failed", count.passed, count.failed)?;
    Ok(if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sums of the `test result:` lines of all test binaries.
#[derive(Debug, Default, PartialEq)]
struct Count {
    passed: u64,
    failed: u64,
}

impl Count {
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
    use super::Count;

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
