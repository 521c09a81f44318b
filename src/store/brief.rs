//! Failures in lists: of a large one, only the beginning is read. An error that a task returns may be tens of megabytes,
//! and a list has many.

use super::value::{Stored, Value, json_text, text};
use crate::model::{Failure, FailureKind};

/// Of a failure, as JSON, so many characters are read for a list. The kind and the message are at its beginning.
pub(super) const BRIEF_CHARS: usize = 16 * 1024;

/// A failure, whole or its beginning.
pub(super) struct BriefFailure(pub(super) Failure);

impl Stored for BriefFailure {
    fn read(value: Value<'_>) -> Result<Self, String> {
        let text = text(&value)?;
        let found = serde_json::from_str(text).or_else(|error| {
            let is_cut = text.chars().count() == BRIEF_CHARS;
            is_cut.then(|| beginning(text)).flatten().ok_or_else(|| error.to_string())
        });
        found.map(Self)
    }
}

/// Reduces a failure to what a list has of it; `None` if it has all.
pub(super) fn brief(failure: &Failure) -> Option<Failure> {
    let text = json_text(failure);
    let (cut, _) = text.char_indices().nth(BRIEF_CHARS)?;
    beginning(&text[..cut])
}

/// Reads the beginning of a failure: its kind, and its message as far as it is there.
fn beginning(text: &str) -> Option<Failure> {
    let (kind, rest) = text.strip_prefix(r#"{"kind":"#)?.split_once(r#","message":"#)?;
    let kind: FailureKind = serde_json::from_str(kind).ok()?;
    let first = serde_json::Deserializer::from_str(rest).into_iter::<String>().next();
    let message = first.and_then(Result::ok).or_else(|| {
        // The cut may be within an escape, or between the two of a pair.
        let cuts = rest.char_indices().rev().map(|(at, _)| &rest[..at]);
        let mut cuts = std::iter::once(rest).chain(cuts.take(12));
        let message = cuts.find_map(|cut| serde_json::from_str::<String>(&format!("{cut}\"")).ok());
        message.map(|message| message + "…")
    })?;
    Some(Failure { is_cut: true, ..Failure::new(kind, message) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Failure, String> {
        BriefFailure::read(Value::Text(text.into())).map(|found| found.0)
    }

    #[test]
    fn the_kind_and_the_message_of_a_large_failure_are_read() {
        let error = serde_json::value::to_raw_value(&"x".repeat(BRIEF_CHARS)).unwrap();
        let mut failure = Failure::returned(error);
        let brief = brief(&failure).expect("it is large");
        assert_eq!((brief.kind, &brief.message, brief.is_cut), (failure.kind, &failure.message, true));
        assert!(brief.error.is_none());
        let text = json_text(&failure);
        assert!(!read(&text).unwrap().is_cut);
        assert_eq!(read(&text[..BRIEF_CHARS]).unwrap().message, failure.message);
        assert!(read(&text[..BRIEF_CHARS - 1]).is_err(), "nobody cuts it there");
        failure.error = None;
        assert!(super::brief(&failure).is_none());
    }

    #[test]
    fn a_message_of_escapes_may_be_cut_anywhere() {
        for shift in 0..14 {
            let message = format!("{}{}", "a".repeat(shift), "\u{1b}\"é".repeat(2_000));
            let text = json_text(&Failure::new(FailureKind::Trapped, message.clone()));
            let (cut, _) = text.char_indices().nth(BRIEF_CHARS).expect("escapes take six characters");
            let found = read(&text[..cut]).unwrap();
            let shown = found.message.strip_suffix('…').expect("it was cut");
            assert!(found.is_cut && message.starts_with(shown) && shown.len() > 5_000, "{shift}");
        }
        let pair = format!(r#"{{"kind":"trapped","message":"{}"#, "\\ud83d\\ude00".repeat(BRIEF_CHARS));
        for shift in 0..14 {
            let text = pair.replace(r#""message":""#, &format!(r#""message":"{}"#, "a".repeat(shift)));
            let text: String = text.chars().take(BRIEF_CHARS).collect();
            assert!(read(&text).unwrap().message.ends_with("😀…"), "{shift}");
        }
    }
}
