//! The promises of a store, each checked on every store.

pub mod harness;
mod model;
mod promises;
mod shares;

use std::sync::Arc;

use run_wasm_runner::store::{MemoryStore, PostgresStore, PostgresUrl, SqliteStore};

use self::harness::Bench;
use crate::support::clock::TestClock;
use crate::support::database;

fn memory() -> Bench {
    let clock = TestClock::new();
    Bench::new(Arc::new(MemoryStore::new(clock.clone())), clock, ())
}

fn sqlite() -> Bench {
    let clock = TestClock::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = SqliteStore::open(&path, clock.clone()).unwrap();
    Bench::new(Arc::new(store), clock, directory)
}

fn postgres() -> Bench {
    let clock = TestClock::new();
    Bench::new(Arc::new(open_postgres(&clock)), clock, ())
}

/// A store in a schema of its own, by a clock that stands still.
pub fn open_postgres(clock: &Arc<TestClock>) -> PostgresStore {
    let url = PostgresUrl::parse(&database::shared().url()).unwrap();
    PostgresStore::open(&url, Some(clock.clone())).unwrap()
}

/// Makes a test of each promise, for each store, that also checks the whole
/// store when the promise was kept.
macro_rules! contract {
    ($($promise:ident)*) => {
        mod in_memory {
            $(#[test] fn $promise() {
                let bench = super::memory();
                super::promises::$promise(&bench);
                super::harness::assert_store_is_consistent(&*bench.store);
            })*
        }
        mod in_postgres {
            $(#[test] fn $promise() {
                let bench = super::postgres();
                super::promises::$promise(&bench);
                super::harness::assert_store_is_consistent(&*bench.store);
            })*
        }
        mod in_sqlite {
            $(#[test] fn $promise() {
                let bench = super::sqlite();
                super::promises::$promise(&bench);
                super::harness::assert_store_is_consistent(&*bench.store);
            })*
        }
    };
}

