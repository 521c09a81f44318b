//! Commands that run guests: `call`, `submit`, `start`, and what describes
//! components.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use run_wasm_runner::model::{InvocationId, Status, SystemClock};
use run_wasm_runner::store::{SqliteStore, Store};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::cli::{Cli, Output, Sandbox};
use crate::support::guests::guest;

/// A directory with a configuration of these guests.
fn configured(guests: &[&str], more: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let mut text = String::from("slots = 2\ngrace = \"20s\"\n");
    for name in guests {
        text.push_str(&format!("[component.{name}]\npath = {:?}\n", guest(name)));
    }
    sandbox.write("wasm-runner.toml", text + more);
    sandbox
}

#[track_caller]
fn submit(sandbox: &Sandbox, args: &[&str]) -> Vec<InvocationId> {
    let output = sandbox.run([&["submit"][..], args].concat()).expect(0);
    output.stdout().lines().map(|line| line.parse().expect("an id")).collect()
}

#[track_caller]
fn status(sandbox: &Sandbox, id: InvocationId) -> Value {
    sandbox.run(["status", &id.to_string(), "--json"]).expect(0).json()
}

/// Waits until a process that runs has brought an invocation to `status`.
#[track_caller]
fn wait_for_status(sandbox: &Sandbox, id: InvocationId, status: Status) {
    let path = sandbox.path().join(".wasm-runner/state.db");
    let store = SqliteStore::open(&path, Arc::new(SystemClock::new())).expect("the store");
    let (change, changed) = channel();
    let change = std::sync::Mutex::new(change);
    let notify = move || {
        // Nobody listens any more once the test has seen enough.
        let _ = change.lock().expect("nobody panics").send(());
    };
    let _watch = store.watch(Arc::new(notify)).expect("the store is watched");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let found = store.get(&[id]).expect("the store is read")[0].as_ref().map(|found| found.status);
        if found == Some(status) {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(changed.recv_timeout(left).is_ok(), "it is {found:?} and never became {status}");
    }
}

#[test]
fn call_prints_the_value_and_nothing_else() {
    let sandbox = Sandbox::new();
    let component = format!("fib={}", guest("fib").display());
    let call =
        |args: &[&str]| -> Cli { sandbox.command([&["--component", &component, "call"][..], args].concat()) };
    sandbox.write("arguments.json", "{\"n\": 10}\n");
    let ways = [
        call(&["demo:math/fibonacci.fib", "[10]"]),
        call(&["fibonacci.fib", "{\"n\": 10}"]),
        call(&["fib", "@arguments.json"]),
        call(&["fib", "-"]).stdin(" [10]\n"),
        call(&["fib", "[10]", "--slots", "1"]),
        call(&["fib", "[10]", "--store", "sqlite:kept.db"]),
    ];
    for way in ways {
        let output = way.run().expect(0);
        assert_eq!((output.stdout(), &*output.stderr), ("55\n", ""));
    }
    // Only the store that was asked for is there.
    let kept =
        sandbox.run(["--store", "sqlite:kept.db", "list", "--limit", "0", "--json"]).expect(0).json_lines();
    assert!(kept.len() > 100 && kept.iter().all(|line| line["status"] == "succeeded"));
    assert!(!sandbox.path().join(".wasm-runner").exists());
}

#[test]
fn the_exit_code_of_a_call_tells_what_happened() {
    let limits = "[component.faults.limits]\ntime = \"200ms\"\nmemory = \"8MiB\"\n";
    let sandbox = configured(&["echo", "faults"], limits);
    let table = [
        (&["echo.fail", "[3,\"no\"]"][..], 1, "failed (returned)"),
        (&["echo.dance"], 2, "unknown task `echo.dance`"),
        (&["echo.hello", "[1]"], 2, "name: expected string, found"),
        (&["echo.hello"], 2, "expected 1 argument, found 0"),
        (&["echo.hello", "you"], 2, "arguments must be a JSON array or object, found `you`"),
        (&["echo.hello", "7"], 2, "put it into an array: `'[7]'`"),
        (&["echo.hello", "@missing.json"], 2, "`missing.json`"),
        (&["faults.abort"], 3, "failed (trapped)"),
        (&["faults.exit", "[7]"], 3, "failed (trapped)"),
        (
            &["faults.spin"],
            4,
            "hint: raise `time` in `[component.faults.limits]`, which sets it here, if the task may use more",
        ),
        (&["faults.sleep", "[60000]"], 4, "failed (timed-out)"),
        (&["faults.grow", "[100]"], 4, "failed (limit-exceeded)"),
    ];
    for (args, code, text) in table {
        let output = sandbox.run([&["call"][..], args].concat()).expect(code);
        assert!(output.stderr.contains(text) && output.stdout.is_empty(), "{}", output.everything());
    }
}

