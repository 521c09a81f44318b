//! Decisions that every store makes in the same way: pure functions, no storage.

use std::sync::Arc;
use std::time::Duration;

use const_format::formatcp;

use super::{Adoption, AttemptEnd, Bill, EndKind, Keep, NewInvocation, Report, TaskRule};
use crate::model::{
    Blocked, Concurrency, Event, Failure, FailureKind, InvocationId, Outcome, Rate, Reason, RunnerId, Status,
    TaskId, UnixMicros, Usage, words,
};

/// How long a store remembers that it took claims away from a runner. One that
/// was suspended for longer is no longer told that it lost its lease; what it
/// reports is stale all the same.
pub(super) const LOST_RUNNER_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// At most so many invocations of a lane are skipped in one transaction.
pub(super) const SKIPPED_AT_ONCE: usize = 1_000;
/// At most so many invocations that are past their deadline end in one
/// transaction, not counting the descendants that they take along.
pub(super) const EXPIRED_AT_ONCE: usize = 1_000;
/// At most so many descendants of what ended are cancelled in one transaction. The others
/// follow in later ones, level by level: a tree may have millions.
pub(super) const CASCADED_AT_ONCE: usize = 1_000;
/// At most so many names of tasks are looked at in one transaction that forgets some.
pub(super) const NAMES_LOOKED_AT: usize = 1_000;
/// The most names of tasks whose numbers a process keeps in memory. With more it starts anew.
pub(super) const NAMES_KEPT: usize = 20_000;
/// At most so many rows of usage are removed in one transaction.
pub(super) const USAGE_REMOVED_AT_ONCE: usize = 1_000;

words! {
    /// The index that holds an invocation which is not final, as the column `place` has it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Place {
        /// In the queue of its task.
        Ready = "ready",
        /// Among those whose time has not come.
        Delayed = "delayed",
        /// Kept back in its lane.
        Blocked = "blocked",
        /// With its runner.
        Owned = "owned",
    }
}

/// Whether an invocation in a place has been given a turn that nobody has taken.
pub(super) fn has_turn(place: Option<Place>) -> bool {
    matches!(place, Some(Place::Ready | Place::Blocked))
}

/// The places as literals of SQL.
pub(super) const READY: &str = formatcp!("'{}'", Place::Ready.as_str());
pub(super) const DELAYED: &str = formatcp!("'{}'", Place::Delayed.as_str());
pub(super) const BLOCKED: &str = formatcp!("'{}'", Place::Blocked.as_str());
pub(super) const OWNED: &str = formatcp!("'{}'", Place::Owned.as_str());

/// The rules of a task for its lanes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LaneRule {
    pub(super) concurrency: Option<Concurrency>,
    pub(super) rate: Option<Rate>,
}

impl LaneRule {
    pub(super) fn of(rule: &TaskRule) -> Self {
        Self { concurrency: rule.concurrency, rate: rule.rate }
    }

    /// How many may be ready beside so many that are owned, as far as concurrency has a
    /// say; below zero if too many are owned.
    pub(super) fn room_by_concurrency(self, owned: i64) -> i64 {
        self.concurrency.map_or(i64::MAX, |rule| i64::from(rule.limit) - owned)
    }

    /// How many may be ready beside so many that are owned, after so many starts within
    /// the window.
    pub(super) fn room(self, owned: i64, started: i64) -> i64 {
        let by_rate = self.rate.map_or(i64::MAX, |rate| i64::from(rate.limit) - started);
        self.room_by_concurrency(owned).min(by_rate).max(0)
    }

    /// The limit, if whoever is due has to be skipped beside so many that are owned.
    pub(super) fn skips(self, owned: i64) -> Option<u32> {
        let skip = self.concurrency.filter(|rule| rule.blocked == Blocked::Skip)?;
        (owned >= i64::from(skip.limit)).then_some(skip.limit)
    }

    /// Starts up to this moment have left the window.
    pub(super) fn window_began(self, now: UnixMicros) -> i64 {
        self.rate.map_or(i64::MAX, |rate| now.0.saturating_sub(window_micros(rate.window)))
    }
}

/// The window of a rate as databases keep it.
pub(super) fn window_micros(window: Duration) -> i64 {
    i64::try_from(window.as_micros()).unwrap_or(i64::MAX)
}

/// The number of the first hour whose usage is kept, if that of hours is removed which ended `age` ago.
pub(super) fn first_kept_hour(now: UnixMicros, age: Duration) -> i64 {
    now.minus(age).hour()
}

