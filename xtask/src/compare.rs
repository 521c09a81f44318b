//! `cargo xtask compare`: two builds of the runner, timed in turn on one machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::guests;
use crate::process::{cargo, root, run, show, target_dir};

const RUNNER: &str = "run-wasm-runner";

/// The invocations of a burn-down.
const QUEUED: usize = 20_000;

/// The runs of each program that count, if no flag says otherwise. The best of them is compared.
const ROUNDS: usize = 8;

/// Times the program `BEFORE` and a release build of this repository.
pub fn command(arguments: &[String]) -> Result<ExitCode> {
    let mut before = None;
    let mut postgres = None;
    let mut rounds = ROUNDS;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("`{argument}` takes a value"));
        match argument.as_str() {
            "--postgres" => postgres = Some(value()?.clone()),
            "--rounds" => rounds = value()?.parse().context("`--rounds` takes a number")?,
            flag if flag.starts_with('-') => bail!("`compare` does not take `{flag}`"),
            path if before.is_none() => before = Some(PathBuf::from(path)),
            extra => bail!("`compare` takes one program, and then `{extra}`"),
        }
    }
    let before = before.context("`compare` takes the program to compare with")?;
    let before = before.canonicalize().with_context(|| format!("`{}` is missing", before.display()))?;
    ensure!(rounds > 0, "`--rounds` takes a number above 0");
    guests::build()?;
    run(cargo().args(["build", "--release", "--package", RUNNER, "--locked"]))?;
    let directory = target_dir().join("compare");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    let bench = Bench {
        programs: [before, target_dir().join("release").join(RUNNER)],
        batch: directory.join("batch"),
        directory,
        postgres,
        stores: 0,
    };
    fs::write(&bench.batch, "[]\n".repeat(QUEUED))?;
    bench.run(rounds)?;
    Ok(ExitCode::SUCCESS)
}

/// A kind of store.
#[derive(Clone, Copy)]
enum Kind {
    Memory,
    Sqlite,
    Postgres,
}

/// One row of the table.
struct Workload {
    name: &'static str,
    kind: Kind,
    task: &'static str,
    arguments: Arguments,
}

enum Arguments {
    /// The file of `--batch`, whose invocations are queued before the clock starts.
    Queued,
    One(&'static str),
}

const CHILDREN: &str = r#"["nothing", "[]", 10000]"#;
const IN_ALL: &str = r#"["nothing", "[]", 20000]"#;

const WORKLOADS: [Workload; 7] = {
    use Arguments::{One, Queued};
    use Kind::{Memory, Postgres, Sqlite};
    const fn row(name: &'static str, kind: Kind, task: &'static str, arguments: Arguments) -> Workload {
        Workload { name, kind, task, arguments }
    }
    [
        row("20,000 no-ops, memory (children of one)", Memory, "fan-out", One(IN_ALL)),
        row("20,000 no-ops, SQLite", Sqlite, "nothing", Queued),
        row("20,000 no-ops, PostgreSQL", Postgres, "nothing", Queued),
        row("`fib(18)`, memory", Memory, "fib", One("[18]")),
        row("10,000 children, memory", Memory, "fan-out", One(CHILDREN)),
        row("10,000 children, SQLite", Sqlite, "fan-out", One(CHILDREN)),
        row("10,000 children, PostgreSQL", Postgres, "fan-out", One(CHILDREN)),
    ]
};

struct Bench {
    /// The program of before, and that of now.
    programs: [PathBuf; 2],
    directory: PathBuf,
    batch: PathBuf,
    /// The URL of a server on which each run makes a schema of its own.
    postgres: Option<String>,
    stores: usize,
}

impl Bench {
    fn run(mut self, rounds: usize) -> Result<()> {
        println!("| workload, best of {rounds} in turn | before | now | speed |\n|---|---|---|---|");
        for workload in &WORKLOADS {
            if matches!(workload.kind, Kind::Postgres) && self.postgres.is_none() {
                eprintln!("{}: left out without `--postgres URL`", workload.name);
                continue;
            }
            let mut best = [Duration::MAX; 2];
            // The first round fills the caches and does not count.
            for round in 0..=rounds {
                for (program, best) in self.programs.clone().iter().zip(&mut best) {
                    let took = self.time(program, workload)?;
                    if round > 0 {
                        *best = took.min(*best);
                    }
                }
            }
            let [before, now] = best.map(|best| best.as_secs_f64());
            println!("| {} | {before:.3} s | {now:.3} s | {:.3} |", workload.name, before / now);
        }
        Ok(())
    }

    /// Times one run of a workload in a store of its own.
    fn time(&mut self, program: &Path, workload: &Workload) -> Result<Duration> {
        self.stores += 1;
        let folder = self.directory.join(self.stores.to_string());
        fs::create_dir(&folder)?;
        let store = match (workload.kind, &self.postgres) {
            (Kind::Memory, _) => None,
            (Kind::Postgres, Some(url)) => {
                let separator = if url.contains('?') { '&' } else { '?' };
                Some(format!("{url}{separator}schema=compare_{}_{}", std::process::id(), self.stores))
            }
            (Kind::Postgres | Kind::Sqlite, _) => Some(format!("sqlite:{}", folder.join("s.db").display())),
        };
        let command = |arguments: &[&str]| {
            let mut command = Command::new(program);
            for (name, _) in std::env::vars_os() {
                if name.to_string_lossy().starts_with("WASM_RUNNER") {
                    command.env_remove(name);
                }
            }
            command.current_dir(&folder).env("XDG_CACHE_HOME", self.directory.join("cache"));
            for guest in ["fib", "workflow"] {
                let path = root().join("target/guests").join(guest).with_extension("wasm");
                command.arg("--component").arg(format!("{guest}={}", path.display()));
            }
            if let Some(store) = &store {
                command.args(["--store", store]);
            }
            command.args(arguments);
            command
        };
        let took = match (&store, &workload.arguments) {
            (None, Arguments::One(arguments)) => timed(command(&["call", workload.task, arguments]))?,
            (None, Arguments::Queued) => bail!("nothing can be queued in memory"),
            (Some(_), arguments) => {
                let batch = self.batch.to_string_lossy();
                let rest = match arguments {
                    Arguments::Queued => vec!["--batch", &batch],
                    Arguments::One(arguments) => vec![*arguments],
                };
                timed(command(&[&["submit", workload.task][..], &rest].concat()))?;
                timed(command(&["start", "--until-idle", "--slots", "2"]))?
            }
        };
        fs::remove_dir_all(&folder)?;
        Ok(took)
    }
}

/// Runs a program to its end without its output, and returns the time of the wall that it took.
fn timed(mut command: Command) -> Result<Duration> {
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    let took = started.elapsed();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{}` failed: {}\n{errors}", show(&command), output.status);
    Ok(took)
}
