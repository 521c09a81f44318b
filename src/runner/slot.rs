//! One slot: a host thread that runs at most one guest at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::core::Core;
use super::fiber::{Fiber, Kill, Phase};
use super::outcomes::poll_guest;
use super::room::{Turn, make_room};
use super::scheduler::{Work, soon_free};
use super::shares::Freed;
use super::stage::Stage;
use crate::model::{
    Claim, Event, Failure, FailureKind, GuestFuture, NoGuest, Outcome, Shortage, TaskClient, Usage,
};
use crate::store::{AttemptEnd, EndKind};

/// Runs a slot thread.
pub(super) fn run(core: &Arc<Core>, client: &Arc<dyn TaskClient>, slot: usize) {
    while let Some(work) = core.scheduler.next(|| core.tell_idle_slot()) {
        let fiber = match work {
            Work::Resume(fiber) => fiber,
            Work::Start(claim) => match start(core, client, slot, claim) {
                Some(fiber) => fiber,
                None => continue,
            },
        };
        hold(core, &fiber);
    }
}

/// Makes a live guest of a claim; or reports why that's impossible.
fn start(
    core: &Arc<Core>,
    client: &Arc<dyn TaskClient>,
    slot: usize,
    mut claim: Claim,
) -> Option<Arc<Fiber>> {
    let interrupt = core.begin_start(slot, &claim);
    let started = match interrupt.is_thrown() {
        // Nobody reads this message: the reason of the throw counts.
        true => Ok(Err(Failure::new(FailureKind::Cancelled, "nobody wants it any more").into())),
        false => catch_unwind(AssertUnwindSafe(|| core.executor.start(&claim, client, &interrupt))),
    };
    let none = match started {
        Ok(Ok(guest)) => {
            let more = guest.weight.saturating_sub(1);
            // Only the guest needs them; another attempt reads them from the store.
            claim.arguments = Arc::default();
            let fiber = Fiber::new(Arc::<Core>::downgrade(core) as _, claim, guest);
            core.scheduler.add_guest(more, &fiber.claim, fiber.code());
            core.add_live_fiber(&fiber);
            // From here on whoever ends it finds it among the live.
            if let Some(why) = core.starts.end(slot) {
                fiber.kill(why);
            }
            return Some(fiber);
        }
        Ok(Err(none)) => none,
        Err(panic) => host_panic(panic.as_ref()).into(),
    };
    if let NoGuest::Unready = none {
        // If it is awaited, it is not asked for until its code is ready.
        core.registry.mark_unclaimable(&[claim.id]);
    }
    // A start that was interrupted has not failed.
    let (how, shortage) = match (core.starts.end(slot), none) {
        (Some(Kill::NotOurs), _) => {
            core.registry.disown_attempt(claim.id, claim.attempt);
            core.scheduler.leave_slot(&claim, UNSTARTED);
            return None;
        }
        (Some(Kill::Release | Kill::ParkedTooLong), _) => (EndKind::Release, None),
        (None, NoGuest::Short(shortage)) => (EndKind::Release, Some(shortage)),
        (None, NoGuest::Unready) => (EndKind::Release, None),
        (None, NoGuest::Failed(failure)) => (EndKind::Final(Outcome::Failure(Arc::new(failure))), None),
    };
    let end = AttemptEnd::unstarted(core.clock.now(), how);
    let told = claim.clone();
    // Before the slot is free: a runner is done when all slots are free and nothing lies in the inbox.
    core.inbox.put(|messages| messages.unstarted.push((told, end)));
    leave_slot(core, &claim, UNSTARTED, shortage);
    core.see_to_messages();
    None
}

/// The share that a claim frees if no guest was made of it.
const UNSTARTED: Freed = Freed { live: 1, memory: 0, code: None };

/// Counts a slot as free. After a shortage nothing else starts for a while.
fn leave_slot(core: &Core, claim: &Claim, freed: Freed, shortage: Option<Shortage>) {
    match shortage {
        None => core.scheduler.leave_slot(claim, freed),
        Some(shortage) => {
            core.scheduler.leave_slot_short(claim, freed);
            // After that: the pause that follows from it is to end it.
            core.inbox.put(|messages| messages.shortages.push(shortage));
        }
    }
}

