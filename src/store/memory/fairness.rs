//! Fairness keys: the places of invocations in the queue, and the clock of virtual time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::Held;
use crate::store::order::{self, LateFlows, Progress, Unused};
use crate::store::{FairnessWeight, NewInvocation};

/// A fairness key.
struct Key {
    name: Arc<str>,
    /// The cost of an invocation.
    cost: i64,
    /// When the last of its invocations ends, in virtual time.
    finish: i64,
    /// The number of invocations that have it.
    uses: usize,
    /// What these hold.
    held: Held,
}

/// The fairness keys and the clock.
#[derive(Default)]
pub(super) struct Fairness {
    pub(super) clock: i64,
    /// The claims of the commit under way, by which the clock moves.
    pub(super) progress: Progress,
    pub(super) late: LateFlows,
    weights: Vec<FairnessWeight>,
    /// By their numbers; unused ones are free.
    keys: Vec<Key>,
    free: Vec<usize>,
    by_name: HashMap<Arc<str>, usize>,
    /// The turns of invocations that ended before they were claimed, by the number of the key.
    unused: BTreeMap<usize, Unused>,
}

impl Fairness {
    /// Takes over the weights of a configuration.
    pub(super) fn set_weights(&mut self, weights: &[FairnessWeight]) {
        self.weights = order::sorted(weights);
        for key in &mut self.keys {
            key.cost = order::cost(&self.weights, &key.name);
        }
    }

    /// The key of a new root, which gets one more invocation.
    pub(super) fn enter(&mut self, new: &NewInvocation) -> usize {
        let name = new.fairness_key();
        let number = match self.by_name.get(name) {
            Some(number) => *number,
            None => {
                let cost = order::cost(&self.weights, name);
                let key = Key { name: name.into(), cost, finish: 0, uses: 0, held: Held::default() };
                let name = Arc::clone(&key.name);
                let number = match self.free.pop() {
                    Some(number) => {
                        self.keys[number] = key;
                        number
                    }
                    None => {
                        self.keys.push(key);
                        self.keys.len() - 1
                    }
                };
                self.by_name.insert(name, number);
                number
            }
        };
        self.keys[number].uses += 1;
        number
    }

    /// The key of a new child, which has that of its parent.
    pub(super) fn follow(&mut self, parent: usize) -> usize {
        self.keys[parent].uses += 1;
        parent
    }

    pub(super) fn name(&self, key: usize) -> Arc<str> {
        Arc::clone(&self.keys[key].name)
    }

    /// Changes what the invocations of a key hold.
    pub(super) fn hold(&mut self, key: usize, change: Held) {
        self.keys[key].held.add(change);
    }

    /// The keys with what their invocations hold.
    pub(super) fn held(&self) -> impl Iterator<Item = (&Arc<str>, Held)> {
        self.by_name.iter().map(|(name, key)| (name, self.keys[*key].held))
    }

    /// What the invocations of a key hold.
    pub(super) fn held_by(&self, name: &str) -> Held {
        self.by_name.get(name).map(|key| self.keys[*key].held).unwrap_or_default()
    }

    /// Gives an invocation its place in the queue.
    pub(super) fn place(&mut self, key: usize, priority: i32) -> (i64, i64) {
        self.take_off_unused(key);
        let key = &mut self.keys[key];
        let start = key.finish.max(self.clock);
        key.finish = start + key.cost;
        (order::order_key(start, priority), key.cost)
    }

    /// Gives a key back the turn of an invocation that ended before it was claimed, if it is the last one of the key.
    pub(super) fn refund(&mut self, key: usize, start: i64, cost: i64) {
        self.unused.entry(key).or_default().push((start, start.saturating_add(cost)));
    }

    /// Takes off what was given back: before anything else is placed, and at the end of a commit.
    fn take_off_unused(&mut self, number: usize) {
        if let Some(mut unused) = self.unused.remove(&number) {
            let key = &mut self.keys[number];
            key.finish = order::without_unused(key.finish, &mut unused);
        }
    }

    /// Ends a commit.
    pub(super) fn take_off_all_unused(&mut self) {
        while let Some(key) = self.unused.keys().next().copied() {
            self.take_off_unused(key);
        }
    }

    /// Takes one invocation away from a key, and forgets the key if nothing has it and nothing follows from it.
    pub(super) fn leave(&mut self, number: usize) {
        let key = &mut self.keys[number];
        key.uses -= 1;
        if key.uses == 0 {
            self.take_off_unused(number);
        }
        let key = &self.keys[number];
        if key.uses == 0 && key.finish <= self.clock {
            self.by_name.remove(&key.name);
            self.free.push(number);
        }
    }
}
