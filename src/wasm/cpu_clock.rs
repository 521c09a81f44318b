//! The processor time of a poll, with few system calls.
//!
//! The kernel does not tell the processor time of a thread in user space, and a system call at the begin and at
//! the end of each poll was a twentieth of the cost of a small invocation. The monotonic clock costs a tenth of
//! that, and no poll uses more processor time than it takes. So a short poll counts as long as it takes, and only
//! the end of a long one asks the kernel.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A poll below this counts as it is by the monotonic clock.
const SHORT: Duration = Duration::from_micros(100);

/// The age from which the reading of a thread is renewed at the begin of a poll. A long poll counts at most this
/// much of what the thread did before it.
const STALE: Duration = Duration::from_millis(1);

thread_local! {
    static LAST: Cell<Option<Reading>> = const { Cell::new(None) };
}

/// The processor time of a thread at a moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    cpu: Duration,
}

impl Reading {
    fn take(at: Instant) -> Self {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Self { at, cpu: Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0)) }
    }
}

/// Prepares this thread for a poll that begins at `now`.
pub(super) fn begin(now: Instant) {
    if LAST.get().is_none_or(|last| now.duration_since(last.at) >= STALE) {
        LAST.set(Some(Reading::take(now)));
    }
}

/// Returns the processor time of a poll that began at `began` on this thread, up to `now`. It is too much by at
/// most 100 µs for a short poll and 1 ms for a long one, and never more than the poll took.
pub(super) fn used(began: Instant, now: Instant) -> Duration {
    measured(now.duration_since(began), LAST.get(), || Reading::take(now)).0
}

/// Returns the same for a poll that is over.
pub(super) fn end(began: Instant, now: Instant) -> Duration {
    let (used, reading) = measured(now.duration_since(began), LAST.get(), || Reading::take(now));
    LAST.set(reading);
    used
}

/// Returns the processor time of a poll that took `took`, and the latest reading.
fn measured(
    took: Duration,
    last: Option<Reading>,
    read: impl FnOnce() -> Reading,
) -> (Duration, Option<Reading>) {
    match last {
        Some(last) if took >= SHORT => {
            let now = read();
            (took.min(now.cpu.saturating_sub(last.cpu)), Some(now))
        }
        _ => (took, last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(cpu_micros: u64) -> Reading {
        Reading { at: Instant::now(), cpu: Duration::from_micros(cpu_micros) }
    }

    #[test]
    fn a_short_poll_counts_as_long_as_it_takes_and_asks_nobody() {
        let took = SHORT.checked_sub(Duration::from_nanos(1)).unwrap();
        let (used, last) = measured(took, Some(reading(5)), || panic!("the kernel was asked"));
        assert_eq!(used, took);
        assert_eq!(last.map(|last| last.cpu), Some(Duration::from_micros(5)));
    }

    #[test]
    fn a_long_poll_counts_its_processor_time() {
        let took = Duration::from_secs(10);
        let (used, last) = measured(took, Some(reading(500)), || reading(4_000_500));
        assert_eq!(used, Duration::from_secs(4), "the thread waited for six seconds");
        assert_eq!(last.map(|last| last.cpu), Some(Duration::from_micros(4_000_500)));
    }

    #[test]
    fn no_poll_counts_more_than_it_took() {
        let (used, _) = measured(SHORT, Some(reading(0)), || reading(900));
        assert_eq!(used, SHORT, "the rest was before the poll");
    }

    #[test]
    fn a_thread_that_computes_uses_its_time() {
        let began = Instant::now();
        begin(began);
        let mut now = began;
        while now.duration_since(began) < Duration::from_millis(5) {
            now = Instant::now();
        }
        let used = end(began, now);
        assert!(used > Duration::ZERO && used <= now.duration_since(began), "{used:?}");
    }
}
