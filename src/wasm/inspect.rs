//! Inspection of one component file, without linking it.

use std::path::Path;

use serde::Serialize;

use super::cache::Cache;
use super::compile::Compiler;
use super::discover::Import;
use super::engine::new_engine;
use super::library::Library;
use super::link::{self, Exporters, Provider};
use super::linked::{check_linkable, task};
use super::loaded::load_one;
use super::source::{ImportChoices, LoadError, load_error};
use super::task::{NotTask, Task};
use crate::model::{ComponentDigest, ComponentFacts, Interrupt, TaskOptions};

/// The content of a component file.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The digest of its bytes.
    pub digest: ComponentDigest,
    /// Its size in bytes.
    pub bytes: u64,
    /// The tasks that it exports.
    pub tasks: Vec<Task>,
    /// The functions that it exports and that can't be tasks.
    pub not_tasks: Vec<NotTask>,
    /// The interfaces that it exports tasks from, with their versions.
    pub exports: Vec<String>,
    /// Its imports, and who would provide each.
    pub imports: Vec<Capability>,
    /// The reason why no runner of this version can link it, whatever other components there are.
    pub unlinkable: Option<String>,
}

impl Inspection {
    /// The facts that are kept of it when it is pushed.
    pub fn facts(&self) -> ComponentFacts {
        let others = self.imports.iter().filter(|import| !import.is_provided);
        ComponentFacts {
            functions: self.tasks.iter().map(|task| task.function().to_owned()).collect(),
            exports: self.exports.clone(),
            imports: others.map(|import| (import.import.clone(), None)).collect(),
            ..ComponentFacts::default()
        }
    }
}

/// An imported interface and what stands behind it.
#[derive(Debug, Clone, Serialize)]
pub struct Capability {
    /// The name of the import, with its version.
    pub import: String,
    /// The functions of it that the component uses.
    #[serde(skip)]
    pub functions: Vec<String>,
    /// A description of what it asks for and who provides it.
    pub provided_by: String,
    /// Whether anything provides it.
    pub is_provided: bool,
}

impl Library {
    /// Inspects one component file, without linking it to anything.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if it can't be read or is not a component.
    pub fn inspect(
        name: &str,
        path: &Path,
        cache_directory: Option<&Path>,
        compiler: Compiler,
    ) -> Result<Inspection, LoadError> {
        let engine = new_engine(1, false).map_err(|message| load_error(name, path, message))?;
        let cache = Cache::new(cache_directory, compiler);
        let loaded = load_one(&engine, false, name, path, None, &cache, &Interrupt::default())?;
        let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let (alone, none) = (Exporters::new(vec![&loaded]), ImportChoices::default());
        let capability = |import: &Import| {
            let provider = link::provider(import, &loaded, &alone, &none);
            let provided_by = match &provider {
                Ok(Provider::Wasi) => wasi_capability(&import.name),
                Ok(Provider::Runner) => "the runner",
                Ok(Provider::Types) => "nobody needs to: it only names types",
                Ok(Provider::Component(..)) => "itself: each call is a child invocation",
                Err(_) => "another component must export it",
            };
            Capability {
                import: import.name.to_string(),
                functions: import.functions().map(str::to_owned).collect(),
                provided_by: provided_by.to_owned(),
                is_provided: provider.is_ok(),
            }
        };
        let imports = loaded.discovery.imports.iter().map(capability).collect();
        let mut exports: Vec<_> = loaded.interfaces().map(str::to_owned).collect();
        exports.dedup();
        let unlinkable = check_linkable(&loaded).err();
        Ok(Inspection {
            unlinkable,
            digest: loaded.digest,
            bytes,
            tasks: loaded
                .exports()
                .iter()
                .map(|export| task(&loaded, export, TaskOptions::default()))
                .collect(),
            not_tasks: loaded.discovery.rejected,
            exports,
            imports,
        })
    }
}

/// Describes a WASI import, and what it gets if nothing is granted.
fn wasi_capability(import: &str) -> &'static str {
    let mut parts = import.trim_start_matches("wasi:").split(['/', '@']);
    match parts.next().unwrap_or_default() {
        "filesystem" => "files: only in granted directories",
        "sockets" => "network: only to granted hosts",
        "clocks" => "clocks: given",
        "random" => "random numbers: given",
        "http" => "requests: only those granted",
        "io" => "streams: given",
        "cli" => match parts.next().unwrap_or_default() {
            "environment" => "environment and arguments: empty unless granted",
            "stdin" => "standard input: empty",
            "stdout" | "stderr" => "standard output and error: kept with the invocation",
            "exit" => "exit: ends the attempt",
            _ => "terminals: none",
        },
        _ => "not provided by this runner",
    }
}
