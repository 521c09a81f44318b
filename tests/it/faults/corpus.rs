//! The hostile corpus: one runner meets every attack of a guest, twice, beside a neighbour
//! whose values must be right and whose calls must not take twice as long. Afterwards the
//! runner must hold no more resources than before.
//!
//! `docs/hostile-corpus.md` lists all of the corpus; attacks that are not here have tests of
//! their own.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::guests::setup::Setup;
use crate::support::cli::Running;
use crate::support::http::HttpServer;
use crate::support::process::{resident, threads};
use crate::support::servers::TcpServer;

/// A hostile guest's deed and its end.
struct Item {
    task: &'static str,
    arguments: String,
    /// Copies, one at a time: enough that the neighbour runs beside them.
    copies: usize,
    ends: Ends,
}

enum Ends {
    /// With this kind of failure, and the limit if it is one.
    Failed(&'static str, Option<&'static str>),
    Value(Value),
    /// With a returned error that says this.
    Returned(&'static str),
}

/// Long enough for what a host call may hold back, on a machine that is busy; far less
/// than the guests would take.
const BOUND: Duration = Duration::from_secs(5);

const NEIGHBOUR: &str = "echo.echo-string";

/// Short calls of the neighbour in one measurement.
const CALLS: usize = 150;

const LIMITS: &str = "limits = { time = \"20s\", memory = \"160MiB\", result = \"1MiB\" }\n\
                      concurrency = { limit = 1, per = \"task\" }\n";

const HOSTILE: [&str; 9] = [
    "faults",
    "spin-at-start",
    "trap-at-start",
    "many-memories",
    "huge-minimum",
    "bad-values",
    "handles",
    "bulk",
    "greet-cli",
];

fn items() -> Vec<Item> {
    let item =
        |task, arguments: &str, copies, ends| Item { task, arguments: arguments.to_owned(), copies, ends };
    let failed = |task, arguments, copies, kind| item(task, arguments, copies, Ends::Failed(kind, None));
    let limit = |task, arguments, copies, limit| {
        let kind = if limit == "time" { "timed-out" } else { "limit-exceeded" };
        item(task, arguments, copies, Ends::Failed(kind, Some(limit)))
    };
    vec![
        limit("faults.spin", "[]", 4, "time"),
        limit("faults.spin-ms", "[60000]", 4, "time"),
        limit("faults.sleep", "[60000]", 4, "time"),
        limit("spin-at-start.nothing", "[]", 4, "time"),
        limit("bulk.fill", "[]", 4, "time"),
        limit("bulk.copy", "[]", 4, "time"),
        failed("trap-at-start.nothing", "[]", 100, "trapped"),
        failed("faults.recurse", "[100000000]", 30, "trapped"),
        failed("faults.panic", r#"["boo"]"#, 30, "trapped"),
        failed("faults.abort", "[]", 30, "trapped"),
        failed("faults.exit", "[1]", 30, "trapped"),
        failed("faults.out-of-bounds", "[]", 30, "trapped"),
        failed("bad-values.far-away", "[]", 30, "trapped"),
        failed("bad-values.too-long", "[]", 30, "trapped"),
        limit("faults.grow", "[200]", 4, "memory"),
        limit("huge-minimum.nothing", "[]", 30, "memory"),
        limit("faults.huge-result", "[2]", 20, "result"),
        limit("handles.hold", "[100000000]", 4, "host-memory"),
        failed("handles.hold-and-trap", "[1000]", 30, "trapped"),
        item("many-memories.grow-all", "[40]", 4, Ends::Value(json!(3))),
    ]
}

/// The configuration of what items do.
fn hostile(items: &[Item]) -> String {
    let mut text = String::new();
    for name in HOSTILE {
        text.push_str(&format!(
            "[component.{name}]\npath = {:?}\n{LIMITS}",
            crate::support::guests::guest(name)
        ));
    }
    // What ends by its time has little of it; nothing else ends by its time, however
    // busy the machine is.
    for item in items.iter().filter(|item| matches!(item.ends, Ends::Failed(_, Some("time")))) {
        text.push_str(&format!("[task.\"{}\"]\nlimits = {{ time = \"300ms\" }}\n", item.task));
    }
    text
}

const HOARDERS: [&str; 4] = ["faults", "grants", "network", "long-names"];

/// The calls that make the runner hold or do much for a guest that has few rights: handles, waits, names, fields.
fn hoards() -> Vec<Item> {
    let item =
        |task, arguments: Value, copies, ends| Item { task, arguments: arguments.to_string(), copies, ends };
    let account =
        |task, arguments| item(task, arguments, 4, Ends::Failed("limit-exceeded", Some("host-memory")));
    vec![
        account("hoards.bodies", json!([4_000])),
        account("hoards.methods", json!([2_000, 1_000_000])),
        account("hoards.addresses", json!([20_000])),
        account("hoards.fields", json!([60_000])),
        account("hoards.headers", json!([60_000])),
        account("hoards.refused", json!([60_000])),
        item("hoards.make-and-drop", json!([100]), 4, Ends::Value(Value::Null)),
        item("faults.label", json!([100_000, 10_000_000]), 8, Ends::Returned("more than 8192")),
        item("faults.key", json!([20_000_000]), 4, Ends::Returned("more than 1024")),
        item("faults.await-copies", json!([100_000]), 4, Ends::Value(json!(100_000))),
        item("faults.await-copies", json!([100_001]), 4, Ends::Returned("more than 100000")),
        item("faults.await-briefly", json!([4_000, 10]), 4, Ends::Value(json!(10))),
        item("faults.await-strangers", json!([20_000]), 4, Ends::Returned("no invocation has the id")),
        item("faults.blink", json!([300]), 4, Ends::Value(Value::Null)),
        item("faults.ask-strangely", json!([20_000_000]), 4, Ends::Value(json!(200))),
        item("grants.hoard-streams", json!(["/tmp", 100_000]), 4, Ends::Returned("insufficient-memory")),
        item("grants.hoard-listings", json!(["/tmp", 100_000]), 4, Ends::Returned("insufficient-memory")),
        item("grants.nest", json!(["/tmp", 700]), 4, Ends::Value(json!(700))),
        item("grants.nest", json!(["/tmp", 10_000]), 4, Ends::Returned("after 1000: ")),
        item("grants.shrink-behind", json!(["/tmp", 2_000]), 4, Ends::Value(json!(2_000))),
        item("long-names.trap", json!([]), 20, Ends::Failed("trapped", None)),
        item("long-names.ask", json!([]), 20, Ends::Failed("trapped", None)),
    ]
}

/// The configuration of what hoards do.
fn hoarding() -> String {
    let components = HOARDERS.map(|name| {
        format!("[component.{name}]\npath = {:?}\n{HOARDERS_LIMITS}", crate::support::guests::guest(name))
    });
    components.concat() + "[component.grants.scratch]\nsize = \"8MiB\"\nfiles = 1000\n"
}

const HOARDERS_LIMITS: &str = "limits = { time = \"20s\", memory = \"160MiB\", host-memory = \"32MiB\" }\n\
                               concurrency = { limit = 1, per = \"task\" }\n";

/// Servers for guests that flood them.
struct Servers {
    silent: TcpServer,
    http: HttpServer,
}

/// The things that guests flood: files, scratch directories, arguments, connections, requests.
fn floods(servers: &Servers) -> Vec<Item> {
    let item =
        |task, arguments: Value, copies, ends| Item { task, arguments: arguments.to_string(), copies, ends };
    let silent = format!("127.0.0.1:{}", servers.silent.port);
    let url = |path: &str| servers.http.url(path);
    vec![
        item("grants.open-many", json!(["/tmp", 5_000]), 10, Ends::Returned("after 256: ")),
        item("grants.create-many", json!(["/tmp", 100_000]), 4, Ends::Returned("after 1000: ")),
        item("grants.fill", json!(["/tmp/file", 1_000_000]), 4, Ends::Returned("after 8192 KiB: ")),
        item("grants.fill-again", json!(["/tmp/file", 1_024, 1_000]), 4, Ends::Returned("the 16th time: ")),
        item("grants.stretch", json!(["/tmp/file", 1_000_000_000]), 200, Ends::Returned("No space left")),
        item("grants.large-argument", json!([9 << 10]), 4, Ends::Returned("more than the limit of 8388608")),
        item("sockets.flood", json!([silent, 1_000]), 10, Ends::Value(json!(64))),
        item("sockets.one-after-another", json!([silent, 100]), 4, Ends::Value(Value::Null)),
        item("sockets.exchange", json!([silent, "hello"]), 4, Ends::Failed("timed-out", Some("time"))),
        item("requests.at-once", json!([url("/hello"), 30]), 4, Ends::Value(json!(30))),
        item("requests.get", json!([url("/endless")]), 10, Ends::Returned("HttpResponseBodySize")),
        item("requests.upload", json!([url("/echo"), 64 << 20]), 4, Ends::Returned("HttpRequestBodySize")),
    ]
}

/// The configuration of what floods do.
fn flooding(servers: &Servers) -> String {
    let component =
        |name: &str| format!("[component.{name}]\npath = {:?}\n", crate::support::guests::guest(name));
    let limits = "limits = { time = \"20s\", memory = \"160MiB\", arguments = \"8MiB\", file-bytes = \"16MiB\", \
                  request-body = \"1MiB\", response-body = \"1MiB\" }\n\
                  concurrency = { limit = 1, per = \"task\" }\n";
    format!(
        "{}{limits}[component.grants.scratch]\nsize = \"8MiB\"\nfiles = 1000\n\
         {}{limits}[[component.network.network]]\nhost = \"127.0.0.1\"\nports = [{}]\n\
         [[component.network.http]]\nhost = \"127.0.0.1\"\nschemes = [\"http\"]\nports = [{}]\n\
         [task.\"sockets.exchange\"]\nlimits = {{ time = \"300ms\" }}\n",
        component("grants"),
        component("network"),
        servers.silent.port,
        servers.http.port,
    )
}

/// A runner that goes on through all of it.
struct Arena {
    setup: Setup,
    runner: Running,
}

/// The resources that a process holds.
#[derive(Debug, PartialEq, Eq)]
struct Holds {
    descriptors: BTreeMap<String, usize>,
    threads: usize,
}

impl Holds {
    fn sockets(&self) -> usize {
        self.descriptors.get("socket").copied().unwrap_or_default()
    }
}

impl Arena {
    fn new(components: &str) -> Self {
        let setup = Setup::new(&["echo"]);
        let path = setup.path().join("wasm-runner.toml");
        let before = std::fs::read_to_string(&path).expect("it was written");
        setup.sandbox.write("wasm-runner.toml", before + components);
        let numbers: Vec<_> = (0..CALLS).map(|n| format!("[{:?}]", neighbour_value(n))).collect();
        setup.sandbox.write("neighbour.jsonl", numbers.join("\n"));
        // Scratch directories lie in the cache, and it is looked at.
        let mut runner = setup
            .command(["start", "--slots", "2"])
            .env("WASM_RUNNER_CACHE_DIR", setup.path().join("cache"))
            .patience(Duration::from_secs(600))
            .spawn();
        runner.wait_for_stderr("the runner has started");
        Self { setup, runner }
    }

    /// Submits, and returns once the invocations are in the store.
    fn submit(&self, args: &[&str]) -> Running {
        let command = self.setup.command(["submit", "--wait", "--json"].iter().chain(args));
        let mut running = command.patience(Duration::from_secs(120)).spawn();
        running.wait_for_stderr("-");
        running
    }

    fn submit_neighbour(&self) -> Running {
        self.submit(&[NEIGHBOUR, "--batch", "neighbour.jsonl"])
    }

    /// Runs the neighbour alone. Returns the median of how long its calls took.
    fn neighbour_alone(&self) -> Duration {
        Self::neighbour(self.submit_neighbour()).0
    }

    /// Waits for the neighbour. Returns the median of how long its calls took, and when
    /// the first began and the last ended.
    fn neighbour(running: Running) -> (Duration, Span) {
        let statuses = running.wait().expect(0).json_lines();
        assert_eq!(statuses.len(), CALLS);
        for (n, status) in statuses.iter().enumerate() {
            assert_eq!(status["result"], neighbour_value(n), "the neighbour's value is right");
        }
        let spans: Vec<_> = statuses.iter().map(span).collect();
        let mut took: Vec<_> = spans.iter().map(took).collect();
        took.sort();
        let first = spans.iter().map(|(began, _)| *began).min().expect("calls");
        let last = spans.iter().map(|(_, ended)| *ended).max().expect("calls");
        (took[CALLS / 2], (first, last))
    }

    /// Lets one item do what it does. Returns how long the neighbour's calls took meanwhile, and how long the
    /// slowest copy of the item; `None` if it was over before they began, or began after them.
    fn meet(&self, item: &Item) -> Option<(Duration, Duration)> {
        let arguments = vec![item.arguments.as_str(); item.copies];
        let args: Vec<_> = [item.task].into_iter().chain(arguments).collect();
        // Both begin at one moment, however long the commands take to start.
        let tasks = ["--task", item.task, "--task", NEIGHBOUR];
        self.setup.run(["pause"].iter().chain(&tasks)).expect(0);
        let (hostile, neighbour) = (self.submit(&args), self.submit_neighbour());
        self.setup.run(["resume"].iter().chain(&tasks)).expect(0);
        let (beside, (first, last)) = Self::neighbour(neighbour);
        // What fails is told by the exit code of the first.
        let output = hostile.wait();
        let statuses = output.json_lines();
        assert_eq!(statuses.len(), item.copies, "{}: {output:?}", item.task);
        let (mut is_beside, mut slowest) = (false, Duration::ZERO);
        for status in statuses {
            match &item.ends {
                Ends::Returned(says) => {
                    let error = status["failure"]["error"].as_str().unwrap_or_default();
                    assert!(error.contains(says), "{}: {status}", item.task);
                }
                Ends::Value(value) => assert_eq!(&status["result"], value, "{status}"),
                Ends::Failed(kind, limit) => {
                    assert_eq!(status["failure"]["kind"], *kind, "{}: {status}", item.task);
                    if let Some(limit) = limit {
                        assert_eq!(status["failure"]["limit"], *limit, "{}: {status}", item.task);
                    }
                }
            }
            assert_eq!(status["attempt"], 1, "{}: {status}", item.task);
            let (began, ended) = span(&status);
            is_beside |= began < last && first < ended;
            slowest = slowest.max(took(&(began, ended)));
        }
        // What is over at once may have been over before.
        let lasts = matches!(item.ends, Ends::Failed(_, Some("time")) | Ends::Returned(_));
        (is_beside || !lasts).then_some((beside, slowest))
    }

    fn proc(&self, name: &str) -> std::path::PathBuf {
        Path::new("/proc").join(self.runner.pid().to_string()).join(name)
    }

    /// Measures the resources that the runner holds once it is idle.
    fn holds(&self) -> Holds {
        let mut descriptors = BTreeMap::new();
        for entry in std::fs::read_dir(self.proc("fd")).expect("it runs").flatten() {
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            // Sockets and pipes have numbers that differ each time.
            let kind = target.to_string_lossy().split(":[").next().unwrap_or_default().to_owned();
            *descriptors.entry(kind).or_default() += 1;
        }
        let threads = threads(self.runner.pid()).count();
        Holds { descriptors, threads }
    }

    /// Returns its resources once idle threads have ended and other processes have closed
    /// their ends.
    fn settled(&self, is_settled: impl Fn(&Holds) -> bool) -> Holds {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let holds = self.holds();
            if is_settled(&holds) || Instant::now() >= deadline {
                return holds;
            }
            // Nobody tells of it.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Everything that lies about, but for the store, which has something to keep.
fn files(setup: &Setup) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![setup.path().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
            match entry.path() {
                path if path.is_dir() => directories.push(path),
                path if path.to_string_lossy().contains("state.db") => {}
                path => found.push(path.display().to_string()),
            }
        }
    }
    found.sort();
    found
}

/// Long enough that a call is work, and short enough that it is soon done.
fn neighbour_value(n: usize) -> String {
    format!("{n}-").repeat(10_000)
}

/// When an attempt began and when it ended.
type Span = (jiff::Timestamp, jiff::Timestamp);

fn span(status: &Value) -> Span {
    let moment = |name: &str| {
        let text = status[name].as_str().unwrap_or_else(|| panic!("{name}: {status}"));
        text.parse().expect("a moment")
    };
    (moment("started_at"), moment("finished_at"))
}

fn took((began, ended): &Span) -> Duration {
    Duration::try_from(ended.duration_since(*began)).unwrap_or_default()
}

#[test]
fn no_fault_ends_the_runner_slows_its_neighbour_by_half_or_leaves_anything_behind() {
    let items = items();
    leaves_its_neighbour_alone(&hostile(&items), &items);
}

#[test]
fn no_flood_slows_its_neighbour_by_half_or_leaves_anything_behind() {
    let servers = Servers { silent: TcpServer::silent(), http: HttpServer::start() };
    leaves_its_neighbour_alone(&flooding(&servers), &floods(&servers));
}

#[test]
fn no_hoard_slows_its_neighbour_by_half_or_leaves_anything_behind() {
    leaves_its_neighbour_alone(&hoarding(), &hoards());
}

/// A runner meets all of it in two rounds.
#[track_caller]
fn leaves_its_neighbour_alone(components: &str, items: &[Item]) {
    let arena = Arena::new(components);
    arena.neighbour_alone();
    let files_before = files(&arena.setup);
    let before = arena.holds();
    let mut after_first = None;
    for pass in 0..2 {
        for item in items {
            // A machine that is busy with something else slows one of the two, or keeps
            // them apart: what the guest does would slow its neighbour each time, and a
            // limit that does not hold would let it go on for too long each time.
            let mut tries = Vec::new();
            let is_good = (0..5).any(|_| {
                let (alone, met) = (arena.neighbour_alone(), arena.meet(item));
                tries.push((alone, met));
                met.is_some_and(|(beside, slowest)| beside <= 2 * alone && slowest < BOUND)
            });
            println!("pass {pass}, {}: {tries:?}", item.task);
            assert!(is_good, "{}: alone, and (beside, the slowest guest): {tries:?}", item.task);
        }
        let holds = arena.settled(|holds| match &after_first {
            None => holds.threads == before.threads && holds.sockets() == before.sockets(),
            Some((first, _)) => holds == first,
        });
        assert_eq!((holds.threads, holds.sockets()), (before.threads, before.sockets()), "{holds:?}");
        let now = (holds, resident(arena.runner.pid()));
        println!("pass {pass}: {now:?}");
        match &after_first {
            None => after_first = Some(now),
            Some((holds, resident)) => {
                assert_eq!(now.0, *holds, "descriptors and threads are those of the first time");
                assert!(now.1 < resident + (32 << 20), "{} bytes after {resident}", now.1);
            }
        }
    }
    let Arena { setup, runner } = arena;
    runner.signal(rustix::process::Signal::TERM);
    let output = runner.wait().expect(0);
    assert_eq!(files(&setup), files_before, "no file is left");
    // The words of guests stand within a line of the log.
    let is_panic = |line: &str| line.starts_with("thread '") && line.contains("panicked at");
    assert!(!output.stderr.lines().any(is_panic), "a thread of the runner panicked: {output:?}");
}

#[test]
fn waiting_for_threads_is_refused_since_there_are_none() {
    let setup = Setup::new(&["waits-for-threads"]);
    let output = setup.run(["check"]).expect(78);
    assert!(output.stderr.contains("component `waits-for-threads`"), "{output:?}");
    assert!(output.stderr.contains("threads"), "{output:?}");
}

#[test]
fn a_guest_that_hoards_handles_is_ended_when_its_account_bears_no_more() {
    let setup = Setup::with(&["handles"], "[component.handles.limits]\ntime = \"20s\"\n");
    assert_eq!(setup.value("handles.hold", "[10000]"), 10_000);
    let failed = setup.failure("handles.hold", "[100000000]", 4, "limit-exceeded");
    failed.says(&["131008 handles of the host's that its limit of 134217728 bytes bears"]);
    assert_eq!(failed.failure["limit"], "host-memory");
}
