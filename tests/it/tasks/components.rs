//! Several components that export one interface, and several versions of one.

use serde_json::json;

use crate::guests::setup::Setup;
use crate::support::guests::guest;

const SCALE: &str = "scale::acme:plugins/filter@1.apply";
const SHIFT: &str = "shift::acme:plugins/filter@1.apply";

#[test]
fn two_components_with_one_interface_live_in_one_runner_and_one_store() {
    let setup = Setup::new(&["scale", "shift", "workflow"]);
    setup.run(["check"]).expect(0);
    for (task, value) in [
        (SCALE, 70),
        (SHIFT, 8),
        ("scale::apply", 70),
        ("shift.apply", 8),
        ("shift::filter.apply", 8),
        ("acme:plugins/filter@1.2.0.apply", 70),
    ] {
        assert_eq!(setup.value(task, "[7]"), value, "{task}");
    }
    for ambiguous in ["apply", "filter.apply", "acme:plugins/filter.apply", "acme:plugins/filter@1.apply"] {
        let output = setup.call(ambiguous, "[7]").expect(2);
        let candidates = format!("`{SCALE}`, `{SHIFT}`");
        assert!(output.stderr.contains(&candidates), "{candidates} is not in {}", output.stderr);
    }
    // By its id, from within another task.
    for (task, value) in [(SCALE, "70"), (SHIFT, "8"), ("shift::apply", "8")] {
        assert_eq!(setup.value("control.call", &json!([task, "[7]"]).to_string()), value, "{task}");
    }
    let (scaled, shifted) = (setup.submit("scale::apply", "[1]"), setup.submit("shift::apply", "[1]"));
    setup.run_all();
    let (scaled, shifted) = (setup.status(&scaled), setup.status(&shifted));
    assert_eq!((&scaled["result"], &shifted["result"]), (&json!(10), &json!(2)));
    assert_eq!(scaled["task"], SCALE);
    assert_eq!(
        (&shifted["component"], &shifted["function"]),
        (&json!("shift"), &json!("acme:plugins/filter@1.apply"))
    );
    let listed = setup.run(["list", "--json", "--task", "shift::apply"]).expect(0).json_lines();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["id"], shifted["id"]);
}

