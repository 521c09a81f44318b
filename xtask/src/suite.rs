//! The test binaries, started without cargo: a quick part of them, as another user or not, and all
//! of them with a clock.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::num::NonZero;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::checks::Count;
use crate::process::{cargo, root, show, target_dir};

/// The integration tests of the quick part: the store contract, the runner, and the texts of the
/// command line. All unit tests belong to it, too.
const QUICK: [&str; 6] =
    ["architecture::", "cli::errors::", "cli::help::", "docs::", "runner::", "store_contract::"];

/// The slowest tests of these modules, which take as long as all others and are left out of the quick part.
const SLOW: [&str; 8] = [
    "kill::killed_at_any_moment_a_runner_leaves_nothing_that_the_next_does_not_finish",
    "regression::final_invocations_are_not_kept_in_memory",
    "slots::recursive_fibonacci_finishes_in_memory_on_one_slot_and_on_two",
    "slots::recursive_fibonacci_finishes_on_one_slot_and_never_exceeds_it",
    "slots::recursive_fibonacci_finishes_on_two_slots_and_never_exceeds_them",
    "waits::a_parent_of_ten_thousand_children_finishes_with_a_cache_of_a_hundred",
    "waits::a_parent_of_ten_thousand_children_in_sequence_finishes_with_a_cache_of_a_hundred",
    "waits::three_thousand_parents_park_at_once_within_a_gibibyte",
];

/// The arguments of the integration tests that choose the quick part.
fn quick_arguments() -> Vec<String> {
    let slow = SLOW.iter().flat_map(|test| ["--skip", test]);
    QUICK.into_iter().chain(slow).map(str::to_owned).collect()
}

/// The binary of the integration tests.
const INTEGRATION: &str = "it";

/// The tests that a profile names one by one.
const SLOWEST: usize = 25;

/// A binary of tests.
struct Binary {
    name: String,
    path: PathBuf,
    /// The directory of its package, in which cargo would run it.
    directory: PathBuf,
}

impl Binary {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.directory).env("CARGO_TARGET_DIR", target_dir());
        command
    }

    /// The names of its tests that contain one of the filters, or of all.
    fn tests(&self, filters: &[String]) -> Result<Vec<String>> {
        let mut command = self.command();
        let output = command.args(["--list", "--format", "terse"]).args(filters).output()?;
        ensure!(output.status.success(), "`{}` does not list its tests", show(&command));
        let lines = String::from_utf8(output.stdout)?;
        Ok(lines.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }
}

/// Builds all test binaries.
fn build() -> Result<Vec<Binary>> {
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    let shown = show(&command);
    eprintln!("$ {shown}");
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("failed to start `{shown}`"))?;
    ensure!(output.status.success(), "`{shown}` failed: {}", output.status);
    let mut binaries = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let message: Value = serde_json::from_str(line)?;
        if message["profile"]["test"] != true {
            continue;
        }
        let Some(path) = message["executable"].as_str() else { continue };
        let text = |value: &Value| value.as_str().map(str::to_owned).context("a message without a name");
        let manifest = PathBuf::from(text(&message["manifest_path"])?);
        let directory = manifest.parent().context("a manifest has a directory")?.to_owned();
        binaries.push(Binary { name: text(&message["target"]["name"])?, path: path.into(), directory });
    }
    ensure!(!binaries.is_empty(), "`{shown}` made no test binary");
    Ok(binaries)
}

/// Runs the quick part of the tests, as another user if one is given.
pub fn quick(user: Option<&User>) -> Result<Count> {
    let mut count = Count::default();
    for binary in build()? {
        let mut command = binary.command();
        if binary.name == INTEGRATION {
            command.args(quick_arguments());
        }
        if let Some(user) = user {
            user.own(&mut command);
        }
        count.run(&mut command)?;
    }
    Ok(count)
}

/// A user who may do nothing special, with a home directory.
pub struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
    /// The directories on the way to the repository that were opened for this user, with the
    /// permissions that they had.
    opened: Vec<(PathBuf, Permissions)>,
}

