//! The destinations of output.

use std::process::{Command, Stdio};

use crate::support::cli::Sandbox;

#[test]
fn a_closed_pipe_is_success() {
    // The reader is gone before anything is written.
    for args in [&["completions", "bash"][..], &["man"], &["--help"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_run-wasm-runner"))
            .args(args)
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .expect("the program runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn a_full_disk_is_told() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let output = Command::new(env!("CARGO_BIN_EXE_run-wasm-runner"))
        .args(["completions", "bash"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(74));
    assert!(
        String::from_utf8_lossy(&output.stderr).starts_with("error: standard output can't be written to")
    );
}

#[test]
fn nothing_but_data_is_on_standard_output() {
    let sandbox = Sandbox::new();
    for args in [&["tasks"][..], &["list"], &["check"], &["start"], &["call", "x"]] {
        assert!(sandbox.run(args).stdout.is_empty(), "{args:?}");
    }
}
