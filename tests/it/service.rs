//! The service as a program that embeds it uses it, without the command line.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use run_wasm_runner::config::{Config, Flags, Surroundings};
use run_wasm_runner::model::{InvocationId, Status, SubmitLimits, SubmitOptions, SystemClock};
use run_wasm_runner::runner::{Observation, Observer};
use run_wasm_runner::service::{
    CancelOutcome, CancelRequest, ListRequest, Patience, PauseRequest, PruneRequest, PushRequest, Pushed,
    Remedy, Retried, RetryRequest, Selection, Service, ServiceError, UsageOrder, UsageRequest, Waited,
};
use run_wasm_runner::store::{MemoryStore, Store, UsageBy};
use run_wasm_runner::wasm::Compiler;
use serde_json::json;

use crate::support::cli::Sandbox;
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::guests::guest;

const TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));

/// So long that nothing runs by itself.
const LATER: Duration = Duration::from_secs(3600);

/// A service with the component `fib`, and a store in the directory.
fn service(sandbox: &Sandbox) -> Service {
    let flags = Flags { components: vec![("fib".to_owned(), guest("fib"))], ..Flags::default() };
    let around =
        Surroundings { directory: sandbox.path().to_owned(), processors: 1, ..Surroundings::default() };
    Service::new(Config::resolve(&flags, &around).expect("a configuration"), Compiler::InProcess)
}

/// Submits calls of `fib`; the ids.
fn submit(
    service: &Service,
    arguments: &[&str],
    options: SubmitOptions,
) -> Result<Vec<InvocationId>, ServiceError> {
    let task = service.task("fib")?;
    let checked = arguments.iter().map(|json| service.check_arguments(&task, json));
    let checked = checked.collect::<Result<_, _>>()?;
    let mut ids = Vec::new();
    for chunk in service.submit(task, checked, options)? {
        for document in chunk? {
            ids.push(document?.id);
        }
    }
    Ok(ids)
}

/// Counts what a runner does.
#[derive(Debug, Default)]
struct Notebook {
    claims: AtomicUsize,
    ends: AtomicUsize,
    commits: AtomicUsize,
}

impl Observer for Notebook {
    fn observe(&self, observation: &Observation<'_>) {
        let count = match observation {
            Observation::Claimed { .. } => &self.claims,
            Observation::Ended { .. } => &self.ends,
            Observation::Committed { .. } => &self.commits,
            _ => return,
        };
        count.fetch_add(1, Ordering::SeqCst);
    }
}

fn delayed() -> SubmitOptions {
    SubmitOptions { delay: LATER, ..SubmitOptions::default() }
}

