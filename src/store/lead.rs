//! How far awaited invocations may run ahead of the queue.

use std::collections::HashMap;
use std::sync::Arc;

use super::order::TURN;
use crate::model::TaskId;

/// How many turns an awaited invocation may start ahead of the clock and still be preferred to others
/// (`docs/design/fairness.md`), by the component of its task. A runner asks for few where guests hold their slots for
/// long, so that those of one call don't keep all others waiting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leads(HashMap<Arc<str>, u32>);

impl Leads {
    /// The turns of a component that nothing is known of.
    pub const MOST: u32 = 1_000;

    /// Sets the turns of a component.
    pub fn set(&mut self, component: &str, turns: u32) {
        if turns >= Self::MOST {
            self.0.remove(component);
        } else {
            self.0.insert(component.into(), turns);
        }
    }

    /// Returns the turns of a component.
    pub fn turns(&self, component: &str) -> u32 {
        self.0.get(component).copied().unwrap_or(Self::MOST)
    }

    /// Returns the lead of a task, in the units of the clock.
    pub(super) fn of_task(&self, task: &str) -> i64 {
        let turns = if self.0.is_empty() { Self::MOST } else { self.turns(TaskId::component_of(task)) };
        i64::from(turns) * TURN
    }
}
