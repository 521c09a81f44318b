//! Guests that submit without end.

use std::time::{Duration, Instant};

use crate::guests::setup::Setup;

#[test]
fn a_flood_of_submits_ends_with_its_parent() {
    let setup = Setup::new(&["faults"]);
    let id = setup.submit("faults.flood", "[3000]");
    setup.run_all();
    let status = setup.status(&id);
    assert_eq!(status["result"], 3000, "{status}");
    let count = |status: &str| {
        let args = ["list", "--json", "--limit", "0", "--task", "faults.nothing", "--status", status];
        setup.run(args).expect(0).json_lines().len()
    };
    // Attached children that nobody awaits end with their parent: each is final,
    // none is forgotten.
    assert_eq!(count("succeeded") + count("cancelled"), 3000);
}

/// A guest submits a tree and ends. In one transaction its end would last longer than the lease.
#[test]
fn the_end_of_a_large_tree_leaves_a_neighbour_and_the_lease_alone() {
    const CHILDREN: u64 = 40_000;
    let setup = Setup::with(&["faults", "echo"], "[runner]\nlease = \"1s\"\n");
    let mut runner = setup.command(["start", "--slots", "2"]).patience(Duration::from_secs(300)).spawn();
    runner.wait_for_stderr("the runner has started");
    let hostile = setup.command(["submit", "--wait", "--json", "faults.label", &format!("[{CHILDREN}, 1]")]);
    let hostile = hostile.patience(Duration::from_secs(120)).spawn();
    let neighbour = || setup.run(["submit", "--wait", "--json", "echo.echo-u32", "[7]"]).expect(0);
    let deadline = Instant::now() + Duration::from_secs(120);
    let unfinished = || {
        let queues = setup.run(["queues", "--json"]).expect(0).json_lines();
        queues.iter().filter_map(|queue| queue["unfinished"].as_u64()).sum::<u64>()
    };
    let status = hostile.wait().expect(0).json_lines().remove(0);
    assert_eq!(status["result"], CHILDREN, "{status}");
    let mut beside = 0;
    while unfinished() > 0 {
        assert!(Instant::now() < deadline, "{} are left", unfinished());
        beside += 1;
        let status = neighbour().json_lines().remove(0);
        assert_eq!((&status["result"], &status["attempt"]), (&7.into(), &1.into()), "{status}");
    }
    assert!(beside > 0, "the tree ends before a neighbour comes");
    runner.signal(rustix::process::Signal::TERM);
    let output = runner.wait().expect(0);
    assert!(!output.stderr.contains("lease"), "{}", output.stderr);
}

#[test]
fn a_bounded_fork_bomb_runs_to_its_end() {
    let setup = Setup::new(&["faults"]);
    // 1 + 4 + 16 + 64 + 256
    assert_eq!(setup.value("faults.fork-bomb", "[4, 4]"), 341);
}

#[test]
fn a_fork_bomb_ends_with_an_error_when_the_live_instances_are_used_up() {
    // Few, because every level of the guest quotes the error of the one below.
    let setup = Setup::with(&["faults", "echo"], "[runner]\nmax-live = 6\n");
    let bomb = setup.submit("faults.fork-bomb", "[100, 1]");
    let good = setup.submit("echo.echo-u32", "[7]");
    setup.run(["start", "--until-idle", "--slots", "2"]).expect(0);
    let bomb = setup.status(&bomb);
    assert_eq!(bomb["failure"]["kind"], "returned", "{bomb}");
    let error = bomb["failure"]["error"].as_str().expect("an error");
    assert!(error.contains("live instances"), "{error}");
    assert_eq!(setup.status(&good)["result"], 7);
}

#[test]
fn a_fork_bomb_that_would_never_end_is_ended_by_a_signal() {
    let setup = Setup::new(&["faults"]);
    let store = ["--store", "sqlite:state.db"];
    let running = setup.command(store.iter().chain(&["call", "faults.fork-bomb", "[1000, 2]"])).spawn();
    let count = |status: &str| {
        let args = ["list", "--json", "--limit", "0", "--status", status];
        setup.run(store.iter().chain(&args)).expect(0).json_lines().len()
    };
    // Each look takes as long as a process: the bomb is quicker.
    let deadline = Instant::now() + Duration::from_secs(30);
    while count("waiting") < 20 {
        assert!(Instant::now() < deadline, "the bomb does not go off");
    }
    running.signal(rustix::process::Signal::INT);
    let output = running.wait().expect(5);
    assert!(output.stderr.contains("failed (cancelled)"), "{output:?}");
    assert_eq!(count("queued,claimed,running,waiting"), 0, "its descendants went with it");
}

#[test]
fn a_guest_that_waits_in_a_loop_leaves_a_bounded_history() {
    let setup = Setup::new(&["workflow"]);
    let id = setup.submit("workflow.fan-out-sequence", r#"["demo:workflow/basics.nothing", "[]", 600]"#);
    // On the only slot no child runs before its parent waits.
    setup.run(["start", "--until-idle", "--slots", "1"]).expect(0);
    assert_eq!(setup.status(&id)["result"], 600);
    let history = setup.run(["history", "--json", &id]).expect(0).json_lines();
    // Submitted, claimed, started, 499 waits, succeeded.
    assert_eq!(history.len(), 3 + 998 + 1);
    let told: Vec<_> = history.iter().filter_map(|step| step["unrecorded"].as_u64()).collect();
    assert_eq!(told, [1_200 - 998]);
    assert_eq!(history[1_000]["unrecorded"], 202, "after the last wait that has its rows");
    let shown = setup.run(["history", &id]).expect(0);
    assert_eq!(shown.stdout().matches("(then 202 times awaiting or resumed)").count(), 1);
}