#[test]
fn the_hint_of_a_limit_names_the_section_that_sets_it() {
    let time = "time = \"200ms\"\n";
    let table = [
        (
            format!("profile = \"low\"\n[profile.low.limits]\n{time}"),
            "`[profile.low.limits]`, which sets it here",
        ),
        (
            format!("[task.\"faults.spin\".limits]\n{time}[component.faults.limits]\ntime = \"300ms\"\n"),
            "`[task.\"faults.spin\".limits]`, which sets it here",
        ),
    ];
    for (sections, said) in table {
        let output = configured(&["faults"], &sections).run(["call", "faults.spin"]).expect(4);
        assert!(output.stderr.contains(said), "{said} is not in {}", output.stderr);
    }
    let output = configured(&["faults"], "").run(["call", "faults.grow", "[1000]"]).expect(4);
    let said = "if the task may use more: nothing but the default sets it here";
    assert!(output.stderr.contains(said), "{output:?}");
    // Another process that has the configuration, and loads no components.
    let pushed = format!("store = \"sqlite:state.db\"\n[component.\"cust-*\".limits]\n{time}");
    let sandbox = Sandbox::new();
    sandbox.write("wasm-runner.toml", pushed);
    sandbox.run(["component", "push", "cust-a", &guest("faults").display().to_string()]).expect(0);
    let id = submit(&sandbox, &["cust-a::spin"])[0].to_string();
    sandbox.run(["start", "--until-idle"]).expect(0);
    let output = sandbox.run(["result", &id]).expect(4);
    assert!(output.stderr.contains("`[component.\"cust-*\".limits]`, which sets it here"), "{output:?}");
}

#[test]
fn output_of_guests_cannot_control_the_terminal() {
    let output = configured(&["faults"], "").run(["call", "faults.escape-codes"]).expect(0);
    assert_eq!(output.stdout(), "null\n");
    assert!(output.stderr.contains("red"), "{output:?}");
    let harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    assert!(!output.stderr.contains(harmful), "{output:?}");
}

#[test]
fn raw_writes_bytes_and_refuses_other_types_before_it_runs() {
    let sandbox = configured(&["greet-cli", "fib"], "");
    let output = sandbox.run(["call", "greet-cli.run", "[[\"you\"]]", "--raw"]).expect(0);
    assert_eq!(output.stdout(), "Hello, you!\n");
    let output = sandbox.run(["call", "fib", "[30]", "--raw"]).expect(2);
    assert!(output.stderr.contains("`--raw` needs a string or `list<u8>`"), "{output:?}");
}

#[test]
fn a_call_can_print_its_status_document() {
    let sandbox = configured(&["echo"], "");
    let document = sandbox.run(["call", "echo.hello", "[\"you\"]", "--json"]).expect(0).json();
    assert_eq!((&document["status"], &document["result"]), (&json!("succeeded"), &json!("Hello, you!")));
    let document = sandbox.run(["call", "echo.fail", "[3,\"no\"]", "--json"]).expect(1).json();
    assert_eq!(document["failure"]["kind"], "returned");
    assert_eq!(document["failure"]["error"], json!({ "code": 3, "message": "no" }));
}

#[test]
fn an_interrupted_call_is_cancelled() {
    let sandbox = configured(&["faults"], "");
    let store = "sqlite:.wasm-runner/state.db";
    let mut call = sandbox.command(["call", "faults.sleep", "[600000]", "--store", store]).spawn();
    // The sandbox knows the invocation only from the store.
    let id = loop {
        let lines = sandbox.run(["list", "--json"]).expect(0).json_lines();
        if let Some(line) = lines.first() {
            break line["id"].as_str().expect("an id").parse().expect("an id");
        }
    };
    wait_for_status(&sandbox, id, Status::Running);
    call.signal(Signal::INT);
    call.wait_for_stderr("cancelling");
    let output = call.wait().expect(5);
    assert!(output.stderr.contains("failed (cancelled)"), "{output:?}");
    assert_eq!(status(&sandbox, id)["status"], "cancelled");
}

#[test]
fn start_runs_submitted_invocations() {
    let sandbox = configured(&["fib", "echo"], "");
    let ids = submit(&sandbox, &["fib", "[7]", "[8]"]);
    let summary = sandbox.run(["start", "--until-idle", "--json"]).expect(0);
    let document = summary.json();
    assert_eq!((&document["failed"], &document["slots"]), (&json!(0), &json!(2)));
    assert!(document["succeeded"].as_u64() > Some(2), "{document}");
    assert!(summary.stderr.contains(" succeeded, 0 failed; peak "), "{summary:?}");
    assert_eq!(sandbox.run(["result", &ids[0].to_string()]).expect(0).stdout(), "13\n");
    assert_eq!(sandbox.run(["result", &ids[1].to_string()]).expect(0).stdout(), "21\n");
}

