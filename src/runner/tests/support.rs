//! Guests that are closures, and a store that can be held up.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::*;
use crate::model::{
    Caller, ChildRequest, Claim, ComponentDigest, Failure, FailureKind, Guest, HolderKind, IdPart, Interrupt,
    Invocation, LogEntry, NoGuest, Outcome, PreparedCall, Refusal, RunnerSettings, SlotControl,
    SubmitOptions, SystemClock, TaskClient, Transition, UnixMicros, Usage,
};
use crate::store::{
    Batch, Counts, Filter, Holding, Leases, LookUp, MemoryStore, NewInvocation, NextDue, PauseTarget,
    PushedComponent, QueuedCounts, QuotaRule, Receipt, RuleMark, Standing, StoreError, TaskRule, TaskSet,
    UsageQuery, UsageRow, Watch,
};

pub(super) type Body = Pin<Box<dyn Future<Output = Result<u64, String>> + Send>>;

/// The switch of a guest that may take its time.
#[derive(Default)]
pub(crate) struct Switch {
    is_killed: AtomicBool,
    slice_began: Mutex<Option<Instant>>,
}

impl SlotControl for Switch {
    fn kill(&self) {
        self.is_killed.store(true, Ordering::SeqCst);
    }
    fn is_killed(&self) -> bool {
        self.is_killed.load(Ordering::SeqCst)
    }
    fn begin_slice(&self) {
        *self.slice_began.lock() = Some(Instant::now());
    }
    fn end_slice(&self) -> Duration {
        self.slice_began.lock().take().map_or(Duration::ZERO, |began| began.elapsed())
    }
    fn begin_poll(&self) {}
    fn end_poll(&self) {}
    fn usage(&self) -> Usage {
        Usage::default()
    }
    fn remaining(&self) -> Duration {
        Duration::from_secs(3600)
    }
    fn time_out(&self) -> Failure {
        Failure::timed_out("it took more than an hour".to_owned())
    }
}

/// What a guest has at hand.
#[derive(Clone)]
pub(super) struct Hands {
    pub(super) claim: Claim,
    pub(super) client: Arc<dyn TaskClient>,
    pub(super) control: Arc<Switch>,
}

impl Hands {
    pub(super) fn argument(&self, place: usize) -> u64 {
        let arguments: Vec<u64> = serde_json::from_str(&self.claim.arguments).expect("numbers");
        arguments[place]
    }

    pub(super) fn caller(&self) -> Caller {
        let Claim { id, attempt, root, depth, .. } = self.claim;
        Caller { id, attempt, root, depth }
    }

    pub(super) async fn submit(&self, children: Vec<ChildRequest>) -> Result<Vec<InvocationId>, String> {
        self.client.submit(&self.caller(), children).await.map_err(|refusal| refusal.to_string())
    }

    pub(super) async fn cancel(&self, id: InvocationId) -> Result<bool, String> {
        self.client.cancel(&self.caller(), id).await.map_err(|refusal| refusal.to_string())
    }

    pub(super) async fn wait(
        &self,
        ids: Vec<InvocationId>,
        mode: AwaitMode,
    ) -> Result<Vec<(usize, u64)>, String> {
        let outcomes = self.client.await_outcomes(&self.caller(), ids, mode).await;
        let outcomes = outcomes.map_err(|refusal| refusal.to_string())?;
        outcomes.into_iter().map(|(index, outcome)| Ok((index, number(&outcome)?))).collect()
    }
}

pub(super) fn number(outcome: &Outcome) -> Result<u64, String> {
    match outcome {
        Outcome::Value(json) => json.parse().map_err(|error| format!("{json}: {error}")),
        Outcome::Failure(failure) => Err(failure.message.clone()),
    }
}

pub(super) fn child(task: &str, arguments: &[u64]) -> ChildRequest {
    let arguments = serde_json::to_string(arguments).expect("numbers").into();
    ChildRequest { task: task.into(), arguments, options: SubmitOptions::default() }
}

