//! The runner: claims invocations and runs them.
//!
//! A stub with the interface that the command line is written against.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Clock, InvocationId, Outcome, Refusal};
use crate::store::{Batch, Cancel, LookUp, Store, StoreError};
use crate::wasm::Library;

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
    /// Attempts that were given back.
    pub released: u64,
}

/// A running runner.
pub struct Runner {
    store: Arc<dyn Store>,
}

/// Steers a runner from another thread, also while it stops.
#[derive(Clone)]
pub struct RunnerHandle {
    store: Arc<dyn Store>,
}

impl RunnerHandle {
    /// Asks the runner to stop: claim nothing more, finish what runs within the
    /// grace time, give back the rest. Returns at once.
    pub fn drain(&self) {}

    /// Asks the runner to stop now: kill what runs and give it back. Returns at
    /// once.
    pub fn kill(&self) {}

    /// Asks to cancel an invocation with its attached descendants, and to kill
    /// their guests here. Returns at once.
    pub fn cancel(&self, id: InvocationId, message: &str) {
        let cancels = vec![Cancel { id, message: message.to_owned() }];
        if let Err(error) = self.store.commit(&Batch { cancels, ..Batch::default() }) {
            tracing::warn!("{id} could not be cancelled: {error}");
        }
    }

    /// What the runner has done and is doing.
    pub fn gauge(&self) -> Gauge {
        Gauge::default()
    }
}

impl Runner {
    /// Starts the threads of a runner; it claims work at once.
    ///
    /// # Errors
    ///
    /// [`RunnerError`]; nothing is left running then.
    pub fn start(
        store: Arc<dyn Store>,
        _library: Arc<Library>,
        _clock: Arc<dyn Clock>,
        _options: RunnerOptions,
    ) -> Result<Self, RunnerError> {
        Ok(Self { store })
    }

    /// A handle that other threads can keep.
    pub fn handle(&self) -> RunnerHandle {
        RunnerHandle { store: Arc::clone(&self.store) }
    }

    /// Waits until nothing that this runner could run is left in the store, or
    /// until it was asked to stop.
    pub fn wait_idle(&self) {}

    /// Waits until `id` is final and returns its outcome; `None` if `timeout`
    /// passes first, or the runner stops.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownInvocation`] if nobody has that id.
    pub fn wait_final(
        &self,
        id: InvocationId,
        _timeout: Option<Duration>,
    ) -> Result<Option<Outcome>, Refusal> {
        let found = self.store.look_up(&[id]).map_err(|error| Refusal::Unavailable(error.to_string()))?;
        Ok(found.into_iter().find_map(|found| match found {
            LookUp::Final(outcome) => Some(outcome),
            LookUp::Unknown | LookUp::Unfinished(_) => None,
        }))
    }

    /// Stops the runner, draining first if nobody asked it to, and waits for
    /// that: at most the grace time and a second.
    pub fn stop(self) -> Gauge {
        self.handle().gauge()
    }
}
