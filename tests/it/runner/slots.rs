//! Guests that run never exceed the slots, and waits hold none.

use serde_json::json;

use super::histories::{legal_history, peak_running};
use super::site::{Site, all};

/// Calls of `fib(18)` without a memory of what was computed before.
const CALLS_OF_FIB_18: usize = 8361;

/// Runs one invocation with all that it calls, and returns the most guests that
/// ran at once: as the gauge saw it at every entry into a slot, and by the
/// histories, which know nothing of the gauge.
#[track_caller]
fn peaks(task: &str, n: u32, slots: usize, calls: usize, value: u64) -> (usize, usize) {
    let site = Site::new();
    let id = site.submit(task, json!([n]));
    let summary = site.run_all(&["--slots", &slots.to_string()]);
    assert_eq!(site.value(id), value);
    assert_eq!(summary["succeeded"], calls, "{summary}");

    let store = site.store();
    let invocations = all(&store);
    assert_eq!(invocations.len(), calls);
    let histories: Vec<_> = invocations.iter().map(|invocation| legal_history(&store, invocation)).collect();
    let gauge = summary["peak_running"].as_u64().expect("a number");
    (usize::try_from(gauge).expect("a count"), peak_running(&histories))
}

#[track_caller]
fn recursive_fib_keeps_to(slots: usize) {
    let (gauge, histories) = peaks("fib", 18, slots, CALLS_OF_FIB_18, 2584);
    // Each call of an import waits for its value, so one guest computes at a
    // time. On two slots a child may start while its caller is still on its way
    // out of its slot, hence up to as many as there are slots.
    assert!((1..=slots).contains(&gauge), "{gauge} at once by the gauge");
    assert!((1..=slots).contains(&histories), "{histories} at once by the histories");
}

#[test]
fn recursive_fibonacci_finishes_on_one_slot_and_never_exceeds_it() {
    recursive_fib_keeps_to(1);
}

#[test]
fn recursive_fibonacci_finishes_on_two_slots_and_never_exceeds_them() {
    recursive_fib_keeps_to(2);
}

#[test]
fn recursive_fibonacci_finishes_in_memory_on_one_slot_and_on_two() {
    let site = Site::new();
    for slots in ["1", "2"] {
        let output = site.run(["call", "fib", "[18]", "--slots", slots]).expect(0);
        assert_eq!(output.json(), 2584, "{slots} slots");
    }
}

#[test]
fn halves_that_run_at_once_fill_the_slots_and_never_exceed_them() {
    for slots in [1, 2, 3] {
        // fib(11) by name calls itself 287 times.
        let (gauge, histories) = peaks("fib-by-name", 11, slots, 287, 89);
        assert_eq!(gauge, slots, "the gauge");
        // Hundreds of calls on that many slots overlap at some moment.
        assert_eq!(histories, slots, "the histories");
    }
}
