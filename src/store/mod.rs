//! The durable home of invocations: one trait, batch-first, and its promises.
//!
//! A store is written to through [`Store::commit`] alone (but [`Store::shrink`] moves rows in their file): one [`Batch`], one transaction, one
//! [`Receipt`]. A runner gathers everything that happened since
//! its last commit into one batch, so the price of durability is paid once per
//! batch and not once per step. What a batch asks for is applied in the order of
//! its fields: adoptions, rules, pauses, pushes, removals, answers, submits, bills, reports, cancels, inventory,
//! heartbeat, recovery, claim, prunes. Before a recovery or a claim, whatever is past its
//! deadline is ended.
//!
//! Every implementation passes the same conformance suite
//! (`tests/it/store_contract`).

mod attempt;
mod batch;
mod brief;
mod changes;
mod columns;
mod decide;
mod ended;
mod error;
mod filter;
mod lead;
mod memory;
mod order;
mod postgres;
mod prune;
mod quota;
mod read;
mod round;
mod rules;
mod setting;
mod sqlite;
mod store_url;
mod submit;
mod usage;
mod value;

use std::sync::Arc;

pub use crate::model::Invocation;
use crate::model::{
    ComponentDigest, HolderKind, IdPart, InvocationId, LogEntry, RunnerId, Transition, UnixMicros,
};

