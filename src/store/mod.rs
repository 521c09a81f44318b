//! The durable home of invocations: one trait, batch-first, and its promises.
//!
//! A store is written to through [`Store::commit`] alone: one [`Batch`], one
//! transaction, one [`Receipt`]. A runner gathers everything that happened since
//! its last commit into one batch, so the price of durability is paid once per
//! batch and not once per step. What a batch asks for is applied in the order of
//! its fields: rules, pauses, pushes, submits, reports, cancels, inventory, heartbeat,
//! recovery, claim, prune. Before a recovery or a claim, whatever is past its
//! deadline is ended.
//!
//! Every implementation passes the same conformance suite
//! (`tests/it/store_contract`).

mod memory;
mod postgres;
mod rules;
mod sqlite;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

pub use crate::model::Invocation;
use crate::model::{
    Claim, ComponentDigest, Concurrency, Differing, Event, InvocationId, LogEntry, Outcome, Progress, Rate,
    RuleKey, RunnerId, Status, TaskRules, Transition, UnixMicros, Usage,
};

pub use memory::MemoryStore;
pub use postgres::{PostgresStore, PostgresUrl};
pub use sqlite::SqliteStore;

/// One minute of waiting weighs as much as one step of priority: the ageing that
/// keeps low priorities from starving. Claims are ordered by
/// `available_at - priority * AGEING_STEP`, which never changes while an
/// invocation waits, so the order is an index and not a computation.
pub const AGEING_STEP: Duration = Duration::from_secs(60);

