//! Guests that have more memory together than their runner.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use wasm_encoder::{
    BlockType, CodeSection, ComponentSection, ConstExpr, Function, FunctionSection, GlobalSection,
    GlobalType, InstanceSection, Module, ModuleArg, ModuleSection, TypeSection, ValType,
};

use crate::guests::setup::Setup;
use crate::support::guests::guest;
use crate::support::process::resident_peak;

const PATIENCE: Duration = Duration::from_secs(120);

/// The program itself, with what it keeps of guests that are gone.
const PROGRAM: u64 = 200 << 20;

fn setup(budget: &str, more: &str) -> Setup {
    let limits = "[component.large.limits]\nmemory = \"600MiB\"\n";
    Setup::with(&["large", "echo"], &format!("{limits}[runner]\nmemory-budget = \"{budget}\"\n{more}"))
}

/// Runs everything that was submitted. Returns the summary, the log, and the most memory that the runner had.
#[track_caller]
fn run_all(setup: &Setup, slots: &str) -> (Value, String, u64) {
    let command = setup.command(["start", "--json", "--slots", slots]).patience(PATIENCE);
    let mut runner = command.spawn();
    runner.wait_for_stderr("the runner has started");
    let ids = setup.run(["list", "--json", "--limit", "0"]).expect(0).json_lines();
    for one in ids {
        let id = one["id"].as_str().expect("an id");
        setup.command(["result", id, "--wait", "--timeout", "100s"]).patience(PATIENCE).run();
    }
    let peak = resident_peak(runner.pid());
    runner.signal(rustix::process::Signal::TERM);
    let output = runner.wait().expect(0);
    eprintln!("{} MiB at most\n{}", peak >> 20, output.everything());
    (output.json(), output.stderr, peak)
}

#[track_caller]
fn submit(setup: &Setup, task: &str, arguments: &str, count: usize) {
    let lines = format!("{arguments}\n").repeat(count);
    setup.command(["submit", task, "--batch", "-"]).stdin(lines).run().expect(0);
}

/// Asserts that so many invocations succeeded in their first attempt that counts.
#[track_caller]
fn assert_all_succeeded(setup: &Setup, count: usize) {
    let listed = setup.run(["list", "--json", "--limit", "0"]).expect(0).json_lines();
    assert_eq!(listed.len(), count);
    for one in listed {
        assert_eq!(one["status"], json!("succeeded"), "{one}");
    }
}

#[test]
fn work_waits_for_memory_before_it_starts() {
    let setup = setup("256MiB", "");
    submit(&setup, "park", "[60, 300]", 12);
    let (summary, log, peak) = run_all(&setup, "1");
    assert_all_succeeded(&setup, 12);
    // More than half of it: the rest is for other components.
    assert_eq!(summary["peak_live"], 3, "{summary}");
    assert!(!log.contains("short of"), "{log}");
    assert!(peak < (256 << 20) + PROGRAM, "{peak}");
}

#[test]
fn one_guest_has_no_more_than_the_whole_budget() {
    let setup = setup("100MiB", "");
    let id = setup.submit("park", "[200, 0]");
    setup.submit("park", "[90, 0]");
    run_all(&setup, "2");
    let failure = &setup.status(&id)["failure"];
    assert_eq!(failure["kind"], "limit-exceeded", "{failure}");
    let message = failure["message"].as_str().expect("a message");
    assert!(message.contains("the `memory-budget` of 104857600 of this runner"), "{message}");
}

/// Forty guests of 240 MB, each within its limit, had the kernel end the runner.
#[test]
fn parked_guests_that_are_too_large_together_all_succeed() {
    let setup = setup("1GiB", "");
    submit(&setup, "park", "[240, 500]", 40);
    let (_, _, peak) = run_all(&setup, "4");
    assert_all_succeeded(&setup, 40);
    assert!(peak < (1 << 30) + PROGRAM, "{peak}");
}

