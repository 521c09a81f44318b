//! `wasm-runner.toml`, read.
//!
//! The file is walked by hand over a tree that knows its positions, so that
//! everything wrong with it is told at once, each thing with its line.

mod compile;
mod grants;
mod retention;
mod retry;
mod rules;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check_slots;
use super::component::{Component, ComponentOrigin, SubmitPattern, check_component_name};
use super::problem::{Origin, Problem, in_backticks, nearest};
use super::registry::{OCI_SCHEME, RegistryReference};
use super::store_url::StoreUrl;
use super::units::{parse_duration, parse_size};
use crate::model::{TaskLimits, TaskOptions, is_valid_priority};
use crate::store::Keep;
use crate::wasm::{CompileLimits, VersionPolicy};
use compile::COMPILE_KEYS;
use grants::{DIRECTORY_KEYS, HTTP_KEYS, NETWORK_KEYS, SCRATCH_KEYS, SECRET_KEYS};
use retention::KEEP_KEYS;
use retry::{RETRY_KEYS, RetryOverrides};
use rules::{RULE_SECTIONS, RuleOverrides};

/// What a configuration file says; `None` where it says nothing.
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

/// A `[task."ID"]`.
#[derive(Debug)]
pub(super) struct TaskSection {
    pub(super) task: String,
    pub(super) place: String,
    pub(super) options: Overrides,
}

/// Task options that are said; the others come from further out.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    max_attempts: Option<u32>,
    priority: Option<i32>,
    deadline: Option<Option<Duration>>,
    retry: Option<RetryOverrides>,
    rules: RuleOverrides,
    time: Option<Duration>,
    cpu: Option<Option<Duration>>,
    memory_bytes: Option<u64>,
    fuel: Option<Option<u64>>,
    arguments_bytes: Option<u64>,
    result_bytes: Option<u64>,
    log_bytes: Option<u64>,
    children: Option<u64>,
    files: Option<u64>,
    sockets: Option<u32>,
    request_body_bytes: Option<u64>,
    response_body_bytes: Option<u64>,
    file_bytes: Option<u64>,
    traffic_bytes: Option<u64>,
}

impl Overrides {
    /// `base`, with what is said here put over it.
    pub(super) fn over(&self, base: &TaskOptions) -> TaskOptions {
        TaskOptions {
            max_attempts: self.max_attempts.unwrap_or(base.max_attempts),
            priority: self.priority.unwrap_or(base.priority),
            deadline: self.deadline.unwrap_or(base.deadline),
            retry: match &self.retry {
                Some(retry) => Arc::new(retry.over(&base.retry)),
                None => Arc::clone(&base.retry),
            },
            rules: Arc::new(self.rules.over(&base.rules)),
            limits: TaskLimits {
                time: self.time.unwrap_or(base.limits.time),
                cpu: self.cpu.unwrap_or(base.limits.cpu),
                memory_bytes: self.memory_bytes.unwrap_or(base.limits.memory_bytes),
                fuel: self.fuel.unwrap_or(base.limits.fuel),
                arguments_bytes: self.arguments_bytes.unwrap_or(base.limits.arguments_bytes),
                result_bytes: self.result_bytes.unwrap_or(base.limits.result_bytes),
                log_bytes: self.log_bytes.unwrap_or(base.limits.log_bytes),
                children: self.children.unwrap_or(base.limits.children),
                files: self.files.unwrap_or(base.limits.files),
                sockets: self.sockets.unwrap_or(base.limits.sockets),
                request_body_bytes: self.request_body_bytes.unwrap_or(base.limits.request_body_bytes),
                response_body_bytes: self.response_body_bytes.unwrap_or(base.limits.response_body_bytes),
                file_bytes: self.file_bytes.unwrap_or(base.limits.file_bytes),
                traffic_bytes: self.traffic_bytes.unwrap_or(base.limits.traffic_bytes),
            },
        }
    }
}

const TOP_KEYS: [&str; 9] =
    ["store", "slots", "grace", "cache-dir", "runner", "retention", "compile", "component", "task"];
