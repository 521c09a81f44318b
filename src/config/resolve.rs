//! Everything that is configured, with nothing left to decide.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::bounds::{
    MAX_SLOTS, check_lease, check_max_live, check_memory_budget, check_slots, least_in_words,
};
use super::component::{Component, ComponentOrigin, ComponentPattern, SubmitPattern, check_component_name};
use super::file;
use super::lock::Lock;
use super::problem::{ConfigError, Origin, Problem};
use super::surroundings::{Environment, Surroundings, unknown_variables, variable_of};
use super::units::{parse_flag_duration, parse_size};
use crate::model::{Glob, HolderKind, LimitKind, LimitUnit, RunnerSettings, SETTINGS, Setting, TaskOptions};
use crate::regular_file;
use crate::store::{FairnessWeight, Keep, QuotaSection, StoreUrl};
use crate::wasm::{CompileLimits, TaskSection, check_trusted};

/// The name of the configuration file that is searched upward.
pub const FILE_NAME: &str = "wasm-runner.toml";

/// The values of flags; `None` for a flag that is not given.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--store`.
    pub store: Option<String>,
    /// `--slots`.
    pub slots: Option<usize>,
    /// `--grace`.
    pub grace: Option<Duration>,
    /// `--component NAME=PATH`, in order.
    pub components: Vec<(String, PathBuf)>,
}

/// A store, and who chose it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreChoice {
    /// Where it is.
    pub url: StoreUrl,
    /// The origin of the choice; `None` if it is the default.
    pub origin: Option<Origin>,
}

/// Everything that is configured, with nothing left to decide.
#[derive(Debug, Clone)]
pub struct Config {
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// Whether somebody named the file, and so trusts it and what is beside it; otherwise it was searched.
    pub is_named: bool,
    /// The store.
    pub store: StoreChoice,
    /// Guests that run at the same time.
    pub slots: usize,
    /// How long running guests may finish after the first signal.
    pub grace: Duration,
    /// Where compiled code is kept; `None` if the user has no cache directory.
    pub cache_directory: Option<PathBuf>,
    /// The settings of the section `[runner]`.
    pub runner: RunnerSettings,
    /// How much is kept of each final status; of statuses that are not here, everything.
    pub retention: Vec<Keep>,
    /// How long the usage by hour is kept, if that is configured.
    pub configured_usage_retention: Option<Duration>,
    /// The section `[fairness.weights]`; `None` if there is none.
    pub weights: Option<Vec<FairnessWeight>>,
    /// The quotas of components and of fairness keys. Kinds that nothing is configured for are not here.
    pub quotas: Vec<QuotaSection>,
    /// The limits of compiling one component.
    pub compile: CompileLimits,
    /// The components, sorted by name.
    pub components: Vec<Component>,
    /// The sections that hold for pushed components, by patterns of their names.
    pub patterns: Vec<ComponentPattern>,
    /// The lock file beside the configuration file, if there is one.
    pub lock: Option<Lock>,
    /// The `[task."…"]` sections. They are in every component's `tasks` already; this is
    /// for finding those that name no task, and for components that are found only later.
    pub task_sections: Arc<[TaskSection]>,
    /// The patterns in `may-submit` of the components: for finding those that match no task.
    pub submits: Vec<SubmitPattern>,
    /// Warnings: what is odd but not wrong.
    pub warnings: Vec<Problem>,
    /// Warnings of the sections of components, for `check` and for runners: other commands would repeat them.
    pub section_warnings: Vec<Problem>,
}

impl Config {
    /// Resolves everything.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with everything that is wrong.
    pub fn resolve(flags: &Flags, around: &Surroundings) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let warnings = unknown_variables(around);
        let asked = named_file(flags, around)?;
        let is_named = asked.is_some();
        let path = asked.map_or_else(|| search_file(around), |path| Ok(Some(path)))?;
        let file_directory = path.as_deref().and_then(Path::parent).unwrap_or(&around.directory).to_owned();
        let file = match &path {
            None => file::File::default(),
            Some(path) => read_file(path, &file_directory, around).unwrap_or_else(|found| {
                problems.extend(found);
                file::File::default()
            }),
        };