#[test]
fn a_parent_makes_room_for_its_child_and_finds_it_again() {
    let setup = setup("256MiB", "");
    let id = setup.submit("ask", r#"[100, 2, "park", "[200, 20]"]"#);
    let (summary, log, _) = run_all(&setup, "1");
    // Each child is there once.
    assert_all_succeeded(&setup, 3);
    assert_eq!(summary["released"], 2, "{summary}");
    assert!(
        log.contains("short of memory: guests have 10") && log.contains("of 256 MiB, and one wants 200 MiB"),
        "{log}"
    );
    // To be given back does not count.
    assert_eq!(setup.status(&id)["attempt"], 1);
}

#[test]
fn families_that_fit_only_alone_all_get_through() {
    let setup = setup("256MiB", "");
    submit(&setup, "ask", r#"[120, 2, "park", "[150, 10]"]"#, 8);
    let (summary, _, peak) = run_all(&setup, "4");
    assert_all_succeeded(&setup, 24);
    assert_eq!(summary["failed"], 0, "{summary}");
    assert!(peak < (256 << 20) + PROGRAM, "{peak}");
}

/// Of the size of parents in Python.
#[test]
fn hundreds_of_parked_parents_share_a_small_budget() {
    let setup = setup("512MiB", "");
    submit(&setup, "ask", r#"[6, 1, "park", "[6, 100]"]"#, 300);
    let (_, _, peak) = run_all(&setup, "2");
    assert_all_succeeded(&setup, 600);
    assert!(peak < (512 << 20) + PROGRAM, "{peak}");
}

/// Writes a component that does what `large` does, with so many functions of 240 KB of compiled code.
fn write_heavy(setup: &Setup, functions: usize) -> PathBuf {
    const TARGETS: u32 = 60_000;
    let (mut types, mut list, mut code) = (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function([ValType::I32], []);
    for _ in 0..functions {
        list.function(0);
        let mut body = Function::new([]);
        let targets: Vec<_> = (0..TARGETS).map(|target| target % 2).collect();
        let mut instructions = body.instructions();
        instructions.block(BlockType::Empty).block(BlockType::Empty).local_get(0).br_table(targets, 0);
        instructions.end().end().end();
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&list).section(&code);
    let mut component = std::fs::read(guest("large")).expect("a guest");
    ModuleSection(&module).append_to_component(&mut component);
    setup.sandbox.write("heavy.wasm", component)
}

#[test]
fn compiled_code_of_parked_guests_is_on_the_budget() {
    let setup = Setup::new(&["echo"]);
    // 4 MB each: three of them are more than three quarters of the budget.
    let heavy = write_heavy(&setup, 17);
    let names = ["eve", "eva", "evi"];
    let components: String =
        names.iter().map(|name| format!("[component.{name}]\npath = {heavy:?}\n")).collect();
    setup.configure(&["echo"], &format!("{components}[runner]\nmemory-budget = \"16MiB\"\n"));
    for name in names {
        // The second guest of each has the same code.
        submit(&setup, &format!("{name}.park"), "[0, 3600000]", 2);
    }
    let mut running = setup.command(["start", "--slots", "1"]).patience(PATIENCE).spawn();
    running.wait_for_stderr("the runner has started");
    let waiting = || {
        let listed = setup.run(["list", "--json", "--status", "waiting"]).expect(0).json_lines();
        let has = |name: &&&str| listed.iter().any(|one| one["component"] == json!(name));
        names.iter().filter(has).count()
    };
    let deadline = std::time::Instant::now() + PATIENCE;
    while waiting() < names.len() {
        assert!(std::time::Instant::now() < deadline, "{} are parked", waiting());
    }
    let neighbour = setup.command(["submit", "--wait", "--json", "echo.echo-u32", "[7]"]);
    let output = neighbour.patience(Duration::from_secs(30)).run().expect(0);
    assert_eq!(output.json_lines()[0]["result"], json!(7));
    running.signal(rustix::process::Signal::TERM);
    let log = running.wait().expect(0).stderr;
    assert!(log.contains("event=\"relief\""), "the code of three versions fills it: {log}");
}

#[test]
fn code_that_leaves_a_guest_no_memory_is_named() {
    let setup = Setup::new(&["echo"]);
    let heavy = write_heavy(&setup, 75);
    setup.configure(
        &["echo"],
        &format!("[component.heavy]\npath = {heavy:?}\n[runner]\nmemory-budget = \"16MiB\"\n"),
    );
    let id = setup.submit("heavy.park", "[0, 10]");
    run_all(&setup, "1");
    let failure = &setup.status(&id)["failure"];
    assert_eq!(failure["kind"], "limit-exceeded", "{failure}");
    let message = failure["message"].as_str().expect("a message");
    let told = "the `memory-budget` of 16777216 of this runner beside its compiled code of 1";
    assert!(message.contains(told), "{message}");
}

/// Writes a component that does what `large` does, with so many globals beside it.
fn write_with_globals(setup: &Setup, count: usize) -> PathBuf {
    let mut globals = GlobalSection::new();
    for _ in 0..count {
        let ty = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
        globals.global(ty, &ConstExpr::i64_const(0));
    }
    let mut module = Module::new();
    module.section(&globals);
    let mut component = std::fs::read(guest("large")).expect("a guest");
    ModuleSection(&module).append_to_component(&mut component);
    // `large` has two modules of its own.
    let mut instances = InstanceSection::new();
    instances.instantiate::<[(&str, ModuleArg); 0], _>(2, []);
    instances.append_to_component(&mut component);
    setup.sandbox.write("globals.wasm", component)
}

#[test]
fn globals_of_parked_guests_are_on_the_budget() {
    let setup = Setup::new(&["echo"]);
    let globals = write_with_globals(&setup, 900_000);
    setup.configure(
        &["echo"],
        &format!("[component.eve]\npath = {globals:?}\n[runner]\nmemory-budget = \"64MiB\"\n"),
    );
    submit(&setup, "eve.park", "[0, 3600000]", 10);
    let mut running = setup.command(["start", "--slots", "1"]).patience(PATIENCE).spawn();
    running.wait_for_stderr("the runner has started");
    let waiting = || setup.run(["list", "--json", "--status", "waiting"]).expect(0).json_lines().len();
    let deadline = std::time::Instant::now() + PATIENCE;
    while waiting() < 2 {
        assert!(std::time::Instant::now() < deadline, "{} are parked", waiting());
    }
    let neighbour = setup.command(["submit", "--wait", "--json", "echo.echo-u32", "[7]"]);
    neighbour.patience(Duration::from_secs(30)).run().expect(0);
    assert!(waiting() <= 3, "14 MB each, and their code: they have more than twice what is left");
    running.signal(rustix::process::Signal::TERM);
    running.wait().expect(0);
}
