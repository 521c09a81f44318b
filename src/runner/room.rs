//! Room in the memory budget: what is given back so that a guest which grows can go on.
//!
//! All of it happens on the slot thread of that guest, while the guest stands still between two polls:
//! `docs/design/memory-budget.md` says why somebody always gets to its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::fiber::{Fiber, Kill, Phase};
use super::fill::user_of;
use super::scheduler::{Others, Scheduler};
use super::slot::{give_back, sleep_until_woken};
use crate::model::{InvocationId, Shortage};

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
        if let Some(parked) = take_largest_parked(core, Some((fiber.id(), bytes))) {
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

/// A guest that wants so many bytes more.
type Grower = (InvocationId, u64);

/// Takes the parked guest that is to make room for others, so that this thread holds it.
fn take_largest_parked(core: &Core, grower: Option<Grower>) -> Option<Arc<Fiber>> {
    loop {
        let live = core.live_fibers();
        let seen: Vec<_> = live.iter().map(|fiber| Seen::of(fiber)).collect();
        let largest = &live[largest_parked(&seen, grower)?];
        if largest.step(Phase::Parked, Phase::Queued) {
            return Some(Arc::clone(largest));
        }
    }
}

/// A live guest, as it is when somebody looks for room.
struct Seen<'f> {
    id: InvocationId,
    /// Its component.
    user: &'f str,
    root: InvocationId,
    bytes: u64,
    is_parked: bool,
}

impl<'f> Seen<'f> {
    fn of(fiber: &'f Fiber) -> Self {
        Self {
            id: fiber.id(),
            user: user_of(&fiber.claim.task),
            root: fiber.claim.root,
            bytes: fiber.control.memory(),
            is_parked: fiber.is(Phase::Parked),
        }
    }
}

/// Finds the place of the largest parked guest of the largest user that has any, where a user has what all of its
/// guests have. Between guests of one size the size of their trees decides, then the younger one goes. If a guest
/// grows and is not the only one of its user, guests of users that have less than that are spared.
fn largest_parked(live: &[Seen<'_>], grower: Option<Grower>) -> Option<usize> {
    let (mut users, mut trees) = (HashMap::new(), HashMap::new());
    for guest in live {
        *users.entry(guest.user).or_insert(0) += guest.bytes;
        *trees.entry(guest.root).or_insert(0) += guest.bytes;
    }
    let growing = grower.and_then(|(id, bytes)| {
        let user = live.iter().find(|guest| guest.id == id)?.user;
        let is_alone = !live.iter().any(|guest| guest.user == user && guest.id != id);
        (!is_alone).then(|| (user, users[user] + bytes))
    });
    let may_go = |guest: &Seen<'_>| {
        growing.is_none_or(|(user, bytes)| guest.user == user || users[guest.user] >= bytes)
    };
    let parked = live.iter().enumerate().filter(|(_, guest)| guest.is_parked && may_go(guest));
    let largest =
        parked.max_by_key(|(_, guest)| (users[guest.user], guest.bytes, trees[&guest.root], guest.id));
    largest.map(|(place, _)| place)
}

impl Core {
    /// Gives the largest parked guest back, if parked guests have all the memory and none can go on.
    pub(super) fn give_back_largest(&self) {
        if let Some(fiber) = take_largest_parked(self, None) {
            let shortage = self.shortage_of_memory(0);
            // A slot ends it, as any guest: they are all free.
            fiber.mark_killed(Kill::Release);
            self.scheduler.push_resumed(fiber);
            self.inbox.put(|messages| messages.shortages.push(shortage));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(user: &'static str, bytes: u64, is_parked: bool) -> Seen<'static> {
        let id = InvocationId::generate();
        Seen { id, user, root: id, bytes, is_parked }
    }

    #[test]
    fn the_larger_component_makes_room_though_its_guests_are_on_slots() {
        let mut live = vec![guest("small", 25, true), guest("large", 40, false), guest("large", 35, false)];
        let grower = (live[2].id, 5);
        assert_eq!(largest_parked(&live, Some(grower)), None);
        // For the small one itself, or if nobody grows, there is no other.
        live.push(guest("small", 1, false));
        assert_eq!(largest_parked(&live, Some((live[3].id, 5))), Some(0));
        assert_eq!(largest_parked(&live, None), Some(0));
        // The large one parks a guest, too.
        live[1].is_parked = true;
        assert_eq!(largest_parked(&live, Some(grower)), Some(1));
        // A guest that nobody of its component could leave anything takes any.
        live.remove(1);
        assert_eq!(largest_parked(&live, Some(grower)), Some(0));
    }

    #[test]
    fn the_largest_parked_guest_of_the_largest_component_goes_first() {
        let live = [
            guest("one", 30, true),
            guest("two", 20, true),
            guest("two", 19, true),
            guest("three", 90, false),
        ];
        assert_eq!(largest_parked(&live, None), Some(1));
        assert_eq!(largest_parked(&live, Some((live[1].id, 1))), Some(1));
        // Counts its component as it would be with the growth.
        assert_eq!(largest_parked(&live, Some((live[0].id, 1))), Some(1));
        assert_eq!(largest_parked(&live[3..], None), None);
    }
}
