//! Writing the lock file: which bytes each configured component has.

use std::collections::BTreeMap;

use crate::config::{Component, Lock, LockedComponent};
use crate::model::ComponentDigest;
use crate::store::PushedComponent;
use crate::wasm::{VersionPolicy, check_lock};

use super::error::known;
use super::kept::write_whole;
use super::{LockChange, LockDocument, Remedy, Service, ServiceError};

/// Which entries may change.
#[derive(Debug, Clone, Default)]
pub struct LockRequest {
    /// The entries of these components.
    pub update: Vec<String>,
    /// All entries.
    pub update_all: bool,
}

impl Service {
    /// Writes down which bytes each component of the configuration file has. What is
    /// locked already changes only if the request says so.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Load`] with everything that changed and was not to be updated:
    /// nothing is written then.
    pub fn lock(&self, request: &LockRequest) -> Result<Vec<LockDocument>, ServiceError> {
        let config = self.config();
        let Some(file) = &config.file else {
            let message = "there is no `wasm-runner.toml` here or above, and so nothing to lock";
            return Err(ServiceError::invalid(message).with_remedy(Remedy::NameConfiguration));
        };
        let components: Vec<_> = config.components.iter().filter(|component| component.is_in_file).collect();
        let names = || components.iter().map(|component| &*component.name);
        for name in &request.update {
            if !names().any(|known| known == name) {
                return Err(ServiceError::unknown("component", name, names(), known(names())));
            }
        }
        let old = config.lock.as_ref().map(|lock| lock.components.clone()).unwrap_or_default();
        let is_updated =
            |name: &str| request.update_all || request.update.iter().any(|update| update == name);
        let mut now = Now { service: self, pushed: None };
        let mut new = BTreeMap::new();
        let mut changes = Vec::new();
        let mut errors = Vec::new();
        for component in &components {
            let name = component.name.to_string();
            let said = component.origin.in_lock_of(file);
            let entry = match old.get(&name) {
                None => now.digest(component).map(|digest| {
                    let entry = LockedComponent { source: said, digest, earlier: Vec::new() };
                    (entry, LockChange::Added)
                }),
                Some(entry) if is_updated(&name) => now.digest(component).map(|digest| {
                    let moved = entry.moved_to(said, digest, component.version == VersionPolicy::Pinned);
                    let change = if moved == *entry { LockChange::Unchanged } else { LockChange::Updated };
                    (moved, change)
                }),
                Some(entry) => {
                    now.check(component, entry, &said).map(|()| (entry.clone(), LockChange::Unchanged))
                }
            };
            match entry {
                Ok((entry, change)) => {
                    changes.push(document(&name, &entry, change));
                    new.insert(name, entry);
                }
                Err(ServiceError::Load(mut found)) => errors.append(&mut found),
                Err(error) => return Err(error),
            }
        }
        if !errors.is_empty() {
            return Err(ServiceError::Load(errors));
        }
        let removed = old.iter().filter(|(name, _)| !new.contains_key(*name));
        changes.extend(removed.map(|(name, entry)| document(name, entry, LockChange::Removed)));
        let path = Lock::path_beside(file);
        let lock = Lock::new(new);
        if config.lock.as_ref() != Some(&lock) {
            write_whole(&path, lock.to_text().as_bytes(), 0o666).map_err(|error| {
                ServiceError::System(format!("`{}` can't be written: {error}", path.display()))
            })?;
        }
        Ok(changes)
    }
}

fn document(name: &str, entry: &LockedComponent, change: LockChange) -> LockDocument {
    LockDocument { name: name.to_owned(), digest: entry.digest, source: entry.source.clone(), change }
}

/// The components as they are at this moment.
struct Now<'s> {
    service: &'s Service,
    /// Of each name the newest comes first.
    pushed: Option<Vec<PushedComponent>>,
}

impl Now<'_> {
    /// The digest of a component, wherever it is.
    fn digest(&mut self, component: &Component) -> Result<ComponentDigest, ServiceError> {
        let service = self.service;
        service.digest_now(component, || self.pushed())
    }

    /// Checks that what the lock says still holds. What a registry or the store has
    /// meanwhile does not matter: the lock says which of it is taken.
    fn check(
        &mut self,
        component: &Component,
        entry: &LockedComponent,
        said: &str,
    ) -> Result<(), ServiceError> {
        let Some(path) = component.origin.file() else {
            return match entry.moved(&component.name, said) {
                None => Ok(()),
                Some(message) => Err(ServiceError::unloaded(component, said.to_owned(), message)),
            };
        };
        let found = self.digest(component)?;
        check_lock(&component.name, found, entry.digest)
            .map_err(|message| ServiceError::unloaded(component, path.display().to_string(), message))
    }

    fn pushed(&mut self) -> Result<&[PushedComponent], ServiceError> {
        if self.pushed.is_none() {
            self.pushed = Some(self.service.existing()?.ask(|store| store.components())?);
        }
        Ok(self.pushed.as_deref().unwrap_or_default())
    }
}