/// Runs closures as guests.
#[derive(Default)]
pub(super) struct Closures {
    pub(super) guests: HashMap<Arc<str>, Box<dyn Fn(Hands) -> Body + Send + Sync>>,
    pub(super) running: AtomicUsize,
    pub(super) peak: AtomicUsize,
}

impl Closures {
    pub(super) fn with<F: Future<Output = Result<u64, String>> + Send + 'static>(
        mut self,
        task: &str,
        guest: impl Fn(Hands) -> F + Send + Sync + 'static,
    ) -> Self {
        self.guests.insert(task.into(), Box::new(move |hands| Box::pin(guest(hands))));
        self
    }
}

impl Executor for Closures {
    fn tasks(&self) -> Arc<TaskSet> {
        Arc::new(self.guests.keys().cloned().collect())
    }

    fn start(&self, claim: &Claim, client: &Arc<dyn TaskClient>, _: &Interrupt) -> Result<Guest, NoGuest> {
        assert!(&*claim.task != "panic-at-start", "as asked");
        let control = Arc::<Switch>::default();
        let hands = Hands { claim: claim.clone(), client: Arc::clone(client), control: Arc::clone(&control) };
        let body = self.guests[&claim.task](hands);
        let future = Box::pin(async move {
            Ok(match body.await {
                Ok(value) => Outcome::Value(value.to_string().into()),
                Err(message) => Outcome::Failure(Arc::new(Failure::new(FailureKind::Trapped, message))),
            })
        });
        Ok(Guest { future, control, digest: claim.component_digest, weight: 1, retry: Arc::default() })
    }

    fn prepare(&self, task: &str, arguments: &str) -> Result<PreparedCall, Refusal> {
        Ok(PreparedCall {
            task: task.into(),
            digest: ComponentDigest::from_bytes([0; 32]),
            arguments: arguments.into(),
            max_attempts: 3,
            priority: 0,
            deadline: None,
            lane: None,
            unique: None,
        })
    }

    fn may_submit(&self, caller: &str, _: &str) -> bool {
        !caller.starts_with("confined::")
    }

