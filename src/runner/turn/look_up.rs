//! The reads of a turn after its commit: outcomes for waiters, and whether anything is left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::perform::{leave_alone, refuse_all, tell_taken};
use crate::model::{InvocationId, Refusal, UnixMicros};
use crate::runner::core::Core;
use crate::runner::inbox::{Messages, StandingMessage};
use crate::runner::ledger::{LOOK_UPS, Ledger};
use crate::store::LookUp;

/// A wait for delayed invocations that is shorter is not told.
const LEAST_WAIT: Duration = Duration::from_millis(500);

/// Answers questions about the store, after the commit: before it they might miss what nobody tells again.
pub(super) fn look_up(core: &Core, ledger: &mut Ledger, standings: Vec<StandingMessage>) {
    if ledger.look_ups.is_empty() && standings.is_empty() {
        return;
    }
    ledger.look_ups.fill(|| core.registry.awaited_elsewhere());
    let mut ids = ledger.look_ups.take(LOOK_UPS);
    let asked: Vec<_> = standings.iter().map(|(id, _)| *id).collect();
    let read = core.store.look_up(&ids).and_then(|found| Ok((found, core.store.standings(&asked)?)));
    let (answers, found) = match read {
        Ok(read) => read,
        Err(error) => {
            ledger.look_ups.give_back(ids);
            leave_alone(ledger, &error);
            return refuse_all(Messages { standings, ..Messages::default() }, &error.to_string());
        }
    };
    // The store gives as many at once as are not too large together.
    ledger.look_ups.give_back(ids.drain(answers.len().min(ids.len())..));
    core.totals.lock().learn(ids.iter().copied().zip(&answers));
    for (id, answer) in ids.into_iter().zip(answers) {
        match answer {
            LookUp::Final(outcome) => {
                let owned = core.registry.finish(id, &outcome);
                tell_taken(core, id, owned, None);
            }
            LookUp::Unknown => core.registry.refuse(id, &unknown_invocation(id)),
            LookUp::Unfinished(_) => {}
        }
    }
    for ((id, sender), standing) in standings.into_iter().zip(found) {
        let _ = sender.send(standing.ok_or_else(|| unknown_invocation(id)));
    }
    // Something awaited may be queued, and can be claimed now.
    let load = core.scheduler.load();
    if load.idle > 0 && !core.registry.wanted(1, load.deepest).is_empty() {
        core.inbox.put(|messages| messages.is_hungry = true);
    }
}

fn unknown_invocation(id: InvocationId) -> Refusal {
    Refusal::UnknownInvocation(format!("no invocation has the id `{id}`"))
}

/// Tells the threads that wait for it that nothing is left to do, if so.
pub(super) fn announce_idle(core: &Core, ledger: &mut Ledger) {
    if !core.stages.is_idle_wanted() || core.stages.is_stopping() {
        return;
    }
    let load = core.scheduler.load();
    let is_quiet = load.live == 0 && load.ready == 0 && load.busy == 0 && !core.inbox.is_urgent();
    if !ledger.is_written() || !is_quiet {
        return;
    }
    // Paused work is not left to be run.
    let read = core.store.unfinished_by_task().and_then(|left| Ok((left, core.store.paused_tasks()?)));
    let (left, paused) = match read {
        Ok(read) => read,
        Err(error) => return leave_alone(ledger, &error),
    };
    let tasks = core.tasks();
    let mine = |task: &Arc<str>| tasks.contains(task) && !paused.contains(task);
    match left.iter().filter(|(task, _)| mine(task)).map(|(_, count)| count).sum() {
        0 => core.stages.announce_idle(),
        left => tell_delayed(core, ledger, left, mine),
    }
}

/// Says, once, that everything that is left for this runner starts only later.
fn tell_delayed(core: &Core, ledger: &mut Ledger, left: u64, mine: impl Fn(&Arc<str>) -> bool) {
    let began = Instant::now();
    if ledger.wait_notice.is_told || ledger.wait_notice.not_before.is_some_and(|time| began < time) {
        return;
    }
    // By the clock of the store.
    let read = core.store.leases().and_then(|leases| {
        let now = leases.now;
        Ok((core.store.queued_by_task(now)?, now))
    });
    let (queued, now) = match read {
        Ok(read) => read,
        Err(error) => return leave_alone(ledger, &error),
    };
    // The read looks at every delayed invocation: it gets a hundredth of the time.
    ledger.wait_notice.not_before = Some(Instant::now() + began.elapsed() * 100);
    let queued = || queued.iter().filter(|counts| mine(&counts.task));
    let delayed: u64 = queued().map(|counts| counts.delayed).sum();
    let next = queued().filter_map(|counts| counts.next).min();
    // The next attempt of a failed one is due in a moment.
    let is_worth_telling = |next: &UnixMicros| next.since(now) >= LEAST_WAIT;
    if let Some(next) = next.filter(is_worth_telling)
        && delayed == left
    {
        ledger.wait_notice.is_told = true;
        let next = next.to_rfc3339();
        tracing::info!(
            event = "waiting",
            delayed,
            next,
            "nothing to run now: waiting for delayed invocations"
        );
    }
}
