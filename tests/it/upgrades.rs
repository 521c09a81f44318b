//! Stores of older versions, and two versions of the program on one store.
//!
//! `tests/fixtures/sqlite/NNNN.sql` is a database as version NNNN of the schema
//! wrote it, with invocations in every status that a store could bring about
//! then. A fixture is written once, by the program of that version, and never changed:
//! before you add a migration, run `cargo xtask fixtures`. Those of PostgreSQL
//! are in `postgres::upgrades`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use run_wasm_runner::model::{
    Event, InvocationId, LogEntry, LogStream, Progress, RunnerId, RunnerSettings, Status, SystemClock,
};
use run_wasm_runner::runner::{Runner, RunnerOptions};
use run_wasm_runner::store::{
    Batch, ClaimRequest, EndKind, NewInvocation, Report, SqliteStore, Store, StoreError,
};
use rusqlite::{Connection, OpenFlags};

use crate::runner::site::Site;
use crate::store_contract::harness::{
    Bench, assert_store_is_consistent, child_of, detached, everything, failure, new, request, tasks, text,
    value,
};
use crate::support::clock::TestClock;
use crate::support::closures::{Closures, root};
use crate::support::disk::{Disk, Failure};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sqlite")
}

/// The version of the schema of a database.
fn version_of(path: &Path) -> u32 {
    let sql = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a database");
    sql.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("it has a version")
}

/// The version that this program writes.
fn version_of_today() -> u32 {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.db");
    drop(SqliteStore::open(&path, TestClock::new()).expect("a new store"));
    version_of(&path)
}

