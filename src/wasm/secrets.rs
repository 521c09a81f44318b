//! Secrets that guests are given, and that must not be read in what the runner
//! keeps of them.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// A variable whose value is secret. Only the name is ever shown.
#[derive(Debug, Clone)]
pub struct SecretGrant {
    /// The name of the variable.
    pub name: String,
    /// Where its value is.
    pub source: SecretSource,
    /// The value, once it was read; shared with all clones.
    value: Arc<OnceLock<Value>>,
}

/// Where the value of a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file, but for a line break at its end.
    File(PathBuf),
    /// In a variable of the runner's own environment.
    Environment(String),
}

/// Text that is not for showing.
struct Value(Box<str>);

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

impl SecretGrant {
    /// A secret that is not read yet.
    pub fn new(name: String, source: SecretSource) -> Self {
        Self { name, source, value: Arc::default() }
    }

    /// Says what its value is: the first time counts.
    pub fn fill(&self, value: String) {
        let _ = self.value.set(Value(value.into()));
    }

    /// The value; `None` as long as nobody has said it.
    pub(super) fn value(&self) -> Option<&str> {
        self.value.get().map(|value| &*value.0)
    }
}

/// What stands between the quotes.
fn unquoted(text: &str) -> String {
    text.get(1..text.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

/// A beginning of a secret that is shorter than this is any text.
const TELLING: usize = 4;

/// Finds secrets in text, and puts their names in their place.
pub(super) struct Scrubber {
    /// What is looked for and what is put there, the longest first.
    needles: Vec<(Box<[u8]>, Box<str>)>,
    /// Whether a needle begins with this byte.
    begins: [bool; 256],
}

impl Scrubber {
    /// Looks for these; `None` if there are none, so that nobody looks.
    pub(super) fn new(secrets: &[SecretGrant]) -> Option<Self> {
        let mut needles: Vec<(Box<[u8]>, Box<str>)> = Vec::new();
        for secret in secrets {
            let Some(value) = secret.value() else { continue };
            let placeholder = format!("[secret {}]", secret.name);
            // As it is, and as JSON and Rust quote it, also within each other: a guest that
            // tells of a failed child quotes what was quoted already.
            let json = |text: &str| unquoted(&serde_json::to_string(text).unwrap_or_default());
            let debug = |text: &str| unquoted(&format!("{text:?}"));
            let (once, as_rust) = (json(value), debug(value));
            let quoted = [json(&once), debug(&once), once, as_rust];
            let quoted = quoted.iter().map(String::as_str);
            for form in std::iter::once(value).chain(quoted) {
                if !form.is_empty() && !needles.iter().any(|(known, _)| **known == *form.as_bytes()) {
                    needles.push((form.as_bytes().into(), placeholder.as_str().into()));
                }
            }
        }
        if needles.is_empty() {
            return None;
        }
        needles.sort_by_key(|(needle, _)| std::cmp::Reverse(needle.len()));
        let mut begins = [false; 256];
        needles.iter().for_each(|(needle, _)| begins[usize::from(needle[0])] = true);
        Some(Self { needles, begins })
    }

    /// Takes what is complete out of `held`, scrubbed, and leaves an end there that may
    /// be the beginning of a secret: but nothing if it `is_end`.
    pub(super) fn pass(&self, held: &mut Vec<u8>, is_end: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(held.len());
        let mut at = 0;
        'bytes: while let Some(byte) = held.get(at) {
            if self.begins[usize::from(*byte)] {
                let rest = &held[at..];
                // The longest first: it may begin with a shorter one.
                for (needle, placeholder) in &self.needles {
                    if rest.starts_with(needle) {
                        out.extend_from_slice(placeholder.as_bytes());
                        at += needle.len();
                        continue 'bytes;
                    }
                    if !is_end && needle.starts_with(rest) {
                        break 'bytes;
                    }
                }
            }
            out.push(*byte);
            at += 1;
        }
        held.drain(..at);
        out
    }

    /// A text as a whole, scrubbed.
    pub(super) fn scrub<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !text.bytes().any(|byte| self.begins[usize::from(byte)]) {
            return text.into();
        }
        let out = self.pass(&mut text.as_bytes().to_vec(), true);
        // Whole texts were replaced by whole texts.
        String::from_utf8(out)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
            .into()
    }

    /// A text that may have been cut off within a secret.
    pub(super) fn scrub_cut(&self, text: &str) -> String {
        let mut text = self.scrub(text).into_owned();
        let (body, mark) = match text.strip_suffix('…') {
            Some(body) => (body.len(), "…"),
            None => (text.len(), ""),
        };
        let begun = self.needles.iter().filter_map(|(needle, _)| {
            (TELLING..needle.len()).rev().find(|length| text.as_bytes()[..body].ends_with(&needle[..*length]))
        });
        if let Some(begun) = begun.max() {
            text.truncate(text.floor_char_boundary(body - begun));
            text.push_str(mark);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubber(values: &[&str]) -> Scrubber {
        let secrets = values.iter().enumerate().map(|(n, value)| {
            let secret = SecretGrant::new(format!("S{n}"), SecretSource::Environment(String::new()));
            secret.fill((*value).to_owned());
            secret
        });
        Scrubber::new(&secrets.collect::<Vec<_>>()).unwrap()
    }

    /// What comes out if the text comes in pieces of this length.
    fn in_pieces(scrubber: &Scrubber, text: &str, length: usize) -> String {
        let (mut held, mut out) = (Vec::new(), Vec::new());
        for piece in text.as_bytes().chunks(length) {
            held.extend_from_slice(piece);
            out.append(&mut scrubber.pass(&mut held, false));
        }
        out.append(&mut scrubber.pass(&mut held, true));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_secret_is_found_however_it_is_split() {
        let scrubber = scrubber(&["hunter2", "päss🦀word"]);
        let text = "a hunter2 b hunterhunter2, päss🦀word hunter";
        let expected = "a [secret S0] b hunter[secret S0], [secret S1] hunter";
        for length in 1..=text.len() {
            assert_eq!(in_pieces(&scrubber, text, length), expected, "in pieces of {length}");
        }
        assert_eq!(scrubber.scrub(text), expected);
        assert_eq!(scrubber.scrub("xxxxxxx"), "xxxxxxx");
    }

    #[test]
    fn of_two_secrets_that_begin_alike_the_longer_is_found() {
        let scrubber = scrubber(&["abcd", "abcdefgh"]);
        for length in 1..10 {
            assert_eq!(in_pieces(&scrubber, "abcdefgh abcdef", length), "[secret S1] [secret S0]ef");
        }
    }

    #[test]
    fn quoted_forms_are_found_as_well() {
        let scrubber = scrubber(&["a\"b\\c\nd"]);
        assert_eq!(scrubber.scrub(r#"{"x":"a\"b\\c\nd"}"#), r#"{"x":"[secret S0]"}"#);
        assert_eq!(scrubber.scrub("a\"b\\c\nd"), "[secret S0]");
    }

    #[test]
    fn what_was_cut_off_within_a_secret_goes_too() {
        let scrubber = scrubber(&["hunter2-and-more"]);
        assert_eq!(scrubber.scrub_cut("said hunter2-an…"), "said …");
        assert_eq!(scrubber.scrub_cut("said hunter2-an"), "said ");
        assert_eq!(scrubber.scrub_cut("said hun"), "said hun", "that can be anything");
    }

    #[test]
    fn nobody_sees_a_value_by_chance() {
        let secret = SecretGrant::new("KEY".to_owned(), SecretSource::Environment("FROM".to_owned()));
        assert!(Scrubber::new(std::slice::from_ref(&secret)).is_none());
        secret.fill("hunter2".to_owned());
        assert!(!format!("{secret:?} {:#?}", secret.clone()).contains("hunter2"));
    }
}
