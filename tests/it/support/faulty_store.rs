//! A store that fails at one call, counted from 1.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use run_wasm_runner::model::{
    Clock, ComponentDigest, HolderKind, IdPart, Invocation, InvocationId, LogEntry, RunnerId, SystemClock,
    Transition, UnixMicros,
};
use run_wasm_runner::store::{
    Batch, Counts, Filter, Holding, Leases, LookUp, NextDue, PauseTarget, PushedComponent, QueuedCounts,
    QuotaRule, Receipt, RuleMark, Shrunk, Standing, Store, StoreError, TaskRule, UsageQuery, UsageRow, Watch,
};

/// The way in which it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// That call is refused, and did nothing.
    Refused,
    /// That call and the next few are refused, and did nothing.
    Outage,
    /// That call did what it was to do, and answers with an error: a connection
    /// that broke while the answer was on its way.
    Ambiguous,
    /// That call did what it was to do, its answer is lost, and the next few calls are refused.
    AmbiguousOutage,
    /// The process crashes before that call: it and all after it fail.
    DiesBefore,
    /// The process crashes after that call: it is done, and nobody learns of it.
    DiesAfter,
}

impl Fault {
    fn is_crash(self) -> bool {
        matches!(self, Self::DiesBefore | Self::DiesAfter)
    }
}

/// The number of calls that an outage lasts.
const OUTAGE: usize = 4;

/// The call that failed.
#[derive(Debug, Clone)]
pub struct Fired {
    /// Of the trait.
    pub method: &'static str,
    /// Whether the call was a commit that handed out claims which the caller
    /// never saw.
    #[allow(dead_code, reason = "shown in messages")]
    pub lost_claims: bool,
}

/// A store of which one call fails.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    is_instant: bool,
    is_remote: bool,
    at: usize,
    fault: Fault,
    calls: AtomicUsize,
    is_dead: AtomicBool,
    fired: Mutex<Option<Fired>>,
    /// Told when the store dies.
    died: Box<dyn Fn() + Send + Sync>,
}

impl FaultyStore {
    /// Fails at call number `at`; never if that is `usize::MAX`.
    pub fn new(
        inner: Arc<dyn Store>,
        is_instant: bool,
        (fault, at): (Fault, usize),
        died: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self::build(inner, is_instant, false, (fault, at), Box::new(died)))
    }

    /// Fails likewise, as a store that is reached over a network.
    pub fn remote(inner: Arc<dyn Store>, fault: (Fault, usize)) -> Arc<Self> {
        Arc::new(Self::build(inner, false, true, fault, Box::new(|| {})))
    }

    fn build(
        inner: Arc<dyn Store>,
        is_instant: bool,
        is_remote: bool,
        (fault, at): (Fault, usize),
        died: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            inner,
            is_instant,
            is_remote,
            at,
            fault,
            calls: AtomicUsize::new(0),
            is_dead: AtomicBool::new(false),
            fired: Mutex::new(None),
            died,
        }
    }

    /// Counts the calls.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Returns the call that failed, if one did.
    pub fn fired(&self) -> Option<Fired> {
        self.fired.lock().clone()
    }

    /// True if it fails for ever.
    pub fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    fn error(&self) -> StoreError {
        StoreError::Unavailable { url: self.url().to_owned(), message: "a fault, as asked".to_owned() }
    }

    fn call<T>(
        &self,
        method: &'static str,
        call: impl FnOnce() -> Result<T, StoreError>,
        has_claims: impl FnOnce(&T) -> bool,
    ) -> Result<T, StoreError> {
        if self.is_dead() {
            return Err(self.error());
        }
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let is_outage = matches!(self.fault, Fault::Outage | Fault::AmbiguousOutage)
            && (1..OUTAGE).contains(&number.wrapping_sub(self.at));
        if is_outage {
            return Err(self.error());
        }
        if number != self.at {
            return call();
        }
        if self.fault.is_crash() {
            // What others call meanwhile came too late.
            self.is_dead.store(true, Ordering::SeqCst);
        }
        let lost_claims = match self.fault {
            Fault::Refused | Fault::Outage | Fault::DiesBefore => false,
            Fault::Ambiguous | Fault::AmbiguousOutage | Fault::DiesAfter => has_claims(&call()?),
        };
        *self.fired.lock() = Some(Fired { method, lost_claims });
        if self.fault.is_crash() {
            (self.died)();
        }
        Err(self.error())
    }

    fn read<T>(
        &self,
        method: &'static str,
        read: impl FnOnce(&dyn Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.call(method, || read(&*self.inner), |_| false)
    }
}

