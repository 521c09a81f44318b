//! Compiles untrusted components in a child process with limits.
//!
//! wasmtime promises that what it compiled can't leave the sandbox; it does not
//! promise that compiling takes any particular time or memory. So a child does
//! it, which is this program itself. It gets the bytes of the component as its
//! standard input, a file to write to as its standard output, and nothing else:
//! no environment, no other descriptor. It limits itself, and gives up nearly all
//! system calls, before it reads a byte, and dies with the thread that waits for it.

mod child;
mod filter;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use wasmtime::Engine;

pub use child::{JobError, compile};

use super::interrupt::event_of;
use crate::model::Interrupt;

/// The most bytes that are kept of what a child says.
const MAX_SAID: usize = 64 << 10;

/// The way in which components are compiled.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// By a child process.
    Child(ChildCompiler),
    /// By this process. Nothing bounds what it takes: only for components that are
    /// trusted, as those of tests and benchmarks are.
    InProcess,
}

/// A program that compiles, and its limits.
#[derive(Debug, Clone)]
pub struct ChildCompiler {
    /// The program, and what it is given before the job.
    command: Vec<OsString>,
    limits: CompileLimits,
}

/// The limits of compiling one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// From the start of the child to its end.
    pub time: Duration,
    /// On all processors together; counted in whole seconds.
    pub cpu: Duration,
    /// Memory that the child may allocate.
    pub memory_bytes: u64,
    /// The compiled code.
    pub code_bytes: u64,
    /// The component's own bytes.
    pub component_bytes: u64,
}

impl Default for CompileLimits {
    /// Several times what the largest language runtimes take.
    fn default() -> Self {
        Self {
            time: Duration::from_secs(10 * 60),
            cpu: Duration::from_secs(5 * 60),
            memory_bytes: 2 << 30,
            code_bytes: 512 << 20,
            component_bytes: 128 << 20,
        }
    }
}

/// Why there is no compiled code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CompileError {
    /// The bytes are not a component that can be compiled, within the limits: the
    /// same bytes will never do better. As a sentence about `it`.
    Refused(String),
    /// This time it did not work.
    Failed(String),
    /// It was made, and there was no room to write it.
    Unwritten(String),
}

impl std::fmt::Display for CompileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Refused(message) | Self::Failed(message) | Self::Unwritten(message)) = self;
        f.write_str(message)
    }
}

/// The work of a child: everything that it needs but the bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Job {
    /// The process that waits for it.
    parent: i32,
    cpu_seconds: u64,
    memory_bytes: u64,
    code_bytes: u64,
    /// Whether the code counts fuel.
    fuel: bool,
    /// Whether guests run meanwhile, which have the right of way.
    polite: bool,
}

impl Compiler {
    /// The program that this is, which must understand `subcommand`, followed by a
    /// job, as a call of [`compile`].
    pub fn this_program(subcommand: &str, limits: CompileLimits) -> Self {
        // Not by its path, where another version may have been installed since.
        let command = vec!["/proc/self/exe".into(), subcommand.into()];
        Self::Child(ChildCompiler { command, limits })
    }

    /// A program at a path, which must understand the same.
    pub fn program(path: PathBuf, subcommand: &str, limits: CompileLimits) -> Self {
        Self::Child(ChildCompiler { command: vec![path.into(), subcommand.into()], limits })
    }

    /// The most bytes that a component may have.
    pub(super) fn max_component_bytes(&self) -> u64 {
        match self {
            Self::Child(child) => child.limits.component_bytes,
            Self::InProcess => CompileLimits::default().component_bytes,
        }
    }
}

