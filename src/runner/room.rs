//! Room in the memory budget: what is given back so that a guest which grows can go on.
//!
//! All of it happens on the slot thread of that guest, while the guest stands still between two polls:
//! `docs/design/memory-budget.md` says why somebody always gets to its end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::fiber::{Fiber, Kill, Phase};
use super::fill::{below_last_quarter, user_of};
use super::scheduler::{Others, Scheduler};
use super::shares::SharedCode;
use super::slot::{give_back, sleep_until_woken};
use crate::model::{ComponentDigest, InvocationId, Shortage};

/// A guest waits this long for the guests on other slots, which may leave it room.
const PATIENCE: Duration = Duration::from_secs(1);

/// The components that one line of the log names.
const TOLD_USERS: usize = 5;

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
        let seen = see(&live);
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
    /// Its memory, with its part of the code that it shares with those of its version.
    bytes: u64,
    memory: u64,
    code: SharedCode,
    /// The live instances that it counts for.
    weight: usize,
    is_parked: bool,
}

impl<'f> Seen<'f> {
    fn of(fiber: &'f Fiber) -> Self {
        let memory = fiber.control.memory();
        Self {
            id: fiber.id(),
            user: user_of(&fiber.claim.task),
            root: fiber.claim.root,
            bytes: memory,
            memory,
            code: fiber.code(),
            weight: fiber.weight,
            is_parked: fiber.is(Phase::Parked),
        }
    }
}

/// Counts the guests of each version.
fn versions<'f>(live: &[Seen<'f>]) -> HashMap<(&'f str, ComponentDigest), u64> {
    let mut versions = HashMap::new();
    for guest in live {
        *versions.entry((guest.user, guest.code.digest)).or_insert(0) += 1;
    }
    versions
}

/// Looks at the live guests.
fn see(live: &[Arc<Fiber>]) -> Vec<Seen<'_>> {
    let mut seen: Vec<_> = live.iter().map(|fiber| Seen::of(fiber)).collect();
    let versions = versions(&seen);
    for guest in &mut seen {
        guest.bytes += guest.code.bytes / versions[&(guest.user, guest.code.digest)];
    }
    seen
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

/// The live instances and the memory by which guests have too much together.
#[derive(Debug, Clone, Copy)]
struct Excess {
    live: usize,
    memory: u64,
}

