//! The embedded store: one SQLite file, shared by any number of processes of one
//! machine. `docs/design/storage.md` says how it works and why.
//!
//! - `open`: looking before touching, creating, migrating
//! - `write`: one batch, one transaction; `submit`, `claim`, `lanes`, `leases` and
//!   `keep` are its parts
//! - `read`: everything that changes nothing; `usage`: the usage by hour
//! - `suspend`: no lock is kept by a process that is stopped from its terminal
//! - `bell`: how processes learn of each other's commits
//! - `sql`, `schema`, `fault`: columns, versions, errors

mod bell;
mod cascade;
mod claim;
mod components;
mod fairness;
mod fault;
mod flush;
mod keep;
mod lanes;
mod leases;
mod names;
mod open;
mod quotas;
mod read;
mod rules;
mod schema;
mod shrink;
mod sql;
mod submit;
mod suspend;
#[cfg(test)]
mod tests;
mod usage;
mod work;
mod write;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, Transaction};

use self::bell::{Bell, Listener};
use self::fault::Fault;
use self::names::Names;
use super::read::reading_methods;
use super::round::Round;
use super::{
    Batch, Counts, EndKind, Filter, Holding, Invocation, Leases, LookUp, NextDue, PauseTarget,
    PushedComponent, QueuedCounts, QuotaRule, Receipt, RuleMark, Shrunk, Standing, Store, StoreError,
    TaskRule, UsageQuery, UsageRow, Watch,
};
pub(crate) use suspend::is_ignored;

use crate::model::{
    Clock, ComponentDigest, HolderKind, IdPart, InvocationId, LogEntry, RunnerId, Transition, UnixMicros,
};

/// Idle connections that are kept for readers.
const IDLE_READERS: usize = 2;

/// Before a batch with larger values the log is emptied, so that it can be cut
/// again if they do not fit on the disk.
const LARGE_BATCH_BYTES: usize = 1 << 20;

/// How long a rung bell waits for a commit of this process before it tells on
/// suspicion.
const NEWS_PATIENCE: Duration = Duration::from_millis(10);

/// A store in one SQLite file.
pub struct SqliteStore {
    clock: Arc<dyn Clock>,
    url: String,
    path: PathBuf,
    /// The file that is open.
    identity: Option<Identity>,
    vfs: Option<Box<str>>,
    /// The only connection of this process that writes. Held for one batch,
    /// including its fsync.
    writer: Arc<Mutex<Writer>>,
    /// Connections that nobody reads from now. Never held during a query.
    readers: Mutex<Vec<Connection>>,
    bell: Bell,
}

/// By what a file is told from others, whatever it is called: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    /// `None` if there is no file, or it can't be looked at.
    fn at(path: &Path) -> Option<Self> {
        path.metadata().ok().map(|file| Self(file.dev(), file.ino()))
    }
}

struct Writer {
    sql: Connection,
    names: Names,
    round: Round,
    /// The file of the log.
    log: PathBuf,
}

impl SqliteStore {
    /// Opens the store in the file at `path`, creating it, and its directory, if
    /// they are missing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unusable`] if the file is not a database, is damaged, is
    /// another application's, or was written by a newer version: it is left
    /// as it was. [`StoreError::Unavailable`] if it can't be read or created.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::open_with(path, clock, None)
    }

    /// Opens it over another way to the disk, by the name under which SQLite has
    /// it: for tests that let disks fail.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    #[doc(hidden)]
    pub fn open_with(path: &Path, clock: Arc<dyn Clock>, vfs: Option<&str>) -> Result<Self, StoreError> {
        let url = format!("sqlite:{}", path.display());
        // Absolute, so that neither a change of directory nor a name such as
        // `file:x` or `:memory:` means something else to SQLite.
        let path = std::path::absolute(path)
            .map_err(|error| StoreError::unusable(&url, format!("bad path: {error}")))?;
        // SQLite keeps its log beside the file that a link leads to. The bell lies there, too: every name of
        // the database has the same one.
        let path = open::resolve(path);
        let _held = suspend::hold();
        let opened = open::open(&path, &url, vfs)?;
        let identity = Identity::at(&path);
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        let log = PathBuf::from(log);
        Ok(Self {
            clock,
            url,
            path,
            identity,
            vfs: vfs.map(Box::from),
            writer: Arc::new(Mutex::new(Writer {
                sql: opened.writer,
                names: Names::default(),
                round: Round::default(),
                log,
            })),
            readers: Mutex::default(),
            bell: opened.bell,
        })
    }

    /// Refuses to write if the file has another name now, or none: others would find nothing of it, and a submit would
    /// make a new store at its path.
    fn check_place(&self) -> Result<(), StoreError> {
        let found = Identity::at(&self.path);
        if self.identity.is_none() || found == self.identity {
            return Ok(());
        }
        let path = self.path.display();
        Err(StoreError::unavailable(
            &self.url,
            match found {
                None => format!(
                    "its file was moved away or removed: put it back to `{path}`, or stop this process"
                ),
                Some(_) => format!(
                    "there is another file at `{path}` now: put the old one back, or restart this process"
                ),
            },
        ))
    }

    /// Reads from one moment of the database.
    fn read<T>(&self, read: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let idle = self.readers.lock().pop();
        let attempt = || {
            let mut sql = match idle {
                Some(sql) => sql,
                None => open::open_reader(&self.path, self.vfs.as_deref())?,
            };
            let transaction = sql.transaction()?;
            schema::check(&transaction)?;
            let answer = read(&transaction)?;
            transaction.finish()?;
            let mut readers = self.readers.lock();
            if readers.len() < IDLE_READERS {
                readers.push(sql);
            }
            Ok(answer)
        };
        attempt().map_err(|fault: Fault| fault.sort(&self.url))
    }
}

