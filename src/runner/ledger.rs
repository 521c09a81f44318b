//! The only writer of a runner: what happened since it last looked becomes one
//! batch, and what the store makes of that is acted upon.

mod claims;
mod doubt;
mod keep;
mod outage;
mod share;
mod stop;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::core::Core;
use super::fiber::{Fiber, Kill};
use super::inbox::{Messages, SubmitMessage, SubmitReply};
use super::stage::{KILL_PATIENCE, Stage};
use crate::model::{InvocationId, Refusal, RunnerId, Status};
use crate::store::{
    Applied, Batch, Bill, Cancelled, EndKind, Heartbeat, Inventory, Lease, LookUp, NewInvocation, NextDue,
    Receipt, Report, StoreError, Submitted,
};
use outage::Outage;

/// Notes wait this long for company before they are written on their own.
const NOTES_BEAT: Duration = Duration::from_millis(25);

/// A store that can't be used is tried again after this long, doubled each time.
const FIRST_BACK_OFF: Duration = Duration::from_millis(50);
const LAST_BACK_OFF: Duration = Duration::from_secs(5);

/// The state of the writer. Only ever touched by whoever holds its lock.
pub(super) struct Ledger {
    runner: RunnerId,
    /// Whether the store may hold something to claim.
    may_have_work: bool,
    /// When something becomes due by itself, as far as the store's clock tells.
    next_due: Option<Instant>,
    /// What guests ask for while the store can't be reached.
    outage: Outage,
    /// Whether a claim was made whose receipt never came: the store may believe
    /// that this runner owns what it has never heard of.
    must_take_stock: bool,
    /// When the lease must be extended, while something is owned.
    next_heartbeat: Option<Instant>,
    /// Reports that could not be written yet.
    held: Held,
    /// Those of them that this turn leaves for the next.
    later: Held,
    /// Bills that could not be written yet. Unlike reports they can't be doubtful: one
    /// that comes twice is added once.
    bills: Vec<Bill>,
    /// Ids that a waiter must know about, while the store can't be read.
    look_ups: Vec<InvocationId>,
    /// Whether a commit has failed of which nobody knows what it has done.
    is_in_doubt: bool,
    /// Until when the store is left alone, and how long the last pause was.
    back_off: Option<(Instant, Duration)>,
    /// Whether what was claimed and parked has been given back.
    has_drained: bool,
    /// When guests were first told to die.
    killing_since: Option<Instant>,
    /// When slots last took claimed work, or there was none.
    ready_since: Option<(Instant, usize)>,
    /// Whether the next claim of a nearly full runner may be of anything awaited,
    /// however deep.
    takes_any_depth: bool,
    /// The removal of what is old.
    sweep: keep::Sweep,
    /// Whether the store knows the rules of this runner's configuration.
    has_told_rules: bool,
    /// When the ledger thread wakes by itself.
    alarm: Option<Instant>,
}

/// Reports on their way into the store, each with its fiber if it has one.
#[derive(Default)]
struct Held {
    reports: Vec<Report>,
    fibers: Vec<Option<Arc<Fiber>>>,
    /// The first so many were in a commit that failed, and may be written.
    doubtful: usize,
}

impl Held {
    fn push(&mut self, report: Report, fiber: Option<Arc<Fiber>>) {
        self.reports.push(report);
        self.fibers.push(fiber);
    }

    fn is_empty(&self) -> bool {
        self.reports.is_empty()
    }
}

/// A submit with children in the batch: the next so many answers are its.
struct PendingSubmit {
    children: usize,
    /// Children that are left for later turns.
    later: Vec<NewInvocation>,
    /// Those of earlier turns.
    submitted: Vec<InvocationId>,
    /// The first child's id; `None` if there is no child.
    first: Option<InvocationId>,
    reply: SubmitReply,
}

