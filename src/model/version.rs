//! Versions of interfaces: which stand for others, and the track that each is on.

use std::cmp::Ordering;

/// Splits an interface's name (`acme:math/ops@1.0.0`) from its version.
pub fn split_version(interface: &str) -> (&str, Option<&str>) {
    match interface.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (interface, None),
    }
}

/// A semantic version. Build metadata is left out, as it has no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version<'a> {
    numbers: [u64; 3],
    prerelease: &'a str,
}

impl<'a> Version<'a> {
    /// Reads `1.2.3`, `1.2.3-rc.1` or either with build metadata.
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = without_build(text);
        let (numbers, prerelease) = text.split_once('-').unwrap_or((text, ""));
        let mut parts = numbers.split('.').map(|part| part.parse().ok());
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(Self { numbers, prerelease })
    }

    /// How many numbers must be the same for two versions to be compatible.
    fn significant(&self) -> usize {
        match self.numbers {
            [0, 0, _] => 3,
            [0, _, _] => 2,
            _ => 1,
        }
    }

    fn is_compatible_with(&self, offered: &Self) -> bool {
        let count = self.significant();
        // Pre-releases promise nothing.
        self.prerelease.is_empty()
            && offered.prerelease.is_empty()
            && count == offered.significant()
            && self.numbers[..count] == offered.numbers[..count]
            && offered >= self
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        // A release comes after its pre-releases. Among those the order of the
        // text is good enough: it only decides which of two is shown.
        let key = |version: &Self| (version.numbers, version.prerelease.is_empty());
        key(self).cmp(&key(other)).then_with(|| self.prerelease.cmp(other.prerelease))
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn without_build(version: &str) -> &str {
    version.split_once('+').map_or(version, |(version, _)| version)
}

/// The range of versions that are compatible with this one: `1` for `1.4.2`, `0.2` for
/// `0.2.5`, `0.0.3` for itself. A pre-release, and what is no version, is a range of its
/// own.
pub fn track(version: &str) -> &str {
    let text = without_build(version);
    let Some(parsed) = Version::parse(text).filter(|parsed| parsed.prerelease.is_empty()) else {
        return text;
    };
    let end = text.match_indices('.').nth(parsed.significant() - 1).map_or(text.len(), |(end, _)| end);
    &text[..end]
}

/// Whether one version can stand for another: the same, or compatible by semver and not
/// older.
fn is_compatible_version(wanted: &str, offered: &str) -> bool {
    match (Version::parse(wanted), Version::parse(offered)) {
        (Some(wanted), Some(offered)) if wanted.is_compatible_with(&offered) => true,
        _ => wanted == offered,
    }
}

/// Whether a version, or a track, that somebody asks for is that of an interface. Of those
/// offered only the track may be known.
pub fn is_on_track(wanted: &str, offered: &str) -> bool {
    let only_track = Version::parse(offered).is_none();
    wanted == track(offered)
        || is_compatible_version(wanted, offered)
        || (only_track && track(wanted) == offered)
}

/// Whether an exported interface can stand for an imported one, by their names
/// (`acme:math/ops@1.0.0`): same name, and a compatible version. No version matches any.
pub fn is_compatible(imported: &str, exported: &str) -> bool {
    let ((name, wanted), (other, offered)) = (split_version(imported), split_version(exported));
    name == other
        && wanted.zip(offered).is_none_or(|(wanted, offered)| is_compatible_version(wanted, offered))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_match_by_semver() {
        for (imported, exported, compatible) in [
            ("a:b/c@1.0.0", "a:b/c@1.2.0", true),
            ("a:b/c@1.2.0", "a:b/c@1.0.0", false),
            ("a:b/c@1.2.0", "a:b/c@2.2.0", false),
            ("a:b/c@0.1.0", "a:b/c@0.1.7", true),
            ("a:b/c@0.1.0", "a:b/c@0.2.0", false),
            ("a:b/c@0.0.1", "a:b/c@0.0.2", false),
            ("a:b/c@0.0.1", "a:b/c@0.0.1", true),
            ("a:b/c@0.0.1", "a:b/c@0.1.0", false),
            ("a:b/c@1.0.0", "a:b/c", true),
            ("a:b/c", "a:b/c@7.0.0", true),
            ("a:b/c", "a:b/d", false),
            ("a:b/c@1.0.0-rc.1", "a:b/c@1.0.0", false),
            ("a:b/c@1.0.0-rc.1", "a:b/c@1.0.0-rc.1", true),
            ("a:b/c@1.0.0", "a:b/c@1.1.0-rc.1", false),
            ("a:b/c@1.0.0+x", "a:b/c@1.0.0+y", true),
            ("a:b/c@what", "a:b/c@what", true),
            ("a:b/c@1.9.0", "a:b/c@1.10.0", true),
        ] {
            assert_eq!(is_compatible(imported, exported), compatible, "{imported} by {exported}");
        }
    }

    #[test]
    fn a_track_is_what_compatible_versions_have_in_common() {
        for (version, expected) in [
            ("1.4.2", "1"),
            ("10.0.0", "10"),
            ("0.2.5", "0.2"),
            ("0.0.3", "0.0.3"),
            ("1.4.2+build.7", "1"),
            ("1.0.0-rc.1", "1.0.0-rc.1"),
            ("1.0.0-rc.1+x", "1.0.0-rc.1"),
            ("what", "what"),
        ] {
            assert_eq!(track(version), expected, "{version}");
        }
    }
}
