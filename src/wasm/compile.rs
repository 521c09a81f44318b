//! Compiles untrusted components in a child process with limits.
//!
//! wasmtime promises that compiled code can't leave the sandbox, and nothing about the time and memory that
//! compiling takes. So a child does it, which is this program itself. It gets the bytes of the component as
//! its standard input, a file to write to as its standard output, and nothing else: no environment, no other
//! descriptor. It limits itself, and gives up nearly all system calls, before it reads a byte, and dies with
//! the thread that waits for it.

mod child;
mod filter;

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use wasmtime::Engine;

pub use child::{JobError, compile};

use super::shortage::shortage_of;
use crate::model::{Interrupt, Shortage};

/// The most bytes that are kept of a child's standard error.
const MAX_SAID: usize = 64 << 10;

/// The compiler of components.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// A child process.
    Child(ChildCompiler),
    /// This process, without limits: only for trusted components, as in tests and benchmarks.
    InProcess,
}

/// A child process that compiles, and its limits.
#[derive(Debug, Clone)]
pub struct ChildCompiler {
    /// The subcommand of this program that takes a job.
    subcommand: String,
    limits: CompileLimits,
}

/// The messages of the standard library, wasmtime and the system when an allocation fails.
const OUT_OF_MEMORY: [&str; 3] = ["memory allocation of", "out of memory", "annot allocate memory"];

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

/// The reason why there is no compiled code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CompileError {
    /// The bytes can't be compiled within the limits, now or later. As a sentence about `it`.
    #[error("{0}")]
    Refused(String),
    /// Compiling failed this time.
    #[error("{0}")]
    Failed(String),
    /// The host is short of something that compiling takes.
    #[error("this host is short of {0}")]
    Short(Shortage),
    /// There was no room to write the code.
    #[error("{0}")]
    Unwritten(String),
    /// Nobody waits for the compiler.
    #[error("nobody waits for it any more")]
    Interrupted,
}

impl CompileError {
    /// Makes the error of a step that failed this time: a shortage, or else the message.
    pub(super) fn failed(what: &str, error: &(dyn Error + 'static)) -> Self {
        shortage_of(error).map_or_else(|| Self::Failed(format!("{what}: {error}")), Self::Short)
    }
}

/// The instructions of a child: everything that it needs but the bytes.
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
    /// Compiles by this program, which must understand `subcommand`, followed by a job, as a call of
    /// [`compile`].
    pub fn this_program(subcommand: &str, limits: CompileLimits) -> Self {
        Self::Child(ChildCompiler { subcommand: subcommand.to_owned(), limits })
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
    /// Lets a child compile `bytes` and write the code into the file `code`, in the form of
    /// [`super::sealed`]. The child is killed if `interrupt` is thrown first.
    pub(super) fn compile(
        &self,
        fuel: bool,
        bytes: &[u8],
        code: &File,
        polite: bool,
        interrupt: &Interrupt,
    ) -> Result<(), CompileError> {
        let failed = |what: &'static str| move |error: io::Error| CompileError::failed(what, &error);
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
        // A copy that nobody can change: the compiled bytes are the hashed ones.
        let input = in_memory("component").and_then(|mut file| {
            file.write_all(bytes)?;
            file.rewind()?;
            Ok(file)
        });
        let input = input.map_err(failed("the component can't be handed to the compiler"))?;
        let output = code.try_clone().map_err(failed("the compiler can't be given a file"))?;
        let interrupt = event_of(interrupt).map_err(failed("the compiler can't be waited for"))?;
        let deadline = Instant::now() + self.limits.time;
        // Not by its path, where another version may have been installed since.
        let child = Command::new("/proc/self/exe")
            .args([&self.subcommand, &job])
            .env_clear()
            // The allocator reserves a gibibyte in advance, which would count as memory of the job.
            .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
            .env("MIMALLOC_ARENA_RESERVE", "16MiB")
            .current_dir("/")
            // A Ctrl-C at the terminal is for the runner, which decides.
            .process_group(0)
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn();
        let child = child.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => CompileError::Failed(
                "the compiler can't be started: this program starts itself by `/proc/self/exe`, and `/proc` is not \
                 mounted here"
                    .to_owned(),
            ),
            _ => CompileError::failed("the compiler can't be started", &error),
        })?;
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
                Err(CompileError::Interrupted)
            }
        }
    }

    /// Makes the error for the end of a child.
    fn verdict(&self, status: ExitStatus, said: &str) -> CompileError {
        let limits = &self.limits;
        // The command line puts the prefix before its errors.
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
            _ if OUT_OF_MEMORY.iter().any(|text| said.contains(text)) => {
                self.over("takes more memory than", &size(limits.memory_bytes), "memory")
            }
            // The limits use other signals; the system itself does this when it runs out of memory.
            (_, Some((_, Some(Signal::KILL)))) => {
                CompileError::Failed("the compiler was killed by somebody else".to_owned())
            }
            (_, Some((signal, _))) => {
                let reason = last_line(said);
                CompileError::Refused(format!("the compiler died of it (signal {signal}{reason})"))
            }
            (Some(child::UNWRITTEN), _) => CompileError::Unwritten(message()),
            (Some(child::NOT_BEGUN), _) => CompileError::Failed(message()),
            (Some(child::SHORT), _) => CompileError::Short(Shortage(message())),
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

/// Waits until a child ends, or kills it at the deadline or the interrupt.
fn wait(mut child: Child, deadline: Instant, interrupt: &OwnedFd) -> io::Result<(ExitStatus, String, End)> {
    let mut said = Vec::new();
    let listened = listen(&mut child, deadline, interrupt, &mut said);
    if !matches!(listened, Ok(End::Itself)) {
        let _ = child.kill();
    }
    // It has closed its standard error, which it does only at its end, or it was killed.
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

/// The end of the wait for a child.
enum End {
    /// The child ended by itself, or by a limit that the system enforces.
    Itself,
    OutOfTime,
    Interrupted,
}

/// Makes a file that has no name and lies in memory.
pub(super) fn in_memory(what: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(what, MemfdFlags::CLOEXEC)?))
}

/// The last line of a child's standard error that says something, for the end of a message.
fn last_line(said: &str) -> String {
    let line = said.lines().rfind(|line| !line.trim().is_empty() && !line.starts_with("note:"));
    line.map(|line| format!(": {}", line.trim())).unwrap_or_default()
}

/// Writes a number of bytes in the largest unit that divides it.
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

/// Makes a descriptor that is readable once `interrupt` is thrown.
fn event_of(interrupt: &Interrupt) -> io::Result<Arc<OwnedFd>> {
    let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
    let signalled = Arc::clone(&event);
    interrupt.on_throw(move || {
        // Fails only after 2^64 times.
        let _ = rustix::io::write(&signalled, &1u64.to_ne_bytes());
    });
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_readable(event: &OwnedFd) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(event, PollFlags::IN)], Some(&at_once)).expect("it can be waited for") == 1
    }

    #[test]
    fn whoever_waits_is_told_whether_before_or_after() {
        let before = Interrupt::default();
        let event = event_of(&before).expect("there are descriptors");
        assert!(!before.is_thrown() && !is_readable(&event));
        before.throw();
        before.throw();
        assert!(before.is_thrown() && is_readable(&event));

        let after = Interrupt::default();
        after.throw();
        assert!(is_readable(&event_of(&after).expect("there are descriptors")));
    }
}
