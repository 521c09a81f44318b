//! `cargo xtask fuzz`: builds the fuzz targets with the compiler's coverage counters,
//! and runs each for a while.
//!
//! Counters are for what is fuzzed, and are asked for with stable flags. They are given
//! to this package alone, by a wrapper around the compiler, which is this program: so
//! dependencies are those of any other build, and nothing is built twice.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, run as run_command, target_dir};

/// Set for the compiler's wrapper.
const WRAPPER: &str = "RUN_WASM_RUNNER_COVERAGE";
/// The crate that gets counters.
const INSTRUMENTED: &str = "run_wasm_runner";
const FLAGS: [&str; 3] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=3",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
];
const TARGETS: [&str; 4] = ["values", "configuration", "component", "compiled"];
/// Beyond it an allocation fails, and the target with it. In KiB.
const MEMORY: u64 = 3 << 20;

/// Whether this process is the compiler's wrapper; then it is the compiler from here on.
pub fn wrapped() -> Option<Result<ExitCode>> {
    std::env::var_os(WRAPPER)?;
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    Some(compile(&arguments))
}

fn compile(arguments: &[std::ffi::OsString]) -> Result<ExitCode> {
    let [compiler, rest @ ..] = arguments else { bail!("the wrapper was given no compiler") };
    let mut command = Command::new(compiler);
    command.args(rest);
    if rest.windows(2).any(|pair| pair[0] == "--crate-name" && pair[1] == INSTRUMENTED) {
        command.args(FLAGS);
    }
    let status = command.status().context("failed to start the compiler")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many targets held, and how many did not.
pub struct Fuzzed {
    pub held: u64,
    pub failed: u64,
}

/// Runs every target, for so many seconds in all.
pub fn run(seconds: u64, seed: Option<u64>) -> Result<Fuzzed> {
    let wrapper = std::env::current_exe().context("failed to find this program")?;
    run_command(
        cargo()
            .args(["build", "--package", "run-wasm-runner-fuzz", "--locked"])
            .env("RUSTC_WORKSPACE_WRAPPER", wrapper)
            .env(WRAPPER, "1"),
    )?;
    let program = target_dir().join("debug/fuzz");
    let findings = target_dir().join("fuzz");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = seed.unwrap_or(now.as_secs());
    eprintln!(
        "seed {seed} (`cargo xtask fuzz --seed {seed}` makes up the same inputs while the code is the same)"
    );
    let mut fuzzed = Fuzzed { held: 0, failed: 0 };
    for target in TARGETS {
        let each = (seconds / TARGETS.len() as u64).max(1);
        let status = Command::new("sh")
            .args(["-c", &format!("ulimit -d {MEMORY}; exec \"$0\" \"$@\"")])
            .arg(&program)
            .args([target, &each.to_string(), &seed.to_string()])
            .arg(&findings)
            .status()
            .with_context(|| format!("failed to start `{}`", program.display()))?;
        if let Some(signal) = status.signal() {
            let input = findings.join(format!("{target}.current"));
            eprintln!("{target}: died of signal {signal}; the input is `{}`", input.display());
        }
        match status.success() {
            true => fuzzed.held += 1,
            false => fuzzed.failed += 1,
        }
    }
    Ok(fuzzed)
}

/// The command: an error if a target did not hold.
pub fn command(arguments: &[String]) -> Result<ExitCode> {
    let (mut seconds, mut seed) = (60, None);
    for pair in arguments.chunks(2) {
        match pair {
            [flag, number] if flag == "--seconds" => {
                seconds = number.parse().context("`--seconds` is a number")?
            }
            [flag, number] if flag == "--seed" => {
                seed = Some(number.parse().context("`--seed` is a number")?)
            }
            other => bail!("`fuzz` does not take `{}` (known: `--seconds N`, `--seed N`)", other.join(" ")),
        }
    }
    Ok(if run(seconds, seed)?.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
