//! A directory with a configuration, and a runner in it.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::group::Group;
use super::kernel::terminate;
use crate::guests;
use crate::process::show;

/// Guests that run at once.
const SLOTS: usize = 4;
/// The time that a case has on a slot. All slots are in use, so a neighbour waits for a part of it.
pub const TIME_OF_A_CASE: Duration = Duration::from_millis(500);
/// The bytes of a scratch directory.
pub const SCRATCH: u64 = 8 << 20;
/// The time that guests have to finish when a runner stops.
pub const GRACE: Duration = Duration::from_secs(1);
/// The time in which a runner or a command that nothing is wrong with has started, or ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// The settings without which a program is tried if it does not know them.
const NEW_KEYS: [&str; 3] = ["host-memory", "parked", "memory-budget"];

/// A program and the directory in which it is tried.
pub struct Site {
    program: PathBuf,
    directory: PathBuf,
    /// The part of the configuration that all rounds have, and what grants everything.
    configuration: String,
    grants: String,
    group: Option<Group>,
}

/// The rights of the component that runs programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grants {
    Nothing,
    Everything,
}

impl Grants {
    pub fn shown(self) -> &'static str {
        match self {
            Self::Nothing => "nothing granted",
            Self::Everything => "everything granted",
        }
    }
}

/// The configuration of a runner with a budget of this many bytes.
fn configuration(memory: u64) -> String {
    let guest = |name: &str| guests::directory().join(name).with_extension("wasm");
    format!(
        "slots = {SLOTS}\ngrace = \"{}ms\"\ncache-dir = \"cache\"\nstore = \"sqlite:round/state.db\"\n\
         [runner]\nmax-live = 512\nmemory-budget = \"{memory}\"\n\
         [component.echo]\npath = {:?}\npriority = 900\n\
         [component.adversary]\npath = {:?}\npriority = -500\n\
         [component.adversary.limits]\ntime = \"{}ms\"\nmemory = \"32MiB\"\nhost-memory = \"8MiB\"\n\
         parked = \"20s\"\nresult = \"64KiB\"\narguments = \"64KiB\"\nlogs = \"64KiB\"\n\
         file-bytes = \"256MiB\"\ntraffic = \"64MiB\"\nsockets = 16\nfiles = 64\n",
        GRACE.as_millis(),
        guest("echo"),
        guest("adversary"),
        TIME_OF_A_CASE.as_millis(),
    )
}

/// The part of a configuration that grants everything: a server on this machine, and directories.
fn grants(server: &str) -> String {
    format!(
        "[component.adversary.environment]\nSERVER = {server:?}\n\
         [component.adversary.scratch]\nguest = \"/scratch\"\nsize = \"{SCRATCH}\"\nfiles = 2000\n\
         [[component.adversary.directory]]\nhost = \"round/granted\"\nguest = \"/granted\"\naccess = \"read-write\"\n\
         [[component.adversary.network]]\nhost = \"127.0.0.1\"\nports = \"any\"\nallow-private = true\n\
         [[component.adversary.http]]\nhost = \"127.0.0.1\"\nschemes = [\"http\"]\nports = \"any\"\n\
         allow-private = true\n"
    )
}

