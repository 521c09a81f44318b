//! Versions of interfaces: which stand for others, and the track that each is on.

use std::cmp::Ordering;

use semver::{Comparator, Op, Prerelease, Version};

/// Splits an interface's name (`acme:math/ops@1.0.0`) from its version.
pub fn split_version(interface: &str) -> (&str, Option<&str>) {
    interface.split_once('@').map_or((interface, None), |(name, version)| (name, Some(version)))
}

/// Compares two versions by semver, without their build metadata. What is no version comes first.
pub fn compare_versions(one: Option<&str>, other: Option<&str>) -> Ordering {
    let parse = |version: Option<&str>| version.and_then(|version| Version::parse(version).ok());
    match (parse(one), parse(other)) {
        (Some(one), Some(other)) => one.cmp_precedence(&other),
        (one, other) => one.is_some().cmp(&other.is_some()),
    }
}

/// Returns the range of versions that are compatible with this one: `1` for `1.4.2`, `0.2` for
/// `0.2.5`, `0.0.3` for itself. A pre-release, and what is no version, is a range of its own.
pub fn track(version: &str) -> &str {
    let text = version.split_once('+').map_or(version, |(version, _)| version);
    let Some(parsed) = Version::parse(text).ok().filter(|parsed| parsed.pre.is_empty()) else {
        return text;
    };
    let dots = match (parsed.major, parsed.minor) {
        (0, 0) => 2,
        (0, _) => 1,
        _ => 0,
    };
    let end = text.match_indices('.').nth(dots).map_or(text.len(), |(end, _)| end);
    &text[..end]
}

/// Whether one version can stand for another: the same, or a compatible release that is not older.
fn is_compatible_version(wanted: &str, offered: &str) -> bool {
    let (Ok(from), Ok(version)) = (Version::parse(wanted), Version::parse(offered)) else {
        return wanted == offered;
    };
    let (major, minor, patch) = (from.major, Some(from.minor), Some(from.patch));
    let caret = Comparator { op: Op::Caret, major, minor, patch, pre: Prerelease::EMPTY };
    wanted == offered || (from.pre.is_empty() && caret.matches(&version))
}

/// Whether `wanted`, a version or track, is that of an interface, of which perhaps only the track is known.
pub fn is_on_track(wanted: &str, offered: &str) -> bool {
    let only_track = Version::parse(offered).is_err();
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
