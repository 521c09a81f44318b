//! The cache of compiled code only ever saves time.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use crate::guests::setup::Setup;
use crate::support::cli::{Output, Sandbox};
use crate::support::guests::guest;

/// The files in a cache.
fn files(cache: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cache).expect("the cache is there");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[track_caller]
fn call(setup: &Setup, cache: &Path) -> Output {
    let output =
        setup.command(["call", "not-tasks.plain"]).env("WASM_RUNNER_CACHE_DIR", cache).run().expect(0);
    assert_eq!(output.stdout(), "7\n");
    output
}

#[test]
fn damaged_compiled_code_is_reported_and_compiled_again() {
    let setup = Setup::new(&["not-tasks"]);
    let cache = setup.path().join("cache");
    assert_eq!(call(&setup, &cache).stderr, "");
    let [file] = files(&cache).try_into().expect("one component, one file");
    let good = std::fs::read(&file).expect("it can be read");
    let flipped = |place: usize| {
        let mut bytes = good.clone();
        bytes[place] ^= 1;
        bytes
    };
    let damaged = [
        flipped(0),
        flipped(20),
        flipped(good.len() / 2),
        flipped(good.len() - 1),
        good[..good.len() / 2].to_vec(),
        good[..10].to_vec(),
        Vec::new(),
        [good.as_slice(), b"more"].concat(),
    ];
    for bytes in damaged {
        std::fs::write(&file, bytes).expect("it can be written");
        let output = call(&setup, &cache);
        assert!(output.stderr.contains("WARN compiling again"), "{output:?}");
        assert!(std::fs::read(&file).expect("it is there") == good, "it was rewritten");
        assert_eq!(call(&setup, &cache).stderr, "", "and is used without a word");
    }
    assert_eq!(files(&cache), [file]);
}

#[test]
fn a_cache_that_cannot_be_used_is_a_warning() {
    let setup = Setup::new(&["not-tasks"]);
    let below_a_file = setup.sandbox.write("file", "").join("cache");
    let output = call(&setup, &below_a_file);
    assert!(output.stderr.contains("WARN not keeping compiled code in"), "{output:?}");
    assert!(output.stderr.contains("Not a directory"), "{output:?}");
}

#[test]
fn a_cache_that_others_can_write_to_is_not_trusted() {
    use std::os::unix::fs::PermissionsExt;
    let setup = Setup::new(&["not-tasks"]);
    let cache = setup.path().join("cache");
    std::fs::create_dir(&cache).expect("a directory");
    std::fs::set_permissions(&cache, PermissionsExt::from_mode(0o777)).expect("it is ours");
    let output = call(&setup, &cache);
    assert!(output.stderr.contains("other users can write to it"), "{output:?}");
    assert!(files(&cache).is_empty());
}

#[test]
fn processes_that_compile_the_same_component_at_once_do_not_disturb_each_other() {
    let setup = Setup::new(&["adder"]);
    let cache = setup.path().join("cache");
    let running: Vec<_> = (0..4)
        .map(|n| {
            let arguments = format!("[{n}, 1]");
            setup.command(["call", "add", &arguments]).env("WASM_RUNNER_CACHE_DIR", &cache).spawn()
        })
        .collect();
    for (n, process) in running.into_iter().enumerate() {
        let output = process.wait().expect(0);
        assert_eq!((output.json(), output.stderr.as_str()), ((n + 1).into(), ""));
    }
    assert_eq!(files(&cache).len(), 1, "nothing half-written is left: {:?}", files(&cache));
}

#[test]
fn fetched_components_have_a_bound_and_those_that_were_removed_are_fetched_again() {
    let place = Sandbox::new();
    place.write("wasm-runner.toml", "store = \"sqlite:state.db\"\n[component.\"*\"]\n");
    let kept = place.path().join("cache/components");
    let run = |args: &[&str]| place.command(args).env("WASM_RUNNER_CACHE_DIR", "cache").run().expect(0);
    let upper = guest("upper").display().to_string();
    let push = |name: &str| run(&["component", "push", name, &upper]);
    let transform = |name: &str| {
        let task = format!("{name}::transform");
        assert_eq!(run(&["submit", "--wait", &task, "[\"hello\"]"]).json(), "HELLO");
    };
    std::fs::create_dir_all(&kept).expect("a directory");
    // They take no room on the disk.
    let make_old = |digit: &str, bytes: u64, age: u64| {
        let path = kept.join(format!("sha256-{}.wasm", digit.repeat(64)));
        let file = std::fs::File::create(&path).expect("it can be made");
        file.set_len(bytes).expect("a file with a hole");
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).expect("it is ours");
        path
    };
    let (large, small) = (make_old("1", 3 << 30, 200), make_old("2", 1 << 20, 100));
    push("anna");
    let mut runner = place.command(["start"]).env("WASM_RUNNER_CACHE_DIR", "cache").spawn();
    runner.wait_for_stderr("the runner has started");
    transform("anna");
    let mut components = files(&kept);
    components.retain(|file| *file != large && *file != small);
    let [file] = components.try_into().expect("one component, one file");
    assert!(large.exists() && small.exists(), "all of them are within the bound");
    // Nobody has used them for longer than the component.
    let larger = make_old("3", 2 << 30, 150);
    std::fs::remove_file(&file).expect("another process removes it");
    transform("anna");
    push("bob");
    runner.wait_for_stderr("a component was added component=bob");
    transform("bob");
    transform("anna");
    assert!(!large.exists() && larger.exists() && small.exists(), "the longest unused is removed");
    assert!(file.exists(), "it was fetched again");
    runner.signal(Signal::TERM);
    runner.wait().expect(0);
    // The same holds for commands that only look.
    make_old("1", 3 << 30, 200);
    run(&["inspect", "anna"]);
    assert!(!large.exists() && larger.exists() && file.exists());
}
