//! The platform of `guest-tasks/platform`: plugins that are pushed while a runner runs, called by name.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::cli::{Output, Sandbox};
use crate::support::database::shared;
use crate::support::guests::guest;

const TASK: &str = "dispatcher::transform";

struct Platform {
    place: Sandbox,
    store: String,
}

impl Platform {
    /// With the configuration of the example, word for word but for the place of the dispatcher.
    fn new(store: &str) -> Self {
        let place = Sandbox::new();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest-tasks/platform/wasm-runner.toml");
        let text = std::fs::read_to_string(example).expect("it is there");
        let dispatcher = guest("dispatcher").display().to_string();
        place.write("wasm-runner.toml", text.replace("dispatcher.wasm", &dispatcher));
        Self { place, store: store.to_owned() }
    }

    fn run(&self, args: &[&str]) -> Output {
        self.place.command(args).env("WASM_RUNNER_STORE", &self.store).run()
    }

    #[track_caller]
    fn push(&self, customer: &str, guest_name: &str) {
        let path = guest(guest_name).display().to_string();
        let pushed = self.run(&["component", "push", customer, &path, "--label", "plan=free", "--wait"]);
        let note = format!("1 runner has taken `{customer}` over");
        assert!(pushed.expect(0).stderr.contains(&note), "{note}");
    }

    fn transform(&self, customer: &str) -> Output {
        let arguments = json!([customer, "hello world"]).to_string();
        self.run(&["submit", "--wait", TASK, &arguments])
    }
}

fn plugins_come_and_go(store: &str) {
    let platform = Platform::new(store);
    let mut runner = platform.place.command(["start"]).env("WASM_RUNNER_STORE", store).spawn();
    runner.wait_for_stderr("the runner has started");
    let output = platform.transform("customer-anna").expect(1);
    assert!(output.stderr.contains("has no plugin"), "{output:?}");
    // The first push of all: nobody knows yet that the runner serves components from the store.
    platform.push("customer-anna", "upper");
    assert_eq!(platform.transform("customer-anna").expect(0).json(), "HELLO WORLD");
    platform.push("customer-eve", "greedy");
    let output = platform.transform("customer-eve").expect(1);
    assert!(output.stderr.contains("the plugin of `customer-eve` was stopped"), "{output:?}");
    assert_eq!(platform.transform("customer-anna").expect(0).json(), "HELLO WORLD");
    // A name that would name something else.
    for name in ["customer-anna::platform", "dispatcher.transform", ""] {
        let output = platform.transform(name).expect(1);
        assert!(output.stderr.contains("is no customer"), "{output:?}");
    }
    let other = guest("workflow").display().to_string();
    let diff = platform.run(&["component", "diff", "customer-anna", &other, "--deny-new-rights"]).expect(1);
    assert!(diff.stdout().contains("- task platform:plugin/text@1.transform"), "{diff:?}");
    // Its unfinished invocations go with it: the profile says so.
    let task = "customer-eve::platform:plugin/text@1.transform";
    let waiting = platform.run(&["submit", task, "[\"x\"]", "--delay", "1h"]).expect(0);
    let removed = platform.run(&["component", "remove", "customer-eve"]).expect(0);
    assert_eq!(removed.stdout().trim(), "removed customer-eve; 1 cancelled");
    let status = platform.run(&["status", waiting.stdout().trim(), "--json"]).expect(0).json();
    assert_eq!(status["status"], "cancelled");
    // A flood of one customer ends at its quota. The runner has written it into the store.
    platform.push("customer-mallory", "greedy");
    platform.place.write("texts", "[\"hello\"]\n".repeat(120));
    let flood = platform.run(&["submit", "customer-mallory::transform", "--batch", "texts"]).expect(4);
    assert_eq!(flood.stdout().lines().count(), 100);
    assert!(flood.stderr.contains("(quota `unfinished`: 100)"), "{flood:?}");
    assert_eq!(flood.stderr.matches("quota `unfinished`").count(), 1, "{flood:?}");
    assert!(flood.stderr.contains("lines 101-120 of `texts`: the component"), "{flood:?}");
    assert_eq!(platform.transform("customer-anna").expect(0).json(), "HELLO WORLD");
    platform.run(&["component", "remove", "customer-mallory"]).expect(0);
    runner.signal(Signal::TERM);
    runner.wait().expect(0);
}

