//! Components that want everything of what there is only so much of, beside one that wants a little.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::guests::setup::Setup;

const HOUR: &str = "3600000";

/// Starts a runner with so many guests that park for an hour, and waits until `parked` of them do. A neighbour is served
/// after that, while nobody of them moves.
#[track_caller]
fn assert_serves_neighbours(runner: &str, mib: u32, count: usize, parked: usize) {
    let setup = Setup::with(&["large", "echo"], &format!("[runner]\n{runner}\n"));
    let lines = format!("[{mib}, {HOUR}]\n").repeat(count);
    setup.command(["submit", "park", "--batch", "-"]).stdin(lines).run().expect(0);
    let mut running = setup.command(["start", "--slots", "1"]).patience(Duration::from_secs(120)).spawn();
    running.wait_for_stderr("the runner has started");
    let waiting = || {
        let args = ["list", "--json", "--limit", "0", "--status", "waiting"];
        setup.run(args).expect(0).json_lines().len()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while waiting() < parked {
        assert!(Instant::now() < deadline, "{} are parked", waiting());
    }
    for n in 0..5 {
        let neighbour = setup.command(["submit", "--wait", "--json", "echo.echo-u32", &format!("[{n}]")]);
        let output = neighbour.patience(Duration::from_secs(20)).run().expect(0);
        assert_eq!(output.json_lines()[0]["result"], json!(n));
    }
    assert_eq!(waiting(), parked);
    running.signal(rustix::process::Signal::TERM);
    running.wait().expect(0);
}

#[test]
fn guests_that_sleep_for_ever_leave_half_of_the_live_instances_to_others() {
    assert_serves_neighbours("max-live = 64", 0, 200, 33);
}

#[test]
fn guests_that_sleep_for_ever_leave_half_of_the_memory_to_others() {
    // Four have more than half of it.
    assert_serves_neighbours("memory-budget = \"256MiB\"", 40, 20, 4);
}
