//! One live invocation: a guest, parked or on a slot.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::Wake;
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::shares::{Freed, SharedCode};
use crate::model::{
    Claim, ComponentDigest, Event, Guest, GuestFuture, IdSet, InvocationId, LogEntry, Progress, RetryPolicy,
    SlotControl, UnixMicros,
};
use crate::store::{AttemptEnd, Report};

/// Queues parked fibers whose wait is over.
pub(super) trait Resume: Send + Sync {
    /// Queues a fiber for a slot thread to poll.
    fn resume(&self, fiber: Arc<Fiber>);
}

/// A live invocation. It is its own waker.
///
/// The thread that moves `phase` to [`Phase::Polled`] alone touches `future`, until it moves it on.
pub(super) struct Fiber {
    pub(super) claim: Claim,
    pub(super) control: Arc<dyn SlotControl>,
    /// The component that runs it, if it is not the one it was submitted for.
    pub(super) other_digest: Option<ComponentDigest>,
    /// The number of live instances that it counts for.
    pub(super) weight: usize,
    /// The component that it is an instance of.
    digest: ComponentDigest,
    /// The retries of the task, if the attempt fails.
    pub(super) retry: Arc<RetryPolicy>,
    /// The guest, while it lives.
    pub(super) future: Mutex<Option<GuestFuture>>,
    phase: AtomicU8,
    /// The slot thread that holds it while it is [`Phase::Blocked`].
    thread: Mutex<Option<Thread>>,
    /// The reason for which it is to be killed, if it is.
    kill: Mutex<Option<Kill>>,
    /// The events, logs and progress since the last report.
    notes: Mutex<Notes>,
    /// Whether it has had a slot before.
    has_run: AtomicBool,
    /// Whether the inbox knows that there are notes.
    pub(super) is_noted: AtomicBool,
    /// The memory that its user was charged for it.
    charged: AtomicU64,
    /// The time for which it has held slots, in nanoseconds.
    held: AtomicU64,
    /// Children that this attempt has submitted.
    pub(super) children: AtomicU32,
    /// The ids that its submits were answered with.
    pub(super) submitted: Mutex<IdSet>,
    resume: Weak<dyn Resume>,
}

/// The reports without an end that an attempt makes as soon as it has notes.
const SOON: u32 = 100;
/// The least time between two reports without an end, after those.
const SELDOM: Duration = Duration::from_secs(1);

/// The notes of an attempt that are not reported yet.
#[derive(Default)]
pub(super) struct Notes {
    /// The reports without an end so far, and when the last one was made.
    reports: u32,
    reported: Option<Instant>,
    pub(super) observed: Vec<(UnixMicros, Event)>,
    pub(super) logs: Vec<LogEntry>,
    pub(super) progress: Option<Progress>,
}

/// The reason for which a guest is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kill {
    /// The store says that the attempt is not ours: nothing is reported.
    NotOurs,
    /// The runner stops, or has no memory for it: the invocation is given back.
    Release,
    /// It was parked for as long as it may: the attempt fails.
    ParkedTooLong,
}

/// The place of a fiber. [`Fiber::wake`] says how a wake-up finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// A slot thread polls it.
    Polled = 0,
    /// A slot thread polls it, and it was woken meanwhile: it is polled again.
    Woken = 1,
    /// A slot thread waits for it: the guest does I/O or sleeps.
    Blocked = 2,
    /// It awaits results, on no thread.
    Parked = 3,
    /// It is in the queue of the resumed.
    Queued = 4,
}

impl Fiber {
    pub(super) fn new(resume: Weak<dyn Resume>, claim: Claim, guest: Guest) -> Arc<Self> {
        let other_digest = (guest.digest != claim.component_digest).then_some(guest.digest);
        Arc::new(Self {
            claim,
            control: guest.control,
            other_digest,
            weight: guest.weight,
            digest: guest.digest,
            retry: guest.retry,
            future: Mutex::new(Some(guest.future)),
            phase: AtomicU8::new(Phase::Polled as u8),
            thread: Mutex::new(None),
            kill: Mutex::new(None),
            notes: Mutex::new(Notes::default()),
            has_run: AtomicBool::new(false),
            is_noted: AtomicBool::new(false),
            charged: AtomicU64::new(0),
            held: AtomicU64::new(0),
            children: AtomicU32::new(0),
            submitted: Mutex::default(),
            resume,
        })
    }

    pub(super) fn id(&self) -> InvocationId {
        self.claim.id
    }

