//! Counts how far the account of host memory lags behind the bytes that the host holds because of a guest: at each
//! allocation, with the allocator of this test program.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::pin::pin;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wasmtime_wasi::WasiCtxBuilder;

use super::control::GuestControl;
use super::denials::Denials;
use super::files::Files;
use super::grants::Grants;
use super::handles::Handles;
use super::host::{HostState, context, invocations, log, types};
use super::host_memory::{Held, HostMemory};
use super::memory_limit::MemoryLimit;
use super::names::Names;
use super::network::{Gate, Http, SystemResolver, Traffic};
use super::output::{Bounds, GuestOutput};
use super::submits::{KnownNames, Submits};
use super::values::{Field, Shape, charged_arguments, charged_value, to_charged_json};
use crate::model::{
    Answer, AwaitMode, Caller, Callers, ChildRequest, Claim, ComponentDigest, Failure, FailureKind,
    InvocationId, LogEntry, Outcome, Progress, RunnerId, Status, SubmitLimits, SystemClock, TaskClient,
};

/// The most bytes by which the account may lag: what is small and bounded in itself, such as texts of errors, ids and
/// the copies of one message or one write of output.
const LAG_BYTES: i64 = 64 << 10;

/// Functions that make so many copies of what they are handed, and drop them before they return.
const COPIES: [(&str, i64); 2] = [("progress", 1), ("log", 2)];

/// The account of the tests; more than anything here takes.
const LIMIT: u64 = 1 << 30;

/// Remembers with each block whose it is.
struct Attributing;

#[global_allocator]
static ALLOCATOR: Attributing = Attributing;

/// The bytes of one guest.
struct Bytes {
    held: AtomicI64,
    /// The most by which `held` was above the account.
    lag: AtomicI64,
    account: Arc<HostMemory>,
}

thread_local! {
    /// The guest under way on this thread.
    static UNDER_WAY: Cell<*const Bytes> = const { Cell::new(ptr::null()) };
}

