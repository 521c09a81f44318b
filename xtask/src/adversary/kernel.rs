//! Facts of the kernel about a process.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// The kernel counts processor time in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// The resources of a process at a moment. All are 0 if it has ended.
#[derive(Debug, Default, Clone, Copy)]
pub struct Resources {
    pub memory: u64,
    pub threads: u64,
    pub descriptors: u64,
}

/// The bytes that are resident.
pub fn memory(pid: u32) -> Option<u64> {
    field(pid, "VmRSS").map(|kibibytes| kibibytes << 10)
}

pub fn resources(pid: u32) -> Option<Resources> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
    Some(Resources { memory: memory(pid)?, threads: field(pid, "Threads")?, descriptors })
}

fn field(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The time that its threads have spent on processors.
pub fn processor(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in brackets, may have anything in it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place)?.parse::<u32>().ok();
    Some(TICK * (ticks(11)? + ticks(12)?))
}

/// Asks a process to end.
pub fn terminate(pid: u32) -> Result<()> {
    let status = Command::new("kill").args(["-TERM", &pid.to_string()]).status();
    ensure!(status.context("failed to start `kill`")?.success(), "process {pid} can't be told to end");
    Ok(())
}