/// Fills a store with all that can happen. (Nothing is skipped yet.)
pub fn furnish(bench: &Bench) {
    let (dead, one, other) = (RunnerId::generate(), RunnerId::generate(), RunnerId::generate());
    let labelled = |task: &str, what: &str| NewInvocation {
        labels: [("is".to_owned(), what.to_owned())].into(),
        ..new(task)
    };
    let claim = |runner, what: &str| {
        bench.create(labelled("work", what));
        bench.claim_one(runner)
    };

    // Lost with its runner once, and owned again.
    claim(dead, "recovered, then waiting");
    bench.let_leases_run_out();
    bench.recover();
    let parent = bench.claim_one(one);
    let child = bench.create(child_of(&parent, 0));
    bench.create(detached(child_of(&parent, 1)));
    let (applied, _) = bench.report(Report {
        logs: vec![bench.line("a line\n"), LogEntry { stream: LogStream::Log, ..bench.line("logged") }],
        progress: Some(Progress { done: 1, total: 2, message: "half".to_owned() }),
        ..bench.observed(&parent, &[Event::Start, Event::Await])
    });
    assert_eq!(applied, run_wasm_runner::store::Applied::Done);
    let first_child = bench.claim_one(one);
    assert_eq!(first_child.id, child);
    bench.end(&first_child, EndKind::Final(value(r#"{"a":[1,2,3]}"#)));

    // The other child waits its turn; it must not get in the way of the claims below.
    let second_child = bench.claim_one(one);
    bench.start(&second_child);

    let failed = claim(one, "failed");
    bench.end(&failed, EndKind::Final(failure("it broke")));
    let retried = claim(one, "to be retried");
    bench.end(&retried, EndKind::Retry(failure("not yet"), Duration::from_secs(3600)));
    let running = claim(one, "running");
    bench.start(&running);
    claim(other, "claimed");
    let cancelled = claim(other, "cancelled while owned");
    let orphan = bench.create(child_of(&cancelled, 0));
    bench.cancel(cancelled.id);
    assert_eq!(bench.status(orphan), Status::Cancelled);
    let released = claim(one, "released, then cancelled");
    bench.end(&released, EndKind::Release);
    bench.cancel(released.id);
    bench.create(NewInvocation { delay: Duration::from_secs(600), ..labelled("other", "delayed") });
    bench.create(NewInvocation {
        key: Some("a key".into()),
        priority: 7,
        ..labelled("other", "queued, keyed")
    });
    bench.create(labelled("work", "queued"));
    bench.heartbeat(one);

    // One more runner whose claims were just taken away.
    let lost = RunnerId::generate();
    let mut ask = request(lost, 1);
    ask.lease = Duration::from_millis(1);
    bench.claim(ask);
    bench.clock.advance(Duration::from_millis(2));
    bench.recover();
}

/// A database as SQL text: what `sqlite3 FILE .dump` writes, and its numbers.
fn dump(sql: &Connection) -> String {
    let mut out = String::from("BEGIN;\n");
    for pragma in ["application_id", "user_version"] {
        let number: i64 = sql.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0)).expect("a number");
        writeln!(out, "PRAGMA {pragma} = {number};").expect("a string takes everything");
    }
    let mut schema = sql
        .prepare(
            "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type = 'index', rowid",
        )
        .expect("a schema");
    let objects: Vec<(String, String, String)> = schema
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .expect("a schema")
        .map(|row| row.expect("a row"))
        .collect();
    for (kind, name, definition) in objects {
        // What SQLite keeps for itself is there as soon as it is needed.
        if !name.starts_with("sqlite_") {
            writeln!(out, "{definition};").expect("a string takes everything");
        }
        if kind != "table" {
            continue;
        }
        let columns: Vec<String> = sql
            .prepare(&format!("SELECT name FROM pragma_table_info('{name}')"))
            .and_then(|mut columns| columns.query_map([], |row| row.get(0))?.collect())
            .expect("columns");
        let quoted: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
        let row = format!("SELECT {} FROM {name}", quoted.join(" || ', ' || "));
        let mut rows = sql.prepare(&row).expect("a table");
        let rows = rows.query_map([], |row| row.get::<_, String>(0)).expect("rows");
        for row in rows {
            let row = row.expect("a row");
            writeln!(out, "INSERT INTO {name} ({}) VALUES ({row});", columns.join(", "))
                .expect("a string takes everything");
        }
    }
    out + "COMMIT;\n"
}

/// The fixture of today's schema is what one would be restored from tomorrow.
#[test]
fn a_fixture_of_this_schema_is_restored_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.db");
    let clock = TestClock::new();
    let store = SqliteStore::open(&path, clock.clone()).expect("a new store");
    let bench = Bench::new(Arc::new(store), clock, ());
    furnish(&bench);
    assert_store_is_consistent(&*bench.store);
    drop(bench);
    let fixture = dump(&Connection::open(&path).expect("the store is closed"));
    write_if_asked(&fixtures(), version_of(&path), &fixture);

    let restored = directory.path().join("restored.db");
    restore(&fixture, &restored).expect("it is restored");
    assert_eq!(version_of(&restored), version_of(&path));
    let before = portrait(&path);
    assert_eq!(portrait(&restored), before);
    is_migrated_and_goes_on(&restored, &before, "the fixture of this schema");
}

/// Writes a fixture that is not there, if `cargo xtask fixtures` asks for it.
pub fn write_if_asked(directory: &Path, version: u32, fixture: &str) {
    let target = directory.join(format!("{version:04}.sql"));
    if std::env::var_os("RUN_WASM_RUNNER_WRITE_FIXTURES").is_some() && !target.exists() {
        std::fs::write(target, fixture).expect("a file");
    }
}

/// A database made of a fixture.
fn restore(fixture: &str, into: &Path) -> rusqlite::Result<()> {
    Connection::open(into)?.execute_batch(fixture)
}

/// The values that a migration must not change: status, attempt, moves and outcome of
/// each invocation, read by SQL.
pub type Portrait = BTreeMap<InvocationId, (String, u32, u32, Option<String>)>;

