//! Questions to a store, and their answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{InvocationId, Outcome, Reason, RunnerId, Status, Transition, UnixMicros};

/// When something happens by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextDue {
    /// The present moment of the store's clock.
    pub now: UnixMicros,
    /// When; `None` if nothing does.
    pub at: Option<UnixMicros>,
}

/// The leases of runners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leases {
    /// The present moment of the store's clock.
    pub now: UnixMicros,
    /// Each runner, and the end of its lease as it is now, by the ids of the runners. A runner that owns something is
    /// among them.
    pub ends: Vec<(RunnerId, UnixMicros)>,
}

/// How many invocations of a task are queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedCounts {
    /// The task.
    pub task: Arc<str>,
    /// All of them.
    pub queued: u64,
    /// The number of them that may start only later.
    pub delayed: u64,
    /// The first moment at which one of those may start.
    pub next: Option<UnixMicros>,
    /// The number of them that are due, and that a concurrency or rate rule keeps from running.
    pub blocked: u64,
}

impl QueuedCounts {
    /// Puts counts together: of each task, by its name, the number of the queued, the delayed and the blocked, and the
    /// moment at which the first of the delayed may start.
    pub(super) fn gather(
        counts: impl IntoIterator<Item = (Arc<str>, [i64; 3], Option<UnixMicros>)>,
    ) -> Vec<Self> {
        let mut sums: BTreeMap<Arc<str>, ([i64; 3], Option<UnixMicros>)> = BTreeMap::new();
        for (task, count, next) in counts {
            let (sum, first) = sums.entry(task).or_default();
            sum.iter_mut().zip(count).for_each(|(sum, count)| *sum += count);
            *first = first.iter().copied().chain(next).min();
        }
        let there_are = sums.into_iter().filter(|(_, (sum, _))| sum[0] > 0);
        let counts = there_are.map(|(task, (sum, next))| {
            let [queued, delayed, blocked] = sum.map(|count| u64::try_from(count).unwrap_or(0));
            Self { task, queued, delayed, next, blocked }
        });
        counts.collect()
    }
}

/// The parts of an invocation on which the rights of guests to it depend, and its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The root of its tree: itself, if nothing submitted it.
    pub root: InvocationId,
    /// The task.
    pub task: Arc<str>,
    /// The status.
    pub status: Status,
}

/// With outcomes of so many bytes an answer of [`Store::look_up`](super::Store::look_up) ends.
pub const LOOK_UP_BYTES: usize = 16 << 20;

/// As many of the newest invocations are looked at where no index helps: about a third of a second.
pub const LOOK: u64 = 1_000_000;

/// The most ids that [`Store::find`](super::Store::find) answers with.
pub const CANDIDATES: usize = 11;

/// The state of an invocation, as a waiter needs it.
#[derive(Debug, Clone)]
pub enum LookUp {
    /// No invocation has that id.
    Unknown,
    /// It is not final.
    Unfinished(Status),
    /// It is final.
    Final(Outcome),
}

impl LookUp {
    /// About how many bytes of memory the outcome holds.
    pub fn outcome_bytes(&self) -> usize {
        match self {
            Self::Final(outcome) => outcome.approximate_bytes(),
            Self::Unknown | Self::Unfinished(_) => 0,
        }
    }
}

/// The first transition of an invocation: its submit.
pub(super) fn submitted(at: UnixMicros) -> Transition {
    Transition {
        at,
        from: None,
        to: Status::Queued,
        reason: Reason::Submitted,
        runner: None,
        attempt: 0,
        detail: None,
        unrecorded: 0,
    }
}

/// A history that is read from its rows.
pub(super) struct History {
    steps: Vec<Transition>,
    /// The number of the last of them among all moves.
    last: i64,
    /// How many moves there are.
    moves: i64,
}

impl History {
    /// Begins with the submit of an invocation that has moved so often since.
    pub(super) fn new(submitted_at: UnixMicros, moves: i64) -> Self {
        Self { steps: vec![submitted(submitted_at)], last: 0, moves }
    }

    /// The status before the next move.
    pub(super) fn status(&self) -> Option<Status> {
        self.steps.last().map(|last| last.to)
    }

    /// Adds the move with the number `n`.
    pub(super) fn push(&mut self, n: i64, step: Transition) {
        self.skip_to(n);
        self.steps.push(step);
    }

    /// Returns all of it.
    pub(super) fn end(mut self) -> Vec<Transition> {
        self.skip_to(self.moves + 1);
        self.steps
    }

    fn skip_to(&mut self, n: i64) {
        let unrecorded = u64::try_from(n - self.last - 1).unwrap_or(0);
        if let Some(last) = self.steps.last_mut() {
            last.unrecorded = unrecorded;
        }
        self.last = n;
    }
}

/// How many invocations there are of each status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u64; Status::ALL.len()]);

impl Counts {
    /// How many have `status`.
    pub fn get(&self, status: Status) -> u64 {
        self.0[status as usize]
    }

    /// Adds `count` to `status`.
    pub fn add(&mut self, status: Status, count: u64) {
        self.0[status as usize] += count;
    }

    /// Takes `count` away from `status`.
    pub(crate) fn subtract(&mut self, status: Status, count: u64) {
        self.0[status as usize] -= count;
    }

    /// How many are not final.
    pub fn unfinished(&self) -> u64 {
        Status::unfinished().map(|status| self.get(status)).sum()
    }
}

/// Makes the methods of [`Store`](super::Store) that each database answers by the function of
/// the same name in its module `read`. `$method` is a macro that makes one.
macro_rules! reading_methods {
    ($method:ident) => {
        $method!(get(ids: &[InvocationId]) -> Vec<Option<Invocation>>);
        $method!(look_up(ids: &[InvocationId]) -> Vec<LookUp>);
        $method!(standings(ids: &[InvocationId]) -> Vec<Option<Standing>>);
        $method!(revoked(runner: RunnerId) -> Vec<InvocationId>);
        $method!(arguments(id: InvocationId) -> Option<Arc<str>>);
        $method!(list(filter: &Filter) -> Vec<Invocation>);
        $method!(ids(filter: &Filter) -> Vec<InvocationId>);
        $method!(find(part: &IdPart) -> Vec<InvocationId>);
        $method!(keyed(keys: &[(Arc<str>, Arc<str>)]) -> Vec<Option<InvocationId>>);
        $method!(counts(root: Option<InvocationId>) -> Counts);
        $method!(unfinished_by_task() -> Vec<(Arc<str>, u64)>);
        $method!(queued_by_task(now: UnixMicros) -> Vec<QueuedCounts>);
        $method!(rules() -> Vec<TaskRule>);
        $method!(rule_marks() -> Vec<RuleMark>);
        $method!(paused() -> Vec<PauseTarget>);
        $method!(quotas() -> Vec<QuotaRule>);
        $method!(holdings(holder: HolderKind) -> Vec<Holding>);
        $method!(components() -> Vec<PushedComponent>);
        $method!(components_version() -> i64);
        $method!(component(digest: ComponentDigest) -> Option<Vec<u8>>);
        $method!(tree(root: InvocationId) -> Vec<Invocation>);
        $method!(history(id: InvocationId) -> Vec<Transition>);
        $method!(logs(id: InvocationId) -> Vec<LogEntry>);
        $method!(usage(query: &UsageQuery) -> Vec<UsageRow>);
    };
}
pub(super) use reading_methods;
