//! Patterns with `*`.

use std::cmp::Reverse;
use std::fmt;

/// A pattern in which `*` stands for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Box<str>);

impl Glob {
    /// Takes a text as a pattern.
    pub fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for the whole of `text`.
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let mut last = None;
        for part in parts {
            // For all parts but the last, the earliest place is as good as any.
            if let Some(before) = last.replace(part) {
                match rest.find(before) {
                    Some(at) => rest = &rest[at + before.len()..],
                    None => return false,
                }
            }
        }
        match last {
            Some(last) => rest.ends_with(last),
            None => rest.is_empty(),
        }
    }

    /// Finds the most exact of the patterns that stand for a text: one without `*` before all others, then the one
    /// with the most characters that are not `*`, of equals the first in the alphabet.
    pub fn most_exact<'t, T>(
        patterns: impl IntoIterator<Item = &'t T>,
        glob: impl Fn(&T) -> &Self,
        text: &str,
    ) -> Option<&'t T> {
        let fitting = patterns.into_iter().filter(|one| glob(one).matches(text));
        fitting.min_by(|a, b| {
            let exactness = |one: &&'t T| {
                let stars = glob(one).0.matches('*').count();
                (stars > 0, Reverse(glob(one).0.chars().count() - stars))
            };
            exactness(a).cmp(&exactness(b)).then_with(|| glob(a).0.cmp(&glob(b).0))
        })
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_pattern_is_found() {
        let patterns = ["*", "acme-*", "*-x", "acme-x", "a*e-*", "b*", "*b"].map(Glob::new);
        let found = |text| Glob::most_exact(&patterns, |glob| glob, text).map(Glob::as_str);
        assert_eq!(found("acme-x"), Some("acme-x"));
        assert_eq!(found("acme-y"), Some("acme-*"));
        assert_eq!(found("c-x"), Some("*-x"));
        assert_eq!(found("bb"), Some("*b"), "the first in the alphabet");
        assert_eq!(found(""), Some("*"));
        assert_eq!(Glob::most_exact(&patterns[1..2], |glob| glob, "x"), None);
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("*", "a/b", true),
            ("/v1/*", "/v1/", true),
            ("/v1/*", "/v1/a/b", true),
            ("/v1/*", "/v1", false),
            ("/v1/*", "/v2/v1/", false),
            ("/v1", "/v1", true),
            ("/v1", "/v1/", false),
            ("a*b", "ab", true),
            ("a*b", "aXbXb", true),
            ("a*b", "a", false),
            ("ab*ab", "ab", false),
            ("ab*ab", "abab", true),
            ("*.json", "a.json", true),
            ("*.json", "a.json.bak", false),
            ("a*b*c*d", "a1b2c3d", true),
            ("a*b*c*d", "a1c2b3d", false),
            ("a**b", "ab", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), matches, "`{pattern}` and `{text}`");
        }
    }
}
