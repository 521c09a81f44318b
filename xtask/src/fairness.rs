//! `cargo xtask fairness`: what a flood of one fairness key costs the others, and how weights share the slots,
//! through the real program on one store.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde_json::Value;

use crate::site::{Site, Times};

const TASK: &str = "worker::demo:work/loops.spin";
/// The loops of one invocation: some milliseconds, so that slots are what is short.
const LOOPS: usize = 4_000_000;
/// The keys that submit a little all the time, and the number that each of them submits every second.
const OTHERS: usize = 9;
const A_SECOND: usize = 10;
/// The weights that are tried, and the invocations that each of their keys has waiting.
const WEIGHTS: [(&str, u32); 3] = [("one", 1), ("two", 2), ("four", 4)];
const WAITING: usize = 1_400;

/// The component whose task keeps a slot busy.
const WORKER: &str = r#"(component
    (core module $module (func (export "spin") (param i32) (result i64) (local i64)
        (loop $again
            (local.set 1 (i64.add (local.get 1) (i64.const 1)))
            (br_if $again (i64.lt_u (local.get 1) (i64.extend_i32_u (local.get 0)))))
        (local.get 1)))
    (core instance $core (instantiate $module))
    (func $spin (param "loops" u32) (result u64) (canon lift (core func $core "spin")))
    (instance $work (export "spin" (func $spin)))
    (export "demo:work/loops" (instance $work)))"#;

/// Runs the command with what the command line says.
pub fn command(arguments: &[String]) -> Result<ExitCode> {
    let (mut store, mut flood, mut seconds, mut program) = (None::<String>, 100_000, 20, None::<PathBuf>);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("`{argument}` takes a value"));
        let number = |text: &str| text.parse().with_context(|| format!("`{argument}` takes a number"));
        match argument.as_str() {
            "--store" => store = Some(value()?.clone()),
            "--flood" => flood = number(value()?)?,
            "--seconds" => seconds = number(value()?)?,
            "--program" => program = Some(PathBuf::from(value()?)),
            other => bail!("`fairness` does not take `{other}`"),
        }
    }
    ensure!(seconds > 0, "`--seconds` takes a number above 0");
    Site::with("fairness", program.as_deref(), store.as_deref(), |site| Trial { site, seconds }.run(flood))?;
    Ok(ExitCode::SUCCESS)
}

struct Trial {
    site: Site,
    /// The time for which the others submit.
    seconds: usize,
}

impl Trial {
    fn run(&self, flood: usize) -> Result<()> {
        let site = &self.site;
        let weights: String = WEIGHTS.iter().map(|(key, weight)| format!("{key} = {weight}\n")).collect();
        fs::write(
            site.directory.join("wasm-runner.toml"),
            format!("[component.\"*\"]\n[fairness.weights]\n{weights}"),
        )?;
        fs::write(site.directory.join("worker.wasm"), wat::parse_str(WORKER)?)?;
        site.run(&["component", "push", "worker", "worker.wasm"])?;
        {
            let _runner = site.start(0, "256MiB")?;
            // Its code is compiled before anything is measured.
            site.run(&["submit", "--wait", TASK, &format!("[{LOOPS}]")])?;
            let alone = self.others("alone")?;
            println!("{OTHERS} keys, {A_SECOND} each a second, from submit to end: {}", alone.shown());
            let began = Instant::now();
            self.submit("flood", flood, "flood")?;
            println!("one key submits {flood} at once, in {:.1?}", began.elapsed());
            let beside = self.others("beside")?;
            println!("the same keys beside them: {}", beside.shown());
            let left = self.list("flood", &["--status", "queued"])?.len();
            ensure!(left > 0, "all of the flood has run: nothing was measured beside it");
            println!("p99 beside / alone: {:.2} ({left} of the flood are left)", ratio(&beside, &alone));
            site.run(&["cancel", "--label", "phase=flood"])?;
        }
        self.weights()
    }

