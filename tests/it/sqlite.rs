//! Promises of the SQLite store alone: files that are left alone, faults of the
//! disk, and several processes on one file (here: several stores, which share
//! nothing but the file).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use run_wasm_runner::model::{InvocationId, RunnerId, Status};
use run_wasm_runner::store::{
    Adoption, Batch, ClaimRequest, EndKind, Keep, NewInvocation, Prune, SqliteStore, Store, StoreError,
    Submitted, Watch,
};
use rusqlite::Connection;

use crate::store_contract::harness::{
    Bench, assert_numbers_are_drawn_again, assert_store_is_consistent, child_of, failure, ids, new, request,
    tasks,
};
use crate::support::clock::TestClock;

/// Longer than any machine needs; nothing waits for it unless it fails.
const LONG: Duration = Duration::from_secs(30);

fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(path, TestClock::new())
}

fn submit(store: &dyn Store, new: NewInvocation) -> Result<InvocationId, StoreError> {
    let batch = Batch { submits: vec![new], ..Batch::default() };
    match store.commit(&batch)?.submits.remove(0) {
        Submitted::Created(id) => Ok(id),
        other => panic!("not created but {other:?}"),
    }
}

/// A directory with a store in it that holds a little and is closed.
fn closed_store() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = open(&path).unwrap();
    for _ in 0..100 {
        submit(&store, new("work")).unwrap();
    }
    (directory, path)
}

/// The bytes of all files of a directory.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(&path).unwrap_or_default()))
        .collect()
}

/// Opening must fail as unusable with these words, and touch nothing.
#[track_caller]
fn assert_is_refused(path: &Path, words: &[&str]) {
    let directory = path.parent().unwrap();
    let before = contents(directory);
    let Err(error) = open(path) else {
        panic!("it was opened");
    };
    assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
    assert!(before == contents(directory), "the files were changed, or others made");
}

#[test]
fn a_newer_database_is_refused_and_untouched() {
    let (_directory, path) = closed_store();
    let sql = Connection::open(&path).unwrap();
    sql.pragma_update(None, "user_version", 99).unwrap();
    drop(sql);
    assert_is_refused(&path, &["newer", "version 99", "state.db"]);
}

#[test]
fn a_newer_database_whose_log_is_left_is_refused() {
    let (directory, path) = closed_store();
    let sql = Connection::open(&path).unwrap();
    sql.pragma_update(None, "user_version", 99).unwrap();
    // As after a kill: copied while the log was not yet part of the file.
    let copy = directory.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("state.db{suffix}");
        fs::copy(directory.path().join(&name), copy.join(&name)).unwrap();
    }
    let path = copy.join("state.db");
    let before = contents(&copy);
    let error = open(&path).err().expect("it is refused");
    assert!(error.to_string().contains("newer"), "{error}");
    for (path, bytes) in before {
        assert!(bytes == fs::read(&path).unwrap(), "{path:?} was changed");
    }
}

#[test]
fn another_applications_database_is_refused_and_untouched() {
    for setup in [
        "CREATE TABLE invocation (x)",
        "PRAGMA application_id = 77",
        "PRAGMA user_version = 1",
        "PRAGMA journal_mode = WAL; CREATE TABLE t (x)",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("other.db");
        let sql = Connection::open(&path).unwrap();
        sql.execute_batch(setup).unwrap();
        sql.execute_batch("VACUUM").unwrap();
        drop(sql);
        assert_is_refused(&path, &["another application", "choose another path"]);
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_and_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.txt");
    for text in ["x", "dear diary\n", &"many words ".repeat(1000)] {
        fs::write(&path, text).unwrap();
        assert_is_refused(&path, &["not an SQLite database"]);
    }
    let inner = directory.path().join("directory");
    fs::create_dir(&inner).unwrap();
    assert_is_refused(&inner, &["not a file"]);
}

#[test]
fn a_truncated_database_is_refused_and_untouched() {
    let (_directory, path) = closed_store();
    let bytes = fs::read(&path).unwrap();
    for length in [50, 100, 4095, 4096, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        assert_is_refused(&path, &["damaged", "cut short", "backup"]);
    }
}

#[test]
fn a_corrupt_database_is_refused_and_untouched() {
    let (_directory, path) = closed_store();
    let bytes = fs::read(&path).unwrap();
    for page in 0..bytes.len() / 4096 {
        let mut bytes = bytes.clone();
        // Not the file's own header: that is told apart above.
        let start = (page * 4096).max(100);
        bytes[start..(page + 1) * 4096].fill(0xa5);
        fs::write(&path, &bytes).unwrap();
        assert_is_refused(&path, &["damaged"]);
    }
}

#[test]
fn a_database_without_a_table_is_refused() {
    let (_directory, path) = closed_store();
    let sql = Connection::open(&path).unwrap();
    sql.execute_batch("DROP TABLE tally").unwrap();
    drop(sql);
    assert_is_refused(&path, &["damaged", "no table `tally`"]);
}

#[test]
fn a_log_without_its_file_is_refused_and_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    fs::write(path.with_file_name("state.db-wal"), [7; 5000]).unwrap();
    assert_is_refused(&path, &["damaged", "log"]);
    fs::write(&path, "").unwrap();
    assert_is_refused(&path, &["damaged", "log"]);
}