#[test]
fn a_submit_stores_all_of_its_options() {
    let sandbox = configured(&["echo"], "");
    let flags = ["--priority", "-5", "--label", "a=b", "--label", "c=", "--delay", "1h", "--key", "k"];
    let id = submit(&sandbox, &[&["echo.hello", "[\"x\"]"][..], &flags].concat())[0];
    let document = status(&sandbox, id);
    assert_eq!((&document["priority"], &document["key"]), (&json!(-5), &json!("k")));
    assert_eq!(document["labels"], json!({ "a": "b", "c": "" }));
    assert_ne!(document["available_at"], document["submitted_at"]);
    let text = sandbox.run(["status", &id.to_string()]).expect(0);
    for line in ["priority:    -5", "key:         k", "label:       a=b", "arguments:   [\"x\"]"] {
        assert!(text.stdout().lines().any(|found| found == line), "{line}: {text:?}");
    }
}

#[test]
fn submit_waits_for_what_another_process_runs() {
    let sandbox = configured(&["fib", "echo"], "");
    let start = sandbox.command(["start"]).spawn();
    let output = sandbox.run(["submit", "fib", "[9]", "[4]", "--wait"]).expect(0);
    assert_eq!((output.stdout(), output.stderr.lines().count()), ("34\n3\n", 2));
    let batch = sandbox.command(["submit", "echo.hello", "--batch", "-", "--wait", "--json"]);
    let lines = batch.stdin("[\"x\"]\n\n[\"y\"]\n").run().expect(0).json_lines();
    let results: Vec<_> = lines.iter().map(|line| &line["result"]).collect();
    assert_eq!(results, ["Hello, x!", "Hello, y!"]);
    // One line for each, whatever became of it.
    let output = sandbox.run(["submit", "only-err", "[true]", "[false]", "[true]", "--wait"]).expect(1);
    assert_eq!(output.stdout(), "null\n\nnull\n", "{output:?}");
    start.signal(Signal::TERM);
    start.wait().expect(0);
}

#[test]
fn nothing_is_submitted_unless_everything_can_be() {
    let sandbox = configured(&["echo"], "");
    sandbox.write("batch.jsonl", "[\"a\"]\n\n[1]\n");
    let output = sandbox.run(["submit", "echo.hello", "--batch", "batch.jsonl"]).expect(2);
    assert!(output.stderr.contains("line 3 of `batch.jsonl`: name: expected string"), "{output:?}");
    let output = sandbox.run(["submit", "echo.hello", "[\"a\"]", "[1]"]).expect(2);
    assert!(output.stderr.contains("arguments 2: name: expected string"), "{output:?}");
    sandbox.run(["submit", "echo.hello", "-", "-"]).expect(2);
    assert!(sandbox.run(["list", "--json"]).expect(0).stdout.is_empty());
}

#[test]
fn a_key_makes_a_submit_repeatable() {
    let sandbox = configured(&["echo"], "");
    let ids: Vec<_> = (0..2).map(|_| submit(&sandbox, &["echo.hello", "[\"a\"]", "--key", "k"])).collect();
    assert_eq!(ids[0], ids[1]);
    let output = sandbox.run(["submit", "echo.hello", "[\"b\"]", "--key", "k"]).expect(2);
    assert!(output.stderr.contains(&format!("`{}` with other arguments", ids[0][0])), "{output:?}");
    sandbox.run(["submit", "echo.hello", "[\"a\"]", "[\"b\"]", "--key", "l"]).expect(2);
}

#[test]
fn the_first_signal_lets_running_work_finish() {
    let sandbox = configured(&["faults"], "");
    let running = submit(&sandbox, &["faults.sleep", "[1500]"])[0];
    let mut start = sandbox.command(["start"]).spawn();
    wait_for_status(&sandbox, running, Status::Running);
    start.signal(Signal::TERM);
    start.wait_for_stderr("draining: 1 running");
    let output = start.wait().expect(0);
    assert!(output.stderr.contains("1 succeeded, 0 failed; peak 1 of 2 slots"), "{output:?}");
    assert_eq!(status(&sandbox, running)["status"], "succeeded");
}

#[test]
fn the_second_signal_gives_running_work_back() {
    let sandbox = configured(&["faults"], "");
    let running = submit(&sandbox, &["faults.sleep", "[600000]"])[0];
    let mut start = sandbox.command(["start"]).spawn();
    wait_for_status(&sandbox, running, Status::Running);
    start.signal(Signal::INT);
    start.wait_for_stderr("draining");
    start.signal(Signal::INT);
    let output = start.wait().expect(0);
    assert!(output.stderr.contains("1 given back"), "{output:?}");
    let document = status(&sandbox, running);
    assert_eq!((&document["status"], &document["attempt"]), (&json!("queued"), &json!(0)));
}

