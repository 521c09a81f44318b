//! The runner: claims invocations and runs them.
//!
//! ```text
//!            claim                     work                  guest
//!   store ─────────► ledger ─────────► scheduler ─────────► slot threads
//!     ▲                │ ▲                                     │   │
//!     └── one batch ───┘ └──────────── inbox ◄─────────────────┘   │ awaits
//!                        registry (who waits, final cache) ◄───────┘
//! ```
//!
//! * **Slots** (`slot.rs`) are threads. Each holds at most one guest, so the
//!   guests that run never exceed the slots.
//! * **Fibers** (`fiber.rs`) are live guests. One that awaits results is parked:
//!   it is on no thread, and its slot takes other work.
//! * **The ledger** (`ledger.rs`) is the only writer. It takes everything that
//!   happened since it last looked out of the inbox, commits it as one batch,
//!   and only then acts on it.
//! * **The registry** (`waits.rs`) knows who waits for what, and caches final
//!   outcomes.
//! * **The scheduler** (`scheduler.rs`) holds what is to run next.
//!
//! Nothing here polls: every wait is for an event or for a moment known in
//! advance.

mod client;
mod executor;
mod fiber;
mod final_cache;
mod inbox;
mod ledger;
mod parking;
mod retries;
mod scheduler;
mod slot;
mod starts;
#[cfg(test)]
mod tests;
mod trust;
mod waits;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

pub use executor::{Executor, Guest, GuestFuture, PreparedChild};

use crate::model::{AwaitMode, Clock, InvocationId, Outcome, Refusal, RunnerId, TaskClient, Usage};
use crate::store::{Bill, Cancel, Keep, Store, StoreError, TaskSet, Watch};
use client::RunnerClient;
use fiber::Fiber;
use inbox::{CancelMessage, Inbox, Messages};
use ledger::Ledger;
use parking::AwaitOutcomes;
use retries::Retries;
use scheduler::Scheduler;
use starts::Starts;
use trust::Trust;
use waits::{Registry, WaitFor};

/// After the grace time, guests get this long to be killed. Whatever is stuck in
/// the operating system after that is abandoned: a stop is bounded.
const KILL_PATIENCE: Duration = Duration::from_millis(800);

/// How a runner is to work.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// Guests that may run at once, at least 1.
    pub slots: usize,
    /// Instances that may live at once, running and parked, at least `slots`.
    pub max_live: usize,
    /// Entries of the final cache.
    pub final_cache_entries: usize,
    /// Bytes of the final cache.
    pub final_cache_bytes: usize,
    /// How long a claim is good without a sign of life.
    pub lease: Duration,
    /// How long running guests may go on after a stop was asked for.
    pub grace: Duration,
    /// Run nothing but this tree.
    pub only_root: Option<InvocationId>,
    /// What to keep of each final status; of those that are not here, everything.
    pub retention: Vec<Keep>,
    /// Run nothing but these of the executor's tasks.
    pub only_tasks: Option<Arc<TaskSet>>,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self {
            slots: std::thread::available_parallelism().map_or(1, usize::from),
            max_live: 4096,
            final_cache_entries: 10_000,
            final_cache_bytes: 64 << 20,
            lease: Duration::from_secs(10),
            grace: Duration::from_secs(30),
            only_root: None,
            retention: Vec::new(),
            only_tasks: None,
        }
    }
}

/// A runner that could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// The operating system refused a thread or what it needs.
    #[error("the operating system refused {what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        source: std::io::Error,
    },
    /// The store can't tell of changes.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The options contradict themselves.
    #[error("{0}")]
    Options(String),
}

/// How far a runner has got with stopping. Only ever grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Stage {
    Working = 0,
    /// Claims nothing; finishes what runs, gives back the rest.
    Draining = 1,
    /// Kills what still runs and gives it back.
    Killing = 2,
    /// Nothing is live; everything is written, or given up.
    Stopped = 3,
}

