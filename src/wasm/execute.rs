//! One attempt: a fresh instance in a fresh `wasmtime::Store`, from its arguments to its outcome.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use wasmtime::component::{ResourceTableError, Val};
use wasmtime::{Engine, FrameInfo, Store, Trap, UpdateDeadline, WasmBacktrace};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxBuilder};

use super::code::{InUse, Link, Ready};
use super::control::GuestControl;
use super::denials::Denials;
use super::discover::{Entry, Export};
use super::files::Files;
use super::grants::{DirectoryAccess, Grants};
use super::handles::Handles;
use super::host::HostState;
use super::host_memory::{Held, HostMemory, HostMemoryExceeded};
use super::link::ChildFailed;
use super::memory_limit::MemoryLimit;
use super::network::{Gate, Http, SystemResolver, Traffic};
use super::output::{Bounds, GuestOutput, harmless};
use super::scratch::{ScratchDirectory, ScratchGrant};
use super::scrub::Scrubber;
use super::shortage::no_guest;
use super::submits::Submits;
use super::values::{WriteError, bytes_of, charged_arguments, charged_bytes_to_json, to_charged_json};
use crate::model::{
    Caller, Claim, Clock, Failure, FailureKind, GUEST_PANICKED, LimitKind, LineBudget, LogStream, NoGuest,
    Outcome, Shortage, SlotControl, TaskClient, TaskLimits, write_cut,
};

/// Bytes that a guest may hand to the host in one call; each element of a list counts as a [`Val`].
const HAND_OVER_BYTES: usize = 512 << 20;

/// Frames of a backtrace that are kept.
const MAX_FRAMES: usize = 32;

/// Bytes of a name in a backtrace that are kept. A mangled name of a few bytes can stand for a megabyte.
const NAME_BYTES: usize = 256;

/// Bytes of an error of the engine that are read: it may contain a backtrace of names.
const ERROR_BYTES: usize = 8_000;

/// The words with which wasmtime begins to write a backtrace.
const BACKTRACE: &str = "error while executing at wasm backtrace:";

/// Everything that is the same for every instance of one task.
pub(super) struct Program {
    /// The name of its component.
    pub(super) component: Arc<str>,
    pub(super) engine: Engine,
    /// Whether the engine counts fuel: for all tasks of a component, if one of them has a limit of it.
    pub(super) is_metered: bool,
    /// Its code with its imports, in memory or not.
    pub(super) link: Arc<Link>,
    /// The bytes of the state of its core instances.
    pub(super) state_bytes: u64,
    /// Its place among the component's exports.
    pub(super) place: usize,
    pub(super) export: Export,
    pub(super) grants: Grants,
    /// The words about its section that messages about missing grants end with.
    pub(super) section_note: Option<Arc<str>>,
    /// The search for the secrets among the grants; made for the first attempt.
    pub(super) scrubber: OnceLock<Option<Arc<Scrubber>>>,
    pub(super) submits: Submits,
    /// The lines about denials of the component in the log.
    pub(super) denial_lines: Arc<Mutex<LineBudget>>,
    pub(super) limits: TaskLimits,
    /// The priority of the task: children that its guests submit have no higher one.
    pub(super) priority: i32,
}

impl Program {
    /// The limit of an attempt: the lower of the task's own and of that of the submit; `None` is unlimited.
    fn limit(&self, claim: &Claim, kind: LimitKind) -> Option<u64> {
        claim.limits.lower(kind, self.limits[kind])
    }

    /// The most of what a limit of an attempt bounds, which is more than there is if it is unlimited.
    fn most(&self, claim: &Claim, kind: LimitKind) -> u64 {
        self.limit(claim, kind).unwrap_or(u64::MAX)
    }

    /// The limit of a time of an attempt.
    pub(super) fn time(&self, claim: &Claim, kind: LimitKind) -> Option<Duration> {
        self.limit(claim, kind).map(Duration::from_nanos)
    }
}

