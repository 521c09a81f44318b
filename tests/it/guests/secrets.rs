//! Variables and secrets of guests: given as granted, and secrets in nothing that the
//! runner keeps or says.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::setup::Setup;

const SECRET: &str = "hunter2-\"and\\more";

/// The component `grants` with a plain variable, a secret from a file and one from the
/// environment.
fn granted() -> Setup {
    let sections = "[component.grants.environment]\nREGION = \"north\"\nEMPTY = \"\"\n\
         [component.grants.secrets]\nKEY = { file = \"key\" }\nTOKEN = { environment = \"A_TOKEN\" }\n\
         [component.grants.retry]\non = [\"returned\", \"trapped\"]\ndelay = \"1ms\"\n";
    let setup = Setup::with(&["grants", "workflow"], sections);
    setup.sandbox.write("key", format!("{SECRET}\n"));
    setup
}

/// Runs a command with the secret variable set, and asserts that it says no secret.
#[track_caller]
fn run(setup: &Setup, args: &[&str]) -> crate::support::cli::Output {
    let output = setup.command(args).env("A_TOKEN", "token-of-trust").run();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), &output.stderr);
    let quoted = serde_json::to_string(SECRET).expect("a string");
    for text in [&*stdout, stderr] {
        for secret in [SECRET, quoted.trim_matches('"'), "token-of-trust"] {
            assert!(!text.contains(secret), "{args:?} tells a secret: {text}");
        }
    }
    output
}

#[test]
fn guests_get_what_is_granted_and_nothing_else() {
    let setup = granted();
    let call = |task: &str, arguments: &str| {
        setup
            .command(["call", task, arguments])
            .env("A_TOKEN", "token-of-trust")
            .env("ANOTHER", "x")
            .run()
            .expect(0)
            .json()
    };
    assert_eq!(
        call("variables", "[]"),
        json!([["EMPTY", ""], ["KEY", SECRET], ["REGION", "north"], ["TOKEN", "token-of-trust"]])
    );
    let names = json!([["A_TOKEN", "ANOTHER", "PATH", "HOME", "WASM_RUNNER_STORE", "REGION"]]);
    assert_eq!(call("probe", &names.to_string()), json!(["REGION"]));
    // Another component's variables are its own.
    assert_eq!(call("env-dump", "[]"), json!([]));
}

#[test]
fn secrets_are_in_nothing_that_is_kept_or_said() {
    let setup = granted();
    let submit = |task: &str, variable: &str| {
        run(&setup, &["submit", task, &json!([variable]).to_string()]).expect(0).stdout().trim().to_owned()
    };
    let tasks = ["tell", "panic-with", "fail-in-child"];
    let ids: Vec<_> = tasks.iter().flat_map(|task| [submit(task, "KEY"), submit(task, "TOKEN")]).collect();
    let summary = run(&setup, &["-vv", "start", "--until-idle", "--slots", "2"]).expect(0);
    assert!(summary.stderr.contains("the runner has started"), "{summary:?}");
    for id in &ids {
        for command in [&["status", id][..], &["history", id], &["logs", id]] {
            run(&setup, command).expect(0);
            run(&setup, &[command, &["--json"]].concat()).expect(0);
        }
    }
    // It is said where one was, and the rest is as it was written.
    for (id, name) in [(&ids[0], "KEY"), (&ids[1], "TOKEN")] {
        let logs = run(&setup, &["logs", id]).expect(0);
        let logs = logs.stdout();
        assert_eq!(logs.matches(&format!("whole: [secret {name}]!")).count(), 2, "{logs}");
        // In one piece and in two on each stream, and once in a message.
        assert_eq!(logs.matches(&format!("[secret {name}]")).count(), 5, "{logs}");
        assert!(logs.contains(&format!("logged: [secret {name}]!")), "{logs}");
        let progress = setup.status(id)["progress"]["message"].clone();
        assert_eq!(progress, format!("reported: [secret {name}]!"));
        // `call` shows the streams as they come.
        let called = run(&setup, &["call", "tell", &json!([name]).to_string()]).expect(0);
        assert!(called.stderr.contains(&format!("whole: [secret {name}]!")), "{}", called.stderr);
    }
    let status = setup.status(&ids[2]);
    assert_eq!(status["attempt"], 3, "every attempt has its line in the history");
    assert!(
        status["failure"]["message"].as_str().expect("a text").contains("panicked: [secret KEY]!"),
        "{status}"
    );
    // Nor in the files of the store, but for the arguments that a guest gave to its child.
    for command in [&["inspect", "grants"][..], &["check"], &["tasks"], &["inspect", "grants", "--json"]] {
        run(&setup, command).expect(0);
    }
    let inspected = run(&setup, &["inspect", "grants"]).expect(0);
    for line in ["    REGION", "    KEY (secret)", "    TOKEN (secret)"] {
        assert!(
            inspected.stdout().lines().any(|found| found == line),
            "{line:?} is not in {}",
            inspected.stdout()
        );
    }
}

