//! The hook for metrics and logs: observers are told what a runner does. One writes log lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::model::{
    Claim, FailureKind, InvocationId, LineBudget, Outcome, RunnerId, TaskId, failure_line, millis,
};
use crate::store::{AttemptEnd, Batch, EndKind, Receipt, StoreError, TakenOver};

/// Is told what a runner does.
///
/// The thread that takes the runner's turn tells it, in the order of the events, after their commit, with no
/// lock but the ledger's. An observer must be quick, and must neither wait nor call the runner.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Takes note of one event.
    fn observe(&self, observation: &Observation<'_>);
}

/// One event in the life of a runner.
#[derive(Debug)]
#[non_exhaustive]
pub enum Observation<'a> {
    /// A batch was committed. The other observations of that commit follow.
    Committed {
        /// The time that the store took.
        took: Duration,
        /// The number of invocations that it submitted for guests.
        submits: usize,
        /// The number of reports of attempts that it wrote.
        reports: usize,
        /// The number of invocations that it claimed.
        claims: usize,
        /// The number of old invocations that it removed.
        removed: usize,
        /// The id of the runner.
        runner: RunnerId,
        /// The attempts that it took over from runners whose lease had run out: its own earlier one may be among them.
        taken_over: &'a [TakenOver],
    },
    /// A commit failed; the batch is tried again after the pause.
    CommitFailed {
        /// The error of the store.
        error: &'a StoreError,
        /// The time for which the store is left alone.
        pause: Duration,
    },
    /// An invocation was claimed. Its attempt is over with an `Ended`, a `Taken`, or a `LeaseLost`.
    Claimed {
        /// The claim.
        claim: &'a Claim,
    },
    /// An attempt of this runner ended, and the store has its end.
    Ended {
        /// The invocation.
        id: InvocationId,
        /// The attempt, from 1.
        attempt: u32,
        /// The full id of its task.
        task: &'a str,
        /// Its end, with its usage.
        end: &'a AttemptEnd,
    },
    /// Somebody else ended an attempt of this runner, or has taken it over: a cancel, a deadline, the end of the
    /// parent, another runner.
    Taken {
        /// The invocation.
        id: InvocationId,
        /// The attempt, from 1.
        attempt: u32,
        /// The invocation's outcome, if a commit of this runner made it final.
        outcome: Option<&'a Outcome>,
    },
    /// The store made an invocation final in a commit of this runner, without a report: it was cancelled, its deadline
    /// passed, it was skipped, or its last attempt died with its runner. Not told if another runner owned it.
    Finished {
        /// The invocation.
        id: InvocationId,
        /// Its outcome.
        outcome: &'a Outcome,
    },
    /// The lease was lost, and everything owned with it.
    LeaseLost {
        /// The id under which the runner owned it.
        lost: RunnerId,
        /// The id under which the runner goes on.
        now: RunnerId,
    },
}

/// Tells all observers of a commit that took so long.
pub(super) fn tell_commit(
    observers: &[Arc<dyn Observer>],
    runner: RunnerId,
    took: Duration,
    batch: &Batch,
    receipt: &Receipt,
) {
    tell(observers, || Observation::Committed {
        took,
        submits: batch.submits.len(),
        reports: batch.reports.len(),
        claims: receipt.claimed.len(),
        removed: receipt.pruned.map_or(0, |pruned| pruned.removed),
        runner,
        taken_over: &receipt.taken_over,
    });
}

/// Tells all observers. Nothing is made to be told while nobody observes.
pub(super) fn tell<'a>(observers: &[Arc<dyn Observer>], observation: impl FnOnce() -> Observation<'a>) {
    if !observers.is_empty() {
        let observation = observation();
        observers.iter().for_each(|observer| observer.observe(&observation));
    }
}

/// The most characters of a guest's message in a log line.
const MESSAGE_CHARS: usize = 200;

/// Logs failures and takeovers, ends of other attempts at `debug`, commits and claims at `trace`. Of the failures of one
/// component only so many are logged in a minute, and the others at `debug`. The runner warns of outages and lost leases
/// itself. `docs/design/operating.md` has the lines.
#[derive(Debug)]
pub struct LogObserver {
    /// Whether failures are news: not to somebody who waits for the outcome anyway.
    tells_failures: bool,
    /// The lines about failures in this minute, by component.
    budgets: Mutex<BTreeMap<Box<str>, Lines>>,
}

/// So many pairs of a task and a kind have a line of their own in a minute, whatever else fails.
const PAIRS: usize = 100;

