//! The program as the host of a build: says what is done, and runs the component that makes
//! components.
//!
//! That runs like any other: within limits, and with nothing of the project but its
//! directories `wit` and `build`.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::context::{compiler, default_config};
use super::output;
use super::progress::Progress;
use crate::authoring::AuthoringError;
use crate::authoring::build::{Host, Project, componentize};
use crate::config::{Component, ComponentOrigin, Config};
use crate::model::{Outcome, RunnerSettings, SubmitLimits};
use crate::service::{InvocationDocument, Service, ServiceError};
use crate::wasm::{CompileLimits, DirectoryAccess, DirectoryGrant};

/// The instances that may live at once: there is one step at a time.
const MAX_LIVE: usize = 4;

/// The host of one build.
pub struct Steps {
    cache_directory: Option<PathBuf>,
    /// Loaded with the first call.
    service: OnceCell<Service>,
}

impl Steps {
    /// Makes a host that keeps compiled code in `cache_directory`.
    pub fn new(cache_directory: Option<PathBuf>) -> Self {
        Self { cache_directory, service: OnceCell::new() }
    }

    /// Returns a service with the component alone, and a store in memory.
    fn service(&self, project: &Project) -> Result<&Service, AuthoringError> {
        if let Some(service) = self.service.get() {
            return Ok(service);
        }
        let build = project.path("build");
        let file = build.join("componentize.draft.wasm");
        let written = fs::create_dir_all(&build)
            .and_then(|()| componentize())
            .and_then(|bytes| fs::write(&file, bytes));
        written.map_err(AuthoringError::cannot("written", &file))?;
        // Ours: what the configuration says is for components that are not.
        let compiler = compiler(CompileLimits::default());
        let service = Service::new(self.config(project, &file)?, compiler).in_memory();
        let progress = Progress::start(|| Some("preparing".to_owned()));
        let loaded = service.library();
        drop(progress);
        // It was read as a whole; if it can't be removed, it does no harm.
        let _ = fs::remove_file(&file);
        loaded.map_err(|error| AuthoringError::build(error.to_string()))?;
        Ok(self.service.get_or_init(|| service))
    }

    /// Configures the component in `file`, with the directories that it is granted.
    fn config(&self, project: &Project, file: &Path) -> Result<Config, AuthoringError> {
        let grant = |name: &str, access| {
            let host = fs::canonicalize(project.path(name));
            let host = host.map_err(AuthoringError::cannot("used", Path::new(name)))?;
            Ok::<_, AuthoringError>(DirectoryGrant { host, guest: format!("/{name}"), access })
        };
        let origin = ComponentOrigin::File(file.to_owned());
        let mut component = Component::new("componentize".into(), origin);
        component.grants.directories =
            vec![grant("wit", DirectoryAccess::ReadOnly)?, grant("build", DirectoryAccess::ReadWrite)?];
        Ok(Config {
            slots: 1,
            runner: RunnerSettings { max_live: MAX_LIVE, ..RunnerSettings::default() },
            cache_directory: self.cache_directory.clone(),
            components: vec![component],
            ..default_config().map_err(|error| AuthoringError::build(error.to_string()))?
        })
    }
}

impl Host for Steps {
    fn note(&self, text: &str) {
        output::note(text);
    }

    fn call(&self, project: &Project, function: &str, arguments: &Value) -> Result<(), AuthoringError> {
        let service = self.service(project)?;
        let call = || -> Result<InvocationDocument, ServiceError> {
            let task = service.task(function)?;
            let arguments = service.check_arguments(&task, &arguments.to_string())?;
            service.call(&task, arguments, SubmitLimits::default())?.wait()
        };
        let called = call().map_err(|error| match error {
            ServiceError::System(message) => AuthoringError::System(message),
            error => AuthoringError::build(format!("the step `{function}` can't be taken: {error}")),
        })?;
        match called.outcome {
            Some(Outcome::Value(_)) => Ok(()),
            Some(Outcome::Failure(failure)) => {
                let error = failure.error.as_ref().and_then(|error| serde_json::from_str(error.get()).ok());
                Err(AuthoringError::build(error.unwrap_or_else(|| failure.message.to_string())))
            }
            None => Err(AuthoringError::build("the build was stopped")),
        }
    }
}
