//! Opening: looking before touching, creating, migrating.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::bell::Bell;
use super::fault;
use super::schema::{self, APPLICATION_ID, TABLES, VERSION};
use crate::regular_file;
use crate::store::StoreError;

/// How long a statement waits for a lock that another process holds.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Up to this size a file is checked page by page before it is opened (some
/// milliseconds); a larger one only by its header, its schema and the ends of
/// its tables.
const CHECKED_WHOLE_BYTES: u64 = 1 << 20;

/// Room for prepared statements, per connection: all of ours, and one per task
/// queue that a claim merges.
const STATEMENTS: usize = 128;

/// How a database begins.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The most bytes that a page has.
const LARGEST_PAGE: u64 = 65536;

/// An open database.
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) bell: Bell,
}

/// Opens the database at `path`, which is absolute, creating it if it is not
/// there. `vfs` is the name of SQLite's way to the disk, if it is not the usual
/// one.
pub(super) fn open(path: &Path, url: &str, vfs: Option<&str>) -> Result<Opened, StoreError> {
    look(path, url)?;
    create(path).map_err(|error| {
        StoreError::unavailable(url, format!("`{}` can't be created: {error}", path.display()))
    })?;
    let sort = |error: rusqlite::Error| fault::sort(url, &error);
    let bell = Bell::open(beside(path, "-bell")).map_err(|error| {
        StoreError::unavailable(url, format!("`{}-bell` can't be opened: {error}", path.display()))
    })?;
    if path.metadata().is_ok_and(|metadata| metadata.nlink() > 1) {
        tracing::warn!(
            store = url,
            "the database has more than one name (hard links): it must never be opened by another one, for SQLite would \
             not see what was committed by this one"
        );
    }
    let mut writer = connect(path, vfs, false).map_err(sort)?;
    // Two processes that create one database at once: SQLite itself does not wait
    // for the lock when it switches a file to WAL.
    let _lock = bell
        .lock()
        .map_err(|error| StoreError::unavailable(url, format!("its bell can't be locked: {error}")))?;
    prepare(&mut writer, url)?;
    Ok(Opened { writer, bell })
}

/// Another connection, which only reads.
pub(super) fn open_reader(path: &Path, vfs: Option<&str>) -> rusqlite::Result<Connection> {
    connect(path, vfs, true)
}

fn connect(path: &Path, vfs: Option<&str>, only_reads: bool) -> rusqlite::Result<Connection> {
    // Not SQLITE_OPEN_CREATE: the file was created by us, with our mode.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = match vfs {
        None => Connection::open_with_flags(path, flags)?,
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
    };
    sql.busy_timeout(BUSY_TIMEOUT)?;
    sql.set_prepared_statement_cache_capacity(STATEMENTS);
    // Otherwise SQLite compiles a statement anew whenever a value is bound that a
    // plan could depend on, which costs more than running it.
    sql.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // FULL: a commit is on the disk when it returns. The schema's own functions
    // are not trusted, because files come from anywhere.
    sql.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF; PRAGMA trusted_schema = OFF; \
         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;",
    )?;
    // After a large transaction the log is cut down to this again.
    sql.query_row("PRAGMA journal_size_limit = 67108864", [], |_| Ok(()))?;
    if only_reads {
        // Opened for writing nevertheless: a reader of a WAL database maintains
        // the index of the log.
        sql.pragma_update(None, "query_only", true)?;
    }
    Ok(sql)
}

/// Switches to WAL and brings the schema up to date.
fn prepare(sql: &mut Connection, url: &str) -> Result<(), StoreError> {
    let sort = |error: rusqlite::Error| fault::sort(url, &error);
    let mode: String = sql.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(sort)?;
    if mode != "wal" {
        return Err(StoreError::unavailable(
            url,
            "its file system has no shared memory for SQLite's write-ahead log: choose a local one",
        ));
    }
    // Other processes may have opened it since we looked.
    let version = read_identity(sql).map_err(sort)?.judge(url)?;
    if version == VERSION {
        return Ok(());
    }
    let transaction = sql.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sort)?;
    let version = read_identity(&transaction).map_err(sort)?.judge(url)?;
    schema::migrate(&transaction, version).map_err(sort)?;
    transaction.commit().map_err(sort)
}

