//! The values of flags, read from their text. An error says what was expected.

use std::path::PathBuf;

use crate::config;
use crate::model::{FailureKind, MAX_PRIORITY, Moment, Status, UnixMicros, WaitingFor, is_valid_priority};
use crate::wasm::RightKind;

/// A value of `--component`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentFlag {
    /// The name of the component.
    pub name: String,
    /// Its file; none where a component is only named.
    pub path: Option<PathBuf>,
}

impl ComponentFlag {
    /// Pairs the name with the file, if there is one.
    pub fn file(&self) -> Option<(String, PathBuf)> {
        Some((self.name.clone(), self.path.clone()?))
    }
}

/// Reads `NAME` or `NAME=PATH`.
pub fn component_flag(text: &str) -> Result<ComponentFlag, String> {
    let (name, path) = text.split_once('=').map_or((text, None), |(name, path)| (name, Some(path)));
    if path == Some("") {
        return Err("there is no path after `=`".to_owned());
    }
    config::check_component_name(name, config::Origin::Flag)
        .map_err(|problem| format!("{problem} ({})", problem.hint.as_deref().unwrap_or_default()))?;
    Ok(ComponentFlag { name: name.to_owned(), path: path.map(PathBuf::from) })
}

/// Reads `NAME=PATH`.
pub fn named_file(text: &str) -> Result<ComponentFlag, String> {
    match text.contains('=') {
        true => component_flag(text),
        false => Err("expected `NAME=PATH`, for example `math=math.wasm`".to_owned()),
    }
}

/// Reads a pattern of names of components, or `NAME=PATH`.
pub fn component_pattern(text: &str) -> Result<ComponentFlag, String> {
    match text.contains('=') {
        true => component_flag(text),
        false => Ok(ComponentFlag { name: text.to_owned(), path: None }),
    }
}

/// Reads `K=V`.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected `K=V`, for example `customer=acme`".to_owned()),
    }
}

/// Reads a priority.
pub fn priority(text: &str) -> Result<i32, String> {
    let priority = text.parse().ok().filter(|priority| is_valid_priority(*priority));
    priority.ok_or_else(|| format!("expected an integer from -{MAX_PRIORITY} to {MAX_PRIORITY}"))
}

/// Reads a number of things.
pub fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "expected a whole number".to_owned())
}

/// Reads a number of things that is not 0.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    count(text).and_then(|count| if count > 0 { Ok(count) } else { Err("expected 1 or more".to_owned()) })
}

/// Reads a moment: an age, a date in UTC, or a time.
pub fn moment(text: &str) -> Result<Moment, String> {
    let moment = match text.contains('-') {
        true => UnixMicros::parse(text).map(Moment::At),
        false => config::parse_age(text).map(Moment::Ago).ok(),
    };
    moment.ok_or_else(|| "expected a time such as `24h`, `2026-11-01` or `2026-11-01T12:00:00Z`".to_owned())
}

/// Reads a kind of failure.
pub fn failure_kind(text: &str) -> Result<FailureKind, String> {
    word("kind of failure", text, &FailureKind::ALL, FailureKind::as_str)
}

/// Reads the thing that queued invocations wait for.
pub fn waiting_for(text: &str) -> Result<WaitingFor, String> {
    word("reason", text, &WaitingFor::ALL, WaitingFor::as_str)
}

/// Reads a kind of right.
pub fn right(text: &str) -> Result<RightKind, String> {
    word("right", text, &RightKind::ALL, RightKind::as_str)
}

/// Reads a status.
pub fn status(text: &str) -> Result<Status, String> {
    // The words of `queues` and `list` for what queued invocations wait for.
    let reasons =
        [("delayed", WaitingFor::Time), ("paused", WaitingFor::Pause), ("blocked", WaitingFor::Rule)];
    if let Some((word, reason)) = reasons.iter().find(|(word, _)| *word == text.trim()) {
        return Err(format!("`{word}` is no status: `list --waiting-for {reason}` lists what is {word}"));
    }
    word("status", text, &Status::ALL, Status::as_str)
}

/// Reads a word of the vocabulary.
fn word<T: Copy>(what: &str, text: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, String> {
    let text = text.trim();
    let names = || all.iter().map(|one| name(*one));
    all.iter().copied().find(|one| name(*one) == text).ok_or_else(|| {
        let near = config::nearest(text, names()).map(|near| format!("did you mean `{near}`? "));
        let known = config::in_backticks(names());
        format!("unknown {what} `{text}` ({}known: {known})", near.unwrap_or_default())
    })
}

/// Reads a status that is not final.
pub fn unfinished_status(text: &str) -> Result<Status, String> {
    one_of(text, |status| !status.is_final(), "final")
}

/// Reads a final status.
pub fn final_status(text: &str) -> Result<Status, String> {
    one_of(text, Status::is_final, "not final")
}

fn one_of(text: &str, fits: impl Fn(Status) -> bool, else_it_is: &str) -> Result<Status, String> {
    let status = status(text)?;
    if fits(status) {
        return Ok(status);
    }
    let fitting = Status::ALL.into_iter().filter(|status| fits(*status));
    let list = config::in_backticks(fitting.map(Status::as_str));
    Err(format!("what is `{status}` is {else_it_is} (possible: {list})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_have_a_name_and_a_path() {
        let flag = |name: &str, path: Option<&str>| {
            Ok(ComponentFlag { name: name.to_owned(), path: path.map(PathBuf::from) })
        };
        assert_eq!(named_file("a-1=b=c.wasm"), flag("a-1", Some("b=c.wasm")));
        for bad in ["a", "a=", "=b", "a.b=c", "a_b=c"] {
            assert!(named_file(bad).is_err(), "{bad}");
        }
        // Where one is only named, it need not have a path.
        assert_eq!((component_flag("a"), component_flag("a=b")), (flag("a", None), flag("a", Some("b"))));
        assert!(component_flag("a=").is_err() && component_flag("a.b").is_err());
    }

    #[test]
    fn an_unknown_word_is_answered_with_the_nearest_one() {
        assert_eq!(status(" failed"), Ok(Status::Failed));
        assert_eq!(failure_kind("timed-out"), Ok(FailureKind::TimedOut));
        let error = status("fialed").unwrap_err();
        assert!(
            error.starts_with("unknown status `fialed` (did you mean `failed`? known: `queued`"),
            "{error}"
        );
        assert!(failure_kind("trap").unwrap_err().contains("did you mean `trapped`?"));
        assert!(status("zzz").unwrap_err().starts_with("unknown status `zzz` (known: "));
    }

    #[test]
    fn labels_may_have_anything_after_the_first_equals_sign() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(label("a="), Ok(("a".to_owned(), String::new())));
        assert!(label("=b").is_err() && label("a").is_err());
    }
}
