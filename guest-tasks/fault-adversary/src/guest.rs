//! Instructions that need no host: memory, loops, traps, results.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::exports::demo::adversary::programs::Operand::{Choice, Count, Size, Time, Times};
use crate::machine::text;
use crate::{Entry, entry};

pub const TABLE: &[Entry] = &[
    entry("memory", &[Times, Size], |machine, numbers| {
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(numbers[0].min(isize::MAX as u64) as usize).is_ok() {
            bytes.resize(numbers[0] as usize, 1_u8);
            machine.keep(bytes);
        }
    }),
    entry("spin", &[Time], |_, numbers| {
        let (began, time) = (Instant::now(), Duration::from_millis(numbers[0]));
        while began.elapsed() < time {
            for number in 0..10_000 {
                black_box(number);
            }
        }
    }),
    entry("recurse", &[Count], |_, numbers| {
        black_box(recurse(numbers[0]));
    }),
    entry("end", &[Choice], |_, numbers| match numbers[0] % 4 {
        0 => core::arch::wasm32::unreachable(),
        1 => panic!("{}", text(1 << 20)),
        2 => std::process::exit(0),
        _ => std::process::exit(1),
    }),
    entry("result", &[Size], |machine, numbers| machine.result = text(numbers[0])),
    entry("drop", &[Count], |machine, numbers| {
        for _ in 0..numbers[0].min(machine.handles.len() as u64) {
            machine.handles.pop();
        }
    }),
];

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    if depth == 0 {
        core::arch::wasm32::unreachable()
    }
    black_box(recurse(depth - 1)) + black_box(depth)
}
