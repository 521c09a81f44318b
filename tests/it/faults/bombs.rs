//! Components that are small and take a compiler more than it has: each costs
//! one refused component, and names the limit.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::json;
use wasm_encoder::{
    BlockType, CodeSection, Component, ComponentBuilder, ComponentExportKind, ExportKind, ExportSection,
    Function, FunctionSection, Module, RawSection, TypeSection, ValType,
};

use crate::guests::setup::Setup;
use crate::support::cli::{Output, Running};
use crate::support::guests::guest;

/// An operation that takes longer was not bounded.
const PATIENCE: Duration = Duration::from_secs(60);

/// A component with one core module in it, which exports nothing.
fn around(module: &Module) -> Vec<u8> {
    let mut component = ComponentBuilder::default();
    let module = component.core_module(None, module);
    component.core_instantiate(None, module, []);
    component.finish()
}

/// A module with functions that take and return nothing.
fn module_of(bodies: impl IntoIterator<Item = Function>) -> Module {
    let (mut types, mut functions, mut exports, mut code) =
        (TypeSection::new(), FunctionSection::new(), ExportSection::new(), CodeSection::new());
    types.ty().function([], []);
    for (index, body) in bodies.into_iter().enumerate() {
        functions.function(0);
        if index == 0 {
            exports.export("f", ExportKind::Func, 0);
        }
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&exports).section(&code);
    module
}

/// A jump table with very many entries.
fn huge_branch_table(entries: u32) -> Vec<u8> {
    const DEPTH: u32 = 100;
    let mut body = Function::new([]);
    let mut code = body.instructions();
    for _ in 0..DEPTH {
        code.block(BlockType::Empty);
    }
    let targets: Vec<_> = (0..entries).map(|entry| entry % DEPTH).collect();
    code.i32_const(0).br_table(targets, 0);
    for _ in 0..=DEPTH {
        code.end();
    }
    around(&module_of([body]))
}

/// Functions with as many locals as are allowed, all of which live over many
/// branches.
fn many_locals(functions: usize, locals: u32, branches: u32) -> Vec<u8> {
    around(&module_of((0..functions).map(|_| {
        let mut body = Function::new([(locals, ValType::I64)]);
        let mut code = body.instructions();
        for branch in 0..branches {
            code.loop_(BlockType::Empty);
            code.local_get(branch % locals).local_get((branch * 7 + 1) % locals).i64_add();
            code.local_set((branch * 13 + 2) % locals);
            code.local_get(branch % locals).i64_eqz().br_if(0).end();
        }
        for local in 1..locals {
            code.local_get(local).local_get(0).i64_add().local_set(0);
        }
        code.end();
        body
    })))
}

/// Functions that go on and on.
fn huge_functions(functions: usize, instructions: u32) -> Module {
    module_of((0..functions).map(|_| {
        let mut body = Function::new([(8, ValType::I64)]);
        let mut code = body.instructions();
        for n in 0..instructions {
            code.local_get(n % 8).local_get((n + 1) % 8).i64_mul().i64_const(i64::from(n)).i64_xor();
            code.local_set((n + 3) % 8);
        }
        code.end();
        body
    }))
}

/// A function that does nothing but call another, again and again.
fn many_calls(calls: u32) -> Module {
    let [mut nothing, mut body] = [Function::new([]), Function::new([])];
    nothing.instructions().end();
    for _ in 0..calls {
        body.instructions().call(0);
    }
    body.instructions().end();
    module_of([nothing, body])
}

/// A component that contains itself twice, so many levels deep: two to the power
/// of them instances.
fn nested_instances(levels: u32) -> Vec<u8> {
    let mut inner = ComponentBuilder::default();
    let module = inner.core_module(
        None,
        &module_of([{
            let mut body = Function::new([]);
            body.instructions().end();
            body
        }]),
    );
    inner.core_instantiate(None, module, []);
    for _ in 0..levels {
        let mut outer = ComponentBuilder::default();
        let component = outer.component(None, inner);
        let none: [(&str, ComponentExportKind, u32); 0] = [];
        outer.instantiate(None, component, none);
        outer.instantiate(None, component, none);
        inner = outer;
    }
    inner.finish()
}