/// The way in which a guest left its slot.
enum Left {
    /// It awaits results, after a slice this long. Another thread may run it already.
    Parked(Duration),
    /// Its attempt produced this.
    Ended(Outcome),
    /// It was killed.
    Killed(Kill),
    /// It could not begin.
    Short(Shortage),
}

/// Runs a guest from here to its end or its next wait.
fn hold(core: &Arc<Core>, fiber: &Arc<Fiber>) {
    fiber.set_polled();
    let future = fiber.future.lock().take();
    let Some(future) = future else {
        // It ended while it stood in the queue; nothing is left to run.
        core.scheduler.leave_slot(&fiber.claim, Freed::default());
        return;
    };
    fiber.set_thread(Some(std::thread::current()));
    core.enter_slot(fiber);
    let left = run_guest(core, fiber, future);
    let mut shortage = None;
    let how = match left {
        Left::Parked(slice) => {
            core.leave_slot(fiber, slice);
            let changed = Freed { memory: fiber.charge_memory(), ..Freed::default() };
            core.scheduler.leave_slot(&fiber.claim, changed);
            // It was parked after the drain looked at the parked fibers: it is given back here.
            if core.stages.now() >= Stage::Draining {
                fiber.kill(Kill::Release);
            }
            return;
        }
        Left::Ended(outcome) => {
            Some(core.retry_budgets.decide(&fiber.claim, &fiber.retry, outcome, core.clock.now()))
        }
        Left::Killed(why) => end_of_killed(core, fiber, why),
        Left::Short(short_of) => {
            shortage = Some(short_of);
            Some(EndKind::Release)
        }
    };
    core.leave_slot(fiber, fiber.control.end_slice());
    fiber.set_thread(None);
    end(core, fiber, how);
    leave_slot(core, &fiber.claim, fiber.free(), shortage);
    // This thread can run next what this end sets free: a waiting parent, for one.
    soon_free(|| core.see_to_messages());
}

/// Gives a parked guest back that this thread holds: it takes memory that another one needs.
pub(super) fn give_back(core: &Arc<Core>, fiber: &Arc<Fiber>, shortage: Shortage) {
    let how = end_of_killed(core, fiber, fiber.mark_killed(Kill::Release));
    let guest = fiber.future.lock().take();
    guest.into_iter().for_each(drop_guest);
    end(core, fiber, how);
    core.scheduler.free_parked(&fiber.claim, fiber.free());
    // After that: the pause that follows from it is to end it.
    core.inbox.put(|messages| messages.shortages.push(shortage));
    core.see_to_messages();
}

/// Decides how an attempt ends whose guest was killed; `None` if it is not this runner's any more.
fn end_of_killed(core: &Core, fiber: &Fiber, why: Kill) -> Option<EndKind> {
    match why {
        Kill::Release => Some(EndKind::Release),
        Kill::NotOurs => None,
        Kill::ParkedTooLong => {
            let outcome = Outcome::Failure(Arc::new(fiber.control.parked_out()));
            Some(core.retry_budgets.decide(&fiber.claim, &fiber.retry, outcome, core.clock.now()))
        }
    }
}

/// Reports the end of an attempt whose guest is gone; `None` if it was not this runner's any more.
fn end(core: &Core, fiber: &Arc<Fiber>, how: Option<EndKind>) {
    core.remove_live_fiber(fiber);
    let children = fiber.children.load(std::sync::atomic::Ordering::Acquire);
    let usage = Usage { children: children.into(), ..fiber.control.usage() };
    // Before the slot is free: a runner is done when all slots are free and nothing lies in the inbox.
    match how {
        Some(how) => {
            let bytes = how.outcome_bytes();
            let end = AttemptEnd { at: core.clock.now(), how, has_children: children > 0, usage };
            core.inbox.put(|messages| messages.ends.push((Arc::clone(fiber), end)));
            if core.stages.now() == Stage::Working {
                core.scheduler.add_unwritten(bytes);
            }
        }
        None => {
            core.registry.disown_attempt(fiber.id(), fiber.claim.attempt);
            core.leave_bill(fiber.id(), fiber.claim.runner, fiber.claim.attempt, usage);
        }
    }
}