/// The reasons for which the epoch callback ends a guest.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error("the guest was killed")]
    Killed,
    #[error("the guest's time is over")]
    TimedOut,
    #[error("the guest has used up its processor time")]
    UsedUp,
}

/// Runs one attempt. Nothing happens before the first poll of the returned future. A shortage of the host is one
/// only before there is an instance.
pub(super) async fn run(
    program: Arc<Program>,
    (ready, _code): (Arc<Ready>, Arc<InUse>),
    claim: Claim,
    client: Arc<dyn TaskClient>,
    clock: Arc<dyn Clock>,
    control: Arc<GuestControl>,
) -> Result<Outcome, Shortage> {
    let caller = Caller { id: claim.id, attempt: claim.attempt, root: claim.root, depth: claim.depth };
    let sink = {
        let (client, caller) = (Arc::clone(&client), caller.clone());
        Box::new(move |entries| client.log(&caller, entries))
    };
    let host_memory = HostMemory::new(program.most(&claim, LimitKind::HostMemory), Arc::clone(&control));
    let is_command = program.export.entry == Entry::Command;
    let bounds = Bounds {
        log: program.most(&claim, LimitKind::Logs),
        value: is_command.then(|| program.most(&claim, LimitKind::Result)),
    };
    // The secrets were read before any guest runs.
    let scrubber = program.scrubber.get_or_init(|| Scrubber::new(&program.grants.secrets).map(Arc::new));
    let output = GuestOutput::new(
        clock,
        Arc::clone(&control),
        claim.attempt,
        bounds,
        scrubber.clone(),
        &host_memory,
        sink,
    );
    let outcome = attempt((&program, &ready), claim, caller, client, &output, &control, host_memory).await;
    if outcome.is_err() {
        output.log_value();
    }
    output.finish();
    match outcome {
        Ok(value) => Ok(Outcome::Value(value.into())),
        Err(NoGuest::Failed(failure)) => Ok(Outcome::Failure(Arc::new(output.scrub_failure(failure)))),
        Err(NoGuest::Short(shortage)) => Err(shortage),
        Err(NoGuest::Unready) => unreachable!("its code was ready"),
    }
}

