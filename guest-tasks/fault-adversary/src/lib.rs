//! An interpreter of generated programs: every function of the host as an instruction, with
//! numbers that a generator chooses. A program that fails at a step goes on with the next.

use exports::demo::adversary::programs::{Guest, Instruction, Operand};
use machine::Machine;

mod files;
mod guest;
mod http;
mod invocations;
mod machine;
mod output;
mod sockets;
mod streams;
mod time;

wit_bindgen::generate!({
    path: ["../../wit", "wit"],
    world: "demo:adversary/guest",
    generate_all,
});

struct Adversary;
export!(Adversary);

/// An instruction with what it does.
pub struct Entry {
    name: &'static str,
    operands: &'static [Operand],
    run: fn(&mut Machine, &[u64]),
}

/// Names an instruction. The first operand, if it is `times`, is no argument of the function: the
/// function is called so often.
pub const fn entry(name: &'static str, operands: &'static [Operand], run: fn(&mut Machine, &[u64])) -> Entry {
    Entry { name, operands, run }
}

/// The instructions by subject.
const TABLES: [(&str, &[Entry]); 8] = [
    ("invocations", invocations::TABLE),
    ("guest", guest::TABLE),
    ("output", output::TABLE),
    ("time", time::TABLE),
    ("http", http::TABLE),
    ("streams", streams::TABLE),
    ("files", files::TABLE),
    ("sockets", sockets::TABLE),
];

fn table() -> impl Iterator<Item = (&'static str, &'static Entry)> {
    TABLES.into_iter().flat_map(|(subject, entries)| entries.iter().map(move |entry| (subject, entry)))
}

impl Guest for Adversary {
    fn instructions() -> Vec<Instruction> {
        let shown = |(subject, entry): (&str, &Entry)| Instruction {
            name: entry.name.to_owned(),
            subject: subject.to_owned(),
            operands: entry.operands.to_vec(),
        };
        table().map(shown).collect()
    }

    fn run(programs: Vec<Vec<String>>, which: u32, depth: u32) -> Result<String, String> {
        let steps = programs.get(which as usize).cloned().unwrap_or_default();
        let mut machine = Machine::new(programs, depth);
        for step in &steps {
            run_step(&mut machine, step)?;
        }
        let result = std::mem::take(&mut machine.result);
        // Handles are left to the host: dropping them is an instruction of its own.
        std::mem::forget(machine);
        Ok(result)
    }

    fn nothing() {}
}

fn run_step(machine: &mut Machine, step: &str) -> Result<(), String> {
    let mut words = step.split(' ');
    let name = words.next().unwrap_or_default();
    let (_, entry) =
        table().find(|(_, entry)| entry.name == name).ok_or(format!("no instruction `{name}`"))?;
    let numbers: Vec<u64> =
        words.map(str::parse).collect::<Result<_, _>>().map_err(|error| format!("`{step}`: {error}"))?;
    if numbers.len() != entry.operands.len() {
        return Err(format!("`{step}` needs {} operands", entry.operands.len()));
    }
    if entry.operands.first() == Some(&Operand::Times) {
        for _ in 0..numbers[0] {
            (entry.run)(machine, &numbers[1..]);
        }
    } else {
        (entry.run)(machine, &numbers);
    }
    Ok(())
}
