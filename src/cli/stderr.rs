//! Standard error. A thread of its own writes the log: whoever logs holds slots, locks and leases, and must not
//! wait for a terminal that was stopped or a pipe that nobody reads. What does not fit into its queue is counted and
//! lost.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::harmless::harmless;
use super::json_log;
use super::progress;

/// The most lines that wait to be written.
const MOST_LINES: usize = 4096;

/// The most bytes of them.
const MOST_BYTES: usize = 4 << 20;

/// How long the end of a server, or of a panicking thread, waits for what is still to be written.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often lost lines are told while more of them are lost.
const INTERVAL: Duration = Duration::from_secs(1);

static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    lines: Lines,
    /// Whether this process has a lease and must end in time, so that notes for people don't wait either.
    is_server: bool,
    /// Whether each line is a JSON object.
    is_json: bool,
}

/// Starts the thread that writes the log. Without it everything is written where it is said.
pub fn start(is_server: bool, is_json: bool) {
    let Ok(lines) = Lines::start(is_json, write_now) else { return };
    // Only a test that runs commands twice in one process could have one.
    if LOG.set(Log { lines, is_server, is_json }).is_ok() {
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let mut text = format!("thread '{}' {panic}\n", thread.name().unwrap_or("unnamed"));
            let trace = std::backtrace::Backtrace::capture();
            if trace.status() == std::backtrace::BacktraceStatus::Captured {
                text.push_str(&trace.to_string());
            }
            let text = harmless(&text);
            match is_json {
                true => log(format!("{}\n", json_log::note("error", text.trim_end())).as_bytes()),
                false => log(text.as_bytes()),
            }
            // It may be the end of the process.
            flush(Some(PATIENCE));
        }));
    }
}

/// Writes lines of the log, some time.
pub fn log(lines: &[u8]) {
    match LOG.get() {
        Some(log) => log.lines.push(lines.to_vec()),
        None => write_now(lines),
    }
}

/// Whether each line is a JSON object.
pub fn is_json() -> bool {
    LOG.get().is_some_and(|log| log.is_json)
}

/// Writes a line: at once, after what was logged before; a server, some time.
pub fn note(text: &str) {
    let line = format!("{text}\n").into_bytes();
    match LOG.get() {
        Some(log) if log.is_server => log.lines.push(line),
        _ => {
            flush(None);
            write_now(&line);
        }
    }
}

/// Waits until everything is written; a server, not for long.
pub fn finish() {
    flush(LOG.get().filter(|log| log.is_server).map(|_| PATIENCE));
}

fn flush(patience: Option<Duration>) {
    if let Some(log) = LOG.get() {
        log.lines.flush(patience);
    }
}

/// Writes without tearing the progress line. Nobody can be told if that fails, and it must not end the program.
fn write_now(bytes: &[u8]) {
    let _ = progress::suspend(|| io::stderr().lock().write_all(bytes));
}

/// Lines on their way to a thread that writes them.
struct Lines {
    queue: Sender<Entry>,
    state: Arc<State>,
}

enum Entry {
    Line(Vec<u8>),
    /// Is dropped when everything before it was written.
    Flush(Sender<()>),
}

#[derive(Default)]
struct State {
    /// In the queue.
    bytes: AtomicUsize,
    /// Lines that are not told yet.
    lost: AtomicU64,
}

impl Lines {
    fn start(is_json: bool, write: impl Fn(&[u8]) + Send + 'static) -> io::Result<Self> {
        let (queue, entries) = crossbeam_channel::bounded(MOST_LINES);
        let state = Arc::new(State::default());
        let lines = Self { queue, state: Arc::clone(&state) };
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || write_all(&entries, &state, is_json, write)).map(|_| lines)
    }

    /// Queues a line, unless there is no room.
    fn push(&self, line: Vec<u8>) {
        let bytes = line.len();
        let before = self.state.bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_queued = before + bytes <= MOST_BYTES && self.queue.try_send(Entry::Line(line)).is_ok();
        if !is_queued {
            self.state.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.state.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything before was written, or for so long; returns whether it was.
    fn flush(&self, patience: Option<Duration>) -> bool {
        let deadline = patience.map(|patience| Instant::now() + patience);
        let (done, is_done) = crossbeam_channel::bounded::<()>(0);
        let entry = Entry::Flush(done);
        // It is never sent: that it is dropped says enough.
        let Some(deadline) = deadline else {
            return self.queue.send(entry).is_ok() && is_done.recv().is_err();
        };
        self.queue.send_deadline(entry, deadline).is_ok()
            && is_done.recv_deadline(deadline) == Err(crossbeam_channel::RecvTimeoutError::Disconnected)
    }
}

fn write_all(entries: &Receiver<Entry>, state: &State, is_json: bool, write: impl Fn(&[u8])) {
    let mut told = Instant::now();
    for entry in entries {
        let flush = match entry {
            Entry::Line(line) => {
                write(&line);
                state.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                None
            }
            Entry::Flush(done) => Some(done),
        };
        if flush.is_some() || entries.is_empty() || told.elapsed() > INTERVAL {
            let lost = state.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let s = if lost == 1 { "" } else { "s" };
                let text = format!("{lost} line{s} lost: standard error was not read in time");
                let text = if is_json { json_log::note("warn", &text) } else { text };
                write(format!("{text}\n").as_bytes());
                told = Instant::now();
            }
        }
        drop(flush);
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn whoever_logs_waits_for_nobody_and_what_was_lost_is_counted() {
        let (written, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(())));
        let shut = gate.lock();
        let lines = Lines::start(false, {
            let (written, gate) = (Arc::clone(&written), Arc::clone(&gate));
            move |line| {
                let _open = gate.lock();
                written.lock().push(String::from_utf8_lossy(line).into_owned());
            }
        })
        .unwrap();
        let (one, count) = (vec![b'x'; 8 << 10], 1000);
        (0..count).for_each(|_| lines.push(one.clone()));
        assert!(!lines.flush(Some(Duration::from_millis(10))), "nothing can be written yet");
        drop(shut);
        assert!(lines.flush(Some(Duration::from_secs(60))));
        let written = std::mem::take(&mut *written.lock());
        let kept = MOST_BYTES / one.len();
        assert_eq!(written.iter().filter(|line| line.len() == one.len()).count(), kept);
        assert_eq!(
            written.last().map(String::as_str),
            Some(&*format!("{} lines lost: standard error was not read in time\n", count - kept))
        );
        lines.push(b"again\n".to_vec());
        assert!(lines.flush(None), "there is room again");
    }
}
