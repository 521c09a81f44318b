//! Limits that a guest meets as an error value; if the guest does not continue, its failure
//! names the limit.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::guests::setup::Setup;

/// The component `grants` with a directory `/data` to write to.
fn with_data(more: &str) -> Setup {
    let directory =
        "[[component.grants.directory]]\nhost = \"data\"\nguest = \"/data\"\naccess = \"read-write\"\n";
    let setup = Setup::with(&["grants", "faults"], &format!("{directory}{more}"));
    std::fs::create_dir(setup.path().join("data")).expect("a directory");
    setup
}

/// Reads the error that a task returned.
#[track_caller]
fn error(setup: &Setup, task: &str, arguments: &Value) -> String {
    let failed = setup.failure(task, &arguments.to_string(), 1, "returned");
    failed.failure["error"].as_str().expect("a text").to_owned()
}

#[test]
fn processor_time_has_its_own_limit() {
    let setup = Setup::with(&["faults"], "[component.faults.limits]\ncpu = \"200ms\"\n");
    setup.run(["check"]).expect(0);
    let began = Instant::now();
    let failed = setup.failure("faults.spin", "[]", 4, "limit-exceeded");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "it is not `time` that ended it: {:?}",
        began.elapsed()
    );
    failed.says(&["more than its limit of 200ms of processor time"]);
    assert_eq!(failed.failure["limit"], "cpu");
    assert!(failed.stderr.contains("raise `cpu`"), "{}", failed.stderr);
    // Sleeping is not computing.
    assert_eq!(setup.value("faults.sleep", "[600]"), Value::Null);
}