/// A durable home of invocations.
///
/// # Concurrency
///
/// Every method may be called from any thread at any time, and any number of
/// processes may share one durable store. Calls block the calling thread; none
/// waits for work to appear.
pub trait Store: Send + Sync + 'static {
    /// Applies a batch in one transaction.
    ///
    /// When this returns `Ok`, everything in the receipt is durable: it survives
    /// a killed process and a loss of power (the memory store: neither).
    /// Nothing in it is visible to another reader before that.
    ///
    /// Each report is conditional on its claim: if the invocation is no longer
    /// owned by that runner and attempt, or the event cannot happen in its
    /// status, the report changes nothing and is answered
    /// [`Applied::Stale`]. That is not an error of the batch.
    ///
    /// # Errors
    ///
    /// On any error the whole batch has changed nothing and may be tried again
    /// as it is, except after [`StoreError::Unavailable`] with a lost
    /// connection or a failed disk, where it may have been applied as a whole.
    /// Trying again is safe: submits carry their ids, and reports their tokens. What
    /// a claim may have handed out nobody knows of: so the runner's next batch says
    /// what it does know of ([`Batch::inventory`]).
    fn commit(&self, batch: &Batch) -> Result<Receipt, StoreError>;

    /// Reads whole invocations, in the order of `ids`; `None` for unknown ids.
    fn get(&self, ids: &[InvocationId]) -> Result<Vec<Option<Invocation>>, StoreError>;

    /// Reads what a waiter needs to know of each id, in the order of `ids`. Any
    /// number of ids may be asked for at once. Answers for as many, from the first on, as
    /// have outcomes of together about [`LOOK_UP_BYTES`], one at least: values may be large,
    /// and many.
    fn look_up(&self, ids: &[InvocationId]) -> Result<Vec<LookUp>, StoreError>;

    /// Reads the status of each id, in the order of `ids`; `None` for unknown ids.
    fn statuses(&self, ids: &[InvocationId]) -> Result<Vec<Option<Status>>, StoreError>;

    /// When something happens by itself, as [`Receipt::next_due`] would answer to
    /// a claim of this runner. Cheap: a runner that has no room to claim asks
    /// whenever another process has committed.
    fn next_due(&self, runner: RunnerId) -> Result<NextDue, StoreError>;

    /// What was taken from a runner since its last heartbeat, because somebody
    /// made it final. Cheap when that's nothing: a runner asks whenever another
    /// process has committed.
    fn revoked(&self, runner: RunnerId) -> Result<Vec<InvocationId>, StoreError>;

    /// Reads the arguments of one invocation as JSON text.
    fn arguments(&self, id: InvocationId) -> Result<Option<Arc<str>>, StoreError>;

    /// Lists invocations, newest first, without values.
    fn list(&self, filter: &Filter) -> Result<Vec<Invocation>, StoreError>;

    /// The ids of those that [`list`](Self::list) lists, in the same order.
    fn ids(&self, filter: &Filter) -> Result<Vec<InvocationId>, StoreError>;

    /// Counts invocations by status, of one tree or of the whole store.
    fn counts(&self, root: Option<InvocationId>) -> Result<Counts, StoreError>;

    /// Counts invocations that are not final by task, for the operator who asks
    /// what is left.
    fn unfinished_by_task(&self) -> Result<Vec<(Arc<str>, u64)>, StoreError>;

    /// The rules that are in force, and the tasks that are known without any, by
    /// task.
    fn rules(&self) -> Result<Vec<TaskRule>, StoreError>;

    /// What is paused now, queues first, each by name.
    fn paused(&self) -> Result<Vec<PauseTarget>, StoreError>;

    /// The tasks that are paused, themselves or with their queue.
    ///
    /// # Errors
    ///
    /// As [`rules`](Self::rules).
    fn paused_tasks(&self) -> Result<TaskSet, StoreError> {
        let paused = self.paused()?;
        if paused.is_empty() {
            return Ok(TaskSet::new());
        }
        let is_paused = |rule: &TaskRule| {
            paused.contains(&PauseTarget::Task(Arc::clone(&rule.task)))
                || paused.contains(&PauseTarget::Queue(Arc::clone(&rule.queue)))
        };
        Ok(self.rules()?.into_iter().filter(is_paused).map(|rule| rule.task).collect())
    }

    /// The components that were pushed, by name; of one name the newest first.
    fn components(&self) -> Result<Vec<PushedComponent>, StoreError>;

    /// The bytes of a pushed component. Whoever uses them checks the digest.
    fn component(&self, digest: ComponentDigest) -> Result<Option<Vec<u8>>, StoreError>;

    /// All invocations with that root, parents before children, siblings in the
    /// order of their submit, without values. Empty if it is not a root.
    fn tree(&self, root: InvocationId) -> Result<Vec<Invocation>, StoreError>;

    /// The transitions of one invocation, in the order in which they happened.
    /// Empty for an unknown id.
    fn history(&self, id: InvocationId) -> Result<Vec<Transition>, StoreError>;

    /// What the guests of one invocation wrote, in order.
    fn logs(&self, id: InvocationId) -> Result<Vec<LogEntry>, StoreError>;

    /// Calls `notify` soon (at most 50 ms) after another process has, or may
    /// have, committed. Several commits may be told as one; a call may be
    /// spurious. Commits of this process are not told, or only by accident, and
    /// neither are commits that did nothing but extend a lease or prune.
    ///
    /// `notify` runs on a thread of the store and must not call the store.
    /// Dropping the returned guard ends the calls and waits for one under way.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the operating system refuses to watch.
    fn watch(&self, notify: Arc<dyn Fn() + Send + Sync>) -> Result<Watch, StoreError>;

    /// Whether a commit is a matter of microseconds and never waits for a disk
    /// or a network: then a runner may commit on a slot thread.
    fn is_instant(&self) -> bool {
        false
    }

    /// Whether it is reached over a connection that can be lost: then an
    /// [`StoreError::Unavailable`] may pass by itself, and a batch whose answer was lost
    /// is worth repeating.
    fn is_remote(&self) -> bool {
        false
    }

    /// The URL under which it was opened, for messages.
    fn url(&self) -> &str;
}

