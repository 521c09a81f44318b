//! Stores that can't be opened: told with exit code 69, and left as they were.

use crate::guests::setup::Setup;

const COMMANDS: [&[&str]; 4] =
    [&["submit", "echo-u8", "[1]"], &["list"], &["start", "--until-idle"], &["call", "echo-u8", "[1]"]];

/// Every command says this of the store.
#[track_caller]
fn refused(setup: &Setup, store: &str, says: &str) {
    for command in COMMANDS {
        let output = setup.run(["--store", store].iter().chain(command)).expect(69);
        let begins = "error: the store `sqlite:";
        assert!(output.stderr.starts_with(begins), "{command:?}: {output:?}");
        assert!(output.stderr.contains(says), "{command:?}: {says:?} is not in {}", output.stderr);
        assert!(output.stdout.is_empty(), "{command:?}: {output:?}");
    }
}

/// Checks that a file with these bytes is refused as a store and not changed.
#[track_caller]
fn refused_untouched(setup: &Setup, bytes: &[u8], says: &str) {
    let file = setup.sandbox.write("store.db", bytes);
    refused(setup, "sqlite:store.db", says);
    assert!(std::fs::read(file).expect("it is there") == bytes, "the file was changed");
}

/// The bytes of a store with an invocation in it.
fn good_store(setup: &Setup) -> Vec<u8> {
    setup.run(["--store", "sqlite:good.db", "submit", "echo-u8", "[1]"]).expect(0);
    std::fs::read(setup.path().join("good.db")).expect("it is there")
}

#[test]
fn a_store_where_nothing_can_be_written_says_so() {
    let setup = Setup::new(&["echo"]);
    setup.sandbox.write("file", "");
    refused(&setup, "sqlite:file/state.db", "Not a directory");
    refused(&setup, "sqlite:missing/state.db", "there is no directory");
    refused(&setup, "sqlite:.", "it is not a file");
    // Looking for something there finds nothing; only writing is an error.
    let output = setup.run(["--store", "sqlite:/proc/state.db", "submit", "echo-u8", "[1]"]).expect(69);
    assert!(output.stderr.contains("`/proc/state.db` can't be created"), "{output:?}");
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let setup = Setup::new(&["echo"]);
    refused_untouched(&setup, b"dear diary\n", "it is not an SQLite database");
    refused_untouched(&setup, &[0x5a; 20_000], "it is not an SQLite database");
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let setup = Setup::new(&["echo"]);
    let mut bytes = good_store(&setup);
    // The user version of an SQLite file is at 60, big-endian.
    let version = u32::from_be_bytes(bytes[60..64].try_into().expect("four bytes"));
    assert!((1..1000).contains(&version), "{version}");
    bytes[60..64].copy_from_slice(&(version + 1).to_be_bytes());
    refused_untouched(&setup, &bytes, "a newer run-wasm-runner wrote it");
}

#[test]
fn a_database_of_another_application_is_left_alone() {
    let setup = Setup::new(&["echo"]);
    let mut bytes = good_store(&setup);
    // The application id is at 68.
    bytes[68..72].copy_from_slice(&[0, 0, 0, 1]);
    refused_untouched(&setup, &bytes, "it is the database of another application");
}

#[test]
fn a_damaged_database_is_left_alone() {
    let setup = Setup::new(&["echo"]);
    let mut bytes = good_store(&setup);
    refused_untouched(&setup, &bytes[..bytes.len() / 2 + 100], "it is damaged");
    for byte in bytes.iter_mut().skip(100).step_by(7) {
        *byte ^= 0x5a;
    }
    refused_untouched(&setup, &bytes, "it is damaged");
}

#[test]
fn a_store_that_is_moved_away_is_an_outage_until_it_is_back() {
    let setup = Setup::new(&["echo"]);
    let (place, away) = (setup.path().join("place"), setup.path().join("away"));
    std::fs::create_dir(&place).expect("a directory");
    let store = ["--store", "sqlite:place/state.db"];
    let run = |args: &[&str]| setup.run(store.iter().chain(args));
    let mut runner = setup.command(store.iter().chain(&["start"])).spawn();
    runner.wait_for_stderr("the runner has started");
    // It has nothing to do, and finds out all the same.
    std::fs::rename(&place, &away).expect("it is moved away");
    runner.wait_for_stderr("its file was moved away or removed: put it back to");
    let refused = run(&["submit", "echo-u8", "[1]"]).expect(69);
    assert!(refused.stderr.contains("there is no directory"), "{refused:?}");
    // Another store in its place is no better.
    std::fs::create_dir(&place).expect("a directory");
    let created = run(&["submit", "echo-u8", "[1]"]).expect(0);
    let note = "place/state.db` did not exist and was created";
    assert!(created.stderr.contains(note), "{created:?}");
    assert!(!run(&["submit", "echo-u8", "[2]"]).expect(0).stderr.contains("was created"));
    std::fs::remove_dir_all(&place).expect("it is removed");
    std::fs::rename(&away, &place).expect("it is moved back");
    runner.wait_for_stderr("the store is back");
    let id = run(&["submit", "echo-u8", "[3]"]).expect(0);
    let result = run(&["result", id.stdout().trim(), "--wait", "--timeout", "30s"]).expect(0);
    assert_eq!(result.json(), 3);
    runner.signal(rustix::process::Signal::TERM);
    runner.wait().expect(0);
}
