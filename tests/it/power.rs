//! The disk under the SQLite store fails, or its power does, at each operation.
//!
//! One script of batches runs over a disk that keeps a record
//! (`support/disk.rs`). For each moment the files are reconstructed as a loss of power
//! would leave them, and opened: they must hold every batch that was committed until
//! then, perhaps the unfinished batch as a whole, and never half of it. Then the script
//! runs with operations that fail.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use run_wasm_runner::model::{Claim, Clock, Event, InvocationId, Outcome, RunnerId, Usage};
use run_wasm_runner::store::{
    AttemptEnd, Batch, Cancel, EndKind, Heartbeat, NewInvocation, Receipt, Report, SqliteStore, Store,
    StoreError,
};
use rusqlite::{Connection, ffi};

use crate::store_contract::harness::{
    LEASE, assert_store_is_consistent, child_of, everything, new, request, text, value,
};
use crate::support::clock::TestClock;
use crate::support::disk::{Disk, Failure, Random};

/// In memory if possible: the disk is ours, and there is much of it.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    }
    .expect("a directory")
}

/// Everything that a store says, as text.
fn portrait(store: &dyn Store) -> String {
    let mut invocations = store.list(&everything()).expect("a list");
    invocations.sort_by_key(|one| one.id);
    let ids: Vec<_> = invocations.iter().map(|one| one.id).collect();
    let whole = store.get(&ids).expect("a read");
    let mut portrait = String::new();
    for one in whole.into_iter().flatten() {
        let history: Vec<_> =
            store.history(one.id).expect("a history").iter().map(|step| step.reason.as_str()).collect();
        let outcome = one.outcome.as_ref().map(text).unwrap_or_default();
        let arguments = store.arguments(one.id).expect("arguments").expect("arguments").len();
        let logs = store.logs(one.id).expect("logs").len();
        portrait.push_str(&format!(
            "{} {} {} {:?} {arguments} {} {logs} {}\n",
            one.id,
            one.status,
            one.attempt,
            one.runner,
            outcome.len(),
            history.join(",")
        ));
    }
    portrait
}

/// Runs batches over a store, one after the other, and knows what is claimed.
struct Script {
    store: Option<SqliteStore>,
    path: PathBuf,
    disk: Disk,
    clock: Arc<TestClock>,
    runner: RunnerId,
    claims: Vec<Claim>,
    /// The state after each commit, and the moment when it was acknowledged.
    committed: Vec<(usize, String)>,
    /// True if errors are expected, and failed calls are tried again.
    is_faulty: bool,
    errors: Vec<StoreError>,
}

impl Script {
    fn new(directory: &Path, is_faulty: bool) -> Self {
        Self {
            store: None,
            path: directory.join("state.db"),
            disk: Disk::new(),
            clock: TestClock::new(),
            runner: RunnerId::generate(),
            claims: Vec::new(),
            committed: vec![(0, String::new())],
            is_faulty,
            errors: Vec::new(),
        }
    }

    /// Does something to the store until it succeeds.
    fn insist<T>(&mut self, mut act: impl FnMut(&Self) -> Result<T, StoreError>) -> T {
        loop {
            match act(self) {
                Ok(done) => return done,
                Err(error) => {
                    assert!(self.is_faulty, "{error}");
                    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
                    self.errors.push(error);
                    assert!(self.errors.len() < 1000, "it never succeeds");
                }
            }
        }
    }

    fn open(&mut self) {
        let store = self.insist(|this| {
            SqliteStore::open_with(
                &this.path,
                Arc::clone(&this.clock) as Arc<dyn Clock>,
                Some(this.disk.vfs()),
            )
        });
        self.store = Some(store);
    }

    /// Commits; the state after it is remembered.
    fn commit(&mut self, batch: &Batch) -> Receipt {
        let receipt = self.insist(|this| this.store.as_ref().expect("it is open").commit(batch));
        let acknowledged = self.disk.moment();
        // When operations fail, the last state alone is of interest.
        let portrait = match self.is_faulty {
            true => String::new(),
            false => portrait(self.store.as_ref().expect("it is open")),
        };
        self.committed.push((acknowledged, portrait));
        receipt
    }

