//! The usage by hour.

use std::time::Duration;

use run_wasm_runner::model::{Claim, Clock, Glob, RunnerId, Status, UnixMicros, Usage, UsageSums};
use run_wasm_runner::store::{
    Applied, Batch, Bill, Cancel, ClaimRequest, EndKind, Keep, NewInvocation, Prune, UsageBy, UsageQuery,
    UsageRow,
};

use super::super::harness::{Bench, failure, new, request, tasks, usage_query, value};

const HOUR: Duration = Duration::from_secs(3600);

/// Everything that is counted, by everything.
fn rows(bench: &Bench) -> Vec<UsageRow> {
    bench.store.usage(&usage_query()).expect("the store reads")
}

/// Everything that is counted, in one sum.
fn total(bench: &Bench) -> UsageSums {
    let query = UsageQuery { by: UsageBy::default(), ..usage_query() };
    let mut rows = bench.store.usage(&query).expect("the store reads");
    assert!(rows.len() <= 1);
    rows.pop().map(|row| row.sums).unwrap_or_default()
}

fn cpu(micros: u64) -> Usage {
    Usage { cpu_micros: micros, peak_memory_bytes: micros, read_bytes: 2 * micros, ..Usage::default() }
}

#[track_caller]
fn claim(bench: &Bench, task: &str) -> Claim {
    let request = ClaimRequest { tasks: tasks(&[task]), ..request(RunnerId::generate(), 1) };
    bench.claim(request).claimed.pop().expect("there is something to claim")
}

#[track_caller]
fn end(bench: &Bench, claim: &Claim, how: EndKind, usage: Usage) {
    let mut report = bench.ended(claim, how);
    report.end.as_mut().expect("it ends").usage = usage;
    // The answer is lost, and it comes once more.
    let receipt = bench.commit(Batch { reports: vec![report.clone(), report], ..Batch::default() });
    assert_eq!(receipt.reports, [Applied::Done, Applied::Stale]);
}

fn of_key(task: &str, key: Option<&str>) -> NewInvocation {
    NewInvocation { fairness_key: key.map(Into::into), ..new(task) }
}

pub fn usage_is_counted_once_whoever_ends_an_attempt(bench: &Bench) {
    assert_eq!(rows(bench), []);
    bench.create(of_key("one::work", None));
    assert_eq!(rows(bench), [], "nothing is counted before its end");
    // Two attempts, one that is given back, and one that never started.
    let retried = claim(bench, "one::work");
    end(bench, &retried, EndKind::Retry(failure("once more"), Duration::ZERO), cpu(1));
    let released = claim(bench, "one::work");
    end(bench, &released, EndKind::Release, cpu(10));
    let unstarted = claim(bench, "one::work");
    end(bench, &unstarted, EndKind::Release, Usage::default());
    let last = claim(bench, "one::work");
    end(bench, &last, EndKind::Final(failure("it broke")), cpu(100));
    let sums = total(bench);
    assert_eq!((sums.calls, sums.failures, sums.attempts), (1, 1, 3));
    assert_eq!(
        sums.bill,
        Usage { cpu_micros: 111, read_bytes: 222, ..Usage::default() },
        "peaks have no sum"
    );

    // A late bill is taken once.
    let id = bench.create(of_key("one::work", None));
    let cancelled = claim(bench, "one::work");
    bench.cancel(id);
    let Claim { id, runner, attempt, .. } = cancelled;
    let bill = Bill { id, runner, attempt, usage: cpu(1_000) };
    let receipt = bench.commit(Batch { bills: vec![bill.clone(), bill], ..Batch::default() });
    assert_eq!(receipt.bills, [Applied::Done, Applied::Stale]);
    // A deadline, and a runner that dies in the last attempt.
    bench.create(NewInvocation { deadline: Some(Duration::from_secs(1)), ..of_key("one::work", None) });
    bench.clock.advance(Duration::from_secs(1));
    bench.recover();
    bench.create(NewInvocation { max_attempts: 1, ..of_key("one::work", None) });
    claim(bench, "one::work");
    bench.let_leases_run_out();
    bench.recover();
    let sums = total(bench);
    assert_eq!((sums.calls, sums.failures, sums.cancelled, sums.attempts), (4, 3, 1, 4));
    assert_eq!(sums.bill.cpu_micros, 1_111);
}

