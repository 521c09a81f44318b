//! The program as the host of a build: says what is done, and runs the component that makes
//! components.
//!
//! That runs like any other: within limits, and with nothing of the project but its
//! directories `wit` and `build`.

use std::cell::OnceCell;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::compile;
use super::output;
use super::progress::Progress;
use crate::authoring::AuthoringError;
use crate::authoring::build::{Host, Project, componentize};
use crate::model::{Clock, Outcome, SubmitOptions, SystemClock, TaskOptions};
use crate::runner::{Runner, RunnerOptions};
use crate::store::{Batch, MemoryStore, NewInvocation, Store};
use crate::wasm::{
    CompileLimits, ComponentSource, DirectoryAccess, DirectoryGrant, Grants, Library, LibraryOptions,
    VersionPolicy,
};

/// The instances that may live at once: there is one step at a time.
const MAX_LIVE: usize = 4;

/// The host of one build.
pub struct Steps {
    cache_directory: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    /// Loaded with the first call.
    library: OnceCell<Arc<Library>>,
}

impl Steps {
    /// Makes a host that keeps compiled code in `cache_directory`.
    pub fn new(cache_directory: Option<PathBuf>) -> Self {
        Self { cache_directory, clock: Arc::new(SystemClock::new()), library: OnceCell::new() }
    }

    fn library(&self, project: &Project) -> Result<&Arc<Library>, AuthoringError> {
        if let Some(library) = self.library.get() {
            return Ok(library);
        }
        let library = self.load(project)?;
        Ok(self.library.get_or_init(|| Arc::new(library)))
    }

    fn load(&self, project: &Project) -> Result<Library, AuthoringError> {
        let build = project.path("build");
        let file = build.join("componentize.draft.wasm");
        let written = fs::create_dir_all(&build)
            .and_then(|()| componentize())
            .and_then(|bytes| fs::write(&file, bytes));
        written.map_err(|error| {
            AuthoringError::build(format!("`{}` can't be written: {error}", file.display()))
        })?;
        let options = LibraryOptions {
            cache_directory: self.cache_directory.clone(),
            // Ours: what the configuration says is for components that are not.
            compiler: compile::compiler(CompileLimits::default()),
            max_live: MAX_LIVE,
            loaded: Arc::default(),
        };
        let source = source(project, &file)?;
        let progress = Progress::start(|| Some("preparing".to_owned()));
        let library = Library::load(&[source], &options, Arc::clone(&self.clock));
        drop(progress);
        // It was read as a whole; if it can't be removed, it does no harm.
        let _ = fs::remove_file(&file);
        library.map_err(AuthoringError::Load)
    }
}

/// The component in `file`, with the directories that it is granted.
fn source(project: &Project, file: &Path) -> Result<ComponentSource, AuthoringError> {
    let directory = |name: &str, access| {
        let host = fs::canonicalize(project.path(name))
            .map_err(|error| AuthoringError::build(format!("`{name}` can't be used: {error}")))?;
        Ok::<_, AuthoringError>(DirectoryGrant { host, guest: format!("/{name}"), access })
    };
    Ok(ComponentSource {
        name: "componentize".into(),
        path: file.to_owned(),
        version: VersionPolicy::default(),
        locked: Vec::new(),
        grants: Grants {
            directories: vec![
                directory("wit", DirectoryAccess::ReadOnly)?,
                directory("build", DirectoryAccess::ReadWrite)?,
            ],
            ..Grants::default()
        },
        defaults: TaskOptions::default(),
        tasks: Default::default(),
        imports: Default::default(),
    })
}

impl Host for Steps {
    fn note(&self, text: &str) {
        output::note(text);
    }

    fn call(&self, project: &Project, function: &str, arguments: &Value) -> Result<(), AuthoringError> {
        let library = self.library(project)?;
        let bug = |error: &dyn Display| {
            AuthoringError::build(format!("the step `{function}` can't be taken: {error}"))
        };
        let task = library.resolve(function).map_err(|error| bug(&error))?;
        let arguments = library.check_arguments(task, &arguments.to_string()).map_err(|error| bug(&error))?;
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&self.clock)));
        let submit = NewInvocation::of(task.prepared(arguments), SubmitOptions::default());
        let submit = submit.map_err(|error| bug(&error))?;
        let id = submit.id;
        let batch = Batch { submits: vec![submit], ..Batch::default() };
        store.commit(&batch).map_err(|error| bug(&error))?;
        let options = RunnerOptions { slots: 1, max_live: MAX_LIVE, ..RunnerOptions::default() };
        let runner = Runner::start(store, library.clone(), Arc::clone(&self.clock), options)
            .map_err(|error| AuthoringError::System(error.to_string()))?;
        let outcome = runner.wait_final(id, None).map_err(|refusal| bug(&refusal));
        runner.stop();
        match outcome? {
            Some(Outcome::Value(_)) => Ok(()),
            Some(Outcome::Failure(failure)) => {
                let error = failure.error.as_ref().and_then(|error| serde_json::from_str(error.get()).ok());
                Err(AuthoringError::build(error.unwrap_or_else(|| failure.message.to_string())))
            }
            None => Err(AuthoringError::build("the build was stopped")),
        }
    }
}