impl Bytes {
    fn add(&self, bytes: i64) {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let charged = self.account.limit() - self.account.left();
        self.lag.fetch_max(held - i64::try_from(charged).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

/// The bytes before each block, the last of which are the address of its owner.
fn head(layout: Layout) -> usize {
    layout.align().max(16)
}

/// The layout of a block with its head.
fn whole(layout: Layout, size: usize) -> Layout {
    // Nobody can ask for so much that this fails.
    Layout::from_size_align(size.saturating_add(head(layout)), head(layout)).unwrap_or(layout)
}

/// Owns a new block.
///
/// # Safety
///
/// `base` is null, or a block of [`whole`] of the layout.
unsafe fn owned(base: *mut u8, layout: Layout) -> *mut u8 {
    if base.is_null() {
        return base;
    }
    let owner = UNDER_WAY.try_with(Cell::get).unwrap_or(ptr::null());
    // SAFETY: the head is within the block, and aligned.
    let block = unsafe {
        let block = base.add(head(layout));
        block.cast::<*const Bytes>().sub(1).write(owner);
        block
    };
    // SAFETY: an owner is never freed.
    if let Some(owner) = unsafe { owner.as_ref() } {
        owner.add(layout.size() as i64);
    }
    block
}

/// Finds the owner of a block.
///
/// # Safety
///
/// The block is one of [`owned`].
unsafe fn owner<'b>(block: *mut u8) -> Option<&'b Bytes> {
    // SAFETY: the address stands before the block, and an owner is never freed.
    unsafe { block.cast::<*const Bytes>().sub(1).read().as_ref() }
}

// SAFETY: every block is one of the system's with a head, which keeps its alignment.
unsafe impl GlobalAlloc for Attributing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { owned(System.alloc(whole(layout, layout.size())), layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { owned(System.alloc_zeroed(whole(layout, layout.size())), layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe {
            if let Some(owner) = owner(block) {
                owner.add(-(layout.size() as i64));
            }
            System.dealloc(block.sub(head(layout)), whole(layout, layout.size()));
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises. The head moves with the block.
        unsafe {
            let owner = owner(block);
            let base = System.realloc(
                block.sub(head(layout)),
                whole(layout, layout.size()),
                whole(layout, size).size(),
            );
            if base.is_null() {
                return base;
            }
            if let Some(owner) = owner {
                owner.add(size as i64 - layout.size() as i64);
            }
            base.add(head(layout))
        }
    }
}

/// Runs something as the guest of an account, and returns by how much the account lagged at most.
fn lag<T>(account: &Arc<HostMemory>, run: impl FnOnce() -> T) -> (T, i64) {
    let charged = account.limit() - account.left();
    let bytes: &'static Bytes = Box::leak(Box::new(Bytes {
        // Earlier charges are of somebody else.
        held: AtomicI64::new(charged as i64),
        lag: AtomicI64::new(0),
        account: Arc::clone(account),
    }));
    let before = UNDER_WAY.replace(bytes);
    let result = run();
    UNDER_WAY.set(before);
    (result, bytes.lag.load(Ordering::Relaxed))
}

/// Does something that is nobody's: what a guest finds there.
fn unattributed<T>(run: impl FnOnce() -> T) -> T {
    let before = UNDER_WAY.replace(ptr::null());
    let result = run();
    UNDER_WAY.set(before);
    result
}

/// Polls what is ready at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nobody has to wait here"),
    }
}

fn account() -> (Arc<HostMemory>, Arc<GuestControl>) {
    let control = Arc::new(GuestControl::new(Duration::from_secs(60)));
    (HostMemory::new(LIMIT, Arc::clone(&control)), control)
}

#[test]
fn an_allocation_without_a_charge_is_a_lag() {
    let (account, _) = account();
    let (block, found) = lag(&account, || vec![0_u8; 1000]);
    assert_eq!(found, 1000);
    let ((block, held), found) = lag(&account, || {
        let held = account.hold(2000).unwrap();
        drop(block);
        (vec![0_u8; 2000], held)
    });
    assert_eq!(found, 0, "it was charged first");
    let (_, found) = lag(&account, || {
        drop(held);
        drop(block);
        unattributed(|| drop(vec![0_u8; 5000]));
    });
    assert_eq!(found, 0);
}

/// Answers at once, with outcomes of so many bytes.
struct Gives(usize);

impl Gives {
    fn outcome(&self, index: usize) -> Outcome {
        let text = "x".repeat(self.0);
        match index % 2 {
            0 => Outcome::Value(text.into()),
            _ => Outcome::Failure(Arc::new(Failure::new(FailureKind::Trapped, text))),
        }
    }
}

fn ready<T: Send + 'static>(value: T) -> Answer<T> {
    Box::pin(std::future::ready(Ok(value)))
}

impl TaskClient for Gives {
    fn submit(&self, _: &Caller, children: Vec<ChildRequest>) -> Answer<Vec<InvocationId>> {
        ready(children.iter().map(|_| InvocationId::generate()).collect())
    }

    fn call(&self, _: &Caller, _: ChildRequest) -> Answer<(InvocationId, Outcome)> {
        unattributed(|| ready((InvocationId::generate(), self.outcome(0))))
    }

    fn await_outcomes(
        &self,
        _: &Caller,
        ids: Vec<InvocationId>,
        mode: AwaitMode,
    ) -> Answer<Vec<(usize, Outcome)>> {
        let count = if mode == AwaitMode::All { ids.len() } else { ids.len().min(1) };
        unattributed(|| ready((0..count).map(|index| (index, self.outcome(index))).collect()))
    }

    fn status(&self, _: InvocationId) -> Answer<Status> {
        ready(Status::Running)
    }

    fn cancel(&self, _: &Caller, _: InvocationId) -> Answer<bool> {
        ready(true)
    }

    fn progress(&self, _: &Caller, _: Progress) {}

    fn log(&self, _: &Caller, _: Vec<LogEntry>) {}
}

