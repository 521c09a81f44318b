//! Rules about when invocations of a task may run, and about submitting the same
//! twice. `docs/design/rules.md` says how stores keep them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::words::words;

/// The queue of tasks that are configured with none.
pub const DEFAULT_QUEUE: &str = "default";

/// The most that a limit of a rule can be.
pub const MAX_RULE_LIMIT: u32 = 100_000;

/// The configured rules for when invocations of a task may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRules {
    /// The queue that it belongs to.
    pub queue: Arc<str>,
    /// How many may run at once.
    pub concurrency: Option<Concurrency>,
    /// How many may start within a time.
    pub rate: Option<Rate>,
    /// The key that concurrency and rate are counted by.
    pub lane: Per,
    /// Whether an unfinished invocation stands for others.
    pub unique: Option<Unique>,
}

impl Default for TaskRules {
    fn default() -> Self {
        Self { queue: DEFAULT_QUEUE.into(), concurrency: None, rate: None, lane: Per::Task, unique: None }
    }
}

impl TaskRules {
    /// Whether an invocation may have to wait for others.
    pub fn has_lanes(&self) -> bool {
        self.concurrency.is_some() || self.rate.is_some()
    }
}

/// At most so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concurrency {
    /// Attempts that runners own at a time, at least 1.
    pub limit: u32,
    /// The treatment of an invocation that is due while that many are owned.
    pub blocked: Blocked,
}

words! {
    /// The treatment of an invocation that a concurrency rule keeps from running.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Blocked {
        /// It waits until there is room.
        Wait = "wait",
        /// It becomes `skipped`, unless an attempt of it has run before.
        Skip = "skip",
    }
}

/// At most so many starts within any time of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Starts, at least 1.
    pub limit: u32,
    /// The length.
    pub window: Duration,
}

/// Which invocations of a task a rule counts together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Per {
    /// All.
    Task,
    /// Invocations with the same arguments.
    Arguments,
    /// Invocations with the same values at these paths: the names of a parameter and of fields within it,
    /// joined by dots. What is not there counts as null.
    Keys(Arc<[Box<str>]>),
}

/// While an invocation is unfinished, it stands for others like it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    /// The key that makes two submits alike.
    pub per: Per,
    /// The treatment of a submit that is alike and has other arguments.
    pub differing: Differing,
}

words! {
    /// The treatment of a submit to which a uniqueness rule applies, if its arguments differ.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Differing {
        /// It is answered with the id of the unfinished one all the same.
        Existing = "existing",
        /// It is refused.
        Refuse = "refuse",
    }
}

/// A key of invocations that are counted together: 16 bytes of a digest of the values that a rule looks at.
/// Equal values give equal keys, whatever order or form they were written in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleKey([u8; 16]);

impl RuleKey {
    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for RuleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RuleKey({:032x})", u128::from_be_bytes(self.0))
    }
}

impl Per {
    /// Computes the key of an invocation from the task's parameter names and the JSON array of arguments.
    pub fn key(&self, parameters: &[&str], arguments: &str) -> RuleKey {
        let mut hash = Sha256::new();
        match self {
            Self::Task => {}
            Self::Arguments => hash.update(canonical(&parse(arguments))),
            Self::Keys(paths) => {
                let arguments = parse(arguments);
                for path in paths.iter() {
                    let text = canonical(at_path(path, parameters, &arguments));
                    // With its length, so that no value runs into the next one.
                    hash.update((text.len() as u64).to_le_bytes());
                    hash.update(text);
                }
            }
        }
        let digest: [u8; 32] = hash.finalize().into();
        RuleKey(std::array::from_fn(|place| digest[place]))
    }
}

/// Checked arguments are JSON; anything else counts as nothing.
fn parse(arguments: &str) -> Value {
    serde_json::from_str(arguments).unwrap_or_default()
}

fn at_path<'v>(path: &str, parameters: &[&str], arguments: &'v Value) -> &'v Value {
    let mut names = path.split('.');
    let first = names.next().unwrap_or_default();
    let mut value = match parameters.iter().position(|name| *name == first) {
        Some(index) => &arguments[index],
        None => &Value::Null,
    };
    for name in names {
        value = &value[name];
    }
    value
}

/// Writes JSON text that is the same for equal values: the fields of objects sorted.
fn canonical(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["customer", "point", "note"];

    fn keys(paths: &[&str]) -> Per {
        Per::Keys(paths.iter().map(|path| Box::from(*path)).collect())
    }

    #[test]
    fn one_lane_for_all_of_a_task() {
        assert_eq!(Per::Task.key(&NAMES, "[1]"), Per::Task.key(&NAMES, "[2]"));
    }

    #[test]
    fn equal_arguments_have_equal_keys_in_any_form() {
        let key = |arguments| Per::Arguments.key(&NAMES, arguments);
        assert_eq!(key(r#"["a", {"x": 1, "y": 2}, null]"#), key(r#"["a",{"y":2,"x":1},null]"#));
        assert_ne!(key(r#"["a"]"#), key(r#"["b"]"#));
        assert_ne!(key(r#"["ab", "c"]"#), key(r#"["a", "bc"]"#));
        assert_ne!(key(r#"["1"]"#), key("[1]"));
        assert_eq!(key(r#"["\u00e9"]"#), key(r#"["é"]"#));
        assert_eq!(key("[]"), key("[]"));
    }

    #[test]
    fn keys_look_at_what_they_name_and_nothing_else() {
        let per = keys(&["customer", "point.x"]);
        let key = |arguments| per.key(&NAMES, arguments);
        assert_eq!(key(r#"["a", {"x": 1, "y": 2}, "n"]"#), key(r#"["a", {"x": 1, "y": 9}, "m"]"#));
        assert_ne!(key(r#"["a", {"x": 1}]"#), key(r#"["a", {"x": 2}]"#));
        assert_ne!(key(r#"["a", {"x": 1}]"#), key(r#"["b", {"x": 1}]"#));
        assert_eq!(key(r#"["a", {"x": null}]"#), key(r#"["a", {}]"#), "what is not there is null");
        assert_eq!(keys(&["unknown"]).key(&NAMES, "[1]"), keys(&["unknown"]).key(&NAMES, "[2]"));
    }

    #[test]
    fn values_of_neighbouring_keys_do_not_run_together() {
        let per = keys(&["customer", "note"]);
        let key = |arguments| per.key(&NAMES, arguments);
        assert_ne!(key(r#"["ab", 0, "c"]"#), key(r#"["a", 0, "bc"]"#));
        assert_ne!(key(r#"["a,b", 0, ""]"#), key(r#"["a", 0, "b,"]"#));
        assert_ne!(key(r#"["a\"", 0, "b"]"#), key(r#"["a", 0, "\"b"]"#));
    }

    #[test]
    fn large_integers_keep_their_digits() {
        let key = |arguments| Per::Arguments.key(&NAMES, arguments);
        assert_ne!(key("[18446744073709551615]"), key("[18446744073709551614]"));
    }
}