/// The life of the ledger thread: a turn whenever somebody waits for one or a
/// moment has come.
pub(super) fn run(core: &Arc<Core>) {
    loop {
        let alarm = {
            let mut ledger = core.ledger.lock();
            ledger.turn(core);
            if core.stage() >= Stage::Draining && ledger.is_done(core) {
                core.advance(Stage::Stopped);
                core.registry.refuse_outsiders(&Refusal::Unavailable("the runner has stopped".to_owned()));
                return;
            }
            ledger.alarm = ledger.next_alarm(core);
            ledger.alarm
        };
        core.inbox.wait(alarm, NOTES_BEAT);
    }
}

impl Core {
    /// Leaves a message for the ledger and sees to it that it is read: at once
    /// on this thread if the store is instant, else by the ledger thread.
    pub(super) fn tell(self: &Arc<Self>, message: impl FnOnce(&mut Messages)) {
        self.inbox.put(message);
        self.see_to_messages();
    }

    /// Sees to it that what lies in the inbox is read.
    pub(super) fn see_to_messages(self: &Arc<Self>) {
        if self.store.is_instant() {
            self.turn_while_urgent();
        } else {
            self.inbox.ring();
        }
    }

    /// Turns the ledger until nothing urgent is left, unless somebody else does.
    ///
    /// Whoever holds the ledger looks into the inbox again after letting it go,
    /// so a message whose sender found it held is not left lying.
    pub(super) fn turn_while_urgent(self: &Arc<Self>) {
        while self.inbox.is_urgent() {
            match self.ledger.try_lock() {
                Some(mut ledger) => ledger.turn_for_another(self),
                None => return,
            }
        }
    }

    pub(super) fn slot_is_idle(self: &Arc<Self>) {
        if self.stage() >= Stage::Draining {
            // The ledger thread may wait for just this.
            return self.inbox.call();
        }
        self.tell(|messages| messages.is_hungry = true);
    }
}

impl Ledger {
    pub(super) fn new(runner: RunnerId) -> Self {
        Self {
            runner,
            may_have_work: true,
            next_due: Some(Instant::now()),
            outage: Outage::default(),
            must_take_stock: false,
            next_heartbeat: None,
            held: Held::default(),
            later: Held::default(),
            bills: Vec::new(),
            look_ups: Vec::new(),
            is_in_doubt: false,
            back_off: None,
            has_drained: false,
            killing_since: None,
            ready_since: None,
            takes_any_depth: false,
            sweep: keep::Sweep::new(),
            has_told_rules: false,
            alarm: None,
        }
    }

