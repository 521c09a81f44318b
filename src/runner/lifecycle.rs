//! Runners: starting their threads, waiting for them, steering and stopping them.

use std::any::Any;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::RunnerClient;
use super::core::Core;
use super::executor::Executor;
use super::inbox::{CancelMessage, NewRules};
use super::options::{RunnerError, RunnerOptions};
use super::outcomes::FinalOutcome;
use super::stage::Stage;
use super::totals::Gauge;
use super::{descriptors, slot, turn};
use crate::model::{Clock, InvocationId, Outcome, Refusal, RunnerId, TaskClient};
use crate::store::{Cancel, Store, StoreError, TaskSet, Watch};

/// A running runner. Dropping it stops it as [`stop`](Runner::stop) does.
pub struct Runner {
    pub(super) core: Arc<Core>,
    threads: Option<Threads>,
    /// Dropped when the runner has stopped.
    companions: Vec<Box<dyn Any + Send + Sync>>,
}

/// The threads of a runner, and what ends with them.
struct Threads {
    slots: Vec<JoinHandle<()>>,
    ledger: Option<JoinHandle<()>>,
    lease: Option<JoinHandle<()>>,
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
        if options.settings.max_live < options.slots {
            return Err(RunnerError::Options(format!(
                "max-live (`{}`) must be at least slots (`{}`)",
                options.settings.max_live, options.slots
            )));
        }
        descriptors::raise_limit();
        let reactor = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("reactor")
            .enable_all()
            .build()
            .map_err(|source| RunnerError::System { what: "a reactor for guests' timers", source })?;
        let core = Arc::new(Core::new(store, executor, clock, options));
        let watcher = Arc::downgrade(&core);
        let watch = core.store.watch(Arc::new(move || {
            if let Some(core) = watcher.upgrade() {
                core.tell_foreign_change();
            }
        }))?;
        let teller = Arc::downgrade(&core);
        core.executor.tell_ready(Arc::new(move || {
            if let Some(core) = teller.upgrade() {
                core.tell_foreign_change();
            }
        }));
        let threads = Threads { slots: Vec::new(), ledger: None, lease: None, _watch: watch, reactor };
        // If anything fails from here on, its drop ends the threads that have started.
        let mut runner = Self { core, threads: Some(threads), companions: Vec::new() };
        runner.start_threads()?;
        Ok(runner)
    }

    fn start_threads(&mut self) -> Result<(), RunnerError> {
        let Some(threads) = &mut self.threads else { return Ok(()) };
        let core = Arc::clone(&self.core);
        threads.ledger = Some(spawn("ledger", "the ledger thread", move || turn::run(&core))?);
        let core = Arc::clone(&self.core);
        threads.lease = Some(spawn("lease", "the lease thread", move || {
            core.trust.watch(|| {
                core.disown_everything();
                if core.stages.now() < Stage::Stopped {
                    core.inbox.call();
                }
            });
        })?);
        let client: Arc<dyn TaskClient> = Arc::new(RunnerClient(Arc::downgrade(&self.core)));
        for number in 0..self.core.options.slots {
            let (core, client) = (Arc::clone(&self.core), Arc::clone(&client));
            let reactor = threads.reactor.handle().clone();
            threads.slots.push(spawn(&format!("slot-{number}"), "a slot thread", move || {
                let _reactor = reactor.enter();
                slot::run(&core, &client, number);
            })?);
        }
        Ok(())
    }

    /// Keeps something until the runner has stopped, a thread that works for it say.
    pub fn keep(&mut self, companion: impl Any + Send + Sync) {
        self.companions.push(Box::new(companion));
    }

    /// Returns a handle for other threads: it steers the runner also while this one waits for it.
    pub fn handle(&self) -> RunnerHandle {
        RunnerHandle { core: Arc::clone(&self.core) }
    }

    /// Waits until the store has nothing left that this runner could run, or until it is asked to stop.
    pub fn wait_idle(&self) {
        self.core.stages.wait_idle(|| {
            self.core.inbox.put(|messages| messages.is_hungry = true);
            self.core.inbox.ring();
        });
    }

    /// Waits until the runner was asked to stop, or can't go on.
    pub fn wait_stopping(&self) {
        self.core.stages.wait_stopping();
    }

    /// Waits until `id` is final and returns its outcome; `None` if `timeout`
    /// passes first, or the runner stops. [`RunnerHandle::outcome`] waits without a thread.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownInvocation`] if no invocation has that id.
    pub fn wait_final(
        &self,
        id: InvocationId,
        timeout: Option<Duration>,
    ) -> Result<Option<Outcome>, Refusal> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        FinalOutcome::new(&self.core, id).block(deadline)
    }

    /// Stops the runner, draining first if nobody asked it to: at most the grace time and a second.
    pub fn stop(mut self) -> Gauge {
        self.join();
        self.handle().gauge()
    }

    fn join(&mut self) {
        let Some(threads) = self.threads.take() else {
            return;
        };
        self.handle().drain();
        threads.ledger.into_iter().for_each(join);
        self.core.advance(Stage::Stopped);
        self.core.trust.stop();
        threads.lease.into_iter().for_each(join);
        self.core.scheduler.stop();
        for thread in threads.slots {
            // The ledger has waited for every guest that could be ended. A thread that still has one, or
            // makes one, hangs in the operating system; the invocation was given back without it.
            if self.core.totals.lock().gauge.live == 0 && self.core.scheduler.load().busy == 0 {
                join(thread);
            }
        }
        threads.reactor.shutdown_background();
        self.companions.clear();
    }
}

