//! Every WIT type there and back, as JSON, through `call`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::setup::Setup;

/// Runs each `(function, argument)` in one runner and compares its value, as
/// text: a number keeps its digits or doesn't.
#[track_caller]
fn echoes(table: &[(&str, &str, &str)]) {
    let setup = Setup::new(&["echo"]);
    let mut by_function: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for (function, argument, value) in table {
        by_function.entry(function).or_default().push((argument, value));
    }
    let mut submitted = Vec::new();
    for (function, rows) in by_function {
        let mut args = vec!["submit".to_owned(), format!("demo:types/echo.{function}")];
        args.extend(rows.iter().map(|(argument, _)| format!("[{argument}]")));
        let output = setup.run(args).expect(0);
        let ids: Vec<_> = output.stdout().lines().map(str::to_owned).collect();
        assert_eq!(ids.len(), rows.len());
        submitted.extend(ids.into_iter().zip(rows).map(|(id, row)| (id, function, row)));
    }
    setup.run_all();
    for (id, function, (argument, value)) in submitted {
        let result = setup.run(["result", &id]).expect(0);
        assert_eq!(result.stdout(), format!("{value}\n"), "{function} of {argument}");
    }
}

#[test]
fn integers_keep_all_their_digits() {
    echoes(&[
        ("echo-u8", "0", "0"),
        ("echo-u8", "255", "255"),
        ("echo-s8", "-128", "-128"),
        ("echo-u16", "65535", "65535"),
        ("echo-s16", "-32768", "-32768"),
        ("echo-u32", "4294967295", "4294967295"),
        ("echo-s32", "-2147483648", "-2147483648"),
        ("echo-u64", "18446744073709551615", "18446744073709551615"),
        ("echo-u64", "9007199254740993", "9007199254740993"),
        ("echo-s64", "-9223372036854775808", "-9223372036854775808"),
        ("echo-s64", "9223372036854775807", "9223372036854775807"),
    ]);
}

#[test]
fn floats_are_exact_and_may_be_special() {
    echoes(&[
        ("echo-f64", "0.1", "0.1"),
        ("echo-f64", "1", "1.0"),
        ("echo-f64", "5e-324", "5e-324"),
        ("echo-f64", "1.7976931348623157e308", "1.7976931348623157e308"),
        ("echo-f64", "\"NaN\"", "\"NaN\""),
        ("echo-f64", "\"Infinity\"", "\"Infinity\""),
        ("echo-f64", "\"-Infinity\"", "\"-Infinity\""),
        ("echo-f32", "0.1", "0.1"),
        ("echo-f32", "\"NaN\"", "\"NaN\""),
        ("echo-f32", "\"-Infinity\"", "\"-Infinity\""),
    ]);
}

#[test]
fn booleans_characters_and_strings_are_themselves() {
    echoes(&[
        ("echo-bool", "true", "true"),
        ("echo-bool", "false", "false"),
        ("echo-char", "\"x\"", "\"x\""),
        ("echo-char", "\"\u{1f980}\"", "\"\u{1f980}\""),
        ("echo-char", "\"\\u20ac\"", "\"\u{20ac}\""),
        ("echo-string", "\"\"", "\"\""),
        (
            "echo-string",
            "\"quote \\\" slash \\\\ line\\n nul \\u0000\"",
            "\"quote \\\" slash \\\\ line\\n nul \\u0000\"",
        ),
        ("echo-string", "\"\u{4e16}\u{754c} \u{1f30d}\"", "\"\u{4e16}\u{754c} \u{1f30d}\""),
    ]);
}

