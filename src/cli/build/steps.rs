//! The steps of a build that no tool of the language itself does: bindings for C, C++
//! and Go, and the step from a core module to a component.
//!
//! They are tasks of a component that this program carries inside itself, whose source
//! is `guest-tasks/componentize`. They run like any other task: within limits, and with
//! nothing of the project but its directories `wit` and `build`.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::project::Project;
use super::tool::failed;
use crate::cli::compile;
use crate::cli::error::CliError;
use crate::cli::progress::Progress;
use crate::model::{Clock, InvocationId, Outcome, SystemClock, TaskOptions};
use crate::runner::{Runner, RunnerOptions};
use crate::store::{Batch, MemoryStore, NewInvocation, Store};
use crate::wasm::{
    CompileLimits, ComponentSource, DirectoryAccess, DirectoryGrant, Grants, Library, LibraryOptions, Version,
};

/// The component, compressed; `cargo xtask componentize` refreshes it.
const COMPONENT: &[u8] = include_bytes!("componentize.wasm.gz");

/// What may live at once: there is one step at a time.
const MAX_LIVE: usize = 4;

/// The steps, ready to be taken.
pub struct Steps {
    world: String,
    library: Arc<Library>,
    clock: Arc<dyn Clock>,
}

impl Steps {
    /// Loads them for a project. Compiled code is kept in `cache_directory`.
    ///
    /// # Errors
    ///
    /// If the project has no single world, or files can't be written.
    pub fn new(project: &Project, cache_directory: Option<&Path>) -> Result<Self, CliError> {
        let world = project.world()?;
        let build = project.path("build");
        let file = build.join("componentize.draft.wasm");
        let written = fs::create_dir_all(&build).and_then(|()| {
            let mut component = Vec::new();
            GzDecoder::new(COMPONENT).read_to_end(&mut component)?;
            fs::write(&file, component)
        });
        written.map_err(|error| failed(format!("`{}` can't be written: {error}", file.display())))?;
        let directory = |name: &str, access| {
            let host = fs::canonicalize(project.path(name));
            let host = host.map_err(|error| failed(format!("`{name}` can't be used: {error}")))?;
            Ok::<_, CliError>(DirectoryGrant { host, guest: format!("/{name}"), access })
        };
        let source = ComponentSource {
            name: "componentize".into(),
            path: file.clone(),
            version: Version::default(),
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
        };
        let options = LibraryOptions {
            cache_directory: cache_directory.map(Path::to_owned),
            // Ours: what the configuration says is for components that are not.
            compiler: compile::compiler(CompileLimits::default()),
            max_live: MAX_LIVE,
            loaded: Arc::default(),
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let progress = Progress::start(|| Some("preparing".to_owned()));
        let library = Library::load(&[source], &options, Arc::clone(&clock)).map_err(CliError::Load);
        drop(progress);
        // It was read as a whole; if it can't be removed, it does no harm.
        let _ = fs::remove_file(&file);
        Ok(Self { world, library: Arc::new(library?), clock })
    }

    /// The world that the component is made for.
    pub fn world(&self) -> &str {
        &self.world
    }

    /// Writes the bindings for a language into `build/bindings`, and removes what was
    /// there before.
    ///
    /// # Errors
    ///
    /// [`CliError::Build`] with what is wrong with the WIT.
    pub fn bind(&self, project: &Project, language: &Value) -> Result<(), CliError> {
        let folder = project.path("build/bindings");
        if folder.exists() {
            let removed = fs::remove_dir_all(&folder);
            removed.map_err(|error| failed(format!("`{}` can't be removed: {error}", folder.display())))?;
        }
        self.take("bind", &json!([language, self.world]))
    }

    /// Makes a component of a core module. Both are in `build`.
    ///
    /// # Errors
    ///
    /// [`CliError::Build`] with what is wrong with the module.
    pub fn assemble(&self, module: &str, component: &Path) -> Result<(), CliError> {
        let component = component.file_name().unwrap_or_default().to_string_lossy();
        self.take("assemble", &json!([module, self.world, component]))
    }

    /// Takes one step, on a runner of its own.
    fn take(&self, task: &str, arguments: &Value) -> Result<(), CliError> {
        let bug =
            |error: &dyn std::fmt::Display| failed(format!("the step `{task}` can't be taken: {error}"));
        let task = self.library.resolve(task).map_err(|error| bug(&error))?;
        let arguments =
            self.library.check_arguments(task, &arguments.to_string()).map_err(|error| bug(&error))?;
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&self.clock)));
        let id = InvocationId::generate();
        let submit = NewInvocation { id, ..NewInvocation::new(Arc::clone(&task.id), task.digest, arguments) };
        store.commit(&Batch { submits: vec![submit], ..Batch::default() })?;
        let options = RunnerOptions { slots: 1, max_live: MAX_LIVE, ..RunnerOptions::default() };
        let library = Arc::clone(&self.library);
        let runner = Runner::start(Arc::clone(&store), library, Arc::clone(&self.clock), options)?;
        let outcome = runner.wait_final(id, None).map_err(|refusal| CliError::refused(refusal, &*store));
        runner.stop();
        match outcome? {
            Some(Outcome::Value(_)) => Ok(()),
            Some(Outcome::Failure(failure)) => {
                let error = failure.error.as_ref().and_then(|error| serde_json::from_str(error.get()).ok());
                Err(failed(error.unwrap_or_else(|| failure.message.to_string())))
            }
            None => Err(failed("the build was stopped")),
        }
    }
}
