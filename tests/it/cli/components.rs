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
fn a_push_that_makes_a_configured_name_ambiguous_stops_no_runner() {
    const SECTION: &str = "[component.\"plugin-*\"]\n[task.nothing]\nlimits = { time = \"7s\" }\n";
    let ground = Sandbox::new();
    let store = format!("sqlite:{}", ground.path().join("store.db").display());
    let push = |name: &str, guest_name: &str| {
        Machine::new(&store, "")
            .run(&["component", "push", name, &guest(guest_name).display().to_string()])
            .expect(0);
    };
    // The seconds that each task called `nothing` has.
    let times = |machine: &Machine| -> Vec<(String, Value)> {
        let tasks = machine.run(&["tasks", "--json"]).expect(0).json_lines();
        let of = |task: &Value| task["task"].as_str().expect("an id").to_owned();
        let named = tasks.iter().filter(|task| of(task).ends_with("nothing"));
        named.map(|task| (of(task), task["limits"]["time_seconds"].clone())).collect()
    };
    push("plugin-a", "spin-at-start");
    let own = Machine::new(&store, &configured("faults", &guest("faults"), SECTION));
    // Two functions are called so: the one of the component that the file names is meant.
    let faults = "faults::demo:faults/faults@0.1.nothing".to_owned();
    assert_eq!(times(&own), [(faults, json!(7.0)), ("plugin-a::nothing".to_owned(), json!(60.0))]);
    own.run_all();
    // The file names none.
    let other = Machine::new(&store, SECTION);
    push("plugin-b", "faults");
    let both = [("plugin-a::nothing", json!(7.0)), ("plugin-b::demo:faults/faults@0.1.nothing", json!(7.0))];
    assert_eq!(times(&other), both.map(|(task, time)| (task.to_owned(), time)));
    let output = other.run(&["start", "--until-idle"]).expect(0);
    assert!(output.stderr.contains("`[task.\"nothing\"]` holds for all of these"), "{output:?}");
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
        // Somebody else pushes another provider: it changes nothing for those that have one.
        push("two", "adder");
        let output = empty.run(&["tasks"]).expect(0);
        assert!(output.stdout().contains("calculator::") && output.stdout().contains("two::"), "{output:?}");
        assert!(!output.stderr.contains("left out"), "{output:?}");
        let id = empty.submit(&["calculator::total", "[[1, 2]]"]);
        empty.run_all();
        assert_eq!(empty.run(&["result", &id]).expect(0).json(), 3);
        let children = empty.run(&["list", "--json", "--component", "one"]).expect(0).json_lines();
        assert!(!children.is_empty(), "it goes on with the first");
        // One that comes later has two to choose from.
        let output = Machine::new(&store, "")
            .run(&["component", "push", "late", &guest("calculator").display().to_string()])
            .expect(0);
        assert!(output.stderr.contains("`late` imports `demo:calc/add"), "{output:?}");
        let output = empty.run(&["tasks"]).expect(0);
        assert!(output.stderr.contains("left out: component `late`"), "{output:?}");
        assert!(output.stderr.contains("which several components export"), "{output:?}");
        let import =
            output.stderr.split('`').find(|word| word.starts_with("demo:calc/add")).expect("it is named");
        let calculator = guest("calculator").display().to_string();
        let chosen = ["component", "push", "late", &calculator, "--import", &format!("{import}=two")];
        empty.run(&chosen).expect(0);
        assert!(empty.run(&["tasks"]).expect(0).stdout().contains("late::"));
        empty.run(&["component", "remove", "late"]).expect(0);
        let id = empty.submit(&["fib", "[6]"]);
        empty.run_all();
        assert_eq!(empty.run(&["result", &id]).expect(0).json(), 8);
        // A caller that names it can choose.
        let all =
            ["calculator", "one", "two"].map(|name| format!("[component.{name}]\nsource = \"store\"\n"));
        Machine::new(&store, &all.concat()).run(&["start", "--until-idle"]).expect(0);
        let choice = "[component.calculator.imports]\n\"demo:calc/add\" = \"two\"\n";
        let chosen = Machine::new(&store, &(all.concat() + choice));
        assert!(chosen.run(&["tasks"]).expect(0).stdout().contains("calculator::"));
    }
}