pub fn usage_is_grouped_by_component_key_and_hour(bench: &Bench) {
    let first = UnixMicros::of_hour(bench.clock.now().hour());
    let second = first.plus(HOUR);
    let work = |task: &str, key: Option<&str>, usage| {
        bench.create(of_key(task, key));
        end(bench, &claim(bench, task), EndKind::Final(value("1")), usage);
    };
    work("one::work", None, cpu(1));
    work("one::other", Some("a_b"), cpu(2));
    work("work", Some("aXb"), cpu(4));
    bench.clock.advance(HOUR);
    work("one::work", Some("a_b"), cpu(8));
    work("two::work", Some("100%"), cpu(16));

    let shown = |query: UsageQuery| {
        let rows = bench.store.usage(&query).expect("the store reads");
        let hour = |at: UnixMicros| at.hour() - first.hour();
        let line = |row: UsageRow| {
            (row.hour.map(hour), row.component, row.fairness_key, row.sums.bill.cpu_micros, row.sums.calls)
        };
        let text = rows.into_iter().map(line).map(|(hour, component, key, cpu, calls)| {
            let name =
                |name: Option<std::sync::Arc<str>>| name.map_or("-".to_owned(), |name| format!("`{name}`"));
            format!("{hour:?} {} {} {cpu} {calls}", name(component), name(key))
        });
        text.collect::<Vec<_>>()
    };
    let by = |component, fairness_key, hour| UsageBy { component, fairness_key, hour };
    let everything = [
        "Some(0) `` `aXb` 4 1",
        "Some(0) `one` `a_b` 2 1",
        "Some(0) `one` `one` 1 1",
        "Some(1) `one` `a_b` 8 1",
        "Some(1) `two` `100%` 16 1",
    ];
    assert_eq!(shown(usage_query()), everything);
    let grouped = |by| shown(UsageQuery { by, ..usage_query() });
    assert_eq!(grouped(by(true, false, false)), ["None `` - 4 1", "None `one` - 11 3", "None `two` - 16 1"]);
    assert_eq!(
        grouped(by(false, true, false)),
        ["None - `100%` 16 1", "None - `aXb` 4 1", "None - `a_b` 10 2", "None - `one` 1 1"]
    );
    assert_eq!(grouped(by(false, false, true)), ["Some(0) - - 7 3", "Some(1) - - 24 2"]);
    assert_eq!(grouped(by(false, false, false)), ["None - - 31 5"]);

    let none = by(false, false, false);
    let limited = |since, until| shown(UsageQuery { since, until: Some(until), by: none, ..usage_query() });
    assert_eq!(limited(first, second), ["None - - 7 3"]);
    assert_eq!(limited(second, second.plus(HOUR)), ["None - - 24 2"]);
    assert_eq!(limited(second.plus(HOUR), second.plus(HOUR * 2)), [""; 0]);
    let globs = |globs: &[&str]| globs.iter().map(|glob| Glob::new(glob)).collect::<Vec<_>>();
    let filtered = |components: &[&str], keys: &[&str]| {
        let (components, fairness_keys) = (globs(components), globs(keys));
        shown(UsageQuery { components, fairness_keys, by: none, ..usage_query() })
    };
    assert_eq!(filtered(&["o*"], &[]), ["None - - 11 3"]);
    assert_eq!(filtered(&["o*", "two"], &["a_b", "1*%"]), ["None - - 26 3"]);
    assert_eq!(filtered(&[], &["a_b"]), ["None - - 10 2"], "nothing but `*` is a pattern");
    assert_eq!(filtered(&["t*e"], &[]), [""; 0]);
    // One more than asked for says that there are more.
    assert_eq!(shown(UsageQuery { max: 4, ..usage_query() }).len(), 5);
    assert_eq!(shown(UsageQuery { max: 3, ..usage_query() }).len(), 4);
}