impl User {
    /// Finds another user than root to be, who can read what was built; `None` if this process
    /// is not root's anyway.
    pub fn other() -> Result<Option<Self>> {
        if fs::metadata("/proc/self")?.uid() != 0 {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").context("failed to read the list of users")?;
        let line = users.lines().find(|line| line.starts_with("nobody:"));
        let fields: Vec<&str> = line.context("there is no user `nobody`")?.split(':').collect();
        let [name, _, uid, gid, ..] = *fields else { bail!("the line of `nobody` is cut short") };
        let home = std::env::temp_dir().join(format!("run-wasm-runner-home-{}", std::process::id()));
        fs::create_dir(&home).with_context(|| format!("failed to create `{}`", home.display()))?;
        let (uid, gid) = (uid.parse()?, gid.parse()?);
        let mut user = Self { name: name.to_owned(), uid, gid, home, opened: Vec::new() };
        chown(&user.home, Some(uid), Some(gid))?;
        user.open(root())?;
        user.open(&target_dir())?;
        Ok(Some(user))
    }

    /// Lets the user pass the directories above `path`. The way to a repository in root's home
    /// directory is closed to all others.
    fn open(&mut self, path: &Path) -> Result<()> {
        let path = fs::canonicalize(path).with_context(|| format!("failed to find `{}`", path.display()))?;
        for directory in path.ancestors() {
            let before = fs::metadata(directory)?.permissions();
            if before.mode() & 0o001 == 0 {
                eprintln!("opening `{}` for `{}` until the tests are over", directory.display(), self.name);
                let opened = Permissions::from_mode(before.mode() | 0o001);
                fs::set_permissions(directory, opened)?;
                self.opened.push((directory.to_owned(), before));
            }
        }
        Ok(())
    }

    /// Makes a command one of this user.
    fn own(&self, command: &mut Command) {
        eprintln!("as `{}`:", self.name);
        command.uid(self.uid).gid(self.gid).env("HOME", &self.home).env("USER", &self.name);
        command.env("RUN_WASM_RUNNER_TESTS_CACHE", self.home.join("cache"));
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let closed = self.opened.iter().map(|(path, before)| fs::set_permissions(path, before.clone()));
        for error in closed.chain([fs::remove_dir_all(&self.home)]).filter_map(Result::err) {
            eprintln!("warning: something is left of the tests of `{}`: {error}", self.name);
        }
    }
}

/// Tests of one module, to be run one after another.
struct Group<'b> {
    binary: &'b Binary,
    tests: Vec<String>,
}

/// A test with what it took.
struct Timed {
    /// The binary's name and the module.
    module: String,
    test: String,
    took: Duration,
}

/// Runs tests and says where the time goes. Each module is a process that runs its tests one
/// after another, with as many modules at a time as there are processors: so what is measured
/// of a test is its own.
pub fn profile(filters: &[String], is_quick: bool) -> Result<Count> {
    let binaries = build()?;
    let quick = quick_arguments();
    let mut groups = Vec::new();
    for binary in &binaries {
        let filters = if is_quick && binary.name == INTEGRATION { &quick } else { filters };
        let mut modules: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for test in binary.tests(filters)? {
            modules.entry(module(binary, &test)).or_default().push(test);
        }
        groups.extend(modules.into_iter().map(|(module, tests)| (module, Group { binary, tests })));
    }
    // The largest first, so that none is left alone in the end.
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.tests.len()));
    let began = Instant::now();
    let queue = Mutex::new(VecDeque::from(groups));
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    let done = std::thread::scope(|scope| {
        let work = || {
            let (mut timed, mut count) = (Vec::new(), Count::default());
            while let Some((module, group)) = { queue.lock().expect("no worker panics").pop_front() } {
                group.run(&module, &mut timed, &mut count)?;
            }
            Ok::<_, anyhow::Error>((timed, count))
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no worker panics")).collect::<Result<Vec<_>>>()
    })?;
    let (mut timed, mut count) = (Vec::new(), Count::default());
    for (some, counted) in done {
        timed.extend(some);
        count.add_all(&counted);
    }
    print!("{}", report(timed, began.elapsed()));
    Ok(count)
}

/// The module that a test is counted to: the first part of its path.
fn module(binary: &Binary, test: &str) -> String {
    match test.split_once("::") {
        Some((first, _)) => format!("{} {first}", binary.name),
        None => binary.name.clone(),
    }
}

