//! Other versions of pinned components. An invocation runs on the version that it was submitted for, even if
//! the runner has a newer one.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use super::code::Reload;
use super::compile::CompileError;
use super::engine::Room;
use super::library::Member;
use super::link::Exporters;
use super::linked::{Linked, link_one};
use super::loaded::{Loaded, load_bytes};
use super::source::VersionPolicy;
use super::submits::KnownNames;
use crate::model::{ComponentDigest, Interrupt, NoGuest, Shortage};

/// The most other versions that are kept linked. Further ones are linked anew, from compiled code.
const KEPT: NonZeroUsize = NonZeroUsize::new(8).expect("more than none");

/// A version: the name of its component, and its digest.
type Version = (Arc<str>, ComponentDigest);

/// The versions that were needed so far, and the means to make more.
pub(super) struct Versions {
    pub(super) reload: Arc<Reload>,
    names: Arc<KnownNames>,
    room: Room,
    /// By the name of the component, whose grants they have. Never held while a version is fetched or compiled:
    /// two slots may do the same work once.
    linked: Mutex<LruCache<Version, Arc<Linked>>>,
    /// The digests that can't be compiled, with the reason: each costs its limits once.
    refused: Mutex<LruCache<ComponentDigest, String>>,
}

/// The most refused digests that are remembered.
const REFUSED_KEPT: NonZeroUsize = NonZeroUsize::new(1024).expect("more than none");

impl Versions {
    pub(super) fn new(reload: Arc<Reload>, names: Arc<KnownNames>, room: Room) -> Self {
        let linked = Mutex::new(LruCache::new(KEPT));
        let refused = Mutex::new(LruCache::new(REFUSED_KEPT));
        Self { reload, names, room, linked, refused }
    }

    /// Keeps a version that was linked as the current one.
    pub(super) fn keep(&self, name: &Arc<str>, digest: ComponentDigest, linked: &Arc<Linked>) {
        self.linked.lock().put((Arc::clone(name), digest), Arc::clone(linked));
    }

    /// Returns the version of a component that an invocation was submitted for; `None` if it runs on the
    /// current one. `interrupt` ends the wait for its compiler.
    pub(super) fn pinned(
        &self,
        members: &[Member],
        name: &Arc<str>,
        digest: ComponentDigest,
        interrupt: &Interrupt,
    ) -> Result<Option<Arc<Linked>>, NoGuest> {
        let is_it = |one: &&Member| one.loaded.name == *name;
        // A retired one besides it may have the bytes, and not the name.
        let Some(member) = members.iter().find(is_it) else { return Ok(None) };
        let source = &*member.source;
        let is_locked_out = !source.locked.is_empty() && !source.locked.contains(&digest);
        let only_if_kept = match source.version {
            VersionPolicy::Newest => return Ok(None),
            VersionPolicy::Kept if is_locked_out => return Ok(None),
            VersionPolicy::Kept => true,
            VersionPolicy::Pinned => false,
        };
        let what = format!("`{name}` is pinned to the component `{digest}`");
        if is_locked_out {
            return Err(NoGuest::trapped(format!(
                "{what}, which the lock file does not have: `earlier` lists there what else may run"
            )));
        }
        let key = (Arc::clone(name), digest);
        if let Some(linked) = self.linked.lock().get(&key) {
            return Ok(Some(Arc::clone(linked)));
        }
        let Some(bytes) = self.fetch(&what, digest)? else {
            if only_if_kept {
                return Ok(None);
            }
            return Err(NoGuest::trapped(format!(
                "{what}, which this runner does not have and nobody has pushed \
                 (`run-wasm-runner component push {name}` where it is)"
            )));
        };
        let linked = Arc::new(self.link(&what, members, member, (digest, &bytes), interrupt)?);
        self.linked.lock().put(key, Arc::clone(&linked));
        Ok(Some(linked))
    }

    /// Fetches bytes, which are compared with their digest.
    fn fetch(&self, what: &str, digest: ComponentDigest) -> Result<Option<Vec<u8>>, NoGuest> {
        let fetched = self.reload.shelf.get().map_or(Ok(None), |shelf| shelf.fetch(digest));
        // It may be there when it is tried again: a store that is away comes back.
        let fetched = fetched
            .map_err(|error| NoGuest::Short(Shortage(format!("{what}, which can't be fetched: {error}"))))?;
        let Some(bytes) = fetched else { return Ok(None) };
        let found = ComponentDigest::of(&bytes);
        if found != digest {
            let message = format!("{what}, and what is stored as that is `{found}`: push it again");
            return Err(NoGuest::trapped(message));
        }
        Ok(Some(bytes))
    }

    fn link(
        &self,
        what: &str,
        members: &[Member],
        member: &Member,
        (digest, bytes): (ComponentDigest, &[u8]),
        interrupt: &Interrupt,
    ) -> Result<Linked, NoGuest> {
        let (current, source) = (&*member.loaded, &*member.source);
        if let Some(reason) = self.refused.lock().get(&digest) {
            return Err(NoGuest::trapped(format!("{what}: {reason}")));
        }
        let path = format!("store:{digest}");
        let engine = &current.code.engine;
        let fuel = source.wants_fuel();
        let read = (digest, bytes);
        let loaded =
            load_bytes(engine, fuel, &current.name, Path::new(&path), read, &self.reload.cache, interrupt);
        let version = loaded.map_err(|error| {
            let message = format!("{what}: {error}");
            match error {
                CompileError::Short(shortage) => return NoGuest::Short(shortage),
                CompileError::Interrupted => return NoGuest::Unready,
                CompileError::Refused(reason) => drop(self.refused.lock().put(digest, reason)),
                CompileError::Failed(_) | CompileError::Unwritten(_) => {}
            }
            NoGuest::trapped(message)
        })?;
        let version = Loaded { is_named: current.is_named, ..version };
        version.code.may_go(&self.reload);
        let others = members.iter().filter(|one| !one.source.is_retired && one.loaded.name != current.name);
        let mut all: Vec<_> = others.map(|one| &*one.loaded).collect();
        all.push(&version);
        link_one(&version, source, &Exporters::new(all), &self.names, self.room).map_err(|errors| {
            let errors: Vec<_> = errors.into_iter().map(|error| error.message).collect();
            NoGuest::trapped(format!("{what}, which can't be linked: {}", errors.join("; ")))
        })
    }
}
