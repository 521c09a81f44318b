//! The turn: gathers messages, commits the ledger's plan, and performs the effects of the
//! receipt. With an instant store any thread may take it, else only the ledger thread does.

mod doubt;
mod look_up;
mod perform;
mod stop;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::perform::{give_up, leave_alone, perform, refuse_all, tell_end_of_outage, tell_failure};
use super::core::Core;
use super::inbox::{LookUpMessage, Messages};
use super::ledger::{
    Committed, Effect, Ledger, Plan, ReliefStep, STALE_PREFETCH, Standstill, View, Waiting, extends_lease,
};
use super::observer::{Observation, tell, tell_commit};
use super::rule_watch::tell_replaced;
use super::stage::{Stage, stopped};
use super::wait::Wait;
use crate::model::{InvocationId, RunnerId};
use crate::store::{Batch, EndKind, Receipt, StoreError};

/// Notes wait this long for company before they are written on their own.
const NOTES_BEAT: Duration = Duration::from_millis(25);

/// Runs the ledger thread: a turn whenever somebody waits for one or a moment has come.
pub(super) fn run(core: &Arc<Core>) {
    loop {
        let alarm = {
            let mut ledger = core.ledger.lock();
            turn(core, &mut ledger);
            if core.stages.now() >= Stage::Draining && stop::is_done(core, &ledger) {
                core.advance(Stage::Stopped);
                core.registry.refuse_outsiders(&stopped());
                return;
            }
            ledger.alarm = next_alarm(core, &mut ledger);
            ledger.alarm
        };
        core.inbox.wait(alarm, NOTES_BEAT);
    }
}

impl Core {
    /// Leaves a message for the ledger, which reads it at once on this thread if the store is instant.
    pub(super) fn tell(self: &Arc<Self>, message: impl FnOnce(&mut Messages)) {
        self.inbox.put(message);
        self.see_to_messages();
    }

    /// Sees to it that the messages in the inbox are read.
    pub(super) fn see_to_messages(self: &Arc<Self>) {
        if self.store.is_instant() {
            self.turn_while_urgent();
        } else {
            self.inbox.ring();
        }
    }

    /// Takes turns until nothing urgent is left, unless another thread does.
    ///
    /// Whoever holds the ledger looks into the inbox again after letting go: no message is left lying.
    fn turn_while_urgent(self: &Arc<Self>) {
        while self.inbox.is_urgent() {
            match self.ledger.try_lock() {
                Some(mut ledger) => {
                    turn(self, &mut ledger);
                    let next = next_alarm(self, &mut ledger);
                    // The ledger thread is told if it has to get up earlier.
                    if next.is_some_and(|next| ledger.alarm.is_none_or(|alarm| next < alarm)) {
                        ledger.alarm = next;
                        self.inbox.call();
                    }
                }
                None => return,
            }
        }
    }

    /// Has the ledger look ids up for a waiter.
    pub(super) fn look_up(self: &Arc<Self>, wait: &Arc<Wait>, ids: Vec<InvocationId>) {
        if !ids.is_empty() {
            self.tell(|messages| messages.look_ups.push(LookUpMessage { wait: Arc::clone(wait), ids }));
        }
    }

    /// Tells the ledger that a slot has nothing to do.
    pub(super) fn tell_idle_slot(self: &Arc<Self>) {
        if self.stages.is_stopping() {
            // The ledger thread may wait for just this.
            return self.inbox.call();
        }
        self.tell(|messages| messages.is_hungry = true);
    }
}

fn next_alarm(core: &Core, ledger: &mut Ledger) -> Option<Instant> {
    let stage = core.stages.now();
    let grace_ends = if stage == Stage::Draining { core.stages.grace_ends() } else { None };
    let parked_ends = core.parking.next().filter(|_| stage == Stage::Working);
    ledger.next_alarm(stage, grace_ends).into_iter().chain(parked_ends).min()
}

/// Drains the inbox, commits one batch, and performs its effects. What is too large waits in part.
fn turn(core: &Arc<Core>, ledger: &mut Ledger) {
    take_turn(core, ledger);
    let takes_another = ledger.end_turn();
    let unwritten = match core.stages.now() {
        Stage::Working => ledger.held.outcome_bytes() + core.inbox.outcome_bytes(),
        // Slots are needed to end what they hold, whatever the store does.
        _ => 0,
    };
    let is_free_again = core.scheduler.set_unwritten(unwritten);
    if takes_another || is_free_again {
        core.inbox.put(|messages| messages.is_hungry = true);
    }
}

