//! The rules of a component or a task: `queue`, `concurrency`, `rate` and
//! `unique`.

use std::sync::Arc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::keys::RULE_SECTIONS;
use super::reader::{Reader, Value, describe, dotted};
use crate::config::problem::{in_backticks, nearest};
use crate::model::{Blocked, Concurrency, Differing, MAX_RULE_LIMIT, Per, Rate, TaskRules, Unique};

/// Longer windows nobody means, and each start is remembered for so long.
const MAX_WINDOW: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The rules that a section says; `None` where it says nothing.
#[derive(Debug, Default)]
pub(super) struct RuleOverrides {
    queue: Option<Arc<str>>,
    concurrency: Option<Concurrency>,
    rate: Option<Rate>,
    lane: Option<Per>,
    unique: Option<Unique>,
}

impl RuleOverrides {
    /// `base`, with what is set here in place of its own.
    pub(super) fn over(&self, base: &TaskRules) -> TaskRules {
        TaskRules {
            queue: self.queue.as_ref().unwrap_or(&base.queue).clone(),
            concurrency: self.concurrency.or(base.concurrency),
            rate: self.rate.or(base.rate),
            lane: self.lane.as_ref().unwrap_or(&base.lane).clone(),
            unique: self.unique.clone().or_else(|| base.unique.clone()),
        }
    }
}

impl Reader<'_> {
    pub(super) fn rules(&mut self, table: &DeTable<'_>, section: &str) -> RuleOverrides {
        let queue = self.queue(table, section);
        let concurrency = self.rule(table, section, 0, |reader, table, section| {
            let limit = reader.limit(table, section);
            let blocked = reader.word(table, section, "blocked", Blocked::ALL.map(|one| (one.as_str(), one)));
            let per = reader.per(table, section);
            (limit.map(|limit| Concurrency { limit, blocked: blocked.unwrap_or(Blocked::Wait) }), per)
        });
        let rate = self.rule(table, section, 1, |reader, table, section| {
            let limit = reader.limit(table, section);
            let window = reader.window(table, section);
            let per = reader.per(table, section);
            (limit.zip(window).map(|(limit, window)| Rate { limit, window }), per)
        });
        let unique = self.rule(table, section, 2, |reader, table, section| {
            let per = reader.per(table, section);
            let differing = Differing::ALL.map(|one| (one.as_str(), one));
            let differing = reader.word(table, section, "differing", differing);
            Unique { per: per.unwrap_or(Per::Arguments), differing: differing.unwrap_or(Differing::Existing) }
        });
        let (concurrency, counted_by) = concurrency.unwrap_or_default();
        let (rate, rated_by) = rate.unwrap_or_default();
        // What is left out is "task" on both sides.
        if let (Some(_), Some(_)) = (concurrency, rate)
            && counted_by.as_ref().unwrap_or(&Per::Task) != rated_by.as_ref().unwrap_or(&Per::Task)
        {
            let offset = table.get("rate").map_or(0, |value| value.span().start);
            let message = format!("`{section}.rate.per` is not the same as `{section}.concurrency.per`");
            self.problem(offset, message).hint =
                Some("both rules of a task count by the same keys: write the same `per` in both".to_owned());
        }
        RuleOverrides { queue, concurrency, rate, lane: counted_by.or(rated_by), unique }
    }

    fn rule<T>(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        which: usize,
        read: impl FnOnce(&mut Self, &DeTable<'_>, &str) -> T,
    ) -> Option<T> {
        let (name, keys) = RULE_SECTIONS[which];
        let rule = self.table(table, section, name)?;
        let section = dotted(section, name);
        self.refuse_unknown_keys(rule, &section, keys);
        Some(read(self, rule, &section))
    }

    fn queue(&mut self, table: &DeTable<'_>, section: &str) -> Option<Arc<str>> {
        let (name, offset) = self.string(table, section, "queue")?;
        if let Err(message) = check_queue_name(&name) {
            self.problem(offset, format!("`{}`: {message}", dotted(section, "queue")));
            return None;
        }
        Some(name.into())
    }

    fn limit(&mut self, table: &DeTable<'_>, section: &str) -> Option<u32> {
        self.required(table, section, "limit")?;
        self.integer(table, section, "limit", 1, u64::from(MAX_RULE_LIMIT))
    }

    fn window(&mut self, table: &DeTable<'_>, section: &str) -> Option<Duration> {
        let offset = self.required(table, section, "window")?;
        let window = self.duration(table, section, "window")?;
        if window.is_zero() || window > MAX_WINDOW {
            let message = format!("`{section}.window` must be longer than nothing and at most a year");
            self.problem(offset, message);
            return None;
        }
        Some(window)
    }

    /// The place of a key that has to be there.
    fn required(&mut self, table: &DeTable<'_>, section: &str, key: &str) -> Option<usize> {
        match table.get(key) {
            Some(value) => Some(value.span().start),
            None => {
                let offset = table.values().map(|value| value.span().start).min().unwrap_or(0);
                self.problem(offset, format!("`[{section}]` has no `{key}`"));
                None
            }
        }
    }

    /// `"task"`, `"arguments"`, or a list of paths into the arguments.
    fn per(&mut self, table: &DeTable<'_>, section: &str) -> Option<Per> {
        let value = table.get("per")?;
        if let DeValue::Array(_) = value.get_ref() {
            let paths = self.strings(table, section, "per")?;
            if paths.is_empty() {
                self.problem(value.span().start, format!("`{section}.per` is empty")).hint =
                    Some("`\"task\"` counts all invocations of a task together".to_owned());
                return None;
            }
            return Some(Per::Keys(paths.into_iter().map(|(path, _)| path.into_boxed_str()).collect()));
        }
        self.word(table, section, "per", [("task", Per::Task), ("arguments", Per::Arguments)])
    }

    /// One of some words.
    fn word<T, const N: usize>(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        key: &str,
        words: [(&'static str, T); N],
    ) -> Option<T> {
        let value: &Value<'_> = table.get(key)?;
        let known = words.each_ref().map(|(word, _)| *word);
        let found = match value.get_ref() {
            DeValue::String(text) => words.into_iter().find(|(word, _)| word == text),
            _ => None,
        };
        if found.is_none() {
            let (name, what) = (dotted(section, key), describe(value.get_ref()));
            let paths = if key == "per" { " or a list of paths into the arguments" } else { "" };
            let message = format!("`{name}` must be one of {}{paths}, found {what}", in_backticks(known));
            let near = match value.get_ref() {
                DeValue::String(text) => nearest(text, known),
                _ => None,
            };
            self.problem(value.span().start, message).hint =
                near.map(|near| format!("did you mean `{near}`?"));
        }
        found.map(|(_, word)| word)
    }
}

/// Whether a queue may be called `name`.
///
/// # Errors
///
/// What names look like.
pub fn check_queue_name(name: &str) -> Result<(), String> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.is_empty() && name.len() <= 100 && name.bytes().all(is_fine) {
        return Ok(());
    }
    Err(format!("`{name}` can't be the name of a queue (letters, digits, `-`, `_` and `.`)"))
}
