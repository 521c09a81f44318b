//! The tasks that a component may submit.

use std::sync::Arc;

use parking_lot::RwLock;

use super::denials::Denials;
use super::names::Names;
use crate::model::{Glob, Refusal, clip};

/// The names of all tasks that a runner knows. They are replaced as a whole when components come and go, also
/// for guests that run.
#[derive(Default)]
pub(super) struct KnownNames(RwLock<Arc<Names>>);

impl KnownNames {
    /// Replaces the names.
    pub(super) fn replace(&self, names: Arc<Names>) {
        *self.0.write() = names;
    }

    /// The names as they are now.
    pub(super) fn now(&self) -> Arc<Names> {
        Arc::clone(&self.0.read())
    }
}

/// The tasks that guests of one component may submit.
#[derive(Clone)]
pub(super) struct Submits {
    /// Patterns of the tasks; `None`: every one.
    patterns: Option<Arc<[Glob]>>,
    /// Resolves short names.
    names: Arc<KnownNames>,
}

impl Submits {
    /// Allows the known tasks that the patterns stand for; without patterns all.
    pub(super) fn new(patterns: Option<&Arc<[Glob]>>, names: &Arc<KnownNames>) -> Self {
        Self { patterns: patterns.cloned(), names: Arc::clone(names) }
    }

    /// Whether a task may be submitted, by its full id.
    pub(super) fn allows(&self, id: &str, names: &Names) -> bool {
        let fits = |pattern: &Glob| names.fits(pattern, id);
        self.patterns.as_ref().is_none_or(|patterns| patterns.iter().any(fits))
    }

    /// Finds the task that a guest means by a name: of several called so, that of its own component.
    ///
    /// # Errors
    ///
    /// A refusal if no task or several are called so, or if it may not be submitted, which is logged. To a component
    /// that may submit only some, it names no tasks that the guest has not named: those of others are not its business.
    pub(super) fn resolve(&self, name: &str, denials: &Denials) -> Result<Arc<str>, Refusal> {
        let component = &*denials.component;
        let names = self.names.now();
        let unknown =
            || Refusal::UnknownTask(format!("unknown task `{}`, or a name of several", clip(name, 80)));
        let id = match self.patterns {
            // The search for what is meant would take a guest's time that is not its own.
            Some(_) if !names.knows(name) => return Err(unknown()),
            Some(_) => names.resolve(name, Some(component)).map_err(|_| unknown())?,
            None => names.resolve(name, Some(component)).map_err(Refusal::UnknownTask)?,
        };
        if self.allows(id, &names) {
            return Ok(Arc::clone(id));
        }
        let missing = format!("`may-submit` of `[component.{component}]` would have to name it");
        denials.say_ungranted(&format!("submitting `{id}`"), &missing);
        Err(Refusal::Denied(format!(
            "the component `{component}` may not submit `{}`: {missing}",
            clip(name, 300)
        )))
    }
}