        let mut environment = Environment { around, problems: &mut problems };
        let env_store = environment.read("STORE", |text| StoreUrl::parse(text, &around.directory));
        let env_slots = environment.read("SLOTS", parse_count);
        let env_grace = environment.read("GRACE", parse_flag_duration);
        let env_cache = environment.read("CACHE_DIR", |text| Ok(around.directory.join(text)));
        let mut env_settings = Vec::new();
        for Setting { key, unit } in SETTINGS {
            let value = environment.read(&variable_of(key), |text| parse_in_unit(text, key, unit));
            env_settings.extend(value.map(|value| (key, value)));
        }

        let flag_store = flags.store.as_deref().and_then(|text| {
            StoreUrl::parse(text, &around.directory)
                .map_err(|message| problems.push(Problem::new(Origin::Flag, message).at("--store")))
                .ok()
        });
        let store = choose(flag_store, env_store, file.store).map_or_else(
            // Beside the file, so that every directory below it means the same store.
            || StoreChoice {
                url: StoreUrl::Sqlite(file_directory.join(".wasm-runner/state.db")),
                origin: None,
            },
            |(url, origin)| StoreChoice { url, origin: Some(origin) },
        );

        let slots = choose(flags.slots, env_slots, file.slots);
        problems.extend(slots.and_then(|(slots, origin)| check_slots(slots, origin).err()));
        let slots = slots.map_or_else(|| around.processors.clamp(1, MAX_SLOTS), |(slots, _)| slots);
        let mut runner = RunnerSettings::default();
        runner.max_live = runner.max_live.min(around.most_live()).max(slots);
        runner.memory_budget = around.memory_budget();
        file.settings.iter().chain(&env_settings).for_each(|(key, value)| runner.set(key, *value));
        let said = [(&env_settings, Origin::Environment), (&file.settings, Origin::File)];
        let origin =
            |key| said.iter().find(|(said, _)| said.iter().any(|(said, _)| *said == key)).map(|(_, of)| *of);
        let max_live =
            origin("max-live").map(|origin| check_max_live(runner.max_live, slots, origin, around));
        let budget = origin("memory-budget").map(|origin| check_memory_budget(runner.memory_budget, origin));
        let lease = origin("lease").map(|origin| check_lease(runner.lease, origin));
        problems.extend(max_live.into_iter().chain(budget).chain(lease).filter_map(Result::err));
        let grace = flags.grace.or(env_grace).or(file.grace).unwrap_or(Duration::from_secs(30));
        let user_cache = || around.user_cache.as_ref().map(|directory| directory.join("run-wasm-runner"));
        let cache_directory = env_cache.or(file.cache_directory).or_else(user_cache);

        let lock = path.as_deref().map_or(Ok(None), |file| {
            let lock = Lock::read_beside(file)?;
            if lock.is_some() && !is_named {
                refuse_untrusted(&Lock::path_beside(file), "the lock file", file)?;
            }
            Ok(lock)
        });
        let lock = lock.unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        let task_sections: Arc<[_]> = file.tasks.into();
        let mut patterns = file.patterns;
        for pattern in &mut patterns {
            pattern.component.tasks = Arc::clone(&task_sections);
        }
        let components = components(flags, around, file.components, &task_sections, &mut problems);
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        Ok(Self {
            lock,
            file: path,
            is_named,
            store,
            slots,
            grace,
            cache_directory,
            runner,
            retention: file.retention,
            configured_usage_retention: file.usage_retention,
            weights: file.weights,
            quotas: component_quotas(&components, &patterns).into_iter().chain(file.key_quotas).collect(),
            compile: file.compile,
            components,
            patterns,
            task_sections,
            submits: file.submits,
            warnings,
            section_warnings: file.warnings,
        })
    }
}

/// How long usage is kept by default: the same month of last year is still there.
const USAGE_RETENTION: Duration = Duration::from_secs(400 * 24 * 60 * 60);

