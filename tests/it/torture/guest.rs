//! The guest that the program carries.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::cli::Sandbox;
use crate::support::guests::guest;

fn carried() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("guest-tasks/task-torture/torture.wasm")
}

/// The compiler that made a component: the commit of its standard library, as
/// the messages of panics name it.
fn compiler(component: &[u8]) -> &[u8] {
    const PREFIX: &[u8] = b"/rustc/";
    let place = component.windows(PREFIX.len()).position(|window| window == PREFIX);
    let start = place.expect("a component made by Rust, which can panic") + PREFIX.len();
    &component[start..start + 40]
}

#[test]
fn the_guest_that_the_program_carries_is_that_of_the_source_tree() {
    let sandbox = Sandbox::new();
    let (carried, built) = (carried(), guest("torture"));
    let [ours, theirs] = [&carried, &built].map(|path| std::fs::read(path).expect("a component"));
    assert!(ours.len() < 150 << 10, "it is small: {}", ours.len());
    let hint = "refresh it: `cargo xtask torture-guest`";
    if compiler(&ours) == compiler(&theirs) {
        assert!(ours == theirs, "the sources have changed since ({hint})");
        return;
    }
    // Another compiler makes other bytes of the same sources.
    let [ours, theirs] = [&carried, &built].map(|path| {
        let path = path.display().to_string();
        let mut document: Value = sandbox.run(["inspect", &path, "--json"]).expect(0).json();
        for changes in ["file", "digest", "size", "bytes"] {
            document.as_object_mut().expect("an object").remove(changes);
        }
        document
    });
    assert_eq!(ours, theirs, "{hint}");
}