macro_rules! method {
    ($name:ident($($argument:ident: $type:ty)?) -> $answer:ty) => {
        fn $name(&self $(, $argument: $type)?) -> Result<$answer, StoreError> {
            self.read(|sql| read::$name(sql $(, $argument)?))
        }
    };
}

impl Store for SqliteStore {
    reading_methods!(method);

    fn commit(&self, batch: &Batch) -> Result<Receipt, StoreError> {
        self.check_place()?;
        let held = suspend::hold();
        let mut writer = self.writer.lock();
        let committed = writer.commit(&*self.clock, batch);
        drop((writer, held));
        let (receipt, is_news) = committed.map_err(|fault| fault.sort(&self.url))?;
        if is_news {
            self.bell.ring();
        }
        Ok(receipt)
    }

    fn shrink(&self) -> Result<Shrunk, StoreError> {
        let _held = suspend::hold();
        let mut writer = self.writer.lock();
        let shrunk = shrink::shrink(&mut writer.sql).map_err(|fault| fault.sort(&self.url))?;
        if shrunk.given_back == 0 {
            // The file itself is cut when the log is moved into it. Readers may keep that from happening now:
            // then a later move does it.
            let _ = writer.empty_log("TRUNCATE");
        }
        Ok(shrunk)
    }

    fn vacuum(&self) -> Result<Shrunk, StoreError> {
        let _held = suspend::hold();
        let mut writer = self.writer.lock();
        let given_back = shrink::vacuum(&mut writer.sql).map_err(|fault| fault.sort(&self.url))?;
        // As after a step of a shrink.
        let _ = writer.empty_log("TRUNCATE");
        Ok(Shrunk { given_back, stays: 0 })
    }

    fn next_due(&self, runner: RunnerId) -> Result<NextDue, StoreError> {
        let now = self.clock.now();
        self.read(|sql| Ok(NextDue { now, at: claim::next_due(sql, runner, now)? }))
    }

    fn leases(&self) -> Result<Leases, StoreError> {
        let now = self.clock.now();
        self.read(|sql| Ok(Leases { now, ends: read::leases(sql)? }))
    }

    fn watch(&self, notify: Arc<dyn Fn() + Send + Sync>) -> Result<Watch, StoreError> {
        let writer = Arc::clone(&self.writer);
        let make_has_news = move || {
            let mut seen = writer.lock().data_version().ok();
            move || {
                // A commit of this process is under way: rather tell for nothing
                // than late.
                let Some(writer) = writer.try_lock_for(NEWS_PATIENCE) else {
                    return true;
                };
                let before = seen;
                seen = writer.data_version().ok();
                seen.is_none() || seen != before
            }
        };
        let listener = Listener::start(&self.bell, make_has_news, notify);
        listener.map(Watch::new).map_err(|error| {
            StoreError::unavailable(
                &self.url,
                format!("changes by other processes can't be watched: {error}"),
            )
        })
    }

    fn is_instant(&self) -> bool {
        false
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn url(&self) -> &str {
        &self.url
    }
}

/// About how many bytes of the log a batch takes, as far as its values go.
fn payload(batch: &Batch) -> usize {
    let arguments = batch.submits.iter().map(|submit| submit.arguments.len());
    let outcomes = batch.reports.iter().filter_map(|report| match &report.end {
        Some(end) => match &end.how {
            EndKind::Final(outcome) => Some(outcome.approximate_bytes()),
            EndKind::Retry(..) | EndKind::Release => None,
        },
        None => None,
    });
    let pushes = batch.pushes.iter().map(|push| push.bytes.len());
    arguments.chain(outcomes).chain(pushes).sum()
}

impl Writer {
    fn commit(&mut self, clock: &dyn Clock, batch: &Batch) -> Result<(Receipt, bool), Fault> {
        if self.log_needs_space() {
            // If it fails, the disk is full, and the commit tells so.
            let _ = self.empty_log("TRUNCATE");
        }
        if payload(batch) > LARGE_BATCH_BYTES {
            self.empty_log("PASSIVE")?;
        }
        let committed = write::commit(&mut self.sql, (&mut self.names, &mut self.round), clock, batch);
        if let Err(Fault::Sql(error)) = &committed
            && error.sqlite_error_code() == Some(ErrorCode::DiskFull)
        {
            // What was written of the batch still lies in the log and takes the
            // space that smaller batches, and others, could use.
            if let Err(error) = self.empty_log("TRUNCATE") {
                tracing::debug!(%error, "the log of a full disk can't be cut");
            }
        }
        committed
    }

    /// Whether the log is so large, and the disk so full, that the database may soon have no room to take it in:
    /// then neither could grow any more, whatever is freed bit by bit.
    fn log_needs_space(&self) -> bool {
        let size = std::fs::metadata(&self.log).map_or(0, |log| log.len());
        let space = || rustix::fs::statvfs(&self.log).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        size > 0 && space().is_ok_and(|space| size > space / 2)
    }

    /// Moves the log into the database, as far as that goes without waiting for
    /// readers.
    fn empty_log(&self, how: &str) -> rusqlite::Result<()> {
        self.sql.busy_timeout(Duration::ZERO)?;
        let emptied = self.sql.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(()));
        self.sql.busy_timeout(open::BUSY_TIMEOUT)?;
        emptied
    }

    /// Changes whenever another connection has committed, and only then.
    fn data_version(&self) -> rusqlite::Result<i64> {
        self.sql.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
    }
}
