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

/// Invocations that each step of the exercise is about.
const BATCH: usize = 8;

/// Rows that the tests store of every status.
const MANY: usize = 100_000;

/// Rows stored where the state is that everything was empty when the plans were made.
const FEW: usize = 20_000;

/// The most that one statement has touched, by its text.
#[derive(Default)]
struct Touched(BTreeMap<String, (u64, String)>);

impl Touched {
    /// Notes that a statement has touched so many rows, with its plan if that is known.
    fn note(&mut self, statement: &str, rows: u64, plan: impl FnOnce() -> String) {
        let most = self.0.entry(statement.to_owned()).or_default();
        if rows >= most.0 {
            *most = (rows, plan());
        }
    }

    /// Requires that no statement has touched more than `bound` rows, and that at least
    /// `statements` different ones were seen.
    #[track_caller]
    fn assert_bounded(&self, state: &str, bound: u64, statements: usize) {
        let mut worst: Vec<_> = self.0.iter().filter(|(_, (rows, _))| *rows > bound).collect();
        worst.sort_by_key(|(_, (rows, _))| std::cmp::Reverse(*rows));
        let worst: Vec<_> = worst
            .iter()
            .map(|(statement, (rows, plan))| format!("{rows} rows: {statement}\n{plan}"))
            .collect();
        assert!(
            worst.is_empty(),
            "{state}: {} of {} statements touch more than {bound} rows\n\n{}",
            worst.len(),
            self.0.len(),
            worst.join("\n\n")
        );
        assert!(self.0.len() >= statements, "{state}: only {} statements were seen", self.0.len());
    }
}