impl ChildCompiler {
    /// Lets a child compile `bytes` for engines like `engine` and write its code
    /// into `code`, where it is as [`super::sealed`] writes it. The child is killed if
    /// `interrupt` is thrown first.
    pub(super) fn compile(
        &self,
        fuel: bool,
        bytes: &[u8],
        code: &File,
        polite: bool,
        interrupt: &Interrupt,
    ) -> Result<(), CompileError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| CompileError::Failed(format!("{what}: {error}"))
        };
        let job = Job {
            parent: rustix::process::getpid().as_raw_nonzero().get(),
            // At least one, or it could not even start.
            cpu_seconds: self.limits.cpu.as_secs_f64().ceil().max(1.0) as u64,
            memory_bytes: self.limits.memory_bytes,
            code_bytes: self.limits.code_bytes,
            fuel,
            polite,
        };
        let job = serde_json::to_string(&job).map_err(|error| CompileError::Failed(error.to_string()))?;
        // A copy that nobody can change: what is compiled is what was hashed.
        let input = in_memory("component").and_then(|mut file| {
            file.write_all(bytes)?;
            file.seek(SeekFrom::Start(0))?;
            Ok(file)
        });
        let input = input.map_err(failed("the component can't be handed to the compiler"))?;
        let output = code.try_clone().map_err(failed("the compiler can't be given a file"))?;
        let interrupt = event_of(interrupt).map_err(failed("the compiler can't be waited for"))?;
        let deadline = Instant::now() + self.limits.time;
        let [program, arguments @ ..] = &*self.command else { unreachable!("a command has a program") };
        let child = Command::new(program)
            .args(arguments)
            .arg(&job)
            .env_clear()
            .current_dir("/")
            // A Ctrl-C at the terminal is for the runner, which decides.
            .process_group(0)
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn();
        let child = child.map_err(failed("the compiler can't be started"))?;
        let pid = child.id();
        tracing::debug!(pid, bytes = bytes.len(), "compiling a component");
        let (status, said, end) =
            wait(child, deadline, &interrupt).map_err(failed("the compiler can't be waited for"))?;
        match end {
            End::Itself if status.success() => Ok(()),
            End::Itself => Err(self.verdict(status, &said)),
            End::OutOfTime => Err(self.over("takes longer than", &format!("{:?}", self.limits.time), "time")),
            End::Interrupted => {
                tracing::debug!(pid, "the compiler was killed: nobody waits for it any more");
                Err(CompileError::Failed("nobody waits for it any more".to_owned()))
            }
        }
    }

    /// The error that the end of a child stands for.
    fn verdict(&self, status: ExitStatus, said: &str) -> CompileError {
        let limits = &self.limits;
        // As the command line tells an error.
        let message = || said.trim_end().trim_start_matches("error: ").to_owned();
        let signal = status.signal().map(|signal| (signal, Signal::from_named_raw(signal)));
        match (status.code(), signal) {
            (Some(child::INVALID), _) => CompileError::Refused(message()),
            (Some(child::TOO_MUCH_CODE), _) | (_, Some((_, Some(Signal::XFSZ)))) => {
                self.over("makes more code than", &size(limits.code_bytes), "code")
            }
            (_, Some((_, Some(Signal::XCPU)))) => {
                self.over("takes more processor time than", &format!("{:?}", limits.cpu), "cpu")
            }
            // What the standard library, wasmtime and the system say in turn.
            _ if ["memory allocation of", "out of memory", "annot allocate memory"]
                .iter()
                .any(|text| said.contains(text)) =>
            {
                self.over("takes more memory than", &size(limits.memory_bytes), "memory")
            }
            // Limits end the process by themselves; the system's own shortage of
            // memory does so too, and its other processes are right to be spared.
            (_, Some((_, Some(Signal::KILL)))) => {
                CompileError::Failed("the compiler was killed by somebody else".to_owned())
            }
            (_, Some((signal, _))) => {
                let reason = last_line(said);
                CompileError::Refused(format!("the compiler died of it (signal {signal}{reason})"))
            }
            // Of a child that could not even begin.
            (Some(child::UNWRITTEN), _) => CompileError::Unwritten(message()),
            (Some(child::NOT_BEGUN), _) => CompileError::Failed(message()),
            (code, _) => {
                let (code, reason) = (code.unwrap_or(-1), last_line(said));
                CompileError::Refused(format!("the compiler gave up on it (exit code {code}{reason})"))
            }
        }
    }

    fn over(&self, how: &str, limit: &str, key: &str) -> CompileError {
        CompileError::Refused(format!(
            "compiling it {how} the {limit} that `compile.{key}` allows \
             (raise it in `wasm-runner.toml` if you trust the component)"
        ))
    }
}

/// Waits until a child ends, or ends it.
fn wait(mut child: Child, deadline: Instant, interrupt: &OwnedFd) -> io::Result<(ExitStatus, String, End)> {
    let mut said = Vec::new();
    let listened = listen(&mut child, deadline, interrupt, &mut said);
    if !matches!(listened, Ok(End::Itself)) {
        let _ = child.kill();
    }
    // It has closed its standard error, which it does not do before its end,
    // or it was killed.
    let status = child.wait()?;
    Ok((status, String::from_utf8_lossy(&said).into_owned(), listened?))
}

fn listen(child: &mut Child, deadline: Instant, interrupt: &OwnedFd, said: &mut Vec<u8>) -> io::Result<End> {
    let Some(mut stderr) = child.stderr.take() else { return Ok(End::Itself) };
    let mut buffer = [0; 4096];
    loop {
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Ok(End::OutOfTime);
        }
        let timeout = Timespec::try_from(remaining).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut events = [PollFd::new(&stderr, PollFlags::IN), PollFd::new(interrupt, PollFlags::IN)];
        match poll(&mut events, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        let (spoke, interrupted) = (events[0].revents(), events[1].revents());
        if !interrupted.is_empty() {
            return Ok(End::Interrupted);
        }
        if spoke.is_empty() {
            continue;
        }
        match stderr.read(&mut buffer) {
            Ok(0) => return Ok(End::Itself),
            Ok(count) => {
                let room = MAX_SAID.saturating_sub(said.len());
                said.extend_from_slice(&buffer[..count.min(room)]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// How the wait for a child ended.
enum End {
    /// It ended by itself, or by a limit that the system enforces.
    Itself,
    OutOfTime,
    Interrupted,
}

/// A file that has no name and lies in memory.
pub(super) fn in_memory(what: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(what, MemfdFlags::CLOEXEC)?))
}

/// The last thing that was said, for the end of a message.
fn last_line(said: &str) -> String {
    match said.lines().rfind(|line| !line.trim().is_empty() && !line.starts_with("note:")) {
        Some(line) => format!(": {}", line.trim()),
        None => String::new(),
    }
}

/// Bytes in the unit that they were probably written in.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(bits, _)| bytes > 0 && bytes.trailing_zeros() >= *bits) {
        Some((bits, unit)) => format!("{} {unit}", bytes >> bits),
        None => format!("{bytes} bytes"),
    }
}

/// Compiles in this process.
pub(super) fn in_process(engine: &Engine, bytes: &[u8]) -> Result<Vec<u8>, CompileError> {
    engine
        .precompile_component(bytes)
        .map_err(|error| CompileError::Refused(format!("it is not a valid component: {error:#}")))
}
