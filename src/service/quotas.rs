//! Quotas: those in force, and how much of each is used.

use super::{QuotaDocument, Service, ServiceError};
use crate::model::{Bucket, HolderKind, Quota, UnixMicros};
use crate::store::{Holding, QuotaRule};

/// The quotas of a store.
#[derive(Debug)]
pub struct Quotas {
    /// Each quota, followed by those that it holds for.
    pub documents: Vec<QuotaDocument>,
    /// How many were left out, because nothing of them is bounded.
    pub left_out: usize,
}

impl Service {
    /// Lists the quotas in force, each followed by the components or fairness keys that it holds for, as far as there is
    /// something of them: those that bound something, or `all`. A section without a quota bounds nothing, so that its
    /// names are free of that of a wider pattern.
    pub fn quotas(&self, all: bool) -> Result<Quotas, ServiceError> {
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
        let there_are = documents.len();
        documents.retain(|one| all || one.has_limit());
        Ok(Quotas { left_out: there_are - documents.len(), documents })
    }
}

impl QuotaDocument {
    fn has_limit(&self) -> bool {
        self.unfinished_limit.is_some() || self.stored_bytes_limit.is_some() || self.submits_limit.is_some()
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
