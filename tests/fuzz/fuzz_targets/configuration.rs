//! See `run_wasm_runner_fuzz::configuration`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use run_wasm_runner_fuzz::{configuration, give_signals_a_stack, tell_keys};

fuzz_target!(
    init: {
        tell_keys();
        give_signals_a_stack()
    },
    |data: &[u8]| -> () { configuration(data) }
);
