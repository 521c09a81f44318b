//! Short names mean tasks of configured components, whatever others push.

use rustix::process::Signal;
use serde_json::json;

use crate::support::cli::Sandbox;
use crate::support::guests::guest;

/// A component with the function `apply` at its root, without parameters. It is called by `filter.apply` if its name is
/// `filter`, and that is an end of `acme:plugins/filter.apply`, too.
const HIJACKER: &[u8] = b"\0asm\x0d\0\x01\0\
    \x01\x1f\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x05\x01\x01f\0\0\x0a\x04\x01\x02\0\x0b\
    \x02\x04\x01\0\0\0\
    \x07\x05\x01\x40\0\x01\0\
    \x06\x07\x01\0\0\x01\0\x01f\
    \x08\x06\x01\0\0\0\0\0\
    \x0b\x0b\x01\0\x05apply\x01\0\0";

#[test]
fn a_push_changes_the_meaning_of_no_name_of_a_configured_component() {
    let place = Sandbox::new();
    let path = |name: &str| guest(name).display().to_string();
    place.write(
        "wasm-runner.toml",
        format!(
            "store = \"sqlite:state.db\"\n[component.scale]\npath = {:?}\n[component.boss]\npath = {:?}\n[component.\"*\"]\n",
            path("scale"),
            path("workflow"),
        ),
    );
    place.write("hijacker.wasm", HIJACKER);
    // The push comes first: the store knows none of the tasks of the configuration.
    place.run(["component", "push", "customer-eve", &path("shift")]).expect(0);
    place.run(["component", "push", "filter", "hijacker.wasm"]).expect(0);
    for (task, arguments) in [("customer-eve::apply", "[1]"), ("filter::apply", "[]")] {
        place.run(["submit", task, arguments]).expect(0);
    }
    let of_others = |status: &str| {
        let list = place.run(["list", "--status", status, "--json"]).expect(0).json_lines();
        list.iter().filter(|one| one["component"] != "scale").count()
    };
    assert_eq!(of_others("queued"), 2);
    for name in ["apply", "filter.apply", "acme:plugins/filter.apply", "acme:plugins/filter@1.apply"] {
        let nothing = place.run(["list", "--task", name, "--json"]).expect(0);
        assert!(nothing.json_lines().is_empty(), "{name}: {nothing:?}");
        place.run(["cancel", "--task", name, "--status", "queued"]).expect(0);
        place.run(["pause", "--task", name]).expect(0);
    }
    assert_eq!(of_others("queued"), 2, "nothing of others was cancelled");
    place.run(["resume", "--task", "scale::apply"]).expect(0);
    place.run(["start", "--until-idle"]).expect(0);
    assert_eq!(of_others("succeeded"), 2, "nothing of others was paused");
    let mut runner = place.command(["start"]).spawn();
    runner.wait_for_stderr("the runner has started");
    for name in ["apply", "filter.apply", "acme:plugins/filter.apply", "acme:plugins/filter@1.apply"] {
        let output = place.run(["submit", "--wait", name, "[4]"]).expect(0);
        assert_eq!(output.json(), 40, "{name}: {output:?}");
        let called =
            place.run(["submit", "--wait", "boss::call", &json!([name, "[4]"]).to_string()]).expect(0);
        assert_eq!(called.json(), "40", "{name}: {called:?}");
        let tasks = place.run(["list", "--task", name, "--json"]).expect(0).json_lines();
        assert!(
            tasks.iter().all(|one| one["component"] == "scale") && !tasks.is_empty(),
            "{name}: {tasks:?}"
        );
    }
    // A full id means what it says.
    let output = place.run(["submit", "--wait", "customer-eve::apply", "[4]"]).expect(0);
    assert_ne!(output.json(), 40);
    runner.signal(Signal::TERM);
    runner.wait().expect(0);
}

#[test]
fn among_pushed_components_a_short_name_can_become_ambiguous_and_an_id_can_not() {
    let place = Sandbox::new();
    place.write("wasm-runner.toml", "store = \"sqlite:state.db\"\n");
    place.write("hijacker.wasm", HIJACKER);
    place.run(["component", "push", "anna", &guest("scale").display().to_string()]).expect(0);
    place.run(["submit", "filter.apply", "[4]"]).expect(0);
    place.run(["component", "push", "filter", "hijacker.wasm"]).expect(0);
    let refused = place.run(["submit", "filter.apply", "[4]"]).expect(2);
    assert!(refused.stderr.contains("`anna::acme:plugins/filter@1.apply`, `filter::apply`"), "{refused:?}");
    place.run(["submit", "anna::acme:plugins/filter@1.apply", "[4]"]).expect(0);
    place.run(["submit", "anna::apply", "[4]"]).expect(0);
    place.run(["submit", "filter::apply"]).expect(0);
    // Tasks that the store knows are named in the same way.
    let refused = place.run(["cancel", "--task", "filter.apply"]).expect(2);
    assert!(refused.stderr.contains("is ambiguous"), "{refused:?}");
    assert_eq!(place.run(["list", "--task", "anna::apply", "--json"]).expect(0).json_lines().len(), 3);
}
