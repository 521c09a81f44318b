//! What was done, and what held.

use std::time::Duration;

use serde::Serialize;

use super::chaos::Done;
use super::check::{self, Finding};
use super::evidence::Evidence;
use super::runners::Fate;
use crate::cli::error::CliError;
use crate::cli::output::{self, Output};
use crate::cli::render::{Columns, cell, duration, plural, thousands};
use crate::model::{Reason, Status};
use crate::store::Cancelled;

/// How it was done.
#[derive(Debug, Clone)]
pub struct Setting {
    /// What decided.
    pub seed: u64,
    /// How long runners were killed.
    pub duration: Duration,
    /// How many there were at a time.
    pub runners: usize,
    /// The slots of each.
    pub slots: usize,
    /// Their lease.
    pub lease: Duration,
    /// The mean pause between two kills.
    pub kill_every: Duration,
}

/// The whole report; `--json` prints it as it is.
#[derive(Debug, Serialize)]
pub struct Report {
    ok: bool,
    seed: u64,
    store: String,
    duration_seconds: f64,
    runners: usize,
    slots: usize,
    lease_seconds: f64,
    did: Did,
    held: Vec<Finding>,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Did {
    submitted: usize,
    /// Submits whose commit failed: they may exist or not.
    unsure: usize,
    cancelled: usize,
    invocations: usize,
    succeeded: usize,
    failed: usize,
    lost: usize,
    cancelled_in_the_end: usize,
    attempts: usize,
    attempts_lost: usize,
    attempts_retried: usize,
    attempts_released: usize,
    witness_lines: usize,
    runner_processes: u64,
    kills: u64,
    kills_by_chance: u64,
    kills_for_poison: u64,
    long_stops: u64,
    short_stops: u64,
    drains: u64,
    /// Of a store in memory.
    given_back: u64,
    /// Runners that found no store when they started.
    starts_without_store: usize,
    /// The longest that a guest went on beside the next attempt of its
    /// invocation, from when its runner could know of that.
    longest_overlap_ms: f64,
    store_errors: u64,
    settled: bool,
}

impl Report {
    /// Checks the evidence.
    pub fn new(
        setting: &Setting,
        store: &str,
        done: &Done,
        evidence: &Evidence,
        is_settled: bool,
        store_errors: (u64, String),
    ) -> Self {
        let held = check::all(evidence);
        if store_errors.0 > 0 {
            let times = plural(usize::try_from(store_errors.0).unwrap_or(usize::MAX), "time");
            output::warn(
                &format!("torture itself could not use the store {times}: {}", store_errors.1),
                None,
            );
        }
        Self {
            ok: is_settled && held.iter().all(|finding| finding.violated == 0),
            seed: setting.seed,
            store: store.to_owned(),
            duration_seconds: setting.duration.as_secs_f64(),
            runners: setting.runners,
            slots: setting.slots,
            lease_seconds: setting.lease.as_secs_f64(),
            did: Did::new(done, evidence, is_settled, store_errors.0),
            held,
        }
    }

    /// Prints it.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub fn print(&self, as_json: bool) -> Result<(), CliError> {
        let mut output = Output::stdout();
        if as_json {
            output.json(self)?;
        } else {
            self.print_tables(&mut output)?;
        }
        output.flush()
    }

