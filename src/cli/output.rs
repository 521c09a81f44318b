//! Standard output, and notes on standard error.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use comfy_table::Cell;
use serde::Serialize;

use super::error::CliError;
use super::harmless::{escape_json_controls, harmless};
use super::json_log;
use super::render::columns;

/// Standard output, for data.
///
/// Buffered: whoever waits for something flushes before.
pub struct Output {
    writer: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
    /// Whether documents are written as JSON.
    is_json: bool,
}

impl Output {
    /// Takes standard output, for JSON or for people.
    pub fn stdout(is_json: bool) -> Self {
        let stdout = io::stdout().lock();
        let is_terminal = stdout.is_terminal();
        Self { writer: BufWriter::with_capacity(64 << 10, stdout), is_terminal, is_json }
    }

    /// Whether a person sees it in colours.
    pub fn has_colours(&self) -> bool {
        self.is_terminal && wants_colours()
    }

    /// Writes a line for people.
    pub fn line(&mut self, text: &str) -> Result<(), CliError> {
        writeln!(self.writer, "{text}").map_err(CliError::output)
    }

    /// Writes JSON text and a newline. Its bytes stay as they are, except that
    /// on a terminal control characters that JSON would let pass are escaped.
    pub fn json_text(&mut self, json: &str) -> Result<(), CliError> {
        let json = if self.is_terminal { escape_json_controls(json) } else { Cow::Borrowed(json) };
        self.line(&json)
    }

    /// Writes a value for people, as JSON too.
    pub fn value(&mut self, json: &str) -> Result<(), CliError> {
        if self.is_json { Ok(()) } else { self.json_text(json) }
    }

    /// Writes a document as one line of JSON.
    pub fn json(&mut self, document: &impl Serialize) -> Result<(), CliError> {
        let json = serde_json::to_string(document).expect("documents have string keys and no failing parts");
        self.json_text(&json)
    }

    /// Writes a document: as JSON, or as a line for people.
    pub fn document(
        &mut self,
        document: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), CliError> {
        if self.is_json { self.json(document) } else { self.line(&text()) }
    }

    /// Writes documents, one a line, and hands them over.
    pub fn documents(&mut self, documents: &[impl Serialize]) -> Result<(), CliError> {
        documents.iter().try_for_each(|document| self.json(document))?;
        self.flush()
    }

    /// Writes documents, or a table with a row for each, and hands them over.
    pub fn table<T: Serialize>(
        &mut self,
        headings: &[&str],
        documents: &[T],
        row: impl Fn(&T) -> Vec<Cell>,
    ) -> Result<(), CliError> {
        if self.is_json {
            return self.documents(documents);
        }
        self.rows(headings, documents.iter().map(row))
    }

    /// Writes columns for people, and hands them over.
    pub fn rows(
        &mut self,
        headings: &[&str],
        rows: impl IntoIterator<Item = Vec<Cell>>,
    ) -> Result<(), CliError> {
        self.line(&columns(headings, rows, self.has_colours()))?;
        self.flush()
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.writer.write_all(bytes).map_err(CliError::output)
    }

    /// Hands everything over to whoever reads.
    pub fn flush(&mut self) -> Result<(), CliError> {
        super::progress::suspend(|| self.writer.flush()).map_err(CliError::output)
    }
}

/// Whether a person reads standard output.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether the user wants colours where a terminal could show them.
pub fn wants_colours() -> bool {
    // https://no-color.org: any value but the empty one.
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no_color && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes a line to standard error.
pub fn note(text: &str) {
    let text = harmless(text);
    match super::stderr::is_json() {
        true => super::stderr::note(&json_log::note("info", &text)),
        false => super::stderr::note(&text),
    }
}

/// Writes a line to standard error; where lines are JSON, with an event and the fields of a document.
pub fn note_with(text: &str, event: &str, document: &impl Serialize) {
    let text = harmless(text);
    match super::stderr::is_json() {
        true => super::stderr::note(&json_log::note_with("info", &text, event, document)),
        false => super::stderr::note(&text),
    }
}

/// Writes a line with a label to standard error.
fn labelled(word: &str, colour: &str, text: &str) {
    if super::stderr::is_json() {
        let level = match word {
            "error" => "error",
            "warning" => "warn",
            _ => "info",
        };
        return super::stderr::note(&json_log::note(level, &harmless(text)));
    }
    super::stderr::note(&format!("{} {}", label(word, colour), harmless(text)));
}

/// Writes `error: …` and `hint: …` lines to standard error.
pub fn complain(lines: &[(String, Option<String>)]) {
    for (message, text) in lines {
        labelled("error", "31", message);
        text.as_deref().into_iter().for_each(hint);
    }
}

/// Writes a `hint: …` line to standard error.
pub fn hint(text: &str) {
    labelled("hint", "36", text);
}

fn label(word: &str, colour: &str) -> String {
    if io::stderr().is_terminal() && wants_colours() {
        format!("\u{1b}[1;{colour}m{word}:\u{1b}[0m")
    } else {
        format!("{word}:")
    }
}

/// Writes a `warning: …` line to standard error.
pub fn warn(message: &str, text: Option<&str>) {
    labelled("warning", "33", message);
    text.into_iter().for_each(hint);
}
