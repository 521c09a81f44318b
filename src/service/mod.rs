//! The operations: everything that can be done with a store and with components, whoever
//! asks. The command line, an HTTP server and programs that embed the crate call a
//! [`Service`]; `docs/design/service.md` says which policy lives here.
//!
//! Nothing here prints, exits, or knows of flags. What is told besides results (how far
//! loading has come, what a submit found) is a value for whoever shows it.

mod adopt;
mod answers;
mod call;
mod cancel;
mod check;
mod compiling;
mod components;
mod copies;
mod deploy;
mod documents;
mod error;
mod executor;
mod in_use;
mod inspect;
mod kept;
mod lock;
mod origin;
mod packages;
mod patience;
mod pause;
mod present;
mod prune;
mod quotas;
mod read;
mod registry;
mod retry;
mod run;
mod stores;
mod submit;
mod upgrade;
mod usage;
mod versions;
mod wait;

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

pub use answers::{NotTaken, PushWaited};
pub use call::Call;
pub use cancel::CancelRequest;
pub use components::Loading;
pub use copies::RETRY_OF;
pub use documents::{
    BlockedBy, CancelDocument, CancelOutcome, ChangedTask, CheckDocument, ComponentDocument, Copied,
    DiffDocument, Found, InspectionDocument, InvocationDocument, LockChange, LockDocument, PauseDocument,
    PausedBy, ProblemDocument, PruneDocument, QueueDocument, QuotaDocument, RemovalDocument, RetryDocument,
    RightChanges, RightDocument, RunnerDocument, SchemaDocument, SelectedDocument, SubmitDocument,
    TaskChanges, TaskDocument, TreeLogDocument, UsageDocument,
};
pub use error::{Remedy, ServiceError};
pub use executor::Live;
pub use in_use::PassedOver;
pub use inspect::{Inspected, component_name};
pub use lock::LockRequest;
pub use packages::{PushRequest, Pushed};
pub use patience::{Patience, Transactions};
pub use pause::{PauseRequest, Queues};
pub use prune::PruneRequest;
pub use quotas::Quotas;
pub use read::{ListRequest, Listing, Logs, Selection, Tree, TreeLogs};
pub use retry::{Retried, RetryPlan, RetryRequest};
pub use usage::{UsageOrder, UsageReport, UsageRequest};
pub use wait::{WaitGuard, Waited, Waiter};

use crate::config::{Config, ConfigError, read_secrets};
use crate::model::{Clock, InvocationId, SystemClock};
use crate::store::{Counts, MemoryStore, Store, StoreUrl};
use crate::wasm::{Compiler, Library};
use patience::{Access, Neighbours};

/// Everything that can be done with one configuration, its store and its components. A
/// handle: clones share the open store and the loaded components. Every method may be
/// called from any thread, and blocks it.
///
/// Besides the errors that each names, methods fail with [`ServiceError::Store`] if the store
/// can't be used, and with [`ServiceError::Unknown`] for an id that no invocation has, or a name
/// that nothing or several things have.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    clock: Arc<dyn Clock>,
    compiler: Compiler,
    patience: Patience,
    /// Held while the store is opened.
    opened: Mutex<Opened>,
    /// Held while components are loaded.
    library: Mutex<Option<Arc<Library>>>,
    loading: Arc<Loading>,
    /// The users of the store among all clones.
    neighbours: Arc<Neighbours>,
    /// Told of a store that did not exist and was created.
    tell_created: Arc<OnceLock<TellCreated>>,
}

/// A function that is told of the store that was created.
type TellCreated = Box<dyn Fn(&StoreUrl) + Send + Sync>;

/// The store, as far as somebody has asked for it.
#[derive(Clone)]
enum Opened {
    Not,
    /// It does not exist. An empty one stands in, until it is looked for again.
    Missing(Arc<dyn Store>),
    There(Arc<dyn Store>),
}

impl Service {
    /// Makes a service of a configuration and a compiler of components. Nothing is opened or
    /// loaded before it is needed.
    pub fn new(config: Config, compiler: Compiler) -> Self {
        Self::of(Shared {
            config,
            clock: Arc::new(SystemClock::new()),
            compiler,
            patience: Patience::default(),
            opened: Mutex::new(Opened::Not),
            library: Mutex::default(),
            loading: Arc::default(),
            neighbours: Arc::default(),
            tell_created: Arc::default(),
        })
    }

