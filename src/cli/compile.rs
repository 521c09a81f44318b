//! `compile`: what this program starts itself with to compile a component. Not for
//! people: it is hidden, and its argument may change with every version.

use crate::wasm::{self, CompileLimits, Compiler};

use super::args::CompileArgs;
use super::error::CliError;

/// The name of the command.
const COMMAND: &str = "compile";

/// Runs the command.
///
/// # Errors
///
/// [`CliError::Compile`].
pub fn run(args: &CompileArgs) -> Result<(), CliError> {
    wasm::compile(&args.job).map_err(CliError::Compile)
}

/// How this program compiles components.
pub fn compiler(limits: CompileLimits) -> Compiler {
    Compiler::this_program(COMMAND, limits)
}
