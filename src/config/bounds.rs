//! The bounds of what a runner is configured with.

use std::time::Duration;

use super::problem::{Origin, Problem};
use super::surroundings::Surroundings;
use crate::wasm::maps_for_live;

/// The most slots a runner can have: each is a thread.
pub const MAX_SLOTS: usize = 1024;

/// The shortest lease: heartbeats come several times within it.
const MIN_LEASE: Duration = Duration::from_secs(1);

pub(super) fn check_slots(slots: usize, origin: Origin) -> Result<(), Problem> {
    if (1..=MAX_SLOTS).contains(&slots) {
        return Ok(());
    }
    let problem = Problem::new(origin, format!("`slots` can't be `{slots}` (from 1 to {MAX_SLOTS})"));
    Err(problem
        .hint("a slot is a thread that runs one guest at a time: one per processor core is a good number"))
}

pub(super) fn check_max_live(
    max_live: usize,
    slots: usize,
    origin: Origin,
    around: &Surroundings,
) -> Result<(), Problem> {
    let most = around.most_live();
    if max_live < slots {
        let message = format!("`max-live` is `{max_live}`, fewer than the {slots} slots");
        return Err(Problem::new(origin, message).hint("raise `max-live`, or lower `slots`"));
    }
    if max_live > most {
        let message = format!("`max-live` is `{max_live}`, but this system's memory maps bear only {most}");
        let needed = maps_for_live(max_live);
        let hint = format!("raise the system's limit: `sysctl vm.max_map_count={needed}`");
        return Err(Problem::new(origin, message).hint(hint));
    }
    Ok(())
}

/// The least memory budget: one guest of a small kind.
const MIN_MEMORY_BUDGET: u64 = 16 << 20;

pub(super) fn check_memory_budget(bytes: u64, origin: Origin) -> Result<(), Problem> {
    if bytes >= MIN_MEMORY_BUDGET {
        return Ok(());
    }
    let problem = Problem::new(origin, format!("a `memory-budget` of {bytes} bytes is too small"));
    Err(problem.hint("it is for all guests together: make it at least `16MiB`"))
}

/// The least value of a setting that can't be 0.
pub(super) fn least_in_words(key: &str) -> String {
    match key {
        "lease" => format!("at least `{MIN_LEASE:?}`"),
        _ => "more than 0".to_owned(),
    }
}

/// Checks that a lease is long enough for heartbeats.
pub fn check_lease(lease: Duration, origin: Origin) -> Result<(), Problem> {
    if lease >= MIN_LEASE {
        return Ok(());
    }
    let problem = Problem::new(origin, format!("a lease of `{lease:?}` is too short"));
    Err(problem.hint("heartbeats come several times within it: make it at least `1s`"))
}
