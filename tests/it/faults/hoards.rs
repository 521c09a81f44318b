//! Guests that make the runner hold more for them than they may hold themselves.

use std::time::Duration;

use serde_json::json;

use crate::guests::setup::Setup;
use crate::support::process::resident_peak;

/// Reads the error that a guest returned.
fn refusal(setup: &Setup, task: &str, arguments: &str) -> String {
    let id = setup.submit(task, arguments);
    setup.run_all();
    let status = setup.status(&id);
    assert_eq!(status["failure"]["kind"], "returned", "{status}");
    status["failure"]["error"].as_str().expect("an error").to_owned()
}

#[test]
fn large_labels_are_refused_before_they_are_copied_for_each_child() {
    let setup = Setup::new(&["faults"]);
    // A terabyte in all.
    let error = refusal(&setup, "faults.label", "[100000, 10000000]");
    assert!(error.contains("the labels have 10000001 bytes, more than 8192"), "{error}");
    assert_eq!(setup.value("faults.label", "[600, 8191]"), 600);
}

#[test]
fn a_large_key_is_refused() {
    let setup = Setup::new(&["faults"]);
    let error = refusal(&setup, "faults.key", "[1025]");
    assert!(error.contains("the key has 1025 bytes, more than 1024"), "{error}");
    assert!(setup.value("faults.key", "[1024]").is_string());
    // Whoever submits from outside is told the same.
    let output = setup.run(["submit", "faults.nothing", "--key", &"k".repeat(1025)]).expect(2);
    assert!(output.stderr.contains("the key has 1025 bytes"), "{output:?}");
    let output =
        setup.run(["submit", "faults.nothing", "--label", &format!("l={}", "x".repeat(8192))]).expect(2);
    assert!(output.stderr.contains("the labels have 8193 bytes"), "{output:?}");
}

#[test]
fn awaiting_too_many_invocations_at_once_is_refused() {
    let setup = Setup::new(&["faults"]);
    let error = refusal(&setup, "faults.await-strangers", "[100001]");
    assert!(error.contains("100001 results are awaited at once, more than 100000"), "{error}");
    let error = refusal(&setup, "faults.await-strangers", "[5000]");
    assert!(error.contains("no invocation has the id"), "{error}");
}

#[test]
fn a_long_text_that_is_no_id_is_cut_in_the_message() {
    let setup = Setup::new(&["faults"]);
    let length = setup.value("faults.ask-strangely", "[1000000]").as_u64().expect("a number");
    assert!((100..1000).contains(&length), "{length}");
}

/// Forty results of 16 MiB: 640 MiB that the parent has no room for, and that the runner
/// does not collect for it either. Nor are they made faster than they are written.
#[test]
fn results_too_large_for_one_wait_are_not_collected() {
    const MOST: u64 = 640 << 20;
    let setup = Setup::new(&["faults", "echo"]);
    let mut runner = setup.command(["start", "--slots", "2"]).patience(Duration::from_secs(300)).spawn();
    runner.wait_for_stderr("the runner has started");
    let parent = setup.command(["submit", "--wait", "--json", "faults.gather", "[40, 16]"]);
    let parent = parent.patience(Duration::from_secs(120)).spawn();
    let neighbour = setup.run(["submit", "--wait", "--json", "echo.echo-u32", "[7]"]).expect(0);
    assert_eq!(neighbour.json_lines()[0]["result"], json!(7));
    let status = parent.wait().json_lines().remove(0);
    let error = status["failure"]["error"].as_str().unwrap_or_else(|| panic!("{status}"));
    assert!(error.contains("more than 268435456 bytes together: await fewer"), "{error}");
    let peak = resident_peak(runner.pid());
    eprintln!("the runner had {} MiB at most", peak >> 20);
    assert!(peak < MOST, "{peak} bytes");
    runner.signal(rustix::process::Signal::TERM);
    runner.wait().expect(0);
}

