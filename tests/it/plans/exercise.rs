//! Every operation of a store, in small batches.

use std::time::Duration;

use run_wasm_runner::model::{
    Blocked, Claim, Clock, ComponentDigest, Concurrency, Differing, Event, Glob, HolderKind, InvocationId,
    Progress, Quota, Rate, RuleKey, RunnerId, Status, Usage,
};
use run_wasm_runner::store::{
    Adoption, Applied, Batch, Bill, Cancel, Cancelled, ClaimRequest, EndKind, Filter, Heartbeat, Inventory,
    Keep, NewComponent, NewInvocation, Pause, PauseTarget, Prune, QuotaSection, Receipt, Submitted, TaskRule,
};

use super::BATCH;
use crate::store_contract::harness::{
    Bench, LEASE, child_of, detached, failure, new, request, tasks, usage_query, value,
};

/// Invocations of a lane of the task `laned` that may be owned at once.
pub(super) const ROOM: usize = 500;

/// Starts of a lane of the task `rated` within an hour.
const STARTS: u32 = 1_000;

/// The results of the exercise. A test checks them, because a store that does nothing also touches no rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    claimed: usize,
    ended: usize,
    recovered: usize,
    given_back: usize,
    revoked: usize,
    pruned: usize,
}

fn lane(number: u8) -> RuleKey {
    let mut bytes = [0; 16];
    bytes[15] = number;
    RuleKey::from_bytes(bytes)
}

fn rule(task: &str, concurrency: Option<(u32, Blocked)>, rate: Option<u32>) -> TaskRule {
    TaskRule {
        task: task.into(),
        queue: "default".into(),
        concurrency: concurrency.map(|(limit, blocked)| Concurrency { limit, blocked }),
        rate: rate.map(|limit| Rate { limit, window: Duration::from_secs(3600) }),
    }
}

fn of(task: &str) -> Vec<NewInvocation> {
    (0..BATCH).map(|_| new(task)).collect()
}

struct Exercise<'b> {
    bench: &'b Bench,
    runner: RunnerId,
    reached: Reached,
}

/// Does everything once, in batches of [`BATCH`]. The store may hold anything.
#[track_caller]
pub(super) fn exercise(bench: &Bench, round: u32) {
    let mut exercise = Exercise { bench, runner: RunnerId::generate(), reached: Reached::default() };
    exercise.adopt();
    exercise.set_rules(round);
    exercise.work_off_the_queue();
    exercise.wait_and_expire();
    exercise.submit_what_is_there();
    exercise.share();
    exercise.be_bounded();
    exercise.grow_a_tree_and_cut_it();
    exercise.fill_lanes();
    exercise.lose_claims();
    exercise.prune();
    exercise.read();
    let Reached { claimed, ended, recovered, given_back, revoked, pruned } = exercise.reached;
    assert!(claimed >= 5 * BATCH, "{claimed} claimed");
    assert!(ended >= 2 * BATCH, "{ended} ended by others");
    assert!(revoked >= 1, "{revoked} revoked");
    assert_eq!((recovered, given_back), (BATCH, BATCH));
    assert!(pruned >= 1, "{pruned} pruned");
}

