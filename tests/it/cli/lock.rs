//! The lock file: bytes that it does not have are refused.

use std::path::PathBuf;

use serde_json::json;

use crate::support::cli::{Cli, Output, Sandbox};
use crate::support::guests::guest;

/// A directory with `fib.wasm` in it, configured.
struct Place {
    sandbox: Sandbox,
}

impl Place {
    fn new(config: &str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("wasm-runner.toml", config);
        let place = Self { sandbox };
        place.put(0);
        place
    }

    fn of_fib() -> Self {
        Self::new("[component.fib]\npath = \"fib.wasm\"\n")
    }

    /// Writes a version of the component: with something appended that changes its
    /// digest and nothing else.
    fn put(&self, version: u8) {
        let mut bytes = std::fs::read(guest("fib")).expect("the guest is there");
        if version > 0 {
            bytes.extend([0, 3, 1, b'v', version]);
        }
        self.sandbox.write("fib.wasm", bytes);
    }

    fn command(&self, args: &[&str]) -> Cli {
        self.sandbox.command(args)
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Output {
        self.command(args).run()
    }

    fn digest(&self) -> String {
        let output = self.run(&["inspect", "fib.wasm", "--json"]).expect(0).json();
        output["digest"].as_str().expect("a digest").to_owned()
    }

    fn file(&self) -> PathBuf {
        self.sandbox.path().join("wasm-runner.lock")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).expect("there is a lock file")
    }
}

/// Commands that load components.
const COMMANDS: [&[&str]; 6] = [
    &["check"],
    &["tasks"],
    &["call", "fib", "[5]"],
    &["submit", "fib", "[5]"],
    &["start", "--until-idle"],
    &["component", "push", "fib"],
];

#[test]
fn a_lock_is_written_once_and_holds() {
    let place = Place::of_fib();
    let digest = place.digest();
    let output = place.run(&["lock", "--json"]).expect(0).json_lines();
    let expected = json!({ "name": "fib", "digest": digest, "source": "fib.wasm", "change": "added" });
    assert_eq!(output, [expected]);
    assert_eq!(
        place.text(),
        format!(
            "# Written by `run-wasm-runner lock`. While this file is here, a component with another\n\
             # digest is refused: `run-wasm-runner lock --update NAME` accepts its new one.\n\
             version = 1\n\n[component.fib]\nsource = \"fib.wasm\"\ndigest = \"{digest}\"\n"
        )
    );
    for command in COMMANDS {
        place.run(command).expect(0);
    }
    let before = std::fs::metadata(place.file()).and_then(|file| file.modified()).expect("it is there");
    assert!(place.run(&["lock"]).expect(0).stdout().contains("unchanged"));
    let after = std::fs::metadata(place.file()).and_then(|file| file.modified()).expect("it is there");
    assert_eq!(before, after, "what says the same is not written again");
}

#[test]
fn changed_bytes_are_refused_by_every_command_until_they_are_accepted() {
    let place = Place::of_fib();
    place.run(&["lock"]).expect(0);
    let (old, text) = (place.digest(), place.text());
    place.put(1);
    let new = place.digest();
    for command in COMMANDS.iter().chain(&[&["lock"][..], &["lock", "--json"]]) {
        let output = place.run(command).expect(78);
        for says in ["component `fib`", &old, &new, "`run-wasm-runner lock --update fib`"] {
            assert!(output.stderr.contains(says), "{command:?}: {says:?} is not in {}", output.stderr);
        }
        assert_eq!(output.stdout(), "", "{command:?}");
    }
    let checked = place.run(&["check", "--json"]).expect(78).json();
    assert!(checked["problems"][0]["message"].as_str().is_some_and(|message| message.contains(&old)));
    // What a component was granted was granted to its name: a flag is no way around.
    place.put(0);
    let other = place.sandbox.write("other.wasm", std::fs::read(guest("echo")).expect("a guest"));
    let flag = format!("fib={}", other.display());
    let output = place.run(&["--component", &flag, "tasks"]).expect(78);
    assert!(output.stderr.contains(&old), "{output:?}");
    // One that only a flag names has no grants, and is not in the file.
    place.run(&["--component", &format!("more={}", other.display()), "tasks"]).expect(0);
    place.put(1);
    assert_eq!(place.text(), text, "a refusal changes nothing");
    place.run(&["lock", "--update", "fob"]).expect(2);
    let output = place.run(&["lock", "--update", "fib"]).expect(0);
    assert!(output.stdout().contains("updated") && output.stdout().contains(&new), "{output:?}");
    for command in COMMANDS {
        place.run(command).expect(0);
    }
    place.put(2);
    place.run(&["check"]).expect(78);
    place.run(&["lock", "--update-all"]).expect(0);
    place.run(&["check"]).expect(0);
}

