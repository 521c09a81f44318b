//! `wit`: the WIT of tasks, so that other projects can import them.

use serde::Serialize;

use super::args::{WitArgs, WitCommand};
use super::context::Context;
use super::error::{CliError, NO_COMPONENTS_HINT};
use super::output::Output;
use super::progress::Progress;
use super::wit_deps;
use crate::authoring::wit::Packages;
use crate::service::ServiceError;
use crate::wasm::{Interface, Interfaces, LoadError};

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

/// Runs the command.
pub fn run(args: &WitArgs, context: &Context) -> Result<(), CliError> {
    if let Some(WitCommand::Deps(args)) = &args.command {
        return wit_deps::run(args, context);
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
    let mut output = Output::stdout();
    let packages = Packages::new(chosen.iter().map(|interface| (*interface, interface.version.as_deref())));
    let written = args.output.as_ref().map(|folder| packages.write(folder)).transpose()?;
    match &written {
        _ if context.json => {
            for interface in &chosen {
                let path = written.iter().flatten().find(|file| std::ptr::eq(file.interface, *interface));
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
        None => output.line(packages.text().trim_end())?,
    }
    output.flush()
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
pub fn interfaces(context: &Context) -> Result<(Interfaces, Vec<LoadError>), CliError> {
    let _progress = Progress::start(|| Some("reading components".to_owned()));
    Ok(context.service.interfaces()?)
}
