//! `tasks --schema`, judged by a validator that others wrote.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::setup::Setup;
use crate::support::toolchains;

/// Reads documents with a schema and instances, and says of each whether it is valid.
/// A schema that is none ends it.
const JUDGE: &str = r"
import json, sys
from jsonschema import Draft202012Validator
for line in sys.stdin:
    asked = json.loads(line)
    Draft202012Validator.check_schema(asked['schema'])
    validator = Draft202012Validator(asked['schema'])
    print(json.dumps([validator.is_valid(instance) for instance in asked['instances']]))
";

/// The verdicts on the instances of each schema.
fn judge(asked: &[impl std::fmt::Display]) -> Vec<Vec<bool>> {
    let mut python = Command::new(toolchains::json_schema().join("python"));
    let mut python = python
        .args(["-c", JUDGE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python is started");
    let mut stdin = python.stdin.take().expect("it has an input");
    for one in asked {
        writeln!(stdin, "{one}").expect("written");
    }
    drop(stdin);
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).expect("text");
    lines.lines().map(|line| serde_json::from_str(line).expect("verdicts")).collect()
}

/// Arguments that are right, and arguments that are wrong.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    ("echo-bool", &["[true]", r#"{"value": false}"#], &["[1]", "[]", "[true, true]", "{}", "7", "null"]),
    ("echo-u8", &["[0]", "[255]"], &["[-1]", "[256]", "[1.5]", "[\"1\"]", "[null]"]),
    ("echo-s8", &["[-128]", "[127]"], &["[-129]", "[128]"]),
    ("echo-u16", &["[65535]"], &["[65536]", "[-1]"]),
    ("echo-s16", &["[-32768]"], &["[-32769]", "[32768]"]),
    ("echo-u32", &["[4294967295]"], &["[4294967296]", "[-1]"]),
    ("echo-s32", &["[-2147483648]"], &["[-2147483649]", "[2147483648]"]),
    ("echo-u64", &["[18446744073709551615]"], &["[18446744073709551616]", "[-1]"]),
    ("echo-s64", &["[-9223372036854775808]"], &["[-9223372036854775809]", "[9223372036854775808]"]),
    ("echo-f32", &["[0.5]", "[1]", "[\"NaN\"]", "[\"-Infinity\"]"], &["[1e39]", "[\"nan\"]", "[null]"]),
    ("echo-f64", &["[1e300]", "[\"Infinity\"]"], &["[\"1\"]", "[[]]"]),
    ("echo-char", &["[\"é\"]", "[\"\u{1f30d}\"]"], &["[\"\"]", "[\"ab\"]", "[7]"]),
    ("echo-string", &["[\"\"]", "[\"\\u0000\"]"], &["[1]", "[null]"]),
    (
        "echo-bytes",
        &["[[0, 255]]", r#"[{"$base64": "AP8="}]"#, r#"[{"$base64": "AP8"}]"#, r#"[{"$base64": ""}]"#],
        &["[[256]]", r#"[{"$base64": "AP9="}]"#, r#"[{"$base64": "?"}]"#, "[\"AP8=\"]", "[{}]"],
    ),
    ("echo-strings", &["[[]]", "[[\"a\"]]"], &["[[1]]", "[\"a\"]", r#"[{"$base64": ""}]"#]),
    (
        "echo-point",
        &[r#"[{"x": 1, "y": "NaN"}]"#],
        &[r#"[{"x": 1}]"#, r#"[{"x": 1, "y": 2, "z": 3}]"#, "[[1, 2]]"],
    ),
    (
        "echo-line-segment",
        &[
            r#"[{"start-point": {"x": 1, "y": 2}, "end-point": {"x": 1, "y": 2}}]"#,
            r#"[{"start-point": {"x": 1, "y": 2}, "end-point": {"x": 1, "y": 2}, "line-name": null}]"#,
        ],
        &[r#"[{"start-point": {"x": 1, "y": 2}, "end-point": {"x": 1}}]"#],
    ),
    ("echo-tuple", &["[[1, \"a\", true]]"], &["[[1, \"a\"]]", "[[1, \"a\", true, 1]]", "[[\"a\", 1, true]]"]),
    (
        "echo-shape",
        &["[\"nothing\"]", r#"[{"circle": 1}]"#, r#"[{"polygon": []}]"#],
        &["[\"circle\"]", r#"[{"square": 1}]"#, r#"[{"circle": 1, "polygon": []}]"#, "[{}]"],
    ),
    ("echo-suit", &["[\"red-hearts\"]"], &["[\"hearts\"]", "[0]"]),
    ("echo-permissions", &["[[]]", "[[\"read\", \"run-all\"]]"], &["[[\"read\", \"read\"]]", "[[\"no\"]]"]),
    ("echo-option", &["[7]", "[null]", "[]", "{}"], &["[\"7\"]", "[7, 7]"]),
    (
        "echo-nested-option",
        &["[null]", r#"[{"some": null}]"#, r#"[{"some": 7}]"#],
        &["[7]", "[{}]", r#"[{"some": "7"}]"#, r#"[{"none": null}]"#],
    ),
    (
        "echo-result",
        &[r#"[{"ok": 1}]"#, r#"[{"err": "a"}]"#],
        &["[1]", r#"[{"ok": "a"}]"#, r#"[{"ok": 1, "err": "a"}]"#],
    ),
    ("echo-empty-result", &[r#"[{"ok": null}]"#], &[r#"[{"ok": 1}]"#, "[null]"]),
    ("nothing", &["[]", "{}"], &["[null]", r#"{"a": 1}"#]),
    (
        "join-words",
        &[r#"["a", "b"]"#, r#"["a", "b", null]"#, r#"{"second-word": "b", "first-word": "a"}"#],
        &[r#"["a"]"#, r#"["a", "b", 1]"#, r#"["a", "b", "c", "d"]"#, r#"{"first-word": "a"}"#],
    ),
];

#[test]
fn schemas_accept_what_the_program_accepts_and_nothing_else() {
    let setup = Setup::new(&["echo"]);
    let schemas = setup.run(["tasks", "--schema"]).expect(0).json_lines();
    let schema = |function: &str| {
        let id = json!(format!("echo::demo:types/echo@0.1.{function}"));
        schemas.iter().find(|one| one["task"] == id).unwrap_or_else(|| panic!("no {id}"))
    };
    // As text: a number that is too large for Rust keeps its digits.
    let asked = TABLE.iter().map(|(function, right, wrong)| {
        let instances: Vec<_> = right.iter().chain(*wrong).copied().collect();
        format!(r#"{{"schema": {}, "instances": [{}]}}"#, schema(function)["arguments"], instances.join(","))
    });
    let verdicts = judge(&asked.collect::<Vec<_>>());
    assert_eq!(verdicts.len(), TABLE.len());
    for ((function, right, wrong), verdicts) in TABLE.iter().zip(verdicts) {
        for ((index, text), verdict) in right.iter().chain(*wrong).enumerate().zip(verdicts) {
            assert_eq!(verdict, index < right.len(), "the schema of {function} on {text}");
        }
        // The program is of the same opinion.
        setup.run(["submit", function].iter().chain(*right)).expect(0);
        for text in *wrong {
            setup.run(["submit", function, text]).expect(2);
        }
    }
}

#[test]
fn schemas_describe_values_and_errors() {
    let setup = Setup::new(&["echo"]);
    let lines = setup.run(["tasks", "--schema", "echo.fail", "all", "hello"]).expect(0).json_lines();
    let [fail, all, hello] = &*lines else { panic!("{lines:?}") };
    assert_eq!(fail["result"]["type"], "string");
    assert_eq!(fail["returned"]["$ref"], "#/$defs/error-record");
    assert_eq!((&hello["task"], &hello["function"]), (&json!("echo::hello"), &json!("hello")));
    assert_eq!(hello["returned"], Value::Null);
    let names: Vec<_> = all["result"]["$defs"].as_object().expect("names").keys().collect();
    assert_eq!(names, ["everything", "line-segment", "point", "shape", "suit", "permissions"]);

    let point = r#"{"x": 1.5, "y": "NaN"}"#;
    let segment = format!(r#"{{"start-point": {point}, "end-point": {point}}}"#);
    let everything = format!(
        r#"{{"a-bool": true, "an-u8": 1, "an-u16": 2, "an-u32": 3, "an-u64": 18446744073709551615,
        "an-s8": -1, "an-s16": -2, "an-s32": -3, "an-s64": -4, "an-f32": 0.5, "an-f64": 1,
        "a-char": "é", "a-string": "x", "bytes": {{"$base64": "AP8="}}, "strings": ["a"],
        "segment": {segment}, "a-tuple": [1, "b", false], "a-shape": {{"labelled-line": {segment}}},
        "a-suit": "spades", "granted": ["write"], "an-option": null,
        "a-nested-option": {{"some": null}}, "a-result": {{"err": "no"}}}}"#
    );
    let value = setup.value("all", &format!("[{everything}]"));
    let failed = setup.failure("echo.fail", r#"[7, "seven"]"#, 1, "returned").failure;
    let mut without = value.clone();
    without.as_object_mut().expect("a record").shift_remove("an-option");
    let verdicts = judge(&[
        json!({"schema": all["result"], "instances": [value, without]}),
        json!({"schema": fail["returned"], "instances": [failed["error"], {"code": 7}]}),
        json!({"schema": fail["result"], "instances": ["x", null]}),
    ]);
    assert_eq!(verdicts, [[true, false]; 3]);

    setup.run(["tasks", "--schema", "nobody"]).expect(2);
}

/// A program's output is text if it can be, else bytes.
#[test]
fn a_schema_of_a_program_has_both_forms_of_its_output() {
    let setup = Setup::new(&["greet-cli"]);
    let schema = setup.run(["tasks", "--schema", "greet-cli.run"]).expect(0).json();
    let text = setup.value("greet-cli.run", r#"[["Ann"]]"#);
    let bytes = setup.value("greet-cli.run", r#"[["--bytes", "97,0,254"]]"#);
    assert!(text.is_string() && bytes["$base64"].is_string(), "{text} {bytes}");
    let instances = [text, bytes, json!({"$base64": "YQD+", "more": 1}), json!(7)];
    let verdicts = judge(&[json!({"schema": schema["result"], "instances": instances})]);
    assert_eq!(verdicts, [[true, true, false, false]]);
    assert_eq!(schema["returned"], Value::Null);
}
