//! The shares of users in the live instances of a runner and in their memory.
//!
//! A user may start work that nobody awaits while it has at most twice what is left below the last quarter. This is
//! the dynamic threshold of switches whose ports share one buffer (Choudhury and Hahne, 1998): whoever is alone gets
//! two thirds of the three quarters, `n` users get `2 / (2n + 1)` of them each, and something is always left for one
//! who comes later. A fixed share is either too much for two together or too little for one alone.

use std::collections::HashMap;
use std::sync::Arc;

use super::fill::{Fill, Left, Room};
use crate::model::ComponentDigest;

/// A user may have so many times as much as is left.
const FACTOR: u64 = 2;

/// A user that is over its share is left out of claims until an eighth more is left than it takes to start: else what
/// is claimed for each guest that ends would be given back at once.
const SLACK: u64 = 8;

/// Compiled code, which all live guests of one version share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SharedCode {
    pub(super) digest: ComponentDigest,
    pub(super) bytes: u64,
}

/// The share of its user's part that a guest frees when it leaves its slot, or is gone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Freed {
    pub(super) live: usize,
    /// The change of its memory.
    pub(super) memory: i64,
    /// Its code, if it has used any and is gone.
    pub(super) code: Option<SharedCode>,
}

/// The part of one user.
#[derive(Debug, Default)]
struct Part {
    live: usize,
    /// As it was when its guests left their slots last, and the code of those that live.
    memory: u64,
    /// The number of live guests of each version.
    versions: HashMap<ComponentDigest, usize>,
    /// Whether it is left out of claims.
    is_held_back: bool,
}

impl Part {
    fn is_over(&self, left: Left) -> bool {
        self.live as u64 > left.live.saturating_mul(FACTOR)
            || self.memory > left.memory.saturating_mul(FACTOR)
    }
}

/// The most that a small user has of what the runner is nearly full of: half of what the largest has. So two users
/// never make room for each other in turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Small {
    live: Option<usize>,
    memory: Option<u64>,
}

impl Small {
    /// Whether there is anything that the runner is nearly full of.
    pub(super) fn is_bound(self) -> bool {
        self.live.is_some() || self.memory.is_some()
    }

    fn includes(self, part: &Part) -> bool {
        self.live.is_none_or(|most| part.live <= most) && self.memory.is_none_or(|most| part.memory <= most)
    }
}

/// The part of each user that has live guests.
#[derive(Debug, Default)]
pub(super) struct Shares {
    parts: HashMap<Arc<str>, Part>,
    /// Whether one of them is held back.
    holds_back: bool,
}

impl Shares {
    /// Counts more live instances for a user.
    pub(super) fn add_live(&mut self, user: &str, more: usize) {
        self.change(user, |part| part.live += more);
    }

    /// Counts the code of a new guest for its user, unless another one has the same.
    pub(super) fn add_code(&mut self, user: &str, code: SharedCode) {
        self.change(user, |part| {
            let guests = part.versions.entry(code.digest).or_default();
            *guests += 1;
            if *guests == 1 {
                part.memory += code.bytes;
            }
        });
    }

    /// Counts what a guest frees.
    pub(super) fn free(&mut self, user: &str, freed: Freed) {
        self.change(user, |part| {
            part.live -= freed.live;
            part.memory = part.memory.saturating_add_signed(freed.memory);
            if let Some(code) = freed.code
                && let Some(guests) = part.versions.get_mut(&code.digest)
            {
                *guests -= 1;
                if *guests == 0 {
                    part.versions.remove(&code.digest);
                    part.memory = part.memory.saturating_sub(code.bytes);
                }
            }
        });
    }

    fn change(&mut self, user: &str, change: impl FnOnce(&mut Part)) {
        match self.parts.get_mut(user) {
            Some(part) => change(part),
            None => change(self.parts.entry(user.into()).or_default()),
        }
    }

    /// The live instances of a user.
    pub(super) fn live_of(&self, user: &str) -> usize {
        self.parts.get(user).map_or(0, |part| part.live)
    }

    /// Returns what is left, if somebody may have more than their share of it with so many live instances of all.
    pub(super) fn scarce(room: &Room, live: usize) -> Option<Left> {
        let left = room.left(live);
        // Nobody has more than all.
        let all = Part { live, memory: room.budget.used(), ..Part::default() };
        (room.is_shared() && all.is_over(left)).then_some(left)
    }

    /// Whether a user has more than its share of what is left.
    pub(super) fn is_over(&self, user: &str, left: Left) -> bool {
        self.parts.get(user).is_some_and(|part| part.is_over(left))
    }

    /// Whether anybody has live guests.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Finds the most that small users have in a nearly full runner.
    pub(super) fn small(&self, room: &Room, live: usize) -> Small {
        let most_live = self.parts.values().map(|part| part.live).max();
        let most_memory = self.parts.values().map(|part| part.memory).max();
        Small {
            live: most_live.filter(|_| room.live(live) != Fill::Open).map(|most| most / 2),
            memory: most_memory.filter(|_| room.memory() != Fill::Open).map(|most| most / 2),
        }
    }

    /// Whether a user is a small one.
    pub(super) fn is_small(&self, user: &str, small: Small) -> bool {
        self.parts.get(user).is_none_or(|part| small.includes(part))
    }

