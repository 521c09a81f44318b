//! Quotas: whether components and fairness keys have room for what is submitted, and what the transaction changes of
//! their counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::head::Moves;
use crate::model::{Bucket, Held, HolderKind, Outcome, OverQuota, Quota, QuotaKind, Status, UnixMicros};
use crate::store::quota::{component_of, counted_for, needs_room};
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
        quotas.metered_by(self).into_iter().flatten().for_each(|(_, one)| one.held.add(change));
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
    /// The components of tasks, by the numbers of these, as far as they are needed to find what is metered.
    tasks: HashMap<i64, Arc<str>>,
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

    /// Learns the component of a task.
    pub fn learn_task(&mut self, task: i64, name: &str) {
        if let Some(component) = component_of(name) {
            self.tasks.entry(task).or_insert_with(|| component.into());
        }
    }

    /// Whether the counts of a component with a quota are loaded.
    pub fn meters_component(&self, name: &str) -> bool {
        self.components.contains_key(name)
    }

    /// Whether the counts of a fairness key with a quota are loaded.
    pub fn meters_key(&self, key: i64) -> bool {
        self.keys.contains_key(&key)
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

    /// Returns those of the holders of an invocation that have a quota, and whose counts are loaded.
    fn metered_by(&mut self, account: &Account<'_>) -> [Option<(HolderKind, &mut Metered)>; 2] {
        let component = account.payer.or_else(|| self.tasks.get(&account.task));
        [
            component.and_then(|name| self.components.get_mut(name)).map(|one| (HolderKind::Component, one)),
            self.keys
                .get_mut(&account.fairness_key)
                .filter(|_| !account.unkeyed)
                .map(|one| (HolderKind::Key, one)),
        ]
    }

    /// Returns the failure of an invocation for whose outcome one of its holders has no room.
    pub(super) fn no_room(&mut self, account: &Account<'_>, outcome: &Outcome) -> Option<Outcome> {
        if self.is_unmetered() {
            return None;
        }
        let bytes = needs_room(outcome)?;
        let full = |(holder, one): (HolderKind, &mut Metered)| {
            let (name, quota, held) = (Arc::clone(&one.name), one.quota, one.held);
            let over = OverQuota { holder, name, kind: QuotaKind::StoredBytes, quota, held };
            (!quota.may_store(held, bytes)).then(|| Outcome::Failure(Arc::new(over.failure(bytes))))
        };
        self.metered_by(account).into_iter().flatten().find_map(full)
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

    /// Takes the tokens of a new invocation.
    pub(super) fn take_tokens(&mut self, new: &NewInvocation, key: Option<i64>, now: UnixMicros) {
        if self.is_unmetered() {
            return;
        }
        for (_, one) in self.metered(new, key).into_iter().flatten() {
            if let Some(rate) = one.quota.submits {
                let cost = Bucket::cost(rate);
                one.bucket.take(cost, now);
                one.taken = one.taken.saturating_add(cost);
            }
        }
    }
}
