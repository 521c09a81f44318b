//! The kill switch, the clocks and the counters of one guest.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::budget::GuestMemory;
use super::cpu_clock;
use super::meter::Meter;
use crate::model::{Failure, LimitKind, MemoryBudget, SlotControl, Usage};

/// The control of one guest, shared by the slot thread that runs it and the epoch callback inside it. The
/// slot uses it as a [`SlotControl`]: killing it ends a guest that computes at its next epoch tick.
#[derive(Debug)]
pub struct GuestControl {
    killed: AtomicBool,
    created: Instant,
    /// Time on slots in finished slices, in nanoseconds.
    used: AtomicU64,
    /// The begin of the present slice, in nanoseconds after `created`, plus 1; 0 while the guest holds no
    /// slot.
    slice_began: AtomicU64,
    time_limit: Duration,
    parked_limit: Duration,
    /// Time of a processor in finished polls, in nanoseconds.
    cpu: AtomicU64,
    /// The begin of the present poll, in nanoseconds after `created`. Only read by the thread that polls.
    poll_began: AtomicU64,
    /// The counters of everything but time.
    pub(super) meter: Meter,
    /// The part of the guest in the budget of its runner.
    pub(super) memory: GuestMemory,
    /// The first refusal by a limit: the limit and the message.
    refused: OnceLock<(LimitKind, String)>,
}

impl GuestControl {
    /// Lets a guest hold a slot for `time_limit` in all.
    pub fn new(time_limit: Duration) -> Self {
        Self {
            killed: AtomicBool::new(false),
            created: Instant::now(),
            used: AtomicU64::new(0),
            slice_began: AtomicU64::new(0),
            time_limit,
            parked_limit: Duration::MAX,
            cpu: AtomicU64::new(0),
            poll_began: AtomicU64::new(0),
            meter: Meter::default(),
            memory: GuestMemory::default(),
            refused: OnceLock::new(),
        }
    }

    /// Lets the guest be parked for so long in all.
    #[must_use]
    pub fn parked_at_most(self, parked_limit: Duration) -> Self {
        Self { parked_limit, ..self }
    }

    /// Counts the guest's memory on a budget.
    #[must_use]
    pub fn on_budget(self, budget: Arc<MemoryBudget>) -> Self {
        Self { memory: GuestMemory::new(budget), ..self }
    }

    /// Says how much compiled code the guest has.
    #[must_use]
    pub(super) fn with_code(self, bytes: u64) -> Self {
        Self { memory: self.memory.with_code(bytes), ..self }
    }

    /// Time of a processor that the guest has used, asked from within a poll.
    pub(super) fn cpu_within_poll(&self) -> Duration {
        let finished = Duration::from_nanos(self.cpu.load(Ordering::Acquire));
        finished + cpu_clock::used(self.poll_began(), Instant::now())
    }

    fn poll_began(&self) -> Instant {
        self.created + Duration::from_nanos(self.poll_began.load(Ordering::Acquire))
    }

    /// Notes that a limit refused something. The guest got an error value and may go on; if it fails, its
    /// failure names the limit.
    pub(super) fn refuse(&self, limit: LimitKind, message: String) {
        // The first refusal counts: later ones may follow from it.
        let _ = self.refused.set((limit, message));
    }

    /// The first refusal by a limit: the limit and the message.
    pub(super) fn refused(&self) -> Option<(LimitKind, &str)> {
        self.refused.get().map(|(limit, message)| (*limit, message.as_str()))
    }

    /// Time on slots so far.
    fn used(&self) -> Duration {
        let began = self.slice_began.load(Ordering::Acquire);
        let present = if began == 0 { 0 } else { self.since_created().saturating_sub(began - 1) };
        Duration::from_nanos(self.used.load(Ordering::Acquire) + present)
    }

    fn since_created(&self) -> u64 {
        nanos(self.created.elapsed())
    }
}

impl SlotControl for GuestControl {
    fn kill(&self) {
        self.killed.store(true, Ordering::Release);
    }

    fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    fn begin_slice(&self) {
        self.slice_began.store(self.since_created() + 1, Ordering::Release);
    }

    fn end_slice(&self) -> Duration {
        let began = self.slice_began.swap(0, Ordering::AcqRel);
        if began == 0 {
            return Duration::ZERO;
        }
        let slice = self.since_created().saturating_sub(began - 1);
        self.used.fetch_add(slice, Ordering::AcqRel);
        Duration::from_nanos(slice)
    }

    fn begin_poll(&self) {
        let now = Instant::now();
        cpu_clock::begin(now);
        self.poll_began.store(nanos(now.duration_since(self.created)), Ordering::Release);
    }

    fn end_poll(&self) {
        let used = cpu_clock::end(self.poll_began(), Instant::now());
        self.cpu.fetch_add(nanos(used), Ordering::AcqRel);
    }

    fn usage(&self) -> Usage {
        Usage { cpu_micros: self.cpu.load(Ordering::Acquire).div_ceil(1_000), ..self.meter.usage() }
    }

    fn memory(&self) -> u64 {
        self.memory.held()
    }

    fn code(&self) -> u64 {
        self.memory.code()
    }

    fn wanted_memory(&self) -> Option<u64> {
        self.memory.wanted()
    }

    fn remaining(&self) -> Duration {
        self.time_limit.saturating_sub(self.used())
    }

    fn parked_remaining(&self) -> Duration {
        let off_slot = self.created.elapsed().saturating_sub(self.used());
        self.parked_limit.saturating_sub(off_slot)
    }

    fn parked_out(&self) -> Failure {
        let message = format!("the guest was parked for longer than its limit of {:?}", self.parked_limit);
        Failure::limit(LimitKind::Parked, message)
    }

    fn time_out(&self) -> Failure {
        Failure::timed_out(format!(
            "the guest held its slot for longer than its time limit of {:?}",
            self.time_limit
        ))
    }
}

/// Returns a duration in nanoseconds; below `u64::MAX`, so that one can be added.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_without_a_slot_does_not_count() {
        let control = GuestControl::new(Duration::from_secs(1));
        assert_eq!(control.used(), Duration::ZERO);
        control.begin_slice();
        let slice = control.end_slice();
        let used = control.used();
        assert!(used >= slice);
        assert_eq!(control.used(), used, "stands still between slices");
        assert_eq!(control.end_slice(), Duration::ZERO, "ending twice counts once");
    }
}