/// When something happens by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextDue {
    /// The present moment of the store's clock.
    pub now: UnixMicros,
    /// When; `None` if nothing does.
    pub at: Option<UnixMicros>,
}

/// Ends the notifications of [`Store::watch`] when dropped.
#[must_use = "dropping it ends the notifications"]
pub struct Watch(#[expect(dead_code, reason = "held for its drop")] Box<dyn std::any::Any + Send>);

impl Watch {
    /// Wraps whatever ends the notifications when it is dropped.
    pub fn new(guard: impl std::any::Any + Send) -> Self {
        Self(Box::new(guard))
    }
}

/// Everything that one transaction is to do.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// What a runner's configuration says about its tasks: from now on, that is
    /// what holds.
    pub rules: Vec<TaskRule>,
    /// The same from somebody who only submits: it holds for tasks that no rules
    /// were ever written for.
    pub default_rules: Vec<TaskRule>,
    /// Queues and tasks to hold back or to let go on.
    pub pauses: Vec<Pause>,
    /// Components for runners that do not have them. What is there already is not
    /// written again, but becomes the newest of its name.
    pub pushes: Vec<NewComponent>,
    /// New invocations.
    pub submits: Vec<NewInvocation>,
    /// What happened to claimed ones.
    pub reports: Vec<Report>,
    /// Invocations that somebody no longer wants.
    pub cancels: Vec<Cancel>,
    /// After a claim whose receipt was lost: what its runner knows that it owns.
    pub inventory: Option<Inventory>,
    /// Extends the lease of a runner, and so of everything that it has claimed.
    pub heartbeat: Option<Heartbeat>,
    /// Take claims away from runners whose lease has run out: each such
    /// invocation is queued again, or failed as lost if its attempts are used
    /// up.
    pub recover: bool,
    /// Asks for work.
    pub claim: Option<ClaimRequest>,
    /// Forgets what is final and old.
    pub prune: Option<Prune>,
}

impl Batch {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
            && self.default_rules.is_empty()
            && self.pauses.is_empty()
            && self.pushes.is_empty()
            && self.submits.is_empty()
            && self.reports.is_empty()
            && self.cancels.is_empty()
            && self.inventory.is_none()
            && self.heartbeat.is_none()
            && !self.recover
            && self.claim.is_none()
            && self.prune.is_none()
    }
}

/// What one transaction did; lists are in the order of the batch's.
#[derive(Debug, Clone, Default)]
pub struct Receipt {
    /// The present moment of the store's clock, by which its other times are to be
    /// understood: another machine's may differ.
    pub now: UnixMicros,
    /// One per submit.
    pub submits: Vec<Submitted>,
    /// One per report.
    pub reports: Vec<Applied>,
    /// One per cancel.
    pub cancels: Vec<Cancelled>,
    /// Everything that became final in this transaction other than by a report:
    /// cancelled invocations and their attached descendants, orphans of final
    /// parents, the expired, the lost. With the runner that owned it, which must kill its
    /// guest. In the order in which they ended; descendants follow the one that
    /// took them along, in the order of their submits.
    pub ended: Vec<Ended>,
    /// How many claims the inventory did not have: they were given back.
    pub given_back: usize,
    /// Invocations that were taken from the heartbeat's runner since its last
    /// one, because somebody made them final: it must kill their guests. Each is
    /// told once here; see [`Store::revoked`] for the same in between.
    pub revoked: Vec<InvocationId>,
    /// Invocations that were blocked by a rule before this transaction, and can be
    /// claimed now or were claimed in it. By id.
    pub unblocked: Vec<InvocationId>,
    /// Whether the runner of the heartbeat, or of the claim, still has its lease;
    /// `None` if the batch has neither.
    pub lease: Option<Lease>,
    /// How many claims were taken away from dead runners.
    pub recovered: usize,
    /// What was claimed: first the awaited that were asked for, in that order;
    /// then by priority and age.
    pub claimed: Vec<Claim>,
    /// Those of [`ClaimRequest::awaited`] that could not be claimed now because
    /// they are delayed, blocked by a rule, paused, owned by a runner, final, not
    /// of the request's tasks or tree, or unknown. Those behind the last that was claimed are not looked
    /// at: they are neither claimed nor here, and `more` is set.
    pub unclaimable: Vec<InvocationId>,
    /// Whether there was, or may have been, more to claim than was asked for; also
    /// if more were past their deadline than one transaction ends: then nothing
    /// was claimed.
    pub more: bool,
    /// When something happens by itself: the earliest `available_at` of a
    /// delayed invocation that is not due yet, the earliest moment at which a rate
    /// lets a blocked one start, the earliest end of another runner's lease that
    /// still owns something, or the earliest deadline. Only answered to a claim;
    /// see [`Store::next_due`] for the same without one.
    pub next_due: Option<UnixMicros>,
    /// What the prune did, if the batch has one.
    pub pruned: Option<Pruned>,
}

