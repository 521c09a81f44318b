//! The memory of a runner from one turn to the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::claims::Claims;
use super::duties::{Duty, RecoveryDuty, SweepDuty, UsageDuty};
use super::effect::Effect;
use super::heartbeat::HeartbeatDuty;
use super::held::{Attempt, Held};
use super::look_ups::LookUps;
use super::names::NamesDuty;
use super::outage::Outage;
use super::prefetch::Prefetch;
use super::relief::Relief;
use super::shortage::Shortages;
use super::stopping::Stopping;
use crate::model::RunnerId;
use crate::runner::fiber::Fiber;
use crate::runner::inbox::{Messages, NewRules};
use crate::runner::options::RunnerOptions;
use crate::runner::rule_watch::RuleWatch;
use crate::runner::stage::Stage;
use crate::store::{Bill, Report};

/// The state of the only writer. Touched only by the holder of its lock, for one turn.
pub(crate) struct Ledger {
    /// The id under which the runner claims.
    pub(crate) runner: RunnerId,
    pub(crate) claims: Claims,
    /// The users that this turn claims nothing of that nobody awaits.
    pub(crate) held_back: Vec<Arc<str>>,
    pub(crate) prefetch: Prefetch,
    pub(super) heartbeat: HeartbeatDuty,
    pub(crate) recovery: RecoveryDuty,
    /// The duties with transactions of their own, so that whatever is wrong with one holds nothing else up;
    /// each with the warning that it failed.
    pub(crate) duties: Vec<(&'static str, Box<dyn Duty>)>,
    /// Reports that are not written yet.
    pub(crate) held: Held,
    /// Fibers whose notes are reported later, the soonest first.
    noted: VecDeque<(Instant, Arc<Fiber>)>,
    /// Reports that this turn defers to the next.
    pub(super) later: Held,
    /// Whether submits had their share of this turn before reports had theirs.
    pub(super) takes_submits_first: bool,
    /// Bills that are not written yet. They can't be doubtful: one that comes twice is added once.
    pub(crate) bills: Vec<Bill>,
    /// Ids that a waiter must know about, while the store can't be read.
    pub(crate) look_ups: LookUps,
    /// Whether a commit has failed of which nobody knows what it has done.
    pub(crate) is_in_doubt: bool,
    pub(crate) outage: Outage,
    pub(crate) shortages: Shortages,
    pub(crate) relief: Relief,
    pub(crate) stopping: Stopping,
    /// Whether the store knows the rules of this runner's configuration.
    pub(super) has_told_rules: bool,
    pub(crate) rule_watch: RuleWatch,
    /// The rules of tasks that came later, until they are told.
    pub(super) new_rules: NewRules,
    /// When the ledger thread wakes by itself.
    pub(crate) alarm: Option<Instant>,
    /// Whether the log says that only delayed invocations are left.
    pub(crate) wait_notice: WaitNotice,
    /// The buffer for the effects of a receipt; empty between turns.
    pub(crate) effects: Vec<Effect>,
}

/// The notice in the log of a runner that is to stop when it is idle, and waits.
#[derive(Default)]
pub(crate) struct WaitNotice {
    /// Whether it has said that only delayed invocations are left.
    pub(crate) is_told: bool,
    /// When the store may be asked again whether that is so.
    pub(crate) not_before: Option<Instant>,
}

impl Ledger {
    /// Makes the state of a runner that knows nothing of its store.
    pub(crate) fn new(runner: RunnerId, options: &RunnerOptions, now: Instant) -> Self {
        Self {
            runner,
            claims: Claims::new(),
            held_back: Vec::new(),
            prefetch: Prefetch::default(),
            heartbeat: HeartbeatDuty::default(),
            recovery: RecoveryDuty::new(now),
            duties: vec![
                (
                    "old invocations could not be removed",
                    Box::new(SweepDuty::new(options.retention.clone(), now)),
                ),
                ("old usage could not be removed", Box::new(UsageDuty::new(options.usage_retention, now))),
                (
                    "names of tasks could not be forgotten",
                    Box::new(NamesDuty::new(options.forgets_names, now)),
                ),
            ],
            held: Held::default(),
            noted: VecDeque::new(),
            later: Held::default(),
            takes_submits_first: false,
            bills: Vec::new(),
            look_ups: LookUps::default(),
            is_in_doubt: false,
            outage: Outage::default(),
            shortages: Shortages::default(),
            relief: Relief::new(),
            stopping: Stopping::default(),
            has_told_rules: false,
            rule_watch: RuleWatch::default(),
            new_rules: NewRules::default(),
            alarm: None,
            wait_notice: WaitNotice::default(),
            effects: Vec::new(),
        }
    }

