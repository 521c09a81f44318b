//! The cost of fairness per invocation. `cargo bench --bench fairness -- [DIRECTORY] [KEYS]`: KEYS invocations
//! (default 100,000) of ten keys are submitted, claimed and finished, and as many that each have a key of their own,
//! in turn. The SQLite file is made in DIRECTORY (default: the temporary one); a PostgreSQL URL in its place names the
//! only store to measure, which has to be empty.

#![allow(missing_docs, reason = "a program")]

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use run_wasm_runner::model::{Clock, ComponentDigest, RunnerId, SystemClock};
use run_wasm_runner::store::{
    Batch, MemoryStore, NewInvocation, PostgresStore, PostgresUrl, SqliteStore, Store,
};

use self::support::{finished, request};

/// The task that is measured.
const TASK: &str = "bench::work";
const ROUNDS: usize = 3;
const FEW: usize = 10;
const CLAIMED_AT_ONCE: usize = 256;

fn new(key: usize) -> NewInvocation {
    let new = NewInvocation::new(TASK, ComponentDigest::from_bytes([1; 32]), "[1, 2]");
    NewInvocation { max_attempts: 3, fairness_key: Some(format!("key-{key}").into()), ..new }
}

fn submit(store: &dyn Store, keys: impl Iterator<Item = usize>) {
    let submits: Vec<_> = keys.map(new).collect();
    for submits in submits.chunks(10_000) {
        store.commit(&Batch { submits: submits.to_vec(), ..Batch::default() }).expect("it commits");
    }
}

/// The times of the commits that claim, and of those that finish.
type Times = [Duration; 2];

/// Claims so many, as a runner does, and finishes them in commits of their own.
fn work(store: &dyn Store, count: usize) -> Times {
    let (clock, runner) = (SystemClock::new(), RunnerId::generate());
    let (mut claimed, mut times) = (0, [Duration::ZERO; 2]);
    while claimed < count {
        let claim = request(runner, CLAIMED_AT_ONCE.min(count - claimed), TASK);
        let batch = Batch { claim: Some(claim), ..Batch::default() };
        let began = Instant::now();
        let receipt = store.commit(&batch).expect("it commits");
        times[0] += began.elapsed();
        assert!(!receipt.claimed.is_empty());
        claimed += receipt.claimed.len();
        let batch = Batch {
            reports: receipt.claimed.iter().map(|claim| finished(claim, clock.now())).collect(),
            ..Batch::default()
        };
        let began = Instant::now();
        store.commit(&batch).expect("it commits");
        times[1] += began.elapsed();
    }
    times
}

/// Runs `count` invocations of so many keys.
fn round(store: &dyn Store, count: usize, keys: usize) -> Times {
    submit(store, (0..count).map(|number| number % keys));
    work(store, count)
}

fn measure(store: &dyn Store, name: &str, count: usize) {
    // The best of some rounds in turn: others use the machine too.
    let mut best = [[Duration::MAX; 2]; 2];
    for _ in 0..ROUNDS {
        for (best, keys) in best.iter_mut().zip([FEW, count]) {
            let times = round(store, count, keys);
            *best = [best[0].min(times[0]), best[1].min(times[1])];
        }
    }
    let [few, many] = best;
    for (step, what) in ["claim", "end"].iter().enumerate() {
        let each = |times: Times| times[step].as_secs_f64() * 1e6 / count as f64;
        println!(
            "{name}: {what} among {FEW} keys {:.1} µs, among {count} {:.1} µs: {:.2} times as long",
            each(few),
            each(many),
            each(many) / each(few)
        );
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|one| !one.starts_with("--"));
    let place = arguments.next();
    let many = arguments.next().map_or(100_000, |text| text.parse().expect("KEYS is a number"));
    if let Some(url) = place.as_deref().filter(|place| place.starts_with("postgres")) {
        let url = PostgresUrl::parse(url).expect("a URL");
        return measure(&PostgresStore::open(&url, None).expect("it opens"), "postgres", many);
    }
    let clock = Arc::new(SystemClock::new());
    measure(&MemoryStore::new(clock.clone()), "memory", many);
    let directory = place.map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(directory).expect("a directory");
    let store = SqliteStore::open(&directory.path().join("state.db"), clock).expect("it opens");
    measure(&store, "sqlite", many);
}