    fn print_tables(&self, output: &mut Output) -> Result<(), CliError> {
        let colours = output.has_colours();
        let did = &self.did;
        let number = |number: usize| thousands(number as u64);
        let mut columns = Columns::new(&["DID", ""], colours);
        let mut row = |name: &str, text: String| columns.row(vec![cell(name), cell(&text)]);
        row("seed", self.seed.to_string());
        row("store", self.store.clone());
        row(
            "runners",
            format!(
                "{} at a time with {} each and a lease of {}, for {}",
                self.runners,
                plural(self.slots, "slot"),
                duration(Duration::from_secs_f64(self.lease_seconds)),
                duration(Duration::from_secs_f64(self.duration_seconds))
            ),
        );
        row(
            "chaos",
            format!(
                "{} runners; {} killed ({} for poison), {} stopped ({} past their lease), {} told to finish, {} to \
                 give back at once",
                thousands(did.runner_processes),
                thousands(did.kills),
                thousands(did.kills_for_poison),
                thousands(did.long_stops + did.short_stops),
                thousands(did.long_stops),
                thousands(did.drains),
                thousands(did.given_back)
            ),
        );
        row(
            "load",
            format!(
                "{} submitted, {} unsure, {} cancelled",
                number(did.submitted),
                number(did.unsure),
                number(did.cancelled)
            ),
        );
        row(
            "invocations",
            format!(
                "{}: {} succeeded, {} failed ({} lost), {} cancelled",
                number(did.invocations),
                number(did.succeeded),
                number(did.failed),
                number(did.lost),
                number(did.cancelled_in_the_end)
            ),
        );
        row(
            "attempts",
            format!(
                "{}: {} ended by a dead runner, {} retried, {} given back",
                number(did.attempts),
                number(did.attempts_lost),
                number(did.attempts_retried),
                number(did.attempts_released)
            ),
        );
        row(
            "witness",
            format!(
                "{} lines; a guest went on beside its successor for at most {:.1} ms",
                number(did.witness_lines),
                did.longest_overlap_ms
            ),
        );
        output.line(&columns.lines())?;
        output.line("")?;
        let mut columns = Columns::new(&["CHECK", "LOOKED AT", "VIOLATED", "WHAT MUST HOLD"], colours);
        for finding in &self.held {
            columns.row(vec![
                cell(finding.check),
                cell(&thousands(finding.checked)),
                cell(&thousands(finding.violated)),
                cell(finding.claim),
            ]);
        }
        output.line(&columns.lines())?;
        for finding in &self.held {
            for violation in &finding.violations {
                output.line(&format!("{}: {}", finding.check, output::harmless_line(violation)))?;
            }
        }
        Ok(())
    }

    /// Success if everything held.
    ///
    /// # Errors
    ///
    /// [`CliError::Violated`] with what did not.
    pub fn verdict(&self) -> Result<(), CliError> {
        if self.ok {
            return Ok(());
        }
        let violated: Vec<_> =
            self.held.iter().filter(|finding| finding.violated > 0).map(|finding| finding.check).collect();
        let message = match (violated.is_empty(), self.did.settled) {
            (true, _) => "not everything came to its end in time".to_owned(),
            (false, true) => format!("this did not hold: {}", violated.join(", ")),
            (false, false) => {
                format!(
                    "not everything came to its end in time, and this did not hold: {}",
                    violated.join(", ")
                )
            }
        };
        let hint = "please report it with the seed, the table above and the working directory";
        Err(CliError::Violated { message, hint: hint.to_owned() })
    }
}

impl Did {
    fn new(done: &Done, evidence: &Evidence, settled: bool, store_errors: u64) -> Self {
        let lives = || evidence.lives.values();
        let with = |status: Status| lives().filter(|life| life.invocation.status == status).count();
        let moved = |reason: Reason| {
            lives().flat_map(|life| &life.history).filter(|step| step.reason == reason).count()
        };
        let lost = lives()
            .filter_map(|life| life.invocation.outcome.as_ref())
            .filter(|outcome| super::book::short(outcome) == "!lost")
            .count();
        let acknowledged = evidence.submits.iter().filter(|submit| submit.is_acknowledged).count();
        let cancelled =
            evidence.cancels.iter().filter(|cancel| cancel.answer == Some(Cancelled::Done)).count();
        Self {
            submitted: acknowledged,
            unsure: evidence.submits.len() - acknowledged,
            cancelled,
            invocations: evidence.lives.len(),
            succeeded: with(Status::Succeeded),
            failed: with(Status::Failed),
            lost,
            cancelled_in_the_end: with(Status::Cancelled),
            attempts: moved(Reason::Claimed),
            attempts_lost: moved(Reason::LeaseExpired) + lost,
            attempts_retried: moved(Reason::Retry),
            attempts_released: moved(Reason::Released),
            witness_lines: evidence.lines.len(),
            runner_processes: done.starts,
            kills: done.kills + done.poisoned,
            kills_by_chance: done.kills,
            kills_for_poison: done.poisoned,
            long_stops: done.long_stops,
            short_stops: done.short_stops,
            drains: done.drains,
            given_back: done.given_back,
            starts_without_store: evidence
                .runners
                .iter()
                .filter(|record| record.fate == Fate::NoStore)
                .count(),
            longest_overlap_ms: check::longest_overlap(evidence).as_secs_f64() * 1e3,
            store_errors,
            settled,
        }
    }
}
