//! `component`: components that travel with the store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::config::{Component, ComponentOrigin, in_backticks, nearest};
use crate::model::ComponentDigest;
use crate::store::{Batch, NewComponent, PushedComponent};
use crate::wasm::{Library, LoadError, check_lock};

use super::args::{ComponentCommand, ComponentPullArgs, ComponentPushArgs};
use super::compile;
use super::context::{Context, NO_COMPONENTS_HINT};
use super::error::CliError;
use super::lock;
use super::output::{self, Output};
use super::render::{Columns, cell, duration, thousands};
use crate::service::wait::patiently;

/// `component list --json`, and `component push --json`.
#[derive(Debug, Serialize)]
struct ComponentDocument {
    name: Arc<str>,
    digest: ComponentDigest,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pushed_at: Option<String>,
    /// Whether it is what runners get under that name.
    newest: bool,
}

/// Runs the command.
///
/// # Errors
///
/// [`CliError`].
pub fn run(command: &ComponentCommand, context: &Context) -> Result<(), CliError> {
    match command {
        ComponentCommand::Push(args) => push(args, context),
        ComponentCommand::List => list(context),
        ComponentCommand::Pull(args) => pull(args, context),
        ComponentCommand::Diff(_) => unreachable!("it needs no store and was done already"),
    }
}

fn push(args: &ComponentPushArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let files: Vec<_> = args.names.iter().map(|name| configured(name, context)).collect::<Result<_, _>>()?;
    // Everything is looked at before anything is pushed.
    let cache = context.config.cache_directory.as_deref();
    let compiler = compile::compiler(context.config.compile);
    let mut pushes = Vec::with_capacity(files.len());
    for (component, path) in files {
        let load = |error: LoadError| CliError::Load(vec![error]);
        let inspection = Library::inspect(&component.name, path, cache, compiler.clone()).map_err(load)?;
        let bytes = std::fs::read(path).map_err(|error| {
            load(LoadError {
                component: component.name.to_string(),
                path: path.display().to_string(),
                message: format!("the file can't be read: {error}"),
            })
        })?;
        if let Some(lock) = &context.config.lock
            && let Some(entry) = lock.components.get(&*component.name)
        {
            check_lock(&component.name, inspection.digest, entry.digest).map_err(|message| {
                load(LoadError {
                    component: component.name.to_string(),
                    path: path.display().to_string(),
                    message,
                })
            })?;
        }
        if ComponentDigest::of(&bytes) != inspection.digest {
            return Err(CliError::System(format!(
                "`{}` was changed while it was read: push it again",
                path.display()
            )));
        }
        let name = Arc::clone(&component.name);
        pushes.push(NewComponent { name, digest: inspection.digest, bytes: bytes.into() });
    }
    let store = context.store()?;
    for push in pushes {
        let document = ComponentDocument {
            name: Arc::clone(&push.name),
            digest: push.digest,
            size: push.bytes.len() as u64,
            pushed_at: None,
            newest: true,
        };
        let batch = Batch { pushes: vec![push], ..Batch::default() };
        patiently(&*store, || store.commit(&batch))?;
        match context.json {
            true => output.json(&document)?,
            false => output.line(&format!("{} {}", document.name, document.digest))?,
        }
        output.flush()?;
    }
    Ok(())
}

