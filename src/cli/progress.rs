//! A line of facts on a terminal during long waits.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use crate::model::Status;
use crate::store::Counts;

/// How often the line is renewed.
const INTERVAL: Duration = Duration::from_millis(300);

/// Facts about a large store take time to count: the line may cost at most one
/// part in this many of a processor.
const SHARE: u32 = 20;

/// The line on the terminal, so that other lines can be written around it.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// How long the end of a line waits for the terminal, which may be stopped (Ctrl-S).
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether a line was left as it is, since its terminal is stopped: nobody may wait for it any more.
static IS_STUCK: AtomicBool = AtomicBool::new(false);

/// Shows a line until dropped; does nothing if standard error is not a terminal.
pub struct Progress {
    /// Dropping the first ends the thread; the second is closed by its end.
    thread: Option<(Sender<()>, Receiver<()>)>,
}

impl Progress {
    /// Starts to show what `facts` says, asked a few times per second; `None`
    /// leaves the line as it is.
    pub fn start(facts: impl Fn() -> Option<String> + Send + 'static) -> Self {
        if !io::stderr().is_terminal() {
            return Self { thread: None };
        }
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let (end, ended) = crossbeam_channel::bounded::<()>(0);
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || {
            let _end = end;
            let style =
                ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("the template is right");
            let bar = ProgressBar::new_spinner().with_style(style);
            *SHOWN.lock() = Some(bar.clone());
            let (mut pause, mut has_facts) = (INTERVAL, false);
            // The first line comes late: quick commands show none.
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let asked = Instant::now();
                if let Some(facts) = facts() {
                    bar.set_message(facts);
                    has_facts = true;
                }
                pause = INTERVAL.max(asked.elapsed() * SHARE);
                if has_facts {
                    bar.tick();
                }
            }
            *SHOWN.lock() = None;
            bar.finish_and_clear();
        });
        // Without a thread there is no line, and everything else goes on.
        Self { thread: thread.ok().map(|_| (stop, ended)) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, ended)) = self.thread.take() {
            drop(stop);
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                IS_STUCK.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// Writes other lines without tearing the progress line.
pub fn suspend<T>(write: impl FnOnce() -> T) -> T {
    // The lock is not held while it writes: whoever writes elsewhere must not wait for a terminal that is stopped.
    let shown = SHOWN.lock().clone();
    match shown {
        Some(bar) if !IS_STUCK.load(Ordering::Relaxed) => bar.suspend(write),
        _ => write(),
    }
}

/// `3 running, 12 queued, 40 succeeded, 1 failed`.
pub fn facts(counts: &Counts) -> String {
    let of = |status: Status| (counts.get(status), status.as_str());
    let queued = (counts.get(Status::Claimed) + counts.get(Status::Queued), "queued");
    let finals = Status::ALL.into_iter().filter(|status| status.is_final()).map(of);
    let shown = [of(Status::Running), of(Status::Waiting), queued].into_iter().chain(finals);
    let parts = shown.filter(|(count, word)| *count > 0 || *word == "running");
    parts.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_name_what_there_is() {
        let mut counts = Counts::default();
        assert_eq!(facts(&counts), "0 running");
        counts.add(Status::Queued, 10);
        counts.add(Status::Claimed, 2);
        counts.add(Status::Succeeded, 40);
        counts.add(Status::Failed, 1);
        assert_eq!(facts(&counts), "0 running, 12 queued, 40 succeeded, 1 failed");
        for status in Status::ALL {
            let mut counts = Counts::default();
            counts.add(status, 7);
            assert!(facts(&counts).contains("7 "), "{status} is left out");
        }
    }
}