/// The state of a guest, whose children have outcomes of so many bytes.
fn guest(outcome_bytes: usize) -> HostState {
    let (host_memory, control) = account();
    let client: Arc<dyn TaskClient> = Arc::new(Gives(outcome_bytes));
    let id = InvocationId::generate();
    let caller = Caller { id, attempt: 1, root: id, depth: 0 };
    let clock = Arc::new(SystemClock::new());
    // The entries that were handed over stay with the store.
    let kept = parking_lot::Mutex::new(Vec::new());
    let sink = Box::new(move |entries: Vec<LogEntry>| kept.lock().push(entries));
    let bounds = Bounds { log: LIMIT, value: None };
    let output = GuestOutput::new(clock, Arc::clone(&control), 1, bounds, None, &host_memory, sink);
    let denials =
        Denials::new("guest".into(), None, id, output.clone(), Arc::clone(&control), Arc::default());
    let traffic = Traffic::new(LIMIT, Arc::clone(&control), Arc::clone(&denials));
    let resolver = Arc::new(SystemResolver::of(&"guest".into()));
    let gate = Gate::new(&Grants::default(), Arc::clone(&denials), 9, &host_memory, traffic, resolver);
    let names = Arc::new(KnownNames::default());
    names.replace(Arc::new(Names::new([(Arc::from("guest::a:b/c.d"), None)])));
    let claim = Claim {
        id,
        runner: RunnerId::generate(),
        attempt: 1,
        max_attempts: 1,
        task: "guest::a:b/c.d".into(),
        arguments: "[]".into(),
        component_digest: ComponentDigest::of(b""),
        parent: None,
        root: id,
        depth: 0,
        deadline: None,
        labels: [("a".to_owned(), "b".repeat(8000))].into(),
        limits: SubmitLimits::default(),
        callers: Callers::default(),
        has_lane: false,
    };
    HostState {
        wasi: WasiCtxBuilder::new().build(),
        table: Handles::table(),
        handles: Handles::new(&host_memory, 0),
        returned: None,
        memory: MemoryLimit::new(LIMIT, Arc::clone(&control)),
        caller,
        client,
        control: Arc::clone(&control),
        output,
        denials: Arc::clone(&denials),
        http: Http::new(Arc::clone(&gate), LIMIT, LIMIT),
        gate,
        open_sockets: HashMap::new(),
        submits: Submits::new(None, &names),
        child_ids: Held::nothing(&host_memory),
        claim,
        files: Arc::new(Files::new(9, LIMIT, None, control, host_memory, Arc::clone(&denials))),
        children: 0,
        max_children: u64::MAX,
        max_priority: 0,
    }
}

/// Sizes of what a guest hands over, from nothing to a megabyte.
const SIZES: [usize; 5] = [0, 1, 1_000, 60_000, 1 << 20];

/// The numbers of things that a guest hands over at once.
const COUNTS: [usize; 4] = [0, 1, 100, 20_000];

type Call = fn(&mut HostState, usize, usize) -> i64;

/// Measures one call whose arguments are there already.
macro_rules! calls {
    ($($name:literal: |$guest:ident, $size:ident, $count:ident| $($argument:ident = $value:expr),* => $call:expr;)*) => {
        [$(($name, (|$guest, $size, $count| {
            let _ = ($size, $count);
            $(let $argument = $value;)*
            // The result of the call before is gone.
            $guest.returned = None;
            let account = Arc::clone(&$guest.handles.account);
            // Its result lies here until it was lowered.
            let (_given, lag) = lag(&account, || now($call));
            lag
        }) as Call)),*]
    };
}

fn options(size: usize) -> types::SubmitOptions {
    let labels = vec![("a".to_owned(), "b".repeat(size.min(8_000)))];
    types::SubmitOptions {
        delay_ms: None,
        priority: Some(1),
        key: Some("k".repeat(size.clamp(1, 1_000))),
        detached: false,
        labels,
    }
}

fn task() -> String {
    "d".to_owned()
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|_| InvocationId::generate().to_string()).collect()
}

