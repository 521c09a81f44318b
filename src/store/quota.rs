//! Quotas as runners set them and stores keep them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::value::json_text;
use super::{EndKind, NewInvocation, Report, RuleOrigin};
use crate::model::{Bucket, Glob, Held, HolderKind, Outcome, Quota, TaskId, UnixMicros};

/// All quotas that a configuration has for components, or for fairness keys: each with the pattern of the names
/// that it is for. They take the place of all of their kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaSection {
    /// The kind of its holders.
    pub holder: HolderKind,
    /// Patterns of names, and the quota of each holder whose name fits. An empty quota keeps less exact ones from it.
    pub quotas: Vec<(Glob, Quota)>,
}

/// A quota that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaRule {
    /// The kind of its holders.
    pub holder: HolderKind,
    /// The pattern of their names.
    pub names: Glob,
    /// The bounds of each.
    pub quota: Quota,
    /// The runner that has set it, if one is known.
    pub by: Option<RuleOrigin>,
    /// When it did.
    pub at: UnixMicros,
}

/// A component or a fairness key with its counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Its name.
    pub name: Arc<str>,
    /// Its counts.
    pub held: Held,
    /// Its tokens for submits, as far as a quota bounds these.
    pub bucket: Bucket,
}

impl QuotaSection {
    /// Makes the rules that it stands for, in the order in which stores keep them, each pattern once.
    pub(super) fn rules(&self, by: Option<&RuleOrigin>, at: UnixMicros) -> Vec<QuotaRule> {
        let rule = |(names, quota): &(Glob, Quota)| QuotaRule {
            holder: self.holder,
            names: names.clone(),
            quota: *quota,
            by: by.cloned(),
            at,
        };
        let mut rules: Vec<_> = self.quotas.iter().map(rule).collect();
        rules.sort_by(|a, b| a.names.as_str().cmp(b.names.as_str()));
        rules.dedup_by(|a, b| a.names == b.names);
        rules
    }

    /// Whether rules in force say the same of its kind, whoever has set them.
    pub(super) fn is_in_force(&self, rules: &[QuotaRule]) -> bool {
        let new = self.rules(None, UnixMicros(0));
        let there = rules.iter().filter(|rule| rule.holder == self.holder);
        there.map(|rule| (&rule.names, rule.quota)).eq(new.iter().map(|rule| (&rule.names, rule.quota)))
    }
}

impl QuotaRule {
    /// Finds the rule, among those of one kind, that holds for a name.
    pub fn most_exact<'r>(rules: impl IntoIterator<Item = &'r Self>, name: &str) -> Option<&'r Self> {
        Glob::most_exact(rules, |rule| &rule.names, name)
    }

    /// Finds the quota of a holder; `None` if it has no bound.
    pub(super) fn of(rules: &[Self], holder: HolderKind, name: &str) -> Option<Quota> {
        let found = Self::most_exact(rules.iter().filter(|rule| rule.holder == holder), name)?;
        Some(found.quota).filter(|quota| !quota.is_empty())
    }

    /// Whether holders of a kind may have a quota.
    pub(super) fn any(rules: &[Self], holder: HolderKind) -> bool {
        rules.iter().any(|rule| rule.holder == holder && !rule.quota.is_empty())
    }
}

impl Holding {
    /// Adds up the counts of tasks, by name, for each component, and those of others' tasks that components pay for.
    pub(super) fn of_components(
        tasks: Vec<(String, Held)>,
        paid: impl IntoIterator<Item = (String, Held)>,
    ) -> Vec<(String, Held)> {
        let mut components: BTreeMap<String, Held> = BTreeMap::new();
        for (component, held) in paid {
            components.entry(component).or_default().add(held);
        }
        for (task, held) in tasks {
            if let Some(component) = component_of(&task) {
                components.entry(component.to_owned()).or_default().add(held);
            }
        }
        components.into_iter().collect()
    }
}

/// The component that pays for a new invocation in the place of its task's: that of the guest which submits it, if that has a
/// quota. So nobody can fill the quota of another one.
pub(super) fn payer<'n>(rules: &[QuotaRule], new: &'n NewInvocation) -> Option<&'n str> {
    let by = component_of(&new.child_of.as_ref()?.task)?;
    let is_payer =
        component_of(&new.task) != Some(by) && QuotaRule::of(rules, HolderKind::Component, by).is_some();
    is_payer.then_some(by)
}

/// The component whose quota counts a new invocation.
pub(super) fn counted_for<'n>(rules: &[QuotaRule], new: &'n NewInvocation) -> Option<&'n str> {
    payer(rules, new).or_else(|| component_of(&new.task))
}

/// The component that counts the invocations of a task.
pub(super) fn component_of(task: &str) -> Option<&str> {
    TaskId::split(task).0
}

/// An outcome of so many bytes is stored, whatever the quota says: ordinary use is not cut off.
const ALWAYS_STORED: i64 = 4 << 10;

/// The bytes of an outcome for which a quota may have no room; `None` if it is always stored. A failure of the host's is
/// bounded.
pub(super) fn needs_room(outcome: &Outcome) -> Option<i64> {
    let may_be_large = match outcome {
        Outcome::Value(_) => true,
        Outcome::Failure(failure) => failure.error.is_some(),
    };
    let bytes = if may_be_large { stored_bytes(outcome) } else { 0 };
    (bytes > ALWAYS_STORED).then_some(bytes)
}

/// The outcome that a report makes final, if a quota may have no room for it.
pub fn large_outcome(report: &Report) -> Option<&Outcome> {
    match &report.end.as_ref()?.how {
        EndKind::Final(outcome) => needs_room(outcome).map(|_| outcome),
        EndKind::Retry(..) | EndKind::Release => None,
    }
}

/// Whether any quota in force bounds stored bytes.
pub(super) fn bounds_bytes(rules: &[QuotaRule]) -> bool {
    rules.iter().any(|rule| rule.quota.stored_bytes.is_some())
}

/// The bytes that an outcome takes, as quotas count them: those of its JSON text.
pub(super) fn stored_bytes(outcome: &Outcome) -> i64 {
    let bytes = match outcome {
        Outcome::Value(json) => json.len(),
        Outcome::Failure(failure) => json_text(&**failure).len(),
    };
    text_bytes(bytes)
}

/// The length of a text, as quotas count it.
pub(super) fn text_bytes(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
