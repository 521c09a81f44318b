//! Guests that submit without end.

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