/// The lines about failures of one component in this minute.
#[derive(Debug, Default)]
struct Lines {
    budget: LineBudget,
    /// The tasks and kinds of which there is a line.
    told: BTreeSet<(Box<str>, &'static str)>,
}

impl Lines {
    /// Ends a minute that is over.
    fn end(&mut self, component: &str, now: Instant) {
        tell_left_out(component, self.budget.end(now));
        if self.budget.is_idle() {
            self.told.clear();
        }
    }

    /// Counts a line. Returns whether it is to be logged: one that is the first of its task and kind is.
    fn take(&mut self, task: &str, kind: FailureKind, now: Instant) -> bool {
        let pair = (Box::from(task), kind.as_str());
        let is_first = self.told.len() < PAIRS && self.told.insert(pair);
        let is_within = self.budget.take(now);
        if is_first && !is_within {
            self.budget.uncount();
        }
        is_within || is_first
    }
}

impl LogObserver {
    /// Makes one that tells failures, or logs them at `debug` as well.
    pub fn new(tells_failures: bool) -> Self {
        Self { tells_failures, budgets: Mutex::default() }
    }

    /// Whether a line about a failure of a task is logged as news.
    fn tells(&self, task: &str, kind: FailureKind) -> bool {
        if !self.tells_failures {
            return false;
        }
        let (now, mut budgets) = (Instant::now(), self.budgets.lock());
        let component = TaskId::component_of(task);
        match budgets.get_mut(component) {
            Some(lines) => {
                lines.end(component, now);
                lines.take(task, kind, now)
            }
            None => budgets.entry(component.into()).or_default().take(task, kind, now),
        }
    }

    /// Ends the minutes that are over.
    fn end_minutes(&self) {
        let mut budgets = self.budgets.lock();
        if !budgets.is_empty() {
            let now = Instant::now();
            budgets.retain(|component, lines| {
                lines.end(component, now);
                !lines.budget.is_idle()
            });
        }
    }