/// The name under which the usage of a task is counted: that of its component, or nothing for an id of an earlier
/// program that names none.
pub(super) fn billed_component(task: &str) -> &str {
    TaskId::component_of(task)
}

/// Whether a task takes the place of an id that named no component and that the store knows.
/// `tasks` are all that it knows; `waits_for_others` says whether unfinished invocations were
/// submitted for other components.
pub(super) fn is_adopted<'t>(
    adoption: &Adoption,
    tasks: impl IntoIterator<Item = &'t Arc<str>>,
    waits_for_others: bool,
) -> bool {
    let component = TaskId::split(&adoption.to).0;
    let mut is_ambiguous = adoption.has_rivals;
    for task in tasks {
        if *task == adoption.to {
            return false;
        }
        let rival = TaskId::parse(task).filter(|id| Some(id.component) != component);
        is_ambiguous |= rival.is_some_and(|id| id.former() == *adoption.from);
    }
    !(is_ambiguous && waits_for_others)
}

/// Whether something that is delayed so long can be claimed at the same moment.
pub(super) fn is_at_once(delay: Duration) -> bool {
    delay.as_micros() == 0
}

/// The event that an end of an attempt is.
pub(super) fn end_event(how: &EndKind) -> Event {
    match how {
        EndKind::Final(Outcome::Value(_)) => Event::Succeed,
        EndKind::Final(Outcome::Failure(_)) => Event::Fail,
        EndKind::Retry(..) => Event::Retry,
        EndKind::Release => Event::Release,
    }
}

/// One step of a report: when, which event, from which status to which.
pub(super) type Step = (UnixMicros, Event, Status, Status);

/// Writes into `steps` what `report` makes of an invocation that its claim
/// owns. `false` if any of it cannot happen: then none of it may.
pub(super) fn plan(status: Status, report: &Report, steps: &mut Vec<Step>) -> bool {
    steps.clear();
    let mut at_status = status;
    let observed = report.observed.iter().copied();
    let end = report.end.iter().map(|end| (end.at, end_event(&end.how)));
    for (index, (at, event)) in observed.chain(end).enumerate() {
        if event.is_observation() != (index < report.observed.len()) {
            return false;
        }
        let Ok(next) = at_status.apply(event) else {
            return false;
        };
        steps.push((at, event, at_status, next));
        at_status = next;
    }
    true
}

/// Has a plan end with a failure in the place of its outcome. `false` if it can't.
pub(super) fn fail_instead(steps: &mut [Step]) -> bool {
    let Some((_, event, from, to)) = steps.last_mut() else { return false };
    let Ok(failed) = from.apply(Event::Fail) else { return false };
    (*event, *to) = (Event::Fail, failed);
    true
}

/// Beyond so many moves of an invocation, its waits leave no rows in its history: guests choose how often they
/// wait, and nothing else that moves an invocation is theirs to repeat.
pub(super) const RECORDED_MOVES: u64 = 1_000;

/// Whether a move leaves a row in the history of an invocation; it is the one with the number `n` of
/// all, from 1. Whatever is left out, the rows are a path of statuses: a resume has a row exactly
/// if the await before it has one.
pub(super) fn is_recorded(event: Event, n: u64) -> bool {
    match event {
        Event::Await => n < RECORDED_MOVES,
        Event::Resume => n <= RECORDED_MOVES,
        _ => true,
    }
}

/// Whether an invocation has had a guest in this attempt, or has one by the steps of a report. Otherwise its
/// claim, given back, has cost nothing.
pub(super) fn has_started(status: Status, steps: &[Step]) -> bool {
    status.has_guest() || steps.iter().any(|(_, _, _, to)| to.has_guest())
}

/// Returns the usage of an invocation after the end of another attempt. One that never
/// started has used nothing and leaves no bill.
pub(super) fn usage(before: Option<Usage>, end: &AttemptEnd) -> Option<Usage> {
    if end.usage == Usage::default() {
        return before;
    }
    Some(before.map_or(end.usage, |before| before.and(end.usage)))
}

