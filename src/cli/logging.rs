//! Log lines of the program itself, on standard error.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, Origin, Problem};

use super::harmless::{escape_json_controls, harmless};
use super::json_log::JsonLines;
use super::output::wants_colours;
use super::stderr;

/// The variable that says more exactly than `-v` what to log.
const VARIABLE: &str = "WASM_RUNNER_LOG";

/// These warn of what a guest did wrong, as often as it does.
const QUIET: &str = ",wasmtime_wasi=error,wasmtime_wasi_http=error";

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Starts to log: `WASM_RUNNER_LOG` (`info`, `run_wasm_runner::runner=debug`) if
/// set, else by the number of `-v` above what the command logs anyway. A server says in which form.
/// [`ConfigError`] if the variable can't be read as a filter.
pub fn start(verbose: u8, server: Option<LogFormat>) -> Result<(), ConfigError> {
    let is_server = server.is_some();
    let filter = match std::env::var(VARIABLE).ok().filter(|value| !value.is_empty()) {
        Some(text) => EnvFilter::try_new(&text).map_err(|error| {
            let message = format!("`{text}` is not a log filter: {error}");
            Problem::new(Origin::Environment, message)
                .at(format!("the variable {VARIABLE}"))
                .hint("write a level (`error`, `warn`, `info`, `debug`, `trace`), or `TARGET=LEVEL,…`")
        })?,
        None => EnvFilter::new(match verbose + u8::from(is_server) {
            0 => format!("warn{QUIET}"),
            1 => format!("warn,run_wasm_runner=info{QUIET}"),
            2 => format!("info,run_wasm_runner=debug{QUIET}"),
            3 => "debug,run_wasm_runner=trace".to_owned(),
            _ => "trace".to_owned(),
        }),
    };
    let is_json = server == Some(LogFormat::Json);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(!is_json && io::stderr().is_terminal() && wants_colours())
        .with_target(verbose > 0)
        .with_writer(|| Line);
    stderr::start(is_server, is_json);
    // Only a test that runs commands twice in one process could have one.
    let _ = if is_json { subscriber.event_format(JsonLines).try_init() } else { subscriber.try_init() };
    Ok(())
}

/// A line of the log on its way.
struct Line;

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if stderr::is_json() {
            stderr::log(escape_json_controls(&String::from_utf8_lossy(bytes)).as_bytes());
            return Ok(bytes.len());
        }
        // The escapes in it are colours: those in values were taken out where the line was made.
        let text = String::from_utf8_lossy(bytes);
        let parts = text.split_inclusive('\u{1b}').map(|part| match part.strip_suffix('\u{1b}') {
            Some(part) => harmless(part) + "\u{1b}",
            None => harmless(part),
        });
        stderr::log(parts.collect::<String>().as_bytes());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