contract! {
    a_task_takes_the_place_of_its_former_id
    an_id_that_may_be_anothers_is_adopted_by_its_bytes
    a_task_that_the_store_knows_adopts_nothing
    a_submitted_invocation_is_queued_as_it_was_submitted
    claim_hands_each_invocation_to_one_runner
    a_claim_carries_what_its_runner_needs
    stale_report_changes_nothing
    a_report_of_the_impossible_changes_nothing
    a_report_is_applied_as_a_whole
    final_invocation_never_changes
    expired_lease_is_requeued
    a_heartbeat_keeps_the_lease
    a_runner_that_lost_its_lease_is_told_and_gets_nothing
    attempts_used_up_by_dead_runners_end_lost
    a_runner_without_claims_loses_nothing
    recovery_takes_only_the_claims_of_dead_runners
    a_childs_lease_is_that_of_its_own_runner
    concurrent_recoveries_take_each_claim_once
    released_invocation_keeps_its_place_and_attempt
    retried_invocation_waits_for_its_delay
    claims_come_by_priority_then_age
    low_priority_does_not_starve
    tasks_share_one_order
    any_number_of_tasks_share_one_order
    claims_go_round_among_more_tasks_than_one_looks_at
    awaited_invocations_come_first_in_the_order_asked
    a_claim_names_the_awaited_that_cannot_be_claimed
    a_claim_of_awaited_work_takes_nothing_else
    delayed_invocations_are_not_claimed_before_their_time
    a_turn_is_given_back_by_what_ends_before_it_is_claimed
    turns_that_are_given_back_can_not_be_saved_up
    a_fairness_key_is_the_component_unless_chosen_and_children_inherit_it
    keys_share_claims_by_weight
    weights_stay_until_a_configuration_says_others
    a_newcomer_waits_for_one_turn_of_each_key
    a_key_that_was_alone_is_not_punished
    a_paused_backlog_shares_with_others_when_it_goes_on
    a_backlog_that_nobody_served_does_not_keep_a_newcomer_of_its_task_waiting
    delayed_invocations_take_their_turn_when_they_are_due
    a_claim_of_one_tree_is_out_of_turn
    a_tree_that_submits_without_end_leaves_turns_to_others
    awaited_work_that_is_slow_takes_the_turns_of_its_key_before_the_rest_of_it
    a_pruned_fairness_key_can_be_used_again
    next_due_is_the_next_moment_at_which_time_changes_something
    only_the_tree_asked_for_is_claimed
    only_tasks_asked_for_are_claimed
    a_claim_reports_whether_work_is_left
    a_claim_ends_where_the_arguments_are_too_large_together
    the_same_id_is_submitted_once
    the_same_key_returns_the_first_id
    the_same_key_with_other_arguments_is_a_conflict
    a_resubmitted_child_gets_the_first_childs_id
    a_child_of_a_lost_attempt_is_an_orphan
    being_an_orphan_decides_before_an_id
    being_an_orphan_decides_before_a_key
    being_an_orphan_decides_before_a_place
    being_an_orphan_decides_before_uniqueness
    being_an_orphan_decides_before_ancestors
    an_id_decides_before_a_key
    an_id_decides_before_a_place
    an_id_decides_before_uniqueness
    an_id_decides_before_ancestors
    a_key_decides_before_a_place
    a_key_decides_before_uniqueness
    a_key_decides_before_ancestors
    a_place_decides_before_uniqueness
    a_place_decides_before_ancestors
    uniqueness_decides_before_ancestors
    a_component_has_as_many_unfinished_invocations_as_its_quota_says
    a_refusal_says_whose_quota_it_is
    a_quota_of_bytes_counts_arguments_and_outcomes_until_they_are_removed
    a_quota_of_submits_fills_again_with_time
    a_quota_of_keys_is_for_each_key_with_its_children
    the_most_exact_quota_holds_alone
    quotas_stay_until_a_configuration_says_others
    a_guest_fills_the_quota_of_its_own_component_and_not_another_one
    detached_children_do_not_fill_the_quota_of_a_key
    an_outcome_that_has_no_room_is_a_failure
    a_rule_that_says_nothing_makes_no_name
    a_name_is_forgotten_when_nothing_refers_to_it
    names_are_looked_at_a_thousand_at_a_time
    a_rule_is_dropped_only_if_it_is_in_force
    a_quota_holds_for_what_was_there_before_it
    what_exists_is_answered_although_a_quota_is_full
    claims_missing_from_an_inventory_are_released
    a_pushed_component_comes_back_whole
    the_last_push_of_a_name_is_its_newest
    a_removed_component_is_kept_for_what_is_unfinished
    the_provider_of_an_import_is_the_first_and_stays_so
    answers_of_runners_to_a_push_are_kept
    a_receipt_tells_the_stores_time
    cancel_is_final_at_once
    a_runner_learns_which_of_its_invocations_others_ended
    cancel_descends_through_attached_children
    a_guest_cancels_nothing_that_called_it
    a_guest_far_below_cancels_nothing_that_is_far_above
    a_final_parent_ends_its_attached_children
    a_released_parent_keeps_its_children
    a_deep_tree_is_cancelled_whole
    a_lost_invocation_cancels_its_attached_children
    unknown_ids_are_no_error
    list_filters_newest_first
    lists_have_the_kind_and_the_message_of_a_large_failure
    rules_have_an_origin
    a_filter_takes_labels_as_a_whole
    a_filter_takes_those_submitted_since_a_moment
    a_filter_takes_those_submitted_before_a_moment
    a_filter_takes_queued_ones_by_what_they_wait_for
    a_filter_takes_those_that_ended_within_a_time
    a_filter_takes_those_of_a_runner
    a_filter_takes_the_tree_of_a_root
    a_look_at_the_newest_ends
    parts_of_ids_are_found
    invocations_are_found_by_their_keys
    a_prune_keeps_at_least_so_many
    a_prune_that_only_counts_removes_nothing
    a_prune_of_some_tasks_leaves_and_counts_no_others
    lists_leave_values_out
    counts_are_by_status_and_tree
    unfinished_invocations_are_counted_by_task
    queued_invocations_are_counted_by_what_they_wait_for
    leases_are_told_with_their_end
    tree_has_parents_before_children
    logs_come_in_order
    history_tells_every_move
    an_invocation_that_waits_very_often_has_a_bounded_history
    progress_and_component_are_kept
    usage_is_summed_over_attempts
    usage_of_an_attempt_that_others_ended_is_added_once
    usage_is_counted_once_whoever_ends_an_attempt
    usage_is_grouped_by_component_key_and_hour
    what_ends_and_is_removed_in_one_commit_is_counted
    usage_outlives_its_invocations_and_their_keys
    old_usage_is_removed_in_bounded_steps
    a_batch_is_applied_in_the_order_of_its_fields
    large_values_come_back_whole
    an_empty_batch_is_fine
    many_invocations_are_looked_up_at_once
    a_deadline_is_a_moment_after_the_submit
    attached_children_get_the_earlier_deadline
    an_overdue_invocation_fails_in_every_status
    a_claim_fails_overdue_invocations_and_never_takes_them
    only_recoveries_and_claims_fail_overdue_invocations
    an_overdue_invocation_cancels_its_attached_children
    many_overdue_invocations_fail_in_bounded_transactions
    a_large_tree_ends_in_bounded_transactions
    next_due_knows_the_earliest_deadline
    a_prune_removes_old_invocations_with_all_their_rows
    a_prune_keeps_the_latest_to_end
    a_prune_removes_only_final_invocations
    descendants_of_an_unfinished_invocation_are_kept
    a_deep_chain_is_kept_for_its_root_and_goes_after_it
    ancestors_and_descendants_of_an_unfinished_detached_child_are_kept
    a_pruned_parent_leaves_its_children
    a_pruned_key_can_be_used_again
    a_prune_continues_where_the_last_one_stopped
    a_prune_comes_last_in_its_batch
    a_lane_hands_out_no_more_than_its_limit
    lanes_do_not_wait_for_each_other
    a_claim_takes_the_room_of_an_end_in_the_same_batch
    every_way_out_of_a_lane_admits_the_next_invocation
    a_released_invocation_is_admitted_first
    a_more_urgent_invocation_replaces_a_ready_one
    a_cancelled_blocked_invocation_leaves_its_lane
    delayed_invocations_enter_their_lane_when_they_are_due
    an_invocation_is_skipped_if_its_lane_is_full_and_the_rule_says_so
    an_invocation_that_has_run_before_is_not_skipped
    a_rate_holds_in_every_window
    the_start_of_a_claim_that_never_ran_does_not_count
    concurrency_and_rate_hold_together
    a_changed_limit_holds_from_the_next_claim_on
    a_lowered_limit_blocks_ready_invocations_again
    a_new_rule_changes_nothing_before_the_next_claim
    rules_of_a_submit_hold_only_if_the_store_has_none
    awaited_invocations_obey_the_rules_of_their_lane
    a_child_behind_its_own_ancestor_is_refused
    a_submit_that_repeats_an_unfinished_invocation_gets_its_id
    other_arguments_are_refused_if_the_rule_says_so
    paused_queues_and_tasks_are_not_claimed
    the_default_queue_can_be_paused_before_any_task_is_configured
}
