//! `wasm-runner.toml`, read.
//!
//! The file is walked by hand over a tree that knows its positions, so that
//! everything wrong with it is told at once, each thing with its line.

mod grants;
mod keys;
mod options;
mod quota;
mod rules;
mod section;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::bounds::check_slots;
use super::component::{
    Component, ComponentOrigin, ComponentPattern, OnRemove, SubmitPattern, check_component_name,
    check_component_pattern,
};
use super::problem::{Origin, Problem, in_backticks};
use super::units::parse_age;
use crate::model::{
    Glob, HolderKind, Quota, SETTING_KEYS, SETTINGS, Setting, Status, TaskOptions, check_fairness_key,
};
use crate::store::{FAIRNESS_WEIGHTS, FairnessWeight, Keep, QuotaSection, StoreUrl};
use crate::wasm::{CompileLimits, Grants, ImportChoices, TaskSection, VersionPolicy};
use keys::{
    COMPILE_KEYS, COMPONENT_KEYS, FAIRNESS_KEYS, KEEP_KEYS, PATTERN_KEYS, PROFILE_KEYS, RETENTION_KEYS,
    TASK_KEYS, TOP_KEYS,
};
use section::{MANY, Section, Source, Value, did_you_mean};

pub(super) use keys::keys;

/// The least memory that is enough to compile the smallest component, in bytes.
const MIN_COMPILE_MEMORY: u64 = 64 << 20;

/// The form of an age, for messages.
const AGE_EXPECTED: &str = "a duration such as `\"30d\"`";

/// The content of a configuration file; `None` for what it does not set.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) store: Option<StoreUrl>,
    pub(super) slots: Option<usize>,
    pub(super) grace: Option<Duration>,
    pub(super) cache_directory: Option<PathBuf>,
    /// The settings of a runner that it sets, by their keys, in their units.
    pub(super) settings: Vec<(&'static str, u64)>,
    pub(super) retention: Vec<Keep>,
    /// How long the usage by hour is kept.
    pub(super) usage_retention: Option<Duration>,
    pub(super) weights: Option<Vec<FairnessWeight>>,
    /// The quotas of fairness keys.
    pub(super) key_quotas: Option<QuotaSection>,
    pub(super) compile: CompileLimits,
    pub(super) components: Vec<Component>,
    /// The sections that hold for components by patterns of their names.
    pub(super) patterns: Vec<ComponentPattern>,
    pub(super) tasks: Vec<TaskSection>,
    pub(super) submits: Vec<SubmitPattern>,
    /// Sections of components that may not mean what they say.
    pub(super) warnings: Vec<Problem>,
}

/// Reads the text of a file. Relative paths are relative to `directory`; messages call it `shown_as`.
pub(super) fn parse(text: &str, directory: &Path, shown_as: &str) -> Result<File, Vec<Problem>> {
    let source = Source::new(text, directory, shown_as);
    match DeTable::parse(text) {
        Ok(table) => {
            let top = Section { source: &source, table: table.get_ref(), name: String::new() };
            let file = top.file();
            source.finish(file)
        }
        Err(error) => {
            let message = format!("not valid TOML: {}", error.message());
            source.push(error.span().map_or(0, |span| span.start), Problem::new(Origin::File, message));
            source.finish(File::default())
        }
    }
}

/// The settings of components that a section has, or a profile.
#[derive(Default)]
struct Settings {
    profile: Option<Arc<str>>,
    version: Option<VersionPolicy>,
    imports: ImportChoices,
    on_remove: OnRemove,
    grants: Grants,
    defaults: TaskOptions,
    quota: Option<Quota>,
}

impl Settings {
    /// Gives them to a component.
    fn of(self, component: Component) -> Component {
        Component {
            profile: self.profile,
            version: self.version.unwrap_or(component.version),
            imports: self.imports,
            on_remove: self.on_remove,
            grants: self.grants,
            defaults: self.defaults,
            quota: self.quota,
            ..component
        }
    }
}

/// Profiles by name.
type Profiles = BTreeMap<String, Settings>;