#[test]
fn a_configured_component_that_is_not_pushed_waits_for_its_push() {
    let ground = Sandbox::new();
    for store in stores(&ground) {
        let both = configured("echo", &guest("echo"), "[component.fib]\nsource = \"store\"\n");
        let machine = Machine::new(&store, &both);
        let warning = "nothing is pushed under `fib`; its section waits for a push";
        let waits = |args: &[&str], code| {
            let output = machine.run(args).expect(code);
            assert_eq!(output.stderr.matches(warning).count(), 1, "{args:?}: {output:?}");
            output
        };
        let tell_of_fib = || {
            // A submit for another component has nothing to do with it.
            let output = machine.run(&["submit", "echo::hello", "[\"you\"]"]).expect(0);
            assert!(!output.stderr.contains("fib"), "{output:?}");
            waits(&["start", "--until-idle"], 0);
            waits(&["tasks"], 0);
            let checked = waits(&["check"], 0);
            assert!(checked.stdout().contains("1 warning"), "{checked:?}");
            for task in ["fib::demo:math/fibonacci.fib", "fib"] {
                let output = machine.run(&["submit", task, "[1]"]).expect(2);
                let told = format!("unknown task `{task}`");
                let (_, told) = output.stderr.split_once(&told).expect("it is unknown");
                assert!(told.contains(warning), "{output:?}");
            }
        };
        tell_of_fib();
        // A runner that started without it takes it in.
        let mut runner = machine.command(&["start"]).spawn();
        runner.wait_for_stderr("the runner has started");
        let fib = guest("fib").display().to_string();
        machine.run(&["component", "push", "fib", &fib]).expect(0);
        let output = machine.run(&["submit", "--wait", "fib::fib", "[6]"]).expect(0);
        assert_eq!(output.json(), 8);
        assert!(!output.stderr.contains("left out"), "{output:?}");
        runner.signal(rustix::process::Signal::TERM);
        let log = runner.wait().expect(0).stderr;
        assert_eq!(log.matches(warning).count(), 1, "{log}");
        machine.run(&["component", "remove", "fib"]).expect(0);
        tell_of_fib();
    }
}

