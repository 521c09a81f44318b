//! The submitters, among whose submits keys are compared.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{RuleKey, TaskId};

/// Stands between the name of a component, a hash of its callers and the key that a guest of it has chosen. No key from
/// outside holds it.
const SEPARATOR: char = '\0';

/// The most components that are remembered of those above an invocation.
const MOST_CALLERS: usize = 32;

/// The components above an invocation in its tree, without its own, sorted. Keys of its guests are apart from those that
/// the same component chooses where others have called it: by a common key it could hand the tree of one to the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Callers(Arc<[Box<str>]>);

impl Callers {
    /// Returns those of a child of the invocation that has these. If there are very many, a further one is left out.
    pub fn of_child(&self, parent: &str, child: &str) -> Self {
        let (parent, child) = (component_of(parent), component_of(child));
        if parent == child {
            return self.clone();
        }
        let mut callers: Vec<Box<str>> =
            self.0.iter().filter(|caller| &***caller != child).cloned().collect();
        if let Err(place) = callers.binary_search_by(|caller| (**caller).cmp(parent))
            && callers.len() < MOST_CALLERS
        {
            callers.insert(place, parent.into());
        }
        Self(callers.into())
    }

    /// Whether all that is above it, if anything is, is of its own component.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a component may be among them: if there are very many, some are left out.
    pub fn may_have(&self, component: &str) -> bool {
        self.0.len() >= MOST_CALLERS || self.0.iter().any(|caller| **caller == *component)
    }

    /// Feeds a hash with them.
    fn hash(&self, hash: Sha256) -> Sha256 {
        // No name of a component has it.
        self.0.iter().fold(hash, |hash, caller| hash.chain_update([0]).chain_update(&**caller))
    }
}

/// The component of a task. An id that names none, as those of earlier programs, stands for itself.
fn component_of(task: &str) -> &str {
    let (component, function) = TaskId::split(task);
    component.unwrap_or(function)
}

/// A submitter: a key means something among the submits of one submitter only, so none can
/// take the keys of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitter<'a> {
    /// An operator, or another program.
    Outside,
    /// The guests of a component in trees of the same components.
    Guests {
        /// Its name.
        of: &'a str,
        /// The others above them.
        callers: &'a Callers,
    },
}

impl<'a> Submitter<'a> {
    /// Returns the submitter that a guest of this task belongs to, with these callers.
    pub fn guest_of(task: &'a str, callers: &'a Callers) -> Self {
        Self::Guests { of: component_of(task), callers }
    }

    /// Makes the idempotency key that is stored of the one that this submitter has chosen.
    pub fn key(self, chosen: &Arc<str>) -> Arc<str> {
        match self {
            Self::Outside => Arc::clone(chosen),
            Self::Guests { of, callers } if callers.is_empty() => format!("{of}{SEPARATOR}{chosen}").into(),
            Self::Guests { of, callers } => {
                let hash: [u8; 32] = callers.hash(Sha256::new()).finalize().into();
                let hash = u128::from_be_bytes(std::array::from_fn(|place| hash[place]));
                format!("{of}{SEPARATOR}{hash:032x}{SEPARATOR}{chosen}").into()
            }
        }
    }

    /// Makes the uniqueness key that is stored of the one that the arguments give.
    pub fn unique(self, key: RuleKey) -> RuleKey {
        match self {
            Self::Outside => key,
            Self::Guests { of, callers } => {
                let hash = Sha256::new().chain_update(key.as_bytes()).chain_update(of);
                let digest: [u8; 32] = callers.hash(hash).finalize().into();
                RuleKey::from_bytes(std::array::from_fn(|place| digest[place]))
            }
        }
    }

    /// Whether this submitter may choose such a key.
    pub(super) fn may_choose(key: &str) -> bool {
        !key.contains(SEPARATOR)
    }
}

/// Returns the idempotency key that somebody has chosen, of the one that is stored.
pub fn chosen_key(stored: &str) -> &str {
    stored.rsplit_once(SEPARATOR).map_or(stored, |(_, chosen)| chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_one_submitter_are_not_those_of_another() {
        let chosen: Arc<str> = "monday".into();
        let nobody = Callers::default();
        let other = nobody.of_child("other::run", "one::run");
        let both = nobody.of_child("other::run", "two::run").of_child("two::run", "one::run");
        let submitters = [
            Submitter::Outside,
            Submitter::guest_of("one::acme:plugins/filter.apply", &nobody),
            Submitter::guest_of("one::acme:plugins/filter.apply", &other),
            Submitter::guest_of("one::acme:plugins/filter.apply", &both),
            Submitter::guest_of("two::acme:plugins/filter.apply", &nobody),
            Submitter::guest_of("two::acme:plugins/filter.apply", &other),
            Submitter::guest_of("acme:plugins/filter.apply", &nobody),
        ];
        let unique = RuleKey::from_bytes([1; 16]);
        for (place, one) in submitters.iter().enumerate() {
            assert_eq!(chosen_key(&one.key(&chosen)), "monday");
            for other in &submitters[..place] {
                assert_ne!(one.key(&chosen), other.key(&chosen));
                assert_ne!(one.unique(unique), other.unique(unique));
            }
        }
        assert_eq!(Submitter::Outside.key(&chosen), chosen, "as earlier programs have stored it");
        assert_eq!(Submitter::Outside.unique(unique), unique);
        let of = |task| Submitter::guest_of(task, &nobody);
        assert_eq!(of("one::apply"), of("one::acme:other/filter.apply"));
        assert_eq!(*of("one::apply").key(&chosen), *"one\0monday", "as earlier programs have stored it");
    }

    #[test]
    fn callers_are_the_other_components_above_in_any_order() {
        let nobody = Callers::default();
        let names = |callers: &Callers| callers.0.join(" ");
        assert!(nobody.of_child("a::run", "a::other").is_empty());
        let b = nobody.of_child("a::run", "b::run");
        assert_eq!(names(&b), "a");
        assert_eq!(names(&b.of_child("b::run", "b::run")), "a");
        // Components that call each other in turn have the same callers at each of their levels but the first.
        let a = b.of_child("b::run", "a::run");
        assert_eq!((names(&a), a.of_child("a::run", "b::run")), ("b".to_owned(), b.clone()));
        assert_eq!(names(&a.of_child("a::run", "c::run")), "a b");
        assert_eq!(names(&b.of_child("b::run", "c::run")), "a b");
        let many = (0..100)
            .fold(nobody, |callers, n| callers.of_child(&format!("c{n}::f"), &format!("c{}::f", n + 1)));
        assert_eq!(many.0.len(), MOST_CALLERS);
    }
}
