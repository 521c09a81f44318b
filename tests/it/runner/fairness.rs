//! Shares of the slots, through the real binary.

use run_wasm_runner::model::{Invocation, InvocationId, Status};
use serde_json::json;

use super::site::{Site, all, get};

/// Submits so many of a key with one command.
fn flood(site: &Site, key: &str, count: usize) -> Vec<InvocationId> {
    site.write("flood.jsonl", &"[3]\n".repeat(count));
    let output = site.run(["submit", "square", "--batch", "flood.jsonl", "--fairness-key", key]).expect(0);
    output.stdout().lines().map(|id| id.parse().expect("an id")).collect()
}

/// The place in the order of starts of each invocation of a key.
fn places(all: &[Invocation], key: &str) -> Vec<usize> {
    let mut by_start: Vec<_> = all.iter().collect();
    by_start.sort_by_key(|one| one.started_at);
    by_start.iter().enumerate().filter(|(_, one)| &*one.fairness_key == key).map(|(place, _)| place).collect()
}

#[test]
fn a_flood_of_one_key_keeps_others_waiting_for_their_turn_only() {
    let site = Site::with_both("", "[fairness.weights]\n\"heavy\" = 2\n");
    // The weights are in the store from the start of a runner on.
    site.run_all(&[]);
    flood(&site, "flood", 2_000);
    let few: Vec<_> =
        ["one", "two", "three"].map(|key| flood(&site, key, 10)).into_iter().flatten().collect();
    flood(&site, "heavy", 300);
    assert_eq!(site.status(few[0])["fairness_key"], json!("one"));
    site.run_all(&["--slots", "1"]);
    let store = site.store();
    let all = all(&store);
    // Ten rounds of at most six turns each, and what is claimed ahead of the slot.
    for key in ["one", "two", "three"] {
        let last = places(&all, key).into_iter().max().expect("they have run");
        assert!(last < 200, "{key}: {last}");
    }
    // While both wait, two of the heavy key for each one of the flood.
    let heavy = places(&all, "heavy");
    let flood = places(&all, "flood");
    let end = heavy[heavy.len() - 1];
    let beside = flood.iter().filter(|place| **place < end).count();
    assert!(beside.abs_diff(150) <= 60, "{beside} of the flood beside 300");
    assert!(get(&store, few[0]).finished_at.is_some());
}

#[test]
fn a_call_that_awaits_many_slow_children_leaves_turns_to_others() {
    const CHILDREN: usize = 60;
    let site = Site::new();
    let call = json!(["demo:workflow/basics.sleep-ms", "[100]", CHILDREN]);
    let parent = site.submit_with("fan-out", call, &["--fairness-key", "slow"]);
    let runner = site.start(&["--slots", "1", "--until-idle"]);
    // The first child has told how long they take.
    site.wait_for_count(Status::Succeeded, 1);
    let other = flood(&site, "other", 1)[0];
    runner.wait().expect(0);
    let store = site.store();
    let all = all(&store);
    let place = places(&all, "other")[0];
    assert_eq!(all.len(), CHILDREN + 2);
    // The parent, the first child, those of a second, and what ran while the command submitted.
    assert!(place < CHILDREN / 2 + 10, "the other one started as number {place}");
    assert_eq!(get(&store, other).status, Status::Succeeded);
    assert_eq!(site.value(parent), json!(CHILDREN));
}
