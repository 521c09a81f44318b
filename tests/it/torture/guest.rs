//! The guest that the program carries.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::cli::Sandbox;
use crate::support::guests::guest;

fn carried() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/cli/torture/guest.wasm")
}

/// The compiler that made a component, as it notes it in there.
fn compiler(component: &[u8]) -> &[u8] {
    let field = b"\x05Rust";
    assert!(component.windows(field.len()).any(|window| window == field), "a component made by Rust");
    let name = b"rustc";
    let start =
        component.windows(name.len()).position(|window| window == name).expect("its compiler is noted");
    let version = &component[start + name.len()..];
    // A length, then the text.
    &version[1..=usize::from(version[0])]
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