#[test]
fn plugins_come_and_go_on_sqlite() {
    let place = Sandbox::new();
    plugins_come_and_go(&format!("sqlite:{}", place.path().join("state.db").display()));
}

#[test]
fn plugins_come_and_go_on_postgres() {
    plugins_come_and_go(&shared().url());
}

#[test]
fn the_most_exact_section_holds_alone() {
    let place = Sandbox::new();
    let store = format!("sqlite:{}", place.path().join("state.db").display());
    place.write(
        "wasm-runner.toml",
        format!(
            "store = {store:?}\n[profile.low]\nmax-attempts = 2\npriority = -5\n[profile.low.limits]\ntime = \"1s\"\n\
             [component.\"customer-*\"]\nprofile = \"low\"\npriority = 1\n\
             [component.\"customer-paid-*\"]\nmax-attempts = 7\n\
             [component.customer-named]\nsource = \"store\"\nmax-attempts = 9\n"
        ),
    );
    for name in ["customer-a", "customer-paid-b", "customer-named", "other"] {
        place.run(["component", "push", name, &guest("upper").display().to_string()]).expect(0);
    }
    let of = |name: &str| {
        let task = format!("{name}::transform");
        let id = place.run(["submit", &task, "[\"x\"]"]).expect(0).stdout().trim().to_owned();
        let status = place.run(["status", &id, "--json"]).expect(0).json();
        (status["max_attempts"].as_u64(), status["priority"].as_i64())
    };
    let plain = of("other");
    assert_eq!(of("customer-a"), (Some(2), Some(1)), "its profile is beneath it");
    assert_eq!(of("customer-paid-b"), (Some(7), plain.1), "of the other pattern it has nothing");
    assert_eq!(of("customer-named"), (Some(9), plain.1));
    let checked = place.run(["check"]).expect(0);
    assert!(checked.stdout().contains("4 tasks"), "{checked:?}");
}

#[test]
fn what_is_wrong_with_patterns_and_profiles_is_told() {
    let place = Sandbox::new();
    let long = "x".repeat(129);
    place.write(
        "wasm-runner.toml",
        format!(
            "[profile.low]\npath = \"x.wasm\"\n[component.\"customer-*\"]\nprofile = \"lou\"\n\
             [component.\"a.*\"]\n[component.\"b-*\"]\nsource = \"store\"\n[component.{long}]\nsource = \"store\"\n"
        ),
    );
    let output = place.run(["check"]).expect(78);
    for problem in [
        "unknown key `path` in `[profile.low]`",
        "did you mean `low`?",
        "`a.*` can't be a pattern of components",
        "unknown key `source` in `[component.\"b-*\"]`",
        "it has 129 bytes",
    ] {
        assert!(output.stderr.contains(problem), "{problem} is not in {}", output.stderr);
    }
    let fresh = Sandbox::new();
    let output = fresh.run(["component", "push", &long, &guest("upper").display().to_string()]).expect(2);
    assert!(output.stderr.contains("a name has at most 128 bytes"), "{output:?}");
}

#[test]
fn the_longest_names_and_keys_fit_into_every_store() {
    let place = Sandbox::new();
    let name = "n".repeat(128);
    // A text that can't be compressed.
    let key: String =
        (0..1024_u32).map(|n| char::from(b'!' + (n.wrapping_mul(2_654_435_761) >> 25) as u8 % 90)).collect();
    for store in [format!("sqlite:{}", place.path().join("state.db").display()), shared().url()] {
        let run = |args: &[&str]| place.command(args).env("WASM_RUNNER_STORE", &store).run();
        run(&["component", "push", &name, &guest("workflow").display().to_string()]).expect(0);
        // A guest's key is stored with the name of its component.
        let arguments = json!([format!("{name}::basics.nothing"), "[]", key]).to_string();
        let task = format!("{name}::control.submit-twice");
        let id = run(&["submit", &task, &arguments, "--key", &key]).expect(0);
        run(&["start", "--until-idle"]).expect(0);
        let status = run(&["status", id.stdout().trim(), "--json"]).expect(0).json();
        assert_eq!(status["status"], "succeeded", "{status}");
    }
}

