//! The versions of a pushed component: one that can't be used takes nothing away, and the version before it stays.

use std::sync::Arc;

use crate::config::Config;
use crate::store::PushedComponent;
use crate::wasm::{ComponentSource, LoadError};

use super::kept::{Kept, Shelf};
use super::patience::Access;

/// The most earlier versions of a component that are tried: each may have to be compiled.
const TRIED: usize = 3;

/// A component that is left out, or whose last push can't be used.
pub(super) struct Told {
    /// The sentence for the log.
    pub sentence: String,
    /// The reason.
    pub reason: String,
}

impl Told {
    /// Tells that a component is left out.
    pub fn left_out(error: &LoadError) -> Self {
        let sentence = format!("left out: component `{}`: {}", error.component, error.message);
        Self { sentence, reason: error.message.clone() }
    }

    /// Tells that a version can't be used, and that another stays in its place.
    pub fn stays(error: &LoadError, newer: &ComponentSource, older: &ComponentSource) -> Self {
        Self { sentence: stays(error, newer, older), reason: error.message.clone() }
    }
}

/// Makes the sentence about a version that can't be used, and about the one that stays in its place.
fn stays(error: &LoadError, newer: &ComponentSource, older: &ComponentSource) -> String {
    let version = |source: &ComponentSource| {
        Kept::digest_by_name(&source.path).map_or_else(String::new, |digest| format!(" {digest}"))
    };
    format!(
        "component `{}`: the pushed version{} can't be used: {}; version{} stays",
        newer.name,
        version(newer),
        error.message,
        version(older)
    )
}

/// Binds the imports of a pushed component to the providers that the store knows.
pub(super) fn bind_imports(source: &mut ComponentSource, pushed: &PushedComponent) {
    for (import, provider) in pushed.facts.iter().flat_map(|facts| &facts.imports) {
        if let Some(provider) = provider {
            source.imports.bind(import.clone(), Arc::clone(provider));
        }
    }
}

/// Goes back to earlier versions of components, when a library is loaded.
pub(super) struct FallBack<'s> {
    config: &'s Config,
    pushed: &'s [PushedComponent],
    store: Option<&'s Access>,
    /// The names of the components that went back, once for each time.
    went_back: Vec<Arc<str>>,
}

impl<'s> FallBack<'s> {
    /// Knows the pushed components as the store lists them.
    pub(super) fn new(config: &'s Config, pushed: &'s [PushedComponent], store: Option<&'s Access>) -> Self {
        Self { config, pushed, store, went_back: Vec::new() }
    }

    /// Puts the version before it in the place of each source that has an error, and that no lock binds to its version.
    /// Returns a sentence for each that is.
    pub(super) fn go_back(&mut self, sources: &mut [ComponentSource], errors: &[LoadError]) -> Vec<String> {
        let mut told = Vec::new();
        for source in sources.iter_mut().filter(|source| source.is_kept && source.locked.is_empty()) {
            let Some(error) = errors.iter().find(|error| *error.component == *source.name) else { continue };
            if self.went_back.iter().filter(|name| **name == source.name).count() == TRIED {
                continue;
            }
            let Some(earlier) = self.before(source) else { continue };
            told.push(stays(error, source, &earlier));
            self.went_back.push(Arc::clone(&source.name));
            *source = earlier;
        }
        told
    }

    /// Finds the version that was pushed before one.
    fn before(&self, source: &ComponentSource) -> Option<ComponentSource> {
        let digest = Kept::digest_by_name(&source.path)?;
        let mut versions = self.pushed.iter().filter(|one| one.name == source.name);
        versions.find(|one| one.digest == digest)?;
        let earlier = versions.find(|one| one.removed_at.is_none())?;
        let shelf = Shelf::new(self.store?.clone(), self.config);
        // One that can't be fetched now is none to go back to.
        let (path, _) = shelf.find(earlier.digest).ok()??;
        let mut before = ComponentSource { path, ..source.clone() };
        bind_imports(&mut before, earlier);
        Some(before)
    }
}
