//! Arguments of tasks: JSON from the command line, files and standard input.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::wasm::{Library, Task};

use super::error::CliError;

/// Reads one ARGS: JSON text, `@FILE`, or `-` for standard input.
///
/// # Errors
///
/// A usage error if it can't be read.
pub fn read(text: &str) -> Result<String, CliError> {
    match text.strip_prefix('@') {
        Some(path) => read_file(Path::new(path)),
        None if text == "-" => read_stdin(),
        None => Ok(text.to_owned()),
    }
}

/// Reads a file, or standard input if it is called `-`.
///
/// # Errors
///
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

/// Checks arguments against the parameters of a task. `place` says where they
/// come from if there are several.
///
/// # Errors
///
/// A usage error with the path and both types.
pub fn check(library: &Library, task: &Task, json: &str, place: Option<&str>) -> Result<Arc<str>, CliError> {
    let complain = |message: String| {
        CliError::usage(match place {
            Some(place) => format!("{place}: {message}"),
            None => message,
        })
    };
    let trimmed = json.trim_start_matches('\u{feff}').trim();
    if !trimmed.starts_with(['[', '{']) {
        let found = match trimmed.char_indices().nth(40) {
            Some((end, _)) => format!("`{}…`", &trimmed[..end]),
            None if trimmed.is_empty() => "nothing".to_owned(),
            None => format!("`{trimmed}`"),
        };
        let error = complain(format!("arguments must be a JSON array or object, found {found}"));
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(trimmed).is_ok();
        return Err(error.with_hint(match is_json {
            true => format!("put it into an array: `'[{trimmed}]'`"),
            false => format!("an array has one value for each parameter: `'[{}]'`", example(task)),
        }));
    }
    let signature = signature(task);
    library
        .check_arguments(task, trimmed)
        .map_err(|error| complain(error.to_string()).with_hint(format!("the task is `{signature}`")))
}

/// A task with its types: `fib(n: u32) -> u64`.
pub fn signature(task: &Task) -> String {
    let parameters: Vec<_> = task
        .parameters
        .iter()
        .map(|parameter| format!("{}: {}", parameter.name, parameter.type_name))
        .collect();
    let result = task.result.as_ref().map(|result| format!(" -> {result}")).unwrap_or_default();
    format!("{}({}){result}", task.id, parameters.join(", "))
}

/// The first line of what its component says of a task.
pub fn first_line(task: &Task) -> Option<&str> {
    task.docs.as_deref()?.lines().next()
}

fn example(task: &Task) -> String {
    let values = task.parameters.iter().map(|parameter| match parameter.type_name.as_str() {
        "string" | "char" => "\"a\"",
        "bool" => "true",
        "u8" | "u16" | "u32" | "u64" | "s8" | "s16" | "s32" | "s64" | "f32" | "f64" => "1",
        name if name.starts_with("list<") => "[]",
        name if name.starts_with("option<") => "null",
        _ => "…",
    });
    values.collect::<Vec<_>>().join(", ")
}
