//! Identifiers.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::time::SystemTime;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::{ContextV7, Timestamp, Uuid};

use super::clip;

/// An identifier that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct IdError {
    text: String,
    expected: Cow<'static, str>,
}

/// The most characters of what is no id that its error repeats: guests make them up.
const SHOWN: usize = 80;

impl IdError {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: clip(text, SHOWN).into_owned(), expected: expected.into() }
    }

    /// Says that so many of the first or last digits would do, too.
    pub(super) fn or_a_part(self, fewest: usize) -> Self {
        let expected = format!("{}, or {fewest} or more of its first or last digits", self.expected);
        Self { expected: expected.into(), ..self }
    }
}

/// The id of one invocation: a UUID, version 7, so ids sort by age.
#[derive(Clone, Copy, Eq, Serialize, Deserialize)]
#[cfg_attr(not(test), derive(PartialEq, PartialOrd, Ord))]
#[serde(transparent)]
pub struct InvocationId(Uuid);

/// Values by the id of an invocation. Each commit looks up dozens, so the hash is a quick one. It is seeded, since a guest
/// may ask for ids that it has made up.
pub type IdMap<V> = HashMap<InvocationId, V, foldhash::fast::RandomState>;

/// Ids of invocations: see [`IdMap`].
pub type IdSet = HashSet<InvocationId, foldhash::fast::RandomState>;

impl Hash for InvocationId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        #[cfg(test)]
        steps::step();
        state.write_u128(self.0.as_u128());
    }
}

/// In tests, ids count how often they are compared and hashed: everything that a runner shares among guests is found by
/// id, so this is the work that a call does.
#[cfg(test)]
pub(crate) mod steps {
    use std::cell::Cell;
    use std::cmp::Ordering;

    use super::InvocationId;

    thread_local! {
        static STEPS: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn step() {
        STEPS.set(STEPS.get() + 1);
    }

    /// Returns how often ids are compared and hashed while `act` runs on this thread.
    pub(crate) fn steps(act: impl FnOnce()) -> u64 {
        let before = STEPS.get();
        act();
        STEPS.get() - before
    }

    impl PartialEq for InvocationId {
        fn eq(&self, other: &Self) -> bool {
            step();
            self.0 == other.0
        }
    }

    impl Ord for InvocationId {
        fn cmp(&self, other: &Self) -> Ordering {
            step();
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for InvocationId {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
}

/// The id of one runner: drawn anew each time a runner starts, and again when it
/// has lost its lease, so a fenced runner can never be taken for its successor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunnerId(Uuid);

/// Draws a UUID, version 7. Those that one process draws are strictly increasing.
pub fn draw_uuid() -> Uuid {
    /// The last moment, and what tells those of one moment apart. Held while one is drawn.
    static LAST: Mutex<ContextV7> = Mutex::new(ContextV7::new());
    draw(&LAST.lock(), SystemTime::now())
}

/// A moment before 1970, as of a machine whose clock has no battery, counts as 1970.
fn draw(last: &ContextV7, now: SystemTime) -> Uuid {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(last, since.as_secs(), since.subsec_nanos()))
}

macro_rules! uuid_id {
    ($name:ident, $expected:literal) => {
        impl $name {
            /// Draws a new id. Ids drawn by one process are strictly increasing.
            pub fn generate() -> Self {
                Self(draw_uuid())
            }

            /// The id as its 16 bytes, for a store.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The id from the 16 bytes that a store kept.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::try_parse(text).map(Self).map_err(|_| IdError::new(text, $expected))
            }
        }
    };
}

uuid_id!(InvocationId, "an invocation id (a UUID such as `01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f`)");
uuid_id!(RunnerId, "a runner id (a UUID)");

/// The SHA-256 digest of a component's bytes: what a component is known by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentDigest([u8; 32]);

impl ComponentDigest {
    /// The digest of a component with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest from its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ComponentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ComponentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ComponentDigest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError::new(text, "a component digest (`sha256:` and 64 hexadecimal digits)");
        let hex = text.strip_prefix("sha256:").ok_or_else(error)?;
        if hex.len() != 64 || !hex.is_ascii() {
            return Err(error());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| error())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| error())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for ComponentDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ComponentDigest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ids_are_drawn_at_any_time_that_a_clock_may_have() {
        let day = Duration::from_secs(86_400);
        let (epoch, now) = (SystemTime::UNIX_EPOCH, SystemTime::now());
        let (context, mut last) = (ContextV7::new(), Uuid::nil());
        for moment in [epoch - day, epoch, epoch - day, now, epoch - day, now - day, now + 365 * day, now] {
            let next = draw(&context, moment);
            assert!(next > last, "{moment:?}");
            last = next;
        }
        draw(&context, epoch + 4_000_000_000 * day);
        draw(&context, now);
    }

    #[test]
    fn ids_survive_their_text_form() {
        let id = InvocationId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        let digest = ComponentDigest::from_bytes([0xab; 32]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn ids_sort_by_age() {
        let ids: Vec<_> = (0..1000).map(|_| InvocationId::generate()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_bad_id_says_what_an_id_looks_like() {
        let error = "banana".parse::<InvocationId>().unwrap_err();
        assert!(error.to_string().starts_with("`banana` is not an invocation id (a UUID such as"));
        assert!("sha256:zz".parse::<ComponentDigest>().is_err());
        assert!("sha256:".parse::<ComponentDigest>().is_err());
    }
}
