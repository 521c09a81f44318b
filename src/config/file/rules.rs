//! The rules of a component or a task: `queue`, `concurrency`, `rate` and `unique`.

use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use super::keys::{CONCURRENCY_KEYS, RATE_KEYS, UNIQUE_KEYS};
use super::options::{Change, set};
use super::section::{Section, describe, did_you_mean};
use crate::config::problem::in_backticks;
use crate::model::{Blocked, Concurrency, Differing, MAX_RULE_LIMIT, Per, Rate, TaskRules, Unique};

/// The longest window of a rate: each start is remembered for so long.
const MAX_WINDOW: Duration = Duration::from_secs(366 * 24 * 60 * 60);

impl Section<'_> {
    pub(super) fn rules(&self) -> Change<TaskRules> {
        let queue = self.string("queue").and_then(|name| self.accept("queue", queue_name(name)));
        let (concurrency, counted_by) = match self.table("concurrency", &CONCURRENCY_KEYS) {
            Some(rule) => (rule.concurrency(), rule.per()),
            None => (None, None),
        };
        let (rate, rated_by) = match self.table("rate", &RATE_KEYS) {
            Some(rule) => (rule.rate(), rule.per()),
            None => (None, None),
        };
        // What is left out is "task" on both sides.
        if concurrency.is_some()
            && rate.is_some()
            && counted_by.as_ref().unwrap_or(&Per::Task) != rated_by.as_ref().unwrap_or(&Per::Task)
        {
            let message = format!("`{0}.rate.per` is not the same as `{0}.concurrency.per`", self.name);
            let hint = "both rules of a task count by the same keys: write the same `per` in both";
            self.problem_with_hint(self.start_of("rate"), message, hint);
        }
        let lane = counted_by.or(rated_by);
        let unique = self.table("unique", &UNIQUE_KEYS).map(|rule| Unique {
            per: rule.per().unwrap_or(Per::Arguments),
            differing: rule
                .word("differing", Differing::ALL.map(|one| (one.as_str(), one)))
                .unwrap_or(Differing::Existing),
        });
        Box::new(move |rules| {
            set(&mut rules.queue, &queue);
            set(&mut rules.lane, &lane);
            rules.concurrency = concurrency.or(rules.concurrency);
            rules.rate = rate.or(rules.rate);
            if unique.is_some() {
                rules.unique.clone_from(&unique);
            }
        })
    }

    fn concurrency(&self) -> Option<Concurrency> {
        let limit = self.rule_limit();
        let blocked = self.word("blocked", Blocked::ALL.map(|one| (one.as_str(), one)));
        Some(Concurrency { limit: limit?, blocked: blocked.unwrap_or(Blocked::Wait) })
    }

    fn rate(&self) -> Option<Rate> {
        let (limit, window) = (self.rule_limit(), self.window());
        Some(Rate { limit: limit?, window: window? })
    }

    fn rule_limit(&self) -> Option<u32> {
        self.require("limit")?;
        self.integer("limit", 1..=MAX_RULE_LIMIT.into())
    }

    fn window(&self) -> Option<Duration> {
        self.require("window")?;
        let window = self.duration("window")?;
        if window.is_zero() || window > MAX_WINDOW {
            self.wrong("window", "must be longer than nothing and at most a year");
            return None;
        }
        Some(window)
    }

    /// Refuses the section if a key is not there.
    fn require(&self, key: &str) -> Option<()> {
        if !self.has(key) {
            let start = self.table.values().map(|value| value.span().start).min().unwrap_or(0);
            self.problem(start, format!("`[{}]` has no `{key}`", self.name));
            return None;
        }
        Some(())
    }

    /// Reads `"task"`, `"arguments"`, or a list of paths into the arguments.
    fn per(&self) -> Option<Per> {
        if !matches!(self.get("per")?, DeValue::Array(_)) {
            return self.word("per", [("task", Per::Task), ("arguments", Per::Arguments)]);
        }
        let paths = self.strings("per")?;
        if paths.is_empty() {
            let hint = "`\"task\"` counts all invocations of a task together";
            self.wrong_with_hint("per", "is empty", hint);
            return None;
        }
        Some(Per::Keys(paths.into_iter().map(|(path, _)| path.into()).collect()))
    }

    /// Reads one of some words, and finds the one that was meant if it is none of them.
    fn word<T, const N: usize>(&self, key: &str, words: [(&'static str, T); N]) -> Option<T> {
        let value = self.get(key)?;
        let known = words.each_ref().map(|(word, _)| *word);
        if let Some((_, found)) = words.into_iter().find(|(word, _)| value.as_str() == Some(word)) {
            return Some(found);
        }
        let paths = if key == "per" { " or a list of paths into the arguments" } else { "" };
        let is_what = format!("must be one of {}{paths}, found {}", in_backticks(known), describe(value));
        let hint = value.as_str().and_then(|text| did_you_mean(text, known));
        self.complain(self.start_of(key), format!("`{}` {is_what}", self.key(key)), hint);
        None
    }
}

/// Checks the name of a queue.
fn queue_name(name: &str) -> Result<Arc<str>, String> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.is_empty() && name.len() <= 100 && name.bytes().all(is_fine) {
        return Ok(name.into());
    }
    Err(format!("`{name}` can't be the name of a queue (letters, digits, `-`, `_` and `.`)"))
}