const RUNNER_KEYS: [&str; 4] = ["max-live", "lease", "final-cache-entries", "final-cache-size"];
const COMPONENT_KEYS: [&str; 20] = [
    "path",
    "source",
    "insecure",
    "version",
    "directory",
    "scratch",
    "environment",
    "secrets",
    "network",
    "http",
    "may-submit",
    "limits",
    "max-attempts",
    "priority",
    "deadline",
    "retry",
    "queue",
    "concurrency",
    "rate",
    "unique",
];
const TASK_KEYS: [&str; 9] =
    ["max-attempts", "priority", "deadline", "limits", "retry", "queue", "concurrency", "rate", "unique"];
const LIMIT_KEYS: [&str; 14] = [
    "time",
    "cpu",
    "memory",
    "fuel",
    "arguments",
    "result",
    "logs",
    "children",
    "files",
    "file-bytes",
    "sockets",
    "request-body",
    "response-body",
    "traffic",
];

/// Reads the text of a file. Relative paths in it are taken relative to
/// `directory`; messages call it `shown_as`.
pub(super) fn parse(text: &str, directory: &Path, shown_as: &str) -> Result<File, Vec<Problem>> {
    let mut reader = Reader { text, directory, shown_as, problems: Vec::new(), submits: Vec::new() };
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            reader.problem(offset, format!("not valid TOML: {}", error.message()));
            return Err(reader.into_problems());
        }
    };
    let file = reader.file(table.get_ref());
    if reader.problems.is_empty() { Ok(file) } else { Err(reader.into_problems()) }
}

type Value<'i> = Spanned<DeValue<'i>>;

struct Reader<'a> {
    text: &'a str,
    directory: &'a Path,
    shown_as: &'a str,
    /// With their offsets in the text.
    problems: Vec<(usize, Problem)>,
    /// What stands in `may-submit` of any component.
    submits: Vec<SubmitPattern>,
}

