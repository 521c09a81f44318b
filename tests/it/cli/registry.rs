//! Components from OCI registries: a real registry on the loopback interface.

use std::path::PathBuf;

use oci_client::secrets::RegistryAuth;
use serde_json::json;

use crate::support::cli::{Cli, Output, Sandbox};
use crate::support::guests::guest;
use crate::support::registry::{PASSWORD, Registry, USER};

pub const WASM: &str = "application/vnd.wasm.config.v0+json";

/// A machine with a cache of its own.
pub struct Machine {
    pub sandbox: Sandbox,
}

impl Machine {
    pub fn new(source: &str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("wasm-runner.toml", format!("[component.fib]\nsource = \"{source}\"\n"));
        Self { sandbox }
    }

    pub fn command(&self, args: &[&str]) -> Cli {
        // Whoever runs the tests may be known to registries.
        self.sandbox.command(args).env("DOCKER_CONFIG", self.sandbox.path().join("docker"))
    }

    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).run()
    }

    fn cache(&self) -> PathBuf {
        self.sandbox.path().join(".cache/run-wasm-runner")
    }
}

/// A version of the guest.
pub fn fib(version: u8) -> Vec<u8> {
    let mut bytes = std::fs::read(guest("fib")).expect("the guest is there");
    bytes.extend([0, 3, 1, b'v', version]);
    bytes
}

fn push(registry: &Registry, version: u8) -> String {
    registry.push("acme/fib", "latest", &fib(version), WASM, &RegistryAuth::Anonymous)
}

#[test]
fn a_component_named_by_its_digest_is_fetched_once() {
    let registry = Registry::start();
    let manifest = push(&registry, 1);
    let machine = Machine::new(&format!("oci://{}/acme/fib@{manifest}", registry.host()));
    let pulled = machine.run(&["component", "pull"]).expect(0);
    let digest = pulled.stdout().trim().strip_prefix("fib ").expect("name and digest").to_owned();
    let file = machine.cache().join("components").join(digest.replace(':', "-")).with_extension("wasm");
    assert!(std::fs::read(&file).expect("it is kept") == fib(1));
    drop(registry);
    // Nobody is there to ask any more.
    for args in
        [&["check"][..], &["component", "pull", "fib"], &["submit", "fib", "[3]"], &["start", "--until-idle"]]
    {
        machine.run(args).expect(0);
    }
    assert_eq!(machine.run(&["call", "fib", "[6]"]).expect(0).json(), 8);
    // What is kept is only believed as far as its digest goes.
    std::fs::write(&file, fib(2)).expect("it is ours");
    let output = machine.run(&["call", "fib", "[6]"]).expect(78);
    assert!(output.stderr.contains("can't be fetched"), "{output:?}");
}

#[test]
fn a_command_fetches_components_that_were_not_pulled() {
    let registry = Registry::start();
    let manifest = push(&registry, 1);
    let machine = Machine::new(&format!("oci://{}/acme/fib@{manifest}", registry.host()));
    assert_eq!(machine.run(&["call", "fib", "[7]"]).expect(0).json(), 13);
}

#[test]
fn a_tag_means_the_digest_in_the_lock() {
    let registry = Registry::start();
    push(&registry, 1);
    let source = format!("oci://{}/acme/fib:latest", registry.host());
    let machine = Machine::new(&source);
    let output = machine.run(&["call", "fib", "[6]"]).expect(78);
    assert!(
        output.stderr.contains("is a tag") && output.stderr.contains("`run-wasm-runner lock`"),
        "{output:?}"
    );
    machine.run(&["lock"]).expect(0);
    let ran = || {
        let digest = machine.run(&["tasks", "--json"]).expect(0);
        drop(digest);
        let id = machine.run(&["submit", "fib", "[6]"]).expect(0).stdout().trim().to_owned();
        machine.run(&["start", "--until-idle"]).expect(0);
        machine.run(&["status", &id, "--json"]).expect(0).json()["component_digest"].clone()
    };
    let first = ran();
    // Somebody moves the tag: nothing changes here, on another machine neither.
    push(&registry, 2);
    assert_eq!(ran(), first);
    let other = Machine::new(&source);
    let lock = std::fs::read(machine.sandbox.path().join("wasm-runner.lock")).expect("there is one");
    other.sandbox.write("wasm-runner.lock", &lock);
    let pulled = other.run(&["component", "pull"]).expect(0);
    assert_eq!(json!(pulled.stdout().trim().trim_start_matches("fib ")), first);
    machine.run(&["lock", "--update", "fib"]).expect(0);
    assert_ne!(ran(), first);
    // The lock of one source says nothing about another.
    let elsewhere = Machine::new(&source.replace("latest", "next"));
    elsewhere.sandbox.write("wasm-runner.lock", &lock);
    let output = elsewhere.run(&["check"]).expect(78);
    assert!(output.stderr.contains("`run-wasm-runner lock --update fib`"), "{output:?}");
}

