//! The order of a batch: what is done before what.

use std::time::Duration;

use crate::model::{InvocationId, RunnerId};
use crate::store::{Batch, ClaimRequest, Heartbeat, Inventory, Prune};

/// A step of a batch. [`steps`] says in which order.
#[derive(Debug, Clone, Copy)]
pub enum Step<'b> {
    /// Rules that are dropped, then rules, then default rules, then pauses.
    SetRules,
    /// Pushes, removals, answers to pushes, and what was removed and is not needed any more.
    ChangeComponents,
    Submit,
    /// Bills, reports, cancels.
    Attempts,
    TakeStock(&'b Inventory),
    Heartbeat(&'b Heartbeat),
    /// Ends overdue invocations before anything is taken away or handed out.
    Expire,
    /// Cancels descendants that earlier transactions have left.
    Cascade,
    Recover,
    Claim(&'b ClaimRequest),
    /// Every lane that changed is brought in accord with its rules.
    SettleLanes,
    Prune(&'b Prune),
    /// Removes the usage of hours that ended so long ago.
    PruneUsage(Duration),
    /// Forgets names of tasks behind this one.
    ForgetNames(&'b str),
}

/// The steps of a batch, in their order.
pub fn steps(batch: &Batch) -> impl Iterator<Item = Step<'_>> {
    let has_attempts = !(batch.bills.is_empty() && batch.reports.is_empty() && batch.cancels.is_empty());
    let expires = batch.recover || batch.claim.is_some();
    [
        Some(Step::SetRules),
        batch.changes_components().then_some(Step::ChangeComponents),
        (!batch.submits.is_empty()).then_some(Step::Submit),
        has_attempts.then_some(Step::Attempts),
        batch.inventory.as_ref().map(Step::TakeStock),
        batch.heartbeat.as_ref().map(Step::Heartbeat),
        expires.then_some(Step::Expire),
        expires.then_some(Step::Cascade),
        batch.recover.then_some(Step::Recover),
        batch.claim.as_ref().map(Step::Claim),
        Some(Step::SettleLanes),
        batch.prune.as_ref().map(Step::Prune),
        batch.prune_usage.map(Step::PruneUsage),
        batch.forget_names.as_deref().map(Step::ForgetNames),
    ]
    .into_iter()
    .flatten()
}

/// The invocations that a batch speaks of: what is to be loaded before its first step.
/// Some may come several times.
pub fn named(batch: &Batch) -> impl Iterator<Item = InvocationId> {
    let parents = batch.submits.iter().filter_map(|submit| submit.child_of.as_ref());
    let ids = parents.map(|place| place.parent);
    let ids = ids.chain(batch.bills.iter().map(|bill| bill.id));
    let ids = ids.chain(batch.reports.iter().map(|report| report.id));
    ids.chain(batch.cancels.iter().map(|cancel| cancel.id))
}

/// The runners that a batch speaks for: whether they were lost is to be loaded.
pub fn runners(batch: &Batch) -> Vec<RunnerId> {
    let runners = batch.heartbeat.iter().map(|heartbeat| heartbeat.runner);
    let mut runners: Vec<_> = runners.chain(batch.claim.iter().map(|claim| claim.runner)).collect();
    runners.sort_unstable();
    runners.dedup();
    runners
}
