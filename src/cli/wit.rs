//! `wit` and `wit deps`: the WIT of tasks, and what a project imports of others.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use serde::Serialize;

use super::context::Context;
use super::error::{CliError, NO_COMPONENTS_HINT};
use super::harmless::harmless;
use super::output;
use super::progress::Progress;
use crate::authoring::AuthoringError;
use crate::authoring::wit::deps::Imports;
use crate::authoring::wit::{Packages, Written};
use crate::service::ServiceError;
use crate::wasm::{Interface, Interfaces, LoadError};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  run-wasm-runner wit math
  run-wasm-runner wit acme:math/ops.add --output wit/deps
  run-wasm-runner wit deps parent

What the configuration names is meant: an interface of another pushed component whose place it takes
is left out.

Exit codes: 2 if a name is unknown or has nothing that can be imported, 78 if two components would
write one file."
)]
pub struct WitArgs {
    /// Components, or tasks: of those the interface [default: all components]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// Write files below this directory, for example `wit/deps`
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Option<WitCommand>,
}

/// The commands of `wit`.
#[derive(Debug, Subcommand)]
pub enum WitCommand {
    /// Fetch what a project imports from the components that export it
    ///
    /// Looks for imports of other packages in DIR/wit, and writes each interface to
    /// `DIR/wit/deps/NAMESPACE-PACKAGE`. Components that can't be read are no error unless
    /// one of them is needed: what DIR itself makes need not be there yet. What somebody
    /// else put into `wit/deps` stays.
    Deps(WitDepsArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner wit deps parent
  run-wasm-runner --component child=../child/build/child.wasm wit deps

Exit codes: 78 if an import has no provider, or several.")]
pub struct WitDepsArgs {
    /// The project's directory
    #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
}

/// The remedy for tasks without an interface.
const BY_NAME_HINT: &str = "tasks at a component's root can be submitted by name, with `wasm-runner:task`";

/// A line of `wit --json`.
#[derive(Debug, Serialize)]
struct WitDocument<'a> {
    component: &'a str,
    import: String,
    /// Where it was written to.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    wit: &'a str,
}

/// A line of `wit deps --json`.
#[derive(Debug, Serialize)]
struct DepDocument<'a> {
    import: &'a str,
    component: &'a str,
    path: String,
}

/// Runs `wit`.
pub fn run(args: &WitArgs, context: &Context) -> Result<(), CliError> {
    if let Some(WitCommand::Deps(args)) = &args.command {
        return deps(args, context);
    }
    let (interfaces, errors) = interfaces(context)?;
    let chosen = match &*args.names {
        [] if !errors.is_empty() => return Err(ServiceError::Load(errors).into()),
        [] => interfaces.all().iter().filter(|interface| interface.package.is_some()).collect(),
        names => choose(names, &interfaces, &errors, context)?,
    };
    if chosen.is_empty() {
        let error = CliError::usage("there is no interface that could be imported");
        let is_empty = context.config().components.is_empty();
        return Err(error.with_hint(if is_empty { NO_COMPONENTS_HINT } else { BY_NAME_HINT }));
    }
    let mut output = context.output();
    let packages = Packages::new(chosen.iter().map(|interface| (*interface, interface.version.as_deref())));
    let written = args.output.as_ref().map(|folder| packages.write(folder)).transpose()?;
    for interface in written.iter().flat_map(|written| left_out(&chosen, written)) {
        let (import, component) = (interface.import(), &interface.component);
        output::note(&format!(
            "`{import}` of `{component}` is left out: a configured component takes its place"
        ));
    }
    match &written {
        _ if context.json => {
            for interface in &chosen {
                let path = written.iter().flatten().find(|file| has(file, interface));
                output.json(&WitDocument {
                    component: &interface.component,
                    import: interface.import(),
                    path: path.map(|file| file.path.display().to_string()),
                    wit: &interface.text,
                })?;
            }
        }
        Some(written) => {
            written.iter().try_for_each(|file| output.line(&file.path.display().to_string()))?;
        }
        None => output.line(&harmless(packages.text().trim_end()))?,
    }
    output.flush()
}

