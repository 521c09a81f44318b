//! Keys, certificates and signatures for tests.

use std::path::Path;
use std::process::Command;

/// Runs `openssl` in a directory, and returns what it wrote.
#[track_caller]
pub fn openssl(directory: &Path, arguments: &str) -> Vec<u8> {
    let ran = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output();
    let ran = ran.expect("openssl runs");
    assert!(ran.status.success(), "{arguments}: {}", String::from_utf8_lossy(&ran.stderr));
    ran.stdout
}
