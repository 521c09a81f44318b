//! Exit codes and messages of everything that needs no component.

use std::fs::{Permissions, set_permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use crate::support::cli::{Cli, Sandbox};

const SOME_ID: &str = "01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f";

/// Runs commands and puts everything that they said into one text.
#[track_caller]
fn transcript(sandbox: &Sandbox, commands: &[&[&str]]) -> String {
    let mut text = String::new();
    for args in commands {
        let output = sandbox.run(*args);
        text.push_str(&format!("$ run-wasm-runner {}\n{}\n", args.join(" "), output.everything()));
    }
    text
}

#[test]
fn wrong_flags_are_usage_errors() {
    let commands: &[&[&str]] = &[
        &["dance"],
        &["list", "--stauts", "queued"],
        &["list", "--status", "done"],
        &["list", "--limit", "-1"],
        &["status"],
        &["status", "banana"],
        &["--component", "math.wasm", "tasks"],
        &["--component", "my_math=math.wasm", "tasks"],
        &["start", "--slots", "0"],
        &["start", "--slots", "many"],
        &["start", "--grace", "soon"],
        &["submit", "x", "--priority", "5000"],
        &["submit", "x", "--label", "customer"],
        &["submit", "x", "[]", "--batch", "file"],
        &["call", "x", "--raw", "--json"],
        &["result", SOME_ID, "--timeout", "-3s"],
    ];
    let sandbox = Sandbox::new();
    for args in commands {
        sandbox.run(*args).expect(2);
    }
    insta::assert_snapshot!(transcript(&sandbox, commands));
}

#[test]
fn an_argument_that_is_not_utf_8_is_named() {
    let text = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let arguments: [&std::ffi::OsStr; 3] = ["submit".as_ref(), "greet".as_ref(), text];
    let output = Sandbox::new().run(arguments).expect(2);
    assert!(output.stderr.contains(r"an argument is not UTF-8: `caf\xe9`"), "{}", output.stderr);
}

#[test]
fn a_lease_of_nothing_says_what_the_least_is() {
    let sandbox = Sandbox::new();
    let output = sandbox.command(["list"]).env("WASM_RUNNER_LEASE", "0s").run().expect(2);
    assert!(output.stderr.contains("`0s` is too little: it has to be at least `1s`"), "{}", output.stderr);
}

#[test]
fn stores_that_cannot_be_used_say_why() {
    insta::assert_snapshot!(transcript(
        &Sandbox::new(),
        &[
            &["--store", "postgres://ann:secret@localhost:1/x", "list"],
            &["--store", "postgres://ann:secret@localhost/x?sslmode=full", "list"],
            &["--store", "state.db", "list"],
            &["--store", "sqlite:", "list"],
            &["--store", "memory:", "list"],
            &["--store", "memory:", "start"],
            &["--store", "memory:", "result", SOME_ID],
            &["--store", "sqlite:no/such/directory/state.db", "list"],
        ]
    ));
}

#[test]
fn a_bad_store_url_in_the_file_is_a_configuration_error() {
    let sandbox = Sandbox::new();
    sandbox.write("wasm-runner.toml", "\nstore = \"redis://x\"\n");
    insta::assert_snapshot!(transcript(&sandbox, &[&["list"], &["--store", "sqlite:x.db", "list"]]));
}

#[test]
fn unknown_invocations_are_usage_errors_everywhere() {
    let sandbox = Sandbox::new();
    for command in ["result", "status", "tree", "history", "logs", "cancel"] {
        let output = sandbox.run([command, SOME_ID]).expect(2);
        assert!(
            output.stderr.contains(&format!("error: unknown invocation `{SOME_ID}`\nhint: ")),
            "{output:?}"
        );
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    sandbox.run(["result", SOME_ID, "--wait"]).expect(2);
    // Looking for something must not create a store.
    assert!(!sandbox.path().join(".wasm-runner").exists());
}

#[test]
fn a_store_that_does_not_exist_yet_is_empty() {
    let sandbox = Sandbox::new();
    let output = sandbox.run(["list"]).expect(0);
    assert!(output.stdout.is_empty(), "{output:?}");
    let output = sandbox.run(["list", "--json"]).expect(0);
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn everything_wrong_with_a_configuration_is_told_at_once() {
    let sandbox = Sandbox::new();
    let text = "slot = 2\ngrace = \"soon\"\n\n[component.word-count]\npath = \"x.wasm\"\nlimit = 3\n";
    sandbox.write("wasm-runner.toml", text);
    let below = sandbox.path().join("below");
    std::fs::create_dir(&below).expect("a directory");
    insta::assert_snapshot!(sandbox.run(["check"]).expect(78).everything());
    // The file is found from below as well, and named by its path then.
    let output = sandbox.command(["check"]).directory(&below).run().expect(78);
    assert!(
        output.everything().contains("error: [DIR]/wasm-runner.toml:1: unknown key `slot`"),
        "{output:?}"
    );
    // Scripts get the same as a document.
    let document = sandbox.run(["check", "--json"]).expect(78).json();
    assert_eq!(document["ok"], false);
    assert_eq!(document["problems"].as_array().map(Vec::len), Some(3), "{document}");
}

#[test]
fn a_missing_configuration_file_is_told() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(transcript(
        &sandbox,
        &[&["--config", "no.toml", "list"], &["--config", ".", "list"]]
    ));
    let output = sandbox.command(["list"]).env("WASM_RUNNER_CONFIG", "no.toml").run().expect(78);
    assert!(output.stderr.contains("WASM_RUNNER_CONFIG"), "{output:?}");
}

#[test]
fn without_components_there_is_nothing_to_run() {
    insta::assert_snapshot!(transcript(
        &Sandbox::new(),
        &[
            &["tasks"],
            &["tasks", "--json"],
            &["check"],
            &["start"],
            &["call", "fib"],
            &["submit", "fib", "[1]"]
        ]
    ));
}

#[test]
fn environment_variables_replace_flags() {
    let sandbox = Sandbox::new();
    let output = sandbox.command(["list"]).env("WASM_RUNNER_STORE", "memory:").run().expect(2);
    assert!(output.stderr.contains("`memory:`"), "{output:?}");
    let output = sandbox.command(["list"]).env("WASM_RUNNER_SLOTS", "many").run().expect(2);
    assert!(
        output.stderr.contains("the variable WASM_RUNNER_SLOTS: `many` is not a whole number"),
        "{output:?}"
    );
    let output = sandbox.command(["list"]).env("WASM_RUNNER_LOG", "list=loud").run().expect(2);
    assert!(output.stderr.contains("WASM_RUNNER_LOG"), "{output:?}");
    let output = sandbox.command(["list"]).env("WASM_RUNNER_SLOT", "3").run().expect(0);
    assert!(output.stderr.contains("did you mean `WASM_RUNNER_SLOTS`?"), "{output:?}");
    // An empty variable is none.
    let output = sandbox.command(["list"]).env("WASM_RUNNER_SLOTS", "").run().expect(0);
    assert!(!output.stderr.contains("warning"), "{output:?}");
}

/// Lets others write to a file, and takes it back.
fn while_others_may_write(path: &Path, check: impl FnOnce()) {
    let before = path.metadata().expect("it is there").permissions();
    let with = before.mode() | 0o002;
    set_permissions(path, Permissions::from_mode(with)).expect("the mode is changed");
    check();
    set_permissions(path, before).expect("the mode is changed back");
}

#[test]
fn what_another_user_could_have_written_is_used_only_if_it_is_named() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("wasm-runner.toml", "slots = 1\n");
    let lock = sandbox.write("wasm-runner.lock", "version = 1\n");
    let below = sandbox.path().join("below");
    std::fs::create_dir(&below).expect("a directory");
    let list = |args: &[&str]| -> Cli { sandbox.command(args.iter().copied()).directory(&below) };
    list(&["list"]).run().expect(0);
    let refused = |path: &Path, why: &str| {
        let all = list(&["list"]).run().expect(78).stderr;
        assert!(all.contains("is not trusted: ") && all.contains(why), "{all}");
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        assert!(all.contains(&name) && all.contains("hint: if you trust it, name it: `--"), "{all}");
        list(&["--config", "../wasm-runner.toml", "list"]).run().expect(0);
        list(&["list"]).env("WASM_RUNNER_CONFIG", "../wasm-runner.toml").run().expect(0);
    };
    for path in [&*file, &*lock, sandbox.path()] {
        while_others_may_write(path, || refused(path, "other users can write to `"));
    }
    // Only root can give files away. (The user 65534 may "give" a file to itself.)
    if rustix::process::geteuid().is_root() {
        chown(&file, Some(65534), None).expect("the file is given away");
        refused(&file, "belongs to another user (uid 65534)");
        // A link is somebody's decision, too: what it leads to is read relative to the link.
        std::fs::rename(&file, sandbox.path().join("theirs.toml")).expect("it is moved");
        symlink("theirs.toml", &file).expect("a link");
        refused(&file, "belongs to another user (uid 65534)");
    }
}

#[test]
fn a_default_store_that_another_user_could_have_made_is_used_only_if_it_is_named() {
    let sandbox = Sandbox::new();
    let directory = sandbox.path().join(".wasm-runner");
    std::fs::create_dir(&directory).expect("a directory");
    while_others_may_write(&directory, || {
        let output = sandbox.run(["list"]).expect(78);
        assert!(output.stderr.contains("the default store is not trusted here: "), "{output:?}");
        assert!(output.stderr.contains("hint: if you trust it, name it: `--store sqlite:"), "{output:?}");
        sandbox.run(["--store", "sqlite:.wasm-runner/state.db", "list"]).expect(0);
    });
    sandbox.run(["list"]).expect(0);
}

#[test]
fn what_can_not_be_seen_is_escaped_in_every_message() {
    let sandbox = Sandbox::new();
    let bad = "a\u{1b}[2J\u{9b}\u{202e}\u{61c}\u{200b}\u{2028}\u{feff}\u{e0041}b";
    let url = format!("sqlite:{bad}.db");
    let commands: &[&[&str]] = &[
        &[bad],
        &["list", bad],
        &["list", "--status", bad],
        &["status", bad],
        &["--component", bad, "tasks"],
        &["--config", bad, "list"],
        &["--store", bad, "list"],
        &["--store", &url, "list"],
        &["--store", &url, "status", SOME_ID],
    ];
    for args in commands {
        let output = sandbox.run(*args);
        let everything = output.everything();
        let is_bad = |c: char| c != '\n' && (c.is_control() || (!c.is_ascii() && bad.contains(c)));
        assert!(!everything.contains(is_bad), "{args:?}: {everything:?}");
        assert!(everything.contains(r"\u{202e}\u{61c}\u{200b}\u{2028}\u{feff}\u{e0041}b"), "{everything}");
    }
}

#[test]
fn a_slip_of_the_pen_is_answered_with_the_nearest_word() {
    let sandbox = Sandbox::new();
    let table = [
        (&["lsit"][..], "'list'"),
        (&["component", "pussh"], "'push'"),
        (&["component", "lst"], "'list'"),
        (&["list", "--stauts", "queued"], "'--status'"),
        (&["component", "push", "--lable", "a=b"], "'--label'"),
        (&["list", "--status", "runing"], "did you mean `running`?"),
        (&["cancel", "--status", "runing"], "did you mean `running`?"),
        (&["retry", "--status", "faild"], "did you mean `failed`?"),
        (&["prune", "--status", "succeded"], "did you mean `succeeded`?"),
        (&["retry", "--kind", "traped"], "did you mean `trapped`?"),
        (&["usage", "--by", "componnt"], "'component'"),
    ];
    for (args, nearest) in table {
        let output = sandbox.run(args).expect(2);
        assert!(output.stderr.contains(nearest), "{args:?}: {nearest} is not in {}", output.stderr);
    }
}
