//! Quotas: those in force, and how much of each is used.

use super::{QuotaDocument, Service, ServiceError};
use crate::model::{Bucket, HolderKind, Quota, UnixMicros};
use crate::store::{Holding, QuotaRule};

impl Service {
    /// Lists the quotas in force, each followed by the components or fairness keys that it holds for, as far as there is
    /// something of them.
    pub fn quotas(&self) -> Result<Vec<QuotaDocument>, ServiceError> {
        let access = self.existing()?;
        let rules = access.ask(|store| store.quotas())?;
        let now = self.clock().now();
        let mut documents = Vec::new();
        for holder in HolderKind::ALL {
            let rules: Vec<_> = rules.iter().filter(|rule| rule.holder == holder).cloned().collect();
            if rules.is_empty() {
                continue;
            }
            let mut holdings = access.ask(|store| store.holdings(holder))?;
            for rule in &rules {
                let is_pattern = rule.names.as_str().contains('*');
                let is_of_rule = |one: &Holding| {
                    QuotaRule::most_exact(&rules, &one.name).is_some_and(|found| found.names == rule.names)
                };
                let (own, others): (Vec<_>, Vec<_>) = holdings.into_iter().partition(is_of_rule);
                holdings = others;
                if is_pattern || own.is_empty() {
                    documents.push(document(rule, None, now));
                }
                documents.extend(own.iter().map(|one| document(rule, Some(one), now)));
            }
        }
        Ok(documents)
    }
}

fn document(rule: &QuotaRule, holding: Option<&Holding>, now: UnixMicros) -> QuotaDocument {
    let Quota { unfinished, stored_bytes, submits } = rule.quota;
    let count = |of: fn(&Holding) -> i64| holding.map(|one| u64::try_from(of(one)).unwrap_or(0));
    let taken = |bucket: Bucket| submits.map(|rate| bucket.taken(rate, now));
    QuotaDocument {
        holder: rule.holder,
        pattern: rule.names.as_str().into(),
        name: holding.map(|one| one.name.clone()),
        unfinished: count(|one| one.held.unfinished),
        unfinished_limit: unfinished,
        stored_bytes: count(|one| one.held.bytes),
        stored_bytes_limit: stored_bytes,
        submits: holding.and_then(|one| taken(one.bucket)),
        submits_limit: submits.map(|rate| rate.limit),
        submits_window: submits.map(|rate| rate.window),
        set_by: rule.by.clone(),
        set_at: rule.at,
    }
}
