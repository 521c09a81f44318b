//! The service that commands call, and how they show what it does.

use comfy_table::Cell;
use serde::Serialize;

use crate::config::{Config, ConfigError, Flags, Surroundings};
use crate::model::InvocationId;
use crate::service::{InvocationDocument, Service, ServiceError};
use crate::wasm::{CompileLimits, Compiler};

use super::error::CliError;
use super::output::{self, Output};
use super::progress::{self, Progress};
use super::render::plural;

/// The service that commands call, and how they print.
pub struct Context {
    /// Everything that can be done.
    pub service: Service,
    /// Whether to print JSON.
    pub json: bool,
}

impl Context {
    /// Resolves the configuration, and says on standard error what is odd.
    pub fn new(flags: &Flags, json: bool) -> Result<Self, CliError> {
        let config = Config::resolve(flags, &Surroundings::of_process()?)?;
        for warning in &config.warnings {
            output::warn(&warning.to_string(), warning.hint.as_deref());
        }
        Ok(Self::of(config, json))
    }

    /// Makes a context with this configuration.
    pub fn of(config: Config, json: bool) -> Self {
        let compiler = compiler(config.compile);
        Self { service: Service::new(config, compiler), json }
    }

    /// Has a note printed if a store is created that did not exist: for commands that put something into it for others
    /// to find.
    pub fn tell_of_creation(&self) {
        self.service
            .on_created(|url| output::note(&format!("the store `{url}` did not exist and was created")));
    }

    /// Makes a context with the default configuration in the place of one that is wrong, and warns of it: of
    /// what holds `instead`.
    pub fn or_defaults(
        config: Result<Config, ConfigError>,
        instead: &str,
        json: bool,
    ) -> Result<Self, CliError> {
        let config = config.or_else(|error| {
            output::warn(&error.ignored(instead), None);
            default_config()
        });
        Ok(Self::of(config?, json))
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        self.service.config()
    }

    /// Takes standard output.
    pub fn output(&self) -> Output {
        Output::stdout(self.json)
    }

    /// Does something that may load components, and shows how far that has come.
    pub fn loading<T>(&self, work: impl FnOnce(&Service) -> Result<T, ServiceError>) -> Result<T, CliError> {
        let loading = self.service.loading();
        let progress = Progress::start(move || {
            let (loaded, total) = loading.progress()?;
            Some(format!("{loaded} of {} loaded", plural(total, "component")))
        });
        let done = work(&self.service);
        drop(progress);
        Ok(done?)
    }

    /// Prints invocations of a list or a tree as documents. A large failure is read when its turn comes.
    pub fn invocations(&self, listed: &[InvocationDocument]) -> Result<(), CliError> {
        let mut output = self.output();
        for one in listed {
            match self.service.whole_failure(one)? {
                None => output.json(one)?,
                whole => output.json(&InvocationDocument { outcome: whole, ..one.clone() })?,
            }
        }
        output.flush()
    }

    /// Prints what is in the store, as documents or as a table with a row for each; if there is nothing, says
    /// why, or `none`.
    pub fn list<T: Serialize>(
        &self,
        documents: &[T],
        none: &str,
        headings: &[&str],
        row: impl Fn(&T) -> Vec<Cell>,
    ) -> Result<(), CliError> {
        if documents.is_empty() && !self.json {
            output::note(self.service.missing().as_deref().unwrap_or(none));
            return Ok(());
        }
        self.output().table(headings, documents, row)
    }
}

/// Resolves a configuration without a file, flags or variables.
pub fn default_config() -> Result<Config, ConfigError> {
    Config::resolve(&Flags::default(), &Surroundings::default())
}

/// Makes a compiler that starts this program with its command `compile`.
pub fn compiler(limits: CompileLimits) -> Compiler {
    Compiler::this_program("compile", limits)
}

/// Shows how many invocations of a tree, or of the whole store, have which status.
pub fn show_counts(service: &Service, root: Option<InvocationId>) -> Progress {
    let service = service.clone();
    Progress::start(move || Some(progress::facts(&service.counts(root)?)))
}
