//! Rows that the statements of the PostgreSQL store touch, as the server counts them
//! (`auto_explain`).

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use run_wasm_runner::model::{Clock, UnixMicros};
use run_wasm_runner::store::{PostgresStore, PostgresUrl};
use serde_json::Value;

use super::backlog::{Dialect, LAST, of_final, of_unfinished};
use super::exercise::exercise;
use super::{BATCH, FEW, MANY, TASKS, Touched, assert_bounded_by_looks, claim_among, fill_with_tasks};
use crate::store_contract::harness::Bench;
use crate::support::clock::TestClock;
use crate::support::database::Cluster;

/// A server plans the first five executions of a prepared statement with their arguments,
/// and may keep one plan for all of them after that.
const ROUNDS: u32 = 7;

/// Rows that a statement about [`BATCH`] invocations may touch: a claim looks 64 further
/// than it is asked to, and visits each row several times.
const BOUND: u64 = 200 + 50 * BATCH as u64;

/// Different statements that the exercise is known to bring about, at least.
const STATEMENTS: usize = 70;

const DIALECT: Dialect = Dialect {
    series: |n| format!("generate_series(0, {n} - 1) AS series(g)"),
    id: |number| format!("lpad(to_hex({number}), 32, '0')::uuid"),
    key: |number| format!("('key ' || {number})::bytea"),
    start: (", seq", ", g"),
    starts: "count(*)",
    lane: ("", ""),
};

/// A server whose statistics change only when it is told to, and that can say what a
/// statement does.
fn cluster() -> Cluster {
    Cluster::start_with(|data| {
        let path = data.join("postgresql.conf");
        let mut settings = std::fs::read_to_string(&path).expect("the settings are there");
        settings += "autovacuum = off\nfsync = off\nmax_wal_size = '4GB'\nshared_buffers = '256MB'\n\
                     session_preload_libraries = 'auto_explain'\nauto_explain.log_analyze = on\n\
                     auto_explain.log_timing = off\nauto_explain.log_format = json\n";
        std::fs::write(&path, settings).expect("the settings can be written");
    })
}

/// A schema under test.
struct Schema<'c> {
    cluster: &'c Cluster,
    url: String,
    name: String,
    clock: Arc<TestClock>,
    /// When the test began.
    began: UnixMicros,
}

impl<'c> Schema<'c> {
    fn new(cluster: &'c Cluster) -> Self {
        // Only the store's own connections tell what they do.
        let url = cluster.url() + "&options=-c%20auto_explain.log_min_duration=0";
        let name = url.split_once("schema=").and_then(|(_, rest)| rest.split('&').next());
        let name = name.expect("the URL has a schema").to_owned();
        let clock = TestClock::new();
        let began = clock.now();
        Self { cluster, url, name, clock, began }
    }

    fn open(&self) -> Bench {
        let url = PostgresUrl::parse(&self.url).expect("a URL");
        let clock: Arc<dyn Clock> = self.clock.clone();
        let store = PostgresStore::open(&url, Some(clock)).expect("the store opens");
        Bench::new(Arc::new(store), Arc::clone(&self.clock), ())
    }

    fn run(&self, sql: &str) {
        self.cluster.psql("tests", &format!("SET search_path = {}; {sql}", self.name));
    }

    fn fill(&self, sql: &str) {
        self.run(&format!(
            "{sql} SELECT setval('invocation_seq', greatest(last_value, {LAST})) FROM invocation_seq"
        ));
    }

    /// Has every statement of a store planned for good.
    fn rehearse(&self, bench: &Bench) {
        (0..ROUNDS).for_each(|round| exercise(bench, round));
        self.take_plans();
    }

    /// Runs the exercise on a store, and checks the rows that its statements touch.
    #[track_caller]
    fn assert_bounded(&self, state: &str, bench: &Bench) {
        self.take_plans();
        let mut touched = Touched::default();
        for round in 0..ROUNDS {
            exercise(bench, round);
            let plans = self.take_plans();
            // Those between say nothing new, and reading them takes its time.
            if round != 0 && round != ROUNDS - 1 {
                continue;
            }
            self.note(&plans, &mut touched);
        }
        touched.assert_bounded(state, BOUND, STATEMENTS);
    }

    fn note(&self, plans: &[String], touched: &mut Touched) {
        for plan in plans.iter().map(|plan| read_plan(plan)) {
            let statement = plan["Query Text"].as_str().unwrap_or_default().replace(&self.name, "");
            touched.note(&statement, rows(&plan["Plan"]), || outline(&plan["Plan"]));
        }
    }