impl<'t> Section<'t> {
    fn file(&self) -> File {
        self.refuse_unknown_keys(&TOP_KEYS);
        let fairness = self.table("fairness", &FAIRNESS_KEYS);
        let mut file = File {
            store: self.store(),
            slots: self.slots(),
            grace: self.duration("grace"),
            cache_directory: self.path("cache-dir"),
            weights: fairness.as_ref().and_then(Section::weights),
            key_quotas: fairness.as_ref().and_then(Section::key_quotas),
            compile: self.compile(),
            ..File::default()
        };
        (file.retention, file.usage_retention) = self.retention();
        if let Some(runner) = self.table("runner", &SETTING_KEYS) {
            let read = |setting: &Setting| Some((setting.key, runner.in_unit(setting.key, setting.unit)?));
            file.settings = SETTINGS.iter().filter_map(read).collect();
        }
        let mut profiles = Profiles::new();
        if let Some(sections) = self.open_table("profile") {
            let read = |(name, value)| sections.profile(name, value);
            profiles.extend(sections.table.iter().filter_map(read));
        }
        if let Some(components) = self.open_table("component") {
            let (patterns, named): (Vec<_>, Vec<_>) =
                components.table.iter().partition(|(name, _)| name.get_ref().contains('*'));
            let read = |(name, value)| components.component(name, value, &profiles);
            file.components = named.into_iter().filter_map(read).collect();
            let read = |(name, value)| components.pattern(name, value, &profiles);
            file.patterns = patterns.into_iter().filter_map(read).collect();
        }
        file.submits = self.source.submits.take();
        file.warnings = self.source.warnings.take();
        if let Some(tasks) = self.open_table("task") {
            file.tasks = tasks.table.iter().filter_map(|(task, value)| self.task(task, value)).collect();
        }
        file
    }

    fn store(&self) -> Option<StoreUrl> {
        let url = StoreUrl::parse(self.string("store")?, self.source.directory);
        url.map_err(|message| self.problem(self.start_of("store"), message)).ok()
    }

    fn slots(&self) -> Option<usize> {
        let slots = self.integer("slots", 0..=MANY)?;
        let refuse = |problem| self.source.push(self.start_of("slots"), problem);
        check_slots(slots, Origin::File).map_err(refuse).ok().map(|()| slots)
    }