#[test]
fn a_push_of_what_is_no_file_of_the_configuration_is_refused() {
    let ground = Sandbox::new();
    for store in stores(&ground) {
        let machine = Machine::new(&store, "[component.fib]\nsource = \"store\"\n");
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

#[test]
fn a_component_is_pushed_by_name_and_file_with_labels_and_removed() {
    let ground = Sandbox::new();
    for store in stores(&ground) {
        let machine = Machine::new(&store, "");
        let fib = guest("fib").display().to_string();
        let labels = ["--label", "customer=7", "--label", "plan=free"];
        machine.run(&[&["component", "push", "customer-7", &fib][..], &labels].concat()).expect(0);
        let listed = machine.run(&["component", "list", "--json"]).expect(0).json_lines();
        assert_eq!(listed[0]["labels"], json!({ "customer": "7", "plan": "free" }));
        assert!(listed[0]["functions"].to_string().contains("fib"), "{listed:?}");
        assert!(listed[0]["pushed_at"].is_string());
        let table = machine.run(&["component", "list"]).expect(0);
        assert!(table.stdout().contains("customer=7 plan=free") && table.stdout().contains("newest, in use"));
        // The next push keeps them, unless it says something itself.
        let (newer, _) = version_of("fib", &ground, 7);
        let newer = newer.display().to_string();
        let labels_after = |flags: &[&str]| {
            machine.run(&[&["component", "push", "customer-7", &newer][..], flags].concat()).expect(0);
            machine.run(&["component", "list", "--json"]).expect(0).json_lines()[0]["labels"].clone()
        };
        assert_eq!(labels_after(&[]), json!({ "customer": "7", "plan": "free" }));
        assert_eq!(labels_after(&["--label", "plan=paid"]), json!({ "plan": "paid" }));
        assert_eq!(labels_after(&["--no-label"]), json!(null));
        // Submitted invocations are finished, and no more are taken.
        let id = machine.submit(&["customer-7::fib", "[6]"]);
        let output = machine.run(&["component", "remove", "customer-7", "--json"]).expect(0).json();
        assert_eq!(output, json!({ "name": "customer-7", "unfinished": 1, "cancelled": 0 }));
        let listed = machine.run(&["component", "list", "--json"]).expect(0).json_lines();
        assert!(listed[0]["removed_at"].is_string() && listed[0]["newest"] == false, "{listed:?}");
        machine.run(&["component", "remove", "customer-7"]).expect(2);
        // Or it is cancelled.
        machine.run(&["component", "push", "customer-8", &fib]).expect(0);
        let other = machine.submit(&["customer-8::fib", "[6]"]);
        let removed = machine.run(&["component", "remove", "customer-8", "--unfinished", "cancel"]).expect(0);
        assert_eq!(removed.stdout().trim(), "removed customer-8; 1 cancelled");
        assert_eq!(machine.status(&other)["status"], "cancelled");
        machine.run_all();
        assert_eq!(machine.run(&["result", &id]).expect(0).json(), 8);
        let output = machine.run(&["submit", "customer-7::fib", "[6]"]).expect(2);
        assert!(output.stderr.contains("unknown task"), "{output:?}");
        let listed = machine.run(&["component", "list", "--json"]).expect(0).json_lines();
        assert_eq!(listed, [] as [Value; 0], "nothing needs it any more");
        let output = machine.run(&["component", "remove", "customer-7"]).expect(2);
        assert!(output.stderr.contains("nothing is pushed under that name"), "{output:?}");
    }
}

#[test]
fn a_push_without_a_name_is_of_all_that_are_configured_with_a_file() {
    let ground = Sandbox::new();
    let [store, _] = stores(&ground);
    let config = configured("fib", &guest("fib"), "") + &configured("echo", &guest("echo"), "");
    let machine = Machine::new(&store, &(config + "[component.other]\nsource = \"store\"\n"));
    let pushed = machine.run(&["component", "push"]).expect(0).stdout().to_owned();
    let names: Vec<_> = pushed.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["echo", "fib"]);
    let output = Machine::new(&store, "").run(&["component", "push"]).expect(2);
    assert!(output.stderr.contains("component push NAME FILE"), "{output:?}");
}

/// Waits until a command's output has a text, for at most some seconds: what is waited for comes by itself.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < std::time::Duration::from_secs(30), "{what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_running_runner_takes_over_what_is_pushed_replaced_and_removed() {
    let ground = Sandbox::new();
    let (old, old_digest) = version_of("echo", &ground, 1);
    let (new, new_digest) = version_of("echo", &ground, 2);
    let fib = guest("fib").display().to_string();
    for store in stores(&ground) {
        let machine = Machine::new(&store, "");
        let push = |name: &str, path: &std::path::Path| {
            machine.run(&["component", "push", name, &path.display().to_string()]).expect(0);
        };
        push("fib", std::path::Path::new(&fib));
        let mut runner = machine.command(&["start"]).spawn();
        runner.wait_for_stderr("the runner has started");
        push("echo", &old);
        let wait = |id: &str| machine.run(&["result", id, "--wait", "--timeout", "30s"]).expect(0).json();
        let first = machine.submit(&["echo::hello", "[\"you\"]"]);
        assert_eq!(wait(&first), "Hello, you!");
        assert_eq!(machine.status(&first)["component_digest"], json!(old_digest));
        // An invocation of the old bytes runs on them, whenever it runs.
        let delayed = machine.submit(&["echo::hello", "[\"late\"]", "--delay", "3s"]);
        push("echo", &new);
        let second = machine.submit(&["echo::hello", "[\"me\"]"]);
        assert_eq!(wait(&second), "Hello, me!");
        assert_eq!(machine.status(&second)["component_digest"], json!(new_digest));
        assert_eq!(wait(&delayed), "Hello, late!");
        assert_eq!(machine.status(&delayed)["component_digest"], json!(old_digest));
        // Unfinished invocations are finished after a removal too, and then nothing of it is left.
        let last = machine.submit(&["echo::hello", "[\"last\"]", "--delay", "2s"]);
        machine.run(&["component", "remove", "echo"]).expect(0);
        assert_eq!(wait(&last), "Hello, last!");
        eventually("it is forgotten", || {
            machine.run(&["component", "list", "--json"]).expect(0).json_lines().len() == 1
        });
        // The same name again.
        push("echo", &old);
        let again = machine.submit(&["echo::hello", "[\"again\"]"]);
        assert_eq!(wait(&again), "Hello, again!");
        runner.signal(rustix::process::Signal::TERM);
        let output = runner.wait().expect(0);
        assert!(!output.stderr.contains("can't be taken over"), "{output:?}");
    }
}

