//! `wit`: the WIT of tasks, so that other projects can import them.

mod deps;
pub mod docs;
pub mod names;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::wasm::{Interface, Interfaces, LoadError};

use super::args::{WitArgs, WitCommand};
use super::context::{Context, NO_COMPONENTS_HINT};
use super::error::CliError;
use super::output::Output;

/// What a file begins with that is written here, and may be written anew.
const MARK: &str = "// Written by `run-wasm-runner wit`";

/// What can be done without an interface.
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
///
/// # Errors
///
/// [`CliError`].
pub fn run(args: &WitArgs, context: &Context) -> Result<(), CliError> {
    if let Some(WitCommand::Deps(args)) = &args.command {
        return deps::run(args, context);
    }
    let (interfaces, errors) = context.interfaces()?;
    let chosen = match &*args.names {
        [] if !errors.is_empty() => return Err(CliError::Load(errors)),
        [] => interfaces.all().iter().filter(|interface| interface.package.is_some()).collect(),
        names => choose(names, &interfaces, &errors, context)?,
    };
    if chosen.is_empty() {
        let error = CliError::usage("there is no interface that could be imported");
        return Err(match context.config.components.is_empty() {
            true => error.with_hint(NO_COMPONENTS_HINT),
            false => error.with_hint(BY_NAME_HINT),
        });
    }
    let mut output = Output::stdout();
    let packages = Packages::new(chosen.iter().map(|interface| (*interface, interface.version.as_deref())));
    let written = match &args.output {
        Some(folder) => Some(packages.write(folder)?),
        None => None,
    };
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
            return Err(CliError::Load(vec![error.clone()]));
        }
        let of_component = || interfaces.all().iter().filter(|interface| *interface.component == **name);
        let is_component = context.config.components.iter().any(|component| *component.name == **name);
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

/// Interfaces by package and version.
struct Packages<'i>(BTreeMap<(&'i str, Option<&'i str>), Vec<&'i Interface>>);

/// An interface that was written to a file.
struct Written<'i> {
    interface: &'i Interface,
    path: PathBuf,
}

impl<'i> Packages<'i> {
    /// Of interfaces, each with the version that it gets.
    fn new(interfaces: impl IntoIterator<Item = (&'i Interface, Option<&'i str>)>) -> Self {
        let mut packages: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (interface, version) in interfaces {
            if let Some(package) = interface.package.as_deref() {
                packages.entry((package, version)).or_default().push(interface);
            }
        }
        Self(packages)
    }

    /// All in one text.
    fn text(&self) -> String {
        let package = |(package, version): (&str, Option<&str>)| match version {
            Some(version) => format!("package {package}@{version}"),
            None => format!("package {package}"),
        };
        let body = |interfaces: &[&Interface]| {
            interfaces.iter().map(|interface| &*interface.text).collect::<Vec<_>>().join("\n")
        };
        if self.0.len() == 1 {
            let texts =
                self.0.iter().map(|(key, interfaces)| format!("{};\n\n{}", package(*key), body(interfaces)));
            return texts.collect();
        }
        let texts = self.0.iter().map(|(key, interfaces)| {
            let lines = body(interfaces);
            let lines = lines.lines().map(|line| match line.is_empty() {
                true => "\n".to_owned(),
                false => format!("    {line}\n"),
            });
            format!("{} {{\n{}}}\n", package(*key), lines.collect::<String>())
        });
        texts.collect::<Vec<_>>().join("\n")
    }

    /// Each interface in a file of its own below `folder`, in a directory for its
    /// package, where tools look for it if `folder` is `wit/deps`. What was written
    /// there before, and is no more, is removed.
    fn write(&self, folder: &Path) -> Result<Vec<Written<'i>>, CliError> {
        let mut written: Vec<Written<'i>> = Vec::new();
        for ((package, version), interfaces) in &self.0 {
            let mut place = folder.join(folder_of(package));
            if let Some(version) = version
                && written.iter().any(|file| file.path.starts_with(&place))
            {
                place = folder.join(format!("{}-{version}", folder_of(package)));
            }
            fs::create_dir_all(&place).map_err(|error| cannot_write(&place, &error))?;
            let version = version.map(|version| format!("@{version}")).unwrap_or_default();
            for interface in interfaces {
                let path = place.join(format!("{}.wit", interface.name));
                let text = format!(
                    "{MARK} from the component `{}`.\n\npackage {package}{version};\n\n{}",
                    interface.component, interface.text
                );
                // A file that is right already keeps its time.
                if !fs::read_to_string(&path).is_ok_and(|present| present == text) {
                    fs::write(&path, text).map_err(|error| cannot_write(&path, &error))?;
                }
                written.push(Written { interface, path });
            }
            remove_others(&place, &written)?;
        }
        Ok(written)
    }
}

/// Removes files that were written here once and are none of these.
fn remove_others(place: &Path, written: &[Written<'_>]) -> Result<(), CliError> {
    let entries = fs::read_dir(place).map_err(|error| cannot_write(place, &error))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if is_ours(&path) && !written.iter().any(|file| file.path == path) {
            fs::remove_file(&path).map_err(|error| cannot_write(&path, &error))?;
        }
    }
    Ok(())
}

/// Whether a file was written by this program, so that it may be replaced.
fn is_ours(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "wit")
        && fs::read_to_string(path).is_ok_and(|text| text.starts_with(MARK))
}

/// `local:hello` as a directory.
fn folder_of(package: &str) -> String {
    package.replace(':', "-")
}

fn cannot_write(path: &Path, error: &std::io::Error) -> CliError {
    CliError::System(format!("`{}` can't be written: {error}", path.display()))
}