#[test]
fn options_of_tasks_are_found_across_components() {
    let tasks = "[task.\"echo.hello\"]\nmax-attempts = 9\npriority = 4\n[task.\"faults.grow\".limits]\nmemory = \"4MiB\"\n";
    let sandbox = configured(&["echo", "faults"], tasks);
    sandbox.run(["check"]).expect(0);
    let lines = sandbox.run(["tasks", "--json"]).expect(0).json_lines();
    let task = |id: &str| lines.iter().find(|line| line["task"] == id).expect("the task");
    let hello = task("echo::hello");
    assert_eq!((&hello["max_attempts"], &hello["priority"]), (&json!(9), &json!(4)));
    assert_eq!(task("faults::demo:faults/faults@0.1.grow")["limits"]["memory_bytes"], 4 << 20);
    assert_eq!(task("faults::demo:faults/faults@0.1.abort")["max_attempts"], 3);

    let sandbox = configured(&["echo"], "[task.\"echo.helo\"]\npriority = 1\n");
    let output = sandbox.run(["check"]).expect(78);
    assert!(output.stderr.contains("wasm-runner.toml:5: `[task.\"echo.helo\"]`: unknown task"), "{output:?}");
}

#[test]
fn tasks_are_listed_with_their_types() {
    let sandbox = configured(&["echo", "fib"], "");
    let lines = sandbox.run(["tasks", "--json"]).expect(0).json_lines();
    let fib = lines.iter().find(|line| line["task"] == "fib::demo:math/fibonacci@0.1.fib").expect("the task");
    assert_eq!((&fib["component"], &fib["result"]), (&json!("fib"), &json!("u64")));
    assert_eq!(fib["function"], "demo:math/fibonacci@0.1.fib");
    assert_eq!(fib["params"], json!([{ "name": "n", "type": "u32" }]));
    let nothing =
        lines.iter().find(|line| line["task"] == "echo::demo:types/echo@0.1.nothing").expect("the task");
    assert_eq!((&nothing["params"], &nothing["result"]), (&json!([]), &json!(null)));
    let table = sandbox.run(["tasks"]).expect(0);
    assert!(table.stdout().contains("\nfib::demo:math/fibonacci@0.1.fib(n: u32) -> u64\n"), "{table:?}");
}

#[test]
fn check_finds_what_is_wrong_with_components() {
    let sandbox = configured(&["echo", "fib"], "");
    assert!(sandbox.run(["check"]).expect(0).stdout().starts_with("2 components, "));
    let document = sandbox.run(["check", "--json"]).expect(0).json();
    assert_eq!((&document["ok"], &document["components"]), (&json!(true), &json!(2)));

    let grant = "[[component.fib.directory]]\nhost = \"missing\"\nguest = \"/text\"\n";
    let output = configured(&["fib"], grant).run(["check"]).expect(78);
    assert!(output.stderr.contains("missing` that it is granted as `/text` does not exist"), "{output:?}");

    // Everything at once: no file, not a component, truncated.
    let bytes = std::fs::read(guest("fib")).expect("the guest");
    sandbox.write("text.wasm", "hello");
    sandbox.write("half.wasm", &bytes[..bytes.len() / 2]);
    sandbox.write("wasm-runner.toml", "[component.a]\npath = \"no.wasm\"\n[component.b]\npath = \"text.wasm\"\n[component.c]\npath = \"half.wasm\"\n");
    let refused: [&[&str]; 4] = [&["check"], &["tasks"], &["call", "x"], &["submit", "x"]];
    for args in refused {
        let output = sandbox.run(args).expect(78);
        for name in ["a", "b", "c"] {
            assert!(output.stderr.contains(&format!("error: component `{name}`")), "{output:?}");
        }
    }
}

#[test]
fn a_component_is_inspected_without_a_configuration() {
    let sandbox = Sandbox::new();
    let fib = guest("fib").display().to_string();
    let text = sandbox.run(["inspect", &fib]).expect(0);
    assert!(text.stdout().contains("  fib::demo:math/fibonacci@0.1.fib(n: u32) -> u64\n"), "{text:?}");
    let document = sandbox.run(["inspect", &fib, "--json"]).expect(0).json();
    assert!(document["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{document}");
    assert!(
        document["imports"]
            .as_array()
            .is_some_and(|imports| imports.iter().all(|import| import["is_provided"] == true))
    );
    let refused: Output = sandbox.run(["inspect", "no.wasm"]).expect(78);
    assert!(refused.stderr.contains("no.wasm"), "{refused:?}");
}
