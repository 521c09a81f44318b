//! Named pipes in the places of files: nothing waits for them.

use std::process::Command;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::guests::setup::Setup;
use crate::support::guests::shared_cache;

/// Whoever opens a pipe waits for longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Puts a pipe at a path of the sandbox.
fn pipe(setup: &Setup, name: &str) {
    let path = setup.sandbox.path().join(name);
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).expect("a named pipe");
}

#[track_caller]
fn refused(setup: &Setup, args: &[&str], code: i32, told: &str) {
    let output = setup.command(args).patience(PATIENCE).run().expect(code);
    assert!(output.stderr.contains(told), "{}", output.stderr);
}

#[test]
fn a_pipe_in_place_of_a_component_is_refused() {
    let setup = Setup::new(&["echo"]);
    pipe(&setup, "pipe.wasm");
    let told = "the file can't be read: it is a named pipe, and no ordinary file";
    refused(&setup, &["inspect", "pipe.wasm"], 78, told);
    refused(&setup, &["component", "push", "piped", "pipe.wasm"], 78, told);
    for command in ["tasks", "check", "start"] {
        refused(&setup, &["--component", "piped=pipe.wasm", command], 78, told);
    }
}

#[test]
fn a_pipe_in_place_of_a_store_or_beside_one_is_refused() {
    let setup = Setup::new(&["echo"]);
    pipe(&setup, "store.db");
    for command in ["list", "start"] {
        refused(
            &setup,
            &["--store", "sqlite:store.db", command],
            69,
            "it is a named pipe, and no file: choose another path",
        );
    }
    for suffix in ["-journal", "-wal", "-shm"] {
        let name = format!("beside{suffix}.db");
        let (store, beside) = (format!("sqlite:{name}"), format!("{name}{suffix}"));
        setup.command(["--store", &store, "submit", "echo.echo-u64", "[1]"]).run().expect(0);
        // The last who closes a store removes them.
        let path = setup.sandbox.path().join(&beside);
        assert!(!path.exists() || std::fs::remove_file(&path).is_ok());
        pipe(&setup, &beside);
        refused(&setup, &["--store", &store, "list"], 69, "is a named pipe: remove it");
    }
}

#[test]
fn arguments_may_come_from_a_pipe() {
    let setup = Setup::new(&["echo"]);
    let script = "exec \"$0\" call echo.echo-u64 @<(echo '[7]')";
    let output = Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_run-wasm-runner")])
        .current_dir(setup.sandbox.path())
        .env("WASM_RUNNER_CACHE_DIR", shared_cache())
        .output()
        .expect("bash runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "7", "{output:?}");
}
