//! Rules and pauses: what configurations and operators say of tasks.

use crate::store::{PauseTarget, RuleMark, RuleOrigin, TaskRule, TaskSet};

/// Whether what `by` says of a task takes over from what is `known`. A configuration that says nothing takes only its
/// own rules away: those that it set before.
pub fn takes_over(
    known: Option<&TaskRule>,
    mark: Option<&RuleMark>,
    new: &TaskRule,
    only_if_new: bool,
    by: Option<&RuleOrigin>,
) -> bool {
    let sets_or_owns = || {
        let is_own = |by: &RuleOrigin| mark.is_some_and(|mark| mark.by.config == by.config);
        new.says_something() || by.is_none_or(is_own)
    };
    known.is_none_or(|known| !only_if_new && known != new && sets_or_owns())
}

/// Whether `by` becomes the origin of a rule that is in force and has none: its configuration says the same.
pub fn is_marked_now(
    known: Option<&TaskRule>,
    is_marked: bool,
    new: &TaskRule,
    by: Option<&RuleOrigin>,
) -> bool {
    !is_marked && by.is_some() && known == Some(new)
}

/// The tasks that an operator holds back, themselves or with their queue.
pub fn held_back(paused: &[PauseTarget], rules: impl IntoIterator<Item = TaskRule>) -> TaskSet {
    let is_paused = |rule: &TaskRule| {
        paused.iter().any(|target| match target {
            PauseTarget::Task(task) => *task == rule.task,
            PauseTarget::Queue(queue) => *queue == rule.queue,
        })
    };
    rules.into_iter().filter(is_paused).map(|rule| rule.task).collect()
}