fn pull(args: &ComponentPullArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let components = context.config.components.iter();
    let registered: BTreeMap<_, _> =
        components.filter_map(|component| Some((&component.name, component.origin.registry()?))).collect();
    let mut names: Vec<Arc<str>> = args.names.iter().map(|name| Arc::from(name.as_str())).collect();
    for name in &names {
        if !registered.contains_key(name) {
            let error = CliError::usage(format!("no component `{name}` comes from a registry"));
            let known = registered.keys().map(|name| &***name);
            return Err(match registered.is_empty() {
                true => error.with_hint("`source = \"oci://HOST/REPOSITORY:TAG\"` in its section says so"),
                false => error.with_hint(format!("those that do: {}", in_backticks(known))),
            });
        }
    }
    if names.is_empty() {
        names.extend(registered.keys().copied().cloned());
    }
    if names.is_empty() {
        output::note("no component comes from a registry");
    }
    let (registry, mut errors) = (context.registry(), Vec::new());
    for name in names {
        let Some(reference) = registered.get(&name).copied() else { continue };
        let locked = context.config.lock.as_ref().and_then(|lock| lock.components.get(&*name));
        let moved = locked.and_then(|entry| lock::moved(&name, entry, &reference.to_string()));
        let found = match (moved, locked) {
            (Some(message), _) => Err(message),
            (None, Some(entry)) => registry
                .load(reference, Some(entry.digest))
                .map_err(|error| error.to_string())
                .and_then(|found| check_lock(&name, found.digest, entry.digest).map(|()| found)),
            (None, None) => registry.resolve(reference).map_err(|error| error.to_string()),
        };
        match found {
            Ok(found) if context.json => output.json(&ComponentDocument {
                size: std::fs::metadata(&found.path).map_or(0, |metadata| metadata.len()),
                name,
                digest: found.digest,
                pushed_at: None,
                newest: true,
            })?,
            Ok(found) => output.line(&format!("{name} {}", found.digest))?,
            Err(message) => {
                errors.push(LoadError { component: name.to_string(), path: reference.to_string(), message })
            }
        }
        output.flush()?;
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Load(errors)) }
}

/// A component of the configuration, with its file.
fn configured<'c>(name: &str, context: &'c Context) -> Result<(&'c Component, &'c Path), CliError> {
    let components = &context.config.components;
    let Some(component) = context.config.component(name) else {
        let error = CliError::usage(format!("unknown component `{name}`"));
        let known: Vec<&str> = components.iter().map(|component| &*component.name).collect();
        return Err(match nearest(name, known.iter().copied()) {
            _ if known.is_empty() => error.with_hint(NO_COMPONENTS_HINT),
            Some(nearest) => error.with_hint(format!("did you mean `{nearest}`?")),
            None => error.with_hint(format!("known: {}", in_backticks(known))),
        });
    };
    match &component.origin {
        ComponentOrigin::File(path) => Ok((component, path)),
        ComponentOrigin::Registry(_) => {
            let error = CliError::usage(format!("the component `{name}` comes from a registry"));
            Err(error.with_hint("whoever needs it gets it from there, as this configuration does"))
        }
        ComponentOrigin::Store => {
            let error = CliError::usage(format!("the component `{name}` comes from the store itself"));
            Err(error.with_hint(format!("give its file: `--component {name}=PATH`")))
        }
    }
}

fn list(context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let existing = context.existing_store()?;
    let components = existing.store.components()?;
    let is_newest = |index: usize, one: &PushedComponent| {
        index.checked_sub(1).is_none_or(|before| components[before].name != one.name)
    };
    if context.json {
        for (index, one) in components.iter().enumerate() {
            output.json(&ComponentDocument {
                name: Arc::clone(&one.name),
                digest: one.digest,
                size: one.size,
                pushed_at: Some(one.pushed_at.to_rfc3339()),
                newest: is_newest(index, one),
            })?;
        }
        return output.flush();
    }
    if components.is_empty() {
        output::note(existing.missing.as_deref().unwrap_or("no components"));
        return Ok(());
    }
    let now = context.clock.now();
    let mut columns = Columns::new(&["COMPONENT", "DIGEST", "BYTES", "PUSHED", ""], output.has_colours());
    for (index, one) in components.iter().enumerate() {
        columns.row(vec![
            cell(&one.name),
            cell(&one.digest.to_string()),
            cell(&thousands(one.size)),
            cell(&format!("{} ago", duration(now.since(one.pushed_at)))),
            cell(if is_newest(index, one) { "newest" } else { "" }),
        ]);
    }
    output.line(&columns.lines())?;
    output.flush()
}