/// What a runner has done and is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Guests that hold a slot now.
    pub running: usize,
    /// The most that ever did at once.
    pub peak_running: usize,
    /// Live instances now, running and parked.
    pub live: usize,
    /// The most that ever lived at once.
    pub peak_live: usize,
    /// Attempts of this runner that succeeded.
    pub succeeded: u64,
    /// Attempts of this runner that failed.
    pub failed: u64,
    /// Attempts of this runner that failed and are followed by another.
    pub retried: u64,
    /// Attempts that were given back.
    pub released: u64,
}

#[derive(Default)]
struct Counters {
    running: AtomicUsize,
    peak_running: AtomicUsize,
    live: AtomicUsize,
    peak_live: AtomicUsize,
    succeeded: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    released: AtomicU64,
    /// Moving average of how long a guest holds a slot, in nanoseconds: sizes
    /// the prefetch.
    slice_nanos: AtomicU64,
}

/// What the threads of one runner share.
struct Core {
    store: Arc<dyn Store>,
    executor: Arc<dyn Executor>,
    clock: Arc<dyn Clock>,
    options: RunnerOptions,
    scheduler: Scheduler,
    registry: Registry,
    trust: Trust,
    inbox: Inbox,
    /// Held for one turn. With an instant store any thread may take it; with a
    /// durable one only the ledger thread does.
    ledger: Mutex<Ledger>,
    /// Live fibers by invocation.
    live: Mutex<HashMap<InvocationId, Arc<Fiber>>>,
    /// Those that are not live yet.
    starts: Starts,
    stage: AtomicU8,
    /// When the grace time is over, once draining has begun.
    grace_ends: Mutex<Option<Instant>>,
    counters: Counters,
    retries: Retries,
    idle: Idle,
    /// Why the runner ended by itself, if it did.
    fault: OnceLock<StoreError>,
}

/// How a thread outside learns that nothing is left to do.
#[derive(Default)]
struct Idle {
    state: Mutex<IdleState>,
    changed: Condvar,
}

#[derive(Default)]
struct IdleState {
    /// Somebody wants to know.
    is_wanted: bool,
    is_idle: bool,
}