#[test]
fn a_section_that_loses_the_profile_of_a_pattern_is_told() {
    let place = Sandbox::new();
    let configure = |section: &str| {
        let text = format!(
            "store = \"sqlite:state.db\"\n[profile.untrusted.limits]\ntime = \"5s\"\n\
             [component.\"cust-*\"]\nprofile = \"untrusted\"\n{section}"
        );
        place.write("wasm-runner.toml", text);
    };
    let warnings = || place.run(["check"]).expect(0).stderr;
    let denials = || place.run(["call", "cust-anna::read-text", "[\"x\"]"]).expect(1).stderr;
    configure("");
    place.run(["component", "push", "cust-anna", &guest("workflow").display().to_string()]).expect(0);
    // The keys of the pattern are named before there is a section that loses them.
    assert_eq!(warnings(), "");
    let note = "would (a section `[component.cust-anna]` replaces `[component.\"cust-*\"]`: it needs \
                `source = \"store\"` and `profile = \"untrusted\"`)";
    assert!(denials().contains(note), "{}", denials());
    configure("[component.cust-anna]\nsource = \"store\"\n");
    let lost = "`[component.cust-anna]` has no `profile`, and the section `[component.\"cust-*\"]`, which it replaces, \
                has `profile = \"untrusted\"`: repeat it";
    assert!(warnings().contains(&format!("wasm-runner.toml:6: {lost}")), "{}", warnings());
    let checked = place.run(["check", "--json"]).expect(0).json();
    assert!(checked["warnings"][0]["message"].as_str().expect("a text").ends_with(lost), "{checked}");
    assert!(denials().contains(&format!("would ({lost})")), "{}", denials());
    // One that repeats it loses nothing.
    configure("[component.cust-anna]\nsource = \"store\"\nprofile = \"untrusted\"\n");
    assert_eq!(warnings(), "");
    assert!(denials().lines().any(|line| line.ends_with("directory]]` would")), "{}", denials());
    // A more exact pattern loses it, too, and the section of a file doesn't: what is pushed is all that patterns are for.
    let file = guest("upper").display().to_string();
    configure(&format!(
        "[component.\"cust-paid-*\"]\nmax-attempts = 2\n[component.cust-own]\npath = {file:?}\n"
    ));
    assert!(warnings().contains("`[component.\"cust-paid-*\"]` has no `profile`"), "{}", warnings());
    assert!(!warnings().contains("cust-own"), "{}", warnings());
    configure("[component.cust-anna]\nmay-submit = []\n");
    let hint = "`source = \"store\"` for what was pushed, with `profile = \"untrusted\"`, which the section \
                `[component.\"cust-*\"]` has and this one replaces";
    let refused = place.run(["check"]).expect(78);
    assert!(refused.stderr.contains(hint), "{refused:?}");
}