/// As libraries write them into headers, URLs and dumps.
#[test]
fn secrets_are_found_in_the_encodings_of_libraries() {
    let setup = Setup::with(&["workflow"], "[component.workflow.secrets]\nKEY = { file = \"key\" }\n");
    let secret = "hunter2 & m\u{f6}re?>";
    setup.sandbox.write("key", secret);
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let basic = |user: &str| STANDARD.encode(format!("{user}:{secret}"));
    let encoded = [
        basic(""),
        basic("u"),
        basic("us"),
        URL_SAFE_NO_PAD.encode(format!("{{\"key\":\"{secret}\"}}")),
        hex.to_uppercase(),
        hex,
        "hunter2%20%26%20m%C3%B6re%3F%3E".to_owned(),
        "hunter2+%26+m%c3%b6re%3f%3e".to_owned(),
    ];
    for text in encoded {
        let output =
            setup.run(["call", "log-everywhere", &json!([format!("<{text}>")]).to_string()]).expect(0);
        // On each stream, and in a message of each level.
        assert_eq!(output.stderr.matches("[secret KEY]").count(), 7, "{text}: {}", output.stderr);
        assert!(!output.stderr.contains(&text), "{}", output.stderr);
        // The ends of base64 have other text in them; the middle is the secret's alone.
        let middle = &text[text.len() / 2 - 4..text.len() / 2 + 4];
        assert!(!output.stderr.contains(middle), "{middle} of {text}: {}", output.stderr);
    }
}

#[test]
fn the_store_of_a_guest_that_tells_has_no_secret_in_it() {
    let setup = granted();
    for task in ["tell", "panic-with"] {
        for variable in ["KEY", "TOKEN"] {
            run(&setup, &["submit", task, &json!([variable]).to_string()]).expect(0);
        }
    }
    run(&setup, &["start", "--until-idle"]).expect(0);
    for entry in std::fs::read_dir(setup.path().join(".wasm-runner")).expect("a store") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a file");
        for secret in [SECRET.as_bytes(), b"token-of-trust"] {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{path:?} has a secret in it");
        }
    }
}

#[test]
fn values_are_returned_unchanged_even_with_a_secret_in_them() {
    let setup = granted();
    let call = |task: &str| {
        setup.command(["call", "--json", task, r#"["TOKEN"]"#]).env("A_TOKEN", "token-of-trust").run()
    };
    assert_eq!(call("reveal").expect(0).json()["result"], "token-of-trust");
    let failed = call("fail-with").expect(1);
    let document = failed.json();
    assert_eq!(document["failure"]["error"], "failed: token-of-trust!");
    // The message is the runner's.
    let message = document["failure"]["message"].as_str().expect("a text");
    assert!(message.contains("failed: [secret TOKEN]!"), "{message}");
    assert!(!failed.stderr.contains("token-of-trust"), "{}", failed.stderr);
}

#[test]
fn a_secret_that_a_guest_disguises_is_not_found() {
    // Said in the documents: it is a guard against accidents.
    let setup = granted();
    let told =
        setup.command(["call", "tell-on-two-lines", r#"["TOKEN"]"#]).env("A_TOKEN", "token-of-trust").run();
    assert!(told.expect(0).stderr.contains("token-o"));
}

#[test]
fn secrets_that_can_not_be_had_are_told_with_their_component() {
    let setup = granted();
    let without = |args: &[&str], words: &[&str]| {
        let output = setup.run(args).expect(78);
        for word in words {
            assert!(output.stderr.contains(word), "`{word}` is not in {}", output.stderr);
        }
    };
    let token = ["component `grants`", "the secret `TOKEN`", "the variable `A_TOKEN` is not set"];
    for args in [&["check"][..], &["call", "probe", "[[]]"], &["start", "--until-idle"]] {
        without(args, &token);
    }
    // Who only submits or looks needs none.
    let id = setup.submit("probe", "[[]]");
    assert_eq!(setup.status(&id)["status"], "queued");
    std::fs::remove_file(setup.path().join("key")).expect("it is there");
    without(&["check"], &[&token[..], &["the secret `KEY`", "/key` does not exist"]].concat());
    setup.sandbox.write("key", "abc\n");
    without(&["check"], &["/key` has fewer than 4 bytes"]);
    std::fs::remove_file(setup.path().join("key")).expect("it is there");
    std::fs::create_dir(setup.path().join("key")).expect("a directory");
    without(&["check"], &["/key` is not a file"]);
}

#[test]
fn a_secret_in_the_configuration_is_refused_without_telling_it() {
    let refused = |section: &str, word: &str| {
        let setup = Setup::with(&["grants"], section);
        let output = setup.run(["check"]).expect(78);
        assert!(output.stderr.contains(word), "`{word}` is not in {}", output.stderr);
        assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
    };
    refused(
        "[component.grants.secrets]\nKEY = \"hunter2\"\n",
        "`component.grants.secrets.KEY` does not say where",
    );
    refused("[component.grants.secrets]\nKEY = { }\n", "does not say where");
    refused(
        "[component.grants.secrets]\nKEY = { file = \"a\", environment = \"B\" }\n",
        "does not say where",
    );
    refused("[component.grants.secrets]\nKEY = { text = \"hunter2\" }\n", "unknown key `text`");
    refused(
        "[component.grants.secrets]\n\"A=B\" = { file = \"a\" }\n",
        "`A=B` in `[component.grants.secrets]` can't be",
    );
    refused(
        "[component.grants.environment]\nKEY = \"x\"\n[component.grants.secrets]\nKEY = { file = \"a\" }\n",
        "it can't be both",
    );
    refused("[component.grants.environment]\nKEY = 7\n", "must be a string");
}
