//! Arguments of tasks: JSON from the command line, files and standard input.

use std::io::Read;
use std::path::Path;

use super::error::CliError;

/// Reads one ARGS: JSON text, `@FILE`, or `-` for standard input.
/// A usage error if it can't be read.
pub fn read(text: &str) -> Result<String, CliError> {
    match text.strip_prefix('@') {
        Some(path) => read_file(Path::new(path)),
        None if text == "-" => read_stdin(),
        None => Ok(text.to_owned()),
    }
}

/// Reads a file, or standard input if it is called `-`.
/// A usage error if it can't be read, or is not UTF-8.
pub fn read_file(path: &Path) -> Result<String, CliError> {
    if path.as_os_str() == "-" {
        return read_stdin();
    }
    let bytes = std::fs::read(path).map_err(|error| {
        CliError::usage(format!("the arguments file `{}` can't be read: {error}", path.display()))
    })?;
    utf8(bytes, &format!("the arguments file `{}`", path.display()))
}

fn read_stdin() -> Result<String, CliError> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::usage(format!("standard input can't be read: {error}")))?;
    utf8(bytes, "standard input")
}

fn utf8(bytes: Vec<u8>, what: &str) -> Result<String, CliError> {
    String::from_utf8(bytes).map_err(|error| {
        CliError::usage(format!("{what} is not UTF-8 (at byte {})", error.utf8_error().valid_up_to()))
    })
}
