//! Looking into component files: the content of one, and what an upgrade changes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::components::is_live;
use super::in_use::{PassedOver, keep_meant};
use super::kept::Shelf;
use super::patience::Access;
use super::{ChangedTask, DiffDocument, InspectionDocument, RightChanges, RightDocument, TaskChanges};
use super::{Service, ServiceError};
use crate::config::{Component, ComponentOrigin, Origin, check_component_name, in_backticks};
use crate::model::{is_compatible, split_version};
use crate::store::PushedComponent;
use crate::wasm::{ComponentSource, Grants, Inspection, Library, LoadError, Right, rights};

/// A component with its file, and the newer version of it that is passed over.
type FoundSource = (ComponentSource, Option<PassedOver>);

/// A component that was looked into.
#[derive(Debug)]
pub struct Inspected {
    /// Its file.
    pub path: PathBuf,
    /// Its content.
    pub inspection: Inspection,
    /// Its name in the configuration and its grants, if it is configured.
    pub configured: Option<(Arc<str>, Grants)>,
    /// The newest version, if it was asked for by a name that stands for an earlier one.
    pub passed_over: Option<PassedOver>,
}

impl Inspected {
    /// Makes its document.
    pub fn document(&self) -> InspectionDocument<'_> {
        let configured = self.configured.as_ref().map(|(name, grants)| (&**name, grants));
        InspectionDocument::new(&self.inspection, configured)
    }

    /// Whether it exports tasks from an interface: from any version of it, or from one that fits the version that is
    /// named.
    pub fn has_interface(&self, interface: &str) -> bool {
        let is_named = split_version(interface).1.is_some();
        let fits = |export: &String| match is_named {
            true => is_compatible(interface, export),
            false => split_version(export).0 == interface,
        };
        self.inspection.exports.iter().any(fits)
    }
}

impl Service {
    /// Looks into a component: a file, configured or not, or what is configured under a name.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Load`] if it can't be read, or is no component.
    pub fn inspect(&self, file: &Path) -> Result<Inspected, ServiceError> {
        let source = if file.is_file() {
            let real = fs::canonicalize(file).ok();
            let is_it = |path: &Path| real.is_some() && fs::canonicalize(path).ok() == real;
            let mut components = self.config().components.iter();
            let found = components.find(|component| component.origin.file().is_some_and(is_it));
            found.map(|component| (component.at(file.to_owned(), Vec::new()), None))
        } else {
            match file.to_str().map(|name| (name, name.split_once('@'))) {
                Some((_, Some((name, digest)))) => Some((self.version(name, digest)?, None)),
                Some((name, None)) => self.source(name)?,
                None => None,
            }
        };
        let Some((source, passed_over)) = source else {
            // A text that can be a name was perhaps meant as one.
            let name = file.to_str().filter(|name| check_component_name(name, Origin::Flag).is_ok());
            return match name {
                Some(name) if !file.exists() => Err(self.nowhere(name)),
                _ => self.inspect_unconfigured(file, None),
            };
        };
        let inspection = self.look_into(&source.name, &source.path, None)?;
        self.tidy_components([&*source.path]);
        let configured = Some((source.name, source.grants));
        Ok(Inspected { path: source.path, inspection, configured, passed_over })
    }

    /// Finds a component with its file, which is fetched if need be: one that is configured, or that was pushed;
    /// `None` if none has that name.
    /// One that comes from the store is the version that is in use; a newer one that is passed over is told, unless the
    /// lock file says which version it is.
    fn source(&self, name: &str) -> Result<Option<FoundSource>, ServiceError> {
        let Some(component) = self.config().component(name) else { return self.pushed_source(name) };
        if let Some(path) = component.origin.file() {
            return Ok(Some((component.at(path.to_owned(), Vec::new()), None)));
        }
        let store = self.store_of_components()?;
        let pushed = store.as_ref().map_or(Ok(Vec::new()), |store| store.ask(|store| store.components()))?;
        self.source_in_use(component, pushed, store.as_ref()).map(Some)
    }

    /// Finds a component that was pushed and is not configured by its name.
    fn pushed_source(&self, name: &str) -> Result<Option<FoundSource>, ServiceError> {
        if !self.config().store.url.is_durable() {
            return Ok(None);
        }
        let store = self.existing()?;
        let pushed = store.ask(|store| store.components())?;
        if !is_live(&pushed, name) {
            return Ok(None);
        }
        self.source_in_use(&self.config().pushed_component(name.into()), pushed, Some(&store)).map(Some)
    }

    fn source_in_use(
        &self,
        component: &Component,
        mut pushed: Vec<PushedComponent>,
        store: Option<&Access>,
    ) -> Result<FoundSource, ServiceError> {
        let passed_over = match component.origin {
            ComponentOrigin::Store if self.locked(component)?.is_empty() => {
                keep_meant(&mut pushed, &component.name)
            }
            _ => None,
        };
        Ok((self.prepare(component, &pushed, store)?, passed_over))
    }

