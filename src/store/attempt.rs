//! Requests and reports of runners.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Leads, rules};
use crate::model::{
    Claim, ComponentDigest, Event, InvocationId, LogEntry, Outcome, Progress, RunnerId, UnixMicros, Usage,
};

/// Asks for work.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// The runner that asks. If it gets something, its lease is extended as by a
    /// heartbeat; a claim that finds nothing writes nothing. A runner whose lease
    /// was lost gets nothing.
    pub runner: RunnerId,
    /// How long the claims are leased, from now.
    pub lease: Duration,
    /// The most invocations to claim.
    pub max: usize,
    /// Once the claimed arguments have so many bytes, nothing more is claimed: they go beyond it by one
    /// invocation at most.
    pub max_bytes: usize,
    /// Invocations that somebody awaits, most urgent first: claimed ahead of all
    /// others.
    pub awaited: Vec<InvocationId>,
    /// Claim nothing but those.
    pub only_awaited: bool,
    /// How far ahead of the clock those may start. One that starts later takes the next turn of its fairness key,
    /// before everything else of that key.
    pub leads: Arc<Leads>,
    /// The tasks that the runner can run.
    pub tasks: Arc<TaskSet>,
    /// Claim nothing outside this tree.
    pub root: Option<InvocationId>,
}

/// The full ids of the tasks that a runner can run.
pub type TaskSet = HashSet<Arc<str>>;

/// Reports the events of one claimed invocation since its last report.
#[derive(Debug, Clone)]
pub struct Report {
    /// The invocation.
    pub id: InvocationId,
    /// The claim's runner.
    pub runner: RunnerId,
    /// The claim's attempt.
    pub attempt: u32,
    /// [`Event::Start`], [`Event::Await`] and [`Event::Resume`] in the order in
    /// which they happened. With any other event the report is stale.
    pub observed: Vec<(UnixMicros, Event)>,
    /// The lines that its guest wrote since the last report.
    pub logs: Vec<LogEntry>,
    /// How far its guest says it has come, if it said so since the last report.
    pub progress: Option<Progress>,
    /// The component that runs it, if that is not the one in the claim.
    pub component_digest: Option<ComponentDigest>,
    /// How the attempt ended, if it did.
    pub end: Option<AttemptEnd>,
}

impl Report {
    /// Reports the end of a claim that never had a guest.
    pub fn unstarted(claim: &Claim, end: AttemptEnd) -> Self {
        Self {
            id: claim.id,
            runner: claim.runner,
            attempt: claim.attempt,
            observed: Vec::new(),
            logs: Vec::new(),
            progress: None,
            component_digest: None,
            end: Some(end),
        }
    }

    /// Appends what a later report says of the same attempt.
    pub fn follow_with(&mut self, later: Self) {
        // Each field by its name: a new one must decide what becomes of it.
        let Self { id: _, runner: _, attempt: _, mut observed, mut logs, progress, component_digest, end } =
            later;
        self.observed.append(&mut observed);
        self.logs.append(&mut logs);
        self.progress = progress.or(self.progress.take());
        self.component_digest = component_digest.or(self.component_digest);
        self.end = end;
    }

    /// The moves that it reports, in order.
    pub fn moves(&self) -> impl Iterator<Item = (UnixMicros, Event)> {
        let end = self.end.iter().map(|end| (end.at, rules::end_event(&end.how)));
        self.observed.iter().copied().chain(end)
    }
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub struct AttemptEnd {
    /// When.
    pub at: UnixMicros,
    /// With what.
    pub how: EndKind,
    /// Whether the attempt submitted children. Attached children that are not
    /// final are cancelled when this one becomes final, whichever attempt
    /// submitted them; a store may use this to spare itself a look.
    pub has_children: bool,
    /// Its usage, which is added to that of the attempts before it.
    pub usage: Usage,
}

impl AttemptEnd {
    /// The end of an attempt whose guest never ran.
    pub fn unstarted(at: UnixMicros, how: EndKind) -> Self {
        Self { at, how, has_children: false, usage: Usage::default() }
    }
}

/// With what an attempt ended.
#[derive(Debug, Clone)]
pub enum EndKind {
    /// It is final, with this outcome: [`Event::Succeed`] for a value,
    /// [`Event::Fail`] for a failure.
    Final(Outcome),
    /// It failed and is queued again, claimable after the delay. The failure's
    /// message goes into the history.
    Retry(Outcome, Duration),
    /// It was given back unfinished: queued again at its old place, and the
    /// attempt is not counted.
    Release,
}

impl EndKind {
    /// About how many bytes of memory the outcome holds.
    pub fn outcome_bytes(&self) -> usize {
        match self {
            Self::Final(outcome) | Self::Retry(outcome, _) => outcome.approximate_bytes(),
            Self::Release => 0,
        }
    }
}

/// The usage of an attempt that did not end by itself: a cancel, a deadline or the end
/// of a parent has made its invocation final while it ran, and its guest was dropped
/// after that.
///
/// It is added once, and only for the attempt that was ended so: a bill that comes
/// again, or for any other attempt, is [`Applied::Stale`]. Nothing else of the
/// invocation changes.
#[derive(Debug, Clone)]
pub struct Bill {
    /// The invocation.
    pub id: InvocationId,
    /// The claim's runner.
    pub runner: RunnerId,
    /// The claim's attempt.
    pub attempt: u32,
    /// Its usage, which is added to that of the attempts before it.
    pub usage: Usage,
}

/// Whether a report or a bill changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is in the store.
    Done,
    /// The claim is no longer valid; nothing was changed. The guest must be
    /// killed, its outcome dropped.
    Stale,
}

/// Everything that a runner knows that it owns. Whatever else is claimed under its
/// name was handed out in a commit whose receipt never reached it: that is given
/// back as by [`EndKind::Release`]. Otherwise the runner's heartbeats would keep the
/// lease of what nobody runs.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// The runner.
    pub runner: RunnerId,
    /// The invocations that it owns, each with its attempt.
    pub owned: Vec<(InvocationId, u32)>,
}

/// A sign of life of a runner.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// The runner.
    pub runner: RunnerId,
    /// The lease is extended to this long from now; it is never shortened.
    pub lease: Duration,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// The runner holds everything that it had claimed. Also the answer to a
    /// runner's first heartbeat.
    Held,
    /// The lease had run out and claims were taken away: the runner must kill
    /// its guests and go on under a new id.
    Lost,
}
