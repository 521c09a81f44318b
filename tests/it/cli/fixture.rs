//! A store that is filled directly, so that no component is needed.

use std::sync::Arc;
use std::time::Duration;

use run_wasm_runner::model::{
    ComponentDigest, Event, Failure, FailureKind, InvocationId, LogEntry, LogStream, Outcome, RunnerId,
    SystemClock, Usage,
};
use run_wasm_runner::store::{
    AttemptEnd, Batch, ChildOf, ClaimRequest, EndKind, NewInvocation, Report, SqliteStore, Store, Submitted,
};

use crate::support::cli::Sandbox;

pub const TASKS: [&str; 2] = ["acme:demo/api.parent", "acme:demo/api.child"];

/// A store that a runner of ours has worked on.
pub struct Fixture {
    pub sandbox: Sandbox,
    pub store: SqliteStore,
    pub runner: RunnerId,
}

impl Fixture {
    pub fn new() -> Self {
        let sandbox = Sandbox::new();
        std::fs::create_dir(sandbox.path().join(".wasm-runner")).expect("a directory");
        let path = sandbox.path().join(".wasm-runner/state.db");
        let store = SqliteStore::open(&path, Arc::new(SystemClock::new())).expect("a new store");
        Self { sandbox, store, runner: RunnerId::generate() }
    }

    pub fn submit(&self, task: &str, child_of: Option<ChildOf>) -> InvocationId {
        let submit = NewInvocation {
            max_attempts: 3,
            priority: 7,
            labels: [("customer".to_owned(), "ac\u{1b}me".to_owned())].into(),
            child_of,
            ..NewInvocation::new(task, ComponentDigest::from_bytes([0xab; 32]), "[1]")
        };
        let receipt =
            self.store.commit(&Batch { submits: vec![submit], ..Batch::default() }).expect("a submit");
        match receipt.submits[..] {
            [Submitted::Created(id)] => id,
            ref other => panic!("{other:?}"),
        }
    }

    pub fn submit_child(&self, parent: InvocationId, index: u32) -> InvocationId {
        let child_of = ChildOf {
            parent,
            task: TASKS[0].into(),
            root: parent,
            depth: 1,
            index,
            detached: false,
            parent_runner: self.runner,
            parent_attempt: 1,
        };
        self.submit(TASKS[1], Some(child_of))
    }

    /// Submits and claims a parent and its child, of which the child has succeeded.
    pub fn parent_of_succeeded(&self) -> (InvocationId, InvocationId) {
        let root = self.submit(TASKS[0], None);
        self.claim();
        let child = self.submit_child(root, 0);
        self.claim();
        self.succeed(&[child], "1");
        (root, child)
    }

    /// Claims everything.
    pub fn claim(&self) {
        let claim = ClaimRequest {
            runner: self.runner,
            lease: Duration::from_secs(600),
            max: 100_000,
            max_bytes: usize::MAX,
            awaited: Vec::new(),
            only_awaited: false,
            leads: Arc::default(),
            tasks: Arc::new(TASKS.into_iter().map(Arc::from).collect()),
            root: None,
        };
        let receipt = self.store.commit(&Batch { claim: Some(claim), ..Batch::default() }).expect("a claim");
        assert!(!receipt.claimed.is_empty());
    }

    pub fn report(&self, ids: &[InvocationId], observed: &[Event], end: Option<EndKind>) {
        let now = self.store.get(ids).expect("invocations")[0].as_ref().expect("it is there").submitted_at;
        let now = now.plus(Duration::from_millis(1));
        let entry = |stream, level: Option<&str>, text: &str| LogEntry {
            at: now,
            attempt: 1,
            stream,
            level: level.map(Arc::from),
            text: text.to_owned(),
        };
        let reports = ids.iter().map(|id| Report {
            id: *id,
            runner: self.runner,
            attempt: 1,
            observed: observed.iter().map(|event| (now, *event)).collect(),
            logs: match end {
                Some(EndKind::Final(_)) => vec![
                    entry(LogStream::Stdout, None, "one\ntwo\n"),
                    entry(LogStream::Log, Some("warn"), "care\u{9b}ful"),
                ],
                _ => Vec::new(),
            },
            progress: None,
            component_digest: None,
            end: end.clone().map(|how| AttemptEnd {
                at: now.plus(Duration::from_millis(2)),
                how,
                has_children: false,
                usage: Usage::default(),
            }),
        });
        let batch = Batch { reports: reports.collect(), ..Batch::default() };
        self.store.commit(&batch).expect("a report");
    }

    /// Has the guest of a claimed invocation write something.
    pub fn write(&self, id: InvocationId, text: &str) {
        let at = self.store.get(&[id]).expect("invocations")[0].as_ref().expect("it is there").submitted_at;
        let (stream, text) = (LogStream::Stdout, text.to_owned());
        let report = Report {
            id,
            runner: self.runner,
            attempt: 1,
            observed: Vec::new(),
            logs: vec![LogEntry { at, attempt: 1, stream, level: None, text }],
            progress: None,
            component_digest: None,
            end: None,
        };
        let batch = Batch { reports: vec![report], ..Batch::default() };
        self.store.commit(&batch).expect("a report");
    }

    pub fn succeed(&self, ids: &[InvocationId], value: &str) {
        self.report(ids, &[Event::Start], Some(EndKind::Final(Outcome::Value(value.into()))));
    }

    pub fn fail(&self, id: InvocationId, failure: Failure) {
        self.report(&[id], &[Event::Start], Some(EndKind::Final(Outcome::Failure(failure.into()))));
    }

    /// An invocation that ended with a value.
    pub fn succeeded(&self, value: &str) -> InvocationId {
        let id = self.submit(TASKS[1], None);
        self.claim();
        self.succeed(&[id], value);
        id
    }

    /// An invocation that failed.
    pub fn failed(&self, kind: FailureKind) -> InvocationId {
        let id = self.submit(TASKS[1], None);
        self.claim();
        let mut failure = Failure::new(kind, "it went \u{1b}[31mwrong");
        failure.backtrace = vec!["inner".to_owned(), "outer".to_owned()];
        self.fail(id, failure);
        id
    }
}