    /// A turn on a thread that is not the ledger's own, which is told if it has
    /// to get up earlier now.
    pub(super) fn turn_for_another(&mut self, core: &Arc<Core>) {
        self.turn(core);
        let next = self.next_alarm(core);
        let is_earlier = match (next, self.alarm) {
            (Some(next), Some(alarm)) => next < alarm,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_earlier {
            self.alarm = next;
            core.inbox.call();
        }
    }

    /// Takes all messages, commits what follows from them, acts on the receipt. Of what
    /// is large only a share: what is left is for the next turn.
    pub(super) fn turn(&mut self, core: &Arc<Core>) {
        self.take_turn(core);
        self.end_turn(core);
    }

    fn take_turn(&mut self, core: &Arc<Core>) {
        let mut messages = core.inbox.take();
        self.ask_again(&mut messages);
        if messages.has_foreign_change {
            self.may_have_work = true;
            messages.look_ups.extend(core.registry.awaited_elsewhere());
            core.registry.want_again();
            match core.store.revoked(self.runner) {
                Ok(revoked) => give_up(core, &revoked, &mut messages),
                // The next heartbeat tells.
                Err(error) => tracing::warn!(%error, "the store can't be read"),
            }
        }
        if core.trust.take_over() {
            self.go_on_as_another(core);
        }
        self.move_stage(core, &mut messages);
        self.collect_reports(&mut messages);
        self.look_ups.append(&mut messages.look_ups);
        if self.back_off.is_some_and(|(until, _)| Instant::now() < until) {
            self.put_off(core, messages, "the store can't be used now");
            return;
        }
        if self.is_in_doubt {
            match self.settle_doubt(core, &mut messages) {
                Ok(()) => {}
                Err(error @ StoreError::Upgraded { .. }) => {
                    self.abandon(core, &error);
                    refuse_all(messages, &error.to_string());
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "the store can't be read; trying again");
                    self.lengthen_back_off();
                    self.put_off(core, messages, &error.to_string());
                    return;
                }
            }
            self.is_in_doubt = false;
        }
        let (batch, submits) = self.batch(core, &mut messages);
        let asks_what_is_next = batch.claim.is_none() && (batch.recover || messages.has_foreign_change);
        if !batch.is_empty() {
            let began = Instant::now();
            match core.store.commit(&batch) {
                Ok(receipt) => {
                    self.has_told_rules = true;
                    self.back_off = None;
                    self.end_outage();
                    self.must_take_stock = false;
                    if receipt.lease == Some(Lease::Held)
                        && (batch.heartbeat.is_some() || !receipt.claimed.is_empty())
                    {
                        core.trust.extend(began, core.options.lease);
                    }
                    self.act(core, batch, receipt, began, submits, &mut messages);
                }
                Err(error) => {
                    self.must_take_stock |= batch.claim.is_some();
                    self.held.reports = batch.reports;
                    self.bills = batch.bills;
                    if batch.heartbeat.is_some() {
                        self.next_heartbeat = Some(Instant::now());
                    }
                    if batch.recover {
                        self.next_due = Some(Instant::now());
                    }
                    messages.submits = outage::unsubmitted(submits, batch.submits);
                    match error {
                        StoreError::Upgraded { .. } => {
                            self.abandon(core, &error);
                            refuse_all(messages, &error.to_string());
                        }
                        _ => {
                            self.commit_failed(core, &error);
                            self.put_off(core, messages, &error.to_string());
                        }
                    }
                    return;
                }
            }
        }
        if asks_what_is_next {
            self.learn_what_is_next(core);
        }
        self.look_ups.append(&mut messages.look_ups);
        self.look_up(core, messages.statuses);
        self.break_standstill(core);
        self.sweep(core);
        self.tell_idle(core);
        // Whatever failed in this turn has begun a pause that is not over yet.
        self.back_off = self.back_off.filter(|(until, _)| *until > Instant::now());
    }

    /// When this ledger must turn although nobody says so.
    fn next_alarm(&self, core: &Core) -> Option<Instant> {
        // What needs the store has to wait for it.
        let store_is_back = self.back_off.map(|(until, _)| until);
        let when_back = |moment: Instant| store_is_back.map_or(moment, |until| moment.max(until));
        let due = self.next_due.map(when_back);
        let mut alarms = vec![store_is_back, self.next_heartbeat.map(when_back)];
        match core.stage() {
            Stage::Working => {
                alarms.push(due);
                alarms.push(self.next_sweep(core).map(when_back));
                alarms.push(self.ready_since.map(|(since, _)| since + claims::STALE_PREFETCH));
            }
            Stage::Draining => alarms.extend([due, *core.grace_ends.lock()]),
            Stage::Killing | Stage::Stopped => {
                alarms.push(self.killing_since.map(|since| since + KILL_PATIENCE + Duration::from_millis(1)));
            }
        }
        alarms.into_iter().flatten().min()
    }