    fn submit(&mut self, submits: Vec<NewInvocation>) -> Vec<InvocationId> {
        let ids = submits.iter().map(|new| new.id).collect();
        self.commit(&Batch { submits, ..Batch::default() });
        ids
    }

    fn claim(&mut self, max: usize) {
        let claim = Some(request(self.runner, max));
        let mut receipt = self.commit(&Batch { claim, recover: true, ..Batch::default() });
        self.claims.append(&mut receipt.claimed);
    }

    fn report(&self, claim: &Claim, how: Option<EndKind>) -> Report {
        let now = self.clock.now();
        Report {
            id: claim.id,
            runner: claim.runner,
            attempt: claim.attempt,
            observed: vec![(now, Event::Start)],
            logs: Vec::new(),
            progress: None,
            component_digest: None,
            end: how.map(|how| AttemptEnd { at: now, how, has_children: false, usage: Usage::default() }),
        }
    }

    fn end(&mut self, count: usize, how: impl Fn() -> EndKind) {
        let ended: Vec<_> = self.claims.drain(..count.min(self.claims.len())).collect();
        let reports = ended.iter().map(|claim| self.report(claim, Some(how()))).collect();
        self.commit(&Batch { reports, ..Batch::default() });
    }

    /// Does the work of a small runner for some rounds; `large` is the size of its
    /// large values.
    fn run(&mut self, rounds: usize, large: usize) {
        let big = |size: usize| -> Arc<str> { format!("[\"{}\"]", "x".repeat(size)).into() };
        self.open();
        for round in 0..rounds {
            let ids = self.submit((0..3).map(|_| new("work")).collect());
            self.claim(2);
            self.end(1, || EndKind::Final(value("42")));
            let parent = self.claims[0].clone();
            self.submit(vec![child_of(&parent, 0), child_of(&parent, 1)]);
            self.claim(1);
            // Larger than a page: what overflows lies elsewhere.
            self.submit(vec![NewInvocation { arguments: big(large), ..new("other") }]);
            self.claim(10);
            self.end(1, || EndKind::Release);
            self.end(1, || EndKind::Retry(value("0"), std::time::Duration::from_secs(1)));
            let cancel = Cancel { id: ids[2], by: None, message: "not wanted".to_owned() };
            let heartbeat = Some(Heartbeat { runner: self.runner, lease: LEASE });
            self.commit(&Batch { cancels: vec![cancel], heartbeat, ..Batch::default() });
            self.clock.advance(std::time::Duration::from_secs(2));
            let outcome = format!("\"{}\"", "y".repeat(large / 2));
            self.end(10, || EndKind::Final(Outcome::Value(outcome.as_str().into())));
            if round == 0 {
                // Its last connection moves the log into the database.
                self.store = None;
                self.open();
            }
        }
    }
}

/// Opens what a loss of power has left, and works with it.
#[track_caller]
fn check(image: &Path, allowed: &[(usize, String)], clock: &Arc<TestClock>, what: &str) {
    let path = image.join("state.db");
    let opened = SqliteStore::open(&path, Arc::clone(clock) as Arc<dyn Clock>);
    let store = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = portrait(&store);
    assert!(
        allowed.iter().any(|(_, portrait)| *portrait == found),
        "{what}: neither what was committed nor that with the batch under way:\n{found}\nbut one of {allowed:#?}"
    );
    assert_store_is_consistent(&store);
    // It goes on.
    let next = new("work");
    let submit = Batch { submits: vec![next.clone()], ..Batch::default() };
    store.commit(&submit).unwrap_or_else(|error| panic!("{what}: {error}"));
    let claim = Batch { claim: Some(request(RunnerId::generate(), 1000)), recover: true, ..Batch::default() };
    let claimed = store.commit(&claim).unwrap_or_else(|error| panic!("{what}: {error}")).claimed;
    assert!(claimed.iter().any(|claim| claim.id == next.id), "{what}");
    assert_store_is_consistent(&store);
    drop(store);
    let sql = Connection::open(&path).expect("the store is closed");
    let verdict: String = sql.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a verdict");
    assert_eq!(verdict, "ok", "{what}");
}

fn seed() -> u64 {
    match std::env::var("WASM_RUNNER_TEST_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_micros() as u64,
    }
}

