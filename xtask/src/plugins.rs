//! `cargo xtask plugins`: very many pushed components in one store, with two runners, while others are pushed,
//! replaced and removed. Each value says which bytes computed it. With `--templates`, components of real languages are
//! among them: those that `cargo xtask languages` has built, one of each template.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::languages::LANGUAGES;
use crate::process::root;
use crate::site::{Site, Times};

const RUNNERS: usize = 2;
/// The processes that push, and then those that submit, at once.
const CLIENTS: usize = 2;
/// A client replaces a component after so many of its submits, and removes one after so many others.
const REPLACED_EVERY: usize = 10;
const REMOVED_EVERY: usize = 25;

/// The size of the trial.
struct Plan {
    components: usize,
    invocations: usize,
    memory: String,
    store: Option<String>,
    program: Option<PathBuf>,
    /// The components of templates: their names and files.
    templates: Vec<(String, PathBuf)>,
}

/// Finds the components that `cargo xtask languages` has built.
fn templates() -> Result<Vec<(String, PathBuf)>> {
    let directory = root().join("target/languages");
    let find = |(template, _): &(&str, &str)| {
        let path = directory.join(format!("{template}.wasm"));
        ensure!(path.is_file(), "`{}` is missing: `cargo xtask languages` makes it", path.display());
        Ok((format!("customer-{template}"), path))
    };
    LANGUAGES.iter().map(find).collect()
}

impl Plan {
    fn parse(arguments: &[String]) -> Result<Self> {
        let memory = "256MiB".to_owned();
        let mut plan = Self {
            components: 1_000,
            invocations: 50_000,
            memory,
            store: None,
            program: None,
            templates: Vec::new(),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("`{argument}` takes a value"));
            let number = |text: &str| text.parse().with_context(|| format!("`{argument}` takes a number"));
            match argument.as_str() {
                "--components" => plan.components = number(value()?)?,
                "--invocations" => plan.invocations = number(value()?)?,
                "--memory" => plan.memory.clone_from(value()?),
                "--store" => plan.store = Some(value()?.clone()),
                "--templates" => plan.templates = templates()?,
                "--program" => plan.program = Some(PathBuf::from(value()?)),
                other => bail!("`plugins` does not take `{other}`"),
            }
        }
        ensure!(plan.components > 1, "`--components` takes a number above 1");
        ensure!(plan.invocations >= plan.components, "each component is called once at least");
        Ok(plan)
    }
}

/// Runs the command with what the command line says.
pub fn command(arguments: &[String]) -> Result<ExitCode> {
    let plan = Plan::parse(arguments)?;
    let (program, store) = (plan.program.clone(), plan.store.clone());
    Site::with("plugins", program.as_deref(), store.as_deref(), |site| {
        let versions = (0..plan.components).map(|_| Mutex::new(1)).collect();
        Trial { site, versions, plan }.run()
    })?;
    Ok(ExitCode::SUCCESS)
}

fn name(component: usize) -> String {
    format!("customer-{component}")
}

/// A component whose task returns the number of the component and that of its version.
fn text(component: usize, version: u32) -> String {
    format!(
        r#"(component
            (core module $module (func (export "answer") (result i64) i64.const {}))
            (core instance $core (instantiate $module))
            (func $answer (result u64) (canon lift (core func $core "answer")))
            (instance $plugin (export "answer" (func $answer)))
            (export "demo:plugin/answers@1.0.0" (instance $plugin)))"#,
        answer(component, version)
    )
}

fn answer(component: usize, version: u32) -> u64 {
    component as u64 * 1_000_000 + u64::from(version)
}

struct Trial {
    plan: Plan,
    site: Site,
    /// The version of each component that was pushed last.
    versions: Vec<Mutex<u32>>,
}