fn portrait(path: &Path) -> Portrait {
    let sql = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a database");
    let query = "SELECT id, status, attempt, moves, coalesce(o.value, o.failure) \
                 FROM invocation i LEFT JOIN outcome o ON o.seq = i.seq";
    let mut statement = sql.prepare(query).expect("the tables of version 1");
    let rows = statement.query_map([], |row| {
        let id = InvocationId::from_bytes(row.get(0)?);
        Ok((id, (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
    });
    rows.expect("rows").map(|row| row.expect("a row")).collect()
}

/// Checks a store that was migrated against what it was before, and finishes its
/// work.
#[track_caller]
pub fn is_whole_and_goes_on(bench: &Bench, before: &Portrait, what: &str) {
    let statuses: BTreeSet<_> = before.values().map(|one| one.0.as_str()).collect();
    assert_eq!(
        statuses.into_iter().collect::<Vec<_>>(),
        ["cancelled", "claimed", "failed", "queued", "running", "succeeded", "waiting"],
        "{what}"
    );
    assert_store_is_consistent(&*bench.store);
    let is_as_before = |id: InvocationId| {
        let (status, attempt, moves, outcome) = &before[&id];
        let now = bench.get(id);
        assert_eq!((now.status.as_str(), now.attempt), (status.as_str(), *attempt), "{what}: {id}");
        assert_eq!(bench.history(id).len(), *moves as usize + 1, "{what}: {id}");
        let stored =
            now.outcome.as_ref().map(|outcome| text(outcome).trim_start_matches("value ").to_owned());
        assert_eq!(&stored, outcome, "{what}: {id}");
    };
    before.keys().copied().for_each(is_as_before);

    // The runners of the old program are gone; a new one finishes their work.
    bench.clock.advance(Duration::from_secs(2 * 3600));
    bench.recover();
    let runner = RunnerId::generate();
    let everything = ClaimRequest { tasks: tasks(&["work", "child", "other"]), ..request(runner, 100) };
    for claim in bench.claim(everything).claimed {
        // The end of a parent ends its attached children.
        bench.report(bench.ended(&claim, EndKind::Final(value("43"))));
    }
    assert_eq!(bench.store.counts(None).expect("it counts").unfinished(), 0, "{what}");
    before.iter().filter(|(_, one)| one.3.is_some()).for_each(|(id, _)| is_as_before(*id));
    assert_store_is_consistent(&*bench.store);
}

#[test]
fn every_older_schema_has_a_fixture() {
    for version in 1..version_of_today() {
        let fixture = fixtures().join(format!("{version:04}.sql"));
        assert!(fixture.exists(), "{fixture:?} is missing: `cargo xtask fixtures` before the migration");
    }
}

#[test]
fn an_older_store_is_migrated_and_its_work_goes_on() {
    let mut found = 0;
    for entry in std::fs::read_dir(fixtures()).expect("fixtures") {
        let fixture = entry.expect("an entry").path();
        found += 1;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state.db");
        let text = std::fs::read_to_string(&fixture).expect("a fixture");
        restore(&text, &path).unwrap_or_else(|error| panic!("{fixture:?}: {error}"));
        is_migrated_and_goes_on(&path, &portrait(&path), &format!("{fixture:?}"));
    }
    assert!(found > 0, "there is no fixture");
}

#[track_caller]
fn is_migrated_and_goes_on(path: &Path, before: &Portrait, what: &str) {
    let clock = TestClock::new();
    clock.advance(Duration::from_secs(60));
    let store = SqliteStore::open(path, clock.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(version_of(path), version_of_today(), "{what}");
    is_whole_and_goes_on(&Bench::new(Arc::new(store), clock, ()), before, what);
}

/// Does what the migration of a newer program would do, as far as an older one
/// can see.
fn upgrade(path: &Path) {
    let sql = Connection::open(path).expect("the store is open elsewhere");
    sql.busy_timeout(Duration::from_secs(10)).expect("a time-out");
    sql.pragma_update(None, "user_version", 99).expect("a commit");
}

#[track_caller]
fn assert_upgraded<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    let error = result.expect_err("it is refused");
    assert!(matches!(error, StoreError::Upgraded { found: 99, .. }), "{error:?}");
    let message = error.to_string();
    for word in ["newer run-wasm-runner", "state.db", "schema version 99", "stop this one"] {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn a_store_that_a_newer_program_has_upgraded_is_neither_written_nor_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.db");
    let store = SqliteStore::open(&path, TestClock::new()).expect("a new store");
    let first = new("work");
    store.commit(&Batch { submits: vec![first.clone()], ..Batch::default() }).expect("a commit");
    // A reader's connection, and prepared statements, are there already.
    assert!(store.get(&[first.id]).expect("a read")[0].is_some());
    upgrade(&path);
    let before = portrait(&path);
    for batch in [
        Batch { submits: vec![new("work")], ..Batch::default() },
        Batch { claim: Some(request(RunnerId::generate(), 1)), ..Batch::default() },
        Batch { recover: true, ..Batch::default() },
    ] {
        assert_upgraded(store.commit(&batch));
    }
    assert_upgraded(store.get(&[first.id]));
    assert_upgraded(store.counts(None));
    assert_eq!(portrait(&path), before);
}

#[test]
fn a_runner_whose_store_was_upgraded_stops_and_says_so() {
    let site = Site::new();
    let running = site.start(&["--slots", "2"]);
    let sleeper = site.submit("sleep-ms", serde_json::json!([60_000]));
    site.wait_for(sleeper, Status::Running);
    let path = site.path().join(".wasm-runner/state.db");
    let before = portrait(&path);
    upgrade(&path);
    // The newer program tells of its commits as every program does.
    std::fs::write(site.path().join(".wasm-runner/state.db-bell"), "\n").expect("the bell is rung");
    let began = std::time::Instant::now();
    let output = running.wait().expect(69);
    assert!(began.elapsed() < Duration::from_secs(10), "the sleeper is not waited for");
    assert!(output.stderr.contains("a newer run-wasm-runner has upgraded the store"), "{output:?}");
    assert_eq!(portrait(&path), before, "nothing was written");
}

/// A runner that can't write looks how things stand before it tries again: that look
/// must tell it, too.
#[test]
fn a_runner_whose_disk_fails_while_its_store_is_upgraded_stops_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.db");
    let disk = Disk::new();
    let clock = Arc::new(SystemClock::new());
    let store = SqliteStore::open_with(&path, clock.clone(), Some(disk.vfs())).expect("a new store");
    let store = Arc::new(store);
    let (started, has_started) = channel();
    let guests = Closures::default().with("hang", move |_| {
        let started = started.clone();
        async move {
            // Nobody listens any more at the end.
            let _ = started.send(());
            std::future::pending().await
        }
    });
    let submits = vec![root("hang", &[])];
    store.commit(&Batch { submits, ..Batch::default() }).expect("a commit");
    let options = RunnerOptions {
        slots: 1,
        settings: RunnerSettings { lease: Duration::from_secs(300), ..RunnerSettings::default() },
        ..RunnerOptions::default()
    };
    let runner = Runner::start(store.clone(), Arc::new(guests), clock, options).expect("it starts");
    has_started.recv_timeout(Duration::from_secs(30)).expect("its guest runs");
    // From here on nothing can be written: not that it has started, if that was not
    // written yet, and not the cancel.
    let code = rusqlite::ffi::SQLITE_FULL;
    disk.fail(Failure { at: disk.operations() + 1, count: usize::MAX / 2, code, of_reads: false });
    let handle = runner.handle();
    handle.cancel(InvocationId::generate(), "to have something to write");
    handle.cancel(all(&*store)[0], "not wanted");
    let deadline = Instant::now() + Duration::from_secs(30);
    while disk.failed() == 0 {
        assert!(Instant::now() < deadline, "it never wrote");
        std::thread::yield_now();
    }
    upgrade(&path);
    let (stopped, has_stopped) = channel();
    std::thread::spawn(move || {
        runner.wait_stopping();
        runner.stop();
        let _ = stopped.send(());
    });
    has_stopped.recv_timeout(Duration::from_secs(30)).expect("it stops by itself");
    assert!(matches!(handle.fault(), Some(StoreError::Upgraded { found: 99, .. })), "{:?}", handle.fault());
}

fn all(store: &dyn Store) -> Vec<InvocationId> {
    store.list(&everything()).expect("a list").iter().map(|one| one.id).collect()
}
