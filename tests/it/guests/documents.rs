//! The documents that scripts read: the fields of JSON, and what `inspect` and
//! `logs` show.

use serde_json::{Value, json};

use super::setup::Setup;
use crate::support::guests::guest;

#[test]
fn tasks_are_listed_with_their_types() {
    let setup = Setup::new(&["echo", "not-tasks"]);
    let tasks = setup.run(["tasks", "--json"]).expect(0).json_lines();
    let find = |id: &str| tasks.iter().find(|task| task["task"] == id).unwrap_or_else(|| panic!("no {id}"));
    let words = find("echo::demo:types/echo@0.1.join-words");
    assert_eq!(
        (&words["component"], &words["function"]),
        (&json!("echo"), &json!("demo:types/echo@0.1.join-words"))
    );
    assert_eq!(words["result"], "string");
    assert_eq!(
        words["params"],
        json!([
            {"name": "first-word", "type": "string"},
            {"name": "second-word", "type": "string"},
            {"name": "separator", "type": "option<string>"},
        ])
    );
    let nothing = find("echo::demo:types/echo@0.1.nothing");
    assert_eq!((&nothing["params"], &nothing["result"]), (&json!([]), &Value::Null));
    assert_eq!(find("echo::hello")["params"], json!([{"name": "name", "type": "string"}]));
    assert_eq!(find("not-tasks::plain")["result"], "u32");
    assert!(!tasks.iter().any(|task| task["task"] == "not-tasks::open"), "a resource is no value");
    let text = setup.run(["tasks"]).expect(0);
    assert!(text.stdout().contains("echo::demo:types/echo@0.1.join-words(first-word: string"), "{text:?}");
}

#[test]
fn functions_that_are_not_tasks_say_why() {
    let setup = Setup::new(&["not-tasks"]);
    let listed = setup.run(["tasks"]).expect(0);
    assert!(listed.stderr.contains("not-tasks::open") && listed.stderr.contains("resource"), "{listed:?}");
    let output = setup.call("not-tasks.open", "[]").expect(2);
    assert!(output.stderr.contains("not-tasks::plain"), "{output:?}");
    assert_eq!(setup.value("not-tasks.plain", "[]"), 7);
}

#[test]
fn inspect_shows_exports_and_imports() {
    let setup = Setup::new(&[]);
    let path = guest("calculator");
    let output = setup.run(["inspect", path.to_str().expect("UTF-8")]).expect(0);
    for text in [
        "::demo:calculator/calculate@0.1.multiply(a: u32, b: u32) -> result<u32, string>",
        "demo:calc/add@0.1.0",
        "sha256:",
    ] {
        assert!(output.stdout().contains(text), "{text:?} is not in {}", output.stdout());
    }
    let document = setup.run(["inspect", "--json", path.to_str().expect("UTF-8")]).expect(0).json();
    let digest = document["digest"].as_str().expect("a digest");
    assert_eq!(digest.len(), "sha256:".len() + 64);
    let imports = document["imports"].as_array().expect("imports");
    let import = imports.iter().find(|import| import["import"] == "demo:calc/add@0.1.0").expect("the import");
    assert_eq!(import["is_provided"], false, "{import}");
}

#[test]
fn the_status_of_an_invocation_has_every_field() {
    let setup = Setup::new(&["echo"]);
    let id = setup.submit("echo.fail", r#"[0, "fine"]"#);
    let queued = setup.status(&id);
    assert_eq!(
        (&queued["status"], &queued["started_at"], &queued["finished_at"]),
        (&json!("queued"), &Value::Null, &Value::Null)
    );
    setup.run_all();
    let done = setup.status(&id);
    assert_eq!(done["id"], json!(id));
    assert_eq!(done["task"], "echo::demo:types/echo@0.1.fail");
    assert_eq!((&done["component"], &done["function"]), (&json!("echo"), &json!("demo:types/echo@0.1.fail")));
    assert!(done["component_digest"].as_str().is_some_and(|digest| digest.contains("sha256")), "{done}");
    assert_eq!(
        (&done["status"], &done["attempt"], &done["result"]),
        (&json!("succeeded"), &json!(1), &json!("fine"))
    );
    assert!(done["max_attempts"].is_u64() && done["runner"].is_string(), "{done}");
    assert_eq!((&done["parent"], &done["root"]), (&Value::Null, &json!(id)));
    assert_eq!(done.get("failure"), None, "{done}");
    for moment in ["submitted_at", "started_at", "finished_at"] {
        let text = done[moment].as_str().unwrap_or_else(|| panic!("no {moment} in {done}"));
        let parsed: jiff::Timestamp = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        let fraction = text.split_once('.').map_or(0, |(_, rest)| rest.trim_end_matches('Z').len());
        assert!(fraction >= 3 && parsed.as_second() > 1_700_000_000, "{text}");
    }
    let id = setup.submit("echo.fail", r#"[3, "no"]"#);
    setup.run_all();
    let failed = setup.status(&id);
    assert_eq!((&failed["status"], failed.get("result")), (&json!("failed"), None));
    assert_eq!(failed["failure"]["kind"], "returned");
    assert_eq!(failed["failure"]["error"], json!({"code": 3, "message": "no"}));
    assert!(failed["failure"]["message"].is_string());
}

#[test]
fn the_history_has_a_line_for_each_transition() {
    let setup = Setup::new(&["echo"]);
    let id = setup.submit("echo-u8", "[1]");
    setup.run_all();
    let history = setup.run(["history", "--json", &id]).expect(0).json_lines();
    let mut before = Value::Null;
    for line in &history {
        for field in ["at", "from", "to", "reason", "runner", "attempt"] {
            assert!(line.get(field).is_some(), "no {field} in {line}");
        }
        assert_eq!(line["from"], before, "each line goes on where the last one ended");
        before = line["to"].clone();
    }
    assert_eq!((&history[0]["to"], &history[0]["reason"]), (&json!("queued"), &json!("submitted")));
    assert_eq!(before, "succeeded");
}

#[test]
fn logs_have_streams_and_levels() {
    let setup = Setup::new(&["workflow"]);
    let id = setup.submit("log-everywhere", r#"["hear, hear"]"#);
    setup.run_all();
    let lines = setup.run(["logs", "--json", &id]).expect(0).json_lines();
    let levels: Vec<_> = lines.iter().filter_map(|line| line["level"].as_str()).collect();
    assert_eq!(levels, ["trace", "debug", "info", "warn", "error"]);
    for stream in ["stdout", "stderr", "log"] {
        let of_it =
            lines.iter().find(|line| line["stream"] == stream).unwrap_or_else(|| panic!("no {stream}"));
        assert!(of_it["text"].as_str().is_some_and(|text| text.contains("hear, hear")), "{of_it}");
    }
    let text = setup.run(["logs", &id]).expect(0);
    assert_eq!(text.stdout().matches("hear, hear").count(), 7, "{}", text.stdout());
    let id = setup.submit("log-lines", "[3]");
    setup.run_all();
    let text = setup.run(["logs", &id]).expect(0);
    let places: Vec<_> = ["line 1", "line 2", "line 3"].map(|line| text.stdout().find(line)).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{}", text.stdout());
}
