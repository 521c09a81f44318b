//! The program: parse, run, exit code. Everything else is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use run_wasm_runner::cli::{self, exit_code};

// A runner lives long and has many threads, and glibc's allocator keeps what each of them had at its most: after hostile
// guests it held twice as much, and more each time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let cli = match cli::parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            cli::print(&error);
            return if error.use_stderr() { exit_code::USAGE } else { exit_code::SUCCESS }.into();
        }
    };
    match cli::run(&cli) {
        Ok(()) => ExitCode::from(exit_code::SUCCESS),
        Err(error) => {
            cli::report(&error);
            ExitCode::from(exit_code::of(&error))
        }
    }
}
