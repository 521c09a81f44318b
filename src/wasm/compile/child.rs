//! The child: limits itself, compiles what it reads, writes what it made.

use std::io::{self, Read, Write};
use std::os::fd::RawFd;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getppid, getrlimit, nice, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};

use super::Job;
use super::filter::give_up_calls;
use crate::wasm::engine::compiling_engine;
use crate::wasm::sealed::seal;
use crate::wasm::shortage::shortage_of;

/// Exit code: the component is not valid.
pub(super) const INVALID: i32 = 65;
/// Exit code: the code does not fit the limit.
pub(super) const TOO_MUCH_CODE: i32 = 66;
/// Exit code: the code could not be written.
pub(super) const UNWRITTEN: i32 = 74;
/// Exit code: compiling has not begun, which is not the component's fault.
pub(super) const NOT_BEGUN: i32 = 71;
/// Exit code: compiling has not begun, because the host is short of what standard error says.
pub(super) const SHORT: i32 = 75;

/// The nice value of a child beside guests.
const POLITENESS: i32 = 10;

/// The reason why there is no code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct JobError {
    /// The text for standard error.
    pub message: String,
    /// The exit code of the child.
    pub code: u8,
}

impl JobError {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { message: message.into(), code: code.try_into().unwrap_or(1) }
    }
}

/// Compiles the component in standard input, and writes the code to standard output: the whole work of the
/// child.
///
/// # Errors
///
/// [`JobError`], with the text for standard error and the exit code.
pub fn compile(job: &str) -> Result<(), JobError> {
    fn not_begun(error: impl std::fmt::Display) -> JobError {
        JobError::new(NOT_BEGUN, format!("the compiler could not begin: {error}"))
    }
    let job: Job = serde_json::from_str(job).map_err(not_begun)?;
    confine(&job).map_err(not_begun)?;
    let engine = compiling_engine(job.fuel).map_err(not_begun)?;
    start_threads().map_err(|error| match shortage_of(&error) {
        Some(shortage) => JobError::new(SHORT, shortage.to_string()),
        None => not_begun(error),
    })?;
    give_up_calls().map_err(not_begun)?;
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).map_err(not_begun)?;
    let code = engine
        .precompile_component(&bytes)
        .map_err(|error| JobError::new(INVALID, format!("it is not a valid component: {error:#}")))?;
    if code.len() as u64 > job.code_bytes {
        return Err(JobError::new(TOO_MUCH_CODE, format!("it makes {} bytes of code", code.len())));
    }
    let mut output = io::stdout().lock();
    seal(&mut output, &code)
        .and_then(|()| output.flush())
        .map_err(|error| JobError::new(UNWRITTEN, error.to_string()))
}

/// Starts rayon's threads, with which wasmtime compiles: later none can be started. Each has run once, and
/// made the system calls that a thread makes first.
fn start_threads() -> Result<(), rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new().build_global()?;
    rayon::broadcast(|_| ());
    Ok(())
}

/// Gives up everything that compiling does not need, before any byte is read that could attack this process.
fn confine(job: &Job) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died just before.
    if getppid().map(|parent| parent.as_raw_nonzero().get()) != Some(job.parent) {
        return Err(io::Error::other("whoever asked for it is gone"));
    }
    close_what_was_inherited()?;
    // Nobody looks into it, or traces it: from here on not even itself by `/proc`.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    if job.polite {
        // It also works without.
        let _ = nice(POLITENESS);
    }
    limit(Resource::Core, 0, 0)?;
    // Not the address space: allocators reserve much more of that than they use.
    limit(Resource::Data, job.memory_bytes, job.memory_bytes)?;
    // The signal of the soft limit names it; the hard one is a plain kill.
    limit(Resource::Cpu, job.cpu_seconds, job.cpu_seconds.saturating_add(1))?;
    // A little more than the code, for what stands before it.
    let file = job.code_bytes.saturating_add(4096);
    limit(Resource::Fsize, file, file)
}

fn limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    // What is limited further already can't be raised.
    let now = getrlimit(resource).maximum;
    let [soft, hard] = [soft, hard].map(|most| Some(now.map_or(most, |now| now.min(most))));
    Ok(setrlimit(resource, Rlimit { current: soft, maximum: hard })?)
}

/// Closes all descriptors but the three standard ones. The system closes those of the runner; these are the
/// ones that the runner was started with.
fn close_what_was_inherited() -> io::Result<()> {
    let entries = std::fs::read_dir("/proc/self/fd")?;
    let open: Vec<RawFd> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // That of the directory that was listed is closed already.
        if std::fs::symlink_metadata(format!("/proc/self/fd/{descriptor}")).is_err() {
            continue;
        }
        // SAFETY: this process has only just begun: nothing in it owns a descriptor beyond the standard ones.
        unsafe { rustix::io::close(descriptor) };
    }
    Ok(())
}