#[test]
fn the_account_does_not_lag_behind_the_functions_of_the_runners_own_package() {
    use context::Host as _;
    use invocations::Host as _;
    use log::Host as _;
    let calls = calls! {
        "submit": |guest, size, count| arguments = "x".repeat(size), how = options(size) =>
            guest.submit(task(), arguments, how);
        "submit-all": |guest, size, count| all = vec!["x".repeat(size * 10 / count.max(1)); count], how = options(size) =>
            guest.submit_all(task(), all, how);
        "await-result": |guest, size, count| id = ids(1).remove(0) => guest.await_result(id);
        "await-all": |guest, size, count| all = ids(count.min(64)) => guest.await_all(all);
        "await-any": |guest, size, count| all = ids(count) => guest.await_any(all);
        "await-any-within": |guest, size, count| all = ids(count) => guest.await_any_within(all, 1);
        "call": |guest, size, count| arguments = "x".repeat(size) => guest.call(task(), arguments);
        "status": |guest, size, count| id = "x".repeat(size) => guest.status(id);
        "cancel": |guest, size, count| id = "x".repeat(size) => guest.cancel(id);
        "id": |guest, size, count| => guest.id();
        "task": |guest, size, count| => guest.task();
        "attempt": |guest, size, count| => guest.attempt();
        "parent": |guest, size, count| => guest.parent();
        "root": |guest, size, count| => guest.root();
        "deadline": |guest, size, count| => guest.deadline();
        "labels": |guest, size, count| => guest.labels();
        "progress": |guest, size, count| message = "x".repeat(size) => guest.progress(1, 2, message);
        "log": |guest, size, count| message = "\u{1b}x".repeat(size / 2) => guest.log(log::Level::Info, message);
    };
    // A function that the package has and this test does not is forgotten.
    let wit = include_str!("../../wit/task.wit").lines().map(str::trim);
    let functions: BTreeSet<_> = wit.filter_map(|line| Some(line.split_once(": func(")?.0)).collect();
    assert_eq!(functions, calls.iter().map(|(name, _)| *name).collect());

    let mut lags = Vec::new();
    for (name, call) in calls {
        for size in SIZES {
            let mut guest = guest(size);
            for count in COUNTS {
                let lag = call(&mut guest, size, count);
                let copies = COPIES.iter().find(|(of, _)| *of == name).map_or(0, |(_, copies)| *copies);
                if lag > LAG_BYTES + copies * size as i64 {
                    lags.push(format!("{name} of {size} bytes and {count} things: {lag}"));
                }
            }
        }
    }
    assert!(lags.is_empty(), "{lags:#?}");
}

#[test]
fn the_account_does_not_lag_behind_values() {
    let list = |shape| Shape::List(Box::new(shape));
    let names = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect::<Box<[Box<str>]>>();
    let field = |name: &str, shape| Field { name: name.into(), shape };
    let record = Shape::Record(
        [field("a-name", Shape::U8), field("b", Shape::Option(Box::new(Shape::String)))].into(),
    );
    let elements = [
        (Shape::U8, "7"),
        (Shape::String, "\"text\\u00e9\""),
        (Shape::Enum(names(&["a-case-with-a-name", "b"])), "\"a-case-with-a-name\""),
        (Shape::Flags(names(&["one", "two"])), "[\"one\",\"two\"]"),
        (record, r#"{"a-name":1,"b":"x"}"#),
        (Shape::Tuple([Shape::Bool, Shape::F64].into()), "[true,0.5]"),
        (list(Shape::Char), r#"["a","b","c"]"#),
    ];
    for (shape, element) in elements {
        for count in [0, 1, 3, 1_000, 100_000] {
            let text = format!("[{}]", vec![element; count].join(","));
            let shape = list(shape.clone());
            let (account, _) = account();
            let ((value, held), reading) =
                lag(&account, || charged_value(&text, &shape, "v", &account).unwrap());
            let mut text_held = Held::nothing(&account);
            let (again, writing) = lag(&account, || {
                let mut json = String::new();
                to_charged_json(&value, &mut json, usize::MAX, &mut text_held).unwrap();
                json
            });
            let lags = format!("{count} of {element}: {reading} {writing}");
            assert!(reading <= LAG_BYTES && writing <= LAG_BYTES, "{lags}");
            drop((value, held, again));
            let parameters = [field("values", shape)];
            let arguments = format!("[{text}]");
            let (read, reading) = lag(&account, || charged_arguments(&arguments, &parameters, &account));
            assert!(read.is_ok() && reading <= LAG_BYTES, "arguments, {lags}: {reading}");
        }
    }
    // A text with escapes, and bytes as base64.
    for (shape, text) in [
        (Shape::String, format!("\"{}\"", "\\n".repeat(1 << 20))),
        (list(Shape::U8), format!(r#"{{"$base64":"{}"}}"#, "AAAA".repeat(1 << 18))),
    ] {
        let (account, _) = account();
        let (read, reading) = lag(&account, || charged_value(&text, &shape, "v", &account));
        assert!(read.is_ok() && reading <= LAG_BYTES, "{shape}: {reading}");
    }
}