impl Core {
    fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Working,
            1 => Stage::Draining,
            2 => Stage::Killing,
            _ => Stage::Stopped,
        }
    }

    fn advance(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::AcqRel);
        if stage == Stage::Draining {
            self.grace_ends.lock().get_or_insert_with(|| Instant::now() + self.options.grace);
        }
        // Under the lock: whoever has just looked at the stage already waits.
        drop(self.idle.state.lock());
        self.idle.changed.notify_all();
        self.inbox.call();
    }

    /// Leaves a message for the ledger and sees to it that it is read: at once
    /// on this thread if the store is instant, else by the ledger thread.
    fn tell(self: &Arc<Self>, message: impl FnOnce(&mut Messages)) {
        self.inbox.put(message);
        self.see_to_messages();
    }

    /// Sees to it that what lies in the inbox is read.
    fn see_to_messages(self: &Arc<Self>) {
        if self.store.is_instant() {
            self.turn_while_urgent();
        } else {
            self.inbox.ring();
        }
    }

    /// Leaves word of what an attempt used whose end was not the runner's own: its
    /// invocation was cancelled, say. Whether it may be billed is the store's to say.
    fn leave_bill(&self, id: InvocationId, runner: RunnerId, attempt: u32, usage: Usage) {
        if usage != Usage::default() {
            self.inbox.put(|messages| messages.bills.push(Bill { id, runner, attempt, usage }));
        }
    }

    /// Leaves word that a fiber has notes. They are written with the next batch,
    /// or soon.
    fn tell_noted(&self, fiber: &Arc<Fiber>) {
        self.inbox.put_noted(fiber);
    }

    /// Turns the ledger until nothing urgent is left, unless somebody else does.
    ///
    /// Whoever holds the ledger looks into the inbox again after letting it go,
    /// so a message whose sender found it held is not left lying.
    fn turn_while_urgent(self: &Arc<Self>) {
        while self.inbox.is_urgent() {
            match self.ledger.try_lock() {
                Some(mut ledger) => ledger.turn_for_another(self),
                None => return,
            }
        }
    }

    fn slot_is_idle(self: &Arc<Self>) {
        if self.stage() >= Stage::Draining {
            // The ledger thread may wait for just this.
            return self.inbox.call();
        }
        self.tell(|messages| messages.is_hungry = true);
    }

    /// If parked parents fill the runner and none of them can ever go on, ends
    /// the youngest wait with an error.
    fn give_up_at_cap(&self) {
        let Some(id) = self.scheduler.stuck_at_cap() else {
            return;
        };
        if let Some(wait) = self.registry.youngest_wait_for(id) {
            let message = format!(
                "all {} live instances that this runner may have are parked in waits, and the awaited {id} can't \
                 start (raise `max-live`, or await less at once)",
                self.options.max_live
            );
            wait.refuse(Refusal::bound(message));
        }
    }

    /// The tasks that this runner claims.
    fn tasks(&self) -> Arc<TaskSet> {
        self.options.only_tasks.clone().unwrap_or_else(|| self.executor.tasks())
    }

    fn live_fiber(&self, id: InvocationId) -> Option<Arc<Fiber>> {
        self.live.lock().get(&id).cloned()
    }

    fn live_fibers(&self) -> Vec<Arc<Fiber>> {
        self.live.lock().values().cloned().collect()
    }

    fn add_live_fiber(&self, fiber: &Arc<Fiber>) {
        self.live.lock().insert(fiber.id(), Arc::clone(fiber));
        let live = self.counters.live.fetch_add(1, Ordering::AcqRel) + 1;
        self.counters.peak_live.fetch_max(live, Ordering::AcqRel);
    }

    fn remove_live_fiber(&self, fiber: &Arc<Fiber>) {
        let mut live = self.live.lock();
        self.counters.live.fetch_sub(1, Ordering::AcqRel);
        // The next attempt may have taken its place already.
        if live.get(&fiber.id()).is_some_and(|other| Arc::ptr_eq(other, fiber)) {
            live.remove(&fiber.id());
        }
    }

    fn enter_slot(&self, fiber: &Fiber) {
        let running = self.counters.running.fetch_add(1, Ordering::AcqRel) + 1;
        self.counters.peak_running.fetch_max(running, Ordering::AcqRel);
        self.executor.guest_runs(true);
        fiber.control.begin_slice();
    }

    fn leave_slot(&self, slice: Duration) {
        self.executor.guest_runs(false);
        self.counters.running.fetch_sub(1, Ordering::AcqRel);
        let slice = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX >> 8);
        let average = &self.counters.slice_nanos;
        let old = average.load(Ordering::Relaxed);
        // A lost update between two slots only makes an average a little older.
        average.store(if old == 0 { slice } else { old - old / 8 + slice / 8 }, Ordering::Relaxed);
    }
}

/// A running runner. Dropping it stops it as [`stop`](Runner::stop) does.
pub struct Runner {
    core: Arc<Core>,
    threads: Option<Threads>,
}

struct Threads {
    slots: Vec<JoinHandle<()>>,
    ledger: JoinHandle<()>,
    trust: JoinHandle<()>,
    /// Ends when the ledger has: nothing tells of changes after that.
    _watch: Watch,
    /// Timers and sockets of guests.
    reactor: tokio::runtime::Runtime,
}

