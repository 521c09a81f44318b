//! Quotas: whether components and fairness keys have room for what is submitted, and what the transaction changes of
//! their counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::head::Moves;
use crate::model::{Bucket, Held, HolderKind, OverQuota, Quota, Status, UnixMicros};
use crate::store::quota::counted_for;
use crate::store::{NewInvocation, QuotaRule};

/// A component or a fairness key with a quota, and its counts with what this transaction has created.
struct Metered {
    name: Arc<str>,
    quota: Quota,
    held: Held,
    bucket: Bucket,
    /// The time in which the tokens are filled again that this transaction has taken.
    taken: i64,
}

/// An invocation as quotas count it.
pub struct Account<'h> {
    pub task: i64,
    pub status: Status,
    pub fairness_key: i64,
    pub payer: Option<&'h Arc<str>>,
    pub unkeyed: bool,
}

impl Account<'_> {
    /// Changes the counts of all that count it: of its payer or its task, and of its fairness key.
    pub fn hold(&self, change: Held, moves: &mut Moves, quotas: &mut Quotas) {
        match self.payer {
            None => moves.store(self.task, self.status, change.bytes),
            Some(payer) => {
                moves.count_elsewhere(self.task, self.status, change.unfinished);
                quotas.paid.entry(Arc::clone(payer)).or_default().add(change);
            }
        }
        if !self.unkeyed {
            quotas.held.entry(self.fairness_key).or_default().add(change);
        }
    }
}

/// The tokens that submits of a holder have taken.
pub struct Taken {
    pub holder: HolderKind,
    pub name: Arc<str>,
    /// The time in which they are filled again, in nanoseconds.
    pub cost: i64,
    /// The bucket, as far as this transaction knows.
    pub bucket: Bucket,
}

/// The quotas of a transaction.
#[derive(Default)]
pub struct Quotas {
    /// The quotas in force; loaded if the batch submits something.
    pub rules: Vec<QuotaRule>,
    /// The components that have a quota, by name.
    components: HashMap<Arc<str>, Metered>,
    /// The fairness keys that have a quota, by number.
    keys: HashMap<i64, Metered>,
    /// The changes of the transaction to the counts of fairness keys, by number.
    held: BTreeMap<i64, Held>,
    /// The changes of the transaction to the counts of payers.
    paid: BTreeMap<Arc<str>, Held>,
}

impl Quotas {
    /// Takes in the counts of a component that [`State::components_to_meter`](super::State::components_to_meter) named.
    pub fn meter_component(&mut self, name: &str, held: Held, bucket: Bucket) {
        if let Some(quota) = QuotaRule::of(&self.rules, HolderKind::Component, name) {
            let name: Arc<str> = name.into();
            let metered = Metered { name: Arc::clone(&name), quota, held, bucket, taken: 0 };
            self.components.insert(name, metered);
        }
    }

    /// Takes in the counts of a fairness key that [`State::keys_to_meter`](super::State::keys_to_meter) named.
    pub fn meter_key(&mut self, key: i64, name: Arc<str>, held: Held, bucket: Bucket) {
        if let Some(quota) = QuotaRule::of(&self.rules, HolderKind::Key, &name) {
            self.keys.insert(key, Metered { name, quota, held, bucket, taken: 0 });
        }
    }

    /// Takes out the changes to the counts of fairness keys.
    pub fn take_held(&mut self) -> BTreeMap<i64, Held> {
        let mut held = std::mem::take(&mut self.held);
        held.retain(|_, change| *change != Held::default());
        held
    }

    /// Takes out the changes to the counts of payers.
    pub fn take_paid(&mut self) -> BTreeMap<Arc<str>, Held> {
        let mut paid = std::mem::take(&mut self.paid);
        paid.retain(|_, change| *change != Held::default());
        paid
    }

    /// Takes out the tokens that were taken, in the order of holders.
    pub fn take_taken(&mut self) -> Vec<Taken> {
        let components = self.components.values_mut().map(|one| (HolderKind::Component, one));
        let keys = self.keys.values_mut().map(|one| (HolderKind::Key, one));
        let mut taken: Vec<_> = components
            .chain(keys)
            .filter(|(_, one)| one.taken > 0)
            .map(|(holder, one)| Taken {
                holder,
                name: Arc::clone(&one.name),
                cost: std::mem::take(&mut one.taken),
                bucket: one.bucket,
            })
            .collect();
        taken.sort_by(|a, b| (a.holder, &a.name).cmp(&(b.holder, &b.name)));
        taken
    }

    /// Whether nothing that the batch submits has a quota.
    fn is_unmetered(&self) -> bool {
        self.components.is_empty() && self.keys.is_empty()
    }

    /// Returns those of the holders of a new invocation that have a quota. It has no `key` if that does not count it.
    fn metered(&mut self, new: &NewInvocation, key: Option<i64>) -> [Option<(HolderKind, &mut Metered)>; 2] {
        let component = counted_for(&self.rules, new).and_then(|name| self.components.get_mut(name));
        [
            component.map(|one| (HolderKind::Component, one)),
            key.and_then(|key| self.keys.get_mut(&key)).map(|one| (HolderKind::Key, one)),
        ]
    }

    /// Answers a submit for which one of its holders has no room.
    pub(super) fn over(
        &mut self,
        new: &NewInvocation,
        key: Option<i64>,
        now: UnixMicros,
    ) -> Option<OverQuota> {
        if self.is_unmetered() {
            return None;
        }
        self.metered(new, key).into_iter().flatten().find_map(|(holder, one)| {
            let kind = one.quota.refuses(one.held, one.bucket, new.arguments.len(), now)?;
            Some(OverQuota { holder, name: Arc::clone(&one.name), kind, quota: one.quota, held: one.held })
        })
    }

    /// Takes the room of a new invocation, and its tokens.
    pub(super) fn take_room(&mut self, new: &NewInvocation, key: Option<i64>, change: Held, now: UnixMicros) {
        if self.is_unmetered() {
            return;
        }
        for (_, one) in self.metered(new, key).into_iter().flatten() {
            one.held.add(change);
            if let Some(rate) = one.quota.submits {
                let cost = Bucket::cost(rate);
                one.bucket.take(cost, now);
                one.taken = one.taken.saturating_add(cost);
            }
        }
    }
}