    /// Reads the weights of fairness keys from the section about them.
    fn weights(&self) -> Option<Vec<FairnessWeight>> {
        let weights = self.open_table("weights")?;
        let [least, most] = FAIRNESS_WEIGHTS;
        let read = |key: &Spanned<Cow<'_, str>>| {
            weights.check_fairness_key(key);
            FairnessWeight::new(key.get_ref(), weights.number(key.get_ref(), least..=most)?)
        };
        Some(weights.table.keys().filter_map(read).collect())
    }

    /// Reads the quotas of fairness keys from the section about them.
    fn key_quotas(&self) -> Option<QuotaSection> {
        let quotas = self.open_table("quotas")?;
        let read = |key: &Spanned<Cow<'_, str>>| {
            quotas.check_fairness_key(key);
            Some((Glob::new(key.get_ref()), quotas.quota(key.get_ref())?))
        };
        let quotas = quotas.table.keys().filter_map(read).collect();
        Some(QuotaSection { holder: HolderKind::Key, quotas })
    }

    fn check_fairness_key(&self, key: &Spanned<Cow<'_, str>>) {
        if let Err(error) = check_fairness_key(key.get_ref()) {
            self.problem(key.span().start, format!("`{}`: {error}", self.name));
        }
    }

    /// Reads how much is kept of each final status, and how long usage is kept.
    fn retention(&self) -> (Vec<Keep>, Option<Duration>) {
        let finals: Vec<_> = Status::ALL.into_iter().filter(|status| status.is_final()).collect();
        let known: Vec<_> = finals.iter().map(|status| status.as_str()).chain(RETENTION_KEYS).collect();
        let Some(retention) = self.table("retention", &known) else { return (Vec::new(), None) };
        let usage = retention.with_units("usage", AGE_EXPECTED, parse_age);
        let keep = |status: Status| {
            let section = retention.table(status.as_str(), &KEEP_KEYS)?;
            if section.table.is_empty() {
                let message = format!("`[{}]` has neither `age` nor `count`", section.name);
                let start = retention.start_of(status.as_str());
                self.problem_with_hint(start, message, "leave it out to keep everything");
            }
            let age = section.with_units("age", AGE_EXPECTED, parse_age);
            Some(Keep { status, age, count: section.integer("count", 0..=MANY), at_least: 0 })
        };
        (finals.into_iter().filter_map(keep).collect(), usage)
    }

    /// Reads how much compiling one component may take.
    fn compile(&self) -> CompileLimits {
        let defaults = CompileLimits::default();
        let Some(section) = self.table("compile", &COMPILE_KEYS) else { return defaults };
        let limits = CompileLimits {
            time: section.duration("time").unwrap_or(defaults.time),
            cpu: section.duration("cpu").unwrap_or(defaults.cpu),
            memory_bytes: section.size("memory").unwrap_or(defaults.memory_bytes),
            code_bytes: section.size("code").unwrap_or(defaults.code_bytes),
            component_bytes: section.size("component").unwrap_or(defaults.component_bytes),
        };
        for (key, is_zero) in [
            ("time", limits.time.is_zero()),
            ("cpu", limits.cpu.is_zero()),
            ("code", limits.code_bytes == 0),
            ("component", limits.component_bytes == 0),
        ] {
            if is_zero {
                section.wrong(key, "is zero: nothing could ever be compiled");
            }
        }
        if limits.memory_bytes < MIN_COMPILE_MEMORY {
            section.wrong("memory", "is too small to compile anything: make it at least `64MiB`");
        }
        limits
    }

    fn component(
        &self,
        name: &Spanned<Cow<'_, str>>,
        value: &'t Value<'t>,
        profiles: &Profiles,
    ) -> Option<Component> {
        let start = name.span().start;
        if let Err(problem) = check_component_name(name.get_ref(), Origin::File) {
            self.source.push(start, problem);
        }
        let section = self.table_of(value, format!("component.{}", name.get_ref()))?;
        section.refuse_unknown_keys(&COMPONENT_KEYS);
        let replaced = self.replaced_profile(name.get_ref());
        let origin = section.origin(start, replaced);
        let settings = section.with_profile(profiles);
        let origin = origin?;
        // Only what was pushed can have the settings of a pattern.
        let replaced = replaced.filter(|_| origin == ComponentOrigin::Store);
        let section_note = section.warn_of_lost_profile(start, replaced);
        Some(Component {
            is_in_file: true,
            section_note,
            ..settings.of(Component::new(name.get_ref().as_ref().into(), origin))
        })
    }

    /// Reads what holds for all components whose names fit a pattern.
    fn pattern(
        &self,
        name: &Spanned<Cow<'_, str>>,
        value: &'t Value<'t>,
        profiles: &Profiles,
    ) -> Option<ComponentPattern> {
        if let Err(problem) = check_component_pattern(name.get_ref()) {
            self.source.push(name.span().start, problem);
        }
        let section = self.table_of(value, format!("component.\"{}\"", name.get_ref()))?;
        section.refuse_unknown_keys(&PATTERN_KEYS);
        let settings = section.with_profile(profiles);
        let replaced = self.replaced_profile(name.get_ref());
        let section_note = section.warn_of_lost_profile(name.span().start, replaced);
        let component = Component::new(name.get_ref().as_ref().into(), ComponentOrigin::Store);
        Some(ComponentPattern::new(Component { section_note, ..settings.of(component) }))
    }

    /// Finds the most exact other pattern that the name of a section fits, among the sections of components, and the
    /// profile that it names.
    fn replaced_profile(&self, name: &str) -> Option<(&'t str, &'t str)> {
        let names = self.table.keys().map(|key| key.get_ref().as_ref());
        let others = names.filter(|other| other.contains('*') && *other != name);
        let patterns: Vec<_> = others.map(|other| (other, Glob::new(other))).collect();
        let (pattern, _) = Glob::most_exact(&patterns, |(_, glob)| glob, name)?;
        let section = self.get(pattern)?.as_table()?;
        Some((pattern, section.get("profile")?.get_ref().as_str()?))
    }

    /// Warns of a section without a profile that replaces one with a profile: the pattern and the profile in
    /// `replaced`. Returns the warning.
    fn warn_of_lost_profile(&self, start: usize, replaced: Option<(&str, &str)>) -> Option<Arc<str>> {
        let (pattern, profile) = replaced.filter(|_| !self.has("profile"))?;
        let message = format!(
            "`[{}]` has no `profile`, and the section `[component.\"{pattern}\"]`, which it replaces, has \
             `profile = \"{profile}\"`: repeat it",
            self.name
        );
        let note = message.as_str().into();
        let warning = Problem::new(Origin::File, message).at(self.source.place(start));
        self.source
            .warnings
            .borrow_mut()
            .push(warning.hint("if it is to have none of that, name an empty profile"));
        Some(note)
    }

    /// Reads a profile, by its name.
    fn profile(&self, name: &Spanned<Cow<'_, str>>, value: &'t Value<'t>) -> Option<(String, Settings)> {
        if let Err(problem) = check_component_name(name.get_ref(), Origin::File) {
            self.source.push(
                name.span().start,
                Problem { message: problem.message.replace("a component", "a profile"), ..problem },
            );
        }
        let section = self.table_of(value, format!("profile.{}", name.get_ref()))?;
        section.refuse_unknown_keys(&PROFILE_KEYS);
        Some((name.get_ref().to_string(), section.settings(&Settings::default())))
    }

    /// Reads the settings of a component or a pattern, over those of the profile that it names.
    fn with_profile(&self, profiles: &Profiles) -> Settings {
        let none = Settings::default();
        let Some(name) = self.string("profile") else { return self.settings(&none) };
        let named = Some(Arc::from(name));
        let profile = profiles.get(name).unwrap_or_else(|| {
            let known = profiles.keys().map(String::as_str);
            let is_what = format!("is `{name}`, and there is no `[profile.{name}]`");
            let hint = did_you_mean(name, known.clone());
            let hint = hint.unwrap_or_else(|| format!("known: {}", in_backticks(known)));
            self.wrong_with_hint("profile", &is_what, hint);
            &none
        });
        Settings { profile: named, ..self.settings(profile) }
    }

    /// Reads settings, over others.
    fn settings(&self, below: &Settings) -> Settings {
        let versions = [("newest", VersionPolicy::Newest), ("pinned", VersionPolicy::Pinned)];
        let ends = [("keep", OnRemove::Keep), ("cancel", OnRemove::Cancel)];
        Settings {
            profile: None,
            version: self.one_of("version", &versions).or(below.version),
            imports: if self.has("imports") { self.imports() } else { below.imports.clone() },
            on_remove: self.one_of("on-remove", &ends).unwrap_or(below.on_remove),
            grants: self.grants(&below.grants),
            defaults: self.options().over(&below.defaults),
            quota: match self.quota("quota") {
                Some(quota) => Some(quota.over(below.quota.unwrap_or_default())),
                None => below.quota,
            },
        }
    }

    /// Reads the components that stand behind imports, by interface.
    fn imports(&self) -> ImportChoices {
        let mut chosen = ImportChoices::default();
        let Some(imports) = self.open_table("imports") else { return chosen };
        for interface in imports.table.keys() {
            let name = interface.get_ref();
            if !name.contains(':') || !name.contains('/') {
                let message = format!("`{name}` in `[{}]` is not the name of an interface", imports.name);
                let hint = "write it as the component imports it: `\"acme:math/ops\" = \"COMPONENT\"`";
                self.problem_with_hint(interface.span().start, message, hint);
            } else if let Some(component) = imports.string(name) {
                chosen.insert(name.to_string(), component.into());
            }
        }
        chosen
    }

    /// Reads where a component's bytes come from: `path`, `source` and `insecure`. Its name is at `start`; it replaces
    /// the section of a pattern and its profile, or none.
    fn origin(&self, start: usize, replaced: Option<(&str, &str)>) -> Option<ComponentOrigin> {
        let path = self.path("path");
        let elsewhere = self.store_or_registry();
        if let Some(value) = self.table.get("insecure")
            && !matches!(elsewhere, Ok(Some(ComponentOrigin::Registry(_))))
        {
            let message = format!("`{}` is for a `source` in a registry (`oci://…`)", self.key("insecure"));
            self.problem(value.span().start, message);
        }
        let elsewhere = elsewhere.ok()?;
        match &elsewhere {
            Some(origin) if self.has("path") => {
                let (message, kind) = ("has a `path`, and its source is the", origin.kind());
                self.problem(start, format!("`[{}]` {message} {kind}: it can't be both", self.name));
            }
            None if !self.has("path") => {
                let hint = "say where its file is: `path = \"NAME.wasm\"`; or `source = \"store\"` for what was pushed";
                let replaces = |(pattern, profile)| {
                    format!(
                        ", with `profile = \"{profile}\"`, which the section `[component.\"{pattern}\"]` has and this \
                         one replaces"
                    )
                };
                let repeat = replaced.filter(|_| !self.has("profile")).map_or_else(String::new, replaces);
                let hint = (!self.has("source")).then(|| format!("{hint}{repeat}"));
                self.complain(start, format!("`[{}]` has no `path`", self.name), hint);
            }
            _ => {}
        }
        elsewhere.or_else(|| path.map(ComponentOrigin::File))
    }

    /// Reads `source`; `None` is a file. After an error the problem is noted.
    fn store_or_registry(&self) -> Result<Option<ComponentOrigin>, ()> {
        let is_insecure = self.boolean("insecure").unwrap_or(false);
        let Some(text) = self.string("source") else {
            return if self.has("source") { Err(()) } else { Ok(None) };
        };
        self.accept("source", ComponentOrigin::parse(text, is_insecure)).ok_or(())
    }

    fn task(&self, task: &Spanned<Cow<'_, str>>, value: &'t Value<'t>) -> Option<TaskSection> {
        let (id, start) = (task.get_ref(), task.span().start);
        let section = self.table_of(value, format!("task.\"{id}\""))?;
        // An id without its quotes is read as a table within a table.
        if let [(key, nested)] = section.table.iter().collect::<Vec<_>>()[..]
            && matches!(nested.get_ref(), DeValue::Table(_))
            && !TASK_KEYS.contains(&key.get_ref().as_ref())
        {
            let key = key.get_ref();
            let hint = format!("a task's id needs quotes: `[task.\"{id}.{key}\"]`");
            self.problem_with_hint(start, format!("unknown key `{key}` in `[{}]`", section.name), hint);
            return None;
        }
        section.refuse_unknown_keys(&TASK_KEYS);
        let (place, options) = (self.source.place(start), section.options());
        Some(TaskSection { name: id.to_string(), place, options })
    }
}
