//! The options of tasks, as a component or a `[task."…"]` section says them.

use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use super::keys::RETRY_KEYS;
use super::section::{MANY, Section, did_you_mean};
use crate::config::problem::in_backticks;
use crate::model::{
    DEFAULT_BUDGET_WINDOW, FailureKind, LIMIT_KEYS, LIMITS, Limit, LimitKind, LimitUnit, MAX_PRIORITY,
    RetryBudget, RetryPolicy,
};
use crate::wasm::Layer;

/// The most of a retry budget: each retry is remembered for the window.
const MAX_BUDGET: i128 = 100_000;

/// Changes what a section says, and leaves the rest as the section around it has it.
pub(super) type Change<T> = Box<dyn Fn(&mut T) + Send + Sync>;

/// Sets an option, if it is said.
pub(super) fn set<T: Clone>(option: &mut T, said: &Option<T>) {
    if let Some(said) = said {
        option.clone_from(said);
    }
}

impl Section<'_> {
    /// Reads the options of tasks.
    pub(super) fn options(&self) -> Layer {
        let max_attempts = self.integer("max-attempts", 1..=1000);
        let priority = self.integer("priority", (-MAX_PRIORITY).into()..=MAX_PRIORITY.into());
        let deadline = match self.is_unlimited("deadline") {
            true => Some(None),
            false => self.time_to_run("deadline").map(Some),
        };
        let (limits, retry, rules) = (self.limits(), self.retry(), self.rules());
        let section = format!("[{}]", self.key("limits")).into();
        Layer::new(move |base| {
            let mut options = base.clone();
            set(&mut options.max_attempts, &max_attempts);
            set(&mut options.priority, &priority);
            set(&mut options.deadline, &deadline);
            limits.iter().for_each(|(kind, most)| options.limits.set_by(&section, *kind, *most));
            if let Some(retry) = &retry {
                retry(Arc::make_mut(&mut options.retry));
            }
            rules(Arc::make_mut(&mut options.rules));
            options
        })
    }

    /// Reads a duration that must leave something the time to run.
    fn time_to_run(&self, key: &str) -> Option<Duration> {
        let time = self.duration(key)?;
        if time.is_zero() {
            self.wrong(key, "is zero: nothing could ever run");
        }
        Some(time)
    }

    fn limits(&self) -> Vec<(LimitKind, Option<u64>)> {
        let Some(limits) = self.table("limits", &LIMIT_KEYS) else { return Vec::new() };
        LIMITS.iter().filter_map(|limit| Some((limit.kind, limits.limit(limit)?))).collect()
    }

    fn limit(&self, limit: &Limit) -> Option<Option<u64>> {
        if limit.default.is_none() && self.is_unlimited(limit.key) {
            return Some(None);
        }
        self.in_unit(limit.key, limit.unit).map(Some)
    }

    /// Reads a number that is written in a unit.
    pub(super) fn in_unit(&self, key: &str, unit: LimitUnit) -> Option<u64> {
        match unit {
            LimitUnit::Time => u64::try_from(self.time_to_run(key)?.as_nanos()).ok(),
            LimitUnit::Bytes => self.size(key),
            LimitUnit::Count | LimitUnit::Positive => self.integer(key, unit.least().into()..=MANY),
            LimitUnit::OfGrant => None,
        }
    }

    fn retry(&self) -> Option<Change<RetryPolicy>> {
        let retry = self.table("retry", &RETRY_KEYS)?;
        let on = retry.failure_kinds();
        let cases = retry.cases();
        if cases.is_some() && on.as_ref().is_some_and(|on| !on.contains(&FailureKind::Returned)) {
            let is_what = format!("has no effect: `returned` is not in `{}`", retry.key("on"));
            retry.wrong_with_hint("cases", &is_what, "cases are those of the error that the task returns");
        }
        let (delay, max_delay) = (retry.duration("delay"), retry.duration("max-delay"));
        if delay.zip(max_delay).is_some_and(|(delay, max_delay)| delay > max_delay) {
            retry.wrong("delay", &format!("is longer than `{}`", retry.key("max-delay")));
        }
        let factor = retry.number("factor", 1.0..=1000.0);
        let jitter = match retry.get("jitter").and_then(DeValue::as_str) {
            Some("full") => Some(1.0),
            _ => retry.number("jitter", 0.0..=1.0),
        };
        let budget = match retry.is_unlimited("budget") {
            true => Some(None),
            false => retry.integer("budget", 0..=MAX_BUDGET).map(Some),
        };
        let window = retry.duration("budget-window");
        if window == Some(Duration::ZERO) {
            retry.wrong("budget-window", "is zero: the budget would never be used up");
        }
        Some(Box::new(move |policy| {
            set(&mut policy.on, &on);
            set(&mut policy.returned_cases, &cases);
            set(&mut policy.first_delay, &delay);
            set(&mut policy.factor, &factor);
            set(&mut policy.max_delay, &max_delay);
            set(&mut policy.jitter, &jitter);
            let retries = budget.unwrap_or(policy.budget.map(|budget| budget.retries));
            let window = window.or(policy.budget.map(|budget| budget.window));
            let window = window.unwrap_or(DEFAULT_BUDGET_WINDOW);
            policy.budget = retries.map(|retries| RetryBudget { retries, window });
        }))
    }

    fn failure_kinds(&self) -> Option<Vec<FailureKind>> {
        let known = FailureKind::retryable().map(FailureKind::as_str);
        let mut kinds = Vec::new();
        for (word, offset) in self.strings("on")? {
            if let Some(kind) = FailureKind::retryable().find(|kind| kind.as_str() == word) {
                kinds.push(kind);
                continue;
            }
            let key = self.key("on");
            let message =
                format!("`{key}` can't have `{word}` in it (known: {})", in_backticks(known.clone()));
            let hint = match word {
                "cancelled" | "skipped" => Some("nobody wants it any more".to_owned()),
                "lost" => {
                    Some("an invocation whose runner dies gets its next attempt without this".to_owned())
                }
                _ => did_you_mean(word, known.clone()),
            };
            self.complain(offset, message, hint);
        }
        Some(kinds)
    }

    /// Reads the cases of returned errors that are retried.
    fn cases(&self) -> Option<Option<Arc<[Box<str>]>>> {
        let words = self.strings("cases")?;
        if words.is_empty() {
            let is_what = "is empty: no returned error would be retried";
            self.wrong_with_hint("cases", is_what, "leave it out for all of them");
        }
        Some(Some(words.into_iter().map(|(word, _)| word.into()).collect()))
    }
}