    /// Whether any of its lines would be written: otherwise there is no use for it.
    pub fn is_enabled(&self) -> bool {
        let least = if self.tells_failures { tracing::Level::WARN } else { tracing::Level::DEBUG };
        match least {
            tracing::Level::WARN => tracing::enabled!(tracing::Level::WARN),
            _ => tracing::enabled!(tracing::Level::DEBUG),
        }
    }
}

/// Says how many lines about failures of a component were left out.
fn tell_left_out(component: &str, lines: Option<u64>) {
    if let Some(lines) = lines {
        tracing::warn!(
            event = "failures-left-out",
            component,
            lines,
            "more failures of one component in a minute than are logged: `list --status failed --component` has them all"
        );
    }
}

impl Drop for LogObserver {
    fn drop(&mut self) {
        for (component, lines) in self.budgets.get_mut() {
            tell_left_out(component, lines.budget.finish());
        }
    }
}

/// Logs which invocations were taken over from a dead runner, or given back because this runner's own lease has run out.
fn log_takeover(runner: RunnerId, taken: &TakenOver) {
    let TakenOver { runner: dead, count: attempts, first } = taken;
    let mut ids = first.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if *attempts > first.len() {
        ids.push_str(&format!(" and {} more", attempts - first.len()));
    }
    if *dead == runner {
        tracing::warn!(
            event = "lease-ran-out",
            %runner,
            attempts,
            ids,
            "this runner's own lease has run out: its work is queued again"
        );
    } else {
        tracing::warn!(
            event = "takeover",
            %runner,
            from = %dead,
            attempts,
            ids,
            "took over the work of a runner whose lease has run out"
        );
    }
}

/// Logs at the first level if failures are told, or else at `debug`.
macro_rules! failure {
    ($tells:expr, $level:ident, $($fields:tt)+) => {
        match $tells {
            true => tracing::$level!($($fields)+),
            false => tracing::debug!($($fields)+),
        }
    };
}

impl Observer for LogObserver {
    fn observe(&self, observation: &Observation<'_>) {
        match observation {
            Observation::Committed { took, submits, reports, claims, removed, runner, taken_over } => {
                taken_over.iter().for_each(|taken| log_takeover(*runner, taken));
                self.end_minutes();
                tracing::trace!(?took, submits, reports, claims, removed, "a batch was committed");
            }
            Observation::Claimed { claim } => {
                tracing::trace!(id = %claim.id, task = &*claim.task, attempt = claim.attempt, "claimed");
            }
            Observation::Ended { id, attempt, task, end } => match &end.how {
                EndKind::Final(Outcome::Value(_)) => tracing::debug!(%id, task, attempt, "succeeded"),
                EndKind::Final(Outcome::Failure(failure)) => {
                    // Quoted: what a guest says may try to look like more lines.
                    let said = failure_line(&failure.message, MESSAGE_CHARS);
                    let said = &*said;
                    let tells = self.tells(task, failure.kind);
                    let kind = failure.kind.as_str();
                    failure!(tells, warn, event = "failed", %id, task, attempt, kind, said, "failed");
                }
                EndKind::Retry(outcome, pause) => {
                    let Outcome::Failure(failure) = outcome else { return };
                    let said = failure_line(&failure.message, MESSAGE_CHARS);
                    let said = &*said;
                    let tells = self.tells(task, failure.kind);
                    let kind = failure.kind.as_str();
                    let pause_ms = millis(*pause);
                    failure!(
                        tells, info, event = "attempt-failed", %id, task, attempt, kind, said, pause_ms,
                        "failed, and is tried again"
                    );
                }
                EndKind::Release => tracing::debug!(%id, task, attempt, "given back"),
            },
            Observation::Taken { id, attempt, .. } => {
                tracing::debug!(%id, attempt, "ended, or taken over, by somebody else");
            }
            Observation::Finished { id, outcome: Outcome::Failure(failure) } => {
                let said = failure_line(&failure.message, MESSAGE_CHARS);
                let (kind, said) = (failure.kind.as_str(), &*said);
                match failure.kind {
                    FailureKind::Cancelled | FailureKind::Skipped => {
                        tracing::debug!(%id, kind, said, "ended by the store");
                    }
                    // Its component is not known.
                    _ => {
                        failure!(self.tells("", failure.kind), warn, event = "failed", %id, kind, said, "failed")
                    }
                }
            }
            Observation::Finished { .. }
            | Observation::CommitFailed { .. }
            | Observation::LeaseLost { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::model::{Failure, UnixMicros};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_component_that_fails_fast_writes_a_bounded_log() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let observer = LogObserver::new(true);
            let failed = || Outcome::Failure(Arc::new(Failure::new(FailureKind::Trapped, "it broke")));
            let id = InvocationId::generate();
            let tell = |task: &str, how| {
                let end = AttemptEnd::unstarted(UnixMicros(0), how);
                observer.observe(&Observation::Ended { id, attempt: 1, task, end: &end });
            };
            for _ in 0..500 {
                tell("bad::run", EndKind::Retry(failed(), Duration::ZERO));
                tell("bad::run", EndKind::Final(failed()));
            }
            let other = Outcome::Failure(Arc::new(Failure::new(FailureKind::TimedOut, "it hangs")));
            tell("bad::run", EndKind::Final(other));
            tell("good::run", EndKind::Final(failed()));
        });
        let text = String::from_utf8(lines.0.lock().clone()).expect("a text");
        let of = |part: &str| text.lines().filter(|line| line.contains(part)).count();
        assert_eq!((of("task=\"bad::run\""), of("task=\"good::run\"")), (61, 1), "{text}");
        assert_eq!(of("kind=\"timed-out\""), 1, "the first of its kind is told: {text}");
        // When the runner ends, or the minute.
        assert_eq!(of("failures-left-out"), 1, "{text}");
        assert!(text.contains("component=\"bad\" lines=940"), "{text}");
    }

    #[test]
    fn a_failure_is_one_line_whatever_the_guest_says() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let failure = Failure::new(FailureKind::Trapped, format!("one\ntwo{}why", "x".repeat(1000)));
            let how = EndKind::Final(Outcome::Failure(Arc::new(failure)));
            let end = AttemptEnd::unstarted(UnixMicros(0), how);
            let id = InvocationId::generate();
            let observer = LogObserver::new(true);
            observer.observe(&Observation::Ended { id, attempt: 2, task: "a.task", end: &end });
            let end = AttemptEnd::unstarted(UnixMicros(0), EndKind::Release);
            observer.observe(&Observation::Ended { id, attempt: 3, task: "a.task", end: &end });
        });
        let text = String::from_utf8(lines.0.lock().clone()).expect("a text");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        for part in
            ["failed", "task=\"a.task\"", "attempt=2", "kind=\"trapped\"", r#"said="one\ntwoxx"#, "xxwhy\""]
        {
            assert!(lines[0].contains(part), "{part}: {text}");
        }
        assert!(lines[0].len() < 500 && lines[1].contains("given back"), "{text}");
    }
}
