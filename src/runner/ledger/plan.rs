//! Planning: makes one batch of everything that a turn has to write, and takes it back if its commit fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::duties::Duty;
use super::held::{self, Attempt};
use super::share::{self, Share};
use super::state::Ledger;
use super::view::View;
use crate::model::InvocationId;
use crate::runner::inbox::{CancelMessage, Messages, NewRules, Reply, StandingMessage, SubmitMessage};
use crate::store::{Batch, Inventory, RuleOrigin};

/// A submit of which some children are in the batch: the next so many answers are theirs.
pub(super) struct PendingSubmit {
    pub(super) children: usize,
    /// The id of the first of them.
    pub(super) first: Option<InvocationId>,
    /// The submit of the children that are left for later turns.
    pub(super) rest: SubmitMessage,
}

/// One batch, and the means to settle it.
pub(crate) struct Plan {
    pub(crate) batch: Batch,
    /// The questions that the receipt answers, in the order of the batch.
    pub(super) submits: Vec<PendingSubmit>,
    /// Submits of which this turn takes nothing.
    pub(super) deferred: Vec<SubmitMessage>,
    pub(super) cancels: Vec<Reply<bool>>,
    /// The questions that are answered by a read after the commit.
    pub(crate) standings: Vec<StandingMessage>,
    /// The attempts that the batch's reports are about.
    pub(super) attempts: Vec<Attempt>,
    /// Whether to ask the store when something happens by itself, though there is no room to claim.
    pub(crate) asks_next_due: bool,
}

impl Ledger {
    /// Makes one batch of the messages, of the reports that are held, and of the duties that
    /// are due. Large messages are split: their rest waits for the next turn.
    pub(crate) fn plan(&mut self, messages: Messages, view: &View<'_>) -> Plan {
        let mut batch = Batch::default();
        self.claims.may_have_work |= !messages.submits.is_empty() || self.held.may_free_lane();
        let mut share = Share::new();
        // In turns, so that neither keeps the other out.
        self.takes_submits_first = !self.takes_submits_first;
        if !self.takes_submits_first {
            self.later = self.held.split_share(&mut share);
        }
        if self.has_told_rules {
            let rules = std::mem::take(&mut self.new_rules);
            (batch.rules, batch.default_rules) = (rules.configured, rules.default);
            batch.dropped_rules = rules.dropped;
        } else {
            // The rules of all tasks, new ones included.
            (batch.rules, batch.default_rules) = (view.executor.rules(), view.executor.default_rules());
            self.new_rules = NewRules::default();
            batch.weights = view.options.weights.clone();
            batch.quotas.clone_from(&view.options.quotas);
        }
        if !(batch.rules.is_empty() && batch.default_rules.is_empty() && batch.quotas.is_empty()) {
            batch.rules_by = view.options.rules_from.as_ref().map(|from| RuleOrigin {
                runner: view.runner,
                host: Arc::clone(&from.host),
                config: from.config.clone(),
            });
        }
        let mut soonest: Option<Duration> = None;
        let (mut submits, mut deferred) = (Vec::with_capacity(messages.submits.len()), Vec::new());
        let most = share::children_of_each(messages.submits.len());
        for mut rest in messages.submits {
            let count = held::take_children(&rest.children, most, &mut share);
            if count == 0 && !rest.children.is_empty() {
                deferred.push(rest);
                continue;
            }
            let later = rest.children.split_off(count);
            let mut children = std::mem::replace(&mut rest.children, later);
            let first = children.first().map(|child| child.id);
            submits.push(PendingSubmit { children: children.len(), first, rest });
            soonest = children.iter().filter_map(|child| child.deadline).chain(soonest).min();
            match batch.submits.is_empty() {
                true => batch.submits = children,
                false => batch.submits.append(&mut children),
            }
        }
        if self.takes_submits_first {
            self.later = self.held.split_share(&mut share);
        }
        // After the submits of guests, whose answers are the first of the receipt.
        for duty in self.joined() {
            duty.plan(view, &mut batch);
        }
        self.claims.may_have_work |= batch.recover;
        if let Some(deadline) = soonest {
            self.recovery.look_by(view.now + deadline);
        }
        let cancels;
        (batch.cancels, cancels) = messages.cancels.into_iter().map(|one| (one.cancel, one.reply)).unzip();
        batch.reports = std::mem::take(&mut self.held.reports);
        let attempts = std::mem::take(&mut self.held.attempts);
        batch.bills = std::mem::take(&mut self.bills);
        if self.claims.must_take_inventory {
            batch.inventory = Some(Inventory { runner: view.runner, owned: view.registry.owned() });
        }
        batch.claim = self.claims.request(&self.prefetch, view, self.relief.is_on());
        let asks_next_due = batch.claim.is_none() && (batch.recover || messages.has_foreign_change);
        Plan { batch, submits, deferred, cancels, standings: messages.standings, attempts, asks_next_due }
    }

    /// Whether a heartbeat is so late that the lease can't wait for a commit of guests' data.
    pub(crate) fn has_late_heartbeat(&self, now: Instant, lease: Duration) -> bool {
        self.heartbeat.is_late(now, lease)
    }

    /// Makes a batch of the heartbeat alone, if the lease can't wait for a commit of guests' data.
    pub(crate) fn plan_heartbeat(&mut self, view: &View<'_>) -> Option<Batch> {
        self.heartbeat.plan_alone(view)
    }

    /// Takes back a heartbeat whose commit has failed.
    pub(crate) fn take_back_heartbeat(&mut self, batch: &Batch, began: Instant, now: Instant) {
        self.heartbeat.fail(batch, began, now);
    }

    /// Takes back a plan whose commit has failed: the next turn plans it again. Returns guests' questions.
    pub(crate) fn take_back(&mut self, plan: Plan, began: Instant, now: Instant) -> Messages {
        let Plan { batch, submits, deferred, cancels, standings, attempts, .. } = plan;
        for duty in self.joined() {
            duty.fail(&batch, began, now);
        }
        self.claims.must_take_inventory |= batch.claim.is_some();
        (self.held.reports, self.held.attempts) = (batch.reports, attempts);
        self.bills = batch.bills;
        if self.has_told_rules {
            let (configured, default) = (batch.rules, batch.default_rules);
            self.new_rules = NewRules { configured, default, dropped: batch.dropped_rules };
        }
        let mut children = batch.submits.into_iter();
        let submits = submits.into_iter().map(|PendingSubmit { children: count, rest, .. }| SubmitMessage {
            children: children.by_ref().take(count).chain(rest.children).collect(),
            ..rest
        });
        let cancels = batch.cancels.into_iter().zip(cancels);
        Messages {
            submits: submits.chain(deferred).collect(),
            cancels: cancels.map(|(cancel, reply)| CancelMessage { cancel, reply }).collect(),
            standings,
            ..Messages::default()
        }
    }
}