impl Store for FaultyStore {
    fn commit(&self, batch: &Batch) -> Result<Receipt, StoreError> {
        self.call("commit", || self.inner.commit(batch), |receipt| !receipt.claimed.is_empty())
    }
    fn get(&self, ids: &[InvocationId]) -> Result<Vec<Option<Invocation>>, StoreError> {
        self.read("get", |store| store.get(ids))
    }
    fn look_up(&self, ids: &[InvocationId]) -> Result<Vec<LookUp>, StoreError> {
        self.read("look_up", |store| store.look_up(ids))
    }
    fn standings(&self, ids: &[InvocationId]) -> Result<Vec<Option<Standing>>, StoreError> {
        self.read("standings", |store| store.standings(ids))
    }
    fn revoked(&self, runner: RunnerId) -> Result<Vec<InvocationId>, StoreError> {
        self.read("revoked", |store| store.revoked(runner))
    }
    fn next_due(&self, runner: RunnerId) -> Result<NextDue, StoreError> {
        self.read("next_due", |store| store.next_due(runner))
    }
    fn ids(&self, filter: &Filter) -> Result<Vec<InvocationId>, StoreError> {
        self.read("ids", |store| store.ids(filter))
    }
    fn arguments(&self, id: InvocationId) -> Result<Option<Arc<str>>, StoreError> {
        self.read("arguments", |store| store.arguments(id))
    }
    fn list(&self, filter: &Filter) -> Result<Vec<Invocation>, StoreError> {
        self.read("list", |store| store.list(filter))
    }
    fn find(&self, part: &IdPart) -> Result<Vec<InvocationId>, StoreError> {
        self.read("find", |store| store.find(part))
    }
    fn keyed(&self, keys: &[(Arc<str>, Arc<str>)]) -> Result<Vec<Option<InvocationId>>, StoreError> {
        self.read("keyed", |store| store.keyed(keys))
    }
    fn counts(&self, root: Option<InvocationId>) -> Result<Counts, StoreError> {
        self.read("counts", |store| store.counts(root))
    }
    fn unfinished_by_task(&self) -> Result<Vec<(Arc<str>, u64)>, StoreError> {
        self.read("unfinished_by_task", |store| store.unfinished_by_task())
    }
    fn queued_by_task(&self, now: UnixMicros) -> Result<Vec<QueuedCounts>, StoreError> {
        self.read("queued_by_task", |store| store.queued_by_task(now))
    }
    fn leases(&self) -> Result<Leases, StoreError> {
        self.read("leases", |store| store.leases())
    }
    fn rules(&self) -> Result<Vec<TaskRule>, StoreError> {
        self.read("rules", |store| store.rules())
    }
    fn rule_marks(&self) -> Result<Vec<RuleMark>, StoreError> {
        self.read("rule_marks", |store| store.rule_marks())
    }
    fn paused(&self) -> Result<Vec<PauseTarget>, StoreError> {
        self.read("paused", |store| store.paused())
    }
    fn quotas(&self) -> Result<Vec<QuotaRule>, StoreError> {
        self.read("quotas", |store| store.quotas())
    }
    fn holdings(&self, holder: HolderKind) -> Result<Vec<Holding>, StoreError> {
        self.read("holdings", |store| store.holdings(holder))
    }
    fn components(&self) -> Result<Vec<PushedComponent>, StoreError> {
        self.read("components", |store| store.components())
    }
    fn components_version(&self) -> Result<i64, StoreError> {
        self.read("components_version", |store| store.components_version())
    }
    fn component(&self, digest: ComponentDigest) -> Result<Option<Vec<u8>>, StoreError> {
        self.read("component", |store| store.component(digest))
    }
    fn tree(&self, root: InvocationId) -> Result<Vec<Invocation>, StoreError> {
        self.read("tree", |store| store.tree(root))
    }
    fn history(&self, id: InvocationId) -> Result<Vec<Transition>, StoreError> {
        self.read("history", |store| store.history(id))
    }
    fn logs(&self, id: InvocationId) -> Result<Vec<LogEntry>, StoreError> {
        self.read("logs", |store| store.logs(id))
    }
    fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        self.read("usage", |store| store.usage(query))
    }
    fn shrink(&self) -> Result<Shrunk, StoreError> {
        self.read("shrink", |store| store.shrink())
    }
    fn watch(&self, notify: Arc<dyn Fn() + Send + Sync>) -> Result<Watch, StoreError> {
        self.read("watch", |store| store.watch(notify))
    }
    fn is_instant(&self) -> bool {
        self.is_instant
    }
    fn is_remote(&self) -> bool {
        self.is_remote
    }
    fn url(&self) -> &str {
        self.inner.url()
    }
}

/// The machine's clock, which a test can put forward.
#[derive(Debug, Default)]
pub struct ShiftedClock {
    clock: SystemClock,
    by: Mutex<Duration>,
}

impl ShiftedClock {
    pub fn advance(&self, by: Duration) {
        *self.by.lock() += by;
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> UnixMicros {
        self.clock.now().plus(*self.by.lock())
    }
}