pub use attempt::{
    Applied, AttemptEnd, Bill, ClaimRequest, EndKind, Heartbeat, Inventory, Lease, Report, TaskSet,
};
pub use batch::{Batch, Receipt, TakenOver};
pub use changes::Changes;
pub(crate) use decide::held_back;
pub use ended::{Cancel, Cancelled, Ended};
pub use error::StoreError;
pub use filter::Filter;
pub use lead::Leads;
pub use memory::MemoryStore;
pub use postgres::{PostgresStore, PostgresUrl};
pub use prune::{Keep, Prune, PrunePosition, Pruned, Shrunk};
pub use quota::{Holding, QuotaRule, QuotaSection, large_outcome};
pub use read::{CANDIDATES, Counts, LOOK, LOOK_UP_BYTES, Leases, LookUp, NextDue, QueuedCounts, Standing};
pub use setting::{
    Adoption, FAIRNESS_WEIGHTS, FairnessWeight, LeftPause, NewComponent, Pause, PauseTarget, PushedComponent,
    ReplacedRule, RuleMark, RuleOrigin, RunnerAnswer, TaskRule,
};
pub use sqlite::SqliteStore;
pub(crate) use sqlite::is_ignored;
pub use store_url::{KNOWN_STORE_URLS, StoreUrl};
pub use submit::{ChildOf, NewInvocation, SubmitError, Submitted};
pub use usage::{UsageBy, UsageQuery, UsageRow};

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

    /// Reads the status of each id, and the things that others' rights to it depend on, in the order of `ids`; `None`
    /// for unknown ids.
    fn standings(&self, ids: &[InvocationId]) -> Result<Vec<Option<Standing>>, StoreError>;

    /// When something happens by itself, as [`Receipt::next_due`] would answer to
    /// a claim of this runner. Cheap: a runner that has no room to claim asks
    /// whenever another process has committed.
    fn next_due(&self, runner: RunnerId) -> Result<NextDue, StoreError>;

    /// Reads which invocations were taken from a runner since its last heartbeat, because somebody
    /// made it final. Cheap when that's nothing: a runner asks whenever another
    /// process has committed.
    fn revoked(&self, runner: RunnerId) -> Result<Vec<InvocationId>, StoreError>;

    /// Reads the arguments of one invocation as JSON text.
    fn arguments(&self, id: InvocationId) -> Result<Option<Arc<str>>, StoreError>;

    /// Lists invocations, newest first, without values, and with the kind and the message of a large failure alone.
    fn list(&self, filter: &Filter) -> Result<Vec<Invocation>, StoreError>;

    /// The ids of those that [`list`](Self::list) lists, in the same order.
    fn ids(&self, filter: &Filter) -> Result<Vec<InvocationId>, StoreError>;

    /// Finds the ids that begin with this part, and those among the [`LOOK`] newest that end with it: the least
    /// [`CANDIDATES`] of them, in order.
    fn find(&self, part: &IdPart) -> Result<Vec<InvocationId>, StoreError>;

    /// Finds the invocation of each task that was submitted with this idempotency key, in the order of `keys`;
    /// `None` where none was.
    fn keyed(&self, keys: &[(Arc<str>, Arc<str>)]) -> Result<Vec<Option<InvocationId>>, StoreError>;

    /// Counts invocations by status, of one tree or of the whole store.
    fn counts(&self, root: Option<InvocationId>) -> Result<Counts, StoreError>;

    /// Counts invocations that are not final by task, for the operator who asks
    /// what is left.
    fn unfinished_by_task(&self) -> Result<Vec<(Arc<str>, u64)>, StoreError>;

    /// Counts the queued invocations by task, and those that can't start at the moment `now`. It looks at every
    /// delayed one: for the operator, not for runners.
    fn queued_by_task(&self, now: UnixMicros) -> Result<Vec<QueuedCounts>, StoreError>;

    /// Reads the leases of all runners that are known.
    fn leases(&self) -> Result<Leases, StoreError>;

    /// The rules that are in force, and the tasks that are known without any, by
    /// task.
    fn rules(&self) -> Result<Vec<TaskRule>, StoreError>;

    /// Says who has set the rules, as far as that is known, by task.
    fn rule_marks(&self) -> Result<Vec<RuleMark>, StoreError>;

    /// Lists the paused queues and tasks, queues first, each by name.
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
        Ok(decide::held_back(&paused, self.rules()?))
    }

    /// Lists the quotas that are in force, those of components first, each by its pattern.
    fn quotas(&self) -> Result<Vec<QuotaRule>, StoreError>;

    /// Counts what each component, or each fairness key, has of that which quotas bound, by name. What has nothing is left out.
    fn holdings(&self, holder: HolderKind) -> Result<Vec<Holding>, StoreError>;

    /// The components that were pushed, by name; of one name the newest first, and those that were removed last.
    fn components(&self) -> Result<Vec<PushedComponent>, StoreError>;

    /// A number that grows with each change of [`components`](Self::components). Cheap: a runner asks
    /// whenever another process has committed.
    fn components_version(&self) -> Result<i64, StoreError>;

    /// The bytes of a pushed component. Whoever uses them checks the digest.
    fn component(&self, digest: ComponentDigest) -> Result<Option<Vec<u8>>, StoreError>;

    /// All invocations with that root, parents before children, siblings in the
    /// order of their submit, as [`list`](Self::list) has them. Empty if it is not a root.
    fn tree(&self, root: InvocationId) -> Result<Vec<Invocation>, StoreError>;

    /// The transitions of one invocation, in the order in which they happened.
    /// Empty for an unknown id.
    fn history(&self, id: InvocationId) -> Result<Vec<Transition>, StoreError>;

    /// Reads the lines that the guests of one invocation wrote, in order.
    fn logs(&self, id: InvocationId) -> Result<Vec<LogEntry>, StoreError>;

    /// Sums up the usage of some hours. The groups are in the order of hour, component and fairness key. Usage is counted in
    /// the transaction that ends an attempt, or an invocation, or that adds a late bill, in the hour of that transaction by the store's
    /// clock.
    fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError>;

    /// Gives some of the space of removed rows back to the disk, in one transaction of bounded size. A store whose
    /// space somebody else looks after has nothing to do.
    fn shrink(&self) -> Result<Shrunk, StoreError> {
        Ok(Shrunk::default())
    }

    /// Writes the file of the store anew, without what is free in it, and so that [`shrink`](Self::shrink) can give space
    /// back from then on. Nobody else can write meanwhile. A store that is in no file has nothing to do.
    fn vacuum(&self) -> Result<Shrunk, StoreError> {
        Ok(Shrunk::default())
    }

    /// Calls `notify` soon (at most 50 ms) after another process has, or may
    /// have, committed. Several commits may be told as one; a call may be
    /// spurious. Commits of this process are not told, or only by accident, and
    /// neither are commits that did nothing but extend a lease or prune.
    ///
    /// `notify` runs on a thread of the store and must not call the store.
    /// Dropping the returned guard ends the calls and waits for one under way;
    /// `notify` itself is dropped before that only if there will be no more calls.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the operating system refuses to watch.
    fn watch(&self, notify: Arc<dyn Fn() + Send + Sync>) -> Result<Watch, StoreError>;

    /// Whether a commit is a matter of microseconds and never waits for a disk
    /// or a network: then a runner may commit on a slot thread.
    fn is_instant(&self) -> bool;

    /// Whether it is reached over a connection that can be lost: then an
    /// [`StoreError::Unavailable`] may pass by itself, and a batch whose answer was lost
    /// is worth repeating.
    fn is_remote(&self) -> bool;

    /// The URL under which it was opened, for messages.
    fn url(&self) -> &str;
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