impl Reader<'_> {
    fn place(&self, offset: usize) -> String {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!("{}:{line}", self.shown_as)
    }

    fn problem(&mut self, offset: usize, message: impl Into<String>) -> &mut Problem {
        self.push(offset, Problem::new(Origin::File, message))
    }

    fn push(&mut self, offset: usize, problem: Problem) -> &mut Problem {
        let problem = problem.at(self.place(offset));
        self.problems.push((offset, problem));
        &mut self.problems.last_mut().expect("one was pushed just now").1
    }

    /// The problems in the order of the text.
    fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|(offset, _)| *offset);
        self.problems.into_iter().map(|(_, problem)| problem).collect()
    }

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
        let grants = self.grants(table, &section);
        let options = self.options(table, &section);
        Some(Component {
            is_in_file: true,
            version,
            grants,
            defaults: options.over(&TaskOptions::default()),
            ..Component::new(name.get_ref().as_ref().into(), origin?)
        })
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

    /// What `source` says; `None` for a file.
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

    /// One of a few words.
    fn one_of<T: Copy>(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        key: &str,
        known: &[(&str, T)],
    ) -> Option<T> {
        let (text, offset) = self.string(table, section, key)?;
        let found = known.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<_> = known.iter().map(|(word, _)| format!("`{word}`")).collect();
            let message = format!("`{section}.{key}` can't be `{text}` (known: {})", words.join(", "));
            self.problem(offset, message);
        }
        found.map(|(_, value)| *value)
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
        Some(TaskSection { task: task.get_ref().to_string(), place: self.place(task.span().start), options })
    }

    fn options(&mut self, table: &DeTable<'_>, section: &str) -> Overrides {
        let mut options = Overrides {
            max_attempts: self.integer(table, section, "max-attempts", 1, 1000),
            priority: self.priority(table, section),
            deadline: self.deadline(table, section),
            retry: self.retry(table, section),
            rules: self.rules(table, section),
            ..Overrides::default()
        };
        if let Some(limits) = self.table(table, section, "limits") {
            let section = format!("{section}.limits");
            self.refuse_unknown_keys(limits, &section, &LIMIT_KEYS);
            options.time = self.duration(limits, &section, "time");
            options.cpu = self.cpu(limits, &section);
            options.memory_bytes = self.size(limits, &section, "memory");
            options.fuel = self.fuel(limits, &section);
            options.arguments_bytes = self.size(limits, &section, "arguments");
            options.result_bytes = self.size(limits, &section, "result");
            options.log_bytes = self.size(limits, &section, "logs");
            options.children = self.integer(limits, &section, "children", 0, i64::MAX as u64);
            options.files = self.integer(limits, &section, "files", 0, i64::MAX as u64);
            options.request_body_bytes = self.size(limits, &section, "request-body");
            options.response_body_bytes = self.size(limits, &section, "response-body");
            options.file_bytes = self.size(limits, &section, "file-bytes");
            options.traffic_bytes = self.size(limits, &section, "traffic");
            options.sockets = self.integer(limits, &section, "sockets", 0, u32::MAX.into());
            let zeros = [("time", options.time), ("cpu", options.cpu.flatten())];
            for (key, _) in zeros.into_iter().filter(|(_, limit)| *limit == Some(Duration::ZERO)) {
                let offset = limits.get(key).map_or(0, |value| value.span().start);
                self.problem(offset, format!("`{section}.{key}` is zero: nothing could ever run"));
            }
        }
        options
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

    fn cpu(&mut self, table: &DeTable<'_>, section: &str) -> Option<Option<Duration>> {
        if is_unlimited(table, "cpu") {
            return Some(None);
        }
        self.duration(table, section, "cpu").map(Some)
    }

    fn fuel(&mut self, table: &DeTable<'_>, section: &str) -> Option<Option<u64>> {
        if is_unlimited(table, "fuel") {
            return Some(None);
        }
        self.positive(table, section, "fuel").map(Some)
    }

    fn positive<T: TryFrom<u64>>(&mut self, table: &DeTable<'_>, section: &str, key: &str) -> Option<T> {
        self.integer(table, section, key, 1, i64::MAX as u64)
    }

    fn integer<T: TryFrom<u64>>(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        key: &str,
        min: u64,
        max: u64,
    ) -> Option<T> {
        let value = table.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        };
        let number =
            number.filter(|number| (min..=max).contains(number)).and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            let (key, found) = (dotted(section, key), describe(value.get_ref()));
            let range = match (min, max) {
                (0, max) if max >= i64::MAX as u64 => "an integer, 0 or more".to_owned(),
                (1, max) if max >= i64::MAX as u64 => "an integer, 1 or more".to_owned(),
                (min, max) => format!("an integer from {min} to {max}"),
            };
            self.problem(value.span().start, format!("`{key}` must be {range}, found {found}"));
        }
        number
    }

    fn duration(&mut self, table: &DeTable<'_>, section: &str, key: &str) -> Option<Duration> {
        self.with_units(table, section, key, "a duration such as `\"30s\"`", parse_duration)
    }

    fn size<T: TryFrom<u64>>(&mut self, table: &DeTable<'_>, section: &str, key: &str) -> Option<T> {
        let bytes = self.with_units(table, section, key, "a size such as `\"256MiB\"`", parse_size)?;
        T::try_from(bytes).ok()
    }

    fn with_units<T>(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        key: &str,
        expected: &str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = table.get(key)?;
        let name = dotted(section, key);
        let DeValue::String(text) = value.get_ref() else {
            let found = describe(value.get_ref());
            self.problem(value.span().start, format!("`{name}` must be {expected}, found {found}")).hint =
                Some("put the number and its unit between quotes".to_owned());
            return None;
        };
        match parse(text) {
            Ok(parsed) => Some(parsed),
            Err(message) => {
                self.problem(value.span().start, format!("`{name}`: {message}"));
                None
            }
        }
    }

    fn path(&mut self, table: &DeTable<'_>, section: &str, key: &str) -> Option<PathBuf> {
        let (text, offset) = self.string(table, section, key)?;
        if text.is_empty() {
            self.problem(offset, format!("`{}` is empty", dotted(section, key)));
            return None;
        }
        Some(self.directory.join(text))
    }

    fn string(&mut self, table: &DeTable<'_>, section: &str, key: &str) -> Option<(String, usize)> {
        let value = table.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some((text.to_string(), value.span().start)),
            other => {
                let (key, found) = (dotted(section, key), describe(other));
                self.problem(value.span().start, format!("`{key}` must be a string, found {found}"));
                None
            }
        }
    }

    fn table<'t, 'i>(&mut self, table: &'t DeTable<'i>, section: &str, key: &str) -> Option<&'t DeTable<'i>> {
        let value = table.get(key)?;
        self.expect_table(value, &dotted(section, key))
    }

    fn expect_table<'t, 'i>(&mut self, value: &'t Value<'i>, name: &str) -> Option<&'t DeTable<'i>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                let found = describe(other);
                self.problem(value.span().start, format!("`{name}` must be a table, found {found}")).hint =
                    Some(format!("write `[{name}]` on a line of its own"));
                None
            }
        }
    }

    fn refuse_unknown_keys(&mut self, table: &DeTable<'_>, section: &str, known: &[&str]) {
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let word = key.get_ref();
            let within = if section.is_empty() { String::new() } else { format!(" in `[{section}]`") };
            let message =
                format!("unknown key `{word}`{within} (known: {})", in_backticks(known.iter().copied()));
            let hint = match nearest(word, known.iter().copied()) {
                Some(nearest) => Some(format!("did you mean `{nearest}`?")),
                None => elsewhere(word).map(|section| format!("`{word}` belongs into `[{section}]`")),
            };
            self.problem(key.span().start, message).hint = hint;
        }
    }
}

