//! Facts of the kernel about a process.

use std::fmt;
use std::time::{Duration, Instant};

fn read(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process runs")
}

/// A number of `/proc/PID/status`.
#[track_caller]
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()).expect("a field of a status");
    number.parse().expect("a number")
}

/// The bytes that are resident.
pub fn resident(pid: u32) -> u64 {
    field(&read(pid, "status"), "VmRSS") * 1024
}

/// The most bytes that were ever resident.
pub fn resident_peak(pid: u32) -> u64 {
    field(&read(pid, "status"), "VmHWM") * 1024
}

/// The resources that a process used over an interval.
pub struct Usage {
    processor: Duration,
    wall: Duration,
    /// Times that a thread went to sleep: each came after it had been woken.
    switches: u64,
}

impl Usage {
    /// Measures for that long.
    #[track_caller]
    pub fn over(pid: u32, interval: Duration) -> Self {
        let (processor, switches, began) = (processor(pid), switches(pid), Instant::now());
        std::thread::sleep(interval);
        Self {
            processor: self::processor(pid) - processor,
            wall: began.elapsed(),
            switches: self::switches(pid).saturating_sub(switches),
        }
    }

    pub fn share_of_a_core(&self) -> f64 {
        self.processor.as_secs_f64() / self.wall.as_secs_f64()
    }

    pub fn switches_per_second(&self) -> f64 {
        self.switches as f64 / self.wall.as_secs_f64()
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.3} % of a core, {:.1} wake-ups a second, over {:.1?}",
            100.0 * self.share_of_a_core(),
            self.switches_per_second(),
            self.wall
        )
    }
}

/// Time that the threads of a process have spent on processors.
fn processor(pid: u32) -> Duration {
    // In nanoseconds, which `stat` has in ticks of 10 ms only. A thread that ends
    // takes its time with it; none does while a runner waits.
    threads(pid)
        .filter_map(|thread| std::fs::read_to_string(thread.join("schedstat")).ok())
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .map(Duration::from_nanos)
        .sum()
}

fn switches(pid: u32) -> u64 {
    threads(pid)
        .filter_map(|thread| std::fs::read_to_string(thread.join("status")).ok())
        .map(|status| field(&status, "voluntary_ctxt_switches"))
        .sum()
}

/// The threads of a process, as directories.
pub fn threads(pid: u32) -> impl Iterator<Item = std::path::PathBuf> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    threads.map(|entry| entry.expect("a thread").path())
}
