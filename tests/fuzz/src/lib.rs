//! The fuzz targets: each is a function that takes any bytes, and panics if a property
//! does not hold. libFuzzer runs them on generated inputs, by the programs in
//! `fuzz_targets/`; the tests run them on the seeds, which include inputs that once failed.

use std::ptr;

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// All targets, by their names.
pub const TARGETS: [(&str, Target); 4] =
    [("compiled", compiled), ("component", component), ("configuration", configuration), ("values", values)];

/// Values of generated types become JSON and values again; JSON becomes values of
/// generated types, or an error.
pub fn values(data: &[u8]) {
    run_wasm_runner::wasm::fuzzing::values(data);
}

/// A configuration file is read, or everything wrong with it is told.
pub fn configuration(data: &[u8]) {
    run_wasm_runner::config::fuzzing::configuration(data);
}

/// Makes a dictionary of the keys of a configuration file.
pub fn keys() -> String {
    run_wasm_runner::config::fuzzing::keys().iter().map(|key| format!("\"{key}\"\n")).collect()
}

/// Prints the dictionary of keys and exits, if `cargo xtask fuzz` asks for it by a variable.
pub fn tell_keys() {
    if std::env::var_os("RUN_WASM_RUNNER_FUZZ_KEYS").is_some() {
        print!("{}", keys());
        std::process::exit(0);
    }
}

/// A component file is loaded, or refused.
pub fn component(data: &[u8]) {
    run_wasm_runner::wasm::fuzzing::component(data);
}

/// A file of compiled code is what was written, or refused.
pub fn compiled(data: &[u8]) {
    run_wasm_runner::wasm::fuzzing::compiled(data);
}

/// Lets libFuzzer write down the input that overflows the stack: what handles that
/// signal needs a stack of its own. A sanitizer would give it one, and Rust's own start
/// of a program, neither of which is here. Called before libFuzzer sets its handlers,
/// which keep this flag.
pub fn give_signals_a_stack() {
    const BYTES: usize = 256 << 10;
    let stack = Box::leak(vec![0_u8; BYTES].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: BYTES };
    // SAFETY: the stack is nobody else's and never freed. A `sigaction` of zeros is
    // valid, and asks for what happens by default.
    let is_set = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_flags = libc::SA_ONSTACK;
        libc::sigaltstack(&stack, ptr::null_mut()) == 0
            && libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut()) == 0
    };
    assert!(is_set, "{}", std::io::Error::last_os_error());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn directory(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
    }

    /// The files of a directory, in a stable order.
    fn files(directory: &Path) -> BTreeSet<PathBuf> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn the_targets_hold_on_their_seeds() {
        for (name, target) in TARGETS {
            let seeds = files(&directory("seeds").join(name));
            assert!(seeds.len() > 1, "{name} has seeds");
            for seed in seeds {
                eprintln!("{}", seed.display());
                target(&fs::read(seed).unwrap());
            }
        }
    }

    #[test]
    fn every_target_is_a_program_with_seeds() {
        let known = TARGETS.map(|(name, _)| name.to_owned());
        for directory in [directory("fuzz_targets"), directory("seeds")] {
            let names: Vec<_> = files(&directory)
                .iter()
                .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            assert_eq!(names, known, "{}", directory.display());
        }
    }

    #[test]
    fn the_keys_of_the_configuration_are_a_dictionary_and_kept_nowhere_else() {
        let kept = fs::read_to_string(directory("dictionaries").join("configuration.dict")).unwrap();
        assert!(keys().lines().any(|line| line == "\"max-live\""));
        for line in keys().lines() {
            let word = line.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{line}");
            assert!(!kept.lines().any(|kept| kept == line), "{line} is kept by hand, too");
        }
    }
}