#[test]
fn a_push_that_can_not_be_used_takes_no_working_version_away() {
    let place = Sandbox::new();
    place.write("wasm-runner.toml", "store = \"sqlite:state.db\"\n[component.\"cust-*\"]\n");
    let push = |name: &str, guest_name: &str| {
        place.run(["component", "push", name, &guest(guest_name).display().to_string()]).expect(0)
    };
    let transform = || {
        let args = ["submit", "--wait", "cust-anna::transform", "[\"hello\"]"];
        place.run(args).expect(0)
    };
    let mut runner = place.command(["start"]).spawn();
    runner.wait_for_stderr("the runner has started");
    push("cust-anna", "upper");
    runner.wait_for_stderr("a component was added component=cust-anna");
    assert_eq!(transform().json(), "HELLO");
    // It imports what nobody provides: somebody may push that later, so it is no error.
    let pushed = push("cust-anna", "unknown-import");
    assert!(pushed.stderr.contains("an earlier version of `cust-anna` stays in use"), "{pushed:?}");
    let list = place.run(["component", "list", "--json"]).expect(0).json_lines();
    let digests: Vec<_> = list.iter().map(|one| one["digest"].as_str().expect("a digest")).collect();
    let (newer, older) = (digests[0], digests[1]);
    runner.wait_for_stderr(&format!("component `cust-anna`: the pushed version {newer} can't be used: "));
    // So says the list, as soon as the runner has answered.
    let standing = || -> Vec<Value> {
        let list = place.run(["component", "list", "--json"]).expect(0).json_lines();
        list.iter().map(|one| json!([one["in_use"], one["refused"].is_string()])).collect()
    };
    let until = Instant::now() + Duration::from_secs(30);
    while standing()[0] != json!([false, true]) {
        assert!(Instant::now() < until, "{:?}", standing());
    }
    assert_eq!(standing(), [json!([false, true]), json!([true, false])]);
    let table = place.run(["component", "list"]).expect(0);
    assert!(table.stdout().contains("newest, refused: ") && table.stdout().contains("in use"), "{table:?}");
    // Its name stands for the version in use, where versions are looked into and compared.
    let told = format!(
        "`cust-anna` stands for {older}, which is in use: the newest version, {newer}, can't be used: "
    );
    let looked_into = place.run(["inspect", "cust-anna", "--json"]).expect(0);
    assert_eq!(
        (&looked_into.json()["digest"], looked_into.stderr.matches(&told).count()),
        (&json!(older), 1)
    );
    let upper = guest("upper").display().to_string();
    let denies = ["--deny-new-rights", "--deny-removed-tasks"];
    let same = place.run([&["component", "diff", "cust-anna", &upper][..], &denies].concat()).expect(0);
    assert_eq!((same.stdout().trim(), same.stderr.matches(&told).count()), ("the same component", 1));
    let workflow = guest("workflow").display().to_string();
    for flag in denies {
        let refused = place.run(["component", "push", "cust-anna", &workflow, flag]).expect(1);
        assert!(refused.stderr.contains("of the version in use") || flag == denies[0], "{refused:?}");
        assert_eq!(refused.stderr.matches(&told).count(), 1, "{refused:?}");
    }
    // Another process finds the same version, and so does a runner that starts now.
    let output = transform();
    assert_eq!(output.json(), "HELLO");
    assert!(output.stderr.contains(&format!("; version {older} stays")), "{output:?}");
    let id = place.run(["submit", "cust-anna::transform", "[\"again\"]"]).expect(0);
    let status = place.run(["status", id.stdout().trim(), "--json"]).expect(0).json();
    assert_eq!(status["component_digest"], older);
    runner.signal(Signal::TERM);
    let log = runner.wait().expect(0).stderr;
    assert!(!log.contains("a component was removed"), "{log}");
    let started = place.run(["start", "--until-idle"]).expect(0);
    assert!(started.stderr.contains(&format!("; version {older} stays")), "{started:?}");
    // The runner takes over the next push.
    let mut runner = place.command(["start"]).spawn();
    runner.wait_for_stderr("the runner has started");
    push("cust-anna", "workflow");
    runner.wait_for_stderr("a component was replaced component=cust-anna");
    runner.signal(Signal::TERM);
    runner.wait().expect(0);
}

#[test]
fn a_push_that_no_runner_could_link_is_refused() {
    let place = Sandbox::new();
    // A component that imports an interface of the host that the runner does not have, empty but for a function.
    let name = b"wasi:keyvalue/store@0.2.0";
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    // A type: an instance that exports the function `open` without parameters and results.
    let instance = b"\x01\x42\x02\x01\x40\0\x01\0\x04\0\x04open\x01\0";
    bytes.extend([7, instance.len() as u8]);
    bytes.extend(instance);
    // Its import.
    bytes.extend([10, name.len() as u8 + 5, 1, 0, name.len() as u8]);
    bytes.extend(name);
    bytes.extend([5, 0]);
    place.write("plugin.wasm", bytes);
    let refused = place.run(["component", "push", "cust-eve", "plugin.wasm"]).expect(78);
    assert!(refused.stderr.contains("no runner could link it: "), "{refused:?}");
    assert!(refused.stderr.contains("wasi:keyvalue/store@0.2.0"), "{refused:?}");
}

