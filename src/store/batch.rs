//! The request and the answer of one transaction.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Adoption, Applied, Bill, Cancel, Cancelled, ClaimRequest, Ended, FairnessWeight, Heartbeat, Inventory,
    Lease, NewComponent, NewInvocation, Pause, Prune, Pruned, QuotaSection, ReplacedRule, Report, RuleOrigin,
    RunnerAnswer, Submitted, TaskRule,
};
use crate::model::{Claim, InvocationId, Outcome, RunnerId, UnixMicros};

/// Everything that one transaction is to do.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Tasks that take the places of ids of earlier programs.
    pub adoptions: Vec<Adoption>,
    /// Rules that a runner's configuration has for its tasks: from now on, that is
    /// what holds.
    pub rules: Vec<TaskRule>,
    /// The runner whose rules and quotas those are.
    pub rules_by: Option<RuleOrigin>,
    /// Rules of somebody who only submits: they hold for tasks that no rules
    /// were ever written for. What says nothing is not written: a task without a rule is as it says.
    pub default_rules: Vec<TaskRule>,
    /// Rules that a runner has told for tasks which it does not have any more: those that are still in force are
    /// forgotten.
    pub dropped_rules: Vec<TaskRule>,
    /// The weights of fairness keys that a runner's configuration has: all of them from now on. `None` if it says
    /// nothing of weights.
    pub weights: Option<Vec<FairnessWeight>>,
    /// The quotas that a runner's configuration has, by the kind of their holders. Of kinds that are not here it says
    /// nothing.
    pub quotas: Vec<QuotaSection>,
    /// Queues and tasks to hold back or to let go on.
    pub pauses: Vec<Pause>,
    /// Components for runners that do not have them. What is there already is not
    /// written again, but becomes the newest of its name.
    pub pushes: Vec<NewComponent>,
    /// Names of components that are to be removed: nothing is served under them any more. What was pushed is
    /// kept until no invocation of their tasks is unfinished.
    pub removals: Vec<Arc<str>>,
    /// Answers of runners to pushes: those to versions that nobody has pushed, or that have no facts, are dropped.
    pub answers: Vec<RunnerAnswer>,
    /// Forgets the removed components that no unfinished invocation needs any more. Pushes, removals and answers do, too.
    pub forgets_removed: bool,
    /// New invocations.
    pub submits: Vec<NewInvocation>,
    /// The usage of attempts that somebody else had ended, in an earlier transaction.
    pub bills: Vec<Bill>,
    /// Events of claimed invocations.
    pub reports: Vec<Report>,
    /// Invocations that somebody no longer wants.
    pub cancels: Vec<Cancel>,
    /// After a claim whose receipt was lost: what its runner knows that it owns.
    pub inventory: Option<Inventory>,
    /// Extends the lease of a runner, and so of everything that it has claimed.
    pub heartbeat: Option<Heartbeat>,
    /// Take claims away from runners whose lease has run out: each such
    /// invocation is queued again, or failed as lost if its attempts are used
    /// up. Also goes on with the descendants of what ended, as a claim does.
    pub recover: bool,
    /// Asks for work.
    pub claim: Option<ClaimRequest>,
    /// Forgets what is final and old.
    pub prune: Option<Prune>,
    /// Forgets the usage of hours that ended so long ago or longer: 1,000 rows at most.
    pub prune_usage: Option<Duration>,
    /// Forgets the names of tasks that no invocation and no rule refers to, of the first 1,000 names behind this one.
    pub forget_names: Option<Arc<str>>,
}

impl Batch {
    /// Returns the rules that say something of a task, each with whether it holds only if none was written before.
    pub(super) fn said_rules(&self) -> impl Iterator<Item = (&TaskRule, bool)> {
        let defaults = self.default_rules.iter().filter(|rule| rule.says_something());
        self.rules.iter().map(|rule| (rule, false)).chain(defaults.map(|rule| (rule, true)))
    }

    /// Whether it changes what is known of components, or may forget some.
    pub(super) fn changes_components(&self) -> bool {
        let Self { pushes, removals, answers, forgets_removed, .. } = self;
        *forgets_removed || !(pushes.is_empty() && removals.is_empty() && answers.is_empty())
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        // Names each field, so that a new one is asked, too.
        let Self {
            adoptions,
            rules,
            rules_by: _,
            default_rules,
            dropped_rules,
            weights,
            quotas,
            pauses,
            pushes,
            removals,
            answers,
            forgets_removed,
            submits,
            bills,
            reports,
            cancels,
            inventory,
            heartbeat,
            recover,
            claim,
            prune,
            prune_usage,
            forget_names,
        } = self;
        adoptions.is_empty()
            && rules.is_empty()
            && default_rules.is_empty()
            && dropped_rules.is_empty()
            && weights.is_none()
            && quotas.is_empty()
            && pauses.is_empty()
            && pushes.is_empty()
            && removals.is_empty()
            && answers.is_empty()
            && !forgets_removed
            && submits.is_empty()
            && bills.is_empty()
            && reports.is_empty()
            && cancels.is_empty()
            && inventory.is_none()
            && heartbeat.is_none()
            && !recover
            && claim.is_none()
            && prune.is_none()
            && prune_usage.is_none()
            && forget_names.is_none()
    }
}

