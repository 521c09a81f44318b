//! Text that may be written to a terminal.

use std::borrow::Cow;

use crate::model::is_invisible;

/// Makes text from a guest, a store or a command line harmless for a terminal: control characters other than newline
/// and tab, and what can't be seen, are written as escapes.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_invisible) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\r' => safe.push_str("\\r"),
            c if is_invisible(c) => safe.extend(c.escape_unicode()),
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

/// JSON without the control characters that JSON allows unescaped. They can
/// only stand within strings, where an escape means the same.
pub fn escape_json_controls(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_invisible) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match is_invisible(c) && c != '\r' {
            true => {
                let mut units = [0; 2];
                safe.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
            }
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
        let json = "[\"a\u{9b}b\u{7f}\u{e0041}\"]";
        let safe = escape_json_controls(json);
        assert_eq!(safe, "[\"a\\u009bb\\u007f\\udb40\\udc41\"]");
        let values: [serde_json::Value; 2] =
            [json, &safe].map(|text| serde_json::from_str(text).expect("valid"));
        assert_eq!(values[0], values[1]);
    }
}
