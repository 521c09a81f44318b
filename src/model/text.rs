//! Text that comes from guests.

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

#[cfg(test)]
mod tests {
    use super::*;

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
