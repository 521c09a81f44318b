//! What is fuzzed: each target is a function that takes any bytes, and panics if
//! something does not hold. `cargo xtask fuzz` runs them on what [`engine`] makes up;
//! the tests run them on the seeds, which are also what was found once.

pub mod coverage;
pub mod engine;
pub mod mutate;

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// All targets, by their names.
pub const TARGETS: [(&str, Target); 4] =
    [("values", values), ("configuration", configuration), ("component", component), ("compiled", compiled)];

/// Values of generated types become JSON and values again; JSON becomes values of
/// generated types, or an error.
pub fn values(data: &[u8]) {
    run_wasm_runner::wasm::fuzzing::values(data);
}

/// A configuration file is read, or everything wrong with it is told.
pub fn configuration(data: &[u8]) {
    run_wasm_runner::config::fuzzing::configuration(data);
}

/// A component file is loaded, or refused.
pub fn component(data: &[u8]) {
    run_wasm_runner::wasm::fuzzing::component(data);
}

/// A file of compiled code is what was written, or refused.
pub fn compiled(data: &[u8]) {
    run_wasm_runner::wasm::fuzzing::compiled(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_hold_on_their_seeds() {
        for (name, target) in TARGETS {
            let seeds = engine::seeds(name).expect("the seeds can be read");
            assert!(seeds.len() > 1, "{name} has seeds");
            seeds.iter().for_each(|seed| target(seed));
        }
    }
}