fn take_turn(core: &Arc<Core>, ledger: &mut Ledger) {
    let mut now = Instant::now();
    if !extend_lease(core, ledger, now) {
        return;
    }
    let messages = gather(core, ledger, now);
    if ledger.outage.is_paused(now) {
        return put_off(core, ledger, messages, "the store can't be used now");
    }
    if ledger.is_in_doubt
        && let Err(error) = doubt::settle(core, ledger)
    {
        if let StoreError::Upgraded { .. } = error {
            stop::abandon(core, ledger, &error);
            return refuse_all(messages, &error.to_string());
        }
        leave_alone(ledger, &error);
        return put_off(core, ledger, messages, &error.to_string());
    }
    if ledger.recovery.is_due(now) {
        core.registry.want_again();
    }
    let view = view_of(core, ledger, now);
    if !view.owns_work {
        core.trust.end();
    }
    let mut plan = ledger.plan(messages, &view);
    let asks_next_due = plan.asks_next_due;
    let standings = std::mem::take(&mut plan.standings);
    if !plan.batch.is_empty() {
        let began = Instant::now();
        match core.store.commit(&plan.batch) {
            Ok(receipt) => now = settle(core, ledger, plan, receipt, began),
            Err(error) => {
                plan.standings = standings;
                return fail(core, ledger, plan, began, &error);
            }
        }
    }
    if asks_next_due {
        let began = Instant::now();
        match core.store.next_due(ledger.runner) {
            Ok(answer) => ledger.recovery.learn(began, answer),
            Err(error) => {
                leave_alone(ledger, &error);
                ledger.recovery.look_by(began);
            }
        }
    }
    look_up::look_up(core, ledger, standings);
    break_standstill(core, ledger, now);
    relieve(core, ledger, now);
    run_duties(core, ledger, now);
    watch_rules(core, ledger, now);
    look_up::announce_idle(core, ledger);
    // A failure in this turn has begun a pause that is not over yet.
    ledger.outage.end_pause_if_over(now);
}

/// Extends the lease by a commit of its own, if it can't wait for what guests have to write. Returns whether the
/// store can be used; if not, it is left alone for a while.
fn extend_lease(core: &Arc<Core>, ledger: &mut Ledger, now: Instant) -> bool {
    if ledger.outage.is_paused(now) || !core.trust.is_good(ledger.runner) {
        return true;
    }
    if !ledger.has_late_heartbeat(now, core.options.settings.lease) {
        return true;
    }
    let view = view_of(core, ledger, now);
    let Some(batch) = ledger.plan_heartbeat(&view) else { return true };
    let began = Instant::now();
    let committed = core.store.commit(&batch);
    let now = Instant::now();
    match committed {
        Ok(receipt) => {
            note_commit(core, ledger.runner, &batch, &receipt, began, now);
            let mut effects = std::mem::take(&mut ledger.effects);
            ledger.settle_heartbeat(receipt, &mut effects);
            tell_end_of_outage(ledger);
            perform(core, ledger, &mut effects);
            ledger.effects = effects;
            true
        }
        Err(error) => {
            ledger.take_back_heartbeat(&batch, began, now);
            if let StoreError::Upgraded { .. } = error {
                stop::abandon(core, ledger, &error);
                return false;
            }
            let pause = ledger.outage.lengthen_pause(now);
            tell_failure(ledger, &error, pause, "the lease can't be extended; trying again");
            tell(&core.options.observers, || Observation::CommitFailed { error: &error, pause });
            false
        }
    }
}

/// Tells who watches of a commit, and whoever watches the lease.
fn note_commit(
    core: &Core,
    runner: RunnerId,
    batch: &Batch,
    receipt: &Receipt,
    began: Instant,
    now: Instant,
) {
    if extends_lease(batch, receipt) {
        core.trust.extend(began, core.options.settings.lease);
    }
    tell_commit(&core.options.observers, runner, now.duration_since(began), batch, receipt);
}