impl Trial {
    fn push(&self, component: usize, version: u32) -> Result<Duration> {
        let (name, file) = (name(component), format!("{component}-{version}.wasm"));
        let path = self.site.directory.join(&file);
        fs::write(&path, wat::parse_str(text(component, version))?)?;
        let (_, took) = self.site.run(&["component", "push", &name, &file])?;
        fs::remove_file(&path)?;
        Ok(took)
    }

    fn run(&self) -> Result<()> {
        let Plan { components, invocations, memory, .. } = &self.plan;
        let began = Instant::now();
        let (first, last) = (Times::default(), Times::default());
        self.in_clients(*components, |component| {
            let took = self.push(component, 1)?;
            match component * 10 / components {
                0 => first.add(took),
                9 => last.add(took),
                _ => {}
            }
            Ok(())
        })?;
        println!("{components} components pushed in {:.1?}", began.elapsed());
        println!("  a push, of the first tenth: {}", first.shown());
        println!("  a push, of the last tenth:  {}", last.shown());
        for (name, path) in &self.plan.templates {
            let path = path.to_str().context("a path in UTF-8")?;
            let (_, took) = self.site.run(&["component", "push", name, path])?;
            println!("  a push of {name}: {took:.1?}");
        }
        let began = Instant::now();
        let runners =
            (0..RUNNERS).map(|number| self.site.start(number, memory)).collect::<Result<Vec<_>>>()?;
        let (answer_of, _) = self.site.run(&["submit", "--wait", &task(0)])?;
        ensure!(answer_of.trim() == answer(0, 1).to_string(), "the first answer is {answer_of}");
        println!("the first answer after the start of {RUNNERS} runners: {:.1?}", began.elapsed());
        let began = Instant::now();
        let calls = Calls::default();
        // The templates come among the others, spread evenly.
        self.in_clients(*components, |component| {
            let every = (components / self.plan.templates.len().max(1)).max(1);
            if component % every == every / 2
                && let Some((name, _)) = self.plan.templates.get(component / every)
            {
                self.serve_template(name, &calls)?;
            }
            self.serve(component, &calls)
        })?;
        let took = began.elapsed();
        println!(
            "{} invocations in {took:.1?}, each with the value of the bytes that it was submitted for",
            calls.right.load(Ordering::Relaxed)
        );
        println!("  a first call of a component, cold, in a process of its own: {}", calls.cold.shown());
        println!("  a second one, warm: {}", calls.warm.shown());
        println!("  a push of other bytes, until a call has their answer: {}", calls.replaced.shown());
        println!("  removed and pushed again: {}", calls.removed.load(Ordering::Relaxed));
        for (number, runner) in runners.iter().enumerate() {
            println!(
                "  runner {number}: {} MiB resident at most, of a budget of {memory} for guests",
                runner.peak()? >> 20
            );
        }
        ensure!(calls.right.load(Ordering::Relaxed) >= *invocations, "fewer than {invocations} were run");
        self.check_logs()
    }