    /// Lists the users that are left out of claims: they have more than their share, or had a moment ago. In a runner
    /// that is nearly full, nobody may start what nobody awaits: there it is all but the small ones.
    pub(super) fn held_back(&mut self, room: &Room, live: usize) -> Vec<Arc<str>> {
        let small = (room.fill(live) != Fill::Open).then(|| self.small(room, live));
        let left = room.left(live);
        let less = Left { live: left.live - left.live / SLACK, memory: left.memory - left.memory / SLACK };
        let all = Part { live, memory: room.budget.used(), ..Part::default() };
        if !room.is_shared() || !all.is_over(less) {
            if std::mem::take(&mut self.holds_back) {
                self.parts.values_mut().for_each(|part| part.is_held_back = false);
            }
            return Vec::new();
        }
        self.parts.retain(|_, part| part.live > 0);
        let mut users = Vec::new();
        for (user, part) in &mut self.parts {
            part.is_held_back = match small {
                Some(small) => !small.includes(part),
                None => part.is_over(if part.is_held_back { less } else { left }),
            };
            if part.is_held_back {
                users.push(Arc::clone(user));
            }
        }
        self.holds_back = !users.is_empty();
        // The same users are the same list.
        users.sort_unstable();
        users
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MemoryBudget;
    use crate::store::TaskSet;

    /// A runner of so many users, with room for 1,000 live instances and 1,000 bytes, and what they have of it.
    struct Bench {
        room: Room,
        shares: Shares,
        live: usize,
    }

    impl Bench {
        fn new(users: usize) -> Self {
            let tasks: TaskSet = (0..users).map(|user| format!("u{user}::run").into()).collect();
            let room = Room::new(1_000, Arc::new(MemoryBudget::new(1_000)), &tasks);
            Self { room, shares: Shares::default(), live: 0 }
        }

        /// Adds to the part of a user.
        fn add(&mut self, user: usize, live: usize, memory: u64) {
            self.room.budget.overdraw(memory);
            self.live += live;
            self.shares.change(&format!("u{user}"), |part| {
                part.live += live;
                part.memory += memory;
            });
        }

        fn end_one(&mut self, user: usize) {
            self.live -= 1;
            self.shares.change(&format!("u{user}"), |part| part.live -= 1);
        }

        fn may_start(&self, user: usize) -> bool {
            Shares::scarce(&self.room, self.live)
                .is_none_or(|left| !self.shares.is_over(&format!("u{user}"), left))
        }

        fn held_back(&mut self) -> Vec<Arc<str>> {
            self.shares.held_back(&self.room, self.live)
        }
    }

    #[test]
    fn users_that_take_what_they_may_leave_something_to_one_who_comes_later() {
        for users in 1..=40 {
            let mut bench = Bench::new(users + 1);
            let mut parts = vec![0; users];
            while let Some(user) =
                (0..users).filter(|user| bench.may_start(*user)).min_by_key(|user| parts[*user])
            {
                bench.add(user, 1, 0);
                parts[user] += 1;
            }
            let fair = 750 * 2 / (2 * users + 1);
            for part in &parts {
                assert!((fair.saturating_sub(1)..=fair + 2).contains(part), "{users} users: {parts:?}");
            }
            assert!(bench.live < 750 && bench.may_start(users), "{users} users have {}", bench.live);
            assert_eq!(bench.held_back().len(), users);
        }
    }

    #[test]
    fn memory_is_shared_like_live_instances() {
        let mut bench = Bench::new(3);
        bench.add(0, 1, 500);
        assert!(bench.may_start(0), "it may start with all of its share");
        bench.add(0, 1, 1);
        assert!(!bench.may_start(0) && bench.may_start(1));
        bench.add(1, 1, 240);
        assert!(!bench.may_start(1) && bench.may_start(2), "two of them leave something, too");
    }

    #[test]
    fn the_code_of_a_version_counts_once_while_a_guest_of_it_lives() {
        let code = |byte, bytes| SharedCode { digest: ComponentDigest::from_bytes([byte; 32]), bytes };
        let mut bench = Bench::new(2);
        for code in [code(1, 300), code(1, 300), code(2, 250)] {
            bench.shares.add_live("u0", 1);
            bench.shares.add_code("u0", code);
        }
        bench.room.budget.overdraw(550);
        assert_eq!(bench.shares.parts["u0"].memory, 550);
        assert!(!bench.may_start(0) && bench.may_start(1));
        for (gone, left) in [(code(1, 300), 550), (code(2, 250), 300), (code(1, 300), 0)] {
            bench.shares.free("u0", Freed { live: 1, memory: 0, code: Some(gone) });
            assert_eq!(bench.shares.parts["u0"].memory, left);
        }
        assert!(bench.shares.parts["u0"].versions.is_empty());
    }

    #[test]
    fn a_user_that_is_alone_has_no_share() {
        let mut bench = Bench::new(1);
        bench.add(0, 700, 700);
        assert!(bench.may_start(0) && bench.held_back().is_empty());
    }

    #[test]
    fn claims_go_on_when_somewhat_more_is_left_than_it_takes_to_start() {
        let mut bench = Bench::new(2);
        bench.add(0, 501, 0);
        assert_eq!(bench.held_back(), ["u0".into()]);
        bench.end_one(0);
        assert!(bench.may_start(0) && bench.held_back() == ["u0".into()], "what is claimed may start");
        let ended = (1..).take_while(|_| {
            bench.end_one(0);
            !bench.held_back().is_empty()
        });
        assert_eq!(ended.count(), 22);
        bench.add(0, 22, 0);
        assert!(bench.held_back().is_empty(), "until it has more than its share again");
        bench.add(0, 2, 0);
        assert_eq!(bench.held_back(), ["u0".into()]);
    }
}
