//! Several stores on one schema: each stands for a process, and they share nothing but the
//! database.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use run_wasm_runner::model::{
    Blocked, Clock, Concurrency, Glob, HolderKind, Quota, Rate, RuleKey, RunnerId, Status, SystemClock, Usage,
};
use run_wasm_runner::store::{
    Applied, AttemptEnd, Batch, Cancel, ClaimRequest, EndKind, Heartbeat, LookUp, NewInvocation,
    PostgresStore, QuotaSection, Receipt, Report, Store, StoreError, Submitted, TaskRule, UsageBy,
    UsageQuery, Watch,
};

use super::{LONG, open, try_open};
use crate::store_contract::harness::{
    assert_numbers_are_drawn_again, assert_store_is_consistent, child_of, new, request, tasks, usage_query,
    value,
};
use crate::support::database::{Cluster, shared};

fn watch(store: &PostgresStore) -> (Watch, Receiver<()>) {
    let (told, tell) = channel();
    let watch = store.watch(Arc::new(move || {
        // Nobody listens any more at the end.
        let _ = told.send(());
    }));
    let watch = watch.expect("it can be watched");
    // Once when it has begun to listen: from now on nothing is missed.
    tell.recv_timeout(LONG).expect("it listens");
    (watch, tell)
}

fn submit(store: &dyn Store, count: usize) {
    let submits = (0..count).map(|_| new("work")).collect();
    store.commit(&Batch { submits, ..Batch::default() }).expect("it commits");
}

fn rule_key(n: u64) -> RuleKey {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    RuleKey::from_bytes(bytes)
}

fn ended(claim: &run_wasm_runner::model::Claim) -> Report {
    let now = SystemClock::new().now();
    Report {
        id: claim.id,
        runner: claim.runner,
        attempt: claim.attempt,
        observed: vec![(now, run_wasm_runner::model::Event::Start)],
        logs: Vec::new(),
        progress: None,
        component_digest: None,
        end: Some(AttemptEnd {
            at: now,
            how: EndKind::Final(value("1")),
            has_children: false,
            usage: Usage::default(),
        }),
    }
}

/// Reports what a runner has done, claims more, and does it: what is to be reported next
/// is in `reports` then.
fn work_on(store: &dyn Store, runner: RunnerId, reports: &mut Vec<Report>) -> Receipt {
    let batch = Batch {
        reports: std::mem::take(reports),
        claim: Some(ClaimRequest { lease: LONG, ..request(runner, 7) }),
        ..Batch::default()
    };
    let receipt = store.commit(&batch).expect("it commits");
    assert!(receipt.reports.iter().all(|applied| *applied == Applied::Done));
    *reports = receipt.claimed.iter().map(ended).collect();
    receipt
}

#[test]
fn other_processes_learn_of_commits_and_not_of_heartbeats() {
    let url = shared().url();
    let (store, other) = (open(&url), open(&url));
    let (_watch, tell) = watch(&store);
    submit(&*other, 1);
    tell.recv_timeout(Duration::from_secs(3)).expect("sooner than the fallback");
    while tell.try_recv().is_ok() {}
    // What follows on the same connection comes later: had the first two been told,
    // it would have been before the third.
    submit(&*store, 1);
    let runner = RunnerId::generate();
    let heartbeat = Some(Heartbeat { runner, lease: Duration::from_secs(600) });
    other.commit(&Batch { heartbeat, ..Batch::default() }).unwrap();
    let quiet = tell.recv_timeout(Duration::from_secs(2));
    assert!(quiet.is_err(), "own commits and heartbeats are told");
    submit(&*other, 1);
    tell.recv_timeout(Duration::from_secs(3)).expect("the third is told");
}