    fn guest_runs(&self, runs: bool) {
        if runs {
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.peak.fetch_max(running, Ordering::SeqCst);
        } else {
            self.running.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// A memory store that may pretend to be a durable one, whose commits can be held
/// up.
pub(super) struct Slow {
    pub(super) store: MemoryStore,
    pub(super) is_instant: bool,
    /// Held by whoever wants commits to wait.
    pub(super) gate: Mutex<()>,
    /// Held by whoever wants the answers of claims to wait.
    pub(super) claim_gate: Mutex<()>,
    /// Whether commits fail.
    pub(super) is_away: AtomicBool,
    /// Whether commits with more than one report fail.
    pub(super) is_small: AtomicBool,
    /// The most that one commit has submitted.
    pub(super) most_submits: AtomicUsize,
}

impl Slow {
    pub(super) fn new(is_instant: bool) -> Arc<Self> {
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        Arc::new(Self {
            store,
            is_instant,
            gate: Mutex::new(()),
            claim_gate: Mutex::new(()),
            is_away: AtomicBool::new(false),
            is_small: AtomicBool::new(false),
            most_submits: AtomicUsize::new(0),
        })
    }

    pub(super) fn submit(&self, task: &str, arguments: &[u64]) -> InvocationId {
        let id = InvocationId::generate();
        let submit = NewInvocation {
            id,
            max_attempts: 3,
            ..NewInvocation::new(
                task,
                ComponentDigest::from_bytes([0; 32]),
                serde_json::to_string(arguments).expect("numbers"),
            )
        };
        self.store.commit(&Batch { submits: vec![submit], ..Batch::default() }).expect("a commit");
        id
    }

    pub(super) fn one(&self, id: InvocationId) -> Invocation {
        self.store.get(&[id]).expect("a read").remove(0).expect("it is there")
    }

    pub(super) fn all(&self) -> Vec<Invocation> {
        let filter = Filter::default();
        self.store.list(&filter).expect("a read")
    }
}

impl Store for Slow {
    fn commit(&self, batch: &Batch) -> Result<Receipt, StoreError> {
        let _open = self.gate.lock();
        let is_too_large = self.is_small.load(Ordering::SeqCst) && batch.reports.len() > 1;
        if self.is_away.load(Ordering::SeqCst) || is_too_large {
            return Err(StoreError::Unavailable {
                url: self.url().to_owned(),
                message: "as asked".to_owned(),
            });
        }
        self.most_submits.fetch_max(batch.submits.len(), Ordering::SeqCst);
        let receipt = self.store.commit(batch)?;
        if !receipt.claimed.is_empty() {
            drop(self.claim_gate.lock());
        }
        Ok(receipt)
    }
    fn get(&self, ids: &[InvocationId]) -> Result<Vec<Option<Invocation>>, StoreError> {
        self.store.get(ids)
    }
    fn look_up(&self, ids: &[InvocationId]) -> Result<Vec<LookUp>, StoreError> {
        self.store.look_up(ids)
    }
    fn standings(&self, ids: &[InvocationId]) -> Result<Vec<Option<Standing>>, StoreError> {
        self.store.standings(ids)
    }
    fn next_due(&self, runner: RunnerId) -> Result<NextDue, StoreError> {
        self.store.next_due(runner)
    }
    fn revoked(&self, runner: RunnerId) -> Result<Vec<InvocationId>, StoreError> {
        self.store.revoked(runner)
    }
    fn arguments(&self, id: InvocationId) -> Result<Option<Arc<str>>, StoreError> {
        self.store.arguments(id)
    }
    fn list(&self, filter: &Filter) -> Result<Vec<Invocation>, StoreError> {
        self.store.list(filter)
    }
    fn ids(&self, filter: &Filter) -> Result<Vec<InvocationId>, StoreError> {
        self.store.ids(filter)
    }
    fn find(&self, part: &IdPart) -> Result<Vec<InvocationId>, StoreError> {
        self.store.find(part)
    }
    fn keyed(&self, keys: &[(Arc<str>, Arc<str>)]) -> Result<Vec<Option<InvocationId>>, StoreError> {
        self.store.keyed(keys)
    }
    fn counts(&self, root: Option<InvocationId>) -> Result<Counts, StoreError> {
        self.store.counts(root)
    }
    fn unfinished_by_task(&self) -> Result<Vec<(Arc<str>, u64)>, StoreError> {
        self.store.unfinished_by_task()
    }
    fn queued_by_task(&self, now: UnixMicros) -> Result<Vec<QueuedCounts>, StoreError> {
        self.store.queued_by_task(now)
    }
    fn leases(&self) -> Result<Leases, StoreError> {
        self.store.leases()
    }
    fn rules(&self) -> Result<Vec<TaskRule>, StoreError> {
        self.store.rules()
    }
    fn rule_marks(&self) -> Result<Vec<RuleMark>, StoreError> {
        self.store.rule_marks()
    }
    fn paused(&self) -> Result<Vec<PauseTarget>, StoreError> {
        self.store.paused()
    }
    fn quotas(&self) -> Result<Vec<QuotaRule>, StoreError> {
        self.store.quotas()
    }
    fn holdings(&self, holder: HolderKind) -> Result<Vec<Holding>, StoreError> {
        self.store.holdings(holder)
    }
    fn components(&self) -> Result<Vec<PushedComponent>, StoreError> {
        self.store.components()
    }
    fn components_version(&self) -> Result<i64, StoreError> {
        self.store.components_version()
    }
    fn component(&self, digest: ComponentDigest) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.component(digest)
    }
    fn tree(&self, root: InvocationId) -> Result<Vec<Invocation>, StoreError> {
        self.store.tree(root)
    }
    fn history(&self, id: InvocationId) -> Result<Vec<Transition>, StoreError> {
        self.store.history(id)
    }
    fn logs(&self, id: InvocationId) -> Result<Vec<LogEntry>, StoreError> {
        self.store.logs(id)
    }
    fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        self.store.usage(query)
    }
    fn watch(&self, notify: Arc<dyn Fn() + Send + Sync>) -> Result<Watch, StoreError> {
        self.store.watch(notify)
    }
    fn is_instant(&self) -> bool {
        self.is_instant
    }
    fn is_remote(&self) -> bool {
        false
    }
    fn url(&self) -> &str {
        self.store.url()
    }
}

/// Pends once, and is woken by another thread: now and then before the poll that
/// pends is over, now and then long after.
pub(super) async fn yield_to_a_thread() {
    static WAKERS: LazyLock<Sender<Waker>> = LazyLock::new(|| {
        let (sender, receiver) = channel::<Waker>();
        std::thread::spawn(move || {
            for waker in receiver {
                waker.wake_by_ref();
                // A second, spurious one, when it may be anywhere.
                waker.wake();
            }
        });
        sender
    });
    let mut has_pended = false;
    poll_fn(|context: &mut Context<'_>| {
        if std::mem::replace(&mut has_pended, true) {
            return Poll::Ready(());
        }
        WAKERS.send(context.waker().clone()).expect("the waking thread lives");
        Poll::Pending
    })
    .await;
}