    /// Does something with each number below `count`, in several threads. The first error ends it.
    fn in_clients(&self, count: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
        let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let client = || {
            while !is_over.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(());
                }
                work(number).inspect_err(|_| is_over.store(true, Ordering::Relaxed))?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
            clients.into_iter().try_for_each(|client| client.join().expect("no client panics"))
        })
    }

    /// Calls a component as often as it should be, and replaces or removes others now and then.
    fn serve(&self, component: usize, calls: &Calls) -> Result<()> {
        let site = &self.site;
        let version = self.versions[component].lock().expect("nobody panics");
        for times in [&calls.cold, &calls.warm] {
            let (value, took) = site.run(&["submit", "--wait", &task(component)])?;
            calls.check(&value, 1, component, *version)?;
            times.add(took);
        }
        let many = self.plan.invocations.div_ceil(self.plan.components).saturating_sub(2);
        let batch = format!("batch-{component}");
        fs::write(site.directory.join(&batch), "[]\n".repeat(many))?;
        let mut submit = site.command(&["submit", "--wait", &task(component), "--batch", &batch]);
        let mut submit = submit.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut ids = BufReader::new(submit.stderr.take().context("it is piped")?).lines();
        let submitted = ids.by_ref().take(many).count();
        ensure!(submitted == many, "{submitted} of {many} invocations of `{}`", name(component));
        // From here on others may replace it, or remove it, before its invocations have run.
        let number = *version;
        drop(version);
        let output = submit.wait_with_output()?;
        ensure!(output.status.success(), "the submit of many of `{}` failed", name(component));
        calls.check(&String::from_utf8(output.stdout)?, many, component, number)?;
        fs::remove_file(site.directory.join(&batch))?;
        if component % REPLACED_EVERY == 1 {
            let other = component * 7 % self.versions.len();
            let mut version = self.versions[other].lock().expect("nobody panics");
            *version += 1;
            let began = Instant::now();
            self.push(other, *version)?;
            let (value, _) = site.run(&["submit", "--wait", &task(other)])?;
            calls.replaced.add(began.elapsed());
            calls.check(&value, 1, other, *version)?;
        }
        if component % REMOVED_EVERY == 2 {
            let other = component * 11 % self.versions.len();
            let mut version = self.versions[other].lock().expect("nobody panics");
            site.run(&["component", "remove", &name(other)])?;
            let refused = site.command(&["submit", &task(other)]).output()?;
            ensure!(!refused.status.success(), "`{}` was removed, and takes a submit", name(other));
            *version += 1;
            self.push(other, *version)?;
            calls.removed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Calls the component of a template: once while it is cold, once more, and then many times at once.
    fn serve_template(&self, name: &str, calls: &Calls) -> Result<()> {
        let task = format!("{name}.square");
        for state in ["cold", "warm"] {
            let (value, took) = self.site.run(&["submit", "--wait", &task, "[7]"])?;
            ensure!(value.trim() == "49", "`{task}` said {value}");
            println!("  a call of {name}, {state}: {took:.1?}");
        }
        let batch = format!("batch-{name}");
        let many = self.plan.invocations.div_ceil(self.plan.components);
        fs::write(self.site.directory.join(&batch), "[7]\n".repeat(many))?;
        let (values, took) = self.site.run(&["submit", "--wait", &task, "--batch", &batch])?;
        ensure!(values.lines().filter(|value| *value == "49").count() == many, "`{task}` said {values}");
        println!("  {many} calls of {name} at once: {took:.1?}");
        calls.right.fetch_add(many + 2, Ordering::Relaxed);
        Ok(())
    }

    /// Checks that runners had nothing to complain of.
    fn check_logs(&self) -> Result<()> {
        let mut complaints = BTreeMap::new();
        for number in 0..RUNNERS {
            let log = fs::read_to_string(self.site.directory.join(format!("runner-{number}.log")))?;
            for line in log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")) {
                complaints.entry(number).or_insert_with(Vec::new).push(line.to_owned());
            }
        }
        ensure!(complaints.is_empty(), "runners complained: {complaints:#?}");
        Ok(())
    }
}

fn task(component: usize) -> String {
    format!("{}::demo:plugin/answers@1.answer", name(component))
}

/// The calls that were made.
#[derive(Default)]
struct Calls {
    right: AtomicUsize,
    removed: AtomicUsize,
    cold: Times,
    warm: Times,
    replaced: Times,
}

impl Calls {
    /// Checks that all values of a submit are those of one version.
    fn check(&self, values: &str, count: usize, component: usize, version: u32) -> Result<()> {
        let expected = answer(component, version).to_string();
        let values: Vec<_> = values.lines().collect();
        ensure!(values.len() == count, "{} values of {count} of `{}`", values.len(), name(component));
        let wrong = values.iter().find(|value| **value != expected);
        ensure!(wrong.is_none(), "`{}` should have said {expected}: {wrong:?}", name(component));
        self.right.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }
}