async fn attempt(
    (program, ready): (&Program, &Ready),
    claim: Claim,
    caller: Caller,
    client: Arc<dyn TaskClient>,
    output: &GuestOutput,
    control: &Arc<GuestControl>,
    host_memory: Arc<HostMemory>,
) -> Result<String, NoGuest> {
    let most = |kind| program.most(&claim, kind);
    if !program.is_metered && claim.limits.get(LimitKind::Fuel).is_some() {
        let message =
            "the submit limits `fuel`, and no task of this component has a limit of it, so it is not counted";
        return Err(Failure::limit(LimitKind::Fuel, message).into());
    }
    let arguments = charged_arguments(&claim.arguments, &program.export.signature.parameters, &host_memory);
    let (arguments, _held) = arguments.map_err(|error| match &error.unpaid {
        Some(exceeded) => Failure::from(exceeded),
        // They were checked at submit: by another version of the component.
        None => trapped(format!("the arguments do not fit this version of the task: {error}")),
    })?;
    let handles = Handles::new(&host_memory, program.grants.directories.len() + 1);
    let denials = Denials::new(
        Arc::clone(&program.component),
        program.section_note.clone(),
        claim.id,
        output.clone(),
        Arc::clone(control),
        Arc::clone(&program.denial_lines),
    );
    let traffic = Traffic::new(most(LimitKind::Traffic), Arc::clone(control), Arc::clone(&denials));
    let (sockets, resolver) = (most(LimitKind::Sockets), Arc::new(SystemResolver::of(&program.component)));
    let gate = Gate::new(&program.grants, Arc::clone(&denials), sockets, &host_memory, traffic, resolver);
    // Before the instance, so that it is removed after it.
    let scratch = program.grants.scratch.as_ref().map(ScratchGrant::create).transpose();
    let scratch = scratch.map_err(|error| {
        no_guest(&error, || trapped(format!("the scratch directory can't be made: {error}")))
    })?;
    let mut memory = MemoryLimit::new(most(LimitKind::Memory), Arc::clone(control));
    if !memory.hold_state(program.state_bytes).await {
        let message = format!(
            "the globals of its core instances and their tables of functions take {} bytes, more than {}",
            program.state_bytes,
            memory.bound(0)
        );
        return Err(Failure::limit(LimitKind::Memory, message).into());
    }
    let (fuel, cpu) = (most(LimitKind::Fuel), program.time(&claim, LimitKind::Cpu));
    let state = HostState {
        wasi: wasi_context(program, &claim.task, &arguments, output, &gate, scratch.as_ref())?,
        table: Handles::table(),
        handles,
        returned: None,
        memory,
        caller,
        client,
        control: Arc::clone(control),
        output: output.clone(),
        denials: Arc::clone(&denials),
        http: Http::new(Arc::clone(&gate), most(LimitKind::RequestBody), most(LimitKind::ResponseBody)),
        gate,
        open_sockets: HashMap::new(),
        submits: program.submits.clone(),
        child_ids: Held::nothing(&host_memory),
        files: Arc::new(Files::new(
            most(LimitKind::Files),
            most(LimitKind::FileBytes),
            program.grants.scratch.as_ref(),
            Arc::clone(control),
            host_memory,
            Arc::clone(&denials),
        )),
        children: 0,
        max_children: most(LimitKind::Children),
        max_priority: program.priority,
        claim: Claim { arguments: Arc::default(), ..claim },
    };
    // The values are charged, and their text is not: it is not kept as long as the guest lives.
    drop(claim.arguments);
    let mut guest = Instance { store: Store::new(&program.engine, state), fuel: None };
    let store = &mut guest.store;
    store.limiter_async(|state| &mut state.memory);
    // Values that are handed over are charged by whatever keeps them: until then they are no more than the account has left now.
    let left = usize::try_from(store.data().handles.account.left()).unwrap_or(usize::MAX);
    store.set_hostcall_fuel(HAND_OVER_BYTES.min(left));
    if program.is_metered {
        store
            .set_fuel(fuel)
            .map_err(|error| trapped(format!("the runner could not run the guest: {error:#}")))?;
        guest.fuel = Some(fuel);
    }
    store.set_epoch_deadline(1);
    let ticks = Arc::clone(control);
    store.epoch_deadline_callback(move |_| {
        if ticks.is_killed() {
            Err(wasmtime::Error::from(Interrupted::Killed))
        } else if ticks.remaining().is_zero() {
            Err(wasmtime::Error::from(Interrupted::TimedOut))
        } else if cpu.is_some_and(|limit| ticks.cpu_within_poll() > limit) {
            Err(wasmtime::Error::from(Interrupted::UsedUp))
        } else {
            Ok(UpdateDeadline::Continue(1))
        }
    });
    call(program, ready, store, &arguments).await.map_err(|error| {
        let no_guest = match error {
            CallError::Failure(failure) => failure.into(),
            CallError::Unprepared(error) => no_guest(&*error, || explain(program, store, &error)),
            CallError::Wasm(error) => explain(program, store, &error).into(),
        };
        if let NoGuest::Failed(failure) = &no_guest {
            let state = store.data();
            state.files.refusals().tell_failure(failure, &state.output.last_error());
        }
        no_guest
    })
}

/// An instance. Its fuel is noted however it ends, also when it is dropped while it waits.
struct Instance {
    store: Store<HostState>,
    /// The fuel that it was given, if its engine counts it.
    fuel: Option<u64>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        // A store that does not count returns an error, whose backtrace would cost more than all counting.
        if let Some(given) = self.fuel
            && let Ok(left) = self.store.get_fuel()
        {
            self.store.data().control.meter.note_fuel(given.saturating_sub(left));
        }
    }
}

enum CallError {
    Failure(Failure),
    /// There is no instance.
    Unprepared(wasmtime::Error),
    Wasm(wasmtime::Error),
}

