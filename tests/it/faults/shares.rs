//! Components that want everything of what there is only so much of, beside one that wants a little.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::guests::setup::Setup;
use crate::support::guests::guest;

const HOUR: &str = "3600000";

/// A runner of `echo` and of components that park for an hour with some memory each.
fn setup(hogs: &[&str], runner: &str) -> Setup {
    let component = |name: &&str| format!("[component.{name}]\npath = {:?}\n", guest("large"));
    let components: String = hogs.iter().map(component).collect();
    Setup::with(&["echo"], &format!("{components}[runner]\n{runner}\n"))
}

fn waiting(setup: &Setup) -> usize {
    let args = ["list", "--json", "--limit", "0", "--status", "waiting"];
    setup.run(args).expect(0).json_lines().len()
}

#[track_caller]
fn await_waiting(setup: &Setup, parked: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while waiting(setup) < parked {
        assert!(Instant::now() < deadline, "{} are parked", waiting(setup));
    }
}

/// Calls the neighbour, and returns how long it took.
#[track_caller]
fn call_neighbour(setup: &Setup, n: u32) -> Duration {
    let began = Instant::now();
    let neighbour = setup.command(["submit", "--wait", "--json", "echo.echo-u32", &format!("[{n}]")]);
    let output = neighbour.patience(Duration::from_secs(20)).run().expect(0);
    assert_eq!(output.json_lines()[0]["result"], json!(n));
    began.elapsed()
}

/// Starts a runner with so many guests of each of these components that park for an hour, and waits until `parked` of
/// them do. A neighbour is served after that, while nobody of them moves.
#[track_caller]
fn assert_serves_neighbours(
    hogs: &[&str],
    runner: &str,
    mib: u32,
    count: usize,
    parked: RangeInclusive<usize>,
) {
    let setup = setup(hogs, runner);
    for hog in hogs {
        let lines = format!("[{mib}, {HOUR}]\n").repeat(count);
        setup.command(["submit", &format!("{hog}.park"), "--batch", "-"]).stdin(lines).run().expect(0);
    }
    let mut running = setup.command(["start", "--slots", "1"]).patience(Duration::from_secs(120)).spawn();
    running.wait_for_stderr("the runner has started");
    await_waiting(&setup, *parked.start());
    for n in 0..5 {
        call_neighbour(&setup, n);
    }
    let parked_after = waiting(&setup);
    assert!(parked.contains(&parked_after), "{parked_after}");
    running.signal(rustix::process::Signal::TERM);
    let log = running.wait().expect(0).stderr;
    assert!(!log.contains("attempts are given back"), "{log}");
}

#[test]
fn guests_that_sleep_for_ever_leave_half_of_the_live_instances_to_others() {
    assert_serves_neighbours(&["large"], "max-live = 64", 0, 200, 33..=33);
}

#[test]
fn guests_that_sleep_for_ever_leave_half_of_the_memory_to_others() {
    // Four have more than half of it.
    assert_serves_neighbours(&["large"], "memory-budget = \"256MiB\"", 40, 20, 4..=4);
}

#[test]
fn two_components_that_park_leave_live_instances_to_a_third() {
    // Each of them has more than twice what is left.
    assert_serves_neighbours(&["eve", "eva"], "max-live = 64", 0, 100, 39..=40);
}

#[test]
fn two_components_that_park_leave_memory_to_a_third() {
    assert_serves_neighbours(&["eve", "eva"], "memory-budget = \"256MiB\"", 40, 20, 4..=4);
}

/// Starts two components whose guests await others of theirs that park for an hour, until `parked` guests wait. Nothing
/// holds back what is awaited: they fill the runner. A third component is served all the same.
#[track_caller]
fn assert_makes_room(runner: &str, mib: u32, parked: usize, log_has: &str) {
    let hogs = ["eve", "eva"];
    let setup = setup(&hogs, runner);
    for hog in hogs {
        let lines = format!("[0, 1, \"{hog}.park\", \"[{mib}, {HOUR}]\"]\n").repeat(10);
        setup.command(["submit", &format!("{hog}.ask"), "--batch", "-"]).stdin(lines).run().expect(0);
    }
    let mut running = setup.command(["start", "--slots", "2"]).patience(Duration::from_secs(120)).spawn();
    running.wait_for_stderr("the runner has started");
    await_waiting(&setup, parked);
    for n in 0..3 {
        // It takes 5 s in a runner that has been nearly full for so long, and a pause that grows after that.
        let took = call_neighbour(&setup, n);
        assert!(took < Duration::from_secs(18), "call {n} took {took:?}");
    }
    running.signal(rustix::process::Signal::TERM);
    let log = running.wait().expect(0).stderr;
    assert!(log.contains(log_has), "{log}");
    for one in setup.run(["list", "--json", "--limit", "0", "--status", "queued"]).expect(0).json_lines() {
        assert_eq!(one["attempt"], json!(0), "to be given back does not count: {one}");
    }
}

#[test]
fn awaited_guests_of_two_components_make_room_for_a_third() {
    assert_makes_room("max-live = 16", 0, 12, "event=\"relief\"");
}

#[test]
fn awaited_guests_that_grow_make_room_for_a_third_component() {
    assert_makes_room("memory-budget = \"256MiB\"", 40, 10, "event=\"relief\"");
}
