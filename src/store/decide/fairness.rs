//! Fairness keys: the places in the queue that invocations get, and the clock of virtual time.

use std::collections::{BTreeMap, HashMap};

use super::Contradiction;
use super::head::Head;
use crate::model::InvocationId;
use crate::store::order::{self, LateFlows, Progress, Unused};
use crate::store::{Batch, EndKind, rules};

/// A fairness key whose row was loaded.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// When the last of its invocations ends, in virtual time.
    pub finish: i64,
    /// The cost of an invocation.
    pub cost: i64,
    /// The costs of the invocations that were given a place by this transaction.
    pub added: i64,
    /// The number of invocations that this transaction adds to those that have the key.
    pub uses: i64,
}

impl Share {
    /// A key as its row is.
    pub fn new(finish: i64, cost: i64) -> Self {
        Self { finish, cost, added: 0, uses: 0 }
    }

    /// Takes unused turns off.
    fn take_off(&mut self, unused: &mut Unused) {
        self.add(order::without_unused(self.finish, unused) - self.finish);
    }

    /// Moves the finish, and adds to the costs of this transaction.
    fn add(&mut self, cost: i64) {
        self.finish = self.finish.saturating_add(cost);
        self.added = self.added.saturating_add(cost);
    }
}

/// The changes of a transaction to fairness keys, in the order in which they are written.
pub struct Changed {
    /// Of keys that are not loaded: the number, and the start and finish of the unused turns in a row that end last.
    /// They are taken off if the key still ends there.
    pub given_back: Vec<(i64, i64, i64)>,
    /// By the numbers of the keys.
    pub shares: BTreeMap<i64, Share>,
    /// The keys that nothing may have any more.
    pub released: Vec<i64>,
}

/// The fairness keys of a transaction, and the clock.
#[derive(Default)]
pub struct Fairness {
    /// The clock when the transaction began.
    pub clock: i64,
    /// By the number of the key.
    pub keys: HashMap<i64, Share>,
    /// The numbers of the keys of new roots.
    pub by_name: HashMap<String, i64>,
    /// How many invocations of a key were removed.
    released: BTreeMap<i64, i64>,
    /// The turns of invocations that ended before they were claimed, by key, until they are taken off its finish.
    unused: BTreeMap<i64, Unused>,
    /// The claims by which the clock moves.
    pub progress: Progress,
    /// The late flows that this process remembers.
    pub late: LateFlows,
}

impl Fairness {
    /// Gives an invocation that becomes claimable its place in the queue.
    pub(super) fn place(&mut self, head: &mut Head) -> Result<(), Contradiction> {
        let clock = self.clock;
        let share = self.share(head.fairness_key)?;
        let start = share.finish.max(clock);
        share.finish = start.saturating_add(share.cost);
        share.added = share.added.saturating_add(share.cost);
        head.order_key = order::order_key(start, head.priority);
        head.turn = share.cost;
        head.is_changed = true;
        Ok(())
    }

    /// Counts a new invocation of a key.
    pub(super) fn count(&mut self, key: i64) -> Result<(), Contradiction> {
        self.share(key)?.uses += 1;
        Ok(())
    }

    /// The number of the key of a new root.
    pub(super) fn number(&self, name: &str) -> Result<i64, Contradiction> {
        let number = self.by_name.get(name).copied();
        number.ok_or_else(|| Contradiction(format!("the fairness key `{name}` has no number")))
    }

    /// Gives a key back the turn of an invocation that ended before it was claimed, if it is the last one of the key: it
    /// took nobody's time. The key need not be loaded.
    pub(super) fn refund(&mut self, head: &Head) {
        let start = order::start(head.order_key, head.priority);
        self.unused.entry(head.fairness_key).or_default().push((start, start.saturating_add(head.turn)));
    }

    fn share(&mut self, key: i64) -> Result<&mut Share, Contradiction> {
        let share = self.keys.get_mut(&key);
        let share = share.ok_or_else(|| Contradiction(format!("the fairness key {key} was not loaded")))?;
        if let Some(mut unused) = self.unused.remove(&key) {
            share.take_off(&mut unused);
        }
        Ok(share)
    }

    /// Counts an invocation out that is removed. Its key need not be loaded.
    pub fn release(&mut self, key: i64) {
        *self.released.entry(key).or_default() += 1;
    }

    /// Takes out everything to be written.
    pub fn take_changed(&mut self) -> Changed {
        let released = std::mem::take(&mut self.released);
        let unloaded = Share::new(i64::MIN, 0);
        let mut changed: BTreeMap<_, _> =
            released.iter().map(|(key, count)| (*key, Share { uses: -count, ..unloaded })).collect();
        let mut given_back = Vec::new();
        for (key, mut unused) in std::mem::take(&mut self.unused) {
            if let Some(share) = self.keys.get_mut(&key) {
                share.take_off(&mut unused);
            } else if let Some(finish) = unused.iter().map(|turn| turn.1).max() {
                given_back.push((key, order::without_unused(finish, &mut unused), finish));
            }
        }
        for (key, share) in &mut self.keys {
            if share.added != 0 || share.uses != 0 {
                let released = changed.insert(*key, *share).map_or(0, |released| released.uses);
                changed.entry(*key).and_modify(|share| share.uses += released);
                (share.added, share.uses) = (0, 0);
            }
        }
        Changed { given_back, shares: changed, released: released.into_keys().collect() }
    }
}

/// The invocations that the reports of a batch make claimable again at once: their keys are to be loaded.
pub fn tried_again(batch: &Batch) -> impl Iterator<Item = InvocationId> {
    batch.reports.iter().filter_map(|report| {
        let how = &report.end.as_ref()?.how;
        matches!(how, EndKind::Retry(_, delay) if rules::is_at_once(*delay)).then_some(report.id)
    })
}
