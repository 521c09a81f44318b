//! The entry point of the configuration's fuzz target, for nothing else.

use std::path::Path;

use super::lock::Lock;

/// Reads a configuration file, which tells the place of everything wrong, and a lock file of the same bytes.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(problems) = super::file::parse(text, Path::new("/fuzzed"), "wasm-runner.toml") {
        assert!(!problems.is_empty(), "it says what is wrong");
        for problem in problems {
            assert!(!problem.message.is_empty() && problem.place.is_some(), "{problem:?}");
        }
    }
    if let Ok(lock) = Lock::parse(text) {
        assert_eq!(Lock::parse(&lock.to_text()), Ok(lock), "what is written is read back");
    }
}

/// Every key of a configuration file: the target's dictionary has them.
pub fn keys() -> Vec<&'static str> {
    super::file::keys()
}
