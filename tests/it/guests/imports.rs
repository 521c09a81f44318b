//! Components that import the interfaces of other components.

use std::path::PathBuf;

use serde_json::json;

use super::setup::Setup;
use crate::support::guests::guest;

const IMPORT: &str = "demo:calc/add@0.1.0";

/// The adder, exporting its interface under another version of the same length.
#[track_caller]
fn adder_as(setup: &Setup, file: &str, version: &str) -> PathBuf {
    let mut bytes = std::fs::read(guest("adder")).expect("the adder can be read");
    let (from, to) = (IMPORT.as_bytes(), format!("demo:calc/add@{version}"));
    assert_eq!(from.len(), to.len());
    let places: Vec<_> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    setup.sandbox.write(file, bytes)
}

fn component(name: &str, path: &std::path::Path) -> String {
    format!("[component.{name}]\npath = {path:?}\n")
}

#[test]
fn a_call_of_an_import_is_a_child_invocation() {
    let setup = Setup::new(&["calculator", "adder"]);
    assert_eq!(setup.value("multiply", "[6, 7]"), 42);
    assert_eq!(
        setup.value("midpoint", r#"[{"x": 0, "y": 0}, {"x": 1, "y": -2}]"#),
        json!({"x": 0.5, "y": -1.0})
    );
    let id = setup.submit("total", "[[1, 2, 3]]");
    setup.run_all();
    assert_eq!(setup.status(&id)["result"], 6);
    let children = setup.run(["list", "--json", "--task", "demo:calc/add.add-all"]).expect(0).json_lines();
    assert_eq!(children.len(), 1);
    assert_eq!((&children[0]["parent"], &children[0]["root"]), (&json!(id), &json!(id)));
}

#[test]
fn the_err_of_a_child_is_an_err_to_its_caller() {
    let setup = Setup::new(&["calculator", "adder"]);
    let explained = setup.value("explain", "[4294967295, 1]");
    assert_eq!(explained, "no sum: 4294967295 + 1 does not fit into 32 bits");
    let failed = setup.failure("total", "[[4294967295, 1]]", 1, "returned");
    assert_eq!(failed.failure["error"], "4294967295 + 1 does not fit into 32 bits");
}

#[test]
fn any_other_failure_of_a_child_ends_its_caller_and_names_the_child() {
    // The adder can't even start within this.
    let setup = Setup::with(&["calculator", "adder"], "[component.adder.limits]\nmemory = \"64KiB\"\n");
    for (task, arguments, child) in [
        ("midpoint", r#"[{"x": 0, "y": 0}, {"x": 1, "y": 1}]"#, "adder::demo:calc/add@0.1.add-vectors"),
        // Not even where the import could carry an err.
        ("multiply", "[2, 2]", "adder::demo:calc/add@0.1.add"),
    ] {
        let failed = setup.failure(task, arguments, 3, "trapped");
        failed.says(&[&format!("the child `{child}` ("), "ended as limit-exceeded", "memory"]);
        let id = failed.failure["child"].as_str().expect("the child's id");
        failed.says(&[id]);
    }
}

#[test]
fn a_component_may_import_what_it_exports() {
    let setup = Setup::new(&["fib"]);
    assert_eq!(setup.value("fib", "[10]"), 55);
    assert_eq!(setup.value("fib-by-name", "[8]"), 21);
}

#[test]
fn an_import_that_nobody_provides_is_found_by_check() {
    let setup = Setup::new(&["calculator"]);
    let output = setup.run(["check"]).expect(78);
    assert!(
        output.stderr.contains(&format!("imports `{IMPORT}`, which no configured component exports")),
        "{output:?}"
    );
    assert!(output.stderr.contains("component `calculator`"), "{output:?}");
    // Nothing runs that would fail only later.
    setup.call("explain", "[1, 1]").expect(78);
    setup.run(["start", "--until-idle"]).expect(78);
}

#[test]
fn another_version_does_not_do_and_is_named() {
    let setup = Setup::new(&["calculator"]);
    let adder = adder_as(&setup, "adder.wasm", "0.2.0");
    setup.configure(&["calculator"], &component("adder", &adder));
    let output = setup.run(["check"]).expect(78);
    for text in [IMPORT, "demo:calc/add@0.2.0", "`adder`"] {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
}

#[test]
fn a_compatible_version_does() {
    let setup = Setup::new(&["calculator"]);
    let adder = adder_as(&setup, "adder.wasm", "0.1.9");
    setup.configure(&["calculator"], &component("adder", &adder));
    setup.run(["check"]).expect(0);
    assert_eq!(setup.value("multiply", "[3, 3]"), 9);
}

#[test]
fn several_providers_are_an_error_that_names_them() {
    let setup = Setup::new(&["calculator"]);
    let newer = adder_as(&setup, "newer.wasm", "0.1.9");
    setup.configure(&["calculator", "adder"], &component("newer", &newer));
    let output = setup.run(["check"]).expect(78);
    for text in [
        "which several components export",
        "`demo:calc/add@0.1.0` of `adder`",
        "`demo:calc/add@0.1.9` of `newer`",
    ] {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
}

#[test]
fn an_import_that_the_runner_does_not_know_is_named() {
    let setup = Setup::new(&["unknown-import"]);
    let output = setup.run(["check"]).expect(78);
    assert!(output.stderr.contains("`demo:nowhere/nothing@0.1.0`"), "{output:?}");
    setup.call("call-nothing", "[]").expect(78);
}
