//! The tools of the promises: a store, a clock that stands still, and short methods for
//! common steps.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use run_wasm_runner::model::{
    Claim, Clock, ComponentDigest, Event, Failure, FailureKind, Held, HolderKind, Invocation, InvocationId,
    LogEntry, LogStream, Outcome, Reason, RunnerId, Status, Transition, UnixMicros, Usage, UsageSums,
};
use run_wasm_runner::store::{
    Applied, AttemptEnd, Batch, Cancel, Cancelled, ChildOf, ClaimRequest, EndKind, Filter, Heartbeat, Keep,
    LookUp, NewInvocation, Prune, Receipt, Report, Store, Submitted, TaskSet, UsageBy, UsageQuery,
};

use crate::support::clock::TestClock;

/// The lease of every claim here.
pub const LEASE: Duration = Duration::from_secs(10);

/// A store under test.
pub struct Bench {
    pub store: Arc<dyn Store>,
    pub clock: Arc<TestClock>,
    /// Resources that must outlive the store.
    _ground: Box<dyn std::any::Any>,
}

pub fn tasks(names: &[&str]) -> Arc<TaskSet> {
    Arc::new(names.iter().map(|name| Arc::from(*name)).collect())
}

pub fn new(task: &str) -> NewInvocation {
    NewInvocation { max_attempts: 3, ..NewInvocation::new(task, ComponentDigest::from_bytes([1; 32]), "[1]") }
}

/// A child of a claimed invocation.
pub fn child_of(parent: &Claim, index: u32) -> NewInvocation {
    NewInvocation {
        child_of: Some(ChildOf {
            parent: parent.id,
            task: Arc::clone(&parent.task),
            root: parent.root,
            depth: parent.depth + 1,
            index,
            detached: false,
            parent_runner: parent.runner,
            parent_attempt: parent.attempt,
        }),
        ..new("child")
    }
}

pub fn detached(mut child: NewInvocation) -> NewInvocation {
    if let Some(place) = &mut child.child_of {
        place.detached = true;
    }
    child
}

pub fn request(runner: RunnerId, max: usize) -> ClaimRequest {
    ClaimRequest {
        runner,
        lease: LEASE,
        max,
        max_bytes: usize::MAX,
        awaited: Vec::new(),
        only_awaited: false,
        leads: Arc::default(),
        tasks: tasks(&["work", "child", "other"]),
        root: None,
    }
}

pub fn value(json: &str) -> Outcome {
    Outcome::Value(json.into())
}

pub fn failure(message: &str) -> Outcome {
    Outcome::Failure(Arc::new(Failure::new(FailureKind::Trapped, message)))
}

pub fn kind(outcome: &Outcome) -> Option<FailureKind> {
    match outcome {
        Outcome::Value(_) => None,
        Outcome::Failure(failure) => Some(failure.kind),
    }
}

/// An outcome as text, to compare it.
pub fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Value(json) => format!("value {json}"),
        Outcome::Failure(failure) => serde_json::to_string(failure).unwrap(),
    }
}

impl Bench {
    pub fn new(store: Arc<dyn Store>, clock: Arc<TestClock>, ground: impl std::any::Any) -> Self {
        Self { store, clock, _ground: Box::new(ground) }
    }

    #[track_caller]
    pub fn commit(&self, batch: Batch) -> Receipt {
        self.store.commit(&batch).expect("the store takes a batch")
    }

    #[track_caller]
    pub fn submit_one(&self, new: NewInvocation) -> Submitted {
        self.commit(Batch { submits: vec![new], ..Batch::default() }).submits.remove(0)
    }

    /// Submits what must be new.
    #[track_caller]
    pub fn create(&self, new: NewInvocation) -> InvocationId {
        let id = new.id;
        assert_eq!(self.submit_one(new), Submitted::Created(id));
        id
    }

    #[track_caller]
    pub fn claim(&self, request: ClaimRequest) -> Receipt {
        self.commit(Batch { claim: Some(request), ..Batch::default() })
    }