impl Group<'_> {
    fn run(&self, module: &str, timed: &mut Vec<Timed>, count: &mut Count) -> Result<()> {
        let mut command = self.binary.command();
        command.args(["--exact", "--test-threads=1"]).args(&self.tests).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("failed to start the tests of {module}"))?;
        let output = child.stdout.take().context("the output of the tests is not piped")?;
        let (mut before, mut said) = (Instant::now(), Vec::new());
        let (mut passed, mut failed) = (0, 0);
        for line in BufReader::new(output).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            if let Some((test, end)) = line.strip_prefix("test ").and_then(|line| line.split_once(" ... ")) {
                let (module, test) = (module.to_owned(), test.to_owned());
                timed.push(Timed { module, test, took: before.elapsed() });
                before = Instant::now();
                match end.starts_with("FAILED") {
                    true => failed += 1,
                    false => passed += u64::from(end == "ok"),
                }
            }
            said.push(line);
        }
        let status = child.wait()?;
        if !status.success() {
            // One write: other modules have their say as well.
            std::io::stdout().write_all((said.join("\n") + "\n").as_bytes())?;
            failed = failed.max(1);
        }
        count.add_all(&Count { passed, failed });
        Ok(())
    }
}

/// The tables of a profile: the modules and the slowest tests, each with its time.
fn report(mut timed: Vec<Timed>, wall: Duration) -> String {
    let total: Duration = timed.iter().map(|one| one.took).sum();
    let mut modules: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
    for one in &timed {
        let (tests, took) = modules.entry(&one.module).or_default();
        *tests += 1;
        *took += one.took;
    }
    let mut modules: Vec<_> = modules.into_iter().collect();
    modules.sort_by_key(|(_, (_, took))| std::cmp::Reverse(*took));
    let mut text = format!("\n{:>9}  {:>5}  {:>6}  module\n", "seconds", "tests", "share");
    for (module, (tests, took)) in modules {
        let share = took.as_secs_f64() * 100.0 / total.as_secs_f64().max(f64::EPSILON);
        text += &format!("{:>9.1}  {tests:>5}  {share:>5.1}%  {module}\n", took.as_secs_f64());
    }
    timed.sort_by_key(|one| std::cmp::Reverse(one.took));
    text += &format!("\n{:>9}  slowest tests\n", "seconds");
    for one in timed.iter().take(SLOWEST) {
        text += &format!("{:>9.1}  {}\n", one.took.as_secs_f64(), one.test);
    }
    let (total, wall) = (total.as_secs_f64(), wall.as_secs_f64());
    text + &format!("\n{total:.0} s of tests in {wall:.0} s\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_names_modules_and_tests_with_the_slowest_first() {
        let timed = |module: &str, test: &str, seconds| Timed {
            module: module.to_owned(),
            test: test.to_owned(),
            took: Duration::from_secs(seconds),
        };
        let some = vec![
            timed("it quick", "quick::a", 1),
            timed("it slow", "slow::b", 5),
            timed("it quick", "quick::c", 2),
        ];
        let text = report(some, Duration::from_secs(4));
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines[1..4],
            ["seconds  tests   share  module", "5.0      1   62.5%  it slow", "3.0      2   37.5%  it quick"]
        );
        assert_eq!(lines[5..9], ["seconds  slowest tests", "5.0  slow::b", "2.0  quick::c", "1.0  quick::a"]);
        assert_eq!(lines.last(), Some(&"8 s of tests in 4 s"));
    }

    #[test]
    fn another_user_than_root_can_read_the_repository() {
        let Some(user) = User::other().unwrap() else { return };
        let home = user.home.clone();
        let run = |program: &str, argument: &Path| {
            let mut command = Command::new(program);
            user.own(command.arg(argument));
            command.output().unwrap()
        };
        assert!(run("cat", &root().join("Cargo.toml")).status.success());
        assert!(run("touch", &home.join("a")).status.success());
        let written = run("touch", &root().join("not-by-others"));
        assert!(!written.status.success(), "it may do what root may");
        drop(user);
        assert!(!home.exists());
    }

    #[test]
    fn every_quick_module_is_one_of_the_integration_tests() {
        let main = fs::read_to_string(root().join("tests/it/main.rs")).unwrap();
        for filter in QUICK {
            let module = filter.split("::").next().unwrap();
            assert!(main.contains(&format!("mod {module};")), "{module} is no module of tests");
        }
        for test in SLOW {
            let (module, test) = test.split_once("::").unwrap();
            let text = fs::read_to_string(root().join(format!("tests/it/runner/{module}.rs"))).unwrap();
            assert!(text.contains(&format!("fn {test}(")), "{test} is no test of the runner");
        }
    }
}
