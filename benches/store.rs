//! The cost of a store per invocation. `cargo bench --bench store -- [DIRECTORY]
//! [QUEUE] [FINISHED]`: the SQLite file is made in DIRECTORY (default: the
//! temporary one), or a PostgreSQL URL in its place names the only store to measure; QUEUE invocations each that are due, delayed, and of a task
//! that the runner does not have are put before the measurement of claims
//! (default 100,000); FINISHED ones lie in another file beside which work is
//! measured again, and are removed (default 100,000).

#![allow(missing_docs, reason = "a program")]

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use run_wasm_runner::model::{Claim, Clock, ComponentDigest, RunnerId, Status, SystemClock};
use run_wasm_runner::store::{
    Batch, Cancel, ChildOf, Filter, Keep, MemoryStore, NewInvocation, PostgresStore, PostgresUrl, Prune,
    SqliteStore, Store,
};

use self::support::{finished, request};

const LIVES: usize = 10_000;
const CLAIMED_AT_ONCE: usize = 256;

fn new(task: &str) -> NewInvocation {
    NewInvocation {
        max_attempts: 3,
        ..NewInvocation::new(task, ComponentDigest::from_bytes([1; 32]), "[1, 2]")
    }
}

fn child_of(parent: &Claim, index: usize) -> NewInvocation {
    NewInvocation {
        child_of: Some(ChildOf {
            parent: parent.id,
            task: parent.task.clone(),
            root: parent.root,
            depth: 1,
            index: index as u32,
            detached: false,
            parent_runner: parent.runner,
            parent_attempt: parent.attempt,
        }),
        ..new("bench::work")
    }
}

fn submit(store: &dyn Store, submits: Vec<NewInvocation>) -> Duration {
    let batch = Batch { submits, ..Batch::default() };
    let start = Instant::now();
    store.commit(&batch).expect("it commits");
    start.elapsed()
}

/// Claims and finishes that many, in batches as a runner makes them.
fn work(store: &dyn Store, runner: RunnerId, count: usize) -> Duration {
    let clock = SystemClock::new();
    let start = Instant::now();
    let (mut claimed, mut reports) = (0, Vec::new());
    loop {
        let max = CLAIMED_AT_ONCE.min(count - claimed);
        if max == 0 && reports.is_empty() {
            return start.elapsed();
        }
        let batch = Batch {
            reports: std::mem::take(&mut reports),
            claim: Some(request(runner, max, "bench::work")),
            ..Batch::default()
        };
        let receipt = store.commit(&batch).expect("it commits");
        claimed += receipt.claimed.len();
        assert!(max == 0 || !receipt.claimed.is_empty());
        reports = receipt.claimed.iter().map(|claim| finished(claim, clock.now())).collect();
    }
}

fn say(what: &str, submitted: Option<Duration>, worked: Duration) {
    let each = |total: Duration| total.as_secs_f64() * 1e6 / LIVES as f64;
    let submitted = submitted.map_or(String::new(), |total| format!("submit {:.1} µs, ", each(total)));
    println!("{what}: {submitted}claim and finish {:.1} µs each", each(worked));
}

fn lives(store: &dyn Store, name: &str) {
    let runner = RunnerId::generate();
    for _ in 0..3 {
        let submitted = submit(store, (0..LIVES).map(|_| new("bench::work")).collect());
        say(name, Some(submitted), work(store, runner, LIVES));
    }
    submit(store, vec![new("bench::work")]);
    let batch = Batch { claim: Some(request(runner, 1, "bench::work")), ..Batch::default() };
    let parent = store.commit(&batch).expect("it commits").claimed.remove(0);
    let children = (0..LIVES).map(|index| child_of(&parent, index)).collect();
    let submitted = submit(store, children);
    let name = format!("{name}, children");
    say(&name, Some(submitted), work(store, runner, LIVES));
}

