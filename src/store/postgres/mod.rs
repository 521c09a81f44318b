//! The shared store: a schema of a PostgreSQL database, shared by any number of
//! processes of any number of machines. `docs/design/postgres.md` says how it works
//! and why.
//!
//! - `url`, `tls`: what is asked for, and how the way to it is secured
//! - `engine`, `link`, `wait`: connections, statements on them, and threads that wait
//! - `open`, `schema`: looking before touching, creating, migrating
//! - `write`: one batch, one transaction; `submit`, `claim`, `lanes`, `leases` and
//!   `keep` are its parts
//! - `read`: everything that changes nothing; `usage`: the usage by hour
//! - `notify`: how processes learn of each other's commits
//! - `sql`, `names`, `fault`: columns, numbers for names, errors

mod admit;
mod cascade;
mod claim;
mod components;
mod engine;
mod fairness;
mod fault;
mod flush;
mod keep;
mod lanes;
mod leases;
mod link;
mod names;
mod notify;
mod open;
mod quotas;
mod read;
mod rules;
mod schema;
mod sql;
mod submit;
mod tls;
mod url;
mod usage;
mod wait;
mod work;
mod write;

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use self::url::PostgresUrl;

use self::engine::{Connector, Engine};
use self::fault::Fault;
use self::link::Link;
use self::names::Names;
use self::notify::{Listener, Listening, Watchers};
use super::read::reading_methods;
use super::round::Round;
use super::{
    Batch, Counts, Filter, Holding, Invocation, Leases, LookUp, NextDue, PauseTarget, PushedComponent,
    QueuedCounts, QuotaRule, Receipt, RuleMark, Standing, Store, StoreError, TaskRule, UsageQuery, UsageRow,
    Watch,
};
use crate::model::{
    Clock, ComponentDigest, HolderKind, IdPart, InvocationId, LogEntry, RunnerId, Transition, UnixMicros,
    draw_uuid,
};

/// Idle connections that are kept for readers.
const IDLE_READERS: usize = 2;

/// An operation that takes longer than this has failed: nothing waits for ever for a server
/// that is gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// A batch that got in another's way is tried again at most so often.
const CONFLICTS: u32 = 10;

/// The tally and the usage are folded with every so many commits.
const FOLDED_EVERY: u64 = 64;

/// A store in a schema of a PostgreSQL database.
pub struct PostgresStore {
    /// Instead of the server's clock.
    clock: Option<Arc<dyn Clock>>,
    shown: String,
    connector: Arc<Connector>,
    channel: String,
    sender: String,
    migration_lock: i64,
    /// The only connection of this process that writes. Held for one batch.
    writer: Mutex<Writer>,
    /// Connections that nobody reads from now. Never held during a question.
    readers: Mutex<Vec<Link>>,
    watchers: Arc<Watchers>,
    /// Begun with the first watch.
    listening: Mutex<Option<Listening>>,
    /// Last: what is dropped before it may still need its thread.
    engine: Engine,
}

#[derive(Default)]
struct Writer {
    link: Option<Link>,
    names: Names,
    round: Round,
    commits: u64,
}

impl PostgresStore {
    /// Opens the store at `url`, creating its schema if it is missing. Times are
    /// those of the server's clock, unless `clock` is given.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the server can't be reached or does not let us
    /// in; [`StoreError::Unusable`] if the schema is another application's, or was
    /// written by a newer version.
    pub fn open(url: &PostgresUrl, clock: Option<Arc<dyn Clock>>) -> Result<Self, StoreError> {
        let sort = |fault: Fault| fault.sort(&url.to_string(), &url.place());
        let opened = Self::try_open(url, clock, true).map_err(sort)?;
        opened.ok_or_else(|| sort(Fault::Damaged("its schema was not created".to_owned())))
    }

