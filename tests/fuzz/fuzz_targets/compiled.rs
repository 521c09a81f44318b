//! See `run_wasm_runner_fuzz::compiled`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use run_wasm_runner_fuzz::{compiled, give_signals_a_stack};

fuzz_target!(
    init: give_signals_a_stack(),
    |data: &[u8]| -> () { compiled(data) }
);