impl Site {
    /// Prepares a directory for a program, with the settings that it knows.
    pub fn new(
        program: PathBuf,
        directory: PathBuf,
        memory: u64,
        server: &str,
        group: Option<Group>,
    ) -> Result<Self> {
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        let mut site =
            Self { program, directory, configuration: configuration(memory), grants: grants(server), group };
        loop {
            site.prepare(Grants::Everything)?;
            let output = site.command(&["check"]).output()?;
            if output.status.success() {
                return Ok(site);
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let unknown = NEW_KEYS.iter().find(|key| said.contains(&format!("unknown key `{key}`")));
            let key = unknown.with_context(|| format!("`check` failed: {said}"))?;
            eprintln!("this program does not know `{key}`: tried without it");
            let lines = site.configuration.lines().filter(|line| !line.starts_with(&format!("{key} =")));
            site.configuration = lines.map(|line| format!("{line}\n")).collect();
        }
    }

    /// Makes the directory of a round anew, with an empty store, and the configuration for it.
    fn prepare(&self, rights: Grants) -> Result<()> {
        let (round, granted) = (self.round(), self.round().join("granted"));
        // Not in Rust: directories that are nested thousands deep need as many descriptors there.
        run(Command::new("rm").arg("-rf").args([&round, &self.scratch_directory()]))?;
        fs::create_dir_all(&granted)?;
        run(Command::new("mkfifo").arg(granted.join("pipe")))?;
        UnixListener::bind(granted.join("socket")).context("failed to make a socket")?;
        let grants = if rights == Grants::Everything { &self.grants } else { "" };
        fs::write(self.directory.join("wasm-runner.toml"), self.configuration.clone() + grants)?;
        Ok(())
    }

    fn scratch_directory(&self) -> PathBuf {
        self.directory.join("cache/scratch")
    }

    /// The directory of the round that is under way.
    fn round(&self) -> PathBuf {
        self.directory.join("round")
    }

    /// A command of the program, with the configuration of the round.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WASM_RUNNER") {
                command.env_remove(name);
            }
        }
        command.current_dir(&self.directory).args(arguments).stdin(Stdio::null());
        command
    }

    /// Starts a runner on an empty store, with nothing left of an earlier one.
    pub fn start(&self, grants: Grants) -> Result<Runner> {
        self.prepare(grants)?;
        let mut command = self.command(&["start"]);
        if let Some(group) = &self.group {
            command = group.inside(&command);
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("failed to start the runner")?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().context("the output of the runner is not piped")?);
        let heard = Arc::clone(&said);
        // Ends with the runner.
        thread::spawn(move || {
            for line in lines.split(b'\n').map_while(Result::ok) {
                heard
                    .lock()
                    .expect("nobody panics with it")
                    .push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let mut runner = Runner { child, said };
        let began = Instant::now();
        while !runner.said().iter().any(|line| line.contains("the runner has started")) {
            if let Some(status) = runner.child.try_wait()? {
                bail!("the runner ended before it had started ({status}): {}", runner.said().join("\n"));
            }
            ensure!(began.elapsed() < PATIENCE, "the runner does not start");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(runner)
    }

    /// The bytes of the store.
    pub fn store_bytes(&self) -> u64 {
        let files = ["state.db", "state.db-wal"].map(|name| fs::metadata(self.round().join(name)));
        files.into_iter().flatten().map(|file| file.len()).sum()
    }

    /// Returns the scratch directory with the most bytes in its files, and these.
    pub fn fullest_scratch(&self) -> Result<Option<(PathBuf, u64)>> {
        let directory = self.scratch_directory();
        if !directory.exists() {
            return Ok(None);
        }
        // Files that go while it looks are no matter, and it gets along with any depth.
        let mut find = Command::new("find");
        find.arg(&directory).args(["-type", "f", "-printf", "%i %s %P\\n"]).stderr(Stdio::null());
        let output = find.output().context("failed to start `find`")?;
        // A file counts once, however many names it has.
        let mut files: HashMap<PathBuf, HashMap<String, u64>> = HashMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let mut words = line.splitn(3, ' ');
            let (Some(file), Some(size), Some(path)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let attempt = Path::new(path).components().take(2).collect();
            files.entry(attempt).or_default().insert(file.to_owned(), size.parse().unwrap_or(0));
        }
        let sums = files.into_iter().map(|(attempt, files)| (attempt, files.values().sum()));
        Ok(sums.max_by_key(|&(_, bytes)| bytes))
    }

    /// The scratch directories of attempts, one after another.
    pub fn scratch(&self) -> Vec<PathBuf> {
        let below =
            |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let processes = below(&self.scratch_directory()).filter(|path| path.is_dir());
        processes.flat_map(|process| below(&process).collect::<Vec<_>>()).collect()
    }
}

/// A runner that is tried.
pub struct Runner {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Runner {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines that it has said so far.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("nobody panics with it").clone()
    }

    /// Tells how it ended, if it did.
    pub fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Tells it to stop, and returns how long that took, or `None` if it did not within `patience`.
    pub fn stop(&mut self, patience: Duration) -> Result<Option<Duration>> {
        let began = Instant::now();
        terminate(self.pid())?;
        while began.elapsed() < patience {
            if self.child.try_wait()?.is_some() {
                return Ok(Some(began.elapsed()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(None)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command whose output nobody needs.
fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("failed to start `{}`", show(command)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{}` failed: {said}", show(command));
    Ok(())
}