fn spawn(
    name: &str,
    what: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, RunnerError> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(run).map_err(|source| RunnerError::System { what, source })
}

fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    if thread.join().is_err() {
        tracing::error!("the {name} thread panicked");
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
    pub(super) core: Arc<Core>,
}

impl RunnerHandle {
    /// Returns the id of the runner; `None` while it has lost its lease and has no other id yet.
    pub fn id(&self) -> Option<RunnerId> {
        self.core.trust.runner()
    }

    /// Returns a function that reads the id for whoever does not keep the runner alive.
    pub fn id_reader(&self) -> impl Fn() -> Option<RunnerId> + Send + 'static {
        let core = Arc::downgrade(&self.core);
        move || core.upgrade()?.trust.runner()
    }

    /// Tells the runner that the store has changed: for stores that don't tell within their own process.
    pub fn look_again(&self) {
        self.core.tell_foreign_change();
    }

    /// Returns a function that does so for whoever does not keep the runner alive; false once it is gone.
    pub fn teller(&self) -> impl Fn() -> bool + Send + 'static {
        let core = Arc::downgrade(&self.core);
        move || core.upgrade().inspect(|core| core.tell_foreign_change()).is_some()
    }

    /// Returns a function that replaces the tasks of the runner, and tells the store the rules of new ones, for
    /// whoever does not keep the runner alive; false once it is gone.
    pub fn task_replacer(&self) -> impl Fn(Arc<TaskSet>, NewRules) -> bool + Send + 'static {
        let core = Arc::downgrade(&self.core);
        move |tasks, rules| core.upgrade().inspect(|core| core.replace_tasks(tasks, rules)).is_some()
    }

    /// Asks the runner to stop: claim nothing more, finish what runs within the grace time, give back what is
    /// claimed and parked. Returns at once; may be called again.
    pub fn drain(&self) {
        self.core.advance(Stage::Draining);
    }

    /// Asks the runner to stop now: kill what runs and give it back. Returns at once.
    pub fn kill(&self) {
        self.core.advance(Stage::Killing);
    }

    /// Asks to cancel an invocation with its attached descendants, and their guests here. Returns at once.
    pub fn cancel(&self, id: InvocationId, message: &str) {
        let cancel = Cancel { id, by: None, message: message.to_owned() };
        // Nobody waits for the answer.
        let (reply, _) = tokio::sync::oneshot::channel();
        self.core.tell(|messages| messages.cancels.push(CancelMessage { cancel, reply }));
    }

    /// Waits for an invocation to be final, without holding a thread: dropping the future ends the wait. It
    /// answers [`Refusal::UnknownInvocation`] if no invocation has that id, and [`Refusal::Unavailable`] if
    /// the runner stops first.
    pub fn outcome(&self, id: InvocationId) -> FinalOutcome {
        FinalOutcome::new(&self.core, id)
    }

    /// Returns the error of the store for which the runner stopped by itself, if it did.
    pub fn fault(&self) -> Option<StoreError> {
        self.core.fault.get().cloned()
    }

    /// Reads the runner's totals.
    pub fn gauge(&self) -> Gauge {
        self.core.totals.lock().gauge
    }
}