#[test]
fn runners_that_claim_at_once_share_the_queue_and_nothing_is_handed_out_twice() {
    const COUNT: usize = 2_000;
    let url = shared().url();
    let store = open(&url);
    submit(&*store, COUNT);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let store = open(&url);
            std::thread::spawn(move || {
                let runner = RunnerId::generate();
                let (mut mine, mut reports) = (Vec::new(), Vec::new());
                loop {
                    let receipt = work_on(&*store, runner, &mut reports);
                    mine.extend(receipt.claimed.iter().map(|claim| claim.id));
                    if receipt.claimed.is_empty() && !receipt.more {
                        return mine;
                    }
                }
            })
        })
        .collect();
    let shares: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    println!("shared as {:?}", shares.iter().map(Vec::len).collect::<Vec<_>>());
    let all: Vec<_> = shares.into_iter().flatten().collect();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "none twice");
    assert_eq!(all.len(), COUNT, "none forgotten");
    assert_eq!(store.counts(None).unwrap().get(Status::Succeeded), COUNT as u64);
    assert_store_is_consistent(&*store);
}

#[test]
fn a_claim_that_waited_is_not_dated_before_the_submits_that_it_takes() {
    let url = shared().url();
    let (store, other) = (open(&url), open(&url));
    let rule = TaskRule {
        task: "work".into(),
        queue: "default".into(),
        concurrency: Some(Concurrency { limit: 1, blocked: Blocked::Wait }),
        rate: None,
    };
    let runner = RunnerId::generate();
    let claim = || Some(ClaimRequest { lease: LONG, ..request(runner, 1) });
    let first = NewInvocation { lane: Some(rule_key(1)), ..new("work") };
    let batch = Batch { rules: vec![rule], submits: vec![first], claim: claim(), ..Batch::default() };
    let claimed = store.commit(&batch).expect("it commits").claimed;
    let reports = claimed.iter().map(ended).collect();

    let held = shared().hold("tests", &format!("SELECT 1 FROM \"{}\".lane FOR UPDATE", schema(&url)));
    let waiting = {
        let batch = Batch { reports, claim: claim(), ..Batch::default() };
        let store = Arc::clone(&store);
        std::thread::spawn(move || store.commit(&batch).expect("it commits"))
    };
    let is_waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%\"{}\".lane%'",
        schema(&url)
    );
    let began = std::time::Instant::now();
    while shared().psql("tests", &is_waiting) == "0" {
        assert!(began.elapsed() < LONG, "the claim never waited for the lane");
    }
    submit(&*other, 1);
    drop(held);
    let receipt = waiting.join().expect("no panic");
    let [claim] = &*receipt.claimed else { panic!("{receipt:?}") };
    let history = store.history(claim.id).expect("it exists");
    assert!(history.is_sorted_by_key(|step| step.at), "{history:#?}");
}

#[test]
fn an_invocation_that_comes_due_during_a_claim_is_claimed_by_it_or_due_at_once() {
    let url = shared().url();
    let (store, other) = (open(&url), open(&url));
    let runner = RunnerId::generate();
    let claim =
        move || Batch { claim: Some(ClaimRequest { lease: LONG, ..request(runner, 1) }), ..Batch::default() };
    // The first claim prepares the statements, so that the second has no locks before it executes them.
    store.commit(&claim()).expect("it commits");
    let late = NewInvocation { delay: Duration::from_secs(1), ..new("work") };
    other.commit(&Batch { submits: vec![late], ..Batch::default() }).expect("it commits");

    // The claim has moved what is due when it reads the version, and the time after that.
    let version = format!("\"{}\".schema_version", schema(&url));
    let held = shared().hold("tests", &format!("LOCK TABLE {version} IN ACCESS EXCLUSIVE MODE"));
    let waiting = {
        let store = Arc::clone(&store);
        std::thread::spawn(move || store.commit(&claim()).expect("it commits"))
    };
    let is_waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{version}%'"
    );
    let began = std::time::Instant::now();
    while shared().psql("tests", &is_waiting) == "0" {
        assert!(began.elapsed() < LONG, "the claim never waited for the version");
    }
    shared().psql("tests", "SELECT pg_sleep(1.1)");
    drop(held);
    let receipt = waiting.join().expect("no panic");
    let is_due = receipt.next_due.is_some_and(|due| due <= receipt.now);
    assert!(is_due || receipt.claimed.len() == 1, "{receipt:?}");
}