    /// Opens the store at `url`; `None` if there is none. Nothing is created.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_existing(url: &PostgresUrl) -> Result<Option<Self>, StoreError> {
        Self::try_open(url, None, false).map_err(|fault| fault.sort(&url.to_string(), &url.place()))
    }

    fn try_open(
        url: &PostgresUrl,
        clock: Option<Arc<dyn Clock>>,
        creates: bool,
    ) -> Result<Option<Self>, Fault> {
        let engine = Engine::start()
            .map_err(|error| Fault::Unavailable(format!("the system refused a thread for it: {error}")))?;
        let connector = Arc::new(Connector::new(url, engine.handle())?);
        let hash = blake3::hash(url.schema.as_bytes());
        let mut lock = [0; 8];
        lock.copy_from_slice(&hash.as_bytes()[..8]);
        let migration_lock = i64::from_le_bytes(lock);
        let deadline = Instant::now() + PATIENCE;
        let link = connector.connect_unchecked(deadline)?;
        if !open::prepare(&connector, &link, migration_lock, creates, deadline)? {
            return Ok(None);
        }
        Ok(Some(Self {
            clock,
            shown: url.to_string(),
            connector,
            channel: format!("wasm_runner_{migration_lock:016x}"),
            sender: draw_uuid().simple().to_string(),
            migration_lock,
            writer: Mutex::new(Writer { link: Some(link), ..Writer::default() }),
            readers: Mutex::default(),
            watchers: Arc::default(),
            listening: Mutex::default(),
            engine,
        }))
    }

    fn sort(&self, fault: Fault) -> StoreError {
        fault.sort(&self.shown, &self.connector.place)
    }

    /// Looks at the schema again after a fault that a migration can explain.
    fn judge(&self, fault: Fault, deadline: Instant) -> Fault {
        if !fault.is_of_schema() {
            return fault;
        }
        // A newer program may have changed the schema under our feet.
        match self.connector.connect(deadline) {
            Ok(_) => fault,
            Err(reason) => reason,
        }
    }

    /// Applies a batch, again if it got in another's way, or if the connection was
    /// lost before the commit was sent.
    fn try_commit(&self, batch: &Batch) -> Result<Receipt, Fault> {
        let mut writer = self.writer.lock();
        let Writer { link, names, round, commits } = &mut *writer;
        let deadline = Instant::now() + PATIENCE;
        *commits += 1;
        let folds = batch.recover || *commits % FOLDED_EVERY == 0;
        let (mut conflicts, mut has_reconnected) = (0, false);
        loop {
            if link.as_ref().is_none_or(Link::is_closed) {
                *link = None;
                *link = Some(self.connector.connect(deadline)?);
            }
            let Some(open) = link.as_ref() else { continue };
            let is_committing = Cell::new(false);
            let place = write::Surroundings {
                link: open,
                clock: self.clock.as_deref(),
                channel: &self.channel,
                sender: &self.sender,
                migration_lock: self.migration_lock,
                usage_lock: self.migration_lock.wrapping_add(1),
                names_lock: self.migration_lock.wrapping_add(2),
                is_careful: conflicts > 0,
                folds,
                is_committing: &is_committing,
            };
            let committed = wait::wait(write::commit(&place, (&mut *names, &mut *round), batch), deadline)
                .unwrap_or(Err(Fault::TimedOut));
            let fault = match committed {
                Ok(receipt) => return Ok(receipt),
                Err(fault) => fault,
            };
            if fault.breaks_connection() {
                *link = None;
                if !is_committing.get() && !has_reconnected && Instant::now() < deadline {
                    has_reconnected = true;
                    continue;
                }
            } else if fault.is_conflict() && conflicts < CONFLICTS {
                conflicts += 1;
                tracing::debug!(?fault, "a batch is applied once more");
                continue;
            }
            return Err(self.judge(fault, deadline));
        }
    }

    /// Asks something, again if the connection was lost.
    fn read<T>(&self, read: impl AsyncFn(&Link) -> Result<T, Fault>) -> Result<T, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        let mut has_reconnected = false;
        let attempt = || loop {
            let idle = self.readers.lock().pop().filter(|link| !link.is_closed());
            let link = match idle {
                Some(link) => link,
                None => self.connector.connect(deadline)?,
            };
            match wait::wait(read(&link), deadline).unwrap_or(Err(Fault::TimedOut)) {
                Err(fault) if fault.breaks_connection() => {
                    // The others will hardly be better.
                    self.readers.lock().clear();
                    if has_reconnected || Instant::now() >= deadline {
                        return Err(fault);
                    }
                    has_reconnected = true;
                }
                Err(fault) => return Err(self.judge(fault, deadline)),
                Ok(answer) => {
                    let mut readers = self.readers.lock();
                    if readers.len() < IDLE_READERS {
                        readers.push(link);
                    }
                    return Ok(answer);
                }
            }
        };
        let mut attempt = attempt;
        attempt().map_err(|fault| self.sort(fault))
    }
}

macro_rules! method {
    ($name:ident($($argument:ident: $type:ty)?) -> $answer:ty) => {
        fn $name(&self $(, $argument: $type)?) -> Result<$answer, StoreError> {
            self.read(async |link| read::$name(link $(, $argument)?).await)
        }
    };
}

impl Store for PostgresStore {
    reading_methods!(method);

    fn commit(&self, batch: &Batch) -> Result<Receipt, StoreError> {
        self.try_commit(batch).map_err(|fault| self.sort(fault))
    }

    fn next_due(&self, runner: RunnerId) -> Result<NextDue, StoreError> {
        let now = self.clock.as_deref().map(Clock::now);
        self.read(async |link| claim::next_due(link, runner, now).await)
    }

    fn leases(&self) -> Result<Leases, StoreError> {
        let now = self.clock.as_deref().map(Clock::now);
        self.read(async |link| read::leases(link, now).await)
    }

    fn watch(&self, notify: Arc<dyn Fn() + Send + Sync>) -> Result<Watch, StoreError> {
        let guard = self.watchers.add(notify);
        let mut listening = self.listening.lock();
        if listening.is_none() {
            let listener = Listener {
                connector: Arc::clone(&self.connector),
                watchers: Arc::clone(&self.watchers),
                channel: format!("LISTEN {}", self.channel),
                sender: self.sender.clone(),
            };
            *listening = Some(listener.start(self.engine.handle()));
        }
        Ok(Watch::new(guard))
    }

    fn is_instant(&self) -> bool {
        false
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn url(&self) -> &str {
        &self.shown
    }
}