/// The header of a journal for a database that had so many pages.
fn journal(pages: u32) -> Vec<u8> {
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    for number in [0, 7, pages, 512, 4096] {
        journal.extend(u32::to_be_bytes(number));
    }
    journal.resize(512, 0);
    journal
}

#[test]
fn a_creation_that_was_cut_short_is_begun_again() {
    let (_directory, path) = closed_store();
    let page = fs::read(&path).unwrap()[..4096].to_vec();
    for (file, journal) in [(vec![0; 4096], journal(0)), (page, journal(0)), (Vec::new(), vec![0xd9; 20])] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        fs::write(&path, file).unwrap();
        fs::write(path.with_file_name("state.db-journal"), journal).unwrap();
        submit(&open(&path).unwrap(), new("work")).unwrap();
        assert_eq!(open(&path).unwrap().counts(None).unwrap().unfinished(), 1);
    }
}

#[test]
fn a_database_with_the_journal_of_another_program_is_refused_and_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other.db");
    let sql = Connection::open(&path).unwrap();
    sql.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(sql);
    fs::write(path.with_file_name("other.db-journal"), journal(2)).unwrap();
    assert_is_refused(&path, &["another program's transaction", "journal"]);
}

#[test]
fn an_empty_file_becomes_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    fs::write(&path, "").unwrap();
    submit(&open(&path).unwrap(), new("work")).unwrap();
}

#[test]
fn a_file_may_have_an_odd_name() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["a b?c=d&e%20#f.db", "file:x.db", ":memory:", "ünï.db"] {
        let path = directory.path().join(name);
        submit(&open(&path).unwrap(), new("work")).unwrap();
        assert!(path.metadata().unwrap().len() > 0, "{name}");
        assert_eq!(open(&path).unwrap().counts(None).unwrap().unfinished(), 1);
    }
}

#[test]
fn files_that_it_creates_are_private() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("a").join("b");
    let store = open(&inner.join("state.db")).unwrap();
    submit(&store, new("work")).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory.path().join("a")), 0o700);
    assert_eq!(mode(&inner), 0o700);
    let files = fs::read_dir(&inner).unwrap();
    let files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_unavailable() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.join("state.db"), PathBuf::from("/proc/state.db")] {
        let error = open(&path).err().expect("it can't be opened");
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains(path.to_str().unwrap()), "{message}");
    }
}

#[test]
fn reopen_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let clock = TestClock::new();
    let bench = |path: &Path| {
        let store = SqliteStore::open(path, clock.clone()).unwrap();
        Bench::new(Arc::new(store), clock.clone(), ())
    };
    let before = bench(&path);
    let root = before.create(NewInvocation {
        key: Some("key".into()),
        labels: [("a".into(), "b".into())].into(),
        ..new("work")
    });
    let runner = RunnerId::generate();
    let parent = before.claim_one(runner);
    let child = before.create(child_of(&parent, 0));
    before.end(&before.claim_one(runner), EndKind::Final(failure("broke")));
    let portrait = |bench: &Bench| {
        format!(
            "{:#?}{:#?}{:#?}{:#?}",
            bench.store.get(&[root, child]).unwrap(),
            bench.history(root),
            bench.history(child),
            bench.store.counts(None).unwrap()
        )
    };
    let expected = portrait(&before);
    drop(before);
    let after = bench(&path);
    assert_eq!(portrait(&after), expected);
    assert_store_is_consistent(&*after.store);
    after.succeed(&parent);
}

#[test]
fn committed_batches_survive_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = open(&path).unwrap();
    let id = submit(&store, new("work")).unwrap();
    // What a kill leaves: the files as they are, no closing.
    let copy = directory.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("state.db{suffix}");
        fs::copy(directory.path().join(&name), copy.join(&name)).unwrap();
    }
    let revived = open(&copy.join("state.db")).unwrap();
    assert!(revived.get(&[id]).unwrap()[0].is_some());
    assert_store_is_consistent(&revived);
}

