//! `lock`: writes down which bytes each configured component has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::config::{Component, ComponentOrigin, Lock, LockedComponent, in_backticks, nearest};
use crate::model::ComponentDigest;
use crate::store::PushedComponent;
use crate::wasm::{LoadError, VersionPolicy, check_lock};

use super::args::LockArgs;
use super::context::Context;
use super::error::CliError;
use super::output::{self, Output};
use super::render::{Columns, cell};
use crate::service::whole::write_whole;

/// `lock --json`, a line for each component.
#[derive(Debug, Serialize)]
struct LockDocument<'a> {
    name: &'a str,
    digest: ComponentDigest,
    source: &'a str,
    change: Change,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Change {
    Added,
    Updated,
    Unchanged,
    Removed,
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Removed => "removed",
        }
    }
}

/// Runs the command.
///
/// # Errors
///
/// [`CliError`]: also everything that changed and was not to be updated. Then
/// nothing is written.
pub fn run(args: &LockArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let config = &context.config;
    let Some(file) = &config.file else {
        let error = CliError::usage("there is no `wasm-runner.toml` here or above, and so nothing to lock");
        return Err(error.with_hint("`--config FILE` names another file"));
    };
    let components: Vec<_> = config.components.iter().filter(|component| component.is_in_file).collect();
    let names: BTreeSet<&str> = components.iter().map(|component| &*component.name).collect();
    for name in &args.update {
        refuse_unknown(name, &names)?;
    }
    let old = config.lock.as_ref().map(|lock| lock.components.clone()).unwrap_or_default();
    let is_updated = |name: &str| args.update_all || args.update.iter().any(|update| update == name);
    let mut now = Now { context, pushed: None };
    let mut new = BTreeMap::new();
    let mut changes = Vec::new();
    let mut errors = Vec::new();
    for component in components {
        let name = component.name.to_string();
        let said = component.origin.in_lock_of(file);
        let entry = match old.get(&name) {
            None => now.digest(component).map(|digest| {
                let entry = LockedComponent { source: said, digest, earlier: Vec::new() };
                (entry, Change::Added)
            }),
            Some(entry) if is_updated(&name) => now.digest(component).map(|digest| {
                let moved = entry.moved_to(said, digest, component.version == VersionPolicy::Pinned);
                let change = if moved == *entry { Change::Unchanged } else { Change::Updated };
                (moved, change)
            }),
            Some(entry) => now.check(component, entry, &said).map(|()| (entry.clone(), Change::Unchanged)),
        };
        match entry {
            Ok((entry, change)) => {
                changes.push((name.clone(), change));
                new.insert(name, entry);
            }
            Err(CliError::Load(mut found)) => errors.append(&mut found),
            Err(error) => return Err(error),
        }
    }
    if !errors.is_empty() {
        return Err(CliError::Load(errors));
    }
    let removed = old.keys().filter(|name| !new.contains_key(*name));
    changes.extend(removed.map(|name| (name.clone(), Change::Removed)));
    let path = Lock::path_beside(file);
    let lock = Lock::new(new);
    if config.lock.as_ref() != Some(&lock) {
        write_whole(&path, lock.to_text().as_bytes(), 0o666)
            .map_err(|error| CliError::System(format!("`{}` can't be written: {error}", path.display())))?;
    }
    let entry = |name: &str| lock.components.get(name).or_else(|| old.get(name));
    let mut columns = Columns::new(&["COMPONENT", "DIGEST", ""], output.has_colours());
    for (name, change) in &changes {
        let Some(entry) = entry(name) else { continue };
        if context.json {
            let (digest, source) = (entry.digest, entry.source.as_str());
            output.json(&LockDocument { name, digest, source, change: *change })?;
        } else {
            columns.row(vec![cell(name), cell(&entry.digest.to_string()), cell(change.name())]);
        }
    }
    if changes.is_empty() {
        output::note("no components");
    } else if !context.json {
        output.line(&columns.lines())?;
    }
    output.flush()
}

fn refuse_unknown(name: &str, known: &BTreeSet<&str>) -> Result<(), CliError> {
    if known.contains(name) {
        return Ok(());
    }
    let error = CliError::usage(format!("unknown component `{name}`"));
    Err(match nearest(name, known.iter().copied()) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error.with_hint(format!("known: {}", in_backticks(known.iter().copied()))),
    })
}

/// What components are at this moment.
struct Now<'c> {
    context: &'c Context,
    /// Of each name the newest comes first.
    pushed: Option<Vec<PushedComponent>>,
}

impl Now<'_> {
    /// The digest of a component, wherever it is.
    fn digest(&mut self, component: &Component) -> Result<ComponentDigest, CliError> {
        let config = &self.context.config;
        match &component.origin {
            ComponentOrigin::Registry(reference) => {
                let found = self.context.registry().resolve(reference);
                found
                    .map(|found| found.digest)
                    .map_err(|error| load_error(component, reference.to_string(), error.to_string()))
            }
            ComponentOrigin::Store => {
                let newest =
                    self.pushed()?.iter().find(|one| one.name == component.name).map(|one| one.digest);
                newest.ok_or_else(|| {
                    let message = format!(
                        "nothing was pushed under that name (`run-wasm-runner component push {}` where it is)",
                        component.name
                    );
                    load_error(component, config.store.url.to_string(), message)
                })
            }
            ComponentOrigin::File(path) => digest_of_file(path, config.compile.component_bytes)
                .map_err(|message| load_error(component, path.display().to_string(), message)),
        }
    }

    /// Checks that what the lock says still holds. What a registry or the store has
    /// meanwhile does not matter: the lock says which of it is taken.
    fn check(&mut self, component: &Component, entry: &LockedComponent, said: &str) -> Result<(), CliError> {
        let Some(path) = component.origin.file() else {
            return match moved(&component.name, entry, said) {
                None => Ok(()),
                Some(message) => Err(load_error(component, said.to_owned(), message)),
            };
        };
        let found = self.digest(component)?;
        check_lock(&component.name, found, entry.digest)
            .map_err(|message| load_error(component, path.display().to_string(), message))
    }

    fn pushed(&mut self) -> Result<&[PushedComponent], CliError> {
        if self.pushed.is_none() {
            self.pushed = Some(self.context.existing_store()?.store.components()?);
        }
        Ok(self.pushed.as_deref().unwrap_or_default())
    }
}

fn digest_of_file(path: &Path, most: u64) -> Result<ComponentDigest, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes));
    read.map_err(|error| format!("the file can't be read: {error}"))?;
    if bytes.len() as u64 > most {
        return Err(format!("it has more than the {most} bytes that `compile.component` allows"));
    }
    Ok(ComponentDigest::of(&bytes))
}

/// Why the digest of a component in a registry, or in the store, says nothing any
/// more.
pub fn moved(name: &Arc<str>, entry: &LockedComponent, said: &str) -> Option<String> {
    (entry.source != said).then(|| {
        format!(
            "it comes from `{said}`, and the lock file has the digest of `{}`: \
             `run-wasm-runner lock --update {name}` accepts what is there",
            entry.source
        )
    })
}

fn load_error(component: &Component, path: String, message: String) -> CliError {
    CliError::Load(vec![LoadError { component: component.name.to_string(), path, message }])
}