/// Returns the usage of an invocation with a bill on it whose attempt somebody else ended;
/// `None` if that is not what happened, or if the bill is on it already. `last` is the
/// last move of the invocation, and whose it was until then.
pub(super) fn late(
    before: Option<Usage>,
    last: (Reason, Option<RunnerId>, u32),
    bill: &Bill,
) -> Option<Usage> {
    let (reason, runner, attempt) = last;
    let was_ended = reason.is_end_from_outside() && (runner, attempt) == (Some(bill.runner), bill.attempt);
    let before = before.unwrap_or_default();
    (was_ended && !before.has_late).then(|| Usage { has_late: true, ..before.and(bill.usage) })
}

/// The generations above a child that are looked at for those that fill its lane. A chain of detached invocations may
/// be as long as the store bears, and the look is part of the submit's transaction.
pub(super) const GENERATIONS_IN_LANE: u32 = 1_000;

/// A cancel by a guest looks at most so many generations up.
pub(super) const GENERATIONS_LOOKED_AT: u32 = 100;

/// A prune looks so many generations up from an invocation. If nothing there is unfinished and there are more, it keeps
/// the invocation: it goes when those above it have gone.
pub(super) const GENERATIONS_TO_KEEP_FOR: usize = 1_000;

/// The invocation above one whose guest asks to cancel another of its tree that is no farther from
/// the root: its ancestor (or itself) in the generation of the other, or
/// the one at which the look ended; and how many generations above it that is.
pub(super) type CallerAbove = (InvocationId, u32);

/// Whether an invocation called the one whose guest asks to cancel it, or is that itself. So
/// far up that nobody looks, whatever is in its tree passes for one that did.
pub(super) fn calls(id: InvocationId, above: Option<CallerAbove>) -> bool {
    above.is_some_and(|(above, generations)| above == id || generations >= GENERATIONS_LOOKED_AT)
}

/// The message that the history keeps of an outcome.
pub(super) fn detail(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Value(_) => None,
        Outcome::Failure(failure) => Some(&failure.message),
    }
}

/// The outcome of an invocation that somebody cancelled.
pub(super) fn cancelled(message: &str) -> Outcome {
    Outcome::Failure(Arc::new(Failure::new(FailureKind::Cancelled, message)))
}

/// When an invocation ends unless it is final before: an attached child's parent
/// hands its own deadline down.
pub(super) fn deadline(
    new: &NewInvocation,
    parents: Option<UnixMicros>,
    now: UnixMicros,
) -> Option<UnixMicros> {
    let own = new.deadline.map(|deadline| now.plus(deadline));
    let inherited = parents.filter(|_| new.child_of.as_ref().is_some_and(|place| !place.detached));
    own.into_iter().chain(inherited).min()
}

/// The outcome of an invocation that was not final at its deadline.
pub(super) fn expired(deadline: UnixMicros) -> Outcome {
    let message = format!("its deadline `{deadline}` passed before it was final");
    Outcome::Failure(Arc::new(Failure::new(FailureKind::TimedOut, message)))
}

/// So many runners' answers to a push are kept.
pub(super) const ANSWERS_KEPT: usize = 100;

/// Whether `keep` no longer keeps the oldest invocation of its status but `left - 1` younger ones: there are too many,
/// or it is too old, and enough stay without it.
pub(super) fn is_surplus(keep: &Keep, finished_at: UnixMicros, left: u64, now: UnixMicros) -> bool {
    let is_beyond = keep.count.is_some_and(|count| left > count);
    let is_old = keep.age.is_some_and(|age| finished_at.plus(age) <= now);
    (is_beyond || is_old) && (keep.at_least == 0 || left > keep.at_least)
}

/// The outcome of an attached child whose parent became final first.
pub(super) fn orphaned(parent: InvocationId, parent_status: Status) -> Outcome {
    cancelled(&format!("its parent `{parent}` became final ({parent_status}) before it"))
}

/// The outcome of an invocation whose last attempt died with its runner.
pub(super) fn lost(runner: RunnerId, attempt: u32, max_attempts: u32) -> Outcome {
    Outcome::Failure(Arc::new(Failure::new(
        FailureKind::Lost,
        format!(
            "the lease of its runner `{runner}` ran out in attempt {attempt} of {max_attempts}, \
             and no attempts are left"
        ),
    )))
}

/// The outcome of an invocation that a concurrency rule kept from running.
pub(super) fn skipped(limit: u32) -> Outcome {
    let message = match limit {
        1 => "its task's concurrency rule lets 1 run at a time, and 1 was running".to_owned(),
        many => format!("its task's concurrency rule lets {many} run at a time, and as many were running"),
    };
    Outcome::Failure(Arc::new(Failure::new(FailureKind::Skipped, message)))
}
