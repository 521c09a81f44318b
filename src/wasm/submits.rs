//! The tasks that a component may submit.

use std::sync::Arc;

use super::denials::Denials;
use super::glob::Glob;
use super::names::Names;
use crate::model::Refusal;

/// The tasks that guests of one component may submit.
#[derive(Clone)]
pub(super) struct Submits {
    /// `None`: every one.
    pub(super) allowed: Option<Arc<[Glob]>>,
    /// The tasks that short names stand for.
    pub(super) names: Arc<Names>,
}

impl Submits {
    /// Whether a task may be submitted, by its full id.
    pub(super) fn allows(&self, id: &str) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.iter().any(|glob| glob.matches(id)))
    }

    /// Refuses a task that may not be submitted, and logs the denial.
    pub(super) fn check(&self, name: &str, denials: &Denials) -> Result<(), Refusal> {
        if self.allowed.is_none() {
            return Ok(());
        }
        // What no task has as its name is refused by the runner, which says so.
        let Ok(id) = self.names.resolve(name) else { return Ok(()) };
        if self.allows(id) {
            return Ok(());
        }
        let component = denials.component();
        let missing = format!("`may-submit` of `[component.{component}]` would have to name it");
        denials.say(&format!("submitting `{id}`"), &missing);
        Err(Refusal::Denied(format!("the component `{component}` may not submit `{id}`: {missing}")))
    }
}
