//! The counts of components and fairness keys, and whether they may have more.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::quotas::Account;
use super::{Seq, State};
use crate::model::{Bucket, Held, HolderKind, Outcome, OverQuota, QuotaKind, TaskId, UnixMicros};
use crate::store::{Holding, NewInvocation, QuotaRule, QuotaSection, RuleOrigin, quota};

impl State {
    pub(super) fn quotas(&self) -> Vec<QuotaRule> {
        self.quotas.rules.clone()
    }

    /// Takes over the quotas of a configuration, of one kind of holders.
    pub(super) fn set_quotas(&mut self, new: &QuotaSection, by: Option<&RuleOrigin>, now: UnixMicros) {
        if new.is_in_force(&self.quotas.rules) {
            return;
        }
        let rules = &mut self.quotas.rules;
        rules.retain(|rule| rule.holder != new.holder);
        rules.extend(new.rules(by, now));
        rules.sort_by_key(|rule| rule.holder);
    }

    pub(super) fn holdings(&self, holder: HolderKind) -> Vec<Holding> {
        let mut counts: BTreeMap<Arc<str>, Held> = BTreeMap::new();
        match holder {
            HolderKind::Component => {
                for task in &self.tasks {
                    if let Some(component) = TaskId::split(&task.name).0 {
                        let unfinished = task.counts.unfinished() as i64 - task.elsewhere;
                        let held = Held { unfinished, bytes: task.bytes };
                        counts.entry(component.into()).or_default().add(held);
                    }
                }
                for (payer, held) in &self.quotas.paid {
                    counts.entry(Arc::clone(payer)).or_default().add(*held);
                }
            }
            HolderKind::Key => {
                counts.extend(self.fairness.held().map(|(name, held)| (Arc::clone(name), held)));
            }
        }
        counts.retain(|_, held| *held != Held::default());
        let holding = |(name, held)| Holding { bucket: self.bucket(holder, &name), name, held };
        counts.into_iter().map(holding).collect()
    }

    fn bucket(&self, holder: HolderKind, name: &Arc<str>) -> Bucket {
        self.quotas.buckets.get(&(holder, Arc::clone(name))).copied().unwrap_or_default()
    }

    /// The component and the fairness key that a new invocation counts for.
    fn holders(&self, new: &NewInvocation) -> Vec<(HolderKind, Arc<str>)> {
        let component = quota::counted_for(&self.quotas.rules, new);
        let component = component.map(|name| (HolderKind::Component, name.into()));
        let parent = new.child_of.as_ref().and_then(|place| self.record(&place.parent));
        let key =
            parent.map_or_else(|| new.fairness_key().into(), |parent| self.fairness.name(parent.fairness));
        let key = (!self.is_unkeyed(new)).then_some((HolderKind::Key, key));
        component.into_iter().chain(key).collect()
    }

    /// Answers a submit for which one of its holders has no room.
    pub(super) fn over_quota(&self, new: &NewInvocation, now: UnixMicros) -> Option<OverQuota> {
        if self.quotas.rules.is_empty() {
            return None;
        }
        self.holders(new).into_iter().find_map(|(holder, name)| {
            let quota = QuotaRule::of(&self.quotas.rules, holder, &name)?;
            let held = match holder {
                HolderKind::Component => {
                    let all = self.holdings(HolderKind::Component);
                    all.iter().find(|one| one.name == name).map(|one| one.held).unwrap_or_default()
                }
                HolderKind::Key => self.fairness.held_by(&name),
            };
            let kind = quota.refuses(held, self.bucket(holder, &name), new.arguments.len(), now)?;
            Some(OverQuota { holder, name, kind, quota, held })
        })
    }

    /// Returns the failure of an invocation for whose outcome one of its holders has no room.
    pub(super) fn no_room(&self, seq: Seq, outcome: &Outcome) -> Option<Outcome> {
        let (bytes, record) = (quota::needs_room(outcome)?, &self.records[seq]);
        let component =
            record.payer.clone().or_else(|| quota::component_of(&record.shown.task).map(Arc::from));
        let key = (!record.unkeyed).then(|| (HolderKind::Key, self.fairness.name(record.fairness)));
        component.map(|name| (HolderKind::Component, name)).into_iter().chain(key).find_map(
            |(holder, name)| {
                let quota = QuotaRule::of(&self.quotas.rules, holder, &name)?;
                let all = self.holdings(holder);
                let held = all.iter().find(|one| one.name == name).map(|one| one.held).unwrap_or_default();
                let over = OverQuota { holder, name, kind: QuotaKind::StoredBytes, quota, held };
                (!quota.may_store(held, bytes)).then(|| Outcome::Failure(Arc::new(over.failure(bytes))))
            },
        )
    }

    /// Takes tokens for a new invocation.
    pub(super) fn take_tokens(&mut self, new: &NewInvocation, now: UnixMicros) {
        if self.quotas.rules.is_empty() {
            return;
        }
        for (holder, name) in self.holders(new) {
            let quota = QuotaRule::of(&self.quotas.rules, holder, &name);
            if let Some(rate) = quota.and_then(|quota| quota.submits) {
                let bucket = self.quotas.buckets.entry((holder, name)).or_default();
                bucket.take(Bucket::cost(rate), now);
            }
        }
        self.quotas.buckets.retain(|_, bucket| bucket.full_at > Bucket::moment(now));
    }

    /// Whether the quota of its fairness key does not count a new invocation.
    pub(super) fn is_unkeyed(&self, new: &NewInvocation) -> bool {
        let Some(place) = &new.child_of else { return false };
        place.detached || self.record(&place.parent).is_some_and(|parent| parent.unkeyed)
    }

    /// Counts what an invocation holds more, or less.
    pub(super) fn hold(&mut self, account: &Account, change: Held) {
        let task = &mut self.tasks[account.task];
        match &account.payer {
            None => task.bytes += change.bytes,
            Some(payer) => {
                task.elsewhere += change.unfinished;
                self.quotas.paid.entry(Arc::clone(payer)).or_default().add(change);
                self.quotas.paid.retain(|_, held| *held != Held::default());
            }
        }
        if let Some(key) = account.key {
            self.fairness.hold(key, change);
        }
    }
}