impl Config {
    /// How long the usage by hour is kept.
    pub fn usage_retention(&self) -> Duration {
        self.configured_usage_retention.unwrap_or(USAGE_RETENTION)
    }

    /// The component with a name.
    pub fn component(&self, name: &str) -> Option<&Component> {
        self.components.iter().find(|component| *component.name == *name)
    }

    /// Whether the bytes of any component are in the store.
    pub fn needs_store_for_components(&self) -> bool {
        self.takes_all_pushed() || self.components.iter().any(|one| one.origin == ComponentOrigin::Store)
    }

    /// Whether all components that were pushed are used: if none is configured by its name, or some by a pattern.
    pub fn takes_all_pushed(&self) -> bool {
        self.components.is_empty() || !self.patterns.is_empty()
    }

    /// The components, and what holds for those whose names fit a pattern.
    pub fn components_and_patterns(&self) -> impl Iterator<Item = &Component> {
        self.components.iter().chain(self.patterns.iter().map(|pattern| &pattern.component))
    }

    /// Makes the configuration of a pushed component that nobody has configured by its name.
    ///
    /// With patterns, one that fits none may do nothing, and so submits nothing.
    pub fn pushed_component(&self, name: Arc<str>) -> Component {
        let found = ComponentPattern::find(&self.patterns, &name);
        let note = found.map(|pattern| Arc::from(pattern.note_for(&name)));
        Component {
            section_note: found.and_then(|pattern| pattern.component.section_note.clone()).or(note),
            name: Arc::clone(&name),
            tasks: Arc::clone(&self.task_sections),
            // One that can't be used must not stop every runner that takes all that were pushed.
            may_be_left_out: true,
            ..match found {
                Some(pattern) => pattern.component.clone(),
                None => Component::without_section(name, !self.patterns.is_empty()),
            }
        }
    }

    /// Whether a pushed component with that name gets nothing: there are sections for patterns, and none for it.
    pub fn fits_no_section(&self, name: &str) -> bool {
        let has_section =
            || self.component(name).is_some() || ComponentPattern::find(&self.patterns, name).is_some();
        !self.patterns.is_empty() && !has_section()
    }

    /// Whether fuel may be limited, for a component that comes later too.
    pub fn may_count_fuel(&self) -> bool {
        let is_limited = |options: &TaskOptions| options.limits[LimitKind::Fuel].is_some();
        let base = TaskOptions::default();
        self.task_sections.iter().any(|section| is_limited(&section.options.over(&base)))
            || self.patterns.iter().any(|pattern| is_limited(&pattern.component.defaults))
    }

    /// The queues that tasks and components are configured with.
    pub fn queues(&self) -> BTreeSet<Arc<str>> {
        let mut queues = BTreeSet::new();
        for component in self.components_and_patterns() {
            let sections = component.tasks.iter().map(|section| section.options.over(&component.defaults));
            queues.extend(sections.map(|options| Arc::clone(&options.rules.queue)));
            queues.insert(Arc::clone(&component.defaults.rules.queue));
        }
        queues
    }
}

/// Lists the quotas of all sections of components, if any section has one: one without keeps less exact ones from its
/// component.
fn component_quotas(components: &[Component], patterns: &[ComponentPattern]) -> Option<QuotaSection> {
    let all = || components.iter().chain(patterns.iter().map(|pattern| &pattern.component));
    all().any(|component| component.quota.is_some()).then(|| QuotaSection {
        holder: HolderKind::Component,
        quotas: all()
            .map(|component| (Glob::new(&component.name), component.quota.unwrap_or_default()))
            .collect(),
    })
}

fn parse_count(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is not a whole number"))
}

/// Reads the number that the variable of a setting holds, in its unit.
fn parse_in_unit(text: &str, key: &str, unit: LimitUnit) -> Result<u64, String> {
    let number = match unit {
        LimitUnit::Time => u64::try_from(parse_flag_duration(text)?.as_nanos()).unwrap_or(u64::MAX),
        LimitUnit::Bytes => parse_size(text)?,
        LimitUnit::Count | LimitUnit::Positive | LimitUnit::OfGrant => parse_count(text)? as u64,
    };
    match number < unit.least() {
        true => Err(format!("`{text}` is too little: it has to be {}", least_in_words(key))),
        false => Ok(number),
    }
}

