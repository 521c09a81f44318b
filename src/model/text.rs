//! Text that comes from guests.

use std::fmt::{self, Display, Write};

/// Whether a terminal could obey this character or be fooled by it: control characters except line feed and
/// tab, and those that turn the direction of text around.
///
/// The one place that decides; whoever keeps or shows the text writes something else instead.
pub fn is_terminal_control(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    }
}

/// The first `chars` characters of a text that someone else chose the length of.
pub fn clip(text: &str, chars: usize) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// Writes a value up to `bytes` bytes, and `…` if there is more. It stops there: no more of the value is
/// even made, for a short name can stand for a very long text.
pub fn write_cut(value: impl Display, bytes: usize) -> String {
    struct Cut {
        text: String,
        bytes: usize,
    }

    impl Write for Cut {
        fn write_str(&mut self, more: &str) -> fmt::Result {
            let end = more.floor_char_boundary(self.bytes - self.text.len());
            self.text.push_str(&more[..end]);
            if end < more.len() { Err(fmt::Error) } else { Ok(()) }
        }
    }

    let mut cut = Cut { text: String::new(), bytes };
    if write!(cut, "{value}").is_err() {
        cut.text.push('…');
    }
    cut.text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_not_made_beyond_its_cut() {
        assert_eq!(write_cut("abc", 3), "abc");
        assert_eq!(write_cut("abcd", 3), "abc…");
        assert_eq!(write_cut("éé", 3), "é…");
        struct Endless;
        impl Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("more ")?;
                }
            }
        }
        assert_eq!(write_cut(Endless, 7), "more mo…");
    }

    #[test]
    fn controls_and_overrides_are_found_and_text_is_not() {
        for c in ['\0', '\r', '\u{1b}', '\u{7f}', '\u{80}', '\u{9b}', '\u{9f}', '\u{202e}', '\u{2066}'] {
            assert!(is_terminal_control(c), "{c:?}");
        }
        for c in ['\n', '\t', ' ', 'a', 'é', '\u{a0}', '\u{202f}', '🦀'] {
            assert!(!is_terminal_control(c), "{c:?}");
        }
    }
}