    /// Has `tell` called if a store is created that did not exist: perhaps another was meant, or it was moved away.
    pub fn on_created(&self, tell: impl Fn(&StoreUrl) + Send + Sync + 'static) {
        // The first is meant.
        let _ = self.shared.tell_created.set(Box::new(tell));
    }

    fn of(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Makes a service with a store that is open already, whatever the configuration says.
    pub fn with_store(&self, store: Arc<dyn Store>) -> Self {
        let neighbours = Arc::default();
        Self::of(Shared { opened: Mutex::new(Opened::There(store)), neighbours, ..self.copy() })
    }

    /// Makes a service with a new store in memory.
    pub fn in_memory(&self) -> Self {
        self.with_store(self.memory_store())
    }

    /// Makes a service with another patience.
    pub fn with_patience(&self, patience: Patience) -> Self {
        Self::of(Shared { patience, ..self.copy() })
    }

    fn copy(&self) -> Shared {
        let shared = &*self.shared;
        Shared {
            config: shared.config.clone(),
            clock: Arc::clone(&shared.clock),
            compiler: shared.compiler.clone(),
            patience: shared.patience,
            opened: Mutex::new(shared.opened.lock().clone()),
            library: Mutex::new(shared.library.lock().clone()),
            loading: Arc::clone(&shared.loading),
            neighbours: Arc::clone(&shared.neighbours),
            tell_created: Arc::clone(&shared.tell_created),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The clock of this process.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// Returns the progress of loading components.
    pub fn loading(&self) -> Arc<Loading> {
        Arc::clone(&self.shared.loading)
    }

    /// Reads the secrets that components are granted, before guests are run.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Config`] with all that can't be had.
    pub fn read_secrets(&self) -> Result<(), ServiceError> {
        read_secrets(self.config().components_and_patterns()).map_err(|problems| ConfigError(problems).into())
    }

    /// Opens the store, and creates it if need be.
    ///
    /// # Errors
    ///
    /// If it can't be opened, or ends with the process.
    pub fn store(&self) -> Result<Arc<dyn Store>, ServiceError> {
        let mut opened = self.shared.opened.lock();
        if let Opened::There(store) = &*opened {
            return Ok(Arc::clone(store));
        }
        let url = &self.config().store.url;
        let is_new = url.file().is_some_and(|path| !path.exists());
        let store = stores::open(self.config(), self.clock())?;
        *opened = Opened::There(Arc::clone(&store));
        if let Some(tell) = self.shared.tell_created.get().filter(|_| is_new) {
            tell(url);
        }
        Ok(store)
    }

    /// Says why nothing is found in the store, if it did not exist when it was last asked.
    pub fn missing(&self) -> Option<String> {
        match &*self.shared.opened.lock() {
            Opened::Missing(_) => Some(format!("the store `{}` does not exist yet", self.config().store.url)),
            Opened::Not | Opened::There(_) => None,
        }
    }

    /// Counts invocations by status, of one tree or of the whole store: for a line of
    /// progress, so that a store that is away is not waited for; `None` then.
    pub fn counts(&self, root: Option<InvocationId>) -> Option<Counts> {
        self.existing().ok()?.store().counts(root).ok()
    }

    /// Has later operations of this process use the library that a runner has by now.
    fn replace_library(&self, library: &Arc<Library>) {
        *self.shared.library.lock() = Some(Arc::clone(library));
    }

    /// Opens the store to put something into it.
    fn access(&self) -> Result<Access, ServiceError> {
        Ok(self.access_to(self.store()?))
    }

    /// Opens the store to look for something in it: an empty one if it does not exist. Nothing
    /// is created.
    fn existing(&self) -> Result<Access, ServiceError> {
        let mut opened = self.shared.opened.lock();
        if !matches!(&*opened, Opened::There(_)) {
            let found = stores::open_existing(self.config(), self.clock())?;
            *opened = match (found, &*opened) {
                (Some(store), _) => Opened::There(store),
                (None, Opened::Missing(empty)) => Opened::Missing(Arc::clone(empty)),
                (None, _) => Opened::Missing(self.memory_store()),
            };
        }
        let (Opened::There(store) | Opened::Missing(store)) = &*opened else {
            unreachable!("it was looked for above")
        };
        Ok(self.access_to(Arc::clone(store)))
    }

    fn access_to(&self, store: Arc<dyn Store>) -> Access {
        let Shared { patience, neighbours, .. } = &*self.shared;
        Access { store, patience: *patience, neighbours: Arc::clone(neighbours) }
    }

    fn memory_store(&self) -> Arc<dyn Store> {
        Arc::new(MemoryStore::new(Arc::clone(self.clock())))
    }
}