/// An invocation to be created. Its arguments were checked already.
#[derive(Debug, Clone)]
pub struct NewInvocation {
    /// Its id, drawn by whoever submits, so that a repeated commit can't create
    /// it twice: an id that exists already is answered with
    /// [`Submitted::Existing`] and changes nothing.
    pub id: InvocationId,
    /// The full id of its task.
    pub task: Arc<str>,
    /// The component that it is submitted for.
    pub component_digest: ComponentDigest,
    /// The arguments: a JSON array, by position.
    pub arguments: Arc<str>,
    /// At least 1.
    pub max_attempts: u32,
    /// From -1000 to 1000.
    pub priority: i32,
    /// How long after now it becomes claimable.
    pub delay: Duration,
    /// How long after now it ends as failed, unless it is final before. An
    /// attached child never gets a later deadline than its parent has.
    pub deadline: Option<Duration>,
    /// Idempotency key: unique among the invocations of one task.
    pub key: Option<Arc<str>>,
    /// What the task's concurrency and rate rules count it with; `None` if it has
    /// none.
    pub lane: Option<RuleKey>,
    /// What the task's uniqueness rule knows it by.
    pub unique: Option<(RuleKey, Differing)>,
    /// Free text.
    pub labels: Vec<(String, String)>,
    /// Where it hangs in its tree; `None` for a root.
    pub child_of: Option<ChildOf>,
}

impl NewInvocation {
    /// A root that can be claimed at once, once, and that no rule knows of.
    pub fn new(task: impl Into<Arc<str>>, digest: ComponentDigest, arguments: impl Into<Arc<str>>) -> Self {
        Self {
            id: InvocationId::generate(),
            task: task.into(),
            component_digest: digest,
            arguments: arguments.into(),
            max_attempts: 1,
            priority: 0,
            delay: Duration::ZERO,
            deadline: None,
            key: None,
            lane: None,
            unique: None,
            labels: Vec::new(),
            child_of: None,
        }
    }
}

/// A child's place.
#[derive(Debug, Clone)]
pub struct ChildOf {
    /// The invocation whose guest submits it.
    pub parent: InvocationId,
    /// The parent's root.
    pub root: InvocationId,
    /// The parent's depth plus 1.
    pub depth: u32,
    /// The how-manieth child of the parent's attempt it is, from 0. A repeated
    /// attempt of the parent that submits the same task and arguments at the
    /// same place is answered with the child that exists.
    pub index: u32,
    /// Whether it outlives its parent.
    pub detached: bool,
    /// The parent's attempt that submits it. If that attempt no longer owns the
    /// parent, the child is not created: see [`Submitted::Orphan`].
    pub parent_runner: RunnerId,
    /// See `parent_runner`.
    pub parent_attempt: u32,
}

