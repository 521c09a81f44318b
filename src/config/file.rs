//! `wasm-runner.toml`, read.
//!
//! The file is walked by hand over a tree that knows its positions, so that
//! everything wrong with it is told at once, each thing with its line.

mod compile;
mod grants;
mod keys;
mod limits;
mod reader;
mod retention;
mod retry;
mod rules;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::bounds::check_slots;
use super::component::{Component, ComponentOrigin, SubmitPattern, check_component_name};
use super::problem::{Origin, Problem};
use super::registry::{OCI_SCHEME, RegistryReference};
use super::store_url::StoreUrl;
use crate::model::{LimitKind, TaskOptions, is_valid_priority};
use crate::store::Keep;
use crate::wasm::{CompileLimits, ImportChoices, Layer, TaskSection, VersionPolicy};
use keys::{COMPONENT_KEYS, RUNNER_KEYS, TASK_KEYS, TOP_KEYS};
use reader::{Reader, Value, describe};
use retry::RetryOverrides;
use rules::RuleOverrides;

pub(super) use keys::keys;

/// The content of a configuration file; `None` for what it does not set.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) store: Option<StoreUrl>,
    pub(super) slots: Option<usize>,
    pub(super) grace: Option<Duration>,
    pub(super) cache_directory: Option<PathBuf>,
    pub(super) max_live: Option<usize>,
    pub(super) lease: Option<Duration>,
    pub(super) final_cache_entries: Option<usize>,
    pub(super) final_cache_bytes: Option<usize>,
    pub(super) retention: Vec<Keep>,
    pub(super) compile: CompileLimits,
    pub(super) components: Vec<Component>,
    pub(super) tasks: Vec<TaskSection>,
    pub(super) submits: Vec<SubmitPattern>,
}

/// Task options that are said; the others come from further out.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    max_attempts: Option<u32>,
    priority: Option<i32>,
    deadline: Option<Option<Duration>>,
    retry: Option<RetryOverrides>,
    rules: RuleOverrides,
    limits: Vec<(LimitKind, Option<u64>)>,
}

impl Overrides {
    /// `base`, with the options that are set here in place of its own.
    pub(super) fn over(&self, base: &TaskOptions) -> TaskOptions {
        let mut limits = base.limits.clone();
        self.limits.iter().for_each(|(kind, most)| limits.set(*kind, *most));
        TaskOptions {
            max_attempts: self.max_attempts.unwrap_or(base.max_attempts),
            priority: self.priority.unwrap_or(base.priority),
            deadline: self.deadline.unwrap_or(base.deadline),
            retry: match &self.retry {
                Some(retry) => Arc::new(retry.over(&base.retry)),
                None => Arc::clone(&base.retry),
            },
            rules: Arc::new(self.rules.over(&base.rules)),
            limits,
        }
    }
}

/// Reads the text of a file. Relative paths in it are taken relative to
/// `directory`; messages call it `shown_as`.
pub(super) fn parse(text: &str, directory: &Path, shown_as: &str) -> Result<File, Vec<Problem>> {
    let mut reader = Reader::new(text, directory, shown_as);
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            reader.problem(offset, format!("not valid TOML: {}", error.message()));
            return reader.finish(File::default());
        }
    };
    let file = reader.file(table.get_ref());
    reader.finish(file)
}