impl Runner {
    /// Starts the threads of a runner; it claims work at once.
    ///
    /// # Errors
    ///
    /// [`RunnerError`]; nothing is left running then.
    pub fn start(
        store: Arc<dyn Store>,
        executor: Arc<dyn Executor>,
        clock: Arc<dyn Clock>,
        options: RunnerOptions,
    ) -> Result<Self, RunnerError> {
        if options.slots == 0 {
            return Err(RunnerError::Options("a runner needs at least 1 slot".to_owned()));
        }
        if options.max_live < options.slots {
            return Err(RunnerError::Options(format!(
                "max-live (`{}`) must be at least slots (`{}`)",
                options.max_live, options.slots
            )));
        }
        let refused = |what| move |source| RunnerError::System { what, source };
        let reactor = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("reactor")
            .enable_all()
            .build()
            .map_err(refused("a reactor for guests' timers"))?;
        let id = RunnerId::generate();
        let core = Arc::new(Core {
            ledger: Mutex::new(Ledger::new(id)),
            scheduler: Scheduler::new(options.max_live),
            registry: Registry::new(options.final_cache_entries, options.final_cache_bytes),
            inbox: Inbox::default(),
            trust: Trust::new(id),
            live: Mutex::new(HashMap::new()),
            starts: Starts::new(options.slots),
            stage: AtomicU8::new(Stage::Working as u8),
            grace_ends: Mutex::new(None),
            counters: Counters::default(),
            retries: Retries::default(),
            idle: Idle::default(),
            fault: OnceLock::new(),
            store,
            executor,
            clock,
            options,
        });
        let watch = {
            let core = Arc::downgrade(&core);
            core.upgrade().map(|strong| {
                strong.store.watch(Arc::new(move || {
                    if let Some(core) = core.upgrade() {
                        core.inbox.put(|messages| messages.has_foreign_change = true);
                        core.inbox.ring();
                    }
                }))
            })
        };
        let watch = match watch {
            Some(watch) => watch?,
            None => {
                return Err(RunnerError::Options("the runner ended while it started".to_owned()));
            }
        };
        let mut runner = Self { core: Arc::clone(&core), threads: None };
        let ledger = {
            let core = Arc::clone(&core);
            std::thread::Builder::new()
                .name("ledger".to_owned())
                .spawn(move || ledger::run(&core))
                .map_err(refused("the ledger thread"))?
        };
        let trust = {
            let core = Arc::clone(&core);
            std::thread::Builder::new().name("lease".to_owned()).spawn(move || trust::watch(&core))
        };
        let trust = match trust {
            Ok(trust) => trust,
            Err(source) => {
                core.advance(Stage::Draining);
                return Err(RunnerError::System { what: "the lease thread", source });
            }
        };
        let client: Arc<dyn TaskClient> = Arc::new(RunnerClient::new(&Arc::downgrade(&core)));
        let mut threads = Threads { slots: Vec::new(), ledger, trust, _watch: watch, reactor };
        for number in 0..core.options.slots {
            let core = Arc::clone(&core);
            let client = Arc::clone(&client);
            let reactor = threads.reactor.handle().clone();
            let spawned = std::thread::Builder::new().name(format!("slot-{number}")).spawn(move || {
                let _reactor = reactor.enter();
                slot::run(&core, &client, number);
            });
            match spawned {
                Ok(thread) => threads.slots.push(thread),
                Err(source) => {
                    runner.threads = Some(threads);
                    return Err(RunnerError::System { what: "a slot thread", source });
                }
            }
        }
        runner.threads = Some(threads);
        Ok(runner)
    }

    /// A handle for other threads: it steers the runner also while this one
    /// waits for it.
    pub fn handle(&self) -> RunnerHandle {
        RunnerHandle { core: Arc::clone(&self.core) }
    }

    /// Waits until nothing that this runner could run is left in the store, or
    /// until it was asked to stop.
    pub fn wait_idle(&self) {
        let mut state = self.core.idle.state.lock();
        state.is_wanted = true;
        drop(state);
        self.core.inbox.put(|messages| messages.is_hungry = true);
        self.core.inbox.ring();
        state = self.core.idle.state.lock();
        while !state.is_idle && self.core.stage() == Stage::Working {
            self.core.idle.changed.wait(&mut state);
        }
        state.is_wanted = false;
        state.is_idle = false;
    }

    /// Waits until the runner was asked to stop, or can't go on.
    pub fn wait_stopping(&self) {
        let mut state = self.core.idle.state.lock();
        while self.core.stage() == Stage::Working {
            self.core.idle.changed.wait(&mut state);
        }
    }

