//! The rights that components ask for, that they are granted, and that an upgrade adds.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::setup::Setup;
use crate::support::guests::guest;

/// The right of a document with this name.
#[track_caller]
fn right<'d>(document: &'d Value, name: &str) -> &'d Value {
    let rights = document["rights"].as_array().expect("rights");
    rights.iter().find(|right| right["right"] == name).unwrap_or_else(|| panic!("{name}: {document}"))
}

#[test]
fn the_rights_that_a_component_asks_for_are_compared_with_its_grants() {
    let setup = Setup::with(
        &["network", "workflow", "calculator", "adder"],
        "[[component.network.network]]\nhost = \"db.example\"\nports = [5432]\n\
         [[component.network.http]]\nhost = \"api.example\"\npaths = [\"/v1/*\"]\n\
         [[component.workflow.directory]]\nhost = \"text\"\nguest = \"/text\"\n",
    );
    let inspect = |name: &str| setup.run(["inspect", name, "--json"]).expect(0).json();
    let network = inspect("network");
    assert_eq!(network["component"], "network");
    assert_eq!(
        right(&network, "network"),
        &json!({
            "right": "network", "uses": ["names", "tcp", "udp"], "extent": "partly", "granted": ["db.example, port 5432"]
        })
    );
    assert_eq!(
        right(&network, "http")["granted"],
        json!(["any method by https to api.example, paths /v1/*"])
    );
    let workflow = inspect("workflow");
    let text = format!("{} as /text, read-only", setup.path().join("text").display());
    assert_eq!(right(&workflow, "files")["granted"], json!([text]));
    assert_eq!(right(&workflow, "network")["extent"], "denied");
    assert_eq!(right(&workflow, "submits")["extent"], "granted");
    assert_eq!(right(&workflow, "clocks")["extent"], "granted");
    let calculator = inspect("calculator");
    assert_eq!(right(&calculator, "tasks")["extent"], "granted");
    let tasks = json!(["demo:calc/add.add", "demo:calc/add.add-all", "demo:calc/add.add-vectors"]);
    assert_eq!(right(&calculator, "tasks")["uses"], tasks);
    let shown = setup.run(["inspect", "workflow"]).expect(0);
    for line in [
        "granted to `workflow`",
        "  network (names, tcp, udp): denied",
        "  files: partly",
        "  submits: granted",
    ] {
        assert!(shown.stdout().contains(line), "{line:?} is not in {}", shown.stdout());
    }
}

#[test]
fn a_configured_file_is_inspected_with_its_grants() {
    let setup = Setup::with(&["network"], "may-submit = []\n");
    let file = guest("network").display().to_string();
    let document = setup.run(["inspect", &file, "--json"]).expect(0).json();
    assert_eq!(
        (&document["component"], &right(&document, "network")["extent"]),
        (&json!("network"), &json!("denied"))
    );
    // A file that is not configured asks, and nobody knows what it would get.
    let other = guest("workflow").display().to_string();
    let document = setup.run(["inspect", &other, "--json"]).expect(0).json();
    assert_eq!(
        (&document["component"], &right(&document, "network")["extent"]),
        (&Value::Null, &Value::Null)
    );
    setup.sandbox.write("wasm-runner.toml", "slots = \"two\"\n");
    let output = setup.run(["inspect", &file, "--json"]).expect(0);
    assert!(output.stderr.contains("the configuration is wrong"), "{output:?}");
    assert_eq!(output.json()["component"], Value::Null);
    setup.run(["inspect", "network"]).expect(78);
}

#[test]
fn inspect_and_diff_obey_the_configured_limits_of_compiling() {
    let setup = Setup::new(&["fib"]);
    let text = std::fs::read_to_string(setup.path().join("wasm-runner.toml")).expect("it is there");
    setup.sandbox.write("wasm-runner.toml", format!("[compile]\ncomponent = \"1KiB\"\n{text}"));
    let unconfigured = guest("adder").display().to_string();
    for arguments in [
        ["inspect", "fib"].as_slice(),
        &["inspect", &unconfigured],
        &["component", "diff", "fib", &unconfigured],
        &["component", "diff", &unconfigured, "fib"],
    ] {
        let output = setup.run(arguments).expect(78);
        assert!(output.stderr.contains("more than the 1024 bytes that `compile.component`"), "{output:?}");
    }
    // Without a configuration the documented defaults hold.
    std::fs::remove_file(setup.path().join("wasm-runner.toml")).expect("it is there");
    setup.run(["inspect", &unconfigured]).expect(0);
}

/// The guest with misbehaviours, as another version of itself: one task has another
/// name, one another parameter.
fn other_faults(setup: &Setup) -> PathBuf {
    let mut bytes = std::fs::read(guest("faults")).expect("it can be read");
    for (from, to) in [("huge-stderr", "huge-stdarr"), ("message", "massage")] {
        let places: Vec<_> =
            (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
        assert!(!places.is_empty(), "{from}");
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    setup.sandbox.write("other.wasm", bytes)
}

#[test]
fn an_upgrade_is_compared_by_tasks_and_types() {
    let setup = Setup::new(&["faults"]);
    let other = other_faults(&setup).display().to_string();
    let output = setup.run(["component", "diff", "faults", &other, "--deny-new-rights"]).expect(0);
    assert_eq!(
        output.stdout(),
        "+ task demo:faults/faults@0.1.huge-stdarr(mib: u32)\n\
         - task demo:faults/faults@0.1.huge-stderr(mib: u32)\n\
         ~ task demo:faults/faults@0.1.panic(message: string)\n\
         \u{20}   now demo:faults/faults@0.1.panic(massage: string)\n"
    );
    let document = setup.run(["component", "diff", "faults", &other, "--json"]).expect(0).json();
    assert_eq!(document["tasks"]["changed"][0]["function"], "demo:faults/faults@0.1.panic");
    assert_eq!(document["rights"], json!({"added": [], "removed": []}));
    let same = setup.run(["component", "diff", "faults", "faults"]).expect(0);
    assert_eq!(same.stdout(), "the same component\n");
}

#[test]
fn scripts_can_stop_at_new_rights() {
    let setup = Setup::new(&["workflow", "network"]);
    let output = setup.run(["component", "diff", "workflow", "network"]).expect(0);
    for line in ["+ right http", "- right files", "- right submits"] {
        assert!(output.stdout().lines().any(|shown| shown == line), "{line:?} is not in {}", output.stdout());
    }
    let output = setup.run(["component", "diff", "--deny-new-rights", "workflow", "network"]).expect(1);
    let says = "`network` asks for 1 right that `workflow` does not: http";
    assert!(output.stderr.contains(says), "{}", output.stderr);
    let fewer = setup.run(["component", "diff", "--deny-new-rights", "--json", "workflow", "adder"]);
    assert_ne!(fewer.code, Some(0), "there is no such component or file");
    let adder = guest("adder").display().to_string();
    let fewer =
        setup.run(["component", "diff", "--deny-new-rights", "--json", "workflow", &adder]).expect(0).json();
    assert_eq!(fewer["rights"]["added"], json!([]));
}