#[test]
fn tasks_that_new_bytes_do_not_export_are_finished_by_the_old_ones() {
    let ground = Sandbox::new();
    for store in stores(&ground) {
        let machine = Machine::new(&store, "");
        let push = |guest_name: &str| {
            let path = guest(guest_name).display().to_string();
            machine.run(&["component", "push", "plugin", &path]).expect(0);
        };
        push("fib");
        let id = machine.submit(&["plugin::fib", "[6]"]);
        push("echo");
        let output = machine.run(&["submit", "plugin::fib", "[6]"]).expect(2);
        assert!(output.stderr.contains("unknown task"), "{output:?}");
        machine.run_all();
        assert_eq!(machine.run(&["result", &id]).expect(0).json(), 8);
    }
}

#[test]
fn queues_leave_out_tasks_that_the_pushed_version_does_not_have_any_more() {
    let ground = Sandbox::new();
    for store in stores(&ground) {
        let slow = "[component.plugin]\nsource = \"store\"\n[task.\"plugin::*\"]\nqueue = \"slow\"\n";
        let machine = Machine::new(&store, slow);
        let push = |guest_name: &str| {
            machine.run(&["component", "push", "plugin", &guest(guest_name).display().to_string()]).expect(0);
            machine.run_all();
        };
        let lists = |flags: &[&str], task: &str| {
            let queues = machine.run(&[&["queues", "--json"][..], flags].concat()).expect(0).json_lines();
            queues.iter().any(|one| one["task"].as_str().is_some_and(|id| id.ends_with(task)))
        };
        push("fib");
        assert!(lists(&[], "fib"), "a queue of its own is something to say");
        push("echo");
        assert!(!lists(&[], ".fib") && lists(&[], "hello"));
        assert!(lists(&["--all"], ".fib"));
    }
}

#[test]
fn a_runner_that_has_nothing_configured_overwrites_no_rules() {
    let ground = Sandbox::new();
    for store in stores(&ground) {
        let limited = "[component.fib.concurrency]\nlimit = 1\n[task.\"fib::*\"]\nqueue = \"slow\"\n";
        let here = Machine::new(&store, &configured("fib", &guest("fib"), limited));
        here.run(&["component", "push"]).expect(0);
        here.run_all();
        let queues = || here.run(&["queues", "--json"]).expect(0).stdout().to_owned();
        let before = queues();
        assert!(before.contains("slow"), "{before}");
        Machine::new(&store, "").run_all();
        assert_eq!(queues(), before);
        // Nor does one that names the component, and says nothing of its rules.
        let bare = configured("fib", &guest("fib"), "");
        let other = Machine::new(&store, &bare);
        let checked = other.run(&["check"]).expect(0);
        assert!(!checked.stderr.contains("rules"), "{checked:?}");
        other.run_all();
        assert_eq!(queues(), before);
        // The configuration that set them takes them away, and says so before.
        here.sandbox.write("wasm-runner.toml", &bare);
        let checked = here.run(&["check"]).expect(0);
        assert!(checked.stderr.contains("that this configuration set, and has no more"), "{checked:?}");
        here.run_all();
        assert!(!queues().contains("slow"), "{}", queues());
    }
}

#[test]
fn a_task_that_nothing_has_is_an_error_however_it_is_written() {
    let ground = Sandbox::new();
    for store in stores(&ground) {
        let machine = Machine::new(&store, &configured("fib", &guest("fib"), ""));
        machine.run(&["submit", "fib", "[3]"]).expect(0);
        let url_only = Machine::new(&store, "");
        for (machine, name) in
            [(&machine, "fib::demo:fib/api.fob"), (&machine, "demo:fib/fub"), (&url_only, "fib::fob")]
        {
            for command in [&["list", "--task", name][..], &["cancel", "--dry-run", "--task", name]] {
                let output = machine.run(command).expect(2);
                assert!(output.stderr.contains(&format!("unknown task `{name}`")), "{output:?}");
            }
        }
    }
}

#[test]
fn a_submit_that_waits_says_why_nothing_happens() {
    let ground = Sandbox::new();
    for store in stores(&ground) {
        let machine = Machine::new(&store, &configured("fib", &guest("fib"), ""));
        for (expected, resumes) in [("a runner must be there to run it", false), ("paused", true)] {
            if resumes {
                machine.run(&["pause", "--task", "fib"]).expect(0);
            }
            let mut waits = machine.command(&["submit", "--wait", "fib", "[3]"]).spawn();
            waits.wait_for_stderr(expected);
            if resumes {
                machine.run(&["resume", "--task", "fib"]).expect(0);
            }
            machine.run_all();
            assert_eq!(waits.wait().expect(0).stdout().trim(), "2");
        }
    }
}