#[test]
fn a_list_is_of_one_component_or_of_several() {
    let setup = Setup::new(&["scale", "shift", "workflow"]);
    let submitted: Vec<_> = ["scale::apply", "shift::apply", "scale::apply"]
        .map(|task| setup.submit(task, "[1]"))
        .into_iter()
        .rev()
        .collect();
    let list = |flags: &[&str]| {
        let output = setup.run([&["list", "--json"][..], flags].concat()).expect(0);
        let ids = output.json_lines().into_iter().map(|one| one["id"].as_str().expect("an id").to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(list(&["--component", "scale"]), [&*submitted[0], &submitted[2]]);
    assert_eq!(list(&["--component", "scale", "--limit", "1"]), [&*submitted[0]]);
    assert_eq!(list(&["--component", "shift", "--component", "scale"]), submitted);
    assert_eq!(list(&["--component", "shift", "--task", "scale::apply"]), [""; 0]);
    assert_eq!(list(&["--component", "scale", "--task", "scale::apply", "--status", "queued"]).len(), 2);
    assert_eq!(list(&["--component", "workflow"]), [""; 0]);
    // A short name means the task of the component that is named.
    assert_eq!(list(&["--component", "scale", "--task", "apply"]), [&*submitted[0], &submitted[2]]);
    assert_eq!(list(&["--component", "workflow", "--task", "apply"]), [""; 0]);
    let both = ["list", "--component", "scale", "--component", "shift", "--task", "apply"];
    let output = setup.run(both).expect(2);
    assert!(output.stderr.contains(&format!("`{SCALE}`, `{SHIFT}`")), "{output:?}");
    let output = setup.run(["list", "--component", "scale", "--task", "aply"]).expect(2);
    assert!(output.stderr.contains("unknown task `aply`"), "{output:?}");
    let output = setup.run(["list", "--component", "shit"]).expect(2);
    assert!(output.stderr.contains("unknown component `shit`\nhint: did you mean `shift`?"), "{output:?}");
    // With a path it is what it is for every command.
    let added = format!("fib={}", guest("fib").display());
    assert_eq!(list(&["--component", &added]), submitted);
    assert_eq!(list(&["--component", &added, "--component", "shift"]), [&*submitted[1]]);
    // So it is before the command, where a component that has no invocations is known as well.
    let before = |name: &str| setup.run(["--component", &added, "list", "--json", "--component", name]);
    assert_eq!(before("shift").expect(0).json_lines().len(), 1);
    assert_eq!(before("fib").expect(0).json_lines().len(), 0);
    let nowhere = crate::support::cli::Sandbox::new();
    let output = nowhere.run(["--store", "sqlite:new.db", "list", "--component", "fib"]).expect(2);
    assert!(output.stderr.contains("hint: none is configured, and the store has no tasks"), "{output:?}");
    let output = setup.run(["status", "--component", "shift"]).expect(2);
    assert!(output.stderr.contains("expected `NAME=PATH`"), "{output:?}");
}

#[test]
fn rules_are_for_a_task_a_function_or_a_pattern_and_the_most_exact_wins() {
    let setup = Setup::with(
        &["scale", "shift"],
        "[task.\"*\"]\npriority = 1\nmax-attempts = 2\nqueue = \"all\"\n\
         [task.\"acme:plugins/filter.apply\"]\npriority = 2\nmax-attempts = 5\n\
         [task.\"acme:plugins/filter@1.apply\".concurrency]\nlimit = 3\n\
         [task.\"shift::apply\"]\npriority = 3\n\
         [task.\"shift::acme:plugins/filter@1.apply\".concurrency]\nlimit = 1\n",
    );
    let tasks = setup.run(["tasks", "--json"]).expect(0).json_lines();
    let options: Vec<_> = tasks
        .iter()
        .map(|task| (task["task"].clone(), task["priority"].clone(), task["max_attempts"].clone()))
        .collect();
    assert_eq!(options, [(json!(SCALE), json!(2), json!(5)), (json!(SHIFT), json!(3), json!(5))]);
    setup.submit("scale::apply", "[1]");
    setup.submit("shift::apply", "[1]");
    let queues = setup.run(["queues", "--json"]).expect(0).json_lines();
    let limits: Vec<_> = queues
        .iter()
        .map(|one| (one["queue"].clone(), one["component"].clone(), one["concurrency"].clone()))
        .collect();
    assert_eq!(limits, [(json!("all"), json!("scale"), json!(3)), (json!("all"), json!("shift"), json!(1))]);
    setup.run(["pause", "--task", "shift::apply"]).expect(0);
    setup.run_all();
    let left = setup.run(["list", "--json", "--status", "queued"]).expect(0).json_lines();
    assert_eq!(left.iter().map(|one| &one["task"]).collect::<Vec<_>>(), [SHIFT]);

    for (section, says) in [
        ("nobody*", "no task fits the pattern `nobody*`"),
        ("aply", "unknown task `aply` (did you mean"),
        ("acme:plugins/filter@2.apply", "no known version of the interface fits"),
    ] {
        let setup = Setup::with(&["scale", "shift"], &format!("[task.\"{section}\"]\npriority = 1\n"));
        let output = setup.run(["check"]).expect(78);
        assert!(output.stderr.contains(says), "{says:?} is not in {}", output.stderr);
    }
}

#[test]
fn the_provider_of_an_import_is_chosen() {
    let setup = Setup::new(&["ask", "scale", "shift"]);
    let output = setup.run(["check"]).expect(78);
    for text in [
        "imports `acme:plugins/filter@1.0.0`, which several components export",
        "`acme:plugins/filter@1.4.2` of `scale`",
        "`acme:plugins/filter@1.0.0` of `shift`",
        "say which in `[component.ask.imports]`: `\"acme:plugins/filter\" = \"scale\"`",
    ] {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
    for (chosen, value) in [("scale", 70), ("shift", 8)] {
        for interface in ["acme:plugins/filter", "acme:plugins/filter@1"] {
            let choice = format!("[component.ask.imports]\n\"{interface}\" = \"{chosen}\"\n");
            setup.configure(&["ask", "scale", "shift"], &choice);
            setup.run(["check"]).expect(0);
            assert_eq!(setup.value("ask", "[7]"), value);
        }
    }
    for (choice, says) in [
        (
            "\"acme:plugins/filter\" = \"nobody\"",
            "no component is called so (known: `ask`, `scale`, `shift`)",
        ),
        ("\"acme:plugins/filter\" = \"ask\"", "which `ask` does not export"),
        ("\"acme:plugins/filters\" = \"scale\"", "has `acme:plugins/filters`, which it does not import"),
        ("\"acme:plugins/filter@2\" = \"scale\"", "has `acme:plugins/filter@2`, which it does not import"),
    ] {
        setup.configure(&["ask", "scale", "shift"], &format!("[component.ask.imports]\n{choice}\n"));
        let output = setup.run(["check"]).expect(78);
        assert!(output.stderr.contains(says), "{says:?} is not in {}", output.stderr);
    }
}

#[test]
fn a_wrapper_sits_between_a_caller_and_what_it_wraps() {
    let setup = Setup::with(
        &["ask", "wrap", "scale"],
        "[component.wrap.imports]\n\"acme:plugins/filter\" = \"scale\"\n\
         [component.ask.imports]\n\"acme:plugins/filter\" = \"wrap\"\n",
    );
    setup.run(["check"]).expect(0);
    let id = setup.submit("ask", "[7]");
    setup.run_all();
    assert_eq!(setup.status(&id)["result"], 1070);
    let components = setup.run(["list", "--json"]).expect(0).json_lines();
    let components: Vec<_> = components.iter().rev().map(|one| one["component"].clone()).collect();
    assert_eq!(components, ["ask", "wrap", "scale"]);
    // Without a choice it means itself, without an end.
    let setup = Setup::with(&["wrap", "scale"], "[component.wrap.limits]\nchildren = 1\n");
    setup.run(["check"]).expect(0);
    let output = setup.run(["call", "wrap::apply", "[7]", "--json"]);
    assert_ne!(output.code, Some(0), "{output:?}");
}

#[test]
fn a_component_with_two_versions_serves_callers_of_both() {
    let setup = Setup::new(&["versions", "ask-0-1", "ask-0-2"]);
    setup.run(["check"]).expect(0);
    assert_eq!((setup.value("ask-0-1::ask", "[]"), setup.value("ask-0-2::ask", "[]")), (json!(1), json!(2)));
    assert_eq!(setup.value("acme:math/ops@0.1.version", "[]"), 1);
    assert_eq!(setup.value("versions::acme:math/ops@0.2.0.version", "[]"), 2);
    let output = setup.call("versions::version", "[]").expect(2);
    for id in ["versions::acme:math/ops@0.1.version", "versions::acme:math/ops@0.2.version"] {
        assert!(output.stderr.contains(id), "{output:?}");
    }
}