#[test]
fn bytes_with_another_digest_are_refused() {
    let registry = Registry::start();
    let manifest = push(&registry, 1);
    let machine = Machine::new(&format!("oci://{}/acme/fib@{manifest}", registry.host()));
    let inspected = machine.sandbox.write("fib.wasm", fib(1));
    let inspected = machine.run(&["inspect", inspected.to_str().expect("UTF-8"), "--json"]).expect(0).json();
    let digest = inspected["digest"].as_str().expect("a digest");
    let mut bytes = fib(1);
    *bytes.last_mut().expect("some") ^= 1;
    std::fs::write(registry.blob(digest), &bytes).expect("it is there");
    let output = machine.run(&["component", "pull"]).expect(78);
    assert!(output.stderr.contains("component `fib`"), "{output:?}");
    // And a manifest of another digest.
    let blob = registry.blob(&manifest);
    let text = std::fs::read_to_string(&blob).expect("it is there");
    std::fs::write(&blob, text + " ").expect("it is ours");
    let fresh = Machine::new(&format!("oci://{}/acme/fib@{manifest}", registry.host()));
    let output = fresh.run(&["component", "pull"]).expect(78);
    assert!(output.stderr.contains("component `fib`"), "{output:?}");
    for machine in [&machine, &fresh] {
        let kept = std::fs::read_dir(machine.cache().join("components")).map_or(0, Iterator::count);
        assert_eq!(kept, 0, "nothing of it is kept");
    }
}

#[test]
fn a_missing_artifact_or_one_without_a_component_is_reported() {
    let registry = Registry::start();
    let image = "application/vnd.oci.image.config.v1+json";
    let manifest = registry.push("acme/image", "latest", &fib(1), image, &RegistryAuth::Anonymous);
    let machine = Machine::new(&format!("oci://{}/acme/image@{manifest}", registry.host()));
    let output = machine.run(&["component", "pull"]).expect(78);
    assert!(output.stderr.contains("it is no component"), "{output:?}");
    let machine = Machine::new(&format!("oci://{}/acme/nothing:latest", registry.host()));
    for args in [&["component", "pull"][..], &["lock"]] {
        let output = machine.run(args).expect(78);
        assert!(output.stderr.contains("can't be fetched"), "{args:?}: {output:?}");
    }
    let output = machine.run(&["component", "pull", "fob"]).expect(2);
    assert!(output.stderr.contains("`fib`"), "{output:?}");
    // One byte more than is allowed.
    let manifest = push(&registry, 1);
    let machine = Machine::new(&format!("oci://{}/acme/fib@{manifest}", registry.host()));
    let text = std::fs::read_to_string(machine.sandbox.path().join("wasm-runner.toml")).expect("it is there");
    let most = fib(1).len() - 1;
    machine.sandbox.write("wasm-runner.toml", format!("[compile]\ncomponent = \"{most}B\"\n{text}"));
    let output = machine.run(&["component", "pull"]).expect(78);
    assert!(output.stderr.contains("`compile.component`"), "{output:?}");
}

#[test]
fn credentials_go_only_to_the_registry_that_asks_for_them() {
    // `acme:open sesame`, as `htpasswd -B` writes it.
    let registry =
        Registry::start_closed("acme:$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n");
    let auth = RegistryAuth::Basic(USER.to_owned(), PASSWORD.to_owned());
    let manifest = registry.push("acme/fib", "latest", &fib(1), WASM, &auth);
    let source = format!("oci://{}/acme/fib@{manifest}", registry.host());
    let pull = |machine: &Machine| machine.command(&["-vv", "component", "pull"]);
    let silent = |output: &Output| {
        assert!(!output.stderr.contains(PASSWORD) && !output.stderr.contains("YWNtZTpv"), "{output:?}");
    };
    let machine = Machine::new(&source);
    let output = pull(&machine).run().expect(78);
    assert!(output.stderr.contains("can't be fetched"), "{output:?}");
    let wrong = format!("{}={USER}:{PASSWORD}2", registry.host());
    let output = pull(&machine).env("WASM_RUNNER_REGISTRY_AUTH", wrong).run().expect(78);
    silent(&output);
    let other = format!("ghcr.io={USER}:{PASSWORD}");
    pull(&machine).env("WASM_RUNNER_REGISTRY_AUTH", other).run().expect(78);
    let output = pull(&machine).env("WASM_RUNNER_REGISTRY_AUTH", "nonsense").run().expect(78);
    assert!(output.stderr.contains("not `HOST=USER:PASSWORD`"), "{output:?}");
    let right = format!("{}={USER}:{PASSWORD}", registry.host());
    silent(&pull(&machine).env("WASM_RUNNER_REGISTRY_AUTH", right).run().expect(0));
    // The same from docker's configuration, on a machine that has nothing yet.
    let machine = Machine::new(&source);
    let auths = json!({ "auths": { registry.host(): { "auth": "YWNtZTpvcGVuIHNlc2FtZQ==" } } });
    machine.sandbox.write("docker/config.json", auths.to_string());
    silent(&pull(&machine).run().expect(0));
}
