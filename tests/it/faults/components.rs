//! Files that are no components, or none that can be run.

use std::path::Path;

use crate::guests::setup::Setup;
use crate::support::guests::guest;

/// `check`, `call`, `start` and `inspect` all refuse the file with 78 and say
/// these.
#[track_caller]
fn refused(setup: &Setup, path: &Path, says: &[&str]) {
    let path = path.to_str().expect("UTF-8");
    let component = format!("it={path}");
    let flags = ["--component", &component];
    let mut commands =
        vec![vec!["check"], vec!["tasks"], vec!["call", "it.nothing"], vec!["start", "--until-idle"]];
    for command in &mut commands {
        command.splice(0..0, flags);
    }
    commands.push(vec!["inspect", path]);
    for command in commands {
        let output = setup.run(&command).expect(78);
        assert!(output.stdout.is_empty(), "{command:?}: {output:?}");
        for text in says.iter().chain(&[path]) {
            assert!(output.stderr.contains(text), "{command:?}: {text:?} is not in {}", output.stderr);
        }
        assert!(output.stderr.starts_with("error: component `"), "{command:?}: {}", output.stderr);
    }
}

#[test]
fn a_core_module_is_refused_with_a_hint() {
    refused(
        &Setup::new(&[]),
        &guest("core-module"),
        &["a core module, not a component", "`wasm-tools component new`"],
    );
}

#[test]
fn a_file_that_is_cut_short_says_so_wherever_it_is_cut() {
    let setup = Setup::new(&[]);
    let bytes = std::fs::read(guest("echo")).expect("the guest can be read");
    for length in [1, 4, 7, 11, 100, bytes.len() / 2, bytes.len() - 1] {
        let file = setup.sandbox.write("cut.wasm", &bytes[..length]);
        refused(&setup, &file, &["it is cut short"]);
    }
}

#[test]
fn files_that_are_no_components_are_named_for_what_they_are() {
    let setup = Setup::new(&[]);
    refused(&setup, &setup.sandbox.write("empty.wasm", ""), &["it is empty"]);
    refused(&setup, &setup.sandbox.write("text.wasm", "hello\n"), &["it is not WebAssembly"]);
    let wat = setup.sandbox.write("component.wat", "(component)");
    refused(&setup, &wat, &["WebAssembly text", "`wasm-tools parse"]);
    // The same bytes each time: a test that fails must fail again.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise: Vec<u8> = (0..5_000)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .collect();
    refused(&setup, &setup.sandbox.write("noise.wasm", &noise), &["it is not WebAssembly"]);
    let begins_well = [b"\0asm\x0d\0\x01\0".as_slice(), &noise].concat();
    refused(&setup, &setup.sandbox.write("begins-well.wasm", begins_well), &["it is "]);
}

#[test]
fn flipped_bytes_never_crash_the_host() {
    let setup = Setup::new(&[]);
    let bytes = std::fs::read(guest("bad-values")).expect("the guest can be read");
    for place in (8..bytes.len()).step_by(17) {
        let mut flipped = bytes.clone();
        flipped[place] ^= 0x15;
        let file = setup.sandbox.write("flipped.wasm", flipped);
        let component = format!("it={}", file.display());
        let output = setup.run(["--component", &component, "check"]);
        assert!(matches!(output.code, Some(0 | 78)), "byte {place}: {output:?}");
    }
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let setup = Setup::new(&[]);
    refused(
        &setup,
        &setup.path().join("missing.wasm"),
        &["the file can't be read: No such file or directory"],
    );
    refused(&setup, setup.path(), &["the file can't be read: Is a directory"]);
}

#[test]
fn a_component_that_needs_too_many_memories_says_so() {
    refused(
        &Setup::new(&[]),
        &guest("too-many-memories"),
        &["it needs more than an instance may have", "100", "16"],
    );
}

#[test]
fn everything_wrong_with_every_component_is_told_at_once() {
    let setup = Setup::new(&["core-module", "unknown-import", "echo"]);
    let output = setup.run(["check"]).expect(78);
    for text in ["component `core-module`", "component `unknown-import`"] {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
    assert!(!output.stderr.contains("component `echo`"), "{}", output.stderr);
}