#[test]
fn what_was_removed_is_not_retried() {
    let place = Sandbox::new();
    place.write("wasm-runner.toml", "store = \"sqlite:state.db\"\n[component.\"cust-*\"]\n");
    for name in ["cust-anna", "cust-bob"] {
        place.run(["component", "push", name, &guest("workflow").display().to_string()]).expect(0);
    }
    let submit = |name: &str| {
        let task = format!("{name}::read-text");
        place.run(["submit", &task, "[\"nothing\"]"]).expect(0).stdout().trim().to_owned()
    };
    let (removed, other) = (submit("cust-anna"), submit("cust-bob"));
    place.run(["start", "--until-idle"]).expect(0);
    place.run(["component", "remove", "cust-anna"]).expect(0);
    // Nothing of it is unfinished: the store has forgotten it.
    assert!(!place.run(["component", "list"]).expect(0).stdout().contains("cust-anna"));
    let refused = place.run(["retry", &removed]).expect(2);
    assert!(refused.stderr.contains("its component was removed"), "{refused:?}");
    // Of a selection, the others are retried, and are those that a dry run lists.
    let dry = place.run(["retry", "--status", "failed", "--dry-run"]).expect(0);
    assert_eq!(dry.stdout().trim(), other);
    let note = "would retry 1 invocation, and would refuse 1 invocation of components that were removed";
    assert!(dry.stderr.contains(note), "{dry:?}");
    let none = place.run(["retry", "--component", "cust-anna", "--status", "failed", "--dry-run"]).expect(0);
    assert!(none.stderr.contains("would retry 0 invocations, and would refuse 1 invocation"), "{none:?}");
    assert!(!none.stderr.contains("no invocation is selected"), "{none:?}");
    let output = place.run(["retry", "--status", "failed"]).expect(2);
    assert!(output.stderr.contains("its component was removed"), "{output:?}");
    let copies = place.run(["list", "--status", "queued", "--json"]).expect(0).json_lines();
    assert_eq!(copies.len(), 1, "{copies:?}");
    assert_eq!(copies[0]["retry_of"], other.as_str());
}

#[test]
fn a_plugin_without_the_interface_does_not_pass() {
    let place = Sandbox::new();
    place.write("wasm-runner.toml", "store = \"sqlite:state.db\"\n[component.\"cust-*\"]\n");
    let (upper, workflow) = (guest("upper").display().to_string(), guest("workflow").display().to_string());
    let require =
        |file: &str, interface: &str| place.run(["inspect", file, "--require-interface", interface]);
    require(&upper, "platform:plugin/text").expect(0);
    require(&upper, "platform:plugin/text@1.0.0").expect(0);
    require(&upper, "platform:plugin/text@2.0.0").expect(1);
    let output = require(&workflow, "platform:plugin/text").expect(1);
    assert!(output.stderr.contains("exports no tasks from `platform:plugin/text`"), "{output:?}");
    assert!(output.stderr.contains("it exports tasks from `demo:workflow/"), "{output:?}");
    let diff = |old: &str, new: &str| place.run(["component", "diff", old, new, "--deny-removed-tasks"]);
    let output = diff(&upper, &workflow).expect(1);
    assert!(output.stderr.contains("lacks 1 task of"), "{output:?}");
    diff(&upper, &upper).expect(0);
    // A version that was replaced is found by the first digits of its digest.
    for file in [&upper, &workflow] {
        place.run(["component", "push", "cust-anna", file]).expect(0);
    }
    let list = place.run(["component", "list", "--json"]).expect(0).json_lines();
    let digest = list[1]["digest"].as_str().expect("a digest");
    for name in [format!("cust-anna@{digest}"), format!("cust-anna@{}", &digest["sha256:".len()..][..8])] {
        require(&name, "platform:plugin/text").expect(0);
        let output = diff(&name, "cust-anna").expect(1);
        assert!(output.stdout().contains("- task platform:plugin/text@1.transform"), "{output:?}");
    }
    let output = require("cust-anna@sha256:zz", "platform:plugin/text").expect(2);
    assert!(output.stderr.contains(digest), "{output:?}");
}