#[test]
fn a_row_that_cannot_be_read_is_an_error_of_its_own() {
    let (_directory, path) = closed_store();
    let store = open(&path).unwrap();
    let good = submit(&store, new("work")).unwrap();
    let bad = submit(&store, new("work")).unwrap();
    let sql = Connection::open(&path).unwrap();
    // A damaged disk does not ask either.
    sql.pragma_update(None, "ignore_check_constraints", true).unwrap();
    for damage in ["labels = '{'", "status = 'asleep'", "root = x'00'", "progress = '[]'"] {
        let update = format!("UPDATE invocation SET {damage} WHERE id = ?1");
        sql.execute(&update, [bad.as_bytes()]).unwrap();
        let error = store.get(&[bad]).unwrap_err();
        assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().contains("damaged"), "{error}");
        assert!(store.get(&[good]).unwrap()[0].is_some());
        submit(&store, new("work")).unwrap();
    }
}

#[test]
fn many_may_create_one_store_at_once() {
    for _ in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("inner").join("state.db");
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    submit(&open(&path).unwrap(), new("work")).unwrap();
                });
            }
        });
        assert_eq!(open(&path).unwrap().counts(None).unwrap().unfinished(), 4);
    }
}

#[test]
fn a_process_does_not_use_the_number_of_a_name_that_another_one_has_had_forgotten() {
    let (_directory, path) = closed_store();
    let [one, other] = [open(&path).unwrap(), open(&path).unwrap()];
    assert_numbers_are_drawn_again(&one, &other);
}