#[test]
fn a_submitted_invocation_runs_and_can_be_awaited() {
    let sandbox = Sandbox::new();
    let service = service(&sandbox);
    for service in [service.clone(), service.in_memory()] {
        let options =
            SubmitOptions { labels: [("k".to_owned(), "v".to_owned())].into(), ..SubmitOptions::default() };
        let ids = submit(&service, &["[5]", r#"{"n": 6}"#], options).expect("they are submitted");
        let queued = service.wait(ids[0], Some(Duration::ZERO)).expect("it is there");
        assert_eq!(queued.status, Status::Queued);
        let notebook = Arc::new(Notebook::default());
        let runner = service.start_runner(None, &[], [Arc::clone(&notebook) as _]).expect("it starts");
        runner.wait_idle();
        let document = service.wait(ids[1], TIMEOUT).expect("it is final");
        runner.stop();
        // Each of the two and of the children that the second has.
        let Notebook { claims, ends, commits } = &*notebook;
        let [claims, ends, commits] = [claims, ends, commits].map(|count| count.load(Ordering::SeqCst));
        assert!(
            claims == ends && claims >= 2 && commits > 0,
            "{claims} claims, {ends} ends, {commits} commits"
        );
        let json = serde_json::to_value(&document).expect("a document");
        assert_eq!((&json["status"], &json["result"]), (&json!("succeeded"), &json!(8)));
        assert_eq!((&json["id"], &json["labels"]), (&json!(ids[1]), &json!({ "k": "v" })));
        let history = service.history(ids[1]).expect("a history");
        assert_eq!(history.last().map(|last| last.to), Some(Status::Succeeded));
        let listed = service.list(&ListRequest::default()).expect("a list").invocations;
        let roots = listed.iter().filter(|one| one.parent.is_none()).map(|one| one.id);
        assert_eq!(roots.collect::<HashSet<_>>(), ids.into_iter().collect());
    }
}

#[test]
fn a_call_runs_here_and_now() {
    let sandbox = Sandbox::new();
    let service = service(&sandbox).in_memory();
    let task = service.task("fib").expect("a task");
    let arguments = service.check_arguments(&task, "[12]").expect("they fit");
    let document =
        service.call(&task, arguments, SubmitLimits::default()).expect("it starts").wait().expect("it ends");
    assert_eq!(serde_json::to_value(&document).expect("a document")["result"], json!(144));
    let refused = service.check_arguments(&task, "12").expect_err("no array");
    assert!(
        matches!(&refused, ServiceError::Invalid { remedy: Some(Remedy::Text(text)), .. } if text.contains("'[12]'"))
    );
    assert!(matches!(service.task("nothing"), Err(ServiceError::Unknown { .. })));
    assert!(matches!(service.status(InvocationId::generate()), Err(ServiceError::Unknown { .. })));
}

#[test]
fn a_submit_wakes_the_idle_runner_of_its_own_process() {
    let sandbox = Sandbox::new();
    let service = service(&sandbox);
    for service in [service.clone(), service.in_memory()] {
        let runner = service.start_runner(None, &[], []).expect("it starts");
        runner.wait_idle();
        let ids = submit(&service, &["[5]"], SubmitOptions::default()).expect("it is submitted");
        let document = service.wait(ids[0], TIMEOUT).expect("it is there");
        assert_eq!(document.status, Status::Succeeded);
        runner.stop();
    }
}

#[test]
fn a_wait_that_is_given_up_ends() {
    let sandbox = Sandbox::new();
    let service = service(&sandbox);
    let ids = submit(&service, &["[1]"], delayed()).expect("it is submitted");
    let mut waiter = service.waiter().expect("the store is watched");
    let guard = waiter.guard();
    let waiting = std::thread::spawn(move || waiter.wait(ids[0], None));
    drop(guard);
    let waited = waiting.join().expect("it does not panic").expect("the store is there");
    assert!(matches!(waited, Waited::Unfinished(Status::Queued)), "{waited:?}");
}

#[test]
fn a_cancel_by_filter_begins_with_the_oldest() {
    let sandbox = Sandbox::new();
    let service = service(&sandbox);
    let ids = submit(&service, &["[1]", "[2]", "[3]"], delayed()).expect("they are submitted");
    let listed = |limit| {
        let request = ListRequest { task: Some("fib".to_owned()), limit, ..ListRequest::default() };
        let request =
            CancelRequest { selection: Selection::Listed(Box::new(request)), message: "no more".to_owned() };
        let cancelling = service.cancel(request).expect("they are found");
        cancelling.flat_map(|chunk| chunk.expect("they are cancelled")).collect::<Vec<_>>()
    };
    let newest = listed(Some(1));
    assert_eq!(newest.iter().map(|one| one.id).collect::<Vec<_>>(), [ids[2]]);
    let rest = listed(None);
    assert_eq!(rest.iter().map(|one| one.id).collect::<Vec<_>>(), ids[..2]);
    assert!(rest.iter().all(|one| one.outcome == CancelOutcome::Cancelled));
    let failure = serde_json::to_value(service.status(ids[0]).expect("it is there")).expect("a document");
    assert_eq!(failure["failure"]["message"], json!("no more"));
}

/// A store with two delayed invocations and one that is cancelled.
struct Ground {
    store: Arc<dyn Store>,
    delayed: InvocationId,
    cancelled: InvocationId,
}

fn cancel(service: &Service, id: InvocationId) -> Result<String, ServiceError> {
    let request = CancelRequest { selection: Selection::Ids(vec![id]), message: String::new() };
    let chunks = service.cancel(request)?.collect::<Result<Vec<_>, _>>()?;
    Ok(format!("{:?}", chunks.concat().iter().map(|one| one.outcome).collect::<Vec<_>>()))
}

impl Ground {
    fn new(service: &Service) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock::new())));
        let service = service.with_store(Arc::clone(&store));
        let ids = submit(&service, &["[1]", "[2]", "[3]"], delayed()).expect("they are submitted");
        cancel(&service, ids[2]).expect("it is cancelled");
        Self { store, delayed: ids[0], cancelled: ids[2] }
    }

    /// All that operations may have changed.
    fn state(&self) -> String {
        let (counts, paused) = (self.store.counts(None), self.store.paused());
        let components: Vec<_> =
            self.store.components().expect("components").into_iter().map(|one| one.digest).collect();
        format!("{counts:?} {paused:?} {components:?}")
    }
}

type Operation = fn(&Service, &Ground) -> Result<String, ServiceError>;