    /// Claims one, which must be there.
    #[track_caller]
    pub fn claim_one(&self, runner: RunnerId) -> Claim {
        let mut claimed = self.claim(request(runner, 1)).claimed;
        assert_eq!(claimed.len(), 1, "there is something to claim");
        claimed.remove(0)
    }

    /// The ids that a claim of everything hands out, in order.
    #[track_caller]
    pub fn drain(&self) -> Vec<InvocationId> {
        ids(&self.claim(request(RunnerId::generate(), 1000)))
    }

    #[track_caller]
    pub fn report(&self, report: Report) -> (Applied, Receipt) {
        let receipt = self.commit(Batch { reports: vec![report], ..Batch::default() });
        (receipt.reports[0], receipt)
    }

    /// Makes a report of events of a claim, observed now.
    pub fn observed(&self, claim: &Claim, events: &[Event]) -> Report {
        let now = self.clock.now();
        Report {
            id: claim.id,
            runner: claim.runner,
            attempt: claim.attempt,
            observed: events.iter().map(|event| (now, *event)).collect(),
            logs: Vec::new(),
            progress: None,
            component_digest: None,
            end: None,
        }
    }

    /// A claim that was started and ended.
    pub fn ended(&self, claim: &Claim, how: EndKind) -> Report {
        Report {
            end: Some(AttemptEnd { at: self.clock.now(), how, has_children: false, usage: Usage::default() }),
            ..self.observed(claim, &[Event::Start])
        }
    }

    /// Starts and ends a claim, which must be valid.
    #[track_caller]
    pub fn end(&self, claim: &Claim, how: EndKind) -> Receipt {
        let (applied, receipt) = self.report(self.ended(claim, how));
        assert_eq!(applied, Applied::Done);
        receipt
    }

    #[track_caller]
    pub fn succeed(&self, claim: &Claim) -> Receipt {
        self.end(claim, EndKind::Final(value("42")))
    }

    #[track_caller]
    pub fn start(&self, claim: &Claim) {
        let (applied, _) = self.report(self.observed(claim, &[Event::Start]));
        assert_eq!(applied, Applied::Done);
    }

    #[track_caller]
    pub fn cancel(&self, id: InvocationId) -> (Cancelled, Receipt) {
        let receipt = self.commit(Batch {
            cancels: vec![Cancel { id, by: None, message: "not needed any more".to_owned() }],
            ..Batch::default()
        });
        (receipt.cancels[0], receipt)
    }

    /// Cancels as the guest of another invocation.
    #[track_caller]
    pub fn cancel_by(&self, by: InvocationId, id: InvocationId) -> Cancelled {
        let cancel = Cancel { id, by: Some(by), message: "cancelled by another task".to_owned() };
        self.commit(Batch { cancels: vec![cancel], ..Batch::default() }).cancels[0]
    }

    #[track_caller]
    pub fn heartbeat(&self, runner: RunnerId) -> Receipt {
        self.commit(Batch { heartbeat: Some(Heartbeat { runner, lease: LEASE }), ..Batch::default() })
    }

    #[track_caller]
    pub fn recover(&self) -> Receipt {
        self.commit(Batch { recover: true, ..Batch::default() })
    }

    /// Lets every lease run out.
    pub fn let_leases_run_out(&self) {
        self.clock.advance(LEASE);
    }

    #[track_caller]
    pub fn get(&self, id: InvocationId) -> Invocation {
        let mut found = self.store.get(&[id]).expect("the store reads");
        found.remove(0).expect("the invocation is there")
    }

    #[track_caller]
    pub fn status(&self, id: InvocationId) -> Status {
        self.get(id).status
    }

    #[track_caller]
    pub fn history(&self, id: InvocationId) -> Vec<Transition> {
        self.store.history(id).expect("the store reads")
    }

    #[track_caller]
    pub fn reasons(&self, id: InvocationId) -> Vec<Reason> {
        self.history(id).iter().map(|step| step.reason).collect()
    }

