//! The report: what was done, and which claims held.

use serde::Serialize;

use super::chaos::Done;
use super::check::{self, Finding};
use super::evidence::Evidence;
use super::runners::Fate;
use super::site::Setting;
use crate::model::{Reason, Status};
use crate::store::Cancelled;

/// The whole report; `--json` prints it as it is.
#[derive(Debug, Serialize)]
pub struct Report {
    pub ok: bool,
    pub seed: u64,
    pub store: String,
    pub duration_seconds: f64,
    pub runners: usize,
    pub slots: usize,
    pub lease_seconds: f64,
    pub did: Did,
    pub held: Vec<Finding>,
    /// The last error that torture's own use of the store met.
    #[serde(skip)]
    pub last_store_error: String,
}

/// The counts of a run.
#[derive(Debug, Serialize)]
pub struct Did {
    pub submitted: usize,
    /// Submits whose commit failed: they may exist or not.
    pub unsure: usize,
    pub cancelled: usize,
    pub invocations: usize,
    pub succeeded: usize,
    pub failed: usize,
    pub lost: usize,
    pub cancelled_in_the_end: usize,
    pub attempts: usize,
    pub attempts_lost: usize,
    pub attempts_retried: usize,
    pub attempts_released: usize,
    pub witness_lines: usize,
    #[serde(flatten)]
    pub done: Done,
    /// Runners that found no store when they started.
    pub starts_without_store: usize,
    /// The longest that a guest went on beside the next attempt of its
    /// invocation, from when its runner could know of that.
    pub longest_overlap_ms: f64,
    pub store_errors: u64,
    pub settled: bool,
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
            last_store_error: store_errors.1,
        }
    }

    /// Names the claims that did not hold; `None` if all did.
    pub fn violation(&self) -> Option<String> {
        let violated: Vec<_> =
            self.held.iter().filter(|finding| finding.violated > 0).map(|finding| finding.check).collect();
        let held = (!violated.is_empty()).then(|| format!("this did not hold: {}", violated.join(", ")));
        let settled = (!self.did.settled).then(|| "not everything came to its end in time".to_owned());
        settled.into_iter().chain(held).reduce(|settled, held| format!("{settled}, and {held}"))
    }
}

impl Did {
    fn new(done: &Done, evidence: &Evidence, settled: bool, store_errors: u64) -> Self {
        let lives = || evidence.lives.values();
        let fates = || evidence.runners.iter().map(|record| &record.fate);
        let with = |status: Status| lives().filter(|life| life.invocation.status == status).count();
        let moved = |reason: Reason| {
            lives().flat_map(|life| &life.history).filter(|step| step.reason == reason).count()
        };
        let lost = lives().filter(|life| life.is_lost()).count();
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
            done: *done,
            starts_without_store: fates().filter(|fate| **fate == Fate::NoStore).count(),
            longest_overlap_ms: check::longest_overlap(evidence).as_secs_f64() * 1e3,
            store_errors,
            settled,
        }
    }
}