/// Loses the power at moments of a script that has run.
fn lose_power(script: &Script, moments: impl Iterator<Item = usize>, seed: u64) -> usize {
    let mut count = 0;
    for moment in moments {
        let what =
            format!("power lost at {moment} of {}, WASM_RUNNER_TEST_SEED={seed}", script.disk.moment());
        let mut random = Random(seed ^ (moment as u64) << 20);
        let image = directory();
        script.disk.lose_power(moment, &mut random, image.path());
        let last = script.committed.iter().rposition(|(acknowledged, _)| *acknowledged <= moment);
        let last = last.expect("at first there is nothing");
        let allowed = &script.committed[last..script.committed.len().min(last + 2)];
        check(image.path(), allowed, &script.clock, &what);
        count += 1;
    }
    count
}

#[test]
fn power_may_fail_at_any_write() {
    let seed = seed();
    println!("seed {seed}");
    let ground = directory();
    let mut script = Script::new(ground.path(), false);
    script.run(3, 10_000);
    let end = script.disk.moment();
    assert!(end > 300, "{end} moments");
    let count = lose_power(&script, 0..=end, seed) + lose_power(&script, 0..=end, seed + 1);
    println!("{count} losses of power");
}

/// With so much in the log that it is moved into the database again and again.
#[test]
fn power_may_fail_while_the_log_is_moved_into_the_database() {
    let seed = seed();
    println!("seed {seed}");
    let ground = directory();
    let mut script = Script::new(ground.path(), false);
    script.run(3, 2_500_000);
    let end = script.disk.moment();
    assert!(end > 3000, "{end} moments");
    // Some of many.
    let mut random = Random(seed);
    let moments: Vec<_> = (0..60).map(|_| random.below(end as u64) as usize).collect();
    println!("{} losses of power of {end}", lose_power(&script, moments.into_iter(), seed));
}

/// The script with operations that fail, so many at once: each of them in turn.
fn let_operations_fail(of_reads: bool, code: std::ffi::c_int, count: usize, words: &str) {
    let seed = seed();
    let ground = directory();
    let mut script = Script::new(ground.path(), true);
    script.run(2, 10_000);
    let operations = if of_reads { script.disk.reads() } else { script.disk.operations() };
    let expected = script.committed.len();
    let faultless = portrait(script.store.as_ref().expect("it is open"));
    let mut failures = 0;
    for at in (1..=operations).step_by(count) {
        let ground = directory();
        let mut script = Script::new(ground.path(), true);
        script.disk.fail(Failure { at, count, code, of_reads });
        script.run(2, 10_000);
        let failed = script.disk.failed();
        let what = format!("operation {at} of {operations}");
        assert!(failed > 0, "{what}: it never came to it");
        // Closing a file and moving the log may fail without a word: nothing is
        // lost by it.
        failures += usize::from(!script.errors.is_empty());
        for error in &script.errors {
            let message = error.to_string();
            assert!(message.contains(words) && message.contains("state.db"), "{what}: {message}");
        }
        assert_eq!(script.committed.len(), expected, "{what}");
        let store = script.store.as_ref().expect("it is open");
        assert_store_is_consistent(store);
        let state = portrait(store);
        assert_eq!(state.lines().count(), faultless.lines().count(), "{what}");
        if let Some((_, last)) = script.committed.last_mut() {
            *last = state;
        }
        // And then the power fails, too: what was to be synced and could not be may
        // never have come to the disk.
        lose_power(&script, std::iter::once(script.disk.moment()), seed ^ at as u64);
    }
    println!("{failures} of {} failures were told", operations.div_ceil(count));
    assert!(failures > operations / count / 3, "{failures} of {operations}");
}

#[test]
fn an_input_output_error_at_any_operation_loses_nothing() {
    let_operations_fail(false, ffi::SQLITE_IOERR_WRITE, 1, "disk I/O error");
}

#[test]
fn a_sync_that_fails_loses_nothing() {
    let_operations_fail(false, ffi::SQLITE_IOERR_FSYNC, 3, "disk I/O error");
}

#[test]
fn a_disk_that_is_full_for_a_while_loses_nothing() {
    let_operations_fail(false, ffi::SQLITE_FULL, 5, "the disk is full: free some space");
}

#[test]
fn a_read_that_fails_is_an_error_that_passes() {
    let_operations_fail(true, ffi::SQLITE_IOERR_READ, 1, "disk I/O error");
}
