//! The keys of the configuration file, by section.

use crate::model::LIMIT_KEYS;
use crate::wasm::GRANT_KEYS;

pub(super) const TOP_KEYS: [&str; 9] =
    ["store", "slots", "grace", "cache-dir", "runner", "retention", "compile", "component", "task"];
pub(super) const RUNNER_KEYS: [&str; 4] = ["max-live", "lease", "final-cache-entries", "final-cache-size"];
pub(super) const COMPONENT_KEYS: [&str; 21] = joined(&[
    &["path", "source", "insecure", "version", "imports"],
    &GRANT_KEYS,
    &["limits", "max-attempts", "priority", "deadline", "retry", "queue", "concurrency", "rate", "unique"],
]);
pub(super) const TASK_KEYS: [&str; 9] =
    ["max-attempts", "priority", "deadline", "limits", "retry", "queue", "concurrency", "rate", "unique"];
pub(super) const COMPILE_KEYS: [&str; 5] = ["time", "cpu", "memory", "code", "component"];
pub(super) const DIRECTORY_KEYS: [&str; 3] = ["host", "guest", "access"];
pub(super) const SCRATCH_KEYS: [&str; 3] = ["guest", "size", "files"];
pub(super) const SECRET_KEYS: [&str; 2] = ["file", "environment"];
pub(super) const NETWORK_KEYS: [&str; 3] = ["host", "ports", "allow-private"];
pub(super) const HTTP_KEYS: [&str; 6] = ["host", "schemes", "ports", "methods", "paths", "allow-private"];
pub(super) const KEEP_KEYS: [&str; 2] = ["age", "count"];
pub(super) const RETRY_KEYS: [&str; 8] =
    ["on", "cases", "delay", "factor", "max-delay", "jitter", "budget", "budget-window"];
/// The tables of rules and their keys.
pub(super) const RULE_SECTIONS: [(&str, &[&str]); 3] = [
    ("concurrency", &["limit", "per", "blocked"]),
    ("rate", &["limit", "window", "per"]),
    ("unique", &["per", "differing"]),
];

/// All keys of some lists, which are `N` together.
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
const SECTIONS: [(&[&str], &str); 11] = [
    (&RUNNER_KEYS, "runner"),
    (&KEEP_KEYS, "retention.STATUS"),
    (&LIMIT_KEYS, "component.NAME.limits"),
    (&RETRY_KEYS, "component.NAME.retry"),
    (RULE_SECTIONS[0].1, "component.NAME.concurrency"),
    (RULE_SECTIONS[1].1, "component.NAME.rate"),
    (RULE_SECTIONS[2].1, "component.NAME.unique"),
    (&NETWORK_KEYS, "[component.NAME.network]"),
    (&HTTP_KEYS, "[component.NAME.http]"),
    (&COMPONENT_KEYS, "component.NAME"),
    (&COMPILE_KEYS, "compile"),
];

/// The section that a key which is wrong here would be right in.
pub(super) fn elsewhere(key: &str) -> Option<&'static str> {
    SECTIONS.into_iter().find(|(keys, _)| keys.contains(&key)).map(|(_, section)| section)
}

/// Every key, wherever it may stand.
pub(in crate::config) fn keys() -> Vec<&'static str> {
    let others: [&[&str]; 5] = [&TOP_KEYS, &TASK_KEYS, &DIRECTORY_KEYS, &SCRATCH_KEYS, &SECRET_KEYS];
    SECTIONS.into_iter().map(|(keys, _)| keys).chain(others).flatten().copied().collect()
}