/// Drains the inbox, and tells the ledger of a foreign change, a lease that is over, a stop.
fn gather(core: &Arc<Core>, ledger: &mut Ledger, now: Instant) -> Messages {
    let mut messages = core.inbox.take();
    ledger.outage.ask_again(&mut messages);
    if messages.has_foreign_change {
        ledger.claims.may_have_work = true;
        ledger.look_ups.ask_for_all();
        ledger.rule_watch.note_change();
        core.registry.want_again();
        match core.store.revoked(ledger.runner) {
            Ok(revoked) => give_up(core, ledger, revoked),
            // The next heartbeat tells.
            Err(error) => tracing::warn!(%error, "the store can't be read"),
        }
    }
    if core.trust.take_over() {
        perform(core, ledger, &mut vec![Effect::ChangeRunner]);
    }
    if core.stages.is_stopping() {
        stop::advance(core, ledger, &mut messages);
    } else if ledger.prefetch.is_stale(&core.scheduler.load(), now) {
        ledger.claims.may_have_work = true;
        core.totals.lock().slice = Some(STALE_PREFETCH);
        stop::give_back_claimed(core, &mut messages);
    }
    core.end_parked(now);
    if let Some(pause) = core.executor.unready_for() {
        // Others of these components may have their code.
        ledger.recovery.look_by(now + pause);
    }
    if !core.stages.is_stopping() {
        ledger.held_back = held_back(core);
        stop::give_back(core, core.scheduler.take_claims_of(&ledger.held_back), &mut messages);
    }
    let has_freed = messages.ends.iter().any(|(_, end)| !matches!(end.how, EndKind::Release));
    if !messages.shortages.is_empty() {
        core.executor.ease_shortage();
    }
    let told = ledger.shortages.note(messages.shortages.len(), has_freed, now);
    if let (Some(attempts), Some(last)) = (told, messages.shortages.last()) {
        tracing::warn!(
            event = "shortage",
            attempts,
            "short of {last}; attempts are given back, and tried again"
        );
    }
    if ledger.shortages.end_pause(now) {
        core.scheduler.end_shortage();
    }
    ledger.collect(&mut messages, now);
    messages
}

/// Lists the users of whom nothing starts that nobody awaits: they have more than their share, or their code is being
/// made.
fn held_back(core: &Core) -> Vec<Arc<str>> {
    let mut users = core.scheduler.held_back();
    users.extend(core.executor.held_back());
    users
}

/// Reads the rest of the runner, for a plan.
fn view_of<'a>(core: &'a Core, ledger: &Ledger, now: Instant) -> View<'a> {
    let load = core.scheduler.load();
    let (slice, leads) = {
        let totals = core.totals.lock();
        (totals.slice, totals.times.leads())
    };
    View {
        now,
        runner: ledger.runner,
        stage: core.stages.now(),
        load,
        slice,
        leads,
        held_back: ledger.held_back.clone(),
        tasks: core.tasks(),
        owns_work: load.live > 0 || load.ready > 0 || !ledger.held.is_empty(),
        options: &core.options,
        executor: &*core.executor,
        registry: &core.registry,
    }
}

/// Settles a receipt and performs its effects. Returns when the commit was over.
fn settle(core: &Arc<Core>, ledger: &mut Ledger, plan: Plan, receipt: Receipt, began: Instant) -> Instant {
    let now = Instant::now();
    note_commit(core, ledger.runner, &plan.batch, &receipt, began, now);
    let committed = Committed {
        began,
        now,
        lease: core.options.settings.lease,
        is_trusted: core.trust.is_good(ledger.runner),
    };
    tell_replaced(&receipt.replaced, &*core.store);
    let mut effects = std::mem::take(&mut ledger.effects);
    ledger.settle(plan, receipt, &committed, &mut effects);
    tell_end_of_outage(ledger);
    perform(core, ledger, &mut effects);
    ledger.effects = effects;
    now
}

/// Takes the plan of a failed commit back, and sees to it that it is tried again.
fn fail(core: &Arc<Core>, ledger: &mut Ledger, plan: Plan, began: Instant, error: &StoreError) {
    let now = Instant::now();
    let messages = ledger.take_back(plan, began, now);
    if let StoreError::Upgraded { .. } = error {
        stop::abandon(core, ledger, error);
        return refuse_all(messages, &error.to_string());
    }
    let pause = ledger.doubt(now);
    let held = ledger.held.reports.len();
    tell_failure(ledger, error, pause, "the store can't be written to; trying again");
    tell(&core.options.observers, || Observation::CommitFailed { error, pause });
    // The store may not take one of the reports, larger than the disk say: the others must be written.
    if held > 1 {
        doubt::write_one_by_one(core, ledger);
    }
    put_off(core, ledger, messages, &error.to_string());
}

