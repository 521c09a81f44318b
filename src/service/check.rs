//! Checking a configuration and everything in it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::components::left_out_sentences;
use super::pause::paused_tasks;
use super::{CheckDocument, ProblemDocument, Service, ServiceError};
use crate::config::{ComponentOrigin, ConfigError, Origin, Problem, first_in_backticks, read_secrets};
use crate::store::{LeftPause, TaskRule};
use crate::wasm::Library;

/// The most names in one warning.
const NAMED: usize = 5;

impl Service {
    /// Checks the components of the configuration, and that their directories and secrets are
    /// there. The document has no problems in it: they are the second part.
    pub fn check(&self) -> (CheckDocument, Result<(), ServiceError>) {
        let config = self.config();
        let mut document = CheckDocument {
            file: config.file.as_ref().map(|path| path.display().to_string()),
            components: config.components.len(),
            ..CheckDocument::default()
        };
        let checked = self.check_into(&mut document);
        document.ok = checked.is_ok();
        (document, checked)
    }

    fn check_into(&self, document: &mut CheckDocument) -> Result<(), ServiceError> {
        let config = self.config();
        if config.file.is_none() && config.components.is_empty() {
            let message = "there is nothing to check: no `wasm-runner.toml` here or above";
            return Err(ServiceError::NoComponents(message.to_owned()));
        }
        let mut left_out = Vec::new();
        let library = self.library_and(|library| left_out = left_out_sentences(library))?;
        document.tasks = library.tasks().len();
        document.not_tasks = library.not_tasks().len();
        let missing = config.components_and_patterns().flat_map(|component| {
            let missing = component.grants.directories.iter().filter(|grant| !Path::is_dir(&grant.host));
            missing.map(|grant| {
                let message = format!(
                    "component `{}`: the directory `{}` that it is granted as `{}` does not exist",
                    component.name,
                    grant.host.display(),
                    grant.guest
                );
                Problem::new(Origin::File, message).hint("create it, or remove the grant")
            })
        });
        let mut missing: Vec<_> = missing.collect();
        missing.extend(read_secrets(config.components_and_patterns()).err().unwrap_or_default());
        let told = config.section_warnings.iter();
        let told = told.map(|one| ProblemDocument { message: one.to_string(), hint: one.hint.clone() });
        let warning = |message| ProblemDocument { message, hint: None };
        let unfitting = self.fitting_no_section(&library);
        let left_out = left_out.into_iter().chain(unfitting).map(warning);
        document.warnings = left_out
            .chain(told)
            .chain(self.contradictions(&library))
            .chain(self.pauses_of_pushed())
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(ConfigError(missing).into()) }
    }

    /// Says which components were pushed under names that no section fits.
    fn fitting_no_section(&self, library: &Library) -> Option<String> {
        let names =
            library.components().map(|(name, _)| name).filter(|name| self.config().fits_no_section(name));
        let names: Vec<_> = names.collect();
        let first = first_in_backticks(&names, NAMED);
        (!names.is_empty()).then(|| {
            format!(
                "no section fits what was pushed as {first}: it is granted nothing and may submit nothing; \
                 the default limits hold for it, and no quota"
            )
        })
    }

    /// Says which tasks of components in the store are paused, also of those that were removed: an old pause holds back
    /// what is pushed under that name later. A store that does not exist or can't be read has none.
    fn pauses_of_pushed(&self) -> Option<ProblemDocument> {
        let config = self.config();
        let is_of_store =
            |name: &str| config.component(name).is_none_or(|one| one.origin == ComponentOrigin::Store);
        let tasks = self.existing().and_then(|access| paused_tasks(&access, is_of_store)).ok()?;
        let (s, are) = if tasks.len() == 1 { ("", "is") } else { ("s", "are") };
        (!tasks.is_empty()).then(|| ProblemDocument {
            message: format!(
                "task{s} of components in the store {are} paused, and stay so when these are removed and pushed again: {}",
                first_in_backticks(&tasks, NAMED)
            ),
            hint: Some("`run-wasm-runner resume --task TASK` lets one go on".to_owned()),
        })
    }

    /// Lists the rules in the store that contradict those of the configuration, or that its next start takes away. A store
    /// that does not exist has none.
    fn contradictions(&self, library: &Library) -> Vec<ProblemDocument> {
        let read = || {
            let access = self.existing()?;
            let store = access.store();
            let counts: HashMap<_, _> = store.unfinished_by_task()?.into_iter().collect();
            Ok::<_, ServiceError>((store.rules()?, store.rule_marks()?, store.paused()?, counts))
        };
        let (rules, marks, paused, unfinished) = match read() {
            Ok(read) => read,
            Err(error) => {
                let message = format!("nothing was compared with the rules in the store: {error}");
                return vec![ProblemDocument { message, hint: None }];
            }
        };
        let own = library.tasks().iter().map(|task| TaskRule::new(&task.id, &task.options.rules));
        let own: Vec<_> = own.collect();
        let marks: HashMap<_, _> = marks.iter().map(|mark| (&mark.task, mark)).collect();
        let contradictions = TaskRule::contradictions(&own, &rules);
        let pairs = contradictions.iter().filter_map(|(own, stored)| {
            let mark = marks.get(&own.task)?;
            Some(ProblemDocument {
                message: format!(
                    "task `{}`: the store has other rules ({stored}), set by {} at {}",
                    own.task,
                    mark.by,
                    mark.at.to_rfc3339()
                ),
                hint: Some(format!(
                    "the next runner that starts with this configuration replaces them ({own})"
                )),
            })
        });
        let left = contradictions.iter().filter_map(|(own, stored)| {
            let LeftPause { task, paused, queue } = LeftPause::between(stored, own, &paused)?;
            let count = unfinished.get(&task).copied().unwrap_or(0);
            Some(ProblemDocument {
                message: format!(
                    "task `{task}`: its queue `{paused}` is paused, and this configuration moves the task to `{queue}`, \
                     where its invocations may run (unfinished now: {count})"
                ),
                hint: Some(format!("`run-wasm-runner pause --queue {queue}` or `pause --task` holds them back")),
            })
        });
        let file = self.config().file.as_ref().map(|file| file.display().to_string());
        let said_before = |task: &Arc<str>| {
            marks.get(task).is_some_and(|mark| mark.by.config.as_deref() == file.as_deref())
        };
        let silent: HashMap<_, _> =
            own.iter().filter(|own| !own.says_something()).map(|own| (&own.task, own)).collect();
        let taken_away = rules.iter().filter(|stored| {
            stored.says_something() && silent.contains_key(&stored.task) && said_before(&stored.task)
        });
        let taken_away = taken_away.map(|stored| ProblemDocument {
            message: format!(
                "task `{}`: the store has rules ({stored}) that this configuration set, and has no more",
                stored.task
            ),
            hint: Some("the next runner that starts with this configuration takes them away".to_owned()),
        });
        pairs.chain(left).chain(taken_away).collect()
    }
}
