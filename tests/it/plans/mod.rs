//! The number of rows that a statement touches depends on its batch alone, and not on the
//! size of the store or on the database's statistics.
//!
//! A planner chooses by statistics, and the statistics of a queue are soon wrong: a table
//! that was empty when it was analysed holds a million rows a minute later. So every
//! statement is written such that only one plan is possible. These tests count the rows
//! that each statement touches, with many rows of every status and in every state of the
//! statistics. They count rows and not seconds, because that count is the same on every
//! machine.

mod backlog;
mod exercise;
mod postgres;
mod sqlite;

use std::collections::BTreeMap;
use std::sync::Arc;

use run_wasm_runner::model::RunnerId;
use run_wasm_runner::store::{Batch, ClaimRequest};

use crate::store_contract::harness::{Bench, new, request};

/// Invocations that each step of the exercise is about.
const BATCH: usize = 8;

/// Rows that the tests store of every status.
const MANY: usize = 100_000;

/// Rows stored where the state is that everything was empty when the plans were made.
const FEW: usize = 20_000;

/// Numbers of tasks between which the work of a claim is compared.
const TASKS: [usize; 3] = [200, 2_000, 20_000];

/// The rows that statements have touched.
#[derive(Default)]
struct Touched {
    /// The most that one statement has touched, by its text, and its plan.
    most: BTreeMap<String, (u64, String)>,
    /// The rows that all of them have touched together.
    total: u64,
}

impl Touched {
    /// Notes that a statement has touched so many rows, with its plan if that is known.
    fn note(&mut self, statement: &str, rows: u64, plan: impl FnOnce() -> String) {
        self.total += rows;
        let most = self.most.entry(statement.to_owned()).or_default();
        if rows >= most.0 {
            *most = (rows, plan());
        }
    }

    /// Requires that no statement has touched more than `bound` rows, and that at least
    /// `statements` different ones were seen.
    #[track_caller]
    fn assert_bounded(&self, state: &str, bound: u64, statements: usize) {
        let mut worst: Vec<_> = self.most.iter().filter(|(_, (rows, _))| *rows > bound).collect();
        worst.sort_by_key(|(_, (rows, _))| std::cmp::Reverse(*rows));
        let worst: Vec<_> = worst
            .iter()
            .map(|(statement, (rows, plan))| format!("{rows} rows: {statement}\n{plan}"))
            .collect();
        assert!(
            worst.is_empty(),
            "{state}: {} of {} statements touch more than {bound} rows\n\n{}",
            worst.len(),
            self.most.len(),
            worst.join("\n\n")
        );
        assert!(self.most.len() >= statements, "{state}: only {} statements were seen", self.most.len());
    }
}

/// Makes tasks with something to claim of each, until there are so many.
fn fill_with_tasks(bench: &Bench, from: usize, to: usize) {
    let submits = (from..to).map(|n| new(&format!("task {n}"))).collect();
    bench.commit(Batch { submits, ..Batch::default() });
}

/// Claims a few invocations for a runner that has so many tasks.
#[track_caller]
fn claim_among(bench: &Bench, tasks: usize) {
    let tasks = Arc::new((0..tasks).map(|n| format!("task {n}").into()).collect());
    let receipt = bench.claim(ClaimRequest { tasks, ..request(RunnerId::generate(), BATCH) });
    assert_eq!(receipt.claimed.len(), BATCH);
}

/// Requires that the work of a claim, by the number of tasks, does not grow beyond what it looks at: a thousand.
#[track_caller]
fn assert_bounded_by_looks(work: [u64; 3], each: u64) {
    let [few, many, very_many] = work;
    assert!(few < 1_000 * each && many < 1_000 * each, "a claim took {work:?}");
    assert!(very_many < many + many / 10, "a claim took {work:?} with {TASKS:?} tasks");
}
