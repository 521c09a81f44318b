//! What can be done with a component by where its bytes come from: the one place that goes by it.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::config::{Component, ComponentOrigin};
use crate::model::ComponentDigest;
use crate::regular_file;
use crate::store::PushedComponent;

use super::Service;
use super::error::{Remedy, ServiceError};
use super::in_use::newest;
use super::kept::{Kept, Shelf};
use super::patience::Access;
use super::registry::Found;

impl Service {
    /// Gets the file of a component: with the digest that its lock says, if it says one.
    pub(super) fn fetch(
        &self,
        component: &Component,
        locked: Option<ComponentDigest>,
        pushed: &[PushedComponent],
        store: Option<&Access>,
    ) -> Result<PathBuf, ServiceError> {
        match &component.origin {
            ComponentOrigin::File(path) => Ok(path.clone()),
            ComponentOrigin::Registry(reference) => {
                let found = self.registry().load(reference, locked);
                let found = found
                    .map_err(|message| ServiceError::unloaded(component, reference.to_string(), message))?;
                Ok(found.path)
            }
            ComponentOrigin::Store => self.fetch_pushed(component, locked, pushed, store),
        }
    }

    /// Finds the digest that a component has at this moment.
    pub(super) fn digest_now<'p>(
        &self,
        component: &Component,
        pushed: impl FnOnce() -> Result<&'p [PushedComponent], ServiceError>,
    ) -> Result<ComponentDigest, ServiceError> {
        let config = self.config();
        let (place, found) = match &component.origin {
            ComponentOrigin::File(path) => {
                (path.display().to_string(), digest_of_file(path, config.compile.component_bytes))
            }
            ComponentOrigin::Registry(reference) => {
                (reference.to_string(), self.registry().resolve(reference).map(|found| found.digest))
            }
            ComponentOrigin::Store => {
                let newest = newest_digest(pushed()?, component);
                (config.store.url.to_string(), newest.ok_or_else(|| not_pushed(&component.name)))
            }
        };
        found.map_err(|message| ServiceError::unloaded(component, place, message))
    }

    /// Where this configuration takes the component of a name from, if not from the store: its runners run that, whatever
    /// is pushed.
    pub(super) fn source_beside_store(&self, name: &str) -> Option<String> {
        let component = self.config().component(name)?;
        (component.origin != ComponentOrigin::Store).then(|| component.origin.to_string())
    }

    /// The same, unless these are the bytes that were pushed.
    pub(super) fn source_beside_push(&self, name: &str, pushed: ComponentDigest) -> Option<String> {
        let file = self.config().component(name)?.origin.file();
        let digest = |path| digest_of_file(path, self.config().compile.component_bytes).ok();
        let is_same = file.and_then(digest) == Some(pushed);
        self.source_beside_store(name).filter(|_| !is_same)
    }

    /// Fetches a component from where its reference leads: the bytes with a digest, or those that it stands for now.
    pub(super) fn pull_now(
        &self,
        component: &Component,
        locked: Option<ComponentDigest>,
    ) -> Result<Found, String> {
        let found = match (&component.origin, locked) {
            (ComponentOrigin::Registry(reference), None) => self.registry().resolve(reference),
            (ComponentOrigin::Registry(reference), locked) => self.registry().load(reference, locked),
            (ComponentOrigin::File(_) | ComponentOrigin::Store, _) => {
                Err("its origin is no reference to another place".to_owned())
            }
        }?;
        self.tidy_components([&*found.path]);
        Ok(found)
    }

    /// Keeps the files of components that were fetched within their bound, without removing those in use.
    pub(super) fn tidy_components<'p>(&self, in_use: impl IntoIterator<Item = &'p Path>) {
        let in_use: HashSet<_> = in_use.into_iter().collect();
        Kept::components(self.config()).tidy(|file| in_use.contains(file));
    }

    /// Gets the file of a component from the store.
    fn fetch_pushed(
        &self,
        component: &Component,
        locked: Option<ComponentDigest>,
        pushed: &[PushedComponent],
        store: Option<&Access>,
    ) -> Result<PathBuf, ServiceError> {
        let url = self.config().store.url.to_string();
        let (Some(digest), Some(store)) = (locked.or_else(|| newest_digest(pushed, component)), store) else {
            return Err(ServiceError::unloaded(component, url, not_pushed(&component.name)));
        };
        match Shelf::new(store.clone(), self.config()).find(digest) {
            Ok(Some((path, _))) => Ok(path),
            Ok(None) => {
                let message = format!("the lock file has `{digest}`, which nobody has pushed");
                Err(ServiceError::unloaded(component, url, message))
            }
            Err(ServiceError::System(message)) => Err(ServiceError::unloaded(component, url, message)),
            Err(error) => Err(error),
        }
    }
}

/// Returns the file of a component that can be pushed into the store: only what is in a file can.
pub(super) fn pushable(component: &Component) -> Result<&Path, ServiceError> {
    let name = &component.name;
    match &component.origin {
        ComponentOrigin::File(path) => Ok(path),
        ComponentOrigin::Registry(_) => {
            let error = ServiceError::invalid(format!("the component `{name}` comes from a registry"));
            Err(error.with_remedy("whoever needs it gets it from there, as this configuration does"))
        }
        ComponentOrigin::Store => {
            let message = format!("the component `{name}` comes from the store itself");
            Err(ServiceError::invalid(message).with_remedy(Remedy::GiveFile(name.to_string())))
        }
    }
}

/// The digest of the newest version that was pushed under a component's name.
fn newest_digest(pushed: &[PushedComponent], component: &Component) -> Option<ComponentDigest> {
    newest(pushed, &component.name).map(|one| one.digest)
}

fn not_pushed(name: &str) -> String {
    format!(
        "nothing is pushed under that name: it was removed, or never pushed (`run-wasm-runner component push {name} FILE` \
         pushes it)"
    )
}

fn digest_of_file(path: &Path, most: u64) -> Result<ComponentDigest, String> {
    let mut bytes = Vec::new();
    let read =
        regular_file::open(path).and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes));
    read.map_err(|error| format!("the file can't be read: {error}"))?;
    if bytes.len() as u64 > most {
        return Err(format!("it has more than the {most} bytes that `compile.component` allows"));
    }
    Ok(ComponentDigest::of(&bytes))
}