/// Every operation, with an answer that is the same on each ground.
const OPERATIONS: [(&str, Operation); 15] = [
    ("submit", |service, _| Ok(submit(service, &["[4]", "[5]"], delayed())?.len().to_string())),
    ("cancel", |service, ground| cancel(service, ground.delayed)),
    ("cancel by filter", |service, _| {
        let selection = Selection::Listed(Box::default());
        let chunks = service.cancel(CancelRequest { selection, message: String::new() })?;
        Ok(chunks.collect::<Result<Vec<_>, _>>()?.concat().len().to_string())
    }),
    ("retry", |service, ground| {
        let selection = Selection::Ids(vec![ground.cancelled]);
        let chunks = service.retry(RetryRequest { selection, even_succeeded: false, only_new: false })?;
        let retried = chunks.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().map(|one| match one {
            Retried::Copied(document) => format!("{:?}", document.copied),
            Retried::Gone(_) => "gone".to_owned(),
        });
        Ok(retried.collect())
    }),
    ("prune", |service, _| {
        service
            .prune(&PruneRequest { keep: Some(0), ..PruneRequest::default() })
            .map(|one| format!("{one:?}"))
    }),
    ("usage", |service, _| {
        let request = UsageRequest {
            since: service.clock().now().minus(Duration::from_secs(3600)),
            until: None,
            components: Vec::new(),
            fairness_keys: Vec::new(),
            by: UsageBy::default(),
            order: UsageOrder::default(),
            limit: None,
        };
        service.usage(&request).map(|report| report.total.calls.to_string())
    }),
    ("pause", |service, _| {
        let request = PauseRequest { queues: vec!["default".to_owned()], tasks: Vec::new(), paused: true };
        service.pause(&request).map(|paused| format!("{paused:?}"))
    }),
    ("push", |service, _| {
        let pushed = service.push(&push_of("fib"))?.collect::<Result<Vec<_>, _>>()?;
        Ok(format!("{pushed:?}"))
    }),
    ("components", |service, _| service.components().map(|components| components.len().to_string())),
    ("queues", |service, _| service.queues(true).map(|queues| format!("{queues:?}"))),
    ("list", |service, _| {
        service.list(&ListRequest::default()).map(|list| list.invocations.len().to_string())
    }),
    ("status and arguments", |service, ground| {
        let document = service.status(ground.delayed)?;
        Ok(format!("{} {:?}", document.status, service.arguments(ground.delayed)?))
    }),
    ("tree", |service, ground| service.tree(ground.delayed).map(|tree| tree.members.len().to_string())),
    ("history and logs", |service, ground| {
        let (history, logs) = (service.history(ground.cancelled)?, service.logs(ground.cancelled)?);
        Ok(format!("{} {}", history.len(), logs.entries.len()))
    }),
    ("wait", |service, ground| {
        service.wait(ground.cancelled, TIMEOUT).map(|document| document.status.to_string())
    }),
];

fn patient(total: Duration) -> Patience {
    Patience { total, first_pause: Duration::from_micros(100), last_pause: Duration::from_millis(1) }
}

#[test]
fn every_operation_waits_for_a_remote_store_that_is_away() {
    let sandbox = Sandbox::new();
    let service = service(&sandbox).with_patience(patient(LATER));
    service.library().expect("it is loaded");
    let run = |operation: Operation, fault: (Fault, usize)| {
        let ground = Ground::new(&service);
        let store = FaultyStore::remote(Arc::clone(&ground.store), fault);
        let answer = operation(&service.with_store(Arc::clone(&store) as _), &ground);
        (answer, ground.state(), store.calls(), store.fired())
    };
    for (name, operation) in OPERATIONS {
        let (answer, state, calls, _) = run(operation, (Fault::Refused, usize::MAX));
        let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(calls > 0, "{name} asks the store");
        for at in 1..=calls {
            for fault in [Fault::Refused, Fault::Outage, Fault::Ambiguous, Fault::AmbiguousOutage] {
                let (again, after, _, fired) = run(operation, (fault, at));
                let fired = fired.unwrap_or_else(|| panic!("{name} makes call {at}"));
                let again = again.unwrap_or_else(|error| panic!("{name}, {fault:?} at {fired:?}: {error}"));
                assert_eq!(after, state, "{name}, {fault:?} at {fired:?}");
                // Where an answer was lost, the second one says what was found.
                if matches!(fault, Fault::Refused | Fault::Outage) {
                    assert_eq!(again, answer, "{name}, {fault:?} at {fired:?}");
                }
            }
        }
    }
}

#[test]
fn patience_ends_and_is_for_remote_stores_alone() {
    let sandbox = Sandbox::new();
    let service = service(&sandbox).with_patience(patient(Duration::from_millis(20)));
    service.library().expect("it is loaded");
    for (name, operation) in OPERATIONS {
        let ground = Ground::new(&service);
        let remote = FaultyStore::remote(Arc::clone(&ground.store), (Fault::DiesBefore, 1));
        let error = operation(&service.with_store(Arc::clone(&remote) as _), &ground).expect_err(name);
        match name {
            "submit" => assert!(matches!(error, ServiceError::Uncertain { count: 2, .. }), "{error:?}"),
            _ => assert!(matches!(error, ServiceError::Store(_)), "{name}: {error:?}"),
        }
        let local = FaultyStore::new(Arc::clone(&ground.store), false, (Fault::Refused, 1), || {});
        let error = operation(&service.with_store(Arc::clone(&local) as _), &ground).expect_err(name);
        assert!(matches!(error, ServiceError::Store(_)), "{name}: {error:?}");
        assert_eq!(local.calls(), 1, "{name} asks a local store once");
    }
}

/// A push of one configured component.
fn push_of(name: &str) -> PushRequest {
    let components = Pushed::Configured(vec![name.to_owned()]);
    PushRequest {
        components,
        labels: None,
        imports: Vec::new(),
        denies_new_rights: false,
        denies_removed_tasks: false,
        allowed_rights: Vec::new(),
    }
}
