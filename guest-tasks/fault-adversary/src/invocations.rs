//! Children, waits and cancels.

use crate::exports::demo::adversary::programs::Operand::{Choice, Count, Program, Size, Time, Times};
use crate::machine::{Machine, room_for, text};
use crate::wasm_runner::task::invocations;
use crate::wasm_runner::task::types::SubmitOptions;
use crate::{Entry, entry};

pub const TABLE: &[Entry] = &[
    entry("submit", &[Times, Program, Choice, Time, Choice, Size], |machine, numbers| {
        let &[program, is_detached, delay, priority, key] = numbers else { return };
        let (task, arguments) = child(machine, program);
        let options = SubmitOptions { key: key_of(key), ..options(is_detached, delay, priority) };
        machine.ids.extend(invocations::submit(task, &arguments, &options));
    }),
    entry("submit-all", &[Count, Program, Choice, Count, Size], |machine, numbers| {
        let &[count, program, is_detached, labels, size] = numbers else { return };
        let (task, arguments) = child(machine, program);
        let arguments = vec![arguments.clone(); room_for(count, arguments.len())];
        let options = SubmitOptions { labels: labels_of(labels, size), ..options(is_detached, 0, 0) };
        let submitted = invocations::submit_all(task, &arguments, &options);
        machine.ids.extend(submitted.unwrap_or_default());
    }),
    entry("submit-all-late", &[Count, Program, Choice, Time, Choice, Size], |machine, numbers| {
        let &[count, program, is_detached, delay, priority, key] = numbers else { return };
        let (task, arguments) = child(machine, program);
        let arguments = vec![arguments.clone(); room_for(count, arguments.len())];
        let options = SubmitOptions { key: key_of(key), ..options(is_detached, delay, priority) };
        let submitted = invocations::submit_all(task, &arguments, &options);
        machine.ids.extend(submitted.unwrap_or_default());
    }),
    entry("submit-unknown", &[Times, Size], |_, numbers| {
        let _ = invocations::submit(&text(numbers[0]), "[]", &options(0, 0, 0));
    }),
    entry("submit-nested", &[Times, Count], |_, numbers| {
        // Arguments that are brackets and nothing else.
        let arguments = "[".repeat(text(numbers[0]).len());
        let _ = invocations::submit(RUN, &arguments, &options(0, 0, 0));
    }),
    entry("submit-large", &[Times, Size], |_, numbers| {
        let arguments = format!("[[[\"{}\"]],0,0]", text(numbers[0]));
        let _ = invocations::submit(RUN, &arguments, &options(1, 0, 0));
    }),
    entry("call", &[Times, Program], |machine, numbers| {
        let (task, arguments) = child(machine, numbers[0]);
        let _ = invocations::call(task, &arguments);
    }),
    entry("await-result", &[Times, Choice], |machine, numbers| {
        if let Some(id) = nth_id(machine, numbers[0]) {
            let _ = invocations::await_result(id);
        }
    }),
    entry("await-all", &[Times, Count, Count], |machine, numbers| {
        let _ = invocations::await_all(&machine.some_ids(numbers[0], numbers[1]));
    }),
    entry("await-any", &[Times, Count, Count], |machine, numbers| {
        let _ = invocations::await_any(&machine.some_ids(numbers[0], numbers[1]));
    }),
    entry("await-any-within", &[Times, Count, Count, Time], |machine, numbers| {
        let _ = invocations::await_any_within(&machine.some_ids(numbers[0], numbers[1]), numbers[2]);
    }),
    entry("await-unknown", &[Times, Size], |_, numbers| {
        let _ = invocations::await_result(&text(numbers[0]));
    }),
    entry("rest", &[Times, Time], |_, numbers| {
        let _ = invocations::await_any_within(&[], numbers[0]);
    }),
    entry("status", &[Times, Choice], |machine, numbers| {
        if let Some(id) = nth_id(machine, numbers[0]) {
            let _ = invocations::status(id);
        }
    }),
    entry("cancel", &[Times, Choice], |machine, numbers| {
        if let Some(id) = nth_id(machine, numbers[0]) {
            let _ = invocations::cancel(id);
        }
    }),
];

const RUN: &str = "programs.run";
const NOTHING: &str = "programs.nothing";

/// The task and the arguments of a program as a child. A set is as long as its programs, and an
/// index beyond them is that of no program: a child that does nothing.
fn child(machine: &Machine, program: u64) -> (&'static str, String) {
    if machine.depth == 0 || program >= machine.programs.len() as u64 {
        return (NOTHING, "[]".to_owned());
    }
    // Steps are words and numbers: nothing in them needs an escape.
    let steps = |steps: &Vec<String>| format!("[\"{}\"]", steps.join("\",\""));
    let programs: Vec<_> = machine.programs.iter().map(steps).collect();
    (RUN, format!("[[{}],{program},{}]", programs.join(","), machine.depth - 1))
}

fn options(is_detached: u64, delay: u64, priority: u64) -> SubmitOptions {
    SubmitOptions {
        delay_ms: (delay > 0).then_some(delay),
        priority: [None, Some(1000), Some(-1000), Some(i32::MAX), Some(i32::MIN)][priority as usize % 5],
        key: None,
        detached: is_detached % 2 == 1,
        labels: Vec::new(),
    }
}

fn key_of(size: u64) -> Option<String> {
    (size > 0).then(|| text(size))
}

fn labels_of(count: u64, size: u64) -> Vec<(String, String)> {
    let value = text(size);
    (0..room_for(count, value.len())).map(|number| (number.to_string(), value.clone())).collect()
}

fn nth_id(machine: &Machine, choice: u64) -> Option<&String> {
    machine.ids.get(choice.checked_rem(machine.ids.len() as u64)? as usize)
}