#[test]
fn a_push_that_waits_tells_when_runners_have_it() {
    let place = Sandbox::new();
    place.write("wasm-runner.toml", "store = \"sqlite:state.db\"\n[component.\"cust-*\"]\n");
    let push = |name: &str, guest_name: &str, wait: &str| {
        place.run(["component", "push", name, &guest(guest_name).display().to_string(), wait])
    };
    let nobody = push("cust-anna", "upper", "--wait").expect(0);
    assert!(nobody.stderr.contains("no running runner serves `cust-anna`"), "{nobody:?}");
    let id_of = |line: &str| {
        let (_, id) = line.split_once("runner=").expect("the first line has the id");
        id.split_whitespace().next().expect("an id").to_owned()
    };
    let mut first = place.command(["start"]).spawn();
    let first_id = id_of(&first.wait_for_stderr("the runner has started"));
    let one = push("cust-anna", "upper", "--wait").expect(0);
    assert!(one.stderr.contains("1 runner has taken `cust-anna` over"), "{one:?}");
    // One that takes no components from the store is not waited for, and has nothing to say.
    let file = guest("workflow").display().to_string();
    let config =
        place.write("files.toml", format!("store = \"sqlite:state.db\"\n[component.own]\npath = {file:?}\n"));
    let mut other = place.command(["start", "--config", &config.display().to_string()]).spawn();
    other.wait_for_stderr("the runner has started");
    let both = push("cust-bob", "upper", "--wait=30s").expect(0);
    assert!(both.stderr.contains("1 runner has taken `cust-bob` over"), "{both:?}");
    // Bytes that need what nobody provides: the runner says so.
    let refused = push("cust-bob", "unknown-import", "--wait").expect(78);
    assert!(refused.stderr.contains(&format!("runner {first_id} can't use it: ")), "{refused:?}");
    assert_eq!(refused.stdout().lines().count(), 1, "it is pushed all the same");
    // A runner that does not answer.
    first.signal(Signal::STOP);
    let late = push("cust-bob", "workflow", "--wait=500ms").expect(75);
    assert!(late.stderr.contains(&format!("`cust-bob` is not taken over by {first_id}")), "{late:?}");
    // One that is silent for seconds and has no lease is as good as gone.
    let gone = push("cust-bob", "workflow", "--wait=30s").expect(0);
    assert!(gone.stderr.contains("no running runner serves `cust-bob`"), "{gone:?}");
    first.signal(Signal::CONT);
    for runner in [first, other] {
        runner.signal(Signal::TERM);
        runner.wait().expect(0);
    }
}

#[test]
fn a_push_may_ask_for_no_new_rights() {
    let place = Sandbox::new();
    place.write("wasm-runner.toml", "store = \"sqlite:state.db\"\n[component.\"cust-*\"]\n");
    let push = |guest_name: &str, flags: &[&str]| {
        let file = guest(guest_name).display().to_string();
        place.run([&["component", "push", "cust-anna", &file][..], flags].concat())
    };
    let refused = push("workflow", &["--deny-new-rights"]).expect(1);
    assert!(refused.stderr.contains("`cust-anna` asks for "), "{refused:?}");
    assert!(refused.stdout.is_empty() && place.run(["component", "list"]).expect(0).stdout.is_empty());
    // The right that the library of its language asks for.
    push("upper", &["--deny-new-rights"]).expect(1);
    push("upper", &["--deny-new-rights", "--allow-right", "environment"]).expect(0);
    let unknown = push("upper", &["--deny-new-rights", "--allow-right", "enviroment"]).expect(2);
    assert!(unknown.stderr.contains("did you mean `environment`?"), "{unknown:?}");
    let refused = push("workflow", &["--deny-new-rights"]).expect(1);
    assert!(refused.stderr.contains("that the version in use does not"), "{refused:?}");
    assert!(refused.stderr.contains("`--allow-right RIGHT`"), "{refused:?}");
    push("workflow", &[]).expect(0);
    push("workflow", &["--deny-new-rights"]).expect(0);
}

#[test]
fn a_push_says_which_tasks_it_removes_and_which_rights_are_new() {
    let place = Sandbox::new();
    place.write("wasm-runner.toml", "store = \"sqlite:state.db\"\n[component.\"cust-*\"]\n");
    let push = |guest_name: &str, flags: &[&str]| {
        let file = guest(guest_name).display().to_string();
        place.run([&["component", "push", "cust-anna", &file, "--json"][..], flags].concat())
    };
    let first = push("upper", &["--deny-removed-tasks"]).expect(0);
    let changes = |output: &Output| {
        let document = output.json();
        (document["removed_tasks"].clone(), document["new_rights"].clone())
    };
    assert_eq!(changes(&first), (Value::Null, Value::Null), "there is nothing to compare it with");
    assert!(!first.stderr.contains("lacks") && !first.stderr.contains("asks for"), "{first:?}");
    let refused = push("workflow", &["--deny-removed-tasks"]).expect(1);
    assert!(refused.stderr.contains("`cust-anna` lacks 1 task of the version in use"), "{refused:?}");
    assert!(refused.stderr.contains(".transform(text: string)") && refused.stdout.is_empty(), "{refused:?}");
    let pushed = push("workflow", &[]).expect(0);
    let (tasks, rights) = changes(&pushed);
    assert!(tasks.as_array().is_some_and(|tasks| tasks.len() == 1), "{pushed:?}");
    assert!(tasks[0].as_str().is_some_and(|task| task.contains(".transform(text: string)")), "{pushed:?}");
    assert!(rights.as_array().is_some_and(|rights| rights[0]["right"].is_string()), "{pushed:?}");
    for note in [
        "`cust-anna` lacks 1 task of the version that was in use",
        "that the version that was in use does not: ",
    ] {
        assert_eq!(pushed.stderr.lines().filter(|line| line.contains(note)).count(), 1, "{note}: {pushed:?}");
    }
    let again = push("workflow", &["--deny-removed-tasks"]).expect(0);
    assert_eq!(changes(&again), (Value::Null, Value::Null));
}

