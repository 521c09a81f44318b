//! The cache of compiled code only ever saves time.

use std::path::{Path, PathBuf};

use crate::guests::setup::Setup;
use crate::support::cli::Output;

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
