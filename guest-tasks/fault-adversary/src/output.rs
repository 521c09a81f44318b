//! Logs, progress, standard output and error, and facts about the invocation.

use wasip2::cli::{environment, stderr, stdout};

use crate::exports::demo::adversary::programs::Operand::{Choice, Size, Times};
use crate::machine::text;
use crate::wasm_runner::task::context;
use crate::wasm_runner::task::log::{Level, log};
use crate::{Entry, entry};

pub const TABLE: &[Entry] = &[
    entry("log", &[Times, Size, Choice], |_, numbers| {
        let level = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error];
        log(level[numbers[1] as usize % level.len()], &text(numbers[0]));
    }),
    entry("progress", &[Times, Size], |_, numbers| {
        context::progress(u64::MAX, numbers[0], &text(numbers[0]));
    }),
    entry("stdout", &[Times, Size], |_, numbers| {
        let _ = stdout::get_stdout().blocking_write_and_flush(text(numbers[0].min(4096)).as_bytes());
    }),
    entry("stderr-at-once", &[Times, Size], |_, numbers| {
        let stream = stderr::get_stderr();
        if let Ok(room @ 1..) = stream.check_write() {
            let _ = stream.write(text(numbers[0].min(room)).as_bytes());
        }
    }),
    entry("stdout-handle", &[Times], |machine, _| machine.keep(stdout::get_stdout())),
    entry("context", &[Times], |_, _| {
        let _ = (context::id(), context::task(), context::attempt(), context::parent(), context::root());
        let _ = (context::deadline(), context::labels());
    }),
    entry("environment", &[Times], |_, _| {
        let _ = (environment::get_environment(), environment::get_arguments(), environment::initial_cwd());
    }),
];
