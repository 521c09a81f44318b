//! `wit deps`: what a project imports, from the components that export it.

use serde::Serialize;

use super::args::WitDepsArgs;
use super::context::Context;
use super::error::{CliError, NO_COMPONENTS_HINT};
use super::output::{self, Output};
use crate::authoring::AuthoringError;
use crate::authoring::wit::deps::Imports;
use crate::wasm::Interface;

/// A line of `wit deps --json`.
#[derive(Debug, Serialize)]
struct DepDocument<'a> {
    import: &'a str,
    component: &'a str,
    path: String,
}

/// Runs the command. Nothing is written unless everything is found.
pub fn run(args: &WitDepsArgs, context: &Context) -> Result<(), CliError> {
    let imports = Imports::read(&args.directory)?;
    for (import, place) in &imports.provided {
        let place = place.display();
        output::note(&format!("`{import}` is in `{place}`, which is not of this command: it stays"));
    }
    let wanted = &imports.wanted;
    let mut output = Output::stdout();
    if wanted.is_empty() {
        output::note("nothing to fetch: no tasks of other components are imported");
        return output.flush();
    }
    if context.config().components.is_empty() {
        let message = format!("`{}` can't be found: there are no components", wanted[0]);
        return Err(CliError::usage(message).with_hint(NO_COMPONENTS_HINT));
    }
    let (interfaces, errors) = super::wit::interfaces(context)?;
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
        match context.json {
            true => output.json(&DepDocument { import, component: &interface.component, path })?,
            false => output.line(&path)?,
        }
    }
    output.flush()
}
