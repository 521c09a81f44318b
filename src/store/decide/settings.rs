//! Rules and pauses: what configurations and operators say of tasks.

use crate::store::{PauseTarget, RuleOrigin, TaskRule, TaskSet};

/// Whether what somebody says of a task takes over from what is `known`.
pub fn takes_over(known: Option<&TaskRule>, new: &TaskRule, only_if_new: bool) -> bool {
    known.is_none_or(|known| !only_if_new && known != new)
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