#[test]
fn a_flood_of_open_files_is_refused() {
    let setup = with_data("[component.grants.limits]\nfiles = 20\n");
    let error = error(&setup, "open-many", &json!(["/data", 1_000]));
    // The granted directory itself does not count.
    assert!(error.starts_with("after 20: "), "{error}");
    assert_eq!(std::fs::read_dir(setup.path().join("data")).expect("it is there").count(), 20);
    // What is closed is open no more, a thousand times over.
    assert_eq!(setup.value("create-many", r#"["/data", 1000]"#), 1_000);
    // The attempt that goes on after a refusal fails as it likes; one that does not, fails of the limit.
    let failed = setup.failure("open-many-or-abort", r#"["/data", 1000]"#, 4, "limit-exceeded");
    failed.says(&["more than its limit of 20 open files, and then trapped"]);
    assert_eq!(failed.failure["limit"], "files");
}

/// The limit on the size of files that a shell sets sends a signal whose usual effect is the end of the process.
#[test]
fn a_file_beyond_the_limit_of_the_process_is_an_error_of_the_guest_alone() {
    let setup = with_data("");
    setup.run(["check"]).expect(0);
    let large = setup.submit("grants.fill", r#"["/data/large", 12000]"#);
    let small = setup.submit("grants.fill", r#"["/data/small", 100]"#);
    let script = r#"ulimit -S -f 20000; exec "$0" "$@""#;
    setup.command(["start", "--until-idle"]).through(script).run().expect(0);
    assert_eq!(setup.status(&small)["status"], "succeeded");
    let status = setup.status(&large);
    assert_eq!(status["failure"]["kind"], "returned", "{status}");
    let error = status["failure"]["error"].as_str().expect("a text");
    assert!(error.starts_with("after 10000 KiB: ") || error.starts_with("after 99"), "{error}");
}

#[test]
fn a_flood_of_open_files_leaves_a_neighbour_alone() {
    let setup = with_data("");
    let flood = setup.submit("open-many", r#"["/data", 5000]"#);
    let good = setup.submit("faults.spin-ms", "[50]");
    setup.run(["start", "--until-idle", "--slots", "2"]).expect(0);
    let flood = setup.status(&flood);
    assert!(
        flood["failure"]["error"].as_str().is_some_and(|error| error.starts_with("after 256: ")),
        "{flood}"
    );
    assert_eq!(setup.status(&good)["status"], "succeeded");
}

#[test]
fn children_beyond_the_limit_are_refused() {
    let setup = Setup::with(
        &["grants", "faults"],
        "[component.faults.limits]\nchildren = 10\n\
         [component.grants.limits]\nchildren = 10\n",
    );
    // The guest counts what was accepted.
    assert_eq!(setup.value("faults.flood", "[1000]"), 10);
    let failed = setup.failure("children-or-abort", "[11]", 4, "limit-exceeded");
    failed.says(&["the guest wanted 11 children, more than its limit of 10, and then trapped"]);
    assert_eq!(failed.failure["limit"], "children");
    assert_eq!(setup.value("children-or-abort", "[10]"), 10);
    setup.configure(&["faults"], "[component.faults.limits]\nchildren = 0\n");
    assert_eq!(setup.value("faults.flood", "[1000]"), 0);
}

#[test]
fn a_typed_call_beyond_the_limit_ends_its_caller_and_names_the_limit() {
    let setup = Setup::with(&["calculator", "adder"], "[component.calculator.limits]\nchildren = 0\n");
    let tasks = setup.run(["tasks", "--json"]).expect(0).stdout().to_owned();
    assert!(tasks.contains("\"children\":0"), "{tasks}");
    let failed = setup.failure("demo:calculator/calculate.total", "[[1, 2]]", 4, "limit-exceeded");
    failed.says(&["was refused", "more than its limit of 0"]);
    assert_eq!(failed.failure["limit"], "children");
}

#[test]
fn large_arguments_are_refused_before_anything_is_submitted() {
    let setup = Setup::with(&["grants"], "[component.grants.limits]\narguments = \"10KiB\"\n");
    let large = format!("[\"{}\"]", "x".repeat(11 << 10));
    for command in ["submit", "call"] {
        let output = setup.run([command, "grants.takes", &large]).expect(2);
        for word in ["more than the limit of 10240", "`arguments`", "grants::demo:grants/grants@0.1.takes"] {
            assert!(output.stderr.contains(word), "`{word}` is not in: {}", output.stderr);
        }
    }
    assert!(setup.run(["list", "--json"]).stdout().is_empty(), "nothing is there");
    let error = error(&setup, "large-argument", &json!([11]));
    assert!(error.contains("Limit") && error.contains("more than the limit of 10240"), "{error}");
    assert_eq!(setup.value("large-argument", "[9]"), Value::Null);
    // Through a typed import there is no error to get.
    let adder = "[component.adder.limits]\narguments = \"4\"\n";
    let setup = Setup::with(&["calculator", "adder"], adder);
    let failed = setup.failure("demo:calculator/calculate.total", "[[1, 2]]", 4, "limit-exceeded");
    failed.says(&["was refused", "more than the limit of 4 (`arguments`)"]);
    assert_eq!(failed.failure["limit"], "arguments");
    assert!(failed.stderr.contains("raise `arguments`"), "{}", failed.stderr);
}

#[test]
fn a_flood_of_large_arguments_leaves_a_neighbour_alone() {
    // The guest makes several copies before the runner sees any.
    let setup = Setup::with(&["grants", "faults"], "[component.grants.limits]\nmemory = \"1GiB\"\n");
    let flood = setup.submit("large-argument", &json!([65 << 10]).to_string());
    let good = setup.submit("faults.spin-ms", "[50]");
    setup.run(["start", "--until-idle", "--slots", "2"]).expect(0);
    let flood = setup.status(&flood);
    assert!(flood["failure"]["error"].as_str().is_some_and(|error| error.contains("67108864")), "{flood}");
    assert_eq!(setup.status(&good)["status"], "succeeded");
}

#[test]
fn bytes_of_files_stop_exactly_at_their_limit() {
    let directory = "[[component.workflow.directory]]\nhost = \"data\"\nguest = \"/data\"\n";
    let setup = with_data("");
    setup.sandbox.write("data/there", "x".repeat(3_000));
    let configure = |setup: &Setup, bytes: u32| {
        let limits = format!("[component.workflow.limits]\nfile-bytes = \"{bytes}\"\n");
        setup.configure(&["workflow"], &format!("{directory}{limits}"));
    };
    configure(&setup, 3_000);
    assert_eq!(setup.value("read-text", r#"["/data/there"]"#).as_str().map(str::len), Some(3_000));
    for bytes in [2_999, 0] {
        configure(&setup, bytes);
        setup.failure("read-text", r#"["/data/there"]"#, 1, "returned");
    }
    let setup = with_data("[component.grants.limits]\nfile-bytes = \"100KiB\"\n");
    let over = error(&setup, "fill", &json!(["/data/new", 1_000]));
    assert!(over.starts_with("after 100 KiB: "), "{over}");
    assert_eq!(std::fs::metadata(setup.path().join("data/new")).expect("it is there").len(), 100 << 10);
    let failed = setup.failure("fill-and-spin", r#"["/data/new", 101]"#, 4, "limit-exceeded");
    failed.says(&["more than its limit of 102400 bytes of files, and then trapped"]);
    assert_eq!(failed.failure["limit"], "file-bytes");
    assert!(failed.stderr.contains("raise `file-bytes`"), "{}", failed.stderr);
}

#[test]
fn bytes_read_and_written_are_billed() {
    let setup = with_data("");
    setup.sandbox.write("data/there", "x".repeat(3_000));
    let bill = |task: &str, arguments: &str| {
        let id = setup.submit(task, arguments);
        setup.run_all();
        let status = setup.status(&id);
        assert_eq!(status["status"], "succeeded", "{status}");
        (status["usage"]["read_bytes"].clone(), status["usage"]["written_bytes"].clone())
    };
    assert_eq!(bill("fill", r#"["/data/new", 300]"#), (json!(0), json!(300 << 10)));
    assert_eq!(bill("names", r#"["/data"]"#), (json!(0), json!(0)), "names are no contents");
    setup.configure(&["workflow"], "[[component.workflow.directory]]\nhost = \"data\"\nguest = \"/data\"\n");
    assert_eq!(bill("read-text", r#"["/data/there"]"#), (json!(3_000), json!(0)));
}
