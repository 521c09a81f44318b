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

/// Whether this character could make a line on a screen say something else than it seems to: what a terminal could
/// obey, and what can't be seen, such as marks of direction, separators of lines, spaces without width and tags. (Two
/// joiners remain, without which some scripts and pictures fall apart.)
///
/// What is kept has these characters, but for those of [`is_terminal_control`]: whoever prints it escapes them.
pub fn is_invisible(c: char) -> bool {
    match c {
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'
        | '\u{2029}' => true,
        '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}' => true,
        c => is_terminal_control(c),
    }
}

/// The first `chars` characters of a text that someone else chose the length of.
pub fn clip(text: &str, chars: usize) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// The first and the last characters of a text that someone else chose the length of, `chars` of them: the reason of a
/// panic is at the end of its message.
pub fn clip_middle(text: &str, chars: usize) -> std::borrow::Cow<'_, str> {
    let count = text.chars().count();
    if count <= chars {
        return text.into();
    }
    let at = |place: usize| text.char_indices().nth(place).map_or(text.len(), |(at, _)| at);
    let (end, start) = (at(chars - chars / 2), at(count - chars / 2));
    format!("{} … {}", text[..end].trim_end(), text[start..].trim_start()).into()
}

/// The beginning of the message of a failure if the guest wrote something and then stopped itself.
pub const GUEST_PANICKED: &str = "the guest panicked or aborted";

/// The message of a failure for one line of `chars` characters: the reason of a panic without the words around it that
/// are the same in every panic. `status` and JSON have the whole message.
pub fn failure_line(message: &str, chars: usize) -> String {
    let mut line = String::with_capacity(message.len().min(MOST_OF_A_LINE));
    let mut rest = message;
    // A failed child's message is quoted in that of its parent, so it can be anywhere.
    while let Some(at) = rest.find("thread '") {
        let (before, panic) = rest.split_at(at);
        line.push_str(before);
        match place_of_panic(panic) {
            Some((place, reason)) => {
                line.push_str(&place);
                rest = reason;
            }
            None => {
                let (word, after) = panic.split_at("thread '".len());
                line.push_str(word);
                rest = after;
            }
        }
    }
    line.push_str(rest);
    let line = line.replace(&format!("{GUEST_PANICKED}: "), "");
    let is_note = |line: &&str| line.starts_with("note: run with `RUST_BACKTRACE=");
    let lines: Vec<_> = line.trim().split('\n').filter(|line| !is_note(line)).collect();
    clip_middle(lines.join("\n").trim_end(), chars).into_owned()
}

/// Memory for the usual message of a failure.
const MOST_OF_A_LINE: usize = 1_024;

/// Reads the head of a Rust panic (`thread '<unnamed>' (1) panicked at src/lib.rs:7:9:` and a line feed): returns its
/// place in short (`src/lib.rs:7: `), and the text after it.
fn place_of_panic(text: &str) -> Option<(String, &str)> {
    let (head, reason) = text.split_once('\n')?;
    let (_, place) = head.split_once("' ")?.1.split_once("panicked at ")?;
    let (place, _column) = place.trim_end().strip_suffix(':')?.rsplit_once(':')?;
    // The file of a library has a long path, of which the end tells it apart.
    let start = place.rmatch_indices(['/', '\\']).nth(1).map_or(0, |(at, _)| at + 1);
    Some((format!("{}: ", &place[start..]), reason))
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
    fn a_panic_in_one_line_is_its_place_and_its_reason() {
        let panic = |path: &str, reason: &str| {
            format!(
                "{GUEST_PANICKED}: thread '<unnamed>' (1) panicked at {path}:7:9:\n{reason}\nnote: run with \
                 `RUST_BACKTRACE=1` environment variable to display a backtrace"
            )
        };
        let table = [
            (panic("src/lib.rs", "out of bananas"), "src/lib.rs:7: out of bananas"),
            (panic("/home/me/plugin-1.2/src/parts/peel.rs", "no\npeel"), "parts/peel.rs:7: no\npeel"),
            (
                format!("the child `a` failed: {}", panic("src/lib.rs", "it broke")),
                "the child `a` failed: src/lib.rs:7: it broke",
            ),
            (panic("lib.rs", ""), "lib.rs:7:"),
            (format!("{GUEST_PANICKED}: abort() called"), "abort() called"),
            ("thread '".to_owned(), "thread '"),
            ("thread 'x' panicked at nowhere\nat all".to_owned(), "thread 'x' panicked at nowhere\nat all"),
        ];
        for (message, line) in table {
            assert_eq!(failure_line(&message, 80), line, "{message}");
        }
        let long = failure_line(&panic("src/lib.rs", &format!("one{}two", "x".repeat(100))), 40);
        assert!(long.starts_with("src/lib.rs:7: one") && long.ends_with("two"), "{long}");
        assert_eq!(long.chars().count(), 43, "{long}");
    }

    #[test]
    fn what_can_not_be_seen_is_found_and_text_is_not() {
        let marks = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{202e}', '\u{2066}', '\u{2028}', '\u{2029}'];
        let empty =
            ['\u{200b}', '\u{2060}', '\u{feff}', '\u{e0001}', '\u{e0041}', '\u{e007f}', '\u{9b}', '\u{1b}'];
        for c in marks.into_iter().chain(empty) {
            assert!(is_invisible(c), "{c:?}");
        }
        for c in ['\n', '\t', ' ', 'a', 'é', '\u{a0}', '\u{200c}', '\u{200d}', '🦀', '\u{fe0f}'] {
            assert!(!is_invisible(c), "{c:?}");
        }
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
