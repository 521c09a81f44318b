//! The order in which ready invocations are claimed: start-time fair queueing among fairness keys
//! (`docs/design/fairness.md`).
//!
//! The order key is stored with each invocation, because the order is an index, and in SQLite with each lane
//! (`lane.last_ready`): a change of it needs a migration of every store.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

use super::FairnessWeight;
use crate::model::Glob;

/// The cost of an invocation of weight 1, in the units of the clock of virtual time.
pub(super) const TURN: i64 = 1_000_000;

/// A step of priority is worth so much. The start of an invocation never changes while it waits, and later ones
/// only grow: so nothing starves.
pub(super) const PRIORITY_STEP: i64 = 60 * TURN;

/// An invocation is late if the clock is so far past it.
pub(super) const LATE: i64 = 8 * TURN;

/// The tasks whose late invocations a process remembers to have claimed.
const LATE_TASKS: usize = 1_000;

fn worth(priority: i32) -> i64 {
    i64::from(priority) * PRIORITY_STEP
}

/// Where an invocation stands in the queue: smaller is sooner.
pub(super) fn order_key(start: i64, priority: i32) -> i64 {
    start.saturating_sub(worth(priority))
}

/// The start that an order key was made of.
pub(super) fn start(order_key: i64, priority: i32) -> i64 {
    order_key.saturating_add(worth(priority))
}

/// Whether the clock is far past an invocation.
pub(super) fn is_late(order_key: i64, priority: i32, clock: i64) -> bool {
    start(order_key, priority).max(order_key) < late_before(clock)
}

/// No order key from here on is late.
pub(super) fn late_before(clock: i64) -> i64 {
    clock.saturating_sub(LATE)
}

/// Whether an awaited invocation is farther ahead than its lead, so that it takes a turn.
pub(super) fn takes_a_turn(order_key: i64, priority: i32, clock: i64, lead: i64) -> bool {
    start(order_key, priority) > clock.saturating_add(lead)
}

/// The cost of an invocation of a key: that of the most exact pattern.
pub(super) fn cost(weights: &[FairnessWeight], key: &str) -> i64 {
    Glob::most_exact(weights, |weight| &weight.keys, key).map_or(TURN, |weight| weight.cost)
}

/// Weights in the order in which stores keep them, each pattern once.
pub(super) fn sorted(weights: &[FairnessWeight]) -> Vec<FairnessWeight> {
    let mut weights = weights.to_vec();
    weights.sort_by(|a, b| a.keys.as_str().cmp(b.keys.as_str()));
    weights.dedup_by(|a, b| a.keys == b.keys);
    weights
}

/// How an invocation came to be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Taken {
    /// Before its turn: somebody awaits it, or the claim is of one tree.
    OutOfTurn,
    /// As the next of the queue.
    InTurn,
    /// As the next of the late ones of its task, with this rank.
    Late(i64),
}

/// The turns of the keys of which something is awaited that is farther ahead than its lead: the most urgent of these
/// takes the next turn of its key, and the two exchange their starts. So within a key awaited work goes first, and
/// between keys nothing changes.
#[derive(Debug)]
pub(super) struct Turns<T> {
    /// The awaited, by fairness key, most urgent first.
    awaiting: HashMap<i64, VecDeque<T>>,
    /// The awaited that have taken a turn.
    taken: HashSet<T>,
    /// Each turn that was taken from another one, with the one that took it.
    exchanges: Vec<(T, T)>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { awaiting: HashMap::new(), taken: HashSet::new(), exchanges: Vec::new() }
    }
}

impl<T: Copy + Eq + Hash> Turns<T> {
    /// Whether the next of the queue gets its own turn, whatever its key is.
    pub(super) fn is_empty(&self) -> bool {
        self.awaiting.is_empty()
    }

    /// Adds an awaited one of a key behind those that it has.
    pub(super) fn add(&mut self, key: i64, one: T) {
        self.awaiting.entry(key).or_default().push_back(one);
    }

    /// Returns the one that gets the turn of the next of the queue, which may be that itself; `None` if it has taken a
    /// turn before. The next of the queue has no `key` if it keeps its own start.
    pub(super) fn give(&mut self, next: T, key: Option<i64>) -> Option<T> {
        if self.taken.contains(&next) {
            return None;
        }
        let Some(awaited) = key.and_then(|key| self.take(key)) else { return Some(next) };
        self.taken.insert(awaited);
        if awaited != next {
            self.exchanges.push((next, awaited));
        }
        Some(awaited)
    }