    /// Charges its memory at this moment to its user. Returns the change.
    pub(super) fn charge_memory(&self) -> i64 {
        let bytes = self.control.memory();
        bytes.cast_signed() - self.charged.swap(bytes, Ordering::AcqRel).cast_signed()
    }

    /// Adds the time for which it has held a slot. Returns the sum.
    pub(super) fn add_held(&self, slice: Duration) -> Duration {
        let slice = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.held.fetch_add(slice, Ordering::AcqRel).saturating_add(slice))
    }

    /// Its compiled code, which it shares with the other guests of its version.
    pub(super) fn code(&self) -> SharedCode {
        SharedCode { digest: self.digest, bytes: self.control.code() }
    }

    /// Charges its memory to its user when it is gone. Returns what that frees.
    pub(super) fn free(&self) -> Freed {
        Freed { live: self.weight, memory: self.charge_memory(), code: Some(self.code()) }
    }

    /// Moves from one phase to another if it is in the first.
    pub(super) fn step(&self, from: Phase, to: Phase) -> bool {
        self.phase.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether it is in `phase` now.
    pub(super) fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) == phase as u8
    }

    /// Takes the fiber for polling, whatever its phase: for the slot thread that holds it.
    pub(super) fn set_polled(&self) {
        self.phase.store(Phase::Polled as u8, Ordering::Release);
    }

    /// Names the thread that a wake-up in [`Phase::Blocked`] must unpark.
    pub(super) fn set_thread(&self, thread: Option<Thread>) {
        *self.thread.lock() = thread;
    }

    /// Kills the guest: its slot thread notices at the next epoch tick, or is unparked; a parked one is
    /// queued for a slot thread to drop. The first reason counts.
    pub(super) fn kill(self: &Arc<Self>, why: Kill) {
        self.mark_killed(why);
        Arc::clone(self).wake();
    }

    /// Does the same for whoever holds the guest: nobody is told. Returns the first reason.
    pub(super) fn mark_killed(&self, why: Kill) -> Kill {
        let first = *self.kill.lock().get_or_insert(why);
        self.control.kill();
        first
    }

    /// Returns the reason for which it is to be killed, if it is.
    pub(super) fn killed(&self) -> Option<Kill> {
        if self.control.is_killed() { *self.kill.lock() } else { None }
    }

    /// Returns the event of getting a slot: the first time a start, then a resume.
    pub(super) fn next_start(&self) -> Event {
        if self.has_run.swap(true, Ordering::AcqRel) { Event::Resume } else { Event::Start }
    }

    /// Adds to the notes.
    pub(super) fn note(&self, add: impl FnOnce(&mut Notes)) {
        add(&mut self.notes.lock());
    }

    /// When the notes are to be reported: a guest whose status changes all the time has it written now and then.
    pub(super) fn report_at(&self) -> Option<Instant> {
        let notes = self.notes.lock();
        notes.reported.filter(|_| notes.reports >= SOON).map(|last| last + SELDOM)
    }

    /// Reports everything noted since the last report; `None` if that is nothing and there is no end.
    pub(super) fn report(&self, end: Option<AttemptEnd>) -> Option<Report> {
        let mut own = self.notes.lock();
        let notes = std::mem::take(&mut *own);
        if end.is_none() {
            (own.reports, own.reported) = (notes.reports.saturating_add(1), Some(Instant::now()));
        }
        drop(own);
        if end.is_none() && notes.observed.is_empty() && notes.logs.is_empty() && notes.progress.is_none() {
            return None;
        }
        Some(Report {
            id: self.claim.id,
            runner: self.claim.runner,
            attempt: self.claim.attempt,
            observed: notes.observed,
            logs: notes.logs,
            progress: notes.progress,
            component_digest: self.other_digest,
            end,
        })
    }
}

impl Wake for Fiber {
    /// Reaches the fiber in whatever phase it is: one that is polled is polled again, one that a slot thread
    /// waits for has that thread unparked, a parked one is queued. In the other phases a poll is due anyway.
    fn wake(self: Arc<Self>) {
        loop {
            if self.step(Phase::Parked, Phase::Queued) {
                if let Some(queue) = self.resume.upgrade() {
                    queue.resume(self);
                }
                return;
            }
            if self.step(Phase::Blocked, Phase::Woken) {
                if let Some(thread) = self.thread.lock().as_ref() {
                    thread.unpark();
                }
                return;
            }
            if self.step(Phase::Polled, Phase::Woken) {
                return;
            }
            // Between two looks it may have moved on to a phase tried above.
            if self.is(Phase::Woken) || self.is(Phase::Queued) {
                return;
            }
        }
    }
}
