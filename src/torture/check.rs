//! The claims that must hold, checked. Nothing but the evidence decides: each
//! check looks at all of it and says how much it looked at.

mod children;
mod finding;
mod histories;
mod leases;
mod outcomes;
mod runners;
mod submits;
#[cfg(test)]
mod tests;

use super::evidence::Evidence;
pub use finding::Finding;
pub use leases::longest_overlap;

/// Runs all checks.
pub fn all(evidence: &Evidence) -> Vec<Finding> {
    vec![
        submits::every_one_is_final_once(evidence),
        submits::no_cancel_is_forgotten(evidence),
        outcomes::none_changes(evidence),
        outcomes::each_is_what_its_guest_returned(evidence),
        outcomes::each_is_one_that_its_task_can_have(evidence),
        histories::each_is_legal_and_within_its_attempts(evidence),
        histories::none_starts_before_its_time(evidence),
        leases::none_is_broken(evidence),
        leases::no_two_attempts_overlap(evidence),
        leases::each_start_has_a_claim(evidence),
        leases::no_lane_is_full_twice(evidence),
        children::parents_saw_what_was_committed(evidence),
        children::parents_have_the_children_that_they_submitted(evidence),
        runners::none_runs_more_than_its_slots(evidence),
        runners::all_ended_as_they_were_told(evidence),
    ]
}
