//! The submitters, among whose submits keys are compared.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{RuleKey, TaskId};

/// Stands between the name of a component and the key that a guest of it has chosen. No key from outside
/// holds it.
const SEPARATOR: char = '\0';

/// A submitter: a key means something among the submits of one submitter only, so none can
/// take the keys of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitter<'a> {
    /// An operator, or another program.
    Outside,
    /// The guests of a component.
    Guests {
        /// Its name.
        of: &'a str,
    },
}

impl<'a> Submitter<'a> {
    /// Returns the submitter that a guest of this task belongs to. An id that names no component, as those of
    /// earlier programs, stands for itself.
    pub fn guest_of(task: &'a str) -> Self {
        let (component, function) = TaskId::split(task);
        Self::Guests { of: component.unwrap_or(function) }
    }

    /// Makes the idempotency key that is stored of the one that this submitter has chosen.
    pub fn key(self, chosen: &Arc<str>) -> Arc<str> {
        match self {
            Self::Outside => Arc::clone(chosen),
            Self::Guests { of } => format!("{of}{SEPARATOR}{chosen}").into(),
        }
    }

    /// Makes the uniqueness key that is stored of the one that the arguments give.
    pub fn unique(self, key: RuleKey) -> RuleKey {
        match self {
            Self::Outside => key,
            Self::Guests { of } => {
                let hash = Sha256::new().chain_update(key.as_bytes()).chain_update(of);
                let digest: [u8; 32] = hash.finalize().into();
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
    stored.split_once(SEPARATOR).map_or(stored, |(_, chosen)| chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_one_submitter_are_not_those_of_another() {
        let chosen: Arc<str> = "monday".into();
        let submitters = [
            Submitter::Outside,
            Submitter::guest_of("one::acme:plugins/filter.apply"),
            Submitter::guest_of("two::acme:plugins/filter.apply"),
            Submitter::guest_of("acme:plugins/filter.apply"),
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
        assert_eq!(Submitter::guest_of("one::apply"), Submitter::guest_of("one::acme:other/filter.apply"));
    }
}
