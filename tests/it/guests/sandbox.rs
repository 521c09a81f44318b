//! The sandbox: guests have no right that was not granted.

use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::setup::Setup;

/// A guest's attempt at something that it may not: an error that it gets, not a
/// trap.
#[track_caller]
fn denied(setup: &Setup, task: &str, arguments: &Value) {
    let failed = setup.failure(task, &arguments.to_string(), 1, "returned");
    assert!(failed.failure["error"].is_string(), "{}", failed.failure);
}

#[test]
fn no_files_are_granted_by_default() {
    let setup = Setup::new(&["workflow"]);
    let inside = setup.sandbox.write("here.txt", "text");
    for path in ["/etc/passwd", "here.txt", "./here.txt", "/", ".", "..", inside.to_str().expect("UTF-8")] {
        denied(&setup, "read-text", &json!([path]));
        denied(&setup, "list-directory", &json!([path]));
        denied(&setup, "write-text", &json!([path, "overwritten"]));
        denied(&setup, "append-line", &json!([path, "more"]));
    }
    assert_eq!(std::fs::read_to_string(inside).expect("it is still there"), "text");
    let output = setup.call("read-text", r#"["here.txt"]"#);
    let line = "denied: files: no directory is granted: a `[[component.workflow.directory]]` would";
    assert!(output.stderr.contains(line), "{output:?}");
}

#[test]
fn a_guest_learns_nothing_of_the_environment() {
    let setup = Setup::new(&["workflow"]);
    let call =
        |task: &str| setup.command(["call", task]).env("SECRET", "s3cr3t").stdin("typed\n").run().expect(0);
    assert_eq!(call("env-dump").json(), json!([]));
    assert_eq!(call("argument-dump").json(), json!([]));
    assert_eq!(call("stdin-read").json(), "");
}

#[test]
fn the_network_is_denied() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket that can be asked");
    let port = listener.local_addr().expect("an address").port();
    let setup = Setup::new(&["workflow"]);
    denied(&setup, "connect", &json!([format!("127.0.0.1:{port}")]));
    denied(&setup, "connect", &json!([format!("localhost:{port}")]));
    let nobody = listener.accept().expect_err("nobody connected");
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn clocks_and_random_numbers_are_given() {
    let setup = Setup::new(&["workflow"]);
    let millis = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let before = millis();
    let now = u128::from(setup.value("basics.now", "[]").as_u64().expect("a number"));
    assert!((before..=millis()).contains(&now), "{before} {now}");
    assert_ne!(setup.value("basics.random", "[]"), setup.value("basics.random", "[]"));
}

/// Directories `ro` and `rw` that are granted, and `outside` that is not.
fn granted() -> Setup {
    let setup = Setup::with(
        &["workflow"],
        "[[component.workflow.directory]]\nhost = \"ro\"\nguest = \"/ro\"\n\
         [[component.workflow.directory]]\nhost = \"rw\"\nguest = \"/rw\"\naccess = \"read-write\"\n",
    );
    setup.sandbox.write("ro/a.txt", "a");
    setup.sandbox.write("ro/sub/b.txt", "b");
    setup.sandbox.write("outside/secret.txt", "secret");
    std::fs::create_dir(setup.path().join("rw")).expect("a directory");
    setup
}

#[test]
fn a_read_only_directory_can_be_read_and_not_written() {
    let setup = granted();
    assert_eq!(setup.value("read-text", r#"["/ro/a.txt"]"#), "a");
    assert_eq!(setup.value("read-text", r#"["/ro/sub/b.txt"]"#), "b");
    assert_eq!(setup.value("read-text", r#"["/ro/sub/../a.txt"]"#), "a", "inside is inside");
    assert_eq!(setup.value("list-directory", r#"["/ro"]"#), json!(["a.txt", "sub"]));
    for path in ["/ro/a.txt", "/ro/new.txt", "/ro/sub/new.txt"] {
        denied(&setup, "write-text", &json!([path, "x"]));
        denied(&setup, "append-line", &json!([path, "x"]));
    }
    let output = setup.call("write-text", r#"["/ro/new.txt", "x"]"#);
    let line = "denied: opening to write `new.txt`: the directory is not granted for writing";
    assert!(output.stderr.contains(line), "{output:?}");
    let output = setup.call("read-text", r#"["/ro/../secret.txt"]"#);
    assert!(output.stderr.contains("denied: "), "{output:?}");
    assert_eq!(std::fs::read_to_string(setup.path().join("ro/a.txt")).expect("it is there"), "a");
    assert!(!setup.path().join("ro/new.txt").exists() && !setup.path().join("ro/sub/new.txt").exists());
}

#[test]
fn a_read_write_directory_can_be_written() {
    let setup = granted();
    setup.call("write-text", r#"["/rw/note.txt", "one"]"#).expect(0);
    setup.call("append-line", r#"["/rw/note.txt", "two"]"#).expect(0);
    assert_eq!(
        std::fs::read_to_string(setup.path().join("rw/note.txt")).expect("it was written"),
        "onetwo\n"
    );
    assert_eq!(setup.value("read-text", r#"["/rw/note.txt"]"#), "onetwo\n");
}

#[test]
fn no_path_leads_out_of_a_granted_directory() {
    let setup = granted();
    let root = setup.path();
    symlink("../outside/secret.txt", root.join("ro/file")).expect("a link");
    symlink("../outside", root.join("ro/directory")).expect("a link");
    symlink("/etc", root.join("ro/absolute")).expect("a link");
    symlink("..", root.join("ro/up")).expect("a link");
    symlink("../outside/new.txt", root.join("rw/dangling")).expect("a link");
    symlink("../outside", root.join("rw/directory")).expect("a link");
    let secret = format!("{}/outside/secret.txt", root.display());
    for path in [
        "/ro/../outside/secret.txt",
        "/ro/sub/../../outside/secret.txt",
        "/ro/file",
        "/ro/file/",
        "/ro/directory/secret.txt",
        "/ro/up/outside/secret.txt",
        "/ro/absolute/passwd",
        "/rw/../outside/secret.txt",
        "/rw/directory/secret.txt",
        "/rw/../ro/a.txt",
        "ro/../../outside/secret.txt",
        secret.as_str(),
    ] {
        denied(&setup, "read-text", &json!([path]));
    }
    for path in [
        "/ro/..",
        "/ro/../",
        "/ro/directory",
        "/ro/directory/",
        "/ro/up/",
        "/ro/absolute/",
        "/rw/directory/.",
    ] {
        denied(&setup, "list-directory", &json!([path]));
    }
    for path in [
        "/rw/../outside/new.txt",
        "/rw/dangling",
        "/rw/dangling/",
        "/rw/directory/new.txt",
        "/rw/directory/secret.txt",
        "/rw/directory/",
    ] {
        denied(&setup, "write-text", &json!([path, "x"]));
        denied(&setup, "append-line", &json!([path, "x"]));
    }
    let outside = std::fs::read_dir(root.join("outside")).expect("it is there").count();
    assert_eq!(outside, 1, "nothing was created");
    assert_eq!(std::fs::read_to_string(root.join("outside/secret.txt")).expect("it is there"), "secret");
}

#[test]
fn a_granted_directory_that_is_missing_is_found_by_check() {
    let setup = granted();
    setup.run(["check"]).expect(0);
    std::fs::remove_dir(setup.path().join("rw")).expect("it is empty");
    let output = setup.run(["check"]).expect(78);
    assert!(output.stderr.contains("rw` that it is granted as `/rw` does not exist"), "{output:?}");
    assert!(output.stderr.contains("hint: "), "{output:?}");
    let failed = setup.failure("basics.nothing", "[]", 3, "trapped");
    failed.says(&["the granted directory", "rw` can't be opened"]);
}

#[test]
fn a_component_submits_what_it_may() {
    let may_submit = |tasks: &str| Setup::with(&["workflow"], &format!("may-submit = {tasks}\n"));
    let squares = r#"["demo:workflow/basics.square", "[3]"]"#;
    let lists =
        [r#"["demo:workflow/basics.square"]"#, r#"["*"]"#, r#"["*control*", "demo:workflow/basics.*"]"#];
    for tasks in lists {
        assert_eq!(may_submit(tasks).value("control.call", squares), "9", "{tasks}");
    }
    for tasks in ["[]", r#"["demo:workflow/basics.nothing"]"#, r#"["demo:workflow/control.*"]"#] {
        let setup = may_submit(tasks);
        for name in ["demo:workflow/basics.square", "square", "demo:workflow/basics@0.1.0.square"] {
            let failed = setup.failure("control.call", &json!([name, "[3]"]).to_string(), 1, "returned");
            let error = failed.failure["error"].as_str().expect("an error");
            let says = format!(
                "denied: the component `workflow` may not submit `{name}`: `may-submit` of `[component.workflow]` \
                 would have to name it"
            );
            assert_eq!(error, says, "{tasks}");
            let line = "denied: submitting `workflow::demo:workflow/basics@0.1.square`: `may-submit` of `[component.workflow]`";
            assert!(failed.stderr.contains(line), "{}", failed.stderr);
        }
        denied(&setup, "fan-out", &json!(["square", "[3]", 2]));
        let unknown = setup.failure("control.call", r#"["squarer", "[3]"]"#, 1, "returned");
        let says = "unknown task: unknown task `squarer`, or a name of several";
        assert_eq!(unknown.failure["error"], says, "the names of others' tasks are not told");
    }
}

/// As a section of a task that is not known is: by every command that loads components.
#[test]
fn an_entry_of_may_submit_that_is_no_task_is_found_by_check() {
    for (pattern, says) in [
        (
            "demo:workflow/basics.sqare",
            "unknown task `demo:workflow/basics.sqare` (did you mean `workflow::demo:workflow/basics@0.1.square`?",
        ),
        (
            "demo:workflow/basic.*",
            "unknown task `demo:workflow/basic.*` (did you mean `workflow::demo:workflow/basics@0.1.",
        ),
        (
            "square",
            "`square` is neither the full id of a task nor a function (did you mean \
             `workflow::demo:workflow/basics@0.1.square`?)",
        ),
        ("x:y/*", "unknown task `x:y/*` (known tasks: `"),
    ] {
        let known = "demo:workflow/control.*";
        let setup = Setup::with(&["workflow"], &format!("may-submit = [\n  {known:?},\n  {pattern:?},\n]\n"));
        for command in [["check"].as_slice(), &["start", "--until-idle"], &["call", "basics.square", "[3]"]] {
            let output = setup.run(command).expect(78);
            assert!(output.stderr.contains("wasm-runner.toml:"), "{output:?}");
            let says = format!("`component.workflow.may-submit`: {says}");
            assert!(output.stderr.contains(&says), "{says:?} is not in {}", output.stderr);
            assert!(!output.stderr.contains(&format!("`{known}`")), "that one is good: {}", output.stderr);
        }
    }
}

#[test]
fn an_imported_task_that_may_not_be_submitted_is_found_by_check() {
    let setup = Setup::with(&["adder", "calculator"], "may-submit = [\"demo:calc/add.add\"]\n");
    let output = setup.run(["check"]).expect(78);
    let says = "imports `adder::demo:calc/add@0.1.add-all`, and `may-submit` does not name it";
    assert!(output.stderr.contains(says), "{}", output.stderr);
    assert!(!output.stderr.contains("`adder::demo:calc/add@0.1.add`,"), "that one it may: {}", output.stderr);
    setup.configure(&["adder", "calculator"], "may-submit = [\"demo:calc/*\"]\n");
    setup.run(["check"]).expect(0);
    assert_eq!(setup.value("multiply", "[6, 7]"), 42);
}
