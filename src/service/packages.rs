//! Components that travel: into the store, and out of registries.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use crate::config::{Component, ComponentOrigin, in_backticks};
use crate::model::ComponentDigest;
use crate::store::{Batch, NewComponent, PushedComponent};
use crate::wasm::{Library, LoadError, check_lock};

use super::components::unloaded;
use super::error::{NO_COMPONENTS_HINT, known};
use super::patience::Access;
use super::registry::Registry;
use super::{ComponentDocument, Service, ServiceError};

/// A push under way: an iterator over the components, each pushed when it is asked for.
pub struct Pushing {
    access: Access,
    pushes: VecDeque<NewComponent>,
}

/// A pull under way: an iterator over the components, each fetched when it is asked for.
pub struct Pulling {
    service: Service,
    registry: Registry,
    names: VecDeque<Arc<str>>,
}

impl Service {
    /// Begins to put configured components into the store. All are looked at before any
    /// is pushed.
    ///
    /// # Errors
    ///
    /// If one of them is unknown or can't be used, or the store can't.
    pub fn push(&self, names: &[String]) -> Result<Pushing, ServiceError> {
        let files = names.iter().map(|name| self.pushable(name)).collect::<Result<Vec<_>, _>>()?;
        let config = self.config();
        let mut pushes = VecDeque::with_capacity(files.len());
        for (component, path) in files {
            let load = |message: String| unloaded(component, path.display().to_string(), message);
            let cache = config.cache_directory.as_deref();
            let compiler = self.shared.compiler.clone();
            let inspection = Library::inspect(&component.name, path, cache, compiler)
                .map_err(|error| ServiceError::Load(vec![error]))?;
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
        Ok(Pushing { access: self.access()?, pushes })
    }

    /// Begins to fetch configured components from their registries: all that come from
    /// one, if none are named.
    ///
    /// # Errors
    ///
    /// If a component that is named does not come from a registry.
    pub fn pull(&self, names: &[String]) -> Result<Pulling, ServiceError> {
        let components = self.config().components.iter();
        let registered: Vec<_> = components.filter(|one| one.origin.registry().is_some()).collect();
        let mut names: VecDeque<Arc<str>> = names.iter().map(|name| Arc::from(name.as_str())).collect();
        for name in &names {
            if !registered.iter().any(|one| one.name == *name) {
                let error = ServiceError::invalid(format!("no component `{name}` comes from a registry"));
                let known = registered.iter().map(|one| &*one.name);
                return Err(match registered.is_empty() {
                    true => {
                        error.with_hint("`source = \"oci://HOST/REPOSITORY:TAG\"` in its section says so")
                    }
                    false => error.with_hint(format!("those that do: {}", in_backticks(known))),
                });
            }
        }
        if names.is_empty() {
            names.extend(registered.iter().map(|one| Arc::clone(&one.name)));
        }
        Ok(Pulling { service: self.clone(), registry: self.registry(), names })
    }

    /// Lists the components in the store, by name, of one name the newest first.
    ///
    /// # Errors
    ///
    /// If the store can't be read.
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
                true => NO_COMPONENTS_HINT.to_owned(),
                false => known(names()),
            };
            return Err(ServiceError::unknown("component", name, names(), otherwise));
        };
        match &component.origin {
            ComponentOrigin::File(path) => Ok((component, path)),
            ComponentOrigin::Registry(_) => {
                let error = ServiceError::invalid(format!("the component `{name}` comes from a registry"));
                Err(error.with_hint("whoever needs it gets it from there, as this configuration does"))
            }
            ComponentOrigin::Store => {
                let error =
                    ServiceError::invalid(format!("the component `{name}` comes from the store itself"));
                Err(error.with_hint(format!("give its file: `--component {name}=PATH`")))
            }
        }
    }
}

impl Iterator for Pushing {
    type Item = Result<ComponentDocument, ServiceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let push = self.pushes.pop_front()?;
        let document = ComponentDocument {
            name: Arc::clone(&push.name),
            digest: push.digest,
            size: push.bytes.len() as u64,
            pushed_at: None,
            newest: true,
        };
        let pushed = self.access.commit(&Batch { pushes: vec![push], ..Batch::default() });
        if pushed.is_err() {
            self.pushes.clear();
        }
        Some(pushed.map(|_| document).map_err(ServiceError::from))
    }
}

impl Iterator for Pulling {
    type Item = Result<ComponentDocument, LoadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.names.pop_front()?;
        let config = self.service.config();
        let reference = config.component(&name)?.origin.registry()?;
        let locked = config.lock.as_ref().and_then(|lock| lock.components.get(&*name));
        let moved = locked.and_then(|entry| entry.moved(&name, &reference.to_string()));
        let found = match (moved, locked) {
            (Some(message), _) => Err(message),
            (None, Some(entry)) => self
                .registry
                .load(reference, Some(entry.digest))
                .map_err(|error| error.to_string())
                .and_then(|found| check_lock(&name, found.digest, entry.digest).map(|()| found)),
            (None, None) => self.registry.resolve(reference).map_err(|error| error.to_string()),
        };
        Some(match found {
            Ok(found) => Ok(ComponentDocument {
                size: std::fs::metadata(&found.path).map_or(0, |metadata| metadata.len()),
                name,
                digest: found.digest,
                pushed_at: None,
                newest: true,
            }),
            Err(message) => {
                Err(LoadError { component: name.to_string(), path: reference.to_string(), message })
            }
        })
    }
}
