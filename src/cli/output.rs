//! Standard output, standard error, and what may be written to a terminal.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use comfy_table::Cell;
use serde::Serialize;

use super::error::CliError;
use super::render::columns;
use crate::model::is_terminal_control;

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

/// Whether the user wants colours where a terminal could show them.
pub fn wants_colours() -> bool {
    // https://no-color.org: any value but the empty one.
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no_color && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes a line to standard error.
pub fn note(text: &str) {
    super::stderr::note(text);
}

/// Writes `error: …` and `hint: …` lines to standard error.
pub fn complain(lines: &[(String, Option<String>)]) {
    for (message, text) in lines {
        note(&format!("{} {}", label("error", "31"), harmless(message)));
        text.as_deref().into_iter().for_each(hint);
    }
}

/// Writes a `hint: …` line to standard error.
pub fn hint(text: &str) {
    note(&format!("{} {}", label("hint", "36"), harmless(text)));
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
    note(&format!("{} {}", label("warning", "33"), harmless(message)));
    text.into_iter().for_each(hint);
}

/// Makes text from a guest or a store harmless for a terminal: control
/// characters other than newline and tab are written as escapes.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\r' => safe.push_str("\\r"),
            c if is_harmful(c) => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Makes text harmless for a cell of a table or one line: newlines and tabs are escaped as
/// well.
pub fn harmless_line(text: &str) -> String {
    harmless(text).replace('\n', "\\n").replace('\t', "\\t")
}

fn is_harmful(c: char) -> bool {
    // On screen the marks of direction go too: they are invisible, and could
    // make a line of ours say something else.
    is_terminal_control(c) || matches!(c, '\u{200e}' | '\u{200f}')
}

/// JSON without the control characters that JSON allows unescaped. They can
/// only stand within strings, where an escape means the same.
fn escape_json_controls(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_harmful) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match is_harmful(c) && c != '\r' {
            true => safe.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_a_terminal_are_made_harmless() {
        assert_eq!(harmless("plain\n\ttext é"), "plain\n\ttext é");
        assert_eq!(harmless("\u{1b}[2Jx\r\u{9b}1m\u{7f}"), "\\u{1b}[2Jx\\r\\u{9b}1m\\u{7f}");
        assert_eq!(harmless_line("a\nb\u{202e}c"), "a\\nb\\u{202e}c");
    }

    #[test]
    fn escaped_json_means_the_same() {
        let json = "[\"a\u{9b}b\u{7f}\"]";
        let safe = escape_json_controls(json);
        assert_eq!(safe, "[\"a\\u009bb\\u007f\"]");
        let values: [serde_json::Value; 2] =
            [json, &safe].map(|text| serde_json::from_str(text).expect("valid"));
        assert_eq!(values[0], values[1]);
    }
}
