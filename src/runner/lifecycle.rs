//! Starting a runner's threads, waiting for it, and stopping it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::RunnerClient;
use super::core::Core;
use super::executor::Executor;
use super::final_outcome::FinalOutcome;
use super::handle::RunnerHandle;
use super::metrics::Gauge;
use super::options::{RunnerError, RunnerOptions};
use super::stage::Stage;
use super::{slot, turn};
use crate::model::{Clock, InvocationId, Outcome, Refusal, TaskClient};
use crate::store::{Store, Watch};

/// A running runner. Dropping it stops it as [`stop`](Runner::stop) does.
pub struct Runner {
    pub(super) core: Arc<Core>,
    threads: Option<Threads>,
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
        if options.max_live < options.slots {
            return Err(RunnerError::Options(format!(
                "max-live (`{}`) must be at least slots (`{}`)",
                options.max_live, options.slots
            )));
        }
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
        let threads = Threads { slots: Vec::new(), ledger: None, lease: None, _watch: watch, reactor };
        // Whatever fails from here on, dropping it ends the threads that have started.
        let mut runner = Self { core, threads: Some(threads) };
        runner.start_threads()?;
        Ok(runner)
    }

    fn start_threads(&mut self) -> Result<(), RunnerError> {
        let Some(threads) = &mut self.threads else { return Ok(()) };
        let core = Arc::clone(&self.core);
        threads.ledger = Some(spawn("ledger", "the ledger thread", move || turn::run(&core))?);
        let core = Arc::clone(&self.core);
        threads.lease = Some(spawn("lease", "the lease thread", move || core.watch_lease())?);
        let client: Arc<dyn TaskClient> = Arc::new(RunnerClient::new(&Arc::downgrade(&self.core)));
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

    /// A handle for other threads: it steers the runner also while this one
    /// waits for it.
    pub fn handle(&self) -> RunnerHandle {
        RunnerHandle { core: Arc::clone(&self.core) }
    }

    /// Waits until nothing that this runner could run is left in the store, or
    /// until it was asked to stop.
    pub fn wait_idle(&self) {
        self.core.idle.want();
        self.core.inbox.put(|messages| messages.is_hungry = true);
        self.core.inbox.ring();
        self.core.idle.wait(|| self.core.is_stopping());
    }

    /// Waits until the runner was asked to stop, or can't go on.
    pub fn wait_stopping(&self) {
        self.core.idle.wait_stopping(|| self.core.is_stopping());
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
        threads.ledger.map(join);
        self.core.advance(Stage::Stopped);
        self.core.trust.stop();
        threads.lease.map(join);
        self.core.scheduler.stop();
        for thread in threads.slots {
            // The ledger has waited for every guest that could be ended. A
            // thread that still has one, or makes one, hangs in the operating system,
            // and the invocation was given back without it.
            if self.core.counters.live() == 0 && self.core.scheduler.load().busy == 0 {
                join(thread);
            }
        }
        threads.reactor.shutdown_background();
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