fn choose<T>(flag: Option<T>, variable: Option<T>, file: Option<T>) -> Option<(T, Origin)> {
    flag.map(|value| (value, Origin::Flag))
        .or(variable.map(|value| (value, Origin::Environment)))
        .or(file.map(|value| (value, Origin::File)))
}

/// Returns the configuration file that is asked for, if one is.
fn named_file(flags: &Flags, around: &Surroundings) -> Result<Option<PathBuf>, ConfigError> {
    let (path, who) = match (&flags.config, around.variable("CONFIG")) {
        (Some(path), _) => (path.clone(), "--config"),
        (None, Some(path)) => (PathBuf::from(path), "the variable WASM_RUNNER_CONFIG"),
        (None, None) => return Ok(None),
    };
    let absolute = around.directory.join(&path);
    if absolute.is_file() {
        return Ok(Some(absolute));
    }
    let what = if absolute.is_dir() { "is a directory" } else { "does not exist" };
    // A missing file is the file's fault, whoever asked for it: exit code 78.
    let problem = Problem::new(Origin::File, format!("the configuration file `{}` {what}", path.display()));
    Err(problem.at(who).into())
}

/// Finds the first configuration file upward from the directory. Whoever may write above it could put one there,
/// and with it grant what is ours, so that it must be ours or root's.
fn search_file(around: &Surroundings) -> Result<Option<PathBuf>, ConfigError> {
    let above = around.directory.ancestors().map(|directory| directory.join(FILE_NAME));
    // Without a directory there is no file.
    let found = above.filter(|path| path.is_absolute()).find(|path| path.is_file());
    if let Some(path) = &found {
        refuse_untrusted(path, "the configuration file", path)?;
    }
    Ok(found)
}

/// Refuses what was found, and not named, if another user can have changed it.
fn refuse_untrusted(path: &Path, what: &str, file: &Path) -> Result<(), Problem> {
    check_trusted(path).map_err(|error| {
        Problem::new(Origin::File, format!("{what} was found here and is not trusted: {error}"))
            .at(path.display().to_string())
            .hint(format!("if you trust it, name it: `--config {}`", file.display()))
    })
}

fn read_file(path: &Path, directory: &Path, around: &Surroundings) -> Result<file::File, Vec<Problem>> {
    let shown = path.strip_prefix(&around.directory).unwrap_or(path).display().to_string();
    let bytes = regular_file::read(path).map_err(|error| {
        vec![Problem::new(Origin::File, format!("the configuration file can't be read: {error}")).at(&shown)]
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| vec![Problem::new(Origin::File, "the configuration file is not UTF-8").at(&shown)])?;
    file::parse(&text, directory, &shown)
}

/// Returns the components of the file, with those of the flags put over them, sorted by name.
fn components(
    flags: &Flags,
    around: &Surroundings,
    mut components: Vec<Component>,
    tasks: &Arc<[TaskSection]>,
    problems: &mut Vec<Problem>,
) -> Vec<Component> {
    let mut named: Vec<&str> = Vec::new();
    for (name, path) in &flags.components {
        if let Err(problem) = check_component_name(name, Origin::Flag) {
            problems.push(problem.at("--component"));
        }
        if named.contains(&name.as_str()) {
            let message = format!("the component `{name}` is given twice");
            problems.push(Problem::new(Origin::Flag, message).at("--component"));
        }
        named.push(name);
        let origin = ComponentOrigin::File(around.directory.join(path));
        // A flag replaces the file of a component; what was granted to its name stays.
        match components.iter_mut().find(|component| *component.name == **name) {
            Some(component) => component.origin = origin,
            None => components.push(Component::new(Arc::from(name.as_str()), origin)),
        }
    }
    for component in &mut components {
        component.tasks = Arc::clone(tasks);
    }
    components.sort_by(|a, b| a.name.cmp(&b.name));
    components
}