    /// Turns ends and notes into reports, ends first: an end takes the notes of
    /// its fiber with it.
    fn collect_reports(&mut self, messages: &mut Messages) {
        self.bills.append(&mut messages.bills);
        for report in messages.unstarted.drain(..) {
            self.held.push(report, None);
        }
        for (fiber, end) in messages.ends.drain(..) {
            if let Some(report) = fiber.report(Some(end)) {
                self.held.push(report, Some(fiber));
            }
        }
        for fiber in messages.noted.drain(..) {
            fiber.is_noted.store(false, Ordering::Release);
            if let Some(report) = fiber.report(None) {
                self.held.push(report, Some(fiber));
            }
        }
    }

    fn batch(&mut self, core: &Core, messages: &mut Messages) -> (Batch, Vec<PendingSubmit>) {
        let now = Instant::now();
        let is_due = self.next_due.is_some_and(|due| due <= now);
        if is_due {
            self.next_due = None;
            self.may_have_work = true;
            core.registry.want_again();
        }
        let lease = core.options.lease;
        let load = core.scheduler.load();
        if load.live == 0 && load.ready == 0 && self.held.is_empty() {
            // Nothing is owned: nothing to keep.
            self.next_heartbeat = None;
            core.trust.end();
        }
        let heartbeat = self.next_heartbeat.is_some_and(|due| due <= now).then(|| {
            self.next_heartbeat = Some(now + lease / 3);
            Heartbeat { runner: self.runner, lease }
        });
        if !messages.submits.is_empty() {
            self.may_have_work = true;
        }
        // The end of one that a rule counts lets another start.
        self.may_have_work |= self.held.reports.iter().any(|report| report.end.is_some())
            && self.held.fibers.iter().flatten().any(|fiber| fiber.claim.has_lane);
        self.take_share();
        let cancels = messages.cancels.iter().map(|message| message.cancel.clone()).collect();
        let mut submits = Vec::new();
        let mut pending = Vec::with_capacity(messages.submits.len());
        for submit in messages.submits.drain(..) {
            let SubmitMessage { mut children, reply, submitted } = submit;
            let later = children.split_off(share::children(&children));
            let first = children.first().map(|child| child.id);
            pending.push(PendingSubmit { children: children.len(), later, submitted, first, reply });
            for child in &children {
                let deadline = child.deadline.map(|deadline| now + deadline);
                self.next_due = self.next_due.into_iter().chain(deadline).min();
            }
            submits.extend(children);
        }
        let batch = Batch {
            rules: if self.has_told_rules { Vec::new() } else { core.executor.rules() },
            submits,
            reports: std::mem::take(&mut self.held.reports),
            bills: std::mem::take(&mut self.bills),
            cancels,
            inventory: self
                .must_take_stock
                .then(|| Inventory { runner: self.runner, owned: core.registry.owned() }),
            heartbeat,
            recover: is_due,
            claim: self.claim_request(core),
            ..Batch::default()
        };
        (batch, pending)
    }