pub fn usage_outlives_its_invocations_and_their_keys(bench: &Bench) {
    bench.create(of_key("one::work", Some("gone")));
    end(bench, &claim(bench, "one::work"), EndKind::Final(value("1")), cpu(5));
    let before = rows(bench);
    let keep = Keep { status: Status::Succeeded, age: None, count: Some(0), at_least: 0 };
    for _ in 0..2 {
        // The key is removed when its time in the queue has passed.
        bench.create(of_key("one::work", Some("other")));
        let other = claim(bench, "one::work");
        bench.cancel(other.id);
        let prune = Some(Prune { keep: vec![keep], max: 10, after: None, tasks: None, only_counts: false });
        bench.commit(Batch { prune, ..Batch::default() });
    }
    let of_it = |rows: Vec<UsageRow>| {
        rows.into_iter().filter(|row| row.fairness_key.as_deref() == Some("gone")).collect::<Vec<_>>()
    };
    assert_eq!(of_it(rows(bench)), of_it(before));
    // A key that comes back goes on where it was.
    bench.create(of_key("one::work", Some("gone")));
    end(bench, &claim(bench, "one::work"), EndKind::Final(value("1")), cpu(7));
    let [row] = &of_it(rows(bench))[..] else { panic!("one row") };
    assert_eq!((row.sums.calls, row.sums.bill.cpu_micros), (2, 12));
}

pub fn what_ends_and_is_removed_in_one_commit_is_counted(bench: &Bench) {
    // Delayed, its key has no time in the queue for which it would be kept.
    let new = NewInvocation { delay: Duration::from_secs(60), ..of_key("one::work", Some("brief")) };
    let id = bench.create(new);
    let keep = Keep { status: Status::Cancelled, age: None, count: Some(0), at_least: 0 };
    bench.commit(Batch {
        cancels: vec![Cancel { id, by: None, message: "not needed".to_owned() }],
        prune: Some(Prune { keep: vec![keep], max: 10, after: None, tasks: None, only_counts: false }),
        ..Batch::default()
    });
    assert!(matches!(bench.store.get(&[id]).expect("the store reads")[..], [None]), "it was removed");
    let [row] = &rows(bench)[..] else { panic!("one row") };
    assert_eq!((row.fairness_key.as_deref(), row.sums.calls, row.sums.cancelled), (Some("brief"), 1, 1));
}

pub fn old_usage_is_removed_in_bounded_steps(bench: &Bench) {
    // More rows than one transaction removes, each of a key of its own.
    let submits: Vec<_> = (0..1_500).map(|n| of_key("one::work", Some(&format!("key {n}")))).collect();
    let cancel = |new: &NewInvocation| run_wasm_runner::store::Cancel {
        id: new.id,
        by: None,
        message: "not needed".to_owned(),
    };
    let cancels = submits.iter().map(cancel).collect();
    bench.commit(Batch { submits, ..Batch::default() });
    bench.commit(Batch { cancels, ..Batch::default() });
    // Rows that were only appended are removed as well.
    bench.recover();
    let left = || rows(bench).len();
    let prune = |age| {
        let batch = Batch { prune_usage: Some(age), ..Batch::default() };
        assert!(!batch.is_empty());
        bench.commit(batch).has_old_usage
    };
    assert_eq!(left(), 1_500);
    assert!(!prune(Duration::ZERO), "the present hour is not over");
    bench.clock.advance(HOUR);
    bench.create(of_key("one::work", None));
    end(bench, &claim(bench, "one::work"), EndKind::Final(value("1")), cpu(5));
    assert!(!prune(HOUR), "it has not been over for so long");
    assert_eq!(left(), 1_501);
    assert!(prune(Duration::ZERO));
    assert_eq!(left(), 501);
    assert!(!prune(Duration::ZERO));
    assert_eq!(left(), 1);
    assert_eq!(total(bench).calls, 1);
}