/// What became of a submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// It was created.
    Created(InvocationId),
    /// One exists already with the same id, the same key, or the same place
    /// under its parent and the same task and arguments: its id.
    Existing(InvocationId),
    /// The same key is taken by an invocation of the same task with other
    /// arguments: its id. Nothing was created.
    KeyConflict(InvocationId),
    /// The parent is final, or its attempt is no longer owned by the runner that
    /// submits: nothing was created, and the parent's guest must be killed.
    Orphan,
    /// By the task's uniqueness rule it is the same as this unfinished invocation,
    /// which has other arguments, and the rule refuses that. Nothing was created.
    UniqueConflict(InvocationId),
    /// An attached child in a lane that its own ancestors fill, this one the
    /// nearest: it could not start before they end, and they would wait for it.
    /// Nothing was created.
    BehindAncestor(InvocationId),
}

/// The rules of a task, as far as they concern stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRule {
    /// The full id of the task.
    pub task: Arc<str>,
    /// Its queue.
    pub queue: Arc<str>,
    /// How many invocations of a lane may be owned at once.
    pub concurrency: Option<Concurrency>,
    /// How many invocations of a lane may be claimed within a time.
    pub rate: Option<Rate>,
}

impl TaskRule {
    /// What a store must know of a task's rules.
    pub fn new(task: &Arc<str>, rules: &TaskRules) -> Self {
        Self {
            task: Arc::clone(task),
            queue: Arc::clone(&rules.queue),
            concurrency: rules.concurrency,
            rate: rules.rate,
        }
    }
}

/// Asks to hold something back, or to let it go on.
#[derive(Debug, Clone)]
pub struct Pause {
    /// What.
    pub target: PauseTarget,
    /// `false` to let it go on.
    pub paused: bool,
}

/// What can be paused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PauseTarget {
    /// Every task of a queue.
    Queue(Arc<str>),
    /// One task, by its full id.
    Task(Arc<str>),
}

/// What happened to one claimed invocation since its last report.
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
    /// What its guest wrote since the last report.
    pub logs: Vec<LogEntry>,
    /// How far its guest says it has come, if it said so since the last report.
    pub progress: Option<Progress>,
    /// The component that runs it, if that is not the one in the claim.
    pub component_digest: Option<ComponentDigest>,
    /// How the attempt ended, if it did.
    pub end: Option<AttemptEnd>,
}

impl Report {
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
    /// What it used, which comes on top of what the attempts before it did.
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

/// A component that is to travel with the store.
#[derive(Debug, Clone)]
pub struct NewComponent {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The digest of its bytes, which must be theirs.
    pub digest: ComponentDigest,
    /// The component in binary form.
    pub bytes: Arc<[u8]>,
}

/// A component that travels with the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedComponent {
    /// Its name.
    pub name: Arc<str>,
    /// The digest of its bytes.
    pub digest: ComponentDigest,
    /// How many bytes it has.
    pub size: u64,
    /// When it was pushed under this name, last.
    pub pushed_at: UnixMicros,
}

/// Asks to cancel an invocation and its attached descendants.
#[derive(Debug, Clone)]
pub struct Cancel {
    /// The invocation.
    pub id: InvocationId,
    /// For people: why.
    pub message: String,
}

/// Everything that a runner knows that it owns. Whatever else is claimed under its
/// name was handed out in a commit whose receipt never reached it: that is given
/// back as by [`EndKind::Release`]. Otherwise the runner's heartbeats would keep the
/// lease of what nobody runs.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// The runner.
    pub runner: RunnerId,
    /// What it owns, with the attempt.
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

/// What became of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// The runner holds everything that it had claimed. Also the answer to a
    /// runner's first heartbeat.
    Held,
    /// The lease had run out and claims were taken away: the runner must kill
    /// its guests and go on under a new id.
    Lost,
}

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
    /// Invocations that somebody awaits, most urgent first: claimed ahead of all
    /// others.
    pub awaited: Vec<InvocationId>,
    /// Claim nothing but those.
    pub only_awaited: bool,
    /// The tasks that the runner can run.
    pub tasks: Arc<TaskSet>,
    /// Claim nothing outside this tree.
    pub root: Option<InvocationId>,
}