#[test]
fn two_stores_on_one_file_hand_out_each_invocation_once() {
    let (_directory, path) = closed_store();
    let stores = [open(&path).unwrap(), open(&path).unwrap()];
    let start = Barrier::new(stores.len());
    let mut claimed: Vec<InvocationId> = std::thread::scope(|scope| {
        let workers: Vec<_> = stores
            .iter()
            .map(|store| {
                scope.spawn(|| {
                    let runner = RunnerId::generate();
                    let mut mine = Vec::new();
                    start.wait();
                    loop {
                        let batch = Batch { claim: Some(request(runner, 3)), ..Batch::default() };
                        let receipt = store.commit(&batch).unwrap();
                        if receipt.claimed.is_empty() {
                            return mine;
                        }
                        mine.extend(ids(&receipt));
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    claimed.sort_unstable();
    claimed.dedup();
    assert_eq!(claimed.len(), 100);
    let counts = stores[0].counts(None).unwrap();
    assert_eq!(counts.get(Status::Claimed), 100);
}

#[test]
fn a_store_that_met_a_former_id_claims_it_after_another_process_has_adopted_it() {
    const FORMER: &str = "acme:plugins/filter.apply";
    const FULL: &str = "one::acme:plugins/filter.apply";
    let (_directory, path) = closed_store();
    let (store, other) = (open(&path).unwrap(), open(&path).unwrap());
    let id = submit(&store, new(FORMER)).unwrap();
    let claim = Batch {
        claim: Some(ClaimRequest { tasks: tasks(&[FULL]), ..request(RunnerId::generate(), 1) }),
        ..Batch::default()
    };
    assert_eq!(ids(&store.commit(&claim).unwrap()), []);
    let component_digest = new(FORMER).component_digest;
    let adoption = Adoption { from: FORMER.into(), to: FULL.into(), component_digest, has_rivals: false };
    let adopted = other.commit(&Batch { adoptions: vec![adoption], ..Batch::default() }).unwrap().adopted;
    assert_eq!(adopted, [true]);
    let claimed = store.commit(&claim).unwrap().claimed;
    assert_eq!(claimed.iter().map(|claim| (claim.id, &*claim.task)).collect::<Vec<_>>(), [(id, FULL)]);
}

/// Watches a store; what it tells arrives in the channel.
fn watch(store: &SqliteStore) -> (Watch, Receiver<()>) {
    let (told, tell) = channel();
    let watch = store.watch(Arc::new(move || {
        // Nobody listens any more when the test is over.
        let _ = told.send(());
    }));
    (watch.unwrap(), tell)
}

#[test]
fn watchers_learn_of_a_commit_of_another_process() {
    let (_directory, path) = closed_store();
    let (mine, other) = (open(&path).unwrap(), open(&path).unwrap());
    let (_watch, told) = watch(&mine);
    for _ in 0..20 {
        let id = submit(&other, new("work")).unwrap();
        told.recv_timeout(LONG).expect("it is told");
        assert!(mine.get(&[id]).unwrap()[0].is_some(), "told too early");
        while told.try_recv().is_ok() {}
        // Own commits in between must not hide the next foreign one.
        submit(&mine, new("work")).unwrap();
    }
}

#[test]
fn watchers_do_not_learn_of_commits_of_their_own_process() {
    let (_directory, path) = closed_store();
    let (mine, other) = (open(&path).unwrap(), open(&path).unwrap());
    let (_watch, told) = watch(&mine);
    for _ in 0..50 {
        submit(&mine, new("work")).unwrap();
    }
    submit(&other, new("work")).unwrap();
    told.recv_timeout(LONG).expect("it is told");
    let count = 1 + told.try_iter().count();
    assert!(count < 25, "told {count} times of one commit");
}

#[test]
fn a_process_that_dies_between_commit_and_ring_is_noticed() {
    let (_directory, path) = closed_store();
    let store = open(&path).unwrap();
    let bell = path.with_file_name("state.db-bell");
    let dying = fs::OpenOptions::new().write(true).open(bell).unwrap();
    let (_watch, told) = watch(&store);
    let sql = Connection::open(&path).unwrap();
    // (An update that changes no byte would be no commit.)
    sql.execute("UPDATE invocation SET depth = depth + 1", []).unwrap();
    drop(dying);
    told.recv_timeout(LONG).expect("its end is told");
}

#[test]
fn a_bell_that_is_taken_away_is_replaced() {
    let (_directory, path) = closed_store();
    let (mine, other) = (open(&path).unwrap(), open(&path).unwrap());
    let bell = path.with_file_name("state.db-bell");
    let (_watch, told) = watch(&mine);
    for round in 0..6 {
        if round % 2 == 0 {
            fs::remove_file(&bell).unwrap();
        } else {
            fs::write(path.with_file_name("new"), "").unwrap();
            fs::rename(path.with_file_name("new"), &bell).unwrap();
        }
        told.recv_timeout(LONG).expect("the loss is told");
        while told.recv_timeout(Duration::from_millis(100)).is_ok() {}
        submit(&other, new("work")).unwrap();
        told.recv_timeout(LONG).expect("the commit is told");
        while told.recv_timeout(Duration::from_millis(100)).is_ok() {}
    }
}

#[test]
fn a_database_has_one_bell_under_all_its_names() {
    let (directory, path) = closed_store();
    std::os::unix::fs::symlink(&path, directory.path().join("file-link.db")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(directory.path(), elsewhere.path().join("link")).unwrap();
    let relative = directory.path().join("..").join(directory.path().file_name().unwrap()).join("state.db");
    for name in [directory.path().join("file-link.db"), elsewhere.path().join("link/state.db"), relative] {
        let (mine, other) = (open(&path).unwrap(), open(&name).unwrap());
        let (_watch, told) = watch(&mine);
        submit(&other, new("work")).unwrap();
        told.recv_timeout(LONG).expect("the one with the plain name is told");
        let (_watch, told) = watch(&other);
        submit(&mine, new("work")).unwrap();
        told.recv_timeout(LONG).expect("the one with the link is told");
    }
    assert!(!directory.path().join("file-link.db-bell").exists());
}

#[test]
fn a_bell_that_is_a_link_or_a_pipe_is_refused_and_left_alone() {
    let (directory, path) = closed_store();
    let (bell, victim) = (path.with_file_name("state.db-bell"), directory.path().join("victim"));
    fs::write(&victim, "precious").unwrap();
    fs::remove_file(&bell).unwrap();
    std::os::unix::fs::symlink(&victim, &bell).unwrap();
    let says = |words: &str| {
        let error = open(&path).map(drop).expect_err("the bell is not one").to_string();
        assert!(error.contains(words), "{error}");
    };
    says("state.db-bell` can't be opened: it is a symbolic link: remove it");
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    fs::remove_file(&bell).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &bell, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    says("it is no ordinary file: remove it");
}

#[test]
fn a_dropped_watch_notifies_nobody() {
    let (_directory, path) = closed_store();
    let (mine, other) = (open(&path).unwrap(), open(&path).unwrap());
    let (watch, told) = watch(&mine);
    drop(watch);
    submit(&other, new("work")).unwrap();
    // The sender went with the watch: nothing can come any more.
    assert!(told.recv().is_err());
}

/// A file system of two megabytes; `None`, and said so, where that is not
/// permitted.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "none"])
            .arg(directory.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(directory));
        }
        eprintln!("skipped: a small file system can't be mounted here");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_full_disk_is_an_error_that_passes() {
    let Some(disk) = SmallDisk::new() else {
        return;
    };
    let path = disk.0.path().join("state.db");
    let store = open(&path).unwrap();
    let before = submit(&store, new("work")).unwrap();
    let filler = disk.0.path().join("filler");
    fs::write(&filler, vec![0; 1 << 20]).unwrap();
    let large = NewInvocation { arguments: format!("[\"{}\"]", "x".repeat(20 << 20)).into(), ..new("work") };
    let (first, last) = (new("work"), new("work"));
    let batch = Batch { submits: vec![first.clone(), large, last], ..Batch::default() };
    for _ in 0..3 {
        let error = store.commit(&batch).unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("full"), "{error}");
        assert!(store.get(&[first.id]).unwrap()[0].is_none());
    }
    // Space for small things is left, and then there is none.
    for _ in 0..10 {
        submit(&store, new("work")).unwrap();
    }
    let error = (0..50_000).find_map(|_| submit(&store, new("work")).err()).expect("the disk is full");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(store.get(&[before]).unwrap()[0].is_some(), "still readable");

    fs::remove_file(&filler).unwrap();
    for _ in 0..10 {
        submit(&store, new("work")).unwrap();
    }
    assert_store_is_consistent(&store);
    drop(store);
    assert_store_is_consistent(&open(&path).unwrap());
}

#[test]
fn the_log_leaves_the_database_the_room_to_take_it_in() {
    let Some(disk) = SmallDisk::new() else {
        return;
    };
    let store = open(&disk.0.path().join("state.db")).unwrap();
    // A megabyte, which makes two of log: both together are more than the disk has.
    for n in 0..50 {
        let arguments = format!("[\"{}\"]", "x".repeat(20_000)).into();
        submit(&store, NewInvocation { arguments, ..new("work") })
            .unwrap_or_else(|error| panic!("{n}: {error}"));
    }
    assert_store_is_consistent(&store);
}

#[test]
fn the_space_of_removed_rows_is_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let clock = TestClock::new();
    let bench = Bench::new(Arc::new(SqliteStore::open(&path, clock.clone()).unwrap()), clock.clone(), ());
    let pages = |pragma: &str| -> i64 {
        let sql = Connection::open(&path).unwrap();
        sql.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0)).unwrap()
    };
    let fill_and_remove = || {
        let new =
            |_| NewInvocation { arguments: format!("[\"{}\"]", "x".repeat(1000)).into(), ..new("work") };
        let submits: Vec<_> = (0..1000).map(new).collect();
        bench.commit(Batch { submits, ..Batch::default() });
        for claim in bench.claim(request(RunnerId::generate(), 1000)).claimed {
            bench.succeed(&claim);
        }
        let full = pages("page_count");
        let keep = vec![Keep { status: Status::Succeeded, age: None, count: Some(0), at_least: 0 }];
        let receipt = bench.commit(Batch {
            prune: Some(Prune { keep, max: 1000, after: None, tasks: None, only_counts: false }),
            ..Batch::default()
        });
        assert_eq!(receipt.pruned.map(|pruned| pruned.removed), Some(1000));
        full
    };
    // The schema itself takes a page for each table and index.
    let empty = pages("page_count");
    let first = fill_and_remove();
    let (free, filled) = (pages("freelist_count"), first - empty);
    assert!(free * 10 > filled * 9, "of {filled} pages that were filled {free} are free");
    for _ in 0..3 {
        let again = fill_and_remove();
        assert!(again * 10 <= first * 11, "the file does not grow: {first} pages, then {again}");
    }
    assert_store_is_consistent(&*bench.store);
}

#[test]
fn a_column_of_words_refuses_other_words() {
    let (_directory, path) = closed_store();
    let sql = Connection::open(&path).unwrap();
    for change in [
        "UPDATE invocation SET status = 'done'",
        "UPDATE invocation SET place = 'lost'",
        "UPDATE invocation SET attempt = -1",
        "INSERT INTO outcome (seq) VALUES (1)",
        "INSERT INTO paused (kind, name) VALUES ('runner', 'one')",
    ] {
        let error = sql.execute(change, []).expect_err(change).to_string();
        assert!(error.contains("CHECK constraint failed"), "{change}: {error}");
    }
}