/// Follows the links in a path, as far as it exists.
pub(super) fn resolve(path: PathBuf) -> PathBuf {
    if let Ok(whole) = path.canonicalize() {
        return whole;
    }
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(directory)), Some(name)) => directory.join(name),
        _ => path,
    }
}

/// Creates directory and file, readable by this user only, if they are missing.
fn create(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match created {
        Ok(_) => File::open(directory)?.sync_all(),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// `path` with something appended to its last name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Refuses what is not ours to touch. Nothing is written, neither to the file
/// nor beside it.
fn look(path: &Path, url: &str) -> Result<(), StoreError> {
    refuse_special(path, url)?;
    match look_at_journal(path) {
        Journal::None => {}
        // The transaction that makes a database of an empty file is the only one
        // of ours with a journal. SQLite undoes it when it opens the file.
        Journal::OfCreation => return Ok(()),
        Journal::Foreign => {
            return Err(StoreError::unusable(
                url,
                "another program's transaction is under way in it, or was cut short (its journal lies \
                 beside the file): let that program finish it, or choose another path",
            ));
        }
    }
    let log = beside(path, "-wal");
    let has_log = || log.metadata().is_ok_and(|metadata| metadata.len() > 0);
    if has_log() {
        if !path.metadata().is_ok_and(|file| file.len() > 0) {
            // SQLite would throw the log away and begin anew.
            return Err(fault::damaged(url, "the file is missing or empty, but its log is there"));
        }
        // Another process is at work, or the last one was killed: only SQLite can
        // put file and log together. The file itself stays untouched.
        return look_inside(path, url, false);
    }
    let seen = look_at_header(path, url).and_then(|is_empty| match is_empty {
        true => Ok(()),
        false => look_inside(path, url, true),
    });
    if seen.is_err() && has_log() {
        // Somebody began to write while we looked at the bare file.
        return look_inside(path, url, false);
    }
    seen
}

/// Refuses what SQLite would open and wait for: a pipe, a socket or a device in the place of the database, or of a file
/// that it has beside it.
fn refuse_special(path: &Path, url: &str) -> Result<(), StoreError> {
    if let Some(what) = regular_file::special(path) {
        return Err(StoreError::unusable(url, format!("it is {what}, and no file: choose another path")));
    }
    for suffix in ["-journal", "-wal", "-shm"] {
        let path = beside(path, suffix);
        if let Some(what) = regular_file::special(&path) {
            let message = format!("`{}` is {what}: remove it, or choose another path", path.display());
            return Err(StoreError::unusable(url, message));
        }
    }
    Ok(())
}

/// The journal of a transaction beside a file.
enum Journal {
    None,
    /// Of the transaction that creates the database, which was cut short.
    OfCreation,
    /// Of any other.
    Foreign,
}

fn look_at_journal(path: &Path) -> Journal {
    let start = |path: &Path| {
        let mut bytes = Vec::new();
        // What can't be read is found out by those who need it.
        let _ = regular_file::open(path).and_then(|file| file.take(28).read_to_end(&mut bytes));
        bytes
    };
    let journal = start(&beside(path, "-journal"));
    // As SQLite has it: an empty one, or one whose header is cleared, is none.
    if journal.first().is_none_or(|first| *first == 0) {
        return Journal::None;
    }
    // It begins with a magic number; how many pages the database had before is at 16.
    let is_whole =
        journal.len() == 28 && journal.starts_with(&[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    let was_empty = !is_whole || journal[16..20] == [0; 4];
    let database = start(path);
    let is_new = path.metadata().is_ok_and(|metadata| metadata.len() <= LARGEST_PAGE)
        && (database.iter().all(|byte| *byte == 0) || database.starts_with(MAGIC));
    match was_empty && is_new {
        true => Journal::OfCreation,
        false => Journal::Foreign,
    }
}

/// Whether the file is missing or empty; an error if it can't be a database.
fn look_at_header(path: &Path, url: &str) -> Result<bool, StoreError> {
    let unreadable =
        |error: std::io::Error| StoreError::unavailable(url, format!("it can't be read: {error}"));
    let mut file = match regular_file::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(unreadable(error)),
    };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(StoreError::unusable(url, "it is not a file: choose another path"));
    }
    if metadata.len() == 0 {
        return Ok(true);
    }
    let mut header = [0; 100];
    let is_whole = file.read_exact(&mut header).is_ok();
    if !header.starts_with(MAGIC) {
        return Err(StoreError::unusable(
            url,
            "it is not an SQLite database: choose another path, or move the file away",
        ));
    }
    let number = |at: usize| {
        u64::from(u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]))
    };
    let page_size = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
        1 => 65536,
        size => size,
    };
    // The size in the header counts only if the last writer knew of it.
    let pages = if number(24) == number(92) { number(28) } else { 1 };
    if !is_whole || metadata.len() < pages.max(1) * page_size {
        return Err(fault::damaged(url, "the file is cut short"));
    }
    Ok(false)
}

