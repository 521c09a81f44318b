//! The counters of one attempt, and limits that are used up bit by bit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::model::Usage;

/// The counters of one attempt. Only code that runs for its guest writes them, and they are read after its
/// end: their order does not matter.
#[derive(Debug, Default)]
pub(super) struct Meter {
    peak_memory: Counter,
    memory_time: Mutex<MemoryTime>,
    peak_host_memory: Counter,
    /// One more than the units used; 0 if nobody counts them.
    fuel: Counter,
    pub(super) log: Counter,
    pub(super) output: Counter,
    pub(super) result: Counter,
    pub(super) read: Counter,
    pub(super) written: Counter,
    pub(super) sent: Counter,
    pub(super) received: Counter,
}

/// The memory of a guest, integrated over time.
#[derive(Debug, Default)]
struct MemoryTime {
    byte_nanos: u128,
    /// The bytes that it has, and since when.
    held: Option<(u64, Instant)>,
}

impl MemoryTime {
    /// The integral up to a moment.
    fn until(&self, now: Instant) -> u128 {
        let held =
            self.held.map_or(0, |(bytes, since)| u128::from(bytes) * now.duration_since(since).as_nanos());
        self.byte_nanos + held
    }

    fn hold(&mut self, bytes: u64, now: Instant) {
        self.byte_nanos = self.until(now);
        self.held = Some((bytes, now));
    }

    /// Whole byte-seconds; a part of one counts as one.
    fn byte_seconds(&self, now: Instant) -> u64 {
        u64::try_from(self.until(now).div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
    }
}

/// A number that several threads may add to.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Adds `more`.
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Meter {
    /// Notes the present bytes of all memories and tables.
    pub(super) fn note_memory(&self, bytes: u64) {
        self.peak_memory.0.fetch_max(bytes, Ordering::Relaxed);
        self.memory_time.lock().hold(bytes, Instant::now());
    }

    /// Notes the present bytes that the host holds for the guest.
    pub(super) fn note_host_memory(&self, bytes: u64) {
        self.peak_host_memory.0.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Notes the units of fuel that the guest has used in all.
    pub(super) fn note_fuel(&self, units: u64) {
        self.fuel.0.store(units.saturating_add(1), Ordering::Relaxed);
    }

    /// The usage so far, without time and children, which are counted elsewhere.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            memory_byte_seconds: self.memory_time.lock().byte_seconds(Instant::now()),
            peak_memory_bytes: self.peak_memory.get(),
            peak_host_memory_bytes: self.peak_host_memory.get(),
            fuel: self.fuel.get().checked_sub(1),
            log_bytes: self.log.get(),
            output_bytes: self.output.get(),
            result_bytes: self.result.get(),
            read_bytes: self.read.get(),
            written_bytes: self.written.get(),
            sent_bytes: self.sent.get(),
            received_bytes: self.received.get(),
            ..Usage::default()
        }
    }
}

/// The most bytes that one read of a file or a connection gives.
const MAX_READ: usize = 64 << 10;

/// A limit and the rest of it. Several threads may take from it at once, and together never get more than it.
#[derive(Debug)]
pub(super) struct Allowance {
    /// The whole limit.
    pub(super) limit: u64,
    left: AtomicU64,
}

impl Allowance {
    /// Makes an allowance of which nothing is used.
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, left: AtomicU64::new(limit) }
    }

    /// Takes as much of `wanted` as is left.
    pub(super) fn take_up_to(&self, wanted: u64) -> u64 {
        let take = |left: u64| Some(left.saturating_sub(wanted));
        let before = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        before.unwrap_or_else(|left| left).min(wanted)
    }

    /// Takes room for a read of at most `wanted` bytes; `None` if there is none.
    pub(super) fn room(&self, wanted: usize) -> Option<usize> {
        let taken = self.take_up_to(wanted.min(MAX_READ) as u64);
        if taken == 0 && wanted > 0 { None } else { usize::try_from(taken).ok() }
    }

    /// Takes one until the returned value is dropped; `None` if none is left.
    pub(super) fn place(self: &Arc<Self>) -> Option<Place> {
        self.take(1).then(|| Place(Arc::clone(self)))
    }

    /// Takes `wanted`, or nothing if less than that is left.
    pub(super) fn take(&self, wanted: u64) -> bool {
        let take = |left: u64| left.checked_sub(wanted);
        self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    /// Returns the amount that is taken at present.
    pub(super) fn taken(&self) -> u64 {
        self.limit.saturating_sub(self.left.load(Ordering::Acquire))
    }

    /// Gives back a part that was taken and not used.
    pub(super) fn give_back(&self, unused: u64) {
        self.left.fetch_add(unused, Ordering::AcqRel);
    }
}

/// One of an allowance: it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Allowance>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.give_back(1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn memory_counts_for_as_long_as_it_is_held() {
        let mut time = MemoryTime::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(time.byte_seconds(at(0)), 0);
        time.hold(100, at(0));
        time.hold(300, at(2));
        assert_eq!(time.byte_seconds(at(3)), 500);
        assert_eq!(time.byte_seconds(at(3) + Duration::from_nanos(1)), 501);
        time.hold(0, at(4));
        assert_eq!(time.byte_seconds(at(9)), 800);
    }

    #[test]
    fn nobody_gets_more_than_there_is() {
        let allowance = Allowance::new(10);
        assert_eq!(allowance.take_up_to(7), 7);
        assert!(!allowance.take(4), "all or nothing");
        assert_eq!(allowance.take_up_to(100), 3);
        assert_eq!(allowance.take_up_to(1), 0);
        assert!(allowance.take(0));
        allowance.give_back(2);
        assert!(allowance.take(2));
        assert_eq!(allowance.limit, 10);
    }
}