/// Finds the places of the parked guests whose end brings guests down by an excess: always the largest parked guest of
/// the largest user, by what there is too much of. Users that have no more than half of what the largest had are
/// spared.
fn largest_parked_for(live: &[Seen<'_>], mut excess: Excess, max_live: usize, total: u64) -> Vec<usize> {
    let mut users: HashMap<&str, (Excess, Vec<usize>)> = HashMap::new();
    for (place, guest) in live.iter().enumerate() {
        let (has, parked) = users.entry(guest.user).or_insert((Excess { live: 0, memory: 0 }, Vec::new()));
        has.live += guest.weight;
        has.memory += guest.bytes;
        parked.extend(guest.is_parked.then_some(place));
    }
    for (_, parked) in users.values_mut() {
        parked.sort_unstable_by_key(|place| (live[*place].bytes, live[*place].id));
    }
    let is_scarce = (excess.live > 0, excess.memory > 0);
    // In millionths of all.
    let size = |has: &Excess| {
        let part = |of: u64, all: u64| (u128::from(of) * 1_000_000 / u128::from(all.max(1))) as u64;
        let of_live = if is_scarce.0 { part(has.live as u64, max_live as u64) } else { 0 };
        of_live.max(if is_scarce.1 { part(has.memory, total) } else { 0 })
    };
    let most = users.values().map(|(has, _)| size(has)).max().unwrap_or_default();
    let mut versions = versions(live);
    let mut found = Vec::new();
    while excess.live > 0 || excess.memory > 0 {
        let large = users.iter_mut().filter(|(_, (has, parked))| !parked.is_empty() && size(has) > most / 2);
        let Some((_, (has, parked))) = large.max_by_key(|(user, (has, _))| (size(has), **user)) else {
            break;
        };
        let Some(place) = parked.pop() else { break };
        let guest = &live[place];
        let mut freed = guest.memory;
        // The code goes with the last guest of its version.
        if let Some(left) = versions.get_mut(&(guest.user, guest.code.digest)) {
            *left -= 1;
            freed += if *left == 0 { guest.code.bytes } else { 0 };
        }
        has.live -= guest.weight;
        has.memory = has.memory.saturating_sub(freed);
        excess.live = excess.live.saturating_sub(guest.weight);
        excess.memory = excess.memory.saturating_sub(freed);
        found.push(place);
    }
    found
}

impl Core {
    /// Gives parked guests of the largest users back, until so many guests of others can start. A slot ends each, as
    /// any guest.
    pub(super) fn make_room_for(&self, starts: usize) {
        let (max_live, total) = (self.options.settings.max_live, self.budget.total());
        let starts = starts.min(self.options.slots);
        let now_live = self.scheduler.load().live;
        let excess = Excess {
            live: (now_live + starts).saturating_sub(below_last_quarter(max_live as u64) as usize),
            memory: (self.budget.used() + 1).saturating_sub(below_last_quarter(total)),
        };
        let live = self.live_fibers();
        let seen = see(&live);
        let mut given_back = BTreeMap::new();
        for place in largest_parked_for(&seen, excess, max_live, total) {
            let fiber = &live[place];
            // It may have been woken since.
            if fiber.step(Phase::Parked, Phase::Queued) {
                fiber.mark_killed(Kill::Release);
                self.scheduler.push_resumed(Arc::clone(fiber));
                *given_back.entry(seen[place].user).or_insert(0) += 1;
            }
        }
        let attempts: usize = given_back.values().sum();
        if attempts > 0 {
            let users: Vec<_> = given_back.keys().take(TOLD_USERS).copied().collect();
            let components = users.join("`, `");
            tracing::warn!(
                event = "relief",
                attempts,
                "parked guests of `{components}` are given back: others could not start for want of live instances \
                 or memory"
            );
        }
    }

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
        let code = SharedCode { digest: ComponentDigest::from_bytes([0; 32]), bytes: 0 };
        Seen { id, user, root: id, bytes, memory: bytes, code, weight: 1, is_parked }
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

    #[test]
    fn the_largest_components_make_room_for_small_ones() {
        let mut live: Vec<_> = (0..10).map(|_| guest("eve", 10, true)).collect();
        live.extend((0..8).map(|_| guest("eva", 10, true)));
        live.extend([guest("small", 30, true), guest("eve", 90, false)]);
        let counts = |live: usize, memory: u64, guests: &[Seen<'_>]| {
            let found = largest_parked_for(guests, Excess { live, memory }, 30, 1_000);
            ["eve", "eva", "small"]
                .map(|user| found.iter().filter(|place| guests[**place].user == user).count())
        };
        // Of live instances eve has 11, eva 8.
        assert_eq!(counts(3, 0, &live), [3, 0, 0]);
        assert_eq!(counts(6, 0, &live), [5, 1, 0]);
        assert_eq!(counts(30, 0, &live), [6, 3, 0], "none gives up more than half of what the largest had");
        // Of memory eve has 190, on slots too.
        assert_eq!(counts(0, 95, &live), [10, 0, 0]);
        assert_eq!(counts(0, 1_000, &live), [10, 0, 0]);
        let sizes = [guest("eve", 10, true), guest("eve", 70, true), guest("eva", 30, true)];
        assert_eq!(
            largest_parked_for(&sizes, Excess { live: 0, memory: 5 }, 30, 1_000),
            [1],
            "the largest first"
        );
        let with_code = |user, byte| {
            let code = SharedCode { digest: ComponentDigest::from_bytes([byte; 32]), bytes: 100 };
            Seen { bytes: 60, code, ..guest(user, 10, true) }
        };
        let versions = [with_code("eve", 1), with_code("eve", 1), with_code("eva", 2), with_code("eva", 2)];
        let found = largest_parked_for(&versions, Excess { live: 0, memory: 50 }, 30, 1_000);
        assert_eq!(found.len(), 3, "code goes with its last guest: {found:?}");
        assert!(largest_parked_for(&live, Excess { live: 0, memory: 0 }, 30, 1_000).is_empty());
        assert!(largest_parked_for(&live[19..20], Excess { live: 1, memory: 1 }, 30, 1_000).is_empty());
    }
}
