//! Components that travel with the store: pushed here, run there.

use std::path::PathBuf;

use run_wasm_runner::model::ComponentDigest;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::cli::{Cli, Output, Sandbox};
use crate::support::database::shared;
use crate::support::guests::guest;

/// A machine: a directory, and a cache of its own.
struct Machine {
    sandbox: Sandbox,
    store: String,
}

impl Machine {
    fn new(store: &str, config: &str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("wasm-runner.toml", config);
        Self { sandbox, store: store.to_owned() }
    }

    fn command(&self, args: &[&str]) -> Cli {
        self.sandbox.command(args).env("WASM_RUNNER_STORE", &self.store)
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Output {
        self.command(args).run()
    }

    #[track_caller]
    fn submit(&self, args: &[&str]) -> String {
        let args: Vec<_> = ["submit"].iter().chain(args).copied().collect();
        self.run(&args).expect(0).stdout().trim().to_owned()
    }

    #[track_caller]
    fn status(&self, id: &str) -> Value {
        self.run(&["status", id, "--json"]).expect(0).json()
    }

    #[track_caller]
    fn run_all(&self) {
        self.run(&["start", "--until-idle"]).expect(0);
    }
}

fn configured(name: &str, path: &std::path::Path, more: &str) -> String {
    format!("[component.{name}]\npath = {path:?}\n{more}")
}

/// The guest with something appended that changes its digest and nothing else; its
/// file, and the digest.
fn version_of(guest_name: &str, sandbox: &Sandbox, number: u8) -> (PathBuf, String) {
    let mut bytes = std::fs::read(guest(guest_name)).expect("the guest is there");
    // A custom section: its length, the length of its name, its name, a byte.
    bytes.extend([0, 3, 1, b'v', number]);
    let path = sandbox.write(&format!("{guest_name}-{number}.wasm"), &bytes);
    let output = sandbox.run(["inspect", &path.display().to_string(), "--json"]).expect(0).json();
    let digest = output["digest"].as_str().expect("a digest").to_owned();
    digest.parse::<ComponentDigest>().expect("a digest");
    (path, digest)
}

/// A store in a file, and one in PostgreSQL.
fn stores(ground: &Sandbox) -> [String; 2] {
    [format!("sqlite:{}", ground.path().join("state.db").display()), shared().url()]
}

#[test]
fn a_component_pushed_on_one_machine_runs_on_another_that_has_only_the_url() {
    let ground = Sandbox::new();
    for store in stores(&ground) {
        let here = Machine::new(&store, &configured("fib", &guest("fib"), ""));
        let pushed = here.run(&["component", "push", "fib"]).expect(0);
        let digest = pushed.stdout().trim().strip_prefix("fib ").expect("name and digest").to_owned();
        let there = Machine::new(&store, "");
        let listed = there.run(&["component", "list", "--json"]).expect(0).json_lines();
        assert_eq!(listed.len(), 1);
        assert_eq!((&listed[0]["name"], &listed[0]["newest"]), (&json!("fib"), &json!(true)));
        assert_eq!(listed[0]["digest"], json!(digest));
        assert!(there.run(&["tasks"]).expect(0).stdout().contains("fib"));
        let id = there.submit(&["fib", "[6]"]);
        there.run_all();
        assert_eq!(there.run(&["result", &id]).expect(0).json(), 8);
        assert_eq!(there.status(&id)["component_digest"], json!(digest));
        // A third one names it, to say more about it.
        let third = Machine::new(&store, "[component.fib]\nsource = \"store\"\nmax-attempts = 7\n");
        let id = third.submit(&["fib", "[5]"]);
        third.run_all();
        assert_eq!(third.run(&["result", &id]).expect(0).json(), 5);
        assert_eq!(third.status(&id)["max_attempts"], 7);
    }
}

#[test]
fn a_pushed_component_that_can_not_be_linked_stops_no_runner() {
    let ground = Sandbox::new();
    for store in stores(&ground) {
        let push = |name: &str, guest_name: &str| {
            Machine::new(&store, &configured(name, &guest(guest_name), ""))
                .run(&["component", "push", name])
                .expect(0);
        };
        let empty = Machine::new(&store, "");
        // It imports what nobody exports, and there is nothing else.
        push("calculator", "calculator");
        let output = empty.run(&["start", "--until-idle"]).expect(78);
        assert!(output.stderr.contains("which no configured component exports"), "{output:?}");
        push("one", "adder");
        push("fib", "fib");
        assert!(empty.run(&["tasks"]).expect(0).stdout().contains("calculator::"));
        // Now two export it: which is meant?
        push("two", "adder");
        let output = empty.run(&["tasks"]).expect(0);
        assert!(!output.stdout().contains("calculator::") && output.stdout().contains("two::"), "{output:?}");
        assert!(output.stderr.contains("left out: component `calculator`"), "{output:?}");
        assert!(output.stderr.contains("which several components export"), "{output:?}");
        let id = empty.submit(&["fib", "[6]"]);
        empty.run_all();
        assert_eq!(empty.run(&["result", &id]).expect(0).json(), 8);
        // Whoever names it wants it: an error, or a choice.
        let all =
            ["calculator", "one", "two"].map(|name| format!("[component.{name}]\nsource = \"store\"\n"));
        Machine::new(&store, &all.concat()).run(&["start", "--until-idle"]).expect(78);
        let choice = "[component.calculator.imports]\n\"demo:calc/add\" = \"two\"\n";
        let chosen = Machine::new(&store, &(all.concat() + choice));
        assert!(chosen.run(&["tasks"]).expect(0).stdout().contains("calculator::"));
    }
}

#[test]
fn a_component_that_was_never_pushed_is_an_error_with_a_hint() {
    let ground = Sandbox::new();
    for store in stores(&ground) {
        let machine = Machine::new(&store, "[component.fib]\nsource = \"store\"\n");
        for args in [&["start", "--until-idle"][..], &["submit", "fib", "[1]"], &["tasks"]] {
            let output = machine.run(args).expect(78);
            assert!(output.stderr.contains("component push fib"), "{output:?}");
        }
        let empty = Machine::new(&store, "");
        let output = empty.run(&["start", "--until-idle"]).expect(78);
        assert!(output.stderr.contains("nothing to run"), "{output:?}");
        let other = Machine::new(&store, &configured("fib", &guest("fib"), ""));
        let output = other.run(&["component", "push", "fob"]).expect(2);
        assert!(output.stderr.contains("`fib`"), "{output:?}");
        machine.run(&["component", "push", "fib"]).expect(2);
    }
}

#[test]
fn a_pinned_invocation_runs_on_the_version_that_it_was_submitted_for() {
    let ground = Sandbox::new();
    let (old, old_digest) = version_of("echo", &ground, 1);
    let (new, new_digest) = version_of("echo", &ground, 2);
    assert_ne!(old_digest, new_digest);
    for store in stores(&ground) {
        let here = Machine::new(&store, &configured("echo", &old, ""));
        here.run(&["component", "push", "echo"]).expect(0);
        let submit = || here.submit(&["echo.hello", "[\"you\"]"]);
        let pinned = Machine::new(&store, &configured("echo", &new, "version = \"pinned\"\n"));
        let ids = [submit(), submit()];
        pinned.run_all();
        for id in ids {
            assert_eq!(pinned.run(&["result", &id]).expect(0).json(), "Hello, you!");
            assert_eq!(pinned.status(&id)["component_digest"], json!(old_digest));
        }
        // What is submitted for the runner's own needs nothing.
        let own = pinned.submit(&["echo.hello", "[\"me\"]"]);
        pinned.run_all();
        assert_eq!(pinned.status(&own)["component_digest"], json!(new_digest));
        let newest = Machine::new(&store, &configured("echo", &new, ""));
        let id = submit();
        newest.run_all();
        assert_eq!(newest.status(&id)["component_digest"], json!(new_digest));
    }
}

#[test]
fn a_pinned_digest_that_nobody_has_fails_its_invocation_and_nothing_else() {
    let ground = Sandbox::new();
    let (old, old_digest) = version_of("echo", &ground, 1);
    let (new, _) = version_of("echo", &ground, 2);
    for store in stores(&ground) {
        let here = Machine::new(&store, &configured("echo", &old, ""));
        let id = here.submit(&["echo.hello", "[\"you\"]"]);
        let pinned = Machine::new(&store, &configured("echo", &new, "version = \"pinned\"\n"));
        let own = pinned.submit(&["echo.hello", "[\"me\"]"]);
        pinned.run_all();
        let status = pinned.status(&id);
        assert_eq!(status["status"], "failed");
        let message = status["failure"]["message"].as_str().expect("a message");
        assert!(message.contains(&old_digest) && message.contains("component push echo"), "{message}");
        assert_eq!(pinned.run(&["result", &own]).expect(0).json(), "Hello, me!");
    }
}

#[test]
fn bytes_with_another_digest_are_refused() {
    let ground = Sandbox::new();
    let [store, _] = stores(&ground);
    let here = Machine::new(&store, &configured("fib", &guest("fib"), ""));
    here.run(&["component", "push", "fib"]).expect(0);
    let sql = Connection::open(ground.path().join("state.db")).expect("a database");
    let other = std::fs::read(guest("echo")).expect("a guest");
    sql.execute("UPDATE component_bytes SET bytes = ?1", [other]).expect("it is changed");
    drop(sql);
    let there = Machine::new(&store, "");
    let output = there.run(&["start", "--until-idle"]).expect(78);
    assert!(output.stderr.contains("push it again"), "{output:?}");
    // Whoever has fetched them before is not concerned.
    let cached = Machine::new(&store, &configured("fib", &guest("fib"), ""));
    let id = cached.submit(&["fib", "[3]"]);
    cached.run_all();
    assert_eq!(cached.run(&["result", &id]).expect(0).json(), 2);
}