/// The full ids of the tasks that a runner can run.
pub type TaskSet = HashSet<Arc<str>>;

/// Whether a report changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is in the store.
    Done,
    /// The claim is no longer valid; nothing was changed. The guest must be
    /// killed, its outcome dropped.
    Stale,
}

/// What became of a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It is cancelled now.
    Done,
    /// It was final before, with this status.
    AlreadyFinal(Status),
    /// No invocation has that id.
    Unknown,
}

/// An invocation that became final without a report.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The invocation.
    pub id: InvocationId,
    /// The runner that owned it until then.
    pub runner: Option<RunnerId>,
    /// What it left behind.
    pub outcome: Outcome,
}

/// With outcomes of so many bytes an answer of [`Store::look_up`] ends.
pub const LOOK_UP_BYTES: usize = 16 << 20;

/// What a waiter needs to know of an invocation.
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

/// Asks to remove final invocations, with everything that hangs on them, oldest
/// first by the time of their end.
///
/// One stays, however old, as long as an ancestor is not final, because an
/// attempt of that ancestor may be repeated and look for what it had submitted;
/// and as long as it has a child that is not final.
#[derive(Debug, Clone)]
pub struct Prune {
    /// What to keep, status by status. Those that are not here keep everything.
    pub keep: Vec<Keep>,
    /// Look at no more than this many.
    pub max: usize,
    /// Where to go on: what an earlier prune with the same `keep` answered.
    pub after: Option<PrunePosition>,
}

/// How much to keep of one final status. What breaks either bound goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The status; nothing happens if it is not a final one.
    pub status: Status,
    /// Those that became final within this time.
    pub age: Option<Duration>,
    /// At most this many, the latest to become final.
    pub count: Option<u64>,
}

/// How far a sweep has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrunePosition {
    /// The index of the [`Keep`] that it is at.
    pub(crate) keep: usize,
    /// The end of the last one that was looked at, and its number in the store.
    pub(crate) last: Option<(UnixMicros, i64)>,
    /// How many of that status were passed by because they must stay.
    pub(crate) passed: u64,
}

/// What a prune did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// How many invocations were removed.
    pub removed: usize,
    /// Where to go on, if there may be more.
    pub next: Option<PrunePosition>,
}

/// Which invocations to list.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Only those with one of these statuses; empty means all.
    pub statuses: Vec<Status>,
    /// Only those of this task (full id).
    pub task: Option<Arc<str>>,
    /// At most this many.
    pub limit: usize,
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
        Status::ALL.into_iter().filter(|status| !status.is_final()).map(|status| self.get(status)).sum()
    }
}

/// A fault of the store: what the caller can do about it decides the variant.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store can't be reached or can't write now (no such directory, no
    /// permission, disk full, locked for too long): try again later.
    #[error("the store `{url}` can't be used now: {message}")]
    Unavailable {
        /// The store.
        url: String,
        /// What the system said.
        message: String,
    },
    /// The store holds something that this version must not touch (not ours, a
    /// newer schema, damaged): a person must look. Nothing was changed.
    #[error("the store `{url}` can't be opened: {message}")]
    Unusable {
        /// The store.
        url: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// A newer version of the program has changed the schema under this one,
    /// which must stop: what it would write might be wrong. Nothing was changed.
    #[error(
        "a newer run-wasm-runner has upgraded the store `{url}` (schema version {found}, this one knows \
         up to {known}): stop this one and go on with the newer"
    )]
    Upgraded {
        /// The store.
        url: String,
        /// The version of the schema now.
        found: i32,
        /// The newest version that this program knows.
        known: i32,
    },
    /// The URL is not one of a store.
    #[error("unknown store `{url}`: {message}")]
    BadUrl {
        /// The URL.
        url: String,
        /// The known forms.
        message: String,
    },
}