    fn take(&mut self, key: i64) -> Option<T> {
        let waiting = self.awaiting.get_mut(&key)?;
        let one = waiting.pop_front()?;
        if waiting.is_empty() {
            self.awaiting.remove(&key);
        }
        Some(one)
    }

    /// Lists the pairs that exchange their starts. The first of each was passed over, and can still be claimed.
    pub(super) fn into_exchanges(self) -> Vec<(T, T)> {
        self.exchanges
    }
}

/// Returns the order keys of two waiting invocations, each given as its order key and priority, after they have
/// exchanged their starts.
pub(super) fn exchanged(one: (i64, i32), other: (i64, i32)) -> (i64, i64) {
    (order_key(start(other.0, other.1), one.1), order_key(start(one.0, one.1), other.1))
}

/// The turns of one key whose invocations ended before they were claimed: start and finish of each.
pub(super) type Unused = Vec<(i64, i64)>;

/// Returns where a key ends that gets unused turns back: only those at its end. One that others were placed behind stays
/// used, or else a key could save turns up, and use them all at once.
pub(super) fn without_unused(finish: i64, unused: &mut Unused) -> i64 {
    unused.sort_unstable_by(|one, other| other.cmp(one));
    unused.iter().fold(finish, |finish, turn| if turn.1 == finish { turn.0 } else { finish })
}

/// The claims by which a batch moves the clock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// The latest that was claimed in its turn.
    pub(super) reached: Option<i64>,
    /// The cost of those.
    pub(super) cost: i64,
    /// The latest start of all.
    pub(super) latest: Option<i64>,
}

impl Progress {
    /// Counts an invocation that is claimed.
    pub(super) fn add(&mut self, order_key: i64, priority: i32, cost: i64, taken: Taken) {
        let start = start(order_key, priority);
        let reached = match taken {
            Taken::OutOfTurn => None,
            Taken::InTurn => Some(start.min(order_key)),
            Taken::Late(rank) => Some(rank),
        };
        self.latest = self.latest.max(Some(start)).max(reached);
        if reached.is_some() {
            self.reached = self.reached.max(reached);
            self.cost = self.cost.saturating_add(cost);
        }
    }

    /// Moves the clock; `is_empty` if nothing that could be claimed is left in the store.
    pub(super) fn clock(&self, clock: i64, is_empty: bool) -> i64 {
        let bound = clock.saturating_add(self.cost);
        let reached = self.reached.map_or(clock, |reached| reached.min(bound));
        let latest = self.latest.filter(|_| is_empty).unwrap_or(clock);
        clock.max(reached).max(latest)
    }
}

/// How far the late invocations of tasks have been claimed by this process, which makes a flow of those of one
/// task. By the number of the task.
#[derive(Debug, Default, Clone)]
pub(super) struct LateFlows(HashMap<i64, i64>);

impl LateFlows {
    /// The rank of the first late invocation of a task.
    pub(super) fn rank(&self, task: i64, clock: i64) -> i64 {
        self.0.get(&task).map_or(clock, |finish| clock.max(*finish))
    }

    /// Notes that a late invocation of a task was claimed.
    pub(super) fn note(&mut self, task: i64, rank: i64, cost: i64, clock: i64) {
        if self.0.len() >= LATE_TASKS {
            self.0.retain(|_, finish| *finish > clock);
        }
        if self.0.len() < LATE_TASKS || self.0.contains_key(&task) {
            self.0.insert(task, rank.saturating_add(cost));
        }
    }

    /// The tasks whose flow is ahead of the clock, and where it is.
    pub(super) fn ahead(&self, clock: i64) -> (Vec<i64>, Vec<i64>) {
        self.0.iter().filter(|(_, finish)| **finish > clock).map(|(task, finish)| (*task, *finish)).unzip()
    }
}

/// The rank of each invocation in the queue of one task, while a claim walks along it.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// The rank of the next one, once one was late.
    next: Option<i64>,
}