    fn act(
        &mut self,
        core: &Arc<Core>,
        batch: Batch,
        receipt: Receipt,
        began: Instant,
        submits: Vec<PendingSubmit>,
        messages: &mut Messages,
    ) {
        let mut answers = receipt.submits.into_iter();
        for submit in submits {
            let answers: Vec<_> = answers.by_ref().take(submit.children).collect();
            match submit.reply {
                // A guest that was killed meanwhile no longer listens.
                SubmitReply::Ids(sender) if sender.is_closed() => {}
                SubmitReply::Ids(sender) => {
                    let ids: Result<Vec<_>, _> = answers.iter().map(submitted_id).collect();
                    let all = ids.map(|ids| [submit.submitted, ids].concat());
                    match all {
                        Ok(submitted) if !submit.later.is_empty() => {
                            let (children, reply) = (submit.later, SubmitReply::Ids(sender));
                            let rest = SubmitMessage { children, reply, submitted };
                            core.inbox.put(|messages| messages.submits.push(rest));
                        }
                        all => drop(sender.send(all)),
                    }
                }
                SubmitReply::Result(wait) => match answers.first().map(submitted_id) {
                    Some(Ok(id)) if Some(id) == submit.first => {
                        if core.registry.mark_submitted(id) {
                            core.inbox.put(|messages| messages.is_hungry = true);
                        }
                    }
                    Some(Ok(other)) => {
                        if core.registry.redirect(&wait, other) {
                            messages.look_ups.push(other);
                        }
                    }
                    Some(Err(refusal)) => wait.refuse(refusal),
                    None => wait.refuse(Refusal::Unavailable("the store lost the submit".to_owned())),
                },
            }
        }
        let fibers = std::mem::take(&mut self.held.fibers);
        for ((report, fiber), applied) in batch.reports.into_iter().zip(fibers).zip(receipt.reports) {
            self.act_on_report(core, report, fiber, applied, messages);
        }
        for (message, cancelled) in messages.cancels.drain(..).zip(receipt.cancels) {
            let _ = message.reply.send(match cancelled {
                Cancelled::Done => Ok(true),
                Cancelled::AlreadyFinal(_) => Ok(false),
                Cancelled::Unknown => Err(Refusal::UnknownInvocation("no invocation has that id".to_owned())),
            });
        }
        for ended in receipt.ended {
            // First: a slot that has just taken it asks whose it is.
            core.registry.finish(ended.id, &ended.outcome);
            core.end_here(ended.id);
        }
        give_up(core, &receipt.revoked, messages);
        if !receipt.unblocked.is_empty() {
            core.registry.mark_unblocked(&receipt.unblocked);
            let are_claimed =
                receipt.unblocked.iter().all(|id| receipt.claimed.iter().any(|one| one.id == *id));
            if !are_claimed {
                self.may_have_work = true;
                core.inbox.put(|messages| messages.is_hungry = true);
            }
        }
        if receipt.lease == Some(Lease::Lost) {
            self.go_on_as_another(core);
        }
        if let Some(request) = batch.claim {
            self.act_on_claims(core, &request, receipt.claimed, &receipt.unclaimable, receipt.more);
            // The store looked at its clock after `began`: this is early rather than
            // late, and a claim that comes early is told the rest of the way.
            let due = receipt.next_due.map(|due| began + due.since(receipt.now));
            self.next_due = self.next_due.into_iter().chain(due).min();
        }
    }

    /// Asks when something happens by itself, after a turn that claimed nothing: a
    /// stranger's deadline passes also while this runner has no room.
    fn learn_what_is_next(&mut self, core: &Core) {
        let began = Instant::now();
        match core.store.next_due(self.runner) {
            Ok(NextDue { now, at }) => {
                let due = at.map(|at| began + at.since(now));
                self.next_due = self.next_due.into_iter().chain(due).min();
            }
            Err(error) => {
                tracing::warn!(%error, "the store can't be read; trying again");
                self.lengthen_back_off();
                self.next_due = Some(began);
            }
        }
    }

    fn act_on_report(
        &mut self,
        core: &Core,
        report: Report,
        fiber: Option<Arc<Fiber>>,
        applied: Applied,
        messages: &mut Messages,
    ) {
        if applied == Applied::Stale {
            core.registry.disown(report.id);
            match report.end {
                // Somebody else has made it final, or will: whoever waits here
                // must learn of it.
                Some(end) => {
                    messages.look_ups.push(report.id);
                    core.leave_bill(report.id, report.runner, report.attempt, end.usage);
                }
                None => {
                    if let Some(fiber) = fiber {
                        fiber.kill(Kill::NotOurs);
                    }
                }
            }
            return;
        }
        let how = report.end.map(|end| end.how);
        if let Some(how) = &how {
            core.counters.count_end(how);
        }
        match how {
            None => {}
            Some(EndKind::Final(outcome)) => {
                core.registry.finish(report.id, &outcome);
            }
            Some(EndKind::Retry(_, delay)) => {
                core.registry.disown(report.id);
                self.may_have_work = true;
                // The store counted the pause from the commit, a moment ago.
                let due = Instant::now() + delay;
                self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
            }
            Some(EndKind::Release) => {
                core.registry.disown(report.id);
            }
        }
    }

