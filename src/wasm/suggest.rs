//! Messages about unknown names: with the known ones, and the one that was probably meant.

use std::fmt::Write;

use crate::model::clip;

/// The most names that a message lists.
const LISTED: usize = 10;

/// ``unknown WHAT `given` (did you mean `near`? known WHATs: `a`, `b`, and 32 more)``.
pub(super) fn unknown<'a>(
    what: &str,
    given: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    unknown_near(what, given, nearest(given, known.clone()), known)
}

/// Writes the message of [`unknown`] with a suggestion that was found by other means.
pub(super) fn unknown_near<'a>(
    what: &str,
    given: &str,
    near: Option<&str>,
    known: impl IntoIterator<Item = &'a str>,
) -> String {
    let mut message = format!("unknown {what} `{}`", clip(given, 80));
    let listed = list(known);
    let _ = match near {
        _ if listed.is_empty() => write!(message, " (there are no {what}s)"),
        Some(near) => write!(message, " (did you mean `{near}`? known {what}s: {listed})"),
        None => write!(message, " (known {what}s: {listed})"),
    };
    message
}

/// Lists names in backticks, at most ten of them: `` `a`, `b`, and 32 more``.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let listed: Vec<_> = names.by_ref().take(LISTED).map(|name| format!("`{name}`")).collect();
    match names.count() {
        0 => listed.join(", "),
        more => format!("{}, and {more} more", listed.join(", ")),
    }
}

/// The most bytes of a name that is compared with others. The measure is quadratic in the lengths, and both names come
/// from outside.
const COMPARED_BYTES: usize = 200;

/// The most names that one is compared with: components may have very many.
const COMPARED: usize = 5_000;

/// Finds the known name that looks most like `given`, if any looks like it at all.
pub(super) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > COMPARED_BYTES {
        return None;
    }
    known
        .into_iter()
        .take(COMPARED)
        .filter(|name| name.len() <= COMPARED_BYTES)
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_lists_what_is_known() {
        assert_eq!(
            unknown("case", "gren", ["red", "green"]),
            "unknown case `gren` (did you mean `green`? known cases: `red`, `green`)"
        );
        assert_eq!(unknown("case", "xyz", ["red"]), "unknown case `xyz` (known cases: `red`)");
        assert_eq!(unknown("task", "x", []), "unknown task `x` (there are no tasks)");
    }

    #[test]
    fn lists_and_quotes_are_bounded() {
        let names: Vec<String> = (0..42).map(|n| format!("t{n}")).collect();
        let listed = list(names.iter().map(String::as_str));
        assert!(listed.ends_with("`t9`, and 32 more"), "{listed}");
        let message = unknown("task", &"é".repeat(1_000_000), ["a"]);
        assert!(message.len() < 300);
    }
}