/// Sections, with the keys that may be looked for there.
const SECTIONS: [(&[&str], &str); 11] = [
    (&RUNNER_KEYS, "runner"),
    (&KEEP_KEYS, "retention.STATUS"),
    (&LIMIT_KEYS, "component.NAME.limits"),
    (&RETRY_KEYS, "component.NAME.retry"),
    (RULE_SECTIONS[0].1, "component.NAME.concurrency"),
    (RULE_SECTIONS[1].1, "component.NAME.rate"),
    (RULE_SECTIONS[2].1, "component.NAME.unique"),
    (&NETWORK_KEYS, "[component.NAME.network]"),
    (&HTTP_KEYS, "[component.NAME.http]"),
    (&COMPONENT_KEYS, "component.NAME"),
    (&COMPILE_KEYS, "compile"),
];

/// The section that a key that is wrong here would be right in.
fn elsewhere(key: &str) -> Option<&'static str> {
    SECTIONS.into_iter().find(|(keys, _)| keys.contains(&key)).map(|(_, section)| section)
}

/// Every key, wherever it may stand.
pub(super) fn keys() -> Vec<&'static str> {
    let others: [&[&str]; 5] = [&TOP_KEYS, &TASK_KEYS, &DIRECTORY_KEYS, &SCRATCH_KEYS, &SECRET_KEYS];
    SECTIONS.into_iter().map(|(keys, _)| keys).chain(others).flatten().copied().collect()
}

/// Whether a key says that there is no limit.
fn is_unlimited(table: &DeTable<'_>, key: &str) -> bool {
    matches!(table.get(key).map(Spanned::get_ref), Some(DeValue::String(text)) if text == "unlimited")
}

fn dotted(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// A value for a message: short ones themselves, long ones by their type.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 40 => format!("the string `{text}`"),
        DeValue::String(_) => "a string".to_owned(),
        DeValue::Integer(integer) => format!("`{integer}`"),
        DeValue::Float(float) => format!("`{float}`"),
        DeValue::Boolean(boolean) => format!("`{boolean}`"),
        DeValue::Datetime(datetime) => format!("`{datetime}`"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