    /// Submits so many of a key with one command.
    fn begin_submit(&self, key: &str, count: usize, phase: &str) -> Result<Child> {
        let batch = format!("batch-{count}");
        let path = self.site.directory.join(&batch);
        // Once: another process may be reading it.
        if !path.exists() {
            fs::write(path, format!("[{LOOPS}]\n").repeat(count))?;
        }
        let label = format!("phase={phase}");
        let submit = ["submit", TASK, "--batch", &batch, "--fairness-key", key, "--label", &label];
        let mut command = self.site.command(&submit);
        command.stdout(Stdio::null()).spawn().context("failed to start a submit")
    }

    fn submit(&self, key: &str, count: usize, phase: &str) -> Result<()> {
        let status = self.begin_submit(key, count, phase)?.wait()?;
        ensure!(status.success(), "the submit of `{key}` failed: {status}");
        Ok(())
    }

    /// Lets the others submit, waits until their invocations have ended, and returns the times from submit to end.
    fn others(&self, phase: &str) -> Result<Times> {
        let began = Instant::now();
        for second in 0..self.seconds {
            let submits = (0..OTHERS)
                .map(|number| self.begin_submit(&format!("key-{number}"), A_SECOND, phase))
                .collect::<Result<Vec<_>>>()?;
            for mut submit in submits {
                ensure!(submit.wait()?.success(), "a submit failed");
            }
            let next = Duration::from_secs(second as u64 + 1);
            sleep(next.saturating_sub(began.elapsed()));
        }
        let count = self.seconds * OTHERS * A_SECOND;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let ended = self.list(phase, &["--status", "succeeded"])?;
            if ended.len() == count {
                let times = Times::default();
                for one in &ended {
                    let took = at(one, "finished_at")?.duration_since(at(one, "submitted_at")?);
                    times.add(took.unsigned_abs());
                }
                return Ok(times);
            }
            ensure!(Instant::now() < deadline, "only {} of {count} have ended", ended.len());
            sleep(Duration::from_millis(200));
        }
    }

    /// Counts how often each key starts while all of them have something waiting.
    fn weights(&self) -> Result<()> {
        for (key, _) in WEIGHTS {
            self.submit(key, WAITING, "weights")?;
        }
        self.site.run(&["start", "--slots", "2", "--until-idle"])?;
        let all = self.list("weights", &["--status", "succeeded"])?;
        ensure!(
            all.len() == WAITING * WEIGHTS.len(),
            "{} of {} have run",
            all.len(),
            WAITING * WEIGHTS.len()
        );
        let mut starts = all
            .iter()
            .map(|one| Ok((at(one, "started_at")?, one["fairness_key"].as_str().context("no key")?)))
            .collect::<Result<Vec<_>>>()?;
        starts.sort_unstable();
        let mut counts = BTreeMap::<&str, usize>::new();
        for (_, key) in starts {
            let count = counts.entry(key).or_default();
            *count += 1;
            if *count == WAITING {
                break;
            }
        }
        let total = counts.values().sum::<usize>() as f64;
        let weights = WEIGHTS.iter().map(|(_, weight)| weight).sum::<u32>();
        for (key, weight) in WEIGHTS {
            let part = counts.get(key).copied().unwrap_or_default() as f64 / total;
            let due = f64::from(weight) / f64::from(weights);
            println!("weight {weight}: {:.1} % of the starts, {:.3} of its share", part * 100.0, part / due);
        }
        Ok(())
    }

    fn list(&self, phase: &str, filter: &[&str]) -> Result<Vec<Value>> {
        let label = format!("phase={phase}");
        let (lines, _) =
            self.site.run(&[&["list", "--json", "--limit", "0", "--label", &label], filter].concat())?;
        lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

fn at(one: &Value, field: &str) -> Result<Timestamp> {
    Ok(one[field].as_str().with_context(|| format!("no `{field}`"))?.parse()?)
}

fn ratio(times: &Times, others: &Times) -> f64 {
    times.percentile(99).as_secs_f64() / others.percentile(99).as_secs_f64()
}