/// Components in components, deeper than anybody needs.
fn deep_nesting(levels: usize) -> Vec<u8> {
    let mut bytes = Component::new().finish();
    for _ in 0..levels {
        let inner = bytes;
        let mut outer = Component::new();
        // The section's bytes are those of the component, whatever they are.
        outer.section(&RawSection { id: 4, data: &inner });
        bytes = outer.finish();
    }
    bytes
}

/// A setup whose compilers may take what `compile` says.
fn strict(compile: &str) -> Setup {
    let setup = Setup::new(&["fib"]);
    let file = setup.path().join("wasm-runner.toml");
    let text = std::fs::read_to_string(&file).expect("it was written");
    setup.sandbox.write("wasm-runner.toml", format!("[compile]\n{compile}\n{text}"));
    setup
}

/// Refused with 78 by a command that has `fib` to load beside it, and nothing of
/// it is left.
#[track_caller]
fn refused(setup: &Setup, bytes: &[u8], says: &[&str]) {
    let file = setup.sandbox.write("bomb.wasm", bytes);
    let cache = setup.path().join("cache");
    let output = setup
        .command(["--component", &format!("bomb={}", file.display()), "check"])
        .env("WASM_RUNNER_CACHE_DIR", &cache)
        .patience(PATIENCE)
        .run()
        .expect(78);
    for text in says.iter().chain(&["component `bomb`"]) {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
    assert!(!output.stderr.contains("component `fib`"), "its neighbour is loaded: {}", output.stderr);
    let kept = std::fs::read_dir(&cache).expect("the cache is there").count();
    assert_eq!(kept, 1, "the neighbour's code, and nothing half-written");
}

#[test]
fn many_locals_meet_the_limit_of_memory() {
    let setup = strict("memory = \"256MiB\"");
    refused(&setup, &many_locals(4, 50_000, 5_000), &["more memory than the 256 MiB", "`compile.memory`"]);
}

#[test]
fn huge_functions_meet_the_limit_of_processor_time() {
    let setup = strict("cpu = \"1s\"");
    let bytes = around(&huge_functions(4, 500_000));
    refused(&setup, &bytes, &["more processor time than the 1s", "`compile.cpu`"]);
}

#[test]
fn huge_functions_meet_the_limit_of_time() {
    // Little enough that nobody compiles them in it, and enough for `fib`, which
    // is in the cache.
    let setup = strict("time = \"300ms\"");
    let cache = setup.path().join("cache");
    setup
        .command(["check"])
        .env("WASM_RUNNER_CACHE_DIR", &cache)
        .env("WASM_RUNNER_CONFIG", setup.sandbox.write("patient.toml", patient()))
        .run()
        .expect(0);
    let bytes = around(&huge_functions(4, 500_000));
    refused(&setup, &bytes, &["longer than the 300ms", "`compile.time`"]);
}

/// `fib`, and any time that it takes.
fn patient() -> String {
    format!("[component.fib]\npath = {:?}\n", guest("fib"))
}

#[test]
fn compiled_code_beyond_its_limit_is_refused() {
    // `fib` makes less than a megabyte of it.
    let setup = strict("code = \"1MiB\"");
    let bytes = around(&many_calls(200_000));
    refused(&setup, &bytes, &["more code than the 1 MiB", "`compile.code`"]);
}

#[test]
fn a_big_file_is_refused_before_it_is_parsed() {
    let setup = strict("component = \"1MiB\"");
    let bytes = vec![0; (1 << 20) + 1];
    refused(&setup, &bytes, &["more than the 1048576 bytes", "`compile.component`"]);
}

#[test]
fn a_huge_branch_table_is_refused() {
    refused(&strict(""), &huge_branch_table(1_000_000), &["`br_table` has 1000000 targets"]);
}

#[test]
fn a_hundred_thousand_nested_instances_are_refused() {
    let bytes = nested_instances(17);
    assert!(bytes.len() < 1000, "a small file");
    refused(&strict(""), &bytes, &["131072 core module instances", "200"]);
}

/// A child can't even count these.
#[test]
fn nested_instances_without_end_meet_a_limit() {
    let setup = strict("memory = \"256MiB\"\ncpu = \"5s\"");
    refused(&setup, &nested_instances(30), &["`compile."]);
}

/// A component that exports one type under very many names.
fn many_exports(count: usize) -> Vec<u8> {
    let mut component = ComponentBuilder::default();
    let (ty, _) = component.type_defined(None);
    for n in 0..count {
        component.export(format!("e{n}"), ComponentExportKind::Type, ty, None);
    }
    component.finish()
}

#[test]
fn what_a_component_may_contain_is_bounded_wherever_it_is_looked_at() {
    let setup = Setup::new(&["fib"]);
    let file = setup.sandbox.write("bomb.wasm", many_exports(100_001));
    let (file, fib) = (file.display().to_string(), guest("fib").display().to_string());
    let component = format!("bomb={file}");
    for command in [
        &["check"][..],
        &["tasks"],
        &["start", "--until-idle"],
        &["component", "push", "bomb"],
        &["inspect", &file],
        &["component", "diff", &fib, &file],
    ] {
        let output = setup.run(["--component", &component].iter().chain(command)).expect(78);
        let says = "it has 100001 exports of components, more than the 100000 that a component may have";
        assert!(output.stderr.contains(says), "{command:?}: {}", output.stderr);
    }
}

#[test]
fn deep_nesting_ends_no_process() {
    let setup = strict("");
    for levels in [100, 10_000] {
        let file = setup.sandbox.write("deep.wasm", deep_nesting(levels));
        let component = format!("deep={}", file.display());
        let output = setup.run(["--component", &component, "check"]);
        assert_eq!(output.code, Some(78), "{levels} levels: {output:?}");
        assert!(output.stderr.contains("levels of components in each other"), "{levels}: {output:?}");
    }
}

/// Starts a command that compiles for long, and finds the child that does it.
fn compiling(setup: &Setup) -> (Running, Pid) {
    let file = setup.sandbox.write("slow.wasm", around(&huge_functions(8, 500_000)));
    let mut running = setup
        .command(["-vv", "--component", &format!("slow={}", file.display()), "check"])
        .env("WASM_RUNNER_CACHE_DIR", setup.path().join("cache"))
        .env("A_SECRET", "of the runner")
        .patience(PATIENCE)
        // Something that the runner itself inherited.
        .through(r#"exec 7</etc/passwd; exec "$0" "$@""#)
        .spawn();
    let bytes = std::fs::metadata(file).expect("it is there").len();
    let line = running.wait_for_stderr(&format!("bytes={bytes}"));
    let pid = pid_in(&line);
    (running, pid)
}

/// The process that a debug message is about.
#[track_caller]
fn pid_in(line: &str) -> Pid {
    let pid = line.split("pid=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let pid = pid.and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    pid.unwrap_or_else(|| panic!("no process in {line:?}"))
}

/// Where the system tells of a child, once it is at work: the filter of its system
/// calls is the last thing that it puts on.
fn at_work(pid: Pid) -> PathBuf {
    let proc = Path::new("/proc").join(pid.to_string());
    let began = Instant::now();
    while field(&proc.join("status"), "Seccomp") != "2" {
        assert!(began.elapsed() < PATIENCE, "it never filters its calls");
        std::thread::yield_now();
    }
    proc
}

/// A line of one of the system's files about a process.
#[track_caller]
fn field(file: &Path, name: &str) -> String {
    let text = std::fs::read_to_string(file).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
}

#[test]
fn the_compiler_inherits_no_secret_and_no_descriptor() {
    let setup = strict("");
    let (running, pid) = compiling(&setup);
    let proc = at_work(pid);
    let environment = std::fs::read(proc.join("environ"));
    if !rustix::process::geteuid().is_root() {
        // Nobody but root may look into it, which is a part of the same promise.
        let error = environment.expect_err("it is not dumpable");
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        return;
    }
    let environment = environment.expect("it runs");
    let names = environment.split(|byte| *byte == 0).filter(|variable| !variable.is_empty());
    for name in names {
        assert!(name.starts_with(b"MIMALLOC_"), "{:?} is the runner's", String::from_utf8_lossy(name));
    }
    let open = std::fs::read_dir(proc.join("fd")).expect("it runs");
    let open: Vec<_> =
        open.flatten().map(|entry| std::fs::read_link(entry.path()).unwrap_or_default()).collect();
    let open: Vec<_> = open.iter().map(|target| target.to_string_lossy()).collect();
    assert!(!open.iter().any(|target| target.contains("passwd")), "{open:?}");
    assert!(open.iter().any(|target| target.contains("component")), "the bytes: {open:?}");
    assert_eq!(open.len(), 3, "{open:?}");
    assert_eq!(std::fs::read_link(proc.join("cwd")).expect("it runs"), Path::new("/"));
    drop(running);
}

/// The answer to each refused call is tested beside the filter.
#[test]
fn every_thread_of_the_compiler_has_given_up_its_system_calls() {
    let setup = strict("");
    let (running, pid) = compiling(&setup);
    let proc = at_work(pid);
    let limits = std::fs::read_to_string(proc.join("limits")).expect("it runs");
    let data = |line: &str| line.starts_with("Max data size") && line.contains("2147483648");
    assert!(limits.lines().any(data), "{limits}");
    let threads: Vec<_> = std::fs::read_dir(proc.join("task")).expect("it runs").flatten().collect();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(threads.len() > processors, "it has all of its threads: {threads:?}");
    for thread in threads {
        let status = thread.path().join("status");
        let found = ["Seccomp", "NoNewPrivs"].map(|name| field(&status, name));
        assert_eq!(found, ["2", "1"], "{status:?}");
    }
    drop(running);
}

#[test]
fn the_compiler_dies_with_the_runner() {
    let setup = strict("");
    let (running, pid) = compiling(&setup);
    let child = pidfd_open(pid, PidfdFlags::empty()).expect("it runs");
    let parent = i32::try_from(running.pid()).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(parent, Signal::KILL).expect("it runs");
    let patience = Timespec::try_from(PATIENCE).expect("a time");
    let ended =
        poll(&mut [PollFd::new(&child, PollFlags::IN)], Some(&patience)).expect("it can be waited for");
    assert_eq!(ended, 1, "it outlives the runner");
}

/// `fib` with a module in it that takes some seconds to compile.
fn pinned_bomb() -> Vec<u8> {
    let mut bytes = std::fs::read(guest("fib")).expect("the guest is there");
    let module = huge_functions(4, 100_000).finish();
    // A core module is section 1; its length is a LEB128 number.
    bytes.push(1);
    let mut length = module.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(module);
    bytes
}

/// A command of somebody who has the bomb under the name of `fib`, and its code in a
/// cache of their own.
fn careless<'a>(setup: &Setup, args: impl IntoIterator<Item = &'a str>) -> Output {
    let command = setup.command(args).env("WASM_RUNNER_CONFIG", setup.path().join("careless.toml"));
    command.env("WASM_RUNNER_CACHE_DIR", setup.path().join("careless")).patience(4 * PATIENCE).run().expect(0)
}

/// Pushes a bomb into the store and submits invocations that are pinned to it: its
/// file, the cache that the runner is to have, and the invocations.
fn push_bomb(setup: &Setup, arguments: &[&str]) -> (PathBuf, PathBuf, Vec<String>) {
    let bomb = setup.sandbox.write("bomb.wasm", pinned_bomb());
    setup.sandbox.write("careless.toml", format!("[component.fib]\npath = {bomb:?}\n"));
    careless(setup, ["component", "push", "fib"]);
    let submit = |arguments: &&str| careless(setup, ["submit", "fib", arguments]).stdout().trim().to_owned();
    let submitted = arguments.iter().map(submit).collect();
    let text = std::fs::read_to_string(setup.path().join("wasm-runner.toml")).expect("it is there");
    let pinned = text.replace("[component.fib]", "[component.fib]\nversion = \"pinned\"");
    setup.sandbox.write("wasm-runner.toml", pinned);
    // The runner's cache knows nothing of it.
    (bomb, setup.path().join("cache"), submitted)
}

/// A bomb that somebody pushed into the store of a runner with strict limits: it
/// fails what was submitted for it, once the limit is met, and nothing else.
#[test]
fn a_bomb_in_the_store_fails_its_invocations_and_no_other() {
    let setup = strict("cpu = \"1s\"");
    let (bomb, cache, bombs) = push_bomb(&setup, &["[5]", "[6]"]);
    let good: Vec<_> = (0..5).map(|_| setup.submit("fib", "[7]")).collect();
    let output = setup
        .command(["start", "--until-idle", "--slots", "2", "-vv"])
        .env("WASM_RUNNER_CACHE_DIR", &cache)
        .patience(PATIENCE)
        .run()
        .expect(0);
    for id in bombs {
        let status = setup.status(&id);
        assert_eq!((&status["status"], &status["attempt"]), (&json!("failed"), &json!(1)), "{status}");
        let message = status["failure"]["message"].as_str().expect("a message");
        assert!(message.contains("pinned") && message.contains("`compile.cpu`"), "{message}");
    }
    for id in good {
        assert_eq!(setup.status(&id)["result"], 13);
    }
    let bytes = format!("bytes={}", std::fs::metadata(&bomb).expect("it is there").len());
    let compiled = output.stderr.lines().filter(|line| line.contains(&bytes)).count();
    // Both slots may have begun at the same time; neither begins again.
    assert!((1..=2).contains(&compiled), "{compiled} times: {}", output.stderr);
}

/// A runner, and a bomb in its store to submit things for.
struct Besieged {
    setup: Setup,
    runner: Running,
    cache: PathBuf,
    /// The part of its debug messages that is only about the bomb.
    bomb: String,
}

impl Besieged {
    /// With a runner that has one slot, and all the patience that one can ask for.
    fn new() -> Self {
        let setup = strict("");
        let (bomb, cache, _) = push_bomb(&setup, &[]);
        // It takes whatever is pushed.
        let config = setup.path().join("wasm-runner.toml");
        let text = std::fs::read_to_string(&config).expect("it is there");
        setup.sandbox.write("wasm-runner.toml", format!("{text}\n[component.\"*\"]\n"));
        let runner = setup
            .command(["start", "--slots", "1", "--grace", "10m", "-vv"])
            .env("WASM_RUNNER_CACHE_DIR", &cache)
            .patience(PATIENCE)
            .spawn();
        let bomb = format!("bytes={}", std::fs::metadata(bomb).expect("it is there").len());
        Self { setup, runner, cache, bomb }
    }

    /// Submits an invocation that is pinned to the bomb.
    fn submit(&self, flags: &[&str]) -> String {
        let submit = ["submit", "fib", "[5]"].into_iter().chain(flags.iter().copied());
        careless(&self.setup, submit).stdout().trim().to_owned()
    }

    /// The compiler that the runner has just started for it. It gets no further, so
    /// that whatever ends it is not its own end.
    fn compiler(&mut self) -> (OwnedFd, String) {
        let line = self.runner.wait_for_stderr(&self.bomb);
        let pid = pid_in(&line);
        kill_process(pid, Signal::STOP).expect("it runs");
        (pidfd_open(pid, PidfdFlags::empty()).expect("it runs"), format!("pid={pid}"))
    }

    /// Waits until the runner has killed a compiler because nobody waits for it.
    #[track_caller]
    fn is_killed(&mut self, (child, pid): (OwnedFd, String)) {
        let patience = Timespec::try_from(PATIENCE).expect("a time");
        let ended = poll(&mut [PollFd::new(&child, PollFlags::IN)], Some(&patience));
        assert_eq!(ended.expect("it can be waited for"), 1, "it goes on");
        let line = self.runner.wait_for_stderr("the compiler was killed: nobody waits for it any more");
        assert!(line.contains(&pid), "{line:?} is not about {pid}");
    }
}

/// No slot waits for a compiler, and neither does what ends an invocation.
#[test]
fn an_invocation_ends_and_others_run_while_a_compiler_works() {
    let mut besieged = Besieged::new();
    let bomb = besieged.submit(&[]);
    let compiler = besieged.compiler();
    besieged.setup.run(["cancel", &bomb]).expect(0);
    // The only slot is free, also for the component's own version.
    let good = besieged.setup.submit("fib", "[7]");
    assert_eq!(besieged.setup.run(["result", &good, "--wait"]).expect(0).json(), 13);
    let status = besieged.setup.status(&bomb);
    assert_eq!((&status["status"], &status["attempt"]), (&json!("cancelled"), &json!(0)), "{status}");

    // A deadline passes, too.
    let bomb = besieged.submit(&["--deadline", "5s"]);
    besieged.setup.run(["result", &bomb, "--wait"]).expect(4);
    let status = besieged.setup.status(&bomb);
    assert_eq!((&status["status"], &status["failure"]["kind"]), (&json!("failed"), &json!("timed-out")));
    let good = besieged.setup.submit("fib", "[8]");
    assert_eq!(besieged.setup.run(["result", &good, "--wait"]).expect(0).json(), 21);
    besieged.runner.signal(Signal::TERM);
    besieged.is_killed(compiler);
    besieged.runner.wait().expect(0);
    // What was interrupted left nothing half-written: the good one's code is all.
    assert_eq!(std::fs::read_dir(&besieged.cache).expect("it was used").count(), 2, "and what was fetched");
}

/// A push is compiled and taken over while the compiler of another works.
#[test]
fn a_push_does_not_wait_for_the_compiler_of_another() {
    let mut besieged = Besieged::new();
    // Earlier pushes are compiled before it starts.
    besieged.runner.wait_for_stderr("the runner has started");
    let file = besieged.setup.path().join("bomb.wasm");
    let file = file.to_str().expect("a path");
    careless(&besieged.setup, ["component", "push", "slow", file]);
    let compiler = besieged.compiler();
    let echo = guest("echo");
    let echo = echo.to_str().expect("a path");
    careless(&besieged.setup, ["component", "push", "quick", echo]);
    // Other lines about it tell that its compiler begins.
    besieged.runner.wait_for_stderr("a component was added component=quick");
    besieged.runner.signal(Signal::TERM);
    besieged.is_killed(compiler);
    besieged.runner.wait().expect(0);
}

/// A runner that stops does not wait for a compiler, whatever its grace time.
#[test]
fn a_runner_that_stops_kills_its_compilers_and_gives_their_work_back() {
    let mut besieged = Besieged::new();
    let bomb = besieged.submit(&[]);
    let compiler = besieged.compiler();
    besieged.runner.signal(Signal::TERM);
    besieged.is_killed(compiler);
    let Besieged { setup, runner, .. } = besieged;
    let output = runner.wait().expect(0);
    assert!(output.stderr.contains("0 failed, 1 given back"), "{}", output.stderr);
    let status = setup.status(&bomb);
    assert_eq!((&status["status"], &status["attempt"]), (&json!("queued"), &json!(0)), "{status}");
}