#[test]
fn a_diff_allows_rights_as_a_push_does() {
    let place = Sandbox::new();
    let (plain, upper) = (guest("greedy").display().to_string(), guest("upper").display().to_string());
    let diff = |flags: &[&str]| place.run([&["component", "diff", &plain, &upper][..], flags].concat());
    let refused = diff(&["--deny-new-rights"]).expect(1);
    assert!(refused.stderr.contains("`--allow-right RIGHT`"), "{refused:?}");
    diff(&["--deny-new-rights", "--allow-right", "environment"]).expect(0);
    let unknown = diff(&["--deny-new-rights", "--allow-right", "enviroment"]).expect(2);
    // Every kind that can be refused is in the help.
    let (_, known) = unknown.stderr.split_once("known: ").expect("the known ones are listed");
    let known = known.split(')').next().unwrap_or_default();
    for command in ["push", "diff"] {
        let help = place.run(["component", command, "--help"]).expect(0);
        for right in known.split(", ").filter(|right| !["`clocks`", "`random`"].contains(right)) {
            assert!(help.stdout().contains(right), "{right}: {help:?}");
        }
    }
}

#[test]
fn a_retry_runs_the_bytes_that_a_submit_would_get() {
    let place = Sandbox::new();
    place
        .write("wasm-runner.toml", "store = \"sqlite:state.db\"\n[component.\"cust-*\"]\nmax-attempts = 1\n");
    let push = |guest_name: &str| {
        let file = guest(guest_name).display().to_string();
        let pushed = place.run(["component", "push", "cust-anna", &file, "--json"]).expect(0).json();
        pushed["digest"].as_str().expect("a digest").to_owned()
    };
    let status = |id: &str| place.run(["status", id, "--json"]).expect(0).json();
    let submit =
        || place.run(["submit", "cust-anna::transform", "[\"a b\"]"]).expect(0).stdout().trim().to_owned();
    let broken = push("greedy");
    let id = place.run(["submit", "cust-anna::transform", "[\"a b\"]", "--limit", "time=50ms"]).expect(0);
    let id = id.stdout().trim().to_owned();
    place.run(["start", "--until-idle"]).expect(0);
    assert_eq!(
        (&status(&id)["status"], &status(&id)["component_digest"]),
        (&json!("failed"), &json!(broken))
    );
    let fixed = push("upper");
    // Invocations that wait stay on their bytes.
    let copy = place.run(["retry", &id]).expect(0).stdout().trim().to_owned();
    assert_eq!(status(&copy)["component_digest"], json!(fixed));
    let plain = submit();
    assert_eq!(status(&plain)["component_digest"], json!(fixed));
    place.run(["cancel", &copy]).expect(0);
    // A version that can't be used is passed over, as by a submit.
    push("unknown-import");
    let copies = place.run(["retry", "--status", "failed"]).expect(0);
    let copy = copies.stdout().trim().to_owned();
    assert_eq!(status(&copy)["component_digest"], json!(fixed));
    // One that does not have the task is not.
    place.run(["cancel", &copy]).expect(0);
    push("workflow");
    let refused = place.run(["retry", &id]).expect(2);
    assert!(refused.stderr.contains("does not export it any more"), "{refused:?}");
    // Of several that are named, none is retried then.
    let other = place.run(["submit", "cust-anna::basics.nothing", "[]"]).expect(0).stdout().trim().to_owned();
    place.run(["cancel", &other]).expect(0);
    place.run(["retry", &other, &id]).expect(2);
    assert_eq!(status(&other)["retried_as"], serde_json::Value::Null);
}