impl Flow {
    /// Returns the rank of the next invocation in the queue, which has an order key that may be late, and how it
    /// would be taken. From the first late one on, all are of the flow.
    pub(super) fn rank(
        &mut self,
        [order_key, cost]: [i64; 2],
        priority: i32,
        clock: i64,
        first: impl FnOnce() -> i64,
    ) -> (i64, Taken) {
        let rank = match self.next {
            Some(next) => next,
            None if is_late(order_key, priority, clock) => first(),
            None => return (order_key, Taken::InTurn),
        };
        self.next = Some(rank.saturating_add(cost));
        (rank, Taken::Late(rank))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: i64 = 1_000 * TURN;

    #[test]
    fn a_priority_is_worth_sixty_turns_and_can_be_taken_off_again() {
        assert_eq!(order_key(5, 1), 5 - 60 * TURN);
        for priority in [-1000, 0, 7] {
            assert_eq!(start(order_key(123, priority), priority), 123);
        }
    }

    #[test]
    fn late_is_what_the_clock_has_passed_with_its_priority_or_without() {
        let late = |start: i64, priority| is_late(order_key(start, priority), priority, CLOCK);
        assert!(late(CLOCK - 9 * TURN, 0));
        assert!(!late(CLOCK - 8 * TURN, 0));
        assert!(!late(CLOCK, 5), "a high priority is no delay");
        assert!(!late(CLOCK - 20 * TURN, -1), "its turn has not come");
        assert!(late(CLOCK - 70 * TURN, -1));
    }

    #[test]
    fn the_clock_moves_with_the_work_that_was_done() {
        let mut progress = Progress::default();
        assert_eq!(progress.clock(7, true), 7);
        progress.add(CLOCK, 0, TURN, Taken::InTurn);
        assert_eq!(progress.clock(7, false), 7 + TURN, "not farther than the work");
        assert_eq!(progress.clock(CLOCK - 3, false), CLOCK);
        assert_eq!(progress.clock(CLOCK + 3, true), CLOCK + 3, "it never goes back");
        assert_eq!(progress.clock(7, true), CLOCK, "nobody else waits");
        let mut awaited = Progress::default();
        awaited.add(CLOCK, 0, TURN, Taken::OutOfTurn);
        assert_eq!(awaited.clock(7, false), 7);
        assert_eq!(awaited.clock(7, true), CLOCK);
    }

    #[test]
    fn the_most_urgent_of_a_key_takes_its_next_turn() {
        let mut turns = Turns::default();
        turns.add(1, 7);
        turns.add(1, 8);
        assert_eq!(turns.give(3, Some(2)), Some(3), "of another key");
        assert_eq!(turns.give(4, None), Some(4), "in a lane");
        assert_eq!((turns.give(5, Some(1)), turns.give(8, Some(1))), (Some(7), Some(8)));
        assert_eq!(turns.give(7, Some(1)), None, "it has taken a turn");
        assert!(turns.is_empty());
        assert_eq!(turns.give(6, Some(1)), Some(6));
        assert_eq!(turns.into_exchanges(), [(5, 7)]);
    }

    #[test]
    fn late_ones_of_a_task_are_a_flow() {
        let mut flows = LateFlows::default();
        let mut flow = Flow::default();
        let first = |flows: &LateFlows| flows.rank(1, CLOCK);
        assert_eq!(flow.rank([CLOCK - 1, TURN], 0, CLOCK, || first(&flows)), (CLOCK - 1, Taken::InTurn));
        assert_eq!(flow.rank([0, TURN], 0, CLOCK, || first(&flows)), (CLOCK, Taken::Late(CLOCK)));
        let second = CLOCK + TURN;
        assert_eq!(flow.rank([1, TURN], 0, CLOCK, || unreachable!()), (second, Taken::Late(second)));
        flows.note(1, CLOCK, TURN, CLOCK);
        assert_eq!(flows.rank(1, CLOCK), CLOCK + TURN);
        assert_eq!(flows.ahead(CLOCK), (vec![1], vec![CLOCK + TURN]));
        assert_eq!(flows.ahead(CLOCK + TURN), (vec![], vec![]));
    }

    #[test]
    fn the_most_specific_weight_holds() {
        let weights = [("*", 0.5), ("acme-*", 2.0), ("acme-x", 4.0), ("*-x", 8.0)];
        let weights = weights.map(|(keys, weight)| FairnessWeight::new(keys, weight).unwrap());
        assert_eq!(cost(&weights, "acme-x"), TURN / 4);
        assert_eq!(cost(&weights, "acme-y"), TURN / 2);
        assert_eq!(cost(&weights, "b-x"), TURN / 8);
        assert_eq!(cost(&weights, "b"), TURN * 2);
        assert_eq!(cost(&[], "b"), TURN);
    }
}