#[test]
fn lists_tuples_and_records_nest() {
    echoes(&[
        ("echo-strings", r#"["a","b"]"#, r#"["a","b"]"#),
        ("echo-strings", "[]", "[]"),
        ("echo-tuple", r#"[1,"two",true]"#, r#"[1,"two",true]"#),
        ("echo-point", r#"{"y":2,"x":1}"#, r#"{"x":1.0,"y":2.0}"#),
        ("echo-points", r#"[{"x":0.5,"y":-1.5}]"#, r#"[{"x":0.5,"y":-1.5}]"#),
        (
            "echo-line-segment",
            r#"{"start-point":{"x":0,"y":0},"end-point":{"x":1,"y":1},"line-name":"l"}"#,
            r#"{"start-point":{"x":0.0,"y":0.0},"end-point":{"x":1.0,"y":1.0},"line-name":"l"}"#,
        ),
        // snake_case is accepted; an option may be left out.
        (
            "echo-line-segment",
            r#"{"start_point":{"x":0,"y":0},"end_point":{"x":1,"y":1}}"#,
            r#"{"start-point":{"x":0.0,"y":0.0},"end-point":{"x":1.0,"y":1.0},"line-name":null}"#,
        ),
    ]);
}

#[test]
fn bytes_are_an_array_or_base64() {
    echoes(&[
        ("echo-bytes", "[0,127,255]", "[0,127,255]"),
        ("echo-bytes", r#"{"$base64":"AH//"}"#, "[0,127,255]"),
        ("echo-bytes", r#"{"$base64":""}"#, "[]"),
    ]);
}

#[test]
fn variants_enums_and_flags_go_by_name() {
    echoes(&[
        ("echo-shape", r#""nothing""#, r#""nothing""#),
        ("echo-shape", r#"{"circle":2.5}"#, r#"{"circle":2.5}"#),
        ("echo-shape", r#"{"polygon":[{"x":1,"y":2}]}"#, r#"{"polygon":[{"x":1.0,"y":2.0}]}"#),
        ("echo-suit", r#""red-hearts""#, r#""red-hearts""#),
        ("echo-suit", r#""red_hearts""#, r#""red-hearts""#),
        ("echo-permissions", "[]", "[]"),
        ("echo-permissions", r#"["run-all","read"]"#, r#"["read","run-all"]"#),
    ]);
}

#[test]
fn options_and_results_say_which_they_are() {
    echoes(&[
        ("echo-option", "null", "null"),
        ("echo-option", "7", "7"),
        ("echo-nested-option", "null", "null"),
        ("echo-nested-option", r#"{"some":null}"#, r#"{"some":null}"#),
        ("echo-nested-option", r#"{"some":3}"#, r#"{"some":3}"#),
        ("echo-result", r#"{"ok":1}"#, r#"[{"ok":1}]"#),
        ("echo-result", r#"{"err":"no"}"#, r#"[{"err":"no"}]"#),
        ("echo-empty-result", r#"{"ok":null}"#, r#"[{"ok":null}]"#),
        ("echo-empty-result", r#"{"err":null}"#, r#"[{"err":null}]"#),
    ]);
}

#[test]
fn everything_at_once_comes_back_as_it_went() {
    let everything = json!({
        "a-bool": true, "an-u8": 1, "an-u16": 2, "an-u32": 3, "an-u64": u64::MAX,
        "an-s8": -1, "an-s16": -2, "an-s32": -3, "an-s64": i64::MIN,
        "an-f32": 0.5, "an-f64": "NaN", "a-char": "\u{df}", "a-string": "s", "bytes": [1, 2],
        "strings": ["a"],
        "segment": {"start-point": {"x": 0.0, "y": 1.0}, "end-point": {"x": 2.0, "y": 3.0}, "line-name": null},
        "a-tuple": [9, "t", false], "a-shape": {"circle": 1.5}, "a-suit": "spades",
        "granted": ["write"], "an-option": null, "a-nested-option": {"some": null},
        "a-result": {"err": "e"},
    });
    assert_eq!(Setup::new(&["echo"]).value("echo.all", &json!([everything]).to_string()), everything);
}

#[test]
fn a_function_without_a_result_has_the_value_null() {
    let setup = Setup::new(&["echo"]);
    assert_eq!(setup.call("demo:types/echo.nothing", "[]").expect(0).stdout(), "null\n");
    assert_eq!(setup.run(["call", "echo-u8", "[3]"]).expect(0).stdout(), "3\n");
}

#[test]
fn a_function_at_the_root_is_called_by_the_name_of_its_component() {
    let setup = Setup::new(&["echo"]);
    assert_eq!(setup.value("echo.hello", r#"["you"]"#), "Hello, you!");
    assert_eq!(setup.value("hello", r#"{"name": "you"}"#), "Hello, you!");
    let args = ["--component", &format!("other={}", crate::support::guests::guest("echo").display())];
    let output = crate::support::cli::Sandbox::new()
        .command(args.into_iter().chain(["call", "other.hello", r#"["x"]"#]))
        .env("WASM_RUNNER_CACHE_DIR", crate::support::guests::shared_cache())
        .run();
    assert_eq!(output.expect(0).json(), "Hello, x!");
}

#[test]
fn the_err_of_a_result_is_a_failure_with_that_error() {
    let setup = Setup::new(&["echo"]);
    assert_eq!(setup.value("echo.fail", r#"[0, "fine"]"#), "fine");
    let failed = setup.failure("echo.fail", r#"[7, "bad luck"]"#, 1, "returned");
    assert_eq!(failed.failure["error"], json!({"code": 7, "message": "bad luck"}));
    assert!(failed.stderr.contains(r#"{"code":7,"message":"bad luck"}"#), "{}", failed.stderr);
    let plain = setup.call("echo.fail", r#"[7, "bad luck"]"#).expect(1);
    assert!(plain.stdout.is_empty(), "{plain:?}");
    assert!(plain.stderr.contains(r#"{"code":7,"message":"bad luck"}"#), "{plain:?}");
}

#[test]
fn results_without_payloads_are_null() {
    let setup = Setup::new(&["echo"]);
    assert_eq!(setup.value("echo.check", "[true]"), Value::Null);
    assert_eq!(setup.value("only-ok", "[true]"), 1);
    assert_eq!(setup.value("only-err", "[true]"), Value::Null);
    for (task, error) in
        [("echo.check", Value::Null), ("only-ok", Value::Null), ("only-err", json!("asked to fail"))]
    {
        let failed = setup.failure(task, "[false]", 1, "returned");
        assert_eq!(failed.failure.get("error"), Some(&error), "{task}");
    }
}

#[test]
fn raw_writes_strings_and_bytes_as_they_are() {
    let setup = Setup::new(&["echo"]);
    let output = setup.run(["call", "--raw", "echo-string", r#"["a\n\u0000b"]"#]).expect(0);
    assert_eq!(output.stdout, b"a\n\0b");
    let output = setup.run(["call", "--raw", "echo-bytes", "[[0, 255, 10]]"]).expect(0);
    assert_eq!(output.stdout, [0, 255, 10]);
    let id = setup.submit("echo-bytes", r#"[{"$base64": "AP8K"}]"#);
    setup.run_all();
    assert_eq!(setup.run(["result", "--raw", &id]).expect(0).stdout, [0, 255, 10]);
    let output = setup.run(["call", "--raw", "echo-u8", "[1]"]).expect(2);
    assert!(output.stderr.contains("`u8`") && output.stdout.is_empty(), "{output:?}");
}

#[test]
fn a_command_gets_arguments_and_its_output_is_the_value() {
    let setup = Setup::new(&["greet-cli"]);
    assert_eq!(
        setup.value("greet-cli.run", r#"[["Ann", "B b", ""]]"#),
        "Hello, Ann!\nHello, B b!\nHello, !\n"
    );
    assert_eq!(setup.value("run", "[[]]"), "");
    let output = setup.run(["call", "--raw", "greet-cli.run", r#"[["you"]]"#]).expect(0);
    assert_eq!(output.stdout, b"Hello, you!\n");
    let output = setup.call("run", r#"[["--stderr", "a note", "you"]]"#).expect(0);
    assert_eq!((output.stdout(), output.stderr.trim()), ("\"Hello, you!\\n\"\n", "a note"));
}

#[test]
fn the_output_of_a_command_may_be_any_bytes() {
    let setup = Setup::new(&["greet-cli"]);
    let arguments = r#"[["--bytes", "97,0,98,255,254,195,40"]]"#;
    let output = setup.call("greet-cli.run", arguments).expect(0);
    assert_eq!(output.stdout(), "{\"$base64\":\"YQBi//7DKA==\"}\n");
    let id = setup.submit("greet-cli.run", arguments);
    setup.run_all();
    assert_eq!(setup.run(["result", "--raw", &id]).expect(0).stdout, [97, 0, 98, 255, 254, 195, 40]);
}

#[test]
fn the_output_of_a_command_that_failed_is_in_its_log() {
    let setup = Setup::new(&["greet-cli"]);
    let arguments = r#"[["Ann", "--stderr", "E", "--exit", "3"]]"#;
    let output = setup.call("greet-cli.run", arguments).expect(3);
    assert!(output.stderr.contains("Hello, Ann!\n") && output.stdout.is_empty(), "{output:?}");
    for arguments in [arguments, r#"[["Ann", "--panic"]]"#, r#"[["Ann", "--big", "100"]]"#] {
        let id = setup.submit("greet-cli.run", arguments);
        setup.run_all();
        let logs = setup.run(["logs", &id]).expect(0);
        assert!(logs.stdout().contains("Hello, Ann!\n"), "{arguments}: {logs:?}");
    }
}

#[test]
fn a_command_that_exits_with_another_code_than_zero_failed() {
    let setup = Setup::new(&["greet-cli"]);
    let failed = setup.failure("greet-cli.run", r#"[["--exit", "5"]]"#, 3, "trapped");
    assert_eq!(failed.failure["exit_code"], 1, "WASI 0.2 does not carry the code");
    failed.says(&["exited with code 1"]);
    assert_eq!(setup.value("greet-cli.run", r#"[["--exit", "0", "x"]]"#), "Hello, x!\n");
    setup.failure("greet-cli.run", r#"[["--panic"]]"#, 3, "trapped").says(&["asked to panic"]);
}