/// Whether work slows down beside what is finished, and what removing that costs.
fn beside_finished(store: &dyn Store, count: usize) {
    let runner = RunnerId::generate();
    let measure = |what: &str| {
        // The best of some: others use this machine too.
        let runs = (0..5).map(|_| {
            let submitted = submit(store, (0..LIVES).map(|_| new("bench::work")).collect());
            (submitted, work(store, runner, LIVES))
        });
        let (submitted, worked): (Vec<_>, Vec<_>) = runs.unzip();
        let (submitted, worked) = (submitted.into_iter().min(), worked.into_iter().min());
        say(what, submitted, worked.unwrap_or_default());
    };
    let cancelled: Vec<_> = (0..10).map(|_| new("bench::work")).collect();
    let cancels =
        cancelled.iter().map(|one| Cancel { id: one.id, by: None, message: String::new() }).collect();
    let batch = Batch { submits: cancelled, cancels, ..Batch::default() };
    store.commit(&batch).expect("it commits");
    measure("sqlite, beside nothing");
    for _ in 0..count / LIVES {
        submit(store, (0..LIVES).map(|_| new("bench::work")).collect());
        work(store, runner, LIVES);
    }
    measure(&format!("sqlite, beside {count} finished"));
    let filter = Filter { statuses: vec![Status::Cancelled], limit: 50, ..Filter::default() };
    let start = Instant::now();
    assert_eq!(store.list(&filter).expect("it lists").len(), 10);
    println!("sqlite: the oldest 10, of another status, are listed in {:?}", start.elapsed());
    let mut after = None;
    let (mut removed, mut worst) = (0, Duration::ZERO);
    let start = Instant::now();
    loop {
        let keep = vec![Keep { status: Status::Succeeded, age: None, count: Some(0), at_least: 0 }];
        let batch = Batch {
            prune: Some(Prune { keep, max: 200, after, tasks: None, only_counts: false }),
            ..Batch::default()
        };
        let began = Instant::now();
        let pruned = store.commit(&batch).expect("it commits").pruned.expect("it was asked for");
        worst = worst.max(began.elapsed());
        removed += pruned.removed;
        after = pruned.next;
        if after.is_none() {
            break;
        }
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / removed as f64;
    println!("sqlite: {removed} removed, {each:.1} µs each; 200 at once take at most {worst:?}");
    measure("sqlite, after that");
}

/// Measures the cost of one commit, the time until another process learns of it, and the
/// effect of a long queue on claims.
fn durable(store: &dyn Store, other: &dyn Store, name: &str, queue: usize) {
    lives(store, name);
    let start = Instant::now();
    for _ in 0..100 {
        submit(store, vec![new("bench::work")]);
    }
    println!("{name}: one submit, one commit: {:?}", start.elapsed() / 100);

    let (told, tell) = channel();
    let watch = other.watch(Arc::new(move || {
        // Nobody listens any more at the end.
        let _ = told.send(Instant::now());
    }));
    let watch = watch.expect("it can be watched");
    if store.is_remote() {
        // Once when it has begun to listen.
        tell.recv().expect("it is told");
    }
    let mut times = Vec::new();
    for _ in 0..100 {
        submit(store, vec![new("bench::work")]);
        let committed = Instant::now();
        let noticed = tell.recv().expect("it is told");
        times.push(noticed.saturating_duration_since(committed));
    }
    times.sort_unstable();
    println!("{name}: another process notices within {:?}, {:?} in the middle", times[99], times[50]);
    drop(watch);

    for (task, delay) in [("bench::work", 3600), ("bench::foreign", 0), ("bench::work", 0)] {
        for _ in 0..queue / LIVES {
            let delay = Duration::from_secs(delay);
            let delayed = |_| NewInvocation { delay, ..new(task) };
            submit(store, (0..LIVES).map(delayed).collect());
        }
    }
    let worked = work(store, RunnerId::generate(), LIVES.min(queue));
    say(&format!("{name}, 3 × {queue} in the queue"), None, worked);
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|one| !one.starts_with("--"));
    let place = arguments.next();
    let queue = arguments.next().and_then(|text| text.parse().ok());
    let queue: usize = queue.unwrap_or(100_000);
    let finished = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    if let Some(url) = place.as_deref().filter(|place| place.starts_with("postgres")) {
        let open = || {
            let url = PostgresUrl::parse(url).expect("a URL");
            PostgresStore::open(&url, None).expect("it opens")
        };
        return durable(&open(), &open(), "postgres", queue);
    }
    let directory = place.map_or_else(std::env::temp_dir, PathBuf::from);

    let clock = Arc::new(SystemClock::new());
    lives(&MemoryStore::new(clock.clone()), "memory");

    let ground = tempfile::tempdir_in(&directory).expect("a directory");
    let other = SqliteStore::open(&ground.path().join("state.db"), clock.clone()).expect("it opens");
    beside_finished(&other, finished);
    drop(other);

    let directory = tempfile::tempdir_in(directory).expect("a directory");
    let path = directory.path().join("state.db");
    let open = || SqliteStore::open(&path, clock.clone()).expect("it opens");
    durable(&open(), &open(), "sqlite", queue);
    let start = Instant::now();
    drop(open());
    println!("sqlite: opening it takes {:?}", start.elapsed());
}
