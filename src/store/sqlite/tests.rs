//! Faults that need a hand on the store's own connection.

use std::time::Duration;

use super::*;
use crate::model::{ComponentDigest, SystemClock};
use crate::store::{NewInvocation, Submitted};

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, Arc::new(SystemClock::new())).unwrap()
}

fn submits(count: usize) -> Batch {
    let new = |_| NewInvocation::new("work", ComponentDigest::from_bytes([1; 32]), "[]");
    Batch { submits: (0..count).map(new).collect(), ..Batch::default() }
}

#[track_caller]
fn assert_unavailable(result: Result<Receipt, StoreError>, words: &str) {
    let error = result.expect_err("it fails");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
}

/// Works everywhere, unlike the small file system of `tests/it/sqlite.rs`.
#[test]
fn a_batch_that_does_not_fit_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("state.db"));
    let limit = |pages: u32| {
        let writer = store.writer.lock();
        let pragma = format!("PRAGMA max_page_count = {pages}");
        writer.sql.query_row(&pragma, [], |_| Ok(())).unwrap();
    };
    limit(60);
    let batch = submits(5000);
    for _ in 0..3 {
        assert_unavailable(store.commit(&batch), "the disk is full");
        assert_eq!(store.counts(None).unwrap().unfinished(), 0);
    }
    store.commit(&submits(1)).unwrap();
    limit(1_000_000);
    let receipt = store.commit(&batch).unwrap();
    assert!(receipt.submits.iter().all(|one| matches!(one, Submitted::Created(_))));
    assert_eq!(store.counts(None).unwrap().unfinished(), 5001);
}

#[test]
fn a_lock_held_for_too_long_is_an_error_that_passes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let (store, other) = (open(&path), open(&path));
    store.writer.lock().sql.busy_timeout(Duration::ZERO).unwrap();
    let other = other.writer.lock();
    other.sql.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_unavailable(store.commit(&submits(1)), "another process");
    assert_eq!(store.counts(None).unwrap().unfinished(), 0, "reads go on");
    other.sql.execute_batch("ROLLBACK").unwrap();
    store.commit(&submits(1)).unwrap();
}

#[test]
fn a_failed_batch_forgets_the_numbers_it_drew() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("state.db"));
    {
        let writer = store.writer.lock();
        let block = "CREATE TEMP TRIGGER block BEFORE INSERT ON main.arguments \
                     BEGIN SELECT raise(ABORT, 'blocked'); END";
        writer.sql.execute_batch(block).unwrap();
    }
    let batch = submits(2);
    assert!(store.commit(&batch).is_err());
    let writer = store.writer.lock();
    writer.sql.execute_batch("DROP TRIGGER block").unwrap();
    drop(writer);
    store.commit(&batch).unwrap();
    let found = store.get(&[batch.submits[0].id]).unwrap();
    assert_eq!(&*found[0].as_ref().unwrap().task, "work");
}