    /// The lease is gone, and with it everything owned: others may run it by
    /// now. Nothing of it may write again, so the runner takes a new id.
    fn go_on_as_another(&mut self, core: &Core) {
        let runner = RunnerId::generate();
        tracing::warn!(lost = %self.runner, now = %runner, "the lease was lost: guests are killed, their work is run again");
        self.runner = runner;
        // Nothing is known of claims under the new name, lost receipts or not.
        self.must_take_stock = false;
        self.next_heartbeat = None;
        core.disown_everything();
        core.trust.begin_again(runner);
        self.may_have_work = true;
    }

    fn commit_failed(&mut self, core: &Core, error: &StoreError) {
        let pause = self.lengthen_back_off();
        tracing::warn!(%error, ?pause, held = self.held.reports.len(), "the store can't be written to; trying again");
        self.may_have_work = true;
        self.is_in_doubt = true;
        self.held.doubtful = self.held.reports.len();
        // One report may be what the store can't take, a result larger than the
        // disk for instance. It must not keep the others from being written.
        if self.held.reports.len() > 1 {
            self.write_one_by_one(core);
        }
    }

    /// Leaves the store alone for a while, which is returned.
    fn lengthen_back_off(&mut self) -> Duration {
        let pause = self.back_off.map_or(FIRST_BACK_OFF, |(_, last)| (last * 2).min(LAST_BACK_OFF));
        self.back_off = Some((Instant::now() + pause, pause));
        pause
    }

    /// Writes the reports of a batch that failed one by one, up to the first that
    /// fails again.
    fn write_one_by_one(&mut self, core: &Core) {
        let mut messages = Messages::default();
        if self.settle_reports(core, &mut messages).is_ok() {
            while let (Some(report), Some(fiber)) = (self.held.reports.pop(), self.held.fibers.pop()) {
                let batch = Batch { reports: vec![report], ..Batch::default() };
                let committed = core.store.commit(&batch);
                let Some(report) = batch.reports.into_iter().next() else { break };
                match committed.map(|receipt| receipt.reports.first().copied()) {
                    Ok(Some(applied)) => self.act_on_report(core, report, fiber, applied, &mut messages),
                    Ok(None) | Err(_) => {
                        // To the other end, so that the next attempt begins with
                        // another.
                        self.held.reports.insert(0, report);
                        self.held.fibers.insert(0, fiber);
                        break;
                    }
                }
            }
            self.held.doubtful = self.held.reports.len();
        }
        self.look_ups.append(&mut messages.look_ups);
    }