/// Finds those of pushed components that were not written, because others take their places.
fn left_out<'c>(chosen: &'c [&Interface], written: &[Written<'_>]) -> Vec<&'c Interface> {
    chosen.iter().copied().filter(|one| !written.iter().any(|file| has(file, one))).collect()
}

/// Whether a file has what an interface says.
fn has(file: &Written<'_>, one: &Interface) -> bool {
    file.interface.import() == one.import() && file.interface.text == one.text
}

/// Finds the interfaces that are meant, each once.
fn choose<'i>(
    names: &[String],
    interfaces: &'i Interfaces,
    errors: &[LoadError],
    context: &Context,
) -> Result<Vec<&'i Interface>, CliError> {
    let mut chosen: Vec<&Interface> = Vec::new();
    for name in names {
        if let Some(error) = errors.iter().find(|error| error.component == *name) {
            return Err(ServiceError::Load(vec![error.clone()]).into());
        }
        let of_component = || interfaces.all().iter().filter(|interface| *interface.component == **name);
        let is_component = context.config().components.iter().any(|component| *component.name == **name);
        let found: Vec<_> = match is_component || of_component().next().is_some() {
            true => of_component().collect(),
            false => {
                let found = interfaces.of_task(name).map_err(|error| {
                    let error = CliError::usage(error.to_string());
                    error.with_hint("give the name of a component, or a task of `run-wasm-runner tasks`")
                })?;
                found.into_iter().collect()
            }
        };
        let found: Vec<_> = found.into_iter().filter(|interface| interface.package.is_some()).collect();
        if found.is_empty() {
            let message = format!("`{name}` can't be imported: it is in no interface of a package");
            return Err(CliError::usage(message).with_hint(BY_NAME_HINT));
        }
        for interface in found {
            if !chosen.iter().any(|known| std::ptr::eq(*known, interface)) {
                chosen.push(interface);
            }
        }
    }
    Ok(chosen)
}

/// The interfaces of every component that can be read, and what is wrong with the others.
fn interfaces(context: &Context) -> Result<(Interfaces, Vec<LoadError>), CliError> {
    let _progress = Progress::start(|| Some("reading components".to_owned()));
    Ok(context.service.interfaces()?)
}

/// Runs `wit deps`. Nothing is written unless everything is found.
fn deps(args: &WitDepsArgs, context: &Context) -> Result<(), CliError> {
    let imports = Imports::read(&args.directory)?;
    for (import, place) in &imports.provided {
        let place = place.display();
        output::note(&format!("`{import}` is in `{place}`, which is not of this command: it stays"));
    }
    let wanted = &imports.wanted;
    let mut output = context.output();
    if wanted.is_empty() {
        output::note("nothing to fetch: no tasks of other components are imported");
        return output.flush();
    }
    if context.config().components.is_empty() {
        let message = format!("`{}` can't be found: there are no components", wanted[0]);
        return Err(CliError::usage(message).with_hint(NO_COMPONENTS_HINT));
    }
    let (interfaces, errors) = interfaces(context)?;
    // The project may be a component whose configuration says who is meant.
    let root = args.directory.canonicalize().ok();
    let own = context.config().components.iter().find(|component| {
        let path = component.origin.file().and_then(|path| path.canonicalize().ok());
        path.zip(root.as_ref()).is_some_and(|(path, root)| path.starts_with(root))
    });
    let chosen = |import: &str| own?.imports.find(import).map(|(_, component)| component);
    let found: Vec<Result<&Interface, String>> =
        wanted.iter().map(|import| interfaces.provider(import, chosen(import))).collect();
    let missing: Vec<_> = found.iter().filter_map(|found| found.as_ref().err().cloned()).collect();
    if !missing.is_empty() {
        // Perhaps it is one of those that can't be read.
        let unread: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let hint = match unread.is_empty() {
            true => "`run-wasm-runner wit` shows what the configured components export".to_owned(),
            false => format!("these can't be read, and may have it: {}", unread.join("; ")),
        };
        return Err(AuthoringError::Build { message: missing.join("\n"), hint: Some(hint) }.into());
    }
    let found: Vec<(&str, &Interface)> =
        wanted.iter().map(String::as_str).zip(found.into_iter().flatten()).collect();
    let written = imports.write(&found)?;
    for (import, interface) in found {
        let Some(file) = written.iter().find(|file| std::ptr::eq(file.interface, interface)) else {
            continue;
        };
        let path = file.path.display().to_string();
        let document = DepDocument { import, component: &interface.component, path };
        output.document(&document, || document.path.clone())?;
    }
    output.flush()
}
