//! The cost of an invocation, from the bare guest up: `cargo bench --bench invocation`.
//!
//! `floor` is a fresh instance and a call on one thread, nothing else. The others
//! add the runner and a memory store; their time is per invocation, so the ratio
//! to the floor is what the runner adds. Ratios of one run mean something, absolute
//! figures depend on the machine. Guests must be built: `cargo xtask guests`.

use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use run_wasm_runner::model::{
    Answer, AwaitMode, Caller, Callers, ChildRequest, Claim, Clock, Interrupt, InvocationId, LogEntry,
    Outcome, Progress, Refusal, RunnerId, RunnerSettings, Status, SubmitLimits, SystemClock, TaskClient,
};
use run_wasm_runner::runner::{Runner, RunnerOptions};
use run_wasm_runner::service::Live;
use run_wasm_runner::store::{Batch, MemoryStore, NewInvocation, Store};
use run_wasm_runner::wasm::{Compiler, ComponentSource, Library, LibraryOptions};

/// Invocations of one measured burn-down.
const QUEUED: u64 = 10_000;

/// `fib(14)` by typed imports: every call is an invocation.
const CALLS_OF_FIB_14: u64 = 1_219;

/// Answers nothing: the guests of the floor ask for nothing.
struct Nobody;

impl Nobody {
    fn refuse<T: Send + 'static>() -> Answer<T> {
        Box::pin(std::future::ready(Err(Refusal::Denied("there is no runner".to_owned()))))
    }
}

impl TaskClient for Nobody {
    fn submit(&self, _: &Caller, _: Vec<ChildRequest>) -> Answer<Vec<InvocationId>> {
        Self::refuse()
    }

    fn call(&self, _: &Caller, _: ChildRequest) -> Answer<(InvocationId, Outcome)> {
        Self::refuse()
    }

    fn await_outcomes(
        &self,
        _: &Caller,
        _: Vec<InvocationId>,
        _: AwaitMode,
    ) -> Answer<Vec<(usize, Outcome)>> {
        Self::refuse()
    }

    fn status(&self, _: InvocationId) -> Answer<Status> {
        Self::refuse()
    }

    fn cancel(&self, _: &Caller, _: InvocationId) -> Answer<bool> {
        Self::refuse()
    }

    fn progress(&self, _: &Caller, _: Progress) {}

    fn log(&self, _: &Caller, _: Vec<LogEntry>) {}
}

struct Bench {
    clock: Arc<dyn Clock>,
    library: Arc<Library>,
}

impl Bench {
    fn new() -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target");
        let sources: Vec<_> = ["workflow", "fib"]
            .map(|name| ComponentSource {
                section_note: None,
                may_be_left_out: false,
                name: name.into(),
                version: Default::default(),
                locked: Vec::new(),
                path: root.join("guests").join(format!("{name}.wasm")),
                grants: Default::default(),
                defaults: Default::default(),
                tasks: Default::default(),
                imports: Default::default(),
                is_retired: false,
                is_kept: false,
            })
            .into();
        let options = LibraryOptions {
            compiler: Compiler::InProcess,
            cache_directory: Some(root.join("bench-cache")),
            max_live: 1_000,
            memory_budget: u64::MAX,
            may_count_fuel: false,
            loaded: Default::default(),
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let library = Library::load(&sources, &options, Arc::clone(&clock))
            .unwrap_or_else(|errors| panic!("{errors:?} (build the guests first: `cargo xtask guests`)"));
        Self { clock, library: Arc::new(library) }
    }

    fn new_invocation(&self, task: &str, arguments: &str) -> NewInvocation {
        let task = self.library.resolve(task).expect("a task");
        NewInvocation::new(Arc::clone(&task.id), task.digest, arguments)
    }

    /// Runs what is queued until nothing is left, with everything that belongs to
    /// a runner's life.
    fn burn_down(&self, slots: usize, submits: Vec<NewInvocation>) -> Duration {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&self.clock)));
        store.commit(&Batch { submits, ..Batch::default() }).expect("memory takes it");
        let options = RunnerOptions {
            slots,
            settings: RunnerSettings { max_live: 1_000, ..RunnerSettings::default() },
            ..RunnerOptions::default()
        };
        let started = std::time::Instant::now();
        let runner = Runner::start(
            Arc::clone(&store),
            Arc::new(Live::new(Arc::clone(&self.library))),
            Arc::clone(&self.clock),
            options,
        )
        .expect("a runner");
        runner.wait_idle();
        let took = started.elapsed();
        let gauge = runner.stop();
        assert_eq!(gauge.failed, 0);
        took
    }
}

fn floor(criterion: &mut Criterion) {
    let bench = Bench::new();
    let task = bench.library.resolve("basics.nothing").expect("a task");
    let claim = Claim {
        id: InvocationId::generate(),
        runner: RunnerId::generate(),
        attempt: 1,
        max_attempts: 1,
        task: Arc::clone(&task.id),
        arguments: "[]".into(),
        component_digest: task.digest,
        parent: None,
        root: InvocationId::generate(),
        depth: 0,
        deadline: None,
        callers: Callers::default(),
        limits: SubmitLimits::default(),
        labels: Arc::default(),
        has_lane: false,
    };
    let client: Arc<dyn TaskClient> = Arc::new(Nobody);
    let mut group = criterion.benchmark_group("invocation");
    group.throughput(Throughput::Elements(1));
    group.bench_function("floor", |bencher| {
        bencher.iter(|| {
            let mut guest = bench.library.start(&claim, &client, &Interrupt::default()).expect("a guest");
            guest.control.begin_slice();
            match guest.future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(Outcome::Value(_))) => {}
                other => panic!("{other:?}"),
            }
        });
    });
    group.finish();
}

fn runner(criterion: &mut Criterion) {
    let bench = Bench::new();
    let mut group = criterion.benchmark_group("invocation");
    group.sample_size(10);
    for slots in [1, 2] {
        group.throughput(Throughput::Elements(QUEUED));
        group.bench_function(format!("burn-down of queued no-ops, {slots} slots"), |bencher| {
            bencher.iter_custom(|iterations| {
                (0..iterations)
                    .map(|_| {
                        let submits =
                            (0..QUEUED).map(|_| bench.new_invocation("basics.nothing", "[]")).collect();
                        bench.burn_down(slots, submits)
                    })
                    .sum()
            });
        });
        group.throughput(Throughput::Elements(CALLS_OF_FIB_14));
        group.bench_function(format!("fib(14), every call a child, {slots} slots"), |bencher| {
            bencher.iter_custom(|iterations| {
                (0..iterations)
                    .map(|_| bench.burn_down(slots, vec![bench.new_invocation("fib", "[14]")]))
                    .sum()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, floor, runner);
criterion_main!(benches);
