//! Other versions of pinned components. An invocation runs on the version that it was submitted for, even if
//! the runner has a newer one.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use super::cache::Cache;
use super::compile::CompileError;
use super::engine::Room;
use super::linked::{Linked, link_one};
use super::loaded::{Loaded, load_bytes};
use super::names::Names;
use super::source::{ComponentSource, VersionPolicy};
use crate::model::{ComponentDigest, Interrupt, NoGuest};

/// The most other versions that are kept linked. Further ones are linked anew, from compiled code.
const KEPT: NonZeroUsize = NonZeroUsize::new(32).expect("more than none");

/// A source of components by digest.
pub trait Shelf: Send + Sync {
    /// Fetches the bytes with a digest; `None` if nobody has them.
    ///
    /// # Errors
    ///
    /// The reason why they can't be fetched now.
    fn fetch(&self, digest: ComponentDigest) -> Result<Option<Vec<u8>>, String>;
}

/// The versions that were needed so far, and the means to make more.
pub(super) struct Versions {
    loaded: Vec<Loaded>,
    /// One for each of `loaded`.
    sources: Vec<ComponentSource>,
    cache: Cache,
    names: Arc<Names>,
    room: Room,
    /// The source of other versions.
    pub(super) shelf: Option<Box<dyn Shelf>>,
    /// Never held while a version is fetched or compiled: two slots may do the same work once.
    linked: Mutex<LruCache<ComponentDigest, Arc<Linked>>>,
    /// The digests that can't be compiled, with the reason: each costs its limits once.
    refused: Mutex<LruCache<ComponentDigest, String>>,
}

/// The most refused digests that are remembered.
const REFUSED_KEPT: NonZeroUsize = NonZeroUsize::new(1024).expect("more than none");

impl Versions {
    pub(super) fn new(
        loaded: Vec<Loaded>,
        sources: Vec<ComponentSource>,
        cache: Cache,
        names: Arc<Names>,
        room: Room,
    ) -> Self {
        let linked = Mutex::new(LruCache::new(KEPT));
        let refused = Mutex::new(LruCache::new(REFUSED_KEPT));
        Self { loaded, sources, cache, names, room, shelf: None, linked, refused }
    }

    /// Returns the version of a component that an invocation was submitted for; `None` if the component is
    /// not pinned. `interrupt` ends the wait for its compiler.
    pub(super) fn pinned(
        &self,
        name: &str,
        digest: ComponentDigest,
        interrupt: &Interrupt,
    ) -> Result<Option<Arc<Linked>>, NoGuest> {
        let place = self.loaded.iter().position(|one| &*one.name == name);
        let Some(place) = place.filter(|place| self.sources[*place].version == VersionPolicy::Pinned) else {
            return Ok(None);
        };
        if let Some(linked) = self.linked.lock().get(&digest) {
            return Ok(Some(Arc::clone(linked)));
        }
        let linked = Arc::new(self.link(place, digest, interrupt)?);
        self.linked.lock().put(digest, Arc::clone(&linked));
        Ok(Some(linked))
    }

    fn link(&self, place: usize, digest: ComponentDigest, interrupt: &Interrupt) -> Result<Linked, NoGuest> {
        let (current, source) = (&self.loaded[place], &self.sources[place]);
        let what = format!("`{}` is pinned to the component `{digest}`", current.name);
        if let Some(reason) = self.refused.lock().get(&digest) {
            return Err(NoGuest::trapped(format!("{what}: {reason}")));
        }
        if !source.locked.is_empty() && !source.locked.contains(&digest) {
            return Err(NoGuest::trapped(format!(
                "{what}, which the lock file does not have: `earlier` lists there what else may run"
            )));
        }
        let fetched = self.shelf.as_ref().map_or(Ok(None), |shelf| shelf.fetch(digest));
        let fetched =
            fetched.map_err(|error| NoGuest::trapped(format!("{what}, which can't be fetched: {error}")))?;
        let bytes = fetched.ok_or_else(|| {
            NoGuest::trapped(format!(
                "{what}, which this runner does not have and nobody has pushed \
                 (`run-wasm-runner component push {}` where it is)",
                current.name
            ))
        })?;
        let found = ComponentDigest::of(&bytes);
        if found != digest {
            let message = format!("{what}, and what is stored as that is `{found}`: push it again");
            return Err(NoGuest::trapped(message));
        }
        let path = format!("store:{digest}");
        let engine = current.component.engine();
        let fuel = source.wants_fuel();
        let read = (digest, &*bytes);
        let loaded = load_bytes(engine, fuel, &current.name, Path::new(&path), read, &self.cache, interrupt);
        let version = loaded.map_err(|error| {
            let message = format!("{what}: {error}");
            match error {
                CompileError::Short(shortage) => return NoGuest::Short(shortage),
                CompileError::Refused(reason) => drop(self.refused.lock().put(digest, reason)),
                CompileError::Failed(_) | CompileError::Unwritten(_) => {}
            }
            NoGuest::trapped(message)
        })?;
        let mut all: Vec<_> = self.loaded.iter().collect();
        all[place] = &version;
        link_one(&version, source, &all, &self.names, self.room).map_err(|errors| {
            let errors: Vec<_> = errors.into_iter().map(|error| error.message).collect();
            NoGuest::trapped(format!("{what}, which can't be linked: {}", errors.join("; ")))
        })
    }
}
