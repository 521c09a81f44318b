//! Contradictions between the rules of this runner and those of others, told once each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::store::{LeftPause, ReplacedRule, RuleMark, Store, StoreError, TaskRule};

/// The rules are read again no sooner than this after the last time.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// Nor sooner than so many times as long as that took: of very many tasks it takes a while.
const SHARE: u32 = 100;

/// The most rules that are told at once.
const MOST: usize = 20;

/// Knows which rules others have set for this runner's tasks.
#[derive(Default)]
pub(super) struct RuleWatch {
    /// Whether another process has committed something since they were read.
    has_changed: bool,
    last: Option<Instant>,
    /// The pause after that.
    pause: Duration,
    /// The tasks whose rules are not this runner's, as was told.
    told: HashSet<Arc<str>>,
}

impl RuleWatch {
    /// Notes that another process has committed.
    pub(super) fn note_change(&mut self) {
        self.has_changed = true;
    }

    /// Returns the moment at which the rules are to be read.
    pub(super) fn next(&self) -> Option<Instant> {
        self.last.filter(|_| self.has_changed).map(|last| last + self.pause)
    }

    /// Whether the rules are to be read now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.has_changed && self.last.is_none_or(|last| now >= last + self.pause)
    }

    /// Reads the rules, and logs those that contradict `own`.
    pub(super) fn look(
        &mut self,
        store: &dyn Store,
        own: &[TaskRule],
        now: Instant,
    ) -> Result<(), StoreError> {
        (self.has_changed, self.last) = (false, Some(now));
        let began = Instant::now();
        let in_force = if own.iter().any(TaskRule::says_something) { store.rules()? } else { Vec::new() };
        let new = self.compare(own, &in_force);
        self.pause = LEAST_PAUSE.max(began.elapsed() * SHARE);
        if new.is_empty() {
            return Ok(());
        }
        let marks = store.rule_marks()?;
        for rule in new.iter().take(MOST) {
            let by = origin_of(marks.iter().find(|mark| mark.task == rule.task));
            let task = &*rule.task;
            tracing::warn!(event = "rules-replaced", task, by, now = %rule, "this runner's rules are not in force");
        }
        tell_rest(new.len());
        Ok(())
    }

    /// Returns the rules in force that contradict `own`, and that were not told yet.
    fn compare<'r>(&mut self, own: &[TaskRule], in_force: &'r [TaskRule]) -> Vec<&'r TaskRule> {
        let others = TaskRule::contradictions(own, in_force);
        let tasks: HashSet<_> = others.iter().map(|(_, rule)| &rule.task).collect();
        self.told.retain(|task| tasks.contains(task));
        let others = others.into_iter().map(|(_, rule)| rule);
        others.filter(|rule| self.told.insert(Arc::clone(&rule.task))).collect()
    }
}

/// Logs that rules of this runner have taken the places of others, and which of them have ended a pause so.
pub(super) fn tell_replaced(replaced: &[ReplacedRule], store: &dyn Store) {
    if let Err(error) = tell_left_pauses(replaced, store) {
        tracing::debug!(%error, "the pauses can't be read");
    }
    for ReplacedRule { old, mark } in replaced.iter().take(MOST) {
        let (task, by) = (&*old.task, origin_of(mark.as_ref()));
        tracing::warn!(event = "rules-replaced", task, by, before = %old, "this runner's rules replace others");
    }
    tell_rest(replaced.len());
}

/// Logs which tasks have left a paused queue by their new rules.
fn tell_left_pauses(replaced: &[ReplacedRule], store: &dyn Store) -> Result<(), StoreError> {
    if replaced.is_empty() {
        return Ok(());
    }
    let paused = store.paused()?;
    if paused.is_empty() {
        return Ok(());
    }
    let rules: HashMap<_, _> =
        store.rules()?.into_iter().map(|rule| (Arc::clone(&rule.task), rule)).collect();
    let unfinished: HashMap<_, _> = store.unfinished_by_task()?.into_iter().collect();
    let left = replaced
        .iter()
        .filter_map(|ReplacedRule { old, .. }| LeftPause::between(old, rules.get(&old.task)?, &paused));
    for LeftPause { task, paused, queue } in left.take(MOST) {
        let unfinished = unfinished.get(&task).copied().unwrap_or(0);
        let (task, paused, now) = (&*task, &*paused, &*queue);
        tracing::warn!(
            event = "pause-left",
            task,
            paused,
            now,
            unfinished,
            "this runner's rules move a task out of a paused queue: its invocations may run now"
        );
    }
    Ok(())
}

fn origin_of(mark: Option<&RuleMark>) -> String {
    mark.map_or_else(|| "unknown".to_owned(), |mark| mark.by.to_string())
}

fn tell_rest(count: usize) {
    if count > MOST {
        tracing::warn!(event = "rules-replaced", tasks = count - MOST, "the same holds for more tasks");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Blocked, Concurrency, TaskRules};

    fn rule(task: &str, limit: Option<u32>) -> TaskRule {
        let concurrency = limit.map(|limit| Concurrency { limit, blocked: Blocked::Wait });
        TaskRule { concurrency, ..TaskRule::new(&task.into(), &TaskRules::default()) }
    }

    #[test]
    fn a_contradiction_is_told_once_until_it_is_over() {
        let own = [rule("a", Some(1)), rule("b", None)];
        let mut watch = RuleWatch::default();
        let in_force = [rule("a", Some(2)), rule("b", Some(3)), rule("c", Some(4))];
        // A rule that says nothing contradicts nobody.
        assert_eq!(watch.compare(&own, &in_force), [&in_force[0]]);
        assert!(watch.compare(&own, &in_force).is_empty());
        assert!(watch.compare(&own, &own).is_empty());
        assert_eq!(watch.compare(&own, &in_force), [&in_force[0]]);
    }

    #[test]
    fn rules_are_read_after_a_change_and_not_too_often() {
        let (mut watch, now) = (RuleWatch::default(), Instant::now());
        assert!(!watch.is_due(now) && watch.next().is_none());
        watch.note_change();
        assert!(watch.is_due(now));
        let store = crate::store::MemoryStore::new(Arc::new(crate::model::SystemClock::new()));
        watch.look(&store, &[rule("a", Some(1))], now).expect("a read");
        let next = now + watch.pause;
        assert!(next >= now + LEAST_PAUSE && !watch.is_due(next));
        watch.note_change();
        assert!(!watch.is_due(now) && watch.next() == Some(next) && watch.is_due(next));
    }
}
