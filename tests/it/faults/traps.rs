//! Traps, panics and exits end one attempt and say why; nothing else suffers.

use serde_json::json;

use crate::guests::setup::Setup;

#[test]
fn a_panic_fails_with_its_text() {
    let failed = Setup::new(&["faults"]).failure("faults.panic", r#"["the moon is full"]"#, 3, "trapped");
    failed.says(&["the guest panicked", "the moon is full"]);
}

#[test]
fn a_trap_names_the_guests_functions() {
    let failed = Setup::new(&["faults"]).failure("faults.unreachable", "[]", 3, "trapped");
    failed.says(&["unreachable"]);
    let backtrace = failed.failure["backtrace"].as_array().expect("a backtrace");
    assert!(backtrace.iter().any(|frame| frame.as_str().is_some_and(|frame| frame.contains("unreachable"))));
}

#[test]
fn an_abort_is_a_trap() {
    Setup::new(&["faults"]).failure("faults.abort", "[]", 3, "trapped").says(&["unreachable"]);
}

#[test]
fn an_exit_in_the_middle_of_a_call_is_a_failure_whatever_its_code() {
    let setup = Setup::new(&["faults"]);
    let failed = setup.failure("faults.exit", "[3]", 3, "trapped");
    failed.says(&["exited with code 1"]);
    assert_eq!(failed.failure["exit_code"], 1);
    let failed = setup.failure("faults.exit", "[0]", 3, "trapped");
    failed.says(&["exited with code 0 before it returned a value"]);
    assert_eq!(failed.failure["exit_code"], 0);
}

#[test]
fn division_by_zero_and_overflow_are_traps() {
    let setup = Setup::new(&["faults"]);
    setup.failure("faults.divide", "[1, 0]", 3, "trapped").says(&["attempt to divide by zero"]);
    setup.failure("faults.divide", "[-2147483648, -1]", 3, "trapped").says(&["overflow"]);
    assert_eq!(setup.value("faults.divide", "[-2147483648, 2]"), -1_073_741_824);
}

#[test]
fn a_read_outside_of_the_memory_is_a_trap() {
    let failed = Setup::new(&["faults"]).failure("faults.out-of-bounds", "[]", 3, "trapped");
    failed.says(&["outside its memory"]);
}

#[test]
fn too_deep_a_recursion_is_a_trap_that_says_so() {
    let setup = Setup::new(&["faults"]);
    assert_eq!(setup.call("faults.recurse", "[100]").expect(0).json(), 100);
    setup.failure("faults.recurse", "[100000000]", 3, "trapped").says(&["recursion"]);
}

#[test]
fn a_trap_at_start_is_a_failure_of_the_attempt() {
    let failed = Setup::new(&["trap-at-start"]).failure("trap-at-start.nothing", "[]", 3, "trapped");
    failed.says(&["unreachable"]);
}

#[test]
fn invalid_strings_pointers_lengths_and_characters_are_traps() {
    let setup = Setup::new(&["bad-values"]);
    for (function, says) in [
        ("not-utf8", "utf-8"),
        ("far-away", "out of bounds"),
        ("too-long", "out of bounds"),
        ("no-char", "char"),
    ] {
        setup.failure(&format!("bad-values.{function}"), "[]", 3, "trapped").says(&[says]);
    }
}

/// Every fault in one runner with a single slot, each followed by work that has
/// to succeed.
#[test]
fn a_runner_goes_on_after_every_fault() {
    let setup = Setup::with(
        &["faults", "echo", "spin-at-start", "trap-at-start", "huge-minimum", "bad-values", "greet-cli"],
        "[component.faults.limits]\ntime = \"500ms\"\nmemory = \"32MiB\"\nresult = \"1MiB\"\n\
         [component.spin-at-start.limits]\ntime = \"100ms\"\n",
    );
    let faults = [
        ("faults.spin", "[]", "timed-out"),
        ("faults.sleep", "[60000]", "timed-out"),
        ("faults.grow", "[64]", "limit-exceeded"),
        ("faults.huge-result", "[2]", "limit-exceeded"),
        ("faults.recurse", "[100000000]", "trapped"),
        ("faults.panic", r#"["boo"]"#, "trapped"),
        ("faults.abort", "[]", "trapped"),
        ("faults.exit", "[0]", "trapped"),
        ("faults.exit", "[1]", "trapped"),
        ("faults.unreachable", "[]", "trapped"),
        ("faults.divide", "[1, 0]", "trapped"),
        ("faults.out-of-bounds", "[]", "trapped"),
        ("faults.grow-politely", "[64]", "returned"),
        ("spin-at-start.nothing", "[]", "timed-out"),
        ("trap-at-start.nothing", "[]", "trapped"),
        ("huge-minimum.nothing", "[]", "limit-exceeded"),
        ("bad-values.not-utf8", "[]", "trapped"),
        ("bad-values.far-away", "[]", "trapped"),
        ("greet-cli.run", r#"[["--exit", "3"]]"#, "trapped"),
        ("greet-cli.run", r#"[["--panic"]]"#, "trapped"),
    ];
    let submitted: Vec<_> = faults
        .iter()
        .enumerate()
        .map(|(index, (task, arguments, kind))| {
            let fault = setup.submit(task, arguments);
            let good = setup.submit("echo.echo-u32", &format!("[{index}]"));
            (task, kind, fault, good)
        })
        .collect();
    setup.run(["start", "--until-idle", "--slots", "1"]).expect(0);
    for (index, (task, kind, fault, good)) in submitted.iter().enumerate() {
        let fault = setup.status(fault);
        assert_eq!((&fault["status"], &fault["failure"]["kind"]), (&json!("failed"), &json!(kind)), "{task}");
        assert_eq!(fault["attempt"], 1, "{task}: a guest's failure is not retried");
        let good = setup.status(good);
        assert_eq!((&good["status"], &good["result"]), (&json!("succeeded"), &json!(index)), "after {task}");
    }
}