/// Asks SQLite, by a connection that can't write.
fn look_inside(path: &Path, url: &str, alone: bool) -> Result<(), StoreError> {
    let sort = |error: rusqlite::Error| fault::sort(url, &error);
    // `immutable` keeps SQLite from creating the log and its index. It also keeps
    // it from reading them, so it is for files without a log.
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                uri.push(char::from(*byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str(if alone { "?immutable=1" } else { "?mode=ro" });
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = Connection::open_with_flags(uri, flags).map_err(sort)?;
    sql.busy_timeout(BUSY_TIMEOUT).map_err(sort)?;
    sql.execute_batch("PRAGMA trusted_schema = OFF").map_err(sort)?;
    let version = read_identity(&sql).map_err(sort)?.judge(url)?;
    if version != VERSION {
        return Ok(());
    }
    // The outer path of every tree: page 1 of each table, first row and last.
    for (table, key) in TABLES {
        for direction in ["ASC", "DESC"] {
            let query = format!("SELECT * FROM {table} ORDER BY {key} {direction} LIMIT 1");
            let mut statement = sql.prepare(&query).map_err(sort)?;
            let mut rows = statement.query([]).map_err(sort)?;
            rows.next().map_err(sort)?;
        }
    }
    let size = path.metadata().map_or(u64::MAX, |metadata| metadata.len());
    if size <= CHECKED_WHOLE_BYTES {
        let verdict: String = sql.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sort)?;
        if verdict != "ok" {
            return Err(fault::damaged(url, verdict.replace('\n', " ")));
        }
    }
    Ok(())
}

/// By what a database is recognised.
struct Identity {
    application_id: i32,
    version: i32,
    tables: Vec<String>,
}

fn read_identity(sql: &Connection) -> rusqlite::Result<Identity> {
    let mut tables = sql.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    Ok(Identity {
        application_id: sql.query_row("PRAGMA application_id", [], |row| row.get(0))?,
        version: sql.query_row("PRAGMA user_version", [], |row| row.get(0))?,
        tables: tables.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?,
    })
}

impl Identity {
    /// The version of a database that is ours, 0 for an empty one.
    fn judge(&self, url: &str) -> Result<i32, StoreError> {
        if self.application_id == 0 && self.version == 0 && self.tables.is_empty() {
            return Ok(0);
        }
        if self.application_id != APPLICATION_ID {
            return Err(StoreError::unusable(
                url,
                "it is the database of another application: choose another path",
            ));
        }
        if self.version > VERSION {
            return Err(StoreError::unusable(
                url,
                format!(
                    "a newer run-wasm-runner wrote it (schema version {}, this one knows up to \
                     {VERSION}): use that one, or a newer one",
                    self.version
                ),
            ));
        }
        let is_missing = |(table, _): &&(&str, &str)| !self.tables.iter().any(|name| name == table);
        if self.version < 1 {
            return Err(fault::damaged(url, "its schema has no version"));
        }
        if self.version == VERSION
            && let Some((table, _)) = TABLES.iter().find(is_missing)
        {
            return Err(fault::damaged(url, format!("it has no table `{table}`")));
        }
        Ok(self.version)
    }
}
