//! Components that travel: into the store, and out of registries.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{
    Component, ComponentOrigin, OnRemove, Origin, check_component_name, in_backticks, nearest,
};
use crate::model::{ComponentDigest, Labels, TaskId, check_labels};
use crate::regular_file;
use crate::store::{Batch, NewComponent};
use crate::wasm::{Inspection, LoadError, RightKind, check_lock};

use super::in_use::{in_use, newest, refusal};
use super::origin::pushable;
use super::patience::Transactions;
use super::pause::paused_tasks;
use super::upgrade::Upgrade;
use super::{
    CancelDocument, CancelOutcome, CancelRequest, ComponentDocument, ListRequest, RemovalDocument, Selection,
    Service, ServiceError,
};

/// The components that a push is of.
#[derive(Debug, Clone)]
pub enum Pushed {
    /// The configured components with these names; all that are in files, if none is named.
    Configured(Vec<String>),
    /// One in a file, whatever is configured under its name.
    File {
        /// The name under which it is pushed.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// A version that the store has: to go back without the file.
    Version {
        /// The name under which it is pushed.
        name: String,
        /// The name under which it was pushed.
        of: String,
        /// Its digest, or the first digits of it.
        digest: String,
    },
}

/// A push of components.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// The components.
    pub components: Pushed,
    /// Free text about each of them; `None` keeps that of the version before.
    pub labels: Option<Labels>,
    /// The chosen providers of imports, by interface.
    pub imports: Vec<(String, String)>,
    /// Refuses a component that asks for a right that the version in use does not ask for; a first version that asks for
    /// any.
    pub denies_new_rights: bool,
    /// The kinds of right that are not denied.
    pub allowed_rights: Vec<RightKind>,
    /// Refuses a component that lacks a task of the version in use, or has it with other types.
    pub denies_removed_tasks: bool,
}

impl Service {
    /// Begins to put components into the store. All are looked at before any is pushed.
    ///
    /// # Errors
    ///
    /// If one of them is unknown or can't be used, or the store can't.
    pub fn push(&self, request: &PushRequest) -> Result<Transactions<ComponentDocument>, ServiceError> {
        let labels = request.labels.clone();
        labels
            .as_deref()
            .map_or(Ok(()), check_labels)
            .map_err(|refusal| ServiceError::invalid(refusal.to_string()))?;
        let components = match &request.components {
            Pushed::File { name, path } => vec![in_file(name, path.clone())?],
            Pushed::Version { name, of, digest } => vec![in_file(name, self.version(of, digest)?.path)?],
            Pushed::Configured(names) if names.is_empty() => self.all_pushable()?,
            Pushed::Configured(names) => {
                let named = names.iter().map(|name| self.pushable(name).cloned());
                named.collect::<Result<Vec<_>, _>>()?
            }
        };
        let looked_at = components.iter().map(|component| self.prepare_push(component, request));
        let mut pushes = looked_at.collect::<Result<VecDeque<_>, _>>()?;
        let access = self.access()?;
        let service = self.clone();
        Ok(Transactions::new(move || {
            let Some((mut push, upgrade)) = pushes.pop_front() else { return Ok(None) };
            if labels.is_none() {
                let pushed = access.ask(|store| store.components())?;
                push.labels =
                    newest(&pushed, &push.name).map(|one| Arc::clone(&one.labels)).unwrap_or_default();
            }
            let (name, digest, size) = (Arc::clone(&push.name), push.digest, push.bytes.len() as u64);
            let document = ComponentDocument::of(Arc::clone(&name), digest, size);
            let labels = Arc::clone(&push.labels);
            access.commit(&Batch { pushes: vec![push], ..Batch::default() })?;
            let stored = access.ask(|store| store.components())?;
            let facts = stored.into_iter().find(|one| one.name == name).and_then(|one| one.facts);
            let Upgrade { removed_tasks, new_rights, passed_over, .. } = upgrade;
            let paused_tasks = paused_tasks(&access, |component| *component == *name)?;
            let document = ComponentDocument {
                removed_tasks,
                new_rights,
                paused_tasks,
                passed_over,
                configured_source: service.source_beside_push(&name, digest),
                ..document
            };
            Ok(Some(document.with(&labels, facts)))
        }))
    }

