//! The cost of rules: `cargo bench --bench rules -- [DIRECTORY | postgres://…] [QUEUE]`.
//!
//! Claims and ends of invocations with and without rules, in one run; and how
//! long a claim takes behind a long queue of the waiting, the delayed and the
//! blocked.

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use run_wasm_runner::model::{
    Blocked, Clock, ComponentDigest, Concurrency, Differing, Rate, RuleKey, RunnerId, SystemClock,
};
use run_wasm_runner::store::{
    Batch, MemoryStore, NewInvocation, PostgresStore, PostgresUrl, SqliteStore, Store, TaskRule,
};

use self::support::{finished, request};

const LIVES: usize = 10_000;
const CLAIMED_AT_ONCE: usize = 256;
const ROUNDS: usize = 5;

fn key(n: u64) -> RuleKey {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    RuleKey::from_bytes(bytes)
}

fn plain(task: &str) -> NewInvocation {
    NewInvocation::new(task, ComponentDigest::from_bytes([1; 32]), "[1]")
}

/// With all rules: a lane of a hundred that are shared, and a uniqueness of its
/// own.
fn ruled(number: u64) -> NewInvocation {
    NewInvocation {
        lane: Some(key(number % 100)),
        unique: Some((key(number), Differing::Existing)),
        ..plain("ruled")
    }
}

fn rule(task: &str, limit: u32) -> TaskRule {
    TaskRule {
        task: task.into(),
        queue: "default".into(),
        concurrency: Some(Concurrency { limit, blocked: Blocked::Wait }),
        rate: Some(Rate { limit: 100_000, window: Duration::from_secs(1) }),
    }
}

fn submit(store: &dyn Store, submits: Vec<NewInvocation>) -> Duration {
    let batch = Batch { submits, ..Batch::default() };
    let start = Instant::now();
    store.commit(&batch).expect("it commits");
    start.elapsed()
}

/// Claims and finishes everything of a task, in batches as a runner makes them.
fn work(store: &dyn Store, clock: &dyn Clock, task: &str, count: usize) -> Duration {
    let runner = RunnerId::generate();
    let start = Instant::now();
    let (mut claimed, mut reports) = (0, Vec::new());
    while claimed < count || !reports.is_empty() {
        let max = CLAIMED_AT_ONCE.min(count - claimed);
        let batch = Batch {
            reports: std::mem::take(&mut reports),
            claim: (max > 0).then(|| request(runner, max, task)),
            ..Batch::default()
        };
        let receipt = store.commit(&batch).expect("it commits");
        claimed += receipt.claimed.len();
        reports = receipt.claimed.iter().map(|claim| finished(claim, clock.now())).collect();
    }
    start.elapsed()
}

/// Complete invocations per second, with and without rules, in turn.
fn throughput(store: &dyn Store, clock: &dyn Clock, name: &str) {
    store.commit(&Batch { rules: vec![rule("ruled", 1_000)], ..Batch::default() }).expect("it commits");
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let without = submit(store, (0..LIVES).map(|_| plain("plain")).collect());
        let without = without + work(store, clock, "plain", LIVES);
        let with = submit(store, (0..LIVES as u64).map(ruled).collect());
        let with = with + work(store, clock, "ruled", LIVES);
        ratios.push(without.as_secs_f64() / with.as_secs_f64());
        let each = |total: Duration| total.as_secs_f64() * 1e6 / LIVES as f64;
        println!(
            "{name}: {:.1} µs a life without rules, {:.1} µs with all of them",
            each(without),
            each(with)
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("{name}: throughput with all rules is {:.2} of that without (median)", ratios[ROUNDS / 2]);
}

/// How many are claimed from the head of a long queue, in batches: the fsync of a
/// batch weighs little.
const CLAIMS: usize = 5_000;

/// The time of a claim and end from the head of a queue.
fn claims(store: &dyn Store, clock: &dyn Clock) -> Duration {
    submit(store, (0..CLAIMS).map(|_| plain("probe")).collect());
    work(store, clock, "probe", CLAIMS) / CLAIMS as u32
}

/// Fills a queue with thirds of waiting, delayed and blocked, all of one task
/// that the claim asks for as well.
fn fill(store: &dyn Store, count: usize) {
    store.commit(&Batch { rules: vec![rule("probe", 1)], ..Batch::default() }).expect("it commits");
    let kinds: [&dyn Fn() -> NewInvocation; 3] = [
        &|| NewInvocation { priority: -1000, ..plain("probe") },
        &|| NewInvocation { delay: Duration::from_secs(3600), ..plain("probe") },
        &|| NewInvocation { lane: Some(key(1)), priority: -1000, ..plain("probe") },
    ];
    for kind in kinds {
        for _ in 0..count.div_ceil(3 * LIVES) {
            submit(store, (0..LIVES.min(count / 3)).map(|_| kind()).collect());
        }
    }
}

fn long_queue(make: impl Fn(&str) -> Arc<dyn Store>, clock: &dyn Clock, name: &str, queue: usize) {
    let (short, long) = (make("short"), make("long"));
    fill(&*short, 1_000);
    fill(&*long, queue);
    // In turn, so that both see the same machine.
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let (short, long) = (claims(&*short, clock), claims(&*long, clock));
        println!("{name}: a claim and end behind 1,000: {short:?}, behind {queue}: {long:?}");
        ratios.push(long.as_secs_f64() / short.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    println!("{name}: the long queue takes {:.2} times as long (median)", ratios[ROUNDS / 2]);
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|one| !one.starts_with("--"));
    let place = arguments.next();
    let queue = arguments.next().and_then(|text| text.parse().ok());
    let queue: usize = queue.unwrap_or(100_000);
    if let Some(url) = place.as_deref().filter(|place| place.starts_with("postgres")) {
        // Each in a schema of its own, which stays.
        let parameter = if url.contains('?') { '&' } else { '?' };
        let run = std::process::id();
        let postgres = |name: &str| {
            let url = PostgresUrl::parse(&format!("{url}{parameter}schema=bench_{run}_{name}"));
            let store = PostgresStore::open(&url.expect("a URL"), None).expect("it opens");
            Arc::new(store) as Arc<dyn Store>
        };
        throughput(&*postgres("throughput"), &SystemClock::new(), "postgres");
        long_queue(postgres, &SystemClock::new(), "postgres", queue);
        return;
    }
    let directory = place.map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(directory).expect("a directory");
    let clock = Arc::new(SystemClock::new());
    let sqlite = |name: &str| {
        let path = directory.path().join(name);
        Arc::new(SqliteStore::open(&path, clock.clone()).expect("it opens")) as Arc<dyn Store>
    };

    throughput(&MemoryStore::new(clock.clone()), &*clock, "memory");
    throughput(&*sqlite("throughput"), &*clock, "sqlite");
    long_queue(|_| Arc::new(MemoryStore::new(clock.clone())), &*clock, "memory", queue);
    long_queue(sqlite, &*clock, "sqlite", queue);
}