#[test]
fn unlocked_components_are_refused_and_unconfigured_ones_leave_the_lock() {
    let place = Place::of_fib();
    place.run(&["lock"]).expect(0);
    let two = format!("[component.fib]\npath = \"fib.wasm\"\n[component.echo]\npath = {:?}\n", guest("echo"));
    place.sandbox.write("wasm-runner.toml", two);
    let output = place.run(&["check"]).expect(78);
    assert!(output.stderr.contains("component `echo`"), "{output:?}");
    assert!(output.stderr.contains("`run-wasm-runner lock` adds it"), "{output:?}");
    assert!(!output.stderr.contains("component `fib`"), "{output:?}");
    place.run(&["lock"]).expect(0);
    place.run(&["check"]).expect(0);
    assert!(place.text().find("[component.echo]") < place.text().find("[component.fib]"));
    place.sandbox.write("wasm-runner.toml", "[component.fib]\npath = \"fib.wasm\"\n");
    assert!(place.run(&["lock"]).expect(0).stdout().contains("removed"));
    assert!(!place.text().contains("echo"));
}

#[test]
fn an_unreadable_lock_file_is_an_error() {
    let place = Place::of_fib();
    for text in ["", "version = 1\n<<<<<<< ours", "version = 2\n"] {
        place.sandbox.write("wasm-runner.lock", text);
        let output = place.run(&["check"]).expect(78);
        assert!(output.stderr.contains("wasm-runner.lock") && output.stderr.contains("hint:"), "{output:?}");
    }
    std::fs::remove_file(place.file()).expect("it was there");
    std::fs::create_dir(place.file()).expect("a directory");
    place.run(&["check"]).expect(78);
}

#[test]
fn without_a_configuration_file_there_is_nothing_to_lock() {
    let output = Sandbox::new().run(["lock"]).expect(2);
    assert!(output.stderr.contains("nothing to lock"), "{output:?}");
}

/// The store may have a newer one: the lock says which is taken.
#[test]
fn the_lock_chooses_the_version_of_a_component_in_the_store() {
    let place = Place::of_fib();
    let push = |version| {
        place.put(version);
        let config = "[component.fib]\npath = \"fib.wasm\"\n";
        let file = place.sandbox.write("push.toml", config);
        let file = file.to_str().expect("UTF-8");
        place.run(&["--config", file, "component", "push", "fib"]).expect(0);
        place.digest()
    };
    place.sandbox.write("wasm-runner.toml", "[component.fib]\nsource = \"store\"\n");
    let first = push(1);
    place.run(&["lock"]).expect(0);
    assert!(place.text().contains(&format!("source = \"store\"\ndigest = \"{first}\"")), "{}", place.text());
    let second = push(2);
    let ran = |place: &Place| {
        let id = place.run(&["submit", "fib", "[5]"]).expect(0).stdout().trim().to_owned();
        place.run(&["start", "--until-idle"]).expect(0);
        place.run(&["status", &id, "--json"]).expect(0).json()["component_digest"].clone()
    };
    assert_eq!(ran(&place), json!(first));
    place.run(&["lock"]).expect(0);
    assert_eq!(ran(&place), json!(first), "it is no update");
    place.run(&["lock", "--update", "fib"]).expect(0);
    assert_eq!(ran(&place), json!(second));
}

/// A pinned component keeps what it was: invocations that were submitted for it
/// may still run on it, and on nothing that was never accepted.
#[test]
fn a_pinned_invocation_runs_on_the_version_that_was_locked_before() {
    let place = Place::new("[component.fib]\npath = \"fib.wasm\"\nversion = \"pinned\"\n");
    let submit = |version| {
        place.put(version);
        place.run(&["lock", "--update-all"]).expect(0);
        place.run(&["component", "push", "fib"]).expect(0);
        let id = place.run(&["submit", "fib", "[6]"]).expect(0).stdout().trim().to_owned();
        (id, place.digest())
    };
    let (first, second) = (submit(1), submit(2));
    assert!(place.text().contains(&format!("earlier = [\"{}\"]", first.1)), "{}", place.text());
    // One that nobody accepts here.
    place.put(3);
    let careless = "[component.fib]\npath = \"fib.wasm\"\nversion = \"pinned\"\n";
    let careless = place.sandbox.write("careless.toml", careless);
    let careless = careless.to_str().expect("UTF-8");
    place.run(&["--config", careless, "component", "push", "fib"]).expect(0);
    let foreign = place.run(&["--config", careless, "submit", "fib", "[6]"]).expect(0);
    place.put(2);
    place.run(&["start", "--until-idle"]).expect(0);
    let status = |id: &str| place.run(&["status", id, "--json"]).expect(0).json();
    for (id, digest) in [&first, &second] {
        let status = status(id);
        assert_eq!((&status["result"], &status["component_digest"]), (&json!(8), &json!(digest)));
    }
    let status = status(foreign.stdout().trim());
    assert_eq!(status["status"], "failed", "{status}");
    assert!(status["failure"]["message"].as_str().is_some_and(|text| text.contains("lock file")), "{status}");
}
