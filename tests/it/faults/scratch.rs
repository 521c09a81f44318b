//! Scratch directories: within their limits, empty at the start, and gone at the end,
//! also after a runner was killed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::guests::setup::Setup;
use crate::support::cli::Cli;

const SCRATCH: &str = "[component.grants.scratch]\nsize = \"100KiB\"\nfiles = 20\n";

/// Reads the error that a task returned.
#[track_caller]
fn error(setup: &Setup, task: &str, arguments: &Value) -> String {
    let failed = setup.failure(task, &arguments.to_string(), 1, "returned");
    failed.failure["error"].as_str().expect("a text").to_owned()
}

/// The directories that runners with this cache have now.
fn directories(cache: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(cache.join("scratch")) else { return Vec::new() };
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn a_scratch_directory_is_empty_at_first_and_removed_at_the_end() {
    let setup = Setup::with(&["grants"], SCRATCH);
    let cache = setup.path().join("cache");
    let call = |task: &str, arguments: &str| {
        let call = setup.command(["call", task, arguments]).env("WASM_RUNNER_CACHE_DIR", &cache).run();
        assert_eq!(directories(&cache), [""; 0].map(PathBuf::from), "nothing is left");
        call.expect(0).json()
    };
    assert_eq!(call("names", r#"["/tmp"]"#), json!([]));
    assert_eq!(call("fill", r#"["/tmp/file", 50]"#), 50);
    assert_eq!(call("names", r#"["/tmp"]"#), json!([]), "another attempt has another");
    assert_eq!(call("create-many", r#"["/tmp", 20]"#), 20);
    // Without the grant there is none.
    setup.configure(&["grants"], "");
    error(&setup, "names", &json!(["/tmp"]));
}

#[test]
fn a_flood_of_bytes_fails_for_lack_of_space() {
    let setup = Setup::with(&["grants"], SCRATCH);
    let full = error(&setup, "fill", &json!(["/tmp/file", 1_000]));
    // Rust's library makes an input or output error of whatever a stream says.
    assert!(full.starts_with("after 100 KiB: ") && full.contains("I/O error"), "{full}");
    // A hole takes no room on a disk, but in this directory it does.
    for (task, words) in [("stretch", "No space left"), ("write-behind", "I/O error")] {
        let full = error(&setup, task, &json!(["/tmp/file", 1_000_000]));
        assert!(full.contains(words), "{task}: {full}");
    }
    assert_eq!(setup.value("stretch", r#"["/tmp/file", 100]"#), Value::Null);
    // What is removed makes room again.
    assert_eq!(setup.value("fill-again", r#"["/tmp/file", 90, 50]"#), 50);
    let failed = setup.failure("fill-and-spin", r#"["/tmp/file", 101]"#, 4, "limit-exceeded");
    failed.says(&["more than its scratch directory's limit of 102400 bytes and 20 files, and then trapped"]);
    assert_eq!(failed.failure["limit"], "scratch");
    assert!(failed.stderr.contains("[component.NAME.scratch]"), "{}", failed.stderr);
}

#[test]
fn a_flood_of_files_fails_for_lack_of_space() {
    let setup = Setup::with(&["grants"], SCRATCH);
    let full = error(&setup, "create-many", &json!(["/tmp", 10_000]));
    assert!(full.starts_with("after 20: ") && full.contains("No space left"), "{full}");
    assert_eq!(setup.value("fill-again", r#"["/tmp/file", 1, 100]"#), 100);
}

#[test]
fn files_cannot_be_moved_or_linked_into_a_scratch_directory() {
    let more =
        "[[component.grants.directory]]\nhost = \"data\"\nguest = \"/data\"\naccess = \"read-write\"\n";
    let setup = Setup::with(&["grants"], &format!("{SCRATCH}{more}"));
    setup.sandbox.write("data/large", "x".repeat(200 << 10));
    for link in [false, true] {
        let refused = error(&setup, "move-file", &json!(["/data/large", "/tmp/large", link]));
        assert!(refused.contains("ross-device") || refused.contains("evice"), "{refused}");
    }
    // The granted directory has no such limit.
    assert_eq!(setup.value("fill", r#"["/data/new", 300]"#), 300);
    assert!(setup.path().join("data/large").exists());
}

#[test]
fn a_flood_leaves_a_neighbour_alone() {
    let setup = Setup::with(&["grants", "faults"], SCRATCH);
    let floods = [r#"["/tmp/a", 100000]"#, r#"["/tmp/b", 100]"#].map(|flood| setup.submit("fill", flood));
    let good = setup.submit("faults.spin-ms", "[50]");
    setup.run(["start", "--until-idle", "--slots", "2"]).expect(0);
    let status = setup.status(&floods[0]);
    assert!(status["failure"]["error"].as_str().is_some_and(|error| error.contains("after 100")), "{status}");
    // Each has all of its own.
    assert_eq!(setup.status(&floods[1])["result"], 100);
    assert_eq!(setup.status(&good)["status"], "succeeded");
}

#[test]
fn scratch_of_a_killed_runner_is_removed_by_the_next_and_that_of_a_living_one_is_not() {
    let setup = Setup::with(&["grants"], SCRATCH);
    let cache = setup.path().join("cache");
    let command = |args: &[&str]| -> Cli { setup.command(args).env("WASM_RUNNER_CACHE_DIR", &cache) };
    let patience = Instant::now() + Duration::from_secs(60);
    let wait_for = |count: usize| {
        loop {
            let files = directories(&cache).into_iter().map(|own| own.join("0/file"));
            let found: Vec<_> = files.filter(|file| file.exists()).collect();
            if found.len() == count {
                return found;
            }
            assert!(Instant::now() < patience, "{count} files never came: {:?}", directories(&cache));
            std::thread::yield_now();
        }
    };
    let spin = ["call", "fill-and-spin", r#"["/tmp/file", 90]"#];
    let killed = command(&spin).spawn();
    let left = wait_for(1).remove(0);
    killed.signal(rustix::process::Signal::KILL);
    killed.wait();
    assert!(left.exists(), "nobody could remove it");
    // One that lives finds it, and removes it.
    let living = command(&spin).spawn();
    while left.exists() {
        assert!(Instant::now() < patience, "it is still there");
        std::thread::yield_now();
    }
    let lives = wait_for(1).remove(0);
    command(&["call", "names", r#"["/tmp"]"#]).run().expect(0);
    assert!(lives.exists(), "somebody else's is left alone");
    living.signal(rustix::process::Signal::INT);
    living.wait();
    assert!(directories(&cache).is_empty(), "{:?}", directories(&cache));
}

#[test]
fn a_scratch_directory_must_not_hide_a_granted_one() {
    let more = "[[component.grants.directory]]\nhost = \"data\"\nguest = \"/tmp\"\n";
    let setup = Setup::with(&["grants"], &format!("{SCRATCH}{more}"));
    let output = setup.run(["check"]).expect(78);
    assert!(output.stderr.contains("is at `/tmp`, and so is a granted directory"), "{}", output.stderr);
    setup.configure(&["grants"], "[component.grants.scratch]\nsze = \"1KiB\"\n");
    assert!(setup.run(["check"]).expect(78).stderr.contains("did you mean `size`?"));
    setup.configure(&["grants"], "[component.grants.scratch]\n");
    let inspected = setup.run(["inspect", "grants"]).expect(0);
    assert!(inspected.stdout().contains("a scratch directory as /tmp, 67108864 bytes, 10000 files"));
}