impl Reader<'_> {
    fn file(&mut self, top: &DeTable<'_>) -> File {
        self.refuse_unknown_keys(top, "", &TOP_KEYS);
        let mut file = File {
            store: self.store(top),
            slots: self.slots(top),
            grace: self.duration(top, "", "grace"),
            cache_directory: self.path(top, "", "cache-dir"),
            retention: self.retention(top),
            compile: self.compile(top),
            ..File::default()
        };
        if let Some(runner) = self.table(top, "", "runner") {
            self.refuse_unknown_keys(runner, "runner", &RUNNER_KEYS);
            file.max_live = self.positive(runner, "runner", "max-live");
            file.lease = self.duration(runner, "runner", "lease");
            file.final_cache_entries =
                self.integer(runner, "runner", "final-cache-entries", 0, i64::MAX as u64);
            file.final_cache_bytes = self.size(runner, "runner", "final-cache-size");
        }
        if let Some(components) = self.table(top, "", "component") {
            for (name, value) in components {
                file.components.extend(self.component(name, value));
            }
        }
        file.submits = std::mem::take(&mut self.submits);
        if let Some(tasks) = self.table(top, "", "task") {
            for (task, value) in tasks {
                file.tasks.extend(self.task(task, value));
            }
        }
        file
    }

    fn component(
        &mut self,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Value<'_>,
    ) -> Option<Component> {
        let section = format!("component.{}", name.get_ref());
        if let Err(problem) = check_component_name(name.get_ref(), Origin::File) {
            self.push(name.span().start, problem);
        }
        let table = self.expect_table(value, &section)?;
        self.refuse_unknown_keys(table, &section, &COMPONENT_KEYS);
        let origin = self.origin(table, &section, name.span().start);
        let versions = [("newest", VersionPolicy::Newest), ("pinned", VersionPolicy::Pinned)];
        let version = self.one_of(table, &section, "version", &versions).unwrap_or_default();
        let imports = self.imports(table, &section);
        let grants = self.grants(table, &section);
        let options = self.options(table, &section);
        Some(Component {
            is_in_file: true,
            version,
            imports,
            grants,
            defaults: options.over(&TaskOptions::default()),
            ..Component::new(name.get_ref().as_ref().into(), origin?)
        })
    }

    /// The components that stand behind imports, by interface.
    fn imports(&mut self, table: &DeTable<'_>, section: &str) -> ImportChoices {
        let mut chosen = ImportChoices::default();
        let Some(imports) = self.table(table, section, "imports") else { return chosen };
        let section = format!("{section}.imports");
        for interface in imports.keys() {
            let name = interface.get_ref();
            if !name.contains(':') || !name.contains('/') {
                let message = format!("`{name}` in `[{section}]` is not the name of an interface");
                self.problem(interface.span().start, message).hint = Some(
                    "write it as the component imports it: `\"acme:math/ops\" = \"COMPONENT\"`".to_owned(),
                );
            } else if let Some((component, _)) = self.string(imports, &section, name) {
                chosen.insert(name.to_string(), component.into());
            }
        }
        chosen
    }

    /// Where the bytes of a component come from: `path`, `source` and `insecure`.
    fn origin(&mut self, table: &DeTable<'_>, section: &str, offset: usize) -> Option<ComponentOrigin> {
        let path = self.path(table, section, "path");
        let has_path = table.contains_key("path");
        let elsewhere = match self.source(table, section) {
            Ok(elsewhere) => elsewhere,
            Err(()) => return None,
        };
        match &elsewhere {
            Some(origin) if has_path => {
                let what = if *origin == ComponentOrigin::Store { "store" } else { "registry" };
                let message =
                    format!("`[{section}]` has a `path`, and its source is the {what}: it can't be both");
                self.problem(offset, message);
            }
            None if !has_path => {
                let problem = self.problem(offset, format!("`[{section}]` has no `path`"));
                if !table.contains_key("source") {
                    problem.hint = Some(
                        "say where its file is: `path = \"NAME.wasm\"`; or `source = \"store\"` for what was pushed"
                            .to_owned(),
                    );
                }
            }
            _ => {}
        }
        elsewhere.or_else(|| path.map(ComponentOrigin::File))
    }

    /// Reads `source`; `None` for a file.
    fn source(&mut self, table: &DeTable<'_>, section: &str) -> Result<Option<ComponentOrigin>, ()> {
        let insecure = table.get("insecure");
        let is_insecure = match insecure.map(Spanned::get_ref) {
            None => false,
            Some(DeValue::Boolean(value)) => *value,
            Some(other) => {
                let message =
                    format!("`{section}.insecure` must be `true` or `false`, found {}", describe(other));
                self.problem(insecure.map_or(0, |value| value.span().start), message);
                false
            }
        };
        let source = match self.string(table, section, "source") {
            None if table.contains_key("source") => Err(()),
            None => Ok(None),
            Some((text, offset)) => match text.as_str() {
                "file" => Ok(None),
                "store" => Ok(Some(ComponentOrigin::Store)),
                text if text.starts_with(OCI_SCHEME) => match RegistryReference::parse(text) {
                    Ok(reference) => {
                        Ok(Some(ComponentOrigin::Registry(RegistryReference { is_insecure, ..reference })))
                    }
                    Err(message) => {
                        self.problem(offset, format!("`{section}.source`: {message}"));
                        Err(())
                    }
                },
                other => {
                    let message = format!(
                        "`{section}.source` can't be `{other}` (known: `file`, `store`, `{OCI_SCHEME}…`)"
                    );
                    self.problem(offset, message);
                    Err(())
                }
            },
        };
        let is_registry = matches!(source, Ok(Some(ComponentOrigin::Registry(_))));
        if let Some(value) = insecure.filter(|_| !is_registry) {
            let message = format!("`{section}.insecure` is for a `source` in a registry (`oci://…`)");
            self.problem(value.span().start, message);
        }
        source
    }

    fn task(&mut self, task: &Spanned<std::borrow::Cow<'_, str>>, value: &Value<'_>) -> Option<TaskSection> {
        let section = format!("task.\"{}\"", task.get_ref());
        let table = self.expect_table(value, &section)?;
        // An id without its quotes is read as a table within a table.
        if let [(key, nested)] = table.iter().collect::<Vec<_>>()[..]
            && matches!(nested.get_ref(), DeValue::Table(_))
            && !TASK_KEYS.contains(&key.get_ref().as_ref())
        {
            let full = format!("{}.{}", task.get_ref(), key.get_ref());
            self.problem(task.span().start, format!("unknown key `{}` in `[{section}]`", key.get_ref()))
                .hint = Some(format!("a task's id needs quotes: `[task.\"{full}\"]`"));
            return None;
        }
        self.refuse_unknown_keys(table, &section, &TASK_KEYS);
        let options = self.options(table, &section);
        let options = Layer::new(move |base| options.over(base));
        Some(TaskSection { name: task.get_ref().to_string(), place: self.place(task.span().start), options })
    }

    fn options(&mut self, table: &DeTable<'_>, section: &str) -> Overrides {
        Overrides {
            max_attempts: self.integer(table, section, "max-attempts", 1, 1000),
            priority: self.priority(table, section),
            deadline: self.deadline(table, section),
            retry: self.retry(table, section),
            rules: self.rules(table, section),
            limits: self.limits(table, section),
        }
    }

    fn store(&mut self, table: &DeTable<'_>) -> Option<StoreUrl> {
        let (text, offset) = self.string(table, "", "store")?;
        match StoreUrl::parse(&text, self.directory) {
            Ok(url) => Some(url),
            Err(message) => {
                self.problem(offset, message);
                None
            }
        }
    }

    fn slots(&mut self, table: &DeTable<'_>) -> Option<usize> {
        let slots: usize = self.integer(table, "", "slots", 0, u64::MAX)?;
        match check_slots(slots, Origin::File) {
            Ok(()) => Some(slots),
            Err(problem) => {
                self.push(table.get("slots").map_or(0, |value| value.span().start), problem);
                None
            }
        }
    }

    fn priority(&mut self, table: &DeTable<'_>, section: &str) -> Option<i32> {
        let value = table.get("priority")?;
        let priority = match value.get_ref() {
            DeValue::Integer(integer) => i32::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        };
        match priority {
            Some(priority) if is_valid_priority(priority) => Some(priority),
            _ => {
                let found = describe(value.get_ref());
                let message =
                    format!("`{section}.priority` must be an integer from -1000 to 1000, found {found}");
                self.problem(value.span().start, message);
                None
            }
        }
    }
}