pub(super) fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 27)
}

/// `[depth, width, seed]`: counts the invocations of its tree, and waits for its
/// children in one of several ways, with pauses anywhere.
pub(super) async fn tree(hands: Hands) -> Result<u64, String> {
    let (depth, width, seed) = (hands.argument(0), hands.argument(1), hands.argument(2));
    for _ in 0..mix(seed) % 3 {
        yield_to_a_thread().await;
    }
    if depth == 0 {
        return Ok(1);
    }
    let request = |place| child("tree", &[depth - 1, width, mix(seed ^ (place << 8)) >> 1]);
    let mut total = 1;
    match mix(seed ^ 77) % 4 {
        0 => {
            let ids = hands.submit((0..width).map(request).collect()).await?;
            total += hands.wait(ids, AwaitMode::All).await?.iter().map(|(_, value)| value).sum::<u64>();
        }
        1 => {
            let mut ids = hands.submit((0..width).map(request).collect()).await?;
            while !ids.is_empty() {
                let (first, value) = hands.wait(ids.clone(), AwaitMode::Any).await?[0];
                total += value;
                ids.remove(first);
            }
        }
        2 => {
            for place in 0..width {
                let (_, outcome) = hands
                    .client
                    .call(&hands.caller(), request(place))
                    .await
                    .map_err(|refusal| refusal.to_string())?;
                total += number(&outcome)?;
            }
        }
        _ => {
            let ids = hands.submit((0..width).map(request).collect()).await?;
            yield_to_a_thread().await;
            for id in ids.into_iter().rev() {
                total += hands.wait(vec![id], AwaitMode::All).await?[0].1;
            }
        }
    }
    Ok(total)
}

pub(super) fn size(depth: u32, width: u64) -> u64 {
    (0..=depth).map(|level| width.pow(level)).sum()
}

pub(super) fn with_lease(lease: Duration, options: RunnerOptions) -> RunnerOptions {
    RunnerOptions { settings: RunnerSettings { lease, ..options.settings }, ..options }
}

pub(super) fn options(slots: usize) -> RunnerOptions {
    RunnerOptions {
        slots,
        settings: RunnerSettings { final_cache_entries: 10, ..RunnerSettings::default() },
        grace: Duration::from_millis(200),
        ..RunnerOptions::default()
    }
}

pub(super) fn start(store: &Arc<Slow>, guests: &Arc<Closures>, options: RunnerOptions) -> Runner {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    Runner::start(store, Arc::clone(guests) as _, Arc::new(SystemClock::new()), options).expect("it starts")
}

#[track_caller]
pub(super) fn value(runner: &Runner, id: InvocationId) -> Result<u64, String> {
    let outcome = runner.wait_final(id, Some(PATIENCE)).expect("no refusal");
    number(&outcome.expect("it hangs"))
}

/// Says when it is dropped.
pub(super) struct Dropped(pub(super) Sender<InvocationId>, pub(super) InvocationId);

impl Drop for Dropped {
    fn drop(&mut self) {
        // Nobody may care any more.
        let _ = self.0.send(self.1);
    }
}
