//! The changes that a push makes for users of a component: tasks that are missing, and rights that it asks for newly.

use crate::wasm::{Inspection, RightKind, rights};

use super::in_use::{PassedOver, meant};
use super::inspect::{more, task_changes};
use super::kept::Shelf;
use super::{RightDocument, Service, ServiceError};

/// The differences between a component that is to be pushed and the version in use.
#[derive(Debug, Default)]
pub(super) struct Upgrade {
    /// Whether there is a version to compare it with.
    has_before: bool,
    /// The tasks that it lacks, or has with other types.
    pub removed_tasks: Vec<String>,
    /// The rights that it asks for newly, but for those that all guests have. If there is no version to compare it
    /// with, all of them.
    pub new_rights: Vec<RightDocument>,
    /// The newest version, if it is not the one that this was compared with.
    pub passed_over: Option<PassedOver>,
}

impl Service {
    /// Compares a component with the version of its name that is in use.
    pub(super) fn upgrade(&self, name: &str, new: &Inspection) -> Result<Upgrade, ServiceError> {
        let access = self.existing()?;
        let pushed = access.ask(|store| store.components())?;
        let (mut old, mut passed_over) = (None, None);
        if let Some((used, over)) = meant(&pushed, name) {
            if used.digest == new.digest {
                return Ok(Upgrade { has_before: true, passed_over: over, ..Upgrade::default() });
            }
            if let Some((path, _)) = Shelf::new(access, self.config()).find(used.digest)? {
                old = Some(self.look_into(name, &path, self.config().cache_directory.as_deref())?);
                passed_over = over;
                self.tidy_components([&*path]);
            }
        }
        let had = old.as_ref().map(|old| rights(&old.imports)).unwrap_or_default();
        let mut new_rights = more(&rights(&new.imports), &had);
        new_rights.retain(|right| right.is_denied(&[]));
        let lost = old.as_ref().map(|old| task_changes(old, new)).unwrap_or_default();
        let removed_tasks = lost.lost().map(str::to_owned).collect();
        Ok(Upgrade { has_before: old.is_some(), removed_tasks, new_rights, passed_over })
    }
}

impl Upgrade {
    /// Refuses tasks that are missing.
    pub fn refuse_removed_tasks(&self, name: &str) -> Result<(), ServiceError> {
        let tasks: Vec<_> = self.removed_tasks.iter().map(|task| format!("`{task}`")).collect();
        if tasks.is_empty() {
            return Ok(());
        }
        let but = " of the version in use, or has other types";
        Err(ServiceError::RemovedTasks(self.refusal(name, "lacks", ("task", &tasks), but)))
    }

    /// Refuses rights that are asked for newly, but for some kinds.
    pub fn refuse_new_rights(&self, name: &str, allowed: &[RightKind]) -> Result<(), ServiceError> {
        let denied = self.new_rights.iter().filter(|right| right.is_denied(allowed));
        let denied: Vec<_> = denied.map(RightDocument::with_uses).collect();
        if denied.is_empty() {
            return Ok(());
        }
        let but = if self.has_before { " that the version in use does not" } else { "" };
        Err(ServiceError::NewRights(self.refusal(name, "asks for", ("right", &denied), but)))
    }

    /// Leaves out what is nothing new where there was no version before.
    pub fn told(mut self) -> Self {
        if !self.has_before {
            self.new_rights.clear();
        }
        self
    }

    /// Says why a component is refused: by how many of such things, and which. If it was not compared with the newest
    /// version, it says with which one.
    fn refusal(&self, name: &str, verb: &str, (noun, which): (&str, &[String]), but: &str) -> String {
        let s = if which.len() == 1 { "" } else { "s" };
        let say = |over: &PassedOver| format!("; {over}");
        let compared = self.passed_over.as_ref().map(say).unwrap_or_default();
        format!("`{name}` {verb} {} {noun}{s}{but}: {}{compared}", which.len(), which.join("; "))
    }
}
