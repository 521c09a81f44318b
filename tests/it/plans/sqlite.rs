//! Steps that the statements of the SQLite store take, as SQLite counts them.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, Once};

use run_wasm_runner::model::{Clock, UnixMicros};
use run_wasm_runner::store::SqliteStore;
use rusqlite::auto_extension::register_auto_extension;
use rusqlite::{Connection, ffi};

use super::backlog::{Dialect, of_final, of_unfinished};
use super::exercise::exercise;
use super::{BATCH, MANY, TASKS, Touched, assert_bounded_by_looks, claim_among, fill_with_tasks};
use crate::store_contract::harness::Bench;
use crate::support::clock::TestClock;

/// Rounds: each statement is planned once, when it is prepared.
const ROUNDS: u32 = 2;

/// Steps of its virtual machine that an execution about [`BATCH`] invocations may take. A row
/// costs some dozens, and a statement that reads a whole invocation has a hundred of its own.
const BOUND: u64 = 1_000 + 150 * BATCH as u64;

/// Different statements that the exercise is known to bring about, at least.
const STATEMENTS: usize = 90;

const DIALECT: Dialect = Dialect {
    series: |n| {
        format!(
            "(WITH RECURSIVE s(g) AS (SELECT 0 UNION ALL SELECT g + 1 FROM s WHERE g + 1 < {n}) \
             SELECT g FROM s) AS series"
        )
    },
    id: |number| format!("unhex(printf('%032x', {number}))"),
    key: |number| format!("'key ' || ({number})"),
    start: (", n", ", 1"),
    starts: "coalesce(sum(n), 0)",
    lane: (", last_ready", ", max(CASE WHEN place = 'ready' THEN order_key ELSE 0 END)"),
};

/// The rows that statements have touched, by the file of the database.
static TOUCHED: LazyLock<Mutex<HashMap<PathBuf, Touched>>> = LazyLock::new(Mutex::default);

/// Has every connection of this process that is opened from now on count.
fn count_from_now_on() {
    static ONCE: Once = Once::new();
    // SAFETY: the routine opens and closes nothing.
    ONCE.call_once(|| unsafe { register_auto_extension(begin_to_count) }.expect("it can be registered"));
}

unsafe extern "C" fn begin_to_count(
    sql: *mut ffi::sqlite3,
    _: *mut *mut c_char,
    _: *const ffi::sqlite3_api_routines,
) -> c_int {
    // SAFETY: SQLite has just opened the connection; the callback gets it as its context.
    unsafe { ffi::sqlite3_trace_v2(sql, ffi::SQLITE_TRACE_PROFILE, Some(count), sql.cast()) }
}

/// Called when a statement has ended.
unsafe extern "C" fn count(_: c_uint, sql: *mut c_void, statement: *mut c_void, _: *mut c_void) -> c_int {
    let statement = statement.cast();
    // SAFETY: both are what `sqlite3_trace_v2` promises to a profile callback, and live.
    let (file, text, steps) = unsafe {
        let steps = ffi::sqlite3_stmt_status(statement, ffi::SQLITE_STMTSTATUS_VM_STEP, 1);
        let file = ffi::sqlite3_db_filename(sql.cast(), c"main".as_ptr());
        let text = ffi::sqlite3_sql(statement);
        if file.is_null() || text.is_null() {
            return 0;
        }
        (CStr::from_ptr(file).to_string_lossy(), CStr::from_ptr(text).to_string_lossy(), steps)
    };
    if let Ok(mut touched) = TOUCHED.lock()
        && let Some(touched) = touched.get_mut(Path::new(&*file))
    {
        touched.note(&text, u64::try_from(steps).unwrap_or(0), String::new);
    }
    0
}

/// A file under test.
struct File {
    path: PathBuf,
    clock: Arc<TestClock>,
    /// When the test began.
    began: UnixMicros,
}

impl File {
    fn open(&self) -> Bench {
        let store = SqliteStore::open(&self.path, self.clock.clone()).expect("the store opens");
        Bench::new(Arc::new(store), Arc::clone(&self.clock), ())
    }

    fn run(&self, sql: &str) {
        let connection = Connection::open(&self.path).expect("the file opens");
        connection.execute_batch(&format!("BEGIN; {sql}; COMMIT")).expect("it is SQL");
    }

    /// Runs the exercise on a newly opened store, and checks the rows that its statements touch.
    #[track_caller]
    fn assert_bounded(&self, state: &str) {
        let bench = self.open();
        TOUCHED.lock().expect("nobody panicked").insert(self.path.clone(), Touched::default());
        (0..ROUNDS).for_each(|round| exercise(&bench, round));
        let touched = TOUCHED.lock().expect("nobody panicked").remove(&self.path).expect("it is there");
        touched.assert_bounded(state, BOUND, STATEMENTS);
    }
}

#[test]
fn sqlite_touches_only_the_rows_of_a_batch_whatever_its_statistics_say() {
    count_from_now_on();
    let directory = tempfile::tempdir().expect("a directory");
    let clock = TestClock::new();
    let path = directory.path().canonicalize().expect("it is there").join("state.db");
    let file = File { path, began: clock.now(), clock };
    exercise(&file.open(), 0);
    file.run(&of_final(&DIALECT, MANY, file.began));
    file.run("ANALYZE");
    file.run(&of_unfinished(&DIALECT, MANY, file.began));
    file.assert_bounded("analysed while the queue was empty");
    file.run("ANALYZE");
    file.assert_bounded("analysed with a full queue");
    file.run("DROP TABLE sqlite_stat1; DROP TABLE sqlite_stat4");
    file.assert_bounded("never analysed");
}

#[test]
fn a_claim_takes_no_longer_with_very_many_tasks_in_sqlite() {
    count_from_now_on();
    let directory = tempfile::tempdir().expect("a directory");
    let clock = TestClock::new();
    let path = directory.path().canonicalize().expect("it is there").join("state.db");
    let file = File { path, began: clock.now(), clock };
    let bench = file.open();
    let mut filled = 0;
    let work = TASKS.map(|tasks| {
        fill_with_tasks(&bench, std::mem::replace(&mut filled, tasks), tasks);
        TOUCHED.lock().expect("nobody panicked").insert(file.path.clone(), Touched::default());
        claim_among(&bench, tasks);
        TOUCHED.lock().expect("nobody panicked").remove(&file.path).expect("it is there").total
    });
    assert_bounded_by_looks(work, 150);
}
