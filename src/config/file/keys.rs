//! The keys of the configuration file, by section.

use crate::model::{LIMIT_KEYS, SETTING_KEYS};
use crate::wasm::{GRANT_KEYS, GRANTS, grant_section};

pub(super) const TOP_KEYS: [&str; 11] = [
    "store",
    "slots",
    "grace",
    "cache-dir",
    "runner",
    "retention",
    "fairness",
    "compile",
    "component",
    "profile",
    "task",
];
pub(super) const COMPONENT_KEYS: [&str; count(COMPONENT_LISTS)] = joined(COMPONENT_LISTS);
const COMPONENT_LISTS: &[&[&str]] = &[&["path", "source", "insecure", "profile"], &PROFILE_KEYS];
/// The keys of a profile; a section for a pattern of names has `profile` besides.
pub(super) const PROFILE_KEYS: [&str; count(PROFILE_LISTS)] = joined(PROFILE_LISTS);
const PROFILE_LISTS: &[&[&str]] = &[
    &["version", "imports", "on-remove", "quota"],
    &GRANT_KEYS,
    &["limits", "max-attempts", "priority", "deadline", "retry", "queue", "concurrency", "rate", "unique"],
];
pub(super) const PATTERN_KEYS: [&str; count(PATTERN_LISTS)] = joined(PATTERN_LISTS);
const PATTERN_LISTS: &[&[&str]] = &[&["profile"], &PROFILE_KEYS];
pub(super) const TASK_KEYS: [&str; 9] =
    ["max-attempts", "priority", "deadline", "limits", "retry", "queue", "concurrency", "rate", "unique"];
pub(super) const COMPILE_KEYS: [&str; 5] = ["time", "cpu", "memory", "code", "component"];
pub(super) const FAIRNESS_KEYS: [&str; 2] = ["weights", "quotas"];
pub(super) const QUOTA_KEYS: [&str; 3] = ["unfinished", "stored-bytes", "submits"];
pub(super) const KEEP_KEYS: [&str; 2] = ["age", "count"];
/// Of `[retention]`, besides the statuses.
pub(super) const RETENTION_KEYS: [&str; 1] = ["usage"];
pub(super) const RETRY_KEYS: [&str; 8] =
    ["on", "cases", "delay", "factor", "max-delay", "jitter", "budget", "budget-window"];
pub(super) const CONCURRENCY_KEYS: [&str; 3] = ["limit", "per", "blocked"];
pub(super) const RATE_KEYS: [&str; 3] = ["limit", "window", "per"];
pub(super) const UNIQUE_KEYS: [&str; 2] = ["per", "differing"];

/// Counts the keys of lists.
const fn count(lists: &[&[&str]]) -> usize {
    let (mut list, mut count) = (0, 0);
    while list < lists.len() {
        count += lists[list].len();
        list += 1;
    }
    count
}

/// Joins lists of keys, which have `N` together.
const fn joined<const N: usize>(lists: &[&[&'static str]]) -> [&'static str; N] {
    let mut keys = [""; N];
    let (mut list, mut count) = (0, 0);
    while list < lists.len() {
        let mut place = 0;
        while place < lists[list].len() {
            keys[count] = lists[list][place];
            (place, count) = (place + 1, count + 1);
        }
        list += 1;
    }
    assert!(count == N);
    keys
}

/// Sections, with the keys that may be looked for there.
const SECTIONS: [(&[&str], &str); 12] = [
    (&FAIRNESS_KEYS, "fairness"),
    (&QUOTA_KEYS, "component.NAME.quota"),
    (&SETTING_KEYS, "runner"),
    (&KEEP_KEYS, "retention.STATUS"),
    (&RETENTION_KEYS, "retention"),
    (&LIMIT_KEYS, "component.NAME.limits"),
    (&RETRY_KEYS, "component.NAME.retry"),
    (&CONCURRENCY_KEYS, "component.NAME.concurrency"),
    (&RATE_KEYS, "component.NAME.rate"),
    (&UNIQUE_KEYS, "component.NAME.unique"),
    (&COMPONENT_KEYS, "component.NAME"),
    (&COMPILE_KEYS, "compile"),
];

/// Finds the section in which a key would be right that is wrong where it stands.
pub(super) fn elsewhere(key: &str) -> Option<&'static str> {
    let of_grants = [("network", "[component.NAME.network]"), ("http", "[component.NAME.http]")];
    let of_grants = of_grants.map(|(key, section)| (grant_section(key), section));
    SECTIONS.into_iter().chain(of_grants).find(|(keys, _)| keys.contains(&key)).map(|(_, section)| section)
}

/// Lists every key, wherever it may stand.
pub(in crate::config) fn keys() -> Vec<&'static str> {
    let of_grants = GRANTS.iter().map(|kind| kind.section);
    let sections = SECTIONS.into_iter().map(|(keys, _)| keys).chain(of_grants);
    sections.chain([&TOP_KEYS[..], &TASK_KEYS]).flatten().copied().collect()
}
