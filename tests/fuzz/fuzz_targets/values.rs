//! See `run_wasm_runner_fuzz::values`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use run_wasm_runner_fuzz::{give_signals_a_stack, values};

fuzz_target!(
    init: give_signals_a_stack(),
    |data: &[u8]| -> () { values(data) }
);