/// The names of tasks that a store has, whatever it knows of them.
fn names(machine: &Machine) -> Vec<String> {
    let queues = machine.run(&["queues", "--all", "--json"]).expect(0).json_lines();
    let names = queues.iter().filter_map(|one| Some(one["task"].as_str()?.to_owned()));
    names.filter(|name| name.starts_with("customer-")).collect()
}

#[test]
fn nothing_is_left_of_a_component_that_was_pushed_called_and_removed() {
    let ground = Sandbox::new();
    for store in stores(&ground) {
        let machine = Machine::new(&store, "[component.\"customer-*\"]\n");
        let push = |guest_name: &str| {
            let path = guest(guest_name).display().to_string();
            machine.run(&["component", "push", "customer-eve", &path]).expect(0);
        };
        push("echo");
        let mut runner = machine.command(&["start"]).spawn();
        runner.wait_for_stderr("the runner has started");
        machine
            .run(&["component", "push", "customer-eve", &guest("fib").display().to_string(), "--wait"])
            .expect(0);
        assert_eq!(names(&machine), [""; 0], "a name is for what was submitted");
        let id = machine.submit(&["customer-eve::fib", "[6]", "--wait"]);
        assert_eq!(id, "8");
        let [called] = <[String; 1]>::try_from(names(&machine)).expect("one");
        assert!(called.starts_with("customer-eve::") && called.ends_with("fib"), "{called}");
        machine.run(&["component", "remove", "customer-eve"]).expect(0);
        machine.run(&["prune", "--older-than", "0s"]).expect(0);
        assert_eq!(names(&machine), [""; 0]);
        runner.signal(rustix::process::Signal::TERM);
        runner.wait().expect(0);
    }
}

#[test]
fn the_rules_of_a_pattern_go_with_the_tasks_of_its_components() {
    let ground = Sandbox::new();
    for store in stores(&ground) {
        let machine = Machine::new(
            &store,
            "[component.\"customer-*\"]\n[component.\"customer-*\".concurrency]\nlimit = 2\n",
        );
        let mut runner = machine.command(&["start"]).spawn();
        runner.wait_for_stderr("the runner has started");
        let push = |guest_name: &str| {
            let path = guest(guest_name).display().to_string();
            machine.run(&["component", "push", "customer-eve", &path, "--wait"]).expect(0);
        };
        let prunes_to = |what: &str| {
            eventually(what, || {
                machine.run(&["prune", "--older-than", "0s"]).expect(0);
                names(&machine).iter().all(|name| !what.is_empty() && name.contains(what))
            });
        };
        push("echo");
        eventually("the rules are told", || names(&machine).iter().any(|name| name.contains("hello")));
        push("fib");
        eventually("the rules are told", || names(&machine).iter().any(|name| name.contains("fib")));
        prunes_to("fib");
        machine.run(&["component", "remove", "customer-eve"]).expect(0);
        prunes_to("");
        runner.signal(rustix::process::Signal::TERM);
        runner.wait().expect(0);
    }
}

#[test]
fn a_configured_component_that_is_removed_keeps_a_runner_from_nothing() {
    let ground = Sandbox::new();
    let [store, _] = stores(&ground);
    let named = "[component.fib]\nsource = \"store\"\n[component.\"customer-*\"]\n";
    let machine = Machine::new(&store, named);
    let push = |name: &str, guest_name: &str| {
        machine.run(&["component", "push", name, &guest(guest_name).display().to_string()]).expect(0);
    };
    push("fib", "fib");
    let mut runner = machine.command(&["start"]).spawn();
    runner.wait_for_stderr("the runner has started");
    machine.run(&["component", "remove", "fib"]).expect(0);
    runner.wait_for_stderr("left out: component `fib`");
    push("customer-1", "echo");
    let other = Machine::new(&store, "");
    let id = other.submit(&["customer-1::hello", "[\"you\"]"]);
    assert_eq!(other.run(&["result", &id, "--wait", "--timeout", "30s"]).expect(0).json(), "Hello, you!");
    push("fib", "fib");
    let id = other.submit(&["fib::fib", "[6]"]);
    assert_eq!(other.run(&["result", &id, "--wait", "--timeout", "30s"]).expect(0).json(), 8);
    runner.signal(rustix::process::Signal::TERM);
    runner.wait().expect(0);
}