    /// Reads a component that is to be pushed, looks into it, and compares it with the version in use.
    fn prepare_push(
        &self,
        component: &Component,
        request: &PushRequest,
    ) -> Result<(NewComponent, Upgrade), ServiceError> {
        let (config, path) = (self.config(), pushable(component)?);
        let load = |message: String| ServiceError::unloaded(component, path.display().to_string(), message);
        if !path.exists() {
            return Err(load(format!("there is no file `{}`", path.display())));
        }
        let inspection = self.look_into(&component.name, path, config.cache_directory.as_deref())?;
        if let Some(reason) = &inspection.unlinkable {
            return Err(load(format!("no runner could link it: {reason}")));
        }
        let upgrade = self.prepare_upgrade(&component.name, &inspection, request)?;
        let bytes =
            regular_file::read(path).map_err(|error| load(format!("the file can't be read: {error}")))?;
        if let Some(lock) = &config.lock
            && let Some(entry) = lock.components.get(&*component.name)
        {
            check_lock(&component.name, inspection.digest, entry.digest).map_err(load)?;
        }
        if ComponentDigest::of(&bytes) != inspection.digest {
            let message = format!("`{}` was changed while it was read: push it again", path.display());
            return Err(ServiceError::System(message));
        }
        let mut facts = inspection.facts();
        for (interface, provider) in &request.imports {
            let known = || facts.imports.keys().map(String::as_str);
            if !facts.imports.contains_key(interface) {
                let otherwise = match known().next() {
                    Some(_) => format!("it imports {}", in_backticks(known())),
                    None => "it imports nothing of other components".to_owned(),
                };
                return Err(ServiceError::unknown("import", interface, known(), otherwise));
            }
            facts.imports.insert(interface.clone(), Some(provider.as_str().into()));
        }
        let new = NewComponent {
            name: Arc::clone(&component.name),
            digest: inspection.digest,
            bytes: bytes.into(),
            labels: request.labels.clone().unwrap_or_default(),
            facts,
        };
        Ok((new, upgrade))
    }

    /// Compares a component with the version in use, and refuses what the request denies.
    fn prepare_upgrade(
        &self,
        name: &str,
        new: &Inspection,
        request: &PushRequest,
    ) -> Result<Upgrade, ServiceError> {
        let upgrade = match self.upgrade(name, new) {
            // Nothing was asked for that needs the version in use: bytes that can't be read, say, stop no push.
            Err(ServiceError::Load(_) | ServiceError::System(_))
                if !request.denies_new_rights && !request.denies_removed_tasks =>
            {
                Upgrade::default()
            }
            compared => compared?,
        };
        if request.denies_removed_tasks {
            upgrade.refuse_removed_tasks(name)?;
        }
        if request.denies_new_rights {
            upgrade.refuse_new_rights(name, &request.allowed_rights)?;
        }
        Ok(upgrade.told())
    }

    /// Removes a component from the store: nothing is served under its name any more. Unfinished invocations of
    /// its tasks are cancelled, or else finished by runners, which keep its bytes for them: as its configuration says,
    /// if nothing else is asked for.
    ///
    /// # Errors
    ///
    /// If nothing was pushed under that name.
    pub fn remove(&self, name: &str, on_remove: Option<OnRemove>) -> Result<RemovalDocument, ServiceError> {
        let config = self.config();
        let configured = || match config.component(name) {
            Some(component) => component.on_remove,
            None => config.pushed_component(name.into()).on_remove,
        };
        let cancels = on_remove.unwrap_or_else(configured) == OnRemove::Cancel;
        let access = self.existing()?;
        let removal = Batch { removals: vec![name.into()], ..Batch::default() };
        if access.commit(&removal)?.removed != [true] {
            // No other name is suggested: it may be that of another customer.
            let remedy = match self.source_beside_store(name) {
                Some(source) => format!("it is configured, not in the store: {source}"),
                None => "`run-wasm-runner component list` shows what is pushed".to_owned(),
            };
            let message = format!("component `{name}`: nothing is pushed under that name");
            return Err(ServiceError::Unknown { message, remedy: Some(remedy.into()) });
        }
        let tasks = access.ask(|store| store.unfinished_by_task())?;
        let of_it = tasks.iter().filter(|(task, _)| TaskId::split(task).0 == Some(name));
        let unfinished = of_it.map(|(_, count)| count).sum();
        let paused_tasks = paused_tasks(&access, |component| component == name)?;
        let mut document = RemovalDocument { name: name.into(), unfinished, cancelled: 0, paused_tasks };
        if cancels && unfinished > 0 {
            let listed = ListRequest { components: vec![name.to_owned()], ..ListRequest::default() };
            let message = format!("the component `{name}` was removed");
            let request = CancelRequest { selection: Selection::Listed(Box::new(listed)), message };
            for cancelled in self.cancel(request)? {
                let done = |one: &&CancelDocument| one.outcome == CancelOutcome::Cancelled;
                document.cancelled += cancelled?.iter().filter(done).count() as u64;
            }
            access.commit(&Batch { forgets_removed: true, ..Batch::default() })?;
        }
        Ok(document)
    }

