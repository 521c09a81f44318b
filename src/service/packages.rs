//! Components that travel: into the store, and out of registries.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use crate::config::{Component, in_backticks};
use crate::model::ComponentDigest;
use crate::store::{Batch, NewComponent, PushedComponent};
use crate::wasm::{LoadError, check_lock};

use super::error::{Remedy, known};
use super::origin::pushable;
use super::patience::Transactions;
use super::{ComponentDocument, Service, ServiceError};

impl Service {
    /// Begins to put configured components into the store. All are looked at before any
    /// is pushed.
    ///
    /// # Errors
    ///
    /// If one of them is unknown or can't be used, or the store can't.
    pub fn push(&self, names: &[String]) -> Result<Transactions<ComponentDocument>, ServiceError> {
        let files = names.iter().map(|name| self.pushable(name)).collect::<Result<Vec<_>, _>>()?;
        let config = self.config();
        let mut pushes = VecDeque::with_capacity(files.len());
        for (component, path) in files {
            let load =
                |message: String| ServiceError::unloaded(component, path.display().to_string(), message);
            let inspection = self.look_into(&component.name, path, config.cache_directory.as_deref())?;
            let bytes =
                std::fs::read(path).map_err(|error| load(format!("the file can't be read: {error}")))?;
            if let Some(lock) = &config.lock
                && let Some(entry) = lock.components.get(&*component.name)
            {
                check_lock(&component.name, inspection.digest, entry.digest).map_err(load)?;
            }
            if ComponentDigest::of(&bytes) != inspection.digest {
                let path = path.display();
                let message = format!("`{path}` was changed while it was read: push it again");
                return Err(ServiceError::System(message));
            }
            let name = Arc::clone(&component.name);
            pushes.push_back(NewComponent { name, digest: inspection.digest, bytes: bytes.into() });
        }
        let access = self.access()?;
        Ok(Transactions::new(move || {
            let Some(push) = pushes.pop_front() else { return Ok(None) };
            let (name, digest, size) = (Arc::clone(&push.name), push.digest, push.bytes.len() as u64);
            access.commit(&Batch { pushes: vec![push], ..Batch::default() })?;
            Ok(Some(ComponentDocument { name, digest, size, pushed_at: None, newest: true }))
        }))
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
        Ok(ComponentDocument {
            size: std::fs::metadata(&found.path).map_or(0, |metadata| metadata.len()),
            name: Arc::clone(name),
            digest: found.digest,
            pushed_at: None,
            newest: true,
        })
    }

    /// Lists the components in the store, by name, of one name the newest first.
    pub fn components(&self) -> Result<Vec<ComponentDocument>, ServiceError> {
        let components = self.existing()?.ask(|store| store.components())?;
        let is_newest = |index: usize, one: &PushedComponent| {
            index.checked_sub(1).is_none_or(|before| components[before].name != one.name)
        };
        let documents = components.iter().enumerate().map(|(index, one)| ComponentDocument {
            name: Arc::clone(&one.name),
            digest: one.digest,
            size: one.size,
            pushed_at: Some(one.pushed_at),
            newest: is_newest(index, one),
        });
        Ok(documents.collect())
    }

    /// A component of the configuration, with its file.
    fn pushable(&self, name: &str) -> Result<(&Component, &Path), ServiceError> {
        let config = self.config();
        let Some(component) = config.component(name) else {
            let names = || config.components.iter().map(|component| &*component.name);
            let otherwise = match config.components.is_empty() {
                true => Remedy::AddComponents,
                false => known(names()).into(),
            };
            return Err(ServiceError::unknown("component", name, names(), otherwise));
        };
        Ok((component, pushable(component)?))
    }
}