impl From<wasmtime::Error> for CallError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Wasm(error)
    }
}

async fn call(
    program: &Program,
    ready: &Ready,
    store: &mut Store<HostState>,
    arguments: &[Val],
) -> Result<String, CallError> {
    let instance = ready.pre.instantiate_async(&mut *store).await.map_err(CallError::Unprepared)?;
    let function = instance.get_func(&mut *store, ready.functions[program.place]).ok_or_else(|| {
        CallError::Failure(trapped("the component does not export the function that it was found to export"))
    })?;
    if program.export.entry == Entry::Command {
        let mut results = [Val::Result(Ok(None))];
        match function.call_async(&mut *store, &[], &mut results).await {
            Ok(()) => {}
            // A program that exits with 0 is one that returned.
            Err(error) if matches!(error.downcast_ref::<I32Exit>(), Some(I32Exit(0))) => {}
            Err(error) => return Err(error.into()),
        }
        if matches!(results[0], Val::Result(Err(_))) {
            return Err(CallError::Failure(exited(1, "")));
        }
        let (value, held) = store.data().output.take_value().map_err(CallError::Failure)?;
        let mut json_held = Held::nothing(&store.data().handles.account);
        let json = charged_bytes_to_json(value, &mut json_held);
        let json = json.map_err(|exceeded| CallError::Failure(Failure::from(&exceeded)))?;
        drop(held);
        store.data().control.meter.result.add(json.len() as u64);
        return Ok(json);
    }
    let mut results = [Val::Bool(false)];
    let results = &mut results[..usize::from(program.export.signature.result.is_some())];
    function.call_async(&mut *store, arguments, results).await?;
    let account = &store.data().handles.account;
    let unpaid = |exceeded| CallError::Failure(Failure::from(&exceeded));
    let _held = account.hold(bytes_of(&*results)).map_err(unpaid)?;
    let mut json_held = Held::nothing(account);
    let max_bytes =
        usize::try_from(program.most(&store.data().claim, LimitKind::Result)).unwrap_or(usize::MAX);
    let mut json = String::new();
    let mut write = |value: &Val| {
        to_charged_json(value, &mut json, max_bytes, &mut json_held).map_err(|error| match error {
            WriteError::TooLarge { max_bytes } => CallError::Failure(Failure::limit(
                LimitKind::Result,
                format!("the value is larger than the limit of {max_bytes} bytes as JSON"),
            )),
            WriteError::Unpaid(exceeded) => unpaid(exceeded),
            WriteError::Unsupported => CallError::Failure(trapped("the value can't travel as JSON")),
        })
    };
    let mut is_error = false;
    let value = match &mut *results {
        // The result of a task that returns `result<T, E>` is T or the failure E.
        [Val::Result(result)] => {
            is_error = result.is_err();
            match result {
                Ok(value) | Err(value) => value.as_deref(),
            }
        }
        [value] => Some(&*value),
        _ => None,
    };
    match value {
        Some(value) => write(value)?,
        None => json.push_str("null"),
    }
    store.data().control.meter.result.add(json.len() as u64);
    if is_error {
        let error = RawValue::from_string(json).map_err(wasmtime::Error::from)?;
        return Err(CallError::Failure(Failure::returned(error)));
    }
    Ok(json)
}