    /// Says that a name stands for no component.
    fn nowhere(&self, name: &str) -> ServiceError {
        let message = "nothing is pushed under that name, which was removed or never pushed; nothing is configured \
                       under it, and no file is called so";
        let (component, path) = (name.to_owned(), self.config().store.url.to_string());
        ServiceError::Load(vec![LoadError { component, path, message: message.to_owned() }])
    }

    /// Finds a version of a pushed component by its digest, or by the first digits of it.
    pub(super) fn version(&self, name: &str, digest: &str) -> Result<ComponentSource, ServiceError> {
        let access = self.existing()?;
        let pushed = access.ask(|store| store.components())?;
        let digits = |one: &PushedComponent| one.digest.to_string().replacen("sha256:", "", 1);
        let wanted = digest.strip_prefix("sha256:").unwrap_or(digest);
        let of_name = || pushed.iter().filter(|one| *one.name == *name);
        let fitting: Vec<_> = of_name().filter(|one| digits(one).starts_with(wanted)).collect();
        let [one] = fitting[..] else {
            let found = if fitting.is_empty() { "no version" } else { "more than one version" };
            let message =
                format!("{found} of `{name}` in the store has a digest that begins with `{digest}`");
            let known: Vec<_> = of_name().map(|one| one.digest.to_string()).collect();
            let remedy = match known.is_empty() {
                true => "it was removed, or never pushed: `component list` shows all".to_owned(),
                false => format!("known: {}", in_backticks(known.iter().map(String::as_str))),
            };
            return Err(ServiceError::invalid(message).with_remedy(remedy));
        };
        let Some((path, _)) = Shelf::new(access, self.config()).find(one.digest)? else {
            let message = format!("the bytes of `{name}@{}` are not in the store any more", one.digest);
            return Err(ServiceError::invalid(message));
        };
        Ok(self.config().pushed_component(name.into()).at(path, Vec::new()))
    }

    /// Looks into a file that was built, and keeps its compiled code for those who run it.
    pub fn inspect_built(&self, file: &Path) -> Result<Inspected, ServiceError> {
        self.inspect_unconfigured(file, self.config().cache_directory.as_deref())
    }

    fn inspect_unconfigured(&self, file: &Path, cache: Option<&Path>) -> Result<Inspected, ServiceError> {
        let inspection = self.look_into(&component_name(file), file, cache)?;
        Ok(Inspected { path: file.to_owned(), inspection, configured: None, passed_over: None })
    }

    /// Compares two components, each as [`inspect`](Self::inspect) finds it.
    pub fn diff(&self, old: &Path, new: &Path) -> Result<DiffDocument, ServiceError> {
        let (old, new) = (self.inspect(old)?, self.inspect(new)?);
        let passed_over = [old.passed_over, new.passed_over].into_iter().flatten().collect();
        let (old, new) = (old.inspection, new.inspection);
        let (before, after) = (rights(&old.imports), rights(&new.imports));
        Ok(DiffDocument {
            old: old.digest,
            new: new.digest,
            rights: RightChanges { added: more(&after, &before), removed: more(&before, &after) },
            tasks: task_changes(&old, &new),
            passed_over,
        })
    }

    pub(super) fn look_into(
        &self,
        name: &str,
        file: &Path,
        cache: Option<&Path>,
    ) -> Result<Inspection, ServiceError> {
        let compiler = self.shared.compiler.clone();
        Library::inspect(name, file, cache, compiler).map_err(|error| ServiceError::Load(vec![error]))
    }
}

/// Names a component as its file would be called in a configuration.
pub fn component_name(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().replace(['_', '.', ' '], "-"));
    let is_name = |stem: &String| check_component_name(stem, Origin::Flag).is_ok();
    stem.filter(is_name).unwrap_or_else(|| "component".to_owned())
}

/// Lists the rights of which `these` have more than others, without the uses that both have.
pub(super) fn more(these: &[Right], than: &[Right]) -> Vec<RightDocument> {
    let more = these.iter().filter_map(|right| {
        let Some(other) = than.iter().find(|other| other.kind == right.kind) else {
            return Some(right.clone());
        };
        let uses: Vec<_> = right.uses.iter().filter(|used| !other.uses.contains(used)).cloned().collect();
        (!uses.is_empty()).then_some(Right { kind: right.kind, uses })
    });
    more.map(|right| RightDocument::new(&right, None)).collect()
}

/// Compares tasks by function: files are called as they like.
pub(super) fn task_changes(old: &Inspection, new: &Inspection) -> TaskChanges {
    let by_function = |inspection: &Inspection| {
        let tasks = inspection.tasks.iter();
        let signatures = tasks.map(|task| (task.function().to_owned(), task.signature_as(task.function())));
        signatures.collect::<BTreeMap<_, _>>()
    };
    let (before, mut after) = (by_function(old), by_function(new));
    let mut changes = TaskChanges::default();
    for (function, old) in before {
        match after.remove(&function) {
            None => changes.removed.push(old),
            Some(new) if new != old => changes.changed.push(ChangedTask { function, old, new }),
            Some(_) => {}
        }
    }
    changes.added = after.into_values().collect();
    changes
}
