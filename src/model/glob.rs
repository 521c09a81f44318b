//! Patterns with `*`.

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
