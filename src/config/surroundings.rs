//! The process that the configuration is resolved in: its variables, directory and machine.

use std::path::PathBuf;

use super::memory::memory_of_process;
use super::problem::{ConfigError, Origin, Problem, in_backticks, nearest};
use crate::model::SETTING_KEYS;
use crate::wasm::live_for_maps;

/// The usual value of `vm.max_map_count`.
const USUAL_MAX_MAPS: usize = 65_530;

/// The variables, the directory and the machine that the configuration is resolved for.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The variables whose names begin with `WASM_RUNNER_`.
    pub variables: Vec<(String, String)>,
    /// The working directory, absolute.
    pub directory: PathBuf,
    /// The user's cache directory.
    pub user_cache: Option<PathBuf>,
    /// How many processors there are.
    pub processors: usize,
    /// `vm.max_map_count`, if the system has such a thing.
    pub max_maps: Option<usize>,
    /// The bytes of memory that this process may take, if the system says.
    pub memory: Option<u64>,
}

impl Surroundings {
    /// The surroundings of this process.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] if the working directory is gone, or a variable is not UTF-8.
    pub fn of_process() -> Result<Self, ConfigError> {
        let directory = std::env::current_dir().map_err(|error| {
            Problem::new(Origin::Environment, format!("the working directory can't be read: {error}"))
        })?;
        let mut variables = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
            let value = value.into_string().map_err(|_| {
                Problem::new(Origin::Environment, format!("the variable `{name}` is not UTF-8"))
            })?;
            // An empty variable is how a script says "not set".
            if !value.is_empty() {
                variables.push((name.to_owned(), value));
            }
        }
        variables.sort();
        Ok(Self {
            variables,
            directory,
            user_cache: dirs::cache_dir(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            max_maps: std::fs::read_to_string("/proc/sys/vm/max_map_count")
                .ok()
                .and_then(|text| text.trim().parse().ok()),
            memory: memory_of_process(),
        })
    }

    /// The memory that guests may take unless somebody says otherwise: the rest is for the program, the system's
    /// caches, and what guests take for a moment.
    pub(super) fn memory_budget(&self) -> u64 {
        self.memory.map_or(u64::MAX, |memory| memory / 4 * 3)
    }

    /// The value of a variable, by its name without the prefix.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().find(|(known, _)| known.strip_prefix(PREFIX) == Some(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The most live instances that the system's memory maps bear.
    pub(super) fn most_live(&self) -> usize {
        live_for_maps(self.max_maps.unwrap_or(USUAL_MAX_MAPS))
    }
}

const PREFIX: &str = "WASM_RUNNER_";

/// The variables that are read besides those of settings, without their prefix. `LOG` is read where logs
/// are set up, `REGISTRY_AUTH`, which is a secret, where a registry asks for it.
const VARIABLES: [&str; 7] = ["CONFIG", "STORE", "SLOTS", "GRACE", "CACHE_DIR", "LOG", "REGISTRY_AUTH"];

/// The variable of a setting of a runner, without its prefix.
pub(super) fn variable_of(key: &str) -> String {
    key.to_ascii_uppercase().replace('-', "_")
}

/// Lists every variable that is read, without its prefix.
pub(super) fn variables() -> Vec<String> {
    let settings = SETTING_KEYS.into_iter().map(variable_of);
    VARIABLES.into_iter().map(str::to_owned).chain(settings).collect()
}

/// The variables, and everything that is wrong with them.
pub(super) struct Environment<'a> {
    pub(super) around: &'a Surroundings,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Environment<'_> {
    /// Reads a variable; `None` if it is not set or wrong.
    pub(super) fn read<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let parsed = parse(self.around.variable(name)?);
        let complain = |message| {
            let place = format!("the variable {PREFIX}{name}");
            self.problems.push(Problem::new(Origin::Environment, message).at(place));
        };
        parsed.map_err(complain).ok()
    }
}

/// A warning for each variable that nobody reads.
pub(super) fn unknown_variables(around: &Surroundings) -> Vec<Problem> {
    let variables = variables();
    let names = around.variables.iter().filter_map(|(name, _)| name.strip_prefix(PREFIX));
    names
        .filter(|name| !variables.iter().any(|known| known == name))
        .map(|name| {
            let known: Vec<_> = variables.iter().map(|known| format!("{PREFIX}{known}")).collect();
            let list = in_backticks(known.iter().map(String::as_str));
            let message = format!("the variable `{PREFIX}{name}` is not known and does nothing");
            let problem = Problem::new(Origin::Environment, message);
            match nearest(&name.replace('_', "-"), variables.iter().map(String::as_str)) {
                Some(near) => problem.hint(format!("did you mean `{PREFIX}{near}`?")),
                None => problem.hint(format!("known: {list}")),
            }
        })
        .collect()
}
