//! Generated programs: what a seed makes of the instructions that the guest has.

use std::fmt;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::quote;

/// Choices that a seed decides (SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn is_true(&mut self) -> bool {
        self.below(2) == 1
    }

    fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    fn among<'t, T>(&mut self, these: &'t [T]) -> &'t T {
        &these[self.below(these.len())]
    }
}

/// The meaning of an operand, as `programs.instructions` of the guest tells it.
#[derive(Debug, Clone, Copy)]
enum Operand {
    Times,
    Count,
    Size,
    Time,
    Program,
    Choice,
}

impl Operand {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "times" => Self::Times,
            "count" => Self::Count,
            "size" => Self::Size,
            "time" => Self::Time,
            "program" => Self::Program,
            "choice" => Self::Choice,
            _ => return None,
        })
    }

    /// The numbers that are tried: small ones, large ones, and those beside a bound.
    fn numbers(self) -> &'static [u64] {
        match self {
            Self::Times => &[1, 1, 1, 2, 10, 100, 1_000, 4_000, 20_000, 100_000, u64::MAX],
            Self::Count => {
                &[0, 1, 2, 20, 63, 64, 65, 1_000, 1_001, 10_000, 100_000, 100_001, 600_000, 1 << 31, u64::MAX]
            }
            Self::Size => &[
                0,
                1,
                64,
                100,
                1_023,
                1_024,
                1_025,
                4_096,
                4_097,
                8_192,
                65_535,
                65_536,
                65_537,
                1 << 20,
                1 << 24,
                1 << 31,
                1 << 32,
                u64::MAX,
            ],
            Self::Time => &[0, 0, 1, 10, 100, 1_000, 60_000, 1 << 31, 1 << 63, u64::MAX],
            Self::Program | Self::Choice => &[],
        }
    }
}

struct Instruction {
    name: String,
    subject: String,
    operands: Vec<Operand>,
}

/// The instructions of the guest.
pub struct Instructions(Vec<Instruction>);

impl Instructions {
    /// Reads the value of `programs.instructions`.
    pub fn of(value: &Value) -> Result<Self> {
        let instructions = value.as_array().context("the instructions are no list")?.iter().map(|one| {
            let operands = one["operands"].as_array().context("an instruction without operands")?;
            let operands = operands.iter().map(|name| {
                let name = name.as_str().unwrap_or_default();
                Operand::of(name).with_context(|| format!("no kind of operand is `{name}`"))
            });
            let text = |field: &str| {
                anyhow::Ok(one[field].as_str().with_context(|| format!("a {field}"))?.to_owned())
            };
            Ok(Instruction {
                name: text("name")?,
                subject: text("subject")?,
                operands: operands.collect::<Result<_>>()?,
            })
        });
        Ok(Self(instructions.collect::<Result<_>>()?))
    }
}

/// A set of programs, of which the first is run.
#[derive(Clone)]
pub struct Case {
    pub programs: Vec<Vec<String>>,
    pub depth: u32,
}

/// The task that runs a set.
pub const RUN: &str = "programs.run";
const PROGRAMS: usize = 3;
const STEPS: usize = 6;
const DEPTH: u32 = 3;
/// The instructions of which a case is made. All at once would mostly get into each other's way.
const VARIETY: usize = 5;
/// The subjects of which they are: a submit and a wait for many do more together than each with a socket.
const SUBJECTS: usize = 2;

impl Case {
    pub fn generate(random: &mut Random, instructions: &Instructions) -> Self {
        let mut subjects: Vec<_> = instructions.0.iter().map(|one| &*one.subject).collect();
        subjects.dedup();
        let among = 1 + random.below(SUBJECTS);
        let subjects: Vec<_> = (0..among).map(|_| *random.among(&subjects)).collect();
        let of_them: Vec<_> = instructions.0.iter().filter(|one| subjects.contains(&&*one.subject)).collect();
        let variety = 1 + random.below(VARIETY);
        let chosen: Vec<_> = (0..variety).map(|_| *random.among(&of_them)).collect();
        let count = 1 + random.below(PROGRAMS);
        let programs = (0..count).map(|_| {
            let steps = 1 + random.below(STEPS);
            let mut steps_of = Vec::new();
            for _ in 0..steps {
                let instruction = *random.among(&chosen);
                steps_of.push(step(random, instruction, count));
            }
            steps_of
        });
        let programs = programs.collect();
        let depth = random.below(DEPTH as usize + 1) as u32;
        Self { programs, depth }
    }

    /// The arguments of the task.
    pub fn arguments(&self) -> String {
        serde_json::json!([self.programs, 0, self.depth]).to_string()
    }

    /// The cases that are this one with something left out.
    pub fn smaller(&self) -> Vec<Self> {
        let places = self.programs.iter().enumerate();
        let places =
            places.flat_map(|(program, steps)| (0..steps.len()).rev().map(move |step| (program, step)));
        let smaller = places.map(|(program, step)| {
            let mut smaller = self.clone();
            smaller.programs[program].remove(step);
            smaller
        });
        smaller.collect()
    }
}

/// Draws the numbers of a step, in a set of so many programs.
fn step(random: &mut Random, instruction: &Instruction, programs: usize) -> String {
    let mut step = instruction.name.clone();
    for operand in &instruction.operands {
        let number = match operand {
            // One beyond the programs of a set is the task that does nothing.
            Operand::Program => random.below(programs + 1) as u64,
            Operand::Choice => random.below(32) as u64,
            sized => *random.among(sized.numbers()),
        };
        step += &format!(" {number}");
    }
    step
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{RUN} {}", quote(&self.arguments()))
    }
}