/// Handles of `wasi:http` need no grant. What is behind each is in the memory of the runner: gigabytes, if nobody counts.
#[test]
fn handles_of_requests_are_on_the_account_of_their_guest() {
    const LIMIT: u64 = 32 << 20;
    const MOST: u64 = 200 << 20;
    let limits = "[component.network.limits]\nmemory = \"16MiB\"\nhost-memory = \"32MiB\"\n";
    let setup = Setup::with(&["network", "echo"], limits);
    let mut runner = setup.command(["start", "--slots", "2"]).patience(Duration::from_secs(300)).spawn();
    runner.wait_for_stderr("the runner has started");
    for (task, arguments) in [
        ("hoards.bodies", "[4000]"),
        ("hoards.methods", "[2000, 1000000]"),
        ("hoards.addresses", "[20000]"),
        ("hoards.fields", "[60000]"),
        ("hoards.headers", "[60000]"),
        ("hoards.refused", "[60000]"),
    ] {
        let hostile = setup.command(["submit", "--wait", "--json", task, arguments]);
        let hostile = hostile.patience(Duration::from_secs(60)).spawn();
        let neighbour = setup.run(["submit", "--wait", "--json", "echo.echo-u32", "[7]"]).expect(0);
        assert_eq!(neighbour.json_lines()[0]["result"], json!(7));
        let status = hostile.wait().expect(4).json_lines().remove(0);
        assert_eq!(status["failure"]["kind"], "limit-exceeded", "{task}: {status}");
        assert_eq!(status["failure"]["limit"], "host-memory", "{task}: {status}");
        let peak = status["usage"]["peak_host_memory_bytes"].as_u64().expect("a number");
        assert!((LIMIT / 2..=LIMIT).contains(&peak), "{task}: {status}");
    }
    let peak = resident_peak(runner.pid());
    eprintln!("the runner had {} MiB at most", peak >> 20);
    assert!(peak < MOST, "{peak} bytes");
    runner.signal(rustix::process::Signal::TERM);
    runner.wait().expect(0);
}

#[test]
fn what_hung_on_a_handle_is_off_the_account_when_it_is_dropped() {
    let setup = Setup::with(&["network"], "[component.network.limits]\nhost-memory = \"512KiB\"\n");
    setup.run(["call", "hoards.make-and-drop", "[300]"]).expect(0);
    let failed = setup.failure("hoards.bodies", "[10]", 4, "limit-exceeded");
    failed.says(&["more than its limit of 524288"]);
    assert!(failed.stderr.contains("raise `host-memory`"), "{}", failed.stderr);
}

/// Streams that have read something, and lists of directories, have it in the memory of the runner.
#[test]
fn what_is_read_of_files_and_directories_is_on_the_account_of_the_guest() {
    let more = "[component.grants.scratch]\nsize = \"8MiB\"\nfiles = 2000\n\
                [component.grants.limits]\nhost-memory = \"16MiB\"\n";
    let setup = Setup::with(&["grants"], more);
    for (task, most) in [("grants.hoard-streams", 256), ("grants.hoard-listings", 80)] {
        let failed = setup.failure(task, r#"["/tmp", 100000]"#, 1, "returned");
        let error = failed.failure["error"].as_str().expect("a text");
        let got = error.strip_prefix("after ").and_then(|error| error.strip_suffix(": insufficient-memory"));
        let got: u64 = got.and_then(|got| got.parse().ok()).unwrap_or_else(|| panic!("{task}: {error}"));
        assert!((most / 2..most).contains(&got), "{task}: {error}");
        assert_eq!(setup.value(task, &format!(r#"["/tmp", {}]"#, got / 2)), got / 2);
    }
}

#[test]
fn children_and_results_on_their_way_are_on_the_account_of_the_guest() {
    let limits = |name: &str| format!("[component.{name}.limits]\nhost-memory = \"2MiB\"\n");
    let setup = Setup::with(&["grants", "faults"], &(limits("grants") + &limits("faults")));
    // A value of more than the whole account is not even taken over.
    let failed = setup.failure("grants.large-argument", "[2048]", 4, "limit-exceeded");
    failed.says(&["handed more to the host in one call"]);
    assert!(setup.value("grants.large-argument", "[1024]").is_null());
    let error = refusal(&setup, "faults.await-strangers", "[10000]");
    assert!(error.contains("to hold 2"), "{error}");
    // A child has its value twice for a moment: as it returned it, and as JSON.
    setup.configure(&["faults"], &limits("faults").replace('2', "4"));
    let error = refusal(&setup, "faults.gather", "[5, 1]");
    assert!(error.contains("to hold 5"), "{error}");
}