    /// The duties that are part of a turn's batch.
    pub(super) fn joined(&mut self) -> [&mut dyn Duty; 2] {
        [&mut self.heartbeat, &mut self.recovery]
    }

    /// Takes over what slots have told. Ends come first: an end takes the notes of its fiber with it.
    pub(crate) fn collect(&mut self, messages: &mut Messages, now: Instant) {
        self.bills.append(&mut messages.bills);
        self.new_rules.add(std::mem::take(&mut messages.new_rules));
        self.look_ups.add(&mut messages.look_ups);
        for (claim, end) in messages.unstarted.drain(..) {
            self.held.push(Report::unstarted(&claim, end), Attempt::Unstarted(claim.task));
        }
        for (fiber, end) in messages.ends.drain(..) {
            if let Some(report) = fiber.report(Some(end)) {
                self.held.push(report, Attempt::Started(fiber));
            }
        }
        let due = self.noted.partition_point(|(at, _)| *at <= now);
        let mut noted: Vec<_> = self.noted.drain(..due).map(|(_, fiber)| fiber).collect();
        for fiber in messages.noted.drain(..) {
            match fiber.report_at().filter(|at| *at > now) {
                // It stays noted: what it notes until then is reported then.
                Some(at) => {
                    let place = self.noted.partition_point(|(other, _)| *other <= at);
                    self.noted.insert(place, (at, fiber));
                }
                None => noted.push(fiber),
            }
        }
        for fiber in noted {
            fiber.is_noted.store(false, Ordering::Release);
            if let Some(report) = fiber.report(None) {
                self.held.push(report, Attempt::Started(fiber));
            }
        }
    }

    /// Goes on under another id, of whose claims nothing is known, lost receipts or not.
    pub(crate) fn change_runner(&mut self, runner: RunnerId) {
        self.runner = runner;
        self.claims.must_take_inventory = false;
        self.claims.may_have_work = true;
        self.heartbeat.stop();
    }

    /// Whether no message is deferred to a later turn: nobody will be woken by one.
    pub(crate) fn is_through(&self) -> bool {
        self.held.is_empty() && self.later.is_empty() && self.look_ups.is_empty()
    }

    /// Whether everything is written, and nothing is left to be looked up.
    pub(crate) fn is_written(&self) -> bool {
        self.is_through() && self.bills.is_empty()
    }

    /// Ends a turn: what it deferred comes first in the next. Returns whether there should be one at once.
    pub(crate) fn end_turn(&mut self) -> bool {
        let is_left = !self.later.is_empty() || !self.look_ups.is_empty();
        self.held.append(&mut self.later);
        is_left && self.outage.paused_until().is_none()
    }

    /// When there must be a turn although nobody says so.
    pub(crate) fn next_alarm(&mut self, stage: Stage, grace_ends: Option<Instant>) -> Option<Instant> {
        let store_is_back = self.outage.paused_until();
        let other = match stage {
            Stage::Working => {
                let noted = self.noted.front().map(|(at, _)| *at);
                let own = [self.prefetch.stale_at(), self.shortages.paused_until()];
                own.into_iter().flatten().chain(noted).min()
            }
            Stage::Draining => grace_ends,
            Stage::Killing | Stage::Stopped => self.stopping.patience_ends(),
        };
        let joined = self.joined().into_iter().filter_map(|duty| duty.next_due(stage)).min();
        let due = self.duties.iter().filter_map(|(_, duty)| duty.next_due(stage)).chain(joined).min();
        // A duty needs the store, and has to wait for it.
        let due = due.map(|moment| store_is_back.map_or(moment, |until| moment.max(until)));
        let asks = [self.rule_watch.next(), self.relief.next()].into_iter().flatten().min();
        let asks = asks.filter(|_| stage == Stage::Working);
        let asks = asks.map(|moment| store_is_back.map_or(moment, |until| moment.max(until)));
        [store_is_back, other, due, asks].into_iter().flatten().min()
    }

    /// Leaves the store alone for a while, which is returned. The next turn finds out what the commit did.
    pub(crate) fn doubt(&mut self, now: Instant) -> Duration {
        self.claims.may_have_work = true;
        self.is_in_doubt = true;
        self.held.doubtful = self.held.reports.len();
        self.outage.lengthen_pause(now)
    }

    /// Forgets everything that was to be written: the runner can never write again.
    pub(crate) fn abandon(&mut self) {
        (self.held, self.later) = Default::default();
        self.noted.clear();
        self.look_ups.clear();
        self.heartbeat.stop();
        self.bills.clear();
        self.is_in_doubt = false;
    }
}
