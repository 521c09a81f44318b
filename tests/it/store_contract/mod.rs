//! What a store promises, promise by promise, for every store.

pub mod harness;
mod model;
mod promises;

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
    of_many_runners_only_the_dead_ones_claims_are_taken
    a_childs_lease_is_that_of_its_own_runner
    who_recovers_at_once_takes_each_claim_once
    released_invocation_keeps_its_place_and_attempt
    retried_invocation_waits_for_its_delay
    claims_come_by_priority_then_age
    low_priority_does_not_starve
    tasks_share_one_order
    awaited_come_first_in_the_order_asked
    unclaimable_awaited_are_named
    only_awaited_claims_nothing_else
    delayed_are_not_claimed_before_their_time
    next_due_is_the_earliest_change_by_itself
    only_the_tree_asked_for_is_claimed
    only_tasks_asked_for_are_claimed
    more_tells_of_work_left_over
    the_same_id_is_submitted_once
    the_same_key_returns_the_first_id
    the_same_key_with_other_arguments_is_a_conflict
    a_resubmitted_child_gets_the_first_childs_id
    a_child_of_a_lost_attempt_is_an_orphan
    an_orphan_is_one_whatever_its_id
    an_orphan_is_one_whatever_its_key
    an_orphan_is_one_whatever_its_place
    an_orphan_is_one_whatever_is_unique
    an_orphan_is_one_whatever_its_ancestors
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
    what_the_inventory_does_not_have_is_given_back
    a_pushed_component_comes_back_whole
    the_last_push_of_a_name_is_its_newest
    a_receipt_tells_the_stores_time
    cancel_is_final_at_once
    an_owner_is_told_what_was_taken_from_it
    cancel_descends_through_attached_children
    a_final_parent_ends_its_attached_children
    a_released_parent_keeps_its_children
    a_deep_tree_is_cancelled_whole
    the_lost_take_their_children_along
    unknown_ids_are_no_error
    list_filters_newest_first
    lists_leave_values_out
    counts_are_by_status_and_tree
    unfinished_are_counted_by_task
    tree_has_parents_before_children
    logs_come_in_order
    history_tells_every_move
    progress_and_component_are_kept
    what_attempts_used_is_added_up
    what_an_attempt_used_that_somebody_else_ended_is_added_once
    a_batch_is_applied_in_the_order_of_its_fields
    large_values_come_back_whole
    an_empty_batch_is_fine
    many_are_looked_up_at_once
    a_deadline_is_a_moment_after_the_submit
    attached_children_get_the_earlier_deadline
    what_is_overdue_fails_whatever_its_status
    a_claim_ends_the_overdue_and_never_takes_them
    only_recoveries_and_claims_end_the_overdue
    the_overdue_take_their_attached_children_along
    many_overdue_end_in_bounded_transactions
    next_due_knows_the_earliest_deadline
    a_prune_removes_what_is_older_with_all_that_hangs_on_it
    a_prune_keeps_the_latest_to_end
    a_prune_removes_only_what_is_final
    what_an_unfinished_ancestor_may_look_up_stays
    what_lies_below_an_unfinished_detached_child_stays
    a_pruned_parent_leaves_its_children
    a_pruned_key_can_be_used_again
    a_prune_goes_on_where_it_stopped
    a_prune_comes_last_in_its_batch
    a_lane_hands_out_no_more_than_its_limit
    lanes_do_not_wait_for_each_other
    a_claim_and_the_end_before_it_in_one_batch_share_the_place
    every_way_out_of_a_lane_lets_the_next_one_in
    a_released_one_is_let_in_first
    a_more_urgent_one_takes_the_place_of_one_that_is_ready
    a_cancelled_blocked_one_is_gone
    delayed_ones_enter_their_lane_when_they_are_due
    what_finds_its_lane_full_is_skipped_if_the_rule_says_so
    what_has_run_before_is_not_skipped
    a_rate_holds_in_every_window
    a_claim_that_never_started_gives_its_start_back
    concurrency_and_rate_hold_together
    a_changed_limit_holds_from_the_next_claim_on
    lowering_a_limit_takes_places_back
    a_new_rule_changes_nothing_before_the_next_claim
    a_submitters_rules_hold_only_where_there_are_none
    awaited_ones_keep_to_their_lane
    a_child_behind_its_own_ancestor_is_refused
    an_unfinished_one_stands_for_others_like_it
    other_arguments_are_refused_if_the_rule_says_so
    nothing_of_what_is_paused_is_claimed
    the_default_queue_can_be_paused_before_anybody_said_what_is_in_it
}
