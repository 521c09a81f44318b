//! The service that commands call, and how they show what it does.

use crate::config::{Config, Surroundings};
use crate::model::InvocationId;
use crate::service::{Service, ServiceError};
use crate::wasm::Compiler;

use super::args::{Cli, Command};
use super::error::CliError;
use super::output;
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
    pub fn new(cli: &Cli) -> Result<Self, CliError> {
        let config = Config::resolve(&cli.flags(), &Surroundings::of_process()?)?;
        for warning in &config.warnings {
            output::warn(&warning.to_string(), warning.hint.as_deref());
        }
        Ok(Self::of(config, cli))
    }

    /// Makes a context with this configuration.
    pub fn of(config: Config, cli: &Cli) -> Self {
        let compiler = Compiler::this_program(Command::COMPILE, config.compile);
        Self { service: Service::new(config, compiler), json: cli.global.json }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        self.service.config()
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
}

/// Shows how many invocations of a tree, or of the whole store, have which status.
pub fn show_counts(service: &Service, root: Option<InvocationId>) -> Progress {
    let service = service.clone();
    Progress::start(move || Some(progress::facts(&service.counts(root)?)))
}
