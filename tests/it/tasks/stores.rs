//! Runners with different components on one store.

use serde_json::json;

use crate::support::cli::Sandbox;
use crate::support::database::shared;
use crate::support::guests::guest;

/// The configurations of three places that share a store: two have components that export
/// the same interface, one has others.
fn places(store: &str) -> [Sandbox; 3] {
    [&["scale"][..], &["shift"], &["workflow", "versions"]].map(|components| {
        let sandbox = Sandbox::new();
        let mut text = format!("store = \"{store}\"\n");
        for name in components {
            text += &format!("[component.{name}]\npath = {:?}\n", guest(name));
        }
        sandbox.write("wasm-runner.toml", text);
        sandbox
    })
}

#[track_caller]
fn submit(place: &Sandbox, task: &str) -> String {
    place.run(["submit", task, "[7]"]).expect(0).stdout().trim().to_owned()
}

fn status(place: &Sandbox, id: &str) -> serde_json::Value {
    place.run(["status", id, "--json"]).expect(0).json()
}

/// Runs whatever a place can run.
#[track_caller]
fn run(place: &Sandbox) {
    place.run(["start", "--until-idle"]).expect(0);
}

fn runners_run_their_own_components_alone(store: &str) {
    let [scale, shift, others] = places(store);
    let (scaled, shifted) = (submit(&scale, "apply"), submit(&shift, "apply"));
    // None of them has what the others submitted, though two call it the same.
    run(&others);
    run(&shift);
    assert_eq!(status(&scale, &scaled)["status"], "queued");
    assert_eq!(status(&shift, &shifted)["result"], 8);
    run(&scale);
    assert_eq!(status(&scale, &scaled)["result"], 70);

    // All at once.
    let running = [&scale, &shift, &others].map(|place| {
        let mut running = place.command(["start"]).spawn();
        running.wait_for_stderr("the runner has started");
        running
    });
    for round in 0..10 {
        let (scaled, shifted) = (submit(&scale, "apply"), submit(&shift, "apply"));
        for (place, id, value) in [(&shift, scaled, json!(70)), (&scale, shifted, json!(8))] {
            let result = place.run(["result", &id, "--wait"]).expect(0).json();
            assert_eq!(result, value, "round {round}");
        }
    }
    for one in &running {
        one.signal(rustix::process::Signal::TERM);
    }
    for one in running {
        one.wait().expect(0);
    }
    let all = scale.run(["list", "--json", "--limit", "0"]).expect(0).json_lines();
    for one in &all {
        let expected = if one["component"] == "scale" { 70 } else { 8 };
        // Lists leave values out.
        let id = one["id"].as_str().expect("an id");
        assert_eq!(status(&scale, id)["result"], expected, "{one}");
    }
    assert_eq!(all.len(), 22);
}

#[test]
fn runners_of_sqlite_run_their_own_components_alone() {
    let place = Sandbox::new();
    runners_run_their_own_components_alone(&format!("sqlite:{}", place.path().join("state.db").display()));
}

#[test]
fn runners_of_postgres_run_their_own_components_alone() {
    runners_run_their_own_components_alone(&shared().url());
}