    /// Waits until `id` is final and returns its outcome; `None` if `timeout`
    /// passes first, or the runner stops.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownInvocation`] if nobody has that id.
    pub fn wait_final(
        &self,
        id: InvocationId,
        timeout: Option<Duration>,
    ) -> Result<Option<Outcome>, Refusal> {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let wait_for = WaitFor { caller: None, depth: 0, ids: vec![id], mode: AwaitMode::All };
        let (wait, unknown) = self.core.registry.register(wait_for)?;
        let mut outcomes = Box::pin(AwaitOutcomes::new(Arc::clone(&self.core), wait));
        if !unknown.is_empty() {
            self.core.tell(|messages| messages.look_ups.extend(unknown));
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            if let std::task::Poll::Ready(answer) = outcomes.as_mut().poll(&mut Context::from_waker(&waker)) {
                return answer.map(|mut outcomes| outcomes.pop().map(|(_, outcome)| outcome));
            }
            if self.core.stage() == Stage::Stopped {
                return Ok(None);
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return Ok(None),
                Some(left) => std::thread::park_timeout(left),
                None => std::thread::park(),
            }
        }
    }

    /// Stops the runner, draining first if nobody asked it to, and waits for
    /// that: at most the grace time and a second.
    pub fn stop(mut self) -> Gauge {
        self.join();
        self.handle().gauge()
    }

    fn join(&mut self) {
        let Some(threads) = self.threads.take() else {
            return;
        };
        self.handle().drain();
        if threads.ledger.join().is_err() {
            tracing::error!("the ledger thread panicked");
        }
        self.core.advance(Stage::Stopped);
        self.core.trust.stop();
        if threads.trust.join().is_err() {
            tracing::error!("the lease thread panicked");
        }
        self.core.scheduler.stop();
        for thread in threads.slots {
            // The ledger has waited for every guest that could be ended. A
            // thread that still has one, or makes one, hangs in the operating system,
            // and the invocation was given back without it.
            if self.core.counters.live.load(Ordering::Acquire) == 0 && self.core.scheduler.load().busy == 0 {
                if thread.join().is_err() {
                    tracing::error!("a slot thread panicked");
                }
            } else {
                drop(thread);
            }
        }
        threads.reactor.shutdown_background();
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.join();
    }
}

/// Steers a runner from any thread.
#[derive(Clone)]
pub struct RunnerHandle {
    core: Arc<Core>,
}

impl RunnerHandle {
    /// Tells the runner that somebody else has changed the store: for stores that
    /// can't tell of changes within their own process.
    pub fn look_again(&self) {
        self.core.inbox.put(|messages| messages.has_foreign_change = true);
        self.core.inbox.ring();
    }

    /// Asks the runner to stop: claim nothing more, finish what runs within the
    /// grace time, give back what is claimed and parked. Returns at once; may be
    /// called any number of times.
    pub fn drain(&self) {
        self.core.advance(Stage::Draining);
    }

    /// Asks the runner to stop now: kill what runs and give it back. Returns at
    /// once.
    pub fn kill(&self) {
        self.core.advance(Stage::Draining);
        self.core.advance(Stage::Killing);
    }

    /// Asks to cancel an invocation with its attached descendants, and to kill
    /// their guests here. Returns at once.
    pub fn cancel(&self, id: InvocationId, message: &str) {
        let cancel = Cancel { id, message: message.to_owned() };
        // Nobody waits for the answer.
        let (reply, _) = tokio::sync::oneshot::channel();
        self.core.tell(|messages| messages.cancels.push(CancelMessage { cancel, reply }));
    }

    /// Why the runner stopped by itself, if it did: its store can't be used by
    /// this program any more.
    pub fn fault(&self) -> Option<StoreError> {
        self.core.fault.get().cloned()
    }

    /// What the runner has done and is doing.
    pub fn gauge(&self) -> Gauge {
        let counters = &self.core.counters;
        Gauge {
            running: counters.running.load(Ordering::Acquire),
            peak_running: counters.peak_running.load(Ordering::Acquire),
            live: counters.live.load(Ordering::Acquire),
            peak_live: counters.peak_live.load(Ordering::Acquire),
            succeeded: counters.succeeded.load(Ordering::Acquire),
            failed: counters.failed.load(Ordering::Acquire),
            retried: counters.retried.load(Ordering::Acquire),
            released: counters.released.load(Ordering::Acquire),
        }
    }
}