    /// The plans of the statements that were executed since the last time, as JSON that the
    /// server logged.
    fn take_plans(&self) -> Vec<String> {
        let mark = uuid::Uuid::now_v7().simple().to_string();
        self.cluster.psql("tests", &format!("DO $$ BEGIN RAISE LOG 'until {mark}'; END $$"));
        let log = self.cluster.take_log_until(&mark);
        let mut plans = Vec::new();
        let mut lines: VecDeque<&str> = log.lines().collect();
        while let Some(line) = lines.pop_front() {
            if !line.ends_with(" plan:") {
                continue;
            }
            let mut json = String::new();
            while let Some(line) = lines.pop_front_if(|line| line.starts_with('\t')) {
                json += line;
            }
            plans.push(json);
        }
        plans
    }
}

fn read_plan(json: &str) -> Value {
    serde_json::from_str(json).expect("a plan is JSON")
}

/// The parts of a plan below one.
fn below(plan: &Value) -> impl Iterator<Item = &Value> {
    plan["Plans"].as_array().into_iter().flatten()
}

/// The rows that one part of a plan has read and passed on or thrown away.
fn own_rows(plan: &Value) -> u64 {
    let number = |key: &str| plan[key].as_f64().unwrap_or(0.0);
    let removed = ["Filter", "Join Filter", "Index Recheck"];
    let removed: f64 = removed.iter().map(|by| number(&format!("Rows Removed by {by}"))).sum();
    let read = if plan.get("Index Name").is_some() { number("Actual Rows") } else { 0.0 };
    ((read + removed) * number("Actual Loops")) as u64
}

fn rows(plan: &Value) -> u64 {
    own_rows(plan) + below(plan).map(rows).sum::<u64>()
}

/// A plan as text, for a test that fails.
fn outline(plan: &Value) -> String {
    fn write(plan: &Value, depth: usize, text: &mut String) {
        let of = |key: &str| plan[key].as_str().unwrap_or_default().to_owned();
        let _ = writeln!(
            text,
            "{:depth$}{} {} {} cond[{}] filter[{}{}]: {} rows",
            "",
            of("Node Type"),
            of("Index Name"),
            of("Alias"),
            of("Index Cond"),
            of("Filter"),
            of("Join Filter"),
            own_rows(plan),
            depth = 4 + 2 * depth
        );
        below(plan).for_each(|plan| write(plan, depth + 1, text));
    }
    let mut text = String::new();
    write(plan, 0, &mut text);
    text
}

#[test]
fn postgresql_touches_only_the_rows_of_a_batch_whatever_its_statistics_say() {
    let cluster = cluster();
    let schema = Schema::new(&cluster);
    let early = schema.open();
    exercise(&early, 0);
    schema.fill(&of_final(&DIALECT, MANY, schema.began));
    schema.run("ANALYZE");
    schema.rehearse(&early);
    schema.fill(&of_unfinished(&DIALECT, MANY, schema.began));
    schema.assert_bounded("planned while the queue was empty", &early);
    schema.assert_bounded("analysed while the queue was empty", &schema.open());
    schema.run("ANALYZE");
    schema.assert_bounded("analysed with a full queue", &schema.open());
    // As if nobody had ever looked.
    let of_schema =
        format!("(SELECT oid FROM pg_class WHERE relnamespace = '{}'::regnamespace)", schema.name);
    schema.run(&format!(
        "DELETE FROM pg_statistic WHERE starelid IN {of_schema}; \
         UPDATE pg_class SET reltuples = -1, relpages = 0, relallvisible = 0 WHERE oid IN {of_schema}"
    ));
    schema.assert_bounded("never analysed", &schema.open());
}

#[test]
fn postgresql_touches_only_the_rows_of_a_batch_with_plans_made_for_empty_tables() {
    let cluster = cluster();
    let schema = Schema::new(&cluster);
    let early = schema.open();
    schema.rehearse(&early);
    schema.fill(&of_final(&DIALECT, FEW, schema.began));
    schema.fill(&of_unfinished(&DIALECT, FEW, schema.began));
    schema.assert_bounded("planned while everything was empty", &early);
}

#[test]
fn a_claim_takes_no_longer_with_very_many_tasks_in_postgresql() {
    let cluster = cluster();
    let schema = Schema::new(&cluster);
    let bench = schema.open();
    let mut filled = 0;
    let work = TASKS.map(|tasks| {
        fill_with_tasks(&bench, std::mem::replace(&mut filled, tasks), tasks);
        schema.take_plans();
        claim_among(&bench, tasks);
        let mut touched = Touched::default();
        schema.note(&schema.take_plans(), &mut touched);
        touched.total
    });
    assert_bounded_by_looks(work, 20);
}