/// Builds the WASI context with everything that is granted.
fn wasi_context(
    program: &Program,
    task: &str,
    arguments: &[Val],
    output: &GuestOutput,
    gate: &Arc<Gate>,
    scratch: Option<&ScratchDirectory>,
) -> Result<WasiCtx, NoGuest> {
    let mut wasi = WasiCtxBuilder::new();
    gate.allow_sockets(&mut wasi);
    wasi.stdout(output.stream(LogStream::Stdout)).stderr(output.stream(LogStream::Stderr));
    // Files are for threads of the reactor: a guest that opens a named pipe could not be ended on the slot's.
    wasi.allow_blocking_current_thread(false);
    if program.export.entry == Entry::Command {
        wasi.arg(task.rsplit_once('.').map_or(task, |(component, _)| component));
        if let [Val::List(arguments)] = arguments {
            for argument in arguments {
                if let Val::String(argument) = argument {
                    wasi.arg(argument);
                }
            }
        }
    }
    for (name, value) in &program.grants.environment {
        wasi.env(name, value);
    }
    for secret in &program.grants.secrets {
        let name = &secret.name;
        let value = secret.value().ok_or_else(|| {
            trapped(format!("a bug in the runner ended this attempt: the secret `{name}` was not read"))
        })?;
        wasi.env(name, value);
    }
    for grant in &program.grants.directories {
        let access = match grant.access {
            DirectoryAccess::ReadOnly => FsPerms::ReadOnly,
            DirectoryAccess::ReadWrite => FsPerms::ReadWrite,
        };
        wasi.preopened_dir(&grant.host, &grant.guest, access).map_err(|error| {
            let failure = || {
                trapped(format!(
                    "the granted directory `{}` can't be opened: {error:#}",
                    grant.host.display()
                ))
            };
            no_guest(&*error, failure)
        })?;
    }
    if let (Some(directory), Some(grant)) = (scratch, &program.grants.scratch) {
        wasi.preopened_dir(&directory.path, &grant.guest, FsPerms::ReadWrite).map_err(|error| {
            no_guest(&*error, || trapped(format!("the scratch directory can't be opened: {error:#}")))
        })?;
    }
    Ok(wasi.build())
}

fn trapped(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Trapped, message)
}

fn exited(code: i32, said: &str) -> Failure {
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    Failure { exit_code: Some(code), ..trapped(format!("the guest exited with code {code}{said}")) }
}

/// Says why a guest ended without a value.
fn explain(program: &Program, store: &mut Store<HostState>, error: &wasmtime::Error) -> Failure {
    let state = store.data();
    let said = state.output.last_error();
    match error.downcast_ref::<Interrupted>() {
        Some(Interrupted::TimedOut) => return with_backtrace(state.control.time_out(), error),
        Some(Interrupted::UsedUp) => {
            let limit = program.time(&state.claim, LimitKind::Cpu).unwrap_or_default();
            let message = format!("the guest used more than its limit of {limit:?} of processor time");
            return with_backtrace(Failure::limit(LimitKind::Cpu, message), error);
        }
        Some(Interrupted::Killed) => return Failure::new(FailureKind::Cancelled, "the guest was killed"),
        None => {}
    }
    if let Some(child) = error.downcast_ref::<ChildFailed>() {
        // A typed import has no error case: the refusal of a limit ends the guest.
        let is_why = |refused: &str| child.id.is_none() && child.message.ends_with(refused);
        return match state.control.refused().filter(|(_, message)| is_why(message)) {
            Some((limit, _)) => Failure::limit(limit, child.to_string()),
            None => Failure { child: child.id, ..trapped(child.to_string()) },
        };
    }
    if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
        if let Some(failure) = limit_failure(state, "then exited") {
            return failure;
        }
        return match (program.export.entry, code) {
            (Entry::Function, 0) => {
                let message = "the guest exited with code 0 before it returned a value";
                Failure { exit_code: Some(0), ..trapped(message) }
            }
            _ => exited(*code, &said),
        };
    }
    if let Some(exceeded) = error.downcast_ref::<HostMemoryExceeded>() {
        return with_backtrace(exceeded.into(), error);
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref::<ResourceTableError>() {
        let message = state.handles.full();
        return with_backtrace(Failure::limit(LimitKind::HostMemory, message), error);
    }
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::OutOfFuel) {
        let fuel = program.most(&state.claim, LimitKind::Fuel);
        let message = format!("the guest used up its limit of {fuel} units of fuel");
        return with_backtrace(Failure::limit(LimitKind::Fuel, message), error);
    }
    if let Some(failure) = limit_failure(state, "then trapped") {
        return with_backtrace(failure, error);
    }
    let Some(trap) = trap else {
        let text = causes(error);
        // wasmtime has no type for this one.
        if text.contains("fuel allocated for hostcalls has been exhausted") {
            let most = store.hostcall_fuel();
            let kind = if most < HAND_OVER_BYTES { LimitKind::HostMemory } else { LimitKind::Result };
            let message = format!(
                "the guest handed more to the host in one call than the {most} bytes that the runner may hold for \
                 it, where each element of a list counts as {} bytes or more",
                size_of::<Val>()
            );
            return Failure::limit(kind, message);
        }
        return with_backtrace(trapped(format!("the guest trapped: {text}")), error);
    };
    let mut message = match trap {
        Trap::UnreachableCodeReached if !said.is_empty() => GUEST_PANICKED.to_owned(),
        Trap::StackOverflow => "the guest used up its call stack (too deep a recursion?)".to_owned(),
        Trap::MemoryOutOfBounds => {
            "the guest reached outside its memory (a bad pointer, or a stack of its own that overflowed in too deep a \
             recursion)"
                .to_owned()
        }
        trap => format!("the guest trapped: {trap}"),
    };
    if !said.is_empty() {
        message.push_str(": ");
        message.push_str(&said);
    }
    with_backtrace(trapped(message), error)
}

