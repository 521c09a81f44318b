//! The tasks that a component may submit.

use std::collections::HashSet;
use std::sync::Arc;

use super::denials::Denials;
use super::glob::Glob;
use super::names::Names;
use crate::model::Refusal;

/// The tasks that guests of one component may submit.
#[derive(Clone)]
pub(super) struct Submits {
    /// By full id; `None`: every one.
    allowed: Option<Arc<HashSet<Arc<str>>>>,
    /// Resolves short names.
    names: Arc<Names>,
}

impl Submits {
    /// Allows the known tasks that the patterns stand for; without patterns all.
    pub(super) fn new(patterns: Option<&[Glob]>, names: &Arc<Names>) -> Self {
        let allowed = patterns.map(|patterns| {
            let fits = |id: &&Arc<str>| patterns.iter().any(|pattern| names.fits(pattern, id));
            Arc::new(names.ids().filter(fits).cloned().collect())
        });
        Self { allowed, names: Arc::clone(names) }
    }

    /// Whether a task may be submitted, by its full id.
    pub(super) fn allows(&self, id: &str) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.contains(id))
    }

    /// Finds the task that a guest means by a name: of several called so, that of its own component.
    ///
    /// # Errors
    ///
    /// A refusal if no task or several are called so, or if it may not be submitted, which is logged.
    pub(super) fn resolve(&self, name: &str, denials: &Denials) -> Result<Arc<str>, Refusal> {
        let component = &*denials.component;
        let id = self.names.resolve(name, Some(component)).map_err(Refusal::UnknownTask)?;
        if self.allows(id) {
            return Ok(Arc::clone(id));
        }
        let missing = format!("`may-submit` of `[component.{component}]` would have to name it");
        denials.say(&format!("submitting `{id}`"), &missing);
        Err(Refusal::Denied(format!("the component `{component}` may not submit `{id}`: {missing}")))
    }
}