fn run_guest(core: &Arc<Core>, fiber: &Arc<Fiber>, mut future: GuestFuture) -> Left {
    let waker = Waker::from(Arc::clone(fiber));
    let mut context = Context::from_waker(&waker);
    if fiber.killed().is_none() {
        let event = (core.clock.now(), fiber.next_start());
        core.note(fiber, |notes| notes.observed.push(event));
    }
    let mut turn: Option<Turn<'_>> = None;
    loop {
        if let Some(why) = fiber.killed() {
            drop_guest(future);
            return Left::Killed(why);
        }
        fiber.control.begin_poll();
        let polled = catch_unwind(AssertUnwindSafe(|| poll_guest(|| future.as_mut().poll(&mut context))));
        fiber.control.end_poll();
        let (poll, awaits_results) = match polled {
            Ok(polled) => polled,
            Err(panic) => {
                drop_guest(future);
                return Left::Ended(Outcome::Failure(Arc::new(host_panic(panic.as_ref()))));
            }
        };
        if poll.is_pending()
            && let Some(bytes) = fiber.control.wanted_memory()
        {
            match make_room(core, fiber, bytes, &mut turn) {
                Ok(()) => continue,
                Err(shortage) => {
                    drop_guest(future);
                    return Left::Short(shortage);
                }
            }
        }
        match poll {
            Poll::Ready(ended) => {
                drop_guest(future);
                // The failure of an interrupted guest is the interruption.
                return match (fiber.killed(), ended) {
                    (Some(why), Ok(Outcome::Failure(_)) | Err(_)) => Left::Killed(why),
                    (_, Ok(outcome)) => Left::Ended(outcome),
                    (None, Err(shortage)) => Left::Short(shortage),
                };
            }
            Poll::Pending if awaits_results => {
                core.watch_parked(fiber);
                // Before anybody can resume the fiber, the future must be in place, and the note made.
                *fiber.future.lock() = Some(future);
                let at = core.clock.now();
                core.note(fiber, |notes| notes.observed.push((at, Event::Await)));
                let slice = fiber.control.end_slice();
                turn = None;
                if fiber.step(Phase::Polled, Phase::Parked) {
                    return Left::Parked(slice);
                }
                // Its results came while it was being polled.
                fiber.set_polled();
                fiber.control.begin_slice();
                let at = core.clock.now();
                fiber.note(|notes| notes.observed.push((at, Event::Resume)));
                match fiber.future.lock().take() {
                    Some(back) => future = back,
                    None => return Left::Killed(Kill::NotOurs),
                }
            }
            Poll::Pending => {
                if let Some(left) = block(core, fiber) {
                    drop_guest(future);
                    return left;
                }
            }
        }
    }
}

/// Sleeps on the slot thread until something wakes the guest, or no time is left.
pub(super) fn sleep_until_woken(core: &Core, fiber: &Fiber, left: impl Fn() -> Duration) {
    if fiber.step(Phase::Polled, Phase::Blocked) {
        // It holds its slot, but computes nothing that would need interrupting.
        core.executor.guest_runs(false);
        while fiber.is(Phase::Blocked) {
            let left = left();
            if left.is_zero() {
                break;
            }
            std::thread::park_timeout(left);
        }
        core.executor.guest_runs(true);
    }
}

/// Waits on the slot thread until a guest that sleeps or does I/O can go on; `Some` if it must not.
fn block(core: &Core, fiber: &Arc<Fiber>) -> Option<Left> {
    sleep_until_woken(core, fiber, || fiber.control.remaining());
    fiber.set_polled();
    if let Some(why) = fiber.killed() {
        return Some(Left::Killed(why));
    }
    if fiber.control.remaining().is_zero() {
        let failure = fiber.control.time_out();
        return Some(Left::Ended(Outcome::Failure(Arc::new(failure))));
    }
    None
}

/// Drops a guest, with destructors of host state: a panic in one is our bug and must not cost the slot.
fn drop_guest(future: GuestFuture) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
        tracing::error!(panic = panic_message(panic.as_ref()), "the host panicked while it dropped a guest");
    }
}

fn host_panic(panic: &(dyn std::any::Any + Send)) -> Failure {
    let message = panic_message(panic);
    tracing::error!(panic = message, "the host panicked while it ran a guest");
    Failure::new(FailureKind::Trapped, format!("a bug in the runner ended this attempt: {message}"))
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}
