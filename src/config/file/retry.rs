//! The `retry` table of a component or a task.

use std::sync::Arc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::keys::RETRY_KEYS;
use super::reader::{Reader, Value, dotted, is_unlimited};
use crate::config::problem::{in_backticks, nearest};
use crate::model::{DEFAULT_BUDGET_WINDOW, FailureKind, RetryBudget, RetryPolicy};

/// More times than this nobody means, and each is remembered for the window.
const MAX_BUDGET: u64 = 100_000;

/// A `retry` table; `None` where it says nothing.
#[derive(Debug, Default)]
pub(super) struct RetryOverrides {
    on: Option<Vec<FailureKind>>,
    cases: Option<Vec<Box<str>>>,
    delay: Option<Duration>,
    factor: Option<f64>,
    max_delay: Option<Duration>,
    jitter: Option<f64>,
    budget: Option<Option<u32>>,
    budget_window: Option<Duration>,
}

impl RetryOverrides {
    /// `base`, with what is set here in place of its own.
    pub(super) fn over(&self, base: &RetryPolicy) -> RetryPolicy {
        let retries = self.budget.unwrap_or(base.budget.map(|budget| budget.retries));
        let window = self.budget_window.or(base.budget.map(|budget| budget.window));
        RetryPolicy {
            on: self.on.clone().unwrap_or_else(|| base.on.clone()),
            returned_cases: match &self.cases {
                Some(cases) => Some(Arc::from(cases.clone())),
                None => base.returned_cases.clone(),
            },
            first_delay: self.delay.unwrap_or(base.first_delay),
            factor: self.factor.unwrap_or(base.factor),
            max_delay: self.max_delay.unwrap_or(base.max_delay),
            jitter: self.jitter.unwrap_or(base.jitter),
            budget: retries
                .map(|retries| RetryBudget { retries, window: window.unwrap_or(DEFAULT_BUDGET_WINDOW) }),
        }
    }
}

impl Reader<'_> {
    pub(super) fn retry(&mut self, table: &DeTable<'_>, section: &str) -> Option<RetryOverrides> {
        let retry = self.table(table, section, "retry")?;
        let section = &dotted(section, "retry");
        self.refuse_unknown_keys(retry, section, &RETRY_KEYS);
        let overrides = RetryOverrides {
            on: self.failure_kinds(retry, section),
            cases: self.cases(retry, section),
            delay: self.duration(retry, section, "delay"),
            factor: self.number(retry, section, "factor", 1.0, 1000.0),
            max_delay: self.duration(retry, section, "max-delay"),
            jitter: self.jitter(retry, section),
            budget: self.budget(retry, section),
            budget_window: self.duration(retry, section, "budget-window"),
        };
        let start_of = |key: &str| retry.get(key).map_or(0, |value| value.span().start);
        if overrides.cases.is_some()
            && overrides.on.as_ref().is_some_and(|on| !on.contains(&FailureKind::Returned))
        {
            self.problem(
                start_of("cases"),
                format!("`{section}.cases` has no effect: `returned` is not in `{section}.on`"),
            )
            .hint = Some("cases are those of the error that the task returns".to_owned());
        }
        if let (Some(delay), Some(max_delay)) = (overrides.delay, overrides.max_delay)
            && delay > max_delay
        {
            let message = format!("`{section}.delay` is longer than `{section}.max-delay`");
            self.problem(start_of("delay"), message);
        }
        if overrides.budget_window == Some(Duration::ZERO) {
            let message = format!("`{section}.budget-window` is zero: the budget would never be used up");
            self.problem(start_of("budget-window"), message);
        }
        Some(overrides)
    }

    fn failure_kinds(&mut self, table: &DeTable<'_>, section: &str) -> Option<Vec<FailureKind>> {
        let words = self.strings(table, section, "on")?;
        let known = || RetryPolicy::KINDS.into_iter().map(FailureKind::as_str);
        let mut kinds = Vec::new();
        for (word, offset) in words {
            match RetryPolicy::KINDS.into_iter().find(|kind| kind.as_str() == word) {
                Some(kind) => kinds.push(kind),
                None => {
                    let message = format!(
                        "`{section}.on` can't have `{word}` in it (known: {})",
                        in_backticks(known())
                    );
                    let hint = match word.as_str() {
                        "cancelled" | "skipped" => Some("nobody wants it any more".to_owned()),
                        "lost" => Some(
                            "an invocation whose runner dies gets its next attempt without this".to_owned(),
                        ),
                        _ => nearest(&word, known()).map(|near| format!("did you mean `{near}`?")),
                    };
                    self.problem(offset, message).hint = hint;
                }
            }
        }
        Some(kinds)
    }

    fn cases(&mut self, table: &DeTable<'_>, section: &str) -> Option<Vec<Box<str>>> {
        let words = self.strings(table, section, "cases")?;
        if words.is_empty() {
            let offset = table.get("cases").map_or(0, |value| value.span().start);
            self.problem(offset, format!("`{section}.cases` is empty: no returned error would be retried"))
                .hint = Some("leave it out for all of them".to_owned());
        }
        Some(words.into_iter().map(|(word, _)| word.into_boxed_str()).collect())
    }

    /// A share from 0 to 1, or `"full"`.
    fn jitter(&mut self, table: &DeTable<'_>, section: &str) -> Option<f64> {
        if let Some(DeValue::String(text)) = table.get("jitter").map(Value::get_ref)
            && text == "full"
        {
            return Some(1.0);
        }
        self.number(table, section, "jitter", 0.0, 1.0)
    }

    fn budget(&mut self, table: &DeTable<'_>, section: &str) -> Option<Option<u32>> {
        if is_unlimited(table, "budget") {
            return Some(None);
        }
        self.integer(table, section, "budget", 0, MAX_BUDGET).map(Some)
    }
}