/// The answer of one transaction; lists are in the order of the batch's.
#[derive(Debug, Clone, Default)]
pub struct Receipt {
    /// The present moment of the store's clock, by which its other times are to be
    /// understood: another machine's may differ.
    pub now: UnixMicros,
    /// One per adoption: whether the task has taken the place of the old id.
    pub adopted: Vec<bool>,
    /// Rules that were in force and that other rules of the batch have replaced.
    pub replaced: Vec<ReplacedRule>,
    /// One per removal: whether anything was there under the name.
    pub removed: Vec<bool>,
    /// One per submit.
    pub submits: Vec<Submitted>,
    /// One per bill.
    pub bills: Vec<Applied>,
    /// One per report.
    pub reports: Vec<Applied>,
    /// The reports whose outcome had no room in a quota of stored bytes, by their positions in the batch, each with the
    /// failure that was stored in its place.
    pub no_room: Vec<(usize, Outcome)>,
    /// One per cancel.
    pub cancels: Vec<Cancelled>,
    /// Everything that became final in this transaction other than by a report:
    /// cancelled invocations and their attached descendants, orphans of final
    /// parents, the expired, the lost. With the runner that owned it, which must kill its
    /// guest. In the order in which they ended; descendants follow the one that
    /// took them along, in the order of their submits.
    pub ended: Vec<Ended>,
    /// Whether descendants of what ended are left to be cancelled: one transaction cancels
    /// 1,000 at most. The next one that recovers or claims, whoever's it is, goes on.
    pub has_cascade: bool,
    /// How many claims the inventory did not have: they were given back.
    pub given_back: usize,
    /// Invocations that were taken from the heartbeat's runner since its last
    /// one, because somebody made them final: it must kill their guests. Each is
    /// told once here; see [`Store::revoked`](super::Store::revoked) for the same in between.
    pub revoked: Vec<InvocationId>,
    /// Invocations that were blocked by a rule before this transaction, and can be
    /// claimed now or were claimed in it. By id.
    pub unblocked: Vec<InvocationId>,
    /// Whether the runner of the heartbeat, or of the claim, still has its lease;
    /// `None` if the batch has neither.
    pub lease: Option<Lease>,
    /// How many claims were taken away from dead runners.
    pub recovered: usize,
    /// The same by runner, in the order of their ids.
    pub taken_over: Vec<TakenOver>,
    /// The claims: first the awaited that were asked for, in that order;
    /// then by priority and age.
    pub claimed: Vec<Claim>,
    /// The ids of [`ClaimRequest::awaited`] that could not be claimed now because
    /// they are delayed, blocked by a rule, paused, owned by a runner, final, not
    /// of the request's tasks or tree, or unknown. Those behind the last that was claimed are not looked
    /// at: they are neither claimed nor here, and `more` is set.
    pub unclaimable: Vec<InvocationId>,
    /// Whether there was, or may have been, more to claim than was asked for, or than
    /// [`ClaimRequest::max_bytes`] let in; also
    /// if more were past their deadline than one transaction ends.
    pub more: bool,
    /// When something happens by itself: the earliest `available_at` of a
    /// delayed invocation that is not due yet, the earliest moment at which a rate
    /// lets a blocked one start, the earliest end of another runner's lease that
    /// still owns something, or the earliest deadline. Only answered to a claim;
    /// see [`Store::next_due`](super::Store::next_due) for the same without one.
    pub next_due: Option<UnixMicros>,
    /// The result of the prune, if the batch has one.
    pub pruned: Option<Pruned>,
    /// Whether there may be more usage that is as old as that which the batch had removed.
    pub has_old_usage: bool,
    /// The last name that [`Batch::forget_names`] looked at, if there are more.
    pub names_after: Option<Arc<str>>,
}

/// The claims that were taken away from one dead runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenOver {
    /// The dead runner.
    pub runner: RunnerId,
    /// How many there were.
    pub count: usize,
    /// The first of them, [`TakenOver::SHOWN`] at most.
    pub first: Vec<InvocationId>,
}

impl TakenOver {
    /// The most ids that are kept for a dead runner.
    pub const SHOWN: usize = 10;
}

impl Receipt {
    /// Adds the claim of a dead runner that was taken away. Those of one runner follow each other.
    pub(super) fn add_taken_over(&mut self, runner: RunnerId, id: InvocationId) {
        self.recovered += 1;
        if self.taken_over.last().is_none_or(|last| last.runner != runner) {
            self.taken_over.push(TakenOver { runner, count: 0, first: Vec::new() });
        }
        if let Some(last) = self.taken_over.last_mut() {
            last.count += 1;
            if last.first.len() < TakenOver::SHOWN {
                last.first.push(id);
            }
        }
    }
}
