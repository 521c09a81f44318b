//! Room in the memory budget: what is given back so that a guest which grows can go on.
//!
//! All of it happens on the slot thread of that guest, while the guest stands still between two polls:
//! `docs/design/memory-budget.md` says why somebody always gets to its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::fiber::{Fiber, Kill, Phase};
use super::scheduler::{Others, Scheduler, user_of};
use super::slot::{give_back, sleep_until_woken};
use crate::model::Shortage;

/// A guest waits this long for the guests on other slots, which may leave it room.
const PATIENCE: Duration = Duration::from_secs(1);

/// The turn of the one guest that may wait for others, until it leaves its slot. Any other that finds no room is given
/// back, so that two never wait for each other, and the one gets what they held.
pub(super) struct Turn<'a>(&'a Scheduler);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.end_growth();
    }
}

/// Makes room for a guest that wants so many bytes more. It is to be polled again then.
///
/// # Errors
///
/// There is none, and the guest is to be given back itself.
pub(super) fn make_room<'a>(
    core: &'a Arc<Core>,
    fiber: &Arc<Fiber>,
    bytes: u64,
    turn: &mut Option<Turn<'a>>,
) -> Result<(), Shortage> {
    let until = Instant::now() + PATIENCE;
    let mut was_alone = false;
    loop {
        // A wake-up from here on is noticed.
        fiber.set_polled();
        if fiber.killed().is_some() || core.budget.has_room(bytes) {
            break;
        }
        if let Some(parked) = take_largest_parked(core) {
            give_back(core, &parked, core.shortage_of_memory(bytes));
            continue;
        }
        if turn.is_none() {
            if !core.scheduler.begin_growth(fiber) {
                return Err(core.shortage_of_memory(bytes));
            }
            *turn = Some(Turn(&core.scheduler));
        }
        match core.scheduler.wait_for_others() {
            Others::Queued(resumed) => give_back(core, &resumed, core.shortage_of_memory(bytes)),
            Others::Run if Instant::now() < until => {
                // That time is not the guest's own.
                fiber.control.end_slice();
                sleep_until_woken(core, fiber, || until.saturating_duration_since(Instant::now()));
                fiber.control.begin_slice();
            }
            // The last of them may have parked after the look at the parked.
            Others::Gone if !was_alone => was_alone = true,
            Others::Run | Others::Gone => return Err(core.shortage_of_memory(bytes)),
        }
    }
    if turn.is_some() {
        core.scheduler.stop_waiting();
    }
    Ok(())
}

/// Takes the parked guest that is to make room for others, so that this thread holds it.
fn take_largest_parked(core: &Core) -> Option<Arc<Fiber>> {
    loop {
        let live = core.live_fibers();
        let largest = largest_parked(&live)?;
        if largest.step(Phase::Parked, Phase::Queued) {
            return Some(Arc::clone(largest));
        }
    }
}

/// Finds the largest parked guest of the largest user: its component. Between guests of one size the size of their
/// trees decides, then the younger one goes.
fn largest_parked(live: &[Arc<Fiber>]) -> Option<&Arc<Fiber>> {
    let (mut users, mut trees) = (HashMap::new(), HashMap::new());
    for fiber in live {
        let bytes = fiber.control.memory();
        *users.entry(user_of(&fiber.claim.task)).or_insert(0) += bytes;
        *trees.entry(fiber.claim.root).or_insert(0) += bytes;
    }
    let parked = live.iter().filter(|fiber| fiber.is(Phase::Parked));
    parked.max_by_key(|fiber| {
        (
            users.get(user_of(&fiber.claim.task)),
            fiber.control.memory(),
            trees.get(&fiber.claim.root),
            fiber.id(),
        )
    })
}

impl Core {
    /// Gives the largest parked guest back, if parked guests have all the memory and none can go on.
    pub(super) fn give_back_largest(&self) {
        if let Some(fiber) = take_largest_parked(self) {
            let shortage = self.shortage_of_memory(0);
            // A slot ends it, as any guest: they are all free.
            fiber.mark_killed(Kill::Release);
            self.scheduler.push_resumed(fiber);
            self.inbox.put(|messages| messages.shortages.push(shortage));
        }
    }
}
