//! The output of guests: it is kept within bounds, and can harm no terminal.

use crate::guests::setup::Setup;

/// The number in `N more bytes were dropped`.
#[track_caller]
fn dropped(text: &str) -> usize {
    let line = text.lines().rev().find(|line| line.contains("more bytes were dropped")).expect("a note");
    let number = line.split(' ').find_map(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn a_hundred_megabytes_of_output_are_cut_and_the_rest_is_counted() {
    let setup = Setup::new(&["faults"]);
    let output = setup.call("faults.huge-output", "[100]").expect(0);
    assert_eq!(output.stdout(), "null\n");
    let kept = output.stderr.lines().filter(|line| line.starts_with("xxx")).map(|line| line.len() + 1);
    let kept: usize = kept.sum();
    assert!(kept <= (1 << 20) + 1, "{kept}");
    assert_eq!(dropped(&output.stderr) + (1 << 20), 100 << 20);
}

#[test]
fn standard_error_is_bounded_as_well() {
    let setup = Setup::with(&["faults"], "[component.faults.limits]\nlogs = \"10KB\"\n");
    let id = setup.submit("faults.huge-stderr", "[3]");
    setup.run_all();
    assert_eq!(setup.status(&id)["status"], "succeeded");
    let logs = setup.run(["logs", &id]).expect(0);
    assert_eq!(dropped(logs.stdout()) + 10_000, 3 << 20);
    assert!(logs.stdout.len() < 12_000, "{}", logs.stdout.len());
}

#[test]
fn log_lines_are_bounded_in_bytes_and_number() {
    let setup = Setup::with(&["faults"], "[component.faults.limits]\nlogs = \"10KB\"\n");
    let id = setup.submit("faults.huge-log", "[5000]");
    setup.run_all();
    let logs = setup.run(["logs", &id]).expect(0);
    let lines = logs.stdout().lines().count();
    assert!((5..=20).contains(&lines), "{lines} lines of about a thousand bytes in ten thousand");
    assert!(dropped(logs.stdout()) > 4_900_000, "{}", logs.stdout());
}

#[test]
fn terminal_escapes_are_made_harmless_everywhere() {
    let setup = Setup::new(&["faults"]);
    let harmful = |c: char| c != '\n' && c != '\t' && c.is_control();
    let called = setup.call("faults.escape-codes", "[]").expect(0);
    assert!(called.stderr.contains("red") && !called.stderr.contains(harmful), "{:?}", called.stderr);
    let id = setup.submit("faults.escape-codes", "[]");
    setup.run_all();
    let logs = setup.run(["logs", &id]).expect(0);
    assert_eq!(logs.stdout().matches("owned").count(), 3, "both streams and the log: {}", logs.stdout());
    assert!(!logs.stdout().contains(harmful), "{:?}", logs.stdout());
    for line in setup.run(["logs", &id, "--json"]).expect(0).json_lines() {
        let text = line["text"].as_str().expect("each line has its text");
        assert!(!text.contains(harmful), "{text:?}");
    }
}

#[test]
fn a_panic_with_escapes_is_made_harmless() {
    let setup = Setup::new(&["faults"]);
    let failed = setup.failure("faults.panic", r#"["\u001b[2Jgone\u0007"]"#, 3, "trapped");
    failed.says(&["gone"]);
    assert!(!failed.message.contains(['\u{1b}', '\u{7}']), "{:?}", failed.message);
    assert!(!failed.stderr.contains(['\u{1b}', '\u{7}']), "{:?}", failed.stderr);
}

#[test]
fn output_that_is_not_text_is_kept_as_replacement_characters() {
    let setup = Setup::new(&["faults"]);
    let output = setup.call("faults.binary-output", "[]").expect(0);
    assert!(output.stderr.contains("a\u{fffd}\u{fffd}\u{fffd}(z"), "{:?}", output.stderr);
}
