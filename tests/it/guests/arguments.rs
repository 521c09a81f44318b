//! Arguments that fit, and the errors of arguments that do not.

use serde_json::json;

use super::setup::Setup;

/// Each argument is refused with exit code 2 and exactly this message.
#[track_caller]
fn refused(table: &[(&str, &str, &str)]) {
    let setup = Setup::new(&["echo"]);
    for (task, arguments, message) in table {
        let output = setup.call(task, arguments).expect(2);
        let first = output.stderr.lines().next().unwrap_or_default();
        assert_eq!(first, format!("error: {message}"), "{task} {arguments}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn wrong_types_are_named_with_their_path() {
    refused(&[
        (
            "echo-points",
            r#"[[{"x":1,"y":1},{"x":1,"y":1},{"x":1,"y":1},{"x":"one","y":1}]]"#,
            "value[3].x: expected f64, found string",
        ),
        ("echo-u8", r#"["7"]"#, "value: expected u8, found string"),
        ("echo-u8", "[256]", "value: expected u8, found 256"),
        ("echo-u8", "[-1]", "value: expected u8, found -1"),
        ("echo-u8", "[1.5]", "value: expected u8, found 1.5"),
        ("echo-u8", "[null]", "value: expected u8, found null"),
        ("echo-u64", "[18446744073709551616]", "value: expected u64, found 1.8446744073709552e19"),
        ("echo-bool", "[0]", "value: expected bool, found number"),
        ("echo-string", "[[]]", "value: expected string, found array"),
        ("echo-char", r#"["ab"]"#, "value: expected char, found a string of 2 characters"),
        ("echo-char", r#"[""]"#, "value: expected char, found an empty string"),
        ("echo-tuple", r#"[[1, "a"]]"#, "value: expected tuple<u8, string, bool>, found an array of 2"),
    ]);
}

#[test]
fn unknown_names_come_with_the_known_ones() {
    let setup = Setup::new(&["echo"]);
    for (task, arguments, says) in [
        ("echo-suit", r#"["red-heart"]"#, &["value: unknown case `red-heart`", "`red-hearts`"][..]),
        ("echo-shape", r#"[{"circel": 1}]"#, &["`circel`", "`circle`"]),
        ("echo-permissions", r#"[["raed"]]"#, &["value[0]", "`raed`", "`read`"]),
        ("echo-point", r#"[{"x":1,"y":2,"z":3}]"#, &["unknown field `z`", "`x`", "`y`"]),
        ("echo-point", r#"[{"x":1}]"#, &["missing field `y` (f64)"]),
        (
            "join-words",
            r#"{"first-word":"a","second-wrod":"b"}"#,
            &["unknown parameter `second-wrod`", "`second-word`"],
        ),
        ("join-words", r#"{"first-word":"a"}"#, &["missing parameter `second-word` (string)"]),
        ("join-words", r#"{"first-word":"a","first_word":"b"}"#, &["`first-word` is given twice"]),
    ] {
        let output = setup.call(task, arguments).expect(2);
        for text in says {
            assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
        }
    }
}

#[test]
fn the_number_of_arguments_is_checked() {
    refused(&[
        ("echo-u8", "[]", "expected 1 argument, found 0; the parameters are (value: u8)"),
        ("echo-u8", "[1, 2]", "expected 1 argument, found 2; the parameters are (value: u8)"),
        ("demo:types/echo.nothing", "[1]", "expected 0 arguments, found 1; the task has no parameters"),
        (
            "join-words",
            r#"["a"]"#,
            "expected 3 arguments, found 1; the parameters are (first-word: string, second-word: string, separator: option<string>)",
        ),
    ]);
}

#[test]
fn arguments_go_by_position_or_by_name_and_options_may_be_left_out() {
    let setup = Setup::new(&["echo"]);
    for (arguments, value) in [
        (r#"["a", "b"]"#, "a b"),
        (r#"["a", "b", null]"#, "a b"),
        (r#"["a", "b", "-"]"#, "a-b"),
        (r#"{"second-word": "b", "first-word": "a"}"#, "a b"),
        (r#"{"second_word": "b", "first_word": "a", "separator": "+"}"#, "a+b"),
    ] {
        assert_eq!(setup.value("join-words", arguments), value, "{arguments}");
    }
}

#[test]
fn arguments_that_are_not_json_are_refused() {
    let setup = Setup::new(&["echo"]);
    for arguments in ["[1", "{", "[1] x", "", "7", "\"a\"", "[01]", "{'a': 1}", "@no-such-file"] {
        let output = setup.call("echo-u8", arguments).expect(2);
        assert!(output.stderr.starts_with("error: "), "{arguments}: {output:?}");
    }
}

#[test]
fn a_thousand_levels_of_json_are_refused() {
    let setup = Setup::new(&["echo"]);
    for text in [
        format!("[{}{}]", "[".repeat(1_000), "]".repeat(1_000)),
        format!("[{}1{}]", "{\"some\":".repeat(1_000), "}".repeat(1_000)),
        "[".repeat(100_000),
    ] {
        let file = setup.sandbox.write("deep.json", &text);
        for task in ["echo-nested-option", "echo-strings", "echo-u8"] {
            let output = setup.call(task, &format!("@{}", file.display())).expect(2);
            assert!(output.stderr.starts_with("error: "), "{output:?}");
            assert!(output.stderr.len() < 2_000, "a message, not the input: {}", output.stderr.len());
        }
    }
}

#[test]
fn twenty_megabytes_of_argument_are_fine() {
    let setup = Setup::new(&["echo"]);
    let text = "0123456789abcdef".repeat(20_000_000 / 16);
    setup.sandbox.write("big.json", json!([text]).to_string());
    let output = setup.run(["call", "--raw", "echo-string", "@big.json"]).expect(0);
    assert!(output.stdout == text.as_bytes(), "{} bytes", output.stdout.len());
    // The same from standard input, through the store.
    let output =
        setup.command(["submit", "echo-string", "-"]).stdin(json!([text]).to_string()).run().expect(0);
    setup.run_all();
    let output = setup.run(["result", "--raw", output.stdout().trim()]).expect(0);
    assert!(output.stdout == text.as_bytes(), "{} bytes", output.stdout.len());
}

#[test]
fn ten_megabytes_of_bytes_are_fine_and_too_many_name_their_limit() {
    // In the host each of them is a value of 40 bytes, as an argument and as a result.
    let setup = Setup::with(&["echo"], "[component.echo.limits]\nhost-memory = \"1GiB\"\n");
    // Every three bytes are four characters of base64.
    let arguments = |bytes: usize| format!(r#"[{{"$base64": "{}"}}]"#, "AAEC".repeat(bytes / 3));
    setup.sandbox.write("big.json", arguments(9_999_999));
    let output = setup.run(["call", "--raw", "echo-bytes", "@big.json"]).expect(0);
    assert_eq!(output.stdout.len(), 9_999_999);
    assert!(output.stdout.chunks(3).all(|chunk| chunk == [0, 1, 2]));
    setup.sandbox.write("big.json", arguments(24_000_000));
    let failed = setup.failure("echo-bytes", "@big.json", 4, "limit-exceeded");
    failed.says(&["handed more to the host in one call", "each element of a list counts as"]);
    assert_eq!(failed.failure["limit"], "host-memory");
    // By default there is room for a part of that: here not even for the arguments.
    setup.configure(&["echo"], "");
    setup.sandbox.write("big.json", arguments(9_999_999));
    let failed = setup.failure("echo-bytes", "@big.json", 4, "limit-exceeded");
    failed.says(&["wanted the runner to hold", "more than its limit of 134217728"]);
}

#[test]
fn an_unknown_task_comes_with_candidates() {
    let setup = Setup::new(&["echo", "fib"]);
    let output = setup.call("echo-boool", "[true]").expect(2);
    assert!(output.stderr.contains("unknown task `echo-boool`"), "{output:?}");
    assert!(output.stderr.contains("`echo::demo:types/echo@0.1.echo-bool`"), "{output:?}");
    assert!(output.stderr.contains("hint: "), "{output:?}");
    let output = setup.run(["submit", "fibb", "[1]"]).expect(2);
    assert!(output.stderr.contains("`fib::demo:math/fibonacci@0.1.fib`"), "{output:?}");
}

#[test]
fn an_ambiguous_short_form_lists_what_it_could_mean() {
    let setup = Setup::new(&["echo", "faults", "workflow"]);
    let output = setup.call("nothing", "[]").expect(2);
    for candidate in [
        "echo::demo:types/echo@0.1.nothing",
        "faults::demo:faults/faults@0.1.nothing",
        "workflow::demo:workflow/basics@0.1.nothing",
    ] {
        assert!(output.stderr.contains(&format!("`{candidate}`")), "{output:?}");
    }
    setup.call("basics.nothing", "[]").expect(0);
    for form in [
        "demo:workflow/basics.nothing",
        "demo:workflow/basics@0.1.0.nothing",
        "demo:workflow/basics@0.1.nothing",
        "workflow::nothing",
        "workflow.nothing",
        "workflow::demo:workflow/basics@0.1.nothing",
    ] {
        setup.call(form, "[]").expect(0);
    }
}

#[test]
fn a_bad_line_of_a_batch_is_named_and_nothing_is_submitted() {
    let setup = Setup::new(&["echo"]);
    setup.sandbox.write("batch.jsonl", "[1]\n\n[2]\n[\"three\"]\n[4]\n");
    let output = setup.run(["submit", "echo-u8", "--batch", "batch.jsonl"]).expect(2);
    assert!(
        output.stderr.contains("line 4 of `batch.jsonl`: value: expected u8, found string"),
        "{output:?}"
    );
    assert!(output.stdout.is_empty());
    assert!(setup.run(["list", "--json"]).expect(0).stdout.is_empty(), "nothing was submitted");
    setup.sandbox.write("batch.jsonl", "[1]\n\n[2]\n{\"value\": 3}\r\n");
    let output = setup.run(["submit", "echo-u8", "--batch", "batch.jsonl"]).expect(0);
    assert_eq!(output.stdout().lines().count(), 3);
}
