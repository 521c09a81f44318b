//! Commands that show and change what is in a store.

use run_wasm_runner::model::{Event, FailureKind, InvocationId};

use super::fixture::{Fixture, TASKS};
use crate::support::cli::Sandbox;

#[test]
fn a_value_is_printed_with_its_digits_and_order() {
    let fixture = Fixture::new();
    let value = r#"{"b":18446744073709551615,"a":1.50}"#;
    let id = fixture.succeeded(value).to_string();
    assert_eq!(fixture.sandbox.run(["result", &id]).expect(0).stdout(), format!("{value}\n"));
    assert_eq!(fixture.sandbox.run(["result", &id, "--wait"]).expect(0).stdout(), format!("{value}\n"));
    let status = fixture.sandbox.run(["status", &id, "--json"]).expect(0);
    assert!(status.stdout().contains(&format!(r#""result":{value}"#)), "{status:?}");
    let output = fixture.sandbox.run(["result", &id, "--raw"]).expect(2);
    assert!(output.stderr.contains("`--raw`") && output.stdout.is_empty(), "{output:?}");
}

#[test]
fn raw_values_are_their_bytes() {
    let fixture = Fixture::new();
    let text = fixture.succeeded(r#""a\u0000é""#).to_string();
    assert_eq!(fixture.sandbox.run(["result", &text, "--raw"]).expect(0).stdout, "a\0é".as_bytes());
    let bytes = fixture.succeeded("[0,255,10]").to_string();
    assert_eq!(fixture.sandbox.run(["result", &bytes, "--raw"]).expect(0).stdout, [0, 255, 10]);
}

#[test]
fn failures_have_the_exit_code_of_their_kind() {
    let fixture = Fixture::new();
    let kinds = [
        (FailureKind::Returned, 1),
        (FailureKind::Trapped, 3),
        (FailureKind::Lost, 3),
        (FailureKind::TimedOut, 4),
        (FailureKind::LimitExceeded, 4),
    ];
    for (kind, code) in kinds {
        let id = fixture.failed(kind).to_string();
        let output = fixture.sandbox.run(["result", &id]).expect(code);
        let expected = format!(
            "error: invocation `{id}` failed ({}): it went \\u{{1b}}[31mwrong\n   0: inner\n   1: outer\n",
            kind.as_str()
        );
        assert_eq!((output.stdout(), &*output.stderr), ("", &*expected));
        let status = fixture.sandbox.run(["status", &id, "--json"]).expect(0).json();
        assert_eq!(status["failure"]["kind"], kind.as_str());
        assert!(status.get("result").is_none(), "{status}");
    }
}

#[test]
fn an_unfinished_invocation_is_not_final_yet() {
    let fixture = Fixture::new();
    let id = fixture.submit(TASKS[1], None).to_string();
    let output = fixture.sandbox.run(["result", &id]).expect(75);
    assert!(output.stderr.contains("is not final: it is queued"), "{output:?}");
    let output = fixture.sandbox.run(["result", &id, "--wait", "--timeout", "50ms"]).expect(75);
    assert!(output.stderr.contains("is not final after 50.0 ms: it is queued"), "{output:?}");
}

#[test]
fn a_wait_ends_when_another_process_finishes_the_invocation() {
    let fixture = Fixture::new();
    let id = fixture.submit(TASKS[1], None);
    fixture.claim();
    let waiting = fixture.sandbox.command(["result", &id.to_string(), "--wait"]).spawn();
    // Either the end comes while it waits, or it finds it there: both are right.
    fixture.succeed(&[id], "42");
    assert_eq!(waiting.wait().expect(0).stdout(), "42\n");
}

#[test]
fn the_status_document_has_the_fields_that_scripts_rely_on() {
    let fixture = Fixture::new();
    let id = fixture.succeeded("null");
    let document = fixture.sandbox.run(["status", &id.to_string(), "--json"]).expect(0).json();
    assert_eq!(document["id"], id.to_string());
    assert_eq!(document["task"], TASKS[1]);
    assert_eq!(document["component_digest"], format!("sha256:{}", "ab".repeat(32)));
    assert_eq!(document["status"], "succeeded");
    assert_eq!((&document["attempt"], &document["max_attempts"]), (&1.into(), &3.into()));
    assert_eq!((&document["parent"], &document["root"]), (&().into(), &id.to_string().into()));
    assert_eq!(document["runner"], fixture.runner.to_string());
    for field in ["submitted_at", "started_at", "finished_at", "available_at"] {
        let text = document[field].as_str().unwrap_or_else(|| panic!("{field}: {document}"));
        assert!(text.len() == "2026-01-01T00:00:00.000000Z".len() && text.ends_with('Z'), "{text}");
    }
    assert_eq!(document.get("result"), Some(&().into()), "a value of null is there");
    assert_eq!(document["priority"], 7);
    assert_eq!(document["labels"]["customer"], "ac\u{1b}me");
    // For people, nothing reaches the terminal unescaped.
    let text = fixture.sandbox.run(["status", &id.to_string()]).expect(0);
    assert!(text.stdout().contains("customer=ac\\u{1b}me"), "{text:?}");
}

#[test]
fn history_tells_every_move() {
    let fixture = Fixture::new();
    let id = fixture.succeeded("1").to_string();
    let lines = fixture.sandbox.run(["history", &id, "--json"]).expect(0).json_lines();
    let moves: Vec<_> = lines
        .iter()
        .map(|line| (line["from"].as_str(), line["to"].as_str(), line["reason"].as_str()))
        .collect();
    assert_eq!(
        moves,
        [
            (None, Some("queued"), Some("submitted")),
            (Some("queued"), Some("claimed"), Some("claimed")),
            (Some("claimed"), Some("running"), Some("started")),
            (Some("running"), Some("succeeded"), Some("succeeded")),
        ]
    );
    assert_eq!(lines[1]["runner"], fixture.runner.to_string());
    assert_eq!((&lines[0]["attempt"], &lines[1]["attempt"]), (&0.into(), &1.into()));
    let table = fixture.sandbox.run(["history", &id]).expect(0);
    assert_eq!(table.stdout().lines().count(), 5, "{table:?}");
}

#[test]
fn logs_of_a_tree_are_in_the_order_of_time() {
    let fixture = Fixture::new();
    let (root, child) = fixture.parent_of_succeeded();
    fixture.succeed(&[root], "2");
    let other = fixture.succeeded("3");
    let output = fixture.sandbox.run(["logs", "--tree", &root.to_string()]).expect(0);
    let lines: Vec<_> = output.stdout().lines().map(|line| line.split_once(' ').expect("a time").1).collect();
    let of = |id: InvocationId| {
        ["stdout: one", "stdout: two", "log warn: care\\u{9b}ful"]
            .map(|text| format!("{} {text}", id.short()))
    };
    // The root was submitted, and so wrote, before its child.
    assert_eq!(lines, [of(root), of(child)].concat());
    assert!(!output.stdout().contains(&other.short()));
    let json = fixture.sandbox.run(["logs", "--tree", "--json", &child.short()]).expect(0).json_lines();
    assert_eq!(json.len(), 2, "{json:?}");
    assert!(
        json.iter().all(|line| line["id"] == child.to_string() && line["stream"].is_string()),
        "{json:?}"
    );
}

#[test]
fn logs_of_a_tree_are_read_up_to_a_bound() {
    let fixture = Fixture::new();
    let root = fixture.submit(TASKS[0], None);
    fixture.claim();
    let children = [0, 1, 2].map(|index| fixture.submit_child(root, index));
    fixture.claim();
    fixture.write(children[0], "first\n");
    fixture.write(children[1], &"x".repeat(65 << 20));
    fixture.write(children[2], "last\n");
    let output = fixture.sandbox.run(["logs", "--tree", "--json", &root.to_string()]).expect(0);
    let ids: Vec<_> = output.json_lines().into_iter().map(|line| line["id"].clone()).collect();
    assert_eq!(ids, [children[0].to_string(), children[1].to_string()]);
    assert!(output.stderr.contains("the logs of 1 descendants are left out"), "{}", output.stderr);
    // Each of them can be read.
    let output = fixture.sandbox.run(["logs", &children[2].to_string()]).expect(0);
    assert!(output.stdout().contains("last"), "{output:?}");
}

#[test]
fn logs_show_streams_and_levels() {
    let fixture = Fixture::new();
    let id = fixture.succeeded("1").to_string();
    let output = fixture.sandbox.run(["logs", &id]).expect(0);
    let lines: Vec<_> =
        output.stdout().lines().filter_map(|line| line.split_once(' ')).map(|(_, text)| text).collect();
    assert_eq!(lines, ["stdout: one", "stdout: two", "log warn: care\\u{9b}ful"]);
    let lines = fixture.sandbox.run(["logs", &id, "--json"]).expect(0).json_lines();
    assert_eq!((&lines[0]["stream"], &lines[0]["text"]), (&"stdout".into(), &"one\ntwo\n".into()));
    assert_eq!((&lines[1]["level"], &lines[1]["attempt"]), (&"warn".into(), &1.into()));
}

#[test]
fn lists_are_newest_first_and_filtered() {
    let fixture = Fixture::new();
    let done = fixture.succeeded("1").to_string();
    let failed = fixture.failed(FailureKind::Trapped).to_string();
    let queued = fixture.submit(TASKS[0], None).to_string();
    let ids = |args: &[&str]| -> Vec<String> {
        let output = fixture.sandbox.run([&["list", "--json"][..], args].concat()).expect(0);
        output.json_lines().iter().map(|line| line["id"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(ids(&[]), [&*queued, &failed, &done]);
    assert_eq!(ids(&["--limit", "1"]), [&*queued]);
    assert_eq!(ids(&["--limit", "0"]).len(), 3);
    assert_eq!(ids(&["--status", "failed,queued"]), [&*queued, &failed]);
    assert_eq!(ids(&["--status", "failed", "--status", "succeeded"]), [&*failed, &done]);
    assert_eq!(ids(&["--task", TASKS[0]]), [&*queued]);
    let table = fixture.sandbox.run(["list"]).expect(0);
    assert!(table.stdout().starts_with("ID ") && table.stdout().lines().count() == 4, "{table:?}");
    assert!(table.stdout().lines().all(|line| line == line.trim_end()), "{table:?}");
}

#[test]
fn a_tree_is_drawn_from_any_of_its_members() {
    let fixture = Fixture::new();
    let root = fixture.submit(TASKS[0], None);
    fixture.claim();
    fixture.report(&[root], &[Event::Start], None);
    let children: Vec<_> = (0..30).map(|index| fixture.submit_child(root, index)).collect();
    fixture.claim();
    fixture.succeed(&children[..29], "1");
    for id in [root, children[3]] {
        let output = fixture.sandbox.run(["tree", &id.to_string()]).expect(0);
        let lines: Vec<_> = output.stdout().lines().collect();
        assert!(lines[0].starts_with("acme:demo/api.parent running"), "{output:?}");
        assert!(lines[1].starts_with("├─ acme:demo/api.child succeeded"), "{output:?}");
        assert_eq!(lines.last(), Some(&"└─ … and 20 more: 1 claimed, 19 succeeded"));
    }
    let all = fixture.sandbox.run(["tree", &root.to_string(), "--all"]).expect(0);
    assert_eq!(all.stdout().lines().count(), 31);
    assert_eq!(fixture.sandbox.run(["tree", &root.to_string(), "--json"]).expect(0).json_lines().len(), 31);
}

#[test]
fn cancel_reports_the_effect_on_each_invocation() {
    let fixture = Fixture::new();
    let queued = fixture.submit(TASKS[0], None).to_string();
    let done = fixture.succeeded("1").to_string();
    let unknown = InvocationId::generate().to_string();
    let output = fixture.sandbox.run(["cancel", &queued, &done]).expect(0);
    assert_eq!(output.stdout(), format!("{queued} cancelled\n{done} already succeeded\n"));
    let output = fixture.sandbox.run(["result", &queued]).expect(5);
    assert!(output.stderr.contains("(cancelled)"), "{output:?}");
    // Once more is no error; an unknown one is.
    let output = fixture.sandbox.run(["cancel", &unknown, &queued, "--json"]).expect(2);
    let lines = output.json_lines();
    assert_eq!((&lines[0]["outcome"], &lines[0]["status"]), (&"unknown".into(), &().into()));
    assert_eq!((&lines[1]["outcome"], &lines[1]["status"]), (&"already-final".into(), &"cancelled".into()));
}

#[test]
fn a_file_that_is_no_store_is_left_alone() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("state.db", "this is a diary, and not a database at all");
    for command in [&["list"][..], &["cancel", "01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f"]] {
        sandbox.run([&["--store", "sqlite:state.db"][..], command].concat()).expect(69);
    }
    assert_eq!(std::fs::read(path).expect("the file"), b"this is a diary, and not a database at all");
}