/// Makes the failure of a guest that ended after a limit had refused it something.
fn limit_failure(state: &HostState, then: &str) -> Option<Failure> {
    let memory = &state.memory;
    if let Some(wanted) = memory.refused {
        let bound = memory.bound(wanted);
        let message = format!("the guest wanted {wanted} bytes of memory, more than {bound}, and {then}");
        return Some(Failure::limit(LimitKind::Memory, message));
    }
    let (limit, message) = state.control.refused()?;
    Some(Failure::limit(limit, format!("{message}, and {then}")))
}

/// Writes the causes of an error, without the guest's backtrace: wasmtime writes each name in it as a whole, however
/// long, and only then passes it on to be cut.
fn causes(error: &wasmtime::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        // No more is made of it than tells a backtrace from other causes.
        if write_cut(cause, BACKTRACE.len()).starts_with(BACKTRACE) {
            continue;
        }
        let separator = if text.is_empty() { "" } else { ": " };
        let left = ERROR_BYTES.saturating_sub(text.len() + separator.len());
        text = text + separator + &write_cut(cause, left);
    }
    text
}

fn with_backtrace(failure: Failure, error: &wasmtime::Error) -> Failure {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return failure };
    let line = |frame: &FrameInfo| {
        let name = frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), demangle);
        match frame.module().name() {
            Some(module) => format!("{name} in {}", harmless(&write_cut(module, NAME_BYTES))),
            None => name,
        }
    };
    Failure { backtrace: backtrace.frames().iter().take(MAX_FRAMES).map(line).collect(), ..failure }
}

/// Writes a name as its language does, without the hash at its end and without terminal controls.
fn demangle(name: &str) -> String {
    let name = rustc_demangle::demangle(name);
    harmless(&write_cut(format_args!("{name:#}"), NAME_BYTES)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mangled name of a type that doubles at each level.
    fn doubling(levels: usize) -> String {
        let number = |n: usize| format!("{}_", char::from_digit(u32::try_from(n - 1).unwrap(), 36).unwrap());
        let place = |level: usize| number("IC1a".len() + level + 1);
        let close: String = (0..levels).rev().map(|level| format!("B{}E", place(level))).collect();
        format!("_RIC1a{}u{close}E", "T".repeat(levels))
    }

    #[test]
    fn a_name_that_stands_for_a_megabyte_is_cut_before_it_is_made() {
        let name = doubling(16);
        assert!(name.len() < 100, "{name}");
        let whole = format!("{:#}", rustc_demangle::demangle(&name));
        assert!(whole.len() > 100_000, "{whole:.100}");
        assert!(demangle(&name).len() <= NAME_BYTES + '…'.len_utf8());
        assert!(demangle(&"x".repeat(1 << 20)).len() <= NAME_BYTES + '…'.len_utf8());
    }
}
