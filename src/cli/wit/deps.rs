//! `wit deps`: what a project imports, from the components that export it.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::names::{self, TASK_PACKAGE};
use super::{Packages, folder_of, is_ours};
use crate::cli::args::WitDepsArgs;
use crate::cli::context::{Context, NO_COMPONENTS_HINT};
use crate::cli::error::CliError;
use crate::cli::output::{self, Output};
use crate::wasm::Interface;

/// A line of `wit deps --json`.
#[derive(Debug, Serialize)]
struct DepDocument<'a> {
    import: &'a str,
    component: &'a str,
    path: String,
}

/// Runs the command. Nothing is written unless everything is found.
///
/// # Errors
///
/// [`CliError`].
pub fn run(args: &WitDepsArgs, context: &Context) -> Result<(), CliError> {
    let wit = args.directory.join("wit");
    if !wit.is_dir() {
        let error = CliError::usage(format!("there is no directory `{}`", wit.display()));
        return Err(error.with_hint("give the directory of a project, whose `wit` says what it imports"));
    }
    names::provide_task_package(&wit)?;
    let deps = wit.join("deps");
    let own = names::packages_in(&wit)?;
    let imports: Vec<String> = names::imports(&wit)?
        .into_iter()
        .filter(|import| {
            let package = package_of(import);
            // WASI is of hosts, and everybody has a copy of it; the rest is here.
            !package.starts_with("wasi:") && package != TASK_PACKAGE && !own.iter().any(|own| own == package)
        })
        .collect();
    let mut wanted = Vec::new();
    for import in &imports {
        match provided_by_hand(&deps, package_of(import))? {
            Some(place) => {
                let place = place.display();
                output::note(&format!("`{import}` is in `{place}`, which is not of this command: it stays"));
            }
            None => wanted.push(import.as_str()),
        }
    }
    let mut output = Output::stdout();
    if wanted.is_empty() {
        output::note("nothing to fetch: no tasks of other components are imported");
        return output.flush();
    }
    if context.config.components.is_empty() {
        let message = format!("`{}` can't be found: there are no components", wanted[0]);
        return Err(CliError::usage(message).with_hint(NO_COMPONENTS_HINT));
    }
    let (interfaces, errors) = context.interfaces()?;
    let found: Vec<Result<&Interface, String>> =
        wanted.iter().map(|import| interfaces.provider(import)).collect();
    let missing: Vec<_> = found.iter().filter_map(|found| found.as_ref().err().cloned()).collect();
    if !missing.is_empty() {
        // Perhaps it is one of those that can't be read.
        let unread: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let hint = match unread.is_empty() {
            true => "`run-wasm-runner wit` shows what the configured components export".to_owned(),
            false => format!("these can't be read, and may have it: {}", unread.join("; ")),
        };
        return Err(CliError::Build { message: missing.join("\n"), hint: Some(hint) });
    }
    let found: Vec<(&str, &Interface)> = wanted.iter().copied().zip(found.into_iter().flatten()).collect();
    // Under the version that is asked for, so that the tools find it.
    let versions = found.iter().map(|(import, interface)| (*interface, version_of(import)));
    let written = Packages::new(versions).write(&deps)?;
    for (import, interface) in found {
        let Some(file) = written.iter().find(|file| std::ptr::eq(file.interface, interface)) else {
            continue;
        };
        let path = file.path.display().to_string();
        match context.json {
            true => output.json(&DepDocument { import, component: &interface.component, path })?,
            false => output.line(&path)?,
        }
    }
    output.flush()
}

/// Of `local:other/tasks@1.0.0`: `local:other`.
fn package_of(import: &str) -> &str {
    import.split('/').next().unwrap_or_default()
}

/// Of `local:other/tasks@1.0.0`: `1.0.0`.
fn version_of(import: &str) -> Option<&str> {
    import.split_once('@').map(|(_, version)| version)
}

/// The file or directory in `deps` that has a package and was not written by this
/// command.
fn provided_by_hand(deps: &Path, package: &str) -> Result<Option<std::path::PathBuf>, CliError> {
    let Ok(entries) = fs::read_dir(deps) else { return Ok(None) };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let is_of_this_command = || {
            let files = fs::read_dir(&path).into_iter().flatten().flatten();
            let mut files = files.map(|entry| entry.path());
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&folder_of(package)))
                && files.all(|file| is_ours(&file))
        };
        if names::packages_in(&path)?.iter().any(|name| name == package) && !is_of_this_command() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