    /// Answers questions about the store, after the commit: an id that was
    /// looked up before it might miss a commit that nobody will tell of again.
    fn look_up(
        &mut self,
        core: &Core,
        statuses: Vec<(InvocationId, oneshot::Sender<Result<Status, Refusal>>)>,
    ) {
        if self.look_ups.is_empty() && statuses.is_empty() {
            return;
        }
        let ids = &self.look_ups[..self.look_ups.len().min(share::LOOK_UPS)];
        let asked: Vec<_> = statuses.iter().map(|(id, _)| *id).collect();
        let read = core.store.look_up(ids).and_then(|found| Ok((found, core.store.statuses(&asked)?)));
        let (answers, found) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%error, "the store can't be read; trying again");
                self.lengthen_back_off();
                refuse_all(Messages { statuses, ..Messages::default() }, &error.to_string());
                return;
            }
        };
        // The store gives as many at once as are not too large together.
        for (id, answer) in self.look_ups.drain(..answers.len()).zip(answers) {
            match answer {
                LookUp::Final(outcome) => core.registry.finish(id, &outcome),
                LookUp::Unknown => core.registry.refuse(id, &unknown_invocation(id)),
                LookUp::Unfinished(_) => {}
            }
        }
        for ((id, sender), status) in statuses.into_iter().zip(found) {
            let _ = sender.send(status.ok_or_else(|| unknown_invocation(id)));
        }
        // What is awaited and queued can be claimed now.
        let load = core.scheduler.load();
        if load.idle > 0 && !core.registry.wanted(1, load.deepest).is_empty() {
            core.inbox.put(|messages| messages.is_hungry = true);
        }
    }

    /// Tells whoever waits for it that nothing is left to do.
    fn tell_idle(&mut self, core: &Core) {
        if !core.idle.is_wanted() || core.stage() != Stage::Working {
            return;
        }
        let load = core.scheduler.load();
        let is_written = self.is_through() && self.bills.is_empty();
        let is_quiet = load.live == 0 && load.ready == 0 && load.busy == 0 && !core.inbox.is_urgent();
        if !is_written || !is_quiet {
            return;
        }
        // What somebody holds back is not left to be run.
        let read = core.store.unfinished_by_task().and_then(|left| Ok((left, core.store.paused_tasks()?)));
        let (left, paused) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%error, "the store can't be read; trying again");
                self.lengthen_back_off();
                return;
            }
        };
        let mine = core.tasks();
        let mine = |task: &Arc<str>| mine.contains(task) && !paused.contains(task);
        if left.iter().any(|(task, count)| *count > 0 && mine(task)) {
            return;
        }
        core.idle.announce();
    }
}

/// Kills the guests of what somebody else has made final, and has it looked up
/// for whoever waits for it.
fn give_up(core: &Core, revoked: &[InvocationId], messages: &mut Messages) {
    for id in revoked {
        // First, as above.
        core.registry.disown(*id);
        core.end_here(*id);
        messages.look_ups.push(*id);
    }
}

fn unknown_invocation(id: InvocationId) -> Refusal {
    Refusal::UnknownInvocation(format!("no invocation has the id `{id}`"))
}

fn submitted_id(submitted: &Submitted) -> Result<InvocationId, Refusal> {
    match submitted {
        Submitted::Created(id) | Submitted::Existing(id) => Ok(*id),
        Submitted::KeyConflict(id) => {
            Err(Refusal::BadArguments(format!("the key is taken by `{id}`, which has other arguments")))
        }
        Submitted::UniqueConflict(id) => Err(Refusal::BadArguments(format!(
            "the unfinished `{id}` is the same by the task's uniqueness rule and has other arguments"
        ))),
        Submitted::BehindAncestor(id) => Err(Refusal::Cycle(format!(
            "the concurrency rule of its task would keep it waiting for its ancestor `{id}`, which would wait for it"
        ))),
        Submitted::Orphan => Err(Refusal::Unavailable("this attempt is no longer the valid one".to_owned())),
    }
}

/// Tells guests that their children were not submitted.
fn refuse_submits(submits: impl IntoIterator<Item = PendingSubmit>, why: &str) {
    for submit in submits {
        let refusal = Refusal::Unavailable(why.to_owned());
        match submit.reply {
            SubmitReply::Ids(sender) => drop(sender.send(Err(refusal))),
            SubmitReply::Result(wait) => wait.refuse(refusal),
        }
    }
}

/// Tells everybody who waits for an answer that there will be none.
fn refuse_all(messages: Messages, why: &str) {
    let refusal = || Refusal::Unavailable(why.to_owned());
    let submits = messages.submits.into_iter();
    refuse_submits(
        submits.map(|submit| PendingSubmit {
            children: 0,
            later: Vec::new(),
            submitted: Vec::new(),
            first: None,
            reply: submit.reply,
        }),
        why,
    );
    for message in messages.cancels {
        drop(message.reply.send(Err(refusal())));
    }
    for (_, sender) in messages.statuses {
        drop(sender.send(Err(refusal())));
    }
}