#[test]
fn runners_with_many_lanes_in_common_do_not_wait_for_each_other_in_a_circle() {
    const COUNT: usize = 2_000;
    const LANES: u64 = 13;
    // The log is that of a server of its own.
    let cluster = Cluster::start();
    let url = cluster.url();
    let store = open(&url);
    let rule = TaskRule {
        task: "work".into(),
        queue: "default".into(),
        concurrency: Some(Concurrency { limit: 9, blocked: Blocked::Wait }),
        rate: Some(Rate { limit: 100_000, window: Duration::from_secs(1) }),
    };
    store.commit(&Batch { rules: vec![rule], ..Batch::default() }).expect("it commits");
    // Neighbours in the queue are in lanes whose order is another one.
    let lane = |n: usize| Some(rule_key(n as u64 * 5 % LANES));
    let submits = (0..COUNT).map(|n| NewInvocation { lane: lane(n), ..new("work") }).collect();
    store.commit(&Batch { submits, ..Batch::default() }).expect("it commits");
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let store = open(&url);
            std::thread::spawn(move || {
                let runner = RunnerId::generate();
                let mut reports = Vec::new();
                loop {
                    work_on(&*store, runner, &mut reports);
                    let counts = store.counts(None).expect("it counts");
                    if counts.get(Status::Succeeded) == COUNT as u64 {
                        return;
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert!(!cluster.log().contains("deadlock"), "{}", cluster.log());
    assert_store_is_consistent(&*store);
}

#[test]
fn a_parents_end_misses_no_child_that_is_submitted_at_the_same_moment() {
    let url = shared().url();
    let (store, other) = (open(&url), open(&url));
    for _ in 0..100 {
        submit(&*store, 1);
        let claim = Some(ClaimRequest { lease: LONG, ..request(RunnerId::generate(), 1) });
        let parent = store.commit(&Batch { claim, ..Batch::default() }).unwrap().claimed.remove(0);
        let child = child_of(&parent, 0);
        let submits = Batch { submits: vec![child.clone()], ..Batch::default() };
        let other = Arc::clone(&other);
        let submitting = std::thread::spawn(move || other.commit(&submits).unwrap().submits.remove(0));
        store.commit(&Batch { reports: vec![ended(&parent)], ..Batch::default() }).unwrap();
        let found = match submitting.join().expect("no panic") {
            Submitted::Created(id) => store.look_up(&[id]).unwrap().remove(0),
            Submitted::Orphan => continue,
            other => panic!("{other:?}"),
        };
        assert!(matches!(found, LookUp::Final(_)), "a child outlived its parent: {found:?}");
    }
}

#[test]
fn the_same_submits_from_two_processes_at_once_are_one() {
    let url = shared().url();
    let stores = [open(&url), open(&url)];
    for round in 0..30 {
        let mut both = vec![new("work"), new("work")];
        both[1].key = Some(format!("key {round}").into());
        let mut reversed = both.clone();
        reversed.reverse();
        reversed[0].id = run_wasm_runner::model::InvocationId::generate();
        let threads: Vec<_> = [both.clone(), reversed]
            .into_iter()
            .zip(&stores)
            .map(|(submits, store)| {
                let store = Arc::clone(store);
                let batch = Batch { submits, ..Batch::default() };
                std::thread::spawn(move || store.commit(&batch).expect("one of them begins anew").submits)
            })
            .collect();
        let answers: Vec<_> =
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect();
        let created = answers.iter().filter(|one| matches!(one, Submitted::Created(_))).count();
        assert_eq!(created, 2, "{answers:?}");
    }
    assert_eq!(stores[0].counts(None).unwrap().get(Status::Queued), 60);
    assert_store_is_consistent(&*stores[0]);
}

#[test]
fn two_processes_that_create_one_store_at_once_make_one() {
    let url = shared().url();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            std::thread::spawn(move || submit(&*open(&url), 5))
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert_eq!(open(&url).counts(None).unwrap().get(Status::Queued), 20);
}

fn schema(url: &str) -> &str {
    url.rsplit_once("schema=").expect("it names a schema").1
}

#[test]
fn a_store_of_a_newer_program_is_refused() {
    let url = shared().url();
    drop(open(&url));
    shared().psql("tests", &format!("UPDATE {}.schema_version SET version = 99", schema(&url)));
    let error = try_open(&url).err().expect("it is refused");
    assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
    assert!(error.to_string().contains("schema version 99"), "{error}");
}

#[test]
fn a_program_that_has_a_store_open_while_a_newer_one_upgrades_it_refuses_to_go_on() {
    let url = shared().url();
    let store = open(&url);
    submit(&*store, 1);
    shared().psql("tests", &format!("UPDATE {}.schema_version SET version = 99", schema(&url)));
    let batch = Batch { submits: vec![new("work")], ..Batch::default() };
    for _ in 0..2 {
        let error = store.commit(&batch).expect_err("it is refused");
        assert!(matches!(error, StoreError::Upgraded { found: 99, .. }), "{error:?}");
    }
    let count = shared().psql("tests", &format!("SELECT count(*) FROM {}.invocation", schema(&url)));
    assert_eq!(count, "1", "nothing was written");
}

#[test]
fn a_schema_of_another_application_is_refused_and_untouched() {
    let url = shared().url();
    let schema = schema(&url);
    shared().psql("tests", &format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.customer (name text)"));
    let error = try_open(&url).err().expect("it is refused");
    assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
    assert!(error.to_string().contains("another application"), "{error}");
    let tables = format!("SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}'");
    assert_eq!(shared().psql("tests", &tables), "1");
}

#[test]
fn the_counts_are_folded_and_stay_right() {
    let url = shared().url();
    let store = open(&url);
    for _ in 0..200 {
        submit(&*store, 1);
    }
    assert_eq!(store.counts(None).unwrap().get(Status::Queued), 200);
    let rows = shared().psql("tests", &format!("SELECT count(*) FROM {}.tally", schema(&url)));
    let rows: u32 = rows.parse().expect("a number");
    assert!(rows < 70, "{rows} rows are left");
}

#[test]
fn processes_that_share_a_quota_keep_to_it_but_for_a_batch_of_each_and_count_right() {
    const MOST: i64 = 100;
    const BATCH: i64 = 5;
    let cluster = Cluster::start();
    let url = cluster.url();
    let store = open(&url);
    let unfinished = Quota { unfinished: Some(MOST as u64), ..Quota::default() };
    let submits = Some(Rate { limit: 100_000, window: Duration::from_secs(1) });
    let quota = Quota { submits, ..unfinished };
    let section = |holder, names: &str| QuotaSection { holder, quotas: vec![(Glob::new(names), quota)] };
    let quotas = vec![section(HolderKind::Key, "*"), section(HolderKind::Component, "acme")];
    store.commit(&Batch { quotas, ..Batch::default() }).expect("it commits");
    const TASKS: [&str; 3] = ["acme::a", "acme::b", "acme::c"];
    let threads: Vec<_> = (0..4_usize)
        .map(|thread| {
            let store = open(&url);
            std::thread::spawn(move || {
                let runner = RunnerId::generate();
                let mut reports = Vec::new();
                for round in 0..60 {
                    // Keys in another order in each process, which all of them share.
                    let new = |n: usize| NewInvocation {
                        fairness_key: Some(format!("key {}", (n * (thread + 1) + round) % 3).into()),
                        ..new(TASKS[(n + thread) % 3])
                    };
                    let claims = ClaimRequest { tasks: tasks(&TASKS), lease: LONG, ..request(runner, 3) };
                    let batch = Batch {
                        submits: (0..BATCH as usize).map(new).collect(),
                        reports: std::mem::take(&mut reports),
                        // The counts are folded now and then.
                        recover: round % 7 == 0,
                        claim: Some(claims),
                        ..Batch::default()
                    };
                    let receipt = store.commit(&batch).expect("it commits");
                    let is_expected =
                        |one: &Submitted| matches!(one, Submitted::Created(_) | Submitted::OverQuota(_));
                    assert!(receipt.submits.iter().all(is_expected), "{receipt:?}");
                    reports = receipt.claimed.iter().map(ended).collect();
                    for one in store.holdings(HolderKind::Component).expect("it counts") {
                        let most = MOST + 4 * BATCH;
                        assert!(one.held.unfinished <= most, "{one:?}");
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert!(!cluster.log().contains("deadlock"), "{}", cluster.log());
    assert_store_is_consistent(&*store);
    // It is met in the end.
    let submits = (0..MOST + 1).map(|_| new("acme::a")).collect();
    let receipt = store.commit(&Batch { submits, ..Batch::default() }).expect("it commits");
    assert!(matches!(receipt.submits.last(), Some(Submitted::OverQuota(_))));
    assert_store_is_consistent(&*store);
}

/// Every submit and every start of a runner says what rules it knows. Whoever says
/// what is known already waits for nobody: several tasks at once, each by another
/// process in another order, would wait for each other.
#[test]
fn rules_that_the_store_knows_are_written_again_without_a_lock() {
    let url = shared().url();
    let store = open(&url);
    let concurrency = Some(Concurrency { limit: 2, blocked: Blocked::Wait });
    let rule = |task: &str| TaskRule { task: task.into(), queue: "default".into(), concurrency, rate: None };
    let rules = || vec![rule("work"), rule("other")];
    store.commit(&Batch { rules: rules(), ..Batch::default() }).expect("it commits");
    let held = shared().hold("tests", &format!("SELECT 1 FROM \"{}\".task FOR UPDATE", schema(&url)));
    let (answer, answered) = channel();
    let batch =
        Batch { rules: rules(), default_rules: rules(), submits: vec![new("work")], ..Batch::default() };
    let thread = std::thread::spawn(move || {
        let committed = store.commit(&batch);
        // Nobody listens any more if it took too long.
        let _ = answer.send(committed.map(|receipt| receipt.submits.len()));
    });
    let answer = answered.recv_timeout(Duration::from_secs(10));
    drop(held);
    thread.join().expect("no panic");
    assert_eq!(answer.expect("it waits for nobody").expect("it commits"), 1);
}

#[test]
fn a_process_does_not_use_the_number_of_a_name_that_another_one_has_had_forgotten() {
    let url = shared().url();
    assert_numbers_are_drawn_again(&*open(&url), &*open(&url));
}

#[test]
fn a_column_of_words_refuses_other_words() {
    let url = shared().url();
    submit(&*open(&url), 1);
    let schema = url.split_once("schema=").expect("the URL has a schema").1;
    for change in [
        "UPDATE invocation SET status = 'done'",
        "UPDATE invocation SET place = 'lost'",
        "UPDATE invocation SET attempt = -1",
        "INSERT INTO outcome (seq) VALUES (1)",
        "INSERT INTO paused (kind, name) VALUES ('runner', 'one')",
    ] {
        shared().psql(
            "tests",
            &format!(
                "SET search_path = {schema}; DO $$ BEGIN {change}; RAISE 'it was taken'; \
                 EXCEPTION WHEN check_violation THEN NULL; END $$"
            ),
        );
    }
}

#[test]
fn usage_that_many_processes_add_at_once_is_counted_once() {
    let url = shared().url();
    let stores: Vec<_> = (0..4).map(|_| open(&url)).collect();
    std::thread::scope(|scope| {
        for store in &stores {
            scope.spawn(move || {
                for n in 0..60 {
                    let new =
                        |key: &str| NewInvocation { fairness_key: Some(key.into()), ..new("one::work") };
                    let submits = vec![new("shared"), new(&format!("key {}", n % 3))];
                    let cancel =
                        |new: &NewInvocation| Cancel { id: new.id, by: None, message: "no more".to_owned() };
                    let cancels = submits.iter().map(cancel).collect();
                    // Every second commit also adds up what all have appended.
                    let batch = Batch { submits, cancels, recover: n % 2 == 0, ..Batch::default() };
                    store.commit(&batch).expect("it commits");
                    let query = UsageQuery { by: UsageBy::default(), ..usage_query() };
                    let calls = store.usage(&query).expect("it reads")[0].sums.calls;
                    assert!(calls >= 2 * (n + 1), "{calls} after {n}");
                }
            });
        }
    });
    let query = UsageQuery { by: UsageBy { fairness_key: true, ..UsageBy::default() }, ..usage_query() };
    let rows = stores[0].usage(&query).expect("it reads");
    let calls: Vec<_> = rows
        .iter()
        .map(|row| (row.fairness_key.as_deref().unwrap_or_default(), row.sums.calls, row.sums.cancelled))
        .collect();
    assert_eq!(calls, [("key 0", 80, 80), ("key 1", 80, 80), ("key 2", 80, 80), ("shared", 240, 240)]);
}