#[test]
fn a_component_that_fits_no_section_submits_nothing() {
    let place = Sandbox::new();
    let workflow = guest("workflow").display().to_string();
    let submits = |name: &str| {
        let task = format!("{name}::control.submit-twice");
        let arguments = json!([format!("{name}::basics.nothing"), "[]", "k"]).to_string();
        let id = place.run(["submit", &task, &arguments]).expect(0).stdout().trim().to_owned();
        place.run(["start", "--until-idle"]).expect(0);
        place.run(["status", &id, "--json"]).expect(0).json()["status"].clone()
    };
    let push = |name: &str| place.run(["component", "push", name, &workflow]).expect(0).stderr;
    place.write("wasm-runner.toml", "store = \"sqlite:state.db\"\n");
    assert!(!push("custmer-anna").contains("no section"));
    assert_eq!(submits("custmer-anna"), "succeeded", "without patterns all stays as it is");
    place.write("wasm-runner.toml", "store = \"sqlite:state.db\"\n[component.\"customer-*\"]\n");
    assert!(!push("customer-anna").contains("no section"));
    let told = push("custmer-anna");
    assert!(told.contains("no section of the configuration fits `custmer-anna`"), "{told}");
    assert_eq!(submits("customer-anna"), "succeeded");
    assert_eq!(submits("custmer-anna"), "failed");
    let checked = place.run(["check"]).expect(0);
    assert!(checked.stderr.contains("no section fits what was pushed as `custmer-anna`:"), "{checked:?}");
}

#[test]
fn a_push_goes_back_without_the_file() {
    let place = Sandbox::new();
    place.write("wasm-runner.toml", "store = \"sqlite:state.db\"\n[component.\"cust-*\"]\n");
    for guest_name in ["upper", "workflow"] {
        place.run(["component", "push", "cust-anna", &guest(guest_name).display().to_string()]).expect(0);
    }
    let list = place.run(["component", "list", "--json"]).expect(0).json_lines();
    let digest = list[1]["digest"].as_str().expect("a digest").to_owned();
    let version = format!("cust-anna@{}", &digest[..15]);
    let pushed = place.run(["component", "push", "cust-anna", &version]).expect(0);
    assert_eq!(pushed.stdout().trim(), format!("cust-anna {digest}"));
    let list = place.run(["component", "list", "--json"]).expect(0).json_lines();
    assert_eq!((&list[0]["digest"], &list[0]["newest"]), (&json!(digest), &json!(true)));
    let unknown = place.run(["component", "push", "cust-anna", "cust-anna@sha256:zz"]).expect(2);
    assert!(unknown.stderr.contains(&digest), "{unknown:?}");
    let no_file = place.run(["component", "push", "cust-zoe", "README"]).expect(78);
    assert!(no_file.stderr.contains("there is no file `README`"), "{no_file:?}");
    // A component that was removed is told to be so.
    place.run(["component", "remove", "cust-anna"]).expect(0);
    let file = guest("upper").display().to_string();
    for args in [&["inspect", "cust-anna"][..], &["component", "diff", "cust-anna", &file]] {
        let output = place.run(args).expect(78);
        assert!(output.stderr.contains("which was removed or never pushed"), "{output:?}");
    }
    let output = place.run(["component", "push", "cust-anna", &version]).expect(2);
    assert!(output.stderr.contains("it was removed, or never pushed"), "{output:?}");
}

#[test]
fn a_removed_component_finishes_and_submits_no_detached_children_of_itself() {
    let place = Sandbox::new();
    place.write("wasm-runner.toml", "store = \"sqlite:state.db\"\n[component.\"cust-*\"]\n");
    place.run(["component", "push", "cust-eve", &guest("adversary").display().to_string()]).expect(0);
    // It submits itself, detached and attached, and awaits the last child that it gets. Both would do the same.
    let program = ["submit 1 0 1 0 0 0", "submit 1 0 0 0 0 0", "await-all 1 1 1"];
    let arguments = serde_json::json!([[program], 0, 2]).to_string();
    let submitted = place.run(["submit", "cust-eve::programs.run", &arguments]).expect(0);
    let root = submitted.stdout().trim().to_owned();
    place.run(["component", "remove", "cust-eve"]).expect(0);
    place.run(["start", "--until-idle"]).expect(0);
    assert_eq!(place.run(["status", &root, "--json"]).expect(0).json()["status"], "succeeded");
    let all = place.run(["list", "--limit", "0", "--json"]).expect(0).json_lines();
    // One child for each generation, down to `nothing`.
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all.iter().all(|one| one["detached"] == false && one["status"] == "succeeded"), "{all:?}");
    // Before, the store kept it as long as it went on.
    assert_eq!(place.run(["component", "list"]).expect(0).stdout(), "");
}
