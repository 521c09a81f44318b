//! The guests.

use std::path::PathBuf;

/// The component that `cargo xtask guests` built from `guest-tasks/`.
///
/// # Panics
///
/// If it is not there: `cargo xtask test` builds it, `cargo test` alone doesn't.
#[track_caller]
pub fn guest(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/guests").join(format!("{name}.wasm"));
    assert!(path.is_file(), "there is no guest `{name}` (build the guests first: `cargo xtask guests`)");
    path
}

/// The directory in which tests keep compiled code. Another user than the one who built the
/// tests has one of their own: code in anybody else's is not trusted.
pub fn shared_cache() -> PathBuf {
    match std::env::var_os("RUN_WASM_RUNNER_TESTS_CACHE") {
        Some(directory) => directory.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tests-cache"),
    }
}
