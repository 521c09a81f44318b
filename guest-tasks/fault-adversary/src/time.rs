//! Clocks, timers, polls, random numbers.

use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::io::poll::{Pollable, poll};
use wasip2::random::{insecure, insecure_seed, random};

use crate::exports::demo::adversary::programs::Operand::{Choice, Count, Size, Time, Times};
use crate::machine::room_for;
use crate::{Entry, entry};

const MILLISECOND: u64 = 1_000_000;

pub const TABLE: &[Entry] = &[
    entry("clocks", &[Times], |_, _| {
        let _ = (monotonic_clock::now(), monotonic_clock::resolution());
        let _ = (wall_clock::now(), wall_clock::resolution());
    }),
    entry("timer", &[Times, Time], |machine, numbers| {
        machine.keep(monotonic_clock::subscribe_duration(numbers[0].saturating_mul(MILLISECOND)));
    }),
    entry("timer-at", &[Times, Time], |machine, numbers| {
        machine.keep(monotonic_clock::subscribe_instant(numbers[0].saturating_mul(MILLISECOND)));
    }),
    entry("sleep", &[Time], |_, numbers| {
        monotonic_clock::subscribe_duration(numbers[0].saturating_mul(MILLISECOND)).block();
    }),
    entry("poll", &[Times, Count], |machine, numbers| {
        let pollables: Vec<_> = machine
            .handles
            .iter()
            .rev()
            .take(100_000)
            .filter_map(|handle| handle.downcast_ref::<Pollable>())
            .collect();
        let count = room_for(numbers[0], 0);
        let list: Vec<_> = pollables.into_iter().cycle().take(count).collect();
        if !list.is_empty() {
            poll(&list);
        }
    }),
    entry("ready", &[Times, Choice], |machine, numbers| {
        machine.find::<Pollable>(numbers[0]).map(Pollable::ready);
    }),
    entry("random", &[Times, Size, Choice], |_, numbers| {
        match numbers[1] % 4 {
            0 => drop(random::get_random_bytes(numbers[0])),
            1 => drop(insecure::get_insecure_random_bytes(numbers[0])),
            2 => drop((random::get_random_u64(), insecure::get_insecure_random_u64())),
            _ => drop(insecure_seed::insecure_seed()),
        };
    }),
];