/// Looks whether another runner has set rules that contradict those of this one.
fn watch_rules(core: &Core, ledger: &mut Ledger, now: Instant) {
    if core.options.rules_from.is_none() || !ledger.rule_watch.is_due(now) {
        return;
    }
    if let Err(error) = ledger.rule_watch.look(&*core.store, &core.executor.rules(), now) {
        tracing::debug!(%error, "the rules can't be read");
        ledger.rule_watch.note_change();
    }
}

/// Keeps questions until the store is back, or tells that there will be no answer.
fn put_off(core: &Core, ledger: &mut Ledger, messages: Messages, why: &str) {
    let waits = core.store.is_remote() && !core.stages.is_stopping();
    let patience = waits.then_some(core.options.settings.lease);
    if let Some(unanswered) = ledger.outage.put_off(messages, patience, Instant::now()) {
        refuse_all(unanswered, why);
    }
}

/// Sees to it that something moves, if the runner is nearly full and stands still.
fn break_standstill(core: &Core, ledger: &mut Ledger, now: Instant) {
    if core.scheduler.load().may_start_unawaited {
        return;
    }
    let view = view_of(core, ledger, now);
    match ledger.break_standstill(&view, core.inbox.is_urgent()) {
        None => {}
        Some(Standstill::Claim) => core.inbox.put(|messages| messages.is_hungry = true),
        Some(Standstill::MakeException) => core.scheduler.make_exception(),
        Some(Standstill::GiveUpAtCap) => core.give_up_at_cap(),
        Some(Standstill::MakeRoom) => core.give_back_largest(),
    }
}

/// Sees to it that small users get room in a runner that large ones have nearly filled.
fn relieve(core: &Core, ledger: &mut Ledger, now: Instant) {
    if core.stages.is_stopping() {
        return;
    }
    let load = core.scheduler.load();
    let waiting = if load.has_large {
        Waiting {
            may_be_stored: ledger.claims.may_have_work,
            is_awaited: load.awaited > load.startable || !core.registry.wanted(1, None).is_empty(),
            is_asked_for: ledger.claims.is_owed(),
            small: if ledger.relief.is_on() { core.scheduler.claims_of_small() } else { 0 },
        }
    } else {
        Waiting::default()
    };
    match ledger.relief.step(&load, waiting, now) {
        None => {}
        Some(ReliefStep::Claim) => core.inbox.put(|messages| messages.is_hungry = true),
        Some(ReliefStep::MakeRoom(starts)) => {
            // In this order: slots drop what is given back before they start anything.
            let small = core.scheduler.small();
            core.make_room_for(starts);
            core.scheduler.begin_relief(small);
        }
        Some(ReliefStep::End) => {
            let claims = core.scheduler.end_relief();
            core.inbox.put(|messages| stop::give_back(core, claims, messages));
        }
    }
}

/// Runs the duties that are due, each in a transaction of its own.
fn run_duties(core: &Core, ledger: &mut Ledger, now: Instant) {
    let stage = core.stages.now();
    let mut duties = std::mem::take(&mut ledger.duties);
    for (failure, duty) in &mut duties {
        if duty.next_due(stage).is_none_or(|next| next > now) {
            continue;
        }
        let mut batch = Batch::default();
        duty.plan(&view_of(core, ledger, now), &mut batch);
        if batch.is_empty() {
            continue;
        }
        let began = Instant::now();
        let committed = core.store.commit(&batch);
        let now = Instant::now();
        match committed {
            Ok(receipt) => {
                let took = now.duration_since(began);
                tell_commit(&core.options.observers, ledger.runner, took, &batch, &receipt);
                duty.settle(&batch, &receipt, began, now);
                if !receipt.submits.is_empty() {
                    ledger.claims.may_have_work = true;
                    core.inbox.put(|messages| messages.is_hungry = true);
                }
            }
            Err(error) => {
                duty.fail(&batch, began, now);
                if let StoreError::Upgraded { .. } = error {
                    stop::abandon(core, ledger, &error);
                    break;
                }
                tracing::warn!(event = "duty-failed", %error, "{failure}; trying again later");
            }
        }
    }
    ledger.duties = duties;
}