    pub fn line(&self, text: &str) -> LogEntry {
        LogEntry {
            at: self.clock.now(),
            attempt: 1,
            stream: LogStream::Stdout,
            level: None,
            text: text.to_owned(),
        }
    }
}

pub fn ids(receipt: &Receipt) -> Vec<InvocationId> {
    receipt.claimed.iter().map(|claim| claim.id).collect()
}

pub fn everything() -> Filter {
    Filter::default()
}

/// A question about all usage, by everything.
pub fn usage_query() -> UsageQuery {
    UsageQuery {
        since: UnixMicros(0),
        until: None,
        components: Vec::new(),
        fairness_keys: Vec::new(),
        by: UsageBy { component: true, fairness_key: true, hour: true },
        max: 10_000,
    }
}

/// Checks that the usage is the sum of the bills and the ends of all invocations, of which none was removed.
#[track_caller]
pub fn assert_usage_is_that_of_the_invocations(store: &dyn Store) {
    let mut counted = UsageSums::default();
    store.usage(&usage_query()).unwrap().iter().for_each(|row| counted.add(&row.sums));
    let mut expected = UsageSums::default();
    for one in store.list(&everything()).unwrap() {
        if one.status.is_final() {
            expected.count_end(one.status);
        }
        expected.count_bill(Usage { has_late: false, ..one.usage.unwrap_or_default() });
    }
    // An invocation doesn't say how many attempts its bill is of.
    expected.attempts = counted.attempts;
    assert_eq!(counted, expected);
}

/// The event that a reason records.
fn event_of(reason: Reason) -> Option<Event> {
    Event::ALL.into_iter().find(|event| event.reason() == reason)
}

/// Counts again what quotas bound.
#[track_caller]
fn assert_counts_are_right(store: &dyn Store, all: &[Option<Invocation>]) {
    let mut counted: HashMap<(HolderKind, String), Held> = HashMap::new();
    for one in all.iter().flatten() {
        let arguments = store.arguments(one.id).unwrap().map_or(0, |json| json.len());
        let outcome = match &one.outcome {
            None => 0,
            Some(Outcome::Value(json)) => json.len(),
            Some(Outcome::Failure(failure)) => serde_json::to_string(&**failure).unwrap().len(),
        };
        let held = Held {
            unfinished: i64::from(!one.status.is_final()),
            bytes: i64::try_from(arguments + outcome).unwrap(),
        };
        let of_task = one.task.split_once("::").map(|(name, _)| name.to_owned());
        let component = one.payer.as_ref().map(ToString::to_string).or(of_task);
        let component = component.map(|name| (HolderKind::Component, name));
        let key = (!one.unkeyed).then(|| (HolderKind::Key, one.fairness_key.to_string()));
        for holder in component.into_iter().chain(key) {
            counted.entry(holder).or_default().add(held);
        }
    }
    for holder in HolderKind::ALL {
        let found: BTreeMap<_, _> =
            store.holdings(holder).unwrap().into_iter().map(|one| (one.name.to_string(), one.held)).collect();
        let expected =
            counted.iter().filter(|((kind, _), held)| *kind == holder && **held != Held::default());
        let expected: BTreeMap<_, _> = expected.map(|((_, name), held)| (name.clone(), *held)).collect();
        assert_eq!(found, expected, "counts of {holder}s, and the recount");
    }
}