    /// Begins to fetch configured components from their registries: all that come from
    /// one, if none are named.
    ///
    /// # Errors
    ///
    /// If a component that is named does not come from a registry.
    pub fn pull(
        &self,
        names: &[String],
    ) -> Result<impl Iterator<Item = Result<ComponentDocument, LoadError>>, ServiceError> {
        let components = self.config().components.iter();
        let registered: Vec<_> = components.filter(|one| one.origin.is_reference()).collect();
        let mut meant = Vec::with_capacity(names.len());
        for name in names {
            let Some(found) = registered.iter().find(|known| *known.name == **name) else {
                let error = ServiceError::invalid(format!("no component `{name}` comes from a registry"));
                let known = registered.iter().map(|known| &*known.name);
                return Err(error.with_remedy(match registered.is_empty() {
                    true => "`source = \"oci://HOST/REPOSITORY:TAG\"` in its section says so".to_owned(),
                    false => format!("those that do: {}", in_backticks(known)),
                }));
            };
            meant.push(*found);
        }
        if names.is_empty() {
            meant = registered;
        }
        Ok(meant.into_iter().map(|component| self.pull_one(component)))
    }

    fn pull_one(&self, component: &Component) -> Result<ComponentDocument, LoadError> {
        let name = &component.name;
        let locked = self.config().lock.as_ref().and_then(|lock| lock.components.get(&**name));
        let path = component.origin.to_string();
        let found = match locked.and_then(|entry| entry.moved(name, &path)) {
            Some(message) => Err(message),
            None => self.pull_now(component, locked.map(|entry| entry.digest)),
        };
        let found = found.and_then(|found| match locked {
            Some(entry) => check_lock(name, found.digest, entry.digest).map(|()| found),
            None => Ok(found),
        });
        let found = found.map_err(|message| LoadError { component: name.to_string(), path, message })?;
        let size = std::fs::metadata(&found.path).map_or(0, |metadata| metadata.len());
        Ok(ComponentDocument::of(Arc::clone(name), found.digest, size))
    }

    /// Lists the components in the store, by name, of one name the newest first. The answers of runners tell which version
    /// is in use, and the configuration whether any is.
    pub fn components(&self) -> Result<Vec<ComponentDocument>, ServiceError> {
        let components = self.existing()?.ask(|store| store.components())?;
        let of_names = components.chunk_by(|one, next| one.name == next.name);
        let used = of_names.flat_map(|versions| {
            let used = in_use(versions, &versions[0].name).map(|one| one.digest);
            versions.iter().map(move |one| used == Some(one.digest))
        });
        let used: Vec<_> = used.collect();
        let mut last = None;
        let documents = components.into_iter().zip(used).map(|(one, in_use)| {
            let is_first = last.replace(Arc::clone(&one.name)).as_ref() != Some(&one.name);
            let refused = refusal(&one).map(str::to_owned);
            let configured_source = self.source_beside_store(&one.name);
            let document = ComponentDocument {
                pushed_at: Some(one.pushed_at),
                newest: is_first && one.removed_at.is_none(),
                in_use: Some(in_use && configured_source.is_none()),
                configured_source,
                refused,
                removed_at: one.removed_at,
                ..ComponentDocument::of(one.name, one.digest, one.size)
            };
            document.with(&one.labels, one.facts)
        });
        Ok(documents.collect())
    }

    /// The components of the configuration that can be pushed.
    fn all_pushable(&self) -> Result<Vec<Component>, ServiceError> {
        let all = self.config().components.iter();
        let pushable: Vec<_> = all.filter(|one| pushable(one).is_ok()).cloned().collect();
        if !pushable.is_empty() {
            return Ok(pushable);
        }
        let error = ServiceError::invalid("no component of the configuration is in a file");
        Err(error.with_remedy("name one and its file: `run-wasm-runner component push NAME FILE`"))
    }

    /// A component of the configuration that can be pushed.
    fn pushable(&self, name: &str) -> Result<&Component, ServiceError> {
        let config = self.config();
        let Some(component) = config.component(name) else {
            let message = format!("give a FILE: the configuration has no component `{name}` to push");
            let near = nearest(name, config.components.iter().map(|component| &*component.name));
            let remedy = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("`run-wasm-runner component push {name} FILE`"),
            };
            return Err(ServiceError::Unknown { message, remedy: Some(remedy.into()) });
        };
        pushable(component).map(|_| component)
    }
}

/// Makes a component of a file that is pushed under a name.
fn in_file(name: &str, path: PathBuf) -> Result<Component, ServiceError> {
    check_component_name(name, Origin::Flag).map_err(|problem| {
        let error = ServiceError::invalid(problem.to_string());
        error.with_remedy(problem.hint.unwrap_or_default())
    })?;
    Ok(Component::new(name.into(), ComponentOrigin::File(path)))
}