impl Exercise<'_> {
    #[track_caller]
    fn commit(&mut self, batch: Batch) -> Receipt {
        let receipt = self.bench.commit(batch);
        self.reached.claimed += receipt.claimed.len();
        self.reached.ended += receipt.ended.len();
        self.reached.recovered += receipt.recovered;
        self.reached.given_back += receipt.given_back;
        self.reached.revoked += receipt.revoked.len();
        self.reached.pruned += receipt.pruned.map_or(0, |pruned| pruned.removed);
        receipt
    }

    #[track_caller]
    fn submit(&mut self, submits: Vec<NewInvocation>) -> Vec<InvocationId> {
        let ids = submits.iter().map(|new| new.id).collect();
        self.commit(Batch { submits, ..Batch::default() });
        ids
    }

    #[track_caller]
    fn claim(&mut self, change: impl FnOnce(&mut ClaimRequest)) -> Vec<Claim> {
        let mut request = request(self.runner, BATCH);
        change(&mut request);
        self.commit(Batch { claim: Some(request), ..Batch::default() }).claimed
    }

    /// Submits and claims at once, by waiting for them.
    #[track_caller]
    fn own(&mut self, submits: Vec<NewInvocation>) -> Vec<Claim> {
        let ids = self.submit(submits);
        self.claim(|request| {
            request.awaited = ids;
            request.only_awaited = true;
            request.tasks = tasks(&["work", "child", "swift", "skipped"]);
        })
    }

    #[track_caller]
    fn end(&mut self, claims: &[Claim], how: impl Fn(usize) -> EndKind) {
        let reports = claims.iter().enumerate().map(|(n, claim)| self.bench.ended(claim, how(n))).collect();
        let receipt = self.commit(Batch { reports, ..Batch::default() });
        assert!(receipt.reports.iter().all(|applied| *applied == Applied::Done));
    }

    /// A task takes another id because of the bytes that its invocations were submitted for;
    /// and its old one again, so that there are no more tasks with every round.
    fn adopt(&mut self) {
        const NAMES: [&str; 2] = ["acme:plugins/filter.apply", "one::acme:plugins/filter.apply"];
        let ids = self.submit(of(NAMES[0]));
        for (from, to) in [(0, 1), (1, 0)] {
            let adoption = Adoption {
                from: NAMES[from].into(),
                to: NAMES[to].into(),
                component_digest: ComponentDigest::from_bytes([1; 32]),
                has_rivals: true,
            };
            let receipt = self.commit(Batch { adoptions: vec![adoption], ..Batch::default() });
            assert_eq!(receipt.adopted, [true]);
        }
        let cancel = |id| Cancel { id, by: None, message: "enough".to_owned() };
        self.commit(Batch { cancels: ids.into_iter().map(cancel).collect(), ..Batch::default() });
    }

    fn set_rules(&mut self, round: u32) {
        let waits = |limit| Some((limit, Blocked::Wait));
        self.commit(Batch {
            rules: vec![
                rule("laned", waits(ROOM as u32), None),
                rule("rated", None, Some(STARTS)),
                rule("swift", None, Some(STARTS)),
                rule("narrow", waits(2 + round % 2), None),
                rule("skipped", Some((1, Blocked::Skip)), None),
                rule("work", None, None),
                rule("child", None, None),
            ],
            default_rules: vec![rule("other", None, None)],
            pushes: vec![NewComponent {
                name: "pushed".into(),
                digest: ComponentDigest::from_bytes([round as u8; 32]),
                bytes: [1, 2, 3].into(),
                labels: Default::default(),
                facts: Default::default(),
            }],
            ..Batch::default()
        });
        // So that each task has a number.
        self.submit(of("other"));
        self.claim(|request| request.tasks = tasks(&["other"]));
    }

    /// The life of most: submitted, claimed from the queue, started, ended.
    fn work_off_the_queue(&mut self) {
        let pause = |paused| Batch {
            pauses: vec![
                Pause { target: PauseTarget::Queue("idle".into()), paused },
                Pause { target: PauseTarget::Task("other".into()), paused },
            ],
            ..Batch::default()
        };
        self.submit(of("work"));
        self.submit(of("work"));
        self.commit(pause(true));
        let claims = self.claim(|_| {});
        assert_eq!(claims.len(), BATCH);
        self.commit(pause(false));
        let now = self.bench.clock.now();
        let reports = claims.iter().map(|claim| {
            let mut report = self.bench.observed(claim, &[Event::Start, Event::Await]);
            report.logs = vec![self.bench.line("here it is")];
            report.progress = Some(Progress { done: 1, total: 2, message: "half".to_owned() });
            report.component_digest = Some(ComponentDigest::from_bytes([2; 32]));
            report
        });
        let reports = reports.collect();
        self.commit(Batch { reports, ..Batch::default() });
        let reports = claims.iter().enumerate().map(|(n, claim)| {
            let how = match n % 4 {
                0 => EndKind::Release,
                1 => EndKind::Retry(failure("not yet"), Duration::from_millis(n as u64)),
                _ => EndKind::Final(value("1")),
            };
            let mut report = self.bench.ended(claim, how);
            report.observed = vec![(now, Event::Resume)];
            report
        });
        let reports = reports.collect();
        // As a runner does: reports and a claim in one.
        let claim = Some(request(self.runner, BATCH));
        let receipt = self.commit(Batch { reports, claim, ..Batch::default() });
        self.end(&receipt.claimed, |_| EndKind::Final(failure("as planned")));
    }

    /// Submits delayed and overdue invocations, and lets time pass.
    fn wait_and_expire(&mut self) {
        let second = Duration::from_secs(1);
        let delayed = of("work").into_iter().map(|new| NewInvocation { delay: second, ..new }).collect();
        self.submit(delayed);
        let overdue =
            of("work").into_iter().map(|new| NewInvocation { deadline: Some(second), ..new }).collect();
        self.submit(overdue);
        let laned =
            of("laned").into_iter().map(|new| NewInvocation { delay: second, lane: Some(lane(3)), ..new });
        self.submit(laned.collect());
        self.bench.clock.advance(second);
        let claims = self.claim(|_| {});
        self.end(&claims, |_| EndKind::Final(value("1")));
    }

    /// Submits that meet what is there.
    fn submit_what_is_there(&mut self) {
        let keyed = |n: usize| NewInvocation { key: Some(format!("mine {n}").into()), ..new("work") };
        self.submit((0..BATCH).map(keyed).collect());
        self.submit((0..BATCH).map(keyed).collect());
        let unique =
            |n: usize| NewInvocation { unique: Some((lane(n as u8), Differing::Refuse)), ..new("work") };
        self.submit((0..BATCH).map(unique).collect());
        self.submit((0..BATCH).map(unique).collect());
        let again = of("work");
        self.submit(again.clone());
        let receipt = self.commit(Batch { submits: again, ..Batch::default() });
        assert!(receipt.submits.iter().all(|submitted| matches!(submitted, Submitted::Existing(_))));
    }

    /// Keys that are new and keys that are there, with the weights that hold. (Others look at every key.)
    fn share(&mut self) {
        self.commit(Batch { weights: Some(Vec::new()), ..Batch::default() });
        for keys in ["mine", "mine", "yours"] {
            let new = |n| NewInvocation { fairness_key: Some(format!("{keys} {n}").into()), ..new("work") };
            self.submit((0..BATCH).map(new).collect());
        }
        let claims = self.claim(|_| {});
        self.end(&claims, |_| EndKind::Final(value("1")));
    }

    /// Keys with quotas. (Those of components read the tally.)
    fn be_bounded(&mut self) {
        let submits = Some(Rate { limit: 1_000, window: Duration::from_secs(1) });
        let quota = Quota { unfinished: Some(1_000), stored_bytes: Some(1 << 20), submits };
        let section = |quotas| vec![QuotaSection { holder: HolderKind::Key, quotas }];
        self.commit(Batch { quotas: section(vec![(Glob::new("bounded*"), quota)]), ..Batch::default() });
        for _ in 0..2 {
            let new = |n| NewInvocation { fairness_key: Some(format!("bounded {n}").into()), ..new("work") };
            self.submit((0..BATCH).map(new).collect());
        }
        let claims = self.claim(|_| {});
        self.end(&claims, |_| EndKind::Final(value("1")));
        self.commit(Batch { quotas: section(Vec::new()), ..Batch::default() });
    }

    fn grow_a_tree_and_cut_it(&mut self) {
        let parents = self.own(of("work"));
        let children = |parents: &[Claim]| -> Vec<NewInvocation> {
            parents.iter().enumerate().map(|(n, parent)| child_of(parent, n as u32)).collect()
        };
        self.submit(children(&parents));
        self.submit(children(&parents));
        self.submit(parents.iter().map(|parent| detached(child_of(parent, 99))).collect());
        let laned =
            |parent| NewInvocation { lane: Some(lane(9)), task: "narrow".into(), ..child_of(parent, 50) };
        self.submit(parents.iter().map(laned).collect());
        let root = parents[0].id;
        let below = self.claim(|request| request.root = Some(root));
        assert!(!below.is_empty());
        self.submit(children(&below));
        let starts = below.iter().map(|claim| self.bench.observed(claim, &[Event::Start])).collect();
        self.commit(Batch { reports: starts, ..Batch::default() });
        // None of them may cancel what called it.
        let cancels =
            below.iter().map(|claim| Cancel { id: root, by: Some(claim.id), message: "enough".to_owned() });
        let receipt = self.commit(Batch { cancels: cancels.collect(), ..Batch::default() });
        assert!(receipt.cancels.iter().all(|cancelled| *cancelled == Cancelled::Denied));
        // The end of one takes its descendants along, and so does a cancel.
        self.end(&parents[1..2], |_| EndKind::Final(value("1")));
        let cancels =
            parents.iter().map(|parent| Cancel { id: parent.id, by: None, message: "enough".to_owned() });
        self.commit(Batch { cancels: cancels.collect(), ..Batch::default() });
        let bills = below.iter().map(|claim| Bill {
            id: claim.id,
            runner: claim.runner,
            attempt: claim.attempt,
            usage: Usage::default(),
        });
        self.commit(Batch { bills: bills.collect(), ..Batch::default() });
        self.bench.store.revoked(self.runner).expect("the store reads");
        let heartbeat = Some(Heartbeat { runner: self.runner, lease: LEASE });
        self.commit(Batch { heartbeat, ..Batch::default() });
        self.bench.store.tree(root).expect("the store reads");
        self.bench.store.counts(Some(root)).expect("the store reads");
    }

    fn fill_lanes(&mut self) {
        let in_lane = |task: &str, number, priority| -> Vec<NewInvocation> {
            let new = |new| NewInvocation { lane: Some(lane(number)), priority, ..new };
            of(task).into_iter().map(new).collect()
        };
        self.submit(in_lane("laned", 0, 0));
        // More urgent than what is ready: they change places.
        self.submit(in_lane("laned", 0, 100));
        let claims = self.claim(|request| request.tasks = tasks(&["laned"]));
        self.end(&claims, |_| EndKind::Final(value("1")));
        self.submit(in_lane("rated", 0, 0));
        self.claim(|request| request.tasks = tasks(&["rated"]));
        // Claims that are given back before they start are no starts.
        let claims = self.own(in_lane("swift", 0, 0));
        let release = |claim| {
            let mut report = self.bench.ended(claim, EndKind::Release);
            report.observed = Vec::new();
            report
        };
        let reports = claims.iter().map(release).collect();
        self.commit(Batch { reports, ..Batch::default() });
        self.submit(in_lane("narrow", 1, 0));
        self.claim(|request| request.tasks = tasks(&["narrow"]));
        let claims = self.own(in_lane("skipped", 1, 0));
        self.submit(in_lane("skipped", 1, 0));
        self.end(&claims, |_| EndKind::Final(value("1")));
    }

    /// A runner whose receipt was lost, and one that died.
    fn lose_claims(&mut self) {
        for _ in 0..4 {
            self.submit(of("work"));
        }
        let claims = self.claim(|_| {});
        assert_eq!(claims.len(), BATCH);
        let runner = RunnerId::generate();
        let claim = Some(request(runner, BATCH));
        self.commit(Batch { claim, ..Batch::default() });
        let inventory = Some(Inventory { runner, owned: Vec::new() });
        self.commit(Batch { inventory, ..Batch::default() });
        self.end(&claims, |_| EndKind::Final(value("1")));
        // Everything that this exercise still owns under its first name is ended.
        let runner = std::mem::replace(&mut self.runner, RunnerId::generate());
        let inventory = Some(Inventory { runner, owned: Vec::new() });
        let before = self.reached.given_back;
        self.commit(Batch { inventory, ..Batch::default() });
        self.reached.given_back = before;
        self.claim(|_| {});
        self.bench.clock.advance(LEASE);
        self.commit(Batch { recover: true, ..Batch::default() });
        self.runner = RunnerId::generate();
        let claim = Some(request(self.runner, BATCH));
        let heartbeat = Some(Heartbeat { runner: self.runner, lease: LEASE });
        let receipt = self.commit(Batch { heartbeat, recover: true, claim, ..Batch::default() });
        self.end(&receipt.claimed, |_| EndKind::Final(value("1")));
    }

    fn prune(&mut self) {
        self.bench.clock.advance(Duration::from_secs(1));
        let keep = |status| Keep { status, age: Some(Duration::from_millis(1)), count: Some(1), at_least: 0 };
        for status in [Status::Succeeded, Status::Failed, Status::Cancelled, Status::Skipped] {
            let prune = |after| {
                Some(Prune { keep: vec![keep(status)], max: BATCH, after, tasks: None, only_counts: false })
            };
            let receipt = self.commit(Batch { prune: prune(None), ..Batch::default() });
            let after = receipt.pruned.and_then(|pruned| pruned.next);
            self.commit(Batch { prune: prune(after), ..Batch::default() });
        }
        let prune_usage = Some(Duration::from_secs(60));
        self.commit(Batch { prune_usage, ..Batch::default() });
    }

    fn read(&mut self) {
        let store = &self.bench.store;
        let all = Filter { limit: BATCH, ..Filter::default() };
        let by_status = Filter { statuses: vec![Status::Failed, Status::Queued], ..all.clone() };
        let by_task = Filter { tasks: Some(vec!["work".into()]), ..by_status.clone() };
        let final_ones = Filter { statuses: vec![Status::Cancelled], ..all.clone() };
        // The clock stands still: nothing has ended since.
        let ended_since = Some(self.bench.clock.now());
        let ended = Filter { ended_since, ..all.clone() };
        for filter in [&all, &by_status, &by_task, &final_ones, &ended] {
            store.list(filter).expect("the store reads");
            store.ids(filter).expect("the store reads");
        }
        let ids = store.ids(&all).expect("the store reads");
        store.get(&ids).expect("the store reads");
        store.usage(&usage_query()).expect("the store reads");
        store.look_up(&ids).expect("the store reads");
        store.standings(&ids).expect("the store reads");
        for id in &ids[..2] {
            store.arguments(*id).expect("the store reads");
            store.history(*id).expect("the store reads");
            store.logs(*id).expect("the store reads");
        }
        store.next_due(self.runner).expect("the store reads");
        store.counts(None).expect("the store reads");
        store.unfinished_by_task().expect("the store reads");
        store.rules().expect("the store reads");
        store.paused().expect("the store reads");
        store.components().expect("the store reads");
        store.components_version().expect("the store reads");
        store.component(ComponentDigest::from_bytes([0; 32])).expect("the store reads");
    }
}