/// Checks everything that must hold between what the store says in different
/// places.
#[track_caller]
pub fn assert_store_is_consistent(store: &dyn Store) {
    let listed = store.list(&everything()).unwrap();
    let ids: Vec<_> = listed.iter().map(|invocation| invocation.id).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "an id is listed twice");
    let whole = store.get(&ids).unwrap();
    let looked_up = store.look_up(&ids).unwrap();
    let counts = store.counts(None).unwrap();
    for status in Status::ALL {
        let listed = listed.iter().filter(|one| one.status == status).count();
        assert_eq!(counts.get(status), listed as u64, "counted and listed as {status}");
    }
    assert_counts_are_right(store, &whole);
    let unfinished: u64 = store.unfinished_by_task().unwrap().iter().map(|(_, count)| count).sum();
    assert_eq!(unfinished, counts.unfinished());

    for (invocation, looked_up) in whole.into_iter().zip(looked_up) {
        let invocation = invocation.expect("a listed invocation is there");
        let id = invocation.id;
        let is_final = invocation.status.is_final();
        assert_eq!(invocation.outcome.is_some(), is_final, "{id}: outcome");
        assert_eq!(invocation.finished_at.is_some(), is_final, "{id}: finished_at");
        assert!(invocation.attempt <= invocation.max_attempts, "{id}");
        assert_eq!(invocation.parent.is_none(), invocation.root == id, "{id}: root");
        match looked_up {
            LookUp::Unknown => panic!("{id} is unknown"),
            LookUp::Unfinished(status) => assert_eq!(status, invocation.status),
            LookUp::Final(outcome) => {
                let stored = invocation.outcome.as_ref().expect("final has an outcome");
                assert_eq!(text(&outcome), text(stored));
                let is_value = matches!(outcome, Outcome::Value(_));
                assert_eq!(is_value, invocation.status == Status::Succeeded, "{id}");
            }
        }
        assert!(store.arguments(id).unwrap().is_some(), "{id}: arguments");

        let history = store.history(id).unwrap();
        let submit = &history[0];
        assert_eq!((submit.from, submit.to, submit.reason), (None, Status::Queued, Reason::Submitted));
        let mut status = Status::Queued;
        for step in &history[1..] {
            let event = event_of(step.reason).expect("only submits have no event");
            assert_eq!(step.from, Some(status), "{id}: a gap in {history:?}");
            assert_eq!(status.apply(event), Ok(step.to), "{id}: {event:?} in {history:?}");
            assert_eq!(
                step.runner.is_some(),
                status.is_owned() || step.to.is_owned(),
                "{id}: whose was {step:?}"
            );
            status = step.to;
        }
        // It may wait at the moment without a row that says so.
        if history.last().is_some_and(|last| last.unrecorded == 0) || invocation.status.is_final() {
            assert_eq!(status, invocation.status, "{id}: history and status");
        }
        let claims = history.iter().filter(|step| step.reason == Reason::Claimed).count();
        let released = history.iter().filter(|step| step.reason == Reason::Released).count();
        assert_eq!(claims - released, invocation.attempt as usize, "{id}");
    }
}

/// Forgets the name of a task in one process whose number another one knows, and uses it there.
pub fn assert_numbers_are_drawn_again(one: &dyn Store, other: &dyn Store) {
    let commit = |store: &dyn Store, batch: Batch| store.commit(&batch).expect("the store takes a batch");
    let forget = || Batch { forget_names: Some("".into()), ..Batch::default() };
    let submit = |task: &str| Batch { submits: vec![new(task)], ..Batch::default() };
    let remove_finals = || {
        let keep = |status| Keep { status, age: Some(Duration::ZERO), count: None, at_least: 0 };
        let finals = Status::ALL.into_iter().filter(|status| status.is_final());
        let prune = Prune {
            keep: finals.map(keep).collect(),
            max: 100,
            after: None,
            tasks: None,
            only_counts: false,
        };
        Batch { prune: Some(prune), ..Batch::default() }
    };
    let cancel = |id| Cancel { id, by: None, message: "enough".to_owned() };
    let batch = submit("eve::once");
    let id = batch.submits[0].id;
    commit(other, batch);
    commit(one, Batch { cancels: vec![cancel(id)], ..Batch::default() });
    commit(one, remove_finals());
    commit(one, forget());
    assert!(one.rules().unwrap().iter().all(|rule| &*rule.task != "eve::once"));
    // The number may be that of another task by now.
    commit(one, submit("anna::first"));
    commit(other, submit("eve::once"));
    let tasks: Vec<_> = one.list(&everything()).unwrap().iter().map(|one| one.task.to_string()).collect();
    assert!(
        tasks.contains(&"eve::once".to_owned()) && tasks.contains(&"anna::first".to_owned()),
        "{tasks:?}"
    );
    assert_store_is_consistent(other);
}
